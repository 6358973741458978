"""Benchmark of processes that share each batch: steps of one process and of several, in turns.

    python scripts/bench_workers.py                    the default network on strings of 10 symbols
    python scripts/bench_workers.py --length 24 --cell lstm --workers 2 --rounds 7

One trainer takes all steps, so the variants differ in nothing but who computes. "in parts" is one
process that computes the parts of all: the price of smaller parts. CPU is the processor time of all
processes for a step; where it grows in a turn, other work was on the same cores.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

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
    variants: dict[str, list[tuple[float, float]]] = {}
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
            "examples/s": sizes["batch_size"] * 1000 / statistics.median(wall for wall, _ in found),
            "ms": statistics.median(wall for wall, _ in found),
            "least ms": min(wall for wall, _ in found),
            "cpu ms": statistics.median(cpu for _, cpu in found),
            "least cpu ms": min(cpu for _, cpu in found),
        }
        for name, found in variants.items()
    ]
    pairs = zip(variants["one process"], variants[several], strict=True)
    gains = [one[0] / other[0] for one, other in pairs]
    facts = {
        **sizes,
        "load before": float(begun),
        "gain": statistics.median(gains),
        "lowest": min(gains),
        "highest": max(gains),
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
    said = (
        f"{facts['gain']:.2f} times one process ({facts['lowest']:.2f} to {facts['highest']:.2f})"
    )
    return "\n".join([*(f"| {line} |" for line in lines), "", said])


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


def turn(
    group: Group, steps: Iterator[Step], *, seconds: float, split: bool
) -> tuple[float, float]:
    """Milliseconds of a step: the median of the time that passes, the mean of the processors'."""
    group.split = split
    for _ in range(WARM_UP):
        next(steps)
    processes = [os.getpid(), *group.processes]
    used, begun = sum(map(processor_seconds, processes)), time.perf_counter()
    marks = [begun]
    while marks[-1] - begun < seconds or len(marks) < WARM_UP:
        next(steps)
        marks.append(time.perf_counter())
    used = sum(map(processor_seconds, processes)) - used
    wall = statistics.median(end - start for start, end in pairwise(marks))
    return 1000 * wall, 1000 * used / (len(marks) - 1)


def processor_seconds(process: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
