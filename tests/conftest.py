from __future__ import annotations

import base64
import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from mobilenets.kernels import compile

# A shell that starts the tests in the background has SIGINT ignored, and so would every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Read by huggingface_hub when it is imported: no test, and no process that one starts, may ask the real hub.
os.environ["HF_HUB_OFFLINE"] = "1"


def _keep_kernels() -> None:
    """Have the machine code of kernels kept from run to run, and shared by the processes of one: it takes minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBILENETS_CACHE", str(Path(__file__).parents[1] / ".pytest_cache"))
        kept = compile._folder()
    compile._folder.cache_clear()
    os.environ.setdefault("NUMBA_CACHE_DIR", kept or "")


_keep_kernels()

Draw = Callable[..., Path]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was skipped and why; each reason names what brings it."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    if reasons:
        terminalreporter.section(f"skipped: {sum(reasons.values())}")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:4}  {reason}")


def draw_photos(folder: Path, counts: Mapping[str, int], size: int = 20) -> Path:
    """Write so many small pictures of each class: noise with more of one colour a class, so that it can be learned."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng((label, number))
            pixels = rng.integers(0, 130, (size, size, 3), np.uint8)
            pixels[..., label % 3] += 90
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")
    return folder


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Give ``draw(folder, {class: count}, size=20)``, which writes pictures and returns the folder."""
    return draw_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder with three classes of ten pictures, to be read only."""
    return draw_photos(tmp_path_factory.mktemp("data") / "photos", {"blue": 10, "green": 10, "red": 10})


class Trained(NamedTuple):
    """A finished run and the unsplit folder that it learned from."""

    run: Path
    data: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Give a run that tells cats, dogs and owls (noise of three colours) apart, to be read only."""
    import torch

    import mobilenets

    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("trained")
    data = draw_photos(place / "pets", {"cat": 20, "dog": 20, "owl": 20}, size=24)
    machine = {"device": "cpu", "threads": 1, "workers": 1, "weights": "none"}
    network = {"model": "mobilenet_v1_cifar", "size": 32, "augment": "none", "dropout": 0.0}
    course = {"epochs": 4, "batch": 4, "optimizer": "sgd", "lr": 5e-3, "weight_decay": 1e-4, "keep": "last"}
    mobilenets.train(data, place / "run", **machine, **network, **course)
    return Trained(place / "run", data)


@pytest.fixture(scope="session")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Give a detector of three classes whose every number matters, and pictures with boxes that it finds, as COCO.

    To be read only. Nothing was trained: the boxes are some of those that the network happens to find in noise.
    """
    import numpy as np
    import torch
    from PIL import Image
    from torch import nn

    import mobilenets
    from mobilenets.datasets.boxes.write import write_coco
    from mobilenets.exports.beside import write_graph
    from mobilenets.models.detection.detector import create_detector
    from mobilenets.models.saved import SavedModel, save_weights
    from mobilenets.pictures.boxes import Boxes
    from mobilenets.pictures.preprocess import Preprocessing
    from mobilenets.runtime.bundle import Bundle

    torch.manual_seed(0)
    network = create_detector("mobilenet_v2", 0.35, 96, 3).eval()
    for name, part in network.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            part.momentum = None
        elif name.endswith("predict.conv"):
            nn.init.normal_(part.weight, std=0.15)
            nn.init.normal_(part.bias, std=0.5)
            if "scores" in name:
                part.bias.data[::4] += 4.5  # the background's
    with torch.no_grad():
        blots = nn.functional.interpolate(torch.randn(32, 3, 6, 6), 96, mode="bilinear")
        network.train()(blots)
    network.eval()
    place = tmp_path_factory.mktemp("finder")
    run, data = place / "run", place / "data"
    run.mkdir()
    (data / "pictures").mkdir(parents=True)
    how = Preprocessing(96, "stretch", interpolation="bilinear")
    about = network.architecture.to_json()
    bundle = Bundle(about, ("cat", "dog", "owl"), how, task="detection", detection=network.detection)
    save_weights(run / "model.safetensors", network.state_dict(), bundle)
    write_graph(run, SavedModel(network, bundle))
    predictor, listed = mobilenets.Predictor(run), []
    for number in range(12):
        cells = np.random.default_rng(number).integers(0, 256, (4 + number, 6, 3), np.uint8)
        Image.fromarray(cells).resize((150, 100 + number)).save(data / f"pictures/{number:03}.png")
        [found] = predictor.detections([predictor.prepare(data / f"pictures/{number:03}.png")])
        some = found.taken(slice(0, 6))
        listed.append((f"pictures/{number:03}.png", (150, 100 + number), Boxes.of(some.corners, some.labels)))
    write_coco(data / "instances_all.json", bundle.classes, listed)
    return Trained(run, data)


@pytest.fixture(scope="session")
def quick_settings() -> dict[str, Any]:
    """Give settings of a run that takes well under a second."""
    network = {"model": "mobilenet_v1_cifar", "weights": "none", "width": 0.25, "size": 16, "augment": "light"}
    return network | {"epochs": 2, "batch": 6, "lr": 0.01, "device": "cpu", "threads": 1, "workers": 1}


@pytest.fixture
def small(quick_settings: dict[str, Any]) -> dict[str, Any]:
    """Give the same for a test to change."""
    return dict(quick_settings)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out plots and report, which take most of the time of a small run."""
    for name in ("results.draw_curves", "class_report.draw_confusions", "class_report.write_report"):
        monkeypatch.setattr(f"mobilenets.runs.{name}", lambda *_: None)
    monkeypatch.setattr("mobilenets.verbs.train.draw_schedule", lambda *_: None)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's caches, and weights out of tests that ask for none."""
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path_factory.getbasetemp() / "hub"))


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    """Take away what the command line did to the log in an earlier test or fixture."""
    log = logging.getLogger("mobilenets")
    log.handlers.clear()
    log.setLevel(logging.NOTSET)
    log.propagate = True


class Chromium:
    """A page in headless Chromium, driven by the DevTools protocol over a pipe."""

    def __init__(self, profile: Path, binary: str) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        arguments = (
            "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe"
        )
        script = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, binary, *arguments.split(), f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self._number, self._session = 0, ""
        self.requested: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._read()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> Any:
        whole = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "Chromium has gone"
            whole += byte
        return json.loads(whole)

    def run(self, script: str) -> Any:
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str) -> None:
        end = time.monotonic() + 120
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end, f"waited in vain until {script}"
            time.sleep(0.01)

    def open(self, url: str, width: int, height: int, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def choose(self, selector: str, *files: Path) -> None:
        handle = self.call("Runtime.evaluate", expression=f"document.querySelector('{selector}')")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file) for file in files], objectId=handle)

    def drop(self, file: Path) -> None:
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=100, y=200, data=data)

    def shot(self, file: Path) -> None:
        height = self.run("document.documentElement.scrollHeight")
        width = self.run("document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        self._session = ""
        self.call("Browser.close")
        self._process.wait(120)
        self._in.close()
        self._out.close()


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chromium]:
    """Give a page in headless Chromium."""
    binary = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if binary is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    browser = Chromium(tmp_path / "profile", binary)
    yield browser
    browser.close()
