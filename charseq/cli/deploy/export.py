"""Command ``charseq export``: a run -> ONNX graphs with a runner, or a web page.

The exporters are imported when the command runs, so that its help loads no NumPy.
"""

from __future__ import annotations

from pathlib import Path

import click

from charseq.cli import console, options
from charseq.errors import UsageError
from charseq.process import prepare_inference


@click.command(
    short_help="Export a model: ONNX graphs, or a web page.",
    epilog=options.example(
        "charseq export dates --onnx dates-onnx",
        "charseq export checkpoints/mine --onnx mine-int8 --precision int8 --texts words.txt",
        "charseq export checkpoints/mine --html mine.html",
    ),
)
@click.argument("run", type=options.Name(), metavar="RUN")
@click.option(
    "--onnx",
    type=options.OutputName(Path),
    metavar="DIR",
    help="Write ONNX graphs, and a runner that needs NumPy and onnxruntime, to the folder DIR.",
)
@click.option(
    "--html",
    type=options.OutputName(Path),
    metavar="FILE",
    help="Write one web page that holds the model and runs it in the browser, offline.",
)
@click.option(
    "--precision",
    type=click.Choice(("fp32", "fp16", "int8")),
    help="How weights are stored: int8 takes a quarter of the space, fp16 a half.  [default: fp32 "
    "for ONNX; for a page the smallest with which all answers are equal]",
)
@click.option(
    "--texts",
    type=options.Name(),
    metavar="FILE",
    help="Compare the answers to the first 1,000 texts of this file, one a line, with charseq's "
    "own.  [default: texts made of the model's symbols]",
)
@options.force("Overwrite what is there.")
@options.reporting
def export(
    *, run: str, onnx: Path | None, html: Path | None, precision: str | None, texts: str | None,
    force: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Export the model in RUN, a folder or a name, for other programs.

    Every export is compared with charseq's own engine before it is written: the log-probabilities
    of its graphs, and the answers to 1,000 texts.
    """
    if onnx is None and html is None:
        raise UsageError("nothing to write: give --onnx DIR or --html FILE")
    prepare_inference()
    facts = {}
    what = f"exporting {run} and comparing answers"
    with console.preparing(what, quiet=quiet, again=True) as listening:
        report = listening["report"]
        if onnx is not None:
            from charseq.export.onnx import to_onnx

            facts["onnx"] = to_onnx(
                run,
                onnx,
                precision=precision or "fp32",
                texts=texts,
                force=force,
                report=report,
            )
        if html is not None:
            from charseq.export.html import to_html

            facts["html"] = to_html(
                run,
                html,
                precision=precision or "auto",
                texts=texts,
                force=force,
                report=report,
            )
    if as_json:
        console.write_json(facts)
