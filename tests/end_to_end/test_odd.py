"""Twenty thousand odd inputs: readers, headers, vocabularies, manifests and the command line."""

from __future__ import annotations

import random

import odd
import pytest
from frozen import FIXTURES
from hypothesis import settings

COUNTS = {
    "readers": 7_500,
    "headers": 5_500,
    "vocabularies": 4_000,
    "manifests": 2_000,
    "words": 1_000,
}


def test_they_are_twenty_thousand() -> None:
    assert sum(COUNTS.values()) == 20_000
    assert COUNTS.keys() == odd.CASES.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_random_input_gives_a_result_or_a_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case checks its own result; this test checks that all of them were run."""
    monkeypatch.setenv("CHARSEQ_MODEL", str(FIXTURES / "soft"))
    ended = 0

    def case(draw: random.Random) -> None:
        nonlocal ended
        odd.CASES[name](draw)
        ended += 1

    settings(max_examples=COUNTS[name] // odd.CASES_PER_SEED)(odd.drawn(case))()
    assert ended >= COUNTS[name]
