"""modules, spoilt in one place at a time by mutmut -> how much of that their tests notice.

Works on a copy of the tree. A mutant that makes the tests hang counts as noticed; so does one that
ends the process. Tests that take seconds and are about memory or about kills of whole processes
are left out: what they notice, others notice first. What survives is printed with its change: it
is a hole in the tests, or it changes nothing that matters.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
MUTMUT = (sys.executable, "-m", "mutmut")
MODULES = ("decoding", "batching", "checkpoint", "store", "formats")
TESTS = {"checkpoint": ("checkpoint", "contents"), "store": ("store", "audit", "frozen")}
"""Test modules of a module, where there are others than its own."""
SLOW = (
    "test_store.py::test_thirty_kills_leave_a_complete_state",
    "test_store.py::test_a_reader_sees_one_state_while_a_writer_works",
    "test_store.py::test_a_full_disk_at_any_step_leaves_old_or_new[True]",
    "test_checkpoint.py::test_any_arrays_survive",
    "test_checkpoint.py::test_only_one_of_many_holds_the_lock",
    "test_formats.py::test_memory_does_not_grow_with_the_file",
    "test_frozen.py::test_a_thousand_flipped_bits_are_a_thousand_faults",
)
NOTICED = {"killed", "timeout", "segfault", "suspicious"}


@click.command(help="\b\n" + (__doc__ or ""))
@click.option("--only", multiple=True, type=click.Choice(MODULES), help="Only these modules.")
@click.option("--processes", default=2, show_default=True, help="Mutants tested at a time.")
@click.option("--least", default=85.0, show_default=True, help="Exit code 1 below this score.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def main(only: tuple[str, ...], processes: int, least: float, *, as_json: bool) -> None:
    """Spoil every module and tell the scores."""
    modules = only or MODULES
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        _copy(place, modules)
        subprocess.run(
            [*MUTMUT, "run", "--max-children", str(processes)],
            cwd=place, check=False, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        counts, survivors = _results(place)
        changes = {mutant: _change(place, mutant) for mutant in survivors}
    scores = {module: _score(counts[module]) for module in sorted(counts)}
    whole = _score(sum(counts.values(), Counter()))
    if as_json:
        facts = {"score": whole, "scores": scores, "counts": counts, "survivors": changes}
        click.echo(json.dumps(facts))
    else:
        for module, score in scores.items():
            told = ", ".join(f"{count} {what}" for what, count in counts[module].most_common())
            click.echo(f"{module:<12} {score:5.1f} %  {told}")
        click.echo(f"{'all':<12} {whole:5.1f} %")
        for mutant, change in changes.items():
            click.echo(f"\n{mutant}\n{change}")
    sys.exit(not whole >= least)


def _copy(place: Path, modules: tuple[str, ...]) -> None:
    """The tree with the settings of mutmut in it."""
    for name in ("charseq", "tests", "scripts", "checkpoints", "data", "README.md", "LICENSE"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
    tests = [f"tests/test_{test}.py" for name in modules for test in TESTS.get(name, (name,))]
    chosen = [
        f"--deselect=tests/{test}" for test in SLOW if f"tests/{test.split('::')[0]}" in tests
    ]
    (place / "pyproject.toml").write_text(
        "[tool.mutmut]\n"
        f"paths_to_mutate = {json.dumps([f'charseq/{name}.py' for name in modules])}\n"
        f"tests_dir = {json.dumps(tests)}\n"
        f"pytest_add_cli_args = {json.dumps(chosen)}\n"
        'also_copy = ["charseq", "tests", "scripts", "checkpoints", "data", "README.md"]\n'
        '[tool.pytest.ini_options]\naddopts = ["-p", "no:jaxtyping"]\n',
        encoding="utf-8",
    )


def _results(place: Path) -> tuple[dict[str, Counter[str]], list[str]]:
    """How often each outcome was had, by module; and what survived."""
    done = subprocess.run(
        [*MUTMUT, "results", "--all", "true"],
        cwd=place, check=True, capture_output=True, text=True,
    )  # fmt: skip
    counts: dict[str, Counter[str]] = {}
    survivors = []
    for mutant, outcome in re.findall(r"^\s*(charseq\.\S+): (.+)$", done.stdout, re.MULTILINE):
        counts.setdefault(mutant.split(".")[1], Counter())[outcome] += 1
        if outcome not in NOTICED | {"not checked"}:
            survivors.append(mutant)
    return counts, survivors


def _score(counts: Counter[str]) -> float:
    """The share that was noticed, in percent."""
    checked = sum(count for outcome, count in counts.items() if outcome != "not checked")
    noticed = sum(count for outcome, count in counts.items() if outcome in NOTICED)
    return round(100 * noticed / max(checked, 1), 1)


def _change(place: Path, mutant: str) -> str:
    """The lines that are others."""
    done = subprocess.run(
        [*MUTMUT, "show", mutant], cwd=place, check=False, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.split("\n") if re.match(r"[-+](?![-+]{2})", line)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
