r"""Regular expression -> nondeterministic finite automaton (Thompson 1968).

The syntax and the meaning are those of Python's ``re`` for ``str``, as :func:`re.fullmatch` has
them, without all that is not regular: backreferences, lookaround, word boundaries, atomic groups
and possessive quantifiers. ``re`` checks the syntax, and it decides which characters a class such
as ``\w`` or ``[^a-c]`` has. The matching is not its own: it takes time in proportion to the text.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import NamedTuple

from charseq.display import shorten
from charseq.errors import UsageError

MAX_LENGTH = 10_000
"""Characters of an expression."""
MAX_DEPTH = 100
"""Groups within groups."""
MAX_STATES = 20_000
"""States of a nondeterministic automaton: counted repetitions are written out."""
MAX_REMEMBERED = 10_000
"""Steps of :meth:`Pattern.matches` that are remembered."""

_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|0[0-7]{0,2}|[0-3][0-7]{2}"
    r"|[^0-9])",
    re.DOTALL,
)
_COUNT = re.compile(r"\{([0-9]*)(,?)([0-9]*)\}")
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(?:-([a-zA-Z]+))?([:)])")
_GROUP = re.compile(r"\((?:\?(?::|P<\w+>))?")
_COMMENT = re.compile(r"\(\?#[^)]*\)")
_KNOWN_FLAGS = {"a": re.ASCII, "i": re.IGNORECASE, "s": re.DOTALL, "u": re.NOFLAG}
_IRREGULAR = {
    "(?P=": "a backreference",
    "(?=": "lookahead",
    "(?!": "lookahead",
    "(?<": "lookbehind",
    "(?(": "a conditional group",
    "(?>": "an atomic group",
}


class CharSet(NamedTuple):
    """A set of characters: an expression for exactly one character, with its flags."""

    source: str
    flags: int = 0

    def members(self, characters: str) -> frozenset[str]:
        """Those of ``characters`` that are in the set."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sets within sets, which Python has not
            return frozenset(re.compile(self.source, self.flags).findall(characters))


