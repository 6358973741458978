"""Command ``charseq serve``: models -> a page and JSON endpoints.

The server is imported when the command runs, so that its help loads neither FastAPI nor NumPy.
"""

from __future__ import annotations

from pathlib import Path

import click

from charseq.cli import console, options
from charseq.errors import require
from charseq.process import prepare_inference

PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "prometheus_client")
"""The packages of the extra ``serve``."""


@click.command(
    short_help="Serve models: a page in the browser, and JSON endpoints.",
    epilog=options.example(
        "charseq serve",
        "charseq serve -m dates -m sentences --port 8080",
        "charseq serve -m checkpoints/mine --host 0.0.0.0 --token-file token.txt",
    ),
)
@click.option(
    "-m",
    "--model",
    "models",
    type=options.Name(),
    metavar="RUN",
    multiple=True,
    help="Run folder of a model, or its name; may be repeated. Only these are served.  [default: "
    "the one that predict takes]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    show_default=True,
    help="Address to listen at. One that other machines can reach needs --token-file.",
)
@click.option(
    "--port",
    type=options.Integer(0, 65_535),
    default=8000,
    metavar="PORT",
    show_default=True,
    help="Port to listen at; 0 takes one that is free, and says which.",
)
@click.option(
    "--token-file",
    type=options.Name(Path),
    metavar="FILE",
    help="File that only you can read, with a token of 16 characters or more that clients must "
    "send.",
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Further name under which the server may be asked for, such as that of a reverse proxy; "
    "may be repeated.",
)
@click.option(
    "--max-upload",
    type=options.Integer(1, 4096),
    default=64,
    metavar="MIB",
    show_default=True,
    help="Largest file that can be converted, in MiB.",
)
@click.option(
    "--jobs",
    type=options.Integer(0, 256),
    default=0,
    metavar="N",
    help="Processes that compute answers.  [default: cores, and two at least]",
)
@options.quiet
@options.debug
def serve(
    *, models: tuple[str, ...], host: str, port: int, token_file: Path | None,
    allow_host: tuple[str, ...], max_upload: int, jobs: int, quiet: bool,
) -> None:  # fmt: skip
    """Serve models on this machine until Ctrl-C: a page in the browser, and JSON endpoints.

    The page shows answers as you type, what each of their letters looked at, next words, and how
    two models differ, and it converts files. Programs ask POST /v1/predict; /openapi.json
    describes all endpoints, /metrics is for Prometheus.

    Nothing is loaded from the internet, no model but those that are named here, and only this
    machine is listened to, unless --host says otherwise. Files of clients are kept in a private
    temporary folder, which is removed at the end.
    """
    for package in PACKAGES:
        require(package, "charseq serve")
    prepare_inference()
    from dataclasses import replace

    from charseq.serving import server
    from charseq.serving.limits import Limits

    token = None if token_file is None else server.read_token(token_file)
    paths = [options.chosen(name, quiet=quiet) for name in models or (None,)]
    server.serve(
        server.names_of(paths), host=host, port=port, hosts=allow_host, token=token, jobs=jobs,
        limits=replace(Limits(), upload=max_upload * 2**20),
        report=console.silence if quiet else console.note,
    )  # fmt: skip
