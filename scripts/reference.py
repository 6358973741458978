"""The program's own declarations -> docs/reference: settings, command line, run folder, Python.

    scripts/reference.py            writes the pages
    scripts/reference.py --check    names each page that is not current, then ends with exit code 1

Settings come from ``charseq.config``, commands from click's tree of commands, the Python interface
from signatures and docstrings. The run folder and the exit codes are described by hand in
``reference.toml``; tests compare that with the program. No page depends on the terminal, the
locale or the machine.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

import click
from reference_markdown import block, code, docstring, flat, markdown, page, plain, table

import charseq
from charseq import errors
from charseq.config import SETTINGS, describe

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "reference"

SIGNATURE_WIDTH = 88
TEXTS: dict[str, Any] = tomllib.loads((ROOT / "scripts" / "reference.toml").read_text("utf-8"))
"""What the program does not declare, by page and part."""
EXIT_CODES: dict[str, str] = TEXTS["exit-codes"]


def prose(title: str, part: str) -> list[str]:
    """Paragraphs that the program does not declare."""
    return [flat(text) for text in TEXTS[title][part]]


# --- settings


def settings_page() -> str:
    """Every setting by group, in the order of its declaration."""
    rows = describe()
    parts = prose("settings", "intro")
    for group in dict.fromkeys(row[0] for row in rows):
        lines = [
            (code(name), code(default), _values(limits), plain(text))
            for owner, name, default, limits, text in rows
            if owner == group
        ]
        parts += [f"## {group}", table(("setting", "default", "values", "meaning"), lines)]
    return page("Settings", *parts)


def _values(limits: str) -> str:
    """Choices as code; an interval as it is."""
    choices = limits.split(", ")
    return ", ".join(map(code, choices)) if len(choices) > 1 else limits


# --- command line


def command_group() -> click.Group:
    """The tree of commands, found beside the function that pyproject.toml calls the program.

    Raises:
        LookupError: that module has no group of commands.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["charseq"].partition(":")
    main = getattr(importlib.import_module(module), name)
    for value in vars(sys.modules[main.__module__]).values():
        if isinstance(value, click.Group):
            return value
    raise LookupError(f"{main.__module__} has no group of commands")


def command_line_page() -> str:
    """Usage, arguments and options of every command; exit codes and variables."""
    group = command_group()
    top = click.Context(group, info_name="charseq", **group.context_settings)
    commands = {name: group.commands[name] for name in group.list_commands(top)}
    shared = _shared([group, *commands.values()], top)
    links = [
        (f"[`{name}`](#charseq-{name})", plain(one.get_short_help_str(limit=1000)))
        for name, one in commands.items()
    ]
    parts = [
        block("charseq COMMAND [OPTIONS] ..."),
        *_paragraphs(group.help or ""),
        table(("command", "purpose"), links),
        *prose("command-line", "intro"),
        "## Options of every command",
        table(OPTION_HEAD, [_option(one) for one in shared.values()]),
        "## Exit codes",
        table(("code", "meaning"), [(number, flat(text)) for number, text in EXIT_CODES.items()]),
        "## Environment",
        table(
            ("variable", "meaning"),
            [(code(name), flat(text)) for name, text in TEXTS["environment"].items()],
        ),
    ]
    for name, one in commands.items():
        parts += _command(one, click.Context(one, info_name=name, parent=top), shared)
    return page("Command line", *parts)


OPTION_HEAD = ("option", "values", "default", "meaning")


def _shared(commands: Sequence[click.Command], parent: click.Context) -> dict[str, click.Option]:
    """The options that all commands have, by their longest name."""
    each = []
    for one in commands:
        params = one.get_params(click.Context(one, parent=parent))
        each.append({p.opts[-1]: p for p in params if isinstance(p, click.Option)})
    return {name: p for name, p in each[0].items() if all(name in other for other in each)}


def _command(
    command: click.Command, context: click.Context, shared: Iterable[str]
) -> Iterator[str]:
    """The parts of one command's section."""
    yield f"## charseq {context.info_name}"
    yield block(" ".join([context.command_path, *command.collect_usage_pieces(context)]))
    yield from _paragraphs(command.help or "")
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    if arguments:
        yield "\n".join(_argument(one, context) for one in arguments)
    options = [one for one in command.params if isinstance(one, click.Option)]
    own = [one for one in options if not one.hidden and one.opts[-1] not in shared]
    if own:
        yield table(OPTION_HEAD, map(_option, own))
    yield from _paragraphs(command.epilog or "")


def _argument(argument: click.Argument, context: click.Context) -> str:
    """One argument as an item of a list."""
    if argument.nargs == -1:
        count = "one or more" if argument.required else "any number"
    else:
        count = "required" if argument.required else "optional"
    text = getattr(argument, "help", None)
    return f"- `{argument.make_metavar(context)}`: {count}{'. ' + plain(text) if text else ''}"


