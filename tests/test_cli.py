"""The contract of the command line: what goes in, what comes out, where, and with which code."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import charseq
from charseq import cli
from charseq.config import SETTINGS, Config
from charseq.errors import (
    CheckpointError,
    DataError,
    Interrupted,
    MissingExtraError,
    SettingError,
)

ROOT = Path(__file__).parent.parent
COMMANDS = ["train", "predict", "convert", "evaluate", "check", "info"]


@dataclass(frozen=True)
class Candidate:
    prediction: str
    probability: float


@dataclass(frozen=True)
class Answer:
    candidates: list[Candidate]
    unknown: list[str]
    truncated: bool

    @property
    def prediction(self) -> str:
        return self.candidates[0].prediction

    @property
    def probability(self) -> float:
        return self.candidates[0].probability


@dataclass
class Upper:
    """A model that writes capitals, knows no ß, and cuts what is longer than ten letters."""

    has_features: bool = False
    calls: list[tuple[list[str], int, int | None]] = field(default_factory=list)

    def predict(
        self, texts: Sequence[str], *, n: int = 1, beam: int | None = None, batch_size: int = 64
    ) -> list[Answer]:
        self.calls.append((list(texts), n, beam))
        assert "" not in texts
        return [
            Answer(
                [Candidate(text.upper()[:10] + "!" * rank, 0.5**rank) for rank in range(n)],
                ["ß"] if "ß" in text else [],
                truncated=len(text) > 10,
            )
            for text in texts
        ]


@dataclass
class World:
    """What a command printed, and what it asked of the rooms below."""

    capture: pytest.CaptureFixture[bytes]
    patch: pytest.MonkeyPatch
    model: Upper = field(default_factory=Upper)
    loaded: list[str | None] = field(default_factory=list)

    def replace(self, name: str, **functions: Callable[..., Any]) -> None:
        module = SimpleNamespace(**functions)
        self.patch.setitem(sys.modules, f"charseq.{name}", module)
        self.patch.setattr(charseq, name, module, raising=False)

    def load(self, run: str | None = None) -> Upper:
        self.loaded.append(run)
        return self.model

    def stdin(self, content: bytes, *, terminal: bool = False) -> None:
        raw = io.BytesIO(content)
        raw.isatty = lambda: terminal  # type: ignore[method-assign]
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(raw))

    def run(self, *words: str) -> tuple[int, str, str]:
        code = cli.run(words)
        out, err = self.capture.readouterr()
        return code, out.decode(), err.decode()


@pytest.fixture
def world(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> World:
    for name in list(os.environ):
        if name.startswith("CHARSEQ_"):
            monkeypatch.delenv(name)
    result = World(capfdbinary, monkeypatch)
    result.replace("predictor", load=result.load)
    return result


def process(*words: str, code: str = "", **options: Any) -> subprocess.CompletedProcess[bytes]:
    """``charseq WORDS`` as a process of its own, after ``code``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    program = f"import sys\n{code}\nfrom charseq.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output="stdout" not in options, env=environment, check=False, **options,
    )  # fmt: skip


ECHO = """
import types, charseq
class Answer:
    def __init__(self, text):
        self.prediction, self.probability, self.unknown, self.truncated = text, 1.0, [], False
        self.candidates = [self]
class Model:
    has_features = False
    def predict(self, texts, **options):
        return [Answer(text) for text in texts]
room = types.SimpleNamespace(load=lambda run: Model())
charseq.predictor = sys.modules["charseq.predictor"] = room
"""


# --- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_an_example_that_the_parser_takes(world: World, command: str) -> None:
    code, out, err = world.run(command, "--help")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    block = out.rstrip("\n").split("\n\n")[-1].split("\n")
    assert block[0].strip() == "Example:"
    for line in block[1:]:
        words = shlex.split(re.split(r" [<>] ", line)[0].split("|")[-1])
        assert words[:2] == ["charseq", command]
        cli.program.commands[command].make_context(command, words[2:])


def test_help_lists_all_commands_and_settings(world: World) -> None:
    code, out, _ = world.run("--help")
    assert code == 0
    assert re.findall(r"^  (\w+)  ", out, flags=re.MULTILINE) == COMMANDS
    _, out, _ = world.run("train", "--help")
    for name in SETTINGS:
        assert re.search(rf"^ +{name} ", out, flags=re.MULTILINE)
    assert world.run("-h")[0] == 0
    assert world.run("--version") == (0, f"charseq, version {charseq.__version__}\n", "")


