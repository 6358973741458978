"""The sha256 of short trainings and answers: run before and after a refactoring and compare.

Before it `scripts/fingerprint > before.txt`, after it `scripts/fingerprint --against before.txt`.

A refactoring changes no number, so both print the same lines. Each case trains a small network for
three epochs of 320 rows, 60 steps, and answers a few texts. Then the shipped models answer. Hashed
are the weights, metrics.jsonl, about.json and the answers, without times and versions.

Numbers are the same only on the same kind of processor, with the same libraries and the same
compiled kernels; the first line names the latter two. The script uses nothing but the command line,
so the modules of the two trees may differ. It takes about two minutes on one core.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("torch", "numpy", "safetensors", "sentencepiece")
CELLS = ("tanh", "residual", "gru", "lstm")
SETTINGS = ("hidden=32", "embedding=32", "batch_size=16", "evaluations=3", "epochs=3", "threads=1")
TRAIN_ROWS, DEV_ROWS = 320, 48
TEXTS, SHIPPED_TEXTS = 12, 200
"""Texts that a trained and a shipped model answer."""
ENDINGS = {"plural": "s", "past": "ed", "base": ""}
VARYING = ("seconds", "versions", "trained_at")
"""Keys of JSON whose values differ between two runs of the same code."""
OF_TEACHER = "teacher"
"""The key of a JSON object whose fingerprint is a hash of another run's times as well."""


@dataclass(frozen=True)
class Case:
    """One training: its data, options and settings."""

    name: str
    data: str
    words: tuple[str, ...] = ()
    kernels: str = "auto"
    start: str = ""
    """The case whose run this one starts from or learns from."""


def cases() -> Iterator[Case]:
    """Every training, after the one that it starts from."""
    for cell in CELLS:
        for attention in ("hard", "soft", "none"):
            words = (f"--cell={cell}", f"--attention={attention}")
            yield Case(f"{cell}-{attention}", "dates", words)
            if cell in ("gru", "lstm") and attention != "none":
                yield Case(f"{cell}-{attention}-numpy", "dates", words, kernels="off")
    hard = "--attention=hard"
    pairs: dict[str, tuple[str, ...]] = {
        "float32": (hard, "--set=precision=float32"),
        "two-layers": ("--set=layers=2",),
        "odd-sizes": (hard, "--set=hidden=21", "--set=embedding=19", "--set=tie_embeddings=false"),
        "forward": (hard, "--set=direction=forward", "--set=alignment_prior=false"),
        "subwords": ("--set=source_symbols=subwords", "--set=subword_size=380"),
        "ensemble": (hard, "--ensemble=2", "--cells=gru,lstm"),
    }
    yield from (Case(name, "dates", words) for name, words in pairs.items())
    yield Case("fine-tuned", "dates", (hard, "--init-from=runs/gru-hard"), start="gru-hard")
    yield Case("distilled", "dates", ("--distil-from=runs/ensemble",), start="ensemble")
    yield Case("features", "forms", ("--columns=source,features,target",))
    for cell in (*CELLS, "mlp"):
        yield Case(f"words-{cell}", "sentences", (f"--cell={cell}",))
    yield Case("words-numpy", "sentences", kernels="off")
    lines: dict[str, tuple[str, ...]] = {
        "words-stateful": ("--set=stateful=true", "--set=segment=12"),
        "words-sampled": ("--set=sampled_softmax=50",),
        "words-characters": ("--set=units=characters",),
    }
    yield from (Case(name, "sentences", words) for name, words in lines.items())


@click.command(help=__doc__)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Print only what differs from this earlier output; exit code 1 if anything does.",
)
@click.option("--only", multiple=True, metavar="CASE", help="Only this case, and no shipped model.")
@click.option("--seed", default=1, show_default=True, help="Seed of every training.")
def main(*, against: Path | None, only: tuple[str, ...], seed: int) -> None:
    """Print the hashes, or how they differ from earlier ones."""
    chosen = choose(only)
    wanted = {} if against is None else read(against)
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        for line, value in fingerprints(Path(name), chosen, seed, shipped=not only):
            found[line] = value
            if against is None:
                click.echo(f"{line} {value}")
    if against is not None:
        different = differences(wanted, found, complete=not only)
        click.echo("".join(f"{line}\n" for line in different), nl=False)
        sys.exit(bool(different))


def choose(only: tuple[str, ...]) -> list[Case]:
    """The cases of these names and those that they start from; all cases where there is no name."""
    known = {case.name: case for case in cases()}
    if unknown := [name for name in only if name not in known]:
        raise click.UsageError(f"no case {unknown[0]}, expected one of {', '.join(known)}")
    wanted = set(only or known)
    wanted |= {known[name].start for name in wanted}
    return [case for case in known.values() if case.name in wanted]


def fingerprints(
    folder: Path, chosen: list[Case], seed: int, *, shipped: bool
) -> Iterator[tuple[str, str]]:
    """Name and value of every line; runs are made in ``folder``."""
    yield "environment", environment()
    write_data(folder)
    for case in chosen:
        charseq(folder, *training(case, seed), kernels=case.kernels)
        run = folder / "runs" / case.name
        yield f"{case.name} weights", sha256((run / "model.safetensors").read_bytes())
        for name in ("metrics.jsonl", "about.json"):
            yield f"{case.name} {name}", sha256_of_json((run / name).read_text(encoding="utf-8"))
        texts = (folder / "data" / case.data / "texts").read_text(encoding="utf-8")
        words = ["predict", "--json", "-n2", "-m", f"runs/{case.name}"]
        told = charseq(folder, *words, texts=texts, kernels=case.kernels)
        yield f"{case.name} answers", sha256_of_json(told)
    if shipped:
        yield from of_shipped(folder)


