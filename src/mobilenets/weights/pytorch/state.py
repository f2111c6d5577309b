"""Named arrays, as PyTorch's and MindSpore's files keep them, grouped into layers in forward order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.runtime.bundle import DESCRIPTION, WEIGHTS, read_bundle
from mobilenets.weights.layers import Foreign, Layer, conv, linear, listed, norm, of_kind, reported, strides_of
from mobilenets.weights.pytorch import ssdlite
from mobilenets.weights.pytorch.checkpoint import LEAVES, State
from mobilenets.weights.pytorch.choice import TRAINING, head_norms_of, one_head, one_network, without_measures
from mobilenets.weights.pytorch.order import by_names, is_sorted, piece
from mobilenets.weights.pytorch.reparametrised import joined
from mobilenets.weights.pytorch.sources import OURS, TENSORFLOWS_V3, Source, find_source, stage_strides
from mobilenets.weights.pytorch.told import check_module

Array = npt.NDArray[Any]

# MindSpore's names of a BatchNorm's parts, in PyTorch's.
_PARTS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

_EXCITED = re.compile(r"(^|[._])(se|squeeze_?excite|squeeze_?excitation|fc1)([._]|$)", re.IGNORECASE)
_QUANTISATION = re.compile(r"fake_quant|activation_post_process|_packed_params|zero_point|(^|\.)(de)?quant\.")
_QUANTISED = (
    "of a quantised network, or of one trained to be; give the weights of the float network from before quantisation, "
    "and quantise here: mobilenets export"
)
_NO_PART = "not part of a MobileNet layer; give the weights of a MobileNet alone"
# What wraps a whole network and says nothing of its order.
_WRAPPER = re.compile(r"^((module|model|backbone|net|state_dict|_orig_mod)\.)+")
UNTOLD = ": weights alone do not tell"
_UNKNOWN = (
    "the names belong to no known source, so the layers were read in the order {order}, with the usual settings of "
    "PyTorch: symmetric padding, the paper's strides, BatchNorm epsilon 1e-5, ReLU6, average pooling, softmax, "
    "ImageNet's mean and deviation"
)

# Where a part of a name stands in the forward pass; parts that are not here stand in the middle. It holds for a
# network's parts (conv_stem, bn1, blocks, conv_head, bn2, classifier) and for those of a block (conv_pw, bn1,
# conv_dw, bn2, conv_pwl, bn3; expand, depthwise, project).
_FIRST, _EARLY, _MIDDLE, _LATE, _LATER, _LAST = range(6)
_PLACES = {
    **dict.fromkeys(("conv_stem", "stem", "first_conv", "start", "dw_start", "reduce"), _FIRST),
    **dict.fromkeys(("bn1", "expand", "conv_pw", "expand_1x1", "pw_exp", "conv_exp", "conv_reduce"), _EARLY),
    **dict.fromkeys(("project", "pointwise", "conv_pwl", "conv_head", "conv", "reduce_1x1", "conv_1x1"), _LATE),
    **dict.fromkeys(("pw_proj",), _LATE),
    **dict.fromkeys(("bn2", "norm_head"), _LATER),
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
    left_out: Sequence[str] = (),
    module: State | None = None,
    output: str | None = None,
) -> Foreign:
    """Group arrays in PyTorch's layout by the modules of their names.

    Each kind comes in forward order: by the names where their source is known, else as the file has them where it is
    not merely sorted, else by what the names tell (``order.by_names``). Prefixes such as ``module.`` do not matter.
    Epsilon, padding and preprocessing are the habit of the source; of this package's own weights, what ``model.json``
    beside them says.

    - ``path``: the file, for messages and for ``model.json``.
    - ``file_format``: what the file is, in words; the source is added.
    - ``arrays``: the arrays in the file's order, under their full names.
    - ``ordered``: whether the format keeps the order in which the arrays were given to it.
    - ``classes``, ``notes``, ``left_out``: what else the file tells, handed on; and the names of what it holds beside
      arrays.
    - ``module``: what the file says of its modules beside their weights.
    - ``output``: the prefix of the network to take, where the file holds several.

    Raises ``InputError`` that begins with the path.
    """
    notes = list(notes)
    with reported(path):
        arrays, output, choices = one_network(joined(arrays), output)
        if ssdlite.is_ssdlite(arrays):
            return replace(_ssdlite(file_format, arrays, notes, choices, left_out), classes=classes)
        arrays, input_fields, extras = without_measures(arrays)
        modules, ignored = _modules(arrays)
        head_norms = head_norms_of(modules)
        modules = {name: parts for name, parts in modules.items() if name not in head_norms}
        source, prefix = find_source(list(modules), any(name.endswith(".gamma") for name in arrays))
        bare = {
            name: name.removeprefix(prefix) if name.startswith(prefix) and prefix else _WRAPPER.sub("", f"{name}.")[:-1]
            for name in modules
        }
        told = ordered and not is_sorted(list(modules))
        names = list(modules) if told and not source else sorted(modules, key=_key(bare))
        layers = tuple(_layer(module, modules[module]) for module in names)
        # A head alone has names that tell nothing, and needs neither habits nor an order.
        body = any(layer.kind == "depthwise" for layer in layers)
        unknown = source is None and body
        if body:
            _check_parts(bare, source)
        if unknown and not told:
            layers = by_names(layers, bare)
        layers, others = one_head(layers, prefix if source else None, output) if body else (layers, [])
        choices += others
        foreign = replace(
            _with_habits(source, file_format, layers, input_fields, head_norms),
            strides=_strides_by_name(source, layers, bare),
            classes=classes,
            ignored=(*ignored, *extras, *left_out, *head_norms),
        )
        foreign, seen = (foreign, ()) if module is None else check_module(foreign, module)
    notes += _left_out([*extras, *left_out])
    if unknown:
        choices.append(_UNKNOWN.format(order="of the file" if told else "of the numbers in them"))
    if input_fields:
        choices.append("its buffers mean and std are assumed to normalise the pictures")
    if body and not unknown and source is not OURS:
        if source is not None and source.name == "timm" and source.excited:
            foreign, choice = _of_which_framework(path, foreign)
            choices.append(choice)
        choices += _assumed(foreign, seen)
    foreign = replace(foreign, notes=tuple(notes), assumed=tuple(choices))
    return _described(path, foreign, bare) if source is OURS else foreign


def _ssdlite(
    file_format: str,
    arrays: Mapping[str, Array],
    notes: Sequence[str],
    choices: Sequence[str],
    left_out: Sequence[str],
) -> Foreign:
    modules, ignored = _modules(arrays)
    found = ssdlite.foreign(file_format, {name: _layer(name, parts) for name, parts in modules.items()})
    return replace(
        found,
        notes=(*notes, *_left_out(left_out)),
        ignored=(*ignored, *left_out),
        assumed=(*choices, *found.assumed),
    )


def _left_out(names: Sequence[str]) -> list[str]:
    """Say what of a file is no part of the network."""
    return [f"left out, not part of the network: {listed(names)}"] if names else []


def _with_habits(
    source: Source | None,
    file_format: str,
    layers: tuple[Layer, ...],
    input_fields: Mapping[str, Any],
    head_norms: Sequence[str],
) -> Foreign:
    """Give the layers with the habits of their source."""
    habits = source or Source("", "", activations=())
    head = f"its head has {', '.join(head_norms)[:120]} beside a linear layer, here it is one linear layer alone"
    return Foreign(
        format=f"{file_format} of {source.name}" if source else file_format,
        layers=layers,
        padding=habits.padding,
        epsilon=habits.epsilon,
        preprocessing={**habits.preprocessing, **input_fields},
        activations=habits.activations,
        headless=head if head_norms else "",
    )


def _of_which_framework(path: Path, foreign: Foreign) -> tuple[Foreign, str]:
    """Tell timm's two kinds of V3, whose names are the same, by the name of the file or its folder."""
    if any("tf_mobilenetv3" in part for part in path.parts):
        said = "its name says tf_mobilenetv3: TensorFlow's weights, with its padding, epsilon and inputs from -1 to 1"
        return replace(foreign, **TENSORFLOWS_V3), said
    return foreign, (
        "the weights are taken for timm's own mobilenetv3_*; for those that it has from TensorFlow keep tf_mobilenetv3 "
        "in the name of the file"
    )


