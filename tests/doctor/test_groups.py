from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.folder import Sample
from mobilenets.doctor.groups import grouping, settled
from mobilenets.errors import InputError

NAMES = ("cat/a_1.png", "cat/a_2.png", "cat/b_1.png", "dog/a_3.png", "dog/c.png")


def grouped(groups: str, names: tuple[str, ...] = NAMES) -> dict[str, str]:
    group = grouping(groups)
    assert group is not None
    found = group([Sample(Path("root", name), 0) for name in names], Path("root"))
    return {path.relative_to("root").as_posix(): name for path, name in found.items()}


def test_a_pattern() -> None:
    assert grouped(r"(\w)_\d") == {"cat/a_1.png": "a", "cat/a_2.png": "a", "cat/b_1.png": "b", "dog/a_3.png": "a"}
    assert grouped(r"^([^/]+)/")["dog/c.png"] == "dog"


def test_a_table(tmp_path: Path) -> None:
    table = tmp_path / "bursts.csv"
    table.write_text(
        "Image;Group;source\ncat/a_1.png;x;s\ncat\\a_2.png;x;t\nb_1.png;y;s\nelsewhere.png;y;s\ndog/c.png;;\n"
    )
    assert grouped(str(table)) == {"cat/a_1.png": "x", "cat/a_2.png": "x", "cat/b_1.png": "y"}
    assert grouped(f"{table}:source") == {"cat/a_1.png": "s", "cat/a_2.png": "t", "cat/b_1.png": "s"}


def test_rows_of_a_table_that_name_no_picture_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = tmp_path / "bursts.csv"
    table.write_text("image,group\ncat/a_1.png,x\nb_9.png,y\ncat/z.png,y\n")
    grouped(str(table))
    assert caplog.messages == [f"{table}: 2 rows name no picture of root that is used, such as b_9.png"]


def test_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).resize((90, 90), Image.Resampling.BICUBIC).save(
            tmp_path / f"{name}.png"
        )
    shutil.copy(tmp_path / "a.png", tmp_path / "same.png")
    Image.open(tmp_path / "b.png").resize((70, 70)).save(tmp_path / "small.jpg", quality=90)
    group = grouping("copies")
    assert group is not None
    found = group([Sample(path, 0) for path in sorted(tmp_path.iterdir())], tmp_path)
    assert {path.name: name for path, name in found.items()} == {
        "a.png": "a.png",
        "same.png": "a.png",
        "b.png": "b.png",
        "small.jpg": "b.png",
    }


def test_none() -> None:
    assert grouping(None) is None


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("(", "no regular expression"),
        ("[a-z]+", "put round brackets around the one part"),
        ("(a)(b)", "put round brackets around the one part"),
        ("nowhere.csv", "there is no file nowhere.csv"),
        ("nowhere.csv:source", "there is no file nowhere.csv"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(groups: str, said: str) -> None:
    with pytest.raises(InputError, match="groups") as refused:
        settled(groups)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,set\nx,y\n", r"row 1 must name the columns image and group \(it has image, set\)"),
        ("", "row 1 must name"),
        ("image,group\ncat/a_1.png,x\ncat/a_1.png,y\n", "row 3: cat/a_1.png stands in another row"),
        ("image,group\nc.png,x\n", "row 2: 2 pictures are called c.png"),
        ('"image","gr\noup"\n', r"it has image, gr\\noup"),
        ('image,group\n"a', "is not a CSV file"),
        ("image,group\n" + "a" * 200_000, "is not a CSV file"),
        ("image,group\nzzz.png,x\n", "no picture in root belongs to a group"),
    ],
)
def test_tables_that_are_wrong(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        grouped(str(tmp_path / "groups.csv"), (*NAMES, "cat/c.png"))


def test_a_table_is_known_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g.csv").write_text("image,group\n")
    monkeypatch.chdir(tmp_path)
    assert settled("g.csv:burst") == f"{tmp_path / 'g.csv'}:burst"
    assert settled("g.csv") == str(tmp_path / "g.csv")
    assert (settled("copies"), settled("(a)")) == ("copies", "(a)")
