"""Command ``charseq convert``: files -> the same files with a model's answers.

The model is imported when the command runs, so that its help loads no NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charseq.cli import console, options
from charseq.cli.predict import threshold
from charseq.display import count
from charseq.errors import CharseqError, UsageError, as_keyword, with_arguments
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
        return str(click.Choice(self.choices, case_sensitive=False).convert(value, param, ctx))

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """The names, for the help."""
        return f"[{'|'.join(self.choices)}]"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so."""
        return click.Choice(self.choices).shell_complete(ctx, param, incomplete)


class LexiconFormat(FormatName):
    """The name of a format in which a lexicon is written."""

    @property
    def choices(self) -> list[str]:
        """The names of the registry that hold pairs."""
        from charseq.data.formats.reader import lexicon_formats

        return lexicon_formats()


@click.command(
    short_help="Rewrite a column of a file, or the lines of a text.",
    epilog=options.example(
        "charseq convert orders.csv --column date -o orders.iso.csv",
        "charseq convert words.tsv --threshold 0.9 --review unsure.csv",
        "charseq convert names.tsv.gz --column 2 --to latin -n 3",
        "cat words.txt | charseq convert - -m checkpoints/mine > answers.txt",
        "charseq convert words.txt -m checkpoints/mine --to-format kaldi -n 2 -o lexicon.txt",
        "charseq convert names/ -m checkpoints/mine --column name -o out/ --engine ray",
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
    multiple=True,
    callback=options.once,
    metavar="NAME",
    help="Column to rewrite: its name in the header, or its number from 1.  [default: source, "
    "else the first]",
)
@click.option(
    "--to",
    multiple=True,
    callback=options.once,
    metavar="NAME",
    help="Name of the new column.  [default: prediction]",
)
@options.inference
@click.option(
    "--scores", is_flag=True, help="Add a column with the probability of each answer, 0 to 1."
)
@click.option(
    "--align",
    is_flag=True,
    help="Models with attention: add a column with the parts of the text and its best answer that "
    "belong together, as k→k ae→æ t→t.",
)
@threshold
@click.option(
    "--review",
    type=options.OutputName(),
    metavar="FILE",
    help="With --threshold: CSV or TSV file for the texts whose answers are withheld or cut, to be "
    "filled in: then it is a --lexicon, and data for train.",
)
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
    "--engine",
    type=click.Choice(("local", "ray")),
    default="local",
    show_default=True,
    help="With ray, files and folders FILE... go to the folder OUT by a cluster of Ray, a task for "
    "each file; the same command redoes nothing that is there.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="With --engine ray: the cluster; auto is the one of this machine.  [default: RAY_ADDRESS, "
    "else Ray is started for this command]",
)
@click.option(
    "--format",
    "kind",
    type=FormatName(),
    default="auto",
    help="Format of FILE, in any case.  [default: by its name, else by its content]",
)
@click.option(
    "--to-format",
    type=LexiconFormat(),
    help="Write a lexicon: each text once, with its -n best answers in lines of their own. kaldip "
    "is kaldi with probabilities.  [default: for a lexicon as FILE, its format]",
)
@click.option(
    "--header",
    type=click.Choice(("auto", "yes", "no")),
    default="auto",
    help="Whether the first row names the columns.  [default: yes if --column is a name; else by "
    "the first rows]",
)
@options.delimiter
@options.encoding
@options.force("Overwrite OUT, and replace columns of the same name.")
@options.quiet
@options.debug
def convert(
    *, files: tuple[str, ...], output: str | None, column: str | None, to: str | None,
    model: str | None, n: int | None, mass: float | None, beam: int | None, scores: bool,
    align: bool, batch_size: int, jobs: int, kind: str, header: str, delimiter: str | None,
    encoding: str | None, force: bool, quiet: bool, to_format: str | None,
    threshold: float | None, review: str | None, engine: str, address: str | None, **loading: Any,
) -> None:  # fmt: skip
    """Rewrite one column of each FILE: text, TSV, CSV, JSON Lines, Parquet, Excel and others.

    Rows, their order and all other columns stay as they are; the answers are a new column. In
    plain text each line is replaced by its answer; a language model adds the next word to it. The
    FILE - is stdin.

    With -n or --mass there is a column for each of the best answers; with --scores another for the
    probability of each. A last column holds notes, such as unknown symbols; it says lexicon where
    the answer is from the --lexicon, and no answer where none that keeps --pattern, --within and
    --check was found. With --to-format the answers become a lexicon, such as one of
    Kaldi.

    With --threshold a row whose best answer is less probable has no answer, and the note unsure.

    A row that cannot be read is written without an answer; its bytes and the reason are in
    OUT.rejects.jsonl, and the exit code is 1. The same command continues an interrupted conversion.
    """
    prepare_inference()
    from charseq.inference.predictor import load
    from charseq.kernels import library

    if not quiet and (slow := library.absence()):
        console.warn(slow)
    on_ray = engine == "ray"
    if address and not on_ray:
        raise UsageError("--address is for --engine ray")
    outputs = _outputs(files, output, to_format, review, on_ray=on_ray, device=loading["device"])
    load_arguments = options.load_arguments(loading)
    loaded = load(options.chosen(model, task="pairs", quiet=quiet), **load_arguments)
    console.tell_lexicon(loaded, quiet=quiet)
    count = options.candidate_count(loaded, n=n, beam=beam, mass=mass)
    options.warn_of_wider_beam(loaded, count, beam=beam, quiet=quiet)
    reading: dict[str, Any] = {"column": column, "n": count, "beam": beam, "mass": mass}
    reading |= {"to": to, "to_format": to_format, "scores": scores, "batch_size": batch_size}
    reading |= {"align": align}
    reading |= {"format": kind, "header": header, "force": force}
    reading |= {"threshold": threshold, "review": review}
    reading |= {"delimiter": delimiter or "auto", "encoding": encoding or "auto"}
    if on_ray:
        _on_ray(loaded, files, outputs[0], jobs=jobs, address=address, quiet=quiet, **reading)
    else:
        _here(loaded, files, outputs, load_arguments, jobs=jobs, quiet=quiet, **reading)


def _outputs(
    files: Sequence[str],
    output: str | None,
    to_format: str | None,
    review: str | None,
    *,
    on_ray: bool,
    device: str | None,
) -> list[str]:
    """The output of each file; on a cluster the one folder of all outputs."""
    if on_ray:
        from charseq.distributed.ray_tasks import check_folders

        given = {"to_format": to_format, "review": review}
        return [check_folders(output, given, device=device or "cpu")]
    from charseq.data.formats.reader import find_lexicon_format
    from charseq.data.formats.writer import targets

    if review and len(files) > 1:
        raise UsageError(f"{len(files)} files cannot go to one --review: convert them apart")
    return targets(files, output, find_lexicon_format(to_format).endings[0] if to_format else "")


def _here(
    loaded: Any,
    files: Sequence[str],
    outputs: Sequence[str],
    load_arguments: dict[str, Any],
    *,
    jobs: int,
    quiet: bool,
    format: str,
    **reading: Any,
) -> None:
    """Convert each file on this machine. Raises CharseqError where rows are rejected."""
    from charseq.inference import convert as conversion
    from charseq.inference.pool import sharing
    from charseq.inference.predictor import fingerprint

    identity = fingerprint(loaded)
    rejected = []
    with sharing(loaded, jobs, identity, load_arguments) as pool:
        for path, out in zip(files, outputs, strict=True):
            with console.rows_line(_size(path, format), quiet=quiet) as line:
                found = conversion.convert(
                    pool, path, out, format=format, kept_for=f"{__version__} {identity}",
                    report=line.note, progress=line.show, **reading,
                )  # fmt: skip
            if found.rejected:
                rejected.append(f"{found.path}: {found.refused}: {found.rejects}")
    if rejected:
        raise CharseqError("; ".join(rejected))


def _on_ray(
    loaded: Any,
    files: Sequence[str],
    out: str,
    *,
    jobs: int,
    address: str | None,
    quiet: bool,
    **reading: Any,
) -> None:
    """Convert folders on a cluster. Raises CharseqError where files or rows are rejected."""
    from charseq.distributed.ray_tasks import MAX_LISTED, convert_folders, size_of

    with console.rows_line(size_of(files, reading["format"]), quiet=quiet) as line:
        found = convert_folders(
            loaded, files, out, address=address, jobs=jobs, report=line.note, progress=line.show,
            **reading,
        )  # fmt: skip
        for fault in list(found.faults.values())[: MAX_LISTED if len(found.faults) > 1 else 0]:
            line.note(with_arguments(fault, as_keyword))
    if len(found.faults) == 1:
        raise CharseqError(*found.faults.values())
    if found.faults:
        raise CharseqError(f"{len(found.faults)} files are not converted: see above")
    if found.rejected:
        listed = ", ".join(map(str, found.rejected[:MAX_LISTED]))
        raise CharseqError(f"rows were rejected in {count(len(found.rejected), 'file')}: {listed}")


def _size(path: str, kind: str) -> int | None:
    """Bytes of a file of which rows take as many as they have; None for pipes and packed files."""
    from charseq.data.formats.opening import packed_ending
    from charseq.data.formats.reader import find_format, sniff

    packed = find_format(sniff(path) if kind == "auto" else kind).packs_itself
    if path == "-" or packed or packed_ending(path) or not Path(path).is_file():
        return None
    return Path(path).stat().st_size
