"""Batches: every example once in an epoch, an order that depends on seed and step, padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data import batches as batching
from charseq.data.batches import Batch, Batches, LineBatches, StreamBatches, buckets, pad
from charseq.data.text.vocabulary import BOS, EOS, PAD

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1000))


def make(count: int, *, batch_size: int = 8, seed: int = 1, spread: int = 12) -> Batches:
    """Examples of mixed lengths; the first source id of each tells which example it is."""
    random = np.random.default_rng(count)
    sources = [[10 + row] + [5] * int(random.integers(spread)) for row in range(count)]
    targets = [[6] * int(1 + random.integers(spread)) for _ in range(count)]
    return Batches(sources, targets, batch_size=batch_size, seed=seed)


def rows_of(batch: Batch) -> list[int]:
    return (batch.source[:, 0] - 10).tolist()


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(vars(one)[name], vars(other)[name]) for name in vars(one))


# --- the order


@settings(max_examples=40)
@given(SIZES)
def test_every_epoch_is_a_permutation(sizes: tuple[int, int, int]) -> None:
    count, batch_size, seed = sizes
    batches = make(count, batch_size=batch_size, seed=seed)
    assert len(batches) == -(-count // batch_size)
    for epoch in range(3):
        steps = range(epoch * len(batches), (epoch + 1) * len(batches))
        epoch_rows = [rows_of(batches[step]) for step in steps]
        assert sorted(itertools.chain(*epoch_rows)) == list(range(count))
        short = [len(rows) for rows in epoch_rows if len(rows) != batch_size]
        assert short == ([count % batch_size] if count % batch_size else [])


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    in_order, at_random = make(50), make(50)
    expected = [in_order[step] for step in range(40)]
    for step in np.random.default_rng(2).permutation(40).tolist():
        assert same(at_random[step], expected[step])
        assert same(make(50)[step], expected[step])


def test_epochs_and_seeds_differ_in_order_and_in_batches() -> None:
    def groups(batches: Batches, epoch: int) -> list[frozenset[int]]:
        steps = range(epoch * len(batches), (epoch + 1) * len(batches))
        return [frozenset(rows_of(batches[step])) for step in steps]

    one = make(64, spread=200)
    assert groups(one, 0) != groups(one, 1)
    assert set(groups(one, 0)) != set(groups(one, 1))
    assert set(groups(one, 0)) != set(groups(make(64, spread=200, seed=2), 0))


def test_every_example_has_a_noise_of_its_own() -> None:
    """Without it, the same rows would share a batch in every epoch."""
    targets = [[6] * (100 + row) for row in range(64)]
    batches = Batches([[10 + row] for row in range(64)], targets, batch_size=32)
    mixed = [set(rows_of(batches[step])) for step in range(4)]
    assert set(range(32)) not in mixed
    # yet none goes far: the noise is a tenth of a length
    assert all(len(rows & set(range(32))) > 18 or len(rows & set(range(32))) < 14 for rows in mixed)


def test_the_epoch_does_not_go_from_short_to_long() -> None:
    batches = make(800, spread=30)
    lengths = [float(batches[step].source_lengths.mean()) for step in range(len(batches))]
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.4


def test_batches_hold_texts_of_similar_length_on_both_sides() -> None:
    random = np.random.default_rng(3)
    sources = [[5] * int(random.integers(3, 30)) for _ in range(4000)]
    # a target about as long as its source, as in every transliteration
    targets = [[6] * max(1, len(source) + int(random.integers(-3, 4))) for source in sources]
    batches = Batches(sources, targets, batch_size=64)
    made = [batches[step] for step in range(len(batches))]
    for name in ("source", "labels"):
        symbols = np.concatenate([getattr(batch, name).ravel() for batch in made])
        assert float((symbols == PAD).mean()) < 0.15
        at_random = batches.collate(list(range(64)))
        assert float((getattr(at_random, name) == PAD).mean()) > 0.3


# --- outliers


def of_lengths(*pairs: tuple[int, int], batch_size: int = 8) -> Batches:
    sources = [[5] * source for source, _ in pairs]
    return Batches(sources, [[6] * target for _, target in pairs], batch_size=batch_size)


SHORT = [(5, 6), (7, 4), (6, 6)] * 20


def test_a_long_text_is_not_padded_to_by_short_ones() -> None:
    batches = of_lengths(*SHORT, (3000, 40), *SHORT, batch_size=64)
    assert len(batches) == 2 + 1
    for epoch in range(3):
        steps = range(epoch * 3, epoch * 3 + 3)
        rows = [batches.rows(step).tolist() for step in steps]
        assert sorted(itertools.chain(*rows)) == list(range(121))
        assert [60] in rows
        widths = [batches[step].source.shape[1] for step in steps]
        assert sorted(widths) == [7, 7, 3000]


def test_outliers_share_a_batch_as_far_as_its_attention_is_no_larger() -> None:
    longest = batching.MIN_OUTLIER
    assert of_lengths(*SHORT).longest == longest
    doubled = [(2 * longest, 3)] * 5
    batches = of_lengths(*SHORT, *doubled, batch_size=8)  # 8 / 2² = 2 rows
    sizes = [len(batches.rows(step)) for step in range(len(batches))]
    assert len(batches) == 8 + 3
    assert sorted(sizes) == [1, 2, 2, 4, *[8] * 7]


def test_without_outliers_lengths_change_no_batch() -> None:
    long = [(100 + n, 400) for n in range(60)]
    batches = of_lengths(*long)
    assert batches.longest == 1600
    assert len(batches) == 8
    assert of_lengths(*SHORT, (batching.MIN_OUTLIER, 3), batch_size=61).rows(0).size == 61
    assert of_lengths(*SHORT, (3, batching.MIN_OUTLIER + 1), batch_size=61).rows(0).size != 61


def test_outliers_are_in_an_epoch_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_SHUFFLED", 10)
    pairs = [(3000, 4) if n % 8 == 3 else (4, 5) for n in range(45)]
    batches = of_lengths(*pairs, batch_size=4)
    for epoch in range(2):
        rows = [batches.rows(epoch * len(batches) + place) for place in range(len(batches))]
        assert sorted(np.concatenate(rows).tolist()) == list(range(45))
        assert sum(len(one) == 1 and one[0] % 8 == 3 for one in rows) == 6


# --- one batch


def test_collate_by_hand() -> None:
    batches = Batches([[7, 8], [9], [4, 4]], [[5], [6, 7, 8], []], weights=[1.0, 2.0, 3.0])
    batch = batches.collate([1, 0, 2])
    assert batch.source.tolist() == [[9, PAD], [7, 8], [4, 4]]
    assert batch.source_lengths.tolist() == [1, 2, 2]
    assert batch.inputs.tolist() == [[BOS, 6, 7, 8], [BOS, 5, PAD, PAD], [BOS, PAD, PAD, PAD]]
    assert batch.labels.tolist() == [[6, 7, 8, EOS], [5, EOS, PAD, PAD], [EOS, PAD, PAD, PAD]]
    assert batch.weights.tolist() == [1.0, 0.5, 1.5]
    assert {vars(batch)[name].dtype for name in ("source", "inputs", "labels")} == {
        np.dtype("int64")
    }


def test_a_batch_of_the_plan_is_collated_from_its_rows() -> None:
    batches = make(30)
    for step in range(8):
        assert same(batches[step], batches.collate(rows_of(batches[step])))


@settings(max_examples=40)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_weights_keep_their_proportions_and_have_mean_one(weights: list[float]) -> None:
    texts = [[4]] * len(weights)
    found = Batches(texts, texts, weights=weights).collate(list(range(len(weights)))).weights
    assert found.dtype == np.float32
    assert float(found.mean()) == pytest.approx(1, rel=1e-5)
    assert found / found[0] == pytest.approx(np.array(weights) / weights[0], rel=1e-5)


def test_without_weights_all_weigh_one() -> None:
    assert make(5).collate([0, 3]).weights.tolist() == [1.0, 1.0]


def test_a_large_epoch_is_drawn_in_parts_that_are_like_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "MAX_SHUFFLED", 10)
    batches = make(35, batch_size=4)
    epochs = []
    for epoch in range(2):
        rows = [batches.rows(epoch * len(batches) + place) for place in range(len(batches))]
        assert sorted(np.concatenate(rows).tolist()) == list(range(35))
        assert all(len({row % 4 for row in batch.tolist()}) == 1 for batch in rows)
        epochs.append([batch.tolist() for batch in rows])
    assert len(batches) == 3 + 3 + 3 + 2
    assert epochs[0] != epochs[1]
    again = make(35, batch_size=4)
    assert again.rows(2 * len(batches) - 1).tolist() == epochs[1][-1]  # straight away


def test_the_order_of_an_epoch_in_one_part_has_not_changed() -> None:
    batches = make(35, batch_size=4)
    random = np.random.default_rng([batches.seed, 1])
    noise = random.uniform(-batching.LENGTH_NOISE, batching.LENGTH_NOISE, size=(35, 2))
    keys = np.log1p(batches.lengths) + noise
    order = np.lexsort((random.permutation(35), keys[:, 1], np.round(keys[:, 0] * 8)))
    cuts = [order[first : first + 4] for first in range(0, 35, 4)]
    expected = [cuts[place].tolist() for place in random.permutation(len(cuts))]
    assert [batches.rows(len(cuts) + place).tolist() for place in range(len(cuts))] == expected


def test_sources_without_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="2 sources and 1 targets"):
        Batches([[4], [5]], [[4]])


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=6))
def test_pad_fills_up_at_the_end(rows: list[list[int]]) -> None:
    padded = pad([np.array(row, dtype=np.int64) for row in rows])
    width = max(map(len, rows), default=0)
    assert padded.shape == (len(rows), width)
    assert padded.tolist() == [row + [PAD] * (width - len(row)) for row in rows]


# --- lines of a text


def text(lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Ids that tell where they stand, from 10 up, and the offsets of the lines."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.arange(10, 10 + offsets[-1], dtype=np.int32), offsets


def test_a_long_line_has_a_batch_of_its_own() -> None:
    lines = LineBatches(*text([4, 5, 6] * 10 + [2000] + [3] * 3), batch_size=16)
    assert len(lines) == 3 + 1
    rows = [lines.rows(step).tolist() for step in range(4)]
    assert [30] in rows
    assert sorted(itertools.chain(*rows)) == list(range(34))


def test_a_line_beyond_all_bounds_is_read_as_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_LINE", 10)
    ids, offsets = text([3, 25, 0, 10, 11])
    lines = LineBatches(ids, offsets, batch_size=2)
    assert np.diff(lines.offsets).tolist() == [3, 10, 10, 5, 0, 10, 10, 1]
    whole = lines.collate(range(8))
    read = [row[(row != PAD) & (row != EOS)].tolist() for row in whole.labels]
    assert list(itertools.chain(*read)) == ids.tolist()


def text_of(count: int, *, spread: int = 12, shortest: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    return text(random.integers(shortest, spread, size=count).tolist())


def epoch_of(batches: LineBatches | StreamBatches, epoch: int) -> list[Batch]:
    return [batches[step] for step in range(epoch * len(batches), (epoch + 1) * len(batches))]


def test_lines_by_hand() -> None:
    lines = LineBatches(*text([2, 0, 3]), batch_size=2)
    assert len(lines) == 2
    batch = lines.collate([2, 1, 0])
    assert batch.inputs.tolist() == [[BOS, 12, 13, 14], [BOS, PAD, PAD, PAD], [BOS, 10, 11, PAD]]
    assert batch.labels.tolist() == [[12, 13, 14, EOS], [EOS, PAD, PAD, PAD], [10, 11, EOS, PAD]]
    assert batch.weights.tolist() == [1, 1, 1]
    assert batch.source.shape == (3, 0)
    assert batch.source_lengths.tolist() == [0, 0, 0]
    assert not batch.continues
    assert {getattr(batch, name).dtype for name in ("source", "inputs", "labels")} == {
        np.dtype("int64")
    }


@settings(max_examples=40)
@given(SIZES)
def test_every_line_comes_once_in_an_epoch(sizes: tuple[int, int, int]) -> None:
    count, batch_size, seed = sizes
    ids, offsets = text_of(count)
    lines = LineBatches(ids, offsets, batch_size=batch_size, seed=seed)
    assert len(lines) == -(-count // batch_size)
    wanted = sorted([*ids[a:b].tolist(), EOS] for a, b in itertools.pairwise(offsets))
    for epoch in range(2):
        batches = epoch_of(lines, epoch)
        found = [[k for k in row if k != PAD] for batch in batches for row in batch.labels.tolist()]
        assert sorted(found) == wanted
        for batch in batches:
            words = batch.labels * (batch.labels != EOS)
            assert bool((batch.inputs[:, 0] == BOS).all())
            assert np.array_equal(batch.inputs[:, 1:], words[:, :-1])
        assert [len(batch.labels) for batch in batches if len(batch.labels) != batch_size] == (
            [count % batch_size] if count % batch_size else []
        )


def test_lines_of_similar_length_share_a_batch_and_epochs_differ() -> None:
    lines = LineBatches(*text_of(4000, spread=40), batch_size=64)
    epochs = [epoch_of(lines, epoch) for epoch in range(2)]
    padding = np.concatenate([batch.labels.ravel() == PAD for batch in epochs[0]])
    assert float(padding.mean()) < 0.1
    sizes = [batch.labels.shape[1] for batch in epochs[0]]
    assert abs(np.corrcoef(sizes, np.arange(len(sizes)))[0, 1]) < 0.4
    first, second = ({frozenset(batch.labels[:, 0]) for batch in batches} for batches in epochs)
    assert len(first & second) < 4
    # equal lengths are no reason to stay together
    equal = LineBatches(*text([5] * 640), batch_size=64)
    company = [{frozenset(b.labels[:, 0]) for b in epoch_of(equal, epoch)} for epoch in range(2)]
    assert not company[0] & company[1]


def test_a_batch_of_text_depends_on_seed_and_step_alone() -> None:
    for kind in (LineBatches, StreamBatches):
        made = partial(kind, *text_of(50), batch_size=7)
        in_order, at_random = made(seed=3), made(seed=3)
        total = 3 * len(in_order)
        expected = [in_order[step] for step in range(total)]
        for step in np.random.default_rng(2).permutation(total).tolist():
            assert same(at_random[step], expected[step])
            assert same(made(seed=3)[step], expected[step])
        assert not all(same(made(seed=4)[step], expected[step]) for step in range(total))


def test_a_text_may_be_a_memory_mapped_file(tmp_path: Path) -> None:
    ids, offsets = text_of(80)
    ids.tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", dtype=np.int32, mode="r")
    for kind in (LineBatches, StreamBatches):
        plain, other = (kind(given, offsets, batch_size=9) for given in (ids, mapped))
        for step in range(2 * len(plain)):
            assert same(other[step], plain[step])
            assert type(other[step].inputs) is np.ndarray


# --- running text


def whole(ids: np.ndarray, offsets: np.ndarray) -> list[int]:
    """The text with the end of each line as a symbol of its own."""
    return [k for a, b in itertools.pairwise(offsets) for k in [*ids[a:b].tolist(), EOS]]


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.integers(1, 9),
    st.integers(1, 11),
    st.integers(0, 1000),
)
def test_each_row_of_a_stream_reads_a_part_of_the_circle(
    lengths: list[int], batch_size: int, steps: int, seed: int
) -> None:
    given_text = text(lengths)
    circle = whole(*given_text)
    rows = min(batch_size, len(circle))
    stream = StreamBatches(*given_text, batch_size=batch_size, steps=steps, seed=seed)
    cuts = set()
    for epoch in range(3):
        batches = epoch_of(stream, epoch)
        widths = [batch.labels.shape[1] for batch in batches]
        assert max(widths) <= steps
        assert max(widths) - min(widths) <= 1
        labels = np.concatenate([batch.labels for batch in batches], axis=1)
        inputs = np.concatenate([batch.inputs for batch in batches], axis=1)
        assert labels.shape == (rows, len(circle) // rows)
        # the rows one after another are a piece of the circle: all but the remainder, once
        line = labels.ravel().tolist()
        starts = [k for k in range(len(circle)) if (circle[k:] + circle[:k])[: len(line)] == line]
        assert starts
        cuts.add(tuple(starts))
        # and the inputs are the same, a symbol earlier
        assert np.array_equal(inputs[:, 1:], labels[:, :-1])
        assert inputs[1:, 0].tolist() == labels[:-1, -1].tolist()
        assert inputs[0, 0] in {circle[k - 1] for k in starts}
        assert [batch.continues for batch in batches] == [True] * (len(batches) - 1) + [False]
    if len(circle) > 100:
        assert len(cuts) > 1


def test_a_stream_by_hand() -> None:
    stream = StreamBatches(*text([2, 0, 3]), batch_size=2, steps=3)
    assert len(stream) == 2
    batches = epoch_of(stream, 0)
    assert [batch.labels.shape for batch in batches] == [(2, 2), (2, 2)]
    circle = [10, 11, EOS, EOS, 12, 13, 14, EOS]
    read = np.concatenate([batch.labels for batch in batches], axis=1).ravel().tolist()
    assert any(circle[k:] + circle[:k] == read for k in range(8))
    assert [batch.weights.tolist() for batch in batches] == [[1, 1]] * 2
    assert batches[0].source.shape == (2, 0)
    assert batches[0].labels.dtype == np.dtype("int64")


# --- buckets for prediction


@settings(max_examples=100)
@given(st.lists(st.integers(0, 20), max_size=40), st.integers(1, 6), st.integers(1, 7))
def test_buckets(lengths: list[int], width: int, size: int) -> None:
    groups = buckets(lengths, width=width, size=size)
    assert sorted(itertools.chain(*groups)) == list(range(len(lengths)))
    rounded = [{-(-lengths[row] // width) for row in group} for group in groups]
    assert all(len(kinds) == 1 for kinds in rounded)
    assert all(1 <= len(group) <= size for group in groups)
    assert all(group == sorted(group) for group in groups)
    order = [kinds.pop() for kinds in rounded]
    assert order == sorted(order)
    # no more groups than needed: all but the last of each length are full
    wanted = {kind: -(-sum(-(-n // width) == kind for n in lengths) // size) for kind in order}
    assert len(groups) == sum(wanted.values())


def test_buckets_by_hand() -> None:
    lengths = [5, 1, 4, 8, 2, 9, 3]
    assert buckets(lengths, width=4, size=3) == [[1, 2, 4], [6], [0, 3], [5]]


def test_ids_are_int64_and_weights_float32_whatever_was_given() -> None:
    """Torch indexes by int64 alone, and a weight of float64 would make every loss float64."""
    ids, offsets = np.array([3, 4, 5, 3, 4], dtype=np.int32), np.array([0, 2, 5])
    orders: list[Any] = [
        Batches([[3, 4], [5]], [[3], []], weights=[1.0, 2.0], batch_size=2),
        LineBatches(ids, offsets, batch_size=2),
        StreamBatches(ids, offsets, batch_size=2, steps=3),
    ]
    for order in orders:
        batch = order[0]
        assert batch.weights.dtype == np.float32
        kinds = {part.dtype for part in (batch.inputs, batch.labels)}
        assert kinds == {np.dtype(np.int64)}
    assert orders[0][0].source.dtype == np.int64
