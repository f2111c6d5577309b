from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mobilenets
from mobilenets.base import mounts
from mobilenets.datasets.folder import content_hash, content_hashes, fingerprint, read_folder, relative
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.loader import shards_of, shuffled
from mobilenets.datasets.prepare import Dataset, prepare
from mobilenets.datasets.shards.index import INDEX, TABLE, read_index
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.decode import decode

Draw = Callable[..., Path]


@pytest.fixture
def packed(photos: Path, tmp_path: Path) -> Path:
    """Thirty pictures in several shards."""
    mobilenets.pack(photos, tmp_path / "shards", shard_mb=0.02)
    return open_data(tmp_path / "shards")


def prepared(data: Path) -> Dataset:
    return prepare(data, share=0.2, seed=3, max_unreadable=0.5)


def named(dataset: Dataset) -> dict[str, set[tuple[str, int]]]:
    root = dataset.layout.root
    return {half: {(relative(one.path, root), one.label) for one in some} for half, some in dataset.halves.items()}


def test_shards_are_the_folder_that_was_packed(photos: Path, packed: Path) -> None:
    folder, shards = prepared(photos), prepared(packed)
    assert named(shards) == named(folder)
    assert (shards.classes, shards.fingerprint) == (folder.classes, folder.fingerprint)
    for sample in shards.train[:3]:
        path = photos / relative(sample.path, packed)
        assert mounts.read_file(sample.path) == path.read_bytes()
        assert content_hash(sample.path) == content_hash(path)
        assert decode(sample.path).tobytes() == decode(path).tobytes()
    assert fingerprint(shards.train, packed) == fingerprint(
        list(folder.train), photos, contents=content_hashes([one.path for one in folder.train])
    )


def test_each_is_read_forward_and_once(packed: Path) -> None:
    samples = read_folder(find_data(packed).train).samples
    shards = shards_of(samples)
    assert shards is not None and shards.max() >= 3 and (np.diff(shards) >= 0).all()
    plan = shuffled([one.label for one in samples], 7, 1, 0, shards=shards)
    assert sorted(index for batch in plan for index in batch) == [*range(30)]
    assert {len(batch) for batch in plan} == {6}
    again = shuffled([one.label for one in samples], 7, 1, 0, shards=shards)
    assert [*again[2:]] == [*plan][2:]
    assert [*shuffled([one.label for one in samples], 7, 1, 1, shards=shards)] != [*plan]


def test_a_damaged_picture_is_named_and_left_out(packed: Path) -> None:
    index = read_index((packed / INDEX).read_bytes(), (packed / TABLE).read_bytes(), "")
    shard = packed / index.shards[1].file
    place = int(index.firsts[1])
    content = bytearray(shard.read_bytes())
    content[int(index.offsets[place]) + 60] ^= 255
    shard.write_bytes(content)
    [problem] = prepared(packed).problems
    assert problem.path == index.all_names()[place]
    assert problem.detail.startswith(f"{shard.name}, {place:09d}.png: its bytes are not those that were packed")
    with pytest.raises(UnreadablePicture, match=r"shard-00001\.tar, 0"):
        decode(packed / index.all_names()[place])


def test_halves_labels_and_odd_names(draw: Draw, tmp_path: Path) -> None:
    data = tmp_path / "data"
    draw(data / "train", {"a.b": 3, "Kätzchen": 3})
    draw(data / "validation", {"a.b": 2, "Kätzchen": 2})
    (data / "train/a.b/000.png").rename(data / "train/a.b/x.y z.PNG")
    (data / "classes.json").write_text(json.dumps({"classes": {"a.b": {"names": {"en": "ab"}}}}), "utf-8")
    result = mobilenets.pack(data, tmp_path / "out")
    assert result["splits"] == {"train": 6, "validation": 4} and result["shards"] == 2
    shards = open_data(tmp_path / "out")
    assert named(prepared(shards)) == named(prepared(data))
    assert open_data(shards / INDEX) == shards and (shards / "classes.json").is_file()
    mobilenets.pack(shards, tmp_path / "again", shard_mb=0.004)
    assert named(prepared(open_data(tmp_path / "again"))) == named(prepared(data))


def test_shards_of_others_are_indexed_once(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = tmp_path / "wds"
    data.mkdir()
    for half, numbers in (("train", range(8)), ("val", range(8, 10))):
        with tarfile.open(data / f"{half}-0000.tar", "w") as tar:
            for label, name in enumerate(("blue", "green", "red")):
                for number in numbers:
                    tar.add(photos / name / f"{number:03}.png", f"{label}{number}.png")
                    info = tarfile.TarInfo(f"{label}{number}.cls")
                    info.size = 1
                    tar.addfile(info, io.BytesIO(str(label).encode()))
            tar.add(photos / "red/000.png", f"{half}.png")
    (data / "train-0001.tar").touch()
    (data / "._train-0001.tar").write_bytes(b"of macOS")
    dataset = prepared(open_data(data))
    assert dataset.classes == ("0", "1", "2")
    assert (len(dataset.train), len(dataset.validation)) == (24, 6)
    assert "train-0000.tar, train: nothing tells its class (left out)" in caplog.text
    assert "train-0001.tar, byte 0: the shard is empty: copy it again (left out)" in caplog.text
    assert "._train" not in caplog.text
    with caplog.at_level("INFO", logger="mobilenets"):
        caplog.clear()
        assert len(prepared(open_data(data)).train) == 24
    assert "read once" not in caplog.text


def test_what_cannot_be_used(photos: Path, packed: Path) -> None:
    (packed / TABLE).write_bytes(b"x" + (packed / TABLE).read_bytes()[1:])
    with pytest.raises(InputError, match="not the one that it names"):
        open_data(packed)
    (packed / TABLE).unlink()
    with pytest.raises(InputError, match="its table is missing"):
        open_data(packed)
    for file in ("../x", 5):
        (packed / INDEX).write_text(json.dumps({"format": "mobilenets shards", "table": {"file": file}}))
        with pytest.raises(InputError, match="damaged"):
            open_data(packed)
    (packed / INDEX).unlink()
    assert len(prepared(open_data(packed)).train) == 24  # by the names in its own tars
    with pytest.raises(InputError, match="is not empty"):
        mobilenets.pack(photos, packed)


def test_a_shard_that_is_gone_or_cut(photos: Path, packed: Path) -> None:
    first = next(packed.glob("*.tar"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-512])
    with pytest.raises(InputError, match="in the index: copy it again"):
        open_data(packed)
    first.unlink()
    with pytest.raises(InputError, match="the index names it; copy it too"):
        open_data(packed)
    shutil.rmtree(packed)
    with pytest.raises(InputError, match="there is no folder"):
        find_data(open_data(packed))
    shutil.copytree(photos, packed)
    assert len(read_folder(find_data(open_data(packed)).train).samples) == 30
