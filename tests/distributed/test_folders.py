"""Which files of which folders are to be converted, and which are committed already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charseq.distributed.folders import RECORD, Job, Plan, find_jobs, planning
from charseq.errors import AccessError, DataError, UsageError

ONE: dict[str, Any] = {"model": "a", "options": {"n": 1}}


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A folder with files of data, and with some that are none."""
    folder = tmp_path / "in"
    (folder / "day=1" / ".hidden").mkdir(parents=True)
    for name in ("b.csv", "a.parquet", "day=1/c.jsonl.gz", "_SUCCESS", ".b.csv.crc"):
        (folder / name).write_text(name)
    for name in ("day=1/.hidden/d.csv", "b.csv.rejects.jsonl"):
        (folder / name).write_text(name)
    return folder


def begin(folder: Path, out: Path, how: dict[str, Any] = ONE, *, force: bool = False) -> Plan:
    """The plan of one attempt, which is then broken off."""
    with planning(find_jobs([str(folder)], out), out, how, force=force) as plan:
        return plan


def commit(job: Job, text: str = "done") -> None:
    """Write an output as a conversion does."""
    part = Path(job.out + ".part")
    part.write_text(text)
    part.replace(job.out)


def test_files_keep_their_places(names: Path, tmp_path: Path) -> None:
    jobs = find_jobs([str(names)], tmp_path / "out")
    places = ["a.parquet", "b.csv", "day=1/c.jsonl.gz"]
    assert [job.path for job in jobs] == [str(names / place) for place in places]
    assert [job.out for job in jobs] == [str(tmp_path / "out" / place) for place in places]
    (job,) = find_jobs([str(names / "day=1" / "c.jsonl.gz")], tmp_path)
    assert job.out == str(tmp_path / "c.jsonl.gz")


def test_relative_paths_are_made_absolute(
    names: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_jobs(["in"], Path("out")) == find_jobs([str(names)], tmp_path / "out")


def test_what_cannot_be_converted_is_refused(names: Path, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="does not exist"):
        find_jobs([str(names / "no.csv")], tmp_path)
    (names / "notes.doc").write_text("x")
    with pytest.raises(UsageError, match="ending tells no format"):
        find_jobs([str(names)], tmp_path / "out")
    assert len(find_jobs([str(names)], tmp_path / "out", any_ending=True)) == 4
    (tmp_path / "more").mkdir()
    with pytest.raises(UsageError, match="no files to convert"):
        find_jobs([str(tmp_path / "more")], tmp_path / "out")
    (tmp_path / "more" / "b.csv").write_text("x")
    with pytest.raises(UsageError, match="both be written to"):
        find_jobs([str(names / "b.csv"), str(tmp_path / "more")], tmp_path / "out")
    for out in (tmp_path / "more", tmp_path / "more" / "out", tmp_path / "more" / ".." / "more"):
        with pytest.raises(UsageError, match="lies in the input"):
            begin(tmp_path / "more", out, force=True)
    with pytest.raises(UsageError, match="is an input"):
        begin(tmp_path / "more" / "b.csv", tmp_path / "more", force=True)


def test_the_same_conversion_goes_on(names: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = begin(names, out)
    assert (len(first.todo), first.done) == (3, [])
    assert not any(job.is_committed for job in first.todo)
    commit(first.todo[1])
    assert first.todo[1].is_committed
    again = begin(names, out)
    assert [Path(job.out).name for job in again.done] == ["b.csv"]
    assert [Path(job.out).name for job in again.todo] == ["a.parquet", "c.jsonl.gz"]
    (names / "new.csv").write_text("x")
    os.utime(names / "b.csv", ns=(1, 1))
    changed = begin(names, out)
    assert [Path(job.out).name for job in changed.todo] == [
        "a.parquet", "b.csv", "c.jsonl.gz", "new.csv",
    ]  # fmt: skip
    outdated = changed.todo[1]
    assert outdated.replaced is not None
    assert not outdated.is_committed, "the output of the input as it was"
    commit(outdated)
    assert outdated.is_committed
    assert [Path(job.out).name for job in begin(names, out).done] == ["b.csv"]


def test_another_model_needs_force(names: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", {**ONE, "model": "b"}
    begin(names, out)
    commit(begin(names, out, other).todo[0])  # nothing was committed, so nothing is mixed
    with pytest.raises(UsageError, match=r"differs in its model.*force"):
        begin(names, out)
    assert len(begin(names, out, other).done) == 1
    anew = begin(names, out, force=True)
    assert len(anew.todo) == 3
    assert anew.todo[0].replaced is not None
    assert not anew.todo[0].is_committed


def test_force_begins_a_complete_conversion_anew(names: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with planning(find_jobs([str(names)], out), out, ONE, force=True) as plan:
        list(map(commit, plan.todo))
    assert len(begin(names, out).done) == 3
    with planning(find_jobs([str(names)], out), out, ONE, force=True) as plan:
        assert len(plan.todo) == 3
        commit(plan.todo[0], "done again")
    assert len(begin(names, out, force=True).done) == 1, "an interrupted one goes on"


def test_files_of_others_are_not_overwritten(names: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"b\.csv exists"):
        begin(names, out)
    (out / "b.csv").rename(out / "b.csv.rejects.jsonl")
    with pytest.raises(UsageError, match=r"rejects\.jsonl exists"):
        begin(names, out)
    assert len(begin(names, out, force=True).todo) == 3


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 9}', "[" * 10_000])
def test_a_damaged_record_is_refused(names: Path, tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    begin(names, out)
    (out / RECORD).write_text(text)
    with pytest.raises(DataError, match="no record"):
        begin(names, out)


def test_one_command_at_a_time(names: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    jobs = find_jobs([str(names)], out)
    with planning(jobs, out, ONE, force=False):
        program = (
            "import sys; from test_folders import begin; from pathlib import Path; "
            "begin(Path(sys.argv[1]), Path(sys.argv[2]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(names), str(out)],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert "is being written by another process" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == [RECORD, "day=1"]


def test_a_folder_that_cannot_be_written_is_told(names: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AccessError, match="cannot be written"):
        begin(names, tmp_path / "file" / "out")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(AccessError, match="link"):
        begin(names, tmp_path / "link")
