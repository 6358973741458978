"""The redo log: killed, full, flipped or forged, a run is one complete state or one error."""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charseq.errors import CheckpointError
from charseq.runs import store

OLD = {"about.json": b'{"n": 1}', "model.safetensors": b"old weights", "kept": b"kept"}
NEXT = {"about.json": b'{"n": 2}', "model.safetensors": b"new weights", "extra": b"x"}
AFTER = {**OLD, **NEXT}


def everything(run: Path) -> dict[str, bytes]:
    return store.read_all(run, sorted(store.names(run)))


def published(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    store.publish(run, OLD)
    return run


def forge(run: Path, files: object, number: object = store.FORMAT) -> None:
    """A manifest as an enemy would write it: with a right seal."""
    seal = store.hashlib.sha256(json.dumps(files).encode()).hexdigest()
    whole = {"format": number, "files": files, "seal": seal}
    run.mkdir(exist_ok=True)
    (run / "manifest.json").write_text(json.dumps(whole, indent=1) + "\n")


def test_files_are_added_replaced_kept_and_removed(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    assert store.names(run) == set()
    store.publish(run, OLD)
    store.publish(run, NEXT)
    assert everything(run) == AFTER
    store.publish(run, {"last": b""}, drop=["kept", "never there"])
    store.remove(run, ["extra", "never there"])
    assert everything(run) == {k: v for k, v in AFTER.items() if k in OLD and k != "kept"} | {
        "last": b""
    }
    assert sorted(p.name for p in run.iterdir()) == [
        "about.json", "last", "manifest.json", "model.safetensors",
    ]  # fmt: skip


def test_files_that_are_not_listed_are_left_alone(tmp_path: Path) -> None:
    run = published(tmp_path)
    (run / "notes.txt").write_text("mine")
    store.publish(run, NEXT)
    assert (run / "notes.txt").read_text() == "mine"
    with pytest.raises(CheckpointError, match=r"notes\.txt: is not part of this run"):
        store.read(run, "notes.txt")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        run = published(tmp_path)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in run.iterdir()}
    assert modes == {0o666 & ~mask}


SAVER = """
import sys
from charseq.runs import store
print("ready", flush=True)
n = int(sys.argv[2])
while True:
    n += 1
    word = str(n).encode()
    store.publish(sys.argv[1], {"a": word, "b": word * 50_000, f"c{n % 3}": word},
                  drop=[f"c{(n + 1) % 3}"])
    print(n, flush=True)
"""


def test_thirty_kills_leave_a_complete_state(tmp_path: Path) -> None:
    run, last, logs = tmp_path / "run", 0, 0
    rng = store.hashlib.sha256
    for turn in range(30):
        with subprocess.Popen(
            [sys.executable, "-c", SAVER, str(run), str(last)], stdout=subprocess.PIPE
        ) as saver:
            assert saver.stdout is not None
            saver.stdout.readline()
            time.sleep(rng(bytes([turn])).digest()[0] / 255 * 0.05)
            saver.send_signal(signal.SIGKILL)
            said = [int(line) for line in saver.stdout.read().split()]
        logs += (run / ".new").exists()
        if not store.names(run):
            assert not said
            continue
        found = everything(run)
        number = int(found["a"])
        # What was reported as saved is there; nothing is older, and at most one step newer.
        assert number in {(said or [last])[-1], (said or [last])[-1] + 1}
        assert found["b"] == found["a"] * 50_000
        assert found[f"c{number % 3}"] == found["a"]
        assert f"c{(number + 1) % 3}" not in found
        last = number
    assert last > 3
    assert logs > 0, "no kill fell into a save: the test proves nothing"


class Fault:
    """Lets the first calls of some os functions pass, then fails, once or for ever."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int, *, forever: bool) -> None:
        self.left, self.forever, self.hit = after, forever, False
        for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "open"):
            patch.setattr(os, name, self.wrap(getattr(os, name)))
        patch.setattr(store, "create", self.wrap(store.create))

    def wrap(self, call):
        def wrapped(*args, **options):
            self.left -= 1
            if self.left == -1 or (self.left < 0 and self.forever):
                self.hit = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args, **options)

        return wrapped


@pytest.mark.parametrize("forever", [False, True])
def test_a_full_disk_at_any_step_leaves_old_or_new(tmp_path: Path, forever: bool) -> None:
    outcomes = []
    for step in range(200):
        run = published(tmp_path / str(step))
        with pytest.MonkeyPatch.context() as patch:
            fault = Fault(patch, step, forever=forever)
            message = ""
            try:
                store.publish(run, NEXT, drop=["kept"])
            except CheckpointError as error:
                message = str(error)
        if not fault.hit:
            break
        found = everything(run)
        assert found in (OLD, {**NEXT}), f"step {step}"
        if message:  # else it was a fault that does not matter, such as "folder exists"
            outcomes.append(found == OLD)
        assert not message or (str(run) in message and "No space left" in message)
        assert "\n" not in message
        assert message or found == NEXT
        if found == OLD and not forever:
            assert not (run / ".new").exists()
        store.publish(run, NEXT, drop=["kept"])
        assert everything(run) == NEXT
        assert not (run / ".new").exists()
    else:
        pytest.fail("the steps do not end")
    assert len(outcomes) > 15
    assert outcomes == sorted(outcomes, reverse=True), "old up to one step, new after it"
    assert len(set(outcomes)) == 2


def test_a_reader_sees_one_state_while_a_writer_works(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(run), "0"], stdout=subprocess.PIPE
    ) as saver:
        assert saver.stdout is not None
        saver.stdout.readline()
        saver.stdout.readline()
        seen, started = set(), time.monotonic()
        while len(seen) < 20 and time.monotonic() < started + 20:
            found = store.read_all(run, ["b", "a"])
            assert found["b"] == found["a"] * 50_000
            seen.add(found["a"])
        saver.kill()
    assert len(seen) >= 20


def test_a_committed_log_is_the_truth_until_it_is_moved(tmp_path: Path) -> None:
    run = published(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_move", lambda folder: None)
        store.publish(run, NEXT)
    assert (run / "about.json").read_bytes() == OLD["about.json"]
    assert everything(run) == AFTER
    store.publish(run, {"last": b"1"})
    assert everything(run) == {**AFTER, "last": b"1"}
    assert not (run / ".new").exists()


def test_every_flipped_byte_is_noticed_and_its_file_named(tmp_path: Path) -> None:
    run = published(tmp_path)
    for path in sorted(run.iterdir()):
        whole = path.read_bytes()
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << (place % 8)
            path.write_bytes(flipped)
            with pytest.raises(CheckpointError) as caught:
                everything(run)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    assert everything(run) == OLD


@pytest.mark.parametrize("size", [0, 3, 10, 12])
def test_truncated_or_longer_is_damaged(tmp_path: Path, size: int) -> None:
    run = published(tmp_path)
    with (run / "model.safetensors").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is damaged"):
        store.read(run, "model.safetensors")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    run = published(tmp_path)
    (run / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is missing"):
        store.read(run, "model.safetensors")


GOOD = {"size": 3, "sha256": store.hashlib.sha256(b"abc").hexdigest()}


@pytest.mark.parametrize(
    "files",
    [
        {"../outside": GOOD},
        {"/etc/passwd": GOOD},
        {"sub/file": GOOD},
        {"..": GOOD},
        {".": GOOD},
        {"": GOOD},
        {".lock": GOOD},
        {"manifest.json": GOOD},
        {"a\nb": GOOD},
        {"a" * 1000: GOOD},
        {"a": {**GOOD, "size": 10**15}},
        {"a": {**GOOD, "size": -1}},
        {"a": {**GOOD, "size": 1.5}},
        {"a": {**GOOD, "size": True}},
        {"a": {**GOOD, "sha256": "abc"}},
        {"a": {**GOOD, "sha256": 5}},
        {"a": {**GOOD, "more": 1}},
        {"a": "text"},
        ["a"],
        None,
    ],
)
def test_forged_manifests_are_one_error(tmp_path: Path, files: object) -> None:
    run = tmp_path / "run"
    (tmp_path / "outside").write_bytes(b"abc")
    forge(run, files)
    with pytest.raises(CheckpointError, match=r"manifest\.json") as caught:
        store.names(run)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    with pytest.raises(CheckpointError):
        store.publish(run, {"a": b"1"})
    assert (tmp_path / "outside").read_bytes() == b"abc"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04K\x01.",
        b"[]",
        b"null",
        b"{" * 100_000,
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"format": NaN}',
        b'{"format": "1"}',
        b'{"format": true}',
        b'{"format": 0}',
        b'{"format": 1' + b"0" * 5000 + b"}",
        b"\xff\xfe{}",
        b'{"format": 1, "files": {}, "seal": ""}',
    ],
)
def test_an_invalid_manifest_is_one_error(tmp_path: Path, content: bytes) -> None:
    run = published(tmp_path)
    (run / "manifest.json").write_bytes(content)
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"manifest\.json") as caught:
        store.read(run, "about.json")
    assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value)


def test_a_newer_format_says_so(tmp_path: Path) -> None:
    forge(tmp_path / "run", {}, store.FORMAT + 1)
    with pytest.raises(CheckpointError, match="newer charseq"):
        store.names(tmp_path / "run")


def test_links_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(OLD["about.json"])
    run = published(tmp_path)
    path = run / "about.json"
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(CheckpointError, match="is a link"):
        store.read(run, "about.json")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="not a plain file"):
        store.read(run, "about.json")
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match=r"about\.json"):
        store.read(run, "about.json")
    (run / "manifest.json").unlink()
    (run / "manifest.json").symlink_to(secret)
    with pytest.raises(CheckpointError, match="is a link"):
        store.names(run)


def test_a_replaced_link_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "manifest.json").write_bytes(b"mine")
    (outside / "about.json").write_bytes(b"mine")
    run = published(tmp_path)
    (run / "about.json").unlink()
    (run / "about.json").symlink_to(outside / "about.json")
    store.publish(run, NEXT)
    assert everything(run) == AFTER
    (run / ".new").symlink_to(outside)
    with pytest.raises(CheckpointError, match=r"\.new' is a link to"):
        store.publish(run, OLD)
    assert everything(run) == AFTER
    assert sorted(p.read_bytes() for p in outside.iterdir()) == [b"mine", b"mine"]


def test_a_log_behind_a_link_counts_for_nothing(tmp_path: Path) -> None:
    run, other = published(tmp_path), tmp_path / "other"
    store.publish(other, NEXT)
    (run / ".new").symlink_to(other)
    assert everything(run) == OLD


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", "", ".hidden", "manifest.json", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="plain name"):
        store.publish(tmp_path / "run", {name: b""})
    assert not (tmp_path / "run").exists()


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such run"):
        store.read(tmp_path / "run", "about.json")
    with pytest.raises(CheckpointError, match="holds no trained model"):
        store.read(tmp_path, "about.json")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file, expected the folder"):
        store.read(tmp_path / "file", "about.json")
    with pytest.raises(CheckpointError, match="cannot be written"):
        store.publish(tmp_path / "file", {"a": b""})


def test_a_damaged_run_is_not_silently_replaced(tmp_path: Path) -> None:
    run = published(tmp_path)
    (run / "manifest.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        store.publish(run, NEXT)


def test_an_unfinished_log_is_ignored_and_cleared(tmp_path: Path) -> None:
    run = published(tmp_path)
    shutil.copytree(run, run / ".new")
    (run / ".new" / "manifest.json").rename(run / ".new" / "manifest.json.part")
    (run / ".new" / "about.json").write_bytes(b"half")
    assert everything(run) == OLD
    store.publish(run, NEXT)
    assert everything(run) == AFTER


def test_each_step_is_on_disk_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = published(tmp_path)
    steps: list[str] = []
    sync, move = os.fsync, os.replace

    def synced(handle: int) -> None:
        sync(handle)
        paths = [tmp_path, *tmp_path.rglob("*")]
        [path] = [path for path in paths if os.path.samestat(path.stat(), os.fstat(handle))]
        steps.append(f"sync {path.relative_to(tmp_path)}")

    def moved(source: Path, target: Path) -> None:
        move(source, target)
        steps.append(f"move {source.relative_to(tmp_path)} {target.relative_to(tmp_path)}")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    store.publish(run, NEXT)
    commit = steps.index("move run/.new/manifest.json.part run/.new/manifest.json")
    done = steps.index("move run/.new/manifest.json run/manifest.json")
    files = [f"run/.new/{name}" for name in (*NEXT, "manifest.json.part")]
    written = [steps.index(f"sync {name}") for name in files]
    moves = [steps.index(f"move run/.new/{name} run/{name}") for name in NEXT]
    assert "sync run/.new" in steps[max(written) : commit]
    assert {"sync run", "sync ."} <= set(steps[:commit])
    assert "sync run/.new" in steps[commit : min(moves)]
    assert "sync run" in steps[max(moves) : done]
    assert "sync run" in steps[done:]


def test_a_failed_first_save_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(store, "create", refuse)
    with pytest.raises(CheckpointError, match="Input/output error; the last complete state"):
        store.publish(tmp_path / "run", OLD)
    assert not (tmp_path / "run").exists()


def test_a_commit_that_is_taken_back_is_taken_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails right after the commit, and again when ``.new`` is half removed."""
    run = published(tmp_path)
    sync = store.sync_folder

    def failing_sync(folder: Path) -> None:
        if (run / ".new" / "manifest.json").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(folder)

    def failing_removal(folder: Path) -> None:
        (folder / "about.json").unlink()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(store, "sync_folder", failing_sync)
    monkeypatch.setattr(store, "_remove_log", failing_removal)
    with pytest.raises(CheckpointError):
        store.publish(run, NEXT)
    assert everything(run) == OLD


def test_a_size_that_is_a_lie_costs_no_memory(tmp_path: Path) -> None:
    run = published(tmp_path)
    forge(run, {"model.safetensors": {**GOOD, "size": 8 * 2**30}})
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30));"
        "from charseq.runs import store; from charseq import errors\n"
        "try:\n    store.read(sys.argv[1], 'model.safetensors')\n"
        "except errors.CheckpointError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True
    )
    assert "model.safetensors: is damaged" in done.stdout


