"""Benchmark of training, decoding and start-up on this machine, beside the ceiling of a core.

All variants take turns for several rounds, and the median of each is printed, since the speed of a
laptop varies. Texts are random: 10 source and 10 target symbols of 40, hidden 256, embedding 128.

"in torch" is training without the compiled library; "by autograd" is that with recurrences as loops
of single steps, differentiated by autograd; "by NumPy" is a search without the library. The ratios
are the gains over them.

The share of the ceiling counts matrix products alone. For a training step (forward, and twice that
backward) the ceiling is the fastest product that this run measured in the format of training; for a
search it is the rate of the product that the search uses.
"""

from __future__ import annotations

import atexit
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from charseq.config import CELLS, configure, defaults
from charseq.data.batches import Batches, LineBatches
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS, SPECIALS
from charseq.decoding import next_word_numpy
from charseq.decoding import search as decoding
from charseq.decoding.seq2seq_native import NativeSeq2Seq
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq
from charseq.errors import SettingError
from charseq.kernels import library as kernels
from charseq.kernels import matmul
from charseq.kernels.cell_table import CELLS as CELL_TABLE
from charseq.kernels.layout import VECTOR
from charseq.models import factory
from charseq.models.device import choose_precision, choose_threads
from charseq.models.rnn import Permute, Recurrence
from charseq.process import keep_memory
from charseq.training.trainer import OptimizerSettings, Trainer

LENGTH, SYMBOLS = 10, 40
HEAD = 44
FORMS = (" in torch", " by autograd", " by NumPy")
LARGE = 512
LIBRARIES = ("numpy float32", "torch float32", "torch bfloat16", "library bfloat16", "kernels")
WORDS, TYPED = 11, 20
SIZE = SPECIALS + SYMBOLS
Measure = Callable[[], float]


@click.command(help=__doc__)
@click.option("--threads", default=1, show_default=True, help="Threads of torch.")
@click.option("--rounds", default=5, show_default=True, help="Turns of every variant.")
@click.option("--seconds", default=2.0, show_default=True, help="Time of one turn.")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--hidden", default=256, show_default=True)
@click.option(
    "--device",
    type=click.Choice(("cpu", "cuda")),
    default="cpu",
    show_default=True,
    help="cuda: rates of a GPU, at several sizes of a batch.",
)
@click.option("--only", default="", help="Only variants whose name contains this.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    *,
    threads: int,
    rounds: int,
    seconds: float,
    batch_size: int,
    hidden: int,
    device: str,
    only: str,
    as_json: bool,
) -> None:
    """Measure all variants in turns and print the table."""
    if device == "cuda":
        how = {"rounds": rounds, "seconds": seconds, "hidden": hidden, "only": only}
        click.echo(on_gpu(how, as_json=as_json))
        return
    choose_threads(threads)
    keep_memory()
    precision = choose_precision("auto", torch.device("cpu"))
    makers: dict[str, tuple[str, Callable[[], Measure]]] = {}
    for library in LIBRARIES:
        make = partial(ceiling, library, batch_size, hidden, seconds / 4)
        makers[f"product {library}"] = "GFLOP/s", make
    for cell in CELLS:
        for name, kind in (("train", training), ("recurrence", recurrence)):
            make = partial(kind, cell, hidden, batch_size, seconds)
            makers[f"{name} {cell}"] = "examples/s", make
            makers[f"{name} {cell} in torch"] = "examples/s", partial(uncompiled, make)
            plain = partial(uncompiled, partial(make, step_by_step=True))
            makers[f"{name} {cell} by autograd"] = "examples/s", plain
    for name, what in searches(batch_size).items():
        make = partial(search, hidden=hidden, seconds=seconds, **what)
        makers[name] = "words/s", make
        plain = partial(uncompiled, partial(make, compiled=False))
        makers[f"{name} by NumPy"] = "words/s", plain
    for words, samples in ((15_000, 0), (15_000, 2000), (50_000, 2000)):
        make = partial(reading, words, samples, batch_size, seconds)
        makers[f"next word, {words:,}, {samples or 'all'}"] = "words/s", make
    makers["next word, 15,000, latency"] = "s", partial(typing, 15_000)
    makers["charseq --help"] = "s", partial(starting, "--help")
    makers["charseq predict x"] = "s", partial(starting, "predict", "x")
    names = [name for name in makers if only in name]
    if any(name.startswith(("train ", "greedy ", "beam ")) for name in names):
        names += [name for name in makers if name.startswith("product ") and name not in names]
    chosen = {name: (makers[name][0], makers[name][1]()) for name in names}
    found: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, (_, measure) in chosen.items():
            found[name].append(measure())
    facts: dict[str, Any] = {
        "machine": f"{processor()}, {platform.system()}",
        "threads": threads,
        "precision": str(precision).removeprefix("torch."),
        "batch_size": batch_size,
        "hidden": hidden,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "kernels": level(),
    }
    rows = [
        {
            "name": name,
            "median": statistics.median(values),
            "lowest": min(values),
            "highest": max(values),
            "unit": chosen[name][0],
        }
        for name, values in found.items()
    ]
    facts["ratios"] = ratios(found)
    facts["shares"] = shares(rows, hidden, facts["precision"])
    click.echo(json.dumps({**facts, "rates": rows}) if as_json else table(facts, rows))


