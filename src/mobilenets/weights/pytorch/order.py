"""The forward order of layers that only their names tell: those of no known source, in a file that is merely sorted.

Where names do not tell, the file is refused: two BatchNorms of one shape that change places would go unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise

from mobilenets.errors import InputError
from mobilenets.weights.layers import Foreign, Layer, of_kind
from mobilenets.weights.recognise import recognise

# A part of a name, cut into words and numbers; a number sorts by its value and before any word.
Piece = tuple[int, str]
Parts = tuple[tuple[Piece, ...], ...]

# What the halves of a pair are called, said of neither's place: expand_conv and expand_bn, convs.0 and norms.0.
_PAIRED = re.compile(r"^(convs?|bns?|norms?)|(convs?|bns?|norms?)$")
# Words of what comes behind the blocks. The first convolution needs no word: it alone takes a picture's 3 channels.
_END = {"head", "last", "final", "classifier", "output"}


def piece(text: str) -> Piece:
    """Give a key for one word or number; ``int()`` would refuse thousands of digits."""
    if text[0] in "0123456789":
        digits = text.lstrip("0")
        return len(digits) - (1 << 62), digits
    return 0, text


def natural(names: Iterable[str]) -> list[str]:
    """Sort names with the numbers in them by their value."""
    return sorted(names, key=lambda name: [[piece(part) for part in _cut(part)] for part in name.split(".")])


def is_sorted(names: Sequence[str]) -> bool:
    """Say whether names stand in an order that sorting gives, and that therefore tells nothing more."""
    return list(names) in (sorted(names), natural(names))


def by_names(layers: Sequence[Layer], bare: Mapping[str, str]) -> tuple[Layer, ...]:
    """Put layers into forward order, each kind for itself.

    Convolutions go by the numbers in their names. Each BatchNorm follows the convolution that shares its name
    (``expand_conv`` and ``expand_bn``), or that stands before it in a sequence of numbers, or that is alone with it.

    - ``layers``: all layers of a file.
    - ``bare``: their names without what wraps the whole network.

    Raises ``InputError`` where that leaves two orders open.
    """
    paths = {layer.name: _path(bare[layer.name]) for layer in layers}
    kinds = {kind: _numbered(of_kind(layers, kind), paths) for kind in ("conv", "depthwise", "linear")}
    norms = of_kind(layers, "norm")
    if norms and kinds["depthwise"]:
        partners = _pairs([*kinds["conv"], *kinds["depthwise"]], norms, paths, bare)
        norms = [partners[name] for name in _forward(kinds["conv"], kinds["depthwise"]) if name in partners]
    return (*kinds["conv"], *kinds["depthwise"], *norms, *kinds["linear"])


def _untold(layer: Layer) -> InputError:
    return InputError(
        f"the order of its layers does not follow from its names ({layer.name[:60]!r}); save it with "
        "torch.save(model.state_dict()) unsorted, or rename to torchvision's"
    )


def _cut(part: str) -> list[str]:
    return re.findall(r"[0-9]+|[^0-9]+", part) or [" "]


def _path(name: str) -> Parts:
    """Cut a name into words and numbers, without the words that tell a convolution from its BatchNorm."""
    path = []
    for part in name.split("."):
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", part).lower()
        words = re.sub(r"(conv|norm|bn)_?2d", r"\1", re.sub(r"batch_?norm", "norm", words))
        bare = (_PAIRED.sub("", word) for word in re.split(r"[_-]|(?<=[a-z])(?=[0-9])", words))
        path.append(tuple(piece(text) for word in bare if word for text in _cut(word)))
    return tuple(path)


def _shared(one: Parts, other: Parts) -> tuple[int, bool]:
    """Count the parts from the start that two names share, and say whether a number is what tells them apart."""
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            first = next(((a, b) for a, b in zip(mine, theirs, strict=False) if a != b), None)
            return index, first is not None and max(first)[0] < 0
    return min(len(one), len(other)), False


def _numbered(layers: Sequence[Layer], paths: Mapping[str, Parts]) -> list[Layer]:
    """Sort layers of one kind; those of one shape must differ by numbers, for nothing else would show an exchange."""

    def place(layer: Layer) -> tuple[int, Parts]:
        if layer.kind == "conv" and layer.arrays["weight"].shape[1] == 3:
            return 0, paths[layer.name]
        words = {text for part in paths[layer.name][:1] for _, text in part}
        return 2 if words & _END else 1, paths[layer.name]

    ordered = sorted(layers, key=place)
    for _, group in groupby(sorted(ordered, key=_shape), key=_shape):  # sorted() keeps the order within a shape
        for one, other in pairwise(group):
            told = _shared(paths[one.name], paths[other.name])[1]
            if not told or place(one)[0] != place(other)[0]:
                raise _untold(other)
    return ordered


def _shape(layer: Layer) -> tuple[int, ...]:
    return layer.arrays["weight"].shape


def _pairs(
    convs: Sequence[Layer], norms: Sequence[Layer], paths: Mapping[str, Parts], bare: Mapping[str, str]
) -> dict[str, Layer]:
    """Give the BatchNorm of each convolution that has one, by the convolution's name."""
    parents = {name: name.rpartition(".")[0] for name in bare.values()}
    partners: dict[str, Layer] = {}
    for norm in norms:
        path, parent = paths[norm.name], parents[bare[norm.name]]
        same = [conv for conv in convs if paths[conv.name] == path]
        alone = [conv for conv in convs if parents[bare[conv.name]] == parent]
        if len(same) != 1:
            same = _before(path, convs, paths)
        if not same and len(alone) == 1 and sum(parents[bare[other.name]] == parent for other in norms) == 1:
            same = alone
        if len(same) != 1 or same[0].name in partners or _shape(same[0])[0] != _shape(norm)[0]:
            raise _untold(norm)
        partners[same[0].name] = norm
    return partners


def _before(path: Parts, convs: Sequence[Layer], paths: Mapping[str, Parts]) -> list[Layer]:
    """Find the convolution before a BatchNorm, where numbers tell it from all those that are as near by name."""
    shared = {conv.name: _shared(paths[conv.name], path) for conv in convs}
    nearest = max(count for count, _ in shared.values())
    near = [conv for conv in convs if shared[conv.name][0] == nearest]
    if not all(shared[conv.name][1] for conv in near):
        return []
    return sorted((conv for conv in near if paths[conv.name] < path), key=lambda conv: paths[conv.name])[-1:]


def _forward(convs: Sequence[Layer], depthwise: Sequence[Layer]) -> list[str]:
    """Name the convolutions of both kinds as the network that they are runs them."""
    plan = recognise(Foreign("", (*convs, *depthwise), "symmetric", 1e-5)).plan()
    kinds = {True: iter(depthwise), False: iter(convs)}
    # A file may lack the layers of the head, or have others behind them.
    names = [layer.name for part in plan.convolutions if (layer := next(kinds[part.depthwise], None))]
    return [*names, *(layer.name for layer in kinds[False])]
