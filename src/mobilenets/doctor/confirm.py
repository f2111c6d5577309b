"""Which candidates are copies: their thumbnails laid upon one another, in the best of eight ways, and shifted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mobilenets.base.progress import progress
from mobilenets.doctor.candidates import Near, Places, nearest, usual_distance
from mobilenets.doctor.hashes import Bytes, Thumbnails
from mobilenets.doctor.spectra import ORIENTATIONS, WHOLE, Floats, Windows, changes, invariants, spectra, turns, window

COARSE, FINE = 8, 16
FLAT = 3.0
"""Levels of 255 by which luma must deviate: below it nothing is seen, and all such pictures would be alike."""

# What a difference of 0 to 2 (1 less the correlation) may come to, at 16 frequencies: where nothing else is as near,
# and where much is.
ALIKE, THE_SAME = 0.03, 0.004
CROPPED = 0.012
# A copy is nearer than what is alike by nature: its difference to the fifth nearest picture, times this.
CLEARER, NEIGHBOUR = 0.25, 5
# A copy differs a little everywhere; another picture of the same kind (the same hand in another skin tone) much
# somewhere. In levels of 255, on fields of an eighth of the sides, for luma and for chroma.
# A crop is laid on it to half a hundredth of its sides, which shows at hard edges.
LIGHT_CHANGE, LIGHT_CHANGE_CROPPED, COLOUR_CHANGE = 14.0, 18.0, 16.0
# Black on white, where luma deviates by more than this, the edges of copies differ by more, in proportion.
USUAL_CONTRAST = 80.0

_LEAST, _MOST = 0.9, 32
_LEAST_CROPPED, _MOST_CROPPED, _LIKELY, _TRIED = 0.85, 8, 0.25, 6
_BATCH = 2048
# Where a crop may lie, at first in steps as coarse as the frequencies allow; then it is shifted to where it fits best.
_SIZES = ((0.85, (0.0, 0.075, 0.15)), (0.94, (0.0, 0.06)))
_WINDOWS = [window(top, left, size) for size, edges in _SIZES for top in edges for left in edges]
_STEPS = ((0.04, 0.2), (0.02, 0.12))
_ROUNDS = 4
_SMALLEST, _EDGE, _NEARLY_WHOLE = 0.75, 0.25, 0.9
# Each edge inwards: outside of the picture there is nothing.
_NUDGES = np.diag([0.004, -0.004, 0.004, -0.004]).astype(np.float32)


class Match(NamedTuple):
    """Two copies by their places; ``how`` is in words what was done to the one or the other."""

    one: int
    other: int
    exact: bool
    score: float
    how: str


class _Side(NamedTuple):
    """Pictures by their places, their coarse spectra, and what is alike there by nature; N each."""

    places: Places
    coarse: Floats
    ground: Floats


class _Found(NamedTuple):
    """Pairs with the orientation that fits best and what still differs, M each; of crops also where, M×4."""

    one: Places
    other: Places
    turn: Places
    rest: Floats
    place: Floats

    def at(self, which: Any) -> _Found:
        """Give the pairs of a mask, of places or of a slice."""
        return _Found(self.one[which], self.other[which], self.turn[which], self.rest[which], self.place[which])

    def batches(self) -> Iterator[_Found]:
        """Give them a few at a time, in order."""
        for start in range(0, len(self.one), _BATCH):
            yield self.at(slice(start, start + _BATCH))


def matches(small: Thumbnails, first: int | None = None, *, crops: bool = True) -> list[Match]:
    """Find the copies among pictures; with ``first``, of the first so many among the others.

    Of files with the same bytes only the first is compared. See ``find_copies``.
    """
    here = range(len(small) if first is None else first)
    there = here if first is None else range(first, len(small))
    same_here, same_there = _by_content(small, here), _by_content(small, there)
    found, done = _exact(same_here, same_there, first is None)
    left = [places[0] for content, places in same_here.items() if content not in done]
    right = left if first is None else [places[0] for places in same_there.values()]
    one, other = (_contrasting(small, places) for places in (left, right))
    near = _near(small, one, other, first is None, crops)
    members = {places[0]: places for places in same_here.values()}
    for match in near:
        for place in [match.one] if first is None else members[match.one]:
            found.append(match._replace(one=place))
    return sorted(found)


def _by_content(small: Thumbnails, places: Sequence[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place in places:
        found.setdefault(small.contents[place], []).append(place)
    return found


def _exact(here: dict[str, list[int]], there: dict[str, list[int]], alone: bool) -> tuple[list[Match], set[str]]:
    """Pair files with the same bytes; returns also the contents that need no further search."""
    found, done = [], set[str]()
    for content, places in here.items():
        partners = there.get(content, [])
        if not alone and partners:
            done.add(content)
        for place in places[1:] if alone else places:
            if partners:
                found.append(Match(place, partners[0], True, 1.0, "same file"))
    return found, done


def _contrasting(small: Thumbnails, places: Sequence[int]) -> Places:
    """Leave out what does not decode and what shows nothing."""
    index = np.asarray(places, np.intp)
    seen = np.zeros(len(index), np.bool_)
    for start in range(0, len(index), _BATCH):
        part = index[start : start + _BATCH]
        light = small.luma[part].std((1, 2))
        tint = small.chroma[part].std((2, 3)).sum(1)
        seen[start : start + _BATCH] = small.shown[part] & (light + tint > FLAT)
    return index[seen]


def _near(small: Thumbnails, one: Places, other: Places, alone: bool, crops: bool) -> list[Match]:
    if not len(one) or not len(other):
        return []
    total = len(one) + crops * len(_WINDOWS) * (len(one) + (0 if alone else len(other)))
    with progress("comparing pictures", total, "look-ups") as shown:
        return _compared(small, one, other, alone, crops, shown.advance)


def _compared(
    small: Thumbnails, one: Places, other: Places, alone: bool, crops: bool, advance: Callable[[int], None]
) -> list[Match]:
    mine = _coarse(small, one)
    theirs = mine if alone else _coarse(small, other)
    pairs = nearest(invariants(mine, COARSE), invariants(theirs, COARSE), _LEAST, _MOST, alone, advance)
    found = _paired(pairs, mine, theirs)
    ground = usual_distance(found.one, found.rest, len(one), NEIGHBOUR)
    others = ground if alone else usual_distance(found.other, found.rest, len(other), NEIGHBOUR)
    best: dict[tuple[int, int], Match] = {}
    for match in _whole(small, one, other, found, np.minimum(ground[found.one], others[found.other])):
        if not alone or match.one < match.other:
            best[match.one, match.other] = match
    if crops:
        sides = _Side(one, mine, ground), _Side(other, theirs, others)
        for number, (whole, part) in enumerate([sides] if alone else [sides, sides[::-1]]):
            for match in _cropped(small, whole, part, alone, advance):
                pair = (match.one, match.other)
                pair = (min(pair), max(pair)) if alone or number else pair
                if pair not in best or ("cropped" in best[pair].how and best[pair].score < match.score):
                    best[pair] = match._replace(one=pair[0], other=pair[1])
    return list(best.values())


def _coarse(small: Thumbnails, places: Places) -> Floats:
    made = [spectra(*_pixels(small, part), COARSE).unit for part in _batches(places)]
    return np.concatenate(made)


def _pixels(small: Thumbnails, places: Places) -> tuple[Bytes, Bytes]:
    return small.luma[places], small.chroma[places]


def _batches(places: Places) -> Iterator[Places]:
    for start in range(0, len(places), _BATCH):
        yield places[start : start + _BATCH]


def _turned(one: Floats, other: Floats, fine: int) -> tuple[Places, Floats]:
    """Find for each of N pairs of spectra how the second is to be laid, and what then still differs."""
    places, signs = turns(fine)
    near = np.stack([np.einsum("nd,nd->n", one, other[:, places[g]] * signs[g]) for g in range(len(ORIENTATIONS))])
    near[0] += 1e-4  # of a picture that is its own mirror image it is said that it is the same
    turn = near.argmax(0)
    return turn, 1 - np.minimum(near.max(0), 1)


def _paired(pairs: Near, mine: Floats, theirs: Floats, part: Windows = WHOLE) -> _Found:
    """Say of candidates how they fit best, and how well, at coarse frequencies."""
    turn, rest = np.zeros(len(pairs.queries), np.intp), np.zeros(len(pairs.queries), np.float32)
    for start in range(0, len(turn), _BATCH):
        some = slice(start, start + _BATCH)
        turn[some], rest[some] = _turned(mine[pairs.queries[some]], theirs[pairs.rows[some]], COARSE)
    place = np.tile(np.concatenate(part), (len(turn), 1))
    return _Found(pairs.queries, pairs.rows, turn, rest, place)


def _whole(small: Thumbnails, one: Places, other: Places, found: _Found, ground: Floats) -> Iterator[Match]:
    """Find copies that show all of the picture; ``ground`` is the smaller one of each pair's."""
    likely = found.rest <= 2 * ALIKE
    clear = (found.rest <= CLEARER * ground)[likely]
    for number, part in enumerate(found.at(likely).batches()):
        a, b = (spectra(*_pixels(small, places), FINE) for places in (one[part.one], other[part.other]))
        turn, rest = _turned(a.unit, b.unit, FINE)
        sure = clear[number * _BATCH : (number + 1) * _BATCH] & (rest <= ALIKE)
        good = (sure | (rest <= THE_SAME)) & _unchanged(a.levels, b.levels, turn)
        for k in np.flatnonzero(good):
            i, j = int(one[part.one[k]]), int(other[part.other[k]])
            yield Match(i, j, False, float(1 - rest[k]), ORIENTATIONS[turn[k]].said)


