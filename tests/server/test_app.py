from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest

from mobilenets.server.app import FILES
from mobilenets.server.limits import Code

Run = Callable[..., Any]


def test_a_picture_as_the_body_or_in_a_form(running: Run, tools: Any) -> None:
    with running() as server:
        picture = tools.png("red")
        expected = server.predictor.answers([server.predictor.prepare(picture)], 5)[0]
        raw = server.post("/predict", picture)
        assert raw.status == 200
        assert raw.json == [{"image": "picture 1", **expected}]
        assert server.send(("a.png", picture)).json == [{"image": "a.png", **expected}]
        assert raw.headers["cache-control"] == "no-store"


def test_several_pictures_some_of_them_bad(running: Run, tools: Any) -> None:
    with running() as server:
        answer = server.send(("a.png", tools.png("red")), ("b.txt", b"words"), ("c.png", tools.png("blue"))).json
    assert [one["image"] for one in answer] == ["a.png", "b.txt", "c.png"]
    assert answer[0]["predictions"][0]["label"] == "can"
    assert answer[2]["predictions"][0]["label"] == "bottle"
    assert answer[1]["error"].startswith("not a picture but text") and "predictions" not in answer[1]
    assert answer[1]["code"] == "not_a_picture"


def test_top_and_language(running: Run, tools: Any) -> None:
    with running(labels=tools.LABELS, threshold=1.0) as server:
        answer = server.post("/predict?top=2&language=zh", tools.png("red")).json[0]
        plain = server.post("/predict", tools.png("red")).json[0]
        prepared = [server.predictor.prepare(tools.png("red"))]
        assert answer == {"image": "picture 1", **server.predictor.answers(prepared, 2, "zh")[0]}
        assert plain == {"image": "picture 1", **server.predictor.answers(prepared, 5)[0]}
        assert [entry["name"] for entry in answer["groups"]] == ["可回收物", "湿垃圾"]
        assert answer["sure"] is False
        refused = server.post("/predict?language=fr", tools.png())
        assert refused.status == 422 and refused.json["error"] == "language 'fr': there is en, zh"
        assert refused.json["code"] == "unknown_language"
        for wrong in ("top=0", "top=x", "top=10001"):
            refused = server.post(f"/predict?{wrong}", tools.png())
            assert refused.status == 422 and refused.json["error"].startswith("top: ")
            assert refused.json["code"] == "wrong_parameter"


def test_names_of_files(running: Run, tools: Any) -> None:
    with running() as server:
        names = ["C:\\photos\\a.png", "../../b.png", "瓶.png", "", "x" * 500]
        answer = server.send(*((name, tools.png()) for name in names)).json
    assert [one["image"] for one in answer] == ["a.png", "b.png", "瓶.png", "picture 4", "x" * 200]


def test_pictures_of_several_requests_go_together(running: Run, tools: Any) -> None:
    colors = ["red", "lime", "blue"] * 10
    with running() as server, ThreadPoolExecutor(1 + len(colors)) as pool:
        server.engine.gate.clear()
        server.engine.batches.clear()
        first = pool.submit(server.post, "/predict", tools.png("red"))
        tools.wait_until(lambda: server.engine.batches == [1])
        asked = [pool.submit(server.post, "/predict", tools.png(color)) for color in colors]
        tools.wait_until(lambda: server.metric("mobilenets_pictures_waiting") == 31)
        server.engine.gate.set()
        labels = [one.result().json[0]["predictions"][0]["label"] for one in asked]
        assert first.result().status == 200
        assert server.engine.batches == [1, 16, 14]
        assert server.metric("mobilenets_batch_pictures_count") == 4  # with the one to warm up
        assert server.metric("mobilenets_pictures_waiting") == 0
    assert labels == [{"red": "can", "lime": "peel", "blue": "bottle"}[color] for color in colors]


def test_ready_only_when_the_model_has_answered(running: Run, tools: Any) -> None:
    with running(closed=True) as server:
        assert server.get("/health").json == {"status": "ok"}
        early = server.get("/ready")
        assert early.status == 503 and early.headers["retry-after"] == "1"
        assert early.json == {"error": "the model has not answered yet", "code": "not_ready"}
        server.engine.gate.set()
        tools.wait_until(lambda: server.get("/ready").status == 200)


