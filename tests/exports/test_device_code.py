"""The code of ``use/`` beside an export: its pixels are the package's, to the bit, in every language that runs here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageOps

import mobilenets
from mobilenets.exports import device_code
from mobilenets.exports.device_code import model_header, quoted, write_device_code
from mobilenets.runtime.bundle import Bundle, read_bundle
from mobilenets.runtime.decode import decode
from mobilenets.runtime.exported import Drawn, Exported
from mobilenets.runtime.preprocess import INTERPOLATIONS, RESIZES, Preprocessing

HASH = "0" * 64
SOURCES = Path(device_code.__file__).with_name("device")
PAGE = Path(device_code.__file__).with_name("page")
HARNESS = Path(__file__).with_name("device")
INSTALL_KOTLIN = (
    "apt-get install default-jre-headless libandroid-json-org-java npm && "
    "npm install --prefix . --no-save --no-package-lock kotlin-compiler@2.4.20"
)
JSON_JAR = Path("/usr/share/java/json-android.jar")
SIZES = [(1, 1), (1, 300), (2, 3), (7, 200), (200, 7), (61, 97), (97, 61), (33, 32), (32, 32), (299, 201), (20, 33)]
SIZES += [(60, 88), (60, 89), (500, 41)]

NEEDS_CPP = "needs g++: apt-get install g++"
ANSWERS_AS_EXPECTED = """#pragma once
#include "model.hpp"
namespace mobilenets {
struct Classifier {
    std::vector<float> run(std::vector<Number>, int, int) {
        std::vector<float> made(DRAWN_OUTPUTS.begin(), DRAWN_OUTPUTS.end());
        made[0] += OFF;
        return made;
    }
};
}
"""

PRINTS_NAMES = """#include <iostream>
#include "model.hpp"
int main() {
    for (auto& name : mobilenets::CLASSES) std::cout << name << '\\0';
    return mobilenets::HOW.crop_fraction == 0.1 ? 0 : 1;
}
"""

Pixels = npt.NDArray[np.uint8]


class Job(NamedTuple):
    """A picture with what is to be made of it."""

    pixels: Pixels
    how: Preprocessing
    orientation: int = 1
    planes: bool = False
    batch: int = 1

    def sent(self) -> bytes:
        height, width, channels = self.pixels.shape
        how = self.how
        words = [width, height, channels, self.orientation, how.size, how.resize, how.crop_fraction, how.interpolation]
        words += [how.scale, *how.mean, *how.std, *how.fill, int(self.planes), self.batch]
        return " ".join(map(str, words)).encode() + b"\n" + self.pixels.tobytes()

    def expected(self) -> tuple[Pixels, npt.NDArray[np.float32]]:
        image = Image.fromarray(self.pixels)
        if self.orientation > 1:
            exif = image.getexif()
            exif[0x0112] = self.orientation
            image = ImageOps.exif_transpose(image)
        fitted = np.asarray(self.how.fit(decode(image)))
        return fitted, self.how.normalise(fitted)


def noise(width: int, height: int, channels: int = 3) -> Pixels:
    return np.random.default_rng((width, height)).integers(0, 256, (height, width, channels), np.uint8)


def rules() -> Iterator[Preprocessing]:
    for size, fraction in ((32, 0.875), (45, 0.6), (20, 1.0)):
        for resize in RESIZES:
            for interpolation in INTERPOLATIONS:
                yield Preprocessing(size, resize, fraction, interpolation, fill=(7, 200, 90))


class Runner:
    """A program that answers jobs."""

    def __init__(self, *command: object, turns: bool = True) -> None:
        self._command = [str(word) for word in command]
        self.turns = turns

    def __call__(self, *arguments: object) -> str:
        return subprocess.run([*self._command, *map(str, arguments)], capture_output=True, text=True, check=True).stdout

    def wrong(self, jobs: list[Job]) -> list[str]:
        """Name the jobs whose pixels or numbers are other than the package's."""
        sent = b"".join(job.sent() for job in jobs)
        made = subprocess.run(self._command, input=sent, capture_output=True, check=True).stdout
        found, at = [], 0
        for job in jobs:
            pixels, numbers = job.expected()
            order = (2, 0, 1) if job.planes else (0, 1, 2)
            parts = [pixels.tobytes(), *(one.transpose(order).tobytes() * job.batch for one in (pixels, numbers))]
            for name, part in zip(("pixels", "uint8", "float32"), parts, strict=True):
                if made[at : at + len(part)] != part:
                    found.append(f"{name} of {job.pixels.shape} by {job._replace(pixels=job.pixels[:0])}")
                at += len(part)
        assert at == len(made)
        return found


