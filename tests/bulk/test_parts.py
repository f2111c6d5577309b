from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from mobilenets.bulk.parts import Part, parts_of
from mobilenets.bulk.reading import read_part
from mobilenets.errors import InputError, UnreadablePicture


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def again(root: Path, before: list[Part], size: int = 2) -> list[Part]:
    return parts_of(str(root), size, firsts={part.name: part.first for part in before})


def changed(before: list[Part], after: list[Part]) -> list[str]:
    known = {part.name: part.inputs for part in before}
    return [part.name for part in after if known.get(part.name) != part.inputs]


def test_a_folder_is_cut_in_order(tmp_path: Path) -> None:
    root = fill(tmp_path, "b/1.jpg", "b/2.jpg", "a/z.jpg", "z.jpg", "a/c/1.jpg", "note.md")
    parts = parts_of(str(root), 2)
    assert [part.name for part in parts] == ["part-00000", "part-00001", "part-00002"]
    assert [part.names for part in parts] == [["z.jpg", "a/z.jpg"], ["a/c/1.jpg", "b/1.jpg"], ["b/2.jpg"]]
    assert [part.count for part in parts] == [2, 2, 1]
    assert not changed(parts, again(root, parts))


def test_a_picture_that_came_or_went_changes_one_part(tmp_path: Path) -> None:
    root = fill(tmp_path, *(f"{number}0.jpg" for number in range(1, 8)))
    parts = parts_of(str(root), 2)
    fill(root, "35.jpg")
    after = again(root, parts)
    assert changed(parts, after) == ["part-00001"] and after[1].names == ["30.jpg", "35.jpg", "40.jpg"]
    fill(root, "05.jpg", "80.jpg", "90.jpg")
    later = again(root, after)
    assert changed(after, later) == ["part-00000", "part-00003", "part-00004"]
    assert later[-1].names == ["90.jpg"]
    for name in ("50.jpg", "60.jpg"):
        (root / name).unlink()
    last = again(root, later)
    assert changed(later, last) == [] and "part-00002" not in {part.name for part in last}
    assert sorted(name for part in last for name in part.names) == sorted(path.name for path in root.iterdir())


def test_a_part_that_grew_is_cut(tmp_path: Path) -> None:
    root = fill(tmp_path, "10.jpg", "20.jpg", "30.jpg")
    parts = parts_of(str(root), 2)
    fill(root, *(f"1{number}.jpg" for number in range(1, 6)))
    after = again(root, parts)
    assert [part.name for part in after] == ["part-00000", "part-00002", "part-00001"]
    assert [part.count for part in after] == [4, 3, 1]
    assert not changed(after, again(root, after))


