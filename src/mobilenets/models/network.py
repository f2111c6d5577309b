"""The network: a table built into a plain ``torch.nn.Module``."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection

from torch import Tensor, nn

from mobilenets.models.architecture import Architecture
from mobilenets.models.blocks import build
from mobilenets.models.dropout import Dropout
from mobilenets.models.int8 import Rounding
from mobilenets.models.plan import Plan

INIT_STD = 0.09
HEAD_INIT_STD = 0.01


class Network(nn.Module):
    """A MobileNet as its ``architecture`` describes it.

    Takes float N×3×H×W and gives N×classes logits, or N×features when ``classes`` is 0. Parameters are named
    after the table: ``body.inverted3.depthwise.conv.weight``, ``classifier.weight``. ``plan`` has all that it computes,
    operation by operation. ``int8`` is how it was trained to be rounded, if it was.
    """

    plan: Plan
    int8: Rounding | None

    def __init__(self, architecture: Architecture, classes: int, plan: Plan | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.classes = classes
        self.int8 = None
        self.plan = architecture.plan(classes) if plan is None else plan
        blocks = ((part.name.removeprefix("body."), build(part.name, part.operations)) for part in self.plan.blocks)
        self.body = nn.Sequential(OrderedDict(blocks))
        self.pool = build("pool", self.plan.pool)
        self.head = build("head", self.plan.head)
        self.features = self.plan.features.channels
        self.dropout = Dropout(architecture.table.head.dropout)
        self.classifier = nn.Linear(self.features, classes) if self.plan.classifier else nn.Identity()
        initialise(self, architecture.table.initial)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Give the logits (or, without a classifier, the pooled features) of a batch.

        With ``start`` the batch is what ``trunk(pictures, start)`` gave, and the blocks after it are run.
        """
        if start == 0:
            pooled = self.pool(self.body(x))
        elif start < len(self.body):
            pooled = self.pool(self.body[start:](x))
        else:
            pooled = x if len(self.plan.pooled.shape) > 1 else x.flatten(1)
        return self.answer(pooled)

    def answer(self, pooled: Tensor) -> Tensor:
        """Give the logits for what ``pool`` gave."""
        out: Tensor = self.classifier(self.dropout(self.head(pooled)))
        return out

    def trunk(self, x: Tensor, blocks: int, start: int = 0) -> Tensor:
        """Give the map after the first ``blocks`` blocks of the body; after all of them pooled, N×values×1×1.

        With ``start`` the batch is what the first ``start`` blocks gave.
        """
        if blocks < len(self.body):
            out: Tensor = self.body[start:blocks](x)
            return out
        pooled: Tensor = self.pool(self.body[start:](x))
        return pooled.flatten(1)[:, :, None, None]

    def kept(self) -> Network:
        """Give the network as it is written down after training."""
        return self

    def l2_penalty(self) -> Tensor | None:
        """Give the classifier's own L2 term of the loss, or None where the table has none."""
        weight = self.architecture.table.head.l2
        if not weight or not isinstance(self.classifier, nn.Linear):
            return None
        return self.classifier.weight.square().sum() * (weight / 2)


def head_names(network: Network, given: Collection[str]) -> frozenset[str]:
    """Name the tensors that stay fresh where ``given`` weights are for other classes.

    They are the classifier's, and those of the head's own layers where none of these is given.
    """
    names = network.state_dict().keys()
    layers = {name for name in names if name.startswith("head.")}
    return frozenset(name for name in names if name.startswith("classifier.")) | (
        layers if layers.isdisjoint(given) else set()
    )


def initialise(module: nn.Module, initial: str = "truncated") -> None:
    """Set fresh weights as the papers' reference code does, by a name of ``mobilenets.models.tables.table.INITIAL``.

    The papers' texts are silent. Of V1 to V3 slim's code draws the weights of convolutions from a truncated normal of
    deviation 0.09 (``mobilenet_v1_arg_scope`` and ``training_scope``). V4's published weights are timm's
    (``_init_weight_goog``): a normal with twice the inverse of a channel's fan-out as its variance. Biases are 0,
    BatchNorm's scale 1 and shift 0. The classifier has 0.01, as in torchvision: no BatchNorm follows it, and logits of
    0.09 start sure and wrong.
    """
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            if isinstance(part, nn.Conv2d) and initial == "fan_out":
                nn.init.normal_(
                    part.weight, std=math.sqrt(2 * part.groups / (part.weight.numel() // part.weight.shape[1]))
                )
            else:
                std = HEAD_INIT_STD if isinstance(part, nn.Linear) else INIT_STD
                nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
