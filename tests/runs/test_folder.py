"""A model folder is loaded whole and checked, or refused in one line, whoever made it."""

import ast
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import save_arrays

from charseq.errors import CharseqError, CheckpointError
from charseq.runs import folder as checkpoint
from charseq.runs.folder import ABOUT, WEIGHTS

SAID: dict[str, Any] = {"format": 1, "finished": True, "settings": {"hidden": 3}, "more": "é"}
NUMBERS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.asarray([0.5, 1.5], dtype=np.float16),
    "one": np.asarray(3.25, dtype=np.float32),
    "none": np.zeros((0, 4), dtype=np.float32),
}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def run_of(folder: Path, about: bytes | None = None, weights: bytes | None = None) -> Path:
    """A run whose manifest is right, whatever its files hold."""
    files = {
        ABOUT: as_json(SAID) if about is None else about,
        WEIGHTS: save_arrays(NUMBERS) if weights is None else weights,
    }
    checkpoint.publish(folder, files)
    return folder


def test_a_model_comes_back_as_it_went(tmp_path: Path) -> None:
    about, weights = checkpoint.load_model(run_of(tmp_path / "run"))
    assert about == SAID
    assert weights.keys() == NUMBERS.keys()
    for name, array in weights.items():
        assert array.dtype == np.float32
        assert array.shape == NUMBERS[name].shape
        assert np.array_equal(array, NUMBERS[name])


HOSTILE_ABOUT = {
    "nothing": b"",
    "no json": b"{'a': 1}",
    "list": b"[1]",
    "deep": b'{"a":' * 500_000,
    "not utf-8": b'{"format": 1, "a": "\xff"}',
    "no format": as_json({"finished": True, "settings": {}}),
    "format text": as_json({**SAID, "format": "1"}),
    "format true": as_json({**SAID, "format": True}),
    "finished text": as_json({**SAID, "finished": "yes"}),
    "settings list": as_json({**SAID, "settings": []}),
    "no settings": as_json({"format": 1, "finished": True}),
    "nan": b'{"format": 1, "finished": true, "settings": {}, "wer": NaN}',
}


@pytest.mark.parametrize("case", HOSTILE_ABOUT)
def test_hostile_about_is_one_quick_line(tmp_path: Path, case: str) -> None:
    run = run_of(tmp_path / "run", about=HOSTILE_ABOUT[case])
    for call in (checkpoint.load_model, checkpoint.is_finished):
        with pytest.raises(CheckpointError) as caught:
            call(run)
        line = str(caught.value)
        assert line.startswith(f"{run / ABOUT}: ")
        assert len(line) < 400
        assert line.isprintable()


def test_a_newer_format_is_said_before_anything_else(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", about=as_json({"format": 10**15}))
    with pytest.raises(CheckpointError, match=r"about\.json: .*newer charseq.*upgrade"):
        checkpoint.load_model(run)


def test_shapes_can_be_refused_before_a_weight_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path / "run")
    read: list[str] = []
    fetch = checkpoint.fetch
    monkeypatch.setattr(checkpoint, "fetch", lambda s, name: read.append(name) or fetch(s, name))

    def refuse(about: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
        assert about == SAID
        assert shapes == {name: array.shape for name, array in NUMBERS.items()}
        raise CheckpointError("wrong shapes")

    with pytest.raises(CheckpointError, match="wrong shapes"):
        checkpoint.load_model(run, check=refuse)
    assert set(read) == {ABOUT}


def test_a_sparse_giant_is_refused_unread(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    with (run / WEIGHTS).open("r+b") as file:
        file.truncate(6 * 2**30)
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is damaged"):
        checkpoint.load_model(run)
    assert time.monotonic() - started < 2


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    whole = (run / WEIGHTS).read_bytes()
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        (run / WEIGHTS).write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            checkpoint.load_model(run)


def test_state_of_training(tmp_path: Path) -> None:
    assert not checkpoint.is_finished(tmp_path / "none")
    run = run_of(tmp_path / "run", about=as_json({**SAID, "finished": False}))
    assert not checkpoint.is_finished(run)
    run_of(run)
    assert checkpoint.is_finished(run)
    assert checkpoint.read_json(run, ABOUT) == SAID


HOLDER = """
import sys, time
from charseq.runs.folder import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        started = time.monotonic()
        with (
            pytest.raises(CheckpointError, match=f"run: in use by process {holder.pid}$"),
            checkpoint.lock(run),
        ):
            pass
        assert time.monotonic() - started < 2
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with checkpoint.lock(run):
            checkpoint.publish(run, {"a": b"1"})
    assert sorted(p.name for p in run.iterdir()) == ["a", "manifest.json"]


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CharseqError, match="bad data"), checkpoint.lock(tmp_path / "run"):
        raise CharseqError("bad data")
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    with checkpoint.lock(tmp_path / "mine"):
        pass
    assert list((tmp_path / "mine").iterdir()) == []


def test_only_one_of_many_holds_the_lock(tmp_path: Path) -> None:
    inside: list[int] = []
    most, refused = [0], [0]

    def take(number: int) -> None:
        for _ in range(100):
            try:
                with checkpoint.lock(tmp_path / "run"):
                    inside.append(number)
                    most[0] = max(most[0], len(inside))
                    time.sleep(0)
                    inside.remove(number)
            except CheckpointError:
                refused[0] += 1

    threads = [threading.Thread(target=take, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert refused[0] < 400


def test_a_lock_that_cannot_be_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CheckpointError, match="file: cannot be written: File exists"),
        checkpoint.lock(tmp_path / "file"),
    ):
        pass

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(CheckpointError, match="No locks available"), checkpoint.lock(tmp_path):
        pass


def test_reading_a_run_executes_no_code() -> None:
    code = "import sys, charseq.runs.folder; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
    for module in ("folder.py", "store.py", "weights.py"):
        text = (Path(checkpoint.__file__).parent / module).read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert not {"pickle", "marshal", "shelve"} & {name.name for name in node.names}
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "np.load", "compile", "__import__"}


def test_a_lock_makes_the_folders_above_it_and_says_who_holds_it(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "down" / "run"
    with checkpoint.lock(run):
        assert (run / ".lock").read_bytes() == str(os.getpid()).encode()
    assert (tmp_path / "deep" / "down").is_dir()
    assert not run.exists()
    run.mkdir()
    (run / ".lock").write_bytes(b"9" * 30)  # left behind, and longer than ours
    with checkpoint.lock(run):
        assert (run / ".lock").read_bytes() == str(os.getpid()).encode()


def test_the_lock_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with checkpoint.lock(tmp_path / "run"):
            assert stat.S_IMODE((tmp_path / "run" / ".lock").stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_a_holder_that_left_no_number_is_unknown(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / ".lock").write_bytes(b"\xff" * 30)
    with (tmp_path / ".lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError) as caught, checkpoint.lock(tmp_path):
            pass
        assert str(caught.value).endswith(": in use by process " + "\ufffd" * 20)
        os.truncate(tmp_path / ".lock", 0)
        with (
            pytest.raises(CheckpointError, match="in use by process unknown"),
            checkpoint.lock(tmp_path),
        ):
            pass
