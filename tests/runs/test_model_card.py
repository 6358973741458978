"""A model card says what is true of its run, finished or not."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from charseq.config import Config, defaults
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import Vocabulary
from charseq.runs.card_head import Owner
from charseq.runs.model_card import render

SOURCE = Vocabulary("characters", "NFD", "NFC", tuple("abc"), features=("V", "N"))
TARGET = Vocabulary("spaced", "NFC", "NFC", ("tʃ", "a"))
SCORES = {"examples": 1234, "exact_match": 98.25, "wer": 1.75, "ser": 0.5}


def card(name: str = "dates", *, finished: bool = True, **changes: Any) -> str:
    settings: dict[str, Any] = {"cell": "lstm", "hidden": 77, "embedding": 33, "layers": 2}
    settings |= {"seed": 5, "attention": "soft"}
    told = {name: changes.pop(name) for name in ("address", "owner") if name in changes}
    given = {
        "finished": finished,
        "settings": {**Config().to_json(), **settings, **changes.pop("settings", {})},
        "source": SOURCE.to_json(),
        "target": TARGET.to_json(),
        "data": {
            "name": "pairs",
            "fingerprint": "0123456789abcdef" * 4,
            "examples": {"train": 40000, "dev": 2000},
        },
        "parameters": 1234567,
        "epochs": 12.5,
        "seconds": 61.4,
        "scores": SCORES,
        **changes,
    }
    return render(name, given, **told)


def body(text: str) -> str:
    """The card below its head."""
    begin, head, told = text.split("---\n", 2)
    assert begin == ""
    assert head.startswith("license: ")
    return told.removeprefix("\n")


def row(text: str, head: str) -> str:
    (line,) = [line for line in text.split("\n") if line.startswith(f"| {head} |")]
    return line.removeprefix(f"| {head} | ").removesuffix(" |")


@pytest.mark.parametrize("task", ["pairs", "next-word"])
def test_scores_that_chose_the_settings_are_marked(task: str) -> None:
    words = Vocabulary("spaced", "NFC", "NFC", ("a", "b"))
    changes: dict[str, Any] = {"settings": {"task": task}}
    if task == "next-word":
        changes |= {"units": Tokenizer(words).to_json(), "scores": {"perplexity": 9.0}}
    assert "trials" not in card(**changes)
    tuned = card(tuned={"trial": 7, "trials": 20}, **changes)
    assert row(tuned, "scores").endswith("; the best of 20 trials by these scores")


def test_every_fact_is_in_its_row() -> None:
    text = card()
    assert body(text).startswith("# dates\n")
    assert "charseq predict -m checkpoints/dates" in text
    assert row(text, "input") == "characters, 3 symbols and 2 features, Unicode form NFD"
    assert row(text, "output") == "spaced, 2 symbols, Unicode form NFC"
    assert row(text, "network") == (
        "encoder-decoder with soft attention, cell lstm, hidden 77, embedding 33, layers 2, "
        "1,234,567 parameters"
    )
    assert row(text, "data") == "pairs: 40,000 train, 2,000 dev; sha256 0123456789abcdef"
    assert row(text, "training") == "12.5 epochs in 61 s, seed 5"
    assert row(text, "scores") == (
        "dev exact match 98.25 %, symbol error rate 0.50 %, 1234 examples, greedy"
    )
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("attention", "said"),
    [
        ("none", "without attention"),
        ("soft", "with soft attention"),
        ("hard", "with hard attention"),
    ],
)
def test_the_kind_of_attention_is_on_the_card(attention: str, said: str) -> None:
    text = card(settings={"attention": attention})
    assert row(text, "network").startswith(f"encoder-decoder {said}, cell lstm")


@pytest.mark.parametrize("finished", [True, False])
def test_an_unfinished_training_is_marked(finished: bool) -> None:
    assert ("**Training is not finished" in card(finished=finished)) is not finished


def test_before_the_first_scores() -> None:
    assert row(card(finished=False, scores={}), "scores") == "not scored yet"


def test_the_texts_that_a_run_holds_are_told() -> None:
    memory = {
        "strength": 0.5, "rows": 1494, "right_before": 89.7, "right_after": 99.0, "left_out": 0,
        "entries": "a\t\tx\t2\nb\t\t\t1",
    }  # fmt: skip
    told = " ".join(card(memory=memory).split())
    assert "The run holds 2 sources of the training data word for word" in told
    assert "of 1,494 dev examples with such sources 99.0 % are right, 89.7 % without." in told
    assert "holds" not in card()


def test_pairs_that_were_merged_are_told() -> None:
    data = {"name": "d", "fingerprint": "0" * 64, "examples": {"train": 40, "dev": 9}, "rows": 7012}
    assert row(card(data=data), "data").startswith(
        "d: 40 train (distinct pairs of 7,012 rows), 9 dev; sha256"
    )


def test_a_run_of_the_hub_is_called_by_its_address() -> None:
    text = card(address="hf://me/dates", owner=Owner("mit", ("hr",)))
    assert text.startswith('---\nlicense: mit\nlanguage:\n- "hr"\n')
    assert 'With charseq and its extra `hub`:\n\n    charseq predict -m hf://me/dates "' in text
    assert "checkpoints" not in text
    words = words_card(address="hf://me/talk")
    assert 'charseq predict -m hf://me/talk -n 5 "' in words
    assert "checkpoints" not in words


# --- a run that predicts words

WORDS = Vocabulary("spaced", "NFC", "NFC", tuple(f"w{number}" for number in range(1234)))


def words_card(units: Tokenizer | None = None, *, finished: bool = True, **changes: Any) -> str:
    told, address = changes.pop("settings", {}), changes.pop("address", "")
    settings = {**defaults("next-word").to_json(), "hidden": 77, "embedding": 33, "seed": 5, **told}
    given = {
        "finished": finished,
        "settings": settings,
        "units": (units or Tokenizer(WORDS, case="lower", punctuation="split")).to_json(),
        "data": {
            "name": "talk",
            "fingerprint": "0123456789abcdef" * 4,
            "examples": {"train": 40000, "dev": 2000},
        },
        "parameters": 1234567,
        "epochs": 12.5,
        "seconds": 61.4,
        "scores": {"perplexity": 87.654},
        **changes,
    }
    return render("talk", given, address=address)


def test_every_fact_of_a_run_of_words_is_in_its_row() -> None:
    text = words_card()
    assert body(text).startswith("# talk\n")
    assert 'charseq predict -m checkpoints/talk -n 5 "' in text
    assert row(text, "symbols") == (
        "1,234 words; capitals: lower; punctuation: split; Unicode form NFC"
    )
    assert row(text, "network") == "lstm, hidden 77, embedding 33, layers 1, 1,234,567 parameters"
    assert row(text, "data") == (
        "talk: 40,000 train, 2,000 dev lines, each for itself; sha256 0123456789abcdef"
    )
    assert row(text, "training") == "12.5 epochs in 61 s, seed 5"
    assert row(text, "scores") == "dev perplexity 87.7 per word"
    assert text.endswith("\n")
    assert "encoder" not in text


def test_other_units_cells_and_running_text() -> None:
    pieces = Tokenizer(Vocabulary("characters", "NFD", "NFC", tuple("abc")))
    text = words_card(pieces, settings={"cell": "mlp", "context": 4, "stateful": "yes"})
    assert row(text, "symbols").startswith("3 characters; capitals: keep; ")
    assert row(text, "symbols").endswith("Unicode form NFD")
    assert row(text, "network").startswith("mlp over 4 characters, hidden 77")
    assert "2,000 dev lines, running text; " in row(text, "data")


def test_a_run_of_words_that_is_not_finished() -> None:
    text = words_card(finished=False, scores={})
    assert "**Training is not finished" in text
    assert row(text, "scores") == "not scored yet"
    assert "**Training is not finished" not in words_card()


def test_the_card_says_whether_probabilities_are_calibrated() -> None:
    assert "Probabilities are the\nmodel's own and are not calibrated." in card()
    found = {
        "temperature": 0.8, "rest": -1.7, "ece_before": 18.27, "ece_after": 2.43, "examples": 1783,
    }  # fmt: skip
    told = " ".join(card(calibration=found).split())
    assert "Probabilities are calibrated by 1,783 dev examples" in told
    assert "held out, they are 2.4 % off" in told
    assert "18.3 % without" in told
    assert "not calibrated" not in told


def test_names_are_plain_text() -> None:
    name = "a b\n# c\x1b[1m|<b>x</b> [y](z) `q` *w* _v_ in_word $(touch x)"
    data = {"name": name * 50, "fingerprint": "|" * 99, "examples": {"<i>": 1}}
    text = card(name, data=data, averaged={"of": name}, distilled={"teacher": name})
    lines = text.split("\n")
    assert body(text).split("\n")[0] == (
        r"# a b # c\\x1b\[1m\|\<b\>x\</b\> \[y\](z) \`q\` \*w\* \_v\_ in_word \$(touch x)"
    )
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 1500
    (command,) = [line for line in lines if "charseq predict" in line]
    words = shlex.split(command)
    assert words[:3] == ["charseq", "predict", "-m"]
    assert len(words) == 5
    assert row(text, "data").count(r"\|") > row(text, "data").replace(r"\|", "").count("|")