def _unchanged(one: Floats, other: Floats, turn: Places, cropped: Any = False) -> npt.NDArray[np.bool_]:
    """Say of which pairs the ``levels`` differ nowhere much, the second laid as ``turn`` says."""
    light, colour = changes(_laid_back(one, turn, FINE), other, FINE)
    contrast = np.sqrt(np.square(other[:, 1 : FINE * FINE]).sum(1))
    most = np.where(cropped, LIGHT_CHANGE_CROPPED, LIGHT_CHANGE) * np.maximum(contrast / USUAL_CONTRAST, 1)
    kept: npt.NDArray[np.bool_] = (light <= most) & (colour <= COLOUR_CHANGE)
    return kept


def _cropped(
    small: Thumbnails, one: _Side, other: _Side, alone: bool, advance: Callable[[int], None]
) -> Iterator[Match]:
    """Find pictures of ``one`` that show a part of one of ``other``."""
    still = invariants(one.coarse, COARSE)
    found = _paired(Near(np.empty(0, np.intp), np.empty(0, np.intp)), one.coarse, other.coarse)
    for part in _WINDOWS:
        shown = np.concatenate([spectra(*_pixels(small, some), COARSE, part).unit for some in _batches(other.places)])
        pairs = nearest(still, invariants(shown, COARSE), _LEAST_CROPPED, _MOST_CROPPED, alone, advance)
        laid = _paired(pairs, one.coarse, shown, part)
        laid = laid.at(laid.rest <= _LIKELY)
        # What is nearly its own mirror image may fit better the wrong way round as long as it is not yet in its place.
        turned = laid.at(laid.turn > 0)
        upright = 1 - np.einsum("nd,nd->n", one.coarse[turned.one], shown[turned.other])
        tried = (found, laid, turned._replace(turn=np.zeros_like(turned.turn), rest=upright).at(upright <= _LIKELY))
        found = _Found(*(np.concatenate([getattr(one, name) for one in tried]) for name in _Found._fields))
        # After each window, so that what is kept does not grow with their number.
        found = found.at(_likeliest(found))
    for few in found.batches():
        yield from _fitted(small, one, other, few)


