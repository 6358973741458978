"""Lines of text from a folder to a run that predicts words: tiny texts, all cells, all units."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import signal
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import charseq
from charseq.config import Config, configure, defaults
from charseq.data import corpus
from charseq.data.batches import LineBatches, StreamBatches
from charseq.data.text.vocabulary import BOS, EOS, SPECIALS, UNK
from charseq.decoding.next_word_numpy import NumpyNextWord
from charseq.errors import CharseqError, DataError, Interrupted, SettingError, UsageError
from charseq.evaluation import evaluate
from charseq.inference.language_model import LanguageModel
from charseq.inference.loading import read_run
from charseq.inference.predictor import load
from charseq.models.next_word import NextWord
from charseq.runs import folder as checkpoint
from charseq.runs import weights as weights_module
from charseq.runs.training_state import TrainingState
from charseq.training import next_word, train
from charseq.training.next_word import TRAITS, NextWordTask, shape, stem, traits_of

KEYS = [
    "run", "parameters", "seconds", "epochs", "data", "split", "words", "perplexity",
    "bits_per_character", "hit_at_1", "hit_at_3", "hit_at_5", "keystrokes_saved", "oov", "sampled",
    "signature",
]  # fmt: skip
WHO = ("I", "you", "we", "they")
DO = ("love", "like", "see")
WHAT = ("machine learning", "deep water", "the cat", "green tea", "The sea")


def config_of(**settings: Any) -> Config:
    small = {
        "epochs": 8, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 16,
        "embedding": 16, "batch_size": 8, "evaluations": 3, "learning_rate": 0.03, "min_count": 1,
        "dropout": 0.1, "embedding_dropout": 0.0, "recurrent_dropout": 0.0, "subword_size": 300,
        "beam": 3,
    }  # fmt: skip
    return configure({**small, **settings}, base=defaults("next-word"))


def lines_of(count: int, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(map(draw.choice, (WHO, DO, WHAT))) for _ in range(count)]


def make(folder: Path, lines: Sequence[str], dev: int = 8) -> Path:
    """A folder of text: train, dev and test."""
    folder.mkdir(parents=True)
    parts = {"train": lines[2 * dev :], "dev": lines[:dev], "test": lines[dev : 2 * dev]}
    for name, part in parts.items():
        text = "".join(f"{line}\n" for line in part)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("text") / "talk", lines_of(80))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "talk"
    train.train(data, run=folder, config=config_of(evaluations=6))
    return folder


@pytest.fixture(scope="module")
def upper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, and a run of them."""
    folder = tmp_path_factory.mktemp("pairs") / "upper"
    folder.mkdir()
    for name, words in (("train", "ab ba aab bba abab"), ("dev", "aa bb")):
        text = "".join(f"{word}\t{word.upper()}\n" for word in words.split())
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    small = {"epochs": 1, "hidden": 16, "embedding": 16, "threads": 1, "device": "cpu"}
    train.train(folder, run=folder / "run", config=configure(small))
    return folder


def loaded(run: Path) -> LanguageModel:
    model = load(run)
    assert isinstance(model, LanguageModel)
    return model


def weights_of(run: Path) -> dict[str, np.ndarray]:
    return checkpoint.load_model(run)[1]


def sha(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def metrics_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]


def perplexity(model: LanguageModel, lines: Sequence[str]) -> float:
    """From what the model says of each line alone."""
    words = sum(len(line.split()) + 1 for line in lines)
    return math.exp(-math.fsum(one.score for one in model.score(lines)) / words)


# --- from text to a model


def test_a_folder_of_text_is_learnt_and_predicted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    facts = charseq.train(data, config=config_of(), report=told.append)
    run = tmp_path / "checkpoints" / "talk"
    assert list(facts) == KEYS
    assert (facts["run"], facts["split"]) == (str(Path("checkpoints") / "talk"), "dev")
    assert (facts["data"], facts["epochs"], facts["sampled"]) == (str(data), 8.0, None)
    about, weights = checkpoint.load_model(run)
    assert about["finished"]
    assert about["settings"] == config_of(stateful="no").to_json(), "the data have decided"
    assert about["data"] == {
        "name": "talk",
        "fingerprint": corpus.load(data, splits=("train", "dev")).fingerprint,
        "columns": "",
        "examples": {"train": 64, "dev": 8},
    }
    assert not {"source", "target", "limits"} & about.keys()
    assert facts["parameters"] == sum(value.size for value in weights.values())
    assert "traits" not in weights, "they are folded into the words' vectors"
    best = charseq.load(run).predict(["I love machine"], n=3)[0]
    assert best.prediction == "learning"
    assert best.probability > 0.8
    assert 5 * math.prod([4, 3, 5]) ** 0.2 > facts["perplexity"] > math.prod([4, 3, 5]) ** 0.2
    assert told[0].startswith("data       64 lines train, 8 dev, from ")
    assert sum("dev perplexity" in line for line in told) == 3
    assert told[-1] == f"kept       {Path('checkpoints') / 'talk'}"
    assert f"dev perplexity {facts['perplexity']:.1f}" in (run / "README.md").read_text("utf-8")
    assert capfd.readouterr() == ("", "")


