"""``charseq serve``: its options reach the server."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from world import World

from charseq.cli import options
from charseq.serving import server


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    kept: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(server, "serve", lambda runs, **how: kept.append((runs, how)))
    monkeypatch.setattr(options, "chosen", lambda name, **_: Path("runs") / (name or "default"))
    return kept


def test_options(world: World, asked: list[Any], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-many-letters", encoding="ascii")
    token.chmod(0o600)
    words = f"-m one -m runs/two --host 0.0.0.0 --port 0 --token-file {token} --allow-host a.b"
    assert world.run("serve", *words.split(), "--max-upload", "3", "--jobs", "4")[0] == 0
    ((runs, how),) = asked
    assert list(runs) == ["one", "two"]
    assert how["host"] == "0.0.0.0"
    assert how["token"] == "a-token-of-many-letters"
    assert how["hosts"] == ("a.b",)
    assert (how["jobs"], how["port"]) == (4, 0)
    assert how["limits"].upload == 3 * 2**20


def test_by_default_only_this_machine_is_listened_to(world: World, asked: list[Any]) -> None:
    assert world.run("serve", "-m", "x")[0] == 0
    assert asked[0][1]["host"] == "127.0.0.1"
    assert asked[0][1]["token"] is None


def test_a_missing_extra_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "charseq.errors.find_spec", lambda name: None if name == "fastapi" else found(name)
    )
    code, _, told = world.run("serve", "-m", "x")
    assert code == 1
    assert "charseq serve needs fastapi: pip install" in told


def test_help_has_examples(world: World) -> None:
    code, out, _ = world.run("serve", "--help")
    assert code == 0
    assert "charseq serve -m dates -m sentences" in out
