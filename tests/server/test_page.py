from __future__ import annotations

import http.client
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest

import mobilenets
from mobilenets.server.limits import Code

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


class Proxy(http.server.BaseHTTPRequestHandler):
    """Maps what lies below /ml/ to a server, as nginx's `location /ml/ { proxy_pass http://…/; }` does."""

    port: int

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not self.path.startswith("/ml/"):
            self.send_error(404)
            return
        kept = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as behind:
            behind.request(self.command, self.path.removeprefix("/ml"), body, kept)
            answer = behind.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def proxied(server: Any) -> Iterator[str]:
    handler = type("Handler", (Proxy,), {"port": server.port})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}/ml/"
        proxy.shutdown()


def test_below_a_path_of_a_proxy(proxied: str, labelled: Path, trained: Any, chromium: Any) -> None:
    page = chromium
    page.open(proxied, 1280, 800)
    page.until("document.body.dataset.ready")
    cat = trained.data / "cat/001.png"
    page.choose("#files", cat)
    page.until(SHOWN)
    language = page.run("document.documentElement.lang")
    assert read(page) == expected(labelled, cat, language)
    page.run("document.querySelector('#explain').click()")
    page.until("document.querySelector('#explain').ariaPressed === 'true'")
    page.run("document.querySelector('#docs').click()")
    page.until("document.querySelectorAll('main pre').length")
    assert f"{proxied}predict?top=3" in page.run("document.querySelector('main pre').textContent")
    assert page.run("[...document.querySelectorAll('header a')].map((link) => link.href)") == [
        f"{proxied}openapi.json",
        proxied,
    ]
    assert all(url.startswith((proxied, "blob:", "data:")) for url in page.requested if url != "about:blank")


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
    assert page.run("document.querySelector('h1').textContent") == "What is in the picture?"
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


PROBLEMS = {
    "not_a_picture": ("This is not a readable picture", "这不是可识别的图片"),
    "empty": ("The file is empty.", "文件是空的。"),
    "damaged": ("The picture is damaged.", "图片已损坏。"),
    "too_many_pixels": ("The picture is too large: at most 0.01 million", "最多 1 万像素"),
    "body_too_large": ("The file is too large: at most 1 MiB.", "最多 1 MiB"),
    "late": ("The server was too busy to answer in time.", "服务器太忙"),
    "lost": ("The server does not answer.", "服务器没有响应"),
    "unheard_of": ("a new reason", "a new reason"),
}
STATUS = "document.querySelector('#status')"
SWITCH = "document.querySelector('#language').click()"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_goes_wrong(running: Callable[..., Any], tools: Any, chromium: Any, tmp_path: Path, language: str) -> None:
    """Each reason is said in the page's language, and in the other one once that is chosen."""
    first, other = (0, 1) if language == "en" else (1, 0)

    def said(code: str) -> None:
        chromium.until(f"{STATUS}.className === 'bad'")
        # What has no answer from the server is not kept in the history.
        kept = code not in ("body_too_large", "lost")
        assert chromium.run("document.querySelectorAll('#history li').length") == kept
        for place in (first, other):
            assert PROBLEMS[code][place] in chromium.run(f"{STATUS}.textContent"), code
            if kept:
                assert PROBLEMS[code][place] in chromium.run("document.querySelector('#history .wrong').textContent")
            chromium.run(SWITCH)
        _keep(chromium, f"{code}-{language}.png")
        chromium.run("document.querySelector('#forget').click()")
        assert chromium.run(f"{STATUS}.className") == ""

    with running(pixels=10_000, body_bytes=1 << 20, answer=2.0) as server:
        chromium.open(f"http://127.0.0.1:{server.port}/", 390, 844, True)
        chromium.until("document.body.dataset.ready")
        if chromium.run("document.documentElement.lang")[:2] != language:
            chromium.run(SWITCH)
        for code, data in (
            ("not_a_picture", b"words"),
            ("empty", b""),
            ("damaged", tools.png("red", 90)[:-30]),
            ("too_many_pixels", tools.png("red", 101)),
            ("body_too_large", bytes(1 << 20)),
        ):
            (tmp_path / code).write_bytes(data)
            chromium.choose("#files", tmp_path / code)
            said(code)
        (tmp_path / "a.png").write_bytes(tools.png())
        server.engine.gate.clear()
        chromium.choose("#files", tmp_path / "a.png")
        said("late")
        server.engine.gate.set()
        chromium.run(
            "window.real = fetch; window.fetch = async () =>"
            ' new Response(\'{"error": "a new reason", "code": "unheard_of"}\', { status: 422 }); 0'
        )
        chromium.choose("#files", tmp_path / "a.png")
        said("unheard_of")
        chromium.run("window.fetch = window.real; 0")
    chromium.choose("#files", tmp_path / "a.png")
    said("lost")