def _option(option: click.Option) -> tuple[str, str, str, str]:
    """One option as a row of a table; its help may end in ``[default: ...]``."""
    text = flat(option.help or "")
    found = re.fullmatch(r"(.*?)\s*\[default: (.*)\]", text)
    text, default = found.groups() if found else (text, "")
    if option.show_default and not option.is_flag:
        default = str(option.default)
    if option.envvar:
        text += f" Environment: {option.envvar}."
    names = ", ".join([*option.opts, *option.secondary_opts])
    metavar = option.metavar if option.metavar and not _choices(option) else ""
    return code(f"{names} {metavar}".strip()), _kind(option), plain(default), plain(text)


def _choices(option: click.Option) -> list[str]:
    return [str(one) for one in getattr(option.type, "choices", ())]


def _kind(option: click.Option) -> str:
    """The values that an option takes, and how often, in words."""
    words = []
    if option.is_flag:
        words = ["flag"]
    elif choices := _choices(option):
        words = list(map(code, choices))
    elif isinstance(option.type, click.IntRange | click.FloatRange):
        words = [_interval(option.type)]
    elif not option.metavar:
        words = ["text"]
    words += ["repeatable"] * option.multiple + ["required"] * option.required
    return ", ".join(words)


def _interval(kind: click.IntRange | click.FloatRange) -> str:
    """The numbers of a range, in words."""
    low = f"above {kind.min:.12g}" if kind.min_open else f"{kind.min or 0:.12g}"
    if kind.max is None:
        return low if kind.min_open else f"{low} or more"
    return f"{low} to {'below ' * kind.max_open}{kind.max:.12g}"


def _paragraphs(text: str) -> Iterator[str]:
    """Help text as Markdown; click's blocks keep their lines, and settings become a link."""
    for paragraph in inspect.cleandoc(text.partition("\f")[0]).split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0] != "\b":
            yield plain(flat(paragraph))
        elif all(re.search(rf"^ +{name}\b", paragraph, re.MULTILINE) for name in SETTINGS):
            yield "`--set NAME=VALUE` takes any of the [settings](settings.md)."
        else:
            yield plain(lines[1])
            yield block(textwrap.dedent("\n".join(lines[2:])))


# --- run folder


def run_folder_page() -> str:
    """The files of a run, and the keys of its about.json."""
    told = TEXTS["run-folder"]
    head = ("present", "content")
    parts = [
        *prose("run-folder", "intro"),
        "## Files",
        table(("file", *head), [(code(name), *facts) for name, facts in told["names"].items()]),
        *prose("run-folder", "files"),
        "## about.json",
        table(("key", *head), [(code(name), *facts) for name, facts in told["keys"].items()]),
        *prose("run-folder", "about"),
    ]
    for name, text in told["sections"]:
        parts += [f"## {name}", flat(text)]
    return page("Run folder", *parts)


# --- Python


def python_page() -> str:
    """Functions, classes and errors of the public interface."""
    parts = [
        block("import charseq\n\nmodel = charseq.load()", "python"),
        *prose("python", "intro"),
    ]
    public = [getattr(charseq, name) for name in charseq.__all__]
    functions = [inspect.unwrap(one) for one in public if inspect.isfunction(one)]
    for function in functions:
        parts += _function(function, f"charseq.{function.__name__}", "## ")
    classes = [one for one in public if inspect.isclass(one) and not issubclass(one, Exception)]
    for kind in [*_reachable(functions), *classes]:
        parts += _class(kind)
    parts += [
        "## Errors",
        *prose("python", "errors"),
        table(("error", "kind of", "exit code", "meaning"), _errors()),
    ]
    return page("Python", *parts)


def _reachable(functions: Sequence[Callable[..., Any]]) -> list[type]:
    """The classes of charseq that functions return, and those that their members return."""
    found: list[type] = []
    queue = [kind for one in functions for kind in _returned(one)]
    while queue:
        kind = queue.pop(0)
        if kind not in found:
            found.append(kind)
            for _, member in _members(kind):
                queue += _returned(member)
            if dataclasses.is_dataclass(kind):
                module = sys.modules[kind.__module__]
                queue += [c for one in dataclasses.fields(kind) for c in _classes(one.type, module)]
    return found


def _returned(function: Callable[..., Any]) -> list[type]:
    module = sys.modules[function.__module__]
    return _classes(inspect.signature(function).return_annotation, module)


