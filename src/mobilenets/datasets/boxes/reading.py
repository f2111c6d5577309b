"""The annotations of DATA, read and checked box by box, in the two steps that ``prepare`` takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from mobilenets.base.files import nfc
from mobilenets.base.notes import log
from mobilenets.datasets.arranged import Listed
from mobilenets.datasets.boxes.counts import strata
from mobilenets.datasets.boxes.entries import BAD, Annotations, Entry, Fault, common_folder
from mobilenets.datasets.boxes.judge import Judge
from mobilenets.datasets.boxes.pictures import Pictures
from mobilenets.datasets.boxes.recognise import find_format
from mobilenets.datasets.folder import Sample, below
from mobilenets.datasets.layout import Layout, find_data
from mobilenets.datasets.listing import Problem, instead, names, say
from mobilenets.datasets.readable import Look
from mobilenets.datasets.refuse import refuse_file
from mobilenets.datasets.split import read_split
from mobilenets.errors import InputError
from mobilenets.pictures.header import Header, header
from mobilenets.runtime.labels import is_showable

LACKS = "has no box of"
MANY = 50  # pictures without annotation: so many are counted, not listed
_HALVES = ("train", "validation", "test")


class Reading:
    """Reads the annotations of one DATA, and judges them when the pictures' ``headers`` are known.

    ``quiet``: nothing is logged, because whoever asks says it.
    """

    def __init__(
        self,
        format: str,
        max_bad: float,
        classes: Sequence[str] | None = None,
        split_file: Path | None = None,
        quiet: bool = False,
    ) -> None:
        self.format, self.max_bad, self.classes, self.split_file = format, max_bad, classes, split_file
        self.quiet = quiet
        self.headers: dict[Path, Header] = {}
        self.entries: dict[Path, Entry] = {}
        self.faults: list[Fault] = []
        self.left_out = 0  # pictures, for their annotations
        self.boxes = self.bad = 0
        self.told: tuple[str, ...] = ()  # the halves that need not be drawn

    def __call__(self, data: Path, pooled: bool = False) -> Listed:
        """List the pictures of DATA by half, as ``prepare`` wants them."""
        refuse_file(data)
        pictures = Pictures(data)
        found = find_format(data, self.format)
        read = found.read(data, pictures)
        if pictures.outside and not data.is_absolute():  # those are called by whole paths, and so must be the others
            return self(data.absolute(), pooled)
        self.format = found.format
        if not read.entries:
            why = f": {read.faults[0].path}: {read.faults[0].detail}" if read.faults else instead(pictures.problems)
            raise InputError(f"{data}: no annotation leads to a picture{why}")
        self.root = common_folder(pictures.outside, data)
        self._merge(read)
        self.classes = tuple(self.classes or read.classes or self._names())
        if hidden := next((name for name in self.classes if not is_showable(name)), None):
            raise InputError(
                f"{data}: the class {hidden!r} has a character that cannot be shown, such as a line break; rename it"
            )
        notes = [f"boxes were read from {found.format.upper()} annotations"]
        alike = Counter(name.casefold() for name in self.classes)
        if twins := [name for name in self.classes if alike[name.casefold()] > 1]:
            notes.append(f"classes whose names differ in case alone, each learned as its own: {names(twins)}")
        notes += [f"annotations in {names([one.upper() for one in found.others])} are there too, and not used"] * bool(
            found.others
        )
        if _has_class_folders(data, self.classes):
            notes.append("the folders could be classes too: --task classification takes them so")
        notes += read.notes
        if pictures.outside:
            notes.append(
                f"pictures outside {data} that the annotations name by their whole paths, used: "
                f"{len(pictures.outside)}, such as {pictures.outside[0]}"
            )
        self.faults += read.faults
        notes += self._without(read, pictures)
        self.left_out = len(read.lost)
        parts, more = self._halves(pooled)
        self.told = ("train", "validation") if pooled else tuple(parts)
        problems = [one for one in pictures.problems if one.kind == "unreadable" or "convert" in one.detail]
        train = self.root
        layout = Layout(self.root, train, train if "validation" in parts else None, train if "test" in parts else None)
        return Listed(layout, self.classes, parts, problems, [*notes, *more], self.refine)

    def looking(self, look: Look | None) -> Look:
        """Give what is shown every picture while it is tried: it keeps the header, and passes it on."""

        def both(sample: Sample, image: Image.Image) -> None:
            self.headers[sample.path] = header(sample.path)
            if look is not None:
                look(sample, image)

        return both

    def _merge(self, read: Annotations) -> None:
        """Have one entry a picture: a picture of two halves stays in the one that is measured on."""
        ranks = {half: rank for rank, half in enumerate(_HALVES)}
        for entry in read.entries:
            first = self.entries.setdefault(entry.picture, entry)
            if first is entry:
                continue
            if first.half == entry.half and first.shares == entry.shares and first.source == entry.source:
                read.wrong(
                    entry.source, "", "a picture is listed twice: the boxes of both are used", entry.picture, True
                )
                first.boxes += entry.boxes
                continue
            drop, keep = sorted((entry, first), key=lambda one: ranks[one.half or "train"])
            self.entries[entry.picture] = keep
            what = f"a picture that {keep.source.name} lists too: what stands there is used"
            if keep.half != drop.half:
                what = f"a picture of {drop.half or 'train'} that is in {keep.half} too, and stays there"
            read.wrong(drop.source, "", what, entry.picture, used=True)

    def _names(self) -> list[str]:
        """The names at the boxes of the training half, or of all where no half is told, sorted."""
        taught = [entry for entry in self.entries.values() if entry.half in (None, "train")]
        found = {box.name for entry in taught or self.entries.values() for box in entry.boxes}
        if not found:
            raise InputError("the annotations name no box that can be used: there is nothing to learn")
        return sorted(found)

    def _without(self, read: Annotations, pictures: Pictures) -> list[str]:
        """Say which pictures of DATA have no annotation."""
        bare = [path for path in pictures if path not in self.entries and path not in read.lost]
        if not bare:
            return []
        if self.format == "voc" and len(bare) <= MANY and not read.unused:
            self.faults += [
                Fault(BAD, str(path), "there is no annotation file for this picture: not used", str(path), used=True)
                for path in bare
            ]
            return []
        return [
            f"pictures that no annotation names, not used: {len(bare)}, such as {bare[0].relative_to(pictures.root)}"
        ]

    def _halves(self, pooled: bool) -> tuple[dict[str, tuple[Sample, ...]], list[str]]:
        """The pictures of each half, in order of path, and notes on what was assumed."""
        notes: list[str] = []
        if self.split_file is not None:
            return self._halves_again(self.split_file), notes
        parts: dict[str, list[Sample]] = {}
        for path in sorted(self.entries):
            parts.setdefault(self.entries[path].half or "train", []).append(Sample(path, 0))
        empty = [half for half, some in parts.items() if not any(self.entries[one.path].boxes for one in some)]
        for half in empty:
            if half != "train":
                notes.append(f"{half} has no box at all: not used ({len(parts.pop(half))} pictures)")
        if "train" not in parts:
            half = "validation" if "validation" in parts else "test"
            notes.append(f"there is no training half, so {half} is used for training")
            parts["train"] = parts.pop(half)
        if "validation" not in parts and "test" in parts and not pooled:
            parts["validation"] = parts.pop("test")
            notes.append("there is no validation half, so test is used for validation")
        return {half: tuple(parts[half]) for half in _HALVES if half in parts}, notes

    def _halves_again(self, split_file: Path) -> dict[str, tuple[Sample, ...]]:
        assert self.classes is not None
        begun = read_split(split_file, self.root, self.classes)
        listed = {"train": begun.train, "validation": begun.validation}
        parts = {half: tuple(sorted(some, key=lambda one: one.path)) for half, some in listed.items()}
        for sample in (*begun.train, *begun.validation):
            if sample.path not in self.entries:
                raise InputError(
                    f"{sample.path}: no annotation names this picture any more, as one did when this run began; put it "
                    "back, or train again with another --out, without --resume"
                )
        test = sorted(path for path, entry in self.entries.items() if entry.half == "test")
        used = {sample.path for some in parts.values() for sample in some}
        if test and not used.intersection(test):
            parts["test"] = tuple(Sample(path, 0) for path in test)
        return parts

    def refine(self, parts: dict[str, tuple[Sample, ...]], problems: list[Problem], notes: list[str]) -> None:
        """Judge every box now that the sizes are known, and give every picture its boxes."""
        assert self.classes is not None
        judge = Judge({nfc(name): label for label, name in enumerate(self.classes)})
        if any(sample.label for some in parts.values() for sample in some) and self.split_file is None:
            raise InputError("relabel: a fix for classes of whole pictures; mend the class in the annotation instead")
        counts: dict[str, Counter[int]] = {}
        # A list of pictures that data.yaml names and that is missing is no box.
        named = [fault for fault in self.faults if Path(fault.path).suffix not in (".yaml", ".yml")]
        refused = sum(fault.boxes for fault in named if not fault.used)
        for half, samples in parts.items():
            kept = []
            counts[half] = Counter()
            for sample in samples:
                judged = judge.judge(self.entries[sample.path], self.headers[sample.path])
                self.faults += judged.faults
                if judged.boxes is None:
                    self.left_out += 1
                    continue
                counts[half].update(judged.boxes.labels[~judged.boxes.ignored].tolist())
                judge.counts["bare"] += not len(judged.boxes)
                kept.append(replace(sample, target=judged.boxes))
            begun = self.split_file is not None and half != "test"
            parts[half] = tuple(kept) if begun else strata(kept)
        self.faults = [self._told(fault) for fault in self.faults]
        self.boxes, self.bad = judge.counts["boxes"] + refused, judge.counts["bad"] + refused
        told = [Problem(fault.kind, fault.path, fault.detail) for fault in self.faults]
        problems += told
        slip = judge.corners_taken_for_sides
        more = [*_notes(judge.counts), *self.missing(counts), *([slip] if slip else [])]
        notes += more
        if not self.quiet:
            say(told)
            for note in more:
                log.info("%s: %s", self.root, note, extra={"noted": True})
        self._accept(sum(map(len, parts.values())), slip)

    def _told(self, fault: Fault) -> Fault:
        """Name files below DATA, and the picture where the annotation file's name does not tell it."""
        shown = fault.picture and below(fault.picture, self.root)
        named = f" (in {shown})" if shown and Path(shown).stem != Path(fault.path).stem else ""
        return replace(fault, path=below(fault.path, self.root), detail=fault.detail + named, picture=shown)

    def missing(self, counts: Mapping[str, Counter[int]]) -> list[str]:
        """Say which classes have no box in a half, of halves with their counts by label."""
        assert self.classes is not None
        notes = []
        for half, found in counts.items():
            lacking = [name for label, name in enumerate(self.classes) if not found[label]]
            if lacking:
                effect = "it cannot be learned" if half == "train" else "no figure says how well it is found"
                notes.append(f"{half} {LACKS} {names(lacking)}: {effect}")
        return notes

    def _accept(self, pictures: int, slip: str | None) -> None:
        """Refuse where too much had to be left out, or boxes surely are not where they were taken to be."""
        if slip is not None and self.max_bad < 1:
            raise InputError(f"{self.root}: {slip}; write them so, or give --max-bad 1 to take them as they are")
        first = next((f"; the first is {one.path}, {one.detail}" for one in self.faults if not one.used), "")
        for number, total, what in (
            (self.bad, self.boxes, "boxes are wrong"),
            (self.left_out, pictures + self.left_out, "pictures cannot be used for their annotations"),
        ):
            if number > self.max_bad * total:
                raise InputError(
                    f"{number} of {total} {what}, more than --max-bad {self.max_bad:g} allows: mend them, or give a "
                    f"larger share{first}"
                )


def _has_class_folders(data: Path, classes: Sequence[str]) -> bool:
    try:
        train = find_data(data).train
    except InputError:
        return False
    return any((train / name).is_dir() for name in classes)


def _notes(counts: Mapping[str, int]) -> list[str]:
    """Say in a line each what happened to many boxes or pictures."""
    said = {
        "rounded": "boxes that reach up to a pixel beyond their picture, cut at the edge",
        "turned": "pictures that are upright by EXIF only, whose boxes were taken as drawn on the upright picture, as "
        "labelImg, CVAT and Ultralytics have them",
        "stored": "pictures turned by EXIF whose boxes were turned with them, because the size written beside them is "
        "that of the stored pixels",
        "emptied": "pictures left out because none of their boxes can be used",
        "bare": "pictures without a box, which teach what is not looked for",
    }
    return [f"{words}: {counts[kind]}" for kind, words in said.items() if counts.get(kind)]