def compiled_cpp(place: Path) -> Runner:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip(NEEDS_CPP)
    strict = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    command = [compiler, *strict, "-I", SOURCES, HARNESS / "jobs.cpp", "-o", place / "jobs"]
    subprocess.run(command, check=True)
    return Runner(place / "jobs")


def compiled_kotlin(place: Path) -> Runner:
    # npm's package has no link to it.
    folders = [parent / "node_modules/kotlin-compiler/bin" for parent in Path(__file__).parents]
    compiler = next((folder / "kotlinc" for folder in folders if folder.is_dir()), shutil.which("kotlinc"))
    java, shell = shutil.which("java"), shutil.which("bash")
    if compiler is None or java is None or shell is None or not JSON_JAR.is_file():
        pytest.skip(f"needs a Kotlin compiler, Java and org.json: {INSTALL_KOTLIN}")
    # Both open a model by the same name.
    other = (SOURCES / "Classifier.litert.kt").read_text("utf-8")
    (place / "LiteRt.kt").write_text(other.replace("package mobilenets", "package litert\n\nimport mobilenets.Model"))
    files = [file for file in SOURCES.glob("*.kt") if file.name != "Classifier.litert.kt"]
    # What needs a device is only compiled, with stand-ins for Android's classes.
    files += [place / "LiteRt.kt", *HARNESS.rglob("*.kt")]
    library = Path(compiler).resolve().parents[1] / "lib/kotlin-stdlib.jar"
    command = [shell, compiler, "-Werror", "-cp", JSON_JAR, "-d"]
    subprocess.run([*command, place / "jobs.jar", *files], check=True)
    return Runner(java, "-cp", os.pathsep.join(map(str, (place / "jobs.jar", JSON_JAR, library))), "mobilenets.JobsKt")


def copied_javascript(place: Path) -> Runner:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node: apt-get install nodejs")
    for file in (PAGE / "resample.js", PAGE / "preprocess.js", HARNESS / "jobs.mjs"):
        shutil.copy(file, place)
    (place / "package.json").write_text('{"type": "module"}')
    return Runner(node, place / "jobs.mjs", turns=False)


@pytest.fixture(scope="module")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return compiled_cpp(tmp_path_factory.mktemp("cpp"))


