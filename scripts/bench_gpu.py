"""Benchmark of recurrences, training and decoding on a GPU, beside torch's own LSTM.

The measurements of ``bench --device cuda``. All variants take turns, and the median of each is
printed. The baseline is plain torch: an encoder-decoder of ``nn.LSTM`` over whole sequences, eager,
under bfloat16 autocast with fused AdamW.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from charseq.config import configure
from charseq.data.batches import Batches
from charseq.data.text.vocabulary import EOS, PAD, SPECIALS
from charseq.decoding import seq2seq_gpu
from charseq.kernels import rnn_cudnn, rnn_fused
from charseq.models import factory, rnn
from charseq.models.device import choose_device
from charseq.models.layers import Attention
from charseq.models.loss import Loss, TensorBatch, TrainableModel, cross_entropy
from charseq.training import gpu_step
from charseq.training.trainer import OptimizerSettings, Trainer

CELLS = ("tanh", "residual", "gru", "lstm")
LENGTH, SYMBOLS, EMBEDDING = 10, 40, 128
SIZE = SPECIALS + SYMBOLS
BATCHES = (64, 512, 4096)
LOW = torch.bfloat16

Measure = Callable[[], float]


class Plain(TrainableModel):
    """The baseline: two ``nn.LSTM`` and attention after them."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.source = nn.Embedding(SIZE, EMBEDDING)
        self.target = nn.Embedding(SIZE, EMBEDDING)
        self.encoder = nn.LSTM(EMBEDDING, hidden, bidirectional=True)
        self.decoder = nn.LSTM(EMBEDDING, hidden)
        self.bridge = nn.Linear(2 * hidden, hidden)
        self.attention = Attention(hidden, 2 * hidden, EMBEDDING)
        self.readout = nn.Linear(hidden, EMBEDDING)
        self.drop = nn.Dropout(0.3)

    def loss(self, given: TensorBatch, *, smoothing: float) -> Loss:
        """Cross-entropy of the labels."""
        memory, (hidden, cell) = self.encoder(self.drop(self.source(given.source.T)))
        first = [self.bridge(torch.cat([*part], -1))[None] for part in (hidden, cell)]
        states, _ = self.decoder(self.drop(self.target(given.inputs.T)), tuple(first))
        memory = self.drop(memory)
        context, _ = self.attention(states, memory, given.source != PAD)
        mixed = self.drop(torch.tanh(self.readout(states) + context))
        logits = nn.functional.linear(mixed, self.target.weight).transpose(0, 1)
        return Loss(
            *cross_entropy(logits, given.labels, weights=given.weights, smoothing=smoothing)
        )


