"""``charseq predict`` and ``charseq score``: texts in, lines out, and the options of a model."""

import json
import math
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from world import ECHO, ROOT, LexiconModel, Storyteller, Upper, World, prediction_of, process

from charseq.cli import predict, render
from charseq.cli.render import GeneratedLines
from charseq.config import Config
from charseq.data.text.tokenizer import build
from charseq.data.text.vocabulary import SPECIALS
from charseq.decoding.next_word_numpy import NumpyNextWord, shapes_of
from charseq.errors import UsageError
from charseq.inference.language_model import LanguageModel
from charseq.inference.prediction import Prediction

# --- charseq predict, with a model of pairs


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


def test_unknown_symbols_and_truncated_answers_are_warned_of(world: World) -> None:
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


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("a", None),
        ("--lexicon own.tsv a", "pairs"),
        ("--length-penalty 1 a", "pairs"),
        ("--device cuda a", "pairs"),
        ("--complete a", "next-word"),
        ("--generate 1 a", "next-word"),
    ],
)
def test_the_options_decide_which_runs_can_answer(
    world: World, words: str, task: str | None
) -> None:
    world.run("predict", *words.split())
    assert world.tasks == [task]


def test_a_model_that_was_not_named_is_told(world: World) -> None:
    world.reason = "trained last here, 2026-03-01 10:00 UTC"
    for words, told in [
        (("predict", "a"), f"model None ({world.reason})\n"),
        (("predict", "-q", "a"), ""),
        (("predict", "-m", "RUN", "a"), ""),
    ]:
        assert world.run(*words) == (0, "A\n", told)
    world.model = Storyteller()
    assert world.run("score", "a")[2] == f"model None ({world.reason})\n"
    assert world.tasks == [None, None, None, "next-word"]


@pytest.mark.parametrize(
    ("closing", "words", "told"),
    [
        ("stdin", ["predict"], "stdin is closed: there is nothing to read"),
        ("stdin", ["convert", "-", "-o", "-"], "stdin is closed: there is nothing to read"),
        ("stdout", ["predict", "a"], "stdout is closed: answers have nowhere to go"),
        ("stdout", ["convert", "-", "-o", "-"], "stdout is closed: answers have nowhere to go"),
        ("stdout", ["check", "data/sentences"], "stdout is closed: answers have nowhere to go"),
    ],
)
def test_a_closed_standard_stream_is_one_line(closing: str, words: list[str], told: str) -> None:
    number = ("stdin", "stdout").index(closing)
    shut = f"import os; os.close({number}); sys.{closing} = sys.__{closing}__ = None\n"
    done = process(*words, code=shut + ECHO, input=b"a\n")
    assert done.stderr.decode().splitlines()[-1] == f"charseq: error: {told}"
    assert (done.returncode, done.stdout) == (2, b"")


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


# --- charseq predict, with a language model


def test_the_next_word_of_each_text(world: World) -> None:
    world.model = story = Storyteller()
    assert world.run("predict", "see you", "", "  ") == (0, "tomorrow\n" * 3, "")
    table = "see\t1\ttomorrow\t0.500000\nsee\t2\ttoday\t0.250000\n"
    assert world.run("predict", "-n", "2", "see", "--beam", "4") == (0, table, "")
    assert story.calls == [
        ("predict", ["see you", "", "  "], {"n": 1, "beam": None}),
        ("predict", ["see"], {"n": 2, "beam": 4}),
    ]


def test_complete_the_last_word(world: World) -> None:
    world.model = Storyteller()
    assert world.run("predict", "--complete", "see tod", "tho") == (0, "today\n\n", "")
    assert world.run("predict", "--complete", "-n", "9", "a to", "a xyz")[1] == (
        "a to\t1\ttomorrow\t0.500000\na to\t2\ttoday\t0.250000\na xyz\t1\t\t\n"
    )
    code, out, _ = world.run("predict", "--complete", "--json", "a xyz")
    assert (code, json.loads(out)) == (0, {
        "source": "a xyz", "prediction": "", "probability": 0.0, "unknown": [],
        "truncated": False, "candidates": [],
    })  # fmt: skip


