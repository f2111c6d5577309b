"""Which candidates there are, and which of them are trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mobilenets.models.catalog import describe
from mobilenets.models.prune import groups
from mobilenets.shrinking.candidates import (
    FLOAT,
    Candidate,
    Measured,
    architecture_of,
    candidates,
    control_of,
    kept,
    least_of_each,
    shortlist,
    sizes_below,
    spread,
)

RUN = describe("mobilenet_v2", 1.0, 96)


def anew(network: str, width: float, size: int = 96) -> Candidate:
    return Candidate("anew", network, width, size)


def offer(candidate: Candidate, ms: float) -> Measured:
    return Measured(candidate, FLOAT, ms, 1, 1)


def test_every_candidate_has_a_name_of_its_own_and_can_be_built() -> None:
    found = candidates(RUN)
    assert len({one.name for one in found}) == len(found)
    assert {one.how for one in found} == {"run", "cut", "pruned", "anew"}
    assert {one.network for one in found if one.how == "anew"} >= {"mobilenet_v1", "mobilenet_v3_small"}
    assert anew("mobilenet_v2", 1.0) not in found  # that is the run itself
    whole = RUN.plan(3).macs
    for one in found:
        if one.how in ("cut", "run") and one != found[0]:
            assert architecture_of(one, RUN, 3).plan(3).macs < whole
    assert architecture_of(anew("mobilenet_v1", 0.5, 64), RUN, 3).variant == "standard"  # as the run is


def test_a_network_of_ones_own_has_candidates_too() -> None:
    own = replace(RUN, variant="custom")
    assert anew("mobilenet_v2", 1.0) in candidates(own)
    assert architecture_of(anew("mobilenet_v3_small", 0.5), own, 3).name == "mobilenet_v3_small"


def test_a_taught_twin_has_another_name() -> None:
    one = Candidate("pruned", "mobilenet_v2", 1.0, 96, 0.7)
    assert (one.name, replace(one, taught=True).name) == ("run-96-pruned-70", "run-96-pruned-70-taught")
    assert anew("mobilenet_v2", 0.35).name == "v2-0.35-96"


@pytest.mark.parametrize(("size", "expected"), [(224, [224, 160, 96]), (32, [32]), (20, [20]), (64, [64, 40, 32])])
def test_sizes(size: int, expected: list[int]) -> None:
    assert sizes_below(size)[: len(expected)] == expected


@pytest.mark.parametrize(("channels", "share", "left"), [(96, 0.5, 48), (8, 0.5, 8), (100, 0.75, 72), (4, 0.5, 4)])
def test_channels_stay_in_eights(channels: int, share: float, left: int) -> None:
    assert kept(channels, share) == left


def test_a_cut_takes_the_least_worth_of_each_group() -> None:
    plan = RUN.plan(3)
    found = groups(RUN, plan)
    worth = {group.name: np.arange(float(group.channels)) for group in found}
    gone = least_of_each(found, worth, 0.5)
    for group in found:
        assert not gone[group.name][-1] and gone[group.name][0]
        assert int((~gone[group.name]).sum()) == kept(group.channels, 0.5)
    described = architecture_of(Candidate("cut", "mobilenet_v2", 1.0, 96, 0.5), RUN, 3)
    assert described.plan(3).macs < 0.7 * plan.macs


def test_all_families_get_a_turn_and_the_control_is_always_there() -> None:
    offers = [offer(anew("mobilenet_v1", width), 10 * width) for width in (1.0, 0.5, 0.25)]
    offers += [offer(anew("mobilenet_v2", width), 8 * width) for width in (0.75, 0.5)]
    offers.append(offer(Candidate("cut", "mobilenet_v2", 1.0, 96, 0.5), 5.0))
    control = anew("mobilenet_v2", 0.5)
    names = [one.name for one in shortlist(offers, 4, control, limited=True)]
    assert names == ["v2-0.5-96", "run-96-cut-50", "v1-1-96", "v2-0.75-96"]
    assert shortlist(offers, 1, control, limited=False) == [control]
    assert len(shortlist(offers, 100, control, limited=False)) == len(offers)


def test_without_a_limit_they_are_spread() -> None:
    offers = [anew("mobilenet_v1", width) for width in (1.0, 0.9, 0.8, 0.7, 0.6)]
    assert [one.width for one in spread(offers)[:3]] == [1.0, 0.6, 0.8]
    assert spread([]) == []


def test_the_control_is_the_plain_narrower_network() -> None:
    offers = [offer(anew("mobilenet_v2", 0.75), 7.0), offer(anew("mobilenet_v2", 0.5), 4.0)]
    offers += [offer(anew("mobilenet_v2", 1.0, 48), 4.1), offer(anew("mobilenet_v1", 0.5), 4.0)]
    assert control_of(offers, RUN, 4.2) == anew("mobilenet_v2", 0.5)
    assert control_of(offers[3:], RUN, 4.2) is None
    # Wider than a narrow run is not narrower.
    narrow = [*offers[:1], offer(anew("mobilenet_v2", 0.35, 48), 1.0)]
    assert control_of(narrow, replace(RUN, width=0.35), 4.2) == anew("mobilenet_v2", 0.35, 48)
    assert control_of(narrow[:1], replace(RUN, width=0.35), 4.2) is None
