"""folders of files -> folders of files on a cluster of Ray: one task for each file.

    convert_folders(model, ["names/"], "out/", address="auto", column="name")

A task is :func:`charseq.inference.convert.convert` of one file. So a file has the same bytes as on
one machine, whatever its format. Ray places the tasks, keeps as many processes as there are CPUs,
and gives the task of a lost machine to another one; a process loads the model once. Whether a task
is done is asked of the output folder (see :mod:`charseq.distributed.folders`).

All machines need charseq, the run and the files, each under the same path.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq import files
from charseq.data.formats.opening import packed_ending
from charseq.data.formats.reader import find_format, sniff
from charseq.data.formats.writer import REJECTS_ENDING
from charseq.display import count as counted
from charseq.distributed.converter import SharedModel
from charseq.distributed.folders import Job, find_jobs, planning
from charseq.errors import CharseqError, UsageError, argument, require
from charseq.inference import convert as conversion
from charseq.inference.conversion.columns import ConvertReport
from charseq.version import __version__

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import PairsModel

ATTEMPTS = 10
"""Machines that a task may lose before its file counts as one that cannot be converted."""
WAITING = 1000
"""Tasks that Ray has at a time: enough that a cluster grows, and few enough to wait for."""
KNOCK_SECONDS = 10.0
"""Seconds to wait for the machine of a cluster to answer."""
WRITER_SECONDS = 20.0
"""Seconds to wait for another process that writes an output."""
MAX_LISTED = 20
"""Files that are reported one by one."""


@dataclass
class FolderReport:
    """Counts of one conversion of folders, of all files that this call has converted."""

    rows: ConvertReport
    done: int
    """Files that were committed before."""
    faults: dict[str, str] = field(default_factory=dict)
    """Input -> the reason why it was not converted."""
    rejected: list[Path] = field(default_factory=list)
    """Files of rejects of all outputs."""


def convert_folders(
    model: PairsModel | LanguageModel,
    inputs: Sequence[str],
    out: str | Path,
    *,
    address: str | None = None,
    jobs: int = 0,
    force: bool = False,
    report: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _rows, _bytes: None,
    **reading: Any,
) -> FolderReport:
    """Convert files, and all files below folders, to the folder ``out``.

    Args:
        model: a loaded run.
        inputs: files and folders.
        out: the folder for files of the same names.
        address: of the cluster, such as ``auto`` or ``host:6379``; by default that of the
            environment variable RAY_ADDRESS, else Ray is started on this machine.
        jobs: tasks at a time, at most; 0: as many as there are CPUs.
        force: overwrite outputs, and replace columns that have the new columns' names.
        report: gets lines for people.
        progress: gets the rows that are written and the bytes of their files in the input.
        reading: further arguments of :func:`charseq.inference.convert.convert`.

    Returns:
        The counts. A file that cannot be converted does not stop the others.

    Raises:
        UsageError: arguments that do not fit together, or as
            :func:`charseq.distributed.folders.planning`.
        MissingExtraError: Ray is not installed.
        CharseqError: there is no cluster at ``address``.
    """
    require("ray", "converting on a cluster")
    kind = reading.get("format", "auto")
    found = find_jobs(inputs, Path(out), any_ending=kind != "auto")
    shared = SharedModel.of(model)
    asked = {name: value for name, value in reading.items() if name != "batch_size"}
    identity = {"version": __version__, "model": shared.known, "options": asked}
    with planning(found, Path(out), identity, force=force) as plan:
        title = f"{inputs[0]}{' …' * (len(inputs) > 1)} ({counted(len(plan.todo), 'file')})"
        result = FolderReport(ConvertReport(title, str(out)), len(plan.done))
        if plan.done:
            report(f"{out}: {counted(len(plan.done), 'file')} converted before")
        if plan.todo:
            with _cluster(address, jobs) as remote:
                submit = partial(remote, shared, reading | {"force": force})
                _collect(submit, plan.todo, jobs or WAITING, result, progress)
        result.rows.rejects = str(Path(out) / f"*{REJECTS_ENDING}")
        result.rejected = [job.rejects for job in found if job.rejects.exists()]
    for line in result.rows.summary() if plan.todo else ():
        report(line)
    return result


def convert_file(model: SharedModel, options: Mapping[str, Any], job: Job) -> Any:
    """The task: convert one file, in whatever process of whatever machine.

    Returns:
        The report of the conversion; None where a lost machine has committed the file already; or
        the reason, a str, why it cannot be converted.
    """
    try:
        _wait_for_writer(Path(job.out))
        if job.is_committed:
            return None
        if job.replaced is None:  # a kill between two renames may have left them
            job.rejects.unlink(missing_ok=True)
        elif not options["force"]:  # an output of this folder, whose input has changed
            Path(job.out).unlink(missing_ok=True)
            job.rejects.unlink(missing_ok=True)
        return conversion.convert(model.load(), job.path, job.out, **options)
    except CharseqError as fault:
        return fault.marked
    except (OSError, MemoryError) as fault:
        return f"{job.path}: {str(fault) or type(fault).__name__}"


def _wait_for_writer(path: Path) -> None:
    """Wait for a process that writes ``path``: of a command that was killed, it lives on a little.

    One that writes for longer is found by the conversion.
    """
    end = time.monotonic() + WRITER_SECONDS
    while time.monotonic() < end:
        with suppress(files.BusyError), files.claiming(path):
            return
        time.sleep(WRITER_SECONDS / 100)


def check_folders(out: str | None, options: Mapping[str, Any], *, device: str) -> str:
    """The output folder. Raises UsageError for options that a cluster cannot keep."""
    if out is None or out == "-":
        raise UsageError(f"a cluster writes files: {argument('output')} names a folder for them")
    if Path(out).exists() and not Path(out).is_dir():
        raise UsageError(f"{out} is a file, expected a folder for the outputs of a cluster")
    for name in ("to_format", "review"):
        if options.get(name) is not None:
            what = f"{argument(name)} makes one file of all rows, a cluster one of each file"
            raise UsageError(f"{what}: convert without a cluster, or leave it out")
    if device != "cpu":
        what = f"{argument('device', device)} is for one machine"
        raise UsageError(f"{what}: the tasks of a cluster compute on CPUs")
    return out


def size_of(inputs: Sequence[str], kind: str) -> int | None:
    """Bytes of all files; None where one is packed, so that rows do not take as many as it has."""
    size = 0
    for job in find_jobs(inputs, Path(), any_ending=kind != "auto"):
        packed = find_format(sniff(job.path) if kind == "auto" else kind).packs_itself
        if packed or packed_ending(job.path):
            return None
        size += Path(job.path).stat().st_size
    return size


@contextmanager
def _cluster(address: str | None, jobs: int) -> Iterator[Callable[..., Any]]:
    """The function that submits a task.

    Raises:
        CharseqError: there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    started = not ray.is_initialized()
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    if started:
        own: dict[str, Any] = {"address": where}
        if where == "local":
            own |= {"num_cpus": jobs or None, "include_dashboard": False}
        before = signal.getsignal(signal.SIGTERM)
        try:
            _knock(where)
            ray.init(logging_level="error", log_to_driver=False, **own)
        except (OSError, RuntimeError, ValueError) as fault:
            reason = getattr(fault, "strerror", None) or str(fault).strip().split("\n")[0]
            raise CharseqError(f"no cluster of Ray at {where}: {reason}") from None
        if before and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's would end the process with another code
    try:
        yield ray.remote(convert_file).options(num_cpus=1, max_retries=ATTEMPTS).remote
    finally:
        if started:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT: Ray would try again for ten minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _collect(
    submit: Callable[[Job], Any],
    todo: Sequence[Job],
    most: int,
    result: FolderReport,
    progress: Callable[[int, int], None],
) -> None:
    """Submit all jobs, ``most`` at a time, and count what they return."""
    import ray

    rest, size = iter(todo), 0
    waiting = {submit(job): job for job in islice(rest, most)}
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        job = waiting.pop(ready)
        for following in islice(rest, 1):
            waiting[submit(following)] = following
        try:
            found = ray.get(ready)
        except ray.exceptions.RayError as fault:
            found = f"{job.path}: {str(fault).strip().splitlines()[-1]}"
        if isinstance(found, str):
            result.faults[job.path] = found
        elif isinstance(found, ConvertReport):
            result.rows.add(found)
        elif found is not None:  # of a dictionary, which has become one
            result.rows.rows += found.rows
            result.rows.rejected += found.rejected
        size += Path(job.path).stat().st_size
        progress(result.rows.rows, size)
