"""Pairs as a family that can be trained: what it says, what it is scored by, what is kept."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_pairs import short_config as config_of
from toy_pairs import short_words

from charseq.confidence.calibration import Event, fit
from charseq.confidence.rescoring import Rescoring
from charseq.data import pairs as examples
from charseq.errors import CheckpointError, DataError, SettingError, UsageError
from charseq.evaluation.pairs import evaluate
from charseq.inference import describe
from charseq.inference.loading import rescoring_of
from charseq.inference.predictor import PairsModel, load
from charseq.inference.translator import Translator
from charseq.runs import folder as checkpoint
from charseq.training import train
from charseq.training.pairs import PairsTask


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_words(tmp_path_factory.mktemp("pairs") / "upper")


@pytest.fixture(scope="module")
def task(data: Path) -> PairsTask:
    return PairsTask(data, config_of())


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> PairsModel:
    run = tmp_path_factory.mktemp("runs") / "upper"
    train.train(data, run=run, config=config_of())
    return loaded(run)


def loaded(run: Path) -> PairsModel:
    found = load(run)
    assert isinstance(found, PairsModel)
    return found


def test_metadata_before_training(task: PairsTask, data: Path) -> None:
    read = examples.load(data, splits=("train", "dev"))
    assert task.name == "upper"
    found = {
        "direction": "forward",
        "layers": 1,
        "alignment_prior": False,
        "feature_separator": ";",
        "counts": "none",
    }
    assert task.metadata["settings"] == {**config_of().to_json(), **found}
    assert task.metadata["data"]["fingerprint"] == read.fingerprint
    assert task.metadata["data"]["examples"] == {"train": len(read.train), "dev": 8}
    assert set(task.metadata["source"]["symbols"]) == set("abc")
    assert set(task.metadata["target"]["symbols"]) == set("ABC")
    told = task.describe()
    assert told[0].startswith(f"data       {len(read.train)} train, 8 dev")
    assert not any(line.startswith("counts") for line in told)
    assert "rows" not in task.metadata["data"]


def test_all_weights_are_published(task: PairsTask) -> None:
    weights = task.trainer().averaged()
    kept = task.publish(weights)
    assert kept.keys() == weights.keys()
    assert all(np.array_equal(kept[name], weights[name]) for name in weights)
    assert not any(np.shares_memory(kept[name], weights[name]) for name in weights)


def test_scores_are_those_of_greedy_search_on_dev(model: PairsModel, data: Path) -> None:
    weights = checkpoint.load_model(model.path)[1]
    words = [row.source for row in examples.load(data).dev]
    found = model.predict(words, beam=1)
    right = [one.prediction == one.source.upper() for one in found]
    assert 0 < sum(right) < 8, "a model that knows some"
    scores = PairsTask(data, config_of()).score(weights)
    assert scores["exact_match"] == pytest.approx(100 * sum(right) / 8)
    assert scores["examples"] == 8
    assert PairsTask(data, config_of(dev_limit=3)).score(weights)["exact_match"] == pytest.approx(
        100 * sum(right[:3]) / 3
    )


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough dev rows to calibrate by, where nobody can be sure; one source has two targets."""
    folder = tmp_path_factory.mktemp("pairs") / "plenty"
    folder.mkdir()
    words = ["".join(letters) for letters in itertools.product("abcd", repeat=4)]
    draw = random.Random(1)
    draw.shuffle(words)
    rows = [f"{word}\t{draw.choice((word, word.upper()))}\n" for word in words]
    (folder / "train.tsv").write_text("".join(rows[:100]), encoding="utf-8")
    dev = [*rows[100:230], f"{words[100]}\tAAAA\n"]
    (folder / "dev.tsv").write_text("".join(dev), encoding="utf-8")
    return folder


