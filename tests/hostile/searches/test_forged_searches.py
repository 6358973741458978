"""Searches of a stranger: databases, links, odd lists of trials, odd runs; nothing but one line.

A real search is made once and copied. Each case forges something in the copy and runs ``tune``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile.models.corpus import ABOUT, seal
from hostile.models.test_values import GONE, ODD, changed, places

from charseq.cli.main import run

pytest.importorskip("optuna")

SETTINGS = ["--epochs", "1", "--set", "hidden=8", "--set", "embedding=8", "--threads", "1", "-q"]
TUNE = ["tune", "data", *SETTINGS]
FOLDER = Path("checkpoints/data-tuned")
TRIALS = FOLDER / "tune" / "trials.jsonl"
DATABASE = FOLDER / "tune" / "trials.sqlite"
ROOT = str(Path(__file__).parents[3])
SECONDS = 20.0
"""Most of a command; a machine under load takes seconds to load torch and Optuna."""
CASES = 120
"""Odd values, of some thousands."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with data and a search of two trials."""
    place = tmp_path_factory.mktemp("archive")
    (place / "data").mkdir()
    days = [(day, month) for day in range(1, 9) for month in (3, 4)]
    rows = [f"{day}.{month}.77\t77-{month:02}-{day:02}\n" for day, month in days]
    for split in ("train", "dev"):
        (place / "data" / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")
    done = tune(place, "--trials", "2")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def archive(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "archive"
    shutil.copytree(searched, place)
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path / "state"))
    return place


