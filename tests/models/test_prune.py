"""A pruned network is a narrower one of an ordinary table, and computes what the masked one computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import CATALOG, describe
from mobilenets.models.network import Network
from mobilenets.models.prune import as_it_is, groups, narrowed, prune
from mobilenets.models.saved import mismatch


def lively(name: str, width: float = 0.5, size: int = 32) -> Network:
    """Give a network whose BatchNorms have seen something."""
    torch.manual_seed(0)
    network = Network(describe(name, width, size), 5)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 2)
    return network.eval()


def hold(flags: np.ndarray) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    mask = torch.from_numpy(~flags).float()[:, None, None]
    return lambda _module, _inputs, output: output * mask


@pytest.mark.parametrize("name", list(CATALOG))
def test_the_table_as_it_is_has_the_same_layers(name: str) -> None:
    architecture = describe(name, 0.35, 64)
    exact = as_it_is(architecture, 5)
    assert exact.plan(5).operations == architecture.plan(5).operations
    assert Architecture.from_json(exact.to_json()) == exact


@pytest.mark.parametrize("name", list(CATALOG))
def test_it_computes_what_the_masked_network_computes(name: str) -> None:
    network = lively(name)
    found = groups(network.architecture, network.plan)
    rng = np.random.default_rng(1)
    gone = {group.name: rng.random(group.channels) < 0.4 for group in found}
    for flags in gone.values():
        flags[0] = False
    pruned = prune(network, gone)
    assert pruned.plan.parameters < 0.8 * network.plan.parameters
    assert sum(p.numel() for p in pruned.parameters()) == pruned.plan.parameters
    assert mismatch(Network(pruned.architecture, 5).state_dict(), pruned.state_dict()) is None
    for group in found:
        for layer in (group.name, *group.filters):
            network.get_submodule(layer).register_forward_hook(hold(gone[group.name]))
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        wanted, given = network(images), pruned(images)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_channels_that_a_residual_is_added_to_stay() -> None:
    network = Network(describe("mobilenet_v2", 1.0, 64), 5)
    names = [group.name for group in groups(network.architecture, network.plan)]
    assert [name for name in names if name.endswith("expand")] == [f"body.inverted{i}.expand" for i in range(2, 18)]
    assert [name for name in names if name.endswith("project")] == ["body.inverted1.project", "body.inverted17.project"]
    assert names[0] == "body.conv0"  # its channels are filtered and projected by the first block, which adds nothing


def test_a_count_of_channels_is_checked() -> None:
    architecture = describe("mobilenet_v2", 1.0, 64)
    plan = architecture.plan(5)
    with pytest.raises(InputError, match=r"body\.inverted3\.project: not a group"):
        narrowed(architecture, plan, {"body.inverted3.project": 8})
    for count in (0, 145):
        with pytest.raises(InputError, match="give 1 to 144"):
            narrowed(architecture, plan, {"body.inverted3.expand": count})
    # No residual comes where the channels come to agree: 32 to 16, and 32 to 32.
    agreeing = narrowed(architecture, plan, {"body.conv0": 16}).plan(5).blocks[1]
    assert agreeing.input.shape == agreeing.output.shape and not agreeing.residual
    # As many inside as come in: the layer that expands stays.
    same = narrowed(architecture, plan, {"body.inverted3.expand": 24})
    assert "body.inverted3.expand" in [part.name for part in same.plan(5).operations]
