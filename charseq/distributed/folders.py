"""files and folders -> jobs, a file each; output folder -> the jobs that are committed already.

A job converts one file to one file. Its output appears under its name when it is complete, so
whether a job is committed is asked of the file system alone, by any machine, at any time:

    no output                                        not committed
    an output, which was there when the job began    not committed: it is to be replaced
    another output                                   committed

The record ``.charseq-convert.json`` in the output folder names the model and the options of the
conversion, and for each output the size and the time of its input. With it the same command redoes
nothing that is committed, converts inputs that are new or have changed, and refuses a folder that
holds the answers of another model. A job that is done twice, after a machine was lost, writes the
same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charseq import files
from charseq.data.formats.reader import has_known_ending
from charseq.data.formats.writer import REJECTS_ENDING
from charseq.errors import AccessError, DataError, UsageError, argument

RECORD = ".charseq-convert.json"
LOCK = ".charseq-convert.lock"
VERSION = 1
"""Of the record's format."""
MAX_RECORD = 2**28
"""Bytes of a record; a larger one was not written here."""
HIDDEN = (".", "_")
"""Beginnings of names that are no data, such as ``_SUCCESS`` and ``.part-0.crc``."""

Marks = list[int]
"""Facts of a file that tell it from another one of the same name, on every machine."""


@dataclass(frozen=True)
class Job:
    """One file to convert."""

    path: str
    """The input, an absolute path."""
    out: str
    """The output, an absolute path."""
    replaced: Marks | None = None
    """The file that had the name of the output when the conversion began."""

    @property
    def rejects(self) -> Path:
        """The file for rows that cannot be read."""
        return Path(self.out + REJECTS_ENDING)

    @property
    def is_committed(self) -> bool:
        """Whether the output is there."""
        return _marks(self.out) not in (None, self.replaced)


@dataclass(frozen=True)
class Plan:
    """The jobs of one conversion."""

    todo: list[Job]
    done: list[Job]
    """Jobs that an earlier attempt has committed."""
    record: dict[str, Any]


def find_jobs(inputs: Sequence[str], out: Path, *, any_ending: bool = False) -> list[Job]:
    """A job for each file, and for each file below each folder.

    The output of a file below a folder has the same place below ``out``. In folders, files that
    begin with a dot or an underscore are no data, nor are rejects.

    Args:
        inputs: files and folders.
        out: the folder of the outputs.
        any_ending: whether a file's name may tell no format.

    Raises:
        UsageError: no file, a file of no format, two files that would have the same output, or
            ``out`` lies in an input.
        AccessError: an input does not exist.
    """
    found: dict[str, str] = {}
    for given in inputs:
        top = Path(os.path.abspath(given))  # noqa: PTH100, resolve() would follow links
        if not top.exists():
            raise AccessError("does not exist", path=given)
        if out.resolve().is_relative_to(top.resolve()):
            raise UsageError(f"{out} lies in the input {given}: give a folder beside it")
        for path in sorted(_data_in(top)) if top.is_dir() else [top]:
            if top.is_dir() and not any_ending and not has_known_ending(path):
                what = f"{path}: its ending tells no format"
                raise UsageError(f"{what}: {argument('format')} names one, or give the files")
            place = path.relative_to(top) if top.is_dir() else path.name
            name = os.path.abspath(out / place)  # noqa: PTH100
            if name in found:
                raise UsageError(f"{found[name]} and {path} would both be written to {name}")
            found[name] = str(path)
    if not found:
        raise UsageError(f"{', '.join(inputs)}: no files to convert")
    return [Job(path, name) for name, path in found.items()]


@contextmanager
def planning(
    jobs: Sequence[Job], out: Path, identity: Mapping[str, Any], *, force: bool
) -> Iterator[Plan]:
    """The jobs that are still to be done; one process has the output folder while the block runs.

    Args:
        jobs: all of them.
        out: the folder of the outputs, which is made.
        identity: everything but the inputs that decides the outputs, for JSON.
        force: whether to overwrite outputs, and to begin anew where the folder holds the answers
            of another model. The same command continues an interrupted conversion all the same.

    Raises:
        UsageError: the folder holds answers of another model, or with other options; an output is
            there that no conversion of this folder has made; another process writes to it.
        AccessError: the folder cannot be written.
    """
    with ExitStack() as held:
        with _telling(out):
            files.make_folder(out, parents=True)
            held.enter_context(_alone(out))
            plan = _plan(jobs, out, identity, force=force)
            for folder in {Path(job.out).parent for job in plan.todo}:
                files.make_folder(folder, parents=True)
            _write(out, plan.record | {"complete": False})
        yield plan
        with _telling(out):
            if all(job.is_committed for job in plan.todo):
                _write(out, plan.record | {"complete": True})


