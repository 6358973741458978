"""export: what it prints, and what it asks of the room below."""

from __future__ import annotations

import json
from typing import Any

import pytest
from world import World


@pytest.fixture
def asked(world: World) -> list[Any]:
    calls: list[Any] = []

    def exporter(name: str) -> Any:
        def export(run: Any, out: Any, *, report: Any, **options: Any) -> dict[str, Any]:
            calls.append((name, run, str(out), options))
            report(f"wrote {name}")
            return {"out": str(out)}

        return export

    world.replace("export.onnx", to_onnx=exporter("onnx"))
    world.replace("export.html", to_html=exporter("html"))
    return calls


def test_run_and_options_are_passed_on(world: World, asked: list[Any]) -> None:
    assert world.run("export", "mine", "--onnx", "out") == (0, "", "wrote onnx\n")
    words = "export mine --onnx out --html out.html --precision int8 --texts t --force --json -q"
    code, out, err = world.run(*words.split())
    assert (code, err) == (0, "")
    assert json.loads(out) == {"onnx": {"out": "out"}, "html": {"out": "out.html"}}
    world.run("export", "mine", "--html", "a.html", "-q")
    given = {"precision": "int8", "texts": "t", "force": True}
    assert asked == [
        ("onnx", "mine", "out", {"precision": "fp32", "texts": None, "force": False}),
        ("onnx", "mine", "out", given),
        ("html", "mine", "out.html", given),
        ("html", "mine", "a.html", {"precision": "auto", "texts": None, "force": False}),
    ]


@pytest.mark.parametrize(
    "words",
    ["export", "export mine", "export mine --onnx", "export mine --onnx out --precision int4"],
)
def test_a_wrong_command_line_is_refused(words: str, world: World, asked: list[Any]) -> None:
    code, out, err = world.run(*words.split())
    assert (code, out) == (2, "")
    assert err.startswith("charseq: error: ")
    assert asked == []


def test_what_can_be_written_is_told(world: World, asked: list[Any]) -> None:
    assert "nothing to write: give --onnx DIR or --html FILE" in world.run("export", "mine")[2]
