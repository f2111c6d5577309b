"""What is fuzzed: for each kind of file the code that reads it, and what may come out."""

from __future__ import annotations

import atexit
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzing import seeds
from mobilenets.datasets.boxes.reading import Reading
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.idx import read_idx
from mobilenets.datasets.split import read_split
from mobilenets.doctor.fixes import apply, from_json, read_fixes, to_json
from mobilenets.doctor.groups import grouping
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.models.distance import load_space
from mobilenets.pictures import decode
from mobilenets.pictures.header import header
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.record import Record, known_data
from mobilenets.runs.seen import read_seen
from mobilenets.runtime.bundle import Bundle, classes_hash, read_bundle
from mobilenets.runtime.labels import read_labels
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.server.app import create_app
from mobilenets.server.bodies import _parts
from mobilenets.server.limits import Limits, Refused, check_size
from mobilenets.server.run import Server
from mobilenets.weights.class_names import read_classes
from mobilenets.weights.convert import read_input
from mobilenets.weights.keras.config import describe
from mobilenets.weights.read import read

Check = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """Makes the code under test once, and the files to begin with."""

    check: Callable[[], Check]
    seeds: Callable[[], list[bytes]]
    longest: int = 4096


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mobilenets-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _picture() -> Check:
    # Larger ones only take their time.
    decode.MAX_PIXELS = 1_000_000
    surplus = Preprocessing(8).surplus

    def check(data: bytes) -> None:
        try:
            check_size(data, decode.MAX_PIXELS)
            picture = decode.decode(data, surplus)
            assert picture.mode == "RGB" and picture.width * picture.height > 0
        except UnreadablePicture as error:
            assert "\n" not in str(error) and str(error).isprintable(), str(error)

    return check


def _pictures(kind: str) -> Target:
    return Target(_picture, lambda: seeds.pictures(kind), 8192)


def _reading(name: str, read: Callable[[Path], object], make: Callable[[bytes], bytes] = bytes) -> Callable[[], Check]:
    """Write the bytes to a file of this name, made into a whole file by ``make``, and read it."""

    def begin() -> Check:
        path = _folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)

        def check(data: bytes) -> None:
            path.write_bytes(make(data))
            try:
                read(path)
            except InputError as error:
                assert "\n" not in str(error), str(error)

        return check

    return begin


def _weights(path: Path) -> object:
    return read(path)


def _saved_model(path: Path) -> object:
    return _weights(path.parent)


def _checkpoint() -> Check:
    """A checkpoint's index; the data that it speaks of is whole."""
    fixtures = Path(__file__).parents[2] / "tests/fixtures/saved_model/saved/variables"
    folder = _folder()
    shutil.copy(fixtures / "variables.data-00000-of-00001", folder)

    def check(data: bytes) -> None:
        (folder / "variables.index").write_bytes(data)
        try:
            _weights(folder / "variables.index")
        except InputError as error:
            assert "\n" not in str(error)

    return check


def _checkpoints() -> list[bytes]:
    fixtures = Path(__file__).parents[2] / "tests/fixtures"
    return [path.read_bytes() for path in sorted(fixtures.rglob("*.index"))]


def _keras(path: Path) -> object:
    return describe(path.read_bytes().decode("utf-8", "replace"))


def _split(path: Path) -> object:
    for name in ("cat/a.png", "dog/é b.png"):
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).touch()
    return read_split(path, path.parent, ["cat", "dog"])


def _samples(root: Path) -> tuple[Sample, ...]:
    """Give pictures as a listing has them; what reads a table opens none."""
    return tuple(
        Sample(root / name, label) for label, name in enumerate(("cat/a.png", "dog/\u00e9 b.png", "dog/c,d.png"))
    )


def _fixes(path: Path) -> object:
    fixes = read_fixes(path)
    assert len(from_json(to_json(fixes))) == sum(bool(fix.action) for fix in fixes)
    root = path.parent
    kept = apply(fixes, {"train": _samples(root), "test": ()}, ("cat", "dog", "fox"), root, ("dog/bad.png",))
    assert all(0 <= sample.label < 3 for some in kept.parts.values() for sample in some)
    return kept