def tune(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``charseq tune`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "charseq", *TUNE, *words],
        cwd=place, env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def refused(archive: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line in which ``tune`` refuses the archive."""
    before = contents(archive)
    begun = time.monotonic()
    code = run([*TUNE, *words])
    line = capsys.readouterr().err
    assert (code, line.count("\n")) == (1, 1), line
    assert "internal error" not in line
    assert time.monotonic() - begun < SECONDS
    assert contents(archive) == before
    return line.removeprefix("charseq: error: ").strip()


def contents(folder: Path) -> dict[str, bytes]:
    """The first bytes of every file below a folder."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                found[str(path)] = file.read(2**20)
    return found


# --- databases, which charseq kept in earlier versions


def write_hot_journal(database: Path, victim: Path) -> None:
    """A journal of SQLite beside a database, which names a super-journal to be deleted."""
    magic, size, page = bytes.fromhex("d9d505f920a163d7"), 4096, database.read_bytes()[:4096]
    pages, nonce = database.stat().st_size // size, 12345
    header = (magic + struct.pack(">IIIII", 1, nonce, pages, 512, size)).ljust(512, b"\0")
    check = (nonce + sum(page[at] for at in range(size - 200, 0, -200))) & 0xFFFFFFFF
    record = struct.pack(">I", 1) + page + struct.pack(">I", check)
    body = header + record
    body = body.ljust((len(body) + 511) // 512 * 512, b"\0")
    name = os.fsencode(victim)
    tail = struct.pack(">I", 2**30 // size + 1) + name
    tail += struct.pack(">II", len(name), sum(name) & 0xFFFFFFFF) + magic
    database.with_name(f"{database.name}-journal").write_bytes(body + tail)


def write_endless_queries(database: Path) -> None:
    """A view and a trigger that ask for all whole numbers."""
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*)"
    with sqlite3.connect(database) as base:
        base.execute("CREATE TABLE trials (trial_id INTEGER)")
        base.execute(f"CREATE VIEW version_info AS {endless} AS version_info_id FROM n")
        base.execute(f"CREATE TRIGGER t AFTER INSERT ON trials BEGIN {endless} FROM n; END")
    base.close()


def test_sqlite_deletes_a_super_journal_so_the_forgery_is_real(tmp_path: Path) -> None:
    victim, database = tmp_path / "mine.txt", tmp_path / "trials.sqlite"
    victim.write_text("mine\n", encoding="utf-8")
    with sqlite3.connect(database) as base:
        base.execute("CREATE TABLE t (x)")
    base.close()
    write_hot_journal(database, victim)
    with sqlite3.connect(database) as base:
        base.execute("SELECT * FROM t")
    base.close()
    assert not victim.exists()


@pytest.mark.parametrize("beside", [True, False], ids=["beside a list of trials", "alone"])
@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
@pytest.mark.parametrize("forgery", ["hot journal", "endless queries", "hard link"])
def test_no_database_is_opened(
    forgery: str, force: tuple[str, ...], beside: bool, archive: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("mine\n", encoding="utf-8")
    with sqlite3.connect(home / "mine.sqlite") as base:
        base.execute("CREATE TABLE mine (x)")
    base.close()
    database = archive / DATABASE
    if forgery == "hard link":
        database.hardlink_to(home / "mine.sqlite")
    elif forgery == "hot journal":
        shutil.copy(home / "mine.sqlite", database)
        write_hot_journal(database, home / "thesis.txt")
    else:
        write_endless_queries(database)
    if not beside:
        (archive / TRIALS).unlink()
    before, content = contents(home), database.read_bytes()
    done = tune(archive, "--trials", "2", *force)
    assert contents(home) == before
    if force or beside:
        assert done.returncode == 0, done.stderr
        assert database.exists() is not bool(force)
    else:
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"{DATABASE}: is a search of an earlier charseq" in done.stderr
        assert database.read_bytes() == content


# --- links


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("name", ["trials.jsonl", "charseq.toml", "trials.sqlite"])
def test_nothing_is_written_through_a_hard_link(
    name: str, force: tuple[str, ...], archive: Path, tmp_path: Path
) -> None:
    mine, path = tmp_path / "mine", archive / FOLDER / "tune" / name
    mine.write_bytes(path.read_bytes() if path.exists() else b"mine\n")
    path.unlink(missing_ok=True)
    path.hardlink_to(mine)
    before = mine.read_bytes()
    done = tune(archive, "--trials", "3", *force)
    assert done.returncode == 0, done.stderr
    assert mine.read_bytes() == before


@pytest.mark.parametrize("kind", ["folder", "pipe", "hole", "device"])
def test_a_list_of_trials_that_is_no_file(
    kind: str, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = archive / TRIALS
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "hole":
        with path.open("wb") as file:
            file.truncate(2**40)
    else:
        path.symlink_to("/dev/zero")
    assert refused(archive, capsys).lower().startswith(f"{TRIALS}: is ")


# --- odd values


@pytest.mark.parametrize("place", ["list", "run", "trial"])
def test_odd_values_are_one_line_or_change_no_more_than_the_search(
    place: str, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial, saved = archive / FOLDER / "tune" / "trial-003", archive.parent / "saved"
    if place == "trial":
        trial.mkdir()
        for path in (archive / FOLDER).iterdir():
            if path.is_file():
                shutil.copy(path, trial)
    shutil.copytree(archive / FOLDER, saved)
    folder = trial if place == "trial" else archive / FOLDER
    lines = [json.loads(line) for line in (archive / TRIALS).read_bytes().splitlines()]
    whole = {"lines": lines} if place == "list" else json.loads((folder / ABOUT).read_bytes())
    paths = [at for at in places(whole) if len(at) > (place == "list")]
    draw, codes = random.Random(place), set()
    for _ in range(CASES):
        at, new = draw.choice(paths), draw.choice([*ODD, GONE])
        odd = changed(whole, at, new)
        if place == "list":
            text = "".join(json.dumps(line) + "\n" for line in odd["lines"])
            (archive / TRIALS).write_text(text, encoding="utf-8")
        else:
            (folder / ABOUT).write_text(json.dumps(odd), encoding="utf-8")
            seal(folder)
        code = run([*TUNE, "--trials", "3" if place == "trial" else "2"])
        said = capsys.readouterr().err
        assert (code in (0, 1), said.count("\n")) == (True, code), (at, new, said)
        assert "internal error" not in said, (at, new, said)
        assert code == 0 or str(FOLDER) in said, (at, new, said)
        codes.add(code)
        shutil.rmtree(archive / FOLDER)
        shutil.copytree(saved, archive / FOLDER)
    assert codes == {0, 1}


# --- size


def forge_trials(path: Path, count: int, reported: int) -> None:
    """``count`` sound trials with ``reported`` evaluations each."""
    head, one, *_ = path.read_text(encoding="utf-8").splitlines()
    trial = {**json.loads(one), "reported": [[at, 1] for at in range(1, reported + 1)]}
    lines = [json.dumps({**trial, "trial": number}) for number in range(1, count + 1)]
    path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")


def test_more_trials_than_any_search_has(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge_trials(archive / TRIALS, 10_001, 0)
    assert "is larger than any list of trials" in refused(archive, capsys)
    forge_trials(archive / TRIALS, 3_000, 500)
    assert "is larger than any list of trials" in refused(archive, capsys)


@pytest.mark.parametrize("after", ["budget ", "trial 10000 "])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_search_with_ten_thousand_trials(
    number: signal.Signals, after: str, archive: Path
) -> None:
    forge_trials(archive / TRIALS, 9_999, 0)
    before = (archive / TRIALS).read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "charseq", *TUNE[:-1], "--trials", "10000"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert process.stderr is not None
    assert any(line.startswith(after) for line in process.stderr)
    begun = time.monotonic()
    process.send_signal(number)
    last = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 128 + number
    assert time.monotonic() - begun < SECONDS / 2
    assert last.startswith("charseq: ")
    assert (archive / TRIALS).read_bytes().startswith(before)
