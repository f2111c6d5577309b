from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mobilenets

SHOTS = os.environ.get("MOBILENETS_SHOTS")  # a folder to keep pictures of the page in


@pytest.fixture(scope="module")
def server(labelled: Path, tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with tools.serving(labelled, tmp_path_factory.mktemp("server") / "errors") as running:
        yield running


def read(page: Any) -> tuple[str, str, list[list[str]]]:
    """Return the best class, the bin and the bars, as they stand on the page."""
    bars = (
        "[...document.querySelectorAll('#bars .words')].map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return (
        page.run("document.querySelector('#best').textContent"),
        page.run("document.querySelector('#bin').textContent"),
        page.run(bars),
    )


def expected(model: Path, picture: Path, language: str) -> tuple[str, str, list[list[str]]]:
    [answer] = mobilenets.predict(model, picture, language=language)
    bars = [[one["name"], f"{100 * one['probability']:.1f}\xa0%"] for one in answer["predictions"]]
    return bars[0][0], answer["groups"][0]["name"], bars


SHOWN = "!document.querySelector('#result').hidden && document.querySelector('#status').textContent === ''"


@pytest.mark.parametrize(("width", "height", "phone"), [(1280, 800, False), (390, 844, True)])
def test_choose_drop_and_paste(
    server: Any, labelled: Path, trained: Any, chromium: Any, tools: Any, width: int, height: int, phone: bool
) -> None:
    page = chromium
    page.open(f"http://127.0.0.1:{server.port}/", width, height, phone)
    page.until("document.body.dataset.ready")
    if page.run("document.documentElement.lang") != "en":
        page.run("document.querySelector('#language').click()")
    assert page.run("document.querySelector('h1').textContent") == "What is on the picture?"
    assert page.run("getComputedStyle(document.querySelector('#photograph')).display !== 'none'") is phone

    cat, dog, owl = (trained.data / kind / "001.png" for kind in ("cat", "dog", "owl"))
    page.choose("#files", cat)
    page.until(SHOWN)
    assert read(page) == expected(labelled, cat, "en")
    assert page.run("getComputedStyle(document.querySelector('.chip')).backgroundColor") == "rgb(138, 75, 8)"

    page.drop(owl)
    page.until("document.querySelectorAll('#history li').length === 2")
    assert read(page) == expected(labelled, owl, "en")
    assert page.run("getComputedStyle(document.querySelector('.chip')).backgroundColor") == "rgb(27, 111, 181)"

    # A paste holds a file of the clipboard.
    page.run(
        "(async () => { const bytes = Uint8Array.from(atob('" + _base64(dog) + "'), (c) => c.charCodeAt(0));"
        "const data = new DataTransfer(); data.items.add(new File([bytes], 'pasted.png', { type: 'image/png' }));"
        "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true })); })()"
    )
    page.until("document.querySelectorAll('#history li').length === 3")
    assert read(page) == expected(labelled, dog, "en")
    # Back to the first, by the history.
    page.run("document.querySelectorAll('#history button')[2].click()")
    assert read(page) == expected(labelled, cat, "en")

    page.run("document.querySelector('#language').click()")
    assert read(page) == expected(labelled, cat, "zh")
    assert page.run("document.querySelector('h1').textContent") == "图片里是什么？"
    _keep(page, f"zh-{width}.png")
    # The language and the history last over a reload.
    page.call("Page.reload")
    page.until("document.body?.dataset.ready && document.documentElement.lang === 'zh-CN'")
    assert page.run("document.querySelectorAll('#history li').length") == 3
    page.run("document.querySelectorAll('#history button')[2].click()")
    assert read(page) == expected(labelled, cat, "zh")

    wide = page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0  # nothing hangs over the edge
    own = f"http://127.0.0.1:{server.port}/"
    assert all(url.startswith((own, "data:", f"blob:{own}", "about:")) for url in page.requested)


def test_what_is_no_picture(server: Any, chromium: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("words")
    chromium.open(f"http://127.0.0.1:{server.port}/", 800, 600)
    chromium.until("document.body.dataset.ready")
    chromium.choose("#files", tmp_path / "notes.png")
    chromium.until("document.querySelector('#status').className === 'bad'")
    assert chromium.run("document.querySelector('#status').textContent").startswith("no picture that can be read")
    assert chromium.run("document.querySelector('#result').hidden")
    # A name is shown as it is, and never as markup.
    assert chromium.run("document.querySelectorAll('#history li').length") == 1


def test_not_sure_and_explanation(running: Callable[..., Any], tools: Any, chromium: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(tools.png("red"))
    with running(labels=tools.LABELS, threshold=1.0, explain=lambda picture: tools.png("blue", 40)) as server:
        chromium.open(f"http://127.0.0.1:{server.port}/", 800, 600)
        chromium.until("document.body.dataset.ready")
        chromium.choose("#files", tmp_path / "a.png")
        chromium.until(SHOWN)
        assert chromium.run("!document.querySelector('#unsure').hidden")
        width = "document.querySelector('#picture').naturalWidth"
        chromium.until(f"{width} === 20")
        chromium.run("document.querySelector('#explain').click()")
        chromium.until(f"{width} === 40")
        chromium.run("document.querySelector('#explain').click()")
        chromium.until(f"{width} === 20")


def test_token(running: Callable[..., Any], tools: Any, chromium: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(tools.png("red"))
    enter = "document.querySelector('#token').value = '{}'; document.querySelector('#ask form button').click()"
    with running(token="sesame") as server:
        chromium.open(f"http://127.0.0.1:{server.port}/", 800, 600)
        chromium.until("document.querySelector('#ask').open")
        _keep(chromium, "token.png")
        chromium.run(enter.format("wrong"))
        chromium.until("document.querySelector('#ask').open")
        chromium.run(enter.format("sesame"))
        chromium.until("document.body.dataset.ready")
        chromium.choose("#files", tmp_path / "a.png")
        chromium.until(SHOWN)
        assert chromium.run("document.querySelector('#best').textContent") == "can"
        assert chromium.run("Object.values(localStorage).includes('sesame')") is False


def test_docs(server: Any, chromium: Any) -> None:
    chromium.open(f"http://127.0.0.1:{server.port}/docs", 800, 600)
    chromium.until("document.body.dataset.ready")
    text = chromium.run("document.body.innerText")
    for words in (
        "POST /predict",
        "GET /metrics",
        "?top=",
        "so many classes a picture (integer, 5 unless given)",
        "503",
    ):
        assert words in text, text
    _keep(chromium, "docs.png")


def _base64(file: Path) -> str:
    import base64

    return base64.b64encode(file.read_bytes()).decode()


def _keep(page: Any, name: str) -> None:
    if SHOTS:
        page.shot(Path(SHOTS) / name)
