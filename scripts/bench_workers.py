"""Benchmark of processes that share each batch: steps of one process and of several, in turns.

    python scripts/bench_workers.py                    the default network on strings of 10 symbols
    python scripts/bench_workers.py --length 24 --cell lstm --workers 2 --rounds 7

One trainer takes all steps, so the variants differ in nothing but who computes. "in parts" is one
process that computes the parts of all: the price of smaller parts. CPU is the processor time of a
step, of all processes and of the busiest. On a machine that other work shares, the gain by the time
of the busiest process says more than that by the clock: it is the gain on idle cores, less waiting.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch

from charseq.config import configure
from charseq.data.batches import Batches
from charseq.data.text.vocabulary import SPECIALS
from charseq.models import factory
from charseq.models.device import choose_precision
from charseq.process import prepare_training
from charseq.training.parallel.group import Group
from charseq.training.trainer import OptimizerSettings, Step, Trainer

SYMBOLS = 40
SIZE = SPECIALS + SYMBOLS
TICKS = os.sysconf("SC_CLK_TCK")
WARM_UP = 5
"""Steps before the first turn of a variant, which are not counted."""


@click.command(help=__doc__)
@click.option("--workers", default=2, show_default=True, help="Processes that share a batch.")
@click.option("--rounds", default=5, show_default=True, help="Turns of every variant.")
@click.option("--seconds", default=3.0, show_default=True, help="Time of one turn.")
@click.option("--cell", default="gru", show_default=True)
@click.option("--hidden", default=256, show_default=True)
@click.option("--layers", default=1, show_default=True)
@click.option("--attention", default="soft", show_default=True)
@click.option("--length", default=10, show_default=True, help="Symbols of source and target.")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--pin", is_flag=True, help="Each process on a core of its own, for a busy machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(*, rounds: int, seconds: float, pin: bool, as_json: bool, **sizes: Any) -> None:
    """Measure all variants in turns and print the table."""
    prepare_training()
    torch.set_num_threads(1)
    variants: dict[str, list[Turn]] = {}
    trainer = trainer_of(**sizes)
    group = trainer.group
    if group is None:
        raise click.UsageError("--workers is 1: there is nothing to compare")
    steps = trainer.steps(lambda _: 0.5)
    several = f"{sizes['workers']} processes"
    begun = Path("/proc/loadavg").read_text(encoding="ascii").split()[0]
    alone = partial(turn, group, steps, seconds=seconds, split=False)
    parts = partial(turn, group, steps, seconds=seconds, split=True)
    variants["one process in parts"] = [parts() for _ in range(rounds)]
    variants["one process"] = []
    variants[several] = []
    with group:
        group.ready(wait=True)
        if pin:
            own = sorted(os.sched_getaffinity(0))
            for number, process in enumerate([os.getpid(), *group.processes]):
                os.sched_setaffinity(process, {own[number % len(own)]})
        for _ in range(rounds):
            variants["one process"].append(alone())
            variants[several].append(parts())
    rows = [
        {
            "name": name,
            "examples/s": sizes["batch_size"] * 1000 / statistics.median(one.wall for one in found),
            "ms": statistics.median(one.wall for one in found),
            "least ms": min(one.wall for one in found),
            "cpu ms": statistics.median(one.used for one in found),
            "cpu ms of the busiest": statistics.median(one.busiest for one in found),
        }
        for name, found in variants.items()
    ]
    pairs = list(zip(variants["one process"], variants[several], strict=True))
    facts = {
        **sizes,
        "load before": float(begun),
        "gain": spread(one.wall / other.wall for one, other in pairs),
        "gain by processor time": spread(one.busiest / other.busiest for one, other in pairs),
        "rates": rows,
    }
    click.echo(json.dumps(facts) if as_json else table(facts))


def table(facts: dict[str, Any]) -> str:
    """The rates as a table in Markdown, and the gain of several processes."""
    names = list(facts["rates"][0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    for row in facts["rates"]:
        numbers = [f"{value:,.1f}" for value in list(row.values())[1:]]
        lines.append(" | ".join([row["name"], *numbers]))
    said = [
        f"{name}: {middle:.2f} ({least:.2f} to {most:.2f})"
        for name in facts
        if name.startswith("gain")
        for least, middle, most in [facts[name]]
    ]
    return "\n".join([*(f"| {line} |" for line in lines), "", *said])


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """The least, the median and the largest."""
    found = list(values)
    return min(found), statistics.median(found), max(found)


def trainer_of(
    *, workers: int, cell: str, hidden: int, layers: int, attention: str, length: int,
    batch_size: int,
) -> Trainer:  # fmt: skip
    """A trainer on random strings, whose batches are shared."""
    config = configure({"layers": layers, "cell": cell, "hidden": hidden, "attention": attention})
    rows = np.random.default_rng(0).integers(SPECIALS, SIZE, size=(2, 40 * batch_size, length))
    build = partial(factory.build, config, sources=SIZE, targets=SIZE)
    torch.manual_seed(0)
    return Trainer(
        build(),
        Batches(rows[0].tolist(), rows[1].tolist(), batch_size=batch_size),
        OptimizerSettings(),
        device=torch.device("cpu"),
        precision=choose_precision("auto", torch.device("cpu")),
        ranks=workers,
        build=build,
    )


class Turn(NamedTuple):
    """Milliseconds of a step."""

    wall: float
    """The median of the time that passes."""
    used: float
    """The mean of the processor time of all processes."""
    busiest: float
    """That of the process that has most."""


def turn(group: Group, steps: Iterator[Step], *, seconds: float, split: bool) -> Turn:
    """Steps for some seconds, shared or not."""
    group.split = split
    for _ in range(WARM_UP):
        next(steps)
    processes = [os.getpid(), *group.processes]
    before, begun = list(map(processor_seconds, processes)), time.perf_counter()
    marks = [begun]
    while marks[-1] - begun < seconds or len(marks) < WARM_UP:
        next(steps)
        marks.append(time.perf_counter())
    after = map(processor_seconds, processes)
    used = [
        1000 * (end - start) / (len(marks) - 1) for start, end in zip(before, after, strict=True)
    ]
    wall = statistics.median(end - start for start, end in pairwise(marks))
    return Turn(1000 * wall, sum(used), max(used))


def processor_seconds(process: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