def _strides_by_name(source: Source | None, layers: Sequence[Layer], bare: Mapping[str, str]) -> tuple[int, ...] | None:
    """Read the strides off names that tell stages, as timm's do; networks of other kernels have others."""
    kernels = {layer.arrays["weight"].shape[2] for layer in layers if layer.kind == "depthwise"}
    if source is None or not source.staged or kernels != {3}:
        return None
    return stage_strides(list(bare.values()))


def _assumed(foreign: Foreign, seen: Sequence[str]) -> list[str]:
    """Say what weights alone do not tell and the source's habit does."""
    words = {"relu6": "ReLU6", "relu": "ReLU", "hard_swish": "hard-swish"}
    facts = {
        "activation": " and ".join(words[name] for name in foreign.activations),
        "strides": "the paper's strides",
        "padding": f"{foreign.padding} padding",
        "epsilon": f"BatchNorm epsilon {foreign.epsilon:g}",
    }
    left = [words for fact, words in facts.items() if fact not in seen]
    if of_kind(foreign.layers, "linear") and not foreign.headless and "activation" not in seen:
        left.append("average pooling, one linear layer and softmax as its head")
    return [f"{', '.join(left)}{UNTOLD}"] if left else []


def _check_parts(bare: Mapping[str, str], source: Source | None) -> None:
    """Refuse what only other networks have, by its name; raises ``InputError``."""
    for module, name in bare.items():
        if _EXCITED.search(name) and (source is None or not source.excited):
            raise InputError(
                f"it has squeeze-and-excitation layers ({module[:60]!r}), which are read in a MobileNetV3 with the "
                "names of torchvision, timm or Keras; give one of these"
            )
        if name.startswith("segmentation_head") or ".aspp" in f".{name}":
            raise InputError(
                f"a network for segmentation ({module[:60]!r}); only classifiers and their backbones can be read"
            )


