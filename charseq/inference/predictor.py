"""Run folder, texts -> predictions: the public Python interface, without torch on a CPU.

    model = load("checkpoints/dates")
    model.predict(["3. März 2021"], n=3)

A text that occurs several times is computed once. Texts of similar length are computed together,
which changes no answer (see :mod:`charseq.decoding.seq2seq_numpy`). Files of texts are rewritten
by :mod:`charseq.inference.convert`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.arguments import check_path
from charseq.confidence.calibration import Calibration
from charseq.confidence.confidence import Confidence, Source
from charseq.config import Config, configure
from charseq.data.batches import buckets
from charseq.data.frames import over_texts
from charseq.data.text.alignment import Actions, source_length
from charseq.data.text.vocabulary import EOS, UNK, Vocabulary
from charseq.decoding import rules
from charseq.decoding.constrained import Outputs, search_within
from charseq.decoding.ensemble import DirectionGroup, direction_groups_on
from charseq.decoding.search import (
    LENGTH_MARGIN,
    Hypothesis,
    LengthLimits,
    Searcher,
    beam,
    greedy,
)
from charseq.decoding.seq2seq_numpy import WIDTH
from charseq.errors import SettingError, UsageError, require
from charseq.inference.language_model import LanguageModel
from charseq.inference.loading import fingerprint as fingerprint  # noqa: PLC0414, of models
from charseq.inference.loading import language_model, read_run, reloading
from charseq.inference.prediction import (
    Calibrated,
    FoundTexts,
    Prediction,
    ScoredText,
    best_of,
    check_threshold,
    merge,
    refuse_below,
    require_numbers,
    texts_of,
    withholding,
)
from charseq.runs.lookup import find

if TYPE_CHECKING:
    from charseq.inference.lexicon import Lexicon

MAX_POSITIONS = 2**17
"""Symbols of sources that are computed together: ten kilobytes each."""
MAX_ATTENDED = 2**28
"""Symbols of a source times symbols of its output, without hard attention: a minute of work."""
DEVICES = ("cpu", "cuda")
"""Devices that a model can be loaded on."""


class Translator:
    """Vocabularies, length limits and networks: texts -> predictions.

    The networks are in one or two groups, those that write forward and those that write backward.
    Each group searches on its own. The probability of an output is the weighted mean over the
    groups; it is 0 in a group whose search did not find the output.
    """

    def __init__(
        self,
        direction_groups: Sequence[DirectionGroup],
        source: Vocabulary,
        target: Vocabulary,
        limits: LengthLimits,
        *,
        calibration: Calibration | None = None,
        confidence: Confidence | None = None,
        length_penalty: float = 0.0,
        empty: bool = False,
        path: Path | None = None,
    ) -> None:
        self.direction_groups = tuple(direction_groups)
        self.source = source
        self.target = target
        self.limits = limits
        self.calibration = calibration
        self.confidence = confidence
        self.length_penalty = length_penalty
        self.empty = empty  # whether an output may be empty, which says that there is no answer
        self.path = path
        """The run folder, for the messages of errors."""
        self.rule: rules.TargetRule | None = None
        """The rule that all answers keep; an answer that does not is never given."""

    def predict(
        self, texts: Sequence[str], *, n: int = 1, width: int = 1, batch_size: int = 256
    ) -> list[Prediction]:
        """One prediction for each text, in order, with up to ``n`` candidates each.

        ``width`` is the beam width; it is raised to ``n`` where it is less. ``batch_size`` texts
        are computed together.

        Raises:
            CheckpointError: the weights are so large that no probability is a number.
        """
        distinct = list(dict.fromkeys(texts))
        split = [self.parts(text) for text in distinct]
        known = self._known([source for source, _ in split])
        ids = [self.encode(*parts) for parts in split]
        width = max(width, n)
        searches = [
            self._outputs(split, ids, group, width, batch_size) for group in self.direction_groups
        ]
        weights, found = [group.weight for group in self.direction_groups], {}
        for text, parts, row, one, *outputs in zip(
            distinct, split, ids, known, *searches, strict=True
        ):
            found[text] = best_of(
                text,
                merge(outputs, weights),
                self.source.unknown(*parts) if UNK in row else [],
                n,
                calibrated=self._calibrated(one) if row else None,
                by_merit=bool(self.length_penalty),
                familiarity=None if one is None else one.familiarity,
            )
        return [found[text] for text in texts]

    def parts(self, text: str) -> tuple[str, str]:
        """Source and features of one text, which has a tab between them.

        Raises:
            SettingError: a text without its features, or with more than one tab.
        """
        if not self.source.features:
            return text, ""
        source, tab, features = text.partition("\t")
        if not tab or "\t" in features:
            raise SettingError(
                f"'{text}' has {text.count(chr(9))} tabs, expected one, between source and features"
            )
        return source, features

    @property
    def actions(self) -> Actions | None:
        """The actions that a network with hard attention writes; None where it writes symbols."""
        actions: Actions | None = self.direction_groups[0].network.actions
        return actions

    def encode(self, source: str, features: str, *, backward: bool = False) -> list[int]:
        """The ids that a network reads; an empty list for a text without symbols."""
        hard = self.actions is not None
        ids = self.source.encode(source, features, ended=hard, backward=backward)
        return [] if ids == [EOS] else ids

    def search(
        self, sources: Sequence[Sequence[int]], width: int, group: DirectionGroup | None = None
    ) -> list[list[Hypothesis]]:
        """Hypotheses of one group (by default the first) for each source, best first.

        ``sources`` are ids, of similar length. A hypothesis has ids, or actions with hard
        attention. For a group that writes backward both are in reversed order.

        Raises:
            CheckpointError: as :meth:`predict`.
        """
        return self._search(sources, width, self.direction_groups[0] if group is None else group)[0]

    def _search(
        self, sources: Sequence[Sequence[int]], width: int, group: DirectionGroup
    ) -> Outputs:
        """As :meth:`search`; and for each source the probability that the rule removes."""
        limits, removed = [self._limit(ids) for ids in sources], [0.0] * len(sources)
        network, empty = group.network, self.empty
        how: dict[str, Any] = {"width": width, "length_penalty": self.length_penalty}
        silent = None if self.actions is None else self.actions.deletion
        if self.rule is not None:
            guide = self.rule.automaton(backward=group.backward)
            found, removed = search_within(network, sources, limits, guide, silent=silent, **how)
        elif isinstance(network, Searcher):
            found = network.search(sources, limits, empty=empty, **how)
        elif width == 1:
            state = network.start(sources)
            found = [[one] for one in greedy(network, state, limits, silent=silent, empty=empty)]
        else:
            found = beam(network, network.start(sources), limits, silent=silent, empty=empty, **how)
        for outputs, lost in zip(found, removed, strict=True):
            # where all probabilities are NaN, a search without a rule finds nothing
            scores = [one.score for one in outputs]
            require_numbers(scores or [lost if self.rule else math.nan], self.path)
        return found, removed

    def _limit(self, ids: Sequence[int]) -> int:
        """Longest output for a source; with hard attention long enough to reach its end.

        A rule has room for its longest line, or for the shortest text of its pattern. Without hard
        attention each output symbol looks at the whole source: an output that would take more than
        ``MAX_ATTENDED`` looks is cut there, and so marked as truncated.
        """
        size = source_length(ids)
        limit = self.limits.of(size)
        if self.rule is not None:
            limit = self.rule.limit(limit, size)
        if self.actions is None:
            return min(limit, MAX_ATTENDED // max(size, 1))
        return max(limit, math.ceil(LENGTH_MARGIN * size))

    def _outputs(
        self,
        texts: Sequence[tuple[str, str]],
        ids: Sequence[list[int]],
        group: DirectionGroup,
        width: int,
        batch_size: int,
    ) -> list[FoundTexts]:
        """The outputs that one group finds for each of ``texts``.

        ``ids`` are those of the texts, read forward.
        """
        if group.backward:
            ids = [self.encode(*parts, backward=True) for parts in texts]
        # a text without symbols, such as an empty line, has an empty output
        allows = None if self.rule is None else self.rule.answer
        found = [FoundTexts.of([ScoredText("", 0.0)], allows)] * len(ids)
        write = partial(self._written, backward=group.backward)
        # a network that searches by itself also divides its input into batches
        size = max(len(ids), 1) if isinstance(group.network, Searcher) else batch_size
        for batch in buckets([len(row) for row in ids], width=WIDTH, size=size):
            length = len(ids[batch[0]])
            most = max(1, MAX_POSITIONS // max(length, 1))
            if isinstance(group.network, Searcher):
                most = size
            for first in range(0, len(batch) if length else 0, most):
                rows = batch[first : first + most]
                searched = self._search([ids[row] for row in rows], width, group)
                for row, hypotheses, removed in zip(rows, *searched, strict=True):
                    outputs = texts_of(hypotheses, write, self.length_penalty)
                    found[row] = FoundTexts.of(outputs, allows, removed)
        return found

    def _written(self, ids: Sequence[int], *, backward: bool) -> str:
        """The text of an output."""
        written = ids if self.actions is None else self.actions.target_ids(ids)
        return self.target.decode(reversed(written) if backward else written)

    def _known(self, sources: Sequence[str]) -> Sequence[Source | None]:
        """The facts on each source without its answers; None in a run that has no measure."""
        if self.confidence is None:
            return [None] * len(sources)
        return self.confidence.sources(sources)

    def _calibrated(self, known: Source | None) -> Calibrated | None:
        """The function from scores to probabilities for a source that was searched."""
        if self.confidence and known:
            return partial(self.confidence.probabilities, known.penalty)
        return self.calibration.probabilities if self.calibration else None


class PairsModel:
    """A trained model that rewrites texts, from :func:`charseq.load`.

    It was trained on pairs of strings. A text is a source; for a model with features it is
    ``source<TAB>features``. Pickle stores the path of the run, which is loaded again.
    """

    options: Mapping[str, Any] = {}
    """The arguments of :func:`load` that the model was loaded with."""

    def __init__(
        self,
        path: Path,
        metadata: dict[str, Any],
        config: Config,
        translator: Translator,
        lexicon: Lexicon | None = None,
    ) -> None:
        self.path = path
        self.name = path.name
        self.metadata = metadata
        """Everything that the run's ``about.json`` says."""
        self.config = config
        self.translator = translator
        self.rule: rules.Rule | None = None
        """The rule that all answers keep."""
        self.unconstrained: PairsModel | None = None
        """Of a model with a rule: the same without one."""
        self._ruled: PairsModel | None = None  # the last one of `constrained`
        self.lexicon = lexicon
        """Your own pairs; their targets come before the answers of the model. None: no lexicon."""

    def __reduce__(self) -> tuple[Any, ...]:
        return reloading(self)

    @property
    def has_features(self) -> bool:
        """Whether a text is ``source<TAB>features``."""
        return bool(self.translator.source.features)

    @property
    def feature_separator(self) -> str:
        """The separator of the features in a text."""
        return self.translator.source.feature_separator

    @over_texts
    def predict(
        self,
        texts: Sequence[str],
        *,
        n: int = 1,
        beam: int | None = None,
        batch_size: int = 256,
        threshold: float | None = None,
        pattern: str | None = None,
        within: str | Path | None = None,
        check: str | Iterable[str] = (),
    ) -> list[Prediction]:
        """One prediction for each text, in order. The same text always gets the same answer.

        Args:
            texts: sources, as any iterable of them, or a single one; for a model with features,
                ``source<TAB>features``. A pandas Series of texts gives a Series of predictions
                with its index and its nulls.
            n: number of candidates for each text, best first; there may be fewer.
            beam: beam width, 1 is greedy search; by default the setting ``beam`` of the run.
            batch_size: texts computed together; it changes the speed, never an answer.
            threshold: an answer of the model with a probability below is withheld: ``prediction``
                is empty and ``unsure`` true. The candidates stay. None: nothing is withheld.
            pattern: a rule that all answers keep, like ``within`` and ``check``; see :func:`load`.
            within: the same, a file.
            check: the same, names of checks.

        Raises:
            SettingError: n, beam or batch_size below 1, a threshold that is not above 0 and at
                most 1, or a text without its features.
            UsageError: with the position: a text that is no str; or an expression that is none.
            DataError: with path and line: the file of answers cannot be read.
        """
        if rules.is_given(pattern, within, check):
            model = self.constrained(pattern=pattern, within=within, check=check)
            return model.predict(texts, n=n, beam=beam, batch_size=batch_size, threshold=threshold)
        width = self.config.beam if beam is None else beam
        refuse_below(1, n=n, beam=width, batch_size=batch_size)
        ask = partial(self.translator.predict, n=n, width=width, batch_size=batch_size)
        check_threshold(threshold, SettingError)
        if self.lexicon is None:
            return withholding(ask(texts), threshold)
        parts = {text: self.translator.parts(text) for text in texts}
        found = self.lexicon.answer(parts, n, ask)
        return withholding([found[text] for text in texts], threshold)

    def constrained(
        self,
        *,
        pattern: str | None = None,
        within: str | Path | None = None,
        check: str | Iterable[str] = (),
    ) -> PairsModel:
        """The same model with a rule, which takes the place of its own; see :func:`load`."""
        rule = rules.read(pattern, within, check)
        if rule is None:
            return self
        found = self._ruled
        if found and found.rule and found.rule.fingerprint == rule.fingerprint:
            return found
        free = self.unconstrained or self
        translator = copy.copy(free.translator)
        target, directions = translator.target, [g.backward for g in translator.direction_groups]
        translator.rule = rules.TargetRule(
            rule, target, translator.actions, backward=directions, empty=translator.empty
        )
        lexicon = free.lexicon and free.lexicon.within(rule.allows)
        self._ruled = PairsModel(self.path, self.metadata, self.config, translator, lexicon)
        self._ruled.rule, self._ruled.unconstrained = rule, free
        path = rule.path and str(rule.path.absolute())
        chosen = {"pattern": pattern, "within": path, "check": list(rule.checks)}
        self._ruled.options = {**free.options, **chosen}
        return self._ruled