@dataclass(frozen=True)
class Series:
    """Nodes one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """Any one of some nodes."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """A node ``least`` times or more, up to ``most`` times; None: without a bound."""

    part: Node
    least: int
    most: int | None


Node = CharSet | Series | Choice | Repeat


@dataclass
class Nfa:
    """An automaton. State 0 is the start; ``accept`` is the one accepting state."""

    free: list[list[int]] = field(default_factory=list)
    """The states that are reached from each state without a character."""
    arcs: list[tuple[CharSet, int] | None] = field(default_factory=list)
    """The characters that leave each state, and where they lead."""
    accept: int = 0

    def closure(self, state: int) -> frozenset[int]:
        """The states that are reached without a character: those with an arc, and ``accept``."""
        found, stack = {state}, [state]
        while stack:
            for other in self.free[stack.pop()]:
                if other not in found:
                    found.add(other)
                    stack.append(other)
        return frozenset(one for one in found if self.arcs[one] or one == self.accept)


class Pattern:
    """A regular expression, whose answers match it as a whole."""

    def __init__(self, source: str) -> None:
        """Parse ``source``.

        Raises:
            UsageError: with the position: not an expression of Python, or not a regular one; or
                it is larger than the limits of this module.
        """
        self.source = source
        _check(source)
        self._root = _Parser(source).whole()
        self._nfa = self.nfa()
        self._start = self._nfa.closure(0)
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def nfa(self, *, backward: bool = False) -> Nfa:
        """The automaton of the expression; ``backward``: of its texts read from the end.

        Raises:
            UsageError: it has more than :data:`MAX_STATES` states.
        """
        return _Builder(self.source, backward=backward).build(self._root)

    def matches(self, text: str) -> bool:
        """Whether the expression matches all of ``text``."""
        states = self._start
        for character in text:
            key = states, character
            after = self._steps.get(key)
            if after is None:
                if len(self._steps) >= MAX_REMEMBERED:
                    self._steps.clear()
                after = self._steps[key] = self._step(states, character)
            states = after
        return self._nfa.accept in states

    def _step(self, states: frozenset[int], character: str) -> frozenset[int]:
        found: set[int] = set()
        known: dict[CharSet, bool] = {}
        for state in states:
            arc = self._nfa.arcs[state]
            if arc is None:
                continue
            if arc[0] not in known:
                known[arc[0]] = bool(arc[0].members(character))
            if known[arc[0]] and arc[1] not in found:
                found |= self._nfa.closure(arc[1])
        return frozenset(found)


def _check(source: str) -> None:
    """Refuse what ``re`` refuses, in its words."""
    if len(source) > MAX_LENGTH:
        raise UsageError(
            f"the pattern has {len(source):,} characters, expected {MAX_LENGTH:,} at most"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(source)
    except re.error as fault:
        where = "" if fault.pos is None else f" at character {fault.pos + 1}"
        raise UsageError(
            f"the pattern '{shorten(source)}' is no regular expression: {fault.msg}{where}"
        ) from None
    except (RecursionError, OverflowError, MemoryError):
        raise UsageError(
            f"the pattern '{shorten(source)}' has too many groups within groups, or too large a "
            "number in it"
        ) from None


class _Parser:
    """The nodes of an expression that ``re`` accepts, by recursive descent."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0

    def whole(self) -> Node:
        flags = 0
        while found := _COMMENT.match(self.source, self.at) or _FLAGS.match(self.source, self.at):
            if found.re is _FLAGS:
                if found[3] == ":":
                    break
                flags |= self._flags(found[1])
            self.at = found.end()
        return self.branches(flags, 0)

    def branches(self, flags: int, depth: int) -> Node:
        """Alternatives up to the end of the group, or of the expression."""
        found = [self.branch(flags, depth)]
        while self.source.startswith("|", self.at):
            self.at += 1
            found.append(self.branch(flags, depth))
        return found[0] if len(found) == 1 else Choice(tuple(found))

    def branch(self, flags: int, depth: int) -> Node:
        parts: list[Node] = []
        while not depth and self._anchor() in ("^", r"\A"):
            self.at += len(self._anchor())
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            if not depth and self._anchor() in ("$", r"\Z"):
                begun, self.at = self.at, self.at + len(self._anchor())
                if self.at < len(self.source) and self.source[self.at] != "|":
                    raise self._refused("an anchor that is not at an end", begun)
                break
            part = self.atom(flags, depth)
            if part is not None:
                parts.append(self.quantified(part))
        return parts[0] if len(parts) == 1 else Series(tuple(parts))

    def atom(self, flags: int, depth: int) -> Node | None:
        """A character, a class or a group; None for a comment."""
        first, begun = self.source[self.at], self.at
        if first == "(":
            return self.group(flags, depth)
        if self._anchor():
            raise self._refused("an anchor that is not at an end", begun)
        if first == "\\":
            found = _ESCAPE.match(self.source, self.at)
            if found is None:
                raise self._refused("a backreference", begun)
            if found[0] in (r"\b", r"\B"):
                raise self._refused("a word boundary", begun)
            self.at = found.end()
            return CharSet(found[0], flags)
        if first == "[":
            self.at = self._class_end()
            return CharSet(self.source[begun : self.at], flags)
        self.at += 1
        return CharSet("." if first == "." else re.escape(first), flags)

    def group(self, flags: int, depth: int) -> Node | None:
        begun = self.at
        for beginning, name in _IRREGULAR.items():
            if self.source.startswith(beginning, self.at):
                raise self._refused(name, begun)
        if comment := _COMMENT.match(self.source, self.at):
            self.at = comment.end()
            return None
        if depth >= MAX_DEPTH:
            raise self._refused(f"a group within {MAX_DEPTH} others", begun)
        plain, scoped = _GROUP.match(self.source, self.at), _FLAGS.match(self.source, self.at)
        opening = scoped or plain
        if scoped is not None and scoped[0] != "(?:":
            if "u" in scoped[1]:
                flags &= ~re.ASCII
            flags = (flags | self._flags(scoped[1])) & ~self._flags(scoped[2] or "")
        self.at = opening.end() if opening else self.at + 1
        inner = self.branches(flags, depth + 1)
        self.at += 1  # the bracket, which re has seen
        return inner

    def quantified(self, part: Node) -> Node:
        """``part`` with its quantifier, if one follows; lazy ones match the same texts."""
        while comment := _COMMENT.match(self.source, self.at):
            self.at = comment.end()
        begun = self.at
        sign = self.source[self.at : self.at + 1]
        if sign and sign in "*+?":
            self.at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        elif (found := _COUNT.match(self.source, self.at)) and found[0] != "{}":
            self.at = found.end()
            least = int(found[1] or 0)
            most = int(found[3]) if found[3] else (None if found[2] else least)
        else:
            return part
        if self.source.startswith("?", self.at):
            self.at += 1
        elif self.source.startswith("+", self.at):
            raise self._refused("a possessive quantifier", begun)
        return Repeat(part, least, most)

    def _anchor(self) -> str:
        """The anchor at this place; empty if there is none."""
        for anchor in ("^", "$", r"\A", r"\Z"):
            if self.source.startswith(anchor, self.at):
                return anchor
        return ""

    def _class_end(self) -> int:
        end = self.at + 1 + self.source.startswith("^", self.at + 1)
        end += self.source.startswith("]", end)
        while self.source[end] != "]":
            end += 2 if self.source[end] == "\\" else 1
        return end + 1

    def _flags(self, letters: str) -> int:
        found = 0
        for letter in letters:
            if letter not in _KNOWN_FLAGS:
                raise self._refused(f"the flag {letter}", self.at)
            found |= int(_KNOWN_FLAGS[letter])
        return found

    def _refused(self, what: str, position: int) -> UsageError:
        return UsageError(
            f"the pattern '{shorten(self.source)}' has {what} at character {position + 1}: only "
            "characters, classes, groups, | and repetitions can guide a search, and ^ and $ at "
            "the ends"
        )


