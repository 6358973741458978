"""A reader's limits bind the writer: no training ends with a run that cannot be loaded."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charseq.config import configure
from charseq.errors import CheckpointError, NewerVersionError, TrainingError
from charseq.inference.loading import check_storable, read_run
from charseq.inference.verify import verify
from charseq.runs import folder as checkpoint
from charseq.runs import store, untrusted
from charseq.training import next_word, train
from charseq.training.trainer import Trainer

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {
    "device": "cpu", "precision": "float32", "threads": 1, "hidden": 8, "embedding": 4,
    "batch_size": 4, "evaluations": 2, "layers": 1, "epochs": 1, "save_seconds": 0,
}  # fmt: skip
WORDS = [f"{a}{b}{c}" for a in "abc" for b in "abc" for c in "abc"]
Row = tuple[str, ...]


def write(folder: Path, rows: list[Row]) -> Path:
    folder.mkdir()
    for name, part in (("dev", rows[:6]), ("train", rows[6:])):
        text = "".join("\t".join(row) + "\n" for row in part)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data", [(word, word[::-1]) for word in WORDS])


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that any trainer takes from now on."""
    found, step = [], Trainer._step

    def noted(trainer: Trainer, progress: float) -> Any:
        found.append(trainer.number)
        return step(trainer, progress)

    monkeypatch.setattr(Trainer, "_step", noted)
    return found


def trained(data: Path, run: Path, **settings: Any) -> list[str]:
    """The lines of a training that ends with a sound run."""
    lines: list[str] = []
    train.train(data, run=run, config=configure({**SMALL, **settings}), report=lines.append)
    assert verify(run).faults == []
    assert checkpoint.is_finished(run)
    return lines


# --- texts of any length


@pytest.mark.parametrize(("length", "refused"), [(1000, False), (1001, True), (50_000, True)])
def test_a_long_feature(length: int, refused: bool, tmp_path: Path, steps: list[int]) -> None:
    rows = [(word, "f" * length, word[::-1]) for word in WORDS]
    data, columns = write(tmp_path / "data", rows), "source,features,target"
    if not refused:
        trained(data, tmp_path / "run", columns=columns)
        return
    with pytest.raises(CheckpointError) as caught:
        trained(data, tmp_path / "run", columns=columns)
    assert f"features[0] is empty, too long or not Unicode text: it has {length:,}" in str(
        caught.value
    )
    assert "could not be loaded after the training" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not steps
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("graphemes", "e" + "\u0301" * 2000),
        ("spaced", "x" * 5000),
        ("decomposed", "x" * 5000),
        ("spaced", "x" * 1000),
    ],
    ids=range(4),
)
def test_symbols_of_any_length(kind: str, odd: str, tmp_path: Path) -> None:
    """They are unknown where they are too long, and a line says so."""
    rows = [(f"{word} {odd}", word[::-1]) for word in WORDS]
    data = write(tmp_path / "data", rows)
    lines = trained(data, tmp_path / "run", source_symbols=kind, attention="soft")
    long = any(len(part) > 1000 for part in odd.split(" "))
    assert any("of more than 1,000 characters are unknown" in line for line in lines) == long


@pytest.mark.parametrize(
    "name", ["n" * 200, "two\nlines", "a|b`c", "\udcff\udcfe", "caf\u00e9"], ids=range(5)
)
def test_odd_names_of_data_and_run(name: str, tmp_path: Path) -> None:
    data = write(tmp_path / name, [(word, word[::-1]) for word in WORDS])
    (tmp_path / "runs").mkdir()
    trained(data, tmp_path / "runs" / name)
    escaped = name.encode("utf-8", "backslashreplace").decode()
    assert read_run(tmp_path / "runs" / name).metadata["data"]["name"] == escaped


