"""file -> its first rows, or a new file, in a process of its own: the file half of ``serve``.

    {"path": ..., "limit": ...}                              to it: the first rows are wanted
    {"path": ..., "limit": ..., "run": ..., "options": ...}  to it: the file is to be converted
    {"rows": 1024, "bytes": 20480}                           from it, again and again
    {"table": {...}} or {"done": {...}} or {"fault": "..."}  from it, last

A process can be killed in the middle of a file, and a file that needs much memory or writes without
end meets the limits of this process, not the server's.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

from charseq.errors import CharseqError
from charseq.process import prepare_inference, send_to_parent

ROWS = 8
"""Rows that are shown."""
COLUMNS = 64
CELL = 200
"""Characters of a cell that are shown."""
BEAT = 0.2
"""Seconds between two messages on how far the conversion is."""
GROWTH = 16
"""A file of answers has at most so many times the bytes of the largest upload."""
MEMORY = 4 * 2**30
"""Bytes of addresses of this process; a sheet that unpacks to more is refused."""


def table(path: str) -> dict[str, Any]:
    """Format, names of the columns and first rows of a file.

    Raises:
        DataError: with the line: it cannot be read.
        MissingExtraError: the package that reads its format is not installed.
    """
    from charseq.data.formats.reader import read_table

    found = read_table(path, faulty=True)
    rows = list(islice((row for row in found.rows if row.cells), ROWS))
    names = list(found.header or dict.fromkeys(name for row in rows for name in row.names))
    cells = []
    for row in rows:
        own = dict(zip(row.names, row.cells, strict=True)) if row.names else {}
        whole = [own.get(name) for name in names] if own else row.cells
        cells.append(["" if cell is None else str(cell)[:CELL] for cell in whole[:COLUMNS]])
    width = max([len(names), *map(len, cells)], default=0)
    return {
        "format": found.format.title,
        "columns": [str(name)[:CELL] for name in names[:COLUMNS]],
        "has_columns": found.format.has_columns,
        "width": min(width, COLUMNS),
        "rows": cells,
    }


def convert(path: str, run: str, options: dict[str, Any]) -> dict[str, Any]:
    """Convert a file with a model; the counts of what was written, and notes."""
    from charseq.inference import convert as conversion
    from charseq.inference.predictor import load

    notes: list[str] = []
    begun = last = time.monotonic()
    out = options.pop("out")

    def progress(rows: int, done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= BEAT:
            last = now
            send_to_parent({"rows": rows, "bytes": done, "seconds": now - begun})

    found: Any = conversion.convert(
        load(run), path, out, report=notes.append, progress=progress, force=True, **options
    )
    return {
        "rows": found.rows,
        "rejected": found.rejected,
        "unsure": found.unsure,
        "seconds": time.monotonic() - begun,
        "notes": [without_folder(note, path) for note in notes],
    }


def without_folder(message: str, path: str) -> str:
    """A message for the client, who knows the file ``path`` by its name, not by its folder."""
    return message.replace(f"{Path(path).parent}{os.sep}", "")


def main() -> int:
    """Do the one job that stdin names; the end of stdin ends the process."""
    prepare_inference()
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_watch, daemon=True).start()
    most = GROWTH * job["limit"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    path = job["path"]
    try:
        if "run" in job:
            send_to_parent({"done": convert(path, job["run"], job["options"])})
        else:
            send_to_parent({"table": table(path)})
    except (CharseqError, OSError, MemoryError) as fault:
        reason = str(fault) or "memory is too short for this file"
        send_to_parent({"fault": without_folder(reason, path)})
    return 0


def _watch() -> None:
    """End the process with its parent."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)
