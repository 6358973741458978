"""Command ``charseq push``: a run -> a repository of the Hugging Face Hub.

The exporter is imported when the command runs, so that its help loads no NumPy.
"""

from __future__ import annotations

import click

from charseq.cli import console, options
from charseq.process import prepare_inference


@click.command(
    short_help="Push a run to the Hugging Face Hub.",
    epilog=options.example(
        "charseq push checkpoints/mine owner/name --license cc-by-4.0 --language hr",
        "charseq push checkpoints/mine owner/name --dry-run",
    ),
)
@click.argument("run", type=options.Name(), metavar="RUN")
@click.argument("repository", metavar="OWNER/NAME")
@click.option(
    "--public",
    is_flag=True,
    help="Let everyone read a repository that is made.  [default: only you]",
)
@click.option(
    "--license",
    metavar="ID",
    help="Licence of the model, as the Hub names it, such as mit or cc-by-4.0.  [default: unknown]",
)
@click.option(
    "--language",
    "languages",
    multiple=True,
    metavar="CODE",
    help="Language of the data, such as hr; may be repeated.",
)
@click.option("--message", metavar="TEXT", help="Message of the commit.")
@options.dry_run("Print the model card and the size of each file, and push nothing.")
@options.reporting
def push(
    *, run: str, repository: str, public: bool, license: str | None, languages: tuple[str, ...],
    message: str | None, dry_run: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Push the finished RUN, a folder or a name, to the repository OWNER/NAME of the Hub.

    The run is verified first. Pushed are its weights, metadata and metrics, and a model card with
    the licence and languages that you state. A repository that does not exist is made, for you
    alone unless --public. Prints the address of the commit, which -m takes everywhere. Log in
    with "hf auth login", or set HF_TOKEN.
    """
    prepare_inference()
    from charseq.export import hub

    facts = hub.push(
        run, repository, public=public, license=license, languages=languages, message=message,
        dry_run=dry_run, report=console.silence if quiet else console.note,
    )  # fmt: skip
    if as_json:
        console.write_json(facts)
    elif dry_run:
        console.show(f"{size:>11,}  {name}" for name, size in facts["files"].items())
        console.show(["", *facts["card"].rstrip("\n").split("\n")])
    else:
        console.write([facts["commit"]])
