"""Command ``charseq convert``: files -> the same files with a model's answers.

The model is imported when the command runs, so that its help loads no NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from charseq.cli import console, options
from charseq.errors import CharseqError
from charseq.process import prepare_inference
from charseq.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class FormatName(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """The name of a file format of the registry, or auto.

    The registry is read when the option is used or explained, so the list of commands loads no
    formats, and a format that is registered later can be named.
    """

    name = "format"

    @property
    def choices(self) -> list[str]:
        """Auto, and the names of the registry."""
        from charseq.data.formats.reader import FORMATS

        return ["auto", *FORMATS]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the name. Raises click.BadParameter, which lists the names that there are."""
        return str(click.Choice(self.choices).convert(value, param, ctx))

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """The names, for the help."""
        return f"[{'|'.join(self.choices)}]"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so."""
        return click.Choice(self.choices).shell_complete(ctx, param, incomplete)


@click.command(
    short_help="Rewrite a column of a file, or the lines of a text.",
    epilog=options.example(
        "charseq convert orders.csv --column date -o orders.iso.csv",
        "charseq convert names.tsv.gz --column 2 --to latin -n 3",
        "cat words.txt | charseq convert - -m checkpoints/mine > answers.txt",
    ),
)
@click.argument("files", nargs=-1, required=True, type=options.Name(), metavar="FILE...")
@click.option(
    "-o",
    "--output",
    type=options.OutputName(),
    metavar="OUT",
    help="File to write, or a folder that exists; - is stdout.  "
    "[default: NAME.converted.csv beside NAME.csv]",
)
@click.option(
    "--column",
    metavar="NAME",
    help="Column to rewrite: its name in the header, or its number from 1.  [default: source, "
    "else the first]",
)
@click.option("--to", metavar="NAME", help="Name of the new column.  [default: prediction]")
@options.inference
@click.option(
    "--batch-size",
    type=options.Integer(1, 65_536),
    default=256,
    metavar="B",
    show_default=True,
    help="Texts computed together; it changes the speed, never an answer.",
)
@click.option(
    "--jobs",
    type=options.Integer(0, 256),
    default=0,
    metavar="N",
    help="Processes that compute answers; they change the speed, never an answer.  [default: "
    "cores]",
)
@click.option(
    "--format",
    "kind",
    type=FormatName(),
    default="auto",
    help="Format of FILE.  [default: by its name]",
)
@click.option(
    "--header",
    type=click.Choice(("auto", "yes", "no")),
    default="auto",
    help="Whether the first row names the columns.  [default: yes for CSV and "
    "sheets; for TSV if --column is a name]",
)
@options.force("Overwrite OUT, and replace columns of the same name.")
@options.quiet
@options.debug
def convert(
    *, files: tuple[str, ...], output: str | None, column: str | None, to: str | None,
    model: str | None, n: int | None, mass: float | None, beam: int | None, batch_size: int,
    jobs: int, kind: str, header: str, force: bool, quiet: bool, **loading: Any,
) -> None:  # fmt: skip
    """Rewrite one column of each FILE: text, TSV, CSV, JSON Lines, Parquet, Excel and others.

    Rows, their order and all other columns stay as they are; the answers are a new column. In
    plain text each line is replaced by its answer; a language model adds the next word to it. The
    FILE - is stdin.

    With -n or --mass there is a column for each of the best answers. A last column holds notes,
    such as unknown symbols; it says lexicon where the answer is from the --lexicon.

    A row that cannot be read is written without an answer; its bytes and the reason are in
    OUT.rejects.jsonl, and the exit code is 1. The same command continues an interrupted conversion.
    """
    prepare_inference()
    from charseq.inference import convert as conversion
    from charseq.inference.pool import sharing
    from charseq.inference.predictor import fingerprint, load

    outputs = conversion.targets(files, output)
    load_arguments = options.load_arguments(loading)
    loaded = load(options.chosen(model, task="pairs", quiet=quiet), **load_arguments)
    count = options.candidate_count(loaded, n=n, beam=beam, mass=mass)
    identity = fingerprint(loaded)
    rejected = []
    with sharing(loaded, jobs, identity, load_arguments) as pool:
        for path, out in zip(files, outputs, strict=True):
            found = conversion.convert(
                pool, path, out, column=column, to=to, n=count, beam=beam, mass=mass,
                batch_size=batch_size, format=kind, header=header, force=force,
                kept_for=f"{__version__} {identity}",
                report=console.silence if quiet else console.note,
            )  # fmt: skip
            if found.rejected:
                rejected.append(f"{found.path}: {found.refused}: {found.rejects}")
    if rejected:
        raise CharseqError("; ".join(rejected))