def test_the_perplexity_on_dev_falls_and_the_least_is_kept(trained: Path) -> None:
    found = [one["perplexity"] for one in metrics_of(trained)]
    assert len(found) == 6
    assert found[-1] < 0.8 * found[0]
    about, _ = checkpoint.load_model(trained)
    assert about["scores"] == {"perplexity": min(found)}


@pytest.mark.parametrize("cell", ["tanh", "residual", "gru", "mlp"])
def test_every_cell_learns(cell: str, data: Path, tmp_path: Path) -> None:
    """The cell lstm does above."""
    train.train(data, run=tmp_path, config=config_of(cell=cell, context=2, evaluations=1))
    model = loaded(tmp_path)
    assert model.config.cell == cell
    for text, word in (("I love machine", "learning"), ("they see deep", "water")):
        best = model.predict([text])[0]
        assert (best.prediction, best.probability > 0.8) == (word, True)
    assert perplexity(model, lines_of(16)) < 4


@pytest.mark.parametrize("units", ["subwords", "bpe", "characters"])
def test_every_kind_of_units_learns(units: str, data: Path, tmp_path: Path) -> None:
    facts = train.train(
        data, run=tmp_path, config=config_of(units=units, epochs=4, evaluations=2, dropout=0)
    )
    assert list(facts) == KEYS
    assert facts["sampled"] == sum(len(line.split()) for line in lines_of(80)[:8])
    assert f"|units:{units}|" in facts["signature"]
    found = read_run(tmp_path)
    assert found.tokenizer is not None
    assert found.tokenizer.kind == units
    first, last = metrics_of(tmp_path)
    assert last["perplexity"] < first["perplexity"]
    assert loaded(tmp_path).predict(["I love"])[0].candidates
    assert facts["perplexity"] == pytest.approx(
        perplexity(loaded(tmp_path), lines_of(80)[:8]), rel=1e-5
    )


def test_running_text_is_learnt_with_a_state_that_is_carried_on(tmp_path: Path) -> None:
    """Four lines follow each other; alone each may begin with any of four words."""
    lines = ["one two", "three four", "five six", "seven eight"] * 40
    folder = make(tmp_path / "round", lines, dev=48)
    small = {"dropout": 0, "traits": False, "evaluations": 1}
    config = config_of(running=True, segment=5, batch_size=4, **small)
    facts = train.train(folder, run=tmp_path / "run", config=config)
    model = loaded(tmp_path / "run")
    assert model.network.begin == EOS
    scores = checkpoint.read_json(tmp_path / "run", "about.json")["scores"]
    assert facts["perplexity"] == pytest.approx(scores["perplexity"], rel=1e-6)
    alone = perplexity(model, lines[:4])
    assert alone > 4 ** (1 / 3) > facts["perplexity"] > 1
    first = {one.prediction for one in model.predict([""], n=4)[0].candidates}
    assert first == {"one", "three", "five", "seven"}, "a line begins as after the end of one"


def test_the_data_decide_whether_the_state_is_carried(
    tmp_path: Path, data: Path, trained: Path
) -> None:
    draw = random.Random(4)
    text = " ".join(f"{' '.join(draw.choices(WHAT, k=4)).capitalize()}." for _ in range(400))
    words = text.split()
    running = tmp_path / "running.txt"
    lines = [" ".join(words[begin : begin + 5]) for begin in range(0, len(words), 5)]
    running.write_text("\n".join(lines), encoding="utf-8")
    task = NextWordTask(running, config_of())
    assert task.config.stateful == task.metadata["settings"]["stateful"] == "yes"
    assert any(line.startswith("lines      continue each other (") for line in task.describe()), (
        "nothing is guessed in silence"
    )
    batches = task.trainer().batches
    assert isinstance(batches, StreamBatches)
    # an update is on as many symbols as one of lines
    assert batches[0].inputs.size == pytest.approx(8 * 6, abs=35)
    assert NextWordTask(running, config_of(stateful="no")).config.stateful == "no"
    alone = NextWordTask(data, config_of())
    assert alone.config.stateful == "no"
    assert isinstance(alone.trainer().batches, LineBatches)
    assert NextWordTask(running, config_of(), trained).config.stateful == "no", "as in the start"


