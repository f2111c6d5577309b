from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mobilenets.datasets.arranged import Fixed
from mobilenets.datasets.folder import Sample
from mobilenets.doctor.fixes import COLUMNS, Fix, apply, fixing, from_json, read_fixes, to_json, write_fixes
from mobilenets.errors import InputError

CLASSES = ("cat", "dog")
ROWS = (
    Fix("drop", "train/cat/a, b.png", "leak", "validation/cat/1.png", 1.0, "", 2),
    Fix("relabel", "train/dog/2.png", "wrong_label", "", 0.875, "cat", 3),
    Fix("", "train/dog/=1+1.png", "blurred", "", None, "", 4),
    Fix("move", "train/dog/'=3.png", "", "", None, "validation", 5),
)


def samples(half: str, *names: str) -> tuple[Sample, ...]:
    return tuple(Sample(Path("root", half, name), CLASSES.index(name.split("/")[0])) for name in names)


PARTS = {
    "train": samples("train", "cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"),
    "validation": samples("validation", "cat/9.png", "dog/9.png"),
}
FLAT = {"train": samples("", "cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")}


def rows(*texts: str) -> list[Fix]:
    return [Fix(*text.split(maxsplit=1)[:1], path, suggestion=to, row=number)
            for number, text in enumerate(texts, 2)
            for path, _, to in [text.split(maxsplit=1)[1].partition(" to ")]]  # fmt: skip


def named(fixed: Fixed) -> dict[str, list[tuple[str, str]]]:
    return {
        half: [(one.path.relative_to("root").as_posix(), CLASSES[one.label]) for one in some]
        for half, some in fixed.parts.items()
    }


