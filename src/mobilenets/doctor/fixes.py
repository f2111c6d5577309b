"""``fixes.csv``: what is to be done about pictures, as `check` suggests it and a person edits it; and doing it.

Nothing is done to a file: a fix changes which pictures a run takes, in which half, and under which class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.base.cells import read_given_table, write_cells
from mobilenets.base.files import nfc, write_bytes
from mobilenets.datasets.arranged import Fixed, Fixing
from mobilenets.datasets.folder import Sample, in_reading_order, relative
from mobilenets.datasets.listing import names as shortened
from mobilenets.errors import InputError

COLUMNS = ("action", "path", "problem", "partner", "score", "suggestion")
ACTIONS = ("drop", "move", "relabel")
HALVES = {"train": "train", "training": "train"} | dict.fromkeys(("validation", "val", "valid"), "validation")
HALVES |= {"test": "test"}


@dataclass(frozen=True)
class Fix:
    """One row of ``fixes.csv``.

    ``action`` is ``drop``, ``move`` or ``relabel``, or empty: then nothing is done, and the row shows what was found.
    ``path`` and ``partner`` are below the folder of DATA, with forward slashes. ``suggestion`` is the class for
    ``relabel``, and the half (``train validation test``) for ``move``. ``row`` is its line in the file, for messages.
    """

    action: str
    path: str
    problem: str = ""
    partner: str = ""
    score: float | None = None
    suggestion: str = ""
    row: int = 0


def write_fixes(path: Path, fixes: Iterable[Fix]) -> None:
    """Write what ``fixes_as_csv`` gives."""
    write_bytes(path, fixes_as_csv(fixes))


def fixes_as_csv(fixes: Iterable[Fix]) -> bytes:
    """Give rows under a header, in their order; cells that spreadsheets would run as formulas get an apostrophe."""
    rows: list[Sequence[str]] = [COLUMNS]
    for fix in fixes:
        score = "" if fix.score is None else f"{fix.score:.4g}"
        rows.append((fix.action, fix.path, fix.problem, fix.partner, score, fix.suggestion))
    # File names need not be valid Unicode; the odd bytes are written as they are.
    return write_cells(rows).encode("utf-8", "surrogateescape")


def read_fixes(path: Path) -> tuple[Fix, ...]:
    """Read ``fixes.csv`` as ``write_fixes`` wrote it, a person edited it, or a spreadsheet saved it.

    Columns go by their names, in any order and case; only ``action`` and ``path`` need be there, and ``suggestion``
    for what is moved or relabelled. Commas, semicolons or tabs part the cells. Rows with no action are read too.
    Raises InputError in one line, with the row, for what cannot be obeyed.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file: give the fixes.csv that check wrote")
    numbered = read_given_table(path, COLUMNS)
    first = [cell.strip().lower() for cell in numbered[0][1]] if numbered else []
    places = {name: first.index(name) for name in COLUMNS if name in first}
    missing = [name for name in ("action", "path") if name not in places]
    if missing:
        raise InputError(f"{path}: row 1 lacks the column {missing[0]}: begin the file with {','.join(COLUMNS)}")
    if twice := [name for name in COLUMNS if first.count(name) > 1]:
        raise InputError(f"{path}: row 1 has the column {twice[0]} twice: leave one")
    fixes = []
    for number, cells in numbered[1:]:
        where = f"{path}, row {number}"
        if len(cells) > len(first) and any(cell.strip() for cell in cells[len(first) :]):
            raise InputError(
                f"{where}: {len(cells)} cells where row 1 has {len(first)}: put a path with a comma in double quotes"
            )
        values = {name: cells[place] if place < len(cells) else "" for name, place in places.items()}
        fixes.append(_fix(values, where, number))
    return tuple(fixes)


def _fix(values: Mapping[str, str], where: str, number: int) -> Fix:
    action = values["action"].strip().lower()
    suggestion = values.get("suggestion", "").strip()
    if action not in ("", "keep", *ACTIONS):
        raise InputError(f"{where}: action {action!r}: write {', '.join(ACTIONS)}, or nothing to leave the picture")
    if action == "keep":
        action = ""
    if action and not values["path"]:
        raise InputError(f"{where}: no path: name the picture, or take the row out")
    if action == "move":
        if suggestion.lower() not in HALVES:
            raise InputError(f"{where}: move to {suggestion!r}: write train, validation or test under suggestion")
        suggestion = HALVES[suggestion.lower()]
    if action == "relabel" and not suggestion:
        raise InputError(f"{where}: relabel to what? write the class under suggestion")
    score = _number(values.get("score", ""), where)
    problem, partner = values.get("problem", ""), values.get("partner", "")
    return Fix(action, values["path"], problem, partner, score, suggestion, number)


def _number(text: str, where: str) -> float | None:
    """Read a score, also one with a comma, as spreadsheets write it in half of the world."""
    if not text.strip():
        return None
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise InputError(f"{where}: score {text!r}: write a number, or nothing") from None


def to_json(fixes: Iterable[Fix]) -> list[dict[str, Any]]:
    """Give the fixes that do something, as ``recipe.json`` keeps them: ``action path suggestion``."""
    return [
        {"action": fix.action, "path": fix.path, "suggestion": fix.suggestion} | ({"row": fix.row} if fix.row else {})
        for fix in fixes
        if fix.action
    ]


