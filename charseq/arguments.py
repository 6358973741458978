"""The arguments of public functions: their names and kinds, checked before anything is done.

    checking(function, KINDS)    a function that refuses what it cannot take, in one line each
    bind(signature, ...)         the arguments of a call by name

A value of the wrong kind would else be an error of whatever line uses it first, minutes later.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple, ParamSpec, TypeVar

from charseq.errors import ArgumentError

P = ParamSpec("P")
Result = TypeVar("Result")

MAX_SHOWN = 40
"""Characters of a wrong value that a message shows."""
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Kind(NamedTuple):
    """The values that an argument takes; an argument whose default is None takes None as well."""

    expected: str
    """The kind in words."""
    fits: Callable[[Any], bool]


def _is_number(value: Any, kind: type) -> bool:
    """Whether a value is a number of this kind; true and false are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


PATH = Kind("a path", lambda value: isinstance(value, str | os.PathLike))
TEXT = Kind("a str", lambda value: isinstance(value, str))
FLAG = Kind("True or False", lambda value: type(value).__name__ in ("bool", "bool_"))
WHOLE = Kind("a whole number", lambda value: _is_number(value, Integral))
NUMBER = Kind("a number", lambda value: _is_number(value, Real))
FUNCTION = Kind("a function", callable)
MAPPING = Kind("a dict", lambda value: isinstance(value, Mapping))
COLUMN = Kind(
    "the name of a column or its number from 1",
    lambda value: isinstance(value, str) or _is_number(value, Integral),
)


def checking(
    function: Callable[P, Result],
    kinds: Mapping[str, Kind],
    *,
    hint: Callable[[str], str] = lambda _name: "",
    further: Iterable[inspect.Parameter] = (),
) -> Callable[P, Result]:
    """The function, which refuses arguments that it has not, and values of another kind.

    Args:
        function: a function of the package ``charseq``.
        kinds: the kinds of its arguments by name; others are not checked.
        hint: a name that is no argument -> what to do instead; "" where that is unknown.
        further: arguments that the function takes as ``**options``.
    """
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    names = {one.name for one in own}
    signature = signature.replace(
        parameters=[*own, *(one for one in further if one.name not in names)]
    )
    name = f"charseq.{getattr(function, '__name__', 'function')}"

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> Result:
        given = bind(signature, name, args, options, hint=hint)
        for argument, value in given.items():
            kind, default = kinds.get(argument), signature.parameters[argument].default
            if kind is not None and value is not default and not kind.fits(value):
                what = f"{argument} is {shown_value(value)}, expected {kind.expected}"
                raise ArgumentError(what)
        return function(*args, **options)

    return call


def bind(
    signature: inspect.Signature,
    name: str,
    args: Iterable[Any],
    options: Mapping[str, Any],
    *,
    hint: Callable[[str], str] = lambda _name: "",
) -> dict[str, Any]:
    """The arguments of a call by name, as far as they are given; ``name``: the function's.

    Raises:
        ArgumentError: an argument that the function has not, one too many, or one too few.
    """
    args = tuple(args)
    try:
        return dict(signature.bind(*args, **options).arguments)
    except TypeError as fault:
        what = _binding_fault(signature, args, options, hint) or f": {fault}"
        raise ArgumentError(f"{name} {what}") from None


def _binding_fault(
    signature: inspect.Signature,
    args: tuple[Any, ...],
    options: Mapping[str, Any],
    hint: Callable[[str], str],
) -> str:
    """Why a call does not fit a signature, and what would; "" for a reason that is not known."""
    known = [name for name in signature.parameters if name != "self"]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
            instead = f"did you mean '{near[0]}'?" if near else hint(name)
            return f"has no argument '{name}'; {instead or 'it has ' + ', '.join(known)}"
    placed = [one.name for one in signature.parameters.values() if one.kind in BY_POSITION]
    if len(args) > len(placed):
        by_name = [name for name in known if name not in placed]
        rest = f"; give others by name, such as {by_name[0]}=" if by_name else ""
        before = 1 if "self" in placed else 0
        taken = ", ".join(placed[before:])
        count = len(args) - before
        return f"is given {count} arguments by position, expected at most {taken}{rest}"
    for name in placed[: len(args)]:
        if name in options:
            return f"is given '{name}' twice, by position and by name"
    for one in signature.parameters.values():
        given = one.name in options or one.name in placed[: len(args)]
        if one.default is one.empty and not given and one.kind is not one.VAR_KEYWORD:
            return f"needs the argument '{one.name}'"
    return ""


def one_text(value: object, name: str) -> str:
    """A single text, checked. Raises ArgumentError for what is no str; ``name``: the argument's."""
    if not isinstance(value, str):
        raise ArgumentError(f"{name} is {shown_value(value)}, expected a str")
    return value


def check_path(value: object, name: str, expected: str) -> None:
    """Raise ArgumentError for what is no path; ``name``: the argument's."""
    if not PATH.fits(value):
        raise ArgumentError(f"{name} is {shown_value(value)}, expected {expected}")


def shown_value(value: Any) -> str:
    """A wrong value with its type, for a message."""
    kind = type(value).__name__
    if value is None:
        return "None"
    text = " ".join(repr(value).split())
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    hint = ", not decoded" if isinstance(value, bytes | bytearray) else ""
    return f"{shown} ({kind}{hint})"