def load(
    run: str | Path | None = None,
    *,
    lexicon: str | Path | None = None,
    lexicon_columns: str = "",
    length_penalty: float | None = None,
    device: str = "cpu",
    pattern: str | None = None,
    within: str | Path | None = None,
    check: str | Iterable[str] = (),
) -> PairsModel | LanguageModel:
    """Load the model of a run folder.

    Args:
        run: the folder. By default the one that the environment variable ``CHARSEQ_MODEL`` names,
            else the run in ``./checkpoints`` that was trained last, else the model of dates that
            comes with charseq. A name, such as ``"dates"``, is looked up in ``./checkpoints`` and
            among the models that come with charseq.
        lexicon: a file of your own pairs. Where a text is a source in it, its targets come before
            the answers of the model.
        lexicon_columns: roles of its columns, as in the setting ``columns``; by default by its
            header, else as in the data of the training.
        length_penalty: how much beam search prefers longer outputs; by default the setting
            ``length_penalty`` of the run.
        device: ``cpu``, or ``cuda`` to compute on a GPU with torch.
        pattern: a regular expression of Python that all answers match in full.
        within: a file; all answers are lines of it.
        check: names of checks that all answers pass: date, time, number, isbn, iban, luhn. With
            any of these three, no answer is outside, not even from the lexicon.

    Returns:
        A model that rewrites texts, or one that predicts words, as the run was trained.

    Raises:
        SettingError: another device, no GPU, or a language model is to run on one.
        CheckpointError: the run is missing, damaged, of a foreign format, or has no model yet.
        DataError: with path and line: the lexicon cannot be read.
        UsageError: a lexicon, a length penalty or a rule for a language model; no path; or an
            expression that is not regular, or that no output matches.
    """
    if device not in DEVICES:
        raise SettingError(f"device is {device!r:.60}, expected {' or '.join(DEVICES)}")
    if device != "cpu":
        require("torch", f"device {device}")
    for name, value in (("run", run), ("lexicon", lexicon)):
        check_path("" if value is None else value, name, "a path")
    path = find(run)
    metadata, config, source, target, weights, tokenizer = read_run(path)
    if tokenizer is not None:
        ruled = rules.is_given(pattern, within, check) or None
        named = {"a lexicon": lexicon, "a length penalty": length_penalty, "a rule": ruled}
        if given := [name for name, value in named.items() if value is not None]:
            raise UsageError(f"{given[0]} is for runs of pairs; {path} predicts words")
        if device != "cpu":
            raise SettingError(f"device is {device}; {path} predicts words, on the CPU only")
        return language_model(path, metadata, config, tokenizer, weights)
    options = {
        "lexicon": None if lexicon is None else str(Path(lexicon).absolute()),
        "lexicon_columns": lexicon_columns,
        "length_penalty": length_penalty,
        "device": device,
    }
    if length_penalty is not None:
        config = configure({"length_penalty": length_penalty}, base=config)
    limits = LengthLimits(tuple(metadata["limits"]))
    calibration = Calibration.from_json(metadata.get("calibration"))
    translator = Translator(
        direction_groups_on(device, config, weights),
        source,
        target,
        limits,
        calibration=calibration,
        confidence=Confidence.from_json(metadata.get("confidence"), calibration),
        length_penalty=config.length_penalty,
        empty=config.empty_targets,
        path=path,
    )
    entries = None
    if lexicon is not None:
        from charseq.inference.lexicon import read

        entries = read(lexicon, source, settings=config.to_json(), columns=lexicon_columns)
    model = PairsModel(path, metadata, config, translator, entries)
    model.options = options
    return model.constrained(pattern=pattern, within=within, check=check)