def training(case: Case, seed: int) -> list[str]:
    """The command line of a case; its own settings stand in place of the usual ones."""
    words = ["train", f"data/{case.data}", "-o", f"runs/{case.name}", f"--seed={seed}", "-q"]
    own = {setting_of(word) for word in case.words}
    usual = [f"--set={setting}" for setting in SETTINGS]
    return [*words, *(word for word in usual if setting_of(word) not in own), *case.words]


def setting_of(word: str) -> str:
    """``--set=hidden=32`` -> ``--set=hidden``."""
    return word.rpartition("=")[0]


def of_shipped(folder: Path) -> Iterator[tuple[str, str]]:
    """The answers of the models that come with charseq, by the compiled kernels and by NumPy."""
    for name, data in (("dates", "test.tsv"), ("sentences", "sentences/test.txt")):
        texts = "".join(f"{text}\n" for text in first_column(ROOT / "data" / data, SHIPPED_TEXTS))
        words = ["predict", "--json", "-n3", "-m", str(ROOT / "checkpoints" / name)]
        for kernels in ("auto", "off"):
            told = charseq(folder, *words, texts=texts, kernels=kernels)
            yield f"shipped-{name} answers, kernels {kernels}", sha256_of_json(told)


def environment() -> str:
    """Python, libraries, and whether the kernels are compiled: last bits depend on them."""
    compiled = any((ROOT / "charseq").rglob("kernels*.so"))
    libraries = [f"{name}={version(name)}" for name in LIBRARIES]
    facts = [f"python={platform.python_version()}", f"kernels={'compiled' if compiled else 'none'}"]
    return ",".join([platform.machine(), *facts, *libraries])


def write_data(folder: Path) -> None:
    """The first rows of data/, and pairs with features that are made of its words."""
    for part, rows in (("train", TRAIN_ROWS), ("dev", DEV_ROWS)):
        dates = lines_of(ROOT / "data" / f"{part}.tsv", rows)
        sentences = lines_of(ROOT / "data" / "sentences" / f"{part}.txt", rows)
        words = sorted({word for line in sentences for word in line.lower().split()})[:rows]
        tags = [list(ENDINGS)[k % len(ENDINGS)] for k in range(len(words))]
        forms = [
            f"{word}\t{tag}\t{word}{ENDINGS[tag]}" for word, tag in zip(words, tags, strict=True)
        ]
        write_lines(folder / "data" / "dates" / f"{part}.tsv", dates)
        write_lines(folder / "data" / "sentences" / f"{part}.txt", sentences)
        write_lines(folder / "data" / "forms" / f"{part}.tsv", forms)
    texts = {
        "dates": [row.split("\t")[0] for row in dates],
        "sentences": [line.rpartition(" ")[0] for line in sentences],
        "forms": [row.rpartition("\t")[0] for row in forms],
    }
    for name, asked in texts.items():
        write_lines(folder / "data" / name / "texts", asked[:TEXTS])


def lines_of(path: Path, count: int) -> list[str]:
    """The first lines of a file."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [line.removesuffix("\n") for line in islice(file, count)]


def first_column(path: Path, count: int) -> list[str]:
    """The first column of the first lines."""
    return [line.split("\t")[0] for line in lines_of(path, count)]


def write_lines(path: Path, lines: list[str]) -> None:
    """A file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    path.write_text(text, encoding="utf-8", newline="\n")


def charseq(folder: Path, *words: str, texts: str = "", kernels: str) -> str:
    """Standard output of a command of this tree, run in ``folder``."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CHARSEQ_")}
    done = subprocess.run(
        [sys.executable, "-m", "charseq", *words],
        cwd=folder,
        env={**kept, "CHARSEQ_KERNELS": kernels, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        input=texts,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"charseq {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def sha256(content: bytes) -> str:
    """The hash as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_json(text: str) -> str:
    """The hash of one or more JSON values, whatever the order of their keys, without times."""
    decoder, values, place = json.JSONDecoder(object_hook=without_times), [], 0
    while rest := text[place:].lstrip():
        value, length = decoder.raw_decode(rest)
        values.append(value)
        place = len(text) - len(rest) + length
    return sha256(json.dumps(values, sort_keys=True).encode())


def without_times(values: dict[str, Any]) -> dict[str, Any]:
    """An object without the keys whose values differ from run to run."""
    varying = (*VARYING, "fingerprint") if OF_TEACHER in values else VARYING
    return {name: value for name, value in values.items() if name not in varying}


def read(path: Path) -> dict[str, str]:
    """The lines of an earlier output, name -> value."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].startswith("environment "):
        raise click.ClickException(f"{path}: no output of this script, which begins: environment")
    return dict(line.rsplit(" ", 1) for line in lines)


def differences(wanted: dict[str, str], found: dict[str, str], *, complete: bool) -> list[str]:
    """A line for each name whose value differs, and where ``complete`` for each that is missing."""
    told = []
    for name, value in found.items():
        if name not in wanted:
            told.append(f"{name}: new")
        elif wanted[name] != value:
            told.append(f"{name}: {wanted[name]} -> {value}")
    return told + [f"{name}: missing" for name in wanted if complete and name not in found]


if __name__ == "__main__":
    main()
