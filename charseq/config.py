"""Settings: each one declared once, with its type, default, limits and help.

The options of the command line, the JSON in a run folder and the reference page of the settings
come from this declaration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from charseq.errors import SettingError, argument
from charseq.setting import checked, interval, renamed, setting, unknown_name

WORDS_ONLY = f"the cell mlp predicts words, it does not rewrite: {argument('task', 'next-word')}"
"""Message for that cell where pairs are learnt."""
SYMBOL_KINDS = ("auto", "characters", "graphemes", "spaced", "decomposed", "subwords", "bpe")
UNIT_KINDS = ("words", "subwords", "bpe", "characters", "graphemes")
FORMS = ("auto", "NFC", "NFD", "NFKC", "NFKD", "none")
DIRECTIONS = ("auto", "forward", "backward")
CELLS = ("tanh", "residual", "gru", "lstm")
ATTENTIONS = ("auto", "hard", "soft", "none")
TASKS = ("auto", "pairs", "next-word")
GATELESS = {"tanh": 2e-3, "residual": 1e-3}
"""Cells without gates, and the peak of their learning rate in next-word training."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run. :func:`configure` makes one and checks every value."""

    given: ClassVar[frozenset[str] | None] = None
    """The settings that :func:`configure` was given for the defaults; None: the others stand too"""

    task: str = setting(
        "auto",
        "data",
        "what is learnt: pairs, or next-word from lines of text; auto: by the data",
        choices=TASKS,
    )
    columns: str = setting(
        "",
        "data",
        "roles of the columns in order (source, target, features, weight, skip), "
        "or role=NAME by header; empty: source,target",
        task="pairs",
    )
    header: str = setting(
        "auto",
        "data",
        "whether the first row names the columns",
        choices=("auto", "yes", "no"),
        task="pairs",
    )
    delimiter: str = setting(
        "auto",
        "data",
        "between the cells of a CSV: tab, comma, semicolon, pipe or one sign; auto: by the data",
    )
    encoding: str = setting(
        "auto", "data", "of files of text, such as utf-8, utf-16, cp1252; auto: by the data"
    )
    bad_rows: str = setting(
        "stop",
        "data",
        "pairs: rows that are no pair end the command, or are passed over and kept in a file",
        choices=("stop", "skip"),
    )
    empty_targets: bool = setting(
        False,
        "data",
        "a row may have an empty target: the model learns that some sources have no answer",
        task="pairs",
    )
    feature_separator: str = setting(
        "auto",
        "data",
        "separator between two features; auto: by the data, one of ; | , + and space",
        task="pairs",
    )
    counts: str = setting(
        "auto",
        "data",
        "what a pair counts that n rows of train repeat; sqrt: √n, as one distinct pair; none: "
        "n, row by row; auto: sqrt where a fifth of the rows or more repeat another",
        choices=("auto", "sqrt", "none"),
        task="pairs",
    )
    source_symbols: str = setting(
        "auto", "data", "how source texts are cut into symbols", choices=SYMBOL_KINDS, task="pairs"
    )
    target_symbols: str = setting(
        "auto", "data", "how target texts are cut into symbols", choices=SYMBOL_KINDS, task="pairs"
    )
    source_form: str = setting(
        "auto",
        "data",
        "Unicode form of sources; auto: NFC; NFD: Hangul, decomposed",
        choices=FORMS,
        task="pairs",
    )
    target_form: str = setting(
        "auto", "data", "Unicode form of targets; auto: NFC; NFD: Hangul, decomposed", choices=FORMS
    )
    subword_size: int = setting(
        1000, "data", "size of a subword inventory", least=300, most=100_000
    )
    min_count: int = setting(
        1,
        "data",
        "a source symbol, or a word, seen less often is treated as unseen",
        least=1,
        next_word=2,
    )
    units: str = setting(
        "words", "data", "what a line is cut into", choices=UNIT_KINDS, task="next-word"
    )
    word_limit: int = setting(
        50_000, "data", "most words to know", least=1, most=1_000_000, task="next-word"
    )
    case: str = setting(
        "keep", "data", "capital letters of words", choices=("keep", "lower"), task="next-word"
    )
    punctuation: str = setting(
        "keep",
        "data",
        "keep it with the word it stands at, or split it off",
        choices=("keep", "split"),
        task="next-word",
    )
    word_features: bool = setting(
        True,
        "data",
        "words share a part of their vectors by stem, shape, beginning and ending",
        task="next-word",
    )
    stateful: str = setting(
        "auto",
        "data",
        "whether lines continue each other and the state is carried; auto: by the data",
        choices=("auto", "yes", "no"),
        task="next-word",
    )

    cell: str = setting(
        "gru",
        "model",
        "the recurrent cell; mlp: next-word only",
        choices=(*CELLS, "mlp"),
        next_word="lstm",
    )
    ensemble: int = setting(
        1,
        "model",
        "networks that differ in their seed, trained side by side and used as one",
        task="pairs",
        least=1,
        most=64,
    )
    cells: str = setting(
        "", "model", "cells of an ensemble in turn, such as gru,lstm; empty: cell", task="pairs"
    )
    context: int = setting(
        3,
        "model",
        "number of preceding words that are read",
        task="next-word",
        cell="mlp",
        least=1,
        most=64,
    )
    attention: str = setting(
        "auto",
        "model",
        "how the decoder reads the input; hard: symbol by symbol, along a learnt "
        "alignment; soft: all symbols at once; none: only the final state of the encoder; auto: "
        "hard where the output follows the order of the input, else soft",
        choices=ATTENTIONS,
        task="pairs",
    )
    direction: str = setting(
        "auto",
        "model",
        "from which end texts are read and outputs written; auto: backward with hard "
        "attention and fewer than 20,000 pairs, else forward; of an ensemble's members one and the "
        "other in turn",
        choices=DIRECTIONS,
        task="pairs",
    )
    alignment_prior: bool = setting(
        True,
        "model",
        "the output begins with the alignment's expectation of what each symbol is rewritten to",
        task="pairs",
        attention="hard",
    )
    embedding: int = setting(
        128, "model", "size of a symbol's vector", least=1, most=4096, next_word=256
    )
    hidden: int = setting(
        256, "model", "size of a recurrent state, per direction", least=1, most=4096, next_word=512
    )
    layers: int = setting(
        0,
        "model",
        "recurrent layers in the encoder and in the decoder; 0: two with hard attention and 20,000 "
        "pairs or more, else one",
        least=0,
        most=8,
        next_word=1,
    )
    tie_embeddings: bool = setting(
        True, "model", "use the target embedding as the output matrix as well"
    )
    dropout: float = setting(
        0.3, "model", "share of units set to zero in training", least=0.0, most=0.9
    )
    embedding_dropout: float = setting(
        0.1, "model", "share of words without their vector", least=0, most=0.9, task="next-word"
    )
    recurrent_dropout: float = setting(
        0.2, "model", "share of W_h that is zero in a step", least=0.0, most=0.9, task="next-word"
    )
    dropout_growth: float = setting(
        0.0, "model", "growth of dropout per doubling of the passes", least=0, most=1, next_word=0.3
    )

    minutes: float = setting(
        5.0, "training", "time of training; pauses do not count; 0 with epochs", least=0.0
    )
    epochs: int = setting(
        0, "training", "passes over the training data, instead of minutes", least=0
    )
    seed: int = setting(1, "training", "seed of everything random", least=0, most=2**32 - 1)
    threads: int = setting(
        0,
        "training",
        "threads for computing; with minutes at most so many, fewer where that is faster; 0: with "
        "minutes all cores, up to four; with epochs one",
        least=0,
        most=1024,
    )
    workers: int = setting(
        1, "training", "processes that share each batch; 0: by cores and speed", least=0, most=64
    )
    device: str = setting("auto", "training", "where to train", choices=("auto", "cpu", "cuda"))
    precision: str = setting(
        "auto",
        "training",
        "number format of matrix products; auto: bfloat16 where the processor has it",
        choices=("auto", "float32", "bfloat16"),
    )
    batch_size: int = setting(64, "training", "examples in one step", least=1, most=65_536)
    segment: int = setting(
        35,
        "training",
        "symbols between two updates",
        least=1,
        most=10_000,
        task="next-word",
        stateful="yes",
    )
    sampled_softmax: int = setting(
        -1,
        "training",
        "symbols that the softmax is sampled over; 0: all; -1: by their number",
        least=-1,
        most=1_000_000,
        task="next-word",
    )
    learning_rate: float = setting(
        2e-3,
        "training",
        "peak of the learning rate; next-word with tanh: 0.002, with residual: 0.001",
        least=0.0,
        most=10.0,
        next_word=5e-3,
    )
    warmup: float = setting(
        0.03, "training", "share of the budget in which the rate rises", least=0.0, most=1.0
    )
    weight_decay: float = setting(0.01, "training", "AdamW's weight decay", least=0.0, most=1.0)
    beta2: float = setting(0.98, "training", "decay of squared gradients", least=0.0, most=0.99999)
    clip: float = setting(1.0, "training", "largest norm of a gradient", least=1e-6)
    label_smoothing: float = setting(
        0.1, "training", "probability spread over all symbols", least=0.0, most=0.9, next_word=0.0
    )
    ema: float = setting(
        0.998,
        "training",
        "decay of the averaged weights that are scored; 0: off",
        least=0.0,
        most=0.99999,
        next_word=0.0,
    )
    evaluations: int = setting(
        12, "training", "how often the dev split is scored", least=1, most=10_000
    )
    dev_limit: int = setting(5000, "training", "dev examples used to choose the weights", least=1)
    keep_checkpoints: int = setting(
        0,
        "training",
        "last evaluations whose weights stay in the run folder, for charseq average",
        least=0,
        most=1000,
    )
    memory: str = setting(
        "auto",
        "training",
        "the run remembers the targets of the training sources; auto: where that makes dev better",
        choices=("auto", "off"),
        task="pairs",
    )
    joint_ngrams: str = setting(
        "auto",
        "training",
        "joint n-grams of train weigh the answers; auto: where that makes dev better",
        choices=("auto", "off"),
        task="pairs",
        attention="hard",
    )
    target_words: str = setting(
        "", "training", "file of target words, a line each; kept where dev gains", task="pairs"
    )
    teacher_best: int = setting(
        3,
        "training",
        "with distil-from: the most outputs of the teacher to learn from for each source",
        least=1,
        most=64,
    )
    save_seconds: float = setting(
        30.0, "training", "longest time between two saves", least=0.0, most=3600.0
    )

    beam: int = setting(5, "decoding", "beam width; 1 is greedy search", least=1, most=64)
    length_penalty: float = setting(
        0.0,
        "decoding",
        "how much the beam prefers longer outputs; 0: not at all",
        least=0.0,
        most=5.0,
        task="pairs",
    )

    def to_json(self) -> dict[str, Any]:
        """Every setting by name, as JSON values."""
        return dataclasses.asdict(self)


