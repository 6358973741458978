"""a model, texts -> the same answers, from several processes.

    with sharing(model, jobs) as crew:
        crew.predict(texts)

A text's answer does not depend on its neighbours, so any share of the texts may be answered by any
process, and what comes out is the same for any number of them. The first process answers alone
until that has taken :data:`ALONE` seconds: what is done by then is done sooner without help. Then
each helper loads the run for itself and answers its share of every call. It holds a pipe to the
first process and ends with it, however that ends.

    {"run": "...", "known": "...", ...}   what is loaded, to a helper first of all
    {"texts": [...], ...}                 a share, to a helper
    {"answers": [...]}                    from a helper; {"fault": "..."}: why there are none
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from charseq.child import Child, cores
from charseq.errors import CharseqError, SettingError
from charseq.inference.prediction import Candidate, Prediction
from charseq.process import prepare_inference

MODULE = "charseq.inference.pool"
ALONE = 1.0
"""Seconds of answering before there is help; to start a helper takes half of that."""
FEWEST = 16
"""Texts in a share, at least: so many are computed side by side."""
GRACE = 2.0
"""Seconds that a helper has to end."""


class Answers(Protocol):
    """A model that is loaded from a run (``PairsModel`` is one)."""

    path: Path

    @property
    def has_features(self) -> bool:
        """Whether a text is "source TAB features"."""

    def predict(
        self, texts: Sequence[str], *, n: int = 1, beam: int | None = None, batch_size: int = 256
    ) -> list[Prediction]:
        """One prediction for each text, in order."""


class Crew:
    """A model and its helpers, which answer as the model would."""

    def __init__(self, model: Answers, jobs: int, known: str, options: Mapping[str, Any]) -> None:
        """``jobs`` processes in all; the others as for :func:`sharing`."""
        self.model = model
        self.jobs = jobs
        self.helpers: list[Helper] = []
        self._spent = 0.0
        self._job = {"run": str(model.path), "known": known, "options": dict(options)}

    def __getattr__(self, name: str) -> Any:
        """What else the model has; without it, it has what the model has not."""
        return getattr(self.model, name)

    def predict(
        self, texts: Sequence[str], *, n: int = 1, beam: int | None = None, batch_size: int = 256
    ) -> list[Prediction]:
        """One prediction for each text, in order.

        Raises:
            CharseqError: as the model; or a helper failed or was killed.
        """
        options: dict[str, Any] = {"n": n, "beam": beam, "batch_size": batch_size}
        if self._spent < ALONE:
            begun = time.monotonic()
            found = self.model.predict(texts, **options)
            self._spent += time.monotonic() - begun
            return found
        while len(self.helpers) < self.jobs - 1:
            self.helpers.append(Helper(len(self.helpers) + 2, self._job))
        distinct = sorted(dict.fromkeys(texts), key=len)
        count = max(1, min(self.jobs, len(distinct) // FEWEST))
        own, *shares = [distinct[first::count] for first in range(count)]
        for helper, share in zip(self.helpers, shares, strict=False):
            helper.ask(share, options)
        known = dict(zip(own, self.model.predict(own, **options), strict=True))
        for helper, share in zip(self.helpers, shares, strict=False):
            known |= zip(share, helper.hear(), strict=True)
        return [known[text] for text in texts]


class Helper:
    """One process with the same model."""

    def __init__(self, number: int, job: Mapping[str, Any]) -> None:
        self.number = number
        self.child = Child(MODULE)
        self._tell(job)

    def ask(self, texts: Sequence[str], options: Mapping[str, Any]) -> None:
        """Give it a share."""
        self._tell({"texts": texts, **options})

    def hear(self) -> list[Prediction]:
        """The answers to its share. Raises CharseqError where there are none."""
        pipe = self.child.process.stdout
        line = pipe.readline() if pipe else b""
        if not line.endswith(b"\n"):
            raise CharseqError(self._end())
        said = json.loads(line)
        if "fault" in said:
            raise (SettingError if said["code"] == SettingError.exit_code else CharseqError)(
                said["fault"]
            )
        return [unpack(one) for one in said["answers"]]

    def close(self) -> None:
        """End it, whatever it does."""
        if self.child.process.stdout is not None:
            self.child.process.stdout.close()
        self.child.process.terminate()
        self.child.wait(GRACE)
        self.child.end()

    def _tell(self, message: Mapping[str, Any]) -> None:
        try:
            self.child.tell(message)
        except BrokenPipeError:
            raise CharseqError(self._end()) from None

    def _end(self) -> str:
        """Why it is over, in one line."""
        why = self.child.end() or "has ended"
        return f"process {self.number} of those that answer {why}; --jobs 1 does without others"


@contextmanager
def sharing(
    model: Answers, jobs: int, known: str, options: Mapping[str, Any] | None = None
) -> Iterator[Answers]:
    """The model, with helpers that are ended with the block.

    ``jobs`` 0: as many processes as cores; on a GPU, which one process fills, one.
    ``options`` are those the model was loaded with, ``known`` is its
    :func:`charseq.inference.predictor.fingerprint`, which that of a helper's model must equal.
    """
    options = options or {}
    jobs = jobs or (cores() if options.get("device", "cpu") == "cpu" else 1)
    if jobs == 1:
        yield model
        return
    crew = Crew(model, jobs, known, options)
    try:
        yield crew
    finally:
        for helper in crew.helpers:
            helper.close()


def pack(one: Prediction) -> list[Any]:
    """A prediction as JSON."""
    candidates = [[c.prediction, c.probability, c.score, c.origin] for c in one.candidates]
    facts = [one.source, one.prediction, one.probability, list(one.unknown), one.truncated]
    return [*facts, candidates]


def unpack(value: Sequence[Any]) -> Prediction:
    """The prediction that :func:`pack` wrote, to the last bit."""
    source, prediction, probability, unknown, truncated, candidates = value
    found = [Candidate(*one) for one in candidates]
    return Prediction(source, prediction, probability, unknown, truncated, found)


def main() -> int:
    """Answer share after share, until there is no more; the exit code."""
    prepare_inference()
    from charseq.inference.predictor import fingerprint, load

    lines = sys.stdin.buffer
    first = lines.readline()
    if not first:
        return 0
    job = json.loads(first)
    model: Any = None
    fault: dict[str, Any] | None = None
    try:
        model = load(job["run"], **job["options"])
        if fingerprint(model) != job["known"]:
            fault = {"fault": f"{job['run']}: the run has changed on the way", "code": 1}
    except (CharseqError, OSError) as error:
        fault = {"fault": str(error), "code": 1}
    for line in lines:
        _say(fault or _answer(model, json.loads(line)))
    return 0


def _answer(model: Answers, share: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answers": [pack(one) for one in model.predict(share.pop("texts"), **share)]}
    except CharseqError as error:
        return {"fault": str(error), "code": error.exit_code}


def _say(message: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError):  # nobody listens any more; the end of stdin will say so
        sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
