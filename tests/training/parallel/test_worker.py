"""The process of a rank: it ends with the process that started it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import time
from functools import partial
from charseq.config import configure
from charseq.models.factory import build
from charseq.training.parallel.group import Group

config = configure({"hidden": 8, "embedding": 8, "layers": 1, "attention": "none"})
make = partial(build, config, sources=9, targets=9)
with Group(make(), 2, build=make) as group:
    print(group.processes[0], flush=True)
    assert group.ready(wait=True)
    print("ready", flush=True)
    time.sleep(300)
"""


def test_a_process_ends_with_its_parent() -> None:
    """Whether it still loads torch, or waits for a job."""
    for waited in (False, True):
        parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        if waited:
            assert parent.stdout.readline() == "ready\n"
        parent.kill()
        parent.communicate()
        deadline = time.monotonic() + 300
        while is_running(worker):
            assert time.monotonic() < deadline, "the worker lives on"
            time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        facts = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return facts.rsplit(")", 1)[1].split()[0] != "Z"