@contextmanager
def _telling(out: Path) -> Iterator[None]:
    """Faults of the system as errors that name the file."""
    try:
        yield
    except OSError as fault:
        if isinstance(fault, files.LinkError):
            raise AccessError(str(fault.strerror), path=out) from None
        reason = f"cannot be written: {fault.strerror or fault}"
        raise AccessError(reason, path=fault.filename or out) from None


def _plan(jobs: Sequence[Job], out: Path, identity: Mapping[str, Any], *, force: bool) -> Plan:
    """The jobs, sorted by whether they are committed, and the record that says so."""
    asked = json.loads(json.dumps(identity))
    found = _read(out)
    if found is not None and found["identity"] != asked and not force and _holds_any(out, found):
        other = [name for name, value in asked.items() if found["identity"].get(name) != value]
        what = f"{out} holds a conversion that differs in its {' and '.join(other)}"
        raise UsageError(f"{what}: give another folder, or {argument('force', True)} begins anew")
    if found is None or found["identity"] != asked or (force and found["complete"]):
        found = {"version": VERSION, "identity": asked, "outputs": {}}
    known, todo, done = found["outputs"], list[Job](), list[Job]()
    for job in jobs:
        name, marks = str(Path(job.out).relative_to(Path(os.path.abspath(out)))), _marks(job.out)  # noqa: PTH100
        facts = Path(job.path).stat()
        entry = {"input": [facts.st_size, facts.st_mtime_ns], "replaced": marks}
        earlier = known.get(name)
        if (
            earlier
            and earlier["input"] == entry["input"]
            and marks
            not in (
                None,
                earlier["replaced"],
            )
        ):
            done.append(job)
            continue
        may_write = force or earlier is not None
        files.refuse(job.out, force=may_write, inputs=[job.path])
        files.refuse(job.rejects, force=may_write, inputs=[job.path], what="file of rejects")
        known[name] = entry
        todo.append(Job(job.path, job.out, marks))
    return Plan(todo, done, found)


def _holds_any(out: Path, record: Mapping[str, Any]) -> bool:
    """Whether an output of a record is committed."""
    return any(
        Job("", str(out / name), entry["replaced"]).is_committed
        for name, entry in record["outputs"].items()
    )


def _data_in(folder: Path) -> Iterator[Path]:
    """The files of data below a folder; links to folders are not followed."""
    for path in folder.iterdir():
        if path.name.startswith(HIDDEN) or path.name.endswith(REJECTS_ENDING):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _data_in(path)
        elif path.is_file():
            yield path


def _marks(path: str) -> Marks | None:
    """The marks of a file; None where there is none."""
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return None
    return [facts.st_ino, facts.st_size, facts.st_mtime_ns]


def _read(out: Path) -> dict[str, Any] | None:
    """The record of a folder; None where there is none.

    Raises:
        DataError: it is damaged, or of another version of charseq.
    """
    path = out / RECORD
    if not os.path.lexists(path):
        return None
    files.refuse_link(path)
    try:
        if path.stat().st_size > MAX_RECORD:
            raise ValueError("too large")
        found = json.loads(path.read_text(encoding="utf-8"))
        outputs = found["outputs"]
        sound = found["version"] == VERSION and isinstance(found["identity"], dict)
        sound = sound and isinstance(found["complete"], bool) and isinstance(outputs, dict)
        if not sound or any({"input", "replaced"} != one.keys() for one in outputs.values()):
            raise ValueError("other members")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        what = "is no record of a conversion that this version can continue"
        raise DataError(f"{what}: delete it, or give another folder", path=path) from None
    return dict(found)


def _write(out: Path, record: Mapping[str, Any]) -> None:
    files.replace(out / RECORD, json.dumps(record, ensure_ascii=False, indent=1).encode())


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The lock of a folder, where its file system has locks."""
    path = out / LOCK
    try:
        handle = files.lock(path, flags=os.O_NONBLOCK)
    except files.BusyError:
        raise UsageError(f"{out} is being written by another process") from None
    except files.LinkError:
        raise
    except OSError:  # if the folder cannot be written, the record will tell
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)