def _likeliest(found: _Found) -> Places:
    """Give the places of the best window of each pair and turn, and of those the best ``_TRIED`` of each picture."""
    order = np.lexsort((found.rest, found.turn, found.other, found.one))
    new = np.ones(len(order), np.bool_)
    keys = (found.one[order], found.other[order], found.turn[order])
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    order = order[new]
    order = order[np.lexsort((found.rest[order], found.one[order]))]
    who = found.one[order]
    return order[np.arange(len(order)) - np.searchsorted(who, who) < _TRIED]


def _fitted(small: Thumbnails, mine: _Side, theirs: _Side, found: _Found) -> Iterator[Match]:
    """Shift the windows to where they fit best, and leave out on the way what does not."""
    one, other = mine.places, theirs.places
    for step, limit in _STEPS:
        laid = _laid_back(spectra(*_pixels(small, one[found.one]), COARSE).unit, found.turn, COARSE)
        rest, place = _shifted(laid, _pixels(small, other[found.other]), found.place, step)
        found = found._replace(rest=rest, place=place).at(rest <= limit)
        if not len(found.one):
            return
    laid = _laid_back(spectra(*_pixels(small, one[found.one]), FINE).unit, found.turn, FINE)
    rest, place = _settled(laid, _pixels(small, other[found.other]), found.place)
    clear = CLEARER * np.minimum(mine.ground[found.one], theirs.ground[found.other])
    found = found._replace(rest=rest, place=place).at(rest <= np.clip(clear, THE_SAME, CROPPED))
    if not len(found.one):
        return
    whole = spectra(*_pixels(small, one[found.one]), FINE).levels
    part = spectra(*_pixels(small, other[found.other]), FINE, Windows(*found.place.T)).levels
    size = (found.place[:, 1] - found.place[:, 0]) * (found.place[:, 3] - found.place[:, 2])
    for k in np.flatnonzero(_unchanged(whole, part, found.turn, size < _NEARLY_WHOLE)):
        said = ORIENTATIONS[found.turn[k]].said
        how = "cropped" if found.turn[k] == 0 else f"cropped, {said}"
        yield Match(int(one[found.one[k]]), int(other[found.other[k]]), False, float(1 - found.rest[k]), how)


