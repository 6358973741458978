"""What once went wrong in training, resuming and reading runs, and must not come back."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from arrays import save_arrays

from charseq import process
from charseq.cli import main
from charseq.config import configure
from charseq.data import pairs as examples
from charseq.errors import (
    CharseqError,
    CheckpointError,
    DataError,
    Interrupted,
    TrainingError,
)
from charseq.evaluation import evaluate
from charseq.evaluation.scoring import score_examples, write_errors
from charseq.inference import describe, predictor
from charseq.inference.verify import verify
from charseq.runs import folder as checkpoint
from charseq.runs.training_state import TrainingState
from charseq.training import pairs, train
from charseq.training.trainer import Trainer


def cfg(**k: Any) -> Any:
    small = {
        "epochs": 2, "threads": 1, "device": "cpu", "hidden": 8, "embedding": 4, "batch_size": 4,
        "evaluations": 3, "save_seconds": 0, "beam": 1,
    }  # fmt: skip
    return configure({**small, **k})


def make(folder: Path, rows: list[tuple[str, ...]], dev: list[tuple[str, ...]]) -> Path:
    folder.mkdir()
    for name, part in (("train", rows), ("dev", dev)):
        (folder / f"{name}.tsv").write_text("".join("\t".join(r) + "\n" for r in part))
    return folder


draw = random.Random(1)
WORDS = list(dict.fromkeys("".join(draw.choices("abc", k=draw.randint(2, 4))) for _ in range(60)))
PAIRS = [(w, w[::-1]) for w in WORDS]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make(tmp_path / "data", PAIRS[8:], PAIRS[:8])


def stop_at_evaluation(line: str) -> None:
    if "dev exact" in line:
        os.kill(os.getpid(), signal.SIGTERM)


def killed_after(saves: int, monkeypatch: pytest.MonkeyPatch, *args: Any, **k: Any) -> None:
    """As if SIGKILLed right after a save."""

    class Killed(BaseException): ...

    real = TrainingState.save

    def save(self: TrainingState, *a: Any, **kw: Any) -> None:
        real(self, *a, **kw)
        if self.progress.saves == saves:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", save)
        with pytest.raises(Killed):
            train.train(*args, **k)


def test_a_resume_without_the_start_is_refused_where_symbols_differ(
    data: Path, tmp_path: Path
) -> None:
    """The same number of symbols in another order would give weights to the wrong symbols."""
    base = make(tmp_path / "base", [(w.replace("a", "a" * 3), w) for w, _ in PAIRS[8:]], PAIRS[:8])
    train.train(base, run=tmp_path / "start", config=cfg())
    with pytest.raises(Interrupted):
        train.train(
            data,
            run=tmp_path / "r",
            config=cfg(),
            init_from=tmp_path / "start",
            report=stop_at_evaluation,
        )
    before = checkpoint.read_json(tmp_path / "r", "about.json")["source"]["symbols"]
    try:
        train.train(data, run=tmp_path / "r", config=cfg())
    except CheckpointError:
        return
    after = checkpoint.read_json(tmp_path / "r", "about.json")["source"]["symbols"]
    assert before == after


def test_a_resume_without_the_start_is_refused_where_sizes_differ(
    data: Path, tmp_path: Path
) -> None:
    base = make(tmp_path / "base", [(w + "z", w) for w, _ in PAIRS[8:]], PAIRS[:8])
    train.train(base, run=tmp_path / "start", config=cfg())
    with pytest.raises(Interrupted):
        train.train(
            data,
            run=tmp_path / "r",
            config=cfg(),
            init_from=tmp_path / "start",
            report=stop_at_evaluation,
        )
    with pytest.raises(CheckpointError):
        train.train(data, run=tmp_path / "r", config=cfg())


def test_a_skipped_step_that_is_scored_spoils_no_later_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer._backward

    def bad(self: Trainer, batch: Any) -> float:
        loss = real(self, batch)
        return float("nan") if self.number == self_number else loss

    probe: list[str] = []
    train.train(data, run=tmp_path / "probe", config=cfg(), report=probe.append)
    first = json.loads((tmp_path / "probe" / "metrics.jsonl").read_bytes().split(b"\n")[0])
    self_number = first["step"] - 1
    monkeypatch.setattr(Trainer, "_backward", bad)
    with pytest.raises(Interrupted):
        train.train(data, run=tmp_path / "r", config=cfg(), report=stop_at_evaluation)
    lines: list[str] = []
    train.train(data, run=tmp_path / "r", config=cfg(), report=lines.append)
    assert not [line for line in lines if "damaged" in line]
    assert [line for line in lines if line.startswith("resume")]


def test_metrics_are_json(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Trainer._backward
    monkeypatch.setattr(
        Trainer, "_backward", lambda self, b: real(self, b) if self.number % 3 else float("nan")
    )
    train.train(data, run=tmp_path / "r", config=cfg(epochs=3, evaluations=30))
    assert b"NaN" not in (tmp_path / "r" / "metrics.jsonl").read_bytes()


class Clock:
    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now

    process_time = monotonic


def test_minutes_over_before_the_first_evaluation_after_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed with less time left than loading takes, there is a model all the same."""
    Clock.now = 0.0
    monkeypatch.setattr(process, "time", Clock)
    step = Trainer._step

    def slow(self: Trainer, p: float) -> Any:
        Clock.now += 1
        return step(self, p)

    monkeypatch.setattr(Trainer, "_step", slow)
    config = cfg(epochs=0, minutes=0.5, evaluations=1)
    killed_after(28, monkeypatch, data, run=tmp_path / "r", config=config)
    prepare = pairs.prepare

    def late(*a: Any, **k: Any) -> Any:
        Clock.now += 5
        return prepare(*a, **k)

    monkeypatch.setattr(pairs, "prepare", late)
    train.train(data, run=tmp_path / "r", config=config)
    assert predictor.load(tmp_path / "r").predict(["ab"])


