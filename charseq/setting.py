"""One setting: how it is declared, and a value for it in its type, within its limits.

:mod:`charseq.config` declares the settings, and is the interface for everyone else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from charseq.errors import SettingError

SHOWN = 60
"""Characters of a wrong value that a message shows."""


MAX_WHOLE = 2**53
"""Largest whole number of a setting: up to here a float holds every one."""
RENAMED = {
    "running": "stateful",
    "traits": "word_features",
    "keep": "keep_checkpoints",
    "samples": "sampled_softmax",
    "prior": "alignment_prior",
    "tied": "tie_embeddings",
}
"""Earlier names of settings, which are still read: in runs, files, options and the environment."""
RENAMED_KINDS = {"parts": "decomposed"}
"""Earlier names of kinds of symbols, in settings and in runs -> the present ones."""
RENAMED_VALUES = dict.fromkeys(("source_symbols", "target_symbols"), RENAMED_KINDS)
"""Setting -> earlier names of its values, which are still read, and their present names."""
WERE_BOOLEAN = {"attention": ("none", "soft"), "stateful": ("no", "yes")}
"""Settings that were false or true, and the present values for these."""


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings under the present names, of their values as well."""
    present = {RENAMED.get(name, name): value for name, value in values.items()}
    return {name: _present(name, value) for name, value in present.items()}


def with_present_kinds(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a run, with the present names of the kinds of its symbols.

    They may be malicious: what is no vocabulary stays as it is.
    """
    found = dict(metadata)
    for side in ("source", "target"):
        kept = found.get(side)
        if isinstance(kept, dict) and isinstance(kept.get("kind"), str):
            found[side] = {**kept, "kind": RENAMED_KINDS.get(kept["kind"], kept["kind"])}
    return found


def _present(name: str, value: Any) -> Any:
    """The value of a setting under its present name."""
    if name in WERE_BOOLEAN and (word := shown(value).lower()) in ("false", "true"):
        return WERE_BOOLEAN[name][word == "true"]
    return RENAMED_VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value


def setting(
    default: Any,
    group: str,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
    next_word: Any = None,
    **needs: Any,
) -> Any:
    """A dataclass field with its group, help, choices and limits (both inclusive).

    ``next_word`` is the default for the task next-word, where it differs. ``needs``: the values
    of other settings without which this one does nothing, such as ``task="pairs"``.
    """
    facts = {
        "group": group,
        "help": _condition(needs) + text,
        "needs": needs,
        "choices": choices,
        "least": least,
        "most": most,
        "next-word": default if next_word is None else next_word,
    }
    return field(default=default, metadata=facts)


def _condition(needs: Mapping[str, Any]) -> str:
    """The values that a setting needs of others, as the beginning of its help."""
    others = {name: value for name, value in needs.items() if name != "task"}
    parts = [name if value is True else f"{name} {value}" for name, value in others.items()]
    words = [needs[name] for name in needs if name == "task"]
    words += [f"with {' and '.join(parts)}"] * bool(parts)
    return f"{' '.join(words)}: " if words else ""


def checked(name: str, value: Any, default: Any, facts: Mapping[str, Any]) -> Any:
    """``value`` in the type of the setting ``name``, which has this ``default`` and these facts.

    Raises:
        SettingError: a wrong type, or a value out of its limits.
    """
    kind = type(default)
    result = _present(name, _convert(name, kind, _present(name, value)))
    if facts["choices"] and result not in facts["choices"]:
        wanted = ", ".join(facts["choices"])
        raise SettingError(f"{name} is '{shown(result)}', expected one of {wanted}")
    if kind in (int, float):
        _limit(name, result, facts["least"], facts["most"])
    return result


def _convert(name: str, kind: type, value: Any) -> Any:
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, bool):
            return value
        if shown(value).lower() in words:
            return words[shown(value).lower()]
        raise SettingError(f"{name} is '{shown(value)}', expected true or false")
    if kind is str:
        if not isinstance(value, str):
            raise SettingError(f"{name} is '{shown(value)}', expected text")
        return value
    if isinstance(value, bool):
        raise SettingError(f"{name} is '{shown(value)}', expected a number")
    try:
        number = float(value)
        if kind is float or (number == int(number) and abs(number) <= MAX_WHOLE):
            return kind(number)
    except (TypeError, ValueError, OverflowError):
        pass
    wanted = "a whole number" if kind is int else "a number"
    if kind is int and (isinstance(value, int) or shown(value).strip("- ").isdigit()):
        wanted += f" of at most {MAX_WHOLE:,}"
    raise SettingError(f"{name} is '{shown(value)}', expected {wanted}")


def _limit(name: str, value: float, least: float | None, most: float | None) -> None:
    inside = (least is None or value >= least) and (most is None or value <= most)
    if not inside or not math.isfinite(value):
        raise SettingError(f"{name} is {value}, expected {interval(least, most)}")


def shown(value: Any) -> str:
    """A value, or its beginning, for a message."""
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to print many digits
        return "a number of more than 64 bits"
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def interval(least: float | None, most: float | None) -> str:
    """The limits of a number, for people; "" where there are none."""
    if least is None and most is None:
        return ""
    if most is None:
        return f"{least} or more"
    return f"{least} to {most}"


def unknown_name(name: str, known: Iterable[str]) -> str:
    """A message on a name that none of the ``known`` settings has, with the nearest one."""
    import difflib

    name = str(name)[:SHOWN]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "`charseq train --help` lists them"
    return f"unknown setting '{name}'; {hint}"
