"""average: what it prints, and what it asks of the room below."""

from __future__ import annotations

import json
from typing import Any

import pytest
from world import World


@pytest.fixture
def asked(world: World) -> list[Any]:
    calls: list[Any] = []

    def average(runs: Any, output: Any, *, report: Any, **options: Any) -> dict[str, Any]:
        calls.append((runs, str(output), options))
        report("averaged")
        return {"run": str(output)}

    world.replace("training.averaging", average=average)
    return calls


def test_runs_and_options_are_passed_on(world: World, asked: list[Any]) -> None:
    assert world.run("average", "a", "-o", "out") == (0, "", "averaged\n")
    words = "average a b -o out --last 3 --data d --force --json -q"
    code, out, err = world.run(*words.split())
    assert (code, json.loads(out), err) == (0, {"run": "out"}, "")
    nothing = {"last": None, "best": None, "data": None, "force": False}
    assert asked == [
        (("a",), "out", nothing),
        (("a", "b"), "out", {"last": 3, "best": None, "data": "d", "force": True}),
    ]


@pytest.mark.parametrize("words", ["average -o out", "average a", "average a -o b --best 0"])
def test_a_missing_argument_is_a_usage_error(words: str, world: World, asked: list[Any]) -> None:
    code, out, err = world.run(*words.split())
    assert (code, out) == (2, "")
    assert err.startswith("charseq: error: ")
    assert asked == []
