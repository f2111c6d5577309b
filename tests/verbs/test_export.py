from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import mobilenets
from mobilenets.errors import InputError
from mobilenets.pictures.decode import decode
from mobilenets.runtime.bundle import classes_hash, read_bundle
from mobilenets.runtime.tie import contract_hash

KEYS = {"file", "format", "bytes", "passed", "top1_reference", "top1_exported", "top1_change", "max_difference"}


@pytest.fixture(scope="module")
def exported(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("export") / "out"
    return mobilenets.export(trained.run, out), out


def test_what_is_given_and_written(exported: tuple[dict[str, Any], Path]) -> None:
    result, out = exported
    assert set(result) >= KEYS and result["passed"]
    assert result["images"] == 12 and result["evaluated_on"] == "validation"
    assert result["top1_change"] == 0 and result["max_difference"] < 1e-5
    files = {"model.onnx", "model.json", "export.json", "export.png", "USE.md", "use"}
    assert {path.name for path in out.iterdir()} == files
    with Image.open(out / "export.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400
    assert "export.png" not in (out / "model.json").read_text("utf-8")
    assert json.loads((out / "export.json").read_bytes()) == result
    assert result["bytes"] == (out / "model.onnx").stat().st_size
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".writing")]


def test_answers_as_the_run_does(trained: Any, exported: tuple[dict[str, Any], Path]) -> None:
    pictures = [*sorted(trained.data.rglob("*.png"))[::7], Image.new("L", (500, 30), 90)]
    ours = list(mobilenets.predict(trained.run, pictures))
    for model in (exported[1], exported[1] / "model.onnx", exported[1] / "model.json"):
        theirs = list(mobilenets.predict(model, pictures))
        for one, other in zip(ours, theirs, strict=True):
            assert [entry["label"] for entry in one["predictions"]] == [
                entry["label"] for entry in other["predictions"]
            ]
            for entry, same in zip(one["predictions"], other["predictions"], strict=True):
                assert same["probability"] == pytest.approx(entry["probability"], abs=1e-5)


def test_golden_pictures(trained: Any, exported: tuple[dict[str, Any], Path]) -> None:
    bundle = read_bundle(exported[1])
    assert bundle.export is not None and len(bundle.export.golden) == 8
    predictor = mobilenets.Predictor(exported[1])
    classes = set()
    for golden in bundle.export.golden:
        path = trained.data / golden.picture
        classes.add(golden.picture.split("/")[0])
        assert hashlib.sha256(path.read_bytes()).hexdigest() == golden.sha256
        fitted = np.asarray(bundle.preprocessing.fit(decode(path)))
        assert hashlib.sha256(fitted.tobytes()).hexdigest() == golden.pixels_sha256
        np.testing.assert_allclose(predictor.logits([predictor.prepare(path)])[0], golden.outputs, atol=1e-5)
    assert classes == {"cat", "dog", "owl"}
    assert bundle.export.about["gate"]["passed"] is True
    assert len(bundle.origin["exported_from"]) == 64


@pytest.mark.parametrize(
    "settings", [{"pixels": True}, {"probabilities": True}, {"batch": 5}, {"precision": "float16"}]
)
def test_kinds(settings: dict[str, Any], trained: Any, tmp_path: Path) -> None:
    result = mobilenets.export(trained.run, tmp_path / "out", **settings)
    assert result["passed"], result["faults"]
    path = trained.data / "owl/003.png"
    tolerance = 2e-2 if settings.get("precision") == "float16" else 1e-5
    ours, theirs = mobilenets.Predictor(trained.run)(path), mobilenets.Predictor(tmp_path / "out")(path)
    assert [entry.label for entry in ours] == [entry.label for entry in theirs]
    np.testing.assert_allclose([entry[1] for entry in ours], [entry[1] for entry in theirs], atol=tolerance)