def test_a_fault_of_the_engine_is_not_the_end(running: Run, tools: Any, caplog: pytest.LogCaptureFixture) -> None:
    with running() as server:
        server.engine.fault = ValueError("wrong")
        answer = server.post("/predict", tools.png())
        assert answer.status == 500 and answer.json["code"] == "fault" and "wrong" not in answer.json["error"]
        server.engine.fault = None
        assert server.post("/predict", tools.png()).status == 200
        assert server.metric('mobilenets_requests_total{path="/predict",status="500"}') == 1
        assert server.metric("mobilenets_pictures_waiting") == 0


def test_model(running: Run, tools: Any) -> None:
    with running(labels=tools.LABELS, threshold=0.5, pictures=3) as server:
        about = server.get("/model").json
    assert about["name"] == "bins" and about["classes"] == ["can", "peel", "bottle"] and about["size"] == 8
    assert about["labels"] == tools.LABELS.to_json() and about["languages"] == ["en", "zh"]
    assert about["threshold"] == 0.5 and about["explains"] is False
    assert about["limits"]["pictures"] == 3


def test_explain(running: Run, tools: Any) -> None:
    drawn = []

    def explain(picture: bytes) -> bytes:
        from mobilenets.pictures.decode import decode

        decode(picture)
        drawn.append(threading.current_thread().name)
        return b"PNG of " + picture

    with running(explain=explain, pixels=1000) as server:
        assert server.get("/model").json["explains"] is True
        answer = server.send(("a.png", tools.png()), path="/explain")
        assert answer.status == 200 and answer.headers["content-type"] == "image/png"
        assert answer.body == b"PNG of " + tools.png()
        assert drawn == ["engine_0"]  # never beside a run of the engine
        assert server.post("/explain", b"words").status == 422
        assert server.post("/explain", tools.png(side=40)).status == 413
        assert server.send(("a.png", tools.png()), ("b.png", tools.png()), path="/explain").status == 413
    with running() as server:
        assert server.post("/explain", tools.png()).status == 404


def test_metrics_are_prometheus_text(running: Run, tools: Any) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with running() as server:
        server.send(("a.png", tools.png()), ("b.png", b"no"))
        server.get("/nowhere/1")
        server.get("/nowhere/2")
        answer = server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }
    assert found["mobilenets_requests_total", "/predict", "200"] == 1
    assert found["mobilenets_requests_total", "other", "404"] == 2
    assert found["mobilenets_pictures_total", "answered"] == found["mobilenets_pictures_total", "unreadable"] == 1
    assert found["mobilenets_request_seconds_count", "/predict"] == 1
    assert found["process_resident_memory_bytes",] > 1e6


def test_pages_load_nothing_from_elsewhere(running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # As the registry of Windows often has it; a script that is no script is not run.
    monkeypatch.setattr("starlette.responses.guess_type", lambda *_: ("text/plain", None))
    kinds = {".js": "text/javascript", ".css": "text/css"}
    with running() as server:
        for path in FILES:
            answer = server.get(path)
            assert answer.status == 200, path
            assert answer.headers["content-type"].startswith(kinds.get(Path(path).suffix, "text/html"))
            assert b"http://" not in answer.body and b"https://" not in answer.body
            assert answer.headers["content-security-policy"].startswith("default-src 'self'")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in answer.headers


def test_openapi_names_every_route_and_status(running: Run) -> None:
    with running(explain=lambda picture: picture) as server:
        api = server.get("/openapi.json").json
    assert set(api["paths"]) == {"/predict", "/explain", "/model", "/health", "/ready", "/metrics"}
    predict = api["paths"]["/predict"]["post"]
    assert {"200", "400", "401", "408", "413", "422", "503"} <= set(predict["responses"])
    assert "multipart/form-data" in predict["requestBody"]["content"]
    assert [parameter["name"] for parameter in predict["parameters"]] == ["top", "language"]


def test_unknown_paths_and_methods(running: Run) -> None:
    with running() as server:
        none = server.get("/none")
        assert none.status == 404 and none.json == {"error": "Not Found", "code": "not_found"}
        assert server.get("/page/../app.py").status == 404
        wrong = server.get("/predict")
        assert wrong.status == 405 and wrong.headers["allow"] == "POST"
        assert wrong.json == {"error": "Method Not Allowed", "code": "wrong_method"}


def test_the_documentation_names_every_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")
    assert [code for code in get_args(Code) if f"`{code}`" not in text] == []
