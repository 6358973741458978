"""What goes to stdout and stderr, and what must not get through."""

from __future__ import annotations

import io
import json
import sys

import pytest

from charseq.cli import console
from charseq.display import MAX_LINE


def test_a_line_for_people_cannot_steer_the_terminal(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    console.show(["a\x1b[31mb\nc", "\u200eא\u200e", "x" * 10_000])
    first, second, third, end = capsysbinary.readouterr().out.decode().split("\n")
    assert (first, second, end) == ("a\\x1b[31mb c", "\u200eא\u200e", "")
    assert len(third) < MAX_LINE + 100


def test_json_escapes_what_a_terminal_would_obey(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    facts = {"é": "\x9b\u2028\u202e\x7f\U000e0001\ud800"}
    console.write_json(facts)
    out = capsysbinary.readouterr().out
    told = r'{"é": "\u009b\u2028\u202e\u007f\udb40\udc01\ud800"}'
    assert out.decode() == told + "\n"
    assert json.loads(out) == facts


def test_notes_and_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("one\ntwo")
    console.warn("three")
    console.silence("four")
    assert capsys.readouterr() == ("", "one two\ncharseq: warning: three\n")


def test_data_goes_to_stdout_in_utf8(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    console.write(["é", "\udcff"])
    console.write_json([{"ŷ": 1.5}])
    out, err = capsysbinary.readouterr()
    assert out == 'é\n\\udcff\n[{"ŷ": 1.5}]\n'.encode()
    assert err == b""


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        console.write_json({"x": float("nan")})


# --- the line of a conversion


class Terminal(io.StringIO):
    """A stderr that people see."""

    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, size: int | None, *, quiet: bool = False) -> str:
    """What stderr gets in a conversion of 100 bytes, 4 seconds long, with a message in between."""
    now = iter([0.0, 0.1, 1.0, 1.2, 4.0])
    stderr = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        patch.setattr(console.time, "monotonic", lambda: next(now))
        with console.rows_line(size, quiet=quiet) as line:
            line.show(5, 1)  # too early
            line.show(1000, 10)
            line.show(1200, 12)  # too early again
            line.note("a message")
            line.show(8000, 50)
    return stderr.getvalue()


def test_rows_pace_and_time_left_are_drawn_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clear = "\r\x1b[K"
    known = "\r1,000 rows, 1,000 rows/s, 10%, 0:09 left\x1b[K" + clear + "a message\n"
    known += "\r8,000 rows, 2,000 rows/s, 50%, 0:04 left\x1b[K" + clear
    assert drawn(monkeypatch, 100) == known
    unknown = "\r1,000 rows, 1,000 rows/s\x1b[K" + clear + "a message\n"
    assert drawn(monkeypatch, None) == unknown + "\r8,000 rows, 2,000 rows/s\x1b[K" + clear
    assert drawn(monkeypatch, 100, quiet=True) == ""


def test_no_line_is_drawn_where_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.rows_line(100, quiet=False) as line:
        line.show(10**6, 50)
        line.note("a message")
    assert capsys.readouterr().err == "a message\n"
