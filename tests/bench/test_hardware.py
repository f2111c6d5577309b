from __future__ import annotations

import pytest
import torch

from mobilenets.bench import hardware


def test_the_cores_are_those_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: 1234)
    found = hardware.hardware(torch.device("cpu"))
    assert (found["cores"], found["device"], found["threads"]) == (1234, "cpu", torch.get_num_threads())