def test_no_command_is_a_usage_error_with_help(world: World) -> None:
    code, out, err = world.run()
    assert (code, out) == (2, "")
    assert "Commands:" in err


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS), ["x"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from charseq.cli import run; run(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'numpy', 'pyarrow', 'safetensors', 'charseq.predictor'};"
        "sys.exit(','.join(heavy & set(sys.modules)) or 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_flags_are_those_of_the_contract() -> None:
    contract = {
        "train": "-o --cell --minutes --epochs --seed --threads --device --columns --set "
        "--init-from --dry-run --json",
        "predict": "-m -n --beam --scores --json",
        "convert": "-m -o --column --to -n --beam --batch-size --format --force",
        "evaluate": "-m --split --beam --errors --json",
        "check": "",
        "info": "",
    }
    for command, flags in contract.items():
        there = {flag for item in cli.program.commands[command].params for flag in item.opts}
        assert set(flags.split()) <= there


def test_the_module_is_a_door_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "charseq", "--version"], cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout.decode().strip().endswith(charseq.__version__)


def test_the_package_is_a_door_too(world: World) -> None:
    world.replace("recipes", train=print)
    assert charseq.load == world.load
    assert charseq.train is print
    assert set(charseq.__all__) == {"load", "train"}
    with pytest.raises(AttributeError, match="nothing"):
        _ = charseq.nothing


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


def test_check_and_info_print_lines_or_an_object(world: World, tmp_path: Path) -> None:
    configs: list[Config] = []

    def check(data: str, *, config: Config) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(lines=lambda: ["rows 3", "é"], to_json=lambda: {"rows": 3})

    world.replace("recipes", check=check, info=lambda run: ({"run": run}, ["a run", "b"]))
    assert world.run("check", str(tmp_path), "--columns", "target,source") == (0, "rows 3\né\n", "")
    assert configs == [Config(columns="target,source")]
    assert world.run("check", str(tmp_path), "--json") == (0, '{"rows": 3}\n', "")
    assert world.run("info", "R") == (0, "a run\nb\n", "")
    assert world.run("info", "R", "--json") == (0, '{"run": "R"}\n', "")


# --- the edge

AGAIN = "; run again with --debug for the traceback"


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (DataError("bad\nrow", path="f.tsv", line=3), 1, "charseq: error: f.tsv:3: bad row"),
        (DataError("a\x1b[31mb\u202e"), 1, "charseq: error: a\\x1b[31mb\\u202e"),
        (CheckpointError("is damaged", path="run"), 1, "charseq: error: run: is damaged"),
        (SettingError("cell is 'x'"), 2, "charseq: error: cell is 'x'"),
        (MissingExtraError("pyarrow", "parquet", "Parquet"), 1,
         "charseq: error: Parquet needs pyarrow: pip install 'charseq[parquet]'"),
        (Interrupted("saved", signal_number=2), 130, "charseq: error: saved"),
        (Interrupted("saved", signal_number=15), 143, "charseq: error: saved"),
        (KeyboardInterrupt(), 130, "charseq: interrupted"),
        (PermissionError(13, "Permission denied", "/x"), 1,
         "charseq: error: /x: Permission denied"),
        (OSError(28, "No space left on device"), 1, "charseq: error: No space left on device"),
        (ValueError("oops"), 1, f"charseq: error: internal error: ValueError: oops{AGAIN}"),
        (MemoryError(), 1, f"charseq: error: internal error: MemoryError{AGAIN}"),
    ],
)  # fmt: skip
def test_every_fault_is_one_line(world: World, fault: BaseException, code: int, said: str) -> None:
    def load(_: str | None) -> Upper:
        raise fault

    world.replace("predictor", load=load)
    found, out, err = world.run("predict", "x")
    assert (found, out) == (code, "")
    assert err.lstrip("\n") == said + "\n"


@pytest.mark.parametrize("words", [["--debug", "predict", "x"], ["predict", "x", "--debug"]])
def test_debug_shows_the_traceback_anywhere(world: World, words: list[str]) -> None:
    def load(_: str | None) -> Upper:
        raise DataError("bad row")

    world.replace("predictor", load=load)
    code, _, err = world.run(*words)
    assert code == 1
    assert "Traceback" in err
    assert err.endswith("charseq: error: bad row\n")
    assert "Traceback" not in world.run("predict", "--", "x", "--debug")[2]


def test_a_reader_that_goes_is_no_complaint() -> None:
    read, write = os.pipe()
    os.close(read)
    done = process(
        "predict", code=ECHO, stdout=write, stderr=subprocess.PIPE, input=b"a\n" * 100_000
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = process("predict", "a", code=ECHO, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"charseq: error: No space left on device\n"


def test_inference_keeps_to_one_thread_unless_told(world: World) -> None:
    names = [f"{library}_NUM_THREADS" for library in ("OPENBLAS", "OMP", "MKL")]
    for name in names:
        world.patch.delenv(name, raising=False)
    world.patch.setenv("OMP_NUM_THREADS", "2")
    world.run("predict", "x")
    assert [os.environ[name] for name in names] == ["1", "2", "1"]


def test_completion_answers_without_a_command() -> None:
    done = process(
        env={"_CHARSEQ_COMPLETE": "bash_complete", "COMP_WORDS": "charseq pre", "COMP_CWORD": "1"}
    )
    assert done.stdout == b"plain,predict\n"
    assert done.returncode == 0
