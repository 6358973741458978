"""one of our modules -> a process of its own: objects in, lines out, and why it is over.

    child = Child("charseq.inference.pool")
    child.tell({"run": "..."})     a line of JSON into its stdin
    child.process.stdout           what it answers
    child.end()                    "was ended by SIGKILL", "failed: no space left", or ""

The process is in a group of its own, so that Ctrl-C reaches the first process alone, which decides
what is to be done. It knows nothing of what is said.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


class Child:
    """A running module, whose stderr is kept until it ends."""

    def __init__(self, module: str) -> None:
        """Start it with this package, wherever that lies."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self._said = ""
        home = str(Path(__file__).resolve().parent.parent)
        paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            process_group=0,
        )

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send an object. Raises BrokenPipeError where nobody listens any more."""
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def wait(self, seconds: float) -> None:
        """Give it so many seconds to end, then kill it."""
        try:
            self.process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            self.process.kill()

    def end(self) -> str:
        """Wait until it is over; why it failed, or nothing. It can be asked again."""
        code = self.process.wait()
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
        if not self._errors.closed:
            with self._errors:
                self._errors.seek(0)
                said = self._errors.read().decode("utf-8", "replace")
                self._said = said.strip().split("\n")[-1]
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"failed: {self._said}" if code else ""


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