@pytest.fixture(scope="module")
def kotlin(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return compiled_kotlin(tmp_path_factory.mktemp("kotlin"))


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return copied_javascript(tmp_path_factory.mktemp("javascript"))


@pytest.fixture(scope="module", params=["cpp", "kotlin", "javascript"])
def runner(request: Any) -> Runner:
    made: Runner = request.getfixturevalue(request.param)
    return made


def test_every_rule_filter_and_shape(runner: Runner) -> None:
    assert runner.wrong([Job(noise(*size), how) for size in SIZES for how in rules()]) == []


def test_large_pictures(runner: Runner) -> None:
    waves = np.asarray(Image.fromarray(noise(9, 7)).resize((4000, 3000), Image.Resampling.BICUBIC))
    hows = [
        Preprocessing(224),
        Preprocessing(160, "stretch", 1.0, "bilinear"),
        Preprocessing(96, "pad", 1.0, "lanczos"),
    ]
    assert runner.wrong([Job(waves[:, :3001], how) for how in hows] + [Job(noise(1500, 2), Preprocessing(224))]) == []


def test_numbers(runner: Runner) -> None:
    """ImageNet's mean and deviation, another scale, both layouts."""
    usual = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    hows = [Preprocessing(20, **usual), Preprocessing(20, scale=1.0, mean=(127.5,) * 3, std=(127.5, 128.0, 1e-3))]
    assert runner.wrong([Job(noise(21, 34), how, planes=planes) for how in hows for planes in (False, True)]) == []


def test_batches_orientations_and_transparency(runner: Runner) -> None:
    if not runner.turns:
        pytest.skip("the page's decoder does this: test_web.py")
    jobs = [Job(noise(31, 50), Preprocessing(24), orientation) for orientation in range(1, 9)]
    jobs += [Job(noise(31, 50), Preprocessing(24), batch=3, planes=planes) for planes in (False, True)]
    every = np.stack(np.broadcast_arrays(*np.ogrid[:256, :256], 0, 0), -1).astype(np.uint8)
    jobs += [Job(every[..., [0, 2, 0, 1]], Preprocessing(256, "stretch"))]
    assert runner.wrong(jobs) == []


def test_a_wrong_pixel_is_found(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(noise(31, 50), Preprocessing(24))
    pixels, numbers = (np.array(made) for made in job.expected())
    pixels[3, 3, 1] ^= 1
    monkeypatch.setattr(Job, "expected", lambda _: (pixels, numbers))
    assert len(runner.wrong([job])) == 2


def test_small_things_in_noise_are_told_apart(runner: Runner) -> None:
    """Of such pictures a bilinear resize without antialiasing had 27 to 47 of 60 right where the package has 60."""
    rng = np.random.default_rng(5)
    jobs = []
    for number in range(12):
        image = Image.fromarray(np.full((576, 960, 3), rng.integers(90, 200, 3), np.uint8))
        x, y = (int(value) for value in rng.integers(60, 300, 2))
        (ImageDraw.Draw(image).ellipse if number % 2 else ImageDraw.Draw(image).rectangle)(
            (x, y, x + 200, y + 200), "navy"
        )
        drawn = np.asarray(image) + rng.normal(0, 25, (576, 960, 1))
        jobs.append(Job(drawn.clip(0, 255).astype(np.uint8), Preprocessing(64)))
    assert runner.wrong(jobs) == []


# Python


def program() -> Any:
    space: dict[str, Any] = {"__name__": "predict"}
    exec((SOURCES / "predict.py").read_text("utf-8"), space)
    return space


def test_python_fits_as_the_contract_says(tmp_path: Path) -> None:
    made = program()
    for number, size in enumerate(SIZES):
        path = tmp_path / f"{number}.png"
        Image.fromarray(noise(*size, 4 if number % 2 else 3)).save(path)
        for how in rules():
            expected = np.asarray(how.fit(decode(path)))
            np.testing.assert_array_equal(made["fit"](made["decode"](path), how.to_json()), expected, str((size, how)))


@pytest.fixture(
    scope="module", params=[{}, {"pixels": True, "probabilities": True}, {"batch": 3}, {"camera": True}], ids=str
)
def exported(request: Any, trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("device") / "out"
    assert mobilenets.export(trained.run, out, **request.param)["passed"]
    return out


def test_python(trained: Any, exported: Path, tmp_path: Path) -> None:
    """The program finds the golden pictures' pixels and outputs, and answers as ``predict`` does."""
    shutil.copytree(exported, tmp_path / "out")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(tmp_path / "out/use/predict.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    lines = run("--test", trained.data).stdout.splitlines()
    assert len(lines) == 8 and all(line.startswith("OK ") and "same pixels" in line for line in lines)
    assert all(float(line.split()[-1]) < 1e-5 for line in lines)
    assert run("--check").stdout.startswith("OK     drawn same pixels")
    path = trained.data / "owl/003.png"
    best = mobilenets.Predictor(exported)(path)[0]
    assert f"{best.label} {best.probability:.1%}" in run(path).stdout
    value = json.loads((exported / "model.json").read_bytes())
    value["export"]["golden"][3]["outputs"][0] += 1
    value["export"]["drawn"]["pixels_crc32"] += 1
    (tmp_path / "out/model.json").write_text(json.dumps(value))
    test, check = run("--test", trained.data), run("--check")
    assert test.returncode == 1 and test.stdout.count("FAILED") == 1
    assert check.returncode == 1 and "OTHER PIXELS" in check.stdout


def test_the_grid_is_of_the_golden_pixels(trained: Any, exported: Path) -> None:
    about = read_bundle(exported)
    assert about.export is not None
    inside = about.export.geometry == "inside"
    for golden in about.export.golden:
        image = decode(trained.data / golden.picture)
        pixels = np.asarray(image if inside else about.preprocessing.fit(image))
        places = [pixels.shape[0] * eighth // 8 for eighth in (1, 3, 5, 7)]  # a square
        grid = [tuple(int(value) for value in pixels[y, x]) for y in places for x in places]
        assert list(golden.pixels_grid) == grid


# The whole of a program: Kotlin's model.json, C++ with OpenVINO's headers, which come with its Python package


def test_kotlin_reads_model_json(exported: Path, kotlin: Runner) -> None:
    bundle = read_bundle(exported)
    assert bundle.export is not None and bundle.export.drawn is not None
    right, outputs, pixels, fed, answers = kotlin(exported / "model.json").splitlines()
    assert right == "null" and outputs == "the right pixels" and pixels == "other pixels"
    assert int(fed) == (1 if bundle.export.input == "uint8" else 4)
    scores = np.array(bundle.export.drawn.outputs)
    if bundle.export.output == "logits":
        scores = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    found = {one.split()[0]: float(one.split()[1]) for one in answers.split(", ")}
    assert found == pytest.approx(dict(zip(bundle.classes, scores.tolist(), strict=True)), abs=1e-5)
    assert list(found) == [bundle.classes[place] for place in np.argsort(-scores)]


def test_cpp(trained: Any, exported: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    compiler = shutil.which("g++")
    place = Path(openvino.__file__).parent
    libraries = sorted((place / "libs").glob("libopenvino.so.*"))
    if compiler is None or not (place / "include").is_dir() or not libraries:
        pytest.skip("needs g++ and OpenVINO's headers: pip install openvino")
    shutil.copytree(exported, tmp_path / "out")
    code = tmp_path / "out/use/cpp"
    shutil.copy(SOURCES / "runtime.openvino.hpp", code / "runtime.hpp")  # OpenVINO reads ONNX
    command = [compiler, "-std=c++17", "-isystem", place / "include", "-Wall", "-Wextra", "-Werror"]
    command += [code / "main.cpp", libraries[0], "-o", "main", f"-Wl,-rpath,{place / 'libs'}"]
    subprocess.run(command, cwd=tmp_path / "out", check=True)
    run = partial(subprocess.run, cwd=tmp_path / "out", capture_output=True, text=True, check=False)
    check = run(["./main", "--check"])
    assert check.returncode == 0 and check.stdout.startswith("OK: the right pixels"), check
    image = decode(trained.data / "owl/003.png").resize((61, 47))
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.ppm")  # which orientation 6 turns back
    said = run(["./main", tmp_path / "lying.ppm", "6"]).stdout
    found = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in said.splitlines()}
    predictor = mobilenets.Predictor(exported)
    [expected] = predictor.probabilities([predictor.prepare_image(image)])
    assert found == pytest.approx(dict(zip(predictor.classes, expected.tolist(), strict=True)), abs=1e-3)
    assert run(["./main", "nothing.ppm"]).returncode == 2


@pytest.fixture
def written_cpp(tmp_path: Path) -> Callable[[str], Path]:
    """Give ``written_cpp(form)``: the folder of the C++ of a made-up export that answers 3 and -4 for the drawn picture."""

    def write(form: str) -> Path:
        how = Preprocessing(32)
        picture = program()["drawn"](49, 48)
        drawn = Drawn(49, 48, crc32(np.asarray(how.fit(picture)).tobytes()), (3.0, -4.0))
        exported = Exported("model.x", form, "float32", {"model.x": HASH}, drawn=drawn)
        write_device_code(tmp_path, Bundle({}, ("a", "b"), how, export=exported))
        return tmp_path / "use/cpp"

    return write


def test_cpp_finds_other_pixels_and_outputs(written_cpp: Callable[[str], Path]) -> None:
    """With a runtime that answers what is expected, whatever it is given."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip(NEEDS_CPP)
    code = written_cpp("onnx")
    (code / "runtime.hpp").write_text(ANSWERS_AS_EXPECTED)
    header = (code / "model.hpp").read_text()
    for crc, off, said in (
        ("", 0, "OK: the right pixels; largest difference of an output 0\n"),
        ("1 + ", 0, "FAILED: other pixels\n"),
        ("", 1, "FAILED: the right pixels; largest difference of an output 1\n"),
    ):
        (code / "model.hpp").write_text(header.replace("DRAWN_CRC32 = ", f"DRAWN_CRC32 = {crc}"))
        subprocess.run([compiler, "-std=c++17", f"-DOFF={off}", "main.cpp", "-o", "main"], cwd=code, check=True)
        check = subprocess.run(["./main", "--check"], cwd=code, capture_output=True, text=True, check=False)
        assert check.stdout == said and check.returncode == (0 if said.startswith("OK") else 1)


def test_cpp_for_litert_compiles(written_cpp: Callable[[str], Path]) -> None:
    """With a stand-in for its header: the library comes with no package that pip or apt has."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip(NEEDS_CPP)
    strict = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", str(HARNESS / "headers")]
    subprocess.run([compiler, *strict, "main.cpp"], cwd=written_cpp("litert"), check=True)


# What is written


@pytest.mark.parametrize("form", ["onnx", "openvino", "litert", "executorch", "web"])
def test_what_each_format_gets(form: str, tmp_path: Path) -> None:
    exported = Exported("model.x", form, "int8", {"model.x": HASH}, drawn=Drawn(4, 3, 5, (0.5,)))
    write_device_code(tmp_path, Bundle({}, ("a",), Preprocessing(32), export=exported))
    text = (tmp_path / "USE.md").read_text("utf-8")
    assert "model.x" in text and not re.search(r"@[a-z_]+@|<!--", text)
    files = {path.relative_to(tmp_path / "use").as_posix() for path in (tmp_path / "use").rglob("*") if path.is_file()}
    assert {"predict.py", "cpp/preprocess.hpp", "cpp/model.hpp", "android/Preprocess.kt"} <= files
    assert ("android/Classifier.kt" in files) == ("openModel" in text) == (form in ("onnx", "litert", "web"))
    assert ("cpp/runtime.hpp" in files) == ("cpp/runtime.hpp" in text) == (form != "executorch")
    assert ("web/index.html" in files) == ("use/web/" in text) == (form == "onnx")
    # Whatever the guide names is there.
    assert set(re.findall(r"use/([\w/]+\.\w+)", text)) <= files
    # The modules of the page bring all that they import.
    for script in (tmp_path / "use/web").glob("*.js"):
        imported = re.findall(r'from "\./(.*?)"', script.read_text("utf-8"))
        assert {f"web/{name}" for name in imported} <= files


def test_names_in_cpp(tmp_path: Path) -> None:
    names = ('with "quotes"', "back\\slash", "塑料瓶", "line\nbreak", "bell\x071", "??=")
    exported = Exported("model.x", "onnx", "float32", {"model.x": HASH}, drawn=Drawn(4, 3, 5, (0.5,)))
    header = model_header(Bundle({}, names, Preprocessing(32, crop_fraction=0.1), export=exported))
    assert quoted(names[4]) == r'"bell\0071"' and quoted("$a") == '"$a"'
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip(NEEDS_CPP)
    (tmp_path / "model.hpp").write_text(header, "utf-8")
    (tmp_path / "main.cpp").write_text(PRINTS_NAMES)
    command = [compiler, "-std=c++17", "-I", SOURCES, "main.cpp", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == list(names)