def _annotated(format: str, name: str) -> Callable[[], Check]:
    """Read annotations of two small pictures, and judge every box of them."""

    def begin() -> Check:
        root = _folder()
        for picture in ("images/a.png", "images/b.png"):
            (root / picture).parent.mkdir(exist_ok=True)
            (root / picture).write_bytes(seeds.pictures("png")[0])
        (root / name).parent.mkdir(exist_ok=True)

        def check(data: bytes) -> None:
            (root / name).write_bytes(data)
            try:
                reading = Reading(format, 1.0, quiet=True)
                listed = reading(root)
                reading.headers = {path: header(path) for path in reading.entries}
                reading.refine(dict(listed.parts), [], [])
            except InputError as error:
                assert "\n" not in str(error), str(error)
            assert all("\n" not in fault.detail for fault in reading.faults)

        return check

    return begin


def _groups(path: Path) -> object:
    by = grouping(str(path))
    assert by is not None
    return by(_samples(path.parent), path.parent)


def _bundle() -> bytes:
    classes = ("cat", "dog")
    labels = {
        "groups": {"pets": {"names": {"en": "pets", "zh": "宠物"}, "color": "#112233"}},
        "classes": {"cat": {"names": {"en": "cat"}, "group": "pets"}, "dog": {"names": {"en": "dog"}}},
    }
    bundle = Bundle({"name": "mobilenet_v2", "width": 1.0}, classes, Preprocessing(32), threshold=0.5)
    return json.dumps(bundle.to_json() | {"labels": labels}).encode()


def _hashed(data: bytes) -> bytes:
    """Put the right hash beside changed class names, so that what lies behind it is reached."""
    try:
        value = json.loads(data)
        value["classes_sha256"] = classes_hash(tuple(value["classes"]))
        return json.dumps(value).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return data


def _record(path: Path) -> object:
    known_data(path.parent)
    (path.parent / "model.json").touch()
    known_data(path.parent)
    return Record.read(path.parent)


def _records() -> list[bytes]:
    data = {"folder": "photos", "classes": ["cat", "dog"], "layout": "folders", "fingerprint": "00", "images": 9}
    value = {"recipe": {"epochs": 3, "seed": 1}, "command": "train", "data": data, "hardware": {}, "versions": {}}
    return [json.dumps(value).encode(), b"{}", b"[]"]


def _form() -> Check:
    def check(data: bytes) -> None:
        boundary, _, body = data.partition(b"\n")
        try:
            _parts(bytearray(body), boundary, Limits(pictures=3))
        except Refused as refused:
            assert 400 <= refused.status < 500

    return check


