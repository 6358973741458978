"""Devices that there are not: one line that lists those that there are, wherever they are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from frozen import FIXTURES

import charseq
from charseq.cli.main import run
from charseq.config import Config
from charseq.errors import SettingError, UsageError
from charseq.models.device import choose_device
from charseq.training.train import train

SOFT = str(FIXTURES / "soft")
NAMES = ["tpu", "mps", "cuda:99", "cuda:0", "CUDA", "", " cpu", "cpu:0", "xla\x1b[31m", "x" * 999]
USES: dict[str, list[str]] = {
    "predict": ["-m", SOFT, "3.4.77"],
    "convert": ["FILE", "-m", SOFT],
    "evaluate": ["DATA", "-m", SOFT],
    "train": ["DATA", "--dry-run"],
    "tune": ["DATA", "--dry-run"],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("train.tsv", "test.tsv"):
        (tmp_path / name).write_text("3.4.77\tx\n", encoding="utf-8")
    return tmp_path


def refused(words: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error in usage."""
    named = {"DATA": str(data), "FILE": str(data / "test.tsv")}
    code = run([named.get(word, word) for word in words])
    out, err = capsys.readouterr()
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "internal error" not in err
    assert err.rstrip("\n").isprintable()
    return err


@pytest.mark.parametrize("command", USES)
@pytest.mark.parametrize("name", NAMES)
def test_options(command: str, name: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused([command, *USES[command], "--device", name], data, capsys)
    assert "cpu" in told
    assert "cuda" in told


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_a_training(
    name: str, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = "expected one of auto, cpu, cuda"
    train_data = ["train", "DATA", "--dry-run"]
    assert wanted in refused([*train_data, "--set", f"device={name}"], data, capsys)
    if "\x1b" not in name:
        (data / "charseq.toml").write_text(f"device = '{name}'", encoding="utf-8")
        told = refused(train_data, data, capsys)
        assert wanted in told
        assert str(data / "charseq.toml") in told
        (data / "charseq.toml").unlink()
    monkeypatch.setenv("CHARSEQ_DEVICE", name)
    assert wanted in refused(train_data, data, capsys)


@pytest.mark.parametrize("name", [*NAMES, None, 0, True, ["cpu"]])
def test_the_interface(name: Any, data: Path, tmp_path: Path) -> None:
    kind, known = (SettingError, "cpu or cuda") if isinstance(name, str) else (UsageError, "a str")
    for path in (SOFT, FIXTURES / "words"):
        with pytest.raises(kind, match=rf"^device is .*, expected {known}$"):
            charseq.load(path, device=name)
    with pytest.raises(SettingError, match=r"^device is .*, expected auto, cpu, cuda$"):
        choose_device(name)
    with pytest.raises(SettingError, match=r"^device is .*, expected auto, cpu, cuda$"):
        train(data, run=tmp_path / "run", config=Config(task="pairs", device=name, epochs=1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("command", ["predict", "convert", "evaluate"])
def test_a_gpu_where_there_is_none(
    command: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused([command, *USES[command], "--device", "cuda"], data, capsys)
    assert "torch finds no CUDA device here: use --device cpu" in told
    with pytest.raises(SettingError, match="torch finds no CUDA device here"):
        train(data, run=data / "run", config=Config(task="pairs", device="cuda", epochs=1))
