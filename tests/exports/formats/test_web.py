from __future__ import annotations

import base64
import importlib.util
import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.exports.formats import web, web_runtime
from mobilenets.page import PAGE, SHARED
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import INTERPOLATIONS, RESIZES, UNFILTERED, Preprocessing

BLANK = "<!doctype html><title>blank</title>"


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.parent.name + path.stem, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pictures = _module(Path(__file__).with_name("browser_pictures.py"))
scene, saved = pictures.scene, pictures.saved


class Hosted(NamedTuple):
    run: Path
    folder: Path
    url: str


@pytest.fixture(scope="module")
def hosted(
    trained: Any, runtime_folder: Path, hosting: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hosted]:
    """Export the pets, with names, groups and a threshold, and serve the folder as any static host would."""
    place = tmp_path_factory.mktemp("web")
    run = place / "run"
    run.mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained.run / name, run / name)
    labels = {
        "classes": {
            "cat": {"names": {"en": "cat", "zh": "猫"}, "group": "fur"},
            "dog": {"names": {"en": "dog", "zh": "狗"}, "group": "fur"},
            "owl": {"names": {"en": "owl", "zh": "猫头鹰"}, "group": "feather"},
        },
        "groups": {
            "fur": {"names": {"en": "has fur", "zh": "有毛"}, "color": "#8a4b08"},
            "feather": {"names": {"en": "has feathers", "zh": "有羽毛"}, "color": "#1b6fb5"},
        },
    }
    value = json.loads((run / "model.json").read_text("utf-8"))
    (run / "model.json").write_text(json.dumps(value | {"labels": labels, "threshold": 0.6}), "utf-8")
    for name, options in {"web": {}, "pixels": {"pixels": True, "probabilities": True, "batch": 2}}.items():
        out = mobilenets.export(run, place / name, "web", data=trained.data, web_runtime=runtime_folder, **options)
        assert out["passed"], out
    (place / "blank.html").write_text(BLANK, "utf-8")
    with hosting(place) as url:
        yield Hosted(run, place / "web", url)


ANSWER = """(async () => {
  const { probabilities } = await import("%(url)s/page/answerer.js");
  const { decode } = await import("%(url)s/page/decode.js");
  const bytes = Uint8Array.from(atob("%(content)s"), (one) => one.charCodeAt(0));
  const file = new File([bytes], "picture");
  const seen = await decode(file);
  const { width, height, start, across, down, data } = seen;
  let pixels = "";
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++)
    pixels += String.fromCharCode(data[start + x * across + y * down + c]);
  return { width, height, pixels: btoa(pixels), probabilities: await probabilities(file) };
})()"""


def asked(page: Any, url: str, content: bytes) -> tuple[Any, Any]:
    """Return what the browser decodes, H×W×3, and the probabilities that it answers."""
    found = page.run(ANSWER % {"url": url, "content": base64.b64encode(content).decode()})
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
    return pixels.reshape(found["height"], found["width"], 3), np.array(found["probabilities"])


# What the browser itself converts may differ so far; all else is the same to the bit.
LEVELS = {"p3.jpg": 1, "p3.png": 1, "adobe.jpg": 1, "table.webp": 8, "grey16-noise.png": 1}


def test_varied_pictures_are_answered_as_predict_does(hosted: Hosted, chromium: Any) -> None:
    predictor = mobilenets.Predictor(hosted.run, "cpu")
    made = pictures.varied()
    assert len(made) >= 50
    chromium.open(f"{hosted.url}/blank.html", 800, 600)
    wrong = {}
    for name, content in made.items():
        pixels, found = asked(chromium, f"{hosted.url}/web", content)
        expected = np.asarray(decode(content)).astype(int)
        [probabilities] = predictor.probabilities([predictor.prepare(content)])
        same = pixels.shape == expected.shape
        levels = np.abs(pixels - expected).max() if same else None
        difference = np.abs(found - probabilities).max()
        if not same or levels > LEVELS.get(name, 0) or difference > 1e-3:
            wrong[name] = (pixels.shape, expected.shape, levels, difference)
    assert not wrong


FIT = """(async () => {
  const { rows } = await import("%(url)s/page/resample.js");
  const { fit, numbers } = await import("%(url)s/page/preprocess.js");
  const data = Uint8Array.from(atob("%(pixels)s"), (one) => one.charCodeAt(0));
  const picture = rows(data, %(width)d, %(height)d, 3);
  return %(wanted)s.map((how) => {
    const found = numbers(fit(picture, how), how, { input: "%(input)s", layout: "NHWC" });
    return btoa([...new Uint8Array(found.buffer)].map((one) => String.fromCharCode(one)).join(""));
  });
})()"""
SIZES = [(1, 1), (7, 200), (200, 7), (61, 97), (97, 61), (33, 32), (32, 32), (299, 201), (20, 33), (60, 88), (60, 89)]


