from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mobilenets.bulk.answering import counted
from mobilenets.bulk.job import Answered, Job, alone, earlier
from mobilenets.bulk.parts import Part
from mobilenets.errors import InputError


def about(**settings: Any) -> dict[str, Any]:
    model = {"path": "/m", "sha256": settings.pop("model", "1")}
    source = {"path": settings.pop("source", "/s"), "kind": "files"}
    form = {"format": "mobilenets answers", "version": 1}
    return form | {"model": model, "source": source, "settings": {"format": "jsonl", "top": None} | settings}


def part(number: int, inputs: str = "x") -> Part:
    return Part(f"part-{number:05}", "files", "/s", inputs, 2, f"{number}.jpg")


def answered(label: str = "cat", error: str | None = None) -> Answered:
    rows: list[dict[str, Any]] = [{"image": "a", "predictions": [{"label": label, "probability": 1.0}]}]
    rows += [{"image": "b", "error": error}] if error else []
    return Answered(b"{}\n", counted(rows), 0.5)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    job = Job(tmp_path, about())
    assert len(job.begin([part(0), part(1)])) == 2
    job.keep(part(0), answered())
    later = Job(tmp_path, about())
    assert later.firsts == {"part-00000": "0.jpg", "part-00001": "1.jpg"}
    assert [one.name for one in later.begin([part(0), part(1)])] == ["part-00001"]


def test_a_line_cut_short_and_a_file_cut_short_count_for_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, about())
    job.begin([part(0), part(1), part(2)])
    for number in range(3):
        job.keep(part(number), answered())
    content = (tmp_path / "done.jsonl").read_bytes()
    (tmp_path / "done.jsonl").write_bytes(content[:-9])
    (tmp_path / "answers/part-00001.jsonl").write_bytes(b"")
    later = Job(tmp_path, about())
    assert [one.name for one in later.begin([part(0), part(1), part(2)])] == ["part-00001", "part-00002"]
    later.keep(part(1), answered())
    assert [json.loads(line)["part"] for line in (tmp_path / "done.jsonl").read_text().splitlines()] == [
        "part-00000",
        "part-00001",
    ]


def test_answers_of_parts_that_changed_or_went_are_removed(tmp_path: Path) -> None:
    job = Job(tmp_path, about())
    job.begin([part(0), part(1), part(2)])
    for number in range(3):
        job.keep(part(number), answered())
    later = Job(tmp_path, about())
    assert [one.name for one in later.begin([part(0), part(1, "other")])] == ["part-00001"]
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["part-00000.jsonl"]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"model": "2"}, "holds the answers of another model (/m); go on as it was begun, or give another --out"),
        ({"source": "/t"}, "holds the answers for another source (/s)"),
        ({"top": 3}, "was begun with top by default, not 3"),
    ],
)
def test_another_job_in_the_same_folder_is_refused(other: dict[str, Any], says: str, tmp_path: Path) -> None:
    Job(tmp_path, about()).begin([part(0)])
    with pytest.raises(InputError) as caught:
        Job(tmp_path, about(**other))
    assert says in str(caught.value)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        Job(tmp_path, about())
    (tmp_path / "job.json").write_text('{"format": "other"}')
    with pytest.raises(InputError, match="not that of a job of this release"):
        earlier(tmp_path)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with (
        alone(tmp_path / "out"),
        pytest.raises(InputError, match="another predict is writing"),
        alone(tmp_path / "out"),
    ):
        pass


def test_the_summary_adds_up(tmp_path: Path) -> None:
    job = Job(tmp_path, about())
    job.begin([part(0), part(1), part(2)])
    job.keep(part(0), answered("cat", "the file is empty"))
    job.keep(part(1), answered("dog"))
    job.keep(part(2), answered("dog"))
    result = job.summary({"part-00003": "SIGKILL"}, engine="local")
    assert result == json.loads((tmp_path / "summary.json").read_text())
    assert (result["pictures"], result["bad"], result["classes"]) == (4, 1, {"dog": 2, "cat": 1})
    assert result["first_bad"] == [{"image": "b", "error": "the file is empty"}]
    assert result["failed"] == [{"part": "part-00003", "reason": "SIGKILL"}] and result["engine"] == "local"
