"""What goes to stdout and stderr, and what must not get through."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


def test_another_pass_begins_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 10.0, 20.0, 30.0])
    stderr = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        patch.setattr(console.time, "monotonic", lambda: next(now))
        with console.rows_line(1.0, quiet=False, unit="texts") as line:
            line.show(100, 1.0)
            line.show(50, 0.5)  # fewer than before: the second pass
            line.show(60, 0.6)
    told = stderr.getvalue().replace("\x1b[K", "").split("\r")
    assert told[1:3] == [
        "100 texts, 10 texts/s, 100%, 0:00 left",
        "60 texts, 6 texts/s, 60%, 0:07 left",
    ]


def test_rows_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[int, float]] = []
    line = console.RowsLine(100, quiet=False)
    monkeypatch.setattr(line, "show", lambda rows, done: shown.append((rows, done)))
    line.add(5, 10)
    assert shown == [(5, 10)]


def test_work_that_cannot_be_counted_tells_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(console, "DRAW_SECONDS", 0.01)
    stderr = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        with console.waiting("counting", quiet=False):
            wait_for(lambda: "counting" in stderr.getvalue())
        assert stderr.getvalue().endswith("\r\x1b[K"), "the line is taken away"
        assert "\rcounting, 0:00\x1b[K" in stderr.getvalue()
        before = stderr.getvalue()
        with console.waiting("counting", quiet=True):
            pass
        assert stderr.getvalue() == before


def wait_for(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not fact() and time.monotonic() < end:
        time.sleep(0.01)
    assert fact()


def test_what_comes_before_and_after_the_rows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    @contextmanager
    def waiting(text: str, *, quiet: bool) -> Iterator[None]:
        told.append(text)
        yield
        told.append(f"end of {text}")

    monkeypatch.setattr(console, "waiting", waiting)
    with console.rows_line(1.0, quiet=False, before="reading", after="counting") as line:
        assert told == ["reading"]
        line.show(1, 0.5)
        assert told[1:] == ["end of reading"]
        line.show(2, 1.0)
        assert told[2:] == ["counting"]
    assert told[3:] == ["end of counting"]


@pytest.mark.parametrize("again", [False, True])
def test_a_line_is_shown_until_a_training_says_something(
    again: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    @contextmanager
    def waiting(text: str, *, quiet: bool) -> Iterator[None]:
        told.append(text)
        yield
        told.append("end")

    monkeypatch.setattr(console, "waiting", waiting)
    with console.preparing("reading", quiet=False, again=again) as found:
        assert not found["progress"]
        assert told == ["reading"]
        found["report"]("a message")
        found["report"]("another")
        assert told == (["reading", "end"] * 2 + ["reading"] if again else ["reading", "end"])
    assert told.count("reading") == told.count("end")
    assert capsys.readouterr().err == "a message\nanother\n"
