"""The machine itself; what CIFAR's and PyTorch's files make of it is tested beside their readers."""

from __future__ import annotations

import io
import pickle
from typing import ClassVar

import pytest

from mobilenets.base.pickled import Machine, NotPlainError


class Plain(Machine):
    names: ClassVar = {"collections OrderedDict": "ordered"}
    purpose: ClassVar = "which this test does not"


def run(content: bytes) -> object:
    return Plain(1000).run(io.BytesIO(content))


VALUE = {"a": [1, -2, 1 << 70, 0.5, None, True, "ä\n"], "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), 7: {}}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_data(protocol: int) -> None:
    assert run(pickle.dumps(VALUE, protocol)) == VALUE


def test_names_calls_states_and_persistent_ids_are_refused_unless_a_purpose_needs_them() -> None:
    assert run(b"ccollections\nOrderedDict\n.") == "ordered"
    for content, reason in [
        (b"cos\nsystem\n.", "asks for 'os system', which this test does not"),
        (b"ccollections\nOrderedDict\n)R.", "damaged or not"),
        (b"}}b.", "damaged or not"),
        (b"K\x01Q.", "damaged or not"),
        (b"ccollections\nOrderedDict\n)\x81.", "does more than hold data"),
        (b"c\\h\n\\y\n.", "asks for"),  # an odd escape, of which Python would warn
    ]:
        with pytest.raises(NotPlainError, match=reason):
            run(content)


def test_the_limit_of_steps_is_one_for_all_pickles_of_a_machine() -> None:
    machine = Plain(20)
    file = io.BytesIO(pickle.dumps([1] * 3, 2) * 3)
    assert machine.run(file) == machine.run(file) == [1, 1, 1]
    with pytest.raises(NotPlainError, match="more than 20 steps"):
        machine.run(file)
