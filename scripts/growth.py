"""Growth of time and memory with the number of rows, the length of texts, the set of symbols.

Every point is measured in a process of its own, on one thread: seconds of processor time and peak
memory (pages of mapped files count as long as the system leaves them in memory).

    rows      read: all of a training before its first step; check; convert, of running text
    length    the same number of symbols in longer and longer texts: before the first step, a step
              of training, an answer
    symbols   the same texts, written with more and more different symbols

Data are artificial: words of 4 to 14 letters and the same in capitals; running text is drawn from
5,000 words with the frequencies of a natural text (Zipf).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ROWS = [10**power for power in range(3, 8)]
LENGTHS = [10, 30, 100, 300, 1000, 2000]
SYMBOLS = [30, 300, 3000, 10_000, 50_000]
LEXICON = 5000
BLOCK = 100_000
TOTAL = 40_000
"""Symbols of all sources together (rows times length) where the length grows."""
ROWS_OF_SYMBOLS = 4000
"""Rows of 10 symbols each where the set of symbols grows; they can hold up to 40,000 symbols."""
BATCH = 16
SECONDS = 1.0
"""A shorter call is repeated until so many seconds have passed."""
PANELS = {
    "rows": ("read", "check", "convert"),
    "length": ("before the first step", "step", "answer"),
    "symbols": ("before the first step", "step", "answer"),
}
NAMES = {"rows": "rows", "length": "symbols in a text", "symbols": "different symbols"}

Point = dict[str, Any]


@click.command(help=__doc__)
@click.option("--most-rows", default=ROWS[-1], show_default=True)
@click.option("--most-length", default=LENGTHS[-1], show_default=True)
@click.option("--most-symbols", default=SYMBOLS[-1], show_default=True)
@click.option("--only", type=click.Choice(list(PANELS)), help="One of the three.")
@click.option("--plot", metavar="FILE", help="Draw it, as .png or .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--case", hidden=True, help="Measure one point, in this process.")
def main(
    *,
    most_rows: int,
    most_length: int,
    most_symbols: int,
    only: str | None,
    plot: str | None,
    as_json: bool,
    case: str | None,
) -> None:
    """Measure all points and print the table."""
    if case is not None:
        click.echo(json.dumps(measure(**json.loads(case))))
        return
    limits = {"rows": most_rows, "length": most_length, "symbols": most_symbols}
    points: list[Point] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, sizes in (("rows", ROWS), ("length", LENGTHS), ("symbols", SYMBOLS)):
            if only in (None, what):
                make = by_rows(folder) if what == "rows" else by_texts(folder, what)
                for size in (size for size in sizes if size <= limits[what]):
                    for point in make(size):
                        points.append({"by": what, "size": size, **point})
                        click.echo(json.dumps(points[-1]), err=True)
    facts = {"machine": f"{platform.machine()}, {platform.system()}", "points": points}
    click.echo(json.dumps(facts) if as_json else table(points))
    if plot is not None:
        draw(plot, points)


def by_rows(folder: Path) -> Callable[[int], Iterator[Point]]:
    """Points of the number of rows: read, check, convert."""
    program = str(Path(sys.executable).with_name("charseq"))
    run = folder / "run"
    write_pairs(folder / "few.tsv", 2000)
    small = ("--set", "hidden=64", "--set", "embedding=32", "--epochs", "1", "--threads", "1")
    command = [program, "train", str(folder / "few.tsv"), "-o", str(run), "-q", *small]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def make(rows: int) -> Iterator[Point]:
        pairs, text, out = (folder / name for name in ("pairs.tsv", "text.txt", "out.txt"))
        write_pairs(pairs, rows)
        yield {"stage": "read", **child(case(kind="read", data=str(pairs)))}
        yield {"stage": "check", **child([program, "check", str(pairs)])}
        pairs.unlink()
        write_text(text, rows)
        words = [program, "convert", str(text), "-m", str(run), "-o", str(out), "--force", "-q"]
        yield {"stage": "convert", **child(words)}
        text.unlink()
        out.unlink()

    return make


def by_texts(folder: Path, what: str) -> Callable[[int], Iterator[Point]]:
    """Points of the length of texts, or of the set of symbols: preparation, step, answer."""

    def make(size: int) -> Iterator[Point]:
        random = np.random.default_rng(1)
        length, symbols = (size, len(LETTERS)) if what == "length" else (10, size)
        rows = max(2 * BATCH, TOTAL // length) if what == "length" else ROWS_OF_SYMBOLS
        spelt = random.permutation(np.arange(max(rows * length, symbols)) % symbols)
        path = folder / "texts.tsv"
        with path.open("w", encoding="utf-8") as file:
            for row in np.resize(spelt, (rows, length)).tolist():
                text = "".join(map(letter, row))
                file.write(f"{text}\t{text}\n")
        told = child(case(kind="texts", data=str(path)))
        stages = {name: told.pop(name) for name in PANELS[what]}
        for stage, seconds in stages.items():
            yield {**told, "stage": stage, "seconds": seconds}

    return make


def measure(kind: str, data: str) -> Point:
    """Measure one point in this process; seconds are its processor time."""
    import charseq.training.trainer  # noqa: F401 - loads torch before the clock runs
    from charseq.config import configure
    from charseq.training.pairs import PairsTask

    asked = {"device": "cpu", "threads": 1, "batch_size": BATCH if kind == "texts" else 64}
    begun = time.process_time()
    task = PairsTask(data, configure(asked))
    trainer = task.trainer()
    first = next(steps := trainer.steps(lambda number: min(0.9, number / 100)))
    spent = time.process_time() - begun
    facts: Point = {"anonymous": anonymous(), "loss": first.loss, "rows": task.counts["train"]}
    facts["attention"] = task.config.attention
    if kind == "read":
        return {**facts, "seconds": spent}
    stepping = repeated(lambda: next(steps))
    # as many texts as are computed side by side, and the same for each size
    dataset = task.prepared.dataset
    task.prepared = replace(task.prepared, dataset=replace(dataset, dev=dataset.train[:BATCH]))
    weights = task.publish(trainer.averaged())
    answering = repeated(lambda: task.score(weights)) / BATCH
    return {**facts, "before the first step": spent, "step": stepping, "answer": answering}


def repeated(call: Callable[[], object]) -> float:
    """Processor seconds of a call, from as many as fit into ``seconds``, at least two."""
    count, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < SECONDS or count < 2:
        call()
        count += 1
    return spent / count


def child(command: list[str]) -> Point:
    """Run a process: its JSON from stdout, its processor seconds, its peak memory in megabytes."""
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise click.ClickException(f"{command} ended with {process.returncode}")
        told.seek(0)
        last = told.read().decode().strip().split("\n")[-1]
    facts = {"seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss / 1024}
    return {**facts, **json.loads(last)} if last.startswith("{") else facts


def case(**facts: str) -> list[str]:
    """The command that measures one point."""
    return [sys.executable, __file__, "--case", json.dumps(facts)]


def anonymous() -> float:
    """Megabytes of anonymous memory, if the system has this number."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").split("\n")
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def letter(number: int) -> str:
    """A letter by its number; Unicode decomposes none of them."""
    if number < len(LETTERS):
        return LETTERS[number]
    return chr(0x4E00 + number) if number < 20_000 else chr(0x20000 + number)


