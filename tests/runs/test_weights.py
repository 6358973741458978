"""Arrays <-> safetensors: round trips, hostile bytes, numbers that are not finite, short memory."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from arrays import save_arrays
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors import SafetensorError

from charseq.errors import CheckpointError
from charseq.runs import folder as checkpoint
from charseq.runs import weights
from charseq.runs.folder import ABOUT, WEIGHTS

NUMBERS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.asarray([0.5, 1.5], dtype=np.float16),
    "one": np.asarray(3.25, dtype=np.float32),
    "none": np.zeros((0, 4), dtype=np.float32),
}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def run_of(folder: Path, content: bytes) -> Path:
    """A run whose manifest is right, whatever its weights hold."""
    about = {"format": 1, "finished": True, "settings": {}}
    checkpoint.publish(folder, {ABOUT: as_json(about), WEIGHTS: content})
    return folder


def safetensors_of(header: object, numbers: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else as_json(header)
    return (len(text) if length is None else length).to_bytes(8, "little") + text + numbers


def one(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        arrays_of.arrays(
            st.sampled_from(["<f4", ">f4", "<f8", "<f2", "<i8", "u1", "?", "<u4"]),
            arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
            elements={"allow_nan": False, "allow_infinity": False},
        ),
        max_size=4,
    )
)
def test_any_arrays_survive(arrays: dict[str, np.ndarray]) -> None:
    turned = {name: array.T for name, array in arrays.items()}
    data = save_arrays(turned)
    back = weights.load_arrays(data)
    assert back.keys() == turned.keys()
    for name, array in back.items():
        assert array.dtype == turned[name].dtype.newbyteorder("=")
        assert array.shape == turned[name].shape
        assert np.array_equal(array, turned[name])
    assert save_arrays(dict(reversed(turned.items()))) == data
    assert safetensors.numpy.load(data).keys() == turned.keys()


@given(st.permutations(["?", "u1", "i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<f8"]))
def test_the_bytes_are_those_of_the_library(kinds: list[str]) -> None:
    arrays = {f"{n}é": np.ones((n % 3, 2), kind) for n, kind in enumerate(kinds)}
    assert save_arrays(arrays) == safetensors.numpy.save(arrays)
    assert len(weights.ArrayFile(arrays)) == len(save_arrays(arrays))


def test_a_save_makes_no_copy_of_the_numbers(tmp_path: Path) -> None:
    arrays = {name: np.ones((2**10, 2**12), np.float32) for name in "ab"}
    tracemalloc.start()
    try:
        content = weights.ArrayFile(arrays)
        checkpoint.publish(tmp_path / "run", {WEIGHTS: content})
        assert tracemalloc.get_traced_memory()[1] < 0.1 * len(content)
    finally:
        tracemalloc.stop()
    assert checkpoint.read(tmp_path / "run", WEIGHTS) == safetensors.numpy.save(arrays)


def test_equal_arrays_give_equal_bytes_in_every_process() -> None:
    code = (
        "import sys, numpy as np; from charseq.runs.weights import ArrayFile;"
        "sys.stdout.buffer.write(b''.join(ArrayFile({c: np.ones(2) for c in set('hgfedcba')})))"
    )
    made = [
        subprocess.run(
            [sys.executable, "-c", code],
            check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2)
    ]  # fmt: skip
    assert made[0] == made[1]
    assert made[0].count(b"F64") == 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_non_finite_is_neither_saved_nor_loaded(tmp_path: Path, bad: float, dtype: str) -> None:
    broken = {"good": np.ones(3), "bad": np.asarray([1, bad], dtype=dtype)}
    with pytest.raises(CheckpointError, match="'bad' holds NaN or infinity"):
        save_arrays(broken)
    if dtype != "f8":
        del broken["good"]
        run = run_of(tmp_path / "run", safetensors.numpy.save(broken))
        with pytest.raises(CheckpointError, match=r"model\.safetensors: 'bad' holds NaN"):
            checkpoint.load_model(run)


def test_objects_are_not_stored() -> None:
    with pytest.raises(CheckpointError, match="cannot be stored"):
        save_arrays({"a": np.asarray([print], dtype=object)})


HOSTILE_WEIGHTS = {
    "nothing": b"",
    "seven bytes": b"\x01" * 7,
    "pickle": b"\x80\x04\x95" + b"\x00" * 40,
    "zip": b"PK\x03\x04" + b"\x00" * 40,
    "header of 2**63 bytes": safetensors_of(b"{}", length=2**63),
    "header of 100 MB": safetensors_of(b"{}", length=100_000_000),
    "no json": safetensors_of(b"hello"),
    "deep json": safetensors_of(b'{"a":' * 200_000),
    "a list": safetensors_of([]),
    "huge shape": safetensors_of(one(shape=[2**62, 4]), b"\0" * 8),
    "huge empty shape": safetensors_of(one(shape=[0] + [2**62] * 7, offsets=[0, 0])),
    "axes": safetensors_of(one(shape=[1] * 100, offsets=[0, 4]), b"\0" * 4),
    "negative": safetensors_of(one(shape=[-2, -1]), b"\0" * 8),
    "negative offset": safetensors_of(one(offsets=[-8, 0])),
    "float shape": safetensors_of(one(shape=[2.0]), b"\0" * 8),
    "true shape": safetensors_of(one(shape=[True], offsets=[0, 4]), b"\0" * 4),
    "big number": safetensors_of(b'{"w":{"dtype":"F32","shape":[1' + b"0" * 5000 + b"]}}"),
    "text shape": safetensors_of(one(shape="2"), b"\0" * 8),
    "no offsets": safetensors_of({"w": {"dtype": "F32", "shape": [2]}}, b"\0" * 8),
    "not described": safetensors_of({"w": 7}, b"\0" * 8),
    "dtype of python": safetensors_of(one(dtype="O"), b"\0" * 8),
    "dtype number": safetensors_of(one(dtype=5), b"\0" * 8),
    "float64": safetensors.numpy.save({"w": np.ones(2)}),
    "int64": safetensors.numpy.save({"w": np.ones(2, dtype=np.int64)}),
    "gap": safetensors_of(one(offsets=[4, 12]), b"\0" * 12),
    "overlap": safetensors_of(
        one() | {"v": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8
    ),
    "overlap in part": safetensors_of(
        one() | {"v": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, b"\0" * 12
    ),
    "inside": safetensors_of(
        one(shape=[3], offsets=[0, 12])
        | {"v": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        b"\0" * 12,
    ),
    "a name twice": safetensors_of(
        b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
        b"\0" * 16,
    ),
    "a shape twice": safetensors_of(
        b'{"w":{"dtype":"F32","shape":[2],"shape":[1,2],"data_offsets":[0,8]}}', b"\0" * 8
    ),
    "notes twice": safetensors_of(b'{"__metadata__":{},"__metadata__":{"a":"b"}}'),
    "truncated": save_arrays(NUMBERS)[:-3],
    "longer": save_arrays(NUMBERS) + b"\0" * 3,
    "line in a name": safetensors_of({"w\nx\x1b[31m" * 50: 1}),
}


@pytest.mark.parametrize("case", HOSTILE_WEIGHTS)
def test_a_hostile_header_is_refused_before_its_numbers_are_read(case: str) -> None:
    data = HOSTILE_WEIGHTS[case]
    with pytest.raises(CheckpointError):
        weights.read_header(io.BytesIO(data), len(data), None, ("F16", "F32"))


@pytest.mark.parametrize("case", HOSTILE_WEIGHTS)
def test_hostile_weights_are_one_quick_line(tmp_path: Path, case: str) -> None:
    run = run_of(tmp_path / "run", HOSTILE_WEIGHTS[case])
    started = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_model(run)
    assert time.monotonic() - started < 5
    line = str(caught.value)
    assert line.startswith(f"{run / WEIGHTS}: ")
    assert len(line) < 400
    assert line.isprintable()


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_damage_is_one_error(data: st.DataObject) -> None:
    whole = bytearray(save_arrays(NUMBERS))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CheckpointError):
        found = weights.load_arrays(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
        assert all(np.isfinite(array).all() for array in found.values())


@pytest.mark.parametrize("spoilt", [b"\0" * 20, save_arrays(NUMBERS)[:-1]])
def test_damaged_arrays_name_their_file(spoilt: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"^run/x\.safetensors: is damaged: "):
        weights.load_arrays(spoilt, path=Path("run/x.safetensors"))


def test_faults_that_only_the_library_finds_name_the_file_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(_data: bytes) -> Any:
        raise SafetensorError("odd\nthing")

    monkeypatch.setattr(weights.safetensors, "load", load)
    with pytest.raises(CheckpointError) as caught:
        weights.load_arrays(save_arrays(NUMBERS), path=Path("run/x"))
    assert str(caught.value) == "run/x: is damaged: odd thing"


def test_where_memory_is_short_arrays_are_saved_all_the_same(tmp_path: Path) -> None:
    """In a process of its own, which may have little more memory than it has."""
    program = (
        "import numpy as np, resource, sys\n"
        "from charseq.runs import store, weights\n"
        "arrays = {'w': np.ones(10**7, np.float32)}\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "limit = pages * resource.getpagesize() + 20 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "store.publish(sys.argv[1], {'a.safetensors': weights.ArrayFile(arrays)})\n"
    )
    run = tmp_path / "run"
    subprocess.run([sys.executable, "-c", program, str(run)], check=True)
    found = weights.load_arrays(checkpoint.read(run, "a.safetensors"))
    assert np.array_equal(found["w"], np.ones(10**7, np.float32))


@pytest.mark.parametrize("case", ["overlap", "overlap in part", "a name twice", "a shape twice"])
def test_the_second_reader_refuses_as_well(case: str) -> None:
    """Arrays are loaded by the library only after the header was read here, from the same bytes."""
    with pytest.raises(CheckpointError):
        weights.load_arrays(HOSTILE_WEIGHTS[case])


@given(st.data())
def test_both_readers_find_the_same_in_a_changed_file(data: st.DataObject) -> None:
    content = bytearray(save_arrays(NUMBERS))
    length = int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 8 + length - 1))] = data.draw(st.integers(32, 126))
    try:
        shapes = weights.read_header(io.BytesIO(content), len(content), None, weights.NUMBER_TYPES)
        arrays = weights.load_arrays(bytes(content))
    except CheckpointError:
        return
    assert {name: array.shape for name, array in arrays.items()} == shapes
