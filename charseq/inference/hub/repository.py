"""hf://owner/name@revision <-> a repository of the Hugging Face Hub, and the faults of the Hub.

The package ``huggingface_hub`` is loaded by the first call that reaches the Hub. The environment
variables that it reads hold here as well, such as HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from charseq.display import printable
from charseq.errors import CheckpointError, UsageError, require
from charseq.runs.untrusted import reason
from charseq.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
DEFAULT_REVISION = "main"
EXTRA = "huggingface_hub"
"""The package of the extra ``hub``."""
MAX_REASON = 200
"""Characters of a message of the Hub that people are shown."""
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,95}"
_REPOSITORY = re.compile(rf"({_NAME})/({_NAME})")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Repository(NamedTuple):
    """A repository of models at a revision: a branch, a tag or a commit."""

    owner: str
    name: str
    revision: str = DEFAULT_REVISION

    @property
    def id(self) -> str:
        """``owner/name``, as the Hub names it."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        at = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"{SCHEME}{self.id}{at}"


def is_address(model: Any) -> TypeGuard[str]:
    """Whether the name of a model is an address of the Hub."""
    return isinstance(model, str) and model.startswith(SCHEME)


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit, whose files never change."""
    return _COMMIT.fullmatch(revision) is not None


def parse(address: str) -> Repository:
    """``hf://owner/name`` or ``hf://owner/name@revision``; the scheme may be left out.

    Raises:
        UsageError: another text.
    """
    place, at, revision = address.removeprefix(SCHEME).partition("@")
    found = _REPOSITORY.fullmatch(place)
    if found is None or (at and (not _REVISION.fullmatch(revision) or ".." in revision)):
        shown = printable(address, most=MAX_REASON)
        form = "owner/name or owner/name@revision"
        raise UsageError(f"'{shown}' names no repository of the Hub, expected {SCHEME}{form}")
    return Repository(found[1], found[2], revision or DEFAULT_REVISION)


def client(purpose: str) -> HfApi:
    """The client of the Hub, which introduces itself as charseq.

    Raises:
        MissingExtraError: the package huggingface_hub is not installed; ``purpose`` needs it.
    """
    require(EXTRA, purpose)
    from huggingface_hub import HfApi

    return HfApi(library_name="charseq", library_version=__version__)


@contextmanager
def asking(repository: Repository, *, hint: str = "") -> Iterator[None]:
    """A block that asks the Hub: its exceptions are told in one line, its progress bars are off.

    ``hint``: advice for the case that the Hub cannot be reached.

    Raises:
        CheckpointError: the Hub cannot be reached or refuses, or has no such repository, revision
            or file.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    # the base of HfHubHTTPError is the HTTPError of the HTTP package that this version is built on
    transport: Any = errors.HfHubHTTPError.__bases__[0]
    shown = not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the environment wants bars, they stay
        disable_progress_bars()
    try:
        yield
    except errors.EntryNotFoundError as fault:
        if isinstance(fault, errors.LocalEntryNotFoundError):
            raise _unreachable(repository, fault, hint) from fault
        raise CheckpointError("a file of it is missing on the Hub", path=str(repository)) from fault
    except errors.HfHubHTTPError as fault:
        raise CheckpointError(_refusal(repository, fault), path=str(repository)) from fault
    except (transport, OSError) as fault:
        raise _unreachable(repository, fault, hint) from fault
    except (ValueError, RuntimeError) as fault:  # of an upload, or an answer that is none of a Hub
        told = _shown(str(fault.__cause__ or fault))
        raise CheckpointError(f"the Hub does not do it: {told}", path=str(repository)) from fault
    finally:
        if shown:
            enable_progress_bars()


def _refusal(repository: Repository, fault: Any) -> str:
    """The answer of the Hub that is an error, as a message."""
    from huggingface_hub import errors

    code = getattr(fault.response, "status_code", None)
    if isinstance(fault, errors.GatedRepoError):
        return f"is gated: accept its terms on its page, and {LOG_IN}"
    if isinstance(fault, errors.RepositoryNotFoundError):
        return f"the Hub has no such repository, or it is private and not yours: {LOG_IN}"
    if isinstance(fault, errors.RevisionNotFoundError):
        return f"the repository has no revision {repository.revision}"
    if code in (401, 403):
        return f"the Hub does not allow it ({code}): {LOG_IN}, with a token that may do so"
    told = fault.server_message or str(fault)
    return f"the Hub answers {code}: {_shown(told)}"


def _unreachable(repository: Repository, fault: BaseException, hint: str) -> CheckpointError:
    """The error where no answer of the Hub arrives, or this machine cannot store it."""
    from huggingface_hub import constants, errors

    cause = fault.__cause__ or fault
    is_local = isinstance(fault, OSError) and not isinstance(
        fault, ConnectionError | TimeoutError | errors.LocalEntryNotFoundError
    )
    if is_local and getattr(fault, "strerror", None):
        return CheckpointError(f"cannot be stored: {reason(fault)}", path=str(repository))
    what = f"the Hub ({constants.ENDPOINT}) cannot be reached: {_shown(str(cause))}"
    if isinstance(fault, errors.OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        what = "the Hub is not asked, since HF_HUB_OFFLINE is set"
    return CheckpointError(f"{what}{hint and f'; {hint}'}", path=str(repository))


def _shown(text: str) -> str:
    """A message of others on one line, for an error."""
    return printable(" ".join(text.split())[:MAX_REASON])
