"""The names in scripts/mutate.py are those of modules and tests that exist."""

from __future__ import annotations

import mutate
import pytest
from world import ROOT


@pytest.mark.parametrize("module", mutate.MODULES)
def test_a_module_has_a_source_and_tests(module: str) -> None:
    assert (ROOT / "charseq" / f"{module.replace('.', '/')}.py").is_file()
    files = mutate.tests_of(module)
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("test", mutate.SLOW)
def test_a_test_that_is_left_out_exists_and_belongs_to_a_module(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")
    assert any(file in mutate.tests_of(module) for module in mutate.MODULES)


def test_the_score_is_the_share_of_noticed_mutants() -> None:
    counts = mutate.Counter({"killed": 6, "timeout": 2, "survived": 1, "no tests": 1})
    assert mutate._score(counts) == 80.0
    assert mutate._score(mutate.Counter()) == 0.0
