"""The code of ``use/`` beside an export: its pixels are the package's, to the bit, in every language that runs here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageOps

from mobilenets.exports.use import code as device_code
from mobilenets.page import PAGE
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import INTERPOLATIONS, RESIZES, UNFILTERED, Preprocessing
from mobilenets.runtime.bar import Bar
from mobilenets.runtime.bundle import Bundle, write_bundle
from mobilenets.runtime.exported import DrawnPicture, Exported

SOURCES = Path(device_code.__file__).with_name("device")
HARNESS = Path(__file__).with_name("device")
INSTALL_KOTLIN = (
    "apt-get install default-jre-headless libandroid-json-org-java npm && "
    "npm install --prefix . --no-save --no-package-lock kotlin-compiler@2.4.20"
)
JSON_JAR = Path("/usr/share/java/json-android.jar")
SIZES = [(1, 1), (1, 300), (2, 3), (7, 200), (200, 7), (61, 97), (97, 61), (33, 32), (32, 32), (299, 201), (20, 33)]
SIZES += [(60, 88), (60, 89), (500, 41)]

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
        image = decode(image)
        return np.asarray(self.how.fit(image)), self.how(image)


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
        done = subprocess.run([*self._command, *map(str, arguments)], capture_output=True, check=True)
        return done.stdout.decode()

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
        pytest.skip("needs g++: apt-get install g++")
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
    return Runner(
        java,
        "-Dfile.encoding=UTF-8",
        "-Dstdout.encoding=UTF-8",
        "-cp",
        os.pathsep.join(map(str, (place / "jobs.jar", JSON_JAR, library))),
        "mobilenets.JobsKt",
    )


def copied_javascript(place: Path) -> Runner:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node: apt-get install nodejs")
    for file in (PAGE / "browser/resample.js", PAGE / "browser/preprocess.js", HARNESS / "jobs.mjs"):
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


@pytest.mark.parametrize("interpolation", UNFILTERED)
def test_rules_that_only_python_and_browsers_have(runner: Runner, interpolation: str) -> None:
    job = Job(noise(31, 50), Preprocessing(24, interpolation=interpolation))
    if not runner.turns:
        padded = Job(noise(31, 50), Preprocessing(24, "pad", interpolation=interpolation, fill=(7, 200, 90)))
        assert runner.wrong([job, padded]) == []
        return
    with pytest.raises(subprocess.CalledProcessError) as caught:
        runner.wrong([job])
    assert f"resizes by {interpolation}" in caught.value.stderr.decode()


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


@pytest.mark.parametrize(
    "kind",
    [{}, {"input": "uint8", "output": "probabilities", "batch": 3}, {"layout": "NHWC", "distance": True}],
    ids=str,
)
def test_kotlin_reads_model_json(kind: dict[str, Any], kotlin: Runner, tmp_path: Path) -> None:
    """The pixels of the drawn picture; wrong ones and wrong outputs are told; answers in order."""
    how, outputs = Preprocessing(32), (0.25, 0.7, 0.05)
    y, x, c = np.ogrid[:48, :49, :3]
    picture = Image.fromarray(((x * x * (c + 1) + 3 * y * (x + 5 * c)) >> 5 & 255).astype(np.uint8))
    drawn = DrawnPicture(49, 48, crc32(np.asarray(how.fit(picture)).tobytes()), outputs)
    exported = Exported("model.x", "onnx", "float32", {"model.x": "0" * 64}, drawn=drawn, **kind)
    bar = Bar(1.5, 0.05, 0.05, (0.0, 0.1), 40, True, "0" * 64) if exported.distance else None
    write_bundle(tmp_path, Bundle({}, ("猫", "dog", "owl"), how, export=exported, none_of_these=bar))
    right, wrong, pixels, fed, answers, known = kotlin(tmp_path / "model.json").splitlines()
    assert known == ("true false false" if exported.distance else "null null null")
    assert right == "null" and wrong == "the pixels are right" and pixels.startswith("the pixels differ")
    assert int(fed) == (1 if exported.input == "uint8" else 4)
    scores = np.array(outputs)
    if exported.output == "logits":
        scores = np.exp(scores) / np.exp(scores).sum()
    found = [(one.split()[0], float(one.split()[1])) for one in answers.split(", ")]
    assert [label for label, _ in found] == ["dog", "猫", "owl"]
    np.testing.assert_allclose([value for _, value in found], scores[[1, 0, 2]], atol=1e-6)


def program() -> Any:
    space: dict[str, Any] = {"__name__": "predict"}
    exec((SOURCES / "predict.py").read_text("utf-8"), space)
    return space


def test_python_fits_as_the_contract_says(tmp_path: Path) -> None:
    made = program()
    for number, size in enumerate(SIZES):
        path = tmp_path / f"{number}.png"
        Image.fromarray(noise(*size, 4 if number % 2 else 3)).save(path)
        for how in [*rules(), *(Preprocessing(20, "pad", interpolation=rule) for rule in UNFILTERED)]:
            picture = decode(path)
            found = made["fit"](made["decode"](path), how.to_json())
            np.testing.assert_array_equal(found, how.fitted(picture), str((size, how)))
            assert found.dtype == how.fitted(picture).dtype
            np.testing.assert_array_equal(made["levels"](found), np.asarray(how.fit(picture)))
