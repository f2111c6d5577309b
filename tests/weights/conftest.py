from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.models.blocks import ConvNorm
from mobilenets.models.network import Network
from mobilenets.verbs.models import create_model
from mobilenets.weights.layers import Foreign, Layer, conv, linear, norm


def disturb(network: Network, seed: int = 0) -> Network:
    """Give every parameter and statistic a value of its own, in ranges that keep the logits alive."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.3, 2, generator=random)
            elif name.endswith("norm.weight"):
                value.uniform_(0.5, 1.5, generator=random)
            elif name.endswith(("running_mean", "bias")):
                value.normal_(0, 0.3, generator=random)
            elif value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=random)
    return network.eval()


def layers_of(network: Network) -> tuple[Layer, ...]:
    """Describe a network as a reader would: its layers under names that mean nothing."""
    found: list[Layer] = []
    for part in network.modules():
        if isinstance(part, ConvNorm):
            arrays = {name: value.numpy().copy() for name, value in part.norm.state_dict().items() if value.ndim}
            found.append(conv(f"c{len(found)}", part.conv.weight.detach().numpy().copy()))
            found.append(norm(f"n{len(found)}", *arrays.values()))
    if network.classes:
        head = (value.numpy().copy() for value in network.classifier.state_dict().values())
        found.append(linear("head", *head))
    return tuple(found)


@pytest.fixture
def foreign_of() -> Callable[[Network], Foreign]:
    def make(network: Network) -> Foreign:
        table = network.architecture.table
        return Foreign("a test's", layers_of(network), table.padding, table.norm_epsilon)

    return make


@pytest.fixture(scope="session")
def disturbing() -> Callable[[Network], Network]:
    """Give ``disturb``, for a network that a test built."""
    return disturb


@pytest.fixture
def disturbed() -> Callable[..., Network]:
    """Give ``disturbed(name, classes, width, ...)``: a network in which no two numbers are alike."""

    def make(*arguments: Any, **settings: Any) -> Network:
        return disturb(create_model(*arguments, **settings))

    return make


@pytest.fixture
def compared(record_property: Callable[[str, object], None]) -> Callable[[str, str, np.ndarray, np.ndarray], None]:
    """Give ``compared(format, with, ours, theirs)``: they agree to 1e-4 of their range, and the table has the rest."""

    def check(kind: str, what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        assert ours.shape == theirs.shape
        # Logits that hardly differ would agree with anything.
        assert np.ptp(theirs) > 0.1
        difference = float(np.abs(ours - theirs).max() / np.ptp(theirs))
        record_property("parity", (kind, what, difference))
        assert difference <= 1e-4

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of docs/measured/weights.md."""
    seen: dict[tuple[str, str], float] = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "parity":
                kind, what, difference = value
                seen[kind, what] = max(difference, seen.get((kind, what), 0.0))
    for (kind, what), difference in sorted(seen.items()):
        terminalreporter.write_line(f"| {kind} | {what} | {difference:.1e} |")