def _http() -> Check:
    """A server in a thread, which must go on and never answer 500."""
    bounds = Limits(header=0.5, idle=0.5, linger=0.1, upload=1.0, drain=0.0)
    bundle = Bundle({"name": "paint"}, ("can", "peel", "bottle"), Preprocessing(8))
    predictor = EnginePredictor(bundle, lambda images: images.mean((1, 2)))
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    server = Server(create_app(predictor, limits=bounds), bounds)
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    port = listener.getsockname()[1]
    while not server.started:
        time.sleep(0.01)

    def ask(data: bytes) -> bytes:
        whole = b""
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    whole += part
            except ConnectionError:
                pass
        return whole

    def check(data: bytes) -> None:
        answer = ask(data)
        assert b"HTTP/1.1 500" not in answer, answer
        answer = ask(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer

    return check


_TEXTS = [
    b"image,class,split\ncat/a.png,cat,train\ndog/\xc3\xa9 b.png,dog,validation\n",
    b"\xef\xbb\xbfimage;class;split\r\n",
]
_FIXES = [
    b"action,path,problem,partner,score,suggestion\ndrop,cat/a.png,leak,dog/c,1,\n"
    b"relabel,dog/\xc3\xa9 b.png,,,0.5,cat\n",
    b"sep=;\r\nAction;Path;Score;Suggestion\r\nmove;'dog/c,d.png;0,97;test\r\n;dog/bad.png;;\r\n",
    "action\tpath\nkeep\tcat\\a.png\n".encode("utf-16"),
]
_GROUPS = [
    b"image,group,camera\ncat/a.png,1,x\n\xc3\xa9 b.png,1,\n",
    b'\xef\xbb\xbffile;group\r\n"dog/c,d.png";"burst 1"\r\n',
]
_NAMES = [b"cat\ndog\n", b"0 cat\n1 dog\n", b"cat,0\ndog,1\n"]
_JSON_NAMES = [b'["cat", "dog"]', b'{"id2label": {"0": "cat", "1": "dog"}}', b'{"class_indices": {"cat": 0, "dog": 1}}']
_LABELS = json.dumps(
    {
        "classes": {"cat": {"names": {"en": "cat", "zh": "猫"}, "group": "fur"}, "dog": {"names": {"en": "dog"}}},
        "groups": {"fur": {"names": {"en": "fur"}, "color": "#112233"}},
    }
).encode()

TARGETS: dict[str, Target] = {
    **{kind: _pictures(kind) for kind in ("jpeg", "png", "tiff", "webp", "gif", "bmp", "ppm")},
    "torch": Target(_reading("w.pth", _weights), seeds.torch_files),
    "torch-pickle": Target(_reading("w.pth", _weights, seeds.torch_archive), seeds.torch_pickles),
    "safetensors": Target(_reading("w.safetensors", _weights), lambda: [seeds.safetensors_file()]),
    "onnx": Target(_reading("w.onnx", _weights), lambda: [seeds.onnx_file()]),
    "keras": Target(_reading("config.json", _keras), lambda: [seeds.keras_config()]),
    "hdf5": Target(_reading("w.h5", _weights), seeds.hdf5, 16_384),
    "tf-graph": Target(_reading("w.pb", _weights), lambda: [seeds.graph_def()]),
    "tf-saved-model": Target(_reading("saved_model.pb", _saved_model), lambda: [seeds.saved_model()]),
    "tf-checkpoint": Target(_checkpoint, _checkpoints, 16_384),
    "mindspore": Target(_reading("w.ckpt", _weights), lambda: [seeds.mindspore()]),
    "model-json": Target(_reading("model.json", lambda path: read_bundle(path.parent), _hashed), lambda: [_bundle()]),
    "classes-json": Target(
        _reading("classes.json", lambda path: read_labels(path.parent, ["cat", "dog"])), lambda: [_LABELS]
    ),
    "class-names": Target(_reading("names.txt", read_classes), lambda: _NAMES),
    "class-names-json": Target(_reading("names.json", read_classes), lambda: _JSON_NAMES),
    "class-names-yaml": Target(
        _reading("names.yaml", read_classes), lambda: [b"names:\n  0: cat\n  1: 'dog'\n", b"names: [a, b]\n"]
    ),
    "preprocessing": Target(_reading("input.json", read_input), lambda: [b'{"mean": [0, 0, 0], "std": [1, 1, 1]}']),
    "split-csv": Target(_reading("split.csv", _split), lambda: _TEXTS),
    "seen-csv": Target(
        _reading("seen.csv", lambda path: read_seen(path.parent)), lambda: [b"content,class,split\n00,cat,train\n"]
    ),
    "fixes-csv": Target(_reading("fixes.csv", _fixes), lambda: _FIXES),
    "groups-csv": Target(_reading("groups.csv", _groups), lambda: _GROUPS),
    "distance": Target(
        _reading("distance.safetensors", lambda path: load_space(path, 6)), lambda: [seeds.distance_file()]
    ),
    "coco": Target(_annotated("coco", "boxes.json"), lambda: seeds.annotations("coco")),
    "voc": Target(_annotated("voc", "a.xml"), lambda: seeds.annotations("voc")),
    "yolo": Target(_annotated("yolo", "labels/a.txt"), lambda: seeds.annotations("yolo")),
    "boxes-csv": Target(_annotated("csv", "boxes.csv"), lambda: seeds.annotations("csv")),
    "yolo-yaml": Target(_annotated("yolo", "data.yaml"), lambda: [seeds.YOLO]),
    "recipe-json": Target(_reading("recipe.json", _record), _records),
    "idx": Target(_reading("data-idx3", lambda path: read_idx(path, 3)), seeds.idx),
    "form": Target(_form, lambda: [seeds.form()]),
    "http": Target(_http, seeds.requests),
}