def _laid_back(unit: Floats, turn: Places, fine: int) -> Floats:
    """Turn spectra by the inverse of what their partners would have to be turned by."""
    places, signs = turns(fine)
    back = np.array([0, 1, 2, 3, 4, 6, 5, 7])[turn]
    laid: Floats = np.take_along_axis(unit, places[back], 1) * signs[back]
    return laid


def _shifted(laid: Floats, pixels: tuple[Bytes, Bytes], place: Floats, step: float) -> tuple[Floats, Floats]:
    """Try the windows around; returns what differs at the best of them, and where that is."""
    best, where = np.full(len(laid), 2, np.float32), place
    for move in product((0, -1, 1), repeat=3):
        down, across, larger = move
        edges = np.array([down - larger, down + larger, across - larger, across + larger], np.float32)
        tried = _inside(place + np.float32(step) * edges)
        rest = _rest(laid, spectra(*pixels, COARSE, Windows(*tried.T)).unit)
        better = rest < best
        best, where = np.where(better, rest, best), np.where(better[:, None], tried, where)
    return best, where


def _settled(laid: Floats, pixels: tuple[Bytes, Bytes], place: Floats) -> tuple[Floats, Floats]:
    """Bring windows to where they fit best, between pixels, by Gauss and Newton's steps; as ``_shifted`` returns."""
    shown = spectra(*pixels, FINE, Windows(*place.T)).unit
    best = _rest(laid, shown)
    for _ in range(_ROUNDS):
        nudged = [(place + nudge, nudge.sum()) for nudge in _NUDGES]
        slopes = np.stack([(spectra(*pixels, FINE, Windows(*to.T)).unit - shown) / by for to, by in nudged], 1)
        square = slopes @ slopes.swapaxes(1, 2)
        square += 1e-3 * np.trace(square, axis1=1, axis2=2)[:, None, None] * np.eye(4, dtype=np.float32)
        wish = slopes @ (laid - shown)[..., None]
        move = np.linalg.solve(square + 1e-9 * np.eye(4, dtype=np.float32), wish)[..., 0]
        tried = _inside(place + np.clip(move, -0.03, 0.03).astype(np.float32))
        found = spectra(*pixels, FINE, Windows(*tried.T)).unit
        rest = _rest(laid, found)
        better = rest < best
        best = np.where(better, rest, best)
        place, shown = (np.where(better[:, None], new, old) for new, old in ((tried, place), (found, shown)))
    return best, place


def _rest(one: Floats, other: Floats) -> Floats:
    rest: Floats = 1 - np.einsum("nd,nd->n", one, other)
    return rest


def _inside(place: Floats) -> Floats:
    """Keep the edges of windows inside of their pictures, and windows no smaller than is looked for."""
    low, high = np.array([0, _SMALLEST, 0, _SMALLEST], np.float32), np.array([_EDGE, 1, _EDGE, 1], np.float32)
    return np.clip(place, low, high)
