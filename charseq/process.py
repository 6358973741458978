"""Processes: threads and memory of this one, the time it worked, its signals, child processes.

Threads and memory have to be set before NumPy or torch is loaded, so this module loads neither.

    child = ChildProcess("charseq.inference.pool")   calls main() of the module in a new process
    child.send({"run": "..."})             a line of JSON into its stdin
    child.receive()                        the next object from its stdout; None when it has ended
    child.end()                            "was ended by SIGKILL", "failed: no space left", or ""

A child has the import paths of its parent, in the same order, and exactly the parent's copy of this
package. Nothing beside the package can hide a module of the standard library.

A child leads a process group of its own. Ctrl-C in a terminal therefore reaches the parent alone,
and the parent decides how its children end.
"""

from __future__ import annotations

import _thread
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""
_FREED_BYTES = 2**30
"""Freed memory that stays with the process."""
_LARGEST_KEPT = 2**25
"""Bytes of a block from which it is returned when freed: as a rule the copies of a save or a load,
after which the rest would never be whole again."""
_SPIN_COUNT = "10000"
"""Turns of the loop in which an idle OpenMP thread waits; the GNU library's own is 300,000."""
BEAT = 0.25
"""Seconds between two readings of the system's time by a :class:`WorkClock`."""
LONGEST_GAP = 1.0
"""Seconds that count at most between two readings, unless the processor worked for longer."""
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that ask a training to save and to end; SIGHUP comes when its terminal is closed."""


def prepare_inference() -> None:
    """One thread for NumPy's products; freed memory stays with the process.

    Products of 16 columns gain nothing from a second thread, which costs start-up time and waits
    for its turn on a busy machine. A number that the user has set stays, but networks
    compute on one thread all the same (``kernels.openblas``).
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    keep_memory()


def prepare_training() -> None:
    """A short spin for torch's idle threads; freed memory stays with the process.

    By default an idle thread spins for milliseconds before it sleeps. On two cores with a busy
    neighbour that was measured to slow training down twentyfold; sleeping at once costs a quiet
    machine a third. A spin of some microseconds has neither fault.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's, for scoring
    keep_memory()


def keep_memory() -> None:
    """Let the C library keep freed memory for the next step, not return it to the system.

    Every step needs the same megabytes again. Fetched anew from the system, page by page, they
    cost up to a sixth of a step. Where the library has no such switch, nothing happens.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(_TRIM_THRESHOLD, _FREED_BYTES)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)


def return_memory() -> None:
    """Return freed memory to the system, before work that needs other blocks than a step."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


# --- time


class WorkClock:
    """Seconds that this process worked: time in which it was stopped does not count.

    ``clock()`` is the number of seconds so far. Inside ``with clock:`` a thread reads the system's
    time every :data:`BEAT`. Between two readings at most :data:`LONGEST_GAP` counts, or the
    processor time that was used meanwhile if that is more. So a long step counts in full, on a
    processor or on a GPU, while hours in which the process was stopped (Ctrl-Z), frozen
    (``docker pause``) or asleep with its machine count as one gap. Time that jumps back counts
    as none, and the clock never goes backwards.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._last = self._used_at = time.monotonic()
        self._used = time.process_time()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self) -> float:
        """Seconds of work so far."""
        with self._lock:
            now = time.monotonic()
            gap = max(now - self._last, 0.0)
            if gap > LONGEST_GAP:
                gap = min(gap, max(time.process_time() - self._used, LONGEST_GAP))
            if abs(now - self._used_at) >= BEAT:  # more often would be slow: it is a system call
                self._used, self._used_at = time.process_time(), now
            self._seconds += gap
            self._last = now
            return self._seconds

    def add(self, seconds: float) -> None:
        """Count further seconds, those of an earlier process; or fewer, where negative."""
        with self._lock:
            self._seconds += seconds

    def __enter__(self) -> WorkClock:
        """Start the thread; the seconds go on from here."""
        self._thread = threading.Thread(target=self._beat, name="work clock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_fault: object) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            self()


# --- signals


class SignalReceived(BaseException):
    """A signal that came inside :meth:`StopSignal.interruptible`."""


class StopSignal:
    """The request of a signal to stop: ``stop()`` is the signal's number, or None."""

    def __init__(self) -> None:
        self._received: list[signal.Signals] = []
        self._interruptible = False

    def __call__(self) -> signal.Signals | None:
        """The first signal that came."""
        return self._received[0] if self._received else None

    def receive(self, number: int) -> None:
        """Record a signal; inside :meth:`interruptible` raise :class:`SignalReceived`."""
        self._received.append(signal.Signals(number))
        if self._interruptible:
            raise SignalReceived

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal ends at once, for work that is not worth waiting for.

        The signal is recorded as well. After an earlier signal the block does not begin.

        Raises:
            SignalReceived: a signal has come.
        """
        self._interruptible = True
        try:
            if self._received:
                raise SignalReceived
            yield
        finally:
            self._interruptible = False


class TimeLimitReached(BaseException):
    """The end of the time of :func:`time_limit`."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """A block that ends after ``seconds``, wherever it is, as a signal would end it.

    Time in which the process is stopped (Ctrl-Z, a sleeping laptop) does not count. Outside the
    main thread, which alone can be interrupted, the block has no limit.

    Raises:
        TimeLimitReached: the time is over, and the block has not come to its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    running = True

    def handle(_number: int, _frame: FrameType | None) -> None:
        if running:
            raise TimeLimitReached

    ended = threading.Event()

    def watch() -> None:
        clock = WorkClock()
        while not ended.wait(min(BEAT, max(seconds - clock(), 0.0))):
            if clock() >= seconds:
                _thread.interrupt_main(signal.SIGALRM)
                return

    before = signal.signal(signal.SIGALRM, handle)
    watcher = threading.Thread(target=watch, daemon=True)
    try:
        try:
            watcher.start()
            yield
        finally:
            running = False
    finally:
        ended.set()
        watcher.join()
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)


