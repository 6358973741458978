"""Every kernel against NumPy, over sizes and levels; what is wrong is refused; how it is found."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from levels import BUILT, FOLDER, LIBRARY, at_level, each_cell, each_level, needs_library

from charseq.decoding.blocks import BLOCK, cell_step, to_blocks, to_rows
from charseq.errors import SettingError
from charseq.kernels import library as kernels
from charseq.kernels.cell_table import CELLS
from charseq.kernels.layout import VECTOR, interleave, pad_rows, padded_size, zeros
from charseq.kernels.library import LEVELS, VARIABLE, Kernels, Rows

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler here")


def near(level: str) -> float:
    """How far sums of a few hundred products may be from NumPy's, where they are about 1."""
    return 2e-4 if level == "amx" else 2e-5


def normal(*shape: int, seed: int = 1, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype("f4")


SIZES = [(1, 1, 1), (2, 17, 3), (5, 16, 16), (7, 33, 50), (12, 100, 31), (13, 64, 256)]
SIZES += [(16, 48, 33), (17, 70, 65), (24, 129, 17), (31, 15, 257), (40, 200, 100), (65, 300, 40)]
"""Rows, columns, depth."""


# --- the kernels


@each_level
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_products_are_numpys(sizes: tuple[int, int, int], level: str) -> None:
    count, columns, depth = sizes
    found = at_level(level)
    weight, rows = normal(columns, depth, scale=depth**-0.5), normal(count, depth, seed=2)
    bias, more = normal(columns, seed=3), normal(5, columns, seed=4)
    numbers = np.random.default_rng(5).integers(5, size=count)
    for tanh, added in itertools.product((False, True), repeat=2):
        expected = rows @ weight.T + (bias + more[numbers] if added else 0)
        expected = np.tanh(expected) if tanh else expected
        packed = found.pack(weight, bias if added else None)
        addend = Rows(pad_rows(more), numbers) if added else None
        out = found.product(packed, pad_rows(rows), tanh=tanh, addend=addend)
        assert out.shape == (count, padded_size(columns))
        np.testing.assert_allclose(out[:, :columns], expected, rtol=0, atol=near(level))
        assert not out[:, columns:].any()


@each_level
def test_a_row_of_a_product_depends_on_nothing_else(level: str) -> None:
    found = at_level(level)
    packed, rows = found.pack(normal(70, 33)), pad_rows(normal(600, 33, seed=2))
    every = found.product(packed, rows)
    for count in (*range(1, 26), 63, 64, 65, 130, 599):
        some = np.random.default_rng(count).permutation(600)[:count]
        assert np.array_equal(found.product(packed, rows[some].copy()), every[some])


@each_level
@each_cell
@pytest.mark.parametrize("hidden", [1, 16, 33, 100])
def test_a_step_is_numpys(cell: str, hidden: int, level: str) -> None:
    found = at_level(level)
    for count in (1, 2, 7, 12, 16, 17, 33, 40, 70):
        expected, given = cells_of(cell, hidden, count)
        after = zeros(*given["state"].shape)
        found.step(
            cell, found.pack(interleave(CELLS[cell].gates, given["recurrent"]), cell=cell),
            given["state"], after,
            first=Rows(given["first"], given["numbers"]),
            second=Rows(given["second"], given["rest"]),
        )  # fmt: skip
        np.testing.assert_allclose(after[:, :, :hidden], expected, rtol=0, atol=near(level))
        assert not after[:, :, hidden:].any()


def cells_of(cell: str, hidden: int, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One step by ``lanes``, K N H, and what the kernel is given for it."""
    gates = CELLS[cell].gates * hidden
    recurrent = normal(gates, hidden, scale=0.8 * hidden**-0.5)
    first, second = normal(6, gates, seed=2), normal(4, gates, seed=3)
    random = np.random.default_rng(4)
    numbers, rest = random.integers(6, size=count), random.integers(4, size=count)
    state = normal(CELLS[cell].states, count, hidden, seed=5, scale=0.7)
    lanes = -(-count // BLOCK) * BLOCK
    projected, before = (
        np.zeros((lanes, gates), "f4"),
        np.zeros((CELLS[cell].states, lanes, hidden), "f4"),
    )
    projected[:count] = first[numbers] + second[rest]
    before[:, :count] = state
    blocks = np.stack([to_blocks(one) for one in before])
    after = np.empty_like(blocks)
    cell_step(cell, recurrent, to_blocks(projected), blocks, after)
    turned = [
        pad_rows(interleave(CELLS[cell].gates, table.T.copy()).T) for table in (first, second)
    ]
    given = {
        "recurrent": recurrent, "state": pad_rows(state), "first": turned[0], "second": turned[1],
        "numbers": numbers, "rest": rest,
    }  # fmt: skip
    return np.stack([to_rows(one)[:count] for one in after]), given


@each_level
@each_cell
@pytest.mark.parametrize("backward", [False, True])
def test_a_run_is_its_steps(cell: str, backward: bool, level: str) -> None:
    """Row by row, from its own end if backward, to the last bit."""
    found, count, steps, hidden = at_level(level), 70, 5, 24
    room = padded_size(hidden)
    packed = found.pack(
        interleave(CELLS[cell].gates, normal(CELLS[cell].gates * hidden, hidden, scale=0.2)),
        cell=cell,
    )
    table = normal(9, CELLS[cell].gates * room, seed=2)
    ids = np.random.default_rng(3).integers(9, size=(count, steps))
    lengths = np.random.default_rng(4).integers(1, steps + 1, size=count)
    memory, last = zeros(count, steps, 3 * room), zeros(CELLS[cell].states, count, 3 * room)
    memory[:] = np.nan
    first, second = Rows(table, ids), Rows(table, ids[:, 0].copy())
    found.run(
        cell, packed, lengths, memory, last, first=first, second=second, offset=room,
        backward=backward,
    )  # fmt: skip
    for row in (0, 1, 33, 64, 69):
        state = zeros(CELLS[cell].states, 1, room)
        order = range(lengths[row])
        for place in reversed(order) if backward else order:
            after = zeros(*state.shape)
            ones = Rows(table, ids[row, place : place + 1]), Rows(table, ids[row, :1])
            found.step(cell, packed, state, after, first=ones[0], second=ones[1])
            state = after
            assert np.array_equal(memory[row, place, room : 2 * room], state[0, 0])
        assert np.array_equal(last[:, row, room : 2 * room], state[:, 0])
        assert not memory[row, lengths[row] :, room : 2 * room].any()
    assert np.isnan(memory[:, :, :room]).all()
    assert np.isnan(memory[:, :, 2 * room :]).all()


@each_level
@pytest.mark.parametrize("width", [1, 3])
def test_attention_is_numpys(width: int, level: str) -> None:
    found = at_level(level)
    for steps, hidden, value in ((1, 16, 16), (3, 48, 16), (17, 16, 64), (33, 112, 80)):
        keys, values = normal(6, steps, hidden, seed=1), normal(6, steps, value, seed=2)
        lengths = np.random.default_rng(3).integers(1, steps + 1, size=6)
        texts = np.array([5, 0, 2, 3])
        queries = normal(4 * width, hidden, seed=4)
        context = found.attend(queries, keys, values, lengths, texts)
        for row, one in enumerate(context):
            text = texts[row // width]
            scores = keys[text, : lengths[text]] @ queries[row]
            weights = np.exp(scores - scores.max())
            expected = weights / weights.sum() @ values[text, : lengths[text]]
            np.testing.assert_allclose(one, expected, rtol=0, atol=2e-5)


@each_level
@pytest.mark.parametrize("symbols", [1, 16, 45, 1000])
def test_log_probabilities_are_numpys(symbols: int, level: str) -> None:
    logits = normal(9, symbols, scale=20)
    logits[:, symbols // 3] = -np.inf if symbols > 1 else 0
    rows = pad_rows(logits, -np.inf)
    at_level(level).log_softmax(rows)
    wanted = logits.astype("f8") - logits.max(axis=1, keepdims=True)
    wanted -= np.log(np.exp(wanted).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(rows[:, :symbols], wanted, rtol=1e-6, atol=1e-5)
    assert bool((rows[:, symbols:] == -np.inf).all())


@each_level
def test_what_may_not_be_written_has_no_probability(level: str) -> None:
    rows = pad_rows(normal(3, 16))
    ended = np.array([True, False, True])
    at_level(level).log_softmax(rows, ended=ended, advance_from=7, eos=2)
    assert np.isfinite(rows[0]).tolist() == [True] * 7 + [False] * 9
    assert np.isfinite(rows[1]).tolist() == [True, True, False] + [True] * 13
    assert np.exp(rows).sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)


@each_level
def test_tanh_is_right_everywhere(level: str) -> None:
    """As a step from nothing has it."""
    values = np.concatenate([np.linspace(-12, 12, 400_028), [0.0, -0.0, np.inf, -np.inf]])
    table = pad_rows(values.astype("f4").reshape(-1, VECTOR))
    after = zeros(1, *table.shape)
    found = at_level(level)
    nothing = found.pack(zeros(VECTOR, VECTOR), cell="tanh")
    found.step("tanh", nothing, zeros(1, *table.shape), after, first=Rows(table))
    assert np.abs(after[0] - np.tanh(table.astype("f8"))).max() < 4e-7
    assert np.abs(after).max() == 1.0


@needs_library
@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_best_continuations_are_those_of_sorting(width: int) -> None:
    """Among totals of which many are equal, or impossible."""
    random = np.random.default_rng(width)
    for symbols in (1, 2, 9, 45):
        logs = random.integers(-4, 1, size=(6, width, symbols)).astype("f4")
        logs[random.random(logs.shape) < 0.2] = -np.inf
        scores = random.integers(-3, 1, size=(6, width)).astype("f8")
        scores[0, 1:] = -np.inf
        totals = (scores[:, :, None] + logs).reshape(6, -1)
        places = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * width]
        parents, chosen, found = at_level(LIBRARY[-1]).expand(scores, logs)
        assert np.array_equal(parents * symbols + chosen, places)
        assert np.array_equal(found, np.take_along_axis(totals, places, axis=1))
        padded = pad_rows(logs, 7.0)[:, :, :symbols]
        assert np.array_equal(at_level(LIBRARY[-1]).expand(scores, padded)[1], chosen)


# --- what is wrong never reaches the library


def wrong_calls() -> dict[str, Callable[[Kernels], object]]:
    rows, numbers = zeros(3, 32), np.zeros(3, dtype=np.int64)

    def step(kernels: Kernels, **changes: Any) -> None:
        given = {
            "cell": "gru", "recurrent": kernels.pack(zeros(96, 32), cell="gru"),
            "state": zeros(1, 3, 32), "after": zeros(1, 3, 32),
            "first": Rows(zeros(5, 96), numbers),
        } | changes  # fmt: skip
        kernels.step(**given)

    def product(kernels: Kernels, **changes: Any) -> None:
        kernels.product(**{"weight": kernels.pack(zeros(48, 32)), "rows": rows, **changes})

    def run(kernels: Kernels, **changes: Any) -> None:
        given = {
            "cell": "gru", "recurrent": kernels.pack(zeros(96, 32), cell="gru"),
            "lengths": numbers + 2, "memory": zeros(3, 2, 64), "last": zeros(1, 3, 64),
            "first": Rows(zeros(5, 96), np.zeros((3, 2), dtype=np.int64)),
        } | changes  # fmt: skip
        kernels.run(**given)

    def look(kernels: Kernels, **changes: Any) -> None:
        given = {
            "queries": zeros(6, 32), "keys": zeros(2, 4, 32), "values": zeros(2, 4, 16),
            "lengths": np.array([4, 1]), "texts": np.array([1, 0]),
        } | changes  # fmt: skip
        kernels.attend(**given)

    fine = {name: call for name, call in locals().items() if callable(call)}
    wrong = {
        "rows too short": lambda k: product(k, rows=zeros(3, 16)),
        "rows of float64": lambda k: product(k, rows=np.zeros((3, 32))),
        "rows with gaps": lambda k: product(k, rows=zeros(6, 32)[::2]),
        "rows turned": lambda k: product(k, rows=np.asfortranarray(rows)),
        "a bias too short": lambda k: k.pack(zeros(48, 32), zeros(32)),
        "too few rows": lambda k: product(k, addend=Rows(zeros(2, 48))),
        "a table too narrow": lambda k: product(k, addend=Rows(zeros(5, 32), numbers)),
        "too few numbers": lambda k: product(k, addend=Rows(zeros(5, 48), numbers[:2])),
        "numbers of 32 bits": lambda k: product(k, addend=Rows(zeros(5, 48), numbers.astype("i4"))),
        "a number beyond": lambda k: product(k, addend=Rows(zeros(5, 48), numbers + 5)),
        "a number below": lambda k: product(k, addend=Rows(zeros(5, 48), numbers - 1)),
        "a cell's matrix": lambda k: product(k, weight=k.pack(zeros(96, 32), cell="gru")),
        "no cell's matrix": lambda k: step(k, recurrent=k.pack(zeros(96, 32))),
        "another cell's": lambda k: step(k, recurrent=k.pack(zeros(128, 32), cell="lstm")),
        "another size's": lambda k: step(k, recurrent=k.pack(zeros(48, 16), cell="gru")),
        "a state too many": lambda k: step(k, state=zeros(2, 3, 32), after=zeros(2, 3, 32)),
        "no room after": lambda k: step(k, after=zeros(1, 2, 32)),
        "symbols beyond": lambda k: step(k, first=Rows(zeros(5, 96), numbers + 5)),
        "a length of 0": lambda k: run(k, lengths=numbers),
        "a length beyond": lambda k: run(k, lengths=numbers + 3),
        "too few lengths": lambda k: run(k, lengths=numbers[:2] + 2),
        "beyond the row": lambda k: run(k, offset=48),
        "before the row": lambda k: run(k, offset=-16),
        "too few last": lambda k: run(k, last=zeros(1, 2, 64)),
        "texts beyond": lambda k: look(k, texts=np.array([1, 2])),
        "no text": lambda k: look(k, texts=np.array([], dtype=np.int64)),
        "rows that do not share": lambda k: look(k, queries=zeros(5, 32)),
        "text lengths beyond": lambda k: look(k, lengths=np.array([5, 1])),
        "other keys": lambda k: look(k, keys=zeros(2, 3, 32)),
        "no such symbol": lambda k: k.log_softmax(rows, eos=32),
        "too few ended": lambda k: k.log_softmax(rows, ended=np.zeros(2, dtype=bool)),
        "other scores": lambda k: k.expand(np.zeros((2, 2)), np.zeros((2, 3, 4), "f4")),
    }  # fmt: skip
    return {f"fine {name}": call for name, call in fine.items()} | wrong


@needs_library
@pytest.mark.parametrize("name", wrong_calls())
def test_what_is_wrong_is_refused(name: str) -> None:
    call = wrong_calls()[name]
    if name.startswith("fine"):
        call(at_level(LIBRARY[-1]))
    else:
        with pytest.raises((ValueError, IndexError, TypeCheckError)):
            call(at_level(LIBRARY[-1]))


# --- finding the library


def find(monkeypatch: pytest.MonkeyPatch, wanted: str) -> kernels.Kernels | None:
    monkeypatch.setenv(VARIABLE, wanted)
    return kernels.find.__wrapped__()


def compile_version(folder: Path, code: str) -> None:
    source = folder / "kernels.c"
    source.write_text(code, encoding="utf-8")
    target = folder / f"kernels{EXTENSION_SUFFIXES[0]}"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", target, source], check=True)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler here")
def test_where_a_compiler_is_the_library_was_built() -> None:
    assert BUILT is not None


@needs_library
def test_the_level_is_the_processors_best(monkeypatch: pytest.MonkeyPatch) -> None:
    library = kernels.load(FOLDER)
    assert library is not None
    found = find(monkeypatch, "auto")
    assert found is not None
    assert found.level == LEVELS[library.charseq_level()]
    assert find(monkeypatch, "") is not None


@needs_library
def test_a_level_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    best = find(monkeypatch, "auto")
    assert best is not None
    able = LEVELS[: LEVELS.index(best.level) + 1]
    for name in LEVELS:
        if name in able:
            found = find(monkeypatch, name)
            assert found is not None
            assert found.level == name
        else:
            with pytest.raises(SettingError, match=f"but this processor runs {', '.join(able)}"):
                find(monkeypatch, name)


def test_they_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(monkeypatch, "off") is None


def test_a_name_that_is_no_level_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="CHARSEQ_KERNELS is 'avx', expected auto, off, plain"):
        find(monkeypatch, "avx")


def test_without_a_library_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.load(tmp_path) is None
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "kernels.py"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path / "site"))
    assert find(monkeypatch, "auto") is None
    monkeypatch.setattr(kernels, "find", lambda: None)
    assert kernels.absence().startswith("compiled kernels not found, up to three times slower")
    monkeypatch.setenv(VARIABLE, "off")
    assert not kernels.absence(), "nobody misses what was switched off"


@needs_library
def test_a_source_tree_takes_the_library_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "clone" / "library.py"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / name))
    assert find(monkeypatch, "auto") is None
    folder = tmp_path / "purelib" / "charseq" / "kernels" / "native"
    folder.mkdir(parents=True)
    assert BUILT is not None
    shutil.copy(BUILT._name, folder)
    found = find(monkeypatch, "auto")
    assert found is not None
    assert Path(found.library._name).parent == folder
    monkeypatch.setattr(kernels, "find", lambda: found)
    assert not kernels.absence()


def test_what_is_no_library_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"kernels{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    assert kernels.load(tmp_path) is None


@needs_compiler
@pytest.mark.parametrize(
    "code", [f"int charseq_version(void) {{ return {kernels.VERSION + 1}; }}", "int other;"]
)
def test_a_library_of_another_version_is_left_alone(tmp_path: Path, code: str) -> None:
    compile_version(tmp_path, code)
    assert kernels.load(tmp_path) is None


def test_it_is_asked_for_once_in_a_process() -> None:
    code = "from charseq.kernels.library import find; assert find() is find(); print('once')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "once\n"
