"""Texts of the command line and of stdin: lines, features and windows."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.cli.input import texts as reading
from charseq.errors import DataError, UsageError

ODD = "a\u2028b\x0bc\x0cd\x85e\u3000"


def lines(content: bytes, *, has_features: bool = False) -> list[str]:
    return list(reading.read_lines(io.BytesIO(content), has_features=has_features))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", []),
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (f"{ODD}\n\xa0f \n".encode(), [ODD, "\xa0f "]),
        (b"a\rb\n", ["a\rb"]),
        (b"a\r", ["a\r"]),
        (b" \n\x00\n", [" ", "\x00"]),
    ],
)  # fmt: skip
def test_only_lf_and_crlf_end_a_line(content: bytes, texts: list[str]) -> None:
    assert lines(content) == texts


@given(st.lists(st.text().filter(lambda t: not set("\n\t") & set(t) and t[-1:] != "\r")))
def test_every_line_is_one_text(texts: list[str]) -> None:
    texts = [text.removeprefix("\ufeff") for text in texts]
    assert lines("".join(f"{text}\n" for text in texts).encode()) == texts


def test_bytes_that_are_not_utf8_are_named() -> None:
    with pytest.raises(DataError, match=r"^stdin:2: byte 0xe4 at column 2 is not UTF-8$"):
        lines(b"ok\nM\xe4rz\n")
    with pytest.raises(UsageError, match=r"^the text 'M\\udce4rz' is not UTF-8$"):
        list(reading.read_arguments(["ok", "M\udce4rz"], has_features=False))


def test_tabs_fit_the_model() -> None:
    words = ["run\tV;PST", "", "run\t"]
    assert list(reading.read_arguments(words, has_features=True)) == words
    assert lines(b"run\tV;PST\n\n", has_features=True) == ["run\tV;PST", ""]
    with pytest.raises(DataError, match=r"^stdin:2: 0 tabs, expected one: source TAB features"):
        lines(b"run\tV\nrun\n", has_features=True)
    with pytest.raises(UsageError, match="has 2 tabs, expected one"):
        list(reading.read_arguments(["a\tb\tc"], has_features=True))
    with pytest.raises(DataError, match=r"^stdin:1: a tab, but the model takes no features"):
        lines(b"run\tV\n")


def test_windows_hold_everything_in_order() -> None:
    assert list(reading.windows("abcdefg", 3)) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert list(reading.windows("abc", 3)) == [["a", "b", "c"]]
    assert list(reading.windows("", 3)) == []


def test_texts_before_an_error_are_answered() -> None:
    def texts() -> Iterator[str]:
        yield "a"
        yield "b"
        raise DataError("bad")

    found = reading.windows(texts(), 10)
    assert next(found) == ["a", "b"]
    with pytest.raises(DataError, match="bad"):
        next(found)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=8))
def test_lines_are_the_same_however_they_arrive(parts: list[bytes]) -> None:
    """From a pipe, chunk by chunk, as from a file."""
    whole = b"".join(parts).replace(b"\r", b"r")
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream:
        lines = reading._raw_lines(stream)
        found = []
        with os.fdopen(write, "wb", buffering=0) as sink:
            for part in parts:
                sink.write(part.replace(b"\r", b"r"))
                found += list(iter(lambda: next(lines), None))
        found += [line for line in lines if line is not None]
    assert found == list(io.BytesIO(whole))


# --- how far it is


class Terminal(io.StringIO):
    """A stderr that people see."""

    def isatty(self) -> bool:
        return True


def test_answers_to_a_file_are_counted_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("ä\nbc\n" * 50, encoding="utf-8")
    stderr = Terminal()
    now = iter(range(0, 100, 10))
    with path.open() as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        patch.setattr(sys, "stderr", stderr)
        patch.setattr(sys, "stdout", io.StringIO())
        patch.setattr(reading.time, "monotonic", lambda: next(now))
        with reading.counting((), "texts", quiet=False) as counts:
            counts.add(["ä", "bc"] * 25)
            counts.warn("a warning")
    told = stderr.getvalue().replace("\x1b[K", "").replace("\n", "\r").split("\r")
    assert "50 texts, 2 texts/s, 50%, 0:20 left" in told
    assert told[-3:-1] == ["charseq: warning: a warning", "50 texts answered in 20 s"]


@pytest.mark.parametrize(("quiet", "typed"), [(True, False), (False, True)])
def test_no_counts_disturb_answers_on_a_terminal(
    quiet: bool, typed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr, now = Terminal(), iter(range(0, 100, 10))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        patch.setattr(sys, "stdout", Terminal() if typed else io.StringIO())
        patch.setattr(reading.time, "monotonic", lambda: next(now))
        with reading.counting(("a",), "texts", quiet=quiet) as counts:
            counts.add(["a"])
    assert stderr.getvalue() == ""


def test_the_size_of_stdin_is_known_where_it_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("abc\n")
    with path.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert reading.stdin_size(()) == reading.stdin_size(("-",)) == 4
        assert reading.stdin_size(("a",)) is None
    read, write = os.pipe()
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert reading.stdin_size(()) is None
