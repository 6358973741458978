"""Copy, reverse and upper are learnt by every cell, from training to text: held-out strings."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from charseq.config import configure
from charseq.examples import Dataset, Example
from charseq.inference import Network
from charseq.predictor import Transducer
from charseq.scoring import score_examples
from charseq.task import prepare

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


def learn(dataset: Dataset, **settings: Any) -> float:
    """Exact match on the held-out strings, in percent, after a few seconds of training."""
    config = configure(
        {
            "epochs": 1, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 48,
            "embedding": 16, "batch_size": 64, "dropout": 0, "label_smoothing": 0,
            "learning_rate": 0.015, "warmup": 0.1, "ema": 0.9, **settings,
        }
    )  # fmt: skip
    task = prepare(dataset, config)
    trainer = task.trainer()
    last = [step.number for step in trainer.steps(lambda step: step / STEPS)][-1]
    assert last == STEPS
    network = Network(trainer.averaged(), cell=config.cell, layers=config.layers)
    learnt = Transducer(network, task.source, task.target, task.limits)
    return score_examples(learnt, dataset.dev, width=1).scores.exact_match


@pytest.mark.parametrize(
    ("cell", "toy"),
    [
        ("gru", "copy"),
        ("gru", "upper"),
        ("gru", "reverse"),
        ("lstm", "reverse"),
        ("residual", "reverse"),
        ("tanh", "reverse"),
    ],
)
def test_a_toy_is_learnt(cell: str, toy: str) -> None:
    dataset = strings(toy, 3000, letters="abcdef", longest=5)
    assert learn(dataset, cell=cell) >= 95


def test_short_strings_are_copied_without_attention() -> None:
    """All that the decoder knows of the string came through the encoder's final state."""
    dataset = strings("copy", 550, letters="abcde", longest=4)
    assert learn(dataset, attention=False, learning_rate=0.01) >= 92
