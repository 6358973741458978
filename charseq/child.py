"""A module of this package -> a child process: JSON lines in and out, and why it ended.

    child = ChildProcess("charseq.inference.pool")   calls main() of the module in a new process
    child.send({"run": "..."})             a line of JSON into its stdin
    child.receive()                        the next object from its stdout; None when it has ended
    child.end()                            "was ended by SIGKILL", "failed: no space left", or ""

The child has the import paths of its parent, in the same order, and exactly the parent's copy of
this package. Nothing beside the package can hide a module of the standard library.

The child leads a process group of its own. Ctrl-C in a terminal therefore reaches the parent alone,
and the parent decides how its children end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


class ChildProcess:
    """A running module, whose stderr is kept until it ends."""

    def __init__(self, module: str) -> None:
        """Start ``main()`` of a module; ``main()`` returns the exit code."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self._last_line = ""
        self.process = subprocess.Popen(  # noqa: S603 - a module of this package
            [sys.executable, "-P", __file__, module, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            process_group=0,
        )

    def send(self, message: Mapping[str, Any]) -> None:
        """Send an object. A child that has ended gets nothing: :meth:`receive` then gives None."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.closed:
            with suppress(BrokenPipeError):
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next object; None when the child has ended. Other lines are skipped."""
        pipe = self.process.stdout
        while pipe is not None and not pipe.closed and (line := pipe.readline()):
            with suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    return message
        return None

    def end(self) -> str:
        """Wait for the end and close the pipes; the reason of a failure, else nothing.

        Call it after the last :meth:`receive`, from the thread that called that. A second call
        gives the same reason.
        """
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if not self._errors.closed:
            with self._errors:
                self._errors.seek(0)
                text = self._errors.read().decode("utf-8", "replace")
                self._last_line = text.strip().split("\n")[-1]
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"failed: {self._last_line}" if code else ""


def terminate(children: Iterable[ChildProcess], grace: float) -> None:
    """End processes by SIGTERM; kill those that need more than ``grace`` seconds.

    An exception meanwhile, such as a second Ctrl-C, kills them at once.
    """
    children = list(children)
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + grace
    try:
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(deadline - time.monotonic(), 0.0))
    finally:
        for child in children:
            child.process.kill()


def send_to_parent(message: Mapping[str, Any]) -> None:
    """Send an object from a child process; a dataclass in it becomes a list of its fields.

    A parent that has ended gets nothing: the end of stdin tells the child so.
    """
    line = json.dumps(message, default=lambda one: list(vars(one).values()))
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(module: str, *paths: str) -> int:
    """Call ``main()`` of a module, in a new process; the exit code.

    ``paths`` are the parent's ``sys.path``. The package is loaded from the folder of this file,
    so that its parent folder need not be among them, or before the standard library.
    """
    sys.path[:] = paths
    folder = Path(__file__).parent
    found = [str(folder)]
    spec = spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=found
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package")
    package = sys.modules[folder.name] = module_from_spec(spec)
    spec.loader.exec_module(package)
    code: int = import_module(module).main()
    return code


if __name__ == "__main__":
    sys.exit(_run(*sys.argv[1:]))
