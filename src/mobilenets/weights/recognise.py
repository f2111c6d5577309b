"""Which of our networks a foreign file's layers are: read off their shapes, so that nobody has to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import CATALOG
from mobilenets.models.rows import Conv, FlatHead, Inverted, MaxPool, PooledHead, Separable
from mobilenets.models.style import Style
from mobilenets.models.tables import Table
from mobilenets.weights.layers import Foreign, Layer, of_kind

# Several widths may round to one network (0.5 and 0.51): the one that people use is tried first.
USUAL_WIDTHS = (1.0, 0.25, 0.35, 0.5, 0.75, 1.3, 1.4)
WIDTHS = (*USUAL_WIDTHS, *(n / 20 for n in range(1, 61)), *(n / 100 for n in range(1, 301)))
_FEWEST = 8


def recognise(foreign: Foreign, *, size: int | None = None, variant: str | None = None) -> Architecture:
    """Describe the network that the layers are, with the padding and epsilon of where they come from.

    The channels and expansions are read off the shapes. They give a network of the catalogue with its width where
    one fits, and else a table of their own (variant ``custom``, rounding ``exact``). Strides are not in weights: they
    are the file's where it tells them, and else those of the catalogue's network with as many blocks.

    Parameters
    ----------
    foreign:
        What a reader gave.
    size:
        Input side in pixels; by default the file's, and else the network's usual one.
    variant:
        ``standard`` or ``small``, for a file that does not tell the strides; by default ``standard``.

    Raises ``InputError`` when the layers are not those of a MobileNetV1 or V2.

    """
    if variant not in (None, "standard", "small"):
        raise InputError(f"variant {variant!r}: choose standard or small")
    rows = _rows(foreign.layers)
    strides = foreign.strides
    if strides is not None and len(strides) != len(_strided(rows)):
        strides = None
    for name, entry in CATALOG.items():
        readings = {"standard": entry.table, "small": entry.small}
        wanted = [variant] if variant else list(readings) if strides else ["standard"]
        for reading in wanted:
            table = readings[reading]
            if table is None or (strides and tuple(row.stride for row in _strided(table.body)) != strides):
                continue
            width = _width(table, rows)
            side = _size(size, foreign, entry.size)
            if width is None or not _head_fits(table, width, foreign, side):
                continue
            return Architecture(name, width, side, reading, _with_habits(table, foreign))
    table = Table(_with_strides(rows, strides), PooledHead(), rounding="exact")
    name = _family(rows)
    side = _size(size, foreign, CATALOG[name].size)
    return Architecture(name, 1.0, side, "custom", _with_habits(table, foreign))


def _size(size: int | None, foreign: Foreign, usual: int) -> int:
    return next(side for side in (size, foreign.size, usual) if side is not None)


def _with_habits(table: Table, foreign: Foreign) -> Table:
    activation = foreign.activation or table.activation
    return replace(table, padding=foreign.padding, norm_epsilon=foreign.epsilon, activation=activation)


def _rows(layers: Sequence[Layer]) -> tuple[Any, ...]:
    """Read the body as rows that hold its channels as they are, each with stride 1."""
    convs, depthwise = of_kind(layers, "conv"), of_kind(layers, "depthwise")
    if depthwise and convs and convs[0].arrays["weight"].shape[1] != 3:
        raise InputError(
            "its first convolution does not take the 3 channels (RGB) that pictures are read in; give a network made "
            "for colour pictures"
        )
    if not depthwise or not convs:
        raise InputError(
            f"it holds {len(convs)} convolutions and {len(depthwise)} depthwise ones, unlike any MobileNet; give "
            "the weights of a whole MobileNetV1 or V2"
        )
    for read in (_read_v1, lambda c, d: _read_v2(c, d, False), lambda c, d: _read_v2(c, d, True)):
        rows = read([_shape(layer) for layer in convs], [_shape(layer) for layer in depthwise])
        if rows is not None:
            return rows
    raise InputError(
        f"its {len(convs)} convolutions and {len(depthwise)} depthwise ones do not follow one another as in "
        "MobileNetV1 or V2; give the weights of one of these"
    )


def _shape(layer: Layer) -> tuple[int, int, int]:
    """Outputs, inputs and kernel."""
    outputs, inputs, kernel, _ = layer.arrays["weight"].shape
    return outputs, inputs, kernel


Shapes = list[tuple[int, int, int]]


def _read_v1(convs: Shapes, depthwise: Shapes) -> tuple[Any, ...] | None:
    channels, _, kernel = convs[0]
    rows: list[Any] = [Conv(channels, kernel=kernel)]
    if len(convs) < 1 + len(depthwise):
        return None
    for (filtered, _, kernel), (outputs, inputs, side) in zip(depthwise, convs[1:], strict=False):
        if (filtered, inputs, side) != (channels, channels, 1):
            return None
        rows.append(Separable(outputs, kernel=kernel))
        channels = outputs
    return tuple(rows)


def _read_v2(convs: Shapes, depthwise: Shapes, always_expand: bool) -> tuple[Any, ...] | None:
    channels, _, kernel = convs[0]
    rows: list[Any] = [Conv(channels, kernel=kernel)]
    rest: Iterator[tuple[int, int, int]] = iter(convs[1:])
    for expanded, _, kernel in depthwise:
        if (always_expand or expanded != channels) and next(rest, None) != (expanded, channels, 1):
            return None
        outputs, inputs, side = next(rest, (0, 0, 0))
        if (inputs, side) != (expanded, 1) or expanded % channels:
            return None
        rows.append(Inverted(outputs, kernel=kernel, expand=expanded // channels, always_expand=always_expand))
        channels = outputs
    outputs, inputs, kernel = next(rest, (0, 0, 0))
    if inputs != channels:
        return None
    return (*rows, Conv(outputs, kernel=kernel))


def _family(rows: Sequence[Any]) -> str:
    return "mobilenet_v2" if any(isinstance(row, Inverted) for row in rows) else "mobilenet_v1"


def _strided(rows: Sequence[Any]) -> tuple[Any, ...]:
    """Those whose strides ``Foreign.strides`` lists: the first convolution and each with a depthwise layer."""
    return (rows[0], *(row for row in rows[1:] if isinstance(row, Separable | Inverted)))


def _check_usual(rows: Sequence[Any]) -> None:
    """Refuse kernels that MobileNets do not have, where nothing but the rows tells strides and activations.

    MnasNet, FBNet, ProxylessNAS and EfficientNet-Lite are of the same blocks, and with other strides or with ReLU.
    """
    kernels = sorted({row.kernel for row in _strided(rows)} - {3})
    if kernels:
        raise InputError(
            f"it has kernels of {kernels[-1]}×{kernels[-1]} but MobileNetV1 and V2 have 3×3, and the weights alone "
            "do not tell strides and activations; save the whole model"
        )


def _check_stages(rows: Sequence[Any], usual: Sequence[Any]) -> None:
    """Refuse channels that change or stay at other blocks than the paper's: the strides are then others, too."""
    blocks, papers = ([row.channels for row in some if not isinstance(row, MaxPool)] for some in (rows, usual))
    for number in range(1, len(blocks)):
        stays = blocks[number] == blocks[number - 1] > _FEWEST  # to which narrow networks are rounded
        # Where V2's channels stay there is a shortcut, which needs them to.
        shortcut = isinstance(rows[number], Inverted) and papers[number] == papers[number - 1]
        changes = blocks[number] != blocks[number - 1]
        if (stays and usual[number].stride > 1) or (shortcut and changes):
            raise InputError(
                f"its block {number} has {blocks[number]} channels after {blocks[number - 1]}, unlike the paper, "
                "and the weights alone do not tell the strides; save the whole model"
            )


