from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobilenets
from mobilenets.exports.snippets import snippet, write_use
from mobilenets.runtime.bundle import Bundle, read_bundle
from mobilenets.runtime.decode import decode
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.preprocess import Preprocessing

HASH = "0" * 64


def blocks(folder: Path) -> dict[str, str]:
    return dict(re.findall(r"```(\w+)\n(.*?)\n```", (folder / "USE.md").read_text("utf-8"), re.DOTALL))


@pytest.fixture(
    scope="module", params=[{}, {"pixels": True, "probabilities": True}, {"batch": 3}, {"camera": True}], ids=str
)
def exported(request: Any, trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("snippets") / "out"
    assert mobilenets.export(trained.run, out, **request.param)["passed"]
    return out


def test_python(trained: Any, exported: Path) -> None:
    """The program in USE.md finds the golden pictures' pixels and outputs, and answers as ``predict`` does."""
    program = exported / "predict.py"
    program.write_text(blocks(exported)["python"])
    test = subprocess.run([sys.executable, program, "--test", trained.data], capture_output=True, text=True, check=True)
    lines = test.stdout.splitlines()
    assert len(lines) == 8 and all(line.startswith("OK ") and "same pixels" in line for line in lines)
    assert all(float(line.split()[-1]) < 1e-5 for line in lines)
    value = json.loads((exported / "model.json").read_bytes())
    value["export"]["golden"][3]["outputs"][0] += 1
    (exported / "model.json").write_text(json.dumps(value))
    test = subprocess.run(
        [sys.executable, program, "--test", trained.data], capture_output=True, text=True, check=False
    )
    assert test.returncode == 1 and test.stdout.count("FAILED") == 1
    path = trained.data / "owl/003.png"
    said = subprocess.run([sys.executable, program, path], capture_output=True, text=True, check=True).stdout
    best = mobilenets.Predictor(exported)(path)[0]
    assert f"{best.label} {best.probability:.1%}" in said


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_python_fits_as_the_contract_says(resize: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bundle = Bundle(
        {},
        ("a",),
        Preprocessing(40, resize=resize),
        export=Exported("model.onnx", "onnx", "float32", {"model.onnx": HASH}),
    )
    code = snippet(bundle, "python")
    assert code is not None
    space: dict[str, Any] = {"__name__": "snippet", "how": bundle.preprocessing.to_json()}
    # Without the lines that open files beside the program.
    exec("\n".join(code[: code.index("here =")].splitlines()), space)
    exec(code[code.index("def fit") : code.index("def prepare")], space)
    from PIL import Image

    for number, (width, height) in enumerate([(40, 40), (91, 33), (33, 91), (500, 41), (7, 5)]):
        path = tmp_path / f"{number}.png"
        mode = "RGBA" if number % 2 else "RGB"
        pixels = rng.integers(0, 256, (height, width, len(mode)), np.uint8)
        Image.fromarray(pixels, mode).save(path)
        np.testing.assert_array_equal(space["fit"](path), np.asarray(bundle.preprocessing.fit(decode(path))))


def test_cpp(trained: Any, tmp_path: Path) -> None:
    """The C++ for OpenVINO compiles against the headers that come with its Python package, and gives the same."""
    openvino = pytest.importorskip("openvino")
    compiler = shutil.which("g++")
    place = Path(openvino.__file__).parent
    libraries = sorted((place / "libs").glob("libopenvino.so.*"))
    if compiler is None or not (place / "include").is_dir() or not libraries:
        pytest.skip("needs g++ and OpenVINO's headers")
    for number, settings in enumerate(({}, {"pixels": True}, {"camera": True})):
        out = tmp_path / str(number)
        assert mobilenets.export(trained.run, out, **settings)["passed"]
        bundle = read_bundle(out)
        assert bundle.export is not None
        as_openvino = Exported(**{**vars(bundle.export), "format": "openvino"})
        code = snippet(Bundle(**{**vars(bundle), "export": as_openvino}), "cpp")
        assert code is not None
        (out / "main.cpp").write_text(code)
        command = [compiler, "-std=c++17", "-I", place / "include", "main.cpp", libraries[0], "-o", "main"]
        subprocess.run([*command, f"-Wl,-rpath,{place / 'libs'}"], cwd=out, check=True)
        path = trained.data / "owl/003.png"
        image, sides = decode(path), []
        if "camera" in settings:
            image = image.resize((61, 47))
            sides = ["47", "61"]
        predictor = mobilenets.Predictor(out)
        prepared = predictor.prepare_image(image)
        pixels = prepared if sides else np.asarray(bundle.preprocessing.fit(image))
        (out / "pixels").write_bytes(pixels.tobytes())
        said = subprocess.run(["./main", "pixels", *sides], cwd=out, capture_output=True, text=True, check=True).stdout
        found = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in said.splitlines()}
        expected = dict(zip(bundle.classes, predictor.logits([prepared])[0], strict=True))
        assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("form", ["onnx", "openvino", "litert"])
def test_every_place_is_filled(form: str, tmp_path: Path) -> None:
    classes = ('with "quotes"', "back\\slash", "$dollar", "塑料瓶", "line\nbreak")
    for kind, layout, geometry in (
        ("float32", "NCHW", "outside"),
        ("uint8", "NHWC", "outside"),
        ("uint8", "NHWC", "inside"),
    ):
        exported = Exported("model.x", form, "int8", {"model.x": HASH}, kind, layout, geometry=geometry)
        write_use(tmp_path, Bundle({}, classes, Preprocessing(32), export=exported))
        text = (tmp_path / "USE.md").read_text("utf-8")
        assert "model.x" in text and not re.search(r"@[a-z_]+@", text)
        assert "kotlin" not in blocks(tmp_path) or r"\$dollar" in blocks(tmp_path)["kotlin"]
        if "cpp" in blocks(tmp_path):
            assert r'"with \"quotes\"", "back\\slash", "$dollar", "塑料瓶", "line\nbreak"' in blocks(tmp_path)["cpp"]