def test_a_run_has_a_calibration(plenty: Path, tmp_path: Path) -> None:
    told: list[str] = []
    train.train(plenty, run=tmp_path / "run", config=config_of(epochs=9), report=told.append)
    model = loaded(tmp_path / "run")
    rows = examples.load(plenty).dev
    raw = Translator(
        model.translator.direction_groups, model.translator.source, model.translator.target,
        model.translator.limits,
    )  # fmt: skip
    found = raw.predict([row.source for row in rows], n=2, width=2)
    places = [[one.prediction for one in answer.candidates] for answer in found]
    events = [
        Event(
            row.source,
            [one.score for one in answer.candidates],
            place.index(row.target) if row.target in place else None,
        )
        for row, answer, place in zip(rows, found, places, strict=True)
    ]
    expected = fit(events)
    assert expected is not None
    assert 0 < sum(event.right == 0 for event in events) < len(events)
    stored, judged = model.translator.calibration, model.translator.confidence
    assert stored is not None
    assert judged is not None
    assert stored.to_json() == model.metadata["calibration"]
    # the error is that of the probabilities with what strangers told
    assert replace(stored, ece_after=expected.ece_after) == expected
    assert judged.strangers > 100
    assert judged.sure_after <= judged.sure_before
    assert [line for line in told if line.startswith("calibrated ")] == [
        line for line in describe.info(model.path)[1] if line.startswith("calibrated ")
    ]
    assert "calibrated by 131 dev examples" in " ".join(
        checkpoint.read(model.path, "README.md").decode().split()
    )
    (answer,) = model.predict([rows[0].source], n=2)
    scores = [one.score for one in answer.candidates]
    (known,) = judged.sources([rows[0].source])
    assert answer.familiarity == known.familiarity
    chances = [one.probability for one in answer.candidates]
    assert chances == judged.probabilities(known.penalty, scores)
    (odd,) = model.predict(["https://example.org/?q=17"])
    assert odd.familiarity is not None
    assert odd.familiarity < 0.05 < known.familiarity


