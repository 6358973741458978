"""Process of one rank: jobs on a socket -> a slice of shared memory, and sums.

``group`` starts one such process for each rank but its own. The process knows no data and no
files: it gets the rows of every step. When the parent process has ended, the socket is closed,
and the worker ends too. Both ends of the socket belong to processes of one user that one has
started, so objects are pickled.
"""

from __future__ import annotations

import json
import sys
from multiprocessing.connection import Connection

from charseq.process import prepare_training

READY = "ready"
"""The message of a worker that waits for its first job."""


def main() -> int:
    """Do the jobs of a rank until the parent process closes the socket; the exit code."""
    prepare_training()
    given = json.loads(sys.stdin.buffer.readline() or "null")
    if given is None:
        return 2
    pipe = Connection(given["socket"])
    try:
        _serve(pipe, given["memory"])
    except (EOFError, ConnectionError):  # the parent has ended, or needs this process no more
        return 0
    return 0


def _serve(pipe: Connection, handle: int) -> None:
    import torch

    from charseq.models.device import is_out_of_memory
    from charseq.training.parallel.rank import Memory, Rank

    torch.set_num_threads(1)
    build, layout = pipe.recv()
    memory = Memory(layout, handle)
    memory.close()
    rank = Rank(build().train(), memory, layout)
    pipe.send(READY)
    while True:
        name, job = pipe.recv()
        try:
            found = getattr(rank, name)(*job[0], **job[1])
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            found = MemoryError(str(fault))
        pipe.send(found)
