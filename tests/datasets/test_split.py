from __future__ import annotations

import logging
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.datasets.folder import Sample, content_hashes
from mobilenets.datasets.split import Split, identical, read_split, split, write_split
from mobilenets.errors import InputError

CLASSES = ("cat", "dog", "eel", "fox")


def put(root: Path, sizes: dict[str, int]) -> list[Sample]:
    """Files of bytes that all differ; some share their size."""
    samples = []
    for name, size in sizes.items():
        (root / name).mkdir(parents=True)
        for number in range(size):
            path = root / name / f"{number}.jpg"
            path.write_bytes(f"{name} {number:03d}".encode() * (1 + number % 3))
            samples.append(Sample(path, CLASSES.index(name)))
    return samples


def copy(of: Sample, name: str, root: Path) -> Sample:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(of.path, path)
    return Sample(path, CLASSES.index(name.split("/")[0]))


def names(samples: tuple[Sample, ...], root: Path) -> list[str]:
    return [sample.path.relative_to(root).as_posix() for sample in samples]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.2, (20, 2, 1)), (0.5, (50, 5, 1)), (0.001, (1, 1, 1)), (0.999, (99, 9, 1))]
)
def test_stratified(tmp_path: Path, share: float, expected: tuple[int, ...]) -> None:
    samples = put(tmp_path, {"cat": 100, "dog": 10, "eel": 2})
    done = split(samples, CLASSES, share, 0, tmp_path)
    assert Counter(sample.label for sample in done.validation) == dict(enumerate(expected))
    assert sorted(names(done.train + done.validation, tmp_path)) == sorted(names(tuple(samples), tmp_path))
    assert not set(done.train) & set(done.validation)
    assert done.problems == ()
    assert done.copies == 0


def test_repeatable_whatever_the_order_and_place(tmp_path: Path) -> None:
    samples = put(tmp_path / "one", {"cat": 30, "dog": 20})
    done = split(samples, CLASSES, 0.3, 5, tmp_path / "one")
    assert done == split(samples, CLASSES, 0.3, 5, tmp_path / "one")
    shuffled = list(samples)
    random.Random(1).shuffle(shuffled)
    again = split(shuffled, CLASSES, 0.3, 5, tmp_path / "one")
    assert set(again.validation) == set(done.validation)
    assert again.train == tuple(sample for sample in shuffled if sample in done.train)
    elsewhere = split(put(tmp_path / "other place", {"dog": 20, "cat": 30}), CLASSES, 0.3, 5, tmp_path / "other place")
    assert set(names(elsewhere.validation, tmp_path / "other place")) == set(names(done.validation, tmp_path / "one"))


def test_the_draw_is_frozen(tmp_path: Path) -> None:
    """The same pictures in every version and on every system, or old runs could not be repeated."""
    samples = put(tmp_path, {"cat": 10, "dog": 5})
    drawn = names(split(samples, CLASSES, 0.4, 0, tmp_path).validation, tmp_path)
    assert drawn == ["cat/1.jpg", "cat/3.jpg", "cat/4.jpg", "cat/7.jpg", "dog/2.jpg", "dog/4.jpg"]


def test_seeds_differ(tmp_path: Path) -> None:
    samples = put(tmp_path, {"cat": 40, "dog": 40})
    drawn = {split(samples, CLASSES, 0.5, seed, tmp_path).validation for seed in range(20)}
    assert len(drawn) == 20
    held = Counter(sample for validation in drawn for sample in validation)
    assert set(held) == set(samples)
    assert max(held.values()) < 20


def test_a_tiny_class_stays_in_training(tmp_path: Path) -> None:
    samples = put(tmp_path, {"cat": 8, "dog": 1})
    done = split(samples, CLASSES, 0.5, 0, tmp_path)
    assert samples[8] in done.train
    assert [(problem.kind, problem.path) for problem in done.problems] == [("tiny_class", "dog")]
    assert "one picture" in done.problems[0].detail


