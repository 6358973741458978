"""The endpoints of a server that runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from served import RUNS, Served, serving

from charseq.inference.predictor import load

httpx = pytest.importorskip("httpx", reason="httpx is not installed")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=60) as found:
        yield found


def test_answers_are_those_of_the_library(client: httpx.Client) -> None:
    texts = ["kogima", "banana", ""]
    found = client.post("/v1/predict", json={"texts": texts, "n": 2, "align": True})
    assert found.status_code == 200
    assert found.json()["model"] == "hard"
    answers = found.json()["answers"]
    assert [one["source"] for one in answers] == texts
    for own, one in zip(load(RUNS[0]).predict(texts[:2], n=2), answers, strict=False):
        assert one["prediction"] == own.prediction
        assert one["probability"] == own.probability, "to the last bit"
    assert answers[0]["alignment"]["pairs"]
    words = client.post("/v1/complete", json={"texts": ["I love t"], "model": "words", "n": 3})
    assert words.json()["answers"][0]["candidates"][0]["line"].startswith("I love t")


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"texts": ["x" * 2001]}, 422, "2000 characters"),
        ({"texts": ["x"] * 257}, 422, "256"),
        ({"texts": []}, 422, "texts"),
        ({"texts": ["x"], "beam": 17}, 422, "beam"),
        ({"texts": ["x"], "n": 17}, 422, "n:"),
        ({"texts": ["x"], "threshold": 0}, 422, "threshold"),
        ({"texts": ["x"], "run": "/etc"}, 422, "run"),
        ({"texts": [3]}, 422, "string"),
        ({"texts": ["x"], "model": "../hard"}, 404, "no model"),
        ({"texts": ["x"], "model": "http://x/y"}, 404, "no model"),
        ({"texts": ["x"], "model": "words", "align": True}, 422, "no alignment"),
    ],
)
def test_what_is_out_of_bounds_is_refused(
    client: httpx.Client, body: dict[str, object], status: int, told: str
) -> None:
    found = client.post("/v1/predict", json=body)
    assert found.status_code == status
    assert told in found.json()["detail"]


def test_bodies_and_hosts_are_bounded(client: httpx.Client) -> None:
    assert client.post("/v1/predict", content=b'"' + b"x" * 65536).status_code == 413
    chunks = (b"x" * 1000 for _ in range(70))
    assert client.post("/v1/predict", content=chunks).status_code == 413
    assert client.post("/v1/predict", content=b"{").status_code == 422
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"origin": "http://evil.example"}).status_code == 403


def test_a_text_that_is_no_unicode_is_a_fault_of_the_request(client: httpx.Client) -> None:
    found = client.post("/v1/predict", content=b'{"texts": ["\\ud800"]}')
    assert found.status_code == 422


def test_models_and_cards(client: httpx.Client) -> None:
    found = client.get("/v1/models").json()
    assert [one["name"] for one in found["models"]] == ["hard", "soft", "words"]
    assert [one["task"] for one in found["models"]] == ["pairs", "pairs", "next-word"]
    assert found["limits"]["text"] == 2000
    card = client.get("/v1/models/soft").json()
    assert card["card"].startswith("# soft")
    assert any(line.startswith("training") for line in card["info"])
    assert client.get("/v1/models/nothing").status_code == 404


def test_operation(client: httpx.Client) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    counted = client.get("/metrics")
    assert counted.headers["content-type"].startswith("text/plain")
    assert 'charseq_requests_total{path="/healthz",status="200"}' in counted.text
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) >= {"/v1/predict", "/v1/complete", "/v1/models", "/v1/files", "/healthz"}
    body = paths["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["$ref"].endswith("TextQuestion")


def test_the_page_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("app.js", "api.js", "text.js", "compare.js", "file.js", "card.js", "style.css"):
        file = client.get(f"/page/{name}")
        assert file.status_code == 200
        assert "innerHTML" not in file.text
        assert "http://" not in file.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in file.text
    assert client.get("/page/..%2fapp.py").status_code == 404
    assert client.get("/page/app.py").status_code == 404
