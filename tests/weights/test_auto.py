"""``--weights auto`` against a hub and a server of Keras's files on 127.0.0.1."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import runpy
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import h5py
import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

import mobilenets
from mobilenets.errors import InputError
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.catalog import describe
from mobilenets.models.network import Network
from mobilenets.models.saved import load_model
from mobilenets.training.recipe import Recipe
from mobilenets.verbs.models import create_model
from mobilenets.weights import auto, hub, published
from mobilenets.weights.auto import find
from mobilenets.weights.published import choose

SERVING: Any = runpy.run_path(str(Path(__file__).with_name("hub_server.py")))
COMMIT, point_at = SERVING["COMMIT"], SERVING["point_at"]
WIDTH = 0.1
SMALL = {"width": WIDTH, "size": 96, "epochs": 2, "batch": 6, "views": 1, "device": "cpu", "threads": 1, "workers": 1}


def network(seed: int) -> Network:
    torch.manual_seed(seed)
    return create_model("mobilenet_v2", 1000, WIDTH, size=96, variant="standard").eval()


def keras_file(model: Network) -> bytes:
    """Write the weights as Keras does: kernels H×W×in×out, and BatchNorm's four arrays, under its names."""
    names = []
    for block in range(17):
        stem = "expanded_conv" if block == 0 else f"block_{block}"
        names += [f"{stem}_{part}" for part in ("expand", "depthwise", "project")[block == 0 :]]
    names = ["Conv1", *names, "Conv_1"]
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        layers = []
        for name, part in zip(names, (m for m in model.modules() if isinstance(m, ConvNorm)), strict=True):
            kernel = part.conv.weight.detach().numpy().transpose(2, 3, 1, 0)
            deep = part.conv.groups > 1
            arrays = {"depthwise_kernel" if deep else "kernel": kernel.transpose(0, 1, 3, 2) if deep else kernel}
            layers.append((name, arrays))
            norm = part.norm
            values = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            parts = ("gamma", "beta", "moving_mean", "moving_variance")
            numbers = {key: value.detach().numpy() for key, value in zip(parts, values, strict=True)}
            layers.append(({"Conv1": "bn_Conv1", "Conv_1": "Conv_1_bn"}.get(name, f"{name}_BN"), numbers))
        head = model.classifier
        layers.append(("Logits", {"kernel": head.weight.detach().numpy().T, "bias": head.bias.detach().numpy()}))
        written.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, arrays in layers:
            group = written.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in arrays]
            for part, array in arrays.items():
                group.create_dataset(f"{name}/{part}:0", data=array)
    return file.getvalue()


BODY = save(network(0).state_dict())
KERAS_BODY = keras_file(network(1))


@dataclass
class Server:
    """What is served under which path; ``asked`` are the requests. ``mute`` takes connections and says nothing."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    commit: str | None = COMMIT
    mute: bool = False


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def answer(self) -> None:
        state = self.state
        state.asked.append(f"{self.command} {self.path}")
        while state.mute:
            time.sleep(0.01)
        body = next((body for end, body in state.files.items() if self.path.endswith(end)), None)
        self.send_response(404 if body is None else 200)
        body = body or b""
        if state.commit is not None:
            self.send_header("X-Repo-Commit", state.commit)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve a small network as timm's and as Keras's, and let both sources look there."""
    timm = replace(
        choose("mobilenet_v2", 1.0, 224), width=WIDTH, revision=COMMIT, bytes=len(BODY),
        sha256=hashlib.sha256(BODY).hexdigest(),
    )  # fmt: skip
    keras = replace(choose("mobilenet_v2", 0.35, 96), width=WIDTH, file="small.h5")
    monkeypatch.setattr(published, "PUBLISHED", (timm, keras))
    state = Server(files={"/model.safetensors": BODY, "/small.h5": KERAS_BODY})
    monkeypatch.setattr(auto, "ANSWER", 0.3)
    with SERVING["hosting"](Handler, state, tmp_path, monkeypatch) as state:
        yield state
        state.mute = False


ARCHITECTURE = describe("mobilenet_v2", WIDTH, 96)


def first_weight(model: Any) -> torch.Tensor:
    return next(iter(model.state_dict().values()))


def test_a_full_disk_is_no_fault_of_the_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(InputError, match="hub: cannot be written: No space left on device; free some space there"):
        hub.fetch(published.PUBLISHED[0])


