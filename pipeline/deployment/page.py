"""A page to try a classifier on: a picture's bytes in, classes and the heat map out. It loads nothing from elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from pipeline.data.decoding import UndecodableError
from pipeline.deployment.answers import Answer
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.received import received
from pipeline.deployment.rows import guesses
from pipeline.deployment.shown import overlays
from pipeline.errors import PipelineError
from pipeline.pages import render
from pipeline.results.gallery import data_uri

MOST_BYTES = 50 * 2**20
_GUESSES = 10


def build_page(classifier: Classifier, examples: Sequence[Path] = ()) -> FastAPI:
    """The application.

    Args:
        classifier: that is asked.
        examples: pictures to try with a click.

    Raises:
        PipelineError: an example can't be shown.
    """
    app = FastAPI(openapi_url=None)
    size = classifier.image_size
    shown = [data_uri(_example_pixels(file, size)) for file in examples]
    page = render(
        "demo.html",
        title="Try the classifier",
        count=len(classifier.classes),
        size=size,
        model=classifier.origin,
        examples=shown,
    )

    @app.get("/")
    def _page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/examples/{number}")
    def _example(number: int) -> Response:
        if not 0 <= number < len(examples):
            return Response(status_code=404)
        return Response(examples[number].read_bytes(), media_type="application/octet-stream")

    @app.post("/answer")
    async def _answer(request: Request) -> JSONResponse:
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > MOST_BYTES:
                return JSONResponse({"error": f"more than {MOST_BYTES // 2**20} MiB"}, 413)
        try:
            return JSONResponse(await run_in_threadpool(answer, classifier, bytes(data)))
        except UndecodableError as error:
            return JSONResponse({"error": f"This can't be shown: {error}"}, 400)

    return app


def _example_pixels(file: Path, size: int) -> np.ndarray:
    try:
        return received(file.read_bytes(), size)
    except (OSError, UndecodableError) as error:
        raise PipelineError(f"--examples: {file} can't be shown: {error}") from error


def answer(classifier: Classifier, data: bytes) -> dict:
    """What the page shows of a picture: `guesses`, pairs of class and probability, the most probable first; `picture` and `overlay` as
    addresses that hold them.

    Raises:
        UndecodableError: no picture.
    """
    picture = received(data, classifier.image_size)
    [probabilities] = classifier.probabilities(picture[np.newaxis])
    asked = Answer("", picture=picture, probabilities=probabilities)
    [overlay] = overlays([asked], classifier)
    told = guesses(asked, classifier.classes, _GUESSES)
    return {"guesses": told, "picture": data_uri(picture), "overlay": data_uri(overlay)}