@contextmanager
def catch_signals() -> Iterator[StopSignal]:
    """A block in which STOP_SIGNALS only set the yielded :class:`StopSignal`.

    The old handlers come back at the end, and a second signal meets them at once. SIGHUP stays
    ignored below ``nohup``. Outside the main thread, where Python takes no signals, nothing is
    caught.
    """
    stop = StopSignal()

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before[number])
        stop.receive(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            kept = signal.getsignal(number)
            if number in (signal.SIGINT, signal.SIGTERM) or kept is not signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


# --- child processes


class ChildProcess:
    """A module that runs in a process of its own; its stderr is kept until it ends."""

    def __init__(self, module: str, *, handles: Sequence[int] = ()) -> None:
        """Start ``main()`` of a module; ``main()`` returns the exit code.

        ``handles`` are file descriptors that the child has under the same numbers.
        """
        import subprocess  # not needed to predict, and slow to load
        import tempfile

        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self._last_line = ""
        self.process = subprocess.Popen(  # noqa: S603 - a module of this package
            [sys.executable, "-P", __file__, module, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=handles,
            process_group=0,
        )

    def send(self, message: Mapping[str, Any]) -> None:
        """Send an object. A child that has ended gets nothing: :meth:`receive` then gives None."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.closed:
            with suppress(BrokenPipeError):
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next object; None when the child has ended. Other lines are skipped."""
        pipe = self.process.stdout
        while pipe is not None and not pipe.closed and (line := pipe.readline()):
            with suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    return message
        return None

    def end(self) -> str:
        """Wait for the end and close the pipes; the reason of a failure, else nothing.

        Call it after the last :meth:`receive`, from the thread that called that. A second call
        gives the same reason.
        """
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if not self._errors.closed:
            with self._errors:
                self._errors.seek(0)
                text = self._errors.read().decode("utf-8", "replace")
                self._last_line = text.strip().split("\n")[-1]
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"failed: {self._last_line}" if code else ""


def terminate(children: Iterable[ChildProcess], grace: float) -> None:
    """End child processes by SIGTERM; kill those that need more than ``grace`` seconds.

    An exception meanwhile, such as a second Ctrl-C, kills them at once.
    """
    from subprocess import TimeoutExpired

    children = list(children)
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + grace
    try:
        for child in children:
            with suppress(TimeoutExpired):
                child.process.wait(max(deadline - time.monotonic(), 0.0))
    finally:
        for child in children:
            child.process.kill()


def send_to_parent(message: Mapping[str, Any]) -> None:
    """Send an object from a child process; a dataclass in it becomes a list of its fields.

    A parent that has ended gets nothing: the end of stdin tells the child so.
    """
    line = json.dumps(message, default=lambda one: list(vars(one).values()))
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(module: str, *paths: str) -> int:
    """Call ``main()`` of a module, in a new process; the exit code.

    ``paths`` are the parent's ``sys.path``. The package is loaded from the folder of this file,
    so that its parent folder need not be among them, or before the standard library.
    """
    from importlib.util import module_from_spec, spec_from_file_location

    sys.path[:] = paths
    folder = Path(__file__).parent
    found = [str(folder)]
    spec = spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=found
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package")
    package = sys.modules[folder.name] = module_from_spec(spec)
    spec.loader.exec_module(package)
    code: int = import_module(module).main()
    return code


if __name__ == "__main__":
    sys.exit(_run(*sys.argv[1:]))