def test_a_setting_decides_where_the_data_could_be_either(tmp_path: Path, data: Path) -> None:
    (tmp_path / "text.tsv").write_text("".join(f"{line}\n" for line in lines_of(60)))
    config = config_of(epochs=1, evaluations=1)
    assert config.task == "next-word"
    train.train(tmp_path / "text.tsv", run=tmp_path / "run", config=config)
    assert loaded(tmp_path / "run").predict([""])[0].candidates
    with pytest.raises(DataError, match=r"train\.txt:1: 1 column, expected source and target"):
        train.train(data, run=tmp_path / "no", config=configure({"task": "pairs"}))
    assert not (tmp_path / "no").exists()


def test_without_a_config_the_folder_and_the_defaults_for_words_decide(
    data: Path, tmp_path: Path
) -> None:
    folder = make(tmp_path / "own", lines_of(60))
    (folder / "charseq.toml").write_text(
        'epochs = 1\nhidden = 16\nembedding = 16\nthreads = 1\ndevice = "cpu"\nevaluations = 1\n'
    )
    train.train(folder, run=tmp_path / "run")
    config = loaded(tmp_path / "run").config
    assert (config.task, config.hidden, config.epochs) == ("next-word", 16, 1)
    assert (config.cell, config.min_count, config.ema) == ("lstm", 2, 0.0)


def test_a_dry_run_reads_and_writes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    facts = train.train(data, config=config_of(), dry_run=True, report=told.append)
    assert facts["run"] == str(Path("checkpoints") / "talk")
    assert facts["epochs"] == 0
    heads = ["data", *["line"] * 3, "lines", "symbols", "note"]
    heads += ["network", "budget", "device", "folder"]
    assert [line.split()[0] for line in told] == heads
    assert "min_count=1" in told[len(heads) - 5]
    assert not list(tmp_path.iterdir())


