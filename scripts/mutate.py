"""modules -> mutation scores: the share of mutmut's changes to a module that its tests notice.

Works on a copy of the tree. A mutant that makes the tests hang counts as noticed, and so does one
that ends the process. Tests that take seconds, about memory or about killed processes, are left
out: faster tests notice the same mutants. A surviving mutant is printed with its change: either the
tests have a gap, or the change makes no difference.
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
MODULES = (
    "decoding.search",
    "data.batches",
    "data.formats.lines",
    "data.formats.reader",
    "runs.folder",
    "runs.store",
    "runs.weights",
)
ALSO = {
    "runs.folder": ("tests/inference/test_loading.py",),
    "runs.store": ("tests/inference/test_verify.py", "tests/end_to_end/test_frozen.py"),
}
"""Test files of a module besides the one that mirrors it."""
SLOW = (
    "tests/runs/test_store.py::test_thirty_kills_leave_a_complete_state",
    "tests/runs/test_store.py::test_a_reader_sees_one_state_while_a_writer_works",
    "tests/runs/test_store.py::test_a_full_disk_at_any_step_leaves_old_or_new[True]",
    "tests/runs/test_weights.py::test_any_arrays_survive",
    "tests/runs/test_folder.py::test_only_one_of_many_holds_the_lock",
    "tests/runs/test_weights.py::test_any_damage_is_one_error",
    "tests/data/formats/test_lines.py::test_memory_does_not_grow_with_the_file",
    "tests/end_to_end/test_frozen.py::test_a_thousand_flipped_bits_are_a_thousand_faults",
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
    """Test the mutants of every module and print the scores."""
    counts: Counter[str] = Counter()
    for module in only or MODULES:
        with tempfile.TemporaryDirectory() as name:
            copy = Path(name)
            _copy(copy, module)
            _run(copy, processes, "charseq.nothing")  # generates all mutants, tests none
            mutants = sorted(_results(copy))
            chosen = random.Random(seed).sample(mutants, round(share * len(mutants)))
            _run(copy, processes, *chosen)
            outcomes = {mutant: _results(copy)[mutant] for mutant in chosen}
            changes = {
                mutant: _change(copy, mutant)
                for mutant, outcome in outcomes.items()
                if outcome not in NOTICED
            }
        found = Counter(outcomes.values())
        counts += found
        if as_json:
            facts = {"module": module, "score": _score(found), **found, "survivors": changes}
            click.echo(json.dumps(facts, ensure_ascii=False))
            continue
        summary = ", ".join(f"{count} {outcome}" for outcome, count in found.most_common())
        click.echo(f"{module:<20} {_score(found):5.1f} %  {summary} of {len(mutants)} mutants")
        for mutant, change in changes.items():
            click.echo(f"{mutant}\n{change}\n")
    click.echo(f"{'all':<20} {_score(counts):5.1f} %", err=as_json)
    sys.exit(not _score(counts) >= least)


def tests_of(module: str) -> tuple[str, ...]:
    """The test files of a module."""
    *folders, name = module.split(".")
    return ("/".join(["tests", *folders, f"test_{name}.py"]), *ALSO.get(module, ()))


def _copy(copy: Path, module: str) -> None:
    """Copy the tree, with the settings of mutmut for one module."""
    for name in ("charseq", "tests", "scripts", "checkpoints", "data", "README.md", "LICENSE"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    conftest = copy / "tests" / "conftest.py"
    text = conftest.read_text(encoding="utf-8")
    # the first failing example is enough: shrinking it takes minutes
    quick = "derandomize=True, phases=(Phase.explicit, Phase.generate)"
    text = text.replace("import settings\n", "import Phase, settings\n")
    conftest.write_text(text.replace("derandomize=True", quick), encoding="utf-8")
    files = tests_of(module)
    left_out = [f"--deselect={test}" for test in SLOW if test.split("::")[0] in files]
    mutated = f"charseq/{module.replace('.', '/')}.py"
    (copy / "pyproject.toml").write_text(
        "[tool.mutmut]\n"
        f"source_paths = {json.dumps([mutated])}\n"
        f"pytest_add_cli_args_test_selection = {json.dumps(files)}\n"
        f"pytest_add_cli_args = {json.dumps(left_out)}\n"
        'also_copy = ["charseq", "tests", "scripts", "checkpoints", "data", "README.md"]\n'
        '[tool.pytest.ini_options]\npythonpath = ["tests", "scripts"]\n'
        'addopts = ["--import-mode=importlib", "-p", "no:jaxtyping"]\n',
        encoding="utf-8",
    )


def _run(copy: Path, processes: int, *mutants: str) -> None:
    """Test these mutants."""
    subprocess.run(
        [*MUTMUT, "run", "--max-children", str(processes), *mutants],
        cwd=copy, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _results(copy: Path) -> dict[str, str]:
    """The outcome of every mutant."""
    done = subprocess.run(
        [*MUTMUT, "results", "--all", "true"],
        cwd=copy, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return dict(re.findall(r"^\s*(charseq\.\S+): (.+)$", done.stdout, re.MULTILINE))


def _score(counts: Counter[str]) -> float:
    """The mutation score: noticed mutants in percent."""
    noticed = sum(count for outcome, count in counts.items() if outcome in NOTICED)
    return round(100 * noticed / max(sum(counts.values()), 1), 1)


def _change(copy: Path, mutant: str) -> str:
    """The changed lines of a mutant, as in a diff."""
    done = subprocess.run(
        [*MUTMUT, "show", mutant], cwd=copy, check=False, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.split("\n") if re.match(r"[-+](?![-+]{2})", line)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
