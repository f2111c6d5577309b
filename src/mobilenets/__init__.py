"""mobilenets: from a folder of labelled photos to a small, fast, measured MobileNet.

    result = mobilenets.train("photos", "run")              # photos/cat/…, photos/dog/…
    print(result["top1"], result["top1_interval"], result["report"])
    predictor = mobilenets.Predictor("run")                 # a path, bytes, a Pillow image or an array
    print(predictor("photo.jpg", top=3))
    mobilenets.export("run", "exported", format="onnx")

Every command of the command line is a function here; ``help(mobilenets.train)`` lists its settings.
The public names load on first use, so that ``import mobilenets`` costs nothing and prediction needs no torch.
Notes and progress go to the logger ``mobilenets``; where no logging is set up they are shown on standard error, and
``logging.getLogger("mobilenets").setLevel("ERROR")`` silences them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from mobilenets.base.cores import share_cores

__version__ = "0.1.0"

# Now and not on first use: both count only before PyTorch or ONNX Runtime is loaded,
# by us or by a line after this import.
share_cores()
# ONNX Runtime would keep a number for this machine and report its use to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from mobilenets.errors import FaultFound as FaultFound
    from mobilenets.errors import InputError as InputError
    from mobilenets.errors import MobilenetsError as MobilenetsError
    from mobilenets.runs.predictor import Predictor as Predictor
    from mobilenets.tasks.registry import register_task as register_task
    from mobilenets.training.recipe import Recipe as Recipe
    from mobilenets.verbs.audit import audit as audit
    from mobilenets.verbs.benchmark import benchmark as benchmark
    from mobilenets.verbs.check import check as check
    from mobilenets.verbs.compare import compare as compare
    from mobilenets.verbs.compare_models import compare_models as compare_models
    from mobilenets.verbs.demo import demo as demo
    from mobilenets.verbs.evaluate import evaluate as evaluate
    from mobilenets.verbs.export import export as export
    from mobilenets.verbs.fetch import fetch as fetch
    from mobilenets.verbs.import_weights import import_weights as import_weights
    from mobilenets.verbs.import_weights import published_weights as published_weights
    from mobilenets.verbs.models import create_model as create_model
    from mobilenets.verbs.models import load_model as load_model
    from mobilenets.verbs.pack import pack as pack
    from mobilenets.verbs.predict import predict as predict
    from mobilenets.verbs.predict_many import predict_many as predict_many
    from mobilenets.verbs.prune import prune as prune
    from mobilenets.verbs.quantize import quantize as quantize
    from mobilenets.verbs.serve import serve as serve
    from mobilenets.verbs.shrink import shrink as shrink
    from mobilenets.verbs.sparsify import sparsify as sparsify
    from mobilenets.verbs.summary import summary as summary
    from mobilenets.verbs.train import train as train
    from mobilenets.verbs.tune import tune as tune

_HOMES = {
    "FaultFound": "mobilenets.errors",
    "InputError": "mobilenets.errors",
    "MobilenetsError": "mobilenets.errors",
    "Predictor": "mobilenets.runs.predictor",
    "Recipe": "mobilenets.training.recipe",
    "audit": "mobilenets.verbs.audit",
    "benchmark": "mobilenets.verbs.benchmark",
    "check": "mobilenets.verbs.check",
    "compare": "mobilenets.verbs.compare",
    "compare_models": "mobilenets.verbs.compare_models",
    "create_model": "mobilenets.verbs.models",
    "demo": "mobilenets.verbs.demo",
    "evaluate": "mobilenets.verbs.evaluate",
    "export": "mobilenets.verbs.export",
    "fetch": "mobilenets.verbs.fetch",
    "import_weights": "mobilenets.verbs.import_weights",
    "load_model": "mobilenets.verbs.models",
    "pack": "mobilenets.verbs.pack",
    "predict": "mobilenets.verbs.predict",
    "predict_many": "mobilenets.verbs.predict_many",
    "prune": "mobilenets.verbs.prune",
    "published_weights": "mobilenets.verbs.import_weights",
    "quantize": "mobilenets.verbs.quantize",
    "register_task": "mobilenets.tasks.registry",
    "serve": "mobilenets.verbs.serve",
    "shrink": "mobilenets.verbs.shrink",
    "sparsify": "mobilenets.verbs.sparsify",
    "summary": "mobilenets.verbs.summary",
    "train": "mobilenets.verbs.train",
    "tune": "mobilenets.verbs.tune",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mobilenets' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    if _HOMES[name].startswith("mobilenets.verbs.") and not isinstance(value, type):
        value = importlib.import_module("mobilenets.base.notes").noted(value)
        globals()[name] = value  # one object, whoever asks
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
