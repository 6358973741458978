"""A server in a process of its own, for the tests of ``charseq serve``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = [ROOT / "tests" / "fixtures" / name for name in ("hard", "soft", "words")]


@dataclass
class Served:
    """A server that runs."""

    url: str
    port: int
    process: subprocess.Popen[str]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; the exit code and what it said on stderr."""
        self.process.send_signal(number)
        _, told = self.process.communicate(timeout=60)
        return self.process.returncode, told


@contextmanager
def serving(
    *words: str, runs: list[Path] | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """``charseq serve`` on a free port, with the runs of the fixtures."""
    models = [word for run in runs or RUNS for word in ("-m", str(run))]
    command = [sys.executable, "-m", "charseq", "serve", "--port", "0", "--jobs", "2"]
    process = subprocess.Popen(
        [*command, *models, *words], stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert process.stderr is not None
    told = process.stderr.readline()
    found = re.search(r"http://([\d.]+):(\d+)/", told)
    if not found:
        process.kill()
        raise AssertionError(told + process.communicate()[1])
    try:
        yield Served(f"http://127.0.0.1:{found[2]}", int(found[2]), process)
    finally:
        if process.poll() is None:
            process.kill()
        process.stderr.close()
        process.wait()
