from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import mobilenets
from mobilenets.errors import InputError
from mobilenets.exports.formats import web_runtime
from mobilenets.models.network import Network
from mobilenets.runtime.bundle import read_bundle, write_bundle
from mobilenets.verbs.export import export


def make_lively(name: str, classes: int = 5, padding: str | None = None, **settings: Any) -> Network:
    torch.manual_seed(0)
    network = mobilenets.create_model(name, classes=classes, **settings).eval()
    assert isinstance(network, Network)
    if padding is not None:
        architecture = network.architecture
        changed = replace(architecture, table=replace(architecture.table, padding=padding))
        network = Network(changed, classes).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.3, 1.2)
    assert isinstance(network.classifier, nn.Linear)
    nn.init.normal_(network.classifier.weight, std=1.0)
    return network


@pytest.fixture(scope="session")
def lively() -> Callable[..., Network]:
    """Give ``lively(name, classes=5, padding=None, width=...)``: a network whose every number matters.

    Its BatchNorm does something, and its logits are of a few units.
    """
    return make_lively


@pytest.fixture(scope="session")
def noise() -> Callable[[int], list[Image.Image]]:
    """Give ``noise(count)``: so many pictures of noise, 30×40 pixels."""

    def make(count: int) -> list[Image.Image]:
        return [
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 30, 3), np.uint8))
            for number in range(count)
        ]

    return make


@pytest.fixture(scope="module")
def exported(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give ``exported(format, ...)``: the folder of an export of the trained run that has passed.

    int8 takes pixels and gives probabilities.
    """

    def make(format: str, precision: str, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp(format) / precision
        if precision == "int8":
            settings = {"data": trained.data, "pixels": True, "probabilities": True} | settings
        result = export(trained.run, folder, format, precision=precision, **settings)
        assert result["passed"], result["faults"]
        return folder

    return make


@pytest.fixture(scope="session")
def answers_as_the_run(trained: Any, noise: Callable[[int], list[Image.Image]]) -> Callable[[Path, float], None]:
    """Give ``answers_as_the_run(folder, most)``: no probability differs by more, for any number of pictures."""

    def check(folder: Path, most: float) -> None:
        ours, theirs = mobilenets.Predictor(trained.run, "cpu"), mobilenets.Predictor(folder)
        for count in (1, 4, 6):
            prepared = [ours.prepare(picture) for picture in noise(count)]
            found = theirs.probabilities(prepared)
            assert found.shape == (count, 3)
            assert np.abs(ours.probabilities(prepared) - found).max() < most

    return check


@pytest.fixture(scope="session")
def took_the_nearest() -> Callable[[Path], None]:
    """Give ``took_the_nearest(folder)``: of several quantizers that were tried the nearest to float was chosen."""

    def check(folder: Path) -> None:
        tried = json.loads((folder / "model.json").read_bytes())["export"]["about"]["quantization"]
        assert tried["chosen"] == min(tried["candidates"], key=lambda one: one["divergence"])
        assert len(tried["candidates"]) > 1 and 0 < tried["pictures_held_back"] < tried["pictures"]

    return check


@pytest.fixture(scope="session")
def says_none_of_these(trained: Any, noise: Callable[[int], list[Image.Image]]) -> Callable[[Path], None]:
    """Give ``says_none_of_these(folder)``: the file's distances are about the run's, and its description has them."""

    def check(folder: Path) -> None:
        ours, theirs = mobilenets.Predictor(trained.run, "cpu"), mobilenets.Predictor(folder)
        pictures = [*noise(3), *(Image.open(path) for path in sorted(trained.data.rglob("*.png"))[::9])]
        wanted, found = (one.asked([one.prepare(picture) for picture in pictures])[1] for one in (ours, theirs))
        assert theirs.bundle.none_of_these == ours.bundle.none_of_these
        assert found == pytest.approx(wanted, abs=0.5) and np.ptp(wanted) > 2

    return check


@pytest.fixture(scope="session")
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with the files of onnxruntime-web."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBILENETS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        try:
            found = web_runtime.find_web_runtime(None)
        except InputError as error:
            pytest.skip(str(error))
    return found.files[web_runtime.FILES[0]].parent


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def host(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(20)


@pytest.fixture(scope="session")
def hosting() -> Callable[[Path], AbstractContextManager[str]]:
    """Give ``hosting(folder)``, a context with the address at which a plain static host serves the folder."""
    return host


@pytest.fixture
def finder_by(finder: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Copy the detector, with another interpolation in its contract."""

    def copied(interpolation: str) -> Path:
        run = shutil.copytree(finder.run, tmp_path / "run")
        bundle = read_bundle(run)
        write_bundle(run, replace(bundle, preprocessing=replace(bundle.preprocessing, interpolation=interpolation)))
        return run

    return copied