SETTINGS: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(Config)}


def defaults(task: str, cell: str = "") -> Config:
    """The default settings of a task, ``pairs`` or ``next-word``.

    For next-word the default learning rate depends on the ``cell``: it is lower for tanh and
    residual cells, which have no gates and diverge at the rate of an LSTM.
    """
    if task != "next-word":
        return Config(task=task)
    values = {name: item.metadata["next-word"] for name, item in SETTINGS.items()}
    values["learning_rate"] = GATELESS.get(cell, values["learning_rate"])
    return Config(**values | {"task": task})


def configure(values: Mapping[str, Any], *, base: Config | None = None) -> Config:
    """A configuration from names and values of settings, each value checked.

    A string is parsed to the type of its setting, so that ``--set NAME=VALUE``, the environment and
    TOML follow the same rules. A value for ``epochs`` sets ``minutes`` to 0, and the other way
    round.

    Args:
        values: settings by name, see the reference of the settings.
        base: the settings that ``values`` does not name; by default the defaults for pairs.

    Raises:
        SettingError: an unknown name, a wrong type, or a value out of its limits.
    """
    parsed = {name: parse(name, value) for name, value in renamed(values).items()}
    if parsed.get("epochs") and parsed.get("minutes"):
        raise SettingError("minutes and epochs exclude each other: give one of them")
    if parsed.get("epochs"):
        parsed["minutes"] = 0.0
    elif parsed.get("minutes"):
        parsed["epochs"] = 0
    config = dataclasses.replace(base or Config(), **parsed)
    if base is None:
        object.__setattr__(config, "given", frozenset(parsed))
    if not config.epochs and not config.minutes:
        raise SettingError("minutes and epochs are both 0: give one of them")
    return config


