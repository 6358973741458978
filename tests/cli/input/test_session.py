"""``charseq predict --session``: a file of what its user writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from charseq.cli import main

MODEL = str(Path(__file__).parents[3] / "checkpoints" / "sentences")


def predict(*words: str, stdin: str | None = None) -> tuple[int, str, str]:
    found = CliRunner().invoke(main.program, ["predict", "-m", MODEL, "-q", *words], input=stdin)
    return found.exit_code, found.stdout, repr(found.exception)


def test_what_was_written_comes_up_in_the_next_call(tmp_path: Path) -> None:
    path = str(tmp_path / "mine.txt")
    code, out, _ = predict("--session", path, "--learn", "I met Zyx in town.", "We saw Zyx again.")
    assert (code, out.count("\n")) == (0, 2)
    assert Path(path).read_text(encoding="utf-8") == "I met Zyx in town.\nWe saw Zyx again.\n"
    assert predict("--complete", "I met Zy")[1] == "\n"
    assert predict("--session", path, "--complete", "I met Zy")[1] == "Zyx\n"
    assert Path(path).read_text(encoding="utf-8").count("\n") == 2, "--learn was not given"
    table = predict("--session", path, "-n", "2", "We saw")[1].splitlines()
    assert [line.split("\t")[:2] for line in table] == [["We saw", "1"], ["We saw", "2"]]


def test_an_empty_session_answers_as_the_model(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    plain = predict("-n", "5", "I love", "Thank you")
    assert (
        predict("--session", str(tmp_path / "mine.txt"), "-n", "5", "I love", "Thank you") == plain
    )


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    path = str(tmp_path / "mine.txt")
    for words, told in (
        (["--learn", "a"], "--learn is for --session FILE"),
        (["--session", path, "--learn", "--generate", "1", "a"], "goes with none of --generate"),
        (["--session", path, "--mass", "0.5", "a"], "goes with none of --generate, --mass"),
        (["--session", path, "a"], "mine.txt: cannot be read"),
    ):
        code, out, fault = predict(*words)
        assert code
        assert not out
        assert told in fault
    assert not Path(path).exists()


@pytest.mark.parametrize("more", [(), ("--learn",)])
def test_a_model_of_pairs_has_no_session(tmp_path: Path, more: tuple[str, ...]) -> None:
    dates = str(Path(MODEL).parent / "dates")
    words = ["predict", "-m", dates, "--session", str(tmp_path / "x"), *more, "3. May"]
    found = CliRunner().invoke(main.program, words)
    assert found.exit_code
    assert "checkpoints/dates" in repr(found.exception)
