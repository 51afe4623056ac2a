"""The REST calls, and all that a visitor is kept from."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Base64Bytes, BaseModel, BeforeValidator, ValidationError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from data_prep.base.errors import plain
from data_prep.base.labels import CLASSES
from pipeline.inference.engines import EngineError, Net
from pipeline.serve.service import Ask, BoxesName, BusyError, Found, Service, spell_name
from trimask import __version__

JPEG = "image/jpeg"
WHOLE = 1 << 16  # Longest side of a JPEG: photos are drawn as they are.

STATUSES: dict[type[Exception], tuple[int, str]] = {
    MultiPartException: (400, "The form can't be read"),
    ClientDisconnect: (400, "The request broke off"),
    BusyError: (429, "Too many requests; Retry-After says in how many seconds to come again"),
    EngineError: (500, "The nets failed, and no faces are told"),
    TimeoutError: (503, "No answer in time: the nets are busy, or hang"),
}
"""What is answered when something goes wrong."""


class FoundFace(BaseModel):
    """A face; the box in pixels of the upright photo, score = detection × class probability."""

    box: tuple[float, float, float, float]
    label: str
    score: float
    detection: float
    probabilities: Annotated[
        dict[str, float], BeforeValidator(lambda shares: dict(zip(CLASSES, shares, strict=True)))
    ]
    unsure: str | None = None  # With --unsure; empty where the class is sure, see `Face`.


class PhotoAnswer(BaseModel):
    """A photo, turned upright by its EXIF `orientation`, and its faces, best detection first."""

    image: str
    width: int
    height: int
    orientation: int
    faces: list[FoundFace]
    learnt: str = ""  # "exact" or "near": the nets learnt from it, expect less on new photos.
    error: str = ""  # Why it could not be read.


class Answer(BaseModel):
    """Photos in the order they were sent."""

    photos: list[PhotoAnswer]


class SentPhoto(BaseModel, extra="forbid"):
    """A photo in JSON."""

    image: str = "photo"
    data: Base64Bytes


class Sent(BaseModel, extra="forbid"):
    """Photos in JSON, or the addresses where they lie, if the service allows these."""

    photos: list[SentPhoto] = []
    urls: list[str] = []


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
BODIES = {
    "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _FILES}}},
    "application/json": {"schema": Sent.model_json_schema()},
}
"""What OpenAPI tells of the two ways to send photos."""

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Faces, or the photo with its faces marked.", "content": {JPEG: {}}},
    413: {"description": "Too many bytes or photos."},
    422: {"description": "The one photo that was sent can't be read, or an option is wrong."},
    **{status: {"description": what} for status, what in STATUSES.values()},
}


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 40  # What is sent never goes to the disk.


def create_app(service: Service) -> FastAPI:
    """The service."""

    @asynccontextmanager
    async def run(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.exits.close)

    # FastAPI's own pages of the API load scripts from other hosts.
    app = FastAPI(title="TriMask", version=__version__, docs_url=None, redoc_url=None, lifespan=run)

    async def explain(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):
            status, what = error.status_code, error.detail
        elif isinstance(error, RequestValidationError | ValidationError):
            first = error.errors()[0]
            status = 422 if isinstance(error, RequestValidationError) else 400
            what = f"{'.'.join(map(str, first['loc'])) or 'body'}: {plain(first['msg'])}."
        else:
            status, what = STATUSES[type(error)]
            what += f" ({error.args[0]})." if error.args else "."
        headers = {"Retry-After": str(error.args[1])} if isinstance(error, BusyError) else None
        service.asked.labels(status).inc()
        return JSONResponse({"detail": what}, status, headers)

    for kind in (HTTPException, RequestValidationError, ValidationError, *STATUSES):
        app.add_exception_handler(kind, explain)

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    def tell_health() -> dict[str, str]:
        """200 while the nets answer, 503 when a batch hangs: start the service again."""
        if service.batcher.hangs:
            raise HTTPException(503, "The nets don't answer.")
        return {"status": "ok"}

    @app.get("/metrics")
    def tell_metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/model")
    def tell_model() -> dict[str, Any]:
        """Which nets answer: their cards with hashes and figures, and the limits of a request."""
        nets = (service.predictor.detector, service.predictor.classifier)
        cards = [net.card for net in nets if isinstance(net, Net)]
        told = [card.model_dump(mode="json", exclude={"training_photos"}) for card in cards]
        return {
            "version": __version__,
            "origin": service.predictor.origin,
            "identity": service.predictor.identify(),
            "classes": CLASSES,
            "limits": vars(service.limits),
            "cards": {card["kind"]: card for card in told},
        }

    @app.get("/v1/predict", include_in_schema=False)
    def tell_how() -> None:
        """Who opens the address in a browser, say."""
        raise HTTPException(405, "POST photos here: see /openapi.json.")

    @app.post(
        "/v1/predict",
        response_model=Answer,
        response_model_exclude_defaults=True,
        responses=ANSWERS,
        openapi_extra={"requestBody": {"required": True, "content": BODIES}},
    )
    async def predict(
        request: Request,
        thresh: Annotated[float, Query(ge=0, le=1, description="Least detection score.")] = 0.5,
        resize: Annotated[
            float | None, Query(gt=0, le=8, description="Enlargement; chosen when left out.")
        ] = None,
        boxes: BoxesName = "found",
        draw: Annotated[bool, Query(description="A JPEG with the faces marked.")] = False,
    ) -> Answer | Response:
        """Find the faces of photos and tell their classes.

        Photos are fields `file` of a form, or JSON, which may name addresses. With `draw`, or where
        `Accept` asks for image/jpeg, the answer is a JPEG of the one photo with its faces marked.
        """
        if odd := set(request.query_params) - {"thresh", "resize", "boxes", "draw", "token"}:
            raise HTTPException(400, f"{', '.join(sorted(odd))} is no option: see /openapi.json.")
        size = int(request.headers.get("content-length", service.limits.body))
        with service.seconds.time(), service.admit(size):
            photos = await read_photos(request)
            if not 0 < len(photos) <= service.limits.photos:
                told = f"{len(photos)} photos were sent: send 1 to {service.limits.photos} of them"
                raise HTTPException(413 if photos else 400, f"{told}, in fields named file.")
            drawn = draw or request.headers.get("accept", "").startswith(JPEG)
            if drawn and len(photos) > 1:
                raise HTTPException(400, "A drawing is of one photo: send one, or ask for JSON.")
            ask = Ask(thresh, resize, boxes)
            side = WHOLE if drawn else 0
            asked = (service.find(data, name, ask, side) for name, data in photos)
            found = await asyncio.gather(*asked)
        if found[0].frame.error and len(found) == 1:
            raise HTTPException(422, found[0].frame.error)
        service.asked.labels(200).inc()
        if not drawn:
            return Answer(photos=[describe(one) for one in found])
        return Response(found[0].jpeg, media_type=JPEG)

    async def read_photos(request: Request) -> list[tuple[str, bytes | str]]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            most = service.limits.photos + 1
            form = await _InMemory(request.headers, request.stream(), max_files=most).parse()
            files = [one for one in form.getlist("file") if not isinstance(one, str)]
            return [(spell_name(one.filename), await one.read()) for one in files]
        if kind != "application/json":
            raise HTTPException(415, "Send a form with fields named file, or JSON.")
        sent = Sent.model_validate_json(await request.body())
        if sent.urls and service.limits.urls == "none":
            raise HTTPException(403, "Nothing is fetched here: start it with --allow-urls.")
        addresses = [(spell_name(url.partition("?")[0]), url) for url in sent.urls]
        return [*((spell_name(one.image), one.data) for one in sent.photos), *addresses]

    return app


def describe(found: Found) -> PhotoAnswer:
    """A photo and its faces, every digit kept."""
    width, height = found.size
    told = {"image": found.frame.name, "width": width, "height": height, "faces": found.faces}
    return PhotoAnswer.model_validate(vars(found.frame) | told, from_attributes=True)