def test_generate_lines(world: World) -> None:
    world.model = story = Storyteller()
    assert world.run("predict", "--generate", "2", "see", "") == (
        0, "see and 0.\nsee and 1.\n and 0.\n and 1.\n", "",
    )  # fmt: skip
    world.stdin(b"a\n\nb")
    how = "--generate 1 --temperature 0.5 --top-p 0.9 --most 7 --seed 3 --json"
    code, out, err = world.run("predict", *shlex.split(how))
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.split("\n")[:-1]] == [
        {"source": text, "lines": [f"{text} and 0."], "unknown": []} for text in ("a", "", "b")
    ]
    assert story.calls == [
        ("generate", ["see", ""], {"count": 2}),
        ("generate", ["a", "", "b"],
         {"count": 1, "temperature": 0.5, "top_p": 0.9, "most": 7, "seed": 3}),
    ]  # fmt: skip


def test_a_beam_from_the_environment_is_no_error_with_generate(world: World) -> None:
    world.model = story = Storyteller()
    world.patch.setenv("CHARSEQ_BEAM", "3")
    assert world.run("predict", "--generate", "1", "a") == (0, "a and 0.\n", "")
    assert world.run("predict", "a")[0] == 0
    assert story.calls[-1][2]["beam"] == 3
    assert world.run("predict", "--generate", "1", "--beam", "3", "a")[0] == 2


@pytest.mark.parametrize("command", ["predict", "score"])
def test_an_unknown_word_is_named_once(world: World, command: str) -> None:
    world.model = Storyteller()
    code, _, err = world.run(command, "a xyzzy", "xyzzy b xyzzy", "xyzzy2")
    assert (code, err) == (0, (
        "charseq: warning: 'xyzzy' is unknown to the model (in 'a xyzzy')\n"
        "charseq: warning: 'xyzzy2' is unknown to the model (in 'xyzzy2')\n"
        "charseq: warning: unknown to the model: 'xyzzy' in 2 texts\n"
    ))  # fmt: skip
    assert world.run(command, "-q", "a xyzzy")[2] == ""
    assert world.run("predict", "--generate", "2", "xyzzy")[2].count("\n") == 1


@pytest.mark.parametrize("words", [
    "--temperature 1", "--top-p 1", "--most 9", "--seed 1", "--complete --seed 1",
    "--generate 2 --complete", "--generate 2 -n 2", "--generate 2 --beam 2",
    "--generate 2 --scores", "--generate 0", "--generate 10001", "--generate x",
    "--generate 1 --top-p 0", "--generate 1 --top-p 1.01", "--generate 1 --temperature -1",
    "--generate 1 --most 0", "--generate 1 --seed -1", "--complete -n 0", "-n 65", "--beam 0",
])  # fmt: skip
def test_wrong_options_of_predict(world: World, words: str) -> None:
    world.model = story = Storyteller()
    code, out, err = world.run("predict", *words.split(), "text")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("charseq: error: ")
    assert story.calls == []


@pytest.mark.parametrize(
    "words", ["predict --complete a", "predict --generate 1 a", "score a", "score"]
)
def test_a_model_of_pairs_refuses_options_of_language_models(world: World, words: str) -> None:
    world.model.path = "runs/dates"
    code, out, err = world.run(*words.split())
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"charseq: error: \S+ needs a language model, but runs/dates is a model of pairs .*\n", err
    )


