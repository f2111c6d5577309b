from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mobilenets.datasets.prepare import Dataset, counts, prepare, prepare_again
from mobilenets.datasets.seen import SeenPictures
from mobilenets.datasets.split import write_split
from mobilenets.errors import InputError

Draw = Callable[..., Path]


def take(data: Path, limit: float = 0.1, share: float = 0.2) -> Dataset:
    return prepare(data, share=share, seed=0, max_unreadable=limit, workers=1)


def spoil(*paths: Path) -> None:
    for path in paths:
        path.write_bytes(b"this is text")


def test_one_folder_is_split(photos: Path) -> None:
    prepared = take(photos)
    assert prepared.classes == ("blue", "green", "red")
    assert counts(prepared.train, prepared.classes) == {"blue": 8, "green": 8, "red": 8}
    assert counts(prepared.validation, prepared.classes) == {"blue": 2, "green": 2, "red": 2}
    assert prepared.test is None
    assert prepared.measured == prepared.validation
    assert prepared.problems == ()


def test_three_folders_are_taken_as_they_are(draw: Draw, tmp_path: Path) -> None:
    for part, count in (("train", 5), ("val", 3), ("test", 2)):
        draw(tmp_path / part, {"a": count, "b": count})
    prepared = take(tmp_path)
    assert prepared.test is not None
    assert [len(half) for half in (prepared.train, prepared.validation, prepared.test)] == [10, 6, 4]
    assert prepared.measured == prepared.test


