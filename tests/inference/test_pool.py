"""More processes must not change an answer, and none may stay behind or fail without a word."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from charseq.errors import CharseqError, SettingError
from charseq.inference import pool
from charseq.inference.convert import convert
from charseq.inference.pool import Crew, Helper, pack, sharing, unpack
from charseq.inference.prediction import Candidate, Prediction
from charseq.inference.predictor import PairsModel, fingerprint, load

RUN = Path(__file__).parents[2] / "checkpoints" / "dates"
TEXTS = [f"{day}. März {year}" for day in range(1, 29) for year in (1999, 2021)]


@pytest.fixture(scope="module")
def model() -> PairsModel:
    found = load(RUN)
    assert isinstance(found, PairsModel)
    return found


@pytest.fixture
def two(model: PairsModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """The model and one helper, from the first call on."""
    monkeypatch.setattr(pool, "ALONE", 0)
    with sharing(model, 2, fingerprint(model)) as found:
        assert isinstance(found, Crew)
        yield found


def test_answers_are_the_same_and_a_helper_gives_some_of_them(two: Crew, model: PairsModel) -> None:
    texts = [*TEXTS, *TEXTS[:5], "5 Mrach ß 2021"]
    asked: list[int] = []
    ask = Helper.ask
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Helper, "ask", lambda *given: (asked.append(len(given[1])), ask(*given)))
        found = two.predict(texts, n=2, beam=3)
    assert found == model.predict(texts, n=2, beam=3)
    assert asked == [len(set(texts)) // 2]
    assert two.predict(TEXTS[:5]) == model.predict(TEXTS[:5])  # too few to share
    assert len(two.helpers) == 1
    with pytest.raises(SettingError, match="beam is 0"):
        two.predict(TEXTS, beam=0)


def test_a_helper_that_is_killed_is_one_line(two: Crew, tmp_path: Path) -> None:
    two.predict(TEXTS[:2], beam=1)
    os.kill(two.helpers[0].child.process.pid, signal.SIGKILL)
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("\n".join(TEXTS), encoding="utf-8")
    with pytest.raises(CharseqError, match=r"^process 2 .* was ended by SIGKILL; --jobs 1"):
        convert(two, source, target, beam=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_nobody_stays_behind(model: PairsModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ALONE", 0)
    processes = []

    def stop() -> None:
        with sharing(model, 3, fingerprint(model)) as found:
            assert isinstance(found, Crew)
            found.predict(TEXTS[:1], beam=1)
            processes.extend(helper.child.process for helper in found.helpers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert [process.returncode for process in processes] == [-signal.SIGTERM] * 2


def test_a_helper_ends_with_the_first_process() -> None:
    program = (
        "from charseq.inference.pool import Helper; import os; from pathlib import Path\n"
        f"one = Helper(2, {{'run': {str(RUN)!r}, 'known': '', 'options': {{}}}})\n"
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


def test_there_is_no_help_where_it_does_not_pay(model: PairsModel) -> None:
    for jobs, options in ((1, {}), (0, {"device": "cuda"})):
        with sharing(model, jobs, "", options) as alone:
            assert alone is model
    with sharing(model, 2, fingerprint(model)) as found:
        assert isinstance(found, Crew)
        assert found.predict(TEXTS[:3], beam=1) == model.predict(TEXTS[:3], beam=1)
        assert (found.helpers, found.has_features) == ([], False)
        assert not hasattr(found, "append")


def test_what_is_sent_is_what_comes_to_the_last_bit() -> None:
    one = Prediction("a\ud800", "b", 0.1 + 0.2, ["ß"], True, [Candidate("b", 1 / 3, -1e-17, "x")])
    assert unpack(pack(one)) == one


def test_a_helper_answers_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.BytesIO):
        buffer = property(lambda self: self)

    job = b'{"run": "nowhere", "known": "", "options": {}}\n{"texts": ["a"]}\n'
    told = Stream()
    monkeypatch.setattr(sys, "stdin", Stream(job))
    monkeypatch.setattr(sys, "stdout", told)
    assert pool.main() == 0
    assert told.getvalue().startswith(b'{"fault": "nowhere')
    monkeypatch.setattr(sys, "stdin", Stream(b""))
    assert pool.main() == 0