@pytest.fixture(scope="module")
def random_model() -> LanguageModel:
    """A network of random weights that knows nine words."""
    lines = ["the cat sat on the mat .", "a dog can see ."]
    units, _ = build(lines, kind="words", limit=99, min_count=1, subword_size=0, seed=1)
    sizes: dict[str, Any] = {"cell": "gru", "layers": 1, "context": 1}
    random = np.random.default_rng(1)
    weights = {
        name: random.normal(0, 0.5, shape).astype(np.float32)
        for name, shape in shapes_of(
            embedding=4,
            hidden=6,
            tied=True,
            symbols=SPECIALS + len(units.vocabulary.symbols),
            **sizes,
        ).items()
    }
    return LanguageModel(Path("runs/x"), {}, Config(), units, NumpyNextWord(weights, **sizes))


def test_the_seed_decides_the_sampled_lines(world: World, random_model: LanguageModel) -> None:
    world.model = random_model

    def drawn(*words: str) -> list[str]:
        code, out, err = world.run("predict", "--generate", "4", *words)
        assert (code, err) == (0, "")
        return out.split("\n")[:-1]

    first = drawn("the cat")
    assert len(set(first)) > 1
    assert all(line.startswith("the cat") for line in first)
    assert drawn("the cat") == drawn("the cat", "--seed", "1") == first
    assert drawn("a dog", "the cat", "")[4:8] == first, "whatever else is asked"
    assert drawn("the cat", "--seed", "2") != first
    assert len(set(drawn("the cat", "--temperature", "0"))) == 1
    assert all(len(line.split()) <= 3 for line in drawn("the cat", "--most", "1"))
    begun = drawn("")
    assert len(begun) == 4
    assert not any(line.startswith(" ") for line in begun)


# --- charseq score


def test_a_score_for_each_line(world: World) -> None:
    world.model = story = Storyteller()
    assert world.run("score", "a bc", "", "d\ne") == (
        0, "-6.0000\t3\ta bc\n-0.0000\t1\t\n-4.5000\t3\td e\n", "",
    )  # fmt: skip
    world.stdin("ä b\r\n\nc\n".encode() * 200)
    code, out, err = world.run("score", "-m", "R", "--json")
    rows = [json.loads(line) for line in out.split("\n")[:-1]]
    assert (code, err, len(rows)) == (0, "", 600)
    assert rows[0] == {"text": "ä b", "log_probability": -4.5, "words": 3, "unknown": []}
    assert "ä" in out
    assert [len(texts) for _, texts, _ in story.calls] == [3, 256, 256, 88]
    assert world.loaded == [None, "R"]


def test_score_reads_texts_as_predict_does(world: World) -> None:
    world.model = story = Storyteller()
    world.stdin(b"a\nM\xe4rz\n")
    code, out, err = world.run("score", "-")
    assert (code, out) == (1, "-1.5000\t2\ta\n")
    assert err == "charseq: error: stdin:2: byte 0xe4 at column 2 is not UTF-8\n"
    code, out, err = world.run("score", "a\tb")
    assert (code, out, err.count("\n")) == (2, "", 1)
    world.stdin(b"a\nb\n", terminal=True)
    code, out, err = world.run("score")
    assert (code, out) == (0, "-1.5000\t2\ta\n-1.5000\t2\tb\n")
    assert "Ctrl-D" in err
    assert [texts for _, texts, _ in story.calls[-2:]] == [["a"], ["b"]]


# --- --mass and --lexicon


