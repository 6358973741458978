"""The mean of weights: of evaluations that a run kept, or of runs from one start, and no others."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import save_arrays
from world import write_capitals

from charseq.config import Config, configure, defaults
from charseq.errors import CheckpointError, UsageError
from charseq.inference import describe
from charseq.inference.loading import read_run
from charseq.inference.predictor import load
from charseq.runs import folder as checkpoint
from charseq.runs import weights
from charseq.runs.training_state import kept_evaluations
from charseq.training import train
from charseq.training.averaging import average, mean
from charseq.training.pairs import PairsTask


def config_of(**settings: Any) -> Config:
    small = {
        "epochs": 4, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 12,
        "embedding": 6, "batch_size": 8, "evaluations": 4, "learning_rate": 0.02, "beam": 2,
        "ema": 0, "alignment_prior": False,
    }  # fmt: skip
    task = settings.get("task", "pairs")
    return configure({**small, "task": task, **settings}, base=defaults(task))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(1)
    words = list(dict.fromkeys("".join(draw.choices("abc", k=4)) for _ in range(90)))
    folder = tmp_path_factory.mktemp("averaging") / "upper"
    return write_capitals(folder, dev=words[:8], train=words[8:])


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that kept the last three of its four evaluations."""
    folder = tmp_path_factory.mktemp("runs") / "kept"
    train.train(data, run=folder, config=config_of(keep=3))
    return folder


def silent(line: str) -> None: ...


def kept(run: Path, number: int) -> dict[str, np.ndarray]:
    return weights.load_arrays(checkpoint.read(run, f"kept.{number}.safetensors"))


def weights_of(run: Path) -> dict[str, np.ndarray]:
    return checkpoint.load_model(run)[1]


def close(found: dict[str, np.ndarray], parts: list[dict[str, np.ndarray]]) -> bool:
    return found.keys() == parts[0].keys() and all(
        np.allclose(found[name], sum(part[name] for part in parts) / len(parts), atol=1e-7)
        for name in found
    )


