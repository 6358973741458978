"""Memory experiment: accuracy of each cell in recalling a symbol after a lag of distractors.

The first input is one of 8 symbols, LAG distractors of 8 others follow, then a cue; the network
answers after the cue, and a guess is right in 12.5 %. Every cell is trained for the same number of
steps, on the same batches, with about the same number of parameters. Some cells have several
initialisations, each with a row of its own. The learning rate of each row and lag is the best of
--rates on seed 0, and the seeds from 1 on are reported. A second table has the gradient that
reaches the first step before training. The same options and the same number of threads give the
same tables. Every result goes to stderr as a line of JSON when it is known.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch
from torch import Tensor, nn

from charseq.data.text.vocabulary import PAD
from charseq.kernels.bptt import RECURRENCES
from charseq.models.cells import CELLS, Cell
from charseq.models.device import choose_threads
from charseq.models.layers import encode
from charseq.models.loss import cross_entropy
from charseq.models.rnn import Unroll
from charseq.process import keep_memory

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ANSWER_COUNT = 8
MEMORIES = range(PAD + 1, PAD + 1 + ANSWER_COUNT)
DISTRACTORS = range(MEMORIES.stop, MEMORIES.stop + ANSWER_COUNT)
CUE = DISTRACTORS.stop
SYMBOLS = CUE + 1
ANSWERS = MEMORIES.stop  # PAD is one of them, as everywhere in charseq, and never right
FRESH, PART = 2000, 500  # sequences of one accuracy, and how many of them run at once
WARM_UP, CLIP = 20, 1.0
Start = Callable[[Cell, int], None]


# --- the task


def stream(*parts: int) -> torch.Generator:
    """A generator of its own for each tuple of numbers, for example (seed, lag, purpose)."""
    words = np.random.SeedSequence(parts).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def draw(
    random: torch.Generator, batch: int, lag: int
) -> tuple[Int[Tensor, "T B"], Int[Tensor, "B"]]:
    """Symbols, T = lag + 2, and the first of each column, which is the answer."""
    first = torch.randint(MEMORIES.start, MEMORIES.stop, (1, batch), generator=random)
    between = torch.randint(DISTRACTORS.start, DISTRACTORS.stop, (lag, batch), generator=random)
    return torch.cat([first, between, torch.full((1, batch), CUE)]), first[0]


# --- the forms of the cells


def as_shipped(_cell: Cell, _lag: int) -> None:
    """The initialisation of ``charseq.models.cells``."""


def uniform(cell: Cell, _lag: int) -> None:
    """W_h uniform in ±1/√H, the default of torch.nn.RNN: its eigenvalues lie within about 0.58."""
    bound = cell.hidden**-0.5
    nn.init.uniform_(cell.recurrent, -bound, bound)


def orthogonal(cell: Cell, _lag: int) -> None:
    """W_h = Q, the initialisation of the tanh cell."""
    nn.init.orthogonal_(cell.recurrent)


def scaled(cell: Cell, _lag: int) -> None:
    """W_h = 0.1 Q: the sheet's form of h_t = h_{t-1} + 0.1 tanh(W_x x_t + Q h_{t-1} + b)."""
    nn.init.orthogonal_(cell.recurrent, gain=0.1)


def chrono(cell: Cell, lag: int) -> None:
    """Gates that keep for 1 to T steps: biases log U(1, T - 1) (Tallec and Ollivier 2018).

    The LSTM's forget gate gets them and its input gate their negative; the GRU's update gate,
    which keeps where it is open, gets them alone.
    """
    keep = slice(cell.hidden, 2 * cell.hidden)  # the second gate of both cells
    with torch.no_grad():
        cell.bias.zero_()
        cell.bias[keep].uniform_(1, lag + 1).log_()
        if cell.gates == 4:
            cell.bias[: cell.hidden] = -cell.bias[keep]


@dataclass(frozen=True)
class Form:
    """A cell and its initialisation: one row of the table."""

    cell: str
    start: Start = as_shipped
    normalised: bool = False
    """Whether the last state is normalised before the readout."""
    drawn: bool = True
    """Whether the figure has the form; it has seven lines at most, the table has every form."""