class _Builder:
    """Nodes -> the states of an automaton."""

    def __init__(self, source: str, *, backward: bool) -> None:
        self._source = source
        self._backward = backward
        self._made = Nfa()

    def build(self, root: Node) -> Nfa:
        self._state()
        self._made.accept = self._add(root, 0)
        return self._made

    def _state(self) -> int:
        if len(self._made.free) >= MAX_STATES:
            raise UsageError(
                f"the pattern '{shorten(self._source)}' is too large, with its counted repetitions "
                f"written out: expected {MAX_STATES:,} states at most, so take * or + for large "
                "numbers"
            )
        self._made.free.append([])
        self._made.arcs.append(None)
        return len(self._made.free) - 1

    def _add(self, node: Node, begin: int) -> int:
        """Add a node after the state ``begin``; the state after it, which is new."""
        if isinstance(node, CharSet):
            end = self._state()
            middle = self._state()
            self._made.free[begin].append(middle)
            self._made.arcs[middle] = node, end
            return end
        if isinstance(node, Series):
            for part in reversed(node.parts) if self._backward else node.parts:
                begin = self._add(part, begin)
            return self._after(begin)
        if isinstance(node, Choice):
            ends = [self._add(part, self._after(begin)) for part in node.parts]
            end = self._state()
            for one in ends:
                self._made.free[one].append(end)
            return end
        return self._add_repeat(node, begin)

    def _add_repeat(self, node: Repeat, begin: int) -> int:
        for _ in range(node.least):
            begin = self._add(node.part, begin)
        if node.most is None:
            loop = self._after(begin)
            self._made.free[self._add(node.part, self._after(loop))].append(loop)
            return self._after(loop)
        end = self._state()
        self._made.free[begin].append(end)
        for _ in range(node.most - node.least):
            begin = self._add(node.part, self._after(begin))
            self._made.free[begin].append(end)
        return end

    def _after(self, begin: int) -> int:
        """A new state that is reached from ``begin`` without a character."""
        end = self._state()
        self._made.free[begin].append(end)
        return end
