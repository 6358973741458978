"""The guard: who may ask, how much, and how slowly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from charseq.errors import UsageError
from charseq.serving.limits import (
    HEADERS,
    Guard,
    Limits,
    Message,
    Metrics,
    Receive,
    Send,
    check_address,
    is_loopback,
    label,
)


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """Answer with the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(
    headers: dict[str, str] | None = None,
    *,
    path: str = "/v1/predict",
    method: str = "POST",
    chunks: tuple[bytes, ...] = (b"",),
    wait: float = 0.0,
    limits: Limits | None = None,
    **options: Any,
) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of the answer behind a guard."""
    sent: list[Message] = []
    waiting = list(chunks)

    async def receive() -> Message:
        if wait:
            await asyncio.sleep(wait)
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        sent.append(message)

    given = {"host": "localhost:8000", **(headers or {})}
    scope = {
        "type": "http", "method": method, "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    from starlette.exceptions import HTTPException

    async def answered(scope: Message, receive: Receive, send: Send) -> None:
        try:
            await echo(scope, receive, send)
        except HTTPException as fault:  # as Starlette answers it
            await send({"type": "http.response.start", "status": fault.status_code, "headers": []})

    guard = Guard(answered, limits or Limits(), Metrics(), **options)
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("localhost:8000@evil.example", 403),
        ("evil.example:8000/localhost", 403),
        ("192.168.0.7:8000", 403),
        ("", 403),
        ("localhost:x", 403),
    ],
)
def test_foreign_hosts_are_refused(host: str, status: int) -> None:
    assert ask({"host": host})[0] == status


def test_further_hosts_and_addresses_are_allowed_where_they_are_told() -> None:
    assert ask({"host": "text.example"}, hosts=["text.example"])[0] == 200
    assert ask({"host": "192.168.0.7:80"}, any_address=True)[0] == 200
    assert ask({"host": "evil.example"}, any_address=True)[0] == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("http://evil.example", 403),
        ("http://localhost:9000", 403),
        ("null", 403),
        ("http://localhost:8000.evil.example", 403),
    ],
)
def test_foreign_origins_are_refused(origin: str, status: int) -> None:
    assert ask({"origin": origin})[0] == status


def test_a_request_of_another_site_without_an_origin_is_refused() -> None:
    assert ask({"sec-fetch-site": "cross-site"}, method="GET")[0] == 403
    assert ask({"sec-fetch-site": "cross-site"}, method="GET", path="/")[0] == 200, "a link"


def test_a_token_is_needed_for_all_but_the_page_and_health() -> None:
    token = "a-token-of-many-letters"
    right = {"authorization": f"Bearer {token}"}
    for path in ("/v1/predict", "/v1/files", "/metrics", "/openapi.json", "/pages", "/healthz/x"):
        assert ask(path=path, token=token)[0] == 401
        assert ask({"authorization": "Bearer x"}, path=path, token=token)[0] == 401
        assert ask(right, path=path, token=token)[0] == 200
    for path in ("/", "/page/app.js", "/healthz"):
        assert ask(path=path, token=token)[0] == 200


def test_bodies_are_bounded_by_their_head_and_by_their_bytes() -> None:
    limits = Limits(body=10, upload=20)
    assert ask({"content-length": "10"}, chunks=(b"0123456789",), limits=limits)[0] == 200
    assert ask({"content-length": "11"}, limits=limits)[0] == 413
    assert ask({"content-length": "-1"}, limits=limits)[0] == 413
    assert ask(chunks=(b"01234", b"56789", b"x"), limits=limits)[0] == 413
    file = {"path": "/v1/files", "method": "PUT", "limits": limits}
    assert ask(chunks=(b"0123456789", b"x"), **file)[0] == 200
    assert ask(chunks=(b"0123456789",) * 3, **file)[0] == 413


def test_a_slow_body_is_given_up() -> None:
    assert ask(chunks=(b"a", b"b"), wait=0.05, limits=Limits(seconds=0.01))[0] == 408
    slow = Limits(seconds=10.0, upload_seconds=0.06)
    file = {"path": "/v1/files", "method": "PUT"}
    assert ask(chunks=(b"a",) * 9, wait=0.02, limits=slow, **file)[0] == 408


def test_every_answer_has_the_headers_of_security() -> None:
    for headers in ({}, {"host": "evil.example"}):
        found = ask(headers)[1]
        assert set(dict(HEADERS)) <= set(found)
        assert b"default-src 'none'" in found[b"content-security-policy"]
        assert b"unsafe" not in found[b"content-security-policy"]


def test_hosts_of_other_machines_need_a_token() -> None:
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1"):
        assert is_loopback(host)
        check_address(host, None)
    for host in ("0.0.0.0", "::", "192.168.0.7", "text.example"):
        with pytest.raises(UsageError, match="token"):
            check_address(host, None)
        check_address(host, "token")


def test_strangers_make_no_new_counters() -> None:
    assert label("/v1/predict") == "/v1/predict"
    assert label("/v1/files/abc/convert") == "/v1/files"
    assert label("/anything/else") == label("/more") == "other"
    metrics = Metrics()
    metrics.answered("/x", 404, 0.1)
    assert b'charseq_requests_total{path="other",status="404"} 1.0' in metrics.text()
