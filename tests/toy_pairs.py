"""Toy pairs for tests: words and the same words in capitals, and settings to learn them soon."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from world import write_capitals

from charseq.config import Config, configure


def words_of(count: int, letters: str = "abcd", seed: int = 1) -> list[str]:
    """Different words of two to five letters."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(draw.choices(letters, k=draw.randint(2, 5)))] = None
    return list(found)


def write(path: Path, words: Sequence[str]) -> None:
    """Write pairs as TSV: a word, and its capitals."""
    text = "".join(f"{word}\t{word.upper()}\n" for word in words)
    path.write_text(text, encoding="utf-8", newline="")


def make(folder: Path, words: Sequence[str], dev: int = 10) -> Path:
    """A folder of pairs: train, dev and test."""
    folder.mkdir(parents=True)
    write(folder / "train.tsv", words[2 * dev :])
    write(folder / "dev.tsv", words[:dev])
    write(folder / "test.tsv", words[dev : 2 * dev])
    return folder


def short_config(**settings: Any) -> Config:
    """Settings of a tiny model that learns to write capitals in seconds."""
    small = {
        "epochs": 12, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 12,
        "embedding": 6, "batch_size": 8, "evaluations": 1, "learning_rate": 0.03, "dropout": 0,
        "beam": 2, "task": "pairs", "attention": "soft",
    }  # fmt: skip
    return configure({**small, **settings})


TINY: dict[str, Any] = {
    "device": "cpu", "precision": "float32", "threads": 1, "hidden": 8, "embedding": 4,
    "batch_size": 4, "attention": "soft", "layers": 1, "task": "pairs",
}  # fmt: skip
"""Settings of a network that is trained only to be stopped, saved or spoilt."""


def reversed_words(folder: Path) -> Path:
    """A folder of pairs of three letters and the same letters backwards: 6 for dev."""
    words = [f"{a}{b}{c}" for a in "abc" for b in "abc" for c in "abc"]
    for name, rows in (("dev", words[:6]), ("train", words[6:])):
        text = "".join(f"{word}\t{word[::-1]}\n" for word in rows)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def short_words(folder: Path) -> Path:
    """A folder of pairs of words of four letters: 8 for dev, 6 for test, the others for train."""
    draw = random.Random(1)
    words = list(dict.fromkeys("".join(draw.choices("abc", k=4)) for _ in range(70)))
    return write_capitals(folder, dev=words[:8], test=words[8:14], train=words[14:])
