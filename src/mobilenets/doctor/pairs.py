"""Copies among the pictures as findings, and what to do about each so that what is measured stays honest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mobilenets.doctor.fixes import Fix
from mobilenets.doctor.problems import Finding

# The copy in the earlier half is the one to drop. A measured half keeps its pictures: figures on it can still be
# compared with earlier ones, and it is the smaller; training has others to learn from.
_ORDER = {"train": 0, "validation": 1, "test": 2}
DROP_PARTNER = "drop partner"


@dataclass(frozen=True)
class Copy:
    """Two pictures that are copies, by their paths below DATA; ``kind`` is that of a problem, ``how`` in words."""

    path: str
    partner: str
    kind: str
    score: float
    how: str


def as_findings(pairs: Iterable[Copy], halves: Mapping[str, str], classes: Mapping[str, str]) -> list[Finding]:
    """Make findings of copies; ``halves`` and ``classes`` have the half and the class of every picture.

    Of a leak ``path`` is the picture to measure on and ``partner`` its copy in training; of a duplicate ``partner`` is
    the first of its copies, which stays.
    """
    pairs = list(pairs)
    first = clusters((pair.path, pair.partner) for pair in pairs if pair.kind == "duplicate")
    findings = []
    for pair in pairs:
        one, other = pair.path, pair.partner
        detail, suggestion = pair.how, None
        if pair.kind == "leak":
            if _ORDER[halves[one]] < _ORDER[halves[other]]:
                one, other = other, one
            suggestion = DROP_PARTNER
            if classes[one] != classes[other]:
                detail += f"; called {classes[one]} in {halves[one]}/ and {classes[other]} in {halves[other]}/"
        elif pair.kind == "duplicate":
            one, other = max(one, other), first[one]
            suggestion = "drop"
        elif pair.kind == "label_conflict":
            detail += f"; called {classes[one]} and {classes[other]}"
        findings.append(Finding(pair.kind, one, detail, other, round(pair.score, 4), suggestion))
    return list(dict.fromkeys(finding for finding in findings if finding.path != finding.partner))


def clusters(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join pairs into clusters; returns the first member, by its path, of each member's cluster.

    >>> clusters([("b", "c"), ("a", "c"), ("x", "y")])
    {'b': 'a', 'c': 'a', 'a': 'a', 'x': 'x', 'y': 'x'}

    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for pair in pairs:
        one, other = sorted(map(top, pair))
        above[other] = one
    return {name: top(name) for name in above}


def suggested(findings: Sequence[Finding], halves: Mapping[str, str], classes: Mapping[str, str]) -> list[Fix]:
    """Write a row for every finding on a picture, the worst first; only what is sure has an action.

    Dropped are files that cannot be read, all exact copies but the first, and the training copies of measured
    pictures, with their own copies. Rows without an action are for a person to decide: of a label conflict each picture
    has one, with the other class under ``suggestion``.
    """
    joined = clusters((one.path, one.partner) for one in findings if one.kind in ("leak", "duplicate") and one.partner)
    held: dict[str, int] = {}
    for name, top in joined.items():
        held[top] = max(held.get(top, 0), _ORDER[halves[name]])
    leaking = {joined[one.path] for one in findings if one.kind == "leak"}
    rows: list[Fix] = []
    for one in findings:
        score, partner = one.score, one.partner or ""
        if one.kind == "leak":
            rows.append(Fix("drop", partner, one.kind, one.path, score))
        elif (
            one.kind == "duplicate"
            and joined[one.path] in leaking
            and _ORDER[halves[one.path]] < held[joined[one.path]]
        ):
            # Each of these is a copy of what is measured, whichever of them the leak named.
            rows += [
                Fix("drop", path, "leak", other, score) for path, other in ((one.path, partner), (partner, one.path))
            ]
        elif one.kind == "label_conflict":
            for path, other in ((one.path, partner), (partner, one.path)):
                rows.append(Fix("", path, one.kind, other, score, classes[other]))
        elif one.path in halves or one.suggestion == "drop":
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
