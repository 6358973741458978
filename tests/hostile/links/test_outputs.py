"""Outputs that a command must refuse: what it reads, and names that are none.

Each case is a real command in an unpacked archive of a stranger; whatever it says is one line, and
every file has what it had before.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hostile.links.test_links import CONVERT, TRAIN, TUNE, contents, run, unpack

ROWS = "".join(f'{{"source": "a{n}", "target": "b{n}"}}\n' for n in range(8))
START = ["train", "data", "--epochs", "1", "--set", "embedding=8", "--hidden", "16", "-q"]
EVALUATE = ["evaluate", "data", "-m", "run", "--errors"]

READ = {
    "the rejects of one input are another input": [
        "convert", "orders.csv", "orders.converted.csv.rejects.jsonl", "-m", "run", "--force",
    ],
    "the output of one input are the rejects of another": [
        "convert", "orders.csv", "far/orders.csv.rejects.jsonl", "-o", "out", "-m", "run",
    ],
    "the lexicon": [*CONVERT, "--lexicon", "lexicon.csv", "-o", "lexicon.csv"],
    "a lexicon over its own": [
        "convert", "orders.csv", "-q", "-m", "run", "--to-format", "csv",
        "--lexicon", "lexicon.csv", "-o", "lexicon.csv",
    ],
    "a lexicon over the model": [
        "convert", "orders.csv", "-q", "-m", "run", "--to-format", "tsv", "-o", "run/README.md",
    ],
    "the answers of a rule": [*CONVERT, "--within", "answers.txt", "-o", "answers.txt"],
    "a lexicon over the answers of a rule": [
        "convert", "orders.csv", "-q", "-m", "run", "--to-format", "csv",
        "--within", "answers.txt", "-o", "answers.txt",
    ],
    "the lexicon by another name": [*CONVERT, "--lexicon", "lexicon.csv", "-o", "other.csv"],
    "a model card": [*CONVERT, "-o", "run/README.md"],
    "weights": [*EVALUATE, "run/model.safetensors"],
    "weights of an inner run": [*EVALUATE, "run/members/1/model.safetensors"],
    "settings of the data": [*EVALUATE, "data/charseq.toml"],
    "data under the name of a run's file": [
        "train", "logs/metrics.jsonl", "-o", "logs", "--epochs", "1",
    ],
    "texts to label": [
        *TRAIN, "-o", "logs", "--distil-from", "run", "--unlabelled", "logs/metrics.jsonl",
    ],
    "a teacher": [*TRAIN, "-o", "run", "--distil-from", "run"],
    "a start": [*START, "-o", "run", "--init-from", "run"],
    "a run inside": ["average", "run/members/1", "run/members/1", "-o", "run"],
    "data to score on": ["average", "run/members/1", "-o", "logs", "--data", "logs/metrics.jsonl"],
    "ranges": [*TUNE, "-o", "tuned", "--ranges", "tuned/tune/charseq.toml"],
}  # fmt: skip


def prepare(place: Path) -> Path:
    archive, _ = unpack(place)
    for folder in ("far", "out", "logs", "tuned/tune"):
        (archive / folder).mkdir(parents=True)
    (archive / "logs" / "metrics.jsonl").write_text(ROWS, encoding="utf-8")
    for name in ("orders.converted.csv.rejects.jsonl", "far/orders.csv.rejects.jsonl"):
        (archive / name).write_text('{"source": "3.4.77"}\n', encoding="utf-8")
    (archive / "lexicon.csv").write_text("source,target\na,b\n", encoding="utf-8")
    (archive / "answers.txt").write_text("1977-04-03\n", encoding="utf-8")
    (archive / "other.csv").hardlink_to(archive / "lexicon.csv")
    (archive / "data" / "charseq.toml").write_text("seed = 2\n", encoding="utf-8")
    (archive / "tuned" / "tune" / "charseq.toml").write_text(
        "dropout = [0.1, 0.2]\n", encoding="utf-8"
    )
    (archive / "run" / "members" / "1").mkdir(parents=True)
    for path in [path for path in (archive / "run").iterdir() if path.is_file()]:
        (archive / "run" / "members" / "1" / path.name).write_bytes(path.read_bytes())
    return archive


@pytest.mark.parametrize("case", READ)
def test_no_output_takes_the_place_of_what_is_read(tmp_path: Path, case: str) -> None:
    archive = prepare(tmp_path)
    before = contents(archive)
    words = READ[case]
    force = [] if "--force" in words else ["--force"]
    done = run([*words, *force], archive, tmp_path / "state")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "overwrit" in done.stderr or "inputs would be written to" in done.stderr
    assert contents(archive) == before


def test_wrong_answers_never_take_the_place_of_those_of_a_rule(tmp_path: Path) -> None:
    archive = prepare(tmp_path)
    before = contents(archive)
    words = [*EVALUATE, "answers.txt", "--within", "answers.txt", "--force"]
    done = run(words, archive, tmp_path / "state")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "answers.txt is an input and would be overwritten" in done.stderr
    assert contents(archive) == before


def test_force_deletes_nothing_but_rejects_under_the_name_of_rejects(tmp_path: Path) -> None:
    archive = prepare(tmp_path)
    (archive / "orders.csv").write_text("date\n3.4.77\n", encoding="utf-8")
    mine = archive / "orders.converted.csv.rejects.jsonl"
    assert run([*CONVERT, "--force"], archive, tmp_path / "state").returncode == 0
    assert mine.read_text(encoding="utf-8") == '{"source": "3.4.77"}\n', "no rejects of charseq's"
    mine.write_text('{"line": 1, "offset": 0, "reason": "x", "raw": ""}\n', encoding="utf-8")
    assert run([*CONVERT, "--force"], archive, tmp_path / "state").returncode == 0
    assert not mine.exists(), "of an earlier conversion, whose output is replaced"


@pytest.mark.parametrize(
    "command",
    [
        [*TRAIN, "--force"],
        [*TUNE, "--force"],
        ["average", "kept", "--force"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("thing", ["hard link", "file"])
def test_a_lock_is_written_into_no_file_of_others(
    tmp_path: Path, command: list[str], thing: str
) -> None:
    archive, home = unpack(tmp_path)
    if command[0] == "average":
        keeping = [*TRAIN, "-o", "kept", "--set", "keep=2"]
        assert run(keeping, archive, tmp_path / "state").returncode == 0
    (archive / "out").mkdir()
    guard = archive / "out" / ".lock"
    if thing == "file":
        guard.write_text("mine\n", encoding="utf-8")
    else:
        guard.hardlink_to(home / "README.md")
    done = run([*command, "-o", "out", "-q"], archive, tmp_path / "state")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "out/.lock" in done.stderr
    assert ("is a hard link" if thing == "hard link" else "is no lock of a run") in done.stderr
    assert guard.read_text(encoding="utf-8") == "mine\n"


def test_a_lock_that_a_killed_training_left_is_taken_over(tmp_path: Path) -> None:
    archive, _ = unpack(tmp_path)
    guard = archive / "checkpoints" / "data" / ".lock"
    guard.parent.mkdir(parents=True)
    guard.write_text("4711", encoding="utf-8")
    done = run(TRAIN, archive, tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert not guard.exists()


@pytest.mark.parametrize("form", ["{alias}/archive/out", "{real}/../real/archive/out"])
def test_a_link_below_the_current_folder_by_another_name(tmp_path: Path, form: str) -> None:
    real, alias = tmp_path / "real", tmp_path / "alias"
    archive, home = unpack(real)
    alias.symlink_to(real)
    (archive / "out").symlink_to(home)
    before = contents(home)
    out = form.format(alias=alias, real=real)
    for words in ([*CONVERT, "-o", f"{out}/b.csv"], [*TRAIN, "-o", f"{out}/run"]):
        done = run(words, archive, tmp_path / "state")
        assert done.returncode in (1, 2), done.stderr
        assert done.stderr.count("\n") == 1
        assert "archive/out' is a link" in done.stderr
    assert contents(home) == before
    done = run([*CONVERT, "-o", f"{alias}/archive/b.csv"], archive, tmp_path / "state")
    assert (archive / "b.csv").exists(), "a link of the machine is followed"


WRITING = {
    "train": [*TRAIN, "-o"],
    "tune": [*TUNE, "-o"],
    "average": ["average", "run", "-o"],
    "convert": [*CONVERT, "-o"],
    "evaluate": EVALUATE,
    "gradients": ["gradients", "--flow", "--steps", "9", "--hidden", "4", "--plot"],
}


@pytest.mark.parametrize("command", WRITING)
def test_a_name_that_is_none_is_refused_before_the_work(tmp_path: Path, command: str) -> None:
    archive, _ = unpack(tmp_path)
    before = contents(archive)
    for name, said in (
        ("", "an empty name"),
        ("~/out", "begins with ~, which your shell has not replaced"),
        ("x" * 256, "a name of 256 bytes, expected at most 255"),
    ):
        done = run([*WRITING[command], name, "--force"], archive, tmp_path / "state")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert said in done.stderr
    assert contents(archive) == before


@pytest.mark.parametrize(
    "words",
    [
        ["train", ""],
        ["check", ""],
        ["info", ""],
        ["verify", ""],
        ["predict", "-m", "", "x"],
        ["predict", "--lexicon", "", "x"],
        ["convert", "", "-m", "run"],
        ["evaluate", "data", "-m", ""],
        ["evaluate", "data", "-m", "run", "--strangers", ""],
        [*TRAIN, "--init-from", ""],
        [*TRAIN, "--distil-from", ""],
        [*TUNE, "--ranges", ""],
    ],
    ids=" ".join,
)
def test_an_empty_name_names_nothing_to_read(tmp_path: Path, words: list[str]) -> None:
    archive, _ = unpack(tmp_path)
    done = run(words, archive, tmp_path / "state")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "an empty name" in done.stderr


def test_rejects_get_no_name_that_is_too_long(tmp_path: Path) -> None:
    """It is known before the first row is computed, not at the first row that is rejected."""
    archive, _ = unpack(tmp_path)
    done = run([*CONVERT, "-o", "x" * 240 + ".csv"], archive, tmp_path / "state")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert ".rejects.jsonl' is a name of 258 bytes" in done.stderr


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_a_table_of_errors_is_not_mixed_with_the_scores(tmp_path: Path, name: str) -> None:
    archive, _ = unpack(tmp_path)
    done = run([*EVALUATE, name], archive, tmp_path / "state")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--errors names stdout, where the scores go" in done.stderr


THINGS = {
    "link": (lambda path: path.symlink_to("none"), "is a link to 'none', which leads to no file"),
    "circle": (lambda path: path.symlink_to(path.name), "which leads to no file"),
    "folder": (Path.mkdir, "is a folder, expected a file"),
    "pipe": (os.mkfifo, "is a device or a pipe, expected a file"),
}


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", ["dev.tsv", "charseq.toml"])
def test_what_is_no_file_is_not_passed_over(tmp_path: Path, name: str, thing: str) -> None:
    archive, _ = unpack(tmp_path)
    path = archive / "data" / name
    path.unlink(missing_ok=True)
    make, said = THINGS[thing]
    make(path)
    for words in (TRAIN, ["check", "data"], ["evaluate", "data", "-m", "run"]):
        done = run(words, archive, tmp_path / "state")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert f"data/{name}: is " in done.stderr
        assert said in done.stderr