def test_copies_stay_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = put(tmp_path, {"cat": 20, "dog": 20})
    samples += [copy(samples[0], f"cat/again{number}.jpg", tmp_path) for number in range(3)]
    samples += [
        copy(samples[25], "dog/again.jpg", tmp_path),
        copy(samples[4], "dog/mislabelled.jpg", tmp_path),
    ]
    together = [{0, 40, 41, 42}, {25, 43}, {4, 44}]
    sides = set()
    for seed in range(30):
        with caplog.at_level(logging.INFO, "mobilenets"):
            done = split(samples, CLASSES, 0.3, seed, tmp_path)
        assert done.copies == 8
        for group in together:
            held = {samples[place] in done.validation for place in group}
            assert len(held) == 1
            sides.add((min(group), *held))
        assert {sample.label for sample in done.validation} == {sample.label for sample in done.train} == {0, 1}
    assert len(sides) == 6
    assert "8 pictures are byte-identical copies" in caplog.text


def test_a_group_larger_than_the_share_is_held_out_when_nothing_else_can(tmp_path: Path) -> None:
    samples = put(tmp_path, {"cat": 2})
    samples += [copy(samples[0], "cat/a.jpg", tmp_path), copy(samples[1], "cat/b.jpg", tmp_path)]
    samples += [copy(samples[1], "cat/c.jpg", tmp_path)]
    done = split(samples, CLASSES, 0.1, 0, tmp_path)
    assert set(names(done.validation, tmp_path)) == {"cat/0.jpg", "cat/a.jpg"}
    assert done.problems == ()


def test_a_class_of_copies_stays_in_training(tmp_path: Path) -> None:
    samples = put(tmp_path, {"cat": 6, "dog": 1})
    samples += [copy(samples[6], f"dog/copy{number}.jpg", tmp_path) for number in range(3)]
    done = split(samples, CLASSES, 0.5, 0, tmp_path)
    assert [problem.kind for problem in done.problems] == ["tiny_class"]
    assert "4 pictures, but too many are copies" in done.problems[0].detail
    assert {sample.label for sample in done.validation} == {0}