def measure(
    *, rounds: int, seconds: float, hidden: int, only: str, batches: tuple[int, ...] = BATCHES
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Facts of the machine, and a row for each variant: name, batch, median, lowest, highest."""
    device = choose_device("cuda")
    facts = {
        "machine": torch.cuda.get_device_name(device),
        "precision": "bfloat16",
        "hidden": hidden,
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
    }
    rows = []
    for batch in batches:
        made: dict[str, tuple[str, Measure]] = {}
        for name, (unit, make) in variants(hidden, batch, seconds, device).items():
            if only in name:
                made[name] = unit, make()
        found: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(rounds):
            for name, (_, run) in made.items():
                found[name].append(run())
        rows += [
            {
                "name": name,
                "batch": batch,
                "median": statistics.median(values),
                "lowest": min(values),
                "highest": max(values),
                "unit": made[name][0],
            }
            for name, values in found.items()
        ]
    return facts, rows


def variants(
    hidden: int, batch: int, seconds: float, device: torch.device
) -> dict[str, tuple[str, Callable[[], Measure]]]:
    """The variants at one batch size."""
    found: dict[str, tuple[str, Callable[[], Measure]]] = {}
    sequences, examples, words = "sequences/s", "examples/s", "words/s"
    size = hidden, batch, seconds, device
    for recorded, told in ((False, ""), (True, ", recorded")):
        for cell in CELLS:
            make = partial(one_way, cell, *size, recorded=recorded)
            found[f"recurrence {cell}{told}"] = sequences, make
            make = partial(one_way, cell, *size, recorded=recorded, by_step=True)
            found[f"recurrence {cell}, step by step{told}"] = sequences, make
            if rnn_cudnn.has_cell(cell):
                make = partial(one_way, cell, *size, recorded=recorded, library=True)
                found[f"recurrence {cell}, library{told}"] = sequences, make
        make = partial(one_way, "nn", *size, recorded=recorded)
        found[f"recurrence nn.LSTM{told}"] = sequences, make
    for cell in CELLS:
        found[f"train {cell}"] = examples, partial(training, cell, *size, graphs=96)
        found[f"train {cell}, not recorded"] = examples, partial(training, cell, *size, graphs=0)
    found["train nn.LSTM"] = examples, partial(plain_training, *size)
    for cell in CELLS:
        for name, width in (("greedy", 1), ("beam 5", 5)):
            found[f"{name} {cell}"] = words, partial(decoding, cell, width, *size)
    return found


def one_way(
    cell: str,
    hidden: int,
    batch: int,
    seconds: float,
    device: torch.device,
    *,
    recorded: bool,
    by_step: bool = False,
    library: bool = False,
) -> Measure:
    """Sequences per second of one direction alone, forward and back."""
    torch.manual_seed(0)
    layer: Any = nn.LSTM(EMBEDDING, hidden)
    if cell != "nn":
        layer = rnn.Recurrence(cell, EMBEDDING, hidden)
    layer = layer.to(device)
    inputs = torch.randn(LENGTH, batch, EMBEDDING, device=device, requires_grad=True)
    arriving = torch.randn(LENGTH, batch, hidden, device=device)
    weights = [inputs, *layer.parameters()]

    def both_ways() -> None:
        with torch.autocast("cuda", dtype=LOW):
            if by_step:
                start = inputs.new_zeros(layer.kept, 1, batch, hidden)
                order = None
                with no_kernels():
                    outputs = layer.run_layer(layer.cells, inputs, order, start)[0, 0]
            elif library:
                with no_kernels():
                    outputs = layer(inputs)[0]
            else:
                outputs = layer(inputs)[0]
        torch.autograd.grad(outputs, weights, arriving.to(outputs.dtype))

    run = both_ways
    if recorded:
        run = play(both_ways)
    return repeated(run, batch, seconds)


class no_kernels:  # noqa: N801 - used as a statement
    """A block without charseq's kernels: a layer is a loop over single steps, or cuDNN's."""

    def __enter__(self) -> None:
        self._kept = rnn_fused.fits
        rnn_fused.fits = lambda *_: False

    def __exit__(self, *_: object) -> None:
        rnn_fused.fits = self._kept


def play(run: Callable[[], None]) -> Callable[[], None]:
    """The same function as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()

    def replay(_kept: Callable[[], None] = run) -> None:  # keeps the tensors of the graph alive
        graph.replay()

    return replay


def batches_of(batch: int) -> Batches:
    """Random pairs of 10 and 10 symbols, in 8 batches."""
    random = np.random.default_rng(0)
    ids = random.integers(SPECIALS, SIZE, size=(2, 8 * batch, LENGTH)).tolist()
    return Batches(ids[0], ids[1], batch_size=batch)


def training(
    cell: str, hidden: int, batch: int, seconds: float, device: torch.device, *, graphs: int
) -> Measure:
    """Examples per second of whole steps: gather, loss, gradient, AdamW, average."""
    torch.manual_seed(0)
    config = configure({"layers": 1, "cell": cell, "hidden": hidden, "attention": "soft"})
    trainer = Trainer(
        factory.build(config, sources=SIZE, targets=SIZE),
        batches_of(batch),
        OptimizerSettings(),
        device=device,
        precision=LOW,
    )
    steps = trainer.steps(lambda _: 0.5)

    def step() -> None:
        gpu_step.MAX_GRAPHS = graphs
        next(steps)

    return repeated(step, batch, seconds, warm=4)


def plain_training(hidden: int, batch: int, seconds: float, device: torch.device) -> Measure:
    """Examples per second of the baseline, eager; its batches are on the device."""
    torch.manual_seed(0)
    model = Plain(hidden).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    one = batches_of(batch)[0]
    names = ("source", "source_lengths", "inputs", "labels", "weights")
    tensors: list[Any] = [torch.from_numpy(getattr(one, name)).to(device) for name in names]
    given = TensorBatch(*tensors)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=LOW):
            found = model.loss(given, smoothing=0.1)
        (found.total / found.count).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return repeated(step, batch, seconds)


def decoding(
    cell: str, width: int, hidden: int, batch: int, seconds: float, device: torch.device
) -> Measure:
    """Words per second from ids to best ids, all outputs cut at the length of 10."""
    torch.manual_seed(0)
    config = configure({"layers": 1, "cell": cell, "hidden": hidden, "attention": "soft"})
    model = factory.build(config, sources=SIZE, targets=SIZE)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    weights["output_bias"][EOS] = -1e4
    network = seq2seq_gpu.GpuEnsemble([config], [weights], device)
    random = np.random.default_rng(1)
    sources = random.integers(SPECIALS, SIZE, size=(batch, LENGTH)).tolist()
    limits = [LENGTH] * batch
    return repeated(lambda: network.search(sources, limits, width=width), batch, seconds)


def repeated(run: Callable[[], Any], count: int, seconds: float, *, warm: int = 3) -> Measure:
    """``count`` per second, over as many calls as fit into the time."""
    for _ in range(warm):
        run()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    calls = max(3, int(3 * seconds / (time.perf_counter() - begun)))

    def timed() -> float:
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(calls):
            run()
        torch.cuda.synchronize()
        return count * calls / (time.perf_counter() - begun)

    return timed


def table(facts: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Facts of the machine on one line, then a table: variants by batch sizes."""
    batches = sorted({row["batch"] for row in rows})
    lines = [", ".join(f"{name} {value}" for name, value in facts.items())]
    lines.append(f"{'batch':44}" + "".join(f"{batch:>14,}" for batch in batches))
    names = list(dict.fromkeys(row["name"] for row in rows))
    for name in names:
        rates = {row["batch"]: row["median"] for row in rows if row["name"] == name}
        unit = next(row["unit"] for row in rows if row["name"] == name)
        lines.append(
            f"{name:44}" + "".join(f"{rates[batch]:14,.0f}" for batch in batches) + f"  {unit}"
        )
    return "\n".join(lines)