def test_minutes_that_end_between_two_readings_of_the_clock(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save between two readings of the clock does not swallow the last evaluation."""
    Clock.now = 0.0
    monkeypatch.setattr(process, "time", Clock)
    step, save, scored = Trainer._step, TrainingState.save, []

    def slow_step(self: Trainer, p: float) -> Any:
        Clock.now += 0.7
        return step(self, p)

    def slow_save(self: TrainingState, *a: Any, **k: Any) -> None:
        Clock.now += 0.3
        save(self, *a, **k)

    score = pairs.score_examples

    def slow_score(*a: Any, **k: Any) -> Any:
        scored.append(Clock.now)
        Clock.now += 3.0
        return score(*a, **k)

    monkeypatch.setattr(Trainer, "_step", slow_step)
    monkeypatch.setattr(TrainingState, "save", slow_save)
    monkeypatch.setattr(pairs, "score_examples", slow_score)
    train.train(data, run=tmp_path / "r", config=cfg(epochs=0, minutes=0.5, evaluations=12))
    assert len(scored) >= 2, scored


def test_a_finished_run_begun_anew_and_killed_early_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.train(data, run=tmp_path / "r", config=cfg())
    killed_after(2, monkeypatch, data, run=tmp_path / "r", config=cfg(dropout=0.1), force=True)
    train.train(data, run=tmp_path / "r", config=cfg(dropout=0.1))
    assert checkpoint.is_finished(tmp_path / "r")
    assert predictor.load(tmp_path / "r").config.dropout == 0.1


def test_errors_of_a_model_with_features_have_the_headers_columns(tmp_path: Path) -> None:
    rows = [(w, "V;A", w[::-1]) for w in WORDS]
    data = make(tmp_path / "d", rows[8:], rows[:8])
    train.train(data, run=tmp_path / "r", config=cfg(columns="source,features,target"))
    evaluate.evaluate(
        data, model=predictor.load(tmp_path / "r"), split="dev", errors=tmp_path / "e"
    )
    widths = {line.count("\t") for line in (tmp_path / "e").read_text().split("\n") if line}
    assert len(widths) == 1


def test_errors_with_line_ends_stay_one_row_each(tmp_path: Path) -> None:
    """A CSV cell may hold a line end or a tab."""

    class Fake:
        from types import SimpleNamespace as S

        source, target = S(features=()), S(pieces=list)

        def predict(self, texts: Any, **_: Any) -> Any:
            return [self.S(source=t, prediction="p") for t in texts]

    outcome = score_examples(Fake(), [examples.Example("a\nb", "c\td")], width=1)
    write_errors(tmp_path / "e", outcome, force=False)
    lines = (tmp_path / "e").read_text().split("\n")[:-1]
    assert [line.count("\t") for line in lines] == [2, 2]


def test_the_last_scores_read_the_columns_of_the_training(data: Path, tmp_path: Path) -> None:
    (data / "charseq.toml").write_text('columns = "target,source"\n')
    config = cfg(
        epochs=10, learning_rate=0.03, dropout=0, hidden=16, save_seconds=30,
        columns="source,target",
    )  # fmt: skip
    facts = train.train(data, run=tmp_path / "r", config=config)
    scores = checkpoint.read_json(tmp_path / "r", "about.json")["scores"]
    assert facts["ser"] == pytest.approx(scores["ser"], abs=1e-6)


def test_nothing_to_score_is_said_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "train.tsv").write_text("ab\tba\n" * 9)
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("trained"))
    with pytest.raises(DataError):
        train.train(folder, run=tmp_path / "r", config=cfg())


def spoilt(data: Path, tmp_path: Path, spoil: Any) -> Path:
    train.train(data, run=tmp_path / "ok", config=cfg(epochs=1))
    about, weights = checkpoint.load_model(tmp_path / "ok")
    spoil(about, weights)
    files = {
        "about.json": json.dumps(about).encode(),
        "model.safetensors": save_arrays(weights),
    }
    checkpoint.publish(tmp_path / "bad", files)
    return tmp_path / "bad"


@pytest.mark.parametrize("key", ["parameters", "seconds", "epochs", "data", "versions", "scores"])
def test_an_about_that_lacks_something(key: str, data: Path, tmp_path: Path) -> None:
    bad = spoilt(data, tmp_path, lambda about, _: about.pop(key))
    with pytest.raises(CheckpointError):
        predictor.load(bad)
    with pytest.raises(CheckpointError):
        describe.info(bad)


def test_enormous_limits(data: Path, tmp_path: Path) -> None:
    bad = spoilt(data, tmp_path, lambda about, _: about.update(limits=[2**31 - 1]))
    with pytest.raises(CharseqError):
        predictor.load(bad).predict(["ab"], beam=1)


def test_a_start_whose_weights_do_not_fit(data: Path, tmp_path: Path) -> None:
    bad = spoilt(data, tmp_path, lambda _, w: w.update(source_embedding=np.zeros((2, 4), "f4")))
    with pytest.raises(CheckpointError):
        train.train(data, run=tmp_path / "r", config=cfg(), init_from=bad)


def test_a_start_that_lacks_weights(data: Path, tmp_path: Path) -> None:
    bad = spoilt(data, tmp_path, lambda _, w: w.pop("bridge.bias"))
    with pytest.raises(CheckpointError):
        train.train(data, run=tmp_path / "r", config=cfg(), init_from=bad)


def test_the_name_of_a_weight_cannot_break_the_line(data: Path, tmp_path: Path) -> None:
    bad = spoilt(data, tmp_path, lambda _, w: w.update({"a\nb": np.zeros(1, "f4")}))
    with pytest.raises(CheckpointError) as caught:
        predictor.load(bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("beam", [0, -1])
def test_a_beam_below_one_is_refused_by_evaluate(beam: int, data: Path, tmp_path: Path) -> None:
    train.train(data, run=tmp_path / "r", config=cfg(epochs=1))
    with pytest.raises(CharseqError):
        evaluate.evaluate(data, model=predictor.load(tmp_path / "r"), split="dev", beam=beam)


def test_symbols_that_contradict_the_start_are_refused(data: Path, tmp_path: Path) -> None:
    train.train(data, run=tmp_path / "start", config=cfg(epochs=1))
    try:
        train.train(
            data,
            run=tmp_path / "r",
            config=cfg(epochs=1, source_symbols="spaced"),
            init_from=tmp_path / "start",
        )
    except CharseqError:
        return
    about = checkpoint.read_json(tmp_path / "r", "about.json")
    assert about["settings"]["source_symbols"] in ("auto", about["source"]["kind"])


def test_a_damaged_about_does_not_block_sound_states(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train.train(data, run=tmp_path / "r", config=cfg(), report=stop_at_evaluation)
    path = tmp_path / "r" / "about.json"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    train.train(data, run=tmp_path / "r", config=cfg())


def test_force_begins_anew_whatever_is_there(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train.train(data, run=tmp_path / "r", config=cfg(), report=stop_at_evaluation)
    path = tmp_path / "r" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"size": 1', b'"size": 2'))
    train.train(data, run=tmp_path / "r", config=cfg(), force=True)


def test_a_lost_state_is_not_said_to_have_one_before_it(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train.train(data, run=tmp_path / "r", config=cfg(), report=stop_at_evaluation)
    for path in (tmp_path / "r").glob("resume.*.safetensors"):
        path.write_bytes(b"")
    lines: list[str] = []
    train.train(data, run=tmp_path / "r", config=cfg(), report=lines.append)
    told = [line for line in lines if "damaged" in line]
    assert told
    assert all(line.endswith("; training begins anew") for line in told)


def test_the_cards_command_can_be_pasted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train.train(data, config=cfg(epochs=1))
    card = (tmp_path / "checkpoints" / "data" / "README.md").read_text()
    (line,) = [line for line in card.split("\n") if "charseq predict -m" in line]
    predictor.load(line.split()[3])


# --- memory, disk and haste


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Steps of more than ``most`` rows find no memory; the sizes of the others."""
    real, sizes = Trainer._backward, []

    def backward(self: Trainer, batch: Any) -> float:
        if len(batch.weights) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
        sizes.append(len(batch.weights))
        return real(self, batch)

    monkeypatch.setattr(Trainer, "_backward", backward)
    return sizes


def test_where_memory_is_short_the_batch_is_halved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, lines = short_of_memory(monkeypatch, 4), []
    config = cfg(batch_size=16, dropout=0.2)
    facts = train.train(data, run=tmp_path / "r", config=config, report=lines.append)
    assert max(sizes) == 4
    assert len(sizes) == 2 * -(-len(PAIRS[8:]) // 4)
    assert [line for line in lines if line.startswith("memory")] == [
        "memory     is short: from now on batches of 8",
        "memory     is short: from now on batches of 4",
    ]
    assert facts["epochs"] == 2.0
    assert checkpoint.read_json(tmp_path / "r", "about.json")["settings"]["batch_size"] == 16

    killed_after(5, monkeypatch, data, run=tmp_path / "s", config=config)
    again: list[str] = []
    train.train(data, run=tmp_path / "s", config=config, report=again.append)
    assert not [line for line in again if line.startswith("memory")], "it is known by now"
    name = "model.safetensors"
    assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "s" / name).read_bytes()


def test_halving_goes_on_from_the_step_that_failed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs short in mid-epoch: what was learnt stays, and the place in the data with it."""
    real, short, steps = Trainer._backward, [True], []

    def backward(self: Trainer, batch: Any) -> float:
        if self.number == 7 and short:
            short.clear()
            raise MemoryError
        steps.append((self.number, len(batch.weights)))
        return real(self, batch)

    monkeypatch.setattr(Trainer, "_backward", backward)
    train.train(data, run=tmp_path / "r", config=cfg())
    assert steps[6:8] == [(6, 4), (14, 2)]
    assert steps[-1][0] == 2 * -(-len(PAIRS[8:]) // 2) - 1


def test_after_five_halvings_it_ends_in_one_line_and_keeps_the_last_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cfg(batch_size=64, epochs=4)
    killed_after(2, monkeypatch, data, run=tmp_path / "r", config=config)
    with monkeypatch.context() as patch:
        short_of_memory(patch, 0)
        with pytest.raises(TrainingError, match="out of memory, even with batches of 2: Default"):
            train.train(data, run=tmp_path / "r", config=config)
    lines: list[str] = []
    train.train(data, run=tmp_path / "r", config=config, report=lines.append)
    assert [line for line in lines if line.startswith("resume     at step")]


def test_where_not_even_the_state_fits_it_ends_in_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    short_of_memory(monkeypatch, 0)
    monkeypatch.setattr(Trainer, "state", full)
    with pytest.raises(TrainingError, match="out of memory, whatever the batch: Default"):
        train.train(data, run=tmp_path / "r", config=cfg())
    monkeypatch.setattr(Trainer, "__init__", full)
    words = ["train", str(data), "-o", str(tmp_path / "s"), "--epochs", "1", "--threads", "1"]
    assert main.run(words) == 1


def test_other_faults_of_torch_are_not_taken_for_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backward(self: Trainer, batch: Any) -> float:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Trainer, "_backward", backward)
    with pytest.raises(RuntimeError, match="shapes"):
        train.train(data, run=tmp_path / "r", config=cfg())


def test_a_disk_without_room_for_a_save_is_said_before_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(
        "charseq.runs.training_state.shutil.disk_usage", lambda _: SimpleNamespace(free=9000)
    )
    with pytest.raises(CheckpointError, match=r"r: a save takes 0 MB, its disk has 0 MB left"):
        train.train(data, run=tmp_path / "r", config=cfg())
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("evaluation", [1, 3])
def test_a_signal_while_dev_is_scored_waits_for_no_score(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, evaluation: int
) -> None:
    """The score is made first thing when the run goes on, so that it ends as if nothing was."""
    train.train(data, run=tmp_path / "whole", config=cfg(dropout=0.2))
    real, seen = pairs.score_examples, []

    def score(*a: Any, **k: Any) -> Any:
        seen.append(1)
        if len(seen) == evaluation:
            os.kill(os.getpid(), number)
            pytest.fail("it was waited for")
        return real(*a, **k)

    monkeypatch.setattr(pairs, "score_examples", score)
    with pytest.raises(Interrupted) as caught:
        train.train(data, run=tmp_path / "r", config=cfg(dropout=0.2))
    assert caught.value.exit_code == 128 + number
    train.train(data, run=tmp_path / "r", config=cfg(dropout=0.2))
    for name in ("model.safetensors", "metrics.jsonl"):
        before, after = ((tmp_path / run / name).read_bytes() for run in ("whole", "r"))
        if name == "metrics.jsonl":
            before, after = (
                [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in y.splitlines()]
                for y in (before, after)
            )
        assert before == after


def test_ten_bad_steps_leave_the_last_good_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer._backward
    monkeypatch.setattr(
        Trainer,
        "_backward",
        lambda self, batch: real(self, batch) if self.number < 16 else float("nan"),
    )
    with pytest.raises(TrainingError, match="not finite for 10 steps in a row"):
        train.train(data, run=tmp_path / "r", config=cfg(evaluations=6, epochs=9))
    kept = checkpoint.load_model(tmp_path / "r")[1]
    assert all(np.isfinite(value).all() for value in kept.values())
    assert predictor.load(tmp_path / "r").predict(["ab"])
    assert verify(tmp_path / "r").faults == []


def test_no_more_than_a_minute_of_work_is_ever_at_stake(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default, with steps of five seconds and evaluations of three minutes between them."""
    Clock.now = 0.0
    monkeypatch.setattr(process, "time", Clock)
    step, save, saved = Trainer._step, TrainingState.save, [0.0]

    def slow(self: Trainer, done: float) -> Any:
        Clock.now += 5
        return step(self, done)

    def noted(self: TrainingState, *a: Any, **k: Any) -> None:
        save(self, *a, **k)
        saved.append(Clock.now)

    monkeypatch.setattr(Trainer, "_step", slow)
    monkeypatch.setattr(TrainingState, "save", noted)
    config = cfg(epochs=0, minutes=9, evaluations=3, save_seconds=configure({}).save_seconds)
    train.train(data, run=tmp_path / "r", config=config)
    gaps = [after - before for before, after in itertools.pairwise(saved)]
    assert max(gaps) <= 60
    assert len(gaps) >= 9
