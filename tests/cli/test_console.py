"""What goes to stdout and stderr, and what must not get through."""

from __future__ import annotations

import json

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