def test_the_page_has_words_for_every_code(chromium: Any, running: Callable[..., Any]) -> None:
    with running() as server:
        chromium.open(f"http://127.0.0.1:{server.port}/", 800, 600)
        english, chinese = chromium.run(
            "import('/page/words.js').then(({ PROBLEMS }) => [Object.keys(PROBLEMS.en), Object.keys(PROBLEMS.zh)])"
        )
    assert sorted(english) == sorted(chinese)
    ours = {"lost", "unreadable"}
    # What a page that asks as it should does not come upon.
    others = {
        *(
            "hung_up",
            "no_token",
            "other_site",
            "unknown_host",
            "not_found",
            "wrong_method",
            "too_many_pictures",
            "too_many_fields",
        ),
        *("no_picture", "wrong_parameter", "unknown_language", "broken_form"),
    }
    assert {*english} - ours == {*get_args(Code)} - others


def test_several_at_once_and_a_folder(server: Any, chromium: Any, trained: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("words")
    chromium.open(f"http://127.0.0.1:{server.port}/", 800, 600)
    chromium.until("document.body.dataset.ready")
    cat, owl = (trained.data / kind / "001.png" for kind in ("cat", "owl"))
    # The bad one in the middle is said, and takes neither of the others with it.
    chromium.choose("#files", cat, tmp_path / "notes.png", owl)
    chromium.until(f"{STATUS}.className === 'bad'")
    assert chromium.run("document.querySelectorAll('#history li').length") == 3
    assert chromium.run("document.querySelectorAll('#history .wrong').length") == 1
    assert chromium.run("document.querySelector('#picture').alt") == owl.name
    chromium.drop(tmp_path)
    chromium.until(f"{STATUS}.textContent.startsWith('This file cannot be opened')")


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
        assert not chromium.run("document.querySelector('#wrong').checkVisibility()")
        _keep(chromium, "token.png")
        chromium.run(enter.format("wrong"))
        chromium.until("document.querySelector('#ask').open")
        assert chromium.run("document.querySelector('#wrong').checkVisibility()")
        _keep(chromium, "wrong-token.png")
        chromium.run(enter.format("sesame"))
        chromium.until("document.body.dataset.ready")
        chromium.choose("#files", tmp_path / "a.png")
        chromium.until(SHOWN)
        assert chromium.run("document.querySelector('#best').textContent") == "can"
        assert chromium.run("Object.values(localStorage).includes('sesame')") is False


NOTHING_KEPT = """for (const storage of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, storage, { get() { throw new DOMException("denied", "SecurityError"); } });"""


def test_a_browser_that_keeps_nothing(running: Callable[..., Any], tools: Any, chromium: Any, tmp_path: Path) -> None:
    """As with all cookies blocked, or in a frame of another site."""
    (tmp_path / "a.png").write_bytes(tools.png("red"))
    chromium.call("Page.addScriptToEvaluateOnNewDocument", source=NOTHING_KEPT)
    with running(token="sesame") as server:
        chromium.open(f"http://127.0.0.1:{server.port}/", 800, 600)
        chromium.until("document.querySelector('#ask').open")
        chromium.run(
            "document.querySelector('#token').value = 'sesame'; document.querySelector('#ask form button').click()"
        )
        chromium.until("document.body.dataset.ready")
        chromium.choose("#files", tmp_path / "a.png")
        chromium.until(SHOWN)
        chromium.run(SWITCH)
        assert chromium.run("document.querySelectorAll('#history li').length") == 1


def test_docs(server: Any, chromium: Any) -> None:
    chromium.open(f"http://127.0.0.1:{server.port}/docs", 800, 600)
    chromium.until("document.body.dataset.ready")
    text = chromium.run("document.body.innerText")
    for words in (
        "POST /predict",
        "GET /metrics",
        "?top=",
        "number of classes to list per picture (5), or of boxes (all) (integer)",
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
