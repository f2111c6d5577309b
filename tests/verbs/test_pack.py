"""Shards where DATA is taken; how they are written and read is tested in ``tests/datasets/shards``."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.errors import InputError
from mobilenets.training.loop import Training


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_taken_up_in_the_middle_of_a_shard(
    photos: Path, tmp_path: Path, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, whole, cut = tmp_path / "shards", tmp_path / "whole", tmp_path / "cut"
    mobilenets.pack(photos, shards, shard_mb=0.02)
    trained = mobilenets.train(shards, whole, **small)
    look, steps = Training._look, []

    def looked(training: Training, *given: Any) -> None:
        look(training, *given)
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_look", looked)
        with pytest.raises(KeyboardInterrupt):
            mobilenets.train(shards, cut, **small)
    mobilenets.train(shards, cut, resume=True)
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    measured = mobilenets.evaluate(whole, shards)
    assert (measured["top1"], measured["seen_in_training"]) == (trained["top1"], 0)
    assert mobilenets.evaluate(whole, photos)["confusion"] == measured["confusion"]
    assert next(one["image"] for one in mobilenets.predict(whole, shards)).startswith(str(shards / "blue"))
    shutil.copytree(shards, tmp_path / "copied")
    answers = list(mobilenets.predict(whole, [tmp_path / "copied", photos / "red/000.png"]))
    assert len(answers) == 31 and not any("error" in one for one in answers)


def test_other_verbs_and_what_cannot_be(photos: Path, tmp_path: Path) -> None:
    mobilenets.pack(photos, tmp_path / "shards")
    found, folder = (mobilenets.check(data, tmp_path / f"out-{data.name}") for data in (tmp_path / "shards", photos))
    assert (found["images"], found["counts"]) == (30, folder["counts"])
    with pytest.raises(InputError, match="sampling draws from all shards at once"):
        mobilenets.train(tmp_path / "shards", tmp_path / "run", balance="sampling", weights="none")
    with pytest.raises(InputError, match="give the size of a shard in MB"):
        mobilenets.pack(photos, tmp_path / "more", shard_mb=0)
