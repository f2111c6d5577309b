"""Copies among the pictures as findings, and what to do about each so that what is measured stays honest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mobilenets.doctor.fixes import Fix
from mobilenets.doctor.problems import Finding, is_fault

# The copy in the earlier half is the one to drop. A measured half keeps its pictures: figures on it can still be
# compared with earlier ones, and it is the smaller; training has others to learn from.
_ORDER = {"train": 0, "validation": 1, "test": 2}
DROP_PARTNER = "drop partner"


@dataclass(frozen=True)
class Places:
    """Where each picture is, by its path below DATA: its half, its class, and the hash of its content."""

    halves: Mapping[str, str]
    classes: Mapping[str, str]
    contents: Mapping[str, str]


def as_findings(pairs: Iterable[tuple[str, str, float, str]], places: Places) -> list[Finding]:
    """Make findings of copies, each given as two paths below DATA, how alike they are, and in words what was done.

    Copies in two halves are a leak: ``path`` is the picture to measure on, ``partner`` its copy in training (or, of a
    test picture, in validation). Copies in two classes are a label conflict, whatever else they are. Others are
    duplicates where the files are the same, else near duplicates; ``partner`` of a duplicate is the first of its
    copies, which stays.
    """
    findings: dict[Finding, None] = {}
    same: dict[str, list[str]] = {}
    for name, content in places.contents.items():
        same.setdefault(content, []).append(name)
    told = [pair for pair in pairs if places.contents[pair[0]] != places.contents[pair[1]]]
    for members in same.values():
        for one, other in _representative(
            sorted(members, key=lambda name: (_ORDER[places.halves[name]], name)), places
        ):
            _add(findings, one, other, (1.0, "same file"), places)
    for first, second, score, how in told:
        # Of files with the same bytes only one was compared; the pair holds for its copies in other halves too.
        ones, others = (_one_a_half(same[places.contents[name]], name, places) for name in (first, second))
        across = [(a, b) for a in ones for b in others if places.halves[a] != places.halves[b]]
        for one, other in dict.fromkeys([(first, second), *across]):
            _add(findings, one, other, (score, how), places)
    return [*findings]


def _representative(members: list[str], places: Places) -> list[tuple[str, str]]:
    """Pair copies of one file: each with the first, and with the first of its own half where that is another."""
    pairs = [(members[0], one) for one in members[1:]]
    firsts = {places.halves[one]: one for one in reversed(members)}
    for one in members[1:]:
        first = firsts[places.halves[one]]
        if first not in (one, members[0]):
            pairs.append((first, one))
    return pairs


def _one_a_half(members: list[str], own: str, places: Places) -> list[str]:
    return [own, *{places.halves[one]: one for one in members if places.halves[one] != places.halves[own]}.values()]


def _add(findings: dict[Finding, None], one: str, other: str, told: tuple[float, str], places: Places) -> None:
    score, how = round(told[0], 4), told[1]
    one, other = sorted((one, other), key=lambda name: (-_ORDER[places.halves[name]], name))
    apart = places.halves[one] != places.halves[other]
    conflict = places.classes[one] != places.classes[other]
    if apart:
        findings[Finding("leak", one, how, other, score, DROP_PARTNER)] = None
    if conflict:
        detail = f"{how}, called {places.classes[one]} and {places.classes[other]}"
        findings[Finding("label_conflict", one, detail, other, score)] = None
    elif not apart and how == "same file":
        findings[Finding("duplicate", other, how, one, score, "drop")] = None
    elif not apart:
        findings[Finding("near_duplicate", one, how, other, score)] = None


def suggested(findings: Sequence[Finding], places: Places) -> list[Fix]:
    """Write a row for every finding on a picture, the worst first; only what is sure has an action.

    Dropped are files that cannot be read, all exact copies but the first, and the training copies of measured
    pictures, with their own copies. Rows without an action are for a person to decide: of a label conflict each picture
    has one, with the other class under ``suggestion``.
    """
    halves = places.halves
    leaked = {one.partner for one in findings if one.kind == "leak"}
    rows: list[Fix] = []
    for one in findings:
        score, partner = one.score, one.partner or ""
        if one.kind == "leak":
            rows.append(Fix("drop", partner, one.kind, one.path, score))
        elif one.kind == "duplicate":
            rows.append(Fix("drop", one.path, one.kind, partner, score))
            # A leak names one of several copies in training: none of them may stay.
            first = halves[partner]
            if any(
                name and halves[name] == first and places.contents[name] == places.contents[partner] for name in leaked
            ):
                rows.append(Fix("drop", partner, "leak", one.path, score))
        elif one.kind == "label_conflict":
            for path, other in ((one.path, partner), (partner, one.path)):
                rows.append(Fix("", path, one.kind, other, score, places.classes[other]))
        elif one.suggestion == "drop" or (one.path in halves and is_fault(one.kind)):
            action = "drop" if one.suggestion == "drop" else ""
            rows.append(Fix(action, one.path, one.kind, partner, score))
    seen: set[tuple[str, str]] = set()
    kept = []
    for row in rows:
        if row.action and (row.action, row.path) in seen:
            row = Fix("", row.path, row.problem, row.partner, row.score, row.suggestion)
        seen.add((row.action, row.path))
        kept.append(row)
    return list(dict.fromkeys(kept))
