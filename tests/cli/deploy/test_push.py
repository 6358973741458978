"""push: what it prints, and what it asks of the room below."""

from __future__ import annotations

import json
from typing import Any

import pytest
from world import World

ADDRESS = "hf://me/mine@0123"
CARD = "---\nlicense: mit\n---\n\n# mine\n"


@pytest.fixture
def asked(world: World) -> list[Any]:
    calls: list[Any] = []

    def push(run: str, repository: str, *, report: Any, **options: Any) -> dict[str, Any]:
        calls.append((run, repository, options))
        report("5 files")
        commit = None if options["dry_run"] else ADDRESS
        return {"commit": commit, "files": {"about.json": 12345, "README.md": 7}, "card": CARD}

    world.replace("export.hub", push=push)
    return calls


def test_the_address_of_the_commit_is_the_output(world: World, asked: list[Any]) -> None:
    assert world.run("push", "mine", "me/mine") == (0, f"{ADDRESS}\n", "5 files\n")
    assert world.run("push", "mine", "me/mine", "-q") == (0, f"{ADDRESS}\n", "")
    assert asked[0] == asked[1]
    code, out, _ = world.run("push", "mine", "me/mine", "--json")
    assert (code, json.loads(out)["commit"]) == (0, ADDRESS)


def test_options_are_passed_on(world: World, asked: list[Any]) -> None:
    world.run("push", "mine", "me/mine")
    words = "push mine me/mine --public --license mit --language hr --language sr --message x"
    world.run(*words.split())
    default = {"public": False, "license": None, "languages": (), "message": None, "dry_run": False}
    given = {"public": True, "license": "mit", "languages": ("hr", "sr"), "message": "x"}
    assert asked == [
        ("mine", "me/mine", default),
        ("mine", "me/mine", {**given, "dry_run": False}),
    ]


def test_a_dry_run_shows_sizes_and_the_card(world: World, asked: list[Any]) -> None:
    code, out, err = world.run("push", "mine", "me/mine", "--dry-run")
    assert (code, err) == (0, "5 files\n")
    assert out == f"     12,345  about.json\n          7  README.md\n\n{CARD}"


def test_a_run_and_a_repository_are_needed(world: World, asked: list[Any]) -> None:
    for words in (["push"], ["push", "mine"], ["push", "mine", "me/mine", "x"]):
        code, out, err = world.run(*words)
        assert (code, out) == (2, "")
        assert err.endswith("(see `charseq push --help`)\n")
    assert asked == []
