"""The preprocessing as JSON: what is written is read back exactly, and nothing half understood."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import INTERPOLATIONS, RESIZES, Preprocessing

finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
contracts = st.builds(
    Preprocessing,
    st.integers(1, 4096),
    st.sampled_from(RESIZES),
    st.floats(0.01, 1),
    st.sampled_from(sorted(INTERPOLATIONS)),
    st.tuples(finite, finite, finite),
    st.tuples(positive, positive, positive),
    positive,
    fill=st.tuples(*[st.integers(0, 255)] * 3),
)


@given(contracts)
def test_json_round_trip_is_exact(contract: Preprocessing) -> None:
    text = json.dumps(contract.to_json(), allow_nan=False)
    read = Preprocessing.from_json(json.loads(text))
    assert read == contract
    assert hash(read) == hash(contract)
    assert json.dumps(read.to_json()) == text


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": 4097},
        {"size": 224.0},
        {"size": True},
        {"size": "224"},
        {"size": None},
        {"resize": "Crop"},
        {"resize": 3},
        {"resize": ["crop"]},
        {"crop_fraction": 0},
        {"crop_fraction": 1.0001},
        {"crop_fraction": math.nan},
        {"crop_fraction": "1"},
        {"interpolation": "cubic"},
        {"mean": [0.5, 0.5]},
        {"mean": "abc"},
        {"mean": [0.5, 0.5, math.inf]},
        {"mean": [0.5, 0.5, True]},
        {"mean": [0, 0, 10**400]},
        {"mean": 0.5},
        {"mean": [1e39, 0, 0]},
        {"std": [0.5, 0, 0.5]},
        {"std": [0.5, -1, 0.5]},
        {"std": [1e-300, 1, 1]},
        {"scale": 0},
        {"scale": -1},
        {"scale": math.inf},
        {"scale": None},
        {"color": "BGR"},
        {"orientation": "none"},
        {"fill": [0, 0, 256]},
        {"fill": [0, 0, 0.5]},
        {"fill": [0, 0]},
        {"gamma": 2.2},
    ],
)
def test_malformed_contracts_are_refused_in_one_line(change: dict[str, object]) -> None:
    value = Preprocessing(224).to_json() | change
    with pytest.raises(InputError) as caught:
        Preprocessing.from_json(value)
    assert "\n" not in str(caught.value)
    assert next(iter(change)) in str(caught.value) or "float32" in str(caught.value)


@pytest.mark.parametrize("key", sorted(Preprocessing(1).to_json()))
def test_incomplete_contracts_are_refused(key: str) -> None:
    value = Preprocessing(224).to_json()
    del value[key]
    with pytest.raises(InputError, match=f"lacks {key}"):
        Preprocessing.from_json(value)


@pytest.mark.parametrize("value", [None, [], "crop", 3, {1: 2}])
def test_what_is_no_contract_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        Preprocessing.from_json(value)


def test_a_key_with_a_line_end_is_named_in_one_line() -> None:
    with pytest.raises(InputError) as refused:
        Preprocessing.from_json(Preprocessing(8).to_json() | {"mea\n": 1})
    assert str(refused.value).endswith(r"does not know: mea\n")
