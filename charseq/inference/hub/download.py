"""hf://owner/name@revision -> a verified run folder on this machine; other names as in ``lookup``.

Nothing is downloaded unless a model is named by such an address. The files that the manifest of the
run lists are fetched at one commit, to a temporary folder. They are checked there like any
stranger's run (:mod:`charseq.inference.verify`), and only a sound run is moved to the cache, in one
step:

    <cache of huggingface_hub>/assets/charseq/owner--name/<commit>/name

A commit never changes, so an address with a whole commit needs no network once it is there. For a
branch or a tag the Hub is asked for its commit every time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from charseq.errors import CheckpointError
from charseq.inference.hub.repository import (
    Repository,
    asking,
    client,
    is_address,
    is_commit,
    parse,
)
from charseq.runs import lookup
from charseq.runs.lookup import Choice
from charseq.runs.store import (
    MANIFEST,
    MAX_BYTES,
    MAX_MANIFEST_BYTES,
    absence,
    names,
    state_of,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PURPOSE = "a model of the Hugging Face Hub"
MAX_DOWNLOAD = MAX_BYTES[".safetensors"]
"""Bytes of a run that is downloaded, at most: those of the largest model."""


def find(model: str | Path | None = None) -> Path:
    """The folder of the run that ``model`` names; without a name as :func:`choose`.

    Raises:
        CheckpointError, UsageError, MissingExtraError: as :func:`choose`.
    """
    return choose(model).path


def choose(model: str | Path | None = None, *, task: str | None = None) -> Choice:
    """The run to use, and why: as ``charseq.runs.lookup.choose``, and runs of the Hub.

    Args:
        model: a folder, a name, or ``hf://owner/name@revision``; by default $CHARSEQ_MODEL, which
            may be such an address too, else as ``lookup.choose``.
        task: as for ``lookup.choose``.

    Raises:
        CheckpointError: as ``lookup.choose``; or the Hub cannot be reached, has no such run, or
            one that is not sound.
        UsageError: an empty name, or no address.
        MissingExtraError: the package huggingface_hub is not installed.
    """
    named = os.environ.get("CHARSEQ_MODEL") if model is None else model
    if not is_address(named):
        return lookup.choose(model, task=task)
    path = download(named)
    repository = parse(named)
    return Choice(path, str(repository._replace(revision=path.parent.name)))


def download(address: str) -> Path:
    """The folder of a run of the Hub in the cache, downloaded and verified if it is not there.

    Raises:
        UsageError: no address.
        MissingExtraError: the package huggingface_hub is not installed.
        CheckpointError: the Hub cannot be reached or refuses, or the run is missing, too large, or
            not sound.
    """
    repository = parse(address)
    api = client(PURPOSE)
    if is_commit(repository.revision) and names(place := _place(repository)):
        return place
    with asking(repository, hint=_hint(repository)):
        found = api.model_info(repository.id, revision=repository.revision, files_metadata=True)
        commit, sizes = str(found.sha), {s.rfilename: s.size for s in found.siblings or ()}
    if not is_commit(commit) or (is_commit(repository.revision) and commit != repository.revision):
        raise CheckpointError("the Hub answers with another commit", path=str(repository))
    fixed = repository._replace(revision=commit)
    place = _place(fixed)
    if not names(place):
        import tempfile

        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as work:
            _move(_fetch(api, fixed, sizes, Path(work)), place)
    return place


def _fetch(api: HfApi, repository: Repository, sizes: Mapping[str, int | None], work: Path) -> Path:
    """The run, downloaded to a folder in ``work`` and verified.

    ``sizes``: bytes of the files of the repository, by name.
    """

    def fetch(name: str) -> None:
        with asking(repository):
            path = api.hf_hub_download(
                repository.id, name, revision=repository.revision, local_dir=work / "files"
            )
        Path(path).replace(folder / name)

    folder = work / repository.name
    folder.mkdir()
    if MANIFEST not in sizes:
        raise CheckpointError(absence(folder), path=str(repository))
    if (sizes[MANIFEST] or 0) >= MAX_MANIFEST_BYTES:
        raise CheckpointError(f"{MANIFEST} is larger than any of a run", path=str(repository))
    fetch(MANIFEST)
    try:
        listed = state_of(folder).files
    except CheckpointError as fault:
        raise _unsound(repository, folder, [str(fault)]) from fault
    total = 0
    for name, entry in sorted(listed.items()):
        if sizes.get(name) != entry.size:
            is_there = f"it has {sizes[name]:,} bytes" if sizes.get(name) else "it is missing"
            what = f"{name}: {is_there}, {MANIFEST} says {entry.size:,}"
            raise _unsound(repository, folder, [what])
        total += entry.size
    if total > MAX_DOWNLOAD:
        what = f"takes {total:,} bytes, more than the {MAX_DOWNLOAD:,} of a run to download"
        raise CheckpointError(what, path=str(repository))
    for name in sorted(listed):
        fetch(name)
    from charseq.inference.verify import verify

    if faults := verify(folder).faults:
        raise _unsound(repository, folder, faults)
    return folder


def _unsound(repository: Repository, folder: Path, faults: list[str]) -> CheckpointError:
    """The error for a run with faults, which names the first of them."""
    first = faults[0].replace(f"{folder}/", "").replace(str(folder), repository.name)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return CheckpointError(f"is not sound, so it is not used: {first}{more}", path=str(repository))


def _move(folder: Path, place: Path) -> None:
    """Move a verified run to the cache, unless another process was faster."""
    try:
        folder.rename(place)
    except OSError:
        if not names(place):
            raise


def _place(repository: Repository) -> Path:
    """The folder of a run in the cache, whose revision is a commit; its parent is made.

    Raises:
        CheckpointError: it cannot be made.
    """
    folder = _cache(repository) / repository.revision
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise CheckpointError(f"cannot be made: {fault.strerror}", path=folder) from fault
    return folder / repository.name


def _cache(repository: Repository) -> Path:
    """The folder with the commits of a repository in the cache."""
    from huggingface_hub import constants

    owned = f"{repository.owner}--{repository.name}"
    return Path(constants.HF_ASSETS_CACHE) / "charseq" / owned


def _hint(repository: Repository) -> str:
    """Advice where the Hub cannot be reached: the commit that was downloaded last, if any."""
    folders = [path for path in _cache(repository).glob("*") if names(path / repository.name)]
    if not folders:
        return ""
    last = max(folders, key=lambda path: path.stat().st_mtime)
    return f"{repository._replace(revision=last.name)} is on this machine"