def _with_strides(rows: tuple[Any, ...], strides: tuple[int, ...] | None) -> tuple[Any, ...]:
    if strides is None:
        _check_usual(rows)
        usual = _strided(CATALOG[_family(rows)].table.body)
        if len(usual) != len(_strided(rows)):
            raise InputError(
                f"it has {len(_strided(rows)) - 1} blocks, but {_family(rows)} has {len(usual) - 1}, and does not "
                "tell their strides; give the whole model, not only its weights"
            )
        strides = tuple(row.stride for row in usual)
        _check_stages(_strided(rows), usual)
    left = list(strides)
    kept: list[Any] = []
    for index, row in enumerate(rows):
        counted = index == 0 or isinstance(row, Separable | Inverted)
        kept.append(replace(row, stride=left.pop(0)) if counted and not isinstance(row, MaxPool) else row)
    return tuple(kept)


def _width(table: Table, rows: Sequence[Any]) -> float | None:
    """Find the width at which a table has these channels, expansions and kernels."""
    layers = [row for row in table.body if not isinstance(row, MaxPool)]
    if [_form(row) for row in layers] != [_form(row) for row in rows]:
        return None
    wanted = [row.channels for row in rows if not isinstance(row, MaxPool)]
    for width in WIDTHS:
        style = Style(width, table.rounding, table.norm_epsilon, table.padding)
        if [_channels(row, style) for row in layers] == wanted:
            return width
    return None


def _form(row: Any) -> tuple[object, ...]:
    expands = (row.expand, row.always_expand) if isinstance(row, Inverted) else ()
    return (row.kind, row.kernel, *expands)


def _channels(row: Any, style: Style) -> int:
    if isinstance(row, Conv) and row.widen_only:
        style = replace(style, width=max(1.0, style.width))
    return style.channels(row.channels)


def _head_fits(table: Table, width: float, foreign: Foreign, size: int) -> bool:
    """Say whether the classifier's inputs are the head's: tells networks of one body apart."""
    if not isinstance(table.head, FlatHead):
        return True
    # TensorFlow flattens a map with its channels last, so that its classifier reads another order.
    linear = of_kind(foreign.layers, "linear")
    if foreign.padding != "symmetric" or not linear:
        return False
    features = Architecture("", width, size, "custom", table).plan().features.channels
    return bool(linear[-1].arrays["weight"].shape[1] == features)
