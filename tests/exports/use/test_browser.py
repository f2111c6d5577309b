"""The page in ``use/web`` beside an export, served as it is and opened in headless Chromium."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.pictures.decode import decode
from mobilenets.runtime.tie import contract_hash


class Hosting(Protocol):
    def __call__(self, folder: Path) -> AbstractContextManager[str]: ...


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng((width, height)).integers(0, 256, (height, width, 3), np.uint8))


def pictures() -> dict[str, bytes]:
    turned = Image.Exif()
    turned[0x0112] = 6
    veiled = picture(90, 70)
    veiled.putalpha(Image.linear_gradient("L").resize(veiled.size))
    made = {
        "small.png": (picture(20, 23), "PNG", {}),
        "same.png": (picture(32, 32), "PNG", {}),
        "odd.png": (picture(97, 61), "PNG", {}),
        "tall.png": (picture(7, 300), "PNG", {}),
        "wide.jpg": (picture(640, 123), "JPEG", {}),
        "photo.jpg": (picture(1600, 1200), "JPEG", {"quality": 90}),
        "turned.jpg": (picture(201, 90), "JPEG", {"exif": turned}),
        "veiled.png": (veiled, "PNG", {}),
    }
    found = {}
    for name, (image, form, options) in made.items():
        file = io.BytesIO()
        image.save(file, form, **options)
        found[name] = file.getvalue()
    return found


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ({}, {}),
        ({"resize": "stretch", "interpolation": "bilinear"}, {"pixels": True, "probabilities": True}),
        ({"resize": "pad", "interpolation": "lanczos", "fill": [7, 200, 90]}, {"batch": 3}),
        ({"interpolation": "nearest"}, {}),
        ({}, {"camera": True}),
    ],
    ids=str,
)
def test_browser(
    rule: dict[str, Any],
    options: dict[str, Any],
    trained: Any,
    runtime_folder: Path,
    hosting: Hosting,
    chromium: Any,
    tmp_path: Path,
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    shutil.copy(trained.run / "model.safetensors", run)
    about = json.loads((trained.run / "model.json").read_bytes())
    about |= {"preprocessing": about["preprocessing"] | rule}
    (run / "model.json").write_text(json.dumps(about | {"contract_sha256": contract_hash(about)}))
    assert mobilenets.export(run, out, data=trained.data, **options)["passed"]
    installed = out / "use/web/node_modules/onnxruntime-web"
    installed.mkdir(parents=True)
    (installed / "dist").symlink_to(runtime_folder)
    predictor = mobilenets.Predictor(out)
    wrong = {}
    with hosting(out) as url:
        for name, content in pictures().items():
            (tmp_path / name).write_bytes(content)
            chromium.open(f"{url}/use/web/index.html", 800, 600)
            chromium.until("document.querySelector('#file').onchange")
            chromium.choose("#file", tmp_path / name)
            chromium.until("document.querySelector('#answer').textContent")
            said = chromium.run("document.querySelector('#answer').textContent")
            found = {line.split()[0]: float(line.split()[1]) / 100 for line in said.splitlines()}
            # A browser decodes whole.
            [row] = predictor.probabilities([predictor.prepare_image(decode(content))])
            expected = dict(zip(predictor.classes, row, strict=True))
            assert found.keys() == expected.keys()
            apart = max(abs(found[label] - expected[label]) for label in expected)
            if apart > 0.002:  # written with one decimal
                wrong[name] = (found, expected, apart)
    assert not wrong