def test_unreadable_up_to_the_share(draw: Draw, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = draw(tmp_path / "photos", {"a": 10, "b": 10})
    bad = data / "a" / "003.png", data / "b" / "000.png"
    spoil(*bad)
    with caplog.at_level(logging.WARNING, "mobilenets"):
        prepared = take(data, limit=0.1)
    assert {s.path for s in (*prepared.train, *prepared.validation)}.isdisjoint(bad)
    assert len(prepared.train) + len(prepared.validation) == 18
    assert [(p.kind, p.path) for p in prepared.problems] == [("unreadable", "a/003.png"), ("unreadable", "b/000.png")]
    assert all(path.read_bytes() == b"this is text" for path in bad)
    for path in bad:
        assert str(path) in caplog.text
    assert "2 of 20 pictures cannot be read and are left out" in caplog.text


def test_unreadable_beyond_the_share(draw: Draw, tmp_path: Path) -> None:
    data = draw(tmp_path / "photos", {"a": 10, "b": 10})
    spoil(*(data / "a" / f"00{number}.png" for number in range(3)))
    with pytest.raises(InputError, match=r"^3 of 20 pictures cannot be read, more than --max-unreadable 0.1") as caught:
        take(data, limit=0.1)
    assert str(data / "a" / "000.png") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_that_leads_nowhere_counts(draw: Draw, tmp_path: Path) -> None:
    data = draw(tmp_path / "photos", {"a": 5, "b": 4})
    (data / "b" / "link.png").symlink_to(tmp_path / "nowhere.png")
    assert len(take(data, limit=0.1).problems) == 1
    with pytest.raises(InputError, match=r"^1 of 10 pictures"):
        take(data, limit=0.09)


def test_class_without_a_readable_picture(draw: Draw, tmp_path: Path) -> None:
    data = draw(tmp_path / "photos", {"a": 10, "b": 1})
    spoil(data / "b" / "000.png")
    with pytest.raises(InputError, match="class b has no readable training picture"):
        take(data, limit=1)


def test_half_without_a_readable_picture(draw: Draw, tmp_path: Path) -> None:
    draw(tmp_path / "train", {"a": 10, "b": 10})
    draw(tmp_path / "validation", {"a": 1})
    spoil(tmp_path / "validation" / "a" / "000.png")
    with pytest.raises(InputError, match="no readable picture is left for validation"):
        take(tmp_path, limit=1)


def test_a_model_that_learned_from_all(draw: Draw, tmp_path: Path) -> None:
    data = draw(tmp_path / "photos", {"a": 3, "b": 3})
    known = take(data, limit=0)
    seen = SeenPictures(dict.fromkeys(known.contents.values(), ("a", "train")))
    with pytest.raises(InputError, match=r"\(or its teacher\) learned from all of these pictures: add a validation/"):
        prepare(data, share=0.2, seed=0, max_unreadable=0, seen=seen)


def test_tiny_class_is_named(draw: Draw, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = draw(tmp_path / "photos", {"a": 10, "b": 1})
    with caplog.at_level(logging.WARNING, "mobilenets"):
        prepared = take(data)
    assert [problem.kind for problem in prepared.problems] == ["tiny_class"]
    assert "b: one picture: none could be held out for validation (tiny class)" in caplog.text
    assert "no picture could be held out of b: no figure here says how well they are told" in prepared.notes


def test_the_mark_is_that_of_what_is_used(draw: Draw, tmp_path: Path) -> None:
    one = draw(tmp_path / "one", {"a": 10, "b": 10})
    two = draw(tmp_path / "two", {"a": 10, "b": 10})
    (two / "a" / "bad.png").write_bytes(b"text")
    assert take(one).fingerprint == take(two).fingerprint
    (two / "a" / "000.png").unlink()
    assert take(one).fingerprint != take(two).fingerprint


def test_prepare_again_gives_the_same(draw: Draw, tmp_path: Path) -> None:
    data = draw(tmp_path / "photos", {"cat": 6, "cat b": 6, "cat-c": 6})
    (data / "cat" / "deep").mkdir()
    (data / "cat" / "000.png").rename(data / "cat" / "deep" / "000.png")
    spoil(data / "cat" / "001.png")
    first = take(data)
    write_split(tmp_path / "split.csv", data, first.classes, first.train, first.validation)
    again = prepare_again(data, tmp_path / "split.csv", first.classes, first.fingerprint, first.problems, 1)
    assert again == first


def test_copies_of_training_pictures_in_the_other_half_are_said(draw: Draw, tmp_path: Path) -> None:
    draw(tmp_path / "train", {"a": 5, "b": 5})
    draw(tmp_path / "val", {"a": 6, "b": 5})
    prepared = take(tmp_path)
    assert prepared.copies == 10
    assert prepared.notes == (
        "10 of the 11 pictures measured on are copies of training pictures, such as val/a/000.png: the figures are too "
        "high; keep each picture in only one of train/ and validation/",
    )


def test_copies_between_any_two_halves_are_said(draw: Draw, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two training pictures in validation/ under other names, one in test/, and three of validation/ in test/."""
    source, data = tmp_path / "source", tmp_path / "data"
    for half, first in (("train", 0), ("validation", 10), ("test", 20)):
        draw(source, {"a": first + 6, "b": first + 6})
        for name in ("a", "b"):
            (data / half / name).mkdir(parents=True)
            for number in range(first, first + 6):
                (source / name / f"{number:03}.png").rename(data / half / name / f"{number}.png")
    for copy, original in (
        ("validation/a/x.png", "train/a/0.png"),
        ("validation/b/y.png", "train/b/3.png"),
        ("test/b/z.png", "train/b/4.png"),
        *((f"test/a/v{number}.png", f"validation/a/{number}.png") for number in (11, 12, 13)),
    ):
        (data / copy).write_bytes((data / original).read_bytes())
    with caplog.at_level(logging.WARNING, "mobilenets"):
        prepared = take(data)
    assert prepared.copies == 1
    assert prepared.notes == (
        "2 of the 14 validation pictures are copies of training pictures, such as validation/a/x.png: the epoch is "
        "chosen on pictures that were learned; keep each picture in only one of train/ and validation/",
        "1 of the 16 pictures measured on are copies of training pictures, such as test/b/z.png: the figures are too "
        "high; keep each picture in only one of train/ and test/",
        "3 of the 16 pictures measured on are copies of validation pictures, such as test/a/v11.png: the epoch is "
        "chosen on pictures of the final figure; keep each picture in only one of validation/ and test/",
    )
    assert [record.getMessage() for record in caplog.records] == [f"{data}: {note}" for note in prepared.notes]


def test_unreadable_pictures_are_known_but_on_no_side(draw: Draw, tmp_path: Path) -> None:
    data = draw(tmp_path / "photos", {"a": 10, "b": 10})
    spoil(data / "a" / "000.png")
    (data / "b" / "link.png").symlink_to(tmp_path / "nowhere.png")
    seen = take(data).seen
    assert sorted(half for _, half in seen.pictures.values()) == ["train"] * 15 + ["unreadable"] + ["validation"] * 4


@pytest.mark.skipif(os.name != "posix", reason="named pipes are POSIX here")
def test_a_pipe_among_the_pictures_is_not_waited_for(draw: Draw, tmp_path: Path) -> None:
    data = draw(tmp_path / "photos", {"a": 10, "b": 10})
    os.mkfifo(data / "a" / "pipe.jpg")
    assert len(take(data).seen.pictures) == 20