@contextmanager
def naming(origin: str = "") -> Iterator[None]:
    """The errors of the settings in the block begin with ``origin``, such as "PATH: "."""
    try:
        yield
    except SettingError as fault:
        raise SettingError(f"{origin}{fault.marked}") from fault


def parse(name: str, value: Any) -> Any:
    """``value`` in the type of the setting ``name``, checked.

    Raises:
        SettingError: an unknown name, a wrong type, or a value out of its limits; in ``cells``
            an unknown cell.
    """
    if name not in SETTINGS:
        raise SettingError(unknown(name))
    result = checked(name, value, SETTINGS[name].default, SETTINGS[name].metadata)
    if name == "cells" and result:
        _cell_names(result)
    return result


def cells_of(config: Config) -> tuple[str, ...]:
    """The cell of each member of an ensemble: those of ``cells`` in turn, else ``cell``.

    Raises:
        SettingError: ``cells`` has more cells than members, or there is no ensemble.
    """
    if not config.cells:
        return (config.cell,) * config.ensemble
    named = _cell_names(config.cells)
    if config.ensemble == 1:
        wanted = f"{argument('ensemble', 2)} or more, or {argument('cell')}"
        raise SettingError(f"cells is for an ensemble: give {wanted}")
    if len(named) > config.ensemble:
        raise SettingError(f"cells has {len(named)} cells for {config.ensemble} members")
    return tuple(named[number % len(named)] for number in range(config.ensemble))


