"""The plan says what the network does: names, shapes, padding and costs, for kinds that no catalogue has too."""

from __future__ import annotations

import sys
from dataclasses import make_dataclass
from subprocess import run
from typing import Any

import pytest

from mobilenets.errors import InputError
from mobilenets.models import rows
from mobilenets.models.architecture import Architecture, table_from_json
from mobilenets.models.builder import Builder
from mobilenets.models.catalog import describe
from mobilenets.models.operations import Value
from mobilenets.models.rows import Inverted, PooledHead
from mobilenets.models.tables import Table


def test_activations_by_the_table_and_by_the_row() -> None:
    table = Table((rows.Conv(8), rows.Conv(8, activation="hard_swish"), Inverted(8)), PooledHead(), activation="relu")
    plan = Architecture("own", 1.0, 32, "custom", table).plan()
    assert [part.activation for part in plan.convolutions] == ["relu", "hard_swish", "relu", "relu", "none"]
    assert [part.activation for part in describe("mobilenet_v1").plan().convolutions] == ["relu6"] * 27


def test_expansions_may_be_fractions_or_channels() -> None:
    table = Table((rows.Conv(16), Inverted(24, expand=5.33), Inverted(40, expanded=72)), PooledHead())
    blocks = Architecture("own", 0.5, 32, "custom", table).plan().blocks
    wide = [[part.output_shape[0] for part in block.operations[:2]] for block in blocks[1:]]
    # 8 × 5.33 is 42.64, rounded to 40; 72 / 2 is 36, rounded to 40 as channels are.
    assert wide == [[40, 40], [40, 40]]
    assert [block.expansion for block in blocks] == [None, 5.0, 2.5]


def test_models_written_before_are_read() -> None:
    written = describe("mobilenet_v2", 0.5).to_json()
    del written["table"]["activation"]
    for row in written["table"]["body"]:
        row.pop("squeeze", None)
    assert written["table"]["body"][1] == {
        "kind": "inverted", "channels": 16, "kernel": 3, "stride": 1, "expand": 1, "always_expand": False,
    }  # fmt: skip
    assert Architecture.from_json(written) == describe("mobilenet_v2", 0.5)


def test_what_does_not_fit_is_refused() -> None:
    plan = Builder("block", describe("mobilenet_v2").style)
    x = Value("x", (8, 16, 16))
    y = plan.conv("a", x, 4)
    for wrong in (
        lambda: plan.add(x, y),
        lambda: plan.scale(x, y, "gate"),
        lambda: plan.conv("a", x, 4),
        lambda: plan.conv("b", x, 4, activation="swish"),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_planning_needs_no_torch() -> None:
    script = (
        "import sys; from mobilenets.models.catalog import describe; describe('mobilenet_v2').plan(10); "
        "assert 'torch' not in sys.modules"
    )
    run([sys.executable, "-c", script], check=True)


def test_fields_of_a_row_are_checked_by_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a module that has not postponed its annotations, such as a notebook.
    settings: list[Any] = [("channels", int), ("share", float, 0.5), ("after", str | None, None)]
    made = make_dataclass(
        "Plain", settings, bases=(rows.Row,), namespace={"kind": "plain", "title": "plain"}, frozen=True
    )
    monkeypatch.setitem(rows.ROWS, "plain", made)
    row = {"kind": "plain", "channels": 8, "share": 2.5, "after": "relu"}
    assert table_from_json({"body": [row]}).body == (made(8, 2.5, "relu"),)
    for wrong in ({"channels": 2.5}, {"share": -1}, {"share": "half"}, {"after": "door"}, {"after": 3}):
        with pytest.raises(InputError, match="is not usable"):
            table_from_json({"body": [row | wrong]})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"squeeze": True}, "squeeze True is not usable; give a number from 0 to below 1"),
        ({"activation": "swish"}, "activation 'swish' is not usable; give relu6 or relu or hard_swish"),
        ({"kernel": 4}, "kernel 4 is not usable; give an odd whole number"),
        ({"always_expand": 1}, "always_expand 1 is not usable; give true or false"),
        ({"expand": 0}, "expand 0 is not usable; give a number above 0 and up to 64"),
    ],
)
def test_a_wrong_value_is_answered_with_what_fits(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        table_from_json({"body": [{"kind": "inverted", "channels": 8} | wrong]})


def test_a_misspelt_key_of_a_table_is_refused() -> None:
    with pytest.raises(InputError, match="there is no 'paddding'; a table has body, head"):
        table_from_json({"body": [{"kind": "conv", "channels": 8}], "paddding": "same"})