def rewrite(run: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a run that says something else of itself."""
    files = checkpoint.read_all(run, sorted(checkpoint.names(run)))
    about = {**json.loads(files["about.json"]), **changes}
    checkpoint.publish(folder, {**files, "about.json": json.dumps(about).encode()})
    return folder


# --- what a run keeps


def test_the_last_evaluations_are_kept(data: Path, run: Path, tmp_path: Path) -> None:
    assert kept_evaluations(run) == [2, 3, 4]
    best = weights_of(run)
    assert any(
        all(np.array_equal(kept(run, number)[name], best[name]) for name in best)
        for number in (2, 3, 4)
    )
    scores = [PairsTask(data, config_of()).score(kept(run, number)) for number in (2, 3, 4)]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [one["ser"] for one in scores] == [line["ser"] for line in lines[1:]]


# --- evaluations of one run


@pytest.mark.parametrize(
    ("how", "numbers"), [({}, [2, 3, 4]), ({"last": 2}, [3, 4]), ({"last": 1}, [4])]
)
def test_the_mean_of_the_last_evaluations(
    how: dict[str, int], numbers: list[int], run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mean"
    facts = average([run], out, **how, report=silent)
    assert close(weights_of(out), [kept(run, number) for number in numbers])
    about = checkpoint.read_json(out, "about.json")
    assert about["averaged"]["evaluations"] == numbers == facts["averaged"]["evaluations"]
    assert about["finished"]
    assert about["scores"] == facts["scores"] == {}
    assert about["settings"] == checkpoint.read_json(run, "about.json")["settings"]
    assert not kept_evaluations(out)
    assert load(out).predict(["abca"])[0].candidates
    describe.info(out)


def test_the_best_are_those_of_the_highest_scores(run: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line, (exact, ser) in zip(lines, [(99, 1), (50, 9), (10, 5), (50, 3)], strict=True):
        line.update(exact_match=exact, ser=ser)
    told = "".join(json.dumps(line) + "\n" for line in lines).encode()
    other = rewrite(run, tmp_path / "other")
    checkpoint.publish(other, {"metrics.jsonl": told})
    for count, numbers in ((1, [4]), (2, [2, 4]), (3, [2, 3, 4])):
        facts = average([other], tmp_path / str(count), best=count, report=silent)
        assert facts["averaged"]["evaluations"] == numbers
    checkpoint.publish(other, {"metrics.jsonl": b"[]\n"})
    with pytest.raises(CheckpointError, match="expected a JSON object"):
        average([other], tmp_path / "none", best=1, report=silent)


def test_with_data_the_mean_is_scored_as_in_training(data: Path, run: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    facts = average([run], tmp_path / "mean", last=1, data=data, report=lines.append)
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert facts["scores"]["ser"] == metrics[-1]["ser"]
    assert facts["scores"]["exact_match"] == metrics[-1]["exact_match"]
    assert lines[0] == f"averaged   evaluations 4 of {run}"
    assert lines[1] == "calibrated no: dev has 8 inputs, expected 100"
    assert lines[2].startswith("scores     dev exact ")
    assert "dev exact match" in (tmp_path / "mean" / "README.md").read_text()


def test_next_word_runs_are_averaged_as_well(tmp_path: Path) -> None:
    draw = random.Random(2)
    words = ["the", "a", "cat", "dog", "sat", "ran"]
    text = "".join(" ".join(draw.choices(words, k=4)) + "\n" for _ in range(120))
    (tmp_path / "lines.txt").write_text(text)
    config = config_of(task="next-word", keep=2, min_count=1, epochs=2, evaluations=2)
    train.train(tmp_path / "lines.txt", run=tmp_path / "run", config=config)
    facts = average([tmp_path / "run"], tmp_path / "m", data=tmp_path / "lines.txt", report=silent)
    assert facts["scores"]["perplexity"] > 1
    parts = [kept(tmp_path / "run", number) for number in (1, 2)]
    assert close(weights_of(tmp_path / "m"), parts)


# --- several runs


def test_runs_from_one_start_are_averaged(data: Path, run: Path, tmp_path: Path) -> None:
    tuned = [tmp_path / name for name in ("one", "two")]
    for seed, folder in enumerate(tuned):
        config = config_of(epochs=1, evaluations=1, seed=seed)
        train.train(data, run=folder, config=config, init_from=run)
    average(tuned, tmp_path / "mean", report=silent)
    assert close(weights_of(tmp_path / "mean"), [weights_of(folder) for folder in tuned])
    about = checkpoint.read_json(tmp_path / "mean", "about.json")
    assert len(about["averaged"]["runs"]) == 2
    assert read_run(tmp_path / "mean").metadata["averaged"]["of"] == f"{tuned[0]}, {tuned[1]}"
    with pytest.raises(UsageError, match="did not start from the same weights"):
        average([tuned[0], run], tmp_path / "x", report=silent)
    with pytest.raises(UsageError, match="last and best choose among the evaluations of one"):
        average(tuned, tmp_path / "x", last=2, report=silent)
    target = checkpoint.read_json(tuned[1], "about.json")["target"]
    turned = {**target, "symbols": target["symbols"][::-1]}
    other = rewrite(tuned[1], tmp_path / "turned", target=turned)
    with pytest.raises(UsageError, match="differ in their symbols or shapes"):
        average([tuned[0], other], tmp_path / "x", report=silent)
    assert not (tmp_path / "x").exists()


def test_equal_weights_are_their_own_mean() -> None:
    draw = np.random.default_rng(1)
    one = {"a": draw.normal(size=(50, 3)).astype(np.float32)}
    assert np.array_equal(mean([one] * 7)["a"], one["a"])
    assert mean([one])["a"].dtype == np.float32


# --- what is refused


def test_runs_that_cannot_be_averaged_are_refused(data: Path, run: Path, tmp_path: Path) -> None:
    single = tmp_path / "single"
    train.train(data, run=single, config=config_of(epochs=1, evaluations=1))
    refused: list[tuple[list[Path], dict[str, Any], str]] = [
        ([single], {}, "kept no evaluations to average: train with keep_checkpoints=5"),
        ([single, run], {}, "did not start from the same weights"),
        ([run, run], {}, "a run is named twice"),
        ([run], {"last": 4}, "kept 3 evaluations, not 4"),
        ([run], {"last": 1, "best": 1}, "last and best exclude each other"),
        ([tmp_path / "none"], {}, "there is no such run"),
    ]
    for runs, how, said in refused:
        with pytest.raises((CheckpointError, UsageError)) as caught:
            average(runs, tmp_path / "out", **how, report=silent)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="is one of the runs to average"):
        average([run], run, report=silent)
    with pytest.raises(CheckpointError, match="is finished already"):
        average([run], single, report=silent)
    average([run], single, force=True, report=silent)
    assert "averaged" in checkpoint.read_json(single, "about.json")


def test_weights_of_another_shape_are_no_evaluation(run: Path, tmp_path: Path) -> None:
    other = rewrite(run, tmp_path / "other")
    arrays = {**kept(run, 4), "readout.bias": np.zeros(5, np.float32)}
    checkpoint.publish(other, {"kept.4.safetensors": save_arrays(arrays)})
    with pytest.raises(CheckpointError, match=r"kept\.4\.safetensors: is damaged"):
        average([other], tmp_path / "mean", report=silent)
