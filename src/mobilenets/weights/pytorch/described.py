"""What comes with weights: the hub's ``config.json`` and ``preprocessor_config.json``, and training's arguments.

Sources: transformers ``MobileNetV1Config``, ``MobileNetV2Config`` and their image processors; timm
``models/_hub.py`` (``save_config_for_hf``) and its ``train.py``; torchvision ``references/classification/train.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobilenets.base.files import read_json
from mobilenets.errors import InputError
from mobilenets.weights.class_names import names_in
from mobilenets.weights.layers import TENSORFLOW_INPUT, Foreign, of_kind
from mobilenets.weights.pytorch.sources import TENSORFLOWS_V3
from mobilenets.weights.pytorch.state import UNTOLD

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
# The names under which the hub keeps weights, the better one first.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_MAX_CONFIG = 4 << 20
_HUB_HINT = "give the file from the hub"

_PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# Networks that others build of the same parts, or under names that look alike.
_ANOTHER = re.compile(
    r"mobile_?net_?v?5|mobilenet_?v4_?(hybrid|conv_?(aa|blur))|mobilenet_?v3_?(rw|large_150d)|mobilenet_?edge|"
    r"efficient_?net|mnasnet|fbnet|spnasnet|mixnet|lcnet|rexnet|ghostnet|tinynet|hardcorenas|resnet|shufflenet|"
    r"convnext|deeplab",
    re.IGNORECASE,
)
_LATER = re.compile(r"mobile_?net_?v?[34]", re.IGNORECASE)
_TENSORFLOWS = re.compile(r"^tf_mobilenetv3")
_NAMED = ("arch", "architecture", "model", "model_name", "model_type", "backbone", "encoder_name")


def in_folder(folder: Path) -> Path | None:
    """Find the weights in a folder of the Hugging Face hub, or None."""
    found = (folder / name for name in HUB_FILES)
    return next((path for path in found if path.is_file()), None)


def from_training(foreign: Foreign, settings: Mapping[Any, Any]) -> Foreign:
    """Take what a checkpoint's own arguments say of the network and of its pictures.

    Raises ``InputError`` where they name another network.
    """
    foreign = _named(foreign, settings, "its checkpoint")
    told = settings.get("model_kwargs")
    for given in (settings, told if isinstance(told, dict) else {}):
        activation, pool = given.get("act_layer"), given.get("global_pool", given.get("gp"))
        if isinstance(activation, str):
            _check_activation(foreign, activation, "its checkpoint says act_layer")
        if isinstance(pool, str) and pool not in ("avg", "fast", "fastavg", ""):
            foreign = replace(foreign, headless=f"its checkpoint says that it pools by {pool[:40]!r}")
    fields = _fields(settings)
    size = _first_whole(settings, "img_size", "val_crop_size")
    resized = _first_whole(settings, "val_resize_size")
    if size is not None and resized is not None and size <= resized:
        fields["crop_fraction"] = size / resized
    epsilon = settings.get("bn_eps")
    if isinstance(epsilon, float) and 0 < epsilon < 1:
        assumed = (line.replace(f", BatchNorm epsilon {foreign.epsilon:g}", "") for line in foreign.assumed)
        foreign = replace(foreign, epsilon=epsilon, assumed=tuple(assumed))
    if not fields and size is None:
        return foreign
    said = ", ".join([*fields, *([f"size {size}"] if size else [])])
    notes = (*foreign.notes, f"from its training arguments: {said}")
    return replace(foreign, size=size or foreign.size, preprocessing={**foreign.preprocessing, **fields}, notes=notes)


def from_folder(path: Path, foreign: Foreign) -> Foreign:
    """Take what the hub's ``config.json`` beside weights says of them; say what is assumed without one.

    Raises ``InputError`` where it describes what a MobileNet cannot be.
    """
    hugging_face = foreign.format.endswith("of transformers")
    if not hugging_face and path.name not in HUB_FILES:
        return foreign
    config = _read(path.parent / CONFIG)
    if hugging_face:
        return _transformers(path, foreign, config)
    timm = config.get("pretrained_cfg")
    if not isinstance(timm, dict):
        return foreign
    return _timm(foreign, config, timm)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if path.stat().st_size > _MAX_CONFIG:
        raise InputError(f"the {path.name} beside it has more than {_MAX_CONFIG >> 20} MiB; {_HUB_HINT}")
    value = read_json(path, _HUB_HINT)
    if not isinstance(value, dict):
        raise InputError(f"the {path.name} beside it is not a JSON object; {_HUB_HINT}")
    return value


def _named(foreign: Foreign, values: Mapping[Any, Any], what: str) -> Foreign:
    """Take the habits of the network that ``values`` name; raises ``InputError`` where the file is another."""
    for key in _NAMED:
        name = values.get(key)
        if not isinstance(name, str):
            continue
        if _ANOTHER.search(name):
            raise InputError(f"{what} calls it {name[:60]!r}, and only MobileNetV1 to V4 can be read")
        if _LATER.search(name) and foreign.activations == ("relu6",):
            raise InputError(f"{what} calls it {name[:60]!r}, but its layers are those of MobileNetV1 or V2")
        if _TENSORFLOWS.search(name):
            foreign = replace(foreign, **TENSORFLOWS_V3)
    return foreign


def _timm(foreign: Foreign, config: Mapping[str, Any], given: Mapping[str, Any]) -> Foreign:
    foreign = _named(foreign, config, f"the {CONFIG} beside it")
    arguments = config.get("model_args")
    activation = arguments.get("act_layer") if isinstance(arguments, dict) else None
    if activation is not None:
        _check_activation(foreign, activation, f"the {CONFIG} beside it says act_layer")
    fields = _fields(given)
    ways = {"center": "crop", "squash": "stretch", "border": "pad"}
    if given.get("crop_mode") in list(ways):  # which asks for no hash of what stands there
        fields["resize"] = ways[given["crop_mode"]]
    size = given.get("input_size")
    side = size[-1] if isinstance(size, list) and len(size) == 3 and size[1] == size[2] else None
    names = config.get("label_names", given.get("label_names"))
    return replace(
        foreign,
        size=side if isinstance(side, int) else foreign.size,
        preprocessing={**foreign.preprocessing, **fields},
        classes=tuple(names_in(names) or ()) or foreign.classes,
        notes=(*foreign.notes, f"pictures are prepared as the {CONFIG} beside it says"),
    )


def _transformers(path: Path, foreign: Foreign, config: Mapping[str, Any]) -> Foreign:
    for layer in of_kind(foreign.layers, "conv"):
        outputs, inputs = layer.arrays["weight"].shape[:2]
        if layer.name.endswith("conv_stem.reduce_1x1.convolution") and outputs == inputs:
            raise InputError(
                f"its first block has {inputs} channels before and after it and no shortcut in transformers, but "
                "MobileNetV2 has one; its answers would differ (depth_multiplier 0.25 and below)"
            )
    processor = _read(path.parent / PROCESSOR)
    assumed = [line for line in foreign.assumed if not line.endswith(UNTOLD)]
    if config:
        if config.get("model_type") not in ("mobilenet_v1", "mobilenet_v2"):
            raise InputError(
                f"the {CONFIG} beside it describes {str(config.get('model_type'))[:60]!r}, another network"
            )
        _check_activation(foreign, config.get("hidden_act", "relu6"), f"the {CONFIG} beside it says hidden_act")
        if config.get("output_stride", 32) != 32:
            raise InputError(
                f"the {CONFIG} beside it says output_stride {config['output_stride']!r}: dilated convolutions, "
                "which a MobileNetV2 classifier does not have"
            )
    else:
        assumed.append(
            f"no {CONFIG} beside it: TensorFlow's padding (tf_padding), BatchNorm epsilon 0.001, ReLU6, the "
            "defaults of transformers"
        )
    epsilon, padded = config.get("layer_norm_eps", 0.001), config.get("tf_padding", True)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1 or not isinstance(padded, bool):
        raise InputError(f"the {CONFIG} beside it does not describe a MobileNet; {_HUB_HINT}")
    fields: Mapping[str, Any] = TENSORFLOW_INPUT
    size = config.get("image_size")
    if processor:
        fields, cropped, unclear = _processor(processor)
        size, assumed = cropped or size, [*assumed, *unclear]
    else:
        assumed.append(
            f"no {PROCESSOR} beside it: the shorter side is resized by 256/224, then a centre crop; values from -1 to 1"
        )
    return replace(
        foreign,
        padding="same" if padded else "symmetric",
        epsilon=epsilon,
        size=size if isinstance(size, int) else foreign.size,
        preprocessing=fields,
        classes=_labels(config.get("id2label"), foreign) or foreign.classes,
        assumed=tuple(assumed),
    )


def _check_activation(foreign: Foreign, name: object, what: str) -> None:
    known = foreign.activations or ("relu6",)
    if name not in known:
        has = "MobileNetV1 and V2 have ReLU6" if known == ("relu6",) else f"its network has {known[-1]}"
        raise InputError(f"{what} {str(name)[:40]!r}, and {has}; its answers would differ")


def _processor(given: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None, list[str]]:
    """Read a ``preprocessor_config.json``: fields, the side of the pictures, and what cannot be told."""
    fields = dict(TENSORFLOW_INPUT)
    unclear = []
    resized, crop = _sides(given.get("size", 256)), _sides(given.get("crop_size", 224))
    cropped = given.get("do_center_crop", True)
    size = crop[0] if cropped else resized[0]
    if not given.get("do_resize", True):
        unclear.append(f"{PROCESSOR} does not resize; pictures are resized here")
    elif size is None or resized[0] is None:
        unclear.append(f"{PROCESSOR} gives sizes that cannot be read here; the usual ones are used")
        size = None
    elif resized[1]:  # both sides given
        fields |= {"resize": "stretch", "crop_fraction": 1.0}
        if cropped and resized[0] != size:
            unclear.append(
                f"{PROCESSOR} stretches to {resized[0]} and crops {size}; here pictures are stretched to {size}"
            )
    elif cropped and size <= resized[0]:
        fields["crop_fraction"] = size / resized[0]
    elif not cropped:
        fields["crop_fraction"] = 1.0
        unclear.append(f"{PROCESSOR} does not crop; here the centre square is used")
    filters = [name for number, name in _PILLOW.items() if number == given.get("resample", 2)]
    fields["interpolation"] = filters[0] if filters else "bilinear"
    if not filters:
        unclear.append(f"{PROCESSOR} uses a resampling filter that is not known here; bilinear is used")
    fields |= _fields({"mean": given.get("image_mean"), "std": given.get("image_std")})
    if not given.get("do_normalize", True):
        fields |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    factor = given.get("rescale_factor", 1 / 255) if given.get("do_rescale", True) else 1.0
    if isinstance(factor, (int, float)) and factor > 0:
        fields["scale"] = float(factor)
    return fields, size, unclear


def _sides(value: object) -> tuple[int | None, bool]:
    """Read a size: pixels, and whether they are both sides' and not the shorter one's."""
    if isinstance(value, dict):
        sides = value.get("height"), value.get("width")
        square = sides[0] if sides[0] == sides[1] else None
        value, both = (square, True) if "height" in value else (value.get("shortest_edge"), False)
    else:
        both = False
    return (value if isinstance(value, int) and value > 0 else None), both


def _fields(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Take mean, deviation, interpolation and crop from timm's and torchvision's names, where they are said."""
    fields: dict[str, Any] = {}
    for key in ("mean", "std"):
        value = given.get(key)
        if isinstance(value, list | tuple) and len(value) == 3 and all(type(part) in (int, float) for part in value):
            fields[key] = tuple(map(float, value))
    if given.get("interpolation") in _PILLOW.values():
        fields["interpolation"] = given["interpolation"]
    crop = given.get("crop_pct")
    if isinstance(crop, int | float) and 0.01 <= crop <= 1:
        fields["crop_fraction"] = float(crop)
    return fields


def _first_whole(settings: Mapping[Any, Any], *keys: str) -> int | None:
    return next((settings[key] for key in keys if type(settings.get(key)) is int and settings[key] > 0), None)


def _labels(given: object, foreign: Foreign) -> tuple[str, ...] | None:
    """Read ``id2label``; None for the numbered names that transformers makes up and for another count of classes."""
    names, heads = names_in(given) or [], of_kind(foreign.layers, "linear")
    fits = heads and len(names) == heads[-1].arrays["weight"].shape[0]
    made_up = all(name == f"LABEL_{number}" for number, name in enumerate(names))
    return tuple(names) if fits and not made_up else None
