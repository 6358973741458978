"""Addresses of the Hub, and what people read where it fails."""

from __future__ import annotations

import sys

import pytest

from charseq.errors import CheckpointError, MissingExtraError, UsageError
from charseq.inference.hub.repository import Repository, asking, client, is_address, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://me/dates", ("me", "dates", "main")),
        ("hf://me/dates@v1.0", ("me", "dates", "v1.0")),
        ("hf://me/dates@refs/pr/2", ("me", "dates", "refs/pr/2")),
        (f"hf://A-b/c_d.e@{COMMIT}", ("A-b", "c_d.e", COMMIT)),
        ("me/dates", ("me", "dates", "main")),
    ],
)
def test_an_address_names_a_repository_and_a_revision(
    address: str, expected: tuple[str, str, str]
) -> None:
    found = parse(address)
    assert found == expected
    assert found.id == "/".join(expected[:2])
    assert parse(str(found)) == found


def test_the_main_branch_is_not_told() -> None:
    assert str(Repository("me", "dates")) == "hf://me/dates"
    assert str(Repository("me", "dates", "v2")) == "hf://me/dates@v2"


@pytest.mark.parametrize(
    "address",
    [
        "hf://", "hf://me", "hf://me/", "hf:///dates", "hf://me/dates/file", "hf://../dates",
        "hf://me/..", "hf://me/a..b", "hf://me/dates@", "hf://me/dates@../x", "hf://me/dates@a b",
        "hf://me/dates@a..b", "hf://me/d\nates", "hf://me/dätes", "hf://-me/dates", "hf://me/dates@@a",
    ],
)  # fmt: skip
def test_another_text_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match=r"^'.*' names no repository of the Hub, expected hf://"):
        parse(address)


@pytest.mark.parametrize(
    ("model", "expected"),
    [("hf://me/dates", True), ("hf:/me/dates", False), ("dates", False), (None, False), (1, False)],
)
def test_only_a_text_with_the_scheme_is_an_address(model: object, expected: bool) -> None:
    assert is_address(model) == expected


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"^a model needs huggingface_hub: pip install "):
        client("a model")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OSError(28, "No space left on device"), "cannot be stored: No space left on device"),
        (ConnectionResetError(104, "Connection reset by peer"), "cannot be reached: .*reset by"),
        (ValueError("LFS batch API\nreturned errors"), "does not do it: LFS batch API returned"),
    ],
)
def test_faults_beside_answers_of_the_hub_are_one_line(fault: Exception, told: str) -> None:
    expected = pytest.raises(CheckpointError, match=rf"^hf://me/dates: .*{told}")
    with expected as caught, asking(Repository("me", "dates"), hint="x is here"):
        raise fault
    assert "\n" not in str(caught.value)
    assert ("x is here" in str(caught.value)) == ("reached" in told)


def test_progress_bars_are_off_only_while_the_hub_is_asked() -> None:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    assert not are_progress_bars_disabled()
    with asking(Repository("me", "dates")):
        assert are_progress_bars_disabled()
    assert not are_progress_bars_disabled()
