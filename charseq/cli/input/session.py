"""``--session FILE`` and ``--learn`` of ``charseq predict``: what its user writes comes up again.

The file is a text file with a line for each text that was learnt. It is a personal record: only its
owner can read it, and it may be edited or deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charseq.cli import options
from charseq.errors import UsageError

if TYPE_CHECKING:
    from charseq.cli.render import Answer
    from charseq.inference.prediction import Prediction

    AnswerFunction = Callable[[list[str]], Sequence[Answer]]

session = options.together(
    click.option(
        "--session",
        type=options.OutputName(),
        metavar="FILE",
        help="Language models: a text file of what you have written; its words come up.",
    ),
    click.option(
        "--learn",
        is_flag=True,
        help="With --session: learn each TEXT after its answer, and keep it in the FILE.",
    ),
)


def answering(
    model: Any,
    answer: AnswerFunction,
    path: str | None,
    *,
    learn: bool,
    others: bool,
    n: int,
    beam: int | None,
    complete: bool,
) -> AnswerFunction:
    """The answers of a session that has learnt the file ``path``; without one, ``answer``.

    Args:
        model: the model.
        answer: the function that answers without a session.
        path: the file; with ``learn`` it may be missing.
        learn: whether texts are learnt after their answers.
        others: whether there are options that do not go with a session.
        n: candidates of an answer.
        beam: beam width of a search.
        complete: whether the last word of a text is unfinished.

    Raises:
        UsageError: options that do not go together, or not with this model.
        DataError: the file cannot be read.
    """
    if path is None:
        if learn:
            raise UsageError("--learn is for --session FILE")
        return answer
    if others:
        raise UsageError("--session goes with none of --generate, --mass, --threshold and --align")
    if getattr(model, "session", None) is None:
        raise UsageError(f"--session needs a language model, but {model.path} rewrites strings")
    is_new = learn and not Path(path).exists()
    keyboard = model.session(None if is_new else path)

    def answer_one(text: str) -> Prediction:
        found: Prediction
        keyboard.reset()
        if complete:
            found = keyboard.complete(text, n, beam=beam)
        else:
            keyboard.feed(text)
            found = keyboard.predict(n, beam=beam)
        if learn:
            keyboard.learn(text)
        found = replace(found, source=text)
        return found

    def answers(texts: list[str]) -> list[Prediction]:
        found = [answer_one(text) for text in texts]
        if learn:
            keyboard.save(path)
        return found

    return answers
