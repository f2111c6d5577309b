from __future__ import annotations

from mobilenets.doctor.pairs import Places, as_findings, suggested
from mobilenets.doctor.problems import Finding, counted, faults, in_order, said, worst

NAMES = {
    "train/cat/1": "A", "train/cat/2": "A", "train/cat/3": "C", "train/dog/4": "D",
    "validation/cat/5": "A", "validation/dog/6": "F", "test/cat/7": "F",
}  # fmt: skip
PLACES = Places({name: name.split("/")[0] for name in NAMES}, {name: name.split("/")[1] for name in NAMES}, NAMES)


def found(*pairs: tuple[str, str, float, str]) -> set[tuple[str, str, str | None]]:
    return {(one.kind, one.path, one.partner) for one in as_findings(pairs, PLACES)}


EXACT = {
    ("duplicate", "train/cat/2", "train/cat/1"),
    ("leak", "validation/cat/5", "train/cat/1"),
    ("leak", "test/cat/7", "validation/dog/6"),
    ("label_conflict", "test/cat/7", "validation/dog/6"),
}


def test_files_of_the_same_bytes() -> None:
    assert found() == EXACT
    # What was found of them is known from the bytes already.
    assert found(("train/cat/2", "train/cat/1", 1.0, "same file")) == EXACT


def test_near_copies_within_a_class_across_classes_and_across_halves() -> None:
    assert found(("train/cat/3", "train/dog/4", 0.9, "mirrored")) - EXACT == {
        ("label_conflict", "train/cat/3", "train/dog/4")
    }
    assert found(("train/cat/3", "test/cat/7", 0.9, "mirrored")) - EXACT == {
        ("leak", "test/cat/7", "train/cat/3"),
        ("leak", "validation/dog/6", "train/cat/3"),
        ("label_conflict", "validation/dog/6", "train/cat/3"),
    }


def test_a_near_copy_leaks_to_the_copies_of_its_partner() -> None:
    """Of ``train/cat/1`` and its copy in validation only the first was compared."""
    assert found(("train/cat/3", "train/cat/1", 0.9, "cropped")) - EXACT == {
        ("near_duplicate", "train/cat/1", "train/cat/3"),
        ("leak", "validation/cat/5", "train/cat/3"),
    }


def test_what_is_sure_is_dropped_and_the_rest_is_left_to_a_person() -> None:
    findings = [
        *as_findings([("train/cat/3", "train/dog/4", 0.9, "mirrored")], PLACES),
        Finding("blurred", "train/cat/3", "soft"),
        Finding("unreadable", "train/cat/x", "cut", suggestion="drop"),
        Finding("tiny_class", "cat", "few"),
    ]
    rows = suggested(in_order(findings), PLACES)
    dropped = {(row.path, row.problem) for row in rows if row.action}
    assert {path for path, _ in dropped} == {"train/cat/1", "train/cat/2", "validation/dog/6", "train/cat/x"}
    assert {row.action for row in rows} == {"drop", ""}
    assert len([row for row in rows if row.action]) == len(dropped) == 4
    left = {(row.path, row.problem, row.suggestion) for row in rows if not row.action}
    assert {
        ("train/cat/3", "label_conflict", "dog"),
        ("train/dog/4", "label_conflict", "cat"),
        ("train/cat/3", "blurred", ""),
    } <= left


def test_every_training_copy_of_what_is_measured_goes() -> None:
    names = {"train/a/1": "A", "train/a/2": "A", "validation/a/3": "A"}
    places = Places({n: n.split("/")[0] for n in names}, dict.fromkeys(names, "a"), names)
    rows = suggested(as_findings([], places), places)
    assert {row.path for row in rows if row.action == "drop"} == {"train/a/1", "train/a/2"}


def test_words() -> None:
    findings = in_order([Finding("blurred", "b", "soft"), *as_findings([], PLACES)])
    assert [one.kind for one in findings][:2] == ["leak", "leak"]
    first = worst(findings, PLACES.halves)
    assert first == [
        "1 of 2 validation pictures is in training too: the accuracy measured on them is too high "
        "(validation/cat/5 is train/cat/1)",
        "1 of 1 test pictures is in validation too: the epoch is chosen on pictures that the last figure is for "
        "(test/cat/7 is validation/dog/6)",
        "1 picture stands in two classes: for one of the two the label is wrong",
    ]
    assert counted(findings) == {"leak": 2, "label_conflict": 1, "duplicate": 1, "blurred": 1}
    assert said("blurred", 1) == "1 picture is blurred" and said("blurred", 2) == "2 pictures are blurred"
    assert faults([Finding("orientation", "x", "y"), Finding("dark", "x", "y")]) == 1
