from __future__ import annotations

import importlib.util
from typing import Any

import pytest

import mobilenets
from mobilenets.verbs import serve


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("studio", "http://studio:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fd00::5", "http://[fd00::5]:80"),
    ],
)
def test_the_address_that_is_said_can_be_opened(host: str, url: str) -> None:
    assert serve._url(host, 80) == url


def test_explanations_need_matplotlib(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = mobilenets.Predictor(trained.run)
    picture = (trained.data / "owl/000.png").read_bytes()
    draw = serve._explainer(predictor)
    assert draw is not None and draw(picture).startswith(b"\x89PNG")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    assert serve._explainer(predictor) is None