@pytest.mark.parametrize(
    ("words", "rows", "call"),
    [
        (["--mass", "0.5"], 1, (3, None)),
        (["--mass", "0.9"], 2, (3, None)),
        (["--mass", "1"], 3, (3, None)),
        (["--mass", "1", "-n", "2"], 2, (2, None)),
        (["--mass", "0.9", "--beam", "7"], 2, (7, 7)),
        (["--mass", "0.9", "-n", "1"], 1, (1, None)),
        (["-n", "3"], 3, (3, None)),
    ],
)
def test_mass_limits_the_candidates(
    world: World, words: list[str], rows: int, call: tuple[int, int | None]
) -> None:
    world.model = LexiconModel()
    table = ["a\t1\tA\t0.600000", "a\t2\tb\t0.300000", "a\t3\tc\t0.050000"]
    code, out, err = world.run("predict", *words, "a")
    assert (code, out.splitlines()) == (0, table[:rows])
    mass = float(dict(zip(words[::2], words[1::2], strict=True)).get("--mass", 0))
    total = math.fsum([0.6, 0.3, 0.05][:rows])
    found = "1 answer to 'a' has" if rows == 1 else f"{rows} answers to 'a' have"
    missed = f"charseq: warning: the {found} {total:.3f} of the probability, less than {mass:g}\n"
    assert err == (missed if total < mass - 1e-9 else "")
    assert world.model.calls == [call]
    code, out, _ = world.run("predict", *words, "--json", "a", "")
    first, empty = (json.loads(line) for line in out.splitlines())
    assert [one["probability"] for one in first["candidates"]] == [0.6, 0.3, 0.05][:rows]
    assert empty["candidates"] == []


def test_texts_that_miss_the_mass_are_named_up_to_a_number(world: World) -> None:
    world.model = LexiconModel()
    code, _, err = world.run("predict", "--mass", "0.99", *(f"text{k}" for k in range(30)))
    assert code == 0
    lines = err.splitlines()
    assert len(lines) == render.MAX_NAMED + 1
    assert lines[-1] == (
        "charseq: warning: the answers to 30 of 30 texts have less than 0.99 of the probability"
    )
    assert world.run("predict", "-q", "--mass", "0.99", "a")[2] == ""


def test_more_answers_than_the_beam_are_said_to_widen_it(world: World) -> None:
    world.model = LexiconModel()
    wider = (
        "charseq: 4 answers need a beam of 4 instead of 3: the first answer may be another than "
        "without -n, as with --beam 4\n"
    )
    assert world.run("predict", "-n", "4", "a")[2] == wider
    assert world.run("predict", "-n", "4", "--beam", "4", "a")[2] == ""
    assert world.run("predict", "-n", "3", "a")[2] == ""
    assert world.run("predict", "-q", "-n", "4", "a")[2] == ""


def test_a_program_that_waits_for_its_answer_gets_it() -> None:
    """A line is answered while stdin stays open, though a window has room for many more."""
    command = [
        sys.executable,
        "-m",
        "charseq",
        "predict",
        "-m",
        str(ROOT / "checkpoints" / "dates"),
    ]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for text, expected in (
            (b"3 May 2020\n", b"2020-05-03\n"),
            (b"5 Ma", b""),
            (b"y 2020\n", b"2020-05-05\n"),
        ):
            child.stdin.write(text)
            child.stdin.flush()
            if expected:
                assert child.stdout.readline() == expected
        child.stdin.close()
        assert child.stdout.read() == b""
    assert child.returncode == 0


def test_mass_limits_the_words_of_a_language_model(world: World) -> None:
    world.model = story = Storyteller()
    story.config = SimpleNamespace(beam=2)  # type: ignore[assignment]
    assert world.run("predict", "--mass", "0.5", "a")[1] == "a\t1\ttomorrow\t0.500000\n"
    assert world.run("predict", "--mass", "0.75", "--complete", "to")[1] == (
        "to\t1\ttomorrow\t0.500000\nto\t2\ttoday\t0.250000\n"
    )
    assert [call[2]["n"] for call in story.calls] == [2, 2]


# --- --threshold


