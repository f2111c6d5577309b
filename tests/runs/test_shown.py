"""What a notebook shows of results."""

from __future__ import annotations

import json
from pathlib import Path

from mobilenets.runs.shown import Answers, Trained


def test_a_run_is_shown_with_its_figures_notes_and_plots(tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_bytes(b"drawn")
    result = Trained(
        run=str(tmp_path),
        report=str(tmp_path / "report.html"),
        top1=0.9,
        top1_interval=[0.7, 0.98],
        images=20,
        evaluated_on="validation",
        notes=["a <b> of c"],
        next_steps=[],
    )
    page = result._repr_html_()
    assert "<b>top-1 90.0 %</b> (95 % interval 70.0 to 98.0) on 20 pictures (validation)" in page
    assert "<li>a &lt;b&gt; of c</li>" in page and "What would help" not in page
    assert page.count("<img") == 1 and "data:image/png;base64,ZHJhd24=" in page
    assert json.loads(json.dumps(result)) == result and type(result | {}) is dict


def test_boxes_are_shown_too(tmp_path: Path) -> None:
    result = Trained(
        run=str(tmp_path), report="r", ap=None, ap50_interval=None, images=2, evaluated_on="test", notes=[]
    )
    assert result._repr_html_().startswith("<p><b>AP –</b> on 2 pictures (test)</p>")


def test_answers_say_how_to_get_them() -> None:
    answers = Answers(answer for answer in ({"image": "a"}, {"image": "b"}))
    assert "list(" in repr(answers)
    assert next(answers) == {"image": "a"}
    answers.close()
    assert list(answers) == []
