"""Micro-batches: the same answers, bounded queues, workers that are replaced."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from served import RUNS
from starlette.exceptions import HTTPException

from charseq.errors import CharseqError
from charseq.serving.batching import Workers
from charseq.serving.limits import Limits, Metrics
from charseq.serving.worker import Question

MODELS = {run.name: str(run) for run in RUNS}
HARD = Question("hard", n=3)


def using(
    task: Callable[[Workers], Awaitable[Any]], *, jobs: int = 1, limits: Limits | None = None
) -> Any:
    """The result of a task with workers."""

    async def run() -> Any:
        workers = Workers(MODELS, jobs, limits or Limits(), Metrics())
        try:
            await workers.start()
            return await task(workers)
        finally:
            await workers.close()

    return asyncio.run(run())


def test_the_same_text_has_the_same_answer_whatever_it_is_batched_with() -> None:
    texts = ["kogima", "banana", "to", "gigiko", "rikotese", "d" * 40, "", "kigi"] * 4

    async def task(workers: Workers) -> tuple[list[str], list[str], bytes]:
        alone = [(await workers.ask(HARD, [text]))[0] for text in texts]
        together = await asyncio.gather(*(workers.ask(HARD, [text]) for text in texts))
        return alone, [one for (one,) in together], workers.metrics.text()

    alone, together, counted = using(task)
    assert alone == together, "to the last bit of every probability"
    assert [json.loads(one)["source"] for one in alone] == texts
    alone_batches = len(texts)
    count = next(x for x in counted.decode().split("\n") if x.startswith("charseq_batch_texts_cou"))
    assert float(count.split()[-1]) < alone_batches + len(texts) / 2, "they were batched"


def test_questions_are_not_mixed() -> None:
    async def task(workers: Workers) -> list[list[str]]:
        asked = [HARD, Question("soft"), Question("hard", n=1), Question("words", "complete", n=2)]
        return await asyncio.gather(*(workers.ask(one, ["3.4"]) for one in asked * 3))

    found = [json.loads(one) for (one,) in using(task)]
    assert [len(one["candidates"]) for one in found[:3]] == [3, 1, 1]
    assert found[:4] == found[4:8] == found[8:]


def test_the_fault_of_one_request_is_not_that_of_its_neighbours() -> None:
    async def task(workers: Workers) -> list[Any]:
        bad = Question("words", align=True)
        asked = [workers.ask(HARD, ["to"]), workers.ask(bad, ["to"]), workers.ask(HARD, ["kigi"])]
        return await asyncio.gather(*asked, return_exceptions=True)

    one, fault, two = using(task)
    assert isinstance(one, list)
    assert isinstance(two, list)
    assert isinstance(fault, HTTPException)
    assert fault.status_code == 422
    assert "no alignment" in fault.detail


def test_the_queue_is_bounded() -> None:
    async def task(workers: Workers) -> list[Any]:
        asked = [workers.ask(HARD, ["kogima"]) for _ in range(10)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = using(task, limits=Limits(queue=4))
    refused = [one for one in found if isinstance(one, HTTPException)]
    assert {one.status_code for one in refused} == {429}
    assert len(refused) == 6


def test_a_worker_that_takes_too_long_is_replaced() -> None:
    async def task(workers: Workers) -> tuple[Any, Any, bytes]:
        (child,) = workers._all
        os.kill(child.process.pid, signal.SIGSTOP)  # computes without end
        with pytest.raises(HTTPException) as fault:
            await workers.ask(HARD, ["kogima"])
        for _ in range(600):
            if workers.alive and workers._free:
                break
            await asyncio.sleep(0.1)
        workers.limits = Limits()
        return fault.value.status_code, await workers.ask(HARD, ["to"]), workers.metrics.text()

    status, answer, counted = using(task, limits=Limits(seconds=1.0))
    assert status == 503
    assert json.loads(answer[0])["source"] == "to"
    assert b"charseq_worker_restarts_total 1.0" in counted


def test_a_killed_worker_costs_its_request_and_no_other() -> None:
    async def task(workers: Workers) -> list[str]:
        (child,) = workers._all
        child.process.kill()
        child.process.wait()
        with pytest.raises(HTTPException):
            await workers.ask(HARD, ["kogima"])
        return await workers.ask(HARD, ["to"])

    assert len(using(task)) == 1


def test_a_model_that_is_not_there_is_told() -> None:
    async def run() -> None:
        workers = Workers({"no": "/nowhere"}, 1, Limits(), Metrics())
        try:
            await workers.start()
        finally:
            await workers.close()

    with pytest.raises(CharseqError, match="nowhere"):
        asyncio.run(run())
