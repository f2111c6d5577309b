from __future__ import annotations

import importlib.util
from typing import Any

import pytest

import mobilenets
from mobilenets.verbs import serve


def test_explanations_need_matplotlib(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = mobilenets.Predictor(trained.run)
    picture = (trained.data / "owl/000.png").read_bytes()
    draw = serve._explainer(predictor)
    assert draw is not None and draw(picture).startswith(b"\x89PNG")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    assert serve._explainer(predictor) is None
