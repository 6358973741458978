"""names of runs, an address -> a server that answers until a signal comes.

    serve({"dates": Path("checkpoints/dates")}, host="127.0.0.1", port=8000, report=print)

uvicorn speaks HTTP. Of it :class:`Protocol` bounds the time in which a request's head must come.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from charseq.errors import CharseqError, UsageError
from charseq.inference.describe import info
from charseq.process import cores
from charseq.serving.app import Service, build, card
from charseq.serving.limits import (
    LOOPBACK,
    Guard,
    Limits,
    check_address,
    is_loopback,
)

KEEP_ALIVE = 30
"""Seconds for which an idle connection stays open."""
STOP = 10
"""Seconds that running requests have to end after a signal."""
SHORTEST_TOKEN = 16
"""Characters of a token, at least."""


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 whose request heads must come within a time, else the connection is closed."""

    seconds = Limits().seconds
    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End to wait."""
        self._stop()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """End to wait: the head is here. The guard waits for the body."""
        self._stop()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._stop()
        self._head = self.loop.call_later(self.seconds, self.transport.close)

    def _stop(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class Server(uvicorn.Server):
    """uvicorn's server, which ends conversions before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._ready = service, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End conversions, then the rest."""
        await self._service.conversions.end()
        await super().shutdown(sockets)


def serve(
    runs: Mapping[str, Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    hosts: Iterable[str] = (),
    token: str | None = None,
    jobs: int = 0,
    limits: Limits | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve models until SIGINT or SIGTERM comes; requests that run are answered first.

    Args:
        runs: the models by the names under which clients ask for them.
        host: the address to listen at; another than this machine's own needs a token.
        port: the port; 0 is any that is free.
        hosts: further names of the server, such as that of a reverse proxy.
        token: all requests for answers need it. None: none, for a server of this machine alone.
        jobs: worker processes; 0 is one for each core, and two at least.
        limits: the bounds of requests.
        report: gets lines for people, first where the server is.

    Raises:
        UsageError: a host without a token, or a weak token.
        CheckpointError: a run cannot be loaded.
        CharseqError: the address cannot be used.
    """
    check_address(host, token)
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii()):
        raise UsageError(f"the token has less than {SHORTEST_TOKEN} characters, or not all ASCII")
    limits = limits or Limits()
    facts = {name: info(path) for name, path in runs.items()}
    cards = {name: card(name, *one) for name, one in facts.items()}
    service = Service(runs, cards, jobs=jobs or max(2, cores()), limits=limits)
    guard = Guard(
        build(service), limits, service.metrics, token=token,
        hosts=[*LOOPBACK, host, *hosts], any_address=not is_loopback(host),
    )  # fmt: skip
    with listen(host, port) as listening:
        address = listening.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]

        def ready() -> None:
            report(f"serving {', '.join(runs)} on http://{shown}:{address[1]}/ (Ctrl-C ends)")

        bounded = type("BoundedProtocol", (Protocol,), {"seconds": limits.seconds})
        config = uvicorn.Config(
            guard, http=bounded, ws="none", lifespan="on", log_level="warning", access_log=False,
            server_header=False, date_header=False, proxy_headers=False,
            limit_concurrency=limits.connections, timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=STOP, backlog=2048,
        )  # fmt: skip
        server = Server(config, service, ready)
        server.run(sockets=[listening])
        if service.fault is not None:
            raise service.fault


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises CharseqError where the address cannot be used."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(found[0], socket.SOCK_STREAM)
    except OSError as fault:
        raise CharseqError(f"{host}: {fault.strerror or fault}") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(found[4])
        made.listen(2048)
    except OSError as fault:
        made.close()
        raise CharseqError(f"{host}, port {port}: {fault.strerror or fault}") from None
    return made


def read_token(path: Path) -> str:
    """The token in a file, without white space around it.

    Raises:
        UsageError: other users can read the file, or it holds no token.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise UsageError(f"{path} is no file, expected one with a token")
    if os.name == "posix" and facts.st_mode & 0o077:
        raise UsageError(f"other users can read {path}: chmod 600 {path}")
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if len(token.split()) != 1:
        raise UsageError(f"{path} holds {len(token.split())} words, expected one, the token")
    return token


def names_of(paths: Iterable[Path]) -> dict[str, Path]:
    """Run folders by their names, which tell them apart: the last part of each path.

    Raises:
        UsageError: two runs of one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = path.absolute().name
        if name in found:
            raise UsageError(f"{found[name]} and {path} have the same name, {name}")
        found[name] = path
    return found
