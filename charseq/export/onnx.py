"""Run folder -> a folder with ONNX graphs and a runner: ``charseq export RUN --onnx DIR``.

The folder has the graphs, ``model.json`` (see :mod:`charseq.export.manifest`), ``predict.py`` and a
README. ``predict.py`` needs NumPy and onnxruntime, and is the modules of
``charseq.export.runtime`` joined to one file. Nothing is written before the graphs and the answers
have been compared with the engine.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from charseq import files
from charseq.errors import CharseqError, SettingError, UsageError, argument, require
from charseq.export import cells, manifest, verify
from charseq.export.graph import PRECISIONS
from charseq.export.next_word_graphs import NextWordGraphs
from charseq.export.runtime import predict as runtime
from charseq.export.seq2seq_graphs import Seq2SeqGraphs
from charseq.version import __version__

PURPOSE = "exporting to ONNX"
PROGRAM, MODEL, README = "predict.py", runtime.MODEL, "README.md"
MODULES = ("text", "search", "joint_ngrams", "probabilities", "predict")
"""The modules of the runner, in the order in which they are joined."""
OWN = "charseq.export.runtime"
FILLED = 4
"""Candidates that are compared beside the best answer, to tell ties."""
LONGEST_MADE = 40

Report = Callable[[str], None]


def to_onnx(
    run: str | Path,
    folder: str | Path,
    *,
    precision: str = "fp32",
    texts: str | Path | None = None,
    force: bool = False,
    report: Report = lambda _: None,
) -> dict[str, Any]:
    """Export a run as ONNX graphs with a runner.

    Args:
        run: a run folder or a name, as for :func:`charseq.load`.
        folder: the folder to write.
        precision: fp32, fp16 or int8, in which weights are stored.
        texts: a file with a text in each line, whose answers are compared with the engine's; by
            default :data:`charseq.export.verify.TEXTS` texts are made of the model's symbols.
        force: whether files in the folder may be overwritten.
        report: gets a line on each comparison, and on what is left out.

    Returns:
        ``folder``, ``files`` (name -> bytes), ``difference`` (the largest of log-probabilities),
        and ``texts``, ``equal`` and ``ties`` of the answers.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        SettingError: another precision.
        UsageError: the run cannot be exported, or the folder is not empty.
        CheckpointError: the run is missing or damaged.
        DataError: the file of texts cannot be read.
        CharseqError: graphs or answers are not those of the engine; nothing is written.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision is {precision!r:.40}, expected {', '.join(PRECISIONS)}")
    for package in ("onnx", "onnxruntime"):
        require(package, PURPOSE)
    out = Path(folder)
    _refuse(out, force=force)
    exported = manifest.read(run)
    made = _graphs(exported, precision)
    facts = exported.facts | {
        "precision": precision,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in made.items()},
    }
    runner = runtime.build(facts, made)
    difference = _check(exported, precision, runner)
    for note in exported.notes:
        report(note)
    report(f"the graphs differ from the engine by at most {difference:.1g}")
    found = compare(exported, runner.predict, texts)
    report(f"{precision}: {found}")
    if precision == "fp32" and not found.complete:
        raise CharseqError(f"{found}, expected all of them: nothing was written")
    contents = made | {
        PROGRAM: program().encode(),
        README: _readme(facts).encode(),
        MODEL: json.dumps(facts, ensure_ascii=False).encode(),
    }
    _write(out, contents)
    sizes = {name: len(content) for name, content in contents.items()}
    report(f"{out}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    return {
        "folder": str(out), "files": sizes, "difference": difference, "texts": found.texts,
        "equal": found.equal, "ties": found.ties,
    }  # fmt: skip


def compare(
    exported: manifest.Exported,
    runner: Callable[[Sequence[str]], Any],
    texts: str | Path | None,
    count: int = verify.TEXTS,
) -> verify.Agreement:
    """The answers of a runner beside those of the engine, of the texts of a file or made ones."""
    model: Any = exported.model()
    vocabulary = model.translator.source if exported.is_pairs else model.tokenizer.vocabulary
    if texts is not None:
        asked = verify.read_texts(texts, features=model.has_features, most=count)
    else:
        # a position of the table for each length of a source in training
        seen = len(exported.facts.get("limits", ())) - 1
        longest = min(seen, LONGEST_MADE) if exported.is_pairs else LONGEST_MADE // 4
        asked = verify.made_texts(vocabulary, max(longest, 1), count)
    engine = partial(model.predict, n=min(FILLED, exported.facts["beam"]))
    return verify.agreement(asked, engine, runner)