def done(texts: Sequence[str], parts: Any = PARTS) -> Fixed:
    return apply(rows(*texts), parts, CLASSES, Path("root"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_fixes(tmp_path / "fixes.csv", ROWS)
    assert read_fixes(tmp_path / "fixes.csv") == ROWS


def test_no_cell_begins_as_a_formula(tmp_path: Path) -> None:
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", "'=x", "'x", "x"]
    write_fixes(tmp_path / "fixes.csv", [Fix("drop", name, suggestion=name) for name in names])
    with (tmp_path / "fixes.csv").open(newline="") as stream:
        cells = [cell for row in list(csv.reader(stream))[1:] for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert [fix.path for fix in read_fixes(tmp_path / "fixes.csv")] == names


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffaction,path,suggestion\r\ndrop,a/1.png,\r\nrelabel,b/2.png,a\r\n",
        "sep=;\nPath;Action;Suggestion\na/1.png;DROP;\nb/2.png; relabel ;a\n",
        "action\tpath\tsuggestion\tscore\ndrop\ta/1.png\t\t0,97\n\nrelabel\tb/2.png\ta\t\n",
        "action,path,notes,suggestion,,\ndrop,a/1.png,mine,,,\n,,,,,\nrelabel,b/2.png,,a,,\n",
    ],
    ids=["mark", "semicolons", "tabs", "more columns"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_as_people_and_spreadsheets_save_it(text: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "fixes.csv"
    file.write_bytes(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    found = [(fix.action, fix.path, fix.suggestion) for fix in read_fixes(file)]
    assert found == [("drop", "a/1.png", ""), ("relabel", "b/2.png", "a")]


def test_names_that_are_no_unicode_survive(tmp_path: Path) -> None:
    odd = b"a/\xff.png".decode("utf-8", "surrogateescape")
    write_fixes(tmp_path / "fixes.csv", [Fix("drop", odd)])
    assert read_fixes(tmp_path / "fixes.csv")[0].path == odd


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "row 1 lacks the column action"),
        ("sep=;", "row 1 lacks the column action"),
        ("path,problem\na,b\n", "row 1 lacks the column action: begin the file with action,path,problem"),
        ("action,path,path\n", "row 1 has the column path twice"),
        ("action,path\nremove,a.png\n", "row 2: action 'remove': write drop, move, relabel, or nothing"),
        ("action,path\n\n\ndrop,\n", "row 4: no path"),
        ("action,path,suggestion\nmove,a.png,up\n", "row 2: move to 'up': write train, validation or test"),
        ("action,path,suggestion\nrelabel,a.png,\n", "row 2: relabel to what?"),
        ("action,path\nrelabel,a.png\n", "row 2: relabel to what?"),
        ("action,path,score\ndrop,a.png,high\n", "row 2: score 'high': write a number"),
        ("action,path\ndrop,a, b.png\n", "row 2: 3 cells where row 1 has 2: put a path with a comma in double quotes"),
        ('action,path\ndrop,"a.png\n', "is not a CSV file"),
        ("action,path\ndrop,a\0.png\n", "is not a CSV file"),
    ],
)
def test_what_cannot_be_obeyed_is_one_line_with_the_row(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "fixes.csv").write_text(text)
    with pytest.raises(InputError) as refused:
        read_fixes(tmp_path / "fixes.csv")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_recipes_keep_what_does_something() -> None:
    kept = to_json(ROWS)
    assert [entry["action"] for entry in kept] == ["drop", "relabel", "move"]
    again = from_json(kept)
    assert to_json(again) == kept
    assert [fix.row for fix in again] == [2, 3, 5]
    assert fixing(None) is None and fixing([]) is None


@pytest.mark.parametrize("value", ["x", [1], [{"action": "drop"}], [{"action": 1, "path": "x"}]])
def test_a_recipe_that_is_wrong(value: object) -> None:
    with pytest.raises(InputError, match="fixes"):
        from_json(value)


def test_drop_move_and_relabel() -> None:
    fixed = done(
        ["drop train/cat/1.png", "relabel train/dog/1.png to cat", "move train/dog/2.png to validation",
         "move validation/cat/9.png to train", "relabel validation/cat/9.png to dog"]
    )  # fmt: skip
    assert named(fixed) == {
        "train": [("train/cat/2.png", "cat"), ("train/dog/1.png", "cat"), ("validation/cat/9.png", "dog")],
        "validation": [("train/dog/2.png", "dog"), ("validation/dog/9.png", "dog")],
    }
    assert fixed.dropped == (Path("root/train/cat/1.png"),)
    assert not fixed.pinned
    assert fixed.notes == ("by fixes.csv, 1 dropped, 2 moved, 2 relabelled of the pictures; no file was changed",)


def test_a_move_where_halves_are_yet_to_be_drawn_is_pinned() -> None:
    fixed = done(["move cat/1.png to validation", "move dog/1.png to train"], FLAT)
    assert sorted(fixed.parts) == ["train"] and len(fixed.parts["train"]) == 4
    assert {half: [one.path.name for one in some] for half, some in fixed.pinned.items()} == {
        "validation": ["1.png"],
        "train": ["1.png"],
    }


def test_paths_as_windows_and_people_write_them() -> None:
    fixes = [r"drop train\cat\1.png", "drop ./train/cat/2.png", f"drop {Path('root/train/dog/1.png').resolve()}"]
    assert named(done(fixes))["train"] == [("train/dog/2.png", "dog")]


def test_rows_without_an_action_and_rows_that_agree_do_no_harm() -> None:
    fixed = done(["drop train/cat/1.png", "drop train/cat/1.png", "relabel train/dog/1.png to cat"] * 2)
    assert len(fixed.parts["train"]) == 3
    assert apply([Fix("", "nowhere.png")], PARTS, CLASSES, Path("root")).parts == PARTS


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["drop train/cat/7.png"], "row 2: there is no picture 'train/cat/7.png' in root"),
        (["relabel train/cat/1.png to cow"], "row 2: there is no class 'cow': write one of cat, dog"),
        (["move train/cat/1.png to test"], "row 2: root has no test/: write train or validation under suggestion"),
        (
            ["drop train/cat/1.png", "relabel train/cat/1.png to dog"],
            "row 3: 'train/cat/1.png' has another fix in row 2",
        ),
        (["relabel train/cat/1.png to dog", "relabel train/cat/1.png to cat"], "row 3"),
        (["relabel train/cat/1.png to dog", "drop train/cat/1.png"], "row 3"),
    ],
)
def test_what_does_not_fit_the_pictures(texts: list[str], said: str) -> None:
    with pytest.raises(InputError) as refused:
        done(texts)
    assert f"fixes.csv, {said}" in str(refused.value)


def test_what_cannot_be_read_may_be_dropped_only() -> None:
    others = ["train/cat/gone.png"]
    dropped = apply(rows("drop train/cat/gone.png"), PARTS, CLASSES, Path("root"), others)
    assert dropped.parts == PARTS
    with pytest.raises(InputError, match="no picture that can be read"):
        apply(rows("relabel train/cat/gone.png to dog"), PARTS, CLASSES, Path("root"), others)


def test_the_columns_are_those_promised() -> None:
    assert COLUMNS == ("action", "path", "problem", "partner", "score", "suggestion")
