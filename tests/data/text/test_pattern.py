"""Regular expressions against Python's ``re``, on random expressions and texts; odd ones."""

from __future__ import annotations

import random
import re
import time
import warnings

import pytest

from charseq.data.text import pattern
from charseq.data.text.pattern import Nfa, Pattern
from charseq.errors import UsageError

ATOMS = (
    "a", "b", "c", ".", r"\d", r"\w", r"\s", "[ab]", "[^a]", "[a-c1]", r"\D", r"\W", r"\S", "1",
    " ", "a(?#x)*", r"\.", r"[\d_]", "é", r"[^\w]", r"\x61", "[]a]", "[^]]", "-", "{", "}", "(?#x)",
    r"\u00e9",
    r"[\]\\]", r"\061", r"\N{DIGIT ONE}", r"\-", "ß", "K", "k", "s",
)  # fmt: skip
GROUPS = ("(", "(?:", "(?P<n{}>", "(?i:", "(?-i:", "(?a:", "(?s:", "(?is:")
COUNTS = (
    "*",
    "+",
    "?",
    "{2}",
    "{1,2}",
    "{,2}",
    "{1,}",
    "*?",
    "+?",
    "??",
    "{1}?",
    "{,}",
    "{}",
    "{x}",
)
LETTERS = "abcABC1 é\u0661\n.-_ſsKk\u212a{}xß\\]"


def expression(draw: random.Random, depth: int) -> str:
    kind = draw.random()
    if not depth or kind < 0.4:
        return draw.choice(ATOMS)
    if kind < 0.6:
        return "".join(expression(draw, depth - 1) for _ in range(draw.randint(0, 3)))
    if kind < 0.75:
        opening = draw.choice(GROUPS).format(draw.randint(0, 10**9))
        parts = [expression(draw, depth - 1) for _ in range(draw.randint(1, 3))]
        return f"{opening}{'|'.join(parts)})"
    return f"(?:{expression(draw, depth - 1)}){draw.choice(COUNTS)}"


@pytest.mark.parametrize("seed", range(4))
def test_what_matches_is_what_python_matches(seed: int) -> None:
    draw = random.Random(seed)
    compared = matched = 0
    for _ in range(500):
        source = expression(draw, 4)
        source = draw.choice(("", "", "(?i)", "(?s)", "(?a)")) + source
        if "|" not in source:
            source = draw.choice(("{}", "^{}$", r"\A{}\Z", "{}$")).replace("{}", source, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                known = re.compile(source)
            except re.error:
                with pytest.raises(UsageError, match="no regular expression"):
                    Pattern(source)
                continue
        found = Pattern(source)
        for _ in range(20):
            text = "".join(draw.choice(LETTERS) for _ in range(draw.randint(0, 6)))
            expected = known.fullmatch(text) is not None
            assert found.matches(text) == expected, (source, text)
            assert runs(found.nfa(backward=True), text[::-1]) == expected, (source, text)
            compared += 1
            matched += expected
    assert compared > 5000
    assert matched > 200


def runs(nfa: Nfa, text: str) -> bool:
    """Whether an automaton accepts a text, set by set."""
    states = nfa.closure(0)
    for character in text:
        arcs = [arc for state in states if (arc := nfa.arcs[state]) is not None]
        states = frozenset().union(
            *(nfa.closure(target) for one, target in arcs if one.members(character))
        )
    return nfa.accept in states


@pytest.mark.parametrize(
    ("source", "what", "position"),
    [
        (r"(a)\1", "a backreference", 4),
        (r"(?P<x>a)(?P=x)", "a backreference", 9),
        (r"a(?=b)", "lookahead", 2),
        (r"(?!a)b", "lookahead", 1),
        (r"ab(?<=b)", "lookbehind", 3),
        (r"(?<!a)b", "lookbehind", 1),
        (r"\bx", "a word boundary", 1),
        (r"a\Bx", "a word boundary", 2),
        (r"a^b", "an anchor that is not at an end", 2),
        (r"a$b", "an anchor that is not at an end", 2),
        (r"(^a)", "an anchor that is not at an end", 2),
        (r"(a$)", "an anchor that is not at an end", 3),
        (r"(?>a)", "an atomic group", 1),
        (r"a++", "a possessive quantifier", 2),
        (r"a{2}+", "a possessive quantifier", 2),
        (r"(a)?(?(1)b|c)", "a conditional group", 5),
        (r"(?x) a", "the flag x", 1),
        (r"(?m)a", "the flag m", 1),
    ],
)
def test_what_is_not_regular_is_refused_with_its_position(
    source: str, what: str, position: int
) -> None:
    with pytest.raises(UsageError) as caught:
        Pattern(source)
    assert f"'{source}' has {what} at character {position}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("[", "no regular expression: unterminated character set at character 1"),
        ("a)", "no regular expression: unbalanced parenthesis at character 2"),
        ("*a", "no regular expression: nothing to repeat at character 1"),
        ("a**", "no regular expression: multiple repeat at character 3"),
        ("x" * 10_001, "has 10,001 characters, expected 10,000 at most"),
        ("(" * 101 + ")" * 101, "a group within 100 others at character 101"),
        ("(" * 4000 + ")" * 4000, "too many groups within groups"),
        ("a{99999999999999}", "too large a number"),
        ("a{1,100000}", "too large, with its counted repetitions"),
        ("(a{1000}){1000}", "too large, with its counted repetitions"),
        ("(){100000}", "too large, with its counted repetitions"),
        ("((((a{9}){9}){9}){9}){9}", "too large, with its counted repetitions"),
    ],
)
def test_faulty_and_huge_expressions_are_one_line_at_once(source: str, said: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(UsageError) as caught:
        Pattern(source)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("source", ["(a*)*b", "(a|a)*b", "(a|b|ab)*c", "(.*)(.*)(.*)(.*)x"])
def test_a_text_takes_time_in_proportion_to_its_length(source: str) -> None:
    """Python's own matcher takes years for some of these."""
    found = Pattern(source)
    begun = time.perf_counter()
    assert not found.matches("a" * 20_000)
    assert found.matches("a" * 20_000 + source[-1])
    assert time.perf_counter() - begun < 5


def test_steps_are_forgotten_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "MAX_REMEMBERED", 3)
    found = Pattern("[a-z]*x")
    assert found.matches("thequickbrownx")
    assert not found.matches("thequickbrowny")