def from_json(value: object) -> tuple[Fix, ...]:
    """Read what ``to_json`` gave; raises InputError for anything else."""
    if not isinstance(value, list):
        raise InputError("fixes: give a file such as fixes.csv")
    fixes = []
    for number, entry in enumerate(value, 1):
        known = isinstance(entry, Mapping) and {"action", "path"} <= entry.keys()
        if not known or not all(isinstance(entry.get(name, ""), str) for name in COLUMNS if name != "score"):
            raise InputError(f"fixes, entry {number}: give an object with action, path and suggestion")
        row = entry.get("row", number)
        values = {name: entry.get(name, "") for name in COLUMNS if name != "score"}
        fixes.append(_fix(values, f"fixes.csv, row {row}", row if isinstance(row, int) else number))
    return tuple(fixes)


def fixing(value: object) -> Fixing | None:
    """Return what makes the fixes of a recipe, as ``to_json`` wrote them; None where there are none."""
    fixes = () if value is None else from_json(value)

    def fix(parts: Mapping[str, Sequence[Sample]], classes: Sequence[str], root: Path, others: Sequence[str]) -> Fixed:
        return apply(fixes, parts, classes, root, others)

    return fix if fixes else None


def apply(
    fixes: Sequence[Fix],
    parts: Mapping[str, Sequence[Sample]],
    classes: Sequence[str],
    root: Path,
    others: Iterable[str] = (),
    source: str = "fixes.csv",
) -> Fixed:
    """Drop, move and relabel pictures in a listing, whose paths are below ``root``.

    Rows without an action are passed over; a picture may be named twice if both rows say the same. ``parts`` has the
    samples by half: ``train``, and ``validation`` and ``test`` where DATA has them. Where there is no validation half,
    a move to ``validation`` holds the picture out when the half is drawn, and one to ``train`` keeps it. ``others`` are
    known and no samples, such as unreadable ones: they may be dropped, which does nothing. ``source`` is what messages
    call the rows' file.

    Raises InputError in one line that names the row: a picture or class that is not there, a half that DATA lacks,
    two rows that disagree.
    """
    names = {nfc(relative(sample.path, root)) for some in parts.values() for sample in some}
    known = frozenset(map(nfc, others))
    labels = {nfc(name): label for label, name in enumerate(classes)}
    plan: dict[str, dict[str, Fix]] = {}
    for fix in fixes:
        if fix.action:
            where = f"{source}, row {fix.row}"
            path = _found(fix.path, names | known, root)
            if path is None:
                raise InputError(f"{where}: there is no picture {fix.path!r} in {root}: mend it or take the row out")
            if path not in names and fix.action != "drop":
                raise InputError(f"{where}: {fix.path!r} is no picture that can be read: drop it or take the row out")
            _check_target(fix, parts, labels, root, where)
            _add(plan.setdefault(path, {}), fix, where)
    flat = "validation" not in parts
    new: dict[str, list[Sample]] = {half: [] for half in parts}
    moved: dict[str, list[Sample]] = {"train": [], "validation": []}
    dropped = []
    for half, samples in parts.items():
        for sample in samples:
            doing, target = plan.get(nfc(relative(sample.path, root)), {}), half
            if "drop" in doing:
                dropped.append(sample.path)
                continue
            if "relabel" in doing:
                sample = replace(sample, label=labels[nfc(doing["relabel"].suggestion)])
            if "move" in doing:
                target = doing["move"].suggestion
                moved.setdefault(target, []).append(sample)
            new["train" if flat and target == "validation" else target].append(sample)
    ordered = {
        half: in_reading_order(sorted(some, key=lambda one: (one.label, one.path))) for half, some in new.items()
    }
    pinned = {half: tuple(samples) for half, samples in moved.items()} if flat else {}
    return Fixed(ordered, pinned, tuple(dropped), _told(plan, source))


def _check_target(
    fix: Fix, parts: Mapping[str, Sequence[Sample]], labels: Mapping[str, int], root: Path, where: str
) -> None:
    """Refuse a class or a half that DATA does not have."""
    if fix.action == "relabel" and nfc(fix.suggestion) not in labels:
        raise InputError(f"{where}: there is no class {fix.suggestion!r}: write one of {shortened([*labels])}")
    drawn = fix.suggestion == "validation" and "validation" not in parts
    if fix.action == "move" and fix.suggestion not in parts and not drawn:
        there = " or ".join(dict.fromkeys([*parts, "validation"]))
        raise InputError(f"{where}: {root} has no {fix.suggestion}/: write {there} under suggestion")


def _add(doing: dict[str, Fix], fix: Fix, where: str) -> None:
    """Add a fix to the others of its picture; a second row must say the same, or move what is relabelled."""
    for action, before in doing.items():
        other = "drop" in (action, fix.action) if action != fix.action else fix.action != "drop"
        if other and (action != fix.action or nfc(before.suggestion) != nfc(fix.suggestion)):
            raise InputError(f"{where}: {fix.path!r} has another fix in row {before.row}: take one of the two out")
    doing.setdefault(fix.action, fix)


def _found(given: str, names: Collection[str], root: Path) -> str | None:
    """Find the picture that a row means: by its path in DATA, also as Windows writes it, or by its whole path."""
    for text in (given, given.strip(), given.strip().replace("\\", "/").removeprefix("./")):
        if (name := nfc(text)) in names:
            return name
    with suppress(ValueError):
        name = nfc(Path(given.strip()).resolve().relative_to(root.resolve()).as_posix())
        return name if name in names else None
    return None


def _told(plan: Mapping[str, Mapping[str, Fix]], source: str) -> tuple[str, ...]:
    """Say in one sentence how many pictures were dropped, moved and relabelled; nothing where there was no fix."""
    count = Counter(action for doing in plan.values() for action in doing)
    words = {"drop": "dropped", "move": "moved", "relabel": "relabelled"}
    done = [f"{count[action]} {word}" for action, word in words.items() if count[action]]
    return (f"by {source}, {', '.join(done)} of the pictures; no file was changed",) if done else ()
