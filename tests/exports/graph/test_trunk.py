"""The first blocks of a network in ONNX Runtime give what they give in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobilenets.exports.graph.trunk import open_trunk
from mobilenets.models.catalog import CATALOG
from mobilenets.models.engine import to_tensor
from mobilenets.verbs.models import create_model


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("blocks", [1, 4, -1, 0])
def test_the_same_as_in_pytorch(name: str, blocks: int) -> None:
    torch.manual_seed(0)
    network = create_model(name, 3, 0.25, size=33).eval()
    # 0 and below count from the end.
    count = blocks if blocks > 0 else len(network.body) + blocks
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_var, 0.1, 0.5)
    images = np.random.default_rng(0).standard_normal((5, 33, 33, 3)).astype(np.float32)
    trunk = open_trunk(network, count)
    assert trunk is not None
    with torch.inference_mode():
        wanted = network.trunk(to_tensor(images, torch.device("cpu")), count).permute(0, 2, 3, 1).numpy()
    found = trunk(images)
    assert found.shape == wanted.shape and found.flags.c_contiguous
    np.testing.assert_allclose(found, wanted, atol=1e-4 * float(np.abs(wanted).max()))
    # What is frozen is taken as it was when the trunk was opened.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(trunk(images), found)


def test_a_picture_alone_or_among_others() -> None:
    network = create_model("mobilenet_v2", 3, 0.35, size=64).eval()
    images = np.random.default_rng(1).standard_normal((11, 64, 64, 3)).astype(np.float32)
    trunk = open_trunk(network, len(network.body))
    assert trunk is not None
    whole = trunk(images)
    for cut in (1, 2, 3, 5, 8):
        apart = [trunk(images[start : start + cut]) for start in range(0, 11, cut)]
        np.testing.assert_array_equal(np.concatenate(apart), whole)
    np.testing.assert_array_equal(trunk(images[::-1]), whole[::-1])
