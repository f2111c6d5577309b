"""``import``: foreign weights as a mobilenets model; ``weights``: what is published, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilenets.base.drafts import drafting, publish
from mobilenets.base.leftovers import occupants
from mobilenets.errors import InputError
from mobilenets.exports.beside import write_graph
from mobilenets.models.saved import save_weights
from mobilenets.runs.folder import model_folder
from mobilenets.runtime.bundle import DESCRIPTION, WEIGHTS, is_model
from mobilenets.weights.class_names import imagenet_classes, read_classes
from mobilenets.weights.convert import convert, read_input
from mobilenets.weights.published import PUBLISHED


def import_weights(
    file: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    size: int | None = None,
    variant: str | None = None,
    classes: str | Path | Sequence[str] | None = None,
    preprocessing: str | Path | None = None,
    output: str | None = None,
    resize: str | None = None,
) -> dict[str, Any]:
    """Turn a foreign weights file into a model that computes the same function.

    Parameters
    ----------
    file:
        A file of ONNX, Keras, TensorFlow, MindSpore or PyTorch, or a folder (of the Hugging Face hub, or a SavedModel);
        or two files, a backbone and its head.
    out:
        The folder to write: ``model.safetensors``, ``model.json`` and ``model.onnx``; by default ``models/``
        and the file's name.
    size:
        Input side in pixels; by default what the file says, and else the network's usual one.
    variant:
        ``standard`` or ``small``, for a file that does not tell its strides.
    classes:
        Class names in order: a sequence, ``imagenet``, or a file with one per line (or JSON).
    preprocessing:
        ``tensorflow``, ``torch`` or a JSON file, where the habit of the file's framework is not what it was trained
        with.
    output:
        What to take of a file that holds several networks, classifiers or outputs, by a name that the notes list.
    resize:
        ``crop``, ``stretch`` or ``pad``: how pictures become square, where it is not what the notes say.

    Returns the object of ``import --json``; its ``notes`` and ``assumed`` say what was left out or assumed. Raises
    ``InputError`` for a file that is no MobileNet, damaged or hostile.

    >>> import torch
    >>> torch.save(mobilenets.create_model("mobilenet_v1", classes=3).state_dict(), "weights.pt")
    >>> result = mobilenets.import_weights("weights.pt", "imported")
    >>> result["name"], result["classes"]
    ('mobilenet_v1', 3)

    """
    paths = [Path(file)] if isinstance(file, (str, Path)) else [Path(one) for one in file]
    if not paths:
        raise InputError("no file: give the weights to import")
    folder = model_folder(paths[0]) if out is None else Path(out)
    if folder.exists() and (not folder.is_dir() or occupants(folder)):
        what = "holds a model already" if is_model(folder) else "is not an empty folder"
        raise InputError(f"{folder} {what}: use another --out")
    names = _names(classes)
    settings = dict(read_input(preprocessing)) if preprocessing is not None else {}
    settings |= {} if resize is None else {"resize": resize}
    converted = convert(paths, size=size, variant=variant, classes=names, preprocessing=settings, output=output)
    model = converted.model
    with drafting(folder) as draft:
        save_weights(draft / WEIGHTS, model.network.state_dict(), model.bundle)
        write_graph(draft, model)
        # The description last, because it is what makes the folder a model.
        publish(draft, folder, DESCRIPTION)
    architecture = model.network.architecture
    return {
        "model": str(folder),
        "format": converted.foreign.format,
        "name": architecture.name,
        "width": architecture.width,
        "size": architecture.size,
        "variant": architecture.variant,
        "task": model.bundle.task,
        "classes": model.network.classes,
        "padding": architecture.table.padding,
        "norm_epsilon": architecture.table.norm_epsilon,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "layers": {ours: list(theirs) for ours, theirs in converted.assigned.placed.items()},
        "surplus": list(converted.assigned.surplus),
        "ignored": list(converted.foreign.ignored),
        "notes": list(converted.notes),
        "assumed": list(converted.foreign.assumed),
    }


def published_weights() -> list[dict[str, Any]]:
    """List the ImageNet weights that ``--weights imagenet`` chooses from: the objects of ``weights --json``.

    >>> "mobilenet_v2" in {entry["network"] for entry in mobilenets.published_weights()}
    True
    """
    return [entry.to_json() for entry in PUBLISHED]


def _names(classes: str | Path | Sequence[str] | None) -> Sequence[str] | None:
    if classes == "imagenet":
        return imagenet_classes()
    return read_classes(classes) if isinstance(classes, (str, Path)) else classes
