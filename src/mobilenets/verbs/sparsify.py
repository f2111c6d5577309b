"""``sparsify``: most weights of a trained network become exactly 0 while it is trained further."""

from __future__ import annotations

import time
import zlib
from pathlib import Path
from typing import Any

from mobilenets.base.files import write_json
from mobilenets.base.leftovers import occupants
from mobilenets.base.notes import log
from mobilenets.base.progress import duration
from mobilenets.bench.channels import milliseconds
from mobilenets.bench.settings import check_numbers
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import InputError
from mobilenets.models.device import pick_device
from mobilenets.models.network import Network
from mobilenets.models.saved import load_classifier
from mobilenets.runs.further import folder_beside, further, open_to_go_on, pictures_to_go_on
from mobilenets.runs.record import METRICS, RECIPE, Record
from mobilenets.runtime.bundle import WEIGHTS, find_bundle
from mobilenets.training.recipe import Recipe
from mobilenets.training.refused import TWO_OF_FOUR
from mobilenets.training.sparsity import prunable
from mobilenets.verbs.compare_models import compare_models
from mobilenets.verbs.train import train

SPARSIFIED, PICTURE = "sparsify.json", "sparsity.png"
SPARSITY = 0.75
SECONDS = 1.0


def sparsify(
    model: str | Path,
    data: str | Path,
    *,
    sparsity: float | None = None,
    pattern: str = "none",
    out: str | Path | None = None,
    epochs: int | None = None,
    threads: int = 1,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a network further while its smallest weights become 0 and stay so.

    Weights go from the 1×1 convolutions and the linear layers, from each the same share
    (``mobilenets.training.sparsity``). The files stay as large as they were until they are zipped, and few runtimes
    compute faster with zeros: both are measured. The result is a run like any other. If it is stopped, the same call
    goes on there.

    Parameters
    ----------
    model:
        The run folder of a classifier.
    data:
        The pictures that it was trained on, or others of its classes.
    sparsity:
        The share of the weights that become 0, between 0 and 1; by default 0.75.
    pattern:
        ``2:4``: two of every four along the input channels in place of a share.
    out:
        The run folder to write; by default ``MODEL-sparse-75`` for 0.75, and ``MODEL-sparse-2of4``.
    epochs:
        Of training; by default a quarter of the run's own, at least 2. Weights go in the first two thirds of it.
    threads:
        Threads of ONNX Runtime, for the measurement.
    device:
        Where it is trained.

    Returns the content of ``sparsify.json``: the weights and the zeros of each of ``layers``, those ``left_out``
    because the pattern does not fit, ``bytes`` of the weights and ``zipped``, before and after, ``milliseconds`` of a
    picture in ONNX Runtime, and ``compare``, what ``compare_models`` says of the run and the sparse one on pictures
    that neither learned from. Raises ``InputError`` for what cannot be made sparse, and ``KeyboardInterrupt`` on
    Ctrl-C.

    >>> result = mobilenets.sparsify("run", "photos", sparsity=0.5, epochs=1)
    >>> result["run"], result["zipped"][1] < result["zipped"][0]
    ('run-sparse-50', True)

    """
    run, pictures = Path(model), open_data(data)
    check_numbers("threads", [threads])
    saved = open_to_go_on(run, "made sparse")
    pick_device(device)
    share = SPARSITY if sparsity is None and pattern != TWO_OF_FOUR else sparsity
    recipe = further(run, epochs, device).replace(
        weights=str(run.resolve()), keep="last", patience=None, sparsity=share, sparsity_pattern=pattern
    )
    _refuse_sparser(run, saved.network, recipe)
    # 0.005 more is another folder, and 2:4 is no name for one on Windows.
    word = "2of4" if pattern == TWO_OF_FOUR else f"{100 * recipe.share_of_zeros:g}"
    folder = folder_beside(run, out, f"sparse-{word}")
    other = folder.is_dir() and occupants(folder) and not (folder / RECIPE).exists()
    if other or (folder / SPARSIFIED).exists():
        raise InputError(f"{folder}: is there already; choose another --out")
    pictures_to_go_on(run, pictures, saved.bundle.classes, folder)
    began = time.monotonic()
    if (folder / RECIPE).exists():
        _refuse_other(folder, recipe, epochs)
    if not (folder / METRICS).exists():
        begun = (folder / RECIPE).exists()
        train(pictures, folder, recipe=None if begun else recipe, resume=begun)
    result = _result(run, folder, pictures, recipe, threads) | {"seconds": time.monotonic() - began}
    from mobilenets.drawing.sparsity import sparsity_figure  # a bare install has no matplotlib
    from mobilenets.drawing.style import save

    save(sparsity_figure(result["layers"]), folder / PICTURE)
    write_json(folder / SPARSIFIED, result)
    log.info("made sparse in %s", duration(time.monotonic() - began))
    return result


def _refuse_sparser(run: Path, network: Network, recipe: Recipe) -> None:
    """Refuse a share that is passed already, because no zero comes back; two of four says nothing of a share."""
    if recipe.sparsity_pattern == TWO_OF_FOUR:
        return
    counts, known = zip(*zeros(network).values(), strict=True)
    share = sum(known) / sum(counts)
    if share > recipe.share_of_zeros + 1e-3:  # each layer rounds its own
        raise InputError(f"{run}: {share:.0%} of its weights are 0 already, and they stay: give a larger --sparsity")


def _refuse_other(folder: Path, recipe: Recipe, epochs: int | None) -> None:
    """Refuse to go on in a folder where something else was begun."""
    begun = Record.read(folder).recipe
    names = ["weights", "sparsity", "sparsity_pattern", *(["epochs"] if epochs is not None else [])]
    if any(getattr(begun, name) != getattr(recipe, name) for name in names):
        raise InputError(
            f"{folder}: was begun with another model or other settings: give those, or choose another --out"
        )
    log.info("going on with what was begun in %s", folder)


def _result(run: Path, folder: Path, data: Path, recipe: Recipe, threads: int) -> dict[str, Any]:
    """Count what became 0, and measure the run and what became of it, in turns and on the same pictures."""
    before, after = load_classifier(run).network, load_classifier(folder).network
    layers = zeros(after, recipe.sparsity_pattern)
    sizes = [(find_bundle(one) / WEIGHTS).read_bytes() for one in (run, folder)]
    return {
        "model": str(run),
        "run": str(folder),
        "sparsity": recipe.share_of_zeros,
        "pattern": recipe.sparsity_pattern,
        "layers": layers,
        "left_out": [name for name, _, fits in prunable(after, recipe.sparsity_pattern) if not fits],
        "zeros": sum(count for _, count in layers.values()),
        "parameters": after.plan.parameters,
        "bytes": [len(content) for content in sizes],
        "zipped": [len(zlib.compress(content, 9)) for content in sizes],
        "runtime": "onnxruntime",
        "threads": threads,
        "milliseconds": milliseconds([before, after], threads, 2 * SECONDS),
        "compare": compare_models(run, folder, data),
    }


def zeros(network: Network, pattern: str = "none") -> dict[str, list[int]]:
    """Count the weights of each layer that can be sparse, and those of them that are 0."""
    found = ((name, layer.weight) for name, layer, fits in prunable(network, pattern) if fits)
    return {name: [weight.numel(), int((weight == 0).sum())] for name, weight in found}