def test_few_minutes_score_lines_that_are_spread_over_dev(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of(80)
    data = make(tmp_path / "text", lines, dev=20)
    dev = lines[:20]

    def scored(**settings: Any) -> tuple[list[str], list[str]]:
        task = next_word.NextWordTask(data, config_of(dev_limit=16, **settings))
        return task.dev_lines, [line for line in task.describe() if "of dev" in line]

    assert scored(epochs=1) == (dev[:16], [])
    assert scored(epochs=0, minutes=60) == (dev[:16], [])
    monkeypatch.setattr(next_word, "MIN_SCORED", 16)  # of 16 lines of about 5 symbols
    found, notes = scored(epochs=0, minutes=1e-6)
    assert found == dev[:16:5]
    assert notes == [
        "note       4 of 16 lines of dev are scored on the way, for want of time; all at the end"
    ]
    assert scored(epochs=0, minutes=1e-6, running=True)[0] == dev[:4], "in one piece"


def test_torch_is_to_keep_few_products_of_ever_new_shapes(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "")  # so that it is put back at the end
    monkeypatch.delenv(name)
    next_word.NextWordTask(data, config_of()).trainer()
    assert name in os.environ


def test_useless_data_are_refused_before_training(tmp_path: Path) -> None:
    few = "no lines for dev: more lines, different ones, are needed"
    for text, fault in (("alone\n", few), ("a b\na b\na c\n", few), ("", "no lines in it")):
        (tmp_path / "text.txt").write_text(text)
        with pytest.raises(DataError, match=fault):
            train.train(tmp_path / "text.txt", run=tmp_path / "run", config=config_of())
    (tmp_path / "text.txt").write_text("a b\nc d\ne f\n")
    with pytest.raises(DataError, match="no word in it 2 times: min_count=1"):
        train.train(tmp_path / "text.txt", run=tmp_path / "run", config=config_of(min_count=2))
    assert not (tmp_path / "run").exists()


# --- what the trainer gets, and what is kept of it


def test_every_setting_reaches_the_trainer(data: Path) -> None:
    odd = {
        "learning_rate": 0.011, "warmup": 0.21, "weight_decay": 0.031, "beta2": 0.91, "clip": 0.7,
        "label_smoothing": 0.05, "ema": 0.5, "seed": 3,
    }  # fmt: skip
    trainer = NextWordTask(data, config_of(**odd, batch_size=5)).trainer()
    assert {name: getattr(trainer.settings, name) for name in odd} == odd
    lines = trainer.batches
    assert isinstance(lines, LineBatches)
    assert (lines.batch_size, lines.seed, len(lines)) == (5, 3, -(-64 // 5))
    stream = NextWordTask(data, config_of(running=True, segment=4, batch_size=5)).trainer().batches
    assert isinstance(stream, StreamBatches)
    rows, steps = stream[0].inputs.shape
    assert rows == 5
    assert steps <= 4


def test_the_bias_begins_at_the_counts_of_words_and_lines(data: Path) -> None:
    """Words below ``min_count`` are counted as the unknown one."""
    task = NextWordTask(data, config_of(min_count=12))
    bias = task.trainer().averaged()["output_bias"]
    counts = Counter(word for line in lines_of(80)[16:] for word in line.split())
    kept = {word: count for word, count in counts.items() if count >= 12}
    assert set(task.units.vocabulary.symbols) == kept.keys() != counts.keys()
    expected = np.zeros(len(bias))
    expected[EOS] = 64
    expected[UNK] = counts.total() - sum(kept.values())
    for number, word in enumerate(task.units.vocabulary.symbols, SPECIALS):
        expected[number] = counts[word]
    assert bias == pytest.approx(np.log1p(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("samples", "large", "expected"), [(-1, 5, 7), (-1, 50, 0), (0, 5, 0), (9, 50, 9)]
)
def test_the_softmax_is_sampled_where_there_are_many_words(
    samples: int, large: int, expected: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_word, "SAMPLED_FROM", large)
    monkeypatch.setattr(next_word, "SAMPLES", 7)
    chances = model_of(NextWordTask(data, config_of(samples=samples))).sampling
    assert (0 if chances is None else float(chances.sum())) == pytest.approx(expected, rel=1e-3)


def model_of(task: NextWordTask) -> NextWord:
    model = task.trainer().model
    assert isinstance(model, NextWord)
    return model


@pytest.mark.parametrize(
    ("units", "traits", "shared"),
    [("words", True, True), ("words", False, False), ("characters", True, False)],
)
def test_words_have_traits_unless_they_are_off(
    units: str, traits: bool, shared: bool, data: Path
) -> None:
    task = NextWordTask(data, config_of(units=units, traits=traits))
    model = model_of(task)
    assert (model.traits is not None) is shared
    if model.trait_rows is not None:
        symbols = task.units.vocabulary.symbols
        one, other = (SPECIALS + symbols.index(word) for word in ("the", "The"))
        same = model.trait_rows[:, one] == model.trait_rows[:, other]
        assert same.tolist() == [True, False, True, True, True], "all but the shape"


@pytest.mark.parametrize(
    "settings",
    [{}, {"tie_embeddings": False}, {"cell": "mlp"}, {"cell": "gru", "layers": 2, "ema": 0.5},
     {"samples": 6}, {"traits": False}, {"running": True}],
    ids=str,
)  # fmt: skip
def test_published_weights_predict_as_the_trained_ones(
    settings: dict[str, Any], data: Path
) -> None:
    """Traits are folded in exactly: NumPy with the kept weights is torch with the trained ones."""
    task = NextWordTask(data, config_of(**settings))
    trainer = task.trainer()
    for _ in trainer.steps(lambda step: step / 12):
        pass
    averaged = trainer.averaged()
    kept = task.publish(averaged)
    trainer.start_from(averaged)  # with ema the average is not what torch holds
    config = task.config
    network = NumpyNextWord(kept, cell=config.cell, layers=config.layers, context=config.context)
    model = trainer.model.eval()
    for line in ("I love machine learning", "they the the zebra sea", ""):
        ids = task.units.encode(line)
        with torch.no_grad():
            logits = model(torch.tensor([[BOS, *ids]]))
        expected = logits[0].log_softmax(dim=-1).numpy()
        (found,) = [logs for _, _, _, logs in network.scan([ids])]
        assert found.shape == expected.shape
        assert np.array_equal(found == -np.inf, expected == -np.inf)
        assert found == pytest.approx(expected, abs=1e-4)
    if task.config.word_features:
        assert not np.allclose(kept["embedding"], averaged["embedding"], atol=0.05)
        assert "traits" in averaged, "what is trained is left as it was"
    assert "traits" not in kept


def test_publishing_takes_the_memory_of_what_is_published(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors are added up some words at a time; what is published belongs to nobody else."""
    task = NextWordTask(data, config_of())
    words, units = 20_000, 64
    draw = np.random.default_rng(1)
    table = draw.integers(0, 3 * words, (5, words))
    monkeypatch.setattr(task, "_traits", lambda: table)
    weights = {
        "embedding": draw.random((words, units), np.float32),
        "traits": draw.random((3 * words, units), np.float32),
        "output_bias": np.ones(words, np.float32),
    }
    tracemalloc.start()
    try:
        kept = task.publish(weights)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1.6 * sum(value.nbytes for value in kept.values())
    assert kept.keys() == {"embedding", "output_bias"}
    total = weights["traits"][table[0]]
    for row in table[1:]:
        total += weights["traits"][row]
    assert np.array_equal(kept["embedding"], weights["embedding"] + total)
    assert not any(np.shares_memory(kept[name], weights[name]) for name in kept)


def test_dev_is_scored_up_to_a_limit_with_the_weights_given(data: Path) -> None:
    task = NextWordTask(data, config_of(dev_limit=3, traits=False))
    weights = {name: np.zeros_like(part) for name, part in task.trainer().averaged().items()}
    outcomes = len(task.units.vocabulary) - 2
    assert task.score(weights)["perplexity"] == pytest.approx(outcomes, rel=1e-5)
    weights["output_bias"][SPECIALS] = 2.0
    chances = np.exp(weights["output_bias"][2:]) / np.exp(weights["output_bias"][2:]).sum()
    labels = [label for line in lines_of(80)[:3] for label in [*task.units.encode(line), EOS]]
    expected = math.exp(-math.fsum(np.log(chances[label - 2]) for label in labels) / len(labels))
    assert task.score(weights)["perplexity"] == pytest.approx(expected, rel=1e-5)


def test_less_perplexity_ranks_higher_and_is_in_the_summary() -> None:
    rank, tell = NextWordTask.rank, NextWordTask.summary
    assert rank({"perplexity": 9.0}) > rank({"perplexity": 9.5}) > rank({"perplexity": 120.0})
    assert tell({"perplexity": 87.65}) == "dev perplexity    87.7"


# --- stopping and going on


def interrupting(after: int) -> Callable[[str], None]:
    """A report that asks this process to stop at an evaluation."""
    seen: list[str] = []

    def report(line: str) -> None:
        if "dev perplexity" in line:
            seen.append(line)
            if len(seen) == after:
                os.kill(os.getpid(), signal.SIGTERM)

    return report


class Killed(BaseException):
    """As if by SIGKILL."""


NOISY = {"dropout": 0.3, "embedding_dropout": 0.2, "recurrent_dropout": 0.3, "ema": 0.9}


@pytest.mark.parametrize(
    "settings",
    [{}, {"running": True, "segment": 3}, {"running": True, "segment": 3, "cell": "mlp"},
     {"units": "characters", "samples": 9}],
    ids=str,
)  # fmt: skip
def test_an_interrupted_run_resumes_to_the_same_bits(
    settings: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First killed after a step in the middle of an epoch, then stopped by a signal."""
    config = config_of(epochs=2, evaluations=4, save_seconds=0, **NOISY, **settings)
    train.train(data, run=tmp_path / "whole", config=replace(config, save_seconds=60))
    run, save = tmp_path / "run", TrainingState.save

    def killed(state: TrainingState, arrays: Any, **options: Any) -> None:
        save(state, arrays, **options)
        if state.progress.saves == 5:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", killed)
        with pytest.raises(Killed):
            train.train(data, run=run, config=config)
    states = [
        weights_module.load_arrays((run / f"resume.{slot}.safetensors").read_bytes())
        for slot in "ab"
    ]
    running = bool(settings.get("running"))
    assert [("carried" in state) for state in states] == [running, running]
    told: list[str] = []
    interrupt = interrupting(1)

    def report(line: str) -> None:
        told.append(line)
        interrupt(line)

    with pytest.raises(Interrupted):
        train.train(data, run=run, config=config, report=report)
    train.train(data, run=run, config=config, report=told.append)
    resumed = [int(line.split("step ")[1].split(",")[0]) for line in told if "resume " in line]
    assert resumed[0] == 5 < resumed[1]
    assert sha(run) == sha(tmp_path / "whole")
    ours, theirs = metrics_of(run), metrics_of(tmp_path / "whole")
    assert [{**one, "seconds": 0} for one in ours] == [{**one, "seconds": 0} for one in theirs]


def test_other_words_or_settings_are_not_resumed(data: Path, tmp_path: Path) -> None:
    config = config_of(epochs=2)
    with pytest.raises(Interrupted):
        train.train(data, run=tmp_path / "run", config=config, report=interrupting(1))
    other = config_of(epochs=2, punctuation="split")
    with pytest.raises(CharseqError, match="was begun with punctuation = keep, now it is split"):
        train.train(data, run=tmp_path / "run", config=other)
    changed = make(tmp_path / "changed", [*lines_of(80), "one more"])
    with pytest.raises(CharseqError, match="was begun on other data"):
        train.train(changed, run=tmp_path / "run", config=config)


# --- beginning with another run


def test_new_words_join_a_run_whose_weights_are_the_start(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    """At a rate of zero the weights stay what they were, with all their traits folded in."""
    more = make(tmp_path / "more", [f"we {line} again" for line in lines_of(60, seed=2)])
    config = config_of(epochs=1, learning_rate=0.0, seed=5)
    told: list[str] = []
    train.train(more, run=tmp_path / "run", config=config, init_from=trained, report=told.append)
    before, after = weights_of(trained), weights_of(tmp_path / "run")
    old, new = loaded(trained), loaded(tmp_path / "run")
    known = old.tokenizer.vocabulary.symbols
    assert new.tokenizer.vocabulary.symbols == (*known, "again")
    assert before.keys() == after.keys()
    for name, value in before.items():
        rows = len(value) if name in ("embedding", "output_bias") else None
        assert np.array_equal(after[name][:rows], value), name
    assert len(after["embedding"]) == len(before["embedding"]) + 1
    assert (after["embedding"][-1] != 0).all()
    about = checkpoint.read_json(tmp_path / "run", "about.json")
    assert about["start"] == sha(trained)
    assert any("as in the run to start from" in line for line in told)
    # the best of three evaluations at the same weights, and the same answers but for "again"
    assert new.predict(["I love machine"])[0].prediction == "learning"


def test_weights_of_the_start_lower_the_first_loss(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    losses = []
    for name, start in (("fresh", None), ("tuned", trained)):
        config = config_of(epochs=1, evaluations=1, learning_rate=1e-4, dropout=0)
        train.train(data, run=tmp_path / name, config=config, init_from=start)
        losses.append(metrics_of(tmp_path / name)[-1]["loss"])
    assert losses[1] < 0.75 * losses[0]


def test_new_words_come_in_the_form_of_the_start(tmp_path: Path) -> None:
    one = make(tmp_path / "one", ["ein Café", "ein Haus"] * 10, dev=2)
    train.train(one, run=tmp_path / "a", config=config_of(epochs=1, target_form="NFD"))
    more = make(tmp_path / "more", ["ein Gehör", "ein Café"] * 10, dev=2)
    start = {"init_from": tmp_path / "a"}
    train.train(more, run=tmp_path / "b", config=config_of(epochs=1), **start)
    units = loaded(tmp_path / "b").tokenizer
    assert units.vocabulary.form == "NFD"
    assert units.vocabulary.symbols == ("ein", "Cafe\u0301", "Haus", "Geho\u0308r")
    assert UNK not in units.encode("ein Gehör")
    with pytest.raises(SettingError, match=r"target_form is NFC, .* has NFD"):
        train.train(
            more, run=tmp_path / "c", config=config_of(epochs=1, target_form="NFC"), **start
        )


@pytest.mark.parametrize(
    "settings",
    [{"hidden": 17}, {"embedding": 8}, {"cell": "gru"}, {"layers": 2}, {"tie_embeddings": False},
     {"units": "characters"}, {"case": "lower"}, {"punctuation": "split"}],
    ids=str,
)  # fmt: skip
def test_a_start_of_another_shape_is_refused(
    settings: dict[str, Any], trained: Path, data: Path, tmp_path: Path
) -> None:
    (name, value), = settings.items()  # fmt: skip
    has = getattr(config_of(), name)
    with pytest.raises(SettingError) as caught:
        train.train(data, run=tmp_path / "r", config=config_of(**settings), init_from=trained)
    assert str(caught.value) == (
        f"{name} is {value}, but the run to start from has {has}: {name}={has!r}"
    )
    assert not (tmp_path / "r").exists()


def test_a_start_of_the_other_family_is_refused(
    trained: Path, data: Path, upper: Path, tmp_path: Path
) -> None:
    run = upper / "run"
    with pytest.raises(SettingError, match=f"^{run} rewrites pairs, it is no start"):
        train.train(data, run=tmp_path / "r", config=config_of(), init_from=run)
    small = configure({"epochs": 1, "hidden": 16, "embedding": 16})
    with pytest.raises(SettingError, match=f"^{trained} predicts words, it is no start for pairs$"):
        train.train(upper, run=tmp_path / "r", config=small, init_from=trained)
    assert not (tmp_path / "r").exists()


# --- evaluate


def test_an_evaluation_is_of_the_lines_of_the_split(trained: Path, data: Path) -> None:
    model = loaded(trained)
    lines = lines_of(80)
    splits = {None: lines[8:16], "dev": lines[:8], "train": lines[16:], "all": lines}
    for split, rows in splits.items():
        facts = evaluate.evaluate(data, model=model, split=split)
        assert list(facts) == KEYS
        assert facts["split"] == (split or "test")
        assert facts["words"] == sum(len(line.split()) + 1 for line in rows)
        assert facts["perplexity"] == pytest.approx(perplexity(model, rows), rel=1e-5)
    about = checkpoint.read_json(trained, "about.json")
    for name in ("parameters", "seconds", "epochs"):
        assert facts[name] == about[name]
    assert (facts["run"], facts["data"]) == (str(trained), str(data))
    assert facts["oov"] == 0
    assert facts["signature"].startswith(
        f"charseq:{charseq.__version__}|split:all|n:{facts['words']}|unit:word|units:words|"
        "case:keep|punctuation:keep|"
    )


def test_a_folder_that_only_holds_a_test_can_be_scored(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("I see the cat\nyou see\n")
    facts = evaluate.evaluate(tmp_path, model=loaded(trained))
    assert (facts["split"], facts["words"]) == ("test", 5 + 3)


def test_hits_are_those_of_the_predictions(trained: Path, data: Path) -> None:
    model = loaded(trained)
    facts = evaluate.evaluate(data, model=model)
    ranks = []
    for line in lines_of(80)[8:16]:
        words = line.split()
        for place, word in enumerate(words):
            (found,) = model.predict([" ".join(words[:place])], n=5)
            shown = [one.prediction for one in found.candidates]
            ranks.append(shown.index(word) if word in shown else 99)
    for k in (1, 3, 5):
        share = 100 * sum(rank < k for rank in ranks) / len(ranks)
        assert facts[f"hit_at_{k}"] == pytest.approx(share)


def test_one_file_is_scored_as_a_whole_unless_it_was_trained_on(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{line} {k}\n" for k, line in enumerate(lines_of(60))))
    train.train(text, run=tmp_path / "run", config=config_of(epochs=1, evaluations=1))
    model = loaded(tmp_path / "run")
    assert evaluate.evaluate(text, model=model)["split"] == "test"
    held_out = corpus.load(text).test
    words = sum(len(line.split()) + 1 for line in held_out)
    assert evaluate.evaluate(text, model=model)["words"] == words
    other = tmp_path / "other.txt"
    other.write_text("I see the cat\nyou see\n")
    facts = evaluate.evaluate(other, model=model)
    assert (facts["split"], facts["words"]) == ("all", 5 + 3)


def test_missing_splits_cannot_be_scored(
    trained: Path, data: Path, upper: Path, tmp_path: Path
) -> None:
    model = loaded(trained)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.txt").write_text("a\nb\n")
    for split in (None, "test"):
        with pytest.raises(DataError) as caught:
            evaluate.evaluate(tmp_path / "d", model=model, split=split)
        assert str(tmp_path / "d") in str(caught.value)
    with pytest.raises(UsageError, match=r"predicts words, but .* holds pairs"):
        evaluate.evaluate(upper, model=model)
    with pytest.raises(UsageError, match="unknown split"):
        evaluate.evaluate(data, model=model, split="best")
    with pytest.raises(UsageError, match=r"rewrites strings, but .* holds text"):
        evaluate.evaluate(data, model=load(upper / "run"))


def test_running_text_of_two_lines_has_no_test_split(tmp_path: Path) -> None:
    """One line to learn from, one to choose by."""
    text = tmp_path / "text.txt"
    text.write_text("a b a b\na b\n")
    config = config_of(epochs=1, evaluations=1, running=True)
    train.train(text, run=tmp_path / "run", config=config)
    with pytest.raises(DataError, match=r"text\.txt: no lines for the test split"):
        evaluate.evaluate(text, model=loaded(tmp_path / "run"))


# --- traits of words

WORDS = {
    # word: (stem, shape)
    "walked": ("walked", "x"),
    "Walked,": ("walked", "Xx,"),
    "WALKED!?": ("walked", "XX!?"),
    '"Hello,"': ("hello", '"Xx,"'),
    "“Hello”": ("hello", "“Xx”"),
    "(and": ("and", "(x"),
    "I": ("i", "Xx"),
    "a": ("a", "x"),
    "McDonald's": ("mcdonald's", "Xx"),
    "iPhone": ("iphone", "x"),
    # an apostrophe or hyphen inside is part of the word, outside it is a sign
    "don't": ("don't", "x"),
    "'tis": ("tis", "'x"),
    "boys'": ("boys", "x'"),
    "well-fed,": ("well-fed", "x,"),
    "U.S.": ("u.s", "XX."),
    # digits
    "1812": ("1812", "0"),
    "3.50,": ("3.50", "0,"),
    "1st": ("1st", "0"),
    "'90s": ("90s", "'0"),
    "B2B": ("b2b", "XX"),
    "x2": ("x2", "x"),
    "C4": ("c4", "XX"),
    # signs alone are their own stem and shape
    "--": ("--", "--"),
    "...": ("...", "..."),
    "—": ("—", "—"),
    "'": ("'", "'"),
    "❤\ufe0f": ("❤\ufe0f", "❤\ufe0f"),
    "": ("", ""),
    # small letters that are more, fewer or other than their capitals
    "İ": ("i\u0307", "Xx"),
    '"İstanbul,': ("i\u0307stanbul", '"Xx,'),
    "«İSTANBUL»": ("i\u0307stanbul", "«XX»"),
    "ΟΔΟΣ,": ("οδος", "XX,"),
    "ẞ": ("ß", "Xx"),
    # a mark belongs to the letter before it, also to the last
    "cafe\u0301,": ("cafe\u0301", "x,"),
    "E\u0301,": ("e\u0301", "Xx,"),
    "CAFE\u0301": ("cafe\u0301", "XX"),
    "हिन्दी।": ("हिन्दी", "x।"),
    "good❤\ufe0f": ("good", "x❤\ufe0f"),
    # scripts without capitals
    "«мир»": ("мир", "«x»"),
    "世界。": ("世界", "x。"),
}


@pytest.mark.parametrize("word", WORDS)
def test_stem_and_shape(word: str) -> None:
    assert (stem(word), shape(word)) == WORDS[word]


@given(st.text())
def test_any_text_has_traits(word: str) -> None:
    """Signs around a stem change the shape, and nothing else but the shape."""
    core, form = stem(word), shape(word)
    letters = [letter for letter in word if letter.isalnum()]
    assert (core == word == form) or letters
    if letters:
        quoted = f'"{word},'
        assert stem(quoted) == core
        assert shape(quoted) == f'"{form},'


def test_the_traits_are_stem_shape_beginning_and_endings() -> None:
    assert [trait("“Walking,") for trait in TRAITS] == ["walking", "“Xx,", "walk", "ing", "ng"]
    assert [trait("Ox") for trait in TRAITS] == ["ox", "Xx", "ox", "ox", "ox"]


def test_equal_values_have_one_number_and_different_ones_have_different_numbers() -> None:
    words = ["walked", "Walked,", "talked", "--", "walked", "ked", "WALKED"]
    table = traits_of(words)
    assert table.shape == (len(TRAITS), len(words))
    assert table.dtype == np.int64
    for row, trait in zip(table, TRAITS, strict=True):
        values = [trait(word) for word in words]
        for one, other in zip(values, row, strict=True):
            for value, number in zip(values, row, strict=True):
                assert (one == value) == (other == number)
    assert np.array_equal(table[:, 0], table[:, 4])
    assert sorted(set(table.flat)) == list(range(table.max() + 1)), "no number is left out"


def test_no_number_is_of_two_traits() -> None:
    """The same letters as stem, beginning and ending are three values."""
    table = traits_of(["ox", "cat", "ox"])
    numbers = [set(row) for row in table]
    assert sum(map(len, numbers)) == len(set().union(*numbers)) == table.max() + 1


def test_values_are_numbered_in_the_order_of_the_words() -> None:
    """So further words behind the others leave the numbers of each trait in their order."""
    table = traits_of(["walked", "Talked", "walked"])
    assert table.tolist() == [[0, 1, 0], [2, 3, 2], [4, 5, 4], [6, 6, 6], [7, 7, 7]]
    again = traits_of(["walked", "Talked", "walked"])
    assert np.array_equal(table, again)


def test_without_words_there_are_no_values() -> None:
    assert traits_of([]).shape == (len(TRAITS), 0)
