"""modules, spoilt in one place at a time by mutmut -> how much of that their tests notice.

Works on a copy of the tree. A mutant that makes the tests hang counts as noticed; so does one that
ends the process. Tests that take seconds and are about memory or about kills of whole processes
are left out: what they notice, others notice first. What survives is printed with its change: it
is a hole in the tests, or it changes nothing that matters.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
MUTMUT = (str(Path(sys.executable).with_name("mutmut")),)
MODULES = ("decoding", "batching", "checkpoint", "store", "formats")
TESTS = {"checkpoint": ("checkpoint", "contents"), "store": ("store", "audit", "frozen")}
"""Test modules of a module, where there are others than its own."""
SLOW = (
    "test_store.py::test_thirty_kills_leave_a_complete_state",
    "test_store.py::test_a_reader_sees_one_state_while_a_writer_works",
    "test_store.py::test_a_full_disk_at_any_step_leaves_old_or_new[True]",
    "test_checkpoint.py::test_any_arrays_survive",
    "test_checkpoint.py::test_only_one_of_many_holds_the_lock",
    "test_checkpoint.py::test_no_bytes_do_more_than_raise",
    "test_formats.py::test_memory_does_not_grow_with_the_file",
    "test_frozen.py::test_a_thousand_flipped_bits_are_a_thousand_faults",
)
NOTICED = {"killed", "timeout", "segfault", "suspicious"}


@click.command(help="\b\n" + (__doc__ or ""))
@click.option("--only", multiple=True, type=click.Choice(MODULES), help="Only these modules.")
@click.option("--share", default=1.0, show_default=True, help="Share of the mutants, drawn.")
@click.option("--seed", default=1, show_default=True, help="Of what is drawn.")
@click.option("--processes", default=2, show_default=True, help="Mutants tested at a time.")
@click.option("--least", default=85.0, show_default=True, help="Exit code 1 below this score.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a module.")
def main(
    only: tuple[str, ...],
    share: float,
    seed: int,
    processes: int,
    least: float,
    *,
    as_json: bool,
) -> None:
    """Spoil every module and tell the scores."""
    counts: Counter[str] = Counter()
    for module in only or MODULES:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            _copy(place, module)
            _run(place, processes, "charseq.nothing")  # makes all, tests none
            mutants = sorted(_results(place))
            chosen = random.Random(seed).sample(mutants, round(share * len(mutants)))
            _run(place, processes, *chosen)
            outcomes = {mutant: _results(place)[mutant] for mutant in chosen}
            changes = {
                mutant: _change(place, mutant)
                for mutant, outcome in outcomes.items()
                if outcome not in NOTICED
            }
        found = Counter(outcomes.values())
        counts += found
        if as_json:
            facts = {"module": module, "score": _score(found), **found, "survivors": changes}
            click.echo(json.dumps(facts, ensure_ascii=False))
            continue
        told = ", ".join(f"{count} {what}" for what, count in found.most_common())
        click.echo(f"{module:<12} {_score(found):5.1f} %  {told} of {len(mutants)} mutants")
        for mutant, change in changes.items():
            click.echo(f"{mutant}\n{change}\n")
    click.echo(f"all          {_score(counts):5.1f} %", err=as_json)
    sys.exit(not _score(counts) >= least)


def _copy(place: Path, module: str) -> None:
    """The tree with the settings of mutmut in it."""
    for name in ("charseq", "tests", "scripts", "checkpoints", "data", "README.md", "LICENSE"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
    conftest = place / "tests" / "conftest.py"
    text = conftest.read_text(encoding="utf-8")
    # one failure is enough: to look for the smallest would take minutes
    quick = "derandomize=True, phases=(Phase.explicit, Phase.generate)"
    text = text.replace("import settings\n", "import Phase, settings\n")
    conftest.write_text(text.replace("derandomize=True", quick), encoding="utf-8")
    names = [f"test_{test}.py" for test in TESTS.get(module, (module,))]
    left_out = [test for test in SLOW if test.split("::")[0] in names]
    (place / "pyproject.toml").write_text(
        "[tool.mutmut]\n"
        f"source_paths = {json.dumps([f'charseq/{module}.py'])}\n"
        f"pytest_add_cli_args_test_selection = {json.dumps([f'tests/{name}' for name in names])}\n"
        f"pytest_add_cli_args = {json.dumps([f'--deselect=tests/{test}' for test in left_out])}\n"
        'also_copy = ["charseq", "tests", "scripts", "checkpoints", "data", "README.md"]\n'
        '[tool.pytest.ini_options]\naddopts = ["-p", "no:jaxtyping"]\n',
        encoding="utf-8",
    )


def _run(place: Path, processes: int, *mutants: str) -> None:
    """Test these mutants."""
    subprocess.run(
        [*MUTMUT, "run", "--max-children", str(processes), *mutants],
        cwd=place, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _results(place: Path) -> dict[str, str]:
    """What became of every mutant."""
    done = subprocess.run(
        [*MUTMUT, "results", "--all", "true"],
        cwd=place, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return dict(re.findall(r"^\s*(charseq\.\S+): (.+)$", done.stdout, re.MULTILINE))


def _score(counts: Counter[str]) -> float:
    """The share that was noticed, in percent."""
    noticed = sum(count for outcome, count in counts.items() if outcome in NOTICED)
    return round(100 * noticed / max(sum(counts.values()), 1), 1)


def _change(place: Path, mutant: str) -> str:
    """The lines that are others."""
    done = subprocess.run(
        [*MUTMUT, "show", mutant], cwd=place, check=False, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.split("\n") if re.match(r"[-+](?![-+]{2})", line)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
