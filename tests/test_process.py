"""The process is made ready before any library is loaded, and what the user set stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from charseq import process

NAMES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def test_inference_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    process.prepare_inference()
    assert [os.environ[name] for name in NAMES] == ["1", "1", "1"]


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    process.prepare_inference()
    process.prepare_training()
    assert [os.environ[name] for name in NAMES] == ["3", "3", "3"]
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_idle_threads_of_training_soon_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", *NAMES):
        monkeypatch.delenv(name, raising=False)
    process.prepare_training()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"  # scoring; torch keeps its threads
    assert "OMP_NUM_THREADS" not in os.environ
    assert 1000 <= int(os.environ["GOMP_SPINCOUNT"]) <= 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_freed_memory_is_kept() -> None:
    # 8 times 4 MiB again and again: given back to the system, every page has to be fetched anew
    program = (
        "import resource\n"
        "from charseq import process\n"
        "process.keep_memory()\n"
        "work = lambda: [bytearray(2**22) for _ in range(8)]\n"
        "work()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): work()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    faults = {
        kept: int(subprocess.check_output([sys.executable, "-c", text], text=True))
        for kept, text in ((True, program), (False, program.replace("process.keep_", "# keep_")))
    }
    if faults[False] < 5000:
        pytest.skip("this C library keeps freed memory by itself")
    assert faults[True] < faults[False] / 10


def test_it_loads_no_library() -> None:
    program = (
        "import sys; from charseq import process; process.prepare_training(); "
        "process.prepare_inference(); print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
