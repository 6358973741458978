"""`charseq serve` under load: requests a second, percentiles, and the same beside slow clients.

    scripts/bench_serve.py [--seconds 10] [--clients 24] [--slow 200]

Starts a server of the shipped dates on a free port and asks it for single dates from a process of
its own, over connections that stay open. The load of the machine comes first: the figures are those
of an idle machine only where it is near 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

ROOT = Path(__file__).parent.parent


def sources(count: int) -> list[str]:
    """Distinct dates of the test split."""
    lines = (ROOT / "data" / "test.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines[:count]]


def request(text: str) -> bytes:
    """A request for one text, as bytes."""
    body = json.dumps({"texts": [text]}).encode()
    head = f"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def client(port: int, texts: list[str], end: float, times: list[float]) -> int:
    """Ask one text after another until ``end``; the number of answers that were no 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    refused = 0
    for message in cycle(map(request, texts)):
        begun = time.perf_counter()
        if begun > end:
            break
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        await reader.readexactly(int(found[1]) if found else 0)
        refused += not head.startswith(b"HTTP/1.1 200")
        times.append(time.perf_counter() - begun)
    writer.close()
    return refused


def work(parent: int) -> tuple[float, float]:
    """Processor seconds of the server and of its workers so far, from /proc."""
    own = workers = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = path.read_text().split(" ", 1)
        except OSError:  # it has ended
            continue
        fields = rest.rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        own += seconds * (int(number) == parent)
        workers += seconds * (int(fields[1]) == parent)
    return own, workers


async def measure(server: int, port: int, clients: int, seconds: float, slow: int) -> None:
    """Print a row: rate and percentiles of some clients, beside some slow ones."""
    texts, times = sources(2000), list[float]()
    half_open = []
    for _ in range(slow):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n")
        half_open.append(writer)
    before, begun = work(server), time.perf_counter()
    tasks = [
        client(port, texts[number::clients], begun + seconds, times) for number in range(clients)
    ]
    refused = sum(await asyncio.gather(*tasks))
    spent = time.perf_counter() - begun
    own, workers = (1000 * (b - a) / len(times) for a, b in zip(before, work(server), strict=True))
    for writer in half_open:
        writer.close()
    times.sort()
    half, high = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    print(
        f"{clients:4} clients, {slow:3} slow: {len(times) / spent:6,.0f} requests/s, "
        f"p50 {half:.1f} ms, p99 {high:.1f} ms, {refused} refused; "
        f"processor {own:.2f} + {workers:.2f} ms a request (server + workers)"
    )


def main() -> None:
    """Start a server, measure, and stop it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--slow", type=int, default=200)
    given = parser.parse_args()
    print(f"load of the machine {os.getloadavg()[0]:.1f}, cores {os.cpu_count()}")
    command = [sys.executable, "-m", "charseq", "serve", "-m", "dates", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        told = server.stderr.readline() if server.stderr else ""
        port = int(told.rsplit(":", 1)[1].split("/")[0])
        asyncio.run(measure(server.pid, port, given.clients, 2.0, 0))  # warm
        asyncio.run(measure(server.pid, port, 1, given.seconds / 2, 0))
        asyncio.run(measure(server.pid, port, given.clients, given.seconds, 0))
        asyncio.run(measure(server.pid, port, given.clients, given.seconds, given.slow))
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


if __name__ == "__main__":
    main()
