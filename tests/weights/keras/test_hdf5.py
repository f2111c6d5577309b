"""Hostile and damaged HDF5 files and .keras archives: one line each, within 5 s and 1 GiB, in a process of its own."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.weights.keras import h5, hdf5, hdf5_child, keras3

resource = pytest.importorskip("resource")

FIXTURES = Path(__file__).parents[2] / "fixtures" / "hdf5"


def refused(path: Path) -> str:
    """Read a file that cannot be used, and give the reason."""
    with pytest.raises(InputError) as caught:
        keras3.read(path) if path.suffix == ".keras" else h5.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    return message.removeprefix(f"{path}: ")


def legacy(path: Path, add: Callable[[Any], None] | None = None, **options: Any) -> Path:
    """Write one convolution as Keras's weights; ``add`` may put something into its group."""
    with h5py.File(path, "w", **options) as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [b"conv/kernel:0"]
        if add is None:
            group["conv/kernel:0"] = np.ones((3, 3, 3, 8), np.float32)
        else:
            add(group)
    return path


def test_the_plain_file_is_read(tmp_path: Path) -> None:
    foreign = h5.read(legacy(tmp_path / "m.h5"))
    assert [(layer.name, layer.kind) for layer in foreign.layers] == [("conv", "conv")]
    assert foreign.format == "Keras HDF5, weights only"


@pytest.mark.parametrize("kind", ["crash", "hang", "memory"])
def test_what_breaks_libhdf5_is_refused(kind: str) -> None:
    """These crash, hang or take gigabytes in h5py 3.16 itself (tests/fixtures/make_hdf5.py)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "damaged" in refused(FIXTURES / f"{kind}.h5")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4.5
    # KiB, of the largest child there ever was: other tests have had larger ones.
    assert after.ru_maxrss <= max(before.ru_maxrss, 1 << 20)


def test_a_slow_machine_has_its_seconds_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: dict[int, int] = {}
    monkeypatch.setattr(resource, "setrlimit", lambda kind, value: limits.update({kind: value[0]}))
    monkeypatch.setattr("time.process_time", lambda: 7.4)
    hdf5_child._limit(1 << 30, 3)
    assert limits[resource.RLIMIT_CPU] == 10


def external_link(group: Any) -> None:
    group["conv/kernel:0"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(group: Any) -> None:
    group["conv/kernel:0"] = h5py.SoftLink("/conv")


def external_storage(group: Any) -> None:
    group.create_dataset("conv/kernel:0", (3, 3, 3, 8), "f4", external=[("/etc/passwd", 0, 864)])


def virtual(group: Any) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 8), "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", (3, 3, 3, 8))
    group.create_virtual_dataset("conv/kernel:0", layout)


def huge(group: Any) -> None:
    shape = (1 << 20, 1 << 20, 1 << 20, 1)
    group.create_dataset("conv/kernel:0", shape, "f4", chunks=(1, 1, 64, 1), compression="gzip")


def huge_chunk(group: Any) -> None:
    group.create_dataset("conv/kernel:0", (3, 3, 3, 8), "f4", chunks=(1 << 15, 1 << 15, 1, 1), maxshape=(None,) * 4)


def many(group: Any) -> None:
    inner = group.create_group("0")
    for number in range(1, 100_000):
        group.id.links.create_hard(str(number).encode(), inner.id, b".")


def many_links_to_one(group: Any) -> None:
    group["0"] = np.ones((256, 1024), np.float32)
    for number in range(1, 2000):
        group[f"{number}"] = group["0"]


def loop(group: Any) -> None:
    group["again"] = group


def deep(group: Any) -> None:
    group.create_group("/".join("x" * 200))


def integers(group: Any) -> None:
    group["conv/kernel:0"] = np.ones((3, 3, 3, 8), np.int8)


def not_finite(group: Any) -> None:
    group["conv/kernel:0"] = np.full((3, 3, 3, 8), np.nan, np.float32)


def missing(group: Any) -> None:
    group["conv/other:0"] = np.ones((3, 3, 3, 8), np.float32)


def unknown(group: Any) -> None:
    group.attrs["weight_names"] = [b"../../x\n/alpha:0"]
    group["../../x\n/alpha:0"] = np.ones((3, 3, 3, 8), np.float32)


@pytest.mark.parametrize(
    ("add", "reason"),
    [
        (external_link, "link to another place"),
        (soft_link, "link to another place"),
        (external_storage, "in other files"),
        (virtual, "in other files"),
        (huge, "more than any MobileNet"),
        (huge_chunk, "more than any MobileNet"),
        (many, "a MobileNet has hundreds"),
        (many_links_to_one, "more than any MobileNet"),
        (loop, "deep"),
        (deep, "deep"),
        (integers, "holds int8"),
        (not_finite, "not finite"),
        (missing, "does not hold it"),
        (unknown, "as no layer of a MobileNet does"),
    ],
)
def test_hostile_hdf5(add: Callable[[Any], None], reason: str, tmp_path: Path) -> None:
    # Groups of the newest format take 100,000 entries in a second.
    options = {"libver": "latest"} if add is many else {}
    assert reason in refused(legacy(tmp_path / "m.h5", add, **options))


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "m.h5")
    (tmp_path / "m.h5").write_bytes(b"nothing of the kind")
    assert "damaged" in refused(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["x"] = np.ones(3, np.float32)
    assert "without the layers of a Keras model" in refused(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = [b"gone"]
    assert "does not hold" in refused(tmp_path / "m.h5")
    with h5py.File(legacy(tmp_path / "m.h5"), "a") as file:
        file.attrs["backend"] = b"theano"
    assert "Theano" in refused(tmp_path / "m.h5")


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install h5py" in refused(legacy(tmp_path / "m.h5"))


def test_modules_beside_the_file_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "h5py.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    h5.read(legacy(tmp_path / "m.h5"))
    assert not (tmp_path / "ran").exists()


def test_a_child_that_writes_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "child.py"
    monkeypatch.setattr(hdf5, "_CHILD", script)
    for listing in ("[]", "{}", '{"groups": {}, "arrays": {"x": {"dtype": "O", "shape": [9], "offset": 0}}}', "\\0"):
        script.write_text(
            "import sys, pathlib\n"
            f"pathlib.Path(sys.argv[2], 'listing.json').write_text({listing!r})\n"
            "pathlib.Path(sys.argv[2], 'arrays.bin').write_bytes(b'')"
        )
        assert "damaged" in refused(legacy(tmp_path / "m.h5"))
    script.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(hdf5, "_SECONDS", 0.2)
    assert "takes more than" in refused(legacy(tmp_path / "m.h5"))


def test_long_lists_of_names_are_joined(tmp_path: Path) -> None:
    """What does not fit one attribute is split over weight_names0, weight_names1, ... by Keras."""
    path = legacy(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        del file.attrs["layer_names"], file["conv"].attrs["weight_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"conv"], [b"empty"]
        file["conv/conv/bias:0"] = np.ones(8, np.float32)
        for number, part in enumerate(("kernel", "bias")):
            file["conv"].attrs[f"weight_names{number}"] = [f"conv/{part}:0".encode()]
        file.create_group("empty").attrs["weight_names"] = []
    assert h5.read(path).layers[0].arrays.keys() == {"weight", "bias"}


@pytest.mark.parametrize("container", ["layers/", "_layer_checkpoint_dependencies/", "layers\\"])
def test_groups_of_all_keras3_versions(container: str, tmp_path: Path) -> None:
    """TensorFlow 2.12 has another name for ``layers``, on Windows with a backslash; numbers count, not letters."""
    body = f"{container}functional{container[-1]}{container}"
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for place, group in enumerate((f"{body}conv2d", f"{body}conv2d_2", f"{body}conv2d_10", f"{container}conv2d")):
            file[f"{group}/vars/0"] = np.full((1, 1, 4, 4), place, np.float32)
        file["optimizer/vars/1"] = np.ones(3, np.float32)
    foreign = h5.read(tmp_path / "m.h5")
    # The layer of the outer model is the new head.
    assert [layer.arrays["weight"].flat[0] for layer in foreign.layers] == [0, 1, 2, 3]
    assert foreign.ignored == ("optimizer/vars/1",)


def archive(path: Path, config: object, weights: bytes, packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", weights)
    return path


def keras3_weights() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/conv2d/vars/0"] = np.ones((3, 3, 3, 8), np.float32)
    return buffer.getvalue()


CONV = {"name": "conv2d", "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}
CONFIG = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Conv2D", "config": CONV}]}}


def claiming(content: bytes, size: int) -> bytes:
    """Write another size of the last member into an archive's directory."""
    place = content.rindex(b"PK\x01\x02") + 24
    return content[:place] + size.to_bytes(4, "little") + content[place + 4 :]


