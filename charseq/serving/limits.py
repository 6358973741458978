"""request -> the same request, or a refusal: hosts, origins, token, sizes, seconds; and counters.

:class:`Guard` stands before every endpoint and the page. It is plain ASGI, so that it costs little
and no endpoint can be reached around it.

A page of a foreign web site can reach a server on this machine through the browser: by a form or a
script (its ``Origin`` is foreign), or under a name of its own that leads to 127.0.0.1 (DNS
rebinding; its ``Host`` is foreign). Both are refused.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException

from charseq.errors import UsageError, argument

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
UPLOAD = "/v1/files"
"""The endpoint whose body is a file."""
OPEN = ("/", "/healthz")
"""Paths that need no token, as the files of the page do not: the page asks for it."""
PATHS = {
    "/", "/healthz", "/metrics", "/openapi.json", "/v1/models", "/v1/predict", "/v1/complete",
}  # fmt: skip
"""Paths that are counted under their own name; others by the beginning of :func:`label`."""
SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer. Nothing is loaded from elsewhere, and no script or style is inline."""
HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY.items()]
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Limits:
    """The bounds of a server."""

    body: int = 64 * 1024
    """Bytes of a body of JSON."""
    text: int = 2000
    """Characters of a text."""
    texts: int = 256
    """Texts of a request."""
    beam: int = 16
    """Beam width, and number of candidates."""
    seconds: float = 10.0
    """To receive a request (of a file: until its next bytes come), and again to compute it."""
    queue: int = 64
    """Requests that wait for a worker."""
    upload: int = 64 * 2**20
    """Bytes of a file."""
    upload_seconds: float = 600.0
    """To receive a file."""
    convert_seconds: float = 3600.0
    """To convert a file."""
    files: int = 16
    """Files that are kept at once."""
    conversions: int = 2
    """Files that are converted at once."""
    kept_seconds: float = 3600.0
    """Files are kept for so long after they were last used."""
    connections: int = 512
    """Connections that are open at once."""


class Metrics:
    """Counters of a server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        labels = ("path", "status")
        self.requests = Counter(
            "charseq_requests", "Requests that were answered.", labels, registry=registry
        )
        self.seconds = Histogram(
            "charseq_request_seconds", "Seconds from a request's head to the end of its answer.",
            ("path",), registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self.batch = Histogram(
            "charseq_batch_texts", "Texts that are computed together.", ("model",),
            registry=registry, buckets=TEXTS,
        )  # fmt: skip
        self.waiting = Gauge(
            "charseq_waiting_requests", "Requests that wait for a worker.", registry=registry
        )
        self.restarts = Counter(
            "charseq_worker_restarts", "Workers that were ended and replaced.", registry=registry
        )
        self.rows = Counter(
            "charseq_converted_rows", "Rows of files that were converted.", registry=registry
        )

    def text(self) -> bytes:
        """All counters in the text format of Prometheus."""
        return generate_latest(self.registry)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        named = label(path)
        self.requests.labels(named, str(status)).inc()
        self.seconds.labels(named).observe(seconds)


def label(path: str) -> str:
    """The name under which a path is counted; strangers cannot make new ones."""
    if path in PATHS:
        return path
    for beginning in ("/v1/models/", "/v1/files", "/page/"):
        if path.startswith(beginning):
            return beginning
    return "other"


class Guard:
    """An ASGI application behind the limits."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        limits: Limits,
        metrics: Metrics,
        *,
        hosts: Iterable[str] = LOOPBACK,
        any_address: bool = False,
        token: str | None = None,
    ) -> None:
        """``app`` behind the limits.

        Args:
            app: an ASGI application.
            limits: the bounds of bodies and seconds.
            metrics: counts the answers.
            hosts: the names under which the server may be asked for, without a port.
            any_address: whether it may be asked for under any IP address as well, which no foreign
                web site can take as its name.
            token: all requests but those of :data:`OPEN` need it. None: no token.
        """
        self.app, self.limits, self.metrics = app, limits, metrics
        self.hosts, self.any_address = {host.lower() for host in hosts}, any_address
        self._token = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. WebSockets are not accepted."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message.get("headers", ())}
                own = [(name, value) for name, value in HEADERS if name not in given]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            headers: dict[bytes, bytes] = dict(scope["headers"])
            refusal = self.refusal(scope, headers)
            if refusal is None:
                await self.app(scope, self._bounded(scope, receive), counted)
            else:
                await refuse(counted, *refusal)
        finally:
            self.metrics.answered(scope["path"], status, time.perf_counter() - begun)

    def refusal(self, scope: Message, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Status and reason where a request is refused by its head; None where it is not."""
        asked = headers.get(b"host", b"").decode("latin-1")
        if sum(name == b"host" for name, _ in scope["headers"]) != 1 or not self._is_own(asked):
            return 403, f"the host {asked!r:.80} is not this server's: --allow-host adds a name"
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin.decode("latin-1")).netloc != asked:
            return 403, "requests of other web sites are refused"
        if headers.get(b"sec-fetch-site") == b"cross-site" and scope["path"] != "/":
            return 403, "requests of other web sites are refused"
        path = scope["path"]
        is_open = path in OPEN or path.startswith("/page/")
        if self._token is not None and not is_open:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._token):
                return 401, "a token is needed: Authorization: Bearer TOKEN"
        length = headers.get(b"content-length", b"0")
        most = self._most(scope)
        if not length.isdigit() or len(length) > 18 or int(length) > most:
            return 413, f"the body has more than {most:,} bytes"
        return None

    def _is_own(self, asked: str) -> bool:
        """Whether a Host header, with or without a port, names this server."""
        try:
            found = urlsplit(f"//{asked}")
            host, _ = found.hostname, found.port
        except ValueError:
            return False
        if not host or found.netloc != asked or "@" in asked:
            return False
        if host.rstrip(".") in self.hosts:
            return True
        return self.any_address and is_address(host)

    def _most(self, scope: Message) -> int:
        """The most bytes of the body of a request."""
        is_file = scope["method"] == "PUT" and scope["path"] == UPLOAD
        return self.limits.upload if is_file else self.limits.body

    def _bounded(self, scope: Message, receive: Receive) -> Receive:
        """``receive``, of which the body has bounds in bytes and seconds."""
        most, limits = self._most(scope), self.limits
        is_file = most != limits.body
        received, complete = 0, False
        end = time.monotonic() + (limits.upload_seconds if is_file else limits.seconds)

        async def bounded() -> Message:
            nonlocal received, complete
            if complete:  # from now on the application waits for the client to leave
                return await receive()
            left = end - time.monotonic()
            try:
                async with asyncio.timeout(min(left, limits.seconds)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the request came too slowly") from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > most:
                    raise HTTPException(413, f"the body has more than {most:,} bytes")
            return message

        return bounded


def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an address, is this machine's own."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def check_address(host: str, token: str | None) -> None:
    """Raise UsageError for a host that other machines can reach, without a token."""
    if not is_loopback(host) and token is None:
        raise UsageError(
            f"{host} can be reached from other machines: {argument('token_file')} names a file "
            "with the token that they must know"
        )


async def refuse(send: Send, status: int, reason: str) -> None:
    """Answer with a reason, as all errors are answered; the connection ends."""
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers += [(b"content-length", str(len(body)).encode())]
    headers += [(b"www-authenticate", b"Bearer")] * (status == 401)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
