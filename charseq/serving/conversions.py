"""uploaded file -> first rows -> conversion, with its progress -> files to fetch.

All files lie in one private temporary folder, which is removed at the end. A file has a random
name for the client; its own name tells the format and comes back with the result, and is never
part of a path outside of that folder. Files are read and converted by processes of their own (see
:mod:`charseq.serving.converter`).
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from charseq.data.formats.opening import packed_ending
from charseq.data.formats.reader import has_known_ending
from charseq.process import ChildProcess
from charseq.serving.limits import Limits, Metrics

MODULE = "charseq.serving.converter"
FREE = 256 * 2**20
"""Bytes that stay free on the disk of the temporary folder."""
STEM = 80
"""Characters of a file's own name that are kept."""


class Options(BaseModel):
    """How a file is converted; the arguments of ``charseq.convert``."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="Name of a model; by default the first.")
    column: Annotated[str, Field(max_length=1000)] | Annotated[int, Field(ge=1)] | None = Field(
        None, description="The column to read, a name or a number from 1."
    )
    to: str | None = Field(None, max_length=200, description="Name of the new column.")
    n: int = Field(1, ge=1, le=16, description="Answers of each row.")
    scores: bool = Field(default=False, description="Add a column with probabilities.")
    threshold: float | None = Field(
        None, gt=0, le=1, description="Withhold answers that are less probable, and list them."
    )


@dataclass(eq=False)
class Upload:
    """A file of a client, and what was made of it."""

    folder: Path
    name: str
    """Its own name, cleaned."""
    size: int = 0
    used: float = field(default_factory=time.monotonic)
    child: ChildProcess | None = None
    """The process that reads or converts it."""
    done: dict[str, Any] | None = None
    """Counts of the finished conversion."""

    @property
    def path(self) -> Path:
        """The file as it was sent."""
        return self.folder / self.name

    def made(self, part: str) -> Path:
        """The path of the result, the review or the rejects."""
        packed = packed_ending(self.name) or ""
        stem = Path(self.name.removesuffix(packed))
        ending = f"{stem.suffix}{packed}"
        if part == "review":
            return self.folder / f"{stem.stem}.review.csv"
        result = self.folder / f"{stem.stem}.converted{ending}"
        return result if part == "result" else result.with_name(f"{result.name}.rejects.jsonl")

    def stop(self) -> None:
        """End the process at once."""
        if self.child is not None:
            self.child.process.kill()


class Conversions:
    """The files of all clients; a context, which removes them at its end."""

    def __init__(self, models: Mapping[str, str], limits: Limits, metrics: Metrics) -> None:
        """``models``: name -> run folder."""
        self.models, self.limits, self.metrics = dict(models), limits, metrics
        self._uploads: dict[str, Upload] = {}
        self._taking = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Make the folder, which only this user can read."""
        self._folder = tempfile.TemporaryDirectory(
            prefix="charseq-serve-", ignore_cleanup_errors=True
        )
        return self

    def __exit__(self, *_fault: object) -> None:
        """Remove the folder with all files."""
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def folder(self) -> Path:
        """The private folder. Raises HTTPException outside of the context."""
        if self._folder is None:
            raise HTTPException(503, "the server is not started")
        return Path(self._folder.name)

    async def end(self) -> None:
        """Stop all conversions."""
        for upload in self._uploads.values():
            upload.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take(self, name: str, body: AsyncIterator[bytes]) -> dict[str, Any]:
        """Keep a file; its number, its columns and its first rows.

        Raises:
            HTTPException: 429 where too many files are kept, 422 for a file that cannot be read,
                507 where the disk is full.
        """
        self._forget()
        if len(self._uploads) + self._taking >= self.limits.files:
            raise HTTPException(429, f"{self.limits.files} files are kept: delete one, or wait")
        if shutil.disk_usage(self.folder).free < FREE + self.limits.upload:
            raise HTTPException(507, "the disk of the server is full")
        number = secrets.token_urlsafe(16)
        upload = Upload(self.folder / number, clean_name(name))
        self._taking += 1
        try:
            upload.folder.mkdir(mode=0o700)
            with upload.path.open("xb") as file:
                async for chunk in body:
                    upload.size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
            self._uploads[number] = upload
            job = {"path": str(upload.path), "limit": self.limits.upload}
            found = await asyncio.wait_for(self._only(upload, job), self.limits.seconds)
            if "table" not in found:
                raise HTTPException(422, found.get("fault", "the file cannot be read"))
        except BaseException as fault:
            self._uploads.pop(number, None)
            upload.stop()
            shutil.rmtree(upload.folder, ignore_errors=True)
            if isinstance(fault, TimeoutError):
                what = f"its first rows took longer than {self.limits.seconds:g} s"
                raise HTTPException(422, what) from None
            if isinstance(fault, ClientDisconnect):
                raise HTTPException(408, "the file did not come to its end") from None
            raise
        finally:
            self._taking -= 1
        return {"id": number, "name": upload.name, "bytes": upload.size, **found["table"]}

    async def convert(self, number: str, model: str, options: Options) -> AsyncIterator[bytes]:
        """Begin a conversion; its progress, a line of JSON each, and last its counts.

        A client that leaves stops it.

        Raises:
            HTTPException: 404 for another number, 409 where the file is being converted, 429 where
                too many files are.
        """
        upload = self._find(number)
        if upload.child is not None:
            raise HTTPException(409, "the file is being converted")
        if len(self._tasks) >= self.limits.conversions:
            what = f"{self.limits.conversions} files are being converted"
            raise HTTPException(429, what, headers={"retry-after": "5"})
        for part in ("result", "review", "rejects"):
            upload.made(part).unlink(missing_ok=True)
        upload.done = None
        how = options.model_dump(exclude={"model"}) | {"out": str(upload.made("result"))}
        if options.threshold is not None:
            how["review"] = str(upload.made("review"))
        job = {"path": str(upload.path), "limit": self.limits.upload, "options": how}
        upload.child = await asyncio.to_thread(ChildProcess, MODULE)
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        running = self._run(upload, job | {"run": self.models[model]}, messages)
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return self._lines(upload, messages)

    def part(self, number: str, part: str) -> tuple[Path, str]:
        """A file that was made, and the name for it. Raises HTTPException 404 where it is not."""
        upload = self._find(number)
        path = upload.made(part)
        if upload.done is None or not path.is_file():
            raise HTTPException(404, f"there is no {part} of this file")
        return path, path.name

    async def delete(self, number: str) -> None:
        """Stop the conversion of a file and delete it. Raises HTTPException 404 where it is not."""
        upload = self._find(number)
        upload.stop()
        del self._uploads[number]
        await asyncio.to_thread(shutil.rmtree, upload.folder, ignore_errors=True)

    def _find(self, number: str) -> Upload:
        upload = self._uploads.get(number)
        if upload is None:
            raise HTTPException(404, "there is no such file, or it was deleted")
        upload.used = time.monotonic()
        return upload

    def _forget(self) -> None:
        """Delete the files that nobody has used for long."""
        now = time.monotonic()
        for number, upload in list(self._uploads.items()):
            if upload.child is None and now - upload.used > self.limits.kept_seconds:
                del self._uploads[number]
                shutil.rmtree(upload.folder, ignore_errors=True)

    async def _only(self, upload: Upload, job: Mapping[str, Any]) -> dict[str, Any]:
        """The one message of a process."""
        upload.child = child = await asyncio.to_thread(ChildProcess, MODULE)
        child.send(job)
        try:
            return await _next(child) or {"fault": "the process that reads it has ended"}
        finally:
            upload.stop()
            upload.child = None
            await asyncio.shield(asyncio.to_thread(child.end))

    async def _run(
        self, upload: Upload, job: Mapping[str, Any], messages: asyncio.Queue[dict[str, Any]]
    ) -> None:
        """Convert a file; its messages go into the queue, the last without rows."""
        child, rows, message = upload.child, 0, dict[str, Any]()
        if child is None:
            return
        try:
            child.send(job)
            async with asyncio.timeout(self.limits.convert_seconds):
                while found := await _next(child):
                    message = found
                    if "rows" not in message:
                        break
                    rows = message["rows"]
                    messages.put_nowait(message | _pace(message, upload.size))
        except TimeoutError:
            message = {"fault": f"it took longer than {self.limits.convert_seconds / 3600:g} h"}
        finally:
            upload.stop()
            upload.child, upload.used = None, time.monotonic()
            if "done" in message:
                upload.done, rows = message["done"], message["done"]["rows"]
                message["done"] |= self._parts(upload)
            elif "fault" not in message:
                message = {"fault": "the conversion was stopped"}
            self.metrics.rows.inc(rows)
            messages.put_nowait(message)
            await asyncio.shield(asyncio.to_thread(child.end))

    @staticmethod
    async def _lines(
        upload: Upload, messages: asyncio.Queue[dict[str, Any]]
    ) -> AsyncIterator[bytes]:
        """The messages as lines of JSON. A client that leaves stops the conversion."""
        message: dict[str, Any] = {"rows": 0}
        try:
            while "rows" in message:
                message = await messages.get()
                yield json.dumps(message, ensure_ascii=False).encode() + b"\n"
        finally:
            if "rows" in message:
                upload.stop()

    @staticmethod
    def _parts(upload: Upload) -> dict[str, Any]:
        """The files that were made, by part, for the client."""
        parts = ("result", "review", "rejects")
        made = {part: upload.made(part) for part in parts}
        return {"files": {part: path.name for part, path in made.items() if path.is_file()}}


def clean_name(name: str) -> str:
    """The name of a client's file without folders and odd signs, as it is stored.

    Raises:
        HTTPException: 422, its ending is that of no format.
    """
    last = re.split(r"[/\\]", name)[-1]
    cleaned = re.sub(r"[^\w.-]+", "_", last).strip("._-") or "file"
    packed = packed_ending(cleaned) or ""
    stem = Path(cleaned.removesuffix(packed))
    if not has_known_ending(cleaned):
        raise HTTPException(422, f"{last!r:.80}: a file needs an ending, such as .csv or .xlsx")
    return f"{stem.stem[:STEM]}{stem.suffix}{packed}"


def _pace(message: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Rows a second, and the share and the seconds that are left, as far as bytes tell them."""
    seconds = max(message["seconds"], 1e-3)
    share = min(message["bytes"] / size, 1.0) if size else 0.0
    left = seconds * (1 - share) / share if share else None
    return {"rows_per_second": message["rows"] / seconds, "share": share, "seconds_left": left}


async def _next(child: ChildProcess) -> dict[str, Any] | None:
    """The next message of a process; its thread ends with the process."""
    return await asyncio.shield(asyncio.to_thread(child.receive))