def test_a_deleted_run_takes_nothing_of_others_with_it(tmp_path: Path) -> None:
    run = published(tmp_path)
    (run / "mine.txt").write_bytes(b"mine")
    before = everything(run)
    with pytest.raises(CheckpointError, match=r"holds 'mine\.txt', which is no file of the run"):
        store.delete(run)
    assert everything(run) == before
    (run / "mine.txt").unlink()
    (run / ".new").mkdir()
    (run / ".new" / "about.json").write_bytes(b"of a killed save")
    (run / ".lock").touch()
    store.delete(run)
    assert not run.exists()
    store.delete(run)  # there is none


def test_a_link_to_a_run_is_not_deleted(tmp_path: Path) -> None:
    run = published(tmp_path)
    before = everything(run)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "1").symlink_to(run)
    with pytest.raises(CheckpointError, match="1' is a link to"):
        store.delete_inner(tmp_path / "inner", "[0-9]+")
    assert everything(run) == before


def test_runs_inside_are_deleted_by_name(tmp_path: Path) -> None:
    for name in ("1", "22", "notes"):
        store.publish(tmp_path / "inner" / name, OLD)
    store.delete_inner(tmp_path / "inner", "[0-9]+")
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["notes"]
    store.delete_inner(tmp_path / "inner", "notes")
    assert not (tmp_path / "inner").exists()
    store.delete_inner(tmp_path / "inner", "notes")


def test_files_that_a_run_would_overwrite_are_named(tmp_path: Path) -> None:
    run = published(tmp_path)
    for name in ("notes.txt", "README.md", "kept.3.safetensors", "resume.a.json", ".gitignore"):
        (run / name).write_bytes(b"mine")
    listed = set(OLD)
    wanted = {"README.md", "kept.3.safetensors", "resume.a.json"} - listed
    assert set(store.foreign_files(run)) == wanted