def test_resizing_is_pillows_to_the_bit(hosted: Hosted, chromium: Any) -> None:
    """All rules and filters; also where Pillow, left to itself, would begin with the columns: from (60, 89) on."""
    chromium.open(f"{hosted.url}/blank.html", 800, 600)
    wanted = [
        Preprocessing(size, resize, fraction, interpolation, fill=(7, 200, 90))
        for size, fraction in ((32, 0.875), (45, 0.6))
        for resize in RESIZES
        for interpolation in (*INTERPOLATIONS, *UNFILTERED)
    ]
    for width, height in SIZES:
        noise = np.random.default_rng((width, height)).integers(0, 256, (height, width, 3), np.uint8)
        for how, found in zip(wanted, fitted(chromium, hosted, noise, wanted, "uint8"), strict=True):
            expected = np.asarray(how.fit(Image.fromarray(noise)))
            np.testing.assert_array_equal(found, expected.ravel(), str((width, height, how)))


def test_numbers_are_rounded_as_numpy_does(hosted: Hosted, chromium: Any) -> None:
    chromium.open(f"{hosted.url}/blank.html", 800, 600)
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    how = Preprocessing(20, "stretch", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    [found] = fitted(chromium, hosted, noise, [how], "float32")
    np.testing.assert_array_equal(found.view(np.float32), how(Image.fromarray(noise)).ravel())


def fitted(page: Any, hosted: Hosted, pixels: Any, wanted: list[Preprocessing], kind: str) -> list[Any]:
    """Give what the browser makes of a picture by each of the contracts, as bytes."""
    height, width = pixels.shape[:2]
    values = {"url": f"{hosted.url}/web", "width": width, "height": height, "input": kind}
    values["pixels"] = base64.b64encode(pixels.tobytes()).decode()
    values["wanted"] = json.dumps([how.to_json() for how in wanted])
    return [np.frombuffer(base64.b64decode(text), np.uint8) for text in page.run(FIT % values)]


# ---------------------------------------------------------------- the page

BARS = "[...document.querySelectorAll('#bars .words')].map((row) => [...row.children].map((cell) => cell.textContent))"
SHOWN = "!document.querySelector('#result').hidden && document.querySelector('#status').textContent === ''"


def test_the_page_answers_as_predict_does(hosted: Hosted, trained: Any, chromium: Any, tmp_path: Path) -> None:
    url = f"{hosted.url}/web/"
    chromium.open(url, 390, 844, True)
    chromium.until("document.body.dataset.ready")
    if chromium.run("document.documentElement.lang") != "en":
        chromium.run("document.querySelector('#language').click()")
    # The model has answered a picture that it brings, and as it should.
    assert chromium.run("document.querySelector('#status').textContent") == ""
    assert chromium.run("document.querySelector('#docs').hidden")
    # No group, a group, and unsure are each what `predict` says.
    noise = tmp_path / "noise.png"
    noise.write_bytes(saved(scene(200, 150), "PNG"))
    for number, picture in enumerate([trained.data / "cat" / "001.png", trained.data / "owl" / "001.png", noise]):
        chromium.choose("#files", picture)
        chromium.until(f"document.querySelectorAll('#history li').length === {number + 1} && {SHOWN}")
        [expected] = mobilenets.predict(hosted.run, picture, language="en")
        bars = [[one["name"], f"{100 * one['probability']:.1f}\xa0%"] for one in expected["predictions"]]
        assert chromium.run(BARS) == bars
        assert chromium.run("document.querySelector('#bin').textContent") == expected["groups"][0]["name"]
        assert chromium.run("document.querySelector('#unsure').hidden") is expected["sure"]
    chromium.run("document.querySelector('#language').click()")
    assert chromium.run("document.querySelector('h1').textContent") == "图片里是什么？"
    assert chromium.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    # It asks nobody but its own host.
    assert all(one.startswith((url, "data:", f"blob:{hosted.url}/", "about:")) for one in chromium.requested)
    refused = (
        "new Promise((done) => document.addEventListener('securitypolicyviolation', (event) => done(event.blockedURI)))"
    )
    asking = "fetch('https://example.org/').catch(() => 0)"
    assert chromium.run(f"(async () => {{ const refusal = {refused}; {asking}; return refusal; }})()").startswith(
        "https"
    )


PROBLEMS = {
    "notes.txt": (b"words", "This is not a picture that can be read here"),
    "empty.png": (b"", "The file is empty."),
    "photo.tif": (b"II*\0" + bytes(40), "This is not a picture that can be read here"),
    "cut.jpg": (saved(scene(200, 150), "JPEG")[:2000], "The picture is damaged."),
    "ink.jpg": (
        pictures.not_adobes(saved(scene(90, 120, "CMYK"), "JPEG")),
        "Browsers show this CMYK picture inverted",
    ),
    "cut.png": (saved(scene(200, 150), "PNG")[:2000], "The picture is damaged."),
}


def test_what_cannot_be_read_is_said(hosted: Hosted, chromium: Any, tmp_path: Path) -> None:
    chromium.open(f"{hosted.url}/web/", 800, 600)
    chromium.until("document.body.dataset.ready")
    if chromium.run("document.documentElement.lang") != "en":
        chromium.run("document.querySelector('#language').click()")
    for number, (name, (content, words)) in enumerate(PROBLEMS.items()):
        (tmp_path / name).write_bytes(content)
        chromium.choose("#files", tmp_path / name)
        chromium.until(f"document.querySelectorAll('#history li').length === {number + 1}")
        chromium.until("document.querySelector('#status').className === 'bad'")
        assert chromium.run("document.querySelector('#status').textContent").startswith(words), name


REDIRECT = "const real = fetch; window.fetch = (url, ...rest) => real(String(url).replace('%s', '%s'), ...rest);"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        # What a browser does that adds noise against recognition.
        (
            "const real = OffscreenCanvasRenderingContext2D.prototype.getImageData;"
            "OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...where) {"
            "  const image = real.apply(this, where); image.data.reverse(); return image; };",
            "This browser changes pixels",
        ),
        (
            REDIRECT % ("model.onnx", "nothing.onnx"),
            "The model could not be loaded.",
        ),
        # A model of an earlier export beside the model.json of a later one.
        (
            REDIRECT % ("model.onnx", "export.json"),
            "The model could not be loaded.",
        ),
    ],
)
def test_what_goes_wrong_while_loading_is_said(hosted: Hosted, chromium: Any, script: str, words: str) -> None:
    chromium.call(
        "Page.addScriptToEvaluateOnNewDocument", source=f"localStorage['mobilenets.language'] = 'en'; {script}"
    )
    chromium.open(f"{hosted.url}/web/", 800, 600)
    chromium.until("document.body.dataset.ready")
    assert chromium.run("document.querySelector('#status').textContent").startswith(words)