FORMS = {
    "tanh": Form("tanh"),
    "tanh, uniform start": Form("tanh", uniform, drawn=False),
    "residual": Form("residual", orthogonal),
    "residual, scaled": Form("residual", scaled, drawn=False),
    "residual, negative start": Form("residual"),
    "residual, normalised": Form("residual", orthogonal, normalised=True, drawn=False),
    "gru": Form("gru"),
    "gru, chrono start": Form("gru", chrono),
    "lstm": Form("lstm"),
    "lstm, chrono start": Form("lstm", chrono),
}


def parameters(cell: str, hidden: int) -> int:
    """Weights and biases of the recurrence and of the readout."""
    return CELLS[cell].gates * hidden * (SYMBOLS + hidden + 1) + ANSWERS * (hidden + 1)


def choose_hidden(cell: str, budget: int) -> int:
    """The hidden size whose number of parameters is closest to the budget."""
    hidden = 1
    while parameters(cell, hidden + 1) <= budget:
        hidden += 1
    return min(hidden, hidden + 1, key=lambda size: abs(parameters(cell, size) - budget))


# --- training


class Networks:
    """Independent networks of one form, one for each seed, computed side by side for speed.

    They lie where the production recurrence has its directions.
    """

    def __init__(self, form: Form, hidden: int, lag: int, seeds: Sequence[int]) -> None:
        self.form = form
        self.cells: list[Cell] = []
        self.readouts: list[nn.Linear] = []
        for seed in seeds:
            torch.manual_seed(stream(seed, lag, 0).initial_seed())
            cell = CELLS[form.cell](SYMBOLS, hidden)
            form.start(cell, lag)
            self.cells.append(cell)
            # zero, so that a large state gives no large loss at the beginning
            readout = nn.Linear(hidden, ANSWERS)
            nn.init.zeros_(readout.weight)
            nn.init.zeros_(readout.bias)
            self.readouts.append(readout)

    def __call__(self, ids: Sequence[Int[Tensor, "T B"]]) -> list[Float[Tensor, "B 1 V"]]:
        """Logits after the cue, of each network for its own sequences."""
        inputs = [encode(each, SYMBOLS) for each in ids]
        projected = torch.stack(
            [cell.project(each) for cell, each in zip(self.cells, inputs, strict=True)]
        )
        recurrent = torch.stack([cell.recurrent for cell in self.cells]).transpose(1, 2)
        kept, hidden = CELLS[self.form.cell].states, recurrent.shape[1]
        before = projected.new_zeros(kept, len(ids), ids[0].shape[1], hidden)
        states = Unroll.apply(self.form.cell, projected, recurrent.contiguous(), before)
        last = states[0, :, -1]
        if self.form.normalised:
            last = nn.functional.rms_norm(last, (hidden,), eps=1e-6)
        return [read(state)[:, None] for read, state in zip(self.readouts, last, strict=True)]

    def weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each network."""
        pairs = zip(self.cells, self.readouts, strict=True)
        return [[*cell.parameters(), *readout.parameters()] for cell, readout in pairs]


def train(
    networks: Networks,
    *,
    lag: int,
    seeds: Sequence[int],
    rates: Sequence[float],
    steps: int,
    batch: int,
) -> None:
    """Adam on new batches; the gradient of each network is clipped by itself.

    The rate rises over the first steps, then stays, and over the second half falls to zero.
    """
    weights = networks.weights()
    groups = [{"params": one, "lr": rate} for one, rate in zip(weights, rates, strict=True)]
    optimiser = torch.optim.Adam(groups)
    streams = [stream(seed, lag, 1) for seed in seeds]
    for step in range(steps):
        ids, labels = zip(*(draw(random, batch, lag) for random in streams), strict=True)
        losses = [
            cross_entropy(logits, answers[:, None])[0] / batch
            for logits, answers in zip(networks(ids), labels, strict=True)
        ]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        for one in weights:
            if not math.isfinite(nn.utils.clip_grad_norm_(one, CLIP)):
                for weight in one:  # an exploded gradient has no direction: skip the step
                    weight.grad = torch.zeros_like(weight)
        share = min(1.0, (step + 1) / WARM_UP, 2 * (steps - step) / steps)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * share
        optimiser.step()


@torch.no_grad()
def examine(networks: Networks, *, lag: int, seeds: Sequence[int]) -> list[tuple[float, float]]:
    """Accuracy and loss of each network on new sequences."""
    streams = [stream(seed, lag, 2) for seed in seeds]
    right, loss = [0] * len(seeds), [0.0] * len(seeds)
    for _ in range(FRESH // PART):
        ids, labels = zip(*(draw(random, PART, lag) for random in streams), strict=True)
        for place, (logits, answers) in enumerate(zip(networks(ids), labels, strict=True)):
            right[place] += int((logits[:, 0].argmax(dim=-1) == answers).sum())
            loss[place] += float(cross_entropy(logits, answers[:, None])[0])
    return [(hits / FRESH, lost / FRESH) for hits, lost in zip(right, loss, strict=True)]


@torch.no_grad()
def reach(cell: Cell, kind: str, *, lag: int, batch: int) -> float:
    """‖∂L/∂h_1‖ / ‖∂L/∂h_T‖ for a random ∂L/∂h_T, over lag + 1 steps.

    By ``charseq.kernels.bptt``, in float64, since float32 knows nothing below 1e-45.
    """
    random = stream(1, lag, 3)
    inputs = encode(draw(random, batch, lag)[0], SYMBOLS)
    projected = cell.project(inputs)[None].double()
    recurrent = cell.recurrent.T[None].contiguous().double()
    run, back = RECURRENCES[kind]
    before = projected.new_zeros(cell.states, 1, batch, cell.hidden)
    first = run(projected[:, :1], recurrent, before).states[:, :, 1]
    trace = run(projected[:, 1:], recurrent, first)
    arriving = torch.zeros_like(trace.states[:, :, 1:])
    arriving[0, :, -1].normal_(generator=random)
    return float(back(trace, recurrent, arriving).initial.norm() / arriving.norm())


@dataclass(frozen=True)
class Result:
    """One row of the table at one lag."""

    form: str
    cell: str
    hidden: int
    parameters: int
    lag: int
    tuning: dict[str, float]
    """Accuracy of each learning rate on seed 0."""
    rate: float
    accuracies: list[float]
    """Accuracy of the seeds 1, 2, ... at that rate."""
    mean: float
    lowest: float
    highest: float
    gradient: float
    """The share of a gradient at the last step that reaches the first, before training."""
    seconds: float


def measure(
    name: str, *, lag: int, seeds: int, rates: Sequence[float], steps: int, budget: int, batch: int
) -> Result:
    """Try every rate on seed 0, then train the reported seeds with the best rate."""
    begun = time.perf_counter()
    form = FORMS[name]
    hidden = choose_hidden(form.cell, budget)

    def learn(seeds: Sequence[int], rates: Sequence[float]) -> list[tuple[float, float]]:
        networks = Networks(form, hidden, lag, seeds)
        train(networks, lag=lag, seeds=seeds, rates=rates, steps=steps, batch=batch)
        return examine(networks, lag=lag, seeds=seeds)

    tried = learn([0] * len(rates), rates)
    # the most accurate, of equals the one with the lower loss; a loss may be NaN
    rate, _ = max(
        zip(rates, tried, strict=True), key=lambda one: (one[1][0], -np.nan_to_num(one[1][1]))
    )
    found = [accuracy for accuracy, _ in learn(range(1, seeds + 1), [rate] * seeds)]
    return Result(
        form=name,
        cell=form.cell,
        hidden=hidden,
        parameters=parameters(form.cell, hidden),
        lag=lag,
        tuning={f"{one:g}": accuracy for one, (accuracy, _) in zip(rates, tried, strict=True)},
        rate=rate,
        accuracies=found,
        mean=statistics.fmean(found),
        lowest=min(found),
        highest=max(found),
        gradient=reach(Networks(form, hidden, lag, [1]).cells[0], form.cell, lag=lag, batch=batch),
        seconds=round(time.perf_counter() - begun, 1),
    )


# --- the command


class Numbers(click.ParamType[list[float]]):
    """Positive numbers, whole or real, separated by commas."""

    name = "numbers"

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        """Parse the list; fail for a value that is not a number, not positive, or infinite."""
        try:
            found = [(int if self.whole else float)(word) for word in str(value).split(",")]
        except ValueError:
            found = []
        if not found or not all(0 < number < math.inf for number in found):
            wanted = "whole numbers" if self.whole else "numbers"
            self.fail(f"{value!r} is no list of positive {wanted}", param, ctx)
        return found


@click.command(help=__doc__)
@click.option("--lags", type=Numbers(whole=True), default="10,30,100,300", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=800, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Reported.")
@click.option("--cells", default=",".join(CELLS), show_default=True, help="With all their rows.")
@click.option(
    "--parameters",
    "budget",
    type=click.IntRange(200),
    default=5000,
    show_default=True,
    help="The hidden size comes as near to it as it can.",
)
@click.option(
    "--rates",
    type=Numbers(whole=False),
    default="0.001,0.003,0.01",
    show_default=True,
    help="Learning rates to try.",
)
@click.option("--batch-size", "batch", type=click.IntRange(1), default=32, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw accuracy over lag.")
def main(
    *,
    lags: list[int],
    steps: int,
    seeds: int,
    cells: str,
    budget: int,
    rates: list[float],
    batch: int,
    threads: int,
    as_json: bool,
    output: Path | None,
) -> None:
    """Train every form at every lag and print the table."""
    if unknown := set(cells.split(",")) - set(CELLS):
        raise click.BadParameter(f"no cell {', '.join(sorted(unknown))}", param_hint="--cells")
    choose_threads(threads)
    keep_memory()
    torch.set_flush_denormal(True)  # denormal numbers of vanished gradients are slow
    facts = {
        "steps": steps,
        "batch_size": batch,
        "parameters": budget,
        "chance": 1 / ANSWER_COUNT,
        "threads": threads,
        "torch": torch.__version__,
    }
    results = []
    names = [name for name, form in FORMS.items() if form.cell in cells.split(",")]
    learn = partial(measure, seeds=seeds, rates=rates, steps=steps, budget=budget, batch=batch)
    for lag, name in product(lags, names):
        results.append(learn(name, lag=lag))
        click.echo(json.dumps(asdict(results[-1])), err=True)
    rows = [asdict(result) for result in results]
    click.echo(json.dumps({**facts, "results": rows}, indent=1) if as_json else table(results))
    if output is not None:
        picture(results, output)


def table(results: Sequence[Result]) -> str:
    """Two tables, a row for each form and a column for each lag."""
    accuracies = grid(
        results,
        "accuracy in %, mean (range)",
        lambda one: f"{100 * one.mean:.1f} ({100 * one.lowest:.1f} to {100 * one.highest:.1f})",
    )
    return f"{accuracies}\n\n{grid(results, 'gradient left', lambda one: f'{one.gradient:.0e}')}"


def grid(results: Sequence[Result], title: str, show: Callable[[Result], str]) -> str:
    """A Markdown table of one value of each result."""
    lags = sorted({result.lag for result in results})
    head = [title, "hidden", "parameters", *(f"lag {lag}" for lag in lags)]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name in dict.fromkeys(result.form for result in results):
        own = {result.lag: result for result in results if result.form == name}
        one = own[lags[0]]
        values = [show(own[lag]) for lag in lags]
        lines.append([name, str(one.hidden), f"{one.parameters:,}", *values])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(results: Sequence[Result], path: Path) -> None:
    """Mean accuracy in percent over the lag, one line for each form that is drawn."""
    import line_plots

    lines: dict[str, tuple[list[float], list[float]]] = {}
    for result in (one for one in results if FORMS[one.form].drawn):
        xs, ys = lines.setdefault(result.form, ([], []))
        xs.append(result.lag)
        ys.append(100 * result.mean)
    line_plots.series(
        path,
        lines,
        xlabel="lag (distractors between symbol and cue)",
        ylabel="accuracy (%)",
        title=f"Recall of one of {ANSWER_COUNT} symbols (a guess: {100 / ANSWER_COUNT:g} %)",
        log_x=True,
    )


if __name__ == "__main__":
    main()
