"""What TensorFlow, MindSpore, torchvision and timm computed themselves, beside what their files become here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mobilenets.weights.convert import Converted, convert

FIXTURES = Path(__file__).parents[1] / "fixtures"
TENSORFLOW = FIXTURES / "tensorflow"
Compared = Callable[[str, str, np.ndarray, np.ndarray], None]


def logits(converted: Converted, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return converted.model.network(torch.from_numpy(np.ascontiguousarray(images))).numpy()


@pytest.mark.parametrize("size", [64, 75])
@pytest.mark.parametrize(
    ("files", "kind", "what"),
    [
        (["torch/torchvision_v2_010.pth"], "PyTorch .pth, old format, float16", "torchvision 0.28, V2"),
        (["torch/timm_v2_005.pth"], "PyTorch .pth, zip, bfloat16", "timm 1.0.31, V2"),
        (["torch/timm_v1_010.safetensors"], "safetensors", "timm 1.0.31, V1"),
        (["mindspore/v2.ckpt"], "MindSpore .ckpt", "MindSpore 2.10, V2 of its model zoo"),
        (["mindspore/v2_backbone.ckpt", "mindspore/v2_head.ckpt"], "MindSpore .ckpt, head apart", "MindSpore 2.10, V2"),
        (["mindspore/v1.ckpt"], "MindSpore .ckpt", "MindSpore 2.10, V1 of its model zoo"),
    ],
)
def test_pytorch_and_mindspore(files: list[str], kind: str, what: str, size: int, compared: Compared) -> None:
    first = FIXTURES / files[0].replace("_backbone", "")
    seen = np.load(first.with_suffix(".npz"))
    converted = convert([FIXTURES / file for file in files])
    assert converted.assigned.surplus == ()
    compared(kind, what, logits(converted, seen[f"inputs_{size}"]), seen[f"logits_{size}"])


def pictures(size: int) -> np.ndarray:
    pixels = np.load(TENSORFLOW / "pictures.npz")[f"pictures_{size}"].astype(np.float32)
    return (pixels / 127.5 - 1).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("size", [64, 75])
@pytest.mark.parametrize(
    ("file", "numbers", "kind", "what"),
    [
        ("v1_average.ckpt.index", "v1_average.ckpt", "TensorFlow checkpoint, averaged weights", "slim, V1"),
        ("v2.ckpt.index", "v2.ckpt", "TensorFlow checkpoint, two shards", "slim, V2"),
        ("v1_fused.pb", "v1_fused", "TensorFlow .pb, BatchNorm as one node", "slim, V1"),
        ("v2_apart.pb", "v2_apart", "TensorFlow .pb, BatchNorm taken apart", "slim, V2"),
        ("v1_folded.pb", "v1_folded", "TensorFlow .pb, BatchNorm folded", "slim, V1"),
    ],
)
def test_tensorflow(file: str, numbers: str, kind: str, what: str, size: int, compared: Compared) -> None:
    converted = convert(TENSORFLOW / file)
    seen = np.load(TENSORFLOW / f"{numbers}.npz")[f"logits_{size}"]
    compared(kind, f"TensorFlow 2.21, {what}", logits(converted, pictures(size)), seen)


def test_a_retrained_head_is_the_one_taken(compared: Compared) -> None:
    converted = convert(TENSORFLOW / "v1_retrained.pb")
    seen = np.load(TENSORFLOW / "v1_retrained.npz")["final_logits_64"]
    compared("TensorFlow .pb, retrained head", "TensorFlow 2.21, slim, V1", logits(converted, pictures(64)), seen)
    assert any("is folded into one linear layer" in note for note in converted.notes)  # with the head before it


def test_the_prefix_of_a_checkpoint_and_any_of_its_files_will_do() -> None:
    names = ["v2.ckpt", "v2.ckpt.index", "v2.ckpt.data-00001-of-00002"]
    states = [convert(TENSORFLOW / name).model.network.state_dict() for name in names]
    for state in states[1:]:
        assert all(torch.equal(state[name], value) for name, value in states[0].items())


@pytest.mark.parametrize(
    ("output", "numbers", "classes"),
    [
        (None, "final_logits_64", 4),
        ("final_result", "final_logits_64", 4),
        ("final_result:0", "final_logits_64", 4),
        ("MobilenetV1/Predictions/Reshape", "logits_64", 7),
    ],
)
def test_the_output_that_is_named(output: str | None, numbers: str, classes: int) -> None:
    converted = convert(TENSORFLOW / "v1_retrained.pb", output=output)
    seen = np.load(TENSORFLOW / "v1_retrained.npz")[numbers]
    assert converted.model.network.classes == classes
    np.testing.assert_allclose(logits(converted, pictures(64)), seen, atol=1e-4 * np.ptp(seen))
    said = (
        "the output is final_result (4), the last one in the graph; choose another with --output NAME: "
        "MobilenetV1/Predictions/Reshape (7)"
    )
    assert converted.foreign.assumed == (() if output else (said,))
