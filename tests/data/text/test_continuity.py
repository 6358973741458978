"""Texts that run on, and texts that only look like it: lists, tweets, lines in another order."""

from __future__ import annotations

import random
import re

import pytest

from charseq.data.text.continuity import (
    MAX_CHARACTERS,
    MAX_LINES,
    MIN_REFUTING,
    Continuity,
    continuity,
    lacks_spaces,
)

PEOPLE = ["the old man", "my sister", "our neighbour", "a tall woman", "the doctor", "the boy"]
DEEDS = ["walked", "came back", "looked out of the window", "was waiting", "said nothing at all"]
PLACES = ["to the house", "at the end of the street", "in the rain", "near the river", "at home"]


def sentences(count: int = 900) -> list[str]:
    draw = random.Random(3)
    found = []
    for _ in range(count):
        parts = [f"{draw.choice(PEOPLE)} {draw.choice(DEEDS)} {draw.choice(PLACES)}"]
        if draw.random() < 0.6:
            parts.append(f"and {draw.choice(PEOPLE)} {draw.choice(DEEDS)} {draw.choice(PLACES)}")
        text = ", ".join(parts)
        found.append(text[0].upper() + text[1:] + draw.choice([".", ".", "!", ".”"]))
    return found


def wrapped(text: str, words: int = 9) -> list[str]:
    parts = text.split()
    return [" ".join(parts[begin : begin + words]) for begin in range(0, len(parts), words)]


RUNNING = wrapped(" ".join(sentences()))


def shuffled(lines: list[str]) -> list[str]:
    return random.Random(5).sample(lines, len(lines))


def test_a_text_of_even_lines_runs_on() -> None:
    found = continuity(RUNNING)
    assert found.continues
    assert not found.refutes
    assert found.lines == len(RUNNING) - 1
    # about as many lines as sentences begin at the beginning of a line: one in nine words
    assert 0.7 < found.share < 0.95
    assert found.seams > 2 * found.expected


def test_blank_lines_and_indents_change_nothing() -> None:
    spaced = [line for text in RUNNING for line in (f"  {text}\r", "", " ")]
    assert continuity(spaced) == continuity(RUNNING)


def test_the_same_lines_in_another_order_do_not() -> None:
    found = continuity(shuffled(RUNNING))
    assert found.share > 0.4, "they look as if they did"
    assert not found.continues
    assert found.refutes


@pytest.mark.parametrize(
    "lines",
    [
        sentences(),
        [text.rstrip(".!”").lower() for text in sentences()],
        shuffled([text.rstrip(".!”").lower() for text in sentences()]),
        [f"{word}s" for word in sorted({f"w{k * 7919 % 1000}ord" for k in range(900)})],
        ["1.5", "2.5 kg", "3", "17:30"] * 200,
        [" ".join(sentences()[begin : begin + 9]) for begin in range(0, 900, 9)],
        [line[0].upper() + line[1:] for line in RUNNING],
    ],
    ids=["sentences", "transcript", "tweets", "word list", "numbers", "paragraphs", "capitals"],
)
def test_lines_of_their_own(lines: list[str]) -> None:
    assert not continuity(lines).continues


def test_without_case_and_punctuation_the_words_decide() -> None:
    text = re.sub(r"[^\w\s]", "", " ".join(sentences()).lower())
    assert continuity(wrapped(text)).continues
    assert not continuity(shuffled(wrapped(text))).continues


def test_a_script_without_case_and_spaces() -> None:
    draw = random.Random(4)
    names = ["春天", "河水", "老人", "山上的树", "孩子们", "小船"]
    deeds = ["慢慢地走了", "在等待", "回来了", "看着窗外", "什么也没有说"]
    text = "".join(
        draw.choice(names) + draw.choice(deeds) + draw.choice(["，", "。", "，", "！"])
        for _ in range(3000)
    )
    lines = [text[begin : begin + 20] for begin in range(0, len(text), 20)]
    assert lacks_spaces(lines)
    assert continuity(lines).continues
    assert not continuity(shuffled(lines)).continues
    whole = re.findall("[^。！]+[。！]", text)
    assert not continuity(whole).continues


def test_few_lines_prove_nothing() -> None:
    assert continuity([]) == continuity(["one line"]) == Continuity()
    few = continuity(RUNNING[:8])
    assert not few.continues
    assert not few.refutes
    assert Continuity(lines=MIN_REFUTING).refutes
    assert not Continuity(lines=MIN_REFUTING - 1).refutes


def test_only_the_beginning_is_read() -> None:
    def endless() -> object:
        while True:
            yield from RUNNING

    assert continuity(endless()).lines == MAX_LINES - 1  # type: ignore[arg-type]
    long = ["x " * (MAX_CHARACTERS // 2)] * 2
    assert continuity([*long, *RUNNING]).lines == 1