def program() -> str:
    """The source of ``predict.py``: the runner's modules, without their imports of each other."""
    folder = Path(runtime.__file__).parent
    trees = [
        ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"), name) for name in MODULES
    ]
    sources = [(folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES]
    imports: dict[str, None] = {}
    bodies = []
    for source, tree in zip(sources, trees, strict=True):
        lines = source.split("\n")
        for node in tree.body:
            is_docstring = node is tree.body[0]
            is_import = isinstance(node, ast.Import | ast.ImportFrom)
            if is_import and not (isinstance(node, ast.ImportFrom) and _is_left_out(node)):
                imports[ast.unparse(node)] = None
            if is_docstring or is_import:
                for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                    lines[number] = ""
        bodies.append("\n".join(lines).strip("\n"))
    docstring = ast.get_docstring(trees[-1], clean=False)
    head = f'"""{docstring}"""\n\n# Written by charseq {__version__}; licence: MIT.\n\n'
    future = "from __future__ import annotations\n\n"
    return head + future + "\n".join(sorted(imports)) + "\n\n" + "\n\n\n".join(bodies) + "\n"


def _is_left_out(node: ast.ImportFrom) -> bool:
    """Whether an import is one of the runner's own, or stands at the head already."""
    return node.module == "__future__" or (node.module or "").startswith(OWN)


def _graphs(exported: manifest.Exported, precision: str) -> dict[str, bytes]:
    """The graphs of all members by name, which ``facts`` of the run name afterwards."""
    named = {"charseq": __version__, "run": exported.facts["name"], "precision": precision}
    made: dict[str, bytes] = {}
    if not exported.is_pairs:
        config, weights = exported.groups[0].members[0]
        if config.cell != "mlp":
            cells.check(config.cell)
        words = NextWordGraphs(weights, config.cell, config.layers, config.context, precision)
        made = {"reader.onnx": words.reader(named), "writer.onnx": words.writer(named)}
        layers, kept, size = words.shape
        exported.facts.update(graphs=list(made), state=[layers, kept, 1, size])
        return made
    exported.facts["groups"] = []
    total = sum(len(group.members) for group in exported.groups)
    for group in exported.groups:
        pairs = []
        for config, weights in group.members:
            cells.check(config.cell)
            graphs = Seq2SeqGraphs(weights, config.cell, config.layers, precision)
            ending = "" if total == 1 else f"-{len(made) // 2 + 1}"
            names = f"encoder{ending}.onnx", f"decoder{ending}.onnx"
            made |= {names[0]: graphs.encoder(named), names[1]: graphs.decoder(named)}
            pairs.append(names)
        exported.facts["groups"].append(
            {"members": pairs, "backward": group.backward, "weight": group.weight}
        )
    return made


def _check(exported: manifest.Exported, precision: str, runner: Any) -> float:
    """The largest difference between the graphs and the engine."""
    if not exported.is_pairs:
        return verify.check_next_word(exported.groups[0].members[0], precision, runner)
    model: Any = exported.model()
    return max(
        verify.check_seq2seq(member, precision, network, model.translator.source)
        for group, (mean, _, _) in zip(exported.groups, runner.groups, strict=True)
        for member, network in zip(group.members, mean.members, strict=True)
    )


def _refuse(out: Path, *, force: bool) -> None:
    """Refuse a folder that holds something, without ``force``, or that is none."""
    files.check_name(out)
    try:
        files.refuse_link(out)
    except files.LinkError as fault:
        raise UsageError(fault.strerror) from None
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is {files.kind(out)}, expected a folder to write")
    if out.is_dir() and any(out.iterdir()) and not force:
        anyway = argument("force", True)
        raise UsageError(f"{out} is not empty: give another name, or {anyway} to overwrite")


def _write(out: Path, contents: dict[str, bytes]) -> None:
    """All files, each whole or not at all; ``model.json``, which names the graphs, is the last."""
    files.make_folder(out, parents=True)
    for name in contents:
        files.refuse(out / name, force=True)
    for name, content in contents.items():
        files.replace(out / name, content)


def _readme(facts: dict[str, Any]) -> str:
    """A page on the folder."""
    graphs = "\n".join(f"- `{name}`" for name in facts["sha256"])
    what = "rewrites texts" if facts["task"] == "pairs" else "predicts the next word"
    example = "TEXT" if facts["task"] == "pairs" else "BEGINNING"
    return f"""# {facts["name"]}, exported by charseq {facts["charseq"]}

This model {what}. It needs Python 3.11 or newer, `numpy` and `onnxruntime`:

```
pip install numpy onnxruntime
python {PROGRAM} -n 3 "{example}"
```

or in a program that has this folder on its path:

```python
import predict
model = predict.load()
print(model.predict(["{example}"], n=3))
```

Weights are stored in {facts["precision"]}. The graphs (ONNX, operators of version 17) are

{graphs}

`{MODEL}` has the symbols and all that the search needs. `{PROGRAM}` shows how to call the graphs
from another language.
"""