# --- running text


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens of words that are capitalised or not, for no reason but that they always are so."""
    folder = tmp_path_factory.mktemp("pairs") / "running"
    folder.mkdir()
    draw = random.Random(2)
    words = ["".join(letters) for letters in itertools.product("abcd", repeat=4)]
    draw.shuffle(words)
    target = {word: draw.choice((word, word.upper())) for word in words}

    def tokens(chosen: list[str]) -> str:
        return "".join(f"{word}\t{target[word]}\n" for word in chosen)

    known = [*words[:100], *draw.choices(words[:100], k=300)]
    rest = f"{words[0]}\t{words[0]}!\n" * 2
    (folder / "train.tsv").write_text(tokens(known) + rest, encoding="utf-8")
    dev = tokens([*draw.choices(words[:100], k=160), *words[100:230]])
    (folder / "dev.tsv").write_text(dev, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def reader(running: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PairsModel, list[str]]:
    """A model of the running text, and what was told of its training."""
    run, told = tmp_path_factory.mktemp("runs") / "running", list[str]()
    train.train(running, run=run, config=config_of(epochs=4), report=told.append)
    return loaded(run), told


def test_repeated_rows_are_learnt_as_distinct_pairs(running: Path) -> None:
    task = PairsTask(running, config_of())
    rows = Counter((row.source, row.target) for row in examples.load(running).train)
    assert task.config.counts == "sqrt"
    learnt = {(row.source, row.target): row.weight for row in task.prepared.dataset.train}
    assert learnt == {pair: math.sqrt(count) for pair, count in rows.items()}
    assert [*learnt] == [*rows], "in the order of their first rows"
    assert task.metadata["data"]["examples"] == {"train": 101, "dev": 290}
    assert task.metadata["data"]["rows"] == 402
    weights = task.trainer().batches.weights
    expected = np.sqrt([*rows.values()])
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-6)
    told = task.describe()
    assert told[0].startswith("data       402 train, 290 dev")
    assert told[2] == (
        "counts     402 rows are 101 distinct pairs, learnt by the square roots of their counts"
    )
    one_by_one = PairsTask(running, config_of(counts="none"))
    assert len(one_by_one.prepared.dataset.train) == 402
    assert one_by_one.trainer().batches.weights.tolist() == [1.0] * 402


def test_what_was_seen_is_remembered(running: Path, reader: tuple[PairsModel, list[str]]) -> None:
    model, told = reader
    rows = Counter((row.source, row.target) for row in examples.load(running).train)
    assert model.memory is not None
    entries = model.memory.entries
    assert {
        (key.rstrip("\t"), text): count for key, targets in entries.items()
        for text, count in targets.items()
    } == rows  # fmt: skip
    assert model.memory.rows == 160
    assert model.memory.right_before < 80
    assert model.memory.right_after > 97
    (line,) = [line for line in told if line.startswith("memory ")]
    assert line in describe.info(model.path)[1]
    assert line.startswith("memory     100 sources of train, strength ")
    assert model.translator.calibration is None or model.translator.calibration.examples == 130
    dev = examples.load(running).dev
    found = model.predict([row.source for row in dev], n=2)
    seen, new = found[:160], found[160:]
    assert {one.origin for one in seen} == {"memory"}
    assert {one.origin for one in new} == {"model"}
    right = [one.prediction == row.target for one, row in zip(seen, dev, strict=False)]
    assert sum(right) >= 155
    sure = [one.probability for one in seen]
    assert abs(sum(sure) / 160 - sum(right) / 160) < 0.05, "calibrated by what was seen"
    assert (
        "100 sources of the training data word for word"
        in checkpoint.read(model.path, "README.md").decode()
    )


def test_evaluations_tell_what_the_memory_does(
    running: Path, reader: tuple[PairsModel, list[str]]
) -> None:
    model, _ = reader
    facts = evaluate(model, running, split="dev", version="9")
    kinds = {line["seen"]: line for line in facts["by_memory"]}
    ambiguous = sum(row.source == examples.load(running).train[0].source
                    for row in examples.load(running).dev)  # fmt: skip
    assert {kind: line["examples"] for kind, line in kinds.items()} == {
        "unseen": 130, "one target": 160 - ambiguous, "several targets": ambiguous,
    }  # fmt: skip
    one = kinds["one target"]
    assert one["exact_match"] == 100
    assert one["model_exact_match"] < 80
    assert one["interval"][0] < 100 == one["interval"][1]
    assert kinds["unseen"]["exact_match"] == kinds["unseen"]["model_exact_match"]
    total = sum(line["examples"] * line["exact_match"] for line in kinds.values())
    assert total / 290 == pytest.approx(facts["exact_match"])


def test_a_run_may_forget(running: Path, tmp_path: Path) -> None:
    train.train(running, run=tmp_path / "run", config=config_of(epochs=1, memory="off"))
    model = loaded(tmp_path / "run")
    assert model.memory is None
    assert "memory" not in model.metadata
    assert "by_memory" not in evaluate(model, running, split="dev", version="9")


def test_a_teachers_answers_are_not_remembered(running: Path) -> None:
    task = PairsTask(running, config_of(epochs=1))
    before = task.calibrate(task.trainer().averaged())["memory"]["entries"]
    labels = [[("xxxx", 0.9)], [("yyyy", 0.9)]]
    sources = [(task.prepared.dataset.train[0].source, ""), ("zzzz", "")]
    task.add_teacher_labels(sources, labels, {"teacher": "t", "fingerprint": "f"})
    assert task.metadata["data"]["rows"] == 402
    assert task.metadata["data"]["examples"]["train"] == 101
    assert task.calibrate(task.trainer().averaged())["memory"]["entries"] == before


def test_more_matches_rank_higher_then_fewer_errors() -> None:
    def rank(exact: float, ser: float) -> tuple[float, float]:
        return PairsTask.rank({"exact_match": exact, "ser": ser, "wer": 0.0, "examples": 9.0})

    assert rank(30, 60) > rank(10, 40) > rank(10, 50)
    assert rank(10, 40) == rank(10, 40)
    told = PairsTask.summary({"exact_match": 7.25, "ser": 100.0})
    assert told == "dev exact   7.2 %  ser 100.0 %"


def test_the_last_report_is_an_evaluation_of_dev(model: PairsModel, data: Path) -> None:
    facts = PairsTask(data, config_of()).evaluate(model, version="9")
    assert facts == evaluate(model, data, split="dev", version="9")
    assert facts["split"] == "dev"
    assert facts["beam"] == 2
    assert facts["signature"].startswith("charseq:9|split:dev|n:8|")
    assert evaluate(model, data, version="9")["examples"] == 6
    assert facts["signature"].endswith("|beam:2")
    longer = load(model.path, length_penalty=0.5)
    assert isinstance(longer, PairsModel)
    assert evaluate(longer, data, version="9")["signature"].endswith("|beam:2|length_penalty:0.5")
    with pytest.raises(SettingError, match="beam is 0, expected 1 or more"):
        evaluate(model, data, beam=0, version="9")


def test_without_dev_there_is_no_task(tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("a\tA\n")
    with pytest.raises(DataError, match="no examples for dev: more than two sources are needed"):
        PairsTask(tmp_path / "one.tsv", config_of())


def test_text_without_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("I love\nmachine learning\n")
    with pytest.raises(DataError) as caught:
        PairsTask(tmp_path, config_of())
    message = "1 column, expected source and target: the setting delimiter tells what stands"
    assert str(caught.value) == f"{tmp_path / 'train.txt'}:1: {message} between cells"


def test_features_are_cut_as_in_the_run_to_start_from(tmp_path: Path) -> None:
    folder = tmp_path / "forms"
    folder.mkdir()
    rows = [f"{word}\tpos=V,num={num}\t{word}\n" for word in "abc" for num in ("SG", "PL")]
    (folder / "train.tsv").write_text("".join(rows))
    (folder / "dev.tsv").write_text(rows[0])
    settings = {"columns": "source,features,target", "epochs": 1}
    train.train(folder, run=tmp_path / "run", config=config_of(**settings))
    (folder / "train.tsv").write_text("a\tpos=V\ta\nb\tpos=V\tb\n")
    (folder / "dev.tsv").write_text("c\tpos=V\tc\n")
    task = PairsTask(folder, config_of(**settings), tmp_path / "run")
    assert task.prepared.source.feature_separator == task.config.feature_separator == ","
    assert PairsTask(folder, config_of(**settings)).config.feature_separator == ";"


def test_a_run_of_pairs_is_a_start_and_a_next_word_network_is_not(
    model: PairsModel, data: Path
) -> None:
    task = PairsTask(data, config_of(), model.path)
    weights = task.trainer().averaged()
    start = checkpoint.load_model(model.path)[1]
    assert all(np.array_equal(weights[name], start[name]) for name in start)
    with pytest.raises(UsageError, match="task='next-word'"):
        PairsTask(data, config_of(cell="mlp")).trainer()


def test_a_list_of_words_is_read_before_the_training(data: Path, tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    with pytest.raises(DataError, match="words"):
        PairsTask(data, config_of(target_words=str(listed)))
    listed.write_text("one\ntwo\n")
    task = PairsTask(data, config_of(target_words=str(listed)))
    assert task.words is not None
    assert len(task.words) == 2
    assert PairsTask(data, config_of()).words is None


# --- joint n-grams


@pytest.fixture(scope="module")
def spelt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words whose letter C is written as K before A, else as S."""
    draw = random.Random(5)
    folder = tmp_path_factory.mktemp("spelt")
    words = sorted({"".join(draw.choices("abc", k=draw.randint(3, 8))) for _ in range(2000)})
    draw.shuffle(words)
    rows = [
        f"{word}\t{word.replace('ca', 'ka').replace('c', 's').upper()}\n" for word in words[:900]
    ]
    (folder / "train.tsv").write_text("".join(rows[200:]), encoding="utf-8")
    (folder / "dev.tsv").write_text("".join(rows[:200]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("ensemble", [1, 2])
def test_a_run_weighs_answers_by_joint_ngrams(spelt: Path, tmp_path: Path, ensemble: int) -> None:
    """A network of a few steps knows the letters and no context; the n-grams know both."""
    settings = {"attention": "hard", "hidden": 4, "embedding": 4, "epochs": 1, "beam": 5}
    config = config_of(**settings, ensemble=ensemble, batch_size=64, learning_rate=0.002)
    run = tmp_path / "run"
    told: list[str] = []
    train.train(spelt, run=run, config=config, report=told.append)
    (line,) = [line for line in told if line.startswith("ngrams ")]
    model = loaded(run)
    rescoring = model.translator.rescoring
    assert rescoring is not None
    assert set(rescoring.ngrams) == ({True} if ensemble == 1 else {True, False})
    assert rescoring.right_after > rescoring.right_before + 10
    assert f"right {rescoring.right_before:.1f} -> {rescoring.right_after:.1f} %" in line
    assert line in describe.describe_calibration(model.metadata)
    dev = [row.split("\t") for row in (spelt / "dev.tsv").read_text().splitlines()]

    def right(asked: Translator) -> float:
        answers = asked.predict([source for source, _ in dev], n=1, width=5)
        hits = [one.prediction == target for one, (_, target) in zip(answers, dev, strict=True)]
        return 100 * sum(hits) / len(hits)

    assert right(model.translator) > right(model.translator.rescored(None)) + 10
    assert describe.info(run)[0]["ngrams"]["backward"] == len(rescoring.ngrams[True])


def test_a_run_may_do_without_joint_ngrams(spelt: Path) -> None:
    settings = {"attention": "hard", "hidden": 4, "embedding": 4}
    task = PairsTask(spelt, config_of(**settings, joint_ngrams="off"))
    assert task._ngrams() is None
    assert PairsTask(spelt, config_of(**settings))._ngrams() is not None
    assert PairsTask(spelt, config_of(**settings, beam=1))._ngrams() is None
    assert PairsTask(spelt, config_of(**{**settings, "attention": "soft"}))._ngrams() is None


def test_ngrams_of_another_direction_are_refused(spelt: Path, tmp_path: Path) -> None:
    task = PairsTask(spelt, config_of(attention="hard", hidden=4, embedding=4))
    ngrams = task._ngrams()
    assert ngrams is not None
    assert list(ngrams) == [True], "few pairs are read from the end"
    metadata = {"ngrams": Rescoring(ngrams, 0.3).to_json()}
    target = task.prepared.target
    assert rescoring_of(metadata, task.config, target) is not None
    forward = replace(task.config, direction="forward")
    with pytest.raises(CheckpointError, match="of other directions"):
        rescoring_of(metadata, forward, target)
    with pytest.raises(CheckpointError, match="without hard attention"):
        rescoring_of(metadata, replace(task.config, attention="soft"), target)
    assert rescoring_of({}, task.config, target) is None