def test_answers_below_the_threshold_are_empty_lines(world: World) -> None:
    world.model = LexiconModel()
    told = "charseq: warning: unsure: 2 of 3 texts, whose best answer is less probable than 0.61\n"
    texts = ["a", "own", "", "b"]
    assert world.run("predict", "--threshold", "0.61", *texts) == (0, "\nOWN\n\n\n", told)
    assert world.tasks[-1] == "pairs"
    assert world.run("predict", "--threshold", "0.6", *texts) == (0, "A\nOWN\n\nB\n", "")
    assert world.run("predict", "-q", "--threshold", "0.61", *texts)[1:] == ("\nOWN\n\n\n", "")
    table = "a\t1\t\t0.600000\nown\t1\tOWN\t0.600000\nown\t2\tb\t0.300000\n"
    for more in (["-n", "2"], ["--mass", "0.9"]):
        code, out, _ = world.run("predict", "--threshold", "0.61", *more, "a", "own")
        assert (code, out) == (0, table)


def test_json_says_which_answers_are_withheld(world: World) -> None:
    world.model = LexiconModel()
    words = ["predict", "--threshold", "0.61", "--json", "-n", "2", "a", "own", ""]
    rows = [json.loads(line) for line in world.run(*words)[1].splitlines()]
    assert [row["unsure"] for row in rows] == [True, False, False]
    assert [row["prediction"] for row in rows] == ["", "OWN", ""]
    assert [one["prediction"] for one in rows[0]["candidates"]] == ["A", "b"]


@pytest.mark.parametrize("more", [[], ["--complete"], ["--generate", "2"]])
def test_a_threshold_is_not_for_next_words(world: World, more: list[str]) -> None:
    world.model = Storyteller()
    assert world.run("predict", "--threshold", "0.5", *more, "a") == (
        2, "",
        "charseq: error: --threshold is for models that rewrite texts, not for next words\n",
    )  # fmt: skip


@pytest.mark.parametrize("threshold", ["0", "-0.1", "1.1", "nan", "much"])
def test_a_threshold_out_of_its_limits(world: World, threshold: str) -> None:
    code, out, err = world.run("predict", "--threshold", threshold, "a")
    assert (code, out) == (2, "")
    assert "threshold" in err


@pytest.mark.parametrize("mass", ["0", "-0.1", "1.1", "nan", "much"])
def test_a_mass_out_of_its_limits(world: World, mass: str) -> None:
    world.model = LexiconModel()
    for command in ("predict", "convert"):
        code, out, err = world.run(command, "--mass", mass, "a")
        assert (code, out) == (2, "")
        assert "mass" in err


def test_json_marks_answers_of_the_lexicon(world: World) -> None:
    world.model = LexiconModel()
    words = ["predict", "-m", "RUN", "--lexicon", "own.tsv", "-n", "2"]
    code, out, _ = world.run(*words, "--json", "own", "a", "")
    assert code == 0
    assert world.chosen == {"lexicon": "own.tsv"}
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["from"] for row in rows] == ["lexicon", "model", None]
    assert [[one["from"] for one in row["candidates"]] for row in rows] == [
        ["lexicon", "model"], ["model", "model"], [],
    ]  # fmt: skip
    assert world.run(*words[:-2], "own", "a")[1] == "OWN\nA\n"
    assert world.run(*words, "own")[1] == "own\t1\tOWN\t0.600000\nown\t2\tb\t0.300000\n"
    assert '"from"' not in world.run("predict", "--json", "own")[1]


def test_json_tells_what_is_remembered_where_the_run_has_a_memory(world: World) -> None:
    world.model = LexiconModel()
    for memory, said in ((None, []), (object(), ["model"])):
        world.model.memory = memory
        row = json.loads(world.run("predict", "-m", "RUN", "--json", "a")[1])
        assert [row[name] for name in row if name == "from"] == said


@pytest.mark.parametrize("command", ["predict", "convert"])
def test_a_model_is_loaded_with_its_options(world: World, tmp_path: Path, command: str) -> None:
    world.model = LexiconModel()
    (tmp_path / "a.txt").write_text("a\n", encoding="utf-8")
    place = ["a"] if command == "predict" else [str(tmp_path / "a.txt"), "-o", "-"]
    words = "--lexicon own.tsv --lexicon-columns target,source --length-penalty 0.5 --device cuda"
    chosen = shlex.split(words)
    assert world.run(command, *place)[1] == "A\n"
    assert world.chosen == {}
    assert world.run(command, *chosen, *place)[1] == "A\n"
    assert world.chosen == {
        "lexicon": "own.tsv", "lexicon_columns": "target,source", "length_penalty": 0.5,
        "device": "cuda",
    }  # fmt: skip
    code, _, err = world.run(command, *chosen[2:], *place)
    assert (code, err) == (2, "charseq: error: --lexicon-columns is for --lexicon\n")


