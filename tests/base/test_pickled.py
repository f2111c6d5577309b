"""The machine itself; what CIFAR's and PyTorch's files make of it is tested beside their readers."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest

from mobilenets.base.pickled import Machine, Name, NotPlainError, Object


def run(content: bytes) -> Any:
    return Machine(1000).run(io.BytesIO(content))


VALUE = {"a": [1, -2, 1 << 70, 0.5, None, True, "ä\n"], "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), 7: {}}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_data(protocol: int) -> None:
    assert run(pickle.dumps(VALUE, protocol)) == VALUE


def test_names_and_calls_stay_what_the_file_says() -> None:
    assert type(run(b"cos\nsystem\n.")) is Name
    assert run(b"c\\h\n\\y\n.").name == "\\h \\y"  # an odd escape, of which Python would warn
    calls = (
        b"cos\nsystem\n(S'touch ran'\ntR.",
        b"cos\nsystem\n(S'touch ran'\nt\x81.",
        b"(S'touch ran'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch ran'\no.",
    )
    for content in calls:
        made = run(content)
        assert type(made) is Object
        assert (made.name, made.arguments) == ("os system", ("touch ran",))
    built = run(b"cos\nsystem\n)R}S'a'\nK\x01sb.")
    assert built.state == {"a": 1}


def test_what_is_no_data_is_refused() -> None:
    for content, reason in [
        (b"K\x01Q.", "damaged or not"),
        (b"\x82\x01.", "does more than hold data"),
        (b"Pname\n.", "does more than hold data"),
        (b"cos\nsystem\n]R.", "damaged or not"),
    ]:
        with pytest.raises(NotPlainError, match=reason):
            run(content)
    assert run(b"}N" + b"\x85" * 50 + b"Ns.") == {}  # hashing nested tuples can take for ever


def test_the_limit_of_steps_is_one_for_all_pickles_of_a_machine() -> None:
    machine = Machine(20)
    file = io.BytesIO(pickle.dumps([1] * 3, 2) * 3)
    assert machine.run(file) == machine.run(file) == [1, 1, 1]
    with pytest.raises(NotPlainError, match="more than 20 steps"):
        machine.run(file)
