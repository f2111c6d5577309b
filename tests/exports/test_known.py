"""A trained run says "none of these", by its file and by PyTorch alike, and so do its exports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.errors import InputError
from mobilenets.runs.predictor import Predictor

PACKAGES = {
    "onnx": (),
    "openvino": ("openvino",),
    "litert": ("litert_torch", "ai_edge_quantizer"),
    "executorch": ("executorch",),
}


def foreign(count: int) -> list[Image.Image]:
    """Draw stripes, of which no animal of the run is made."""
    stripes = np.zeros((24, 24, 3), np.uint8)
    stripes[:, ::4] = 255
    return [Image.fromarray(np.roll(stripes, shift, axis=1)) for shift in range(count)]


def far(predictor: Predictor, pictures: list[Any]) -> list[float | None]:
    return predictor.asked([predictor.prepare(one) for one in pictures])[1]


def test_a_run_calls_foreign_pictures_none_of_these(trained: Any) -> None:
    answers = list(mobilenets.predict(trained.run, foreign(4)))
    assert [answer["known"] for answer in answers] == [False] * 4
    bar = json.loads((trained.run / "model.json").read_bytes())["none_of_these"]
    assert all(answer["distance"] > bar["bar"] for answer in answers)
    known = list(mobilenets.predict(trained.run, trained.data))
    assert np.mean([answer["known"] for answer in known]) > 0.8
    assert bar["pictures"] == 12 and bar["cross_fitted"] and 0 <= bar["rate"] <= bar["interval"][1]


def test_pytorch_and_the_file_agree(trained: Any) -> None:
    pictures = [*foreign(3), *sorted(trained.data.rglob("*.png"))[::9]]
    theirs, ours = far(Predictor(trained.run), pictures), far(Predictor(trained.run, "cpu", runtime="torch"), pictures)
    assert theirs == pytest.approx(ours, abs=0.01)


@pytest.mark.parametrize("form", PACKAGES)
@pytest.mark.filterwarnings("default")  # the converters warn of their own insides
def test_an_export_gives_the_distance(trained: Any, exported: Callable[..., Path], form: str) -> None:
    for part in PACKAGES[form]:
        pytest.importorskip(part, reason=f"needs {part}: docs/install.md has the line")
    file = Predictor(exported(form, "float32", probabilities=True))
    assert far(file, foreign(3)) == pytest.approx(far(Predictor(trained.run), foreign(3)), abs=0.01)


def test_without_its_arrays_a_run_answers_as_before(
    trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained.run / name, tmp_path)
    predictor = Predictor(tmp_path, "cpu", runtime="torch")
    [answer] = predictor.answers([predictor.prepare(foreign(1)[0])])
    assert "known" not in answer and answer["predictions"]
    mobilenets.export(tmp_path, tmp_path / "out", data=trained.data)
    assert "distance.safetensors: not there" in caplog.text and "gives no distance" not in caplog.text


def test_evaluate_counts_false_alarms_and_moves_the_bar(trained: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    result = mobilenets.evaluate(run, trained.data)
    assert result["none_of_these"]["called"] <= 1
    moved = mobilenets.evaluate(run, trained.data, false_alarms=0.4)
    assert moved["none_of_these"]["called"] > 2
    assert Predictor(run).bundle.none_of_these.bar == moved["none_of_these"]["bar"]  # type: ignore[union-attr]
    before = (run / "model.json").read_bytes()
    with pytest.raises(InputError, match="12 pictures are too few"):
        # Refused as a whole: nothing of what was asked for beside it is done.
        mobilenets.evaluate(run, trained.data, false_alarms=0.01, accuracy=0.5, calibrate=True)
    assert (run / "model.json").read_bytes() == before
    with pytest.raises(InputError, match="fraction between 0 and 1"):
        mobilenets.evaluate(run, trained.data, false_alarms=5)
