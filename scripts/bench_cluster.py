"""Benchmark of conversion engines: start-up and rows a second of processes and of Ray's workers.

    python scripts/bench_cluster.py                        the model of dates, about five minutes
    python scripts/bench_cluster.py --rows 50000 --rounds 5

Every variant is the command ``charseq convert`` on the same files of JSON Lines, with a small and a
large number of different rows, in turns. The time of a command is a straight line over the rows:
its slope is the time of a row, and its value at no rows is the start-up. Medians of all rounds.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent
MONTHS = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
SMALL = 8
"""The large number of rows is so many times the small one."""
VARIANTS = {
    "one process": ("--jobs", "1"),
    "two processes": ("--jobs", "2"),
    "Ray, one worker": ("--engine", "ray", "--jobs", "1"),
    "Ray, two workers": ("--engine", "ray", "--jobs", "2"),
}


@click.command(help=__doc__)
@click.option("-m", "--model", default="dates", show_default=True)
@click.option("--rows", default=32_000, show_default=True, help="Rows of the large folder.")
@click.option("--files", default=8, show_default=True, help="Files of a folder.")
@click.option("--rounds", default=3, show_default=True, help="Turns of every variant.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(*, model: str, rows: int, files: int, rounds: int, as_json: bool) -> None:
    """Measure all variants in turns and print the table."""
    wanted = {
        name: words for name, words in VARIANTS.items() if find_spec("ray") or "ray" not in words
    }
    load = Path("/proc/loadavg").read_text(encoding="ascii").split()[0]
    times: dict[str, dict[int, list[float]]] = {
        name: {count: [] for count in (rows // SMALL, rows)} for name in wanted
    }
    with tempfile.TemporaryDirectory(prefix="charseq-bench-") as top:
        for count in (rows // SMALL, rows):
            write(Path(top) / str(count), count, files)
        for _ in range(rounds):
            for name, words in wanted.items():
                for count, found in times[name].items():
                    found.append(spent(Path(top), count, model, words))
    facts = {name: line(found) for name, found in times.items()}
    if as_json:
        click.echo(json.dumps({"load": load, "rows": rows, "variants": facts}))
        return
    click.echo(f"{rows:,} rows in {files} files, {rounds} rounds; load at the start {load}")
    click.echo("variant           start-up   rows/s   a million rows")
    for name, one in facts.items():
        million = one["start"] + 1e6 / one["rate"]
        click.echo(f"{name:17} {one['start']:6.1f} s {one['rate']:8,.0f} {million / 60:10.1f} min")


def write(folder: Path, count: int, files: int) -> None:
    """Different dates, in so many files."""
    folder.mkdir()
    draw, texts = random.Random(count), set[str]()
    while len(texts) < count:
        month = draw.choice(MONTHS.split())
        texts.add(f"{draw.randint(1, 28)}. {month} {draw.randint(1, 4000)}")
    listed = sorted(texts)
    draw.shuffle(listed)
    for number in range(files):
        rows = (json.dumps({"text": text}, ensure_ascii=False) for text in listed[number::files])
        (folder / f"{number}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def spent(top: Path, count: int, model: str, words: tuple[str, ...]) -> float:
    """Seconds of one command."""
    source, out = top / str(count), top / "out"
    inputs = [source] if "ray" in words else sorted(source.iterdir())
    out.mkdir()
    command = [sys.executable, "-m", "charseq", "convert", "-q", *map(str, inputs)]
    begun = time.monotonic()
    subprocess.run([*command, "-o", str(out), "-m", model, *words], cwd=ROOT, check=True)
    seconds = time.monotonic() - begun
    shutil.rmtree(out)
    return seconds


def line(times: dict[int, list[float]]) -> dict[str, Any]:
    """Start-up in seconds and rows a second, from the times of two numbers of rows."""
    (few, small), (many, large) = ((n, statistics.median(all_)) for n, all_ in times.items())
    rate = (many - few) / max(large - small, 1e-9)
    return {"rate": rate, "start": small - few / rate, "seconds": {few: small, many: large}}


if __name__ == "__main__":
    main()