def test_a_changed_file_changes_its_part(tmp_path: Path) -> None:
    root = fill(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    parts = parts_of(str(root), 2)
    (root / "3.jpg").write_bytes(b"other")
    assert changed(parts, again(root, parts)) == ["part-00001"]
    os.utime(root / "1.jpg", (1, 1))
    assert changed(parts, again(root, parts)) == ["part-00000", "part-00001"]


def test_a_list_of_paths(tmp_path: Path) -> None:
    listed = tmp_path / "some.txt"
    listed.write_text("a.jpg\n\n  b.jpg \nhttps://there.org/c.jpg\n")
    parts = parts_of(str(listed), 2)
    assert [part.names for part in parts] == [["a.jpg", "b.jpg"], ["https://there.org/c.jpg"]]
    assert parts[0].where == str(tmp_path) and parts[1].where == "."
    listed.write_text("a.jpg\nb.jpg\nc.jpg\nd.jpg\ne.jpg")
    assert changed(parts, parts_of(str(listed), 2)) == ["part-00001", "part-00002"]


def test_a_list_in_csv(tmp_path: Path) -> None:
    listed = tmp_path / "some.csv"
    listed.write_text("label;path\ncat;a, b.jpg\n\ndog;c.jpg\n")
    assert [part.names for part in parts_of(str(listed), 9)] == [["a, b.jpg", "c.jpg"]]
    assert parts_of(str(listed), 9, column="label")[0].names == ["cat", "dog"]
    listed.write_text("a.jpg\nb.jpg\n")
    assert parts_of(str(listed), 9)[0].names == ["a.jpg", "b.jpg"]
    listed.write_text("cat,a.jpg\ndog,b.jpg\n")
    with pytest.raises(InputError, match="which column has the paths"):
        parts_of(str(listed), 9)
    listed.write_text("image,label\na.jpg,cat\n,dog\n")
    with pytest.raises(InputError, match="image is empty in some rows"):
        parts_of(str(listed), 9)
    listed.write_text("")
    with pytest.raises(InputError, match="lists no pictures"):
        parts_of(str(listed), 9)


def test_a_list_in_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pip install pyarrow, for lists and answers in Parquet")
    import pyarrow.parquet as pq

    listed = tmp_path / "some.parquet"
    pq.write_table(pa.table({"url": ["http://x/1", "http://x/2", "http://x/3"], "owner": ["a", "b", "c"]}), listed)
    assert [part.names for part in parts_of(str(listed), 2)] == [["http://x/1", "http://x/2"], ["http://x/3"]]
    assert parts_of(str(listed), 9, column="owner")[0].names == ["a", "b", "c"]
    with pytest.raises(InputError, match="give --column; its columns of text: url, owner"):
        parts_of(str(listed), 2, column="path")
    pq.write_table(pa.table({"one": ["x"], "two": ["y"]}), listed)
    with pytest.raises(InputError, match="which column has the paths"):
        parts_of(str(listed), 2)
    listed.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a Parquet file that can be read"):
        parts_of(str(listed), 2)


def tar(path: Path, **files: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, content in files.items():
            about = tarfile.TarInfo(name.replace("_", "."))
            about.size = len(content)
            shard.addfile(about, io.BytesIO(content))
    return path


def test_a_shard_is_a_part(tmp_path: Path) -> None:
    tar(tmp_path / "train/b.tar", a_jpg=b"picture", a_cls=b"cat", b_jpg=b"")
    tar(tmp_path / "a.tar", x_png=b"other")
    fill(tmp_path, "._a.tar")  # which macOS puts beside it on a stick
    one, two = parts_of(str(tmp_path), 1)
    assert (one.name, two.name) == ("a", "train--b") and one.count is None
    (key, content), (other, fault) = read_part(two.to_json(), 1.0)
    assert (key, content, other) == ("a", b"picture", "b")
    assert isinstance(fault, UnreadablePicture) and "empty" in str(fault)
    [alone] = parts_of(str(tmp_path / "a.tar"), 1)
    assert list(read_part(alone.to_json(), 1.0)) == [("x", b"other")] and alone.inputs == one.inputs
    tar(tmp_path / "a.tar", x_png=b"other", y_png=b"more" * 9999)
    assert changed([one, two], parts_of(str(tmp_path), 1)) == ["a"]
    (tmp_path / "a.tar").write_bytes(b"hello" * 200)
    [damaged] = parts_of(str(tmp_path / "a.tar"), 1)
    assert [name for name, _ in read_part(damaged.to_json(), 1.0)] == ["a.tar, byte 0"]
    fill(tmp_path, "lying/1.jpg")
    with pytest.raises(InputError, match="has both pictures and shards"):
        parts_of(str(tmp_path), 1)


def test_a_shard_that_is_not_as_its_index_says(tmp_path: Path) -> None:
    sizes = {name: tar(tmp_path / name, a_jpg=b"picture").stat().st_size for name in ("a.tar", "b.tar")}
    shards = [{"file": name, "bytes": size, "blake2b": "", "samples": 1, "split": None} for name, size in sizes.items()]
    head = {"format": "mobilenets shards", "version": 1, "shards": shards}
    (tmp_path / "shards.json").write_text(json.dumps(head))
    assert [one.count for one in parts_of(str(tmp_path), 1)] == [1, 1]
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:512])
    with pytest.raises(InputError, match=r"b\.tar has 512 bytes, and 10,240 in the index: copy it again"):
        parts_of(str(tmp_path), 1)
    assert len(parts_of(str(tmp_path / "a.tar"), 1)) == 1
    (tmp_path / "b.tar").unlink()
    with pytest.raises(InputError, match=r"b\.tar cannot be read.* the index names it"):
        parts_of(str(tmp_path), 1)


@pytest.mark.parametrize("name", ["nothing", "picture.jpg", "empty", "empty.txt"])
def test_what_is_no_source(name: str, tmp_path: Path) -> None:
    fill(tmp_path, "picture.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError) as caught:
        parts_of(str(tmp_path / name), 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["../../a.tar", "..\\a.tar", None])
def test_an_index_at_an_address_names_no_other_files(file: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = [{"file": file, "bytes": 1, "blake2b": "", "samples": 1, "split": None}]
    head = json.dumps({"format": "mobilenets shards", "version": 1, "shards": shards}).encode()
    monkeypatch.setattr("mobilenets.bulk.parts.Remote", lambda address: SimpleNamespace(read=lambda name: head))
    with pytest.raises(InputError, match=r"https://there\.org/shards\.json: damaged"):
        parts_of("https://there.org", 2)
