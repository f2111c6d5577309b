"""Which of our networks a foreign file's layers are: read off their shapes, so that nobody has to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from mobilenets.errors import InputError
from mobilenets.models import rows
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import CATALOG
from mobilenets.models.operations import Conv, MeanPool
from mobilenets.models.plan import Plan
from mobilenets.models.tables import Table, reduced_tail
from mobilenets.weights.classifier import find_head
from mobilenets.weights.layers import Foreign, Layer, of_kind, strides_of

# Several widths may round to one network (0.5 and 0.51): the one that people use is tried first.
USUAL_WIDTHS = (1.0, 0.25, 0.35, 0.5, 0.75, 1.3, 1.4)
WIDTHS = (*USUAL_WIDTHS, *(n / 20 for n in range(1, 61)), *(n / 100 for n in range(1, 301)))
_FEWEST = 8


# Outputs, inputs of a group, and kernel of a convolution.
Shape: TypeAlias = tuple[int, int, int]
Shapes: TypeAlias = tuple[Shape, ...]
# Rows that can be read off shapes, for a table that no catalogue has.
Known: TypeAlias = rows.Conv | rows.Separable | rows.Inverted


def recognise(foreign: Foreign, *, size: int | None = None, variant: str | None = None) -> Architecture:
    """Describe the network that the layers are, with the padding and epsilon of where they come from.

    The channels and expansions are read off the shapes. They give a network of the catalogue with its width where
    one fits, and else a table of their own (variant ``custom``, rounding ``exact``). Strides are not in weights: they
    are the file's where it tells them, and else those of the catalogue's network with as many blocks.

    ``size`` is the input side in pixels, by default the file's, and else the network's usual one; ``variant`` is
    ``standard`` or ``small``, for a file that does not tell the strides, by default ``standard``.

    Raises ``InputError`` when the layers are not those of a MobileNet.

    """
    if variant not in (None, "standard", "small"):
        raise InputError(f"variant {variant!r}: choose standard or small")
    convs, depthwise = (tuple(map(_shape, of_kind(foreign.layers, kind))) for kind in ("conv", "depthwise"))
    _check(convs, depthwise)
    strides = foreign.strides if len(foreign.strides or ()) == 1 + len(depthwise) else None
    for name, reading, table in _known([variant] if variant else ["standard", "small"] if strides else ["standard"]):
        side = _size(size, foreign, CATALOG[name].size)
        found = _at_width(Architecture(name, 1.0, side, reading, table), convs, depthwise)
        if found is None or (strides and strides_of(found.plan()) != strides):
            continue
        if _head_fits(found, foreign) and _activates(found.plan(), foreign):
            return replace(found, table=_with_habits(_with_head(found, foreign), foreign))
    read = _read_rows(convs, depthwise)
    _check_activations(foreign)
    table = Table(_with_strides(read, strides), rows.PooledHead(), rounding="exact")
    name = _family(read)
    side = _size(size, foreign, CATALOG[name].size)
    return Architecture(name, 1.0, side, "custom", _with_habits(table, foreign))


def _known(variants: Sequence[str]) -> Iterator[tuple[str, str, Table]]:
    """Give the catalogue's tables, and those of V3 for detection: the network's name, the variant and the table."""
    for name, entry in CATALOG.items():
        tables = {"standard": entry.table, "small": entry.small}
        yield from ((name, variant, table) for variant in variants if (table := tables[variant]) is not None)
    for name in ("mobilenet_v3_large", "mobilenet_v3_small"):
        yield name, "custom", reduced_tail(CATALOG[name].table)


def _at_width(described: Architecture, convs: Shapes, depthwise: Shapes) -> Architecture | None:
    """Find the width at which a network has these convolutions; those of its head may be missing, and others follow."""
    for width in dict.fromkeys(WIDTHS):
        one = replace(described, width=width)
        plan = one.plan()
        body = [part for block in plan.blocks for part in block.operations if isinstance(part, Conv)]
        filters = tuple(part.weight_shape[:3] for part in body if part.depthwise)
        ours = tuple(part.weight_shape[:3] for part in body if not part.depthwise)
        if (len(filters), [shape[2] for shape in filters]) != (len(depthwise), [shape[2] for shape in depthwise]):
            return None
        if (ours, filters) == (convs[: len(ours)], depthwise):
            return one
    return None


def _with_head(described: Architecture, foreign: Foreign) -> Table:
    """Give the table, with plain pooling in place of a head whose layers the file lacks."""
    table, plan = described.table, described.plan()
    if find_head(foreign, plan)[0] or not any(isinstance(part, Conv) for part in plan.head):
        return table
    return replace(table, head=rows.PooledHead(table.head.dropout, table.head.l2))


def _size(size: int | None, foreign: Foreign, usual: int) -> int:
    return next(side for side in (size, foreign.size, usual) if side is not None)


def _with_habits(table: Table, foreign: Foreign) -> Table:
    activation = foreign.activation or table.activation
    return replace(table, padding=foreign.padding, norm_epsilon=foreign.epsilon, activation=activation)


def _check(convs: Shapes, depthwise: Shapes) -> None:
    if depthwise and convs and convs[0][1] != 3:
        raise InputError(
            "its first convolution does not take the 3 channels (RGB) that pictures are read in; give a network made "
            "for colour pictures"
        )
    if not depthwise or not convs:
        raise InputError(
            f"it holds {len(convs)} convolutions and {len(depthwise)} depthwise ones, unlike any MobileNet; give "
            "the weights of a whole MobileNet"
        )


def _read_rows(convs: Shapes, depthwise: Shapes) -> tuple[Known, ...]:
    """Read the body of a V1 or V2 as rows that hold its channels as they are, each with stride 1."""
    for read in (_read_v1(convs, depthwise), _read_v2(convs, depthwise, False), _read_v2(convs, depthwise, True)):
        if read is not None:
            return read
    raise InputError(
        f"its {len(convs)} convolutions and {len(depthwise)} depthwise ones do not follow one another as in "
        "MobileNetV1 or V2, and are not those of a V3 or V4 at any width; give the weights of one of these"
    )


def _activates(plan: Plan, foreign: Foreign) -> bool:
    """Say whether a body activates as those of the file's source do."""
    ours = {part.activation for block in plan.blocks for part in block.operations if isinstance(part, Conv)}
    return not foreign.activations or set(foreign.activations) == ours - {"none", "hard_sigmoid"}


