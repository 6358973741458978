"""Callbacks follow a training; a faulty one is named and left out, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import charseq
from charseq.errors import CharseqError, UsageError
from charseq.training.callbacks.protocol import Callback, Guarded, guarding
from charseq.training.trainer import Step

SMALL = {"epochs": 2, "hidden": 8, "embedding": 4, "threads": 1, "evaluations": 2}
PAIRS = "".join(f"{a}{b}{c}\t{c}{b}{a}\n" for a in "abcd" for b in "abcd" for c in "abcd")


class Recorder(Callback):
    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def begin(self, facts: Mapping[str, Any]) -> None:
        self.told.append(("begin", facts))

    def step(self, step: Step) -> None:
        self.told.append(("step", step))

    def evaluation(self, facts: Mapping[str, Any]) -> None:
        self.told.append(("evaluation", facts))

    def end(self, facts: Mapping[str, Any]) -> None:
        self.told.append(("end", facts))

    def of(self, kind: str) -> list[Any]:
        return [facts for name, facts in self.told if name == kind]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    path.write_text(PAIRS)
    return path


def train(data: Path, run: Path, *callbacks: Callback, **options: Any) -> dict[str, Any]:
    settings = {**SMALL, **options.pop("settings", {})}
    config = charseq.configure(settings)
    return charseq.train(data, run=run, config=config, callbacks=callbacks, **options)


def test_a_training_tells_of_its_steps_evaluations_and_end(data: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    facts = train(data, tmp_path / "run", recorder)
    kinds = [name for name, _ in recorder.told]
    assert kinds[0] == "begin"
    assert kinds[-1] == "end"
    assert kinds.count("begin") == kinds.count("end") == 1
    (begin,) = recorder.of("begin")
    assert begin["run"] == str(tmp_path / "run")
    assert begin["settings"]["hidden"] == 8
    assert begin["data"] == charseq.load(tmp_path / "run").metadata["data"]
    steps = recorder.of("step")
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(step.loss > 0 for step in steps)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    evaluations = recorder.of("evaluation")
    best = [one.pop("best") for one in (dict(facts) for facts in evaluations)]
    assert best[0] is True
    assert [{k: v for k, v in one.items() if k != "best"} for one in evaluations] == [
        json.loads(line) for line in lines
    ]
    assert recorder.of("end") == [{"finished": True, **facts}]
    assert facts["exact_match"] == recorder.of("end")[0]["exact_match"]


def test_callbacks_change_nothing_of_a_training(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "a")
    train(data, tmp_path / "b", Recorder(), Callback())
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


class Faulty(Recorder):
    def __init__(self, where: str, fault: BaseException) -> None:
        super().__init__()
        self.where, self.fault = where, fault

    def step(self, step: Step) -> None:
        super().step(step)
        if self.where == "step" and step.number == 2:
            raise self.fault

    def evaluation(self, facts: Mapping[str, Any]) -> None:
        super().evaluation(facts)
        if self.where == "evaluation":
            raise self.fault

    def begin(self, facts: Mapping[str, Any]) -> None:
        super().begin(facts)
        if self.where == "begin":
            raise self.fault

    def end(self, facts: Mapping[str, Any]) -> None:
        super().end(facts)
        if self.where == "end":
            raise self.fault


@pytest.mark.parametrize(
    ("where", "calls"), [("begin", 1), ("step", 3), ("evaluation", None), ("end", None)]
)
def test_a_faulty_callback_is_named_and_the_model_is_there(
    data: Path, tmp_path: Path, where: str, calls: int | None
) -> None:
    faulty, other, lines = Faulty(where, KeyError("x")), Recorder(), list[str]()
    told = rf"callback Faulty\.{where}: KeyError: 'x'; it is called no more, the training goes on"
    with pytest.warns(RuntimeWarning, match=told):
        facts = train(data, tmp_path / "run", faulty, other, report=lines.append)
    assert len([line for line in lines if "callback Faulty" in line]) == 1
    assert faulty.told[-1][0] == where, "called no more"
    assert calls is None or len(faulty.told) == calls
    assert other.of("end") == [{"finished": True, **facts}]
    train(data, tmp_path / "plain")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "plain")]
    assert weights[0] == weights[1]


def test_an_interrupt_in_a_callback_ends_the_training(data: Path, tmp_path: Path) -> None:
    stopper = Faulty("step", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run", stopper)
    assert stopper.of("end") == [{"finished": False, "fault": "KeyboardInterrupt"}]
    recorder = Recorder()
    assert train(data, tmp_path / "run", recorder)["epochs"] == 2.0


def test_no_end_without_a_beginning(data: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(CharseqError):
        train(tmp_path / "none", tmp_path / "run", recorder)
    train(data, tmp_path / "run", recorder, dry_run=True)
    assert recorder.told == []


def test_an_ensemble_tells_of_each_member(data: Path, tmp_path: Path) -> None:
    recorder, lines = Recorder(), list[str]()
    settings = {"ensemble": 2, "epochs": 2}
    facts = train(data, tmp_path / "run", recorder, settings=settings, report=lines.append)
    (first, *_, last) = recorder.told
    assert first[0] == "begin"
    assert last == ("end", {"finished": True, **facts})
    lines_of = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    stored = list(map(json.loads, lines_of))
    members = charseq.load(tmp_path / "run").metadata["members"]
    for member in (1, 2):
        steps = [step for step in recorder.of("step") if step.member == member]
        assert [step.number for step in steps] == list(range(1, len(steps) + 1))
        assert len(steps) == 2
        assert all(step.loss > 0 for step in steps)
        told = [dict(one) for one in recorder.of("evaluation") if one["member"] == member]
        best = [one.pop("best") for one in told]
        assert best[0] is True
        assert told == [one for one in stored if one.get("member") == member]
        (end,) = (one for one in recorder.of("end") if one.get("member") == member)
        assert end["finished"] is True
        assert end["epochs"] == 2.0
        assert end["ser"] == members[member - 1]["scores"]["ser"]
        order = [kind for kind, one in recorder.told if member_of(one) == member]
        assert order[-1] == "end"
    train(data, tmp_path / "alone", settings=settings)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "alone")]
    assert weights[0] == weights[1]


def member_of(facts: Any) -> int | None:
    number: int | None = facts.member if isinstance(facts, Step) else facts.get("member")
    return number


def test_a_member_that_fails_tells_its_end(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charseq.training.ensemble.WORKER", "charseq.no_such_worker")
    recorder = Recorder()
    with pytest.raises(CharseqError):
        train(data, tmp_path / "run", recorder, settings={"ensemble": 2, "epochs": 1})
    ends = recorder.of("end")
    assert {one.get("member") for one in ends} == {1, 2, None}
    assert not any(one["finished"] for one in ends)
    assert all(one["fault"] for one in ends)


def test_a_guard_reports_once() -> None:
    lines: list[str] = []
    guard = Guarded(Faulty("evaluation", ValueError("no")), lines.append)
    guard.begin({})
    with pytest.warns(RuntimeWarning, match=r"Faulty\.evaluation: ValueError: no"):
        guard.evaluation({})
    guard.evaluation({})
    guard.end({})
    assert len(lines) == 1


def test_a_guarded_training_passes_on_what_it_does() -> None:
    recorder = Recorder()

    def learn(*, callbacks: Any = (), fault: bool = False) -> dict[str, Any]:
        for one in callbacks:
            one.begin({"run": "x"})
        if fault:
            raise UsageError("wrong")
        return {"ser": 1.0}

    assert guarding(learn)(callbacks=[recorder]) == {"ser": 1.0}
    with pytest.raises(UsageError, match="wrong"):
        guarding(learn)(callbacks=[recorder], fault=True)
    assert recorder.of("end") == [
        {"finished": True, "ser": 1.0},
        {"finished": False, "fault": "wrong"},
    ]
    assert guarding(learn)() == {"ser": 1.0}
