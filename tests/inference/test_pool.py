"""More processes must not change an answer, and none may stay behind or fail without a message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from charseq.errors import CharseqError, SettingError
from charseq.inference import answer_cache, pool
from charseq.inference.convert import convert
from charseq.inference.pool import Worker, WorkerPool, sharing
from charseq.inference.prediction import Prediction
from charseq.inference.predictor import PairsModel, fingerprint, load

ROOT = Path(__file__).parents[2]
RUN = ROOT / "checkpoints" / "dates"
TEXTS = [f"{day}. März {year}" for day in range(1, 29) for year in (1999, 2021)]


@pytest.fixture(scope="module")
def model() -> PairsModel:
    found = load(RUN)
    assert isinstance(found, PairsModel)
    return found


@pytest.fixture
def two(model: PairsModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    """The model and one worker, from the first call on."""
    monkeypatch.setattr(pool, "ALONE", 0)
    with sharing(model, 2, fingerprint(model)) as found:
        assert isinstance(found, WorkerPool)
        yield found


def test_answers_are_the_same_and_a_worker_gives_some_of_them(
    two: WorkerPool, model: PairsModel
) -> None:
    texts = [*TEXTS, *TEXTS[:5], "5 Mrach ß 2021", "a\ud800"]
    own: list[str] = []
    ask = model.predict
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            model, "predict", lambda share, **given: own.extend(share) or ask(share, **given)
        )
        found = two.predict(texts, n=2, beam=3)
    assert found == model.predict(texts, n=2, beam=3)
    assert len(own) == len(set(texts)) - len(set(texts)) // 2
    assert two.predict(TEXTS[:5]) == model.predict(TEXTS[:5])  # too few to share
    assert len(two.workers) == 1


def test_a_fault_of_one_call_is_not_the_answer_to_the_next(
    two: WorkerPool, model: PairsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with pytest.raises(SettingError, match="beam is 0"):
            two.predict(TEXTS, beam=0)
    assert two.predict(TEXTS, beam=1) == model.predict(TEXTS, beam=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "predict", lambda share, **_: [None] * len(share))
        with pytest.raises(SettingError, match="beam is 0"):
            two.predict(TEXTS, beam=0)  # a fault of the worker alone
    assert two.predict(TEXTS, beam=1) == model.predict(TEXTS, beam=1)


def test_calls_of_one_worker_take_turns(two: WorkerPool, model: PairsModel) -> None:
    two.predict(TEXTS[:1], beam=1)
    options = {"n": 1, "beam": 1, "batch_size": 8}
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda text: two.workers[0].predict([text], options), TEXTS)
    assert [answer for answers in found for answer in answers] == model.predict(TEXTS, beam=1)


def test_shares_may_be_larger_than_a_pipe(two: WorkerPool, model: PairsModel) -> None:
    """The worker is still loading the run while its first share is sent."""
    texts = [f"{number} {'ä' * 720}" for number in range(32)]
    assert len(json.dumps(texts)) // 2 > 2**16
    assert two.predict(texts, beam=1) == model.predict(texts, beam=1)


def test_a_worker_that_is_killed_is_one_line(two: WorkerPool, tmp_path: Path) -> None:
    two.predict(TEXTS[:2], beam=1)
    os.kill(two.workers[0].child.process.pid, signal.SIGKILL)
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("\n".join(TEXTS), encoding="utf-8")
    for _ in range(2):
        with pytest.raises(CharseqError, match=r"^process 2 .* was ended by SIGKILL; jobs=1"):
            convert(two, source, target, beam=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_worker_that_is_killed_costs_no_answer_that_is_kept(
    two: WorkerPool, model: PairsModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    lines = [f"{day}. März {year}" for day in range(1, 29) for year in range(1990, 2005)]
    source.write_text("\n".join(lines), encoding="utf-8")
    calls: list[int] = []
    ask = two.predict

    def kill(texts: list[str], **options: Any) -> list[Prediction]:
        calls.append(len(texts))
        if len(calls) == 3:
            os.kill(two.workers[0].child.process.pid, signal.SIGKILL)
        return ask(texts, **options)

    with monkeypatch.context() as patch:
        patch.setattr(two, "predict", kill)
        patch.setattr(answer_cache, "CHUNK_SECONDS", 1000)  # the next piece is twice as large
        with pytest.raises(CharseqError, match="SIGKILL"):
            convert(two, source, target, beam=1, batch_size=16, kept_for="x")
    assert calls == [16, 32, 64]
    assert not target.exists()
    assert convert(model, source, target, beam=1, batch_size=16, kept_for="x").kept == 48
    convert(model, source, tmp_path / "c.txt", beam=1)
    assert target.read_bytes() == (tmp_path / "c.txt").read_bytes()


def test_nobody_stays_behind(model: PairsModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ALONE", 0)
    processes = []

    def stop() -> None:
        with sharing(model, 3, fingerprint(model)) as found:
            assert isinstance(found, WorkerPool)
            found.predict(TEXTS[:1], beam=1)
            processes.extend(worker.child.process for worker in found.workers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert [process.returncode for process in processes] == [-signal.SIGTERM] * 2


def test_ctrl_c_does_not_wait_for_the_share_of_a_worker(
    model: PairsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ALONE", 0)
    texts = [f"{number} {'März ' * 2000}" for number in range(400)]

    def interrupt(share: list[str], **_: object) -> None:
        if len(share) > 1:
            time.sleep(1)  # the worker has its share by now, and computes for half a minute
            raise KeyboardInterrupt

    monkeypatch.setattr(model, "predict", interrupt)
    begun = time.monotonic()
    with sharing(model, 2, fingerprint(model)) as found, pytest.raises(KeyboardInterrupt):
        found.predict(texts, beam=8)
    assert time.monotonic() - begun < 3


def test_a_worker_ends_with_the_first_process() -> None:
    program = (
        "from charseq.inference.pool import Worker; import os; from pathlib import Path\n"
        f"one = Worker(2, {{'run': {str(RUN)!r}, 'known': '', 'options': {{}}}})\n"
        "print(one.child.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    number = int(done.stdout)
    for _ in range(200):
        state = Path(f"/proc/{number}/stat")
        if not state.exists() or ") Z " in state.read_text(encoding="utf-8"):
            return
        time.sleep(0.05)
    raise AssertionError("it is still there")


def test_a_run_that_has_changed_on_the_way_is_refused(
    model: PairsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ALONE", 0)
    with (
        sharing(model, 2, "another") as found,
        pytest.raises(CharseqError, match=r"dates: the run has changed on the way"),
    ):
        found.predict(TEXTS, beam=1)


def test_a_run_that_cannot_be_loaded_any_more_is_one_line(model: PairsModel) -> None:
    worker = Worker(2, {"run": "nowhere", "known": "", "options": {}})
    for _ in range(2):
        with pytest.raises(CharseqError, match=r"^nowhere"):
            worker.predict(["a"], {"beam": 1})
    pool.terminate([worker.child], pool.GRACE)
    assert worker.child.end() == "was ended by SIGTERM"


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Workers do not run the script of the user again, nor modules of its folder."""
    (tmp_path / "script.py").write_text(
        "print('once')\n"
        "from charseq.inference import pool as module\n"
        "from charseq.inference.predictor import fingerprint, load\n"
        "module.ALONE = 0\n"
        f"model = load({str(RUN)!r})\n"
        f"texts = {TEXTS!r}\n"
        "with module.sharing(model, 2, fingerprint(model)) as pool:\n"
        "    print(pool.predict(texts) == model.predict(texts), len(pool.workers))\n"
        "    import os, sys\n"
        "    assert 'torch' not in sys.modules\n"
        "    maps = open(f'/proc/{pool.workers[0].child.process.pid}/maps').read()\n"
        "    print('libtorch' in maps)\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("once\nTrue 1\nFalse\n", "")


def test_there_are_no_workers_where_they_do_not_pay(model: PairsModel) -> None:
    for jobs, options in ((1, {}), (0, {"device": "cuda"})):
        with sharing(model, jobs, "", options) as alone:
            assert alone is model
    with sharing(model, 2, fingerprint(model)) as found:
        assert isinstance(found, WorkerPool)
        assert found.predict(TEXTS[:3], beam=1) == model.predict(TEXTS[:3], beam=1)
        assert (found.workers, found.has_features, found.append) == ([], False, None)


def test_a_pool_of_a_language_model_converts_text_as_the_model_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ALONE", 0)
    words = load(RUN.parent / "sentences")
    lines = [
        f"the little drawer {word}"
        for word in (RUN.parent / "sentences" / "about.json")
        .read_text(encoding="utf-8")
        .split()[:80]
    ]
    source = tmp_path / "a.txt"
    source.write_text("\n".join(lines), encoding="utf-8")
    convert(words, source, tmp_path / "alone.txt")
    with sharing(words, 2, fingerprint(words)) as found:
        convert(found, source, tmp_path / "shared.txt")
        assert isinstance(found, WorkerPool)
        assert len(found.workers) == 1
    assert (tmp_path / "shared.txt").read_bytes() == (tmp_path / "alone.txt").read_bytes()


def test_alignments_are_the_same_and_a_worker_gives_some_of_them(
    two: WorkerPool, model: PairsModel
) -> None:
    answers = [one.prediction for one in model.predict(TEXTS)]
    own = [one.text if one else "" for one in model.align(TEXTS, answers)]
    asked: list[int] = []
    ask = model.align
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            model, "align", lambda texts, given: asked.append(len(texts)) or ask(texts, given)
        )
        assert two.align([*TEXTS, ""], [*answers, "x"]) == [*own, ""]
    assert asked == [(len(TEXTS) + 2) // 2]
    assert len(two.workers) == 1
