"""What was seen: counted, kept within limits, weighed by dev, and refused from strangers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence import memory as module
from charseq.confidence.memory import MAX_CHARACTERS, Memory, SeenRow, fit, key_of, written
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import CheckpointError

LATIN = Vocabulary("characters", "NFD", "NFC", tuple("abco\u0308"), features=("V", "N"))
SPACED = Vocabulary("spaced", "NFC", "NFC", ("AH0", "B"))
PAIRS = [("a\t", "x", 2.0), ("b\tV;N", "b", 1.0), ("a\t", "y", 3.0), ("a\t", "x", 2.0)]


def found(model: dict[str, float], **seen: float) -> dict[str, float]:
    return replace(Memory.count(("s\t", *one) for one in seen.items()), strength=0.5).mixed(
        "s\t", model
    )


def test_counts_of_equal_pairs_are_added_the_largest_first() -> None:
    memory = Memory.count(PAIRS)
    assert {key: [*targets.items()] for key, targets in memory.entries.items()} == {
        "a\t": [("x", 4.0), ("y", 3.0)],
        "b\tV;N": [("b", 1.0)],
    }
    assert memory.find("b\t") == {}
    assert memory.left_out == 0


def test_the_sources_seen_most_often_are_kept() -> None:
    counts = {"a": 1.0, "b": 4.0, "c": 1.0, "d": 2.0}
    pairs = [(f"{letter}\t", "x", count) for letter, count in counts.items()]
    size = len("b\t\tx\t4\n")
    kept = [[*Memory.count(pairs, most=most).entries] for most in (4 * size, 3 * size, size + 1, 1)]
    assert kept == [["b\t", "d\t", "a\t", "c\t"], ["b\t", "d\t", "a\t"], ["b\t"], []]
    assert Memory.count(pairs, most=size + 1).left_out == 3


def test_the_stored_entries_stay_below_the_limit() -> None:
    pairs = [(f"{number:07}\t", "target", 1.0) for number in range(80_000)]
    memory = Memory.count(pairs)
    assert 0 < memory.left_out < 80_000
    stored = memory.to_json()
    assert len(stored["entries"]) <= MAX_CHARACTERS
    assert Memory.from_json(stored | {"rows": 1}) is not None


def test_texts_with_tabs_and_line_ends_are_not_kept() -> None:
    pairs = [("a\tb\t", "x", 1.0), ("a\t", "x\ty", 1.0), ("a\nb\t", "x", 1.0), ("c\t", "x\n", 1.0)]
    assert Memory.count([*pairs, ("d\t", "\u2028", 1.0)]).entries == {"d\t": {"\u2028": 1}}


def test_a_source_may_have_been_left_without_a_target() -> None:
    memory = Memory.count([("a\t", "", 3.0), ("a\t", "a", 1.0)])
    again = Memory.from_json(replace(memory, rows=1).to_json())
    assert again is not None
    assert again.entries == {"a\t": {"": 3.0, "a": 1.0}}
    assert next(iter(again.mixed("a\t", {"a": 0.9}))) == ""


def test_shares_and_probabilities_are_mixed() -> None:
    assert found({"x": 0.6, "z": 0.4}, x=1) == pytest.approx({"x": 1.3 / 1.5, "z": 0.2 / 1.5})
    assert [*found({"z": 0.9}, x=0.1)] == ["z", "x"]
    assert [*found({"z": 1.0}, x=0.25, y=0.25)] == ["z", "x", "y"], "equal ones in their order"
    assert found({}, x=3, y=1) == pytest.approx({"x": 3 / 4.5, "y": 1 / 4.5})


@given(
    st.dictionaries(st.sampled_from("abcde"), st.floats(0.01, 1e6), min_size=1),
    st.dictionaries(st.sampled_from("cdefg"), st.floats(0, 0.2)),
    st.sampled_from(module.STRENGTHS),
)
def test_probabilities_are_in_order_and_sum_to_one_at_most(
    seen: dict[str, float], model: dict[str, float], strength: float
) -> None:
    memory = Memory({"s\t": seen}, strength=strength)
    mixed = memory.mixed("s\t", model)
    assert mixed.keys() == seen.keys() | model.keys()
    assert [*mixed.values()] == sorted(mixed.values(), reverse=True)
    assert math.fsum(mixed.values()) <= 1 + 1e-12


def test_a_source_has_one_key_in_every_unicode_form_with_its_features() -> None:
    assert key_of(LATIN, "\u00f6", "") == key_of(LATIN, "o\u0308", "") == "o\u0308\t"
    assert key_of(LATIN, "a", "V; N") == "a\tV;N" != key_of(LATIN, "a", "N;V")


def test_targets_are_kept_as_the_model_writes_them() -> None:
    assert written(LATIN, "o\u0308") == "\u00f6"
    assert written(SPACED, " AH0  B") == "AH0 B"
    assert written(SPACED, "AH0  Z") == "AH0  Z", "no model writes it"


# --- the weights


def dev(
    strength: float, *, sources: int = 150, rows: int = 10, seed: int = 1
) -> tuple[Memory, list[SeenRow]]:
    """Rows drawn from the mixture of counts and model with this strength."""
    random = np.random.default_rng(seed)
    seen, made = [], []
    for number in range(sources):
        key, first = f"{number}\t", float(random.uniform(0.05, 0.95))
        counts = {"x": float(random.integers(1, 6)), "y": float(random.integers(1, 6))}
        seen += [(key, target, count) for target, count in counts.items()]
        model = {"x": first, "z": 1 - first}
        chances = replace(Memory.count(seen), strength=strength).mixed(key, model)
        drawn = random.choice([*chances], size=rows, p=[*chances.values()])
        made += [SeenRow(key, model, str(one), frozenset([str(one)])) for one in drawn]
    return Memory.count(seen), made


@pytest.mark.parametrize("strength", [0.5, 4.0, 20.0])
def test_the_strength_is_found_again(strength: float) -> None:
    memory, rows = dev(strength)
    weighed = fit(memory, rows)
    assert weighed is not None
    assert strength / 1.6 < weighed.strength < strength * 1.6
    assert weighed.entries == memory.entries
    assert weighed.rows == 1500
    assert weighed.right_before < weighed.right_after


def test_half_of_the_rows_does_not_judge_itself() -> None:
    """Sources of one half are rewritten as remembered, those of the other as the model says."""
    rows, seen = [], []
    for number in range(200):
        target = "xz"[number % 2]
        seen.append((f"{number}\t", "x", 2.0))
        rows.append(SeenRow(f"{number}\t", {"z": 0.9}, target, frozenset(target)))
    told: list[str] = []
    assert fit(Memory.count(seen), rows, told.append) is None
    assert told == [
        "of 200 rows of dev with sources of train it would make right 0.0 %, without it 50.0 %"
    ]


def test_a_memory_that_misleads_is_none() -> None:
    seen = [(f"{number}\t", "old", 3.0) for number in range(150)]
    rows = [SeenRow(key, {"new": 0.99}, "new", frozenset(["new"])) for key, *_ in seen]
    told: list[str] = []
    assert fit(Memory.count(seen), rows, told.append) is None
    assert "100.0 %, without it 100.0 %" in told[0]


@pytest.mark.parametrize(
    ("sources", "rows", "told"),
    [
        (33, 3, "99 rows of dev have one of 33 sources of train, expected 100 rows of 20"),
        (19, 10, "190 rows of dev have one of 19 sources of train, expected 100 rows of 20"),
    ],
)
def test_few_rows_decide_nothing(sources: int, rows: int, told: str) -> None:
    reasons: list[str] = []
    assert fit(*dev(1.0, sources=sources, rows=rows), reasons.append) is None
    assert reasons == [told]


def test_rows_whose_answers_are_all_right_anyhow_need_a_likelier_memory() -> None:
    seen = [(f"{number}\t", "x", 9.0) for number in range(150)]
    rows = [SeenRow(key, {"x": 0.6}, "x", frozenset("x")) for key, *_ in seen]
    weighed = fit(Memory.count(seen), rows)
    assert weighed is not None
    assert (weighed.right_before, weighed.right_after) == (100.0, 100.0)
    assert weighed.mixed("3\t", {"x": 0.6})["x"] > 0.99


# --- stored


def stored(**changes: Any) -> dict[str, Any]:
    return {**replace(Memory.count(PAIRS), strength=0.5, rows=120).to_json(), **changes}


def test_a_memory_is_stored_in_few_bytes_and_comes_back() -> None:
    value = json.loads(json.dumps(stored()))
    assert value["entries"] == "a\t\tx\t4\ty\t3\nb\tV;N\tb\t1"
    again = Memory.from_json(value)
    assert again is not None
    assert again.entries == Memory.count(PAIRS).entries
    assert (again.strength, again.rows, again.left_out) == (0.5, 120, 0)
    assert again.to_json() == value
    assert Memory.from_json(None) is None


HOSTILE = {
    "no object": [],
    "a key less": {key: value for key, value in stored().items() if key != "rows"},
    "a key more": stored(more=1),
    "strength 0": stored(strength=0),
    "strength below 0": stored(strength=-1.0),
    "strength true": stored(strength=True),
    "strength no number": stored(strength=math.nan),
    "rows a text": stored(rows="9"),
    "left out below 0": stored(left_out=-1),
    "percent": stored(right_after=101),
    "no entries": stored(entries=""),
    "entries a list": stored(entries=["a\t\tx\t1"]),
    "too long": stored(entries="a\t\tx\t1\n" + "b" * MAX_CHARACTERS),
    "a source twice": stored(entries="a\t\tx\t1\na\t\ty\t1"),
    "a target twice": stored(entries="a\t\tx\t1\tx\t1"),
    "an empty target twice": stored(entries="a\t\t\t1\t\t1"),
    "no source": stored(entries="\t\tx\t1"),
    "no target": stored(entries="a\t"),
    "no count": stored(entries="a\t\tx"),
    "a count less": stored(entries="a\t\tx\t1\ty"),
    "count 0": stored(entries="a\t\tx\t0"),
    "count below 0": stored(entries="a\t\tx\t-1"),
    "infinite": stored(entries="a\t\tx\tinf"),
    "nan": stored(entries="a\t\tx\tnan"),
    "huge": stored(entries="a\t\tx\t1e16"),
    "a word as count": stored(entries="a\t\tx\tmany"),
    "an empty line": stored(entries="a\t\tx\t1\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_memory_of_a_stranger_is_checked(name: str) -> None:
    with pytest.raises(CheckpointError, match="is damaged: the memory's ") as caught:
        Memory.from_json(HOSTILE[name])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
