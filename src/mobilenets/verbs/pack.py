"""``pack``: a folder of labelled pictures as shards, which large sets and slow disks are read faster from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobilenets.base.files import write_bytes
from mobilenets.base.leftovers import filling, occupants
from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.datasets.boxes.recognise import is_detection
from mobilenets.datasets.layout import find_data
from mobilenets.datasets.listing import say
from mobilenets.datasets.prepare import listed_of
from mobilenets.datasets.shards.index import INDEX, index_of
from mobilenets.datasets.shards.open import open_data
from mobilenets.datasets.shards.write import SHARD_MB, Packed, Planned, plan_shards, write_shard
from mobilenets.errors import InputError
from mobilenets.runs.folder import check_folder
from mobilenets.runtime.labels import FILE


def pack(
    data: str | Path, out: str | Path, *, shard_mb: float = SHARD_MB, seed: int = 0, workers: int | None = None
) -> dict[str, Any]:
    """Write a folder of labelled pictures as WebDataset shards with an index; no file of it is changed.

    ``train``, ``evaluate``, ``check``, ``compare`` and ``predict`` take the folder of shards where they take DATA, and
    ``train`` and ``evaluate`` also the address that it is put at, such as ``s3://bucket/photos``.

    Parameters
    ----------
    data:
        A folder with ``train/`` and ``validation/`` (and perhaps ``test/``), or one folder per class; or one of shards.
    out:
        The folder to write: tars of about ``shard_mb`` MB, and ``shards.json`` and ``shards.npz``, the index. What a
        run that was interrupted had finished there is kept.
    shard_mb:
        The size of a shard in MB (10⁶ bytes).
    seed:
        Of the order that the pictures of each half are packed in.
    workers:
        Threads that read pictures ahead; by default one per core, up to 16.

    Returns ``folder index shards samples bytes reused classes splits problems notes``: ``reused`` counts the shards
    that were finished before, ``splits`` the samples of each half, ``problems`` are pictures that could not be read and
    are left out. Raises ``InputError`` for data that cannot be packed, and an ``out`` that is not empty.

    >>> result = mobilenets.pack("photos", "shards")
    >>> result["shards"], result["samples"], result["splits"]
    (1, 60, {'train': 60})

    """
    if not 0.001 <= shard_mb <= 1_000_000:
        raise InputError(f"shard_mb {shard_mb:g}: give the size of a shard in MB, from 0.001 to 1000000")
    if workers is not None and not 1 <= workers <= 256:
        raise InputError(f"workers {workers}: give a number from 1 to 256")
    root, out = open_data(data), Path(out)
    _refuse(root, out)
    listed = listed_of(find_data(root))
    for note in listed.notes:
        log.info("%s: %s", data, note)
    say(listed.problems)
    planned = plan_shards(listed, int(shard_mb * 1e6), seed)
    packed = _written(planned, out, listed.layout.root, listed.classes, workers)
    problems = [*listed.problems, *(problem for one in packed for problem in one.problems)]
    splits: dict[str, int] = {}
    for one in packed:
        half = one.shard.split or "train"
        splits[half] = splits.get(half, 0) + one.shard.samples
    return {
        "folder": str(out),
        "index": str(out / INDEX),
        "shards": len(packed),
        "samples": sum(splits.values()),
        "bytes": sum(one.shard.bytes for one in packed),
        "reused": sum(one.reused for one in packed),
        "classes": list(listed.classes),
        "splits": splits,
        "problems": [asdict(one) for one in problems],
        "notes": list(listed.notes),
    }


def _refuse(data: Path, out: Path) -> None:
    """Refuse what cannot be packed, or where, before anything is read."""
    if is_detection(data):
        raise InputError(f"{data} has boxes, which shards do not hold yet: pack class folders")
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{out} is inside the picture folder {data}: choose a folder outside it")
    check_folder(out, "use another OUT")
    if out.is_dir() and occupants(out):
        raise InputError(f"{out} is not empty: choose a new folder, or remove this one first")


def _written(
    planned: list[Planned], out: Path, root: Path, classes: tuple[str, ...], workers: int | None
) -> list[Packed]:
    """Write the shards, and last the index, by which the folder counts as one of shards."""
    packed: list[Packed] = []
    total = sum(len(one.samples) for one in planned)
    with filling(out), progress("packing", total, "pictures") as shown:
        ours = {one.file for one in planned}
        for path in out.glob("*.tar"):
            if path.name not in ours:  # of a plan that was given up: other pictures, or shards of another size
                path.unlink()
        for one in planned:
            done = write_shard(one, out, root, classes, shown.advance, workers)
            say(done.problems)
            packed.append(done)
        if not any(one.rows for one in packed):
            raise InputError(f"{root}: no picture could be read")
        if (root / FILE).is_file():
            write_bytes(out / FILE, (root / FILE).read_bytes())
        index_of([one.shard for one in packed], [row for one in packed for row in one.rows], classes).write(out)
    return packed
