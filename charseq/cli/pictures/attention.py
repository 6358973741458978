"""Option ``--plot`` of ``charseq predict``: a text and its answer -> a letter-to-letter picture.

The drawing is imported when the option is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.display import shorten
from charseq.errors import UsageError
from charseq.inference.prediction import Prediction

if TYPE_CHECKING:
    from charseq.cli.render import Answer
    from charseq.inference.alignment.pairs import Alignment


def check(path: Path, texts: Sequence[str], *, force: bool) -> None:
    """Refuse a picture of more than one text, or one that cannot be written, before the work.

    Raises:
        UsageError: there is not one text on the command line, or the file does not fit.
        MissingExtraError: matplotlib is not installed.
    """
    from charseq.inference.alignment import picture

    if len(texts) != 1 or texts == ("-",) or not texts[0]:
        raise UsageError("--plot draws the attention of one TEXT, given on the command line")
    picture.check(path, force=force)


def draw(
    model: Any,
    answer: Answer,
    align: Callable[[Prediction], Alignment | None],
    path: Path,
    text: str,
    *,
    report: Callable[[str], None],
) -> None:
    """Draw which symbols of a text those of its best answer looked at.

    ``report`` gets the name of the file, and a line on each script that no installed font has.

    Raises:
        UsageError: there is no answer, or the network cannot write it.
        DataError: the file cannot be written.
    """
    from charseq.inference.alignment import picture

    found = align(answer) if isinstance(answer, Prediction) else None
    if not isinstance(answer, Prediction) or found is None:
        raise UsageError(f"--plot: the answer to '{shorten(text)}' has no alignment to draw")
    best = answer.candidates[0]
    title = f"{model.path.name}: what each symbol of the answer looked at\n"
    title += f"probability of the answer {best.probability:.3f}"
    picture.draw(path, found, title=title, report=report)
    report(f"drawn {path}")
