"""mobilenets: from a folder of labelled photos to a small, fast, measured MobileNet.

The public names load on first use, so that ``import mobilenets`` costs nothing and prediction needs no torch.
Notes and progress go to the logger ``mobilenets``; where no logging is set up they are shown on standard error, and
``logging.getLogger("mobilenets").setLevel("ERROR")`` silences them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mobilenets.runtime.cores import share_cores

__version__ = "0.1.0"

# Now and not on first use: it counts only before PyTorch is loaded, by us or by a line after this import.
share_cores()

if TYPE_CHECKING:
    from mobilenets.api.audit import audit as audit
    from mobilenets.api.benchmark import benchmark as benchmark
    from mobilenets.api.compare import compare as compare
    from mobilenets.api.demo import demo as demo
    from mobilenets.api.evaluate import evaluate as evaluate
    from mobilenets.api.export import export as export
    from mobilenets.api.fetch import fetch as fetch
    from mobilenets.api.import_weights import import_weights as import_weights
    from mobilenets.api.import_weights import published_weights as published_weights
    from mobilenets.api.models import create_model as create_model
    from mobilenets.api.models import load_model as load_model
    from mobilenets.api.predict import Predictor as Predictor
    from mobilenets.api.predict import predict as predict
    from mobilenets.api.serve import serve as serve
    from mobilenets.api.summary import summary as summary
    from mobilenets.api.train import train as train
    from mobilenets.errors import FaultFound as FaultFound
    from mobilenets.errors import InputError as InputError
    from mobilenets.errors import MobilenetsError as MobilenetsError
    from mobilenets.training.recipe import Recipe as Recipe

_HOMES = {
    "FaultFound": "mobilenets.errors",
    "InputError": "mobilenets.errors",
    "MobilenetsError": "mobilenets.errors",
    "Predictor": "mobilenets.api.predict",
    "Recipe": "mobilenets.training.recipe",
    "audit": "mobilenets.api.audit",
    "benchmark": "mobilenets.api.benchmark",
    "compare": "mobilenets.api.compare",
    "create_model": "mobilenets.api.models",
    "demo": "mobilenets.api.demo",
    "evaluate": "mobilenets.api.evaluate",
    "export": "mobilenets.api.export",
    "fetch": "mobilenets.api.fetch",
    "import_weights": "mobilenets.api.import_weights",
    "load_model": "mobilenets.api.models",
    "predict": "mobilenets.api.predict",
    "published_weights": "mobilenets.api.import_weights",
    "serve": "mobilenets.api.serve",
    "summary": "mobilenets.api.summary",
    "train": "mobilenets.api.train",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mobilenets' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    if _HOMES[name].startswith("mobilenets.api.") and not isinstance(value, type):
        value = importlib.import_module("mobilenets.runtime.notes").noted(value)
        globals()[name] = value  # one object, whoever asks
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