@pytest.mark.parametrize("form", ["onnx", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_pictures_as_a_camera_gives_them(
    form: str, precision: str, trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that resizes itself answers as the run does, for pictures of any size, one or many at once."""
    pytest.importorskip(form)
    out = tmp_path / "out"
    data = trained.data if precision == "int8" else None
    result = mobilenets.export(trained.run, out, form, precision=precision, data=data, camera=True, tolerance=100)
    assert result["passed"], result["faults"]
    if precision == "float32":
        assert max(result["max_difference"], result["probe_difference"]) < 1e-3
    bundle = read_bundle(out)
    assert bundle.export is not None
    assert (bundle.export.input, bundle.export.layout, bundle.export.batch) == ("uint8", "NHWC", 1)
    assert bundle.export.geometry == "inside"
    rng = np.random.default_rng(0)
    shapes = [(48, 64), (90, 40), (24, 24), (31, 300)]
    pictures = [Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)) for shape in shapes]
    ours, theirs = mobilenets.Predictor(trained.run), mobilenets.Predictor(out)
    prepared = [theirs.prepare(picture) for picture in pictures]
    assert [one.shape for one in prepared] == [(*shape, 3) for shape in shapes]
    expected = ours.probabilities([ours.prepare(picture) for picture in pictures])
    found = theirs.probabilities(prepared)
    np.testing.assert_allclose(found, expected, atol=1e-3 if precision == "float32" else 0.2)
    np.testing.assert_array_equal(theirs.logits(prepared[1:2]), theirs.logits(prepared)[1:2])
    for golden in bundle.export.golden:
        path = trained.data / golden.picture
        assert hashlib.sha256(np.asarray(decode(path)).tobytes()).hexdigest() == golden.pixels_sha256
        np.testing.assert_allclose(theirs.logits([theirs.prepare(path)])[0], golden.outputs, atol=1e-5)
    if precision == "float32":
        assert mobilenets.evaluate(out, trained.data)["images"] == 60
        [answer, *_] = mobilenets.predict(out, trained.data / "owl")
        assert answer["predictions"][0]["label"] == "owl"


def test_what_a_camera_file_cannot_be(trained: Any, tmp_path: Path) -> None:
    for settings, message in (
        ({"format": "web"}, "web cannot be exported with --camera: choose onnx or openvino, or use --pixels"),
        ({"format": "litert"}, "litert cannot be exported with --camera"),
        ({"format": "executorch"}, "executorch cannot be exported with --camera"),
        ({"batch": 4}, "batch 4: a file exported with --camera takes one picture at a time"),
    ):
        with pytest.raises(InputError, match=message):
            mobilenets.export(trained.run, tmp_path / "out", camera=True, **settings)
    shutil.copytree(trained.run, tmp_path / "run")
    for rule, option, message in (
        ("nearest", "camera", "but this model uses nearest: use --pixels"),
        ("corner", "camera", "--camera: .* resizes by corner, which does not round to them: leave it out"),
        ("corner", "pixels", "--pixels: .* resizes by corner, which does not round to them: leave it out"),
    ):
        value = json.loads((tmp_path / "run/model.json").read_bytes())
        value["preprocessing"]["interpolation"] = rule
        value["contract_sha256"] = contract_hash(value)
        (tmp_path / "run/model.json").write_text(json.dumps(value))
        with pytest.raises(InputError, match=message):
            mobilenets.export(tmp_path / "run", tmp_path / "out", data=trained.data, **{option: True})


def test_what_is_of_the_users_stays(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "full", tmp_path / "file", trained.run):
        before = sorted(path.name for path in out.iterdir()) if out.is_dir() else None
        with pytest.raises(InputError, match="use another --out"):
            mobilenets.export(trained.run, out)
        assert before == (sorted(path.name for path in out.iterdir()) if out.is_dir() else None)


def test_needs_pictures(trained: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained.run / name, model)
    with pytest.raises(InputError, match=r"is checked on labelled pictures, .* add --data"):
        mobilenets.export(model, tmp_path / "out")
    with pytest.raises(InputError, match="int8 is calibrated on your training pictures: add --data"):
        mobilenets.export(trained.run, tmp_path / "out", precision="int8")
    assert mobilenets.export(model, tmp_path / "out", data=trained.data)["evaluated_on"] == "all"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "caffe"}, "choose onnx"),
        ({"precision": "int4"}, "choose float32"),
        ({"tolerance": -1}, "give points"),
        ({"batch": 0}, "give a number"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_use(settings: dict[str, Any], message: str, trained: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        mobilenets.export(trained.run, tmp_path / "out", **settings)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_exported_file_in_other_hands(exported: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    shutil.copytree(exported[1], tmp_path / "copy")
    copy = tmp_path / "copy"
    predictor = mobilenets.Predictor(copy)
    assert predictor.explain(Image.new("RGB", (5, 5))).size == (320, 320)
    with pytest.raises(InputError, match="choose auto or cpu"):
        mobilenets.Predictor(copy, "cuda")
    with pytest.raises(InputError, match="runtime 'torch' does not run onnx"):
        mobilenets.Predictor(copy, runtime="torch")
    with pytest.raises(InputError, match="threads 0"):
        mobilenets.Predictor(copy, threads=0)
    (copy / "other.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"describes model\.onnx"):
        mobilenets.Predictor(copy / "other.onnx")
    (copy / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"not the file that model\.json describes"):
        mobilenets.Predictor(copy)
    value = json.loads((copy / "model.json").read_bytes())
    value["export"]["sha256"]["model.onnx"] = hashlib.sha256(b"garbage").hexdigest()
    (copy / "model.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match="onnxruntime cannot open it") as caught:
        mobilenets.Predictor(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"export": {"input": "uint8"}}, "does not take the input that model.json describes"),
        ({"export": {"layout": "NHWC"}}, "does not take the input that model.json describes"),
        ({"preprocessing": {"size": 64}}, "does not take the input that model.json describes"),
        ({"export": {"output": "probabilities"}}, "does not output probabilities"),
        ({"classes": ["cat", "dog"]}, "outputs 3 scores, but model.json names 2 classes"),
        ({"export": {"file": []}}, "must name its file"),
        ({"preprocessing": {"scale": 10**400}}, "finite numbers"),
    ],
)
def test_description_that_is_not_the_files(
    change: dict[str, Any], message: str, exported: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    shutil.copytree(exported[1], tmp_path / "copy")
    path = tmp_path / "copy/model.json"
    value = json.loads(path.read_bytes())
    for key, part in change.items():
        value[key] = value[key] | part if isinstance(part, dict) else part
    value["classes_sha256"] = classes_hash(tuple(value["classes"]))
    value["contract_sha256"] = contract_hash(value)
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=message) as caught:
        mobilenets.Predictor(tmp_path / "copy")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_weights_that_are_no_numbers(exported: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    shutil.copytree(exported[1], tmp_path / "copy")
    model = onnx.load(tmp_path / "copy/model.onnx")
    [bias] = [one for one in model.graph.initializer if one.name == "classifier.bias"]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * np.float32("nan"), bias.name))
    onnx.save(model, tmp_path / "copy/model.onnx")
    value = json.loads((tmp_path / "copy/model.json").read_bytes())
    value["export"]["sha256"]["model.onnx"] = hashlib.sha256((tmp_path / "copy/model.onnx").read_bytes()).hexdigest()
    (tmp_path / "copy/model.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match="not finite"):
        mobilenets.Predictor(tmp_path / "copy")


def test_an_exported_file_is_not_exported_again(exported: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the run folder it was made from"):
        mobilenets.export(exported[1], tmp_path / "again", data=tmp_path)


def test_pictures_that_were_not_held_out(trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "model").mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained.run / name, tmp_path / "model")
    model, out = tmp_path / "model", tmp_path / "out"
    result = mobilenets.export(model, out, precision="int8", data=trained.data, tolerance=100)
    assert result["evaluated_on"] == "a fifth of all"
    assert "did not hold these pictures out" in caplog.text


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes(runtime: str, trained: Any, exported: tuple[dict[str, Any], Path]) -> None:
    pytest.importorskip(runtime)
    path = trained.data / "owl/003.png"
    theirs = mobilenets.Predictor(exported[1], runtime=runtime, threads=1)
    assert theirs.engine.runtime == runtime  # type: ignore[attr-defined]
    ours = mobilenets.Predictor(trained.run)
    for count in (1, 3):
        expected, found = (one.logits([one.prepare(path)] * count) for one in (ours, theirs))
        np.testing.assert_allclose(found, expected, atol=1e-4)
