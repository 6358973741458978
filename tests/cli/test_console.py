"""What goes to stdout and stderr, and what must not get through."""

from __future__ import annotations

import pytest

from charseq.cli import console


def test_a_line_cannot_steer_the_terminal() -> None:
    assert console.printable("a\x1b[31mb\nc\x07\u202e") == "a\\x1b[31mb c\\x07\\u202e"
    assert console.printable("Ünïcode 日本") == "Ünïcode 日本"


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
