"""Whose names a file's layers have, and what that project builds and trains with."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mobilenets.errors import InputError
from mobilenets.weights.layers import TENSORFLOW_INPUT, TORCH_INPUT


@dataclass(frozen=True)
class Source:
    """A project whose names are known.

    ``mark`` is the start of a module's name that only this source has, behind what wraps its network; ``mindspore``
    whether it is one of MindSpore's; ``epsilon``, ``padding`` and ``preprocessing`` are what it builds and trains
    with; ``refused`` says why its networks cannot be used here. ``without`` is what no name of it may have.

    ``activations`` are those of its body; ``excited`` says that squeeze-and-excitation belongs to it, and ``staged``
    that its names tell the strides of a network with other numbers of blocks.
    """

    name: str
    mark: str
    epsilon: float = 1e-5
    padding: str = "symmetric"
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: TORCH_INPUT)
    mindspore: bool = False
    refused: str = ""
    without: str = ""
    activations: tuple[str, ...] = ("relu6",)
    excited: bool = False
    staged: bool = False

    def prefix(self, names: Collection[str]) -> str | None:
        """Give what stands before this source's own names in a file, or None where none of them is its."""
        found = next((found for name in names if (found := re.search(rf"(?:^|\.)(?={self.mark})", name))), None)
        if found is None or (self.without and any(re.search(self.without, name) for name in names)):
            return None
        return found.string[: found.end()]


_IMAGENET: Mapping[str, Any] = {**TORCH_INPUT, "interpolation": "bicubic"}
_HALVES: Mapping[str, Any] = {**TENSORFLOW_INPUT, "interpolation": "bicubic"}
_RELU = "these are the names of MindCV's V1, which has ReLU where this package has ReLU6; give a V1 from another source"
_CIFAR = (
    "the names are those of kuangliu/pytorch-cifar, whose MobileNets have ReLU where this package has ReLU6, with "
    "other strides, for 32 pixels; give weights of another source"
)
# The body of this package's networks; ``weights`` of their own folder say more in model.json.
OURS = Source(
    "mobilenets",
    r"body\.(conv|separable|inverted|fused|universal)\d",
    1e-3,
    preprocessing=_HALVES,
    activations=(),
    excited=True,
)
_V3: Mapping[str, Any] = {"activations": ("relu", "hard_swish"), "excited": True}
_V3_MINIMALISTIC: Mapping[str, Any] = {"activations": ("relu",), "without": r"\.se\."}
# Read in their own files: timm models/efficientnet.py (_gen_mobilenet_v1, _gen_mobilenet_v2 and default_cfgs) and
# models/mobilenetv3.py (_gen_mobilenet_v3, _gen_mobilenet_v4), torchvision models/mobilenetv2.py and mobilenetv3.py,
# transformers models/mobilenet_v[12], MindSpore's models official/cv/MobileNet, mindcv models/mobilenet_v*.py. The
# first whose mark is found is taken. timm has minimalistic V3s from TensorFlow alone (tf_mobilenetv3_*_minimal_100);
# those with squeeze-and-excitation have the same names from both (TENSORFLOWS_V3).
SOURCES = (
    OURS,
    Source("transformers", r"conv_stem\.(first_conv\.)?convolution$", 1e-3, "same", TENSORFLOW_INPUT),
    Source("timm", r"blocks\.\d+\.\d+\.pw_proj\.conv", preprocessing=_IMAGENET, activations=("relu",)),
    Source("timm", r"blocks\.\d+\.\d+\.conv$", 1e-3, "same", TENSORFLOW_INPUT, **_V3_MINIMALISTIC),
    Source("timm", r"blocks\.\d+\.\d+\.conv$", preprocessing=_IMAGENET, **_V3),
    Source("timm", r"blocks\.\d+\.\d+\.conv_pwl", preprocessing=_IMAGENET, staged=True),
    Source("timm", r"blocks\.\d+\.\d+\.conv_dw", preprocessing=_HALVES, staged=True),
    Source("the model zoo", r"features\.\d+\.(conv\.\d+\.)?features\.\d+$", mindspore=True),
    Source("the model zoo", r"network\.\d+\.[01]$", padding="same", mindspore=True),
    Source("MindCV", r"features\.\d+\.layers\.\d+$", mindspore=True),
    Source("MindCV", r"features\.\d+\.3$", mindspore=True, refused=_RELU),
    Source("torchvision", r"features\.\d+\.conv\.\d+"),
    Source("torchvision", r"features\.\d+\.block\.\d+\.\d", 1e-3, **_V3),
    Source("pytorch-cifar", r"layers\.\d+\.conv2$", refused=_CIFAR),
)

# What timm's tf_mobilenetv3_* differ in from its mobilenetv3_*, under the same names: fields of ``Foreign``.
TENSORFLOWS_V3: Mapping[str, Any] = {"padding": "same", "epsilon": 1e-3, "preprocessing": TENSORFLOW_INPUT}

# The blocks of each stage and the stride of its first, by what timm's names tell (blocks.STAGE.BLOCK).
_STAGES = {
    (1, 2, 3, 4, 3, 3, 1): (1, 2, 2, 2, 1, 2, 1),
    (1, 2, 2, 6, 2): (1, 2, 2, 2, 2),
}


def find_source(names: Collection[str], mindspore: bool) -> tuple[Source | None, str]:
    """Find whose names these are, and what stands before them; raises ``InputError`` for what cannot be used here."""
    for source in SOURCES:
        prefix = source.prefix(names) if mindspore or not source.mindspore else None
        if prefix is not None:
            if source.refused:
                raise InputError(source.refused)
            return source, prefix
    return None, ""


def stage_strides(names: Collection[str]) -> tuple[int, ...] | None:
    """Read the strides off timm's names, for a network with other numbers of blocks than the paper's.

    Gives those of the first convolution and each block; None for the paper's numbers. Raises ``InputError`` where the
    stages are not those of a MobileNet.
    """
    found = (re.match(r"blocks\.(\d{1,3})\.(\d{1,3})\.", name) for name in names)
    blocks = {(int(match[1]), int(match[2])) for match in found if match}
    counts = tuple(sum(stage == number for stage, _ in blocks) for number in range(1 + max(blocks, default=(0, 0))[0]))
    if counts in _STAGES:
        return None
    strides = next((strides for usual, strides in _STAGES.items() if len(usual) == len(counts)), None)
    if strides is None or 0 in counts:
        raise InputError(
            f"its {len(counts)} stages of {', '.join(map(str, counts))} blocks are not a MobileNetV1 or V2 from "
            "timm; give the weights of one of these"
        )
    each = [stride if not block else 1 for stride, count in zip(strides, counts, strict=True) for block in range(count)]
    return 2, *each
