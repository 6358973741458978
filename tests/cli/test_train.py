"""``charseq train``: the arguments of the training, and what a wrong command line gets."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from world import World

from charseq.config import Config, defaults


def test_settings_and_options_are_passed_on(world: World, tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []

    def train(data: str, **options: Any) -> dict[str, Any]:
        options.pop("report")("epoch 1")
        calls.append({"data": data, **options})
        return {"run": "r", "wer": 0.5, "name": "é"}

    world.replace("training.train", train=train)
    data = str(tmp_path)
    assert world.run("train", data) == (0, "", "epoch 1\n")
    assert calls == [{
        "data": data, "run": None, "config": Config(task="pairs"), "init_from": None,
        "distil_from": None, "unlabelled": None, "force": False, "dry_run": False,
        "progress": False,
    }]  # fmt: skip
    world.patch.setenv("CHARSEQ_HIDDEN", "32")
    code, out, err = world.run(*shlex.split(
        "train D -o R --cell lstm --epochs 2 --no-attention --set layers=2 --init-from S --force "
        "--distil-from T --unlabelled U.txt --dry-run --json -q"
    ))  # fmt: skip
    assert (code, err) == (0, "")
    assert out == '{"run": "r", "wer": 0.5, "name": "é"}\n'
    assert calls[1]["config"] == Config(
        task="pairs", cell="lstm", epochs=2, minutes=0.0, attention="none", layers=2, hidden=32
    )
    assert calls[1]["run"] == Path("R")
    assert calls[1]["init_from"] == "S", "an address of the Hub is no path"
    assert (calls[1]["distil_from"], calls[1]["unlabelled"]) == ("T", "U.txt")
    assert calls[1]["force"]
    assert calls[1]["dry_run"]
    (tmp_path / "train.txt").write_text("a line\n", encoding="utf-8")
    assert world.run("train", data, "-q") == (0, "", "")
    assert calls[2]["config"] == replace(defaults("next-word"), hidden=32)
    assert world.run("train", data, "-q", "--task", "pairs") == (0, "", "")
    assert calls[3]["config"] == Config(task="pairs", hidden=32)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--set nothing=1", "unknown setting 'nothing'"),
        ("--set hidden", "expected NAME=VALUE"),
        ("--set hidden=0", "hidden is 0, expected 1 to 4096"),
        ("--cell gru --set cell=lstm", "given twice"),
        ("--minutes 1 --epochs 1", "exclude each other"),
        ("--cell cnn", "'--cell'"),
        ("--task words", "'--task'"),
        ("--set task=words", "task is 'words', expected one of auto, pairs, next-word"),
        ("--task pairs --set task=pairs", "given twice"),
        ("--set units=letters", "units is 'letters', expected one of words, subwords"),
        ("--set embedding_dropout=1", "embedding_dropout is 1.0, expected 0 to 0.9"),
        ("--minutes nan", "minutes is nan"),
        ("--wrong", "--wrong"),
        ("", "DATA"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(world: World, words: str, said: str) -> None:
    code, out, err = world.run("train", *(["D"] if words else []), *shlex.split(words))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("charseq: error: ")
    assert said in err
