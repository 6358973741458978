"""``charseq check``, ``info`` and ``verify``: lines or an object on stdout."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from world import ROOT, World

from charseq.cli import console
from charseq.cli.check import inspect_data
from charseq.config import Config, configure
from charseq.errors import DataError


def test_check_and_info_print_lines_or_an_object(world: World, tmp_path: Path) -> None:
    configs: list[Config] = []

    def check(data: str, *, config: Config, quiet: bool) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(lines=lambda: ["rows 3", "é"], to_json=lambda: {"rows": 3})

    world.patch.setattr("charseq.cli.check.inspect_data", check)
    world.replace("inference.describe", info=lambda run: ({"run": run}, ["a run", "b"]))
    assert world.run("check", str(tmp_path), "--columns", "target,source") == (0, "rows 3\né\n", "")
    assert configs == [Config(task="pairs", columns="target,source")]
    assert world.run("check", str(tmp_path), "--json") == (0, '{"rows": 3}\n', "")
    assert world.run("info", "R") == (0, "a run\nb\n", "")
    assert world.run("info", "R", "--json") == (0, '{"run": "R"}\n', "")


def test_data_are_read_by_their_task(tmp_path: Path) -> None:
    """Without settings: pairs or lines, by the format of the data."""
    (tmp_path / "train.tsv").write_text("a\tB\na\tC\nb\tB\n", encoding="utf-8")
    (tmp_path / "dev.tsv").write_text("a\tB\n", encoding="utf-8")
    train, dev = inspect_data(tmp_path).to_json()["splits"]
    assert (train["rows"], train["sources"], train["ambiguous"]) == (3, 2, 1)
    assert dev["rows"] == 1
    columns = configure({"columns": "source,features,target"})
    with pytest.raises(DataError, match=r"train\.tsv:1: "):
        inspect_data(tmp_path, config=columns)
    text = tmp_path / "text.txt"
    text.write_text("a b\nc d\n", encoding="utf-8")
    lines = inspect_data(text).to_json()["splits"]
    assert [one["lines"] for one in lines] == [1, 1]


def test_bad_rows_are_skipped_and_kept_on_demand(world: World, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("source;target\na;b\n;c\nd;e\nf;g\n", encoding="utf-8")
    code, out, err = world.run("check", str(path))
    assert (code, out) == (1, "")
    assert f"{path}:3: the source is empty: --bad-rows skip passes over such rows" in err
    code, out, _ = world.run("check", str(path), "--bad-rows", "skip")
    assert code == 0
    assert "1 of 4 rows skipped, the first in line 3: the source is empty; see " in out
    (kept,) = map(json.loads, (tmp_path / "words.csv.rejects.jsonl").read_text().splitlines())
    assert (kept["line"], kept["offset"]) == (3, 18)


# --- verify


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "tests" / "fixtures" / "soft", tmp_path / "run"))


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_verify_prints_a_line_for_each_fault_or_an_object(run: Path, world: World) -> None:
    assert world.run("verify", str(run))[::2] == (0, "")
    spoil(run / "about.json")
    spoil(run / "README.md")
    code, out, err = world.run("verify", str(run))
    assert (code, out.count("\n")) == (1, 2)
    assert err == f"charseq: error: {run}: 2 faults: do not use it\n"
    code, out, _ = world.run("verify", "--json", str(run))
    facts = json.loads(out)
    assert (code, facts["sound"], len(facts["faults"])) == (1, False, 2)


# --- progress


def test_reading_and_counting_are_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.tsv").write_text("".join(f"a{n}\tb\n" for n in range(9000)))
    (tmp_path / "text.txt").write_text("".join(f"a b{n}\n" for n in range(9000)))
    shown: list[tuple[str, float]] = []
    said: list[str] = []

    class Line(console.RowsLine):
        def add(self, rows: int, done: float) -> None:
            super().add(rows, done)
            shown.append((f"{self._rows} {self._unit}", self._done / (self._size or 1)))

    monkeypatch.setattr(console, "RowsLine", Line)
    waiting = lambda text, *, quiet: said.append(text) or nullcontext()  # noqa: E731
    monkeypatch.setattr(console, "waiting", waiting)
    for name, unit in (("train.tsv", "rows"), ("text.txt", "lines")):
        shown.clear()
        inspect_data(tmp_path / name)
        assert shown[-1] == (f"9000 {unit}", 1.0)
        assert len(shown) > 1
    assert said == ["counting symbols and comparing rows", "counting words"]
