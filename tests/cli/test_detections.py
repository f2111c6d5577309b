from __future__ import annotations

import json
import logging
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mobilenets.base.cells import write_cells
from mobilenets.cli.detections import COLUMNS, Coco, coco_writer, found, rows
from mobilenets.errors import InputError

DOG = {"label": "dog", "score": 0.9, "box": [1.0, 2.0, 11.5, 22.25]}
BALL = {"label": "=ball", "score": 0.625, "box": [0.0, 0.0, 4.0, 4.0]}
ANSWERS: list[dict[str, Any]] = [
    {"image": "my/yard/7.jpg", "detections": [DOG, BALL]},
    {"image": "bad.jpg", "error": "the file is empty"},
    {"image": "none.jpg", "detections": []},
]


def predictor(places: bool = True) -> Any:
    return cast(Any, SimpleNamespace(classes=("=ball", "dog"), places=places))


def written(capsys: pytest.CaptureFixture[str], ids: Path | None = None) -> str:
    write = coco_writer(predictor(), "coco", None if ids is None else str(ids))
    assert write is not None
    for answer in (*ANSWERS, None):
        write(answer)
    return capsys.readouterr().out


def test_text() -> None:
    assert found([DOG, BALL]) == "dog 90.0 % (1,2 to 12,22), =ball 62.5 % (0,0 to 4,4)"
    assert found([]) == "nothing found"


def test_csv() -> None:
    assert write_cells([COLUMNS, *(row for answer in ANSWERS for row in rows(answer))]).splitlines() == [
        "image,rank,label,score,x0,y0,x1,y1,error",
        "my/yard/7.jpg,1,dog,0.900000,1.00,2.00,11.50,22.25,",
        "my/yard/7.jpg,2,'=ball,0.625000,0.00,0.00,4.00,4.00,",  # which a spreadsheet would run
        "bad.jpg,,,,,,,,the file is empty",
        "none.jpg,,,,,,,,",
    ]


def test_coco(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mobilenets"):
        first, second = json.loads(written(capsys))
    assert first["bbox"] == [1.0, 2.0, 10.5, 20.25]
    assert (first["image_id"], first["category_id"], first["score"]) == (1, 2, 0.9)
    assert (second["category_id"], second["file_name"]) == (1, "my/yard/7.jpg")
    assert "bad.jpg: not read: the file is empty" in caplog.text


def test_ids_of_the_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "instances.json"
    images = [{"id": 0, "file_name": "yard/7.jpg"}, {"id": 90, "file_name": "none.jpg"}]
    categories = [{"id": 18, "name": "dog"}, {"id": 3, "name": "=ball"}]
    file.write_text(json.dumps({"images": images, "categories": categories}))
    assert [(one["image_id"], one["category_id"]) for one in json.loads(written(capsys, file))] == [
        (0, 18),
        (0, 3),
    ]
    with closing(Coco(("dog",), file)) as write:
        write({"image": "none.jpg", "detections": [DOG]})
        with pytest.raises(InputError, match=r"other\.jpg: the file given by --ids does not name it"):
            write({"image": "other.jpg", "detections": [DOG]})
    assert not capsys.readouterr().out  # nothing, and not half a list
    with pytest.raises(InputError, match="does not name the model's class 'cat'"):
        Coco(("cat",), file)
    file.write_text("[]")
    with pytest.raises(InputError, match="not COCO's"):
        Coco(("dog",), file)


def test_nothing_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    write = coco_writer(predictor(), "coco", None)
    assert write is not None
    write(None)
    assert json.loads(capsys.readouterr().out) == []


def test_what_does_not_go_together() -> None:
    with pytest.raises(InputError, match="--format coco is for boxes"):
        coco_writer(predictor(places=False), "coco", None)
    with pytest.raises(InputError, match="--ids only works"):
        coco_writer(predictor(), "json", "instances.json")
    assert coco_writer(predictor(), "csv", None) is None


def test_coco_has_all_boxes_unless_a_threshold_is_given(command: Any, finder: Any) -> None:
    words = ("predict", finder.run, finder.data / "pictures/000.png", "--format", "coco")
    counts = [
        len(json.loads(command(*words, *more).out)) for more in ((), ("--threshold", "0"), ("--threshold", "0.6"))
    ]
    assert counts[0] == counts[1] > counts[2]