def on_gpu(how: dict[str, Any], *, as_json: bool) -> str:
    """The rates of a GPU (bench_gpu.py); one line if there is none."""
    import bench_gpu

    try:
        facts, rows = bench_gpu.measure(**how)
    except SettingError as error:
        raise click.ClickException(str(error)) from error
    return json.dumps({**facts, "rates": rows}) if as_json else bench_gpu.table(facts, rows)


def ratios(found: dict[str, list[float]]) -> dict[str, float]:
    """Gains over the slower forms: medians of the ratios of each round, which vary least."""
    pairs = {
        f"{name} over{form}": (values, found[name + form])
        for name, values in found.items()
        for form in FORMS
        if name + form in found
    }
    return {
        name: round(statistics.median(a / b for a, b in zip(fast, slow, strict=True)), 2)
        for name, (fast, slow) in pairs.items()
    }


def shares(rows: list[dict[str, Any]], hidden: int, precision: str) -> dict[str, float]:
    """Percent of the fastest product in the format of training, by cell."""
    medians = {row["name"]: row["median"] for row in rows}
    ceilings = [
        rate for name, rate in medians.items() if name.startswith("product") and precision in name
    ]
    found = {
        f"train {cell}": 100 * billions(cell, hidden) * medians[f"train {cell}"] / max(ceilings)
        for cell in CELLS
        if f"train {cell}" in medians and ceilings
    }
    for name, what in searches(0).items():
        for form, product in (("", "kernels"), (" by NumPy", "numpy float32")):
            rate, highest = medians.get(name + form), medians.get(f"product {product}")
            if rate and highest:
                work = searched(what["cell"], hidden, what["width"], what["attention"])
                found[name + form] = 100 * work * rate / highest
    return {name: round(part, 1) for name, part in found.items()}


def billions(cell: str, hidden: int) -> float:
    """Floating-point operations of the products of one example's training, in 10^9."""
    config = configure({"cell": cell, "hidden": hidden})
    wide, embedding = CELL_TABLE[cell].gates * hidden, config.embedding
    written = LENGTH + 1
    macs = (
        (2 * LENGTH + written) * (embedding + hidden) * wide  # both readers and the writer
        + 2 * hidden * hidden  # the bridge
        + LENGTH * 2 * hidden * (hidden + embedding)  # keys and values
        + written * LENGTH * (hidden + embedding)  # scores and contexts
        + written * embedding * (hidden + SIZE)  # readout and logits
    )
    return 2 * 3 * macs / 1e9


def searches(batch_size: int) -> dict[str, dict[str, Any]]:
    """Variants of decoding: soft attention, and for two cells hard attention or large batches."""
    found = {}
    for cell in CELLS:
        for name, width in (("greedy", 1), ("beam 5", 5)):
            what = {"cell": cell, "width": width, "attention": "soft", "batch_size": batch_size}
            found[f"{name} {cell}"] = what
            if cell in ("gru", "lstm"):
                found[f"{name} {cell}, hard"] = {**what, "attention": "hard"}
                found[f"{name} {cell}, {LARGE}"] = {**what, "batch_size": LARGE}
                both = {"attention": "hard", "batch_size": LARGE}
                found[f"{name} {cell}, hard, {LARGE}"] = {**what, **both}
    return found


def searched(cell: str, hidden: int, width: int, attention: str) -> float:
    """Floating-point operations of the products of one word's search, in 10^9."""
    wide, embedding = CELL_TABLE[cell].gates * hidden, configure({}).embedding
    written, hard = width * (LENGTH + 1), attention == "hard"
    places, symbols = LENGTH + hard, Actions(SIZE).size if hard else SIZE
    macs = (
        2 * places * hidden * wide  # both readers; what they read are rows of a table
        + (2 if cell == "lstm" else 1) * 2 * hidden * hidden  # the bridge
        + written * (hidden * wide + embedding * (hidden + symbols))
    )
    if hard:
        macs += places * embedding * (4 * hidden + wide)  # what is heard and said at each place
    else:
        macs += (places * 2 * hidden + written * places) * (hidden + embedding)
    return 2 * macs / 1e9


