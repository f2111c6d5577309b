"""What goes with idle channels is what a narrower network lacks, whatever stands between the layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from mobilenets.measure.kernels import removable
from mobilenets.models.architecture import Architecture
from mobilenets.models.builder import Builder
from mobilenets.models.operations import Value
from mobilenets.models.plan import Plan
from mobilenets.models.rows import Conv, FlatHead, Head, PooledHead, Row
from mobilenets.models.tables import Table


@dataclass(frozen=True)
class Squeezed(Row):
    """Expand, filter twice, scale by a gate, project: ``wide`` channels inside."""

    kind: ClassVar[str] = "squeezed"
    title: ClassVar[str] = "squeezed"
    channels: int
    wide: int
    projects: bool = True

    def write(self, plan: Builder, x: Value) -> Value:
        y = plan.conv("expand", x, self.wide)
        y = plan.depthwise("first", plan.activation(y, "hard_swish", "swish"), 3, 2, activation="none")
        y = plan.depthwise("second", y, 5)
        gate = plan.conv("gate.reduce", plan.mean_pool(y, "gate.mean"), 4, norm=False, bias=True)
        gate = plan.conv("gate.expand", gate, self.wide, norm=False, bias=True, activation="hard_sigmoid")
        y = plan.scale(y, gate, "scaled")
        return (
            plan.add(plan.conv("project", y, self.channels), plan.conv("side", y, self.channels))
            if self.projects
            else y
        )


POOLED = PooledHead()


def planned(row: Row, head: Head = POOLED) -> Plan:
    return Architecture("own", 1.0, 16, "custom", Table((Conv(6), row), head, "exact")).plan(3)


@pytest.mark.parametrize("layer", ["first", "second"])
@pytest.mark.parametrize("head", [PooledHead(), FlatHead()])
@pytest.mark.parametrize("projects", [True, False])
def test_gates_branches_and_a_classifier(layer: str, head: Head, projects: bool) -> None:
    row = Squeezed(8, 10, projects)
    wide, narrow = planned(row, head), planned(replace(row, wide=7), head)
    found = removable(wide, {f"body.squeezed1.{layer}": np.isin(np.arange(10), (1, 4, 9))})
    assert found.channels == 3
    assert found.parameters == wide.parameters - narrow.parameters
    assert found.macs == wide.macs - narrow.macs


def test_the_same_channels_of_two_filters_go_once() -> None:
    plan = planned(Squeezed(8, 10))
    idle = np.arange(10) < 2
    one = removable(plan, {"body.squeezed1.first": idle})
    both = removable(plan, {"body.squeezed1.first": idle, "body.squeezed1.second": idle})
    assert (one.parameters, one.macs) == (both.parameters, both.macs)
