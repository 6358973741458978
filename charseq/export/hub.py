"""Run folder -> a repository of the Hugging Face Hub, from which ``hf://owner/name`` loads it.

The repository is a run folder: the files that a model in use needs, with a model card whose head
the Hub reads, and a manifest of just these files. States to resume a training from, weights that
were kept and runs inside the run stay on this machine. The run itself is not changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from charseq.display import count
from charseq.errors import CheckpointError, UsageError
from charseq.inference.hub.download import find
from charseq.inference.hub.repository import DEFAULT_REVISION, asking, client, parse
from charseq.inference.loading import read_run
from charseq.inference.verify import verify
from charseq.runs.card_head import owned
from charseq.runs.folder import ABOUT, WEIGHTS, names, publish, read_all
from charseq.runs.model_card import render
from charseq.runs.untrusted import encode

CARD = "README.md"
PUSHED = (ABOUT, WEIGHTS, "metrics.jsonl")
"""Files of a run that are pushed as they are, beside the card and the manifest."""


def push(
    run: str | Path,
    repository: str,
    *,
    public: bool = False,
    license: str | None = None,
    languages: Sequence[str] = (),
    message: str | None = None,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Push a finished, sound run to the Hub as one commit; a repository is made if there is none.

    Args:
        run: a run folder or a name.
        repository: ``owner/name`` on the Hub.
        public: whether a repository that is made can be read by everyone. One that exists stays
            as it is.
        license: the identifier of the model's licence, for the card.
        languages: codes of the languages of the data, for the card.
        message: of the commit.
        dry_run: make all files, and push none of them.
        report: gets lines for people.

    Returns:
        ``run``, ``repository``, ``files`` (bytes by name), ``card`` (the text of the model card)
        and ``commit``, the address at the new commit, or None with ``dry_run``.

    Raises:
        UsageError: no name of a repository, no identifier of a licence, or no code of a language.
        CheckpointError: the run is missing, not finished or not sound; or the Hub cannot be
            reached or refuses.
        MissingExtraError: the package huggingface_hub is not installed.
    """
    place = parse(repository)
    if place.revision != DEFAULT_REVISION:
        raise UsageError(f"{place.id} has the revision {place.revision}, expected owner/name alone")
    owner = owned(license, languages)
    api = None if dry_run else client("charseq push")
    path = find(run)
    if faults := verify(path).faults:
        raise CheckpointError(f"is not sound, so it is not pushed: {faults[0]}", path=path)
    metadata = read_run(path).metadata
    if not metadata["finished"]:
        what = "is not finished, so it is not pushed: the command that began it continues it"
        raise CheckpointError(what, path=path)
    files = read_all(path, sorted(names(path) & {*PUSHED}))
    card = render(place.name, metadata, address=str(place), owner=owner)
    with tempfile.TemporaryDirectory(prefix="charseq-push-") as work:
        folder = Path(work) / place.name
        publish(folder, {**files, CARD: encode(card)})
        sizes = {one.name: one.stat().st_size for one in sorted(folder.iterdir())}
        report(f"{path}: {count(len(sizes), 'file')}, {sum(sizes.values()) / 1e6:.1f} MB")
        commit = None
        if api is not None:
            what = message or f"Push {place.name} by charseq"
            commit = _upload(api, place, folder, public=public, message=what)
            report(f"pushed     {commit}")
    facts = {"run": str(path), "repository": place.id, "files": sizes, "card": card}
    return {**facts, "commit": commit}


def _upload(api: Any, place: Any, folder: Path, *, public: bool, message: str) -> str:
    """Push the files of a folder as one commit. Returns the address at this commit."""
    from huggingface_hub import CommitOperationAdd

    operations = [CommitOperationAdd(one.name, one) for one in sorted(folder.iterdir())]
    with asking(place):
        api.create_repo(place.id, private=not public, exist_ok=True)
        done = api.create_commit(place.id, operations, commit_message=message)
    return str(place._replace(revision=done.oid))
