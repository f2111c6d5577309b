"""A detector in the browser gives the boxes of ``predict``."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobilenets
from mobilenets.page import PAGE
from mobilenets.pictures.preprocess import RESIZES, Preprocessing
from mobilenets.runtime.detection import Detection
from mobilenets.runtime.detections import decode

BLANK = "<!doctype html><title>blank</title>"
ASKED = """(async () => {
  const { predict } = await import("%(url)s/web/page/answerer.js");
  const bytes = Uint8Array.from(atob("%(content)s"), (one) => one.charCodeAt(0));
  return predict(new File([bytes], "picture"));
})()"""
DECODED = """(async () => {
  const { decode } = await import("%(url)s/browser/detections.js");
  const numbers = new Float32Array(Uint8Array.from(atob("%(numbers)s"), (one) => one.charCodeAt(0)).buffer);
  return decode(numbers, %(about)s, %(width)d, %(height)d).map(({ label, score, box }) => [label, score, ...box]);
})()"""


@pytest.mark.parametrize("interpolation", ["bilinear", "corner"])  # in levels, and not rounded to them
def test_the_page_finds_what_predict_finds(
    finder: Any,
    finder_by: Callable[[str], Path],
    runtime_folder: Path,
    hosting: Any,
    chromium: Any,
    tmp_path: Path,
    interpolation: str,
) -> None:
    out = mobilenets.export(
        finder_by(interpolation), tmp_path / "web", "web", data=finder.data, web_runtime=runtime_folder
    )
    assert out["passed"], out
    (tmp_path / "blank.html").write_text(BLANK)
    with hosting(tmp_path) as url:
        chromium.open(f"{url}/blank.html", 800, 600)
        for number in (1, 5, 9):
            picture = finder.data / f"pictures/{number:03}.png"
            content = base64.b64encode(picture.read_bytes()).decode()
            found = chromium.run(ASKED % {"url": url, "content": content})["detections"]
            [answer] = mobilenets.predict(tmp_path / "web", picture)
            assert [one["label"] for one in found] == [one["label"] for one in answer["detections"]]
            for one, other in zip(found, answer["detections"], strict=True):
                assert abs(one["score"] - other["score"]) < 1e-4
                np.testing.assert_allclose(one["box"], other["box"], atol=0.02)
        chromium.open(f"{url}/web/", 800, 600)
        chromium.until("document.body.dataset.ready")  # where what it finds is what the export said
        assert chromium.run("document.querySelector('#status').textContent") == ""
        chromium.choose("#files", picture)
        chromium.until("document.querySelectorAll('#boxes rect.box').length")
        assert chromium.run("document.querySelectorAll('#boxes rect.box').length") == len(answer["detections"])


def test_decoding_is_that_of_python(hosting: Any, chromium: Any) -> None:
    shapes = (((0.3, 0.3), (0.5, 0.25)), ((0.8, 0.8), (0.6, 0.9), (0.9, 0.4)))
    with hosting(PAGE) as url:
        chromium.open(f"{url}/browser/problem.js", 400, 300)
        total = 0
        for seed in range(12):
            detection = Detection(
                64, (6, 3), shapes, most=30, least_score=(0.01, 0.3)[seed % 2], iou=(0.6, 0.4)[seed % 2]
            )
            detection = replace(detection, scores=("softmax", "sigmoid")[seed // 6])
            how = Preprocessing(64, RESIZES[seed % 3])
            numbers = np.random.default_rng(seed).normal(0, 2, (detection.count, 7)).astype(np.float32)
            about = {"detection": detection.to_json(), "preprocessing": how.to_json(), "classes": ["a", "b"]}
            found = chromium.run(
                DECODED
                % {
                    "url": url,
                    "numbers": base64.b64encode(numbers.tobytes()).decode(),
                    "about": json.dumps(about),
                    "width": 300 + seed,
                    "height": 211,
                }
            )
            ours = decode(numbers, detection, 300 + seed, 211, how)
            expected = np.column_stack([ours.labels, ours.scores, ours.corners])
            np.testing.assert_allclose(np.array(found).reshape(-1, 6), expected, atol=2e-3)
            total += len(ours)
        assert total > 100