# --- options and model -> the function that answers


def ask(model: Any, texts: list[str], **how: Any) -> list[Any]:
    defaults: dict[str, Any] = {
        "n": 1, "beam": None, "mass": None, "scores": False, "complete": False, "generate": None,
        "sampling": {},
    }  # fmt: skip
    return list(predict.answer_function(model, **defaults | how)(texts))


def test_a_model_of_pairs_gets_no_empty_text() -> None:
    model = Upper()
    found = ask(model, ["a", "", "b", ""], n=2, beam=3)
    assert model.calls == [(["a", "b"], 2, 3)]
    assert [one and one.prediction for one in found] == ["A", None, "B", None]
    assert ask(model, ["", ""]) == [None, None]


def test_a_language_model_gets_empty_texts() -> None:
    model = Storyteller()
    for how in ({}, {"complete": True}):
        found = ask(model, ["", "see you "], n=2, **how)
        assert [one.prediction for one in found] == ["tomorrow", "tomorrow"]
    assert [line.lines for line in ask(model, [""], generate=2)] == [[" and 0.", " and 1."]]
    assert model.calls == [
        ("predict", ["", "see you "], {"n": 2, "beam": None}),
        ("complete", ["", "see you "], {"n": 2, "beam": None}),
        ("generate", [""], {"count": 2}),
    ]


def test_generated_lines_begin_with_the_text() -> None:
    model = Storyteller()
    how = {"temperature": 0.5, "seed": 7}
    [first, second] = ask(model, ["see xyzzy", "b"], generate=2, sampling=how)
    assert first == GeneratedLines(["see xyzzy and 0.", "see xyzzy and 1."], ["xyzzy"])
    assert second == GeneratedLines(["b and 0.", "b and 1."], [])
    assert model.calls[0][2] == {"count": 2, **how}
    assert list(render.generated_as_text("see xyzzy", first)) == first.lines
    assert list(render.generated_as_text("", GeneratedLines(["a\tb\nc"], []))) == ["a b c"]
    [line] = render.generated_as_json("see xyzzy", first)
    assert json.loads(line) == {
        "source": "see xyzzy", "lines": first.lines, "unknown": ["xyzzy"],
    }  # fmt: skip
    said = list(render.warnings([("see xyzzy", first), ("b", second)], Counter()))
    assert said == ["'xyzzy' is unknown to the model (in 'see xyzzy')"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"sampling": {"temperature": 1.0}}, "^--temperature is for --generate$"),
        ({"sampling": {"top_p": 0.5}}, "^--top-p is for --generate$"),
        ({"sampling": {"most": 3}, "complete": True}, "^--most is for --generate$"),
        ({"sampling": {"seed": 1}}, "^--seed is for --generate$"),
        ({"generate": 1, "complete": True}, "^--generate goes with none of --complete, --scores"),
        ({"generate": 1, "n": 2}, "^--generate goes with none of"),
        ({"generate": 1, "beam": 1}, "^--generate goes with none of"),
        ({"generate": 1, "mass": 0.9}, "^--generate goes with none of .*--mass and --beam$"),
        ({"generate": 1, "scores": True}, "^--generate goes with none of"),
    ],
)
def test_options_that_do_not_go_together(how: dict[str, Any], said: str) -> None:
    model = Storyteller()
    with pytest.raises(UsageError, match=said):
        ask(model, ["a"], **how)
    assert model.calls == []