def test_pixels_probabilities_and_a_fixed_batch(hosted: Hosted, trained: Any, chromium: Any) -> None:
    chromium.open(f"{hosted.url}/blank.html", 800, 600)
    predictor = mobilenets.Predictor(hosted.run, "cpu")
    for content in ((trained.data / "dog" / "002.png").read_bytes(), saved(scene(99, 140), "JPEG")):
        _, found = asked(chromium, f"{hosted.url}/pixels", content)
        [expected] = predictor.probabilities([predictor.prepare(content)])
        assert np.abs(found - expected).max() < 1e-3


EXPLAIN = """(async () => {
  const { explain } = await import("%(url)s/page/answerer.js");
  const bytes = Uint8Array.from(atob("%(content)s"), (one) => one.charCodeAt(0));
  const drawn = await (await explain(new File([bytes], "picture"))).arrayBuffer();
  return btoa([...new Uint8Array(drawn)].map((one) => String.fromCharCode(one)).join(""));
})()"""


@pytest.mark.parametrize("folder", ["web", "pixels"])
def test_what_it_looked_at_is_drawn_as_predict_does(hosted: Hosted, trained: Any, chromium: Any, folder: str) -> None:
    chromium.open(f"{hosted.url}/blank.html", 800, 600)
    predictor = mobilenets.Predictor(hosted.run)
    for content in ((trained.data / "owl" / "002.png").read_bytes(), saved(scene(99, 140), "PNG")):
        values = {"url": f"{hosted.url}/{folder}", "content": base64.b64encode(content).decode()}
        found = Image.open(io.BytesIO(base64.b64decode(chromium.run(EXPLAIN % values)))).convert("RGB")
        expected = predictor.explain(content)
        assert found.size == expected.size
        difference = np.abs(np.asarray(found, int) - np.asarray(expected, int))
        # Pillow enlarges the map in steps of its own, and the colours lie between 33 and not 256.
        assert difference.max() <= 12 and difference.mean() < 1.5


def test_the_page_shows_what_it_looked_at(hosted: Hosted, trained: Any, chromium: Any) -> None:
    chromium.open(f"{hosted.url}/web/", 390, 844, True)
    chromium.until("document.body.dataset.ready")
    chromium.choose("#files", trained.data / "cat" / "001.png")
    chromium.until(SHOWN)
    before = chromium.run("document.querySelector('#picture').src")
    chromium.run("document.querySelector('#explain').click()")
    chromium.until("document.querySelector('#explain').getAttribute('aria-pressed') === 'true'")
    chromium.until(f"document.querySelector('#picture').src !== '{before}'")
    chromium.until("document.querySelector('#picture').naturalWidth === 320")


def test_the_folder_is_whole(hosted: Hosted) -> None:
    names = {path.relative_to(hosted.folder).as_posix() for path in hosted.folder.rglob("*") if path.is_file()}
    shared = {f"page/{name}" for name in (*SHARED, *web_runtime.FILES)}
    own = {f"page/{path.name}" for path in (PAGE / "browser").iterdir() if path.suffix == ".js"}
    assert {"index.html", "model.json", "model.onnx"} | shared | own <= names
    about = json.loads((hosted.folder / "model.json").read_bytes())["export"]
    assert about["format"] == "web"
    assert about["about"]["web"]["runtime"] == f"{web_runtime.PACKAGE} {web_runtime.VERSION}"
    assert web.POLICY in (hosted.folder / "index.html").read_text("utf-8")
    # It is an export as any other, too.
    picture = saved(scene(40, 50), "PNG")
    assert mobilenets.Predictor(hosted.folder)(picture)[0].label == mobilenets.Predictor(hosted.run)(picture)[0].label