def _cell_names(cells: str) -> list[str]:
    """The names in the setting ``cells``. Raises SettingError for an unknown one."""
    named = [cell.strip() for cell in cells.split(",")]
    for cell in named:
        if cell not in CELLS:
            raise SettingError(
                f"cells has '{cell[:40]}', expected some of {', '.join(CELLS)}, with commas between"
            )
    return named


def in_use(settings: Mapping[str, Any]) -> list[str]:
    """The names of the settings that do something, given the values of all."""
    return [
        name
        for name, item in SETTINGS.items()
        if name in settings
        and all(settings.get(other) == value for other, value in item.metadata["needs"].items())
    ]


def describe() -> list[tuple[str, str, str, str, str]]:
    """Group, name, default, limits and help of every setting, in the order of declaration.

    Two defaults, such as "gru / lstm", are those for pairs and for next-word.
    """
    rows = []
    for name, item in SETTINGS.items():
        facts = item.metadata
        limits = ", ".join(facts["choices"]) or interval(facts["least"], facts["most"])
        if isinstance(item.default, bool):
            limits = "true, false"
        values = dict.fromkeys((item.default, facts["next-word"]))
        shown = " / ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)
        rows.append((facts["group"], name, shown, limits, facts["help"]))
    return rows


def unknown(name: str) -> str:
    """A message on a name that no setting has, with the nearest one."""
    return unknown_name(name, SETTINGS)