def test_hostile_archives(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", CONFIG, keras3_weights())
    assert len(keras3.read(path).layers) == 1
    whole = path.read_bytes()
    # A directory that claims a gigabyte, as that of a bomb does.
    path.write_bytes(claiming(whole, 1 << 30))
    assert "more than any MobileNet" in refused(path)
    archive(path, CONFIG, keras3_weights(), zipfile.ZIP_LZMA)
    assert "packed" in refused(path)
    # A directory that claims less than there is: zipfile stops at the claim, and the checksum fails.
    path.write_bytes(claiming(archive(path, CONFIG, bytes(1 << 20), zipfile.ZIP_DEFLATED).read_bytes(), 100))
    assert "damaged" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}")
    assert "without model.weights.h5" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        for number in range(10_001):
            file.writestr(f"{number}", b"")
    assert "a MobileNet has hundreds" in refused(path)
    archive(path, {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}, keras3_weights())
    assert "malformed" in refused(path)
    path.unlink()
    assert "No such file" in refused(path)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_damaged_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at every length, and with bits flipped: one line, or what can still be read."""
    path = tmp_path / name
    archive(path, CONFIG, keras3_weights()) if path.suffix == ".keras" else legacy(path)
    whole = path.read_bytes()
    # None of this breaks libhdf5, and a process each would take minutes.
    monkeypatch.setattr(hdf5_child, "_limit", lambda memory, seconds: None)
    limits = (str(hdf5.MAX_ARRAYS), str(hdf5.MAX_BYTES), "0", "0")
    monkeypatch.setattr(hdf5, "_run", lambda path, source, folder: hdf5_child.main(str(source), str(folder), *limits))
    for hundredth in range(100):
        path.write_bytes(whole[: len(whole) * hundredth // 100])
        refused(path)
    generator = random.Random(0)
    # In an archive anywhere, since its checksums keep damage from libhdf5; in HDF5 among the numbers.
    places = range(len(whole))
    if path.suffix == ".h5":
        start = whole.index(np.ones(9, np.float32).tobytes())
        places = range(start, start + 4 * 3 * 3 * 3 * 8)
    for _ in range(200):
        content = bytearray(whole)
        content[generator.choice(places)] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
        try:
            keras3.read(path) if path.suffix == ".keras" else h5.read(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
