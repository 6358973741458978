"""case folders on stdin -> a record of every command of charseq on each of them, as JSON.

Every case and command has a process of its own, so that a signal is noticed and no state is shared.
In it an audit hook records all that would run code, start a process, open a connection or change a
file.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, cast

from charseq.cli import main as cli
from charseq.inference import convert, predictor, verify  # noqa: F401 - loaded before the fork
from charseq.training import averaging, train  # noqa: F401 - loaded before the fork

LIMIT = 2 * 2**30
"""Bytes of memory that a command may ask for."""
LOUD = {
    "exec", "compile", "import", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
    "os.fork", "socket.connect", "socket.bind", "ctypes.dlopen", "pickle.find_class", "os.remove",
    "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate",
    "shutil.rmtree", "shutil.unpack_archive", "marshal.loads", "urllib.Request",
}  # fmt: skip

OWN = "ctypes.dlopen", (None,)
"""The C library that is loaded already, for its memory settings."""


def watch(events: list[str], *, folder: str) -> None:
    """Record the audit events of this process from now on."""
    installed = tuple({sys.prefix, sys.base_prefix, str(Path(cli.__file__).parent)})

    def hook(event: str, found: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = found
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            if isinstance(path, str) and (set(mode or "r") & set("wax+") or flags & writes):
                events.append(f"opens {path} for writing")
        elif event == "import":
            where = found[1] or ""
            if where and not where.startswith(installed):
                events.append(f"imports {found[0]} from {where}")
        elif event in ("exec", "compile", "marshal.loads"):
            # modules that load late are compiled code of ours or of the libraries
            name = getattr(found[0], "co_filename", "") if event == "exec" else ""
            if event == "exec" and not name.startswith((*installed, "<frozen", "<string>")):
                events.append(f"runs {name}")
            if folder in str(found)[:2000]:
                events.append(f"{event} of {folder}")
        elif event in LOUD and (event, found) != OWN:
            events.append(f"{event} {str(found)[:100]}")

    sys.addaudithook(hook)


def run(words: list[str], folder: str) -> dict[str, Any]:
    """The record of one command, in a process of its own."""
    read, write = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(read)
        events: list[str] = []
        out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
        import resource

        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + LIMIT, held + LIMIT))
        watch(events, folder=folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(words)
        out.flush()
        said = cast(io.BytesIO, out.buffer).getvalue().decode()
        facts = {"code": code, "out": said, "err": err.getvalue()}
        with os.fdopen(write, "w") as pipe:
            json.dump({**facts, "events": events}, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    facts = json.loads(told) if told else {}
    return {**facts, "status": status, "seconds": time.monotonic() - started}


def main() -> None:
    """Run every command on every folder."""
    asked = json.load(sys.stdin)
    found = []
    for folder in asked["folders"]:
        for words in asked["commands"]:
            put = [folder if word == "RUN" else word for word in words]
            found.append({"folder": folder, "words": put, **run(put, folder)})
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