def level() -> str:
    """The level of the compiled kernels in use."""
    found = kernels.find()
    return "none" if found is None else found.level


def table(facts: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Facts of the machine on one line, then a row for each variant."""
    gains, parts = facts.pop("ratios"), facts.pop("shares")
    lines = [", ".join(f"{name} {value}" for name, value in facts.items())]
    lines.append(f"{'':{HEAD}}{'median':>10}{'lowest':>10}{'highest':>10}")
    for row in rows:
        digits = 4 if row["unit"] == "s" else 0
        numbers = "".join(f"{row[key]:10,.{digits}f}" for key in ("median", "lowest", "highest"))
        lines.append(f"{row['name']:{HEAD}}{numbers}  {row['unit']}")
    lines += [f"{name:{HEAD}}{gain:10.2f} times" for name, gain in gains.items()]
    lines += [f"{name:{HEAD}}{part:10.1f} % of the ceiling" for name, part in parts.items()]
    return "\n".join(lines)


def ceiling(library: str, batch: int, hidden: int, seconds: float) -> Measure:
    """GFLOP/s of the product of a GRU step, by one library."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((3 * hidden, hidden), dtype=np.float32)
    work = 2 * batch * hidden * 3 * hidden / 1e9
    if library == "numpy float32":
        blocks = random.standard_normal((-(-batch // 16), hidden, 16), dtype=np.float32)
        return repeated(lambda: np.matmul(weight, blocks), work, seconds)
    if library == "kernels":
        found = kernels.find()
        if found is None or hidden % VECTOR:
            return lambda: 0.0
        packed, lines = found.pack(weight), random.standard_normal((batch, hidden), dtype="f4")
        return repeated(lambda: found.product(packed, lines), work, seconds)
    kind = torch.float32 if library == "torch float32" else torch.bfloat16
    rows = torch.from_numpy(random.standard_normal((batch, hidden), dtype=np.float32)).to(kind)
    matrix = torch.from_numpy(weight.T.copy()).to(kind)
    if library == "library bfloat16":
        if not matmul.available():
            return lambda: 0.0
        out = torch.empty(batch, 3 * hidden)
        return repeated(lambda: matmul.multiply(rows, matrix, out), work, seconds)
    return repeated(lambda: rows @ matrix, work, seconds)


def uncompiled(make: Callable[[], Measure]) -> Measure:
    """A measure that runs without the compiled library."""
    measure = make()

    def without() -> float:
        before = os.environ.get(kernels.VARIABLE)
        os.environ[kernels.VARIABLE] = "off"
        kernels.find.cache_clear()
        try:
            return measure()
        finally:
            del os.environ[kernels.VARIABLE]
            if before is not None:
                os.environ[kernels.VARIABLE] = before
            kernels.find.cache_clear()

    return without


class StepByStep(Recurrence):
    """A recurrence as loops of single steps, input products included, under autograd.

    The plain implementation that the benchmark compares with.
    """

    compiled = False

    def run_layer(
        self, cells: Sequence[Any], inputs: Tensor, order: Tensor | None, start: Tensor
    ) -> Tensor:
        """K D T B H, as in :class:`Recurrence`."""
        read = [inputs] if order is None else [inputs, Permute.apply(inputs, order)]
        found = []
        for direction, (cell, given) in enumerate(zip(cells, read, strict=True)):
            state, states = start[:, direction], []
            for one in given:
                state = cell(cell.project(one), state)
                states.append(state)
            found.append(torch.stack(states, dim=1))
        return torch.stack(found, dim=1)


def training(
    cell: str, hidden: int, batch_size: int, seconds: float, *, step_by_step: bool = False
) -> Measure:
    """Examples per second of whole steps: batch, loss, gradient, AdamW, average."""
    config = configure({"layers": 1, "cell": cell, "hidden": hidden})
    random = np.random.default_rng(0)
    rows = random.integers(SPECIALS, SIZE, size=(2, 40 * batch_size, LENGTH)).tolist()
    torch.manual_seed(0)
    model = factory.build(config, sources=SIZE, targets=SIZE)
    if step_by_step:
        for part in (model.encoder, model.decoder):
            part.__class__ = StepByStep
    trainer = Trainer(
        model,
        Batches(rows[0], rows[1], batch_size=batch_size),
        OptimizerSettings(),
        device=torch.device("cpu"),
        precision=choose_precision("auto", torch.device("cpu")),
    )
    steps = trainer.steps(lambda _: 0.5)
    return repeated(lambda: next(steps), batch_size, seconds)


def recurrence(
    cell: str, hidden: int, batch_size: int, seconds: float, *, step_by_step: bool = False
) -> Measure:
    """Examples per second of one direction alone, forward and back, in training's precision."""
    torch.manual_seed(0)
    kind = StepByStep if step_by_step else Recurrence
    layer = kind(cell, hidden // 2, hidden)
    inputs = torch.randn(LENGTH, batch_size, hidden // 2, requires_grad=True)
    arriving = torch.randn(LENGTH, batch_size, hidden)

    precision = choose_precision("auto", torch.device("cpu"))

    def both_ways() -> None:
        layer.zero_grad()
        inputs.grad = None
        with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
            outputs, _ = layer(inputs)
        outputs.backward(arriving)

    return repeated(both_ways, batch_size, seconds)


def random_network(cell: str, hidden: int, attention: str) -> NumpySeq2Seq:
    """An untrained network that never writes an end symbol."""
    torch.manual_seed(0)
    config = configure({"layers": 1, "cell": cell, "hidden": hidden, "attention": attention})
    targets = Actions(SIZE).size if attention == "hard" else SIZE
    model = factory.build(config, sources=SIZE, targets=targets)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    weights["output_bias"][EOS] = -1e4
    return NumpySeq2Seq(weights, cell=cell, layers=1)


def search(
    *,
    cell: str,
    hidden: int,
    width: int,
    attention: str,
    batch_size: int,
    seconds: float,
    compiled: bool = True,
) -> Measure:
    """Words per second from ids to best ids, all outputs cut at the length of 10."""
    plain, found = random_network(cell, hidden, attention), kernels.find() if compiled else None
    network = plain if found is None else NativeSeq2Seq(plain, found)
    random = np.random.default_rng(1)
    end = [EOS] if attention == "hard" else []
    sources = random.integers(SPECIALS, SIZE, size=(batch_size, LENGTH)).tolist()
    sources = [[*source, *end] for source in sources]
    limits = [LENGTH] * batch_size

    def decode() -> None:
        state = network.start(sources)
        if width == 1:
            decoding.greedy(network, state, limits)
        else:
            decoding.beam(network, state, limits, width=width)

    return repeated(decode, batch_size, seconds)


def reading(words: int, samples: int, batch_size: int, seconds: float) -> Measure:
    """Words per second of training on lines of 11 words, distributed as in a text (Zipf)."""
    config = defaults("next-word")
    random = np.random.default_rng(0)
    chances = 1 / np.arange(1, words + 1)
    drawn = random.choice(words, size=40 * batch_size * WORDS, p=chances / chances.sum())
    counts = np.bincount(drawn, minlength=words)
    torch.manual_seed(0)
    trainer = Trainer(
        factory.build_next_word(
            config,
            counts=np.concatenate([np.zeros(SPECIALS, dtype=np.int64), counts]),
            traits=None,
            samples=samples,
        ),
        LineBatches(drawn + SPECIALS, np.arange(0, len(drawn) + 1, WORDS), batch_size=batch_size),
        OptimizerSettings(learning_rate=config.learning_rate, label_smoothing=0.0, ema=config.ema),
        device=torch.device("cpu"),
        precision=choose_precision("auto", torch.device("cpu")),
    )
    steps = trainer.steps(lambda _: 0.5)
    return repeated(lambda: next(steps), batch_size * WORDS, seconds)


def typing(words: int) -> Measure:
    """Seconds from a further word of a line to the distribution over the next word."""
    config = defaults("next-word")
    torch.manual_seed(0)
    counts = np.ones(SPECIALS + words, dtype=np.int64)
    model = factory.build_next_word(config, counts=counts, traits=None, samples=0)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    network = next_word_numpy.NumpyNextWord(weights, cell=config.cell, layers=1, context=1)
    symbols, state = network.start([[SPECIALS]])

    def measure() -> float:
        begun = time.perf_counter()
        for _ in range(TYPED):
            network.step(symbols, state)
        return (time.perf_counter() - begun) / TYPED

    return measure


def starting(*words: str) -> Measure:
    """Seconds of a whole process whose modules are compiled to bytecode, as when installed."""
    program = Path(sys.executable).with_name("charseq")
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [str(program), *words]
    subprocess.run(command, check=True, capture_output=True, env=environment)

    def measure() -> float:
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return time.perf_counter() - begun

    return measure


def repeated(call: Callable[[], object], amount: float, seconds: float) -> Measure:
    """``amount`` per second, over as many calls as fit into ``seconds``, after one warm-up call."""

    def measure() -> float:
        call()
        count, begun = 0, time.perf_counter()
        while (spent := time.perf_counter() - begun) < seconds:
            call()
            count += 1
        return amount * count / spent

    return measure


def processor() -> str:
    """The name of the processor, if the system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2] for line in text.split("\n") if line.startswith("model name")]
    return " ".join(names[0].split()) if names else platform.machine()


if __name__ == "__main__":
    main()