def _modules(arrays: Mapping[str, Array]) -> tuple[dict[str, dict[str, Array]], tuple[str, ...]]:
    """Give the parts of each module, in the order of the arrays, and the names that belong to none."""
    modules: dict[str, dict[str, Array]] = {}
    ignored = []
    for name, array in arrays.items():
        module, _, leaf = name.rpartition(".")
        leaf = _PARTS.get(leaf, leaf)
        if TRAINING.fullmatch(_WRAPPER.sub("", name)) or array.ndim == 0:
            ignored.append(name)
        elif 0 in array.shape:
            raise InputError(f"{name[:100]!r} has shape {array.shape}, which no layer of a MobileNet has")
        elif leaf not in LEAVES:
            raise InputError(f"{name[:100]!r} is {_QUANTISED if _QUANTISATION.search(name) else _NO_PART}")
        elif leaf in modules.setdefault(module, {}):
            raise InputError(f"{module[:100]!r} has two arrays for its {leaf}")
        else:
            modules[module][leaf] = array
    if not modules:
        raise InputError("it holds no layer weights; give a file with the weights of a network")
    return modules, tuple(ignored)


def _layer(module: str, parts: Mapping[str, Array]) -> Layer:
    weight, bias = parts.get("weight"), parts.get("bias")
    mean, variance = parts.get("running_mean"), parts.get("running_var")
    if mean is not None and variance is not None:
        return norm(module, weight, bias, mean, variance)
    if weight is None or mean is not None or variance is not None:
        raise InputError(f"{module[:100]!r} has only {' and '.join(parts)}; the file is incomplete")
    if weight.ndim not in (2, 4):
        what = " (GroupNorm or LayerNorm?)" if weight.ndim == 1 and bias is not None else ""
        raise InputError(
            f"{module[:100]!r} has a weight of shape {weight.shape}{what}, which no layer of a MobileNet has"
        )
    return (conv if weight.ndim == 4 else linear)(module, weight, bias)


def _key(bare: Mapping[str, str]) -> Callable[[str], Any]:
    """Give the key that sorts modules into forward order by their names."""
    projected = {name.rpartition(".")[0] for name in bare.values() if name.endswith(".conv_pwl")}

    def key(module: str) -> Any:
        parent, _, last = bare[module].rpartition(".")
        # In timm's separable blocks conv_pw is what conv_pwl is in inverted ones: the projection.
        return _place(f"{parent}.conv_pwl" if last == "conv_pw" and parent not in projected else bare[module])

    return key


def _place(module: str) -> tuple[tuple[int, tuple[tuple[int, str], ...]], ...]:
    """Give a key that sorts names in forward order, numbers by their value."""
    place: list[tuple[int, tuple[tuple[int, str], ...]]] = []
    for part in module.split("."):
        # body.inverted3: the number is the place in the network, whatever the kind before it.
        numbered = re.fullmatch(r"(?:conv|separable|inverted|maxpool|fused|universal)([0-9]+)", part) if place else None
        pieces = re.findall(r"[0-9]+|[^0-9]+", numbered[1] if numbered else part)
        place.append((_PLACES.get(part, _MIDDLE), tuple(map(piece, pieces))))
    return tuple(place)


def _described(path: Path, foreign: Foreign, bare: Mapping[str, str]) -> Foreign:
    """Add what ``model.json`` beside weights of this package says, or a note of what is assumed without it."""
    beside = path.parent / DESCRIPTION
    assumed = (
        "symmetric padding, the paper's strides, BatchNorm epsilon 1e-3, inputs from -1 to 1, the network's "
        f"usual size; keep {WEIGHTS} and its {DESCRIPTION} together"
    )
    if not beside.is_file():
        return replace(foreign, assumed=(*foreign.assumed, f"no {DESCRIPTION} beside it, so the following: {assumed}"))
    if path.name != WEIGHTS:
        note = f"the {DESCRIPTION} beside it belongs to {WEIGHTS} and was not used, so the following: {assumed}"
        return replace(foreign, assumed=(*foreign.assumed, note))
    import torch  # which no other file needs here

    from mobilenets.models.architecture import Architecture
    from mobilenets.models.network import Network

    bundle = read_bundle(path.parent)
    try:
        architecture = Architecture.from_json(bundle.architecture)
        with torch.device("meta"):
            network = Network(architecture, bundle.network_outputs)
    except InputError as error:
        raise InputError(f"{beside}: {error}") from error
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items() if value.ndim}
    given = {
        f"{bare[layer.name]}.{part}": array.shape for layer in foreign.layers for part, array in layer.arrays.items()
    }
    if given != expected:
        note = f"the {DESCRIPTION} beside it describes another network and was not used, so the following: {assumed}"
        return replace(foreign, assumed=(*foreign.assumed, note))
    table = architecture.table
    fields = bundle.preprocessing.to_json()
    size = fields.pop("size")
    return replace(
        foreign,
        padding=table.padding,
        epsilon=table.norm_epsilon,
        strides=strides_of(network.plan),
        size=size,
        preprocessing=fields,
        classes=bundle.classes,
    )