def _classes(annotation: object, module: ModuleType) -> list[type]:
    """The classes of charseq that an annotation in ``module`` names."""
    tree = ast.parse(annotation) if isinstance(annotation, str) else ast.Module([], [])
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    values = [_resolve(name, module) for name in names]
    values += [
        getattr(_resolve(node.value.id, module), node.attr, None)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    return [
        one for one in values if inspect.isclass(one) and one.__module__.startswith("charseq.")
        and one.__module__ != "charseq.config"
    ]  # fmt: skip


def _resolve(name: str, module: ModuleType) -> object:
    """The object behind a name of a module, imported for type checkers only or really."""
    if hasattr(module, name):
        return getattr(module, name)
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    importlib.import_module(node.module)
                    with suppress(ImportError):  # it may be a module itself
                        importlib.import_module(f"{node.module}.{alias.name}")
                    return getattr(sys.modules[node.module], alias.name, None)
    return None


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, the latter by their functions."""
    for name, value in vars(kind).items():
        if not name.startswith("_"):
            if isinstance(value, property):
                yield name, value.fget
            elif inspect.isfunction(value):
                yield name, value


def _class(kind: type) -> Iterator[str]:
    """The parts of one class's section."""
    yield f"## {kind.__name__}"
    yield from docstring(kind)
    rows = list(_fields(kind))
    rows += [
        (
            code(name),
            code(str(inspect.signature(member).return_annotation)),
            markdown(flat(member.__doc__ or "")),
        )
        for name, member in _members(kind)
        if isinstance(vars(kind)[name], property)
    ]
    if rows:
        yield table(("attribute", "type", "meaning"), rows)
    for name, member in _members(kind):
        if inspect.isfunction(vars(kind)[name]):
            yield from _function(member, f"{kind.__name__}.{name}", "### ")


def _fields(kind: type) -> Iterator[tuple[str, str, str]]:
    """Name, type and meaning of a dataclass's fields; the meaning is the string below a field."""
    if not dataclasses.is_dataclass(kind):
        return
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    lines = body.body if isinstance(body, ast.ClassDef) else []
    for node, after in zip(lines, [*lines[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = markdown(flat(str(after.value.value)))
            yield code(ast.unparse(node.target)), code(ast.unparse(node.annotation)), text


def _function(function: Callable[..., Any], name: str, level: str) -> Iterator[str]:
    """The parts of one function's section."""
    yield f"{level}{name}"
    yield block(signature(function, name.rpartition(".")[2]), "python")
    yield from docstring(function)


def signature(function: Callable[..., Any], name: str) -> str:
    """A function's signature as source text, on one line or one parameter a line."""
    found, module = inspect.signature(function), sys.modules[function.__module__]
    parts = []
    for one in found.parameters.values():
        if one.name == "self":
            continue
        if one.kind is one.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        default = "" if one.default is one.empty else f" = {_default(one.default)}"
        stars = "**" if one.kind is one.VAR_KEYWORD else ""
        parts.append(f"{stars}{one.name}: {_spelt_out(one.annotation, module)}{default}")
    end = f") -> {found.return_annotation}"
    line = f"{name}({', '.join(parts)}{end}"
    if len(line) <= SIGNATURE_WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + end


def _spelt_out(annotation: str, module: ModuleType) -> str:
    """An annotation with the module's own names for types replaced by the types."""

    def replaced(match: re.Match[str]) -> str:
        value = _resolve(match[0], module)
        alias = get_origin(value) is not None
        return re.sub(r"(\w+\.)+", "", repr(value)) if alias else match[0]

    return re.sub(r"\b[A-Z]\w*", replaced, annotation)


def _default(value: object) -> str:
    """A default as source text; a function by its name."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value.__name__ if inspect.isfunction(value) else repr(value)


def _errors() -> Iterator[tuple[str, str, str, str]]:
    """Name, parent, exit code and meaning of every error, parents first."""
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.CharseqError):
            codes = "129, 130 or 143" if kind is errors.Interrupted else str(kind.exit_code)
            first = next(docstring(kind))
            yield code(name), code(kind.__mro__[1].__name__), codes, first


# --- the program


MAKERS: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "command-line.md": command_line_page,
    "run-folder.md": run_folder_page,
    "python.md": python_page,
}


def stale(folder: Path) -> dict[str, str]:
    """The pages in ``folder`` that are missing or not current, by name, as they should be."""
    made = {name: make() for name, make in MAKERS.items()}
    there = {
        name: (folder / name).read_text(encoding="utf-8") if (folder / name).is_file() else None
        for name in made
    }
    return {name: text for name, text in made.items() if there[name] != text}


def main(words: Sequence[str] | None = None, *, folder: Path = PAGES) -> int:
    """Write the pages, or only compare them; the exit code."""
    parser = argparse.ArgumentParser(description="Write the pages of docs/reference.")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    only_check = parser.parse_args(words).check
    found = stale(folder)
    for name, text in found.items():
        if only_check:
            sys.stderr.write(f"docs/reference/{name} is not current: run scripts/reference.py\n")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
            sys.stderr.write(f"docs/reference/{name} is written\n")
    return 1 if only_check and found else 0


if __name__ == "__main__":
    sys.exit(main())
