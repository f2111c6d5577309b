from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import mobilenets
from mobilenets.cli import main
from mobilenets.datasets.shards import write
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import InputError


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_tars_are_what_others_read(photos: Path, tmp_path: Path) -> None:
    mobilenets.pack(photos, tmp_path / "out", shard_mb=0.05)
    seen = {}
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
        for name in (one for one in members if one.endswith(".png")):
            about = json.loads(members[name.replace(".png", ".json")])
            assert about["label"] == int(members[name.replace(".png", ".cls")])
            assert about["class"] == ("blue", "green", "red")[about["label"]]
            seen[about["name"]] = members[name]
    assert seen == {path.relative_to(photos).as_posix(): path.read_bytes() for path in photos.rglob("*.png")}


def test_an_interrupted_run_is_taken_up(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mobilenets.pack(photos, tmp_path / "whole", shard_mb=0.02)
    out, done = tmp_path / "out", []
    write_shard = write.write_shard

    def stopped(*given: object) -> write.Packed:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(write_shard(*given))  # type: ignore[arg-type]
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr("mobilenets.verbs.pack.write_shard", stopped)
        with pytest.raises(KeyboardInterrupt):
            mobilenets.pack(photos, out, shard_mb=0.02)
    with pytest.raises(InputError, match="packing was interrupted"):
        open_data(out)
    (out / "shard-00077.tar").write_bytes(b"of another plan")
    result = mobilenets.pack(photos, out, shard_mb=0.02)
    assert result["reused"] == 2
    assert contents(out) == contents(tmp_path / "whole")
    with pytest.raises(InputError, match="is not empty"):
        mobilenets.pack(photos, out, shard_mb=0.02)
    with pytest.raises(InputError, match="use another OUT"):
        mobilenets.pack(photos, out / "shards.json", shard_mb=0.02)


def test_a_finished_shard_of_changed_pictures_is_written_anew(
    draw: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = draw(tmp_path / "data", {"a": 4, "b": 4}), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("mobilenets.verbs.pack.index_of", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            mobilenets.pack(data, out)
    (data / "a/000.png").write_bytes((data / "a/001.png").read_bytes())
    assert mobilenets.pack(data, out)["reused"] == 0
    mobilenets.pack(data, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_the_command(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["pack", str(photos), str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["samples"], result["splits"], result["folder"]) == (30, {"train": 30}, str(out))
    assert main(["pack", str(photos), str(photos / "inside")]) == 2
    assert "choose a folder outside it" in capsys.readouterr().err
    assert main(["pack", str(photos), str(tmp_path / "b"), "--shard-mb", "0"]) == 2