def test_identical(tmp_path: Path) -> None:
    samples = put(tmp_path, {"cat": 4})
    same_size = Sample(tmp_path / "cat" / "other.jpg", 0)
    same_size.path.write_bytes(b"x" * samples[0].path.stat().st_size)
    double = copy(samples[2], "dog/2.jpg", tmp_path)
    groups = identical([double, same_size, *reversed(samples)], tmp_path)
    assert [names(group, tmp_path) for group in groups] == [
        ["cat/0.jpg"],
        ["cat/1.jpg"],
        ["cat/2.jpg", "dog/2.jpg"],
        ["cat/3.jpg"],
        ["cat/other.jpg"],
    ]
    contents = content_hashes([sample.path for sample in (double, same_size, *samples)])
    for path in contents:
        path.unlink()  # what is known is not read again
    assert identical([double, same_size, *reversed(samples)], tmp_path, contents) == groups


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=25),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
def test_no_leak_and_nothing_lost(
    tmp_path_factory: pytest.TempPathFactory, pictures: list[tuple[int, int]], share: float, seed: int
) -> None:
    """Whatever the classes and copies: every picture once, copies together, no class without training."""
    root = tmp_path_factory.mktemp("data")
    samples, content = [], {}
    for number, (label, value) in enumerate(pictures):
        path = root / CLASSES[label] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([value]))
        samples.append(Sample(path, label))
        content[samples[-1]] = value
    done = split(samples, CLASSES, share, seed, root)
    assert Counter(done.train) + Counter(done.validation) == Counter(samples)
    assert not {content[sample] for sample in done.train} & {content[sample] for sample in done.validation}
    assert {sample.label for sample in done.train} == {sample.label for sample in samples}
    tiny = {problem.path for problem in done.problems}
    held = {CLASSES[sample.label] for sample in done.validation}
    assert held | tiny == {CLASSES[sample.label] for sample in samples}
    assert not held & tiny


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_share_is_checked(tmp_path: Path, share: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        split([], CLASSES, share, 0, tmp_path)


def test_a_vanished_file_is_one_line(tmp_path: Path) -> None:
    samples = put(tmp_path, {"cat": 3})
    samples[1].path.unlink()
    with pytest.raises(InputError, match=r"1\.jpg cannot be read"):
        split(samples, CLASSES, 0.5, 0, tmp_path)


# ---------------------------------------------------------------- split.csv


def test_split_file_round_trip(tmp_path: Path) -> None:
    root = tmp_path / "data"
    samples = put(root, {"cat": 6, "dog": 4})
    samples.append(copy(samples[0], 'cat/deep/odd, "name"\n é.jpg', root))
    done = split(samples, CLASSES, 0.3, 0, root)
    path = tmp_path / "run" / "split.csv"
    write_split(path, root, CLASSES, done.train, done.validation)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "image,class,split"
    assert any(line.startswith("cat/1.jpg,cat,") for line in lines)
    read = read_split(path, root, CLASSES)
    assert set(read.train) == set(done.train)
    assert set(read.validation) == set(done.validation)
    write_split(tmp_path / "again.csv", root, CLASSES, read.train, read.validation)
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    # The labels go by name: another order of classes is another place, not another picture.
    assert {sample.label for sample in read_split(path, root, CLASSES[::-1]).train} == {2, 3}


def test_split_file_keeps_names_that_are_not_unicode(tmp_path: Path) -> None:
    odd = Sample(tmp_path / "cat" / "caf\udce9.jpg", 0)
    odd.path.parent.mkdir()
    try:
        odd.path.write_bytes(b"1")
    except OSError:
        pytest.skip("this file system holds Unicode names only")
    other = Sample(tmp_path / "cat" / "b.jpg", 0)
    other.path.write_bytes(b"2")
    done = split([odd, other], CLASSES, 0.5, 0, tmp_path)
    write_split(tmp_path / "split.csv", tmp_path, CLASSES, done.train, done.validation)
    assert read_split(tmp_path / "split.csv", tmp_path, CLASSES) == Split(done.train, done.validation)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin"),
        ("image,class\n", "must begin"),
        ("image,class,split\ncat/0.jpg,cat\n", "entry 2: expected"),
        ("image,class,split\ncat/0.jpg,cat,test\n", "entry 2: expected"),
        ("image,class,split\ncat/0.jpg,cow,train\n", "unknown class 'cow'"),
        ("image,class,split\ncat/9.jpg,cat,train\n", "no longer exists"),
        ("image,class,split\ncat,cat,train\n", "no longer exists"),
        ("image,class,split\n,cat,train\n", "inside"),
        ("image,class,split\n../data/cat/0.jpg,cat,train\n", "inside"),
        ("image,class,split\n/etc/passwd,cat,train\n", "inside"),
        ("image,class,split\ncat/0.jpg,cat,train\ncat/0.jpg,cat,validation\n", "entry 3: .* listed twice"),
        ('image,class,split\n"cat/0.jpg,cat,train\n', "not a CSV file"),
    ],
)
def test_malformed_split_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path / "data", {"cat": 1})
    path = tmp_path / "split.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_split(path, tmp_path / "data", CLASSES)
    assert "\n" not in str(caught.value)


def test_missing_split_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_split(tmp_path / "split.csv", tmp_path, CLASSES)


def test_only_pictures_below_the_root_are_written(tmp_path: Path) -> None:
    samples = put(tmp_path / "data", {"cat": 1})
    with pytest.raises(InputError, match="is not in"):
        write_split(tmp_path / "split.csv", tmp_path / "other", CLASSES, samples, [])
    assert not (tmp_path / "split.csv").exists()
