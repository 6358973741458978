"""requests -> micro-batches -> worker processes -> answers, within bounds.

A worker that is free takes the oldest request and all others that ask the same of the same model,
up to :data:`MAX_TEXTS` texts: nobody waits for a batch to fill, and under load batches grow by
themselves. The same text has the same answer, bit for bit, whatever it is batched with.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.exceptions import HTTPException

from charseq.errors import CharseqError
from charseq.process import ChildProcess, terminate
from charseq.serving.limits import Limits, Metrics
from charseq.serving.worker import Question

MAX_TEXTS = 64
"""Texts that are computed together, unless one request has more."""
GRACE = 2.0
"""Seconds that workers have to end before they are killed."""
MODULE = "charseq.serving.worker"


@dataclass(eq=False)
class Request:
    """Texts that wait for their answers."""

    question: Question
    texts: Sequence[str]
    answers: asyncio.Future[list[str]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Workers:
    """Processes that have all models loaded, and the queue before them."""

    def __init__(
        self, models: Mapping[str, str], jobs: int, limits: Limits, metrics: Metrics
    ) -> None:
        """``models``: name -> run folder. ``jobs``: the number of processes."""
        self.models, self.jobs, self.limits, self.metrics = dict(models), jobs, limits, metrics
        self._waiting: deque[Request] = deque()
        self._free: deque[ChildProcess] = deque()
        self._all: set[ChildProcess] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(jobs + 1)
        self._closed = False

    @property
    def alive(self) -> int:
        """The number of processes that run."""
        return sum(child.process.poll() is None for child in self._all)

    async def start(self) -> None:
        """Start the workers and wait until all are ready.

        Raises:
            CharseqError: a model cannot be loaded.
        """
        started = await asyncio.gather(*(self._start() for _ in range(self.jobs)))
        self._free.extend(started)

    async def ask(self, question: Question, texts: Sequence[str]) -> list[str]:
        """The answer to each text, as JSON.

        Raises:
            HTTPException: 429 where too many requests wait, 503 where the time is over, 422 for
                texts and options that the model does not take, 500 where the model fails.
        """
        if len(self._waiting) >= self.limits.queue:
            raise HTTPException(429, "too many requests wait", headers={"retry-after": "1"})
        if self._closed:
            raise HTTPException(503, "the server ends")
        request = Request(question, texts)
        self._waiting.append(request)
        self.metrics.waiting.set(len(self._waiting))
        # after the other requests of this turn of the loop, so that they are batched
        asyncio.get_running_loop().call_soon(self._dispatch)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await request.answers
        except TimeoutError:
            raise HTTPException(503, f"no answer within {self.limits.seconds:g} s") from None
        finally:
            with suppress(ValueError):
                self._waiting.remove(request)

    async def close(self) -> None:
        """End the workers; requests that wait get no answer."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(terminate, list(self._all), GRACE)
        self._threads.shutdown()
        for child in self._all:
            child.end()

    def _dispatch(self) -> None:
        """Give waiting requests to free workers."""
        while self._free and self._waiting:
            batch = self._take()
            task = asyncio.get_running_loop().create_task(self._answer(self._free.popleft(), batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.metrics.waiting.set(len(self._waiting))

    def _take(self) -> list[Request]:
        """The oldest request, and others with the same question."""
        first = self._waiting[0]
        batch, count, others = [first], len(first.texts), deque[Request]()
        self._waiting.popleft()
        while self._waiting:
            request = self._waiting.popleft()
            if request.question == first.question and count + len(request.texts) <= MAX_TEXTS:
                batch.append(request)
                count += len(request.texts)
            else:
                others.append(request)
        self._waiting = others
        return batch

    async def _answer(self, child: ChildProcess, batch: list[Request]) -> None:
        """Let a worker answer a batch, and free it; a worker that fails is replaced."""
        found = await self._exchange(child, batch)
        if found is None:
            child = await self._replace(child)
        # a fault may be of one request alone, and the others get their answers
        if (found is None or "fault" in found) and len(batch) > 1:
            for request in batch:
                found = await self._exchange(child, [request])
                _settle([request], found)
                if found is None:
                    child = await self._replace(child)
        else:
            _settle(batch, found)
        self._free.append(child)
        self._dispatch()

    async def _exchange(self, child: ChildProcess, batch: list[Request]) -> dict[str, Any] | None:
        """The message of a worker to a batch; None where it has ended, or took too long."""
        question = batch[0].question
        texts = [text for request in batch for text in request.texts]
        self.metrics.batch.labels(question.model).observe(len(texts))
        job = {**asdict(question), "texts": texts}
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(self._threads, _exchange, child, job)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await asyncio.shield(waiting)
        except TimeoutError:
            child.process.kill()
            await waiting
            return None

    async def _start(self) -> ChildProcess:
        child = await asyncio.to_thread(ChildProcess, MODULE)
        self._all.add(child)
        found = await asyncio.to_thread(_exchange, child, {"models": self.models})
        if found is None or "fault" in found:
            raise CharseqError(found["fault"] if found else f"a worker {child.end()}")
        return child

    async def _replace(self, child: ChildProcess) -> ChildProcess:
        """A new worker in the place of one that has ended."""
        self.metrics.restarts.inc()
        child.process.kill()
        await asyncio.to_thread(child.end)
        self._all.discard(child)
        return await self._start()


def _exchange(child: ChildProcess, message: Mapping[str, Any]) -> dict[str, Any] | None:
    child.send(message)
    return child.receive()


def _settle(batch: Sequence[Request], found: Mapping[str, Any] | None) -> None:
    """Give each request of a batch its answers, or the fault."""
    answers = iter(() if found is None else found.get("answers", ()))
    for request in batch:
        own = [next(answers, "") for _ in request.texts]
        if request.answers.done():  # its client has left, or its time was over
            continue
        if found is None:
            reason = "the answer took too long, or the worker ended"
            request.answers.set_exception(HTTPException(503, reason))
        elif "fault" in found:
            status = 422 if found["usage"] else 500
            request.answers.set_exception(HTTPException(status, found["fault"]))
        else:
            request.answers.set_result(own)
