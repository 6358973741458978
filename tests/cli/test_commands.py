"""train, predict, convert, evaluate: what each prints, and what it asks of the rooms below."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from world import ECHO, Storyteller, Upper, World, process

from charseq.config import Config, defaults
from charseq.data.text.tokenizer import build
from charseq.data.text.vocabulary import SPECIALS
from charseq.decoding.next_word_numpy import NumpyNextWord, shapes_of
from charseq.inference.language_model import LanguageModel
from charseq.inference.prediction import Candidate, Prediction

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


# --- predict, with a model of sentences


def test_the_next_word_of_each_text(world: World) -> None:
    world.model = story = Storyteller()
    assert world.run("predict", "see you", "", "  ") == (0, "tomorrow\n" * 3, "")
    table = "see\t1\ttomorrow\t0.500000\nsee\t2\ttoday\t0.250000\n"
    assert world.run("predict", "-n", "2", "see", "--beam", "4") == (0, table, "")
    assert story.calls == [
        ("predict", ["see you", "", "  "], {"n": 1, "beam": None}),
        ("predict", ["see"], {"n": 2, "beam": 4}),
    ]


def test_words_that_begin_so(world: World) -> None:
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


def test_lines_that_begin_so(world: World) -> None:
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


def test_the_environment_s_beam_is_no_fault(world: World) -> None:
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
def test_what_predict_refuses(world: World, words: str) -> None:
    world.model = story = Storyteller()
    code, out, err = world.run("predict", *words.split(), "text")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("charseq: error: ")
    assert story.calls == []


@pytest.mark.parametrize(
    "words", ["predict --complete a", "predict --generate 1 a", "score a", "score"]
)
def test_a_model_of_pairs_refuses_what_is_for_sentences(world: World, words: str) -> None:
    world.model.path = "runs/dates"
    code, out, err = world.run(*words.split())
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"charseq: error: \S+ wants a model of sentences, but runs/dates rewrites: .*\n", err
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


def test_the_seed_decides_what_is_drawn(world: World, random_model: LanguageModel) -> None:
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


# --- score


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


def test_faults_and_terminals_are_those_of_predict(world: World) -> None:
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


# --- as many as have a mass together, and the user's own pairs


class Sure:
    """A model with chances of 0.6, 0.3 and 0.05; what begins with "o" stands in its lexicon."""

    has_features = False
    config = SimpleNamespace(beam=3)

    def __init__(self) -> None:
        self.calls: list[tuple[int, int | None]] = []

    def predict(
        self, texts: list[str], *, n: int, beam: int | None, batch_size: int = 64
    ) -> list[Prediction]:
        self.calls.append((n, beam))
        return [self.answer(text, n) for text in texts]

    @staticmethod
    def answer(text: str, n: int) -> Prediction:
        first = Candidate(text.upper(), 0.6, -0.5, "lexicon" if text[0] == "o" else "model")
        best = [first, Candidate("b", 0.3, -1.0), Candidate("c", 0.05, -3.0)][:n]
        return Prediction(text, first.prediction, 0.6, [], truncated=False, candidates=best)


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
def test_as_many_candidates_as_have_the_mass(
    world: World, words: list[str], rows: int, call: tuple[int, int | None]
) -> None:
    world.model = Sure()
    table = ["a\t1\tA\t0.600000", "a\t2\tb\t0.300000", "a\t3\tc\t0.050000"]
    code, out, err = world.run("predict", *words, "a")
    assert (code, out.splitlines(), err) == (0, table[:rows], "")
    assert world.model.calls == [call]
    code, out, _ = world.run("predict", *words, "--json", "a", "")
    first, empty = (json.loads(line) for line in out.splitlines())
    assert [one["probability"] for one in first["candidates"]] == [0.6, 0.3, 0.05][:rows]
    assert empty["candidates"] == []


def test_a_mass_is_for_words_as_well(world: World) -> None:
    world.model = story = Storyteller()
    story.config = SimpleNamespace(beam=2)  # type: ignore[assignment]
    assert world.run("predict", "--mass", "0.5", "a")[1] == "a\t1\ttomorrow\t0.500000\n"
    assert world.run("predict", "--mass", "0.75", "--complete", "to")[1] == (
        "to\t1\ttomorrow\t0.500000\nto\t2\ttoday\t0.250000\n"
    )
    assert [call[2]["n"] for call in story.calls] == [2, 2]


@pytest.mark.parametrize("mass", ["0", "-0.1", "1.1", "nan", "much"])
def test_what_is_no_mass(world: World, mass: str) -> None:
    world.model = Sure()
    for command in ("predict", "convert"):
        code, out, err = world.run(command, "--mass", mass, "a")
        assert (code, out) == (2, "")
        assert "mass" in err


def test_json_says_what_the_lexicon_answers(world: World) -> None:
    world.model = Sure()
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


@pytest.mark.parametrize("command", ["predict", "convert"])
def test_a_model_is_loaded_with_what_was_chosen(world: World, tmp_path: Path, command: str) -> None:
    world.model = Sure()
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


def test_convert_has_a_column_for_each_that_the_beam_has(world: World, tmp_path: Path) -> None:
    world.model = Sure()
    (tmp_path / "a.csv").write_text("w\nown\n", encoding="utf-8")
    code, out, _ = world.run("convert", "--mass", "0.9", str(tmp_path / "a.csv"), "-o", "-", "-q")
    assert (code, out) == (
        0, "w,prediction,prediction_2,prediction_3,prediction_note\nown,OWN,b,,lexicon\n",
    )  # fmt: skip


# --- convert


def test_convert_hands_everything_on(world: World, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    def convert(model: Upper, path: str, out: str, **options: Any) -> Any:
        options.pop("report")(f"{path}: 3 rows")
        assert options.pop("kept_for").endswith(repr(model))
        calls.append((model, path, out, options))
        return SimpleNamespace(rejected=0)

    world.replace(
        "inference.convert",
        convert=convert,
        targets=lambda paths, out: [f"{out}/{p}" for p in paths],
    )
    words = shlex.split(
        "convert a.csv b.csv -o OUT -m RUN --column 2 --to iso -n 3 --beam 4 --batch-size 7 "
        "--format tsv --header no --force"
    )
    assert world.run(*words) == (0, "", "a.csv: 3 rows\nb.csv: 3 rows\n")
    options = {
        "column": "2", "to": "iso", "n": 3, "beam": 4, "mass": None, "batch_size": 7,
        "format": "tsv", "header": "no", "force": True,
    }  # fmt: skip
    assert calls == [
        (world.model, "a.csv", "OUT/a.csv", options),
        (world.model, "b.csv", "OUT/b.csv", options),
    ]
    assert world.loaded == ["RUN"]
    assert world.run(*words, "--quiet") == (0, "", "")


def test_convert_takes_as_many_processes_as_are_asked_for(world: World, tmp_path: Path) -> None:
    asked: list[tuple[Any, int, Mapping[str, Any]]] = []

    @contextmanager
    def sharing(model: Any, jobs: int, known: str, how: Mapping[str, Any]) -> Iterator[Any]:
        asked.append((model, jobs, how))
        yield model

    world.replace("inference.pool", sharing=sharing)
    (tmp_path / "words.txt").write_text("a\n")
    words = ["convert", "-q", str(tmp_path / "words.txt"), "-o", "-"]
    assert world.run(*words)[0] == world.run(*words, "--jobs", "3")[0] == 0
    assert [(model, jobs) for model, jobs, _ in asked] == [(world.model, 0), (world.model, 3)]
    assert world.run(*words, "--jobs", "-1")[0] == 2


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
    assert calls[1]["init_from"] == Path("S")
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

    world.replace("training.train", evaluate=evaluate)
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


def test_evaluate_adds_tables_where_they_are_asked_for(world: World) -> None:
    none = {"count": 0, "most": []}
    kinds = {"substitutions": none, "deletions": none, "insertions": none}
    tables = {
        "top_k": [{"k": 1, "exact_match": 98.5}],
        "by_length": [{"shortest": 2, "longest": 9, "examples": 2000, "exact_match": 98.5}],
        "confusions": {"edits": 0, **kinds},
    }
    world.replace("training.train", evaluate=lambda _data, **_options: SCORES | tables)
    code, out, err = world.run("evaluate", "D")
    assert (code, err) == (0, "")
    assert out.count("\n") == len(SCORES)
    code, more, err = world.run("evaluate", "D", "--details")
    assert (code, err) == (0, "")
    assert more.startswith(out)
    assert "               2 to 9     2,000      98.50 %\n" in more
    code, out, _ = world.run("evaluate", "D", "--json")
    assert (code, json.loads(out)) == (0, SCORES | tables)


def test_evaluate_compares_two_models(world: World) -> None:
    calls: list[dict[str, Any]] = []
    found = {
        "both_right": 9, "only_first": 0, "only_second": 1, "both_wrong": 0,
        "exact_match": {"difference": 10.0, "interval": None, "p": 1.0}, "ser": None,
        "better": None,
    }  # fmt: skip
    intervals = {"confidence": 95, "sources": 10}
    score = SCORES | {"data": "D", "split": "dev", "intervals": intervals}
    both = {"data": "D", "split": "dev", "examples": 10, "comparison": found}
    both["models"] = [score, score | {"run": "checkpoints/y"}]

    def compare(data: str, **options: Any) -> dict[str, Any]:
        calls.append({"data": data, **options})
        return both

    world.replace("training.train", compare=compare)
    words = shlex.split("evaluate D -m R -m S --split dev --beam 2")
    code, out, err = world.run(*words)
    assert (code, err) == (0, "")
    assert world.loaded == ["R", "S"]
    assert calls == [{"data": "D", "models": (world.model, world.model), "split": "dev", "beam": 2}]
    assert re.search(r"^run +checkpoints/x +checkpoints/y$", out, flags=re.MULTILINE)
    assert out.endswith("not distinguishable by exact match, p = 1\n")
    assert json.loads(world.run(*words, "--json")[1]) == both


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-m A -m B -m C", "--model names 3 runs, expected one, or two to compare"),
        ("-m A -m B --errors E", "--errors is for one model"),
    ],
)
def test_evaluate_wants_one_model_or_two(world: World, words: str, said: str) -> None:
    code, out, err = world.run("evaluate", "D", *shlex.split(words))
    assert (code, out, err) == (2, "", f"charseq: error: {said}\n")
    assert world.loaded == []


FIGURES = {
    "run": "runs/story", "words": 2009, "perplexity": 68.7712, "hit_at_1": 17.961,
    "keystrokes_saved": 44.641, "oov": 6.1, "sampled": None, "signature": "s",
}  # fmt: skip


def test_evaluate_tells_of_sentences(world: World) -> None:
    calls: list[dict[str, Any]] = []

    def evaluate(data: str, **options: Any) -> dict[str, Any]:
        calls.append(options)
        return FIGURES

    world.model = Storyteller()
    world.replace("training.train", evaluate=evaluate)
    table = (
        "run               runs/story\nwords             2,009\nperplexity        68.77\n"
        "hit at 1          17.96 %\nkeystrokes saved  44.64 %\noov               6.10 %\n"
        "signature         s\n"
    )
    assert world.run("evaluate", "D") == (0, table, "")
    code, out, _ = world.run("evaluate", "D", "--json")
    assert (code, json.loads(out)) == (0, FIGURES)
    world.patch.setenv("CHARSEQ_BEAM", "3")
    world.run("evaluate", "D")
    world.run("evaluate", "D", "--beam", "2")
    code, out, err = world.run("evaluate", "D", "--details")
    assert (code, out) == (2, "")
    assert err == "charseq: error: --details is for runs of pairs; this run predicts words\n"
    assert [options["beam"] for options in calls] == [None, None, None, 2]
    world.model = Upper()
    world.run("evaluate", "D")
    assert calls[-1]["beam"] == 3


def test_evaluate_computes_where_it_is_told_to(world: World) -> None:
    world.replace("training.train", evaluate=lambda *_, **__: SCORES)
    world.run("evaluate", "data/", "--json")
    assert world.chosen == {}
    world.run("evaluate", "data/", "--json", "--device", "cuda")
    assert world.chosen == {"device": "cuda"}
