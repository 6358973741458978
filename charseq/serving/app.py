"""workers, conversions -> the endpoints of ``charseq serve`` and its page.

Every endpoint is in ``/openapi.json``. The ones that answer texts are read by pydantic alone, by
:class:`QuickRoute`: FastAPI's own way to an endpoint takes longer than a small model.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from fastapi import APIRouter, FastAPI, HTTPException, Query
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from charseq.errors import CharseqError
from charseq.runs import model_card
from charseq.serving.batching import Workers
from charseq.serving.conversions import Conversions, Options
from charseq.serving.limits import Limits, Metrics
from charseq.serving.worker import Question
from charseq.version import __version__

PAGE = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
LIMITS = Limits()

Text = Annotated[str, Field(max_length=LIMITS.text)]
Count = Annotated[int, Field(ge=1, le=LIMITS.beam)]


class Strict(BaseModel):
    """An object without unknown members."""

    model_config = ConfigDict(extra="forbid")


class WordQuestion(Strict):
    """Beginnings of lines to be continued by a word."""

    texts: list[Text] = Field(min_length=1, max_length=LIMITS.texts)
    model: str | None = Field(None, description="Name of a model; by default the first.")
    n: Count = Field(1, description="Candidates of each text, at most.")
    beam: Count | None = Field(None, description="Beam width; by default the model's.")


class TextQuestion(WordQuestion):
    """Texts to be rewritten, or continued by a word."""

    threshold: float | None = Field(
        None, gt=0, le=1, description="Answers that are less probable are withheld."
    )
    align: bool = Field(
        default=False, description="Say which symbols of the text each output symbol looked at."
    )


class Candidate(BaseModel):
    """A possible answer."""

    prediction: str
    probability: float
    origin: Literal["model", "words", "memory", "lexicon"] = Field(alias="from")
    line: str | None = Field(None, description="Of a next word: the whole line with it.")


class Alignment(BaseModel):
    """The symbols of the text that the symbols of the answer looked at."""

    source: list[str]
    target: list[str]
    weights: list[list[float]] = Field(description="A row for each target symbol.")
    pairs: list[tuple[str, str]]


class Answer(BaseModel):
    """The answer to a text."""

    source: str
    prediction: str
    probability: float | None
    origin: Literal["model", "words", "memory", "lexicon"] | None = Field(alias="from")
    familiarity: float | None
    unsure: bool
    unknown: list[str]
    truncated: bool
    candidates: list[Candidate]
    alignment: Alignment | None = None


class Answers(BaseModel):
    """The answers to all texts, in order."""

    model: str
    answers: list[Answer]


class QuickRoute(APIRoute):
    """A route of which pydantic reads the body, an argument ``asked``, and nothing else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint without FastAPI's dependencies."""
        endpoint = inspect.unwrap(self.endpoint)
        adapter = TypeAdapter(get_type_hints(endpoint)["asked"])

        async def handle(request: Request) -> Response:
            try:
                asked = adapter.validate_json(await request.body())
            except ValidationError as fault:
                raise HTTPException(422, explain(fault)) from None
            except ClientDisconnect:
                return Response(status_code=499)
            answered: Response = await endpoint(asked)
            return answered

        return handle


def explain(fault: ValidationError) -> str:
    """The first fault of a body, in a line."""
    first = fault.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else str(first["msg"])


class Service:
    """Models in use: their workers, their cards, and the files that they convert."""

    def __init__(
        self,
        models: Mapping[str, Path],
        cards: Mapping[str, dict[str, Any]],
        *,
        jobs: int,
        limits: Limits,
    ) -> None:
        """``models``: name -> run folder. ``cards``: name -> the facts of :func:`card`."""
        self.limits, self.cards = limits, cards
        self.fault: CharseqError | None = None
        """The reason why the workers did not start."""
        self.metrics = Metrics()
        paths = {name: str(path.absolute()) for name, path in models.items()}
        self.workers = Workers(paths, jobs, limits, self.metrics)
        self.conversions = Conversions(paths, limits, self.metrics)

    def named(self, name: str | None) -> str:
        """The name of a model that is served. Raises HTTPException 404 for another."""
        if name is None:
            return next(iter(self.cards))
        if name not in self.cards:
            known = ", ".join(self.cards)
            raise HTTPException(404, f"there is no model {name!r:.80}, but {known}")
        return name

    async def ask(self, method: str, asked: WordQuestion) -> Response:
        """The answers to the texts of a request."""
        model = self.named(asked.model)
        options = asked.model_dump(exclude={"texts", "model"})
        found = await self.workers.ask(Question(model, method, **options), asked.texts)
        name = TypeAdapter(str).dump_json(model).decode()
        body = f'{{"model":{name},"answers":[{",".join(found)}]}}'
        return Response(body.encode(errors="replace"), media_type="application/json")