def test_from_the_hub_and_then_from_the_cache(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mobilenets")
    found = find(ARCHITECTURE)
    assert (found.weights, found.why_not) == ("imagenet:timm", None)
    assert found.model is not None
    assert torch.equal(first_weight(found.model.network), first_weight(network(0)))
    assert found.model.bundle.origin["weights"] == "imagenet"
    # One line for a newcomer.
    assert [record.getMessage() for record in caplog.records] == [
        "weights: mobilenet_v2 at width 0.1 trained on ImageNet, by timm (top-1 72.9 % there), Apache-2.0"
    ]
    server.asked.clear()
    assert find(ARCHITECTURE).weights == "imagenet:timm"
    assert server.asked == []


def test_keras_file_where_the_hub_lacks_it(server: Server) -> None:
    del server.files["/model.safetensors"]
    found = find(ARCHITECTURE)
    assert found.weights == "imagenet:keras"
    assert found.model is not None
    assert torch.equal(first_weight(found.model.network), first_weight(network(1)))
    # Found in the cache before any server is asked.
    server.asked.clear()
    assert find(ARCHITECTURE).weights == "imagenet:keras"
    assert server.asked == []


def absent(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    server.files.clear()
    return "HTTP 404"


def page(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A proxy that answers everything with its own page."""
    server.commit = None
    for name in server.files:
        server.files[name] = b"<!DOCTYPE html><html><body>Please log in</body></html>"
    return "not a Hugging Face hub"


def wrong(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    server.files |= {"/model.safetensors": BODY[:-4] + b"abcd", "/small.h5": KERAS_BODY[:-4]}
    return "SHA-256"


def silent(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    server.mute = True
    return "no answer within 0.3 s"


def refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    point_at(f"http://127.0.0.1:{port}", monkeypatch)
    return "refused"


def nameless(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Looking the name up hangs, as without a network behind a resolver that is there."""

    def hang(*_: object, **__: object) -> None:
        time.sleep(1)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    return "no answer within 0.3 s"


def offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return "HF_HUB_OFFLINE is set"


Break = Callable[[Server, pytest.MonkeyPatch], str]


@pytest.mark.parametrize("cause", [absent, page, wrong, silent, refused, nameless, offline])
def test_why_not_in_one_sentence_and_soon(server: Server, monkeypatch: pytest.MonkeyPatch, cause: Break) -> None:
    words = cause(server, monkeypatch)
    began = time.monotonic()
    found = find(ARCHITECTURE)
    assert time.monotonic() - began < 60
    assert (found.weights, found.model) == ("none", None)
    assert found.why_not is not None
    assert found.why_not.startswith("Training from scratch, because ImageNet weights could not be loaded (")
    assert words in found.why_not
    assert "--weights FILE" in found.why_not
    assert "\n" not in found.why_not


def test_a_wait_is_said(server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mobilenets")
    silent(server, monkeypatch)
    find(ARCHITECTURE)
    waits = [
        record.getMessage() for record in caplog.records if record.getMessage().startswith("waiting for 127.0.0.1:")
    ]
    assert len(waits) == 2  # the hub, and Keras's server


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        (describe("mobilenet_v1_cifar", 1.0, 32), "no ImageNet weights are published for mobilenet_v1_cifar"),
        (describe("mobilenet_v2", 0.77, 96), "at width 0.77, only at"),
        (describe("mobilenet_v2", 1.0, 32), "96 pixels or more, and these have 32"),
        (replace(describe("mobilenet_v2", 1.0, 96), variant="custom"), "your own layer table"),
    ],
)
def test_nothing_that_fits_asks_nobody(monkeypatch: pytest.MonkeyPatch, architecture: Any, words: str) -> None:
    monkeypatch.setattr(hub, "fetch", lambda *_: pytest.fail("asked"))
    found = find(architecture)
    assert found.weights == "none"
    assert found.why_not is not None
    assert words in found.why_not
    assert "with --weights MODEL" in found.why_not


@pytest.mark.usefixtures("undrawn")
def test_a_run_says_what_it_began_with_and_repeats_it(server: Server, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = mobilenets.train(photos, run, **SMALL)
    assert result["weights"] == "imagenet:timm"
    record = json.loads((run / "recipe.json").read_text())
    assert record["weights"] == {"asked": "auto", "why_not": None}
    recipe = record["recipe"]
    assert (recipe["weights"], recipe["freeze"], recipe["epochs"], recipe["head_epochs"]) == (
        "imagenet:timm",
        "14",
        2,
        1,
    )
    assert None not in (recipe["batch"], recipe["lr"], recipe["head_lr"], recipe["views"])
    before = load_model(run).bundle.origin["before"]
    assert before["weights"] == "imagenet"
    assert before["revision"] == COMMIT
    mobilenets.train(photos, tmp_path / "again", recipe=run / "recipe.json")
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_a_run_from_scratch_says_so_at_the_end(server: Server, photos: Path, tmp_path: Path) -> None:
    server.files.clear()
    run = tmp_path / "run"
    result = mobilenets.train(photos, run, **{name: value for name, value in SMALL.items() if name != "size"})
    why = load_model(run).bundle.origin["why_not"]
    assert "HTTP 404" in why
    assert why in result["notes"]
    assert result["weights"] == "none"
    # The pictures have 20 pixels a side: there is nothing to see beyond.
    assert load_model(run).bundle.preprocessing.size == 32
    assert any("sees them at 32" in note for note in result["notes"])
    assert json.loads((run / "recipe.json").read_text())["weights"] == {"asked": "auto", "why_not": why}
    asked = Recipe(**{**SMALL, "size": 224, "epochs": 1, "weights": "none"})
    mobilenets.train(photos, tmp_path / "large", recipe=asked)
    assert load_model(tmp_path / "large").bundle.preprocessing.size == 224
    # The weights have come since: a run goes on with what it began with.
    server.files |= {"/model.safetensors": BODY}
    server.asked.clear()
    assert why in mobilenets.train(photos, run, resume=True, weights="auto")["notes"]
    assert server.asked == []


def test_imagenet_by_name_stays_strict(server: Server, photos: Path, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(mobilenets.errors.InputError, match="HTTP 404"):
        mobilenets.train(photos, tmp_path / "run", weights="imagenet", **SMALL)
