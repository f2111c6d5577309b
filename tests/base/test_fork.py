"""A process that was forked after the model was opened answers, and does not wait for threads that are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")

PROGRAM = """
import multiprocessing, sys
import mobilenets
model, photo = sys.argv[1:]
predictor = mobilenets.Predictor(model, threads=4)

def answer(path):
    return predictor(path, top=1)[0].label

if __name__ == "__main__":
    expected = answer(photo)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(answer, [photo] * 4).get(timeout=60) == [expected] * 4
"""


def run(program: str, *words: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    environment.pop("OMP_NUM_THREADS", None)
    given = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(given, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a model whose layers are large enough to be shared out among threads."""
    import mobilenets
    from mobilenets.models.saved import save_weights
    from mobilenets.pictures.preprocess import Preprocessing
    from mobilenets.runtime.bundle import Bundle, write_bundle

    folder = tmp_path_factory.mktemp("large")
    network = mobilenets.create_model("mobilenet_v2", 3, 0.5, size=160)
    save_weights(folder / "model.safetensors", network.state_dict())
    about = Bundle(network.architecture.to_json(), ("a", "b", "c"), Preprocessing(160), {"weights": "random"}, None)
    write_bundle(folder, about)
    return folder


@pytest.mark.parametrize("format", [None, "onnx", "openvino"])
def test_a_forked_worker_answers(format: str | None, large: Path, photos: Path, tmp_path: Path) -> None:
    model = large
    if format is not None:
        pytest.importorskip(format)
        import mobilenets

        model = tmp_path / "exported"
        renamed = tmp_path / "photos"
        for ours, theirs in zip("abc", ("blue", "green", "red"), strict=True):
            (renamed / ours).mkdir(parents=True)
            for picture in (photos / theirs).glob("00[0-3].png"):
                (renamed / ours / picture.name).write_bytes(picture.read_bytes())
        assert mobilenets.export(large, model, format, data=renamed, tolerance=100)["passed"]
    done = run(PROGRAM, model, photos / "red/000.png")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_training_in_a_forked_process(photos: Path, tmp_path: Path) -> None:
    program = """
import os, sys
import torch
torch.set_num_threads(4)
torch.randn(2000, 2000).matmul(torch.randn(2000, 2000)).exp()  # so that the threads are there
import mobilenets
mobilenets.train  # loaded before the fork
if os.fork() == 0:
    settings = dict(model="mobilenet_v1_cifar", width=0.25, size=32, epochs=1, batch=8, threads=4, device="cpu")
    result = mobilenets.train(sys.argv[1], sys.argv[2], **settings)
    os._exit(0 if any("forked" in note for note in result["notes"]) else 3)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""
    done = run(program, photos, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "this process was forked, and PyTorch's threads do not work there: training on one thread" in done.stderr