def card(name: str, metadata: dict[str, Any], lines: list[str]) -> dict[str, Any]:
    """The facts of a model for the page. ``lines``: those of ``charseq info``."""
    words = metadata["settings"].get("task") == "next-word"
    kind = metadata["units"]["vocabulary"]["kind"] if words else metadata["source"]["kind"]
    return {
        "name": name,
        "task": "next-word" if words else "pairs",
        "has_features": bool(not words and metadata["source"]["features"]),
        "attention": "none" if words else metadata["settings"]["attention"],
        "symbols": kind,
        "beam": metadata["settings"]["beam"],
        "parameters": metadata["parameters"],
        "scores": metadata["scores"],
        "card": model_card.render(name, metadata, with_head=False),
        "info": lines,
    }


def build(service: Service) -> FastAPI:
    """The application; its lifespan starts and ends the workers."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await service.workers.start()
            with service.conversions:
                yield
                await service.conversions.end()
        except CharseqError as fault:
            service.fault = fault
            raise
        finally:
            await service.workers.close()

    app = FastAPI(
        title="charseq", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Rewrites texts and files with trained models, and predicts next words.",
    )  # fmt: skip
    app.include_router(_texts(service))
    app.include_router(_models(service))
    app.include_router(_files(service))
    app.include_router(_page(), include_in_schema=False)
    return app


def _texts(service: Service) -> APIRouter:
    router = APIRouter(route_class=QuickRoute, tags=["texts"])

    @router.post("/v1/predict", response_model=Answers)
    async def predict(asked: TextQuestion) -> Response:
        """Rewrite texts, or predict the word after them."""
        return await service.ask("predict", asked)

    @router.post("/v1/complete", response_model=Answers)
    async def complete(asked: WordQuestion) -> Response:
        """Complete the last word of each text; the model must predict words."""
        return await service.ask("complete", asked)

    return router


def _models(service: Service) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The models that are served, and the limits of the server."""
        hidden = {"card", "info"}
        shown = [
            {k: v for k, v in one.items() if k not in hidden} for one in service.cards.values()
        ]
        limits = service.limits
        return {
            "models": shown,
            "limits": {
                "text": limits.text, "texts": limits.texts, "beam": limits.beam,
                "upload": limits.upload, "seconds": limits.seconds,
            },
        }  # fmt: skip

    @router.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        """The card of a model, and how it was made."""
        return service.cards[service.named(name)]

    @router.get("/healthz", tags=["operation"])
    async def health() -> dict[str, Any]:
        """Whether there are workers that answer."""
        if not service.workers.alive:
            raise HTTPException(503, "no worker is alive")
        return {"status": "ok", "version": __version__}

    @router.get("/metrics", tags=["operation"], response_class=Response)
    async def metrics() -> Response:
        """Counters in the text format of Prometheus."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(service.metrics.text(), media_type=kind)

    return router


def _files(service: Service) -> APIRouter:
    router, conversions = APIRouter(tags=["files"]), service.conversions

    @router.put("/v1/files", openapi_extra={"requestBody": {"content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }}})  # fmt: skip
    async def upload(request: Request, name: Annotated[str, Query(max_length=255)]) -> Any:
        """Take a file, the body; its columns and first rows. ``name`` tells its format."""
        return await conversions.take(name, request.stream())

    @router.post("/v1/files/{number}/convert", response_class=StreamingResponse)
    async def convert(number: str, options: Options) -> StreamingResponse:
        """Convert a file. The answer is a stream of JSON, a line for each step, `done` the last."""
        model = service.named(options.model)
        lines = await conversions.convert(number, model, options)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @router.get("/v1/files/{number}/{part}", response_class=FileResponse)
    async def part(number: str, part: Literal["result", "review", "rejects"]) -> FileResponse:
        """The converted file, the list to review, or the rows that could not be read."""
        path, name = conversions.part(number, part)
        return FileResponse(path, filename=name, media_type="application/octet-stream")

    @router.delete("/v1/files/{number}", status_code=204)
    async def delete(number: str) -> None:
        """Stop a conversion and delete the file with all that was made of it."""
        await conversions.delete(number)

    return router


def _page() -> APIRouter:
    router = APIRouter()
    files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in KINDS}

    def serve(name: str) -> Response:
        kind = KINDS[Path(name).suffix]
        return Response(files[name], media_type=kind, headers={"cache-control": "no-cache"})

    @router.get("/")
    async def index() -> Response:
        return serve("index.html")

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "no such file")
        return serve(name)

    return router
