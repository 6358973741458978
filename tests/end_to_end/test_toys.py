"""Copy, reverse, upper and endings are learnt, from training to text: held-out strings."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from charseq.config import CELLS, configure
from charseq.data.pairs import Dataset, Example
from charseq.decoding.ensemble import direction_groups
from charseq.evaluation.scoring import score_examples
from charseq.inference.translator import Translator
from charseq.training.prepare import prepare

TOYS: dict[str, Callable[[str], str]] = {
    "copy": str,
    "reverse": lambda text: text[::-1],
    "upper": str.upper,
}
HELD_OUT = 200
STEPS = 250


def strings(toy: str, count: int, *, letters: str, longest: int) -> Dataset:
    """Different strings, so that no string that is scored was ever trained on."""
    draw = random.Random(1)
    words: dict[str, None] = {}
    while len(words) < count + HELD_OUT:
        words["".join(draw.choices(letters, k=draw.randint(1, longest)))] = None
    rows = [Example(word, TOYS[toy](word)) for word in words]
    draw.shuffle(rows)
    return Dataset(rows[HELD_OUT:], rows[:HELD_OUT], [], toy, "0" * 64, "", {}, {}, [])


ENDINGS = {"PL": "es", "PST": "ed", "V": ""}


def forms(count: int) -> Dataset:
    """Lemmas and what is to be made of them; those that are held out were never seen."""
    lemmas = [row.source for row in strings("copy", count, letters="abcdefgh", longest=7).train]
    draw = random.Random(2)
    rows = [Example(lemma, lemma + ENDINGS[tag], tag) for lemma in lemmas for tag in ENDINGS]
    held = set(draw.sample(lemmas, HELD_OUT // 2))
    train = [row for row in rows if row.source not in held]
    dev = draw.sample([row for row in rows if row.source in held], HELD_OUT)
    return Dataset(train, dev, [], "forms", "0" * 64, "", {}, {}, [])


def learn(dataset: Dataset, *, kind: str, steps: int = STEPS, **settings: Any) -> float:
    """Exact match on the held-out strings, in percent, after a few seconds of training.

    ``kind`` is the attention that is set, or that the data call for.
    """
    config = configure(
        {
            "epochs": 1, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 48,
            "embedding": 16, "batch_size": 64, "dropout": 0, "label_smoothing": 0,
            "learning_rate": 0.015, "warmup": 0.1, "ema": 0.9, **settings,
        }
    )  # fmt: skip
    task = prepare(dataset, config)
    assert task.config.attention == kind
    trainer = task.trainer()
    last = [step.number for step in trainer.steps(lambda step: step / steps)][-1]
    assert last == steps
    groups = direction_groups(task.config, trainer.averaged())
    learnt = Translator(groups, task.source, task.target, task.limits)
    return score_examples(learnt, dataset.dev, width=1).scores.exact_match


@pytest.mark.parametrize(
    ("cell", "toy"),
    [
        ("gru", "copy"),
        ("gru", "reverse"),
        ("lstm", "reverse"),
        ("residual", "reverse"),
        ("tanh", "reverse"),
    ],
)
def test_a_toy_is_learnt_by_looking_everywhere(cell: str, toy: str) -> None:
    dataset = strings(toy, 3000, letters="abcdef", longest=5)
    attention = "soft" if toy == "copy" else "auto"
    assert learn(dataset, kind="soft", attention=attention, cell=cell) >= 95


@pytest.mark.parametrize("cell", CELLS)
def test_what_follows_its_source_is_learnt_from_less(cell: str) -> None:
    """Twice as long, from a tenth of the strings, in fewer steps."""
    dataset = strings("upper", 300, letters="abcdef", longest=9)
    assert learn(dataset, kind="hard", steps=100, cell=cell) >= 98


def test_endings_are_learnt_for_lemmas_that_were_never_seen() -> None:
    assert learn(forms(200), kind="hard", steps=100) >= 98


def test_short_strings_are_copied_without_attention() -> None:
    """All that the decoder knows of the string came through the encoder's final state."""
    dataset = strings("copy", 550, letters="abcde", longest=4)
    assert learn(dataset, kind="none", attention="none", learning_rate=0.01) >= 92
