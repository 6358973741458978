"""The server as a process: addresses, tokens, slow clients, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from served import ROOT, RUNS, serving

from charseq.errors import CharseqError, UsageError
from charseq.serving.server import listen, names_of, read_token, serve

TOKEN = "a-token-of-many-letters"


def get(url: str, **headers: str) -> int:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as fault:
        return fault.code


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


def children(parent: int) -> list[int]:
    """The processes that a process has started, from /proc."""
    stats = (path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists())
    found = (stat.rpartition(")") for stat in stats)
    return [int(head.split()[0]) for head, _, rest in found if int(rest.split()[1]) == parent]


def send(processes: list[int], number: int) -> None:
    for process in processes:
        os.kill(process, number)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:
        return False
    return True


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come within a minute")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_the_requests_that_run(number: int, code: int) -> None:
    with serving(runs=RUNS[:1]) as served:
        workers = children(served.process.pid)
        assert len(workers) == 2
        send(workers, signal.SIGSTOP)  # so that the request runs for as long as this test wants
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            body = json.dumps({"texts": ["kogima"]}).encode()
            client.sendall(
                b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
                b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
            )
            until(lambda: "charseq_batch_texts_count{" in read(f"{served.url}/metrics"))
            served.process.send_signal(number)
            until(lambda: not accepts(served.port))
            assert served.process.poll() is None
            send(workers, signal.SIGCONT)
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 200")
        assert served.process.wait(60) == code


def test_slow_clients_are_closed_and_stop_nobody() -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom charseq.serving.server import serve\n"
        "from charseq.serving.limits import Limits\n"
        "def say(x): print(x, file=sys.stderr, flush=True)\n"
        f"serve({{'hard': Path({str(RUNS[0])!r})}}, port=0, jobs=1, report=say,"
        " limits=Limits(seconds=2.0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stderr is not None
        port = int(process.stderr.readline().split(":")[2].split("/")[0])
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for number, one in enumerate(slow):
            one.settimeout(60)
            head = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n"
            one.sendall([b"", head[:9], head, head + b"\r\n{"][number % 4])
        assert get(f"http://127.0.0.1:{port}/healthz") == 200
        for number, one in enumerate(slow):  # closed, by the server
            answer = one.recv(65536)
            assert answer == b"" if number % 4 < 3 else b" 408 " in answer
            one.close()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_another_host_needs_a_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="ascii")
    token.chmod(0o600)
    words = ("--host", "0.0.0.0", "--token-file", str(token))
    with serving(*words, runs=RUNS[:1]) as served:
        url = served.url
        assert get(f"{url}/") == get(f"{url}/healthz") == 200
        assert get(f"{url}/v1/models") == 401
        assert get(f"{url}/v1/models", Authorization="Bearer wrong-token-of-letters") == 401
        assert get(f"{url}/v1/models", Authorization=f"Bearer {TOKEN}") == 200
        assert get(f"{url}/healthz", Host="evil.example") == 403


def test_without_a_token_it_refuses_to_start() -> None:
    with pytest.raises(UsageError, match="token_file"):
        serve({"hard": RUNS[0]}, host="0.0.0.0", port=0)
    with pytest.raises(UsageError, match="16 characters"):
        serve({"hard": RUNS[0]}, token="short", port=0)


def test_tokens_in_files(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f" {TOKEN}\n", encoding="ascii")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == TOKEN
    path.write_text("two words", encoding="ascii")
    with pytest.raises(UsageError, match="2 words"):
        read_token(path)


def test_an_address_in_use_is_one_line() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(CharseqError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    assert names_of([Path("a/x"), Path("b/y")]) == {"x": Path("a/x"), "y": Path("b/y")}
    with pytest.raises(UsageError, match="same name"):
        names_of([Path("a/x"), Path("b/x")])