@pytest.mark.parametrize("how", [{"complete": True}, {"generate": 1}])
def test_a_model_of_pairs_completes_and_generates_nothing(how: dict[str, Any]) -> None:
    pairs: Any = SimpleNamespace(path="runs/dates")
    with pytest.raises(UsageError, match=r"needs a language model, but runs/dates"):
        ask(pairs, ["a"], **how)
    with pytest.raises(UsageError, match=r"^score needs a language model"):
        predict.require_language_model(pairs, "score")


# --- a rule

RULE = ["--pattern", "A.*", "--within", "own.txt", "--check", "date", "--check", "luhn,time"]


class Ruled(Upper):
    """A model whose rule allows nothing that begins with x."""

    @staticmethod
    def answer(text: str, n: int) -> Prediction:
        return prediction_of(text) if text[0] == "x" else Upper.answer(text, n)


@pytest.mark.parametrize("command", ["predict", "convert"])
def test_a_rule_is_loaded_with_the_model(world: World, tmp_path: Path, command: str) -> None:
    (tmp_path / "a.txt").write_text("a\n", encoding="utf-8")
    place = ["a"] if command == "predict" else [str(tmp_path / "a.txt"), "-o", "-"]
    assert world.run(command, *RULE, *place)[1] == "A\n"
    assert world.chosen == {
        "pattern": "A.*", "within": "own.txt", "check": ("date", "luhn,time"),
    }  # fmt: skip
    code, _, err = world.run(command, *RULE, "--within", "b.txt", *place)
    assert (code, err.count("\n")) == (2, 1)
    assert "--within is given 2 times, 'own.txt' and 'b.txt': expected once" in err


def test_a_text_without_an_answer_is_named_and_its_line_is_empty(world: World) -> None:
    world.model = Ruled()
    code, out, err = world.run("predict", "-m", "RUN", "--pattern", "A", "a", "xy", "")
    assert (code, out) == (0, "A\n\n\n")
    assert err == "charseq: warning: no answer to 'xy' that keeps the rule was found\n"
    _, out, err = world.run(
        "predict", "-m", "RUN", "-q", "--json", "--check", "date", "a", "xy", ""
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["answered"] for row in rows] == [True, False, False]
    assert [row["probability"] for row in rows] == [1.0, 0.0, None]
    assert err == ""
    assert (
        world.run("predict", "-m", "RUN", "--scores", "--check", "date", "xy")[1] == "xy\t1\t\t\n"
    )
    assert '"answered"' not in world.run("predict", "-m", "RUN", "--json", "a")[1]


# --- charseq predict --align


def test_align_prints_pairs_and_json_has_weights() -> None:
    run = ("predict", "-m", str(ROOT / "tests" / "fixtures" / "hard"), "--align")
    plain = process("predict", "-m", run[2], "banana")
    found = process(*run, "banana", "")
    assert found.returncode == 0
    line, empty, _ = found.stdout.decode().split("\n")
    pairs = [pair.split("→") for pair in line.split(" ")]
    assert "".join(source for source, _ in pairs if source != "∅") == "banana"
    assert "".join(target for _, target in pairs) == plain.stdout.decode().strip()
    assert empty == ""
    facts = json.loads(process(*run, "--json", "banana").stdout)
    assert [pair[1] for pair in facts["alignment"]["pairs"]] == [target for _, target in pairs]
    assert len(facts["alignment"]["weights"]) == len(facts["alignment"]["target"])


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("words", (), "needs a model with attention"),
        ("hard", ("-n", "2"), "goes with none of"),
        ("hard", ("--scores",), "goes with none of"),
    ],
)
def test_align_needs_attention_and_goes_alone(name: str, words: tuple[str, ...], told: str) -> None:
    run = ROOT / "tests" / "fixtures" / name
    found = process("predict", "-m", str(run), "--align", *words, "a")
    assert found.returncode == 2
    assert told in found.stderr.decode()
