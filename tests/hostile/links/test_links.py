"""A stranger's archive with a link under every name that a command writes: nothing leaves it.

Each case unpacks the archive (a data folder, a trained run, files of rows) and puts one link into
it. The link leads to a file or folder of the victim. Whatever the command answers, the victim has
what it had before, and the link's name is in the one line of the error.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"
TRAIN = ["train", "data", "--epochs", "1", "--set", "hidden=8", "--threads", "1", "-q"]
TUNE = ["tune", "data", "--trials", "2", "--epochs", "1", "--set", "hidden=8", "-q"]
CONVERT = ["convert", "orders.csv", "-m", "run", "-q"]


class Attack(NamedTuple):
    """A link at ``link`` to ``target`` (below the victim's home), met by ``command``."""

    link: str
    target: str
    command: list[str]
    says: str = "is a link"


ATTACKS = [
    # --- run folders
    Attack("checkpoints", ".", TRAIN),
    Attack("checkpoints/data", ".", TRAIN),
    Attack("checkpoints/data", "none", TRAIN),
    Attack("out", ".", [*TRAIN, "-o", "out"]),
    Attack("out", "none", [*TRAIN, "-o", "out/inner"]),
    Attack("checkpoints/data", ".", [*TRAIN, "--force"]),
    Attack("checkpoints/data-tuned", ".", TUNE),
    # --- what is inside of a run
    *(
        Attack(f"checkpoints/data/{name}", target, [*TRAIN, *force])
        for name, target in [
            ("README.md", "README.md"),
            ("about.json", "none"),
            ("metrics.jsonl", "README.md"),
            ("manifest.json", "none"),
            (".new", "folder"),
            (".lock", "README.md"),
            (".lock", "none"),
            ("members", "folder"),
            ("resume.a.json", "README.md"),
        ]
        for force in ([], ["--force"])
    ),
    Attack("checkpoints/data/members", "folder", [*TRAIN, "--ensemble", "2", "--force"]),
    Attack("checkpoints/data/members/1", "folder", [*TRAIN, "--ensemble", "2"], ""),
    Attack("checkpoints/data-tuned/tune", "folder", TUNE),
    Attack("checkpoints/data-tuned/tune", "folder", [*TUNE, "--force"]),
    *(
        Attack(f"checkpoints/data-tuned/tune/{name}", target, TUNE)
        for name, target in [
            ("trials.jsonl", "README.md"),
            ("trials.jsonl", "none"),
            ("trials.sqlite", "base.sqlite"),
            ("trials.sqlite-journal", "README.md"),
            ("charseq.toml", "README.md"),
            ("charseq.part", "README.md"),
            ("trial-001", "folder"),
            ("trial-007", "folder"),
        ]
    ),
    # --- files
    *(
        Attack(name, target, [*CONVERT, *options])
        for name, target, options in [
            ("orders.converted.csv", "none", []),
            ("orders.converted.csv", "README.md", []),
            ("orders.converted.csv", "README.md", ["--force"]),
            ("orders.converted.csv", "pipe", []),
            ("orders.converted.csv", "pipe", ["--force"]),
            ("orders.converted.csv.rejects.jsonl", "README.md", ["--force"]),
            ("orders.converted.csv.rejects.jsonl", "none", []),
            ("out", "folder", ["-o", "out"]),
            ("out", "folder", ["-o", "out/b.csv"]),
        ]
    ),
    Attack("errors.tsv", "README.md", ["evaluate", "data", "-m", "run", "--errors", "errors.tsv"]),
    Attack(
        "errors.tsv", "none", ["evaluate", "data", "-m", "run", "--errors", "errors.tsv", "--force"]
    ),
    Attack("trust.png", "README.md", ["evaluate", "data", "-m", "run", "--plot", "trust.png"]),
    Attack(
        "trust.svg", "none", ["evaluate", "data", "-m", "run", "--plot", "trust.svg", "--force"]
    ),
    Attack(
        "figures", "folder",
        ["gradients", "--flow", "--steps", "9", "--hidden", "4", "--plot", "figures"],
    ),
    Attack(
        "figures/flow.png", "README.md",
        ["gradients", "--flow", "--steps", "9", "--hidden", "4", "--force", "--plot", "figures"],
        "",
    ),
]  # fmt: skip


def unpack(place: Path) -> tuple[Path, Path]:
    """The stranger's archive and the victim's home; also the files that the home holds."""
    archive, home = place / "archive", place / "home"
    (archive / "data").mkdir(parents=True)
    rows = [
        f"{day}.{month}.77\t77-{month:02}-{day:02}\n" for day in range(1, 9) for month in (3, 4)
    ]
    for split in ("train", "dev", "test"):
        (archive / "data" / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")
    (archive / "orders.csv").write_text("date\nalias ls=evil\n3.4.77\n", encoding="utf-8")
    shutil.copytree(FIXTURES / "soft", archive / "run")
    (home / "folder" / "trial-001").mkdir(parents=True)
    (home / "folder" / "1").mkdir()
    for name in ("README.md", "folder/mine.txt", "folder/trial-001/mine.txt", "folder/1/mine.txt"):
        (home / name).write_text("mine\n", encoding="utf-8")
    with sqlite3.connect(home / "base.sqlite") as base:
        base.execute("create table mine (x)")
    base.close()
    os.mkfifo(home / "pipe")
    return archive, home


def contents(folder: Path) -> dict[str, object]:
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else path.is_fifo()
        for path in sorted(folder.rglob("*"))
    }


def run(words: list[str], place: Path, home: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[3])
    return subprocess.run(
        [sys.executable, "-m", "charseq", *words],
        cwd=place, env={**os.environ, "HOME": str(home), "PYTHONPATH": root},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def label(attack: Attack) -> str:
    return f"{attack.link} -> {attack.target} by {attack.command[0]} {attack.command[-1]}"


@pytest.mark.parametrize("attack", ATTACKS, ids=map(label, ATTACKS))
def test_nothing_leaves_the_archive_through_a_link(tmp_path: Path, attack: Attack) -> None:
    archive, home = unpack(tmp_path)
    link = archive / attack.link
    link.parent.mkdir(parents=True, exist_ok=True)
    target = home if attack.target == "." else home / attack.target
    link.symlink_to(os.path.relpath(target, link.parent))
    before = contents(home)
    done = run(attack.command, archive, tmp_path / "state")
    assert contents(home) == before
    assert link.is_symlink()
    if attack.says:
        assert done.returncode in (1, 2), done.stdout
        lines = done.stderr.strip().split("\n")
        assert len(lines) == 1, done.stderr
        assert attack.says in lines[0]
        assert link.name in lines[0]


def test_a_loop_and_a_long_chain_of_links_are_one_line(tmp_path: Path) -> None:
    archive, _ = unpack(tmp_path)
    out = archive / "orders.converted.csv"
    out.symlink_to(out.name)
    done = run(CONVERT, archive, tmp_path / "state")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is a link" in done.stderr


def test_files_of_others_are_not_overwritten_by_a_run(tmp_path: Path) -> None:
    """A project's folder named as the run folder keeps its README, unless --force is given."""
    archive, home = unpack(tmp_path)
    keeping = [*TRAIN, "-o", "kept", "--set", "keep=2"]
    assert run(keeping, archive, tmp_path / "state").returncode == 0
    (archive / "link").symlink_to(os.path.relpath(home, archive))
    done = run(["average", "kept", "-o", "link"], archive, tmp_path / "state")
    assert (done.returncode, done.stderr.count("\n")) == (1, 2), done.stderr
    assert "'link' is a link to" in done.stderr
    (archive / "link").unlink()
    for name in ("README.md", "metrics.jsonl"):
        (archive / name).write_text("mine\n", encoding="utf-8")
    before = contents(archive)
    for words in (
        [*TRAIN, "-o", "."],
        [*TUNE, "-o", "."],
        ["average", "kept", "-o", "."],
    ):
        done = run(words, archive, tmp_path / "state")
        assert done.returncode == 1, words
        assert "holds README.md and metrics.jsonl of something else than a run" in done.stderr
        assert contents(archive) == before
    done = run([*TRAIN, "-o", ".", "--force"], archive, tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert "mine" not in (archive / "README.md").read_text(encoding="utf-8")


def test_an_output_never_takes_the_place_of_what_is_read(tmp_path: Path) -> None:
    archive, _ = unpack(tmp_path)
    before = contents(archive)
    for name in ("data/test.tsv", "data/train.tsv", "data/dev.tsv"):
        for force in ([], ["--force"]):
            words = ["evaluate", "data", "-m", "run", "--errors", name, *force]
            done = run(words, archive, tmp_path / "state")
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert "is an input and would be overwritten" in done.stderr
    assert contents(archive) == before


def test_a_search_deletes_nothing_but_what_it_made(tmp_path: Path) -> None:
    """Files that lie among those of a search outlive it and --force."""
    pytest.importorskip("optuna")
    archive, _ = unpack(tmp_path)
    done = run(TUNE, archive, tmp_path / "state")
    assert done.returncode == 0, done.stderr
    tune = archive / "checkpoints" / "data-tuned" / "tune"
    (tune / "notes.txt").write_text("mine\n", encoding="utf-8")
    (tune / "trial-notes").mkdir()
    (tune / "trial-notes" / "notes.txt").write_text("mine\n", encoding="utf-8")
    done = run([*TUNE, "--force"], archive, tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert (tune / "notes.txt").read_text(encoding="utf-8") == "mine\n"
    assert (tune / "trial-notes" / "notes.txt").read_text(encoding="utf-8") == "mine\n"
    assert not list(tune.glob("trial-0*"))
    stray = tune / "trial-001"
    stray.mkdir()
    (stray / "mine.txt").write_text("mine\n", encoding="utf-8")
    done = run([*TUNE, "--force"], archive, tmp_path / "state")
    assert done.returncode == 1
    assert "holds 'mine.txt', which is no file of the run" in done.stderr
    assert (stray / "mine.txt").exists()


def test_stdout_under_its_other_names_is_stdout(tmp_path: Path) -> None:
    archive, _ = unpack(tmp_path)
    wanted = run([*CONVERT, "-o", "-"], archive, tmp_path / "state").stdout
    assert wanted.startswith("date,prediction,prediction_note\n")
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        done = run([*CONVERT, "-o", name], archive, tmp_path / "state")
        assert (done.returncode, done.stdout) == (0, wanted), done.stderr


def test_force_keeps_the_mode_of_a_file(tmp_path: Path) -> None:
    archive, _ = unpack(tmp_path)
    out = archive / "orders.converted.csv"
    out.write_text("private\n", encoding="utf-8")
    out.chmod(0o600)
    done = run([*CONVERT, "--force"], archive, tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    assert "private" not in out.read_text(encoding="utf-8")
