"""The contract of the command line: what goes in, what comes out, where, and with which code."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from world import ECHO, ROOT, Upper, World, process

import charseq
from charseq.cli import main
from charseq.cli.main import as_option, program
from charseq.config import SETTINGS
from charseq.errors import (
    CheckpointError,
    DataError,
    Interrupted,
    MissingExtraError,
    SettingError,
    Terminated,
    argument,
)

COMMANDS = [
    "train", "tune", "average", "predict", "convert", "export", "serve", "push", "evaluate",
    "score", "check", "info", "verify", "plot", "gradients",
]  # fmt: skip


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
        main.program.commands[command].make_context(command, words[2:])


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


def test_a_command_loads_no_other() -> None:
    code = (
        "import sys; from charseq.cli.main import run; run(['average', '--help']);"
        "print(*(name for name in sys.modules if name.startswith('charseq.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    modules = {name.rpartition(".")[2] for name in done.stdout.decode().splitlines()[-1].split()}
    assert modules == {"main", "console", "options", "average"}


def test_the_list_of_commands_loads_no_formats_and_no_models() -> None:
    code = (
        "import sys; from charseq.cli.main import run; run(['--help']);"
        "print(*(name for name in sys.modules if name.startswith('charseq.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    loaded = {name.split(".")[1] for name in done.stdout.decode().splitlines()[-1].split()}
    rooms = {"cli", "config", "display", "errors", "inference", "process", "setting", "version"}
    assert loaded <= rooms, "of inference the answer type alone, which knows no model"
    assert "charseq.inference.predictor" not in done.stdout.decode()


def test_an_unknown_command_names_the_nearest(world: World) -> None:
    code, out, err = world.run("predct")
    assert (code, out) == (2, "")
    assert err == (
        "charseq: error: No such command 'predct'. Did you mean 'predict'? (see `charseq --help`)\n"
    )


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS), ["x"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from charseq.cli.main import run; run(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'numpy', 'pyarrow', 'safetensors',"
        " 'charseq.inference.predictor'};"
        "sys.exit(','.join(heavy & set(sys.modules)) or 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_flags_are_those_of_the_contract() -> None:
    contract = {
        "train": "-o --task --cell --minutes --epochs --seed --threads --device --columns --set "
        "--init-from --distil-from --unlabelled --ensemble --cells --dry-run --json",
        "average": "-o --last --best --data --force --json -q",
        "predict": "-m -n --beam --scores --json --complete --generate --temperature --top-p "
        "--most --seed -q",
        "convert": "-m -o --column --to -n --beam --batch-size --format --force",
        "export": "--onnx --html --precision --texts --force --json -q",
        "serve": "-m --host --port --token-file --allow-host --max-upload --jobs -q",
        "push": "--public --license --language --message --dry-run --json -q",
        "evaluate": "-m --split --beam --errors --details --json",
        "score": "-m --json -q",
        "check": "",
        "info": "",
        "verify": "--json",
        "plot": "-o --force",
        "gradients": "--sheet --flow -m --plot --json",
    }
    for command, flags in contract.items():
        there = {flag for item in main.program.commands[command].params for flag in item.opts}
        assert set(flags.split()) <= there


def test_python_m_charseq_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "charseq", "--version"], cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout.decode().strip().endswith(charseq.__version__)


# --- the edge

AGAIN = "; run again with --debug for the traceback"


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (DataError("bad\nrow", path="f.tsv", line=3), 1, "charseq: error: f.tsv:3: bad row"),
        (DataError("a\x1b[31mb\u202e"), 1, "charseq: error: a\\x1b[31mb\\u202e"),
        (CheckpointError("is damaged", path="run"), 1, "charseq: error: run: is damaged"),
        (SettingError("cell is 'x'"), 2, "charseq: error: cell is 'x'"),
        (MissingExtraError("pyarrow", "Parquet"), 1,
         "charseq: error: Parquet needs pyarrow: pip install pyarrow"),
        (Interrupted("saved", signal_number=2), 130, "charseq: error: saved"),
        (Interrupted("saved", signal_number=15), 143, "charseq: error: saved"),
        (KeyboardInterrupt(), 130, "charseq: interrupted"),
        (Terminated(15), 143, "charseq: terminated"),
        (Terminated(1), 129, "charseq: terminal closed"),
        (PermissionError(13, "Permission denied", "/x"), 1,
         "charseq: error: /x: Permission denied"),
        (OSError(28, "No space left on device"), 1, "charseq: error: No space left on device"),
        (ValueError("oops"), 1, f"charseq: error: internal error: ValueError: oops{AGAIN}"),
        (AssertionError(), 1, f"charseq: error: internal error: AssertionError{AGAIN}"),
        (MemoryError(), 1, "charseq: error: out of memory: no more is free"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes\nat x.cpp"), 1,
         "charseq: error: out of memory: DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)  # fmt: skip
def test_every_exception_is_one_line(
    world: World, fault: BaseException, code: int, said: str
) -> None:
    def load(_: str | None) -> Upper:
        raise fault

    world.replace("inference.predictor", load=load)
    found, out, err = world.run("predict", "x")
    assert (found, out) == (code, "")
    assert err.lstrip("\n") == said + "\n"


@pytest.mark.parametrize("words", [["--debug", "predict", "x"], ["predict", "x", "--debug"]])
def test_debug_shows_the_traceback_anywhere(world: World, words: list[str]) -> None:
    def load(_: str | None) -> Upper:
        raise DataError("bad row")

    world.replace("inference.predictor", load=load)
    code, _, err = world.run(*words)
    assert code == 1
    assert "Traceback" in err
    assert err.endswith("charseq: error: bad row\n")
    assert "Traceback" not in world.run("predict", "--", "x", "--debug")[2]


@pytest.mark.parametrize("words", [["predict"], ["convert", "-"]])
def test_a_closed_pipe_behind_stdout_is_silent(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = process(*words, code=ECHO, stdout=write, stderr=subprocess.PIPE, input=b"a\n" * 100_000)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = process("predict", "a", code=ECHO, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"charseq: error: No space left on device\n"


OWN = str(Path(__file__).parents[1] / "fixtures" / "soft")
PRINTING = ["convert - -o -", f"verify {OWN}", f"info {OWN}", f"predict -m {OWN} 3.4.77", "--help"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", PRINTING)
def test_a_full_disk_is_one_line_for_every_command(words: str) -> None:
    code = ECHO if words.startswith("convert") else ""
    with Path("/dev/full").open("wb") as full:
        done = process(
            *words.split(), code=code, stdout=full, stderr=subprocess.PIPE, input=b"a\n" * 9000
        )
    assert done.returncode == 1
    lines = done.stderr.decode().strip().split("\n")
    assert len(lines) == 1
    assert lines[0].startswith("charseq: error: ")
    assert lines[0].endswith("No space left on device")


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


# --- arguments in messages


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("force", True, "--force"),
        ("run", None, "-o"),
        ("out", None, "-o"),
        ("model", None, "-m"),
        ("learning_rate", 0.001, "--lr 0.001"),
        ("hidden", 8, "--hidden 8"),
        ("min_count", 1, "--set min_count=1"),
        ("min_count", None, "min_count"),
        ("init_from", None, "--init-from"),
        ("columns", "source=a b,target=c", "--columns 'source=a b,target=c'"),
        ("columns", "source,target", "--columns source,target"),
    ],
)
def test_arguments_are_told_as_options(name: str, value: Any, told: str) -> None:
    assert as_option(name, value) == told


def marked_arguments() -> set[str]:
    """The names of arguments in the messages of the library, as far as they are literals."""
    found = set()
    for path in Path(charseq.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id == "argument" and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    return found


def test_every_argument_of_a_message_is_an_option_or_a_setting() -> None:
    found, options = marked_arguments(), set[str]()
    assert {"force", "run", "columns", "min_count"} <= found
    for command in program.commands.values():
        for option in command.params:
            options.update(option.opts if isinstance(option, click.Option) else ())
    for name in found:
        assert as_option(name, None) in options or name in SETTINGS, name


def test_a_message_names_options(world: World) -> None:
    def load(_: str | None) -> Upper:
        raise CheckpointError(f"x: {argument('force', True)} or {argument('run')}", path="r")

    world.replace("inference.predictor", load=load)
    assert world.run("predict", "x")[2].lstrip("\n") == "charseq: error: r: x: --force or -o\n"
