"""train, predict, convert, evaluate: what each prints, and what it asks of the rooms below."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from world import ECHO, Upper, World, process

from charseq.config import Config

# --- predict


def test_texts_in_answers_out(world: World) -> None:
    assert world.run("predict", "straße b", "", "c", "-q") == (0, "STRASSE B\n\nC\n", "")
    assert world.model.calls == [(["straße b", "c"], 1, None)]
    assert world.loaded == [None]


def test_lines_of_stdin_in_windows(world: World) -> None:
    world.stdin(b"\xef\xbb\xbfa\r\n\nb\n" + b"c\n" * 600)
    code, out, err = world.run("predict", "-m", "my run", "--beam", "3")
    assert (code, out, err) == (0, "A\n\nB\n" + "C\n" * 600, "")
    assert world.loaded == ["my run"]
    assert [len(texts) for texts, _, _ in world.model.calls] == [255, 256, 91]
    assert {beam for _, _, beam in world.model.calls} == {3}
    world.stdin(b"last")
    assert world.run("predict", "-") == (0, "LAST\n", "")


def test_a_terminal_is_answered_line_by_line(world: World) -> None:
    world.stdin(b"a\nb\n", terminal=True)
    code, out, err = world.run("predict")
    assert (code, out) == (0, "A\nB\n")
    assert "Ctrl-D" in err
    assert [texts for texts, _, _ in world.model.calls] == [["a"], ["b"]]
    world.stdin(b"a\n", terminal=True)
    assert world.run("predict", "-q") == (0, "A\n", "")


def test_tables_and_json(world: World) -> None:
    table = "a\t1\tA\t1.000000\na\t2\tA!\t0.500000\n"
    assert world.run("predict", "-n", "2", "a") == (0, table, "")
    assert world.run("predict", "a", "--scores")[1] == "a\t1\tA\t1.000000\n"
    code, out, _ = world.run("predict", "--json", "-n", "2", "a", "ä", "")
    rows = [json.loads(line) for line in out.split("\n")[:-1]]
    assert code == 0
    assert "ä" in out
    assert [row["source"] for row in rows] == ["a", "ä", ""]
    assert list(rows[0]) == [
        "source", "prediction", "probability", "unknown", "truncated", "candidates",
    ]  # fmt: skip
    assert rows[0]["candidates"][1] == {"prediction": "A!", "probability": 0.5}


def test_what_is_unknown_or_cut_is_said(world: World) -> None:
    code, out, err = world.run("predict", "Straße", "Maß", "a" * 20)
    assert code == 0
    assert out == "STRASSE\nMASS\nAAAAAAAAAA\n"
    first, cut, total, end = err.split("\n")
    assert first.startswith("charseq: warning: ")
    assert "U+00DF" in first
    assert "LATIN SMALL LETTER SHARP S is unknown to the model (in 'Straße')" in first
    assert "cut" in cut
    assert "in 2 texts" in total
    assert end == ""
    assert world.run("predict", "-q", "Straße")[2] == ""


def test_features_need_their_tab(world: World) -> None:
    world.model.has_features = True
    assert world.run("predict", "run\tV", "--scores") == (0, "run\t1\tRUN\tV\t1.000000\n".replace(
        "RUN\tV", "RUN V"), "")  # fmt: skip
    code, out, err = world.run("predict", "run")
    assert (code, out) == (2, "")
    assert err == "charseq: error: the text 'run' has 0 tabs, expected one: source TAB features\n"
    world.stdin(b"run\tV\n\nrun\n")
    code, out, err = world.run("predict")
    assert (code, out) == (1, "RUN V\n\n")
    assert err == "charseq: error: stdin:3: 0 tabs, expected one: source TAB features\n"


def test_lines_before_bad_bytes_are_answered(world: World) -> None:
    world.stdin(b"a\nb\nM\xe4rz\nc\n")
    code, out, err = world.run("predict")
    assert (code, out) == (1, "A\nB\n")
    assert err == "charseq: error: stdin:3: byte 0xe4 at column 2 is not UTF-8\n"


def test_bad_bytes_on_the_command_line() -> None:
    done = process(b"predict", b"M\xe4rz", code=ECHO)  # type: ignore[arg-type]
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr == b"charseq: error: the text 'M\\udce4rz' is not UTF-8\n"


def test_output_is_utf8_with_lf_whatever_the_locale() -> None:
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = process("predict", code=ECHO, env=environment, input="ä\r\n日本\n".encode())
    assert done.stdout == "ä\n日本\n".encode()
    assert done.stderr == b""


# --- convert


def test_convert_hands_everything_on(world: World, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    def convert(model: Upper, path: str, out: str, **options: Any) -> None:
        options.pop("report")(f"{path}: 3 rows")
        calls.append((model, path, out, options))

    world.replace(
        "convert", convert=convert, targets=lambda paths, out: [f"{out}/{p}" for p in paths]
    )
    words = shlex.split(
        "convert a.csv b.csv -o OUT -m RUN --column 2 --to iso -n 3 --beam 4 --batch-size 7 "
        "--format tsv --header no --force"
    )
    assert world.run(*words) == (0, "", "a.csv: 3 rows\nb.csv: 3 rows\n")
    options = {
        "column": "2", "to": "iso", "n": 3, "beam": 4, "batch_size": 7, "format": "tsv",
        "header": "no", "force": True,
    }  # fmt: skip
    assert calls == [
        (world.model, "a.csv", "OUT/a.csv", options),
        (world.model, "b.csv", "OUT/b.csv", options),
    ]
    assert world.loaded == ["RUN"]
    assert world.run(*words, "--quiet") == (0, "", "")


def test_convert_rewrites_a_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n", encoding="utf-8")
    code, out, _ = world.run("convert", str(tmp_path / "words.txt"))
    assert (code, out) == (0, "")
    assert (tmp_path / "words.converted.txt").read_text(encoding="utf-8") == "A\nB\n"
    code, _, err = world.run("convert", str(tmp_path / "words.txt"))
    assert code == 2
    assert "--force" in err
    code, _, err = world.run("convert", str(tmp_path / "nothing.txt"), "-o", "-")
    assert code == 1
    assert err.count("\n") == 1
    assert "nothing.txt" in err


# --- train, evaluate, check, info


def test_train_hands_its_settings_on(world: World, tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []

    def train(data: str, **options: Any) -> dict[str, Any]:
        options.pop("report")("epoch 1")
        calls.append({"data": data, **options})
        return {"run": "r", "wer": 0.5, "name": "é"}

    world.replace("recipes", train=train)
    data = str(tmp_path)
    assert world.run("train", data) == (0, "", "epoch 1\n")
    assert calls == [{
        "data": data, "run": None, "config": Config(), "init_from": None, "force": False,
        "dry_run": False, "progress": False,
    }]  # fmt: skip
    world.patch.setenv("CHARSEQ_HIDDEN", "32")
    code, out, err = world.run(*shlex.split(
        "train D -o R --cell lstm --epochs 2 --no-attention --set layers=2 --init-from S --force "
        "--dry-run --json -q"
    ))  # fmt: skip
    assert (code, err) == (0, "")
    assert out == '{"run": "r", "wer": 0.5, "name": "é"}\n'
    assert calls[1]["config"] == Config(
        cell="lstm", epochs=2, minutes=0.0, attention=False, layers=2, hidden=32
    )
    assert calls[1]["run"] == Path("R")
    assert calls[1]["init_from"] == Path("S")
    assert calls[1]["force"]
    assert calls[1]["dry_run"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--set nothing=1", "unknown setting 'nothing'"),
        ("--set hidden", "expected NAME=VALUE"),
        ("--set hidden=0", "hidden is 0, expected 1 to 4096"),
        ("--cell gru --set cell=lstm", "given twice"),
        ("--minutes 1 --epochs 1", "exclude each other"),
        ("--cell cnn", "'--cell'"),
        ("--minutes nan", "minutes is nan"),
        ("--wrong", "--wrong"),
        ("", "DATA"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(world: World, words: str, said: str) -> None:
    code, out, err = world.run("train", *(["D"] if words else []), *shlex.split(words))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("charseq: error: ")
    assert said in err


SCORES = {
    "run": "checkpoints/x", "parameters": 1234567, "seconds": 60.0, "epochs": 3, "examples": 2000,
    "exact_match": 98.5, "wer": 1.5, "ser": 0.25, "signature": "charseq:0.1.0|beam:5",
}  # fmt: skip


def test_evaluate_prints_a_table_or_an_object(world: World) -> None:
    calls: list[dict[str, Any]] = []

    def evaluate(data: str, **options: Any) -> dict[str, Any]:
        calls.append({"data": data, **options})
        return SCORES

    world.replace("recipes", evaluate=evaluate)
    code, out, err = world.run(
        *shlex.split("evaluate D -m R --split dev --beam 2 --errors E.tsv --json")
    )
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert json.loads(out) == SCORES
    assert calls == [
        {"data": "D", "model": world.model, "split": "dev", "beam": 2, "errors": Path("E.tsv")}
    ]
    code, out, err = world.run("evaluate", "D")
    assert (code, err) == (0, "")
    assert re.search(r"^exact match +98\.50 %$", out, flags=re.MULTILINE)
    assert re.search(r"^parameters +1,234,567$", out, flags=re.MULTILINE)
    assert re.search(r"^signature +charseq:0\.1\.0\|beam:5$", out, flags=re.MULTILINE)
    assert calls[1]["split"] is None
