"""Run folder -> one web page that holds the model and runs it: ``charseq export RUN --html FILE``.

The page has the weights in base64, and the forward pass and the beam search in plain JavaScript
(the files in ``page/``). It loads nothing from elsewhere: a content security policy forbids it.
Before the page is written, the engine answers many texts with the weights as the page stores them.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charseq import files
from charseq.confidence.rescoring import DIRECTIONS
from charseq.decoding.ensemble import direction_groups
from charseq.errors import CharseqError, SettingError
from charseq.export import cells, manifest
from charseq.export.graph import PRECISIONS, halve, quantise
from charseq.export.onnx import compare
from charseq.export.verify import unpacked
from charseq.inference.loading import language_model, read_run
from charseq.runs.folder import files_of
from charseq.version import __version__

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("engine.js", "ngrams.js", "words.js", "page.js")
AUTO = "auto"
SMALLEST_FIRST = ("int8", "fp16", "fp32")

Report = Callable[[str], None]


def to_html(
    run: str | Path,
    path: str | Path,
    *,
    precision: str = AUTO,
    texts: str | Path | None = None,
    force: bool = False,
    report: Report = lambda _: None,
) -> dict[str, Any]:
    """Export a run as one web page that works offline.

    Args:
        run: a run folder or a name, as for :func:`charseq.load`.
        path: the file to write.
        precision: fp32, fp16 or int8, in which weights are stored; auto is the smallest with which
            all answers are those of the run.
        texts: a file with a text in each line, whose answers are compared; by default
            :data:`charseq.export.verify.TEXTS` texts are made of the model's symbols.
        force: whether the file may be overwritten.
        report: gets a line on each comparison, and on what is left out.

    Returns:
        ``file``, ``bytes``, ``precision``, and ``texts``, ``equal`` and ``ties`` of the answers.

    Raises:
        SettingError: another precision.
        UsageError: the run cannot be exported, or the file is there.
        CheckpointError: the run is missing or damaged.
        DataError: the file of texts cannot be read.
        CharseqError: with fp32, answers are not those of the run; nothing is written.
    """
    if precision not in (AUTO, *PRECISIONS):
        what = ", ".join((AUTO, *PRECISIONS))
        raise SettingError(f"precision is {precision!r:.40}, expected {what}")
    exported = manifest.read(run)
    out = Path(path)
    inputs = [*files_of(exported.path), *([] if texts is None else [texts])]
    files.refuse(out, force=force, inputs=inputs)
    for note in exported.notes:
        report(note)
    for chosen in SMALLEST_FIRST if precision == AUTO else (precision,):
        found = compare(exported, _engine(exported, chosen), texts)
        report(f"{chosen}: {found}")
        if found.complete or precision == chosen != "fp32":
            break
    else:
        raise CharseqError(f"{found}, expected all of them: nothing was written")
    content = page(exported, chosen).encode()
    files.replace(out, content)
    report(f"{out}: {len(content) / 1e6:.1f} MB, opens in any browser")
    return {
        "file": str(out), "bytes": len(content), "precision": chosen, "texts": found.texts,
        "equal": found.equal, "ties": found.ties,
    }  # fmt: skip


def page(exported: manifest.Exported, precision: str) -> str:
    """The page of a run."""
    blob, groups = bytearray(), []
    for group in exported.groups:
        members = [_member(member, precision, blob) for member in group.members]
        groups.append({"members": members, "backward": group.backward, "weight": group.weight})
    facts = exported.facts | {"groups": groups, "about": _about(exported, precision, len(blob))}
    script = "".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    rewrites = "Type a text: the model rewrites it as you type."
    parts = {
        "script-hash": _digest(script),
        "style-hash": _digest(style),
        "version": __version__,
        "name": html.escape(exported.facts["name"]),
        "what": rewrites if exported.is_pairs else "Type a line: the model says how it goes on.",
        "style": style,
        "facts": _inert(facts),
        "weights": base64.b64encode(blob).decode(),
        "script": script,
    }
    template = (PAGE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([a-z-]+)\}\}", lambda found: parts[found[1]], template)


def _member(member: manifest.Member, precision: str, blob: bytearray) -> dict[str, Any]:
    """The sizes of one network; its weights are added to ``blob``."""
    config, weights = member
    if config.cell != "mlp":
        cells.check(config.cell)
    tensors = {name: _pack(weight, precision, blob) for name, weight in sorted(weights.items())}
    return {
        "cell": config.cell, "layers": config.layers, "context": config.context,
        "tensors": tensors,
    }  # fmt: skip


def _pack(weight: np.ndarray, precision: str, blob: bytearray) -> dict[str, Any]:
    """Shape, kind and place of one weight, which is added to ``blob``; biases stay float32."""
    kind = precision if weight.ndim == 2 else "fp32"
    rows = weight if weight.ndim == 2 else weight[None]
    place = len(blob)
    if kind == "int8":
        codes, scales = quantise(rows)
        blob += scales.astype("<f4").tobytes() + codes.tobytes()
    elif kind == "fp16":
        blob += halve(rows).astype("<f2").tobytes()
    else:
        blob += rows.astype("<f4").tobytes()
    return {"rows": rows.shape[0], "columns": rows.shape[1], "kind": kind, "at": place}


def _about(exported: manifest.Exported, precision: str, size: int) -> dict[str, str]:
    """Facts for the readers of the page."""
    config = exported.groups[0].members[0].config
    members = [member for group in exported.groups for member in group.members]
    count = sum(weight.size for member in members for weight in member.weights.values())
    network = f"{config.cell}, {config.layers} x {config.hidden} units"
    if exported.is_pairs:
        network += f", {config.attention} attention" if config.attention != "none" else ""
    if len(members) > 1:
        network = f"{len(members)} networks, the first: {network}"
    ngrams = exported.facts.get("ngrams")
    if ngrams:
        network += f", weighed by {_ngram_count(ngrams):,} joint n-grams"
    return {
        "network": network,
        "parameters": f"{count:,}",
        "weights": f"{precision}, {size / 1e6:.1f} MB",
        "made with": f"charseq {__version__}",
    }


def _ngram_count(ngrams: Mapping[str, Any]) -> int:
    """The number of joint n-grams of both directions, of which each has a byte of its own."""
    tables = [ngrams[name]["chances"] for name in DIRECTIONS if ngrams[name]]
    return sum(len(base64.b64decode(text)) for orders in tables for text in orders)


def _digest(text: str) -> str:
    """The source expression of an inline script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inert(facts: Mapping[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\r", "\\r")


def _engine(exported: manifest.Exported, precision: str) -> Callable[[Sequence[str]], Any]:
    """The engine with the weights as a page of this precision has them."""
    run = read_run(exported.path)
    members = [member for group in exported.groups for member in group.members]
    if not exported.is_pairs and run.tokenizer is not None:
        weights = unpacked(members[0], precision)
        model = language_model(exported.path, run.metadata, run.config, run.tokenizer, weights)
        return model.predict
    kept = unpacked(manifest.Member(run.config, run.weights), precision)
    pairs: Any = exported.model()
    pairs.translator.direction_groups = direction_groups(run.config, kept)
    answers: Callable[[Sequence[str]], Any] = pairs.predict
    return answers
