"""The numbers of a training arrive in TensorBoard and in Weights & Biases, under the same names."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import charseq
from charseq.errors import MissingExtraError, SettingError
from charseq.training.callbacks.adapters import TensorBoard, WandB
from charseq.training.callbacks.protocol import Callback

SMALL = {"epochs": 4, "hidden": 8, "embedding": 4, "threads": 1, "evaluations": 2, "batch_size": 16}
PAIRS = "".join(f"{a}{b}{c}\t{c}{b}{a}\n" for a in "abcd" for b in "abcd" for c in "abcd")
DEV = {"dev/exact_match", "dev/ser", "dev/epoch"}
TRAIN = {"train/loss", "train/learning_rate", "train/gradient_norm"}


def train(folder: Path, *callbacks: Callback, **settings: Any) -> dict[str, Any]:
    (folder / "pairs.tsv").write_text(PAIRS)
    config = charseq.configure({**SMALL, **settings})
    return charseq.train(
        folder / "pairs.tsv", run=folder / "mine", config=config, callbacks=callbacks
    )


class FakeRun:
    def __init__(self, **options: Any) -> None:
        self.options = options
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.axes: dict[str, str] = {}
        self.summary: dict[str, Any] = {}
        self.code: int | None = None

    def log(self, values: dict[str, float], *, step: int = 0) -> None:
        self.logged.append((step, values))

    def define_metric(self, name: str, *, step_metric: str) -> None:
        self.axes[name] = step_metric

    def finish(self, *, exit_code: int) -> None:
        self.code = exit_code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """The runs of a package that stands for wandb."""
    made: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        made.append(FakeRun(**options))
        return made[-1]

    monkeypatch.setitem(
        sys.modules,
        "wandb",
        SimpleNamespace(init=init, __spec__=object()),  # type: ignore[arg-type]
    )
    return made


def test_a_run_of_wandb_has_settings_losses_scores_and_summary(
    tmp_path: Path, runs: list[FakeRun]
) -> None:
    facts = train(tmp_path, WandB(every=2, project="names"))
    (run,) = runs
    assert run.options["project"] == "names"
    assert run.options["name"] == "mine"
    assert run.options["config"]["hidden"] == 8
    steps = [step for step, values in run.logged if set(values) == TRAIN]
    assert steps == list(range(2, steps[-1] + 1, 2))
    scores = [values for _, values in run.logged if set(values) >= DEV]
    assert len(scores) >= 2
    assert [step for step, _ in run.logged] == sorted(step for step, _ in run.logged)
    assert run.summary["exact_match"] == facts["exact_match"]
    assert run.code == 0


def test_members_of_an_ensemble_have_curves_of_their_own(
    tmp_path: Path, runs: list[FakeRun]
) -> None:
    train(tmp_path, WandB(every=2), ensemble=2)
    (run,) = runs
    assert run.axes == {f"member {one}/*": f"member {one}/step" for one in (1, 2)}
    assert {step for step, _ in run.logged} == {0}, "steps of one run only grow"
    for member in (1, 2):
        own = f"member {member}/"
        logged = [values for _, values in run.logged if own + "step" in values]
        steps = [one[own + "step"] for one in logged if own + "train/loss" in one]
        assert steps == list(range(2, int(steps[-1]) + 1, 2))
        assert sum({own + name for name in DEV} <= set(one) for one in logged) >= 2
    assert run.code == 0


def test_a_training_that_fails_fails_in_wandb(runs: list[FakeRun]) -> None:
    logger = WandB(name="own")
    logger.begin({"run": "checkpoints/x", "settings": {}, "data": {}})
    logger.end({"finished": False, "fault": "no"})
    assert runs[0].options["name"] == "own"
    assert runs[0].code == 1


def test_wandb_takes_it_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandB(every=2, project="charseq", dir=os.fspath(tmp_path))
    train(tmp_path, logger)
    wandb.teardown()  # its own process writes the rest of the file
    (log,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert log.stat().st_size > 1000


def test_tensorboard_shows_losses_and_scores(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, TensorBoard(tmp_path / "logs", every=3))
    found = EventAccumulator(os.fspath(tmp_path / "logs"))
    found.Reload()
    names = set(found.Tags()["scalars"])
    assert names >= TRAIN | DEV
    steps = [event.step for event in found.Scalars("train/loss")]
    assert steps == list(range(3, steps[-1] + 1, 3))
    assert all(event.value > 0 for event in found.Scalars("train/loss"))
    assert len(found.Scalars("dev/ser")) >= 2
    assert "settings/text_summary" in found.Tags()["tensors"]


@pytest.mark.parametrize(
    ("make", "package"), [(lambda: TensorBoard("logs"), "tensorboard"), (WandB, "wandb")]
)
def test_without_the_package_it_is_named(
    make: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"pip install {package}$"):
        make()


def test_every_is_one_or_more(runs: list[FakeRun]) -> None:
    assert not runs
    with pytest.raises(SettingError, match="every is 0, expected 1 or more"):
        WandB(every=0)
