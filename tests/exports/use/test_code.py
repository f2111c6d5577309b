"""The programs of ``use/`` beside an export, and what is written there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.exports.use import code as device_code
from mobilenets.exports.use.code import model_header, quoted, write_device_code
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle, read_bundle
from mobilenets.runtime.exported import DrawnPicture, Exported

HASH = "0" * 64
SOURCES = Path(device_code.__file__).with_name("device")
HARNESS = Path(__file__).with_name("device")
NEEDS_CPP = "needs g++: apt-get install g++"
ANSWERS_AS_EXPECTED = """#pragma once
#include "model.hpp"
namespace mobilenets {
struct Classifier {
    float distance = 0;
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


def stripes() -> Image.Image:
    """Draw a picture of none of the run's classes."""
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[:, ::4] = 255
    return Image.fromarray(pixels)


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
    best, answered = mobilenets.Predictor(exported)(path)[0], run(path)
    assert f"{best.label} {best.probability:.1%}" in answered.stdout and not answered.stderr
    stripes().save(tmp_path / "stripes.png")
    assert run(tmp_path / "stripes.png").stdout.startswith(f"{tmp_path / 'stripes.png'} none of these; nearest: ")
    value = json.loads((exported / "model.json").read_bytes())
    value["export"]["golden"][3]["outputs"][0] += 1
    value["export"]["drawn"]["pixels_crc32"] += 1
    (tmp_path / "out/model.json").write_text(json.dumps(value))
    test, check = run("--test", trained.data), run("--check")
    assert test.returncode == 1 and test.stdout.count("FAILED") == 1
    assert check.returncode == 1 and "PIXELS DIFFER" in check.stdout
    for wrong in ([], ["--test"]):
        asked = run(*wrong)
        assert (asked.returncode, asked.stderr) == (2, "give pictures, --check, or --test FOLDER\n")


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


# C++: whole programs, with OpenVINO's headers, which come with its Python package


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
    assert check.returncode == 0 and check.stdout.startswith("OK: the pixels are right"), check
    image = decode(trained.data / "owl/003.png").resize((61, 47))
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.ppm")  # which orientation 6 turns back
    said = run(["./main", tmp_path / "lying.ppm", "6"]).stdout
    predictor = mobilenets.Predictor(exported)
    [expected], [distance] = predictor.asked([predictor.prepare_image(image)])
    assert predictor.bundle.none_of_these is not None and distance is not None
    unknown = "" if predictor.bundle.none_of_these.knows(distance) else "none of these; nearest:\n"
    assert said.startswith(unknown) and said.count("nearest") == bool(unknown)
    lines = said.removeprefix(unknown).splitlines()
    found = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
    assert found == pytest.approx(dict(zip(predictor.classes, expected.tolist(), strict=True)), abs=1e-3)
    stripes().save(tmp_path / "stripes.ppm")
    assert run(["./main", tmp_path / "stripes.ppm"]).stdout.startswith("none of these; nearest:\n")
    assert run(["./main", "nothing.ppm"]).returncode == 2


@pytest.fixture
def written_cpp(tmp_path: Path) -> Callable[[str], Path]:
    """Give ``written_cpp(form)``: the C++ of a made-up export that answers 3 and -4 for the drawn picture."""

    def write(form: str) -> Path:
        how = Preprocessing(32)
        y, x, c = np.ogrid[:48, :49, :3]
        picture = Image.fromarray(((x * x * (c + 1) + 3 * y * (x + 5 * c)) >> 5 & 255).astype(np.uint8))
        drawn = DrawnPicture(49, 48, crc32(np.asarray(how.fit(picture)).tobytes()), (3.0, -4.0))
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
        ("", 0, "OK: the pixels are right; largest difference in an output 0\n"),
        ("1 + ", 0, "FAILED: the pixels differ\n"),
        ("", 1, "FAILED: the pixels are right; largest difference in an output 1\n"),
    ):
        (code / "model.hpp").write_text(header.replace("DRAWN_CRC32 = ", f"DRAWN_CRC32 = {crc}"))
        subprocess.run([compiler, "-std=c++17", f"-DOFF={off}", "main.cpp", "-o", "main"], cwd=code, check=True)
        check = subprocess.run(["./main", "--check"], cwd=code, capture_output=True, text=True, check=False)
        assert check.stdout == said and check.returncode == (0 if said.startswith("OK") else 1)


def test_cpp_says_none_of_these_above_the_bar_alone(written_cpp: Callable[[str], Path]) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip(NEEDS_CPP)
    code = written_cpp("onnx")
    header = (code / "model.hpp").read_text().replace("TELLS_UNKNOWN = false", "TELLS_UNKNOWN = true")
    (code / "model.hpp").write_text(header.replace("BAR = 0.0", "BAR = 1.5"))
    Image.new("RGB", (40, 40)).save(code / "one.ppm")
    for distance, said in (("1.5", False), ("1.51", True), ("NAN", True)):
        answers = ANSWERS_AS_EXPECTED.replace("distance = 0", f"distance = {distance}")
        (code / "runtime.hpp").write_text("#include <cmath>\n" + answers)
        subprocess.run([compiler, "-std=c++17", "-DOFF=0", "main.cpp", "-o", "main"], cwd=code, check=True)
        found = subprocess.run(["./main", "one.ppm"], cwd=code, capture_output=True, text=True, check=True).stdout
        assert found.startswith("none of these; nearest:\n") == said and "\nb " in f"\n{found}"


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
    exported = Exported("model.x", form, "int8", {"model.x": HASH}, drawn=DrawnPicture(4, 3, 5, (0.5,)))
    write_device_code(tmp_path, Bundle({}, ("a",), Preprocessing(32), export=exported))
    text = (tmp_path / "USE.md").read_text("utf-8")
    assert "model.x" in text and not re.search(r"@[a-z_]+@|<!--", text)
    files = {path.relative_to(tmp_path / "use").as_posix() for path in (tmp_path / "use").rglob("*") if path.is_file()}
    assert {"predict.py", "cpp/preprocess.hpp", "cpp/model.hpp", "android/Preprocess.kt"} <= files
    assert ("android/Classifier.kt" in files) == ("openModel" in text) == (form in ("onnx", "litert", "web"))
    assert ("cpp/runtime.hpp" in files) == ("cpp/runtime.hpp" in text) == (form != "executorch")
    assert ("web/index.html" in files) == ("use/web/" in text) == (form == "onnx")
    assert "This file gives no distance" in text and "none_of_these.bar" not in text
    # Whatever the guide names is there.
    assert set(re.findall(r"use/([\w/]+\.\w+)", text)) <= files
    # The modules of the page bring all that they import.
    for script in (tmp_path / "use/web").glob("*.js"):
        imported = re.findall(r'from "\./(.*?)"', script.read_text("utf-8"))
        assert {f"web/{name}" for name in imported} <= files


def test_names_in_cpp(tmp_path: Path) -> None:
    names = ('with "quotes"', "back\\slash", "塑料瓶", "line\nbreak", "bell\x071", "??=")
    exported = Exported("model.x", "onnx", "float32", {"model.x": HASH}, drawn=DrawnPicture(4, 3, 5, (0.5,)))
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
