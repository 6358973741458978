"""``charseq predict --plot``: one text, its answer on stdout, its picture in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from world import ROOT, process

HARD = str(ROOT / "tests" / "fixtures" / "hard")


@pytest.mark.parametrize(("ending", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_answer_goes_to_stdout_and_the_picture_to_the_file(
    ending: str, head: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"x.{ending}"
    plain = process("predict", "-m", HARD, "banana")
    found = process("predict", "-m", HARD, "--plot", str(path), "banana")
    assert (found.returncode, found.stdout) == (0, plain.stdout)
    assert found.stderr.decode() == f"drawn {path}\n"
    assert path.read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-m", HARD, "a", "b"), "one TEXT"),
        (("-m", HARD), "one TEXT"),
        (("-m", HARD, "-"), "one TEXT"),
        (("-m", HARD, ""), "one TEXT"),
        (("-m", str(ROOT / "tests" / "fixtures" / "words"), "a"), "needs a model with attention"),
        (("-m", HARD, "--complete", "a"), "goes with none of --complete, --generate"),
    ],
)
def test_a_picture_is_of_one_text_and_of_a_model_with_attention(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.png"
    found = process("predict", "--plot", str(path), *words, input=b"a\n")
    assert found.returncode == 2
    assert told in found.stderr.decode()
    assert not path.exists()


def test_a_file_that_exists_stays_and_another_ending_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"mine")
    found = process("predict", "-m", HARD, "--plot", str(path), "banana")
    assert (found.returncode, found.stdout, path.read_bytes()) == (2, b"", b"mine")
    assert process("predict", "-m", HARD, "--plot", str(path), "--force", "banana").returncode == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    other = process("predict", "-m", HARD, "--plot", str(tmp_path / "x.pdf"), "banana")
    assert "a picture's name ends in .png or .svg" in other.stderr.decode()
