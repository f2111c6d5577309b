"""Named arrays, as PyTorch's and MindSpore's files keep them, grouped into layers in forward order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.runtime.bundle import DESCRIPTION, WEIGHTS, read_bundle
from mobilenets.weights.layers import TENSORFLOW_INPUT, TORCH_INPUT, Foreign, Layer, conv, linear, norm
from mobilenets.weights.pytorch.order import by_names, is_sorted, piece

Array = npt.NDArray[Any]

# MindSpore's names of a BatchNorm's parts, in PyTorch's.
_PARTS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_LEAVES = ("weight", "bias", "running_mean", "running_var")

# What training leaves beside the weights: torch.nn.BatchNorm's count, torch.optim.swa_utils, MindSpore's optimisers
# (mindspore.nn.Momentum, Adam, RMSProp), loss scales and callbacks.
_TRAINING = re.compile(
    r"(.*\.)?num_batches_tracked|n_averaged"
    r"|(moments|momentum|accum|velocity|moment[12]|mean_(square|grad(ient)?)|exp_avg(_sq)?|ema)\..*"
    r"|learning_rate|global_step|momentum|beta[12]_power|weight_decay|(loss_)?scale|scale_sense"
    r"|(current|last_overflow)_iterator_step|(epoch|step|batch)(_num)?"
)
# What wraps a whole network and says nothing of its order.
_WRAPPER = re.compile(r"^((module|model|backbone|net|state_dict|_orig_mod)\.)+")


@dataclass(frozen=True)
class _Source:
    """A project whose names are known.

    ``mark`` is the start of a module's name that only this source has, ``mindspore`` whether it is one of MindSpore's;
    ``epsilon``, ``padding`` and ``preprocessing`` are what it builds and trains with; ``refused`` says why its networks
    cannot be ours.
    """

    name: str
    mark: str
    epsilon: float = 1e-5
    padding: str = "symmetric"
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: TORCH_INPUT)
    mindspore: bool = False
    refused: str = ""


_IMAGENET: Mapping[str, Any] = {**TORCH_INPUT, "interpolation": "bicubic"}
_HALVES: Mapping[str, Any] = {**TENSORFLOW_INPUT, "interpolation": "bicubic"}
_RELU = "MindCV's V1, whose names these are, activates with ReLU where ours has ReLU6; give a V1 of another source"
# The body of this package's networks; ``weights`` of their own folder say more in model.json.
_OURS = _Source("mobilenets", r"body\.(conv|separable|inverted)\d", 1e-3, preprocessing=_HALVES)
# Read in their own files: timm models/efficientnet.py (_gen_mobilenet_v1, _gen_mobilenet_v2 and default_cfgs),
# torchvision models/mobilenetv2.py, MindSpore's models official/cv/MobileNet, mindcv models/mobilenet_v*.py.
# The first whose mark is found is taken.
_SOURCES = (
    _OURS,
    _Source("timm", r"blocks\.\d+\.\d+\.conv_pwl", preprocessing=_IMAGENET),
    _Source("timm", r"blocks\.\d+\.\d+\.conv_dw", preprocessing=_HALVES),
    _Source("the model zoo", r"features\.\d+\.(conv\.\d+\.)?features\.\d+$", mindspore=True),
    _Source("the model zoo", r"network\.\d+\.[01]$", padding="same", mindspore=True),
    _Source("MindCV", r"features\.\d+\.layers\.\d+$", mindspore=True),
    _Source("MindCV", r"features\.\d+\.3$", mindspore=True, refused=_RELU),
    _Source("torchvision", r"features\.\d+\.conv\.\d+"),
)
_UNKNOWN = (
    "the names are of no source that we know, so the layers were taken in the order {order}, and with PyTorch's "
    "habits: symmetric padding, the paper's strides, BatchNorm epsilon 1e-5, ReLU6, ImageNet's mean and deviation"
)

# Where a part of a name stands in the forward pass; parts that are not here stand in the middle. It holds for a
# network's parts (conv_stem, bn1, blocks, conv_head, bn2, classifier) and for those of a block (conv_pw, bn1,
# conv_dw, bn2, conv_pwl, bn3; expand, depthwise, project).
_FIRST, _EARLY, _MIDDLE, _LATE, _LATER, _LAST = range(6)
_PLACES = {
    **dict.fromkeys(("conv_stem", "stem"), _FIRST),
    **dict.fromkeys(("bn1", "expand", "conv_pw"), _EARLY),
    **dict.fromkeys(("project", "pointwise", "conv_pwl", "conv_head", "conv"), _LATE),
    **dict.fromkeys(("bn2",), _LATER),
    **dict.fromkeys(("bn3", "head", "classifier", "dense", "fc", "output"), _LAST),
}


def read_state(
    path: Path,
    file_format: str,
    arrays: Mapping[str, Array],
    *,
    ordered: bool = True,
    classes: tuple[str, ...] | None = None,
    notes: Iterable[str] = (),
) -> Foreign:
    """Group arrays in PyTorch's layout by the modules of their names.

    Each kind comes in forward order: by the names where their source is known, else as the file has them where it is
    not merely sorted, else by what the names tell (``order.by_names``). Prefixes such as ``module.`` do not matter.
    Epsilon, padding and preprocessing are the habit of the source; of this package's own weights, what ``model.json``
    beside them says.

    Parameters
    ----------
    path:
        The file, for messages and for ``model.json``.
    file_format:
        What the file is, in words; the source is added.
    arrays:
        The arrays in the file's order, under their full names.
    ordered:
        Whether the format keeps the order in which the arrays were given to it.
    classes, notes:
        What else the file tells, handed on.

    Raises ``InputError`` that begins with the path.

    """
    try:
        modules, ignored = _modules(arrays)
        bare = {module: _WRAPPER.sub("", module + ".")[:-1] for module in modules}
        source = _source(bare.values(), any(name.endswith(".gamma") for name in arrays))
        if source and source.refused:
            raise InputError(source.refused)
        told = ordered and not is_sorted(list(modules))
        names = list(modules) if told and not source else sorted(modules, key=lambda module: _place(bare[module]))
        layers = tuple(_layer(module, modules[module]) for module in names)
        # A head alone has names that tell nothing, and needs neither habits nor an order.
        unknown = source is None and any(layer.kind == "depthwise" for layer in layers)
        if unknown and not told:
            layers = by_names(layers, bare)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if unknown:
        notes = (*notes, _UNKNOWN.format(order="of the file" if told else "of the numbers in them"))
    habits = source or _Source("", "")
    foreign = Foreign(
        format=f"{file_format} of {source.name}" if source else file_format,
        layers=layers,
        padding=habits.padding,
        epsilon=habits.epsilon,
        preprocessing=habits.preprocessing,
        classes=classes,
        ignored=ignored,
        notes=tuple(notes),
    )
    return _described(path, foreign, bare) if source is _OURS else foreign


def _modules(arrays: Mapping[str, Array]) -> tuple[dict[str, dict[str, Array]], tuple[str, ...]]:
    """Give the parts of each module, in the order of the arrays, and the names that belong to none."""
    modules: dict[str, dict[str, Array]] = {}
    ignored = []
    for name, array in arrays.items():
        module, _, leaf = name.rpartition(".")
        leaf = _PARTS.get(leaf, leaf)
        if _TRAINING.fullmatch(_WRAPPER.sub("", name)) or array.ndim == 0:
            ignored.append(name)
        elif 0 in array.shape:
            raise InputError(f"{name[:100]!r} has shape {array.shape}, which no layer of a MobileNet has")
        elif leaf not in _LEAVES:
            raise InputError(f"{name[:100]!r} is no part of a layer of a MobileNet; give the weights of one alone")
        elif leaf in modules.setdefault(module, {}):
            raise InputError(f"{module[:100]!r} has two arrays for its {leaf}")
        else:
            modules[module][leaf] = array
    if not modules:
        raise InputError("it holds no weights of layers; give a file of a network's weights")
    return modules, tuple(ignored)


def _layer(module: str, parts: Mapping[str, Array]) -> Layer:
    weight, bias = parts.get("weight"), parts.get("bias")
    mean, variance = parts.get("running_mean"), parts.get("running_var")
    if mean is not None and variance is not None:
        return norm(module, weight, bias, mean, variance)
    if weight is None or mean is not None or variance is not None:
        raise InputError(f"{module[:100]!r} has only {' and '.join(parts)}; the file is not whole")
    if weight.ndim not in (2, 4):
        raise InputError(f"{module[:100]!r} has a weight of shape {weight.shape}, which no layer of a MobileNet has")
    return (conv if weight.ndim == 4 else linear)(module, weight, bias)


def _source(names: Collection[str], mindspore: bool) -> _Source | None:
    for source in _SOURCES:
        mark = re.compile(source.mark)
        if (mindspore or not source.mindspore) and any(mark.match(name) for name in names):
            return source
    return None


def _place(module: str) -> tuple[tuple[int, tuple[tuple[int, str], ...]], ...]:
    """Give a key that sorts names in forward order, numbers by their value."""
    place: list[tuple[int, tuple[tuple[int, str], ...]]] = []
    for part in module.split("."):
        # body.inverted3: the number is the place in the network, whatever the kind before it.
        numbered = re.fullmatch(r"(?:conv|separable|inverted|maxpool)([0-9]+)", part) if place else None
        pieces = re.findall(r"[0-9]+|[^0-9]+", numbered[1] if numbered else part)
        place.append((_PLACES.get(part, _MIDDLE), tuple(map(piece, pieces))))
    return tuple(place)


def _described(path: Path, foreign: Foreign, bare: Mapping[str, str]) -> Foreign:
    """Add what ``model.json`` beside weights of our own says, or a note of what is assumed without it."""
    beside = path.parent / DESCRIPTION
    assumed = (
        "assumed: symmetric padding, the paper's strides, BatchNorm epsilon 1e-3, inputs from -1 to 1, the network's "
        f"usual size; keep {WEIGHTS} and its {DESCRIPTION} together"
    )
    if not beside.is_file():
        return replace(foreign, notes=(*foreign.notes, f"no {DESCRIPTION} beside it, so {assumed}"))
    if path.name != WEIGHTS:
        note = f"the {DESCRIPTION} beside it is that of {WEIGHTS} and was not taken, so {assumed}"
        return replace(foreign, notes=(*foreign.notes, note))
    import torch  # which no other file needs here

    from mobilenets.models.architecture import Architecture
    from mobilenets.models.network import Network

    bundle = read_bundle(path.parent)
    try:
        architecture = Architecture.from_json(bundle.architecture)
        with torch.device("meta"):
            network = Network(architecture, len(bundle.classes))
    except InputError as error:
        raise InputError(f"{beside}: {error}") from error
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items() if value.ndim}
    given = {
        f"{bare[layer.name]}.{part}": array.shape for layer in foreign.layers for part, array in layer.arrays.items()
    }
    if given != expected:
        note = f"the {DESCRIPTION} beside it describes another network and was not taken, so {assumed}"
        return replace(foreign, notes=(*foreign.notes, note))
    table = architecture.table
    fields = bundle.preprocessing.to_json()
    size = fields.pop("size")
    strided = (row for row in table.body[1:] if row.kind in ("separable", "inverted"))
    return replace(
        foreign,
        padding=table.padding,
        epsilon=table.norm_epsilon,
        strides=(table.body[0].stride, *(row.stride for row in strided)),
        size=size,
        preprocessing=fields,
        classes=bundle.classes,
    )