def write_pairs(path: Path, rows: int) -> None:
    """Write random words and the same in capitals."""
    random = np.random.default_rng(1)
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, rows, BLOCK):
            words = draw_words(random, min(BLOCK, rows - first))
            file.writelines(f"{word}\t{word.upper()}\n" for word in words)


def write_text(path: Path, rows: int) -> None:
    """Write running text: random words with repetitions, one a line."""
    random = np.random.default_rng(2)
    words = np.array(draw_words(random, LEXICON))
    chances = 1 / np.arange(1, LEXICON + 1)
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, rows, BLOCK):
            drawn = random.choice(LEXICON, size=min(BLOCK, rows - first), p=chances / chances.sum())
            file.writelines(f"{word}\n" for word in words[drawn].tolist())


def draw_words(random: np.random.Generator, count: int) -> list[str]:
    """Random words of 4 to 14 letters."""
    letters = random.integers(len(LETTERS), size=(count, 14), dtype=np.uint8) + ord("a")
    lengths = random.integers(4, 15, size=count).tolist()
    text = letters.tobytes().decode()
    return [text[14 * row : 14 * row + length] for row, length in enumerate(lengths)]


def table(points: list[Point]) -> str:
    """A row for each point."""
    lines = [f"{'':22}{'':>10}{'seconds':>12}{'per unit':>14}{'MB':>8}"]
    for point in points:
        unit = f"{1e6 * point['seconds'] / point['size']:,.2f} µs"
        lines.append(
            f"{point['stage']:22}{point['size']:10,} {point['by']:7}{point['seconds']:10.3f}"
            f"{unit:>14}{point['megabytes']:8,.0f}"
        )
    return "\n".join(lines)


def draw(path: str, points: list[Point]) -> None:
    """Draw time above memory, with a column for rows, length and symbols."""
    import line_plots

    units = {"seconds": "seconds of processor time", "megabytes": "most memory, MB"}
    shown = []
    for key, label in units.items():
        for what, stages in PANELS.items():
            # all stages but the first share a process, so its memory is drawn once
            wanted = stages if key == "seconds" or what == "rows" else stages[:1]
            lines = {}
            for stage in wanted:
                found = [p for p in points if (p["by"], p["stage"]) == (what, stage)]
                if found:
                    lines[stage] = [p["size"] for p in found], [p[key] for p in found]
            if lines:
                shown.append(line_plots.Panel(lines, NAMES[what], label))
    title = "Time and memory against the size of the data"
    line_plots.panels(path, shown, columns=len({p["by"] for p in points}), title=title)


if __name__ == "__main__":
    main()
