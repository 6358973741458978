"""Run folder, texts -> predictions: the public Python interface, without torch on a CPU.

    model = load("checkpoints/dates")
    model.predict(["3. März 2021"], n=3)

The search and its probabilities are in :mod:`charseq.inference.translator`. Files of texts are
rewritten by :mod:`charseq.inference.convert`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.arguments import check_path
from charseq.confidence.calibration import Calibration
from charseq.confidence.confidence import Confidence
from charseq.confidence.memory import Memory
from charseq.confidence.word_prior import BEAM, WordPrior
from charseq.config import Config, configure
from charseq.data.frames import over_texts
from charseq.decoding import rules
from charseq.decoding.ensemble import direction_groups_on
from charseq.decoding.search import LengthLimits
from charseq.errors import SettingError, UsageError, require
from charseq.inference.alignment.pairs import Alignment, align
from charseq.inference.hub.download import find
from charseq.inference.language_model import LanguageModel
from charseq.inference.loading import fingerprint as fingerprint  # noqa: PLC0414, of models
from charseq.inference.loading import language_model, read_run, reloading, rescoring_of
from charseq.inference.prediction import Prediction, check_threshold, refuse_below, withholding
from charseq.inference.translator import Translator

if TYPE_CHECKING:
    from charseq.inference.lexicon import Lexicon

DEVICES = ("cpu", "cuda")
"""Devices that a model can be loaded on."""


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
    def memory(self) -> Memory | None:
        """The targets that sources had in training; None where the run remembers none."""
        return self.translator.memory

    @property
    def word_prior(self) -> WordPrior | None:
        """The list of words that the answers are weighed by; None: there is none."""
        return self.translator.words

    @property
    def beam(self) -> int:
        """The beam width where none is asked for: the run's, and with a list of words 20."""
        return self.config.beam if self.word_prior is None else max(self.config.beam, BEAM)

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
            beam: beam width, 1 is greedy search; by default the setting ``beam`` of the run, and
                20 with a list of words.
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
        width = self.beam if beam is None else beam
        refuse_below(1, n=n, beam=width, batch_size=batch_size)
        ask = partial(self.translator.predict, n=n, width=width, batch_size=batch_size)
        check_threshold(threshold, SettingError)
        if self.lexicon is None:
            return withholding(ask(texts), threshold)
        parts = {text: self.translator.parts(text) for text in texts}
        found = self.lexicon.answer(parts, n, ask)
        return withholding([found[text] for text in texts], threshold)

    def align(self, texts: Sequence[str], answers: Sequence[str]) -> list[Alignment | None]:
        """The symbols of each text that the symbols of an answer looked at, by attention.

        Args:
            texts: sources, as for :meth:`predict`.
            answers: an answer to each of them, the model's or any other.

        Returns:
            An alignment for each text; None where there is none: for a model without attention, an
            empty text or answer, and an answer that hard attention cannot write.

        Raises:
            SettingError: a text without its features.
        """
        if self.options.get("device", "cpu") != "cpu":  # a GPU searches without telling its steps
            own = load(self.path)
            return own.align(texts, answers) if isinstance(own, PairsModel) else []
        return align(self.translator, texts, answers)

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
    target_words: str | Path | None = None,
    length_penalty: float | None = None,
    device: str = "cpu",
    pattern: str | None = None,
    within: str | Path | None = None,
    check: str | Iterable[str] = (),
) -> PairsModel | LanguageModel:
    """Load the model of a run folder.

    Args:
        run: the folder, or ``hf://owner/name@revision`` for one of the Hugging Face Hub, which is
            downloaded and verified. By default the one that the environment variable
            ``CHARSEQ_MODEL`` names, else the run in ``./checkpoints`` that was trained last, else
            the model of dates that comes with charseq. A name, such as ``"dates"``, is looked up in
            ``./checkpoints`` and among the models that come with charseq.
        lexicon: a file of your own pairs. Where a text is a source in it, its targets come before
            the answers of the model.
        lexicon_columns: roles of its columns, as in the setting ``columns``; by default by its
            header, else as in the data of the training.
        target_words: a file of words of the target language, one a line, with their counts if
            there are. Answers that are listed come up. By default the list of the run, if it was
            trained with one.
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
        CheckpointError: the run is missing, damaged, of a foreign format, or has no model yet; or
            the Hub cannot be reached.
        DataError: with path and line: the lexicon or the list of words cannot be read.
        UsageError: a lexicon, a list of words, a length penalty or a rule for a language model; no
            path; or an expression that is not regular, or that no output matches.
    """
    if device not in DEVICES:
        raise SettingError(f"device is {device!r:.60}, expected {' or '.join(DEVICES)}")
    if device != "cpu":
        require("torch", f"device {device}")
    for name, value in (("run", run), ("lexicon", lexicon), ("target_words", target_words)):
        check_path("" if value is None else value, name, "a path")
    path = find(run)
    metadata, config, source, target, weights, tokenizer = read_run(path)
    if tokenizer is not None:
        ruled = rules.is_given(pattern, within, check) or None
        named: dict[str, Any] = {"a lexicon": lexicon, "a list of words": target_words}
        named |= {"a length penalty": length_penalty, "a rule": ruled}
        if given := [name for name, value in named.items() if value is not None]:
            raise UsageError(f"{given[0]} is for runs of pairs; {path} predicts words")
        if device != "cpu":
            raise SettingError(f"device is {device}; {path} predicts words, on the CPU only")
        return language_model(path, metadata, config, tokenizer, weights)
    options = {
        "lexicon": None if lexicon is None else str(Path(lexicon).absolute()),
        "lexicon_columns": lexicon_columns,
        "target_words": None if target_words is None else str(Path(target_words).absolute()),
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
        memory=Memory.from_json(metadata.get("memory")),
        words=_words(metadata, target_words),
        rescoring=rescoring_of(metadata, config, target),
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


def _words(metadata: Mapping[str, Any], path: str | Path | None) -> WordPrior | None:
    """The list of words to use: that of the file ``path`` with the run's weights, else the run's.

    A run that was trained without a list has the default weights.
    """
    stored = WordPrior.from_json(metadata.get("words"))
    if path is None:
        return stored
    from charseq.confidence.word_list import read as read_words

    words = read_words(path)
    return WordPrior(words) if stored is None else replace(stored, words=words)
