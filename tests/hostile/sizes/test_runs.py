"""Run folders that are deep, many, sparse or full of values: every command ends within seconds."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frozen import FIXTURES
from hostile.models.corpus import ABOUT, WEIGHTS, seal
from safetensors.numpy import save

from charseq.cli.main import run
from charseq.inference.loading import shapes_of
from charseq.inference.verify import MAX_FAULTS, MAX_NOTES, verify
from charseq.runs import store
from charseq.setting import renamed

SECONDS = 5.0
HOLE = 7 * 2**30
COMMANDS = (["verify", "RUN"], ["info", "RUN"], ["predict", "-m", "RUN", "3.4.77"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "soft", tmp_path / "run")
    return tmp_path / "run"


def refused(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str], *, lines: int = 1
) -> list[str]:
    """The lines in which a command refuses a run, in time."""
    begun = time.monotonic()
    code = run([str(folder) if word == "RUN" else word for word in words])
    seconds = time.monotonic() - begun
    said = capsys.readouterr()
    told = said.out.splitlines() if words[0] == "verify" else said.err.splitlines()
    told = [line for line in told if not line.startswith("note: ")]
    assert code == 1
    assert len(said.err.splitlines()) == 1
    assert len(told) == lines
    assert all(line.isprintable() and len(line) < 600 for line in told)
    assert "internal error" not in said.err
    assert seconds < SECONDS, words
    return told


def listed(folder: Path, name: str, size: int) -> None:
    """Add a hole of ``size`` bytes to the folder and to its manifest."""
    entries = dict(store.state_of(folder).files)
    with (folder / name).open("wb") as file:
        file.truncate(size)
    entries[name] = store.Entry(size, "0" * 64)
    (folder / store.MANIFEST).write_bytes(store._encode_manifest(entries))


def says(folder: Path, change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
    change(about)
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    seal(folder)
    return about


# --- runs in runs


@pytest.mark.parametrize("step", ["members", "members/1", "tune", "tune/trial-001"])
def test_thirty_runs_in_each_other(folder: Path, step: str) -> None:
    inner = folder
    for _ in range(30):
        inner /= step
        shutil.copytree(FIXTURES / "soft", inner)
    begun = time.monotonic()
    found = verify(folder)
    assert time.monotonic() - begun < SECONDS
    assert found.faults == []
    assert any("is not listed, and never read" in note for note in found.notes)


def test_a_run_of_a_search_and_an_ensemble_is_checked_down_to_its_members(folder: Path) -> None:
    for place in ("members/2", "tune/trial-003", "tune/trial-003/members/64"):
        shutil.copytree(FIXTURES / "soft", folder / place)
        (folder / place / WEIGHTS).unlink()
    (folder / "tune" / "trials.sqlite").touch()
    found = verify(folder)
    assert found.notes == []
    assert found.faults == [
        f"{folder / place / WEIGHTS}: is missing"
        for place in ("members/2", "tune/trial-003", "tune/trial-003/members/64")
    ]


def test_two_hundred_runs_in_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 201):
        inner = folder / "tune" / f"trial-{number:03}"
        inner.mkdir(parents=True)
        for path in (FIXTURES / "soft").iterdir():
            (inner / path.name).hardlink_to(folder / path.name)
    (told,) = refused(["verify", "RUN"], folder, capsys)
    assert told == f"{folder}: holds more than 128 runs: verify each by itself"


def test_links_to_runs_are_not_followed(folder: Path) -> None:
    (folder / "members").mkdir()
    (folder / "members" / "1").symlink_to(folder)
    (folder / "tune").symlink_to(folder)
    found = verify(folder)
    assert found.faults == []
    assert found.notes == [
        f"{folder / 'members'}/'1': is not listed, and never read",
        f"{folder}/'tune': is not listed, and never read",
    ]


def test_two_thousand_names(folder: Path) -> None:
    for number in range(2_000):
        (folder / f"{number}").touch()
    begun = time.monotonic()
    found = verify(folder)
    assert time.monotonic() - begun < SECONDS
    assert (found.faults, len(found.notes)) == ([], MAX_NOTES + 1)


def test_many_listed_files_that_are_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = dict(store.state_of(folder).files)
    entries |= {f"kept.{n}.safetensors": store.Entry(10**9, "0" * 64) for n in range(6000)}
    (folder / store.MANIFEST).write_bytes(store._encode_manifest(entries))
    told = refused(["verify", "RUN"], folder, capsys, lines=MAX_FAULTS)
    assert all(re.fullmatch(r".*/kept\.[0-9]+\.safetensors: is missing", line) for line in told)


# --- holes


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("kept.1.safetensors", HOLE),
        ("resume.a.safetensors", HOLE),
        ("resume.a.json", 60 * 2**20),
        ("README.md", 200 * 2**20),
        ("more", 250 * 2**20),
    ],
)
def test_a_hole_beside_the_model(
    folder: Path, name: str, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    listed(folder, name, size)
    (told,) = refused(["verify", "RUN"], folder, capsys)
    assert told.startswith(f"{folder / name}: is damaged: the disk holds little of it")


def test_two_hundred_holes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(200):
        listed(folder, f"kept.{number}.safetensors", HOLE)
    told = refused(["verify", "RUN"], folder, capsys, lines=MAX_FAULTS)
    assert all("safetensors: is damaged: the disk holds little of it" in line for line in told)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_hole_of_the_size_that_the_settings_call_for(
    folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    about = says(folder, lambda a: a["settings"].update(hidden=4096, layers=4, embedding=4096))
    settings = {"alignment_prior": False, "direction": "forward", **renamed(about["settings"])}
    header, end = {}, 0
    for name, shape in shapes_of({**about, "settings": settings}).items():
        size = 4
        for number in shape:
            size *= number
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    assert end > 2**30
    entries = dict(store.state_of(folder).files)
    entries[WEIGHTS] = store.Entry(8 + len(text) + end, "0" * 64)
    (folder / store.MANIFEST).write_bytes(store._encode_manifest(entries))
    (told,) = refused(words, folder, capsys)
    assert f"{folder / WEIGHTS}: is damaged: the disk holds little of it" in told


def test_arrays_of_other_sizes_than_the_model_are_not_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shapes in the header are compared before the sha256, which is a lie here."""
    size = 20 * 2**20
    header = {"x": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    for name in ("kept.1.safetensors", "resume.a.safetensors"):
        (folder / name).write_bytes(len(text).to_bytes(8, "little") + text + b"\1" * size)
    seal(folder)
    told = refused(["verify", "RUN"], folder, capsys, lines=2)
    assert told == [
        f"{folder}/kept.1.safetensors: has other weights than the settings call for",
        f"{folder}/resume.a.safetensors: is larger than any state of such a model",
    ]


# --- values


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize(
    "value",
    [
        b"[" + b"1," * 30_000_000 + b"1]",
        b"{" + b",".join(b'"%x":1' % number for number in range(1_000_000)) + b"}",
        b"[" + b"{}," * 900_000 + b"1]",
        b"[" + b"1," * 1_500_000 + b"1e999]",
        b"{" + b",".join(b'"%x":1' % number for number in range(250_000)) + b',"0":1}',
        b"[" * 40 + b"]" * 40,
        b"1e999",
        b"-1e400",
        b"1" + b"0" * 400,
        b'"\\ud800"',
    ],
    ids=[
        "ints",
        "keys",
        "objects",
        "ints and 1e999",
        "a key twice",
        "deep",
        "1e999",
        "-1e400",
        "10^400",
        "surrogate",
    ],
)
def test_values_that_no_run_has(
    folder: Path, words: list[str], value: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (folder / ABOUT).read_bytes().rstrip()
    (folder / ABOUT).write_bytes(content[:-1] + b', "settings2": ' + value + b"}")
    seal(folder)
    (told,) = refused(words, folder, capsys)
    assert told.removeprefix("charseq: error: ").startswith(f"{folder / ABOUT}: is ")


@pytest.mark.parametrize("kind", ["characters", "spaced", "subwords"])
def test_a_million_symbols(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    symbols = [f"s{number}" for number in range(1_000_000)]

    def change(about: dict[str, Any]) -> None:
        for side in ("source", "target"):
            scores = [0.0] * len(symbols) if kind == "subwords" else []
            about[side].update(kind=kind, symbols=symbols, scores=scores)

    says(folder, change)
    blamed = f"{folder / ABOUT}: is damaged", f"{folder / WEIGHTS}: has "
    for words in COMMANDS:
        (told,) = refused(words, folder, capsys)
        assert told.removeprefix("charseq: error: ").startswith(blamed)


def test_much_json_in_many_inner_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is small enough, all together are not."""
    lines = b'{"a": [' + b"1," * 1_000_000 + b"1]}\n"
    for number in range(1, 60):
        inner = folder / "members" / str(number)
        shutil.copytree(FIXTURES / "soft", inner)
        (inner / "metrics.jsonl").write_bytes(lines)
        seal(inner)
    told = refused(["verify", "RUN"], folder, capsys, lines=59 - 4)
    assert all("is not checked: more than 4,194,304 values of JSON" in line for line in told)


# --- much of what is small, and many names of one file


def arrays(count: int) -> bytes:
    """A file of ``count`` arrays of no numbers."""
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"a{number:05}": empty for number in range(count)}).encode()
    return len(header).to_bytes(8, "little") + header


NAMES = {
    "x{}.safetensors": arrays(65_000),
    "kept.{}.safetensors": arrays(65_000),
    "x{}.jsonl": b"{}\n" * 262_000,
    "resume.labels.{}.jsonl": b"{}\n" * 262_000,
    "resume.labels.1{}.jsonl": b'{"a":1}\n' * 260_000,
    "resume.labels.2{}.jsonl": b"[" * 30 + b"]" * 30 + b"\n" * 60_000,
    "resume.labels.3{}.jsonl": b"\r" * 4_000_000,
    "x{}.json": b'{"a": "' + b"x" * 30_000_000 + b'"}',
    "x{}.md": b"x" * 30_000_000,
}


@pytest.mark.parametrize("linked", [True, False], ids=["one file", "many files"])
@pytest.mark.parametrize(("name", "content"), NAMES.items(), ids=NAMES.keys())
def test_many_files_that_take_long_to_read(
    name: str, content: bytes, linked: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = dict(store.state_of(folder).files)
    first = folder / name.format(0)
    first.write_bytes(content)
    entry = store.Entry(len(content), store.hashlib.sha256(content).hexdigest())
    for number in range(300 if linked else min(60, 2**27 // len(content))):
        path = folder / name.format(number)
        if linked and number:
            path.hardlink_to(first)
        elif number:
            shutil.copy(first, path)
        entries[path.name] = entry
    (folder / store.MANIFEST).write_bytes(store._encode_manifest(entries))
    begun = time.process_time()
    code = run(["verify", str(folder)])
    assert time.process_time() - begun < SECONDS
    said = capsys.readouterr()
    assert "internal error" not in said.err
    if linked and name.startswith("x"):
        assert code == 0, "a file with many names is read once"
    elif code:
        told = said.out.splitlines()
        assert len(told) <= MAX_FAULTS
        assert all(line.startswith(f"{folder}/") for line in told)


LARGE = {"arrays": WEIGHTS, "model": WEIGHTS, "metrics": "metrics.jsonl"}


@pytest.mark.parametrize("attack", ["arrays", "model", "metrics", "names"])
def test_many_inner_runs_that_take_long_to_read(
    attack: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hundred runs, whose large file is one on the disk; the time of the processor counts."""
    large = folder.parent / "large"
    large.write_bytes({"arrays": arrays(65_000), "metrics": b"{}\n" * 262_000}.get(attack, b""))
    if attack == "model":  # sound, of some MB
        about = says(folder, lambda a: a["settings"].update(hidden=256, layers=2, embedding=256))
        settings = {"alignment_prior": False, "direction": "forward", **renamed(about["settings"])}
        shapes = shapes_of({**about, "settings": settings})
        zeros = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
        large.write_bytes(save(zeros))
    for number in range(1, 60):
        inner = folder / "tune" / f"trial-{number:03}"
        inner.mkdir(parents=True)
        for name in (ABOUT, WEIGHTS, "README.md", "metrics.jsonl"):
            is_large = name == LARGE.get(attack)
            (inner / name).hardlink_to(large if is_large else folder / name)
        if attack == "model":
            (inner / ABOUT).unlink()
            shutil.copy(folder / ABOUT, inner / ABOUT)
            says(inner, lambda a, number=number: a.update(seconds=number))
        if attack == "names":
            (inner / WEIGHTS).unlink()
            for other in range(300):
                (inner / f"x{other}").hardlink_to(folder / "README.md")
        seal(inner)
    begun = time.process_time()
    run(["verify", str(folder)])
    assert time.process_time() - begun < SECONDS
    assert "internal error" not in capsys.readouterr().err