def test_odd_names_in_the_command(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, as the shell passes them on."""
    data = write(tmp_path / "\udcff", [(word, word[::-1]) for word in WORDS])
    words = [f"--set={name}={value}" for name, value in SMALL.items()]
    done = subprocess.run(
        [sys.executable, "-m", "charseq", "train", str(data), *words],
        cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert verify(tmp_path / "checkpoints" / "\udcff").faults == []


def test_lengths_beyond_the_table_of_limits(data: Path, tmp_path: Path) -> None:
    task = train.task_of(data, configure({**SMALL, "task": "pairs"}), None)
    check_storable(task.metadata, tmp_path)
    for limits in ([2**20], [-1], []):
        with pytest.raises(CheckpointError, match="could not be loaded after the training"):
            check_storable({**task.metadata, "limits": limits}, tmp_path)


# --- limits in bytes, lowered


def test_a_state_beyond_the_limit_is_refused_before_training(
    data: Path, tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(store.MAX_BYTES, ".safetensors", 4000)
    with pytest.raises(CheckpointError, match=r"resume.a.safetensors: takes [\d,]+ bytes, more"):
        trained(data, tmp_path / "run")
    assert not steps
    assert not checkpoint.names(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "limit"), [("MAX_CONTAINERS", 5), ("MAX_COMMAS", 9), (".json", 500)]
)
def test_metadata_beyond_the_limit_are_refused_before_training(
    name: str, limit: int, data: Path, tmp_path: Path, steps: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if name == ".json":
        monkeypatch.setitem(store.MAX_BYTES, name, limit)
    else:
        monkeypatch.setattr(untrusted, name, limit)
    with pytest.raises(
        CheckpointError, match=r"could not be loaded after .*(objects|values|bytes)"
    ):
        trained(data, tmp_path / "run")
    assert not steps


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", bytes(101), "takes 101 bytes, more than the 100"),
        ("more.json", bytes(51), "takes 51 bytes, more than the 50"),
        ("metrics.jsonl", bytes(201), "takes 201 bytes, more than the 200"),
    ],
)
def test_publishing_what_no_reader_takes_touches_nothing(
    name: str, content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    store.publish(run, {"metrics.jsonl": b"old", "more.json": b"{}"})
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for suffix, limit in ((".safetensors", 100), (".json", 50), ("", 200)):
        monkeypatch.setitem(store.MAX_BYTES, suffix, limit)
    with pytest.raises(CheckpointError, match=said) as caught:
        store.publish(run, {"metrics.jsonl": b"new", name: content})
    assert str(caught.value).startswith(f"{run}/{name}: ")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_a_manifest_as_large_as_a_reader_takes(
    spare: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte more is an error; it was silence, and the files of the save were gone."""
    run = tmp_path / "run"
    files = {f"{number:03}.json": b"{}" for number in range(40)}
    store.publish(tmp_path / "like", files)
    size = (tmp_path / "like" / store.MANIFEST).stat().st_size
    monkeypatch.setattr(store, "MAX_MANIFEST_BYTES", size + spare)
    try:
        store.publish(run, files)
    except CheckpointError as fault:
        assert spare < 1
        assert "has 40 files, more than the manifest of a run can list" in str(fault)  # noqa: PT017
        assert store.names(run) == set()
    else:
        assert spare == 1
        assert store.read_all(run, files) == files


def test_a_training_that_fills_the_manifest_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_MANIFEST_BYTES", 1500)
    with pytest.raises(CheckpointError, match="more than the manifest of a run can list"):
        trained(data, tmp_path / "run", keep=50, evaluations=20, epochs=10)
    assert verify(tmp_path / "run").faults == []


# --- scores that are no numbers


def test_a_perplexity_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{a} {b} {a}\n" for a in WORDS for b in WORDS[:3]), encoding="utf-8")
    monkeypatch.setattr(next_word, "perplexity_of", lambda *_: math.nan)
    with pytest.raises(TrainingError, match="no evaluation had finite scores"):
        trained(text, tmp_path / "run", task="next-word")
    assert not checkpoint.is_finished(tmp_path / "run")


def test_a_later_perplexity_that_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{a} {b} {a}\n" for a in WORDS for b in WORDS[:3]), encoding="utf-8")
    found = iter([math.nan, 20.0, math.nan, math.nan])
    monkeypatch.setattr(next_word, "perplexity_of", lambda *_: next(found))
    trained(text, tmp_path / "run", task="next-word", evaluations=4)
    assert read_run(tmp_path / "run").metadata["scores"] == {"perplexity": 20.0}


# --- newer versions


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    trained(write(folder / "data", [(word, word[::-1]) for word in WORDS]), folder / "run")
    return folder / "run"


NEWS: dict[str, Any] = {
    "setting": lambda about: about["settings"].update(curvature=1),
    "cell": lambda about: about["settings"].update(cell="mamba"),
    "kind": lambda about: about["source"].update(kind="syllables"),
    "field": lambda about: about["target"].update(stress=[1]),
    "limits": lambda about: about.update(limits={"longest": 4}),
    "settings": lambda about: about.update(settings=[]),
    "seconds": lambda about: about.pop("seconds"),
}


@pytest.mark.parametrize("news", NEWS)
@pytest.mark.parametrize(
    ("version", "newer"),
    [("9.0.0", True), ("0.1.1.dev3", True), ("0.1.0", False), ("unknown", False), (7, False)],
)
def test_a_run_of_a_newer_version(
    news: str, version: Any, newer: bool, whole: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    about = checkpoint.read_json(run, "about.json")
    NEWS[news](about)
    about["versions"]["charseq"] = version
    checkpoint.publish(run, {"about.json": json.dumps(about).encode()})
    with pytest.raises(CheckpointError) as caught:
        read_run(run)
    assert isinstance(caught.value, NewerVersionError) == newer
    said = f"was written by a newer charseq ({version}, this is 0.1.0): upgrade charseq"
    assert (said in str(caught.value)) == newer
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_commit_of_a_newer_version_is_left_as_it_is(whole: Path, tmp_path: Path) -> None:
    """A newer charseq was killed while it moved its files: no command completes or drops them."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    manifest = json.loads((run / "manifest.json").read_bytes())
    new = run / ".new"
    new.mkdir()
    (new / "manifest.json").write_text(json.dumps(manifest | {"format": 2}), encoding="utf-8")
    (new / "model.safetensors").write_bytes(b"newer")
    newer = r"\.new/manifest\.json: was written by a newer charseq"
    with pytest.raises(NewerVersionError, match=newer):
        read_run(run)
    assert [fault.partition(": ")[2] for fault in verify(run).faults] == [
        "was written by a newer charseq, in a format after 1: upgrade charseq"
    ]
    for change in (
        lambda: checkpoint.publish(run, {"README.md": b"x"}),
        lambda: checkpoint.remove(run, ["README.md"]),
        lambda: checkpoint.delete(run),
    ):
        with pytest.raises(NewerVersionError, match=newer):
            change()
    assert sorted(path.name for path in new.iterdir()) == ["manifest.json", "model.safetensors"]
    damaged = (run / "manifest.json").read_bytes()[:-9]
    (new / "manifest.json").write_bytes(damaged)
    checkpoint.publish(run, {"README.md": b"x"})  # damaged, so not committed
    assert not new.exists()


def test_a_newer_version_without_news_is_read(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    about = checkpoint.read_json(run, "about.json")
    about["versions"]["charseq"] = "9.0.0"
    checkpoint.publish(run, {"about.json": json.dumps(about).encode()})
    read_run(run)


def test_damage_of_a_newer_version_is_damage(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    about = checkpoint.read_json(run, "about.json")
    about["versions"]["charseq"] = "9.0.0"
    checkpoint.publish(run, {"about.json": json.dumps(about).encode()})
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: it differs"):
        read_run(run)
