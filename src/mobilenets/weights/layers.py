"""What every reader gives: the layers of a foreign file in PyTorch's layout, each kind in forward order.

A reader knows one format; it knows nothing of our networks. ``recognise`` finds the network that such layers are, and
``assign`` puts them into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.plan import Plan
from mobilenets.runtime.detection import Detection

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# A MobileNet has hundreds of arrays and at most a few tens of millions of weights; a file that claims more is refused
# before memory is taken for it.
MAX_ARRAYS = 10_000
MAX_BYTES = 256 << 20

KINDS = ("conv", "depthwise", "norm", "linear")


@dataclass(frozen=True)
class Layer:
    """One layer with parameters, under the name that it has in its file.

    By ``kind``, with ``arrays`` of float32:

    - ``conv``: ``weight`` (outputs, inputs, kernel, kernel)
    - ``depthwise``: ``weight`` (channels, 1, kernel, kernel)
    - ``linear``: ``weight`` (outputs, inputs)
    - ``norm``, BatchNorm: ``weight`` (scale), ``bias`` (shift), ``running_mean`` and ``running_var``, each (channels,)

    The first three may also have a ``bias`` (outputs,).
    """

    name: str
    kind: str
    arrays: Mapping[str, Floats]


@dataclass(frozen=True)
class Foreign:
    """What a file holds, and what its framework makes of it.

    - ``format``: what the file is, in words: ``Keras HDF5``.
    - ``layers``: each kind in forward order; the order between kinds has no meaning.
    - ``padding``: where padding goes at stride 2, a value of ``mobilenets.models.padding.PADDINGS``.
    - ``epsilon``: BatchNorm's epsilon.
    - ``strides``: of the first convolution and then of each depthwise layer, where the file tells.
    - ``size``: input side in pixels, where the file tells.
    - ``preprocessing``: fields of ``Preprocessing`` that the file or the habit of its framework gives; ``size`` is not
      among them.
    - ``classes``: class names in order, where the file has them.
    - ``ignored``: names of arrays that are no weights of a network, such as an optimiser's.
    - ``notes``: what a user should know of how the file was read, one line each.
    - ``assumed``: what the file does not tell and was assumed, one line each.
    - ``own``: fields of ``Preprocessing`` by the habit of its framework for a classifier that is not ImageNet's; what
      ``preprocessing`` tells of the file goes before.
    - ``activations``: those that the body of a network of its source has, of
      ``mobilenets.models.operations.ACTIVATIONS``; empty where nothing tells.
    - ``headless``: why what stands behind the body is no classifier of ours, where its layers do not show it.
    - ``activation``: the one function that stands everywhere in the body, where the file tells and there is just one.
    - ``check``: compares what the file's graph computes with the plan of the network that its layers fit, where the
      file tells: raises ``InputError`` for another body, and returns why the head is another.
    - ``kind``: what the file's network is by its operations, for messages.
    - ``behind``: of a detector, the layers behind its body, each kind in the forward order of our plan.
    - ``detection``: of a detector, says how its outputs are read, by the body that ``layers`` are; raises
      ``InputError``.
    """

    format: str
    layers: tuple[Layer, ...]
    padding: str
    epsilon: float
    strides: tuple[int, ...] | None = None
    size: int | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    own: Mapping[str, Any] = field(default_factory=dict)
    activations: tuple[str, ...] = ()
    headless: str = ""
    activation: str = ""
    check: Callable[[Plan], str] | None = None
    kind: str = ""
    behind: tuple[Layer, ...] = ()
    detection: Callable[[Architecture], Detection] | None = None


# What the frameworks' own MobileNets were trained with: keras.applications.mobilenet.preprocess_input and slim's
# inception_preprocessing; torchvision's MobileNet_V2_Weights.
TENSORFLOW_INPUT: Mapping[str, Any] = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "scale": 1 / 255,
    "crop_fraction": 0.875,
    "interpolation": "bilinear",
}
TORCH_INPUT: Mapping[str, Any] = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "scale": 1 / 255,
    "crop_fraction": 0.875,
    "interpolation": "bilinear",
}


@contextmanager
def reported(path: object, damaged: str = "", *damages: type[Exception]) -> Iterator[None]:
    """Make one ``InputError`` that begins with the path of whatever reading a file raises.

    ``damages`` are raised beside ``OSError`` where the file is not what it should be; ``damaged`` then says so, with
    the reason in place of ``{}``.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or 'damaged'}") from error
    except damages as error:
        raise InputError(f"{path}: {damaged.replace('{}', str(error))}") from error


def check_room(path: object, arrays: int, size: int) -> None:
    """Refuse a file that claims more arrays or bytes than a MobileNet could have; raises ``InputError``."""
    if arrays > MAX_ARRAYS:
        raise InputError(f"{path}: it lists {arrays} arrays, a MobileNet has hundreds; give the weights of one network")
    if size > MAX_BYTES:
        raise InputError(f"{path}: it claims {size} bytes of arrays, more than any MobileNet; give another file")


