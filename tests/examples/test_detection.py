"""The example that puts stamps on photographs: exact boxes, and halves that share nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/detection/draw.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``draw.py`` as a module, with stamps and backgrounds that stand in for Debian's."""
    spec = importlib.util.spec_from_file_location("draw_detection", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    rng = np.random.default_rng(0)
    for name in ("a_640x480", "a_1280x960", "b-l", "b-d", "c", "d", "e", "desktop/logo"):
        path = tmp_path / f"grounds/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).resize((640, 480)).save(path)
    for words in module.KINDS.values():
        for word in words.split():
            for n in range(2):
                stamp = (
                    tmp_path
                    / "stamps"
                    / word.lstrip("-").replace("[bs]*", "*").replace("*", f"{n}x").removesuffix(".png")
                )
                stamp.parent.mkdir(parents=True, exist_ok=True)
                image = Image.new("RGBA", (60, 40))
                ImageDraw.Draw(image).ellipse((5, 5, 50, 30), fill=(200, 30, 30))
                for suffix in ("", "_mirror"):
                    image.save(stamp.with_name(f"{stamp.name}{suffix}.png"))
    for name in ("beetle", "sedan"):
        image.save(tmp_path / f"stamps/vehicles/auto/{name}.png")
    monkeypatch.setattr(module, "GROUNDS", (tmp_path / "grounds",))
    return module


def test_halves_share_no_stamp_and_no_background(script: ModuleType, tmp_path: Path) -> None:
    halves = script.shelves(tmp_path / "stamps", script.GROUNDS)
    names = {half: {path.name for path in shelf.grounds} for half, shelf in halves.items()}
    assert len(names["train"] | names["validation"]) == 5 and not names["train"] & names["validation"]
    for kind in script.CLASSES:
        train, validation = (set(halves[half].stamps[kind]) for half in script.HALVES)
        assert train and validation and not train & validation, kind
        assert not [path for path in train | validation if "_mirror" in path.name]


def test_a_picture_is_the_same_for_a_seed_and_its_boxes_lie_inside(script: ModuleType, tmp_path: Path) -> None:
    shelf = script.shelves(tmp_path / "stamps", script.GROUNDS)["train"]
    drawn = [script.draw(shelf, 1, number) for number in range(6)]
    assert script.draw(shelf, 1, 2)[0].tobytes() == drawn[2][0].tobytes()
    assert sum(len(boxes) for _, boxes in drawn) > 6
    for picture, boxes in drawn:
        assert picture.size in (script.SIDES, script.SIDES[::-1])
        assert (boxes.corners[:, :2] >= 0).all() and (boxes.corners[:, 2:] <= picture.size).all()


def test_what_is_missing_is_said_with_the_line_to_type(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["draw.py", str(tmp_path / "out"), "--stamps", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="apt-get install tuxpaint-stamps-default"):
        script.main()
    assert not (tmp_path / "out").exists()
