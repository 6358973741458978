"""Error rates of the default settings on the dev splits of public benchmarks.

BENCHMARKS is a folder with some of the sets below, each a folder with ``train.tsv`` and ``dev.tsv``
in its original form: pronunciation from SIGMORPHON 2021 task 1, transliteration from Dakshina,
inflection from SIGMORPHON 2023, old Slovene spelling from KonvNormSl. Missing sets are skipped.
Every set is trained by a command of its own, with the default settings, for the minutes in its row,
and scored with a 95 % interval. A finished run is not trained again. With an ensemble the minutes
are multiplied by its size.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click


class Benchmark(NamedTuple):
    """A set, its budget in minutes, and the roles of its columns."""

    name: str
    minutes: float
    columns: str = ""


FORMS, NAMES = "source,features,target", "target,source,weight"
BENCHMARKS = (
    Benchmark("g2p/hbs_latn", 3),
    Benchmark("g2p/eng_us", 15),
    *(Benchmark(f"g2p/{name}", 1) for name in ("ita", "slv", "wel_sw", "lav")),
    *(Benchmark(f"transliteration/{name}", 10, NAMES) for name in ("hi", "ta")),
    *(Benchmark(f"inflection/{name}", 4, FORMS) for name in ("eng", "ita", "swa", "hye")),
    Benchmark("normalisation/sl_bohoric", 8),
)


@click.command(help=__doc__)
@click.argument("benchmarks", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the runs.",
)
@click.option("--only", multiple=True, metavar="TEXT", help="Only sets whose names hold TEXT.")
@click.option("--ensemble", type=click.IntRange(1, 64), default=1, help="Members of each run.")
@click.option("--share", type=float, default=1.0, help="Share of the minutes.", show_default=True)
@click.option("--threads", type=click.IntRange(0), default=0, help="As for `charseq train`.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a set.")
def main(
    benchmarks: Path,
    runs: Path,
    only: tuple[str, ...],
    ensemble: int,
    share: float,
    threads: int,
    *,
    as_json: bool,
) -> None:
    """Train and score every set in the folder."""
    chosen = [one for one in BENCHMARKS if not only or any(text in one.name for text in only)]
    for one in chosen:
        folder = benchmarks / one.name
        if not folder.is_dir():
            click.echo(f"{folder} is not there", err=True)
            continue
        run = runs / one.name.replace("/", "-")
        minutes = one.minutes * ensemble * share
        options = [f"--minutes={minutes:g}", f"--ensemble={ensemble}", f"--threads={threads}"]
        if one.columns:
            options.append(f"--columns={one.columns}")
        if not (run / "about.json").exists() or not _finished(run):
            _charseq("train", str(folder), "-o", str(run), *options)
        scores = _charseq("evaluate", str(folder), "-m", str(run), "--split", "dev", "--json")
        facts = json.loads(scores)
        click.echo(json.dumps({"set": one.name, **facts}) if as_json else _row(one, facts))


def _charseq(*words: str) -> str:
    """Run a command of charseq; its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "charseq", *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def _finished(run: Path) -> bool:
    """Whether a run has ended its training."""
    return bool(json.loads((run / "about.json").read_text()).get("finished"))


def _row(one: Benchmark, facts: dict[str, Any]) -> str:
    """One line of the table."""
    low, high = facts["intervals"]["wer"]
    return (
        f"{one.name:<26} {facts['seconds'] / 60:5.1f} min  wer {facts['wer']:5.2f} %  "
        f"({low:.1f} to {high:.1f})  ser {facts['ser']:5.2f} %  n {facts['examples']:,}"
    )


if __name__ == "__main__":
    main()