def floats(name: str, array: Array) -> Floats:
    """Return float32 in C order; raises ``InputError`` for other kinds of numbers and for NaN and Inf."""
    if array.dtype.kind != "f":
        raise InputError(f"{name[:100]!r} holds {array.dtype}, not floating-point numbers")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{name[:100]!r} holds values that are not finite")
    return values.reshape(array.shape)


def conv(name: str, weight: Array, bias: Array | None = None) -> Layer:
    """Make a convolution of PyTorch's layout (outputs, inputs / groups, k, k): depthwise where it has one input."""
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise InputError(f"{name[:100]!r} has shape {weight.shape}, which is not a square convolution")
    # A picture has three channels, so that no ordinary convolution of a MobileNet has a single input.
    kind = "depthwise" if weight.shape[1] == 1 else "conv"
    return _with_bias(name, kind, weight, bias)


def conv_hwio(name: str, kernel: Array, bias: Array | None = None) -> Layer:
    """Make an ordinary convolution from TensorFlow's layout (k, k, inputs, outputs)."""
    if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1]:
        raise InputError(f"{name[:100]!r} has shape {kernel.shape}, which is not a square convolution")
    return _with_bias(name, "conv", kernel.transpose(3, 2, 0, 1), bias)


def depthwise_hwcm(name: str, kernel: Array, bias: Array | None = None) -> Layer:
    """Make a depthwise convolution from TensorFlow's layout (k, k, channels, multiplier 1)."""
    if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or kernel.shape[3] != 1:
        raise InputError(f"{name[:100]!r} has shape {kernel.shape}, which is not a depthwise layer with multiplier 1")
    return _with_bias(name, "depthwise", kernel.transpose(2, 3, 0, 1), bias)


def linear(name: str, weight: Array, bias: Array | None = None) -> Layer:
    """Make a linear layer of PyTorch's layout (outputs, inputs)."""
    if weight.ndim != 2:
        raise InputError(f"{name[:100]!r} has shape {weight.shape}, which is not a linear layer")
    return _with_bias(name, "linear", weight, bias)


def norm(name: str, scale: Array | None, shift: Array | None, mean: Array, variance: Array) -> Layer:
    """Make a BatchNorm; a scale or shift that the file lacks is 1 or 0."""
    if mean.ndim != 1:
        raise InputError(f"{name[:100]!r} has a mean of shape {mean.shape}, which is not a BatchNorm")
    arrays = {
        "weight": np.ones(len(mean), np.float32) if scale is None else scale,
        "bias": np.zeros(len(mean), np.float32) if shift is None else shift,
        "running_mean": mean,
        "running_var": variance,
    }
    for part, array in arrays.items():
        if array.shape != mean.shape:
            raise InputError(f"{name[:100]!r}: {part} is {array.shape} and running_mean {mean.shape}")
    if (variance < 0).any():
        raise InputError(f"{name[:100]!r} holds a variance below 0")
    return Layer(name, "norm", {part: floats(f"{name}/{part}", array) for part, array in arrays.items()})


def strides_of(plan: Plan) -> tuple[int, ...]:
    """Give the strides of a network as ``Foreign.strides`` lists them."""
    first, *rest = plan.convolutions
    return (first.stride, *(conv.stride for conv in rest if conv.depthwise))


def two_classes(layer: Layer) -> Layer:
    """Give the scores 0 and z in place of one score z: softmax then gives 1 - sigmoid(z) and sigmoid(z)."""
    return replace(
        layer, arrays={part: np.concatenate([np.zeros_like(array), array]) for part, array in layer.arrays.items()}
    )


def listed(names: Sequence[str], most: int = 5) -> str:
    """Name the first ones for a message, on one line."""
    shown = ", ".join(" ".join(name[:100].split()) for name in names[:most])
    return shown + ", …" * (len(names) > most)


def bfloat16(halves: npt.NDArray[np.uint16]) -> Floats:
    """Widen bfloat16, which numpy does not have, given as its bits: the upper half of a float32."""
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)


def of_kind(layers: Sequence[Layer], kind: str) -> list[Layer]:
    """Return the layers of one kind, in order."""
    return [layer for layer in layers if layer.kind == kind]


def _with_bias(name: str, kind: str, weight: Array, bias: Array | None) -> Layer:
    arrays = {"weight": floats(name, weight)}
    if bias is not None:
        if bias.shape != weight.shape[:1]:
            raise InputError(f"{name[:100]!r}: a bias of shape {bias.shape} for {weight.shape[0]} outputs")
        arrays["bias"] = floats(f"{name}/bias", bias)
    return Layer(name, kind, arrays)
