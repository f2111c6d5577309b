"""The page draws what ``predict`` finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mobilenets

RECTS = """[...document.querySelectorAll('#boxes rect.box')].map((one) =>
  [one.dataset.label, ...['x', 'y', 'width', 'height'].map((side) => Number(one.getAttribute(side)))]).reverse()"""
PLACES = """(() => { const picture = document.querySelector('#picture');
  const inside = (one) => ["x", "y", "width", "height"].map((side) => one.getBoundingClientRect()[side]);
  return { natural: [picture.naturalWidth, picture.naturalHeight], picture: inside(picture),
    rects: [...document.querySelectorAll('#boxes rect.box')].map(inside).reverse() }; })()"""
ROWS = "[...document.querySelectorAll('#bars .words')].map((row) => [...row.children].map((cell) => cell.textContent))"
SHOWN = "!document.querySelector('#result').hidden && document.querySelector('#status').textContent === ''"


def expected(run: Path, picture: Path) -> list[dict[str, Any]]:
    [answer] = mobilenets.predict(run, picture)
    found: list[dict[str, Any]] = answer["detections"]
    return found


def drawn(found: list[dict[str, Any]]) -> list[list[Any]]:
    return [[one["label"], x0, y0, x1 - x0, y1 - y0] for one in found for x0, y0, x1, y1 in [one["box"]]]


def near(one: list[list[Any]], other: list[list[Any]], off: float) -> bool:
    return len(one) == len(other) and all(
        a[0] == b[0] and all(abs(x - y) <= off for x, y in zip(a[1:], b[1:], strict=True))
        for a, b in zip(one, other, strict=True)
    )


def test_the_boxes_of_predict_are_drawn(finder: Any, chromium: Any, tools: Any, tmp_path: Path) -> None:
    first, second = (finder.data / f"pictures/{name}.png" for name in ("002", "007"))
    with tools.serving(finder.run, tmp_path / "errors") as server:
        chromium.open(f"http://127.0.0.1:{server.port}/", 1280, 800)
        chromium.until("document.body.dataset.ready")
        if chromium.run("document.documentElement.lang") != "en":
            chromium.run("document.querySelector('#language').click()")
        chromium.choose("#files", first)
        chromium.until(SHOWN)
        found = expected(finder.run, first)
        assert len(found) > 1
        assert near(chromium.run(RECTS), drawn(found), 1e-3)
        assert chromium.run(ROWS) == [[one["label"], f"{100 * one['score']:.1f}\xa0%"] for one in found]
        names = [one["label"] for one in found]
        counts = {name: names.count(name) for name in dict.fromkeys(names)}
        said = ", ".join(name if number == 1 else f"{number} × {name}" for name, number in counts.items())
        assert chromium.run("document.querySelector('#best').textContent") == said
        # On the screen they lie where they are in the picture, which is fitted into its frame.
        seen = chromium.run(PLACES)
        (wide, high), (x, y, width, height) = seen["natural"], seen["picture"]
        scale = min(width / wide, height / high)
        left, upper = x + (width - scale * wide) / 2, y + (height - scale * high) / 2
        places = [[left + scale * a, upper + scale * b, scale * w, scale * h] for _, a, b, w, h in drawn(found)]
        for one, place in zip(seen["rects"], places, strict=True):
            assert all(abs(got - want) <= 4 for got, want in zip(one, place, strict=True)), (one, place)
        chromium.drop(second)
        chromium.until("document.querySelectorAll('#history li').length === 2")
        assert near(chromium.run(RECTS), drawn(expected(finder.run, second)), 1e-3)
        chromium.run("document.querySelectorAll('#history button')[1].click()")
        assert near(chromium.run(RECTS), drawn(found), 1e-3)
        # The history outlives a reload, when only the small copy is left.
        chromium.call("Page.reload")
        chromium.until("document.body?.dataset.ready && document.querySelectorAll('#history li').length === 2")
        chromium.run("document.querySelectorAll('#history button')[1].click()")
        assert near(chromium.run(RECTS), drawn(found), 1e-3)
        assert not chromium.run("document.querySelector('#boxes').hasAttribute('hidden')")


def test_predict_over_http(finder: Any, tools: Any, tmp_path: Path) -> None:
    picture = finder.data / "pictures/003.png"
    with tools.serving(finder.run, tmp_path / "errors") as server:
        reply = tools.ask(server.port, "POST", "/predict", *tools.form(("3.png", picture.read_bytes()), ("no", b"x")))
        one, other = reply.json
        assert (one["image"], one["detections"]) == ("3.png", expected(finder.run, picture))
        assert "error" in other
        best = tools.ask(server.port, "POST", "/predict?top=1", picture.read_bytes(), {"Content-Type": "image/png"})
        assert best.json[0]["detections"] == one["detections"][:1]
        about = tools.ask(server.port, "GET", "/model").json
        assert (about["classes"], about["threshold"], about["explains"]) == (["cat", "dog", "owl"], 0.5, False)