def _check_activations(foreign: Foreign) -> None:
    """Refuse a body of V1's or V2's kind where the file's source has another activation than ReLU6."""
    if foreign.activations not in ((), ("relu6",)):
        raise InputError(
            f"its source activates with {' and '.join(foreign.activations)}, and its shapes are those of MobileNetV1 "
            "or V2, which have ReLU6; its answers would differ"
        )


def _shape(layer: Layer) -> Shape:
    outputs, inputs, kernel, _ = layer.arrays["weight"].shape
    return outputs, inputs, kernel


def _read_v1(convs: Shapes, depthwise: Shapes) -> tuple[Known, ...] | None:
    channels, _, kernel = convs[0]
    read: list[Known] = [rows.Conv(channels, kernel=kernel)]
    if len(convs) < 1 + len(depthwise):
        return None
    for (filtered, _, kernel), (outputs, inputs, side) in zip(depthwise, convs[1:], strict=False):
        if (filtered, inputs, side) != (channels, channels, 1):
            return None
        read.append(rows.Separable(outputs, kernel=kernel))
        channels = outputs
    return tuple(read)


def _read_v2(convs: Shapes, depthwise: Shapes, always_expand: bool) -> tuple[Known, ...] | None:
    channels, _, kernel = convs[0]
    read: list[Known] = [rows.Conv(channels, kernel=kernel)]
    rest: Iterator[Shape] = iter(convs[1:])
    for expanded, _, kernel in depthwise:
        if (always_expand or expanded != channels) and next(rest, None) != (expanded, channels, 1):
            return None
        outputs, inputs, side = next(rest, (0, 0, 0))
        if (inputs, side) != (expanded, 1) or expanded % channels:
            return None
        read.append(rows.Inverted(outputs, kernel=kernel, expand=expanded // channels, always_expand=always_expand))
        channels = outputs
    outputs, inputs, kernel = next(rest, (0, 0, 0))
    if inputs != channels:
        return None
    return (*read, rows.Conv(outputs, kernel=kernel))


def _family(read: Sequence[Known]) -> str:
    return "mobilenet_v2" if any(isinstance(row, rows.Inverted) for row in read) else "mobilenet_v1"


def _strided(read: Sequence[object]) -> tuple[Known, ...]:
    """Those whose strides ``Foreign.strides`` lists: the first convolution and each with a depthwise layer."""
    first = [row for row in read[:1] if isinstance(row, rows.Conv)]
    return (*first, *(row for row in read if isinstance(row, rows.Separable | rows.Inverted)))


def _check_usual(read: Sequence[Known]) -> None:
    """Refuse kernels that MobileNets do not have, where nothing but the rows tells strides and activations.

    MnasNet, FBNet, ProxylessNAS and EfficientNet-Lite are of the same blocks, and with other strides or with ReLU.
    """
    kernels = sorted({row.kernel for row in read} - {3})
    if kernels:
        raise InputError(
            f"it has kernels of {kernels[-1]}×{kernels[-1]} but MobileNetV1 and V2 have 3×3, and the weights alone "
            "do not tell strides and activations; save the whole model"
        )


def _check_stages(read: Sequence[Known], usual: Sequence[Known]) -> None:
    """Refuse channels that change or stay at other blocks than the paper's: the strides are then others, too."""
    blocks, papers = ([row.channels for row in some] for some in (read, usual))
    for number in range(1, len(blocks)):
        stays = blocks[number] == blocks[number - 1] > _FEWEST  # to which narrow networks are rounded
        # Where V2's channels stay there is a shortcut, which needs them to.
        shortcut = isinstance(read[number], rows.Inverted) and papers[number] == papers[number - 1]
        changes = blocks[number] != blocks[number - 1]
        if (stays and usual[number].stride > 1) or (shortcut and changes):
            raise InputError(
                f"its block {number} has {blocks[number]} channels after {blocks[number - 1]}, unlike the paper, "
                "and the weights alone do not tell the strides; save the whole model"
            )


def _with_strides(read: tuple[Known, ...], strides: tuple[int, ...] | None) -> tuple[Known, ...]:
    strided = _strided(read)
    if strides is None:
        _check_usual(strided)
        usual = _strided(CATALOG[_family(read)].table.body)
        if len(usual) != len(strided):
            raise InputError(
                f"it has {len(strided) - 1} blocks, but {_family(read)} has {len(usual) - 1}, and does not "
                "tell their strides; give the whole model, not only its weights"
            )
        strides = tuple(row.stride for row in usual)
        _check_stages(strided, usual)
    changed = tuple(replace(row, stride=stride) for row, stride in zip(strided, strides, strict=True))
    return (*changed, *read[len(strided) :])


def _head_fits(described: Architecture, foreign: Foreign) -> bool:
    """Say whether the classifier's inputs are the head's: tells networks of one body apart."""
    plan = described.plan()
    if isinstance(plan.pool[0], MeanPool):
        return True
    # TensorFlow flattens a map with its channels last, so that its classifier reads another order.
    linear = of_kind(foreign.layers, "linear")
    if foreign.padding != "symmetric" or not linear:
        return False
    return bool(linear[-1].arrays["weight"].shape[1] == plan.features.channels)
