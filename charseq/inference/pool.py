"""Worker pool: a loaded run, texts -> the same predictions, from several processes.

    with sharing(model, jobs, fingerprint(model)) as pool:
        pool.predict(texts)

The prediction for a text does not depend on the other texts of a call. So any process may answer
any share of the texts, and the predictions are the same for any number of processes.

The first process answers alone for the first :data:`ALONE` seconds: a shorter job ends sooner
without workers. Then each worker loads the run for itself, and every call is shared out. A worker
reads its shares from a pipe and ends when the first process ends, for whatever reason.

    {"run": "...", "known": "...", ...}   to a worker, first: the run to load
    {"texts": [...], ...}                 to a worker: a share of a call
    {"pairs": [[text, answer], ...]}      to a worker: a share of texts to align with answers
    {"answers": [...]}                    from a worker; {"fault": "..."} where it failed

A thread for each worker sends the share and waits for the answers
(``concurrent.futures.ThreadPoolExecutor``). The workers themselves are no ``ProcessPoolExecutor``:
its processes import the caller's ``__main__`` and modules of the working folder, get every Ctrl-C
of the terminal, and stay behind when the first process is killed.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from charseq.config import Config
from charseq.errors import CharseqError, SettingError, UsageError, argument
from charseq.inference.prediction import Candidate, Prediction
from charseq.process import ChildProcess, cores, prepare_inference, send_to_parent, terminate

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import PairsModel

Item = TypeVar("Item", bound=Hashable)
Answered = TypeVar("Answered")

ALONE = 1.0
"""Seconds of answering before workers are started; to start one takes half of that."""
FEWEST = 16
"""Least number of texts in a share: so many are computed side by side."""
GRACE = 2.0
"""Seconds that workers have to end before they are killed."""
CANDIDATES = [field.name for field in fields(Prediction)].index("candidates")
"""The place of the candidates among the fields of a prediction."""


class WorkerPool:
    """A model and its workers. Together they predict as the model does."""

    def __init__(
        self, model: PairsModel | LanguageModel, jobs: int, known: str, options: Mapping[str, Any]
    ) -> None:
        """``jobs`` counts the first process too; the other arguments are those of `sharing`."""
        self.model = model
        self.jobs = jobs
        self.has_features = model.has_features
        self.feature_separator = getattr(model, "feature_separator", ";")
        self.append = getattr(model, "append", None)
        self.rule = getattr(model, "rule", None)
        """How a language model adds a word to a text; None of a model of pairs."""
        self.workers: list[Worker] = []
        self._threads = ThreadPoolExecutor(jobs - 1)
        self._spent = 0.0
        self._job = {"run": str(model.path), "known": known, "options": dict(options)}

    def predict(
        self, texts: Sequence[str], *, n: int = 1, beam: int | None = None, batch_size: int = 256
    ) -> list[Prediction]:
        """One prediction for each text, in order.

        Raises:
            CharseqError: as the model does; or a worker failed or was killed.
        """
        options: dict[str, Any] = {"n": n, "beam": beam, "batch_size": batch_size}
        if self._spent < ALONE:
            begun = time.monotonic()
            found = self.model.predict(texts, **options)
            self._spent += time.monotonic() - begun
            return found
        own: Any = partial(self.model.predict, **options)  # which has overloads
        return self._share(texts, len, own, partial(Worker.predict, options=options))

    def align(self, texts: Sequence[str], answers: Sequence[str]) -> list[str]:
        """The alignment of each text with its answer, as text; empty where there is none.

        Raises:
            CharseqError: as for :meth:`predict`.
        """
        pairs = list(zip(texts, answers, strict=True))
        if self._spent < ALONE:
            begun = time.monotonic()
            found = _aligned(self.model, pairs)
            self._spent += time.monotonic() - begun
            return found
        return self._share(
            pairs, lambda pair: len(pair[0]), partial(_aligned, self.model), Worker.align
        )

    def _share(
        self,
        items: Sequence[Item],
        size: Callable[[Item], int],
        own: Callable[[list[Item]], list[Answered]],
        ask: Callable[[Worker, list[Item]], list[Answered]],
    ) -> list[Answered]:
        """The answers to all items, of which this process and each worker answer a share."""
        self._start()
        distinct = sorted(dict.fromkeys(items), key=size)
        count = max(1, min(self.jobs, len(distinct) // FEWEST))
        mine, *shares = [distinct[first::count] for first in range(count)]
        answers = self._threads.map(ask, self.workers, shares)
        known = dict(zip(mine, own(mine), strict=True))
        for share, answer in zip(shares, answers, strict=True):
            known |= zip(share, answer, strict=True)
        return [known[item] for item in items]

    def _start(self) -> None:
        """Start the workers, unless they run."""
        while len(self.workers) < self.jobs - 1:
            try:
                self.workers.append(Worker(len(self.workers) + 2, self._job))
            except OSError as fault:
                what = f"process {len(self.workers) + 2} of those that answer cannot be started"
                reason = f"{fault.strerror or fault}; {argument('jobs', 1)} does without others"
                raise CharseqError(f"{what}: {reason}") from None

    def close(self) -> None:
        """End the workers, even in the middle of a share, and wait for their threads."""
        terminate([worker.child for worker in self.workers], GRACE)
        self._threads.shutdown()
        for worker in self.workers:
            worker.child.end()


def files_read(model: PairsModel | LanguageModel | WorkerPool) -> Iterator[Path]:
    """The files of a model: its run, its lexicon, those of its rule and of its words."""
    loaded: Any = model.model if isinstance(model, WorkerPool) else model
    run = getattr(loaded, "path", None)
    if run is not None:
        from charseq.runs.folder import files_of  # loads NumPy, as a run's model has

        yield from files_of(run)
    lexicon = getattr(loaded, "lexicon", None)
    if lexicon is not None and lexicon.path is not None:
        yield lexicon.path
    rule = getattr(loaded, "rule", None)
    if rule is not None and rule.path is not None:
        yield rule.path
    words = getattr(loaded, "word_prior", None)
    if words is not None and words.words.path is not None:
        yield words.words.path


def aligning(
    model: PairsModel | LanguageModel | WorkerPool, *, on: bool
) -> Callable[[Sequence[str], Sequence[str]], Sequence[str]] | None:
    """The function from texts and answers to their alignments, as text; None unless ``on``.

    Raises:
        UsageError: the model has no attention.
    """
    if not on:
        return None
    loaded: Any = model.model if isinstance(model, WorkerPool) else model
    if getattr(loaded, "append", None) is not None or loaded.config.attention == "none":
        what = f"{argument('align', True)} needs a model with attention"
        raise UsageError(f"{what}, and {loaded.path} has none")
    if isinstance(model, WorkerPool):
        return model.align
    return lambda texts, answers: _aligned(loaded, list(zip(texts, answers, strict=True)))


def as_trained(
    model: PairsModel | LanguageModel | WorkerPool,
    path: str,
    how: dict[str, str],
    report: Callable[[str], None],
) -> dict[str, str]:
    """How a file is read for a model of pairs: see :func:`charseq.data.corpus.trained_reading`.

    ``how``: format, delimiter and encoding as they are asked for; where a format is named, and for
    a pipe, they stay. ``report`` gets a line on each that is taken from the training.
    """
    loaded: Any = model.model if isinstance(model, WorkerPool) else model
    config = getattr(loaded, "config", None)
    if not isinstance(config, Config) or how["format"] != "auto" or path == "-":
        return how
    from charseq.data.corpus import trained_reading

    found, notes = trained_reading(path, config.to_json(), how)
    for line in notes:
        report(line)
    return found


class Worker:
    """One process with the same model."""

    def __init__(self, number: int, job: Mapping[str, Any]) -> None:
        self.number = number
        self.child = ChildProcess(__name__)
        self.child.send(job)
        self._turn = threading.Lock()

    def predict(self, texts: Sequence[str], options: Mapping[str, Any]) -> list[Prediction]:
        """The predictions for a share. Raises CharseqError where there are none."""
        return [_prediction(values) for values in self._ask({"texts": texts, **options})]

    def align(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """The alignments of a share, as text. Raises CharseqError where there are none."""
        return self._ask({"pairs": pairs})

    def _ask(self, share: Mapping[str, Any]) -> list[Any]:
        with self._turn:
            self.child.send(share)
            message = self.child.receive()
            if message is None:
                end = self.child.end() or "has ended"
                what = f"process {self.number} of those that answer {end}"
                raise CharseqError(f"{what}; {argument('jobs', 1)} does without others")
        if "fault" in message:
            usage = message["code"] == SettingError.exit_code
            raise (SettingError if usage else CharseqError)(message["fault"])
        answers: list[Any] = message["answers"]
        return answers


@contextmanager
def sharing(
    model: PairsModel | LanguageModel,
    jobs: int,
    known: str,
    options: Mapping[str, Any] | None = None,
) -> Iterator[PairsModel | LanguageModel | WorkerPool]:
    """The model, with workers that end with the block.

    Args:
        model: as it was loaded in this process.
        jobs: the number of processes. 0: one for each core, but one in all on a GPU, which a single
            process keeps busy.
        known: the fingerprint of the model (:func:`charseq.inference.predictor.fingerprint`). A
            worker whose run has another one refuses to answer.
        options: those that the model was loaded with.
    """
    options = options or {}
    jobs = jobs or (cores() if options.get("device", "cpu") == "cpu" else 1)
    if jobs == 1:
        yield model
        return
    pool = WorkerPool(model, jobs, known, options)
    try:
        yield pool
    finally:
        pool.close()


def main() -> NoReturn:
    """Answer one share after another until stdin ends, and with it the process of a worker."""
    prepare_inference()
    from charseq.inference.predictor import fingerprint, load

    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines.put,), daemon=True).start()
    job = json.loads(lines.get())
    model: PairsModel | LanguageModel | None = None
    fault = ""
    try:
        model = load(job["run"], **job["options"])
        if fingerprint(model) != job["known"]:
            fault = f"{job['run']}: the run has changed on the way"
    except (CharseqError, OSError) as error:
        fault = getattr(error, "marked", str(error))
    while True:
        line = lines.get()
        if model is None or fault:
            send_to_parent({"fault": fault, "code": CharseqError.exit_code})
        else:
            send_to_parent(_answer(model, json.loads(line)))


def _read(put: Callable[[bytes], None]) -> None:
    """Pass on the lines of stdin; at their end, when nobody waits for answers, end the process."""
    for line in sys.stdin.buffer:
        put(line)
    os._exit(0)  # a share may take minutes


def _answer(model: PairsModel | LanguageModel, share: dict[str, Any]) -> dict[str, Any]:
    try:
        if "pairs" in share:
            return {"answers": _aligned(model, share["pairs"])}
        return {"answers": model.predict(share.pop("texts"), **share)}
    except CharseqError as error:
        return {"fault": error.marked, "code": error.exit_code}


def _aligned(model: PairsModel | LanguageModel, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The alignments of texts with their answers, as text."""
    loaded: Any = model
    found = loaded.align([text for text, _ in pairs], [answer for _, answer in pairs])
    return ["" if one is None else one.text for one in found]


def _prediction(values: list[Any]) -> Prediction:
    """A prediction from the list of its fields in JSON, equal to the last bit."""
    values[CANDIDATES] = [Candidate(*candidate) for candidate in values[CANDIDATES]]
    return Prediction(*values)
