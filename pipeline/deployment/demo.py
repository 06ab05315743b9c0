"""The demo page: drop an image, see its classes and where the classifier looked."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from pipeline.deployment.classifier import Classifier
from pipeline.deployment.prediction.gallery import overlays
from pipeline.deployment.prediction.output import guesses
from pipeline.deployment.prediction.predictions import Prediction
from pipeline.inputs.decoding import SAFE_PIXELS, TooLargeError, UndecodableError, pixels
from pipeline.system.errors import PipelineError
from pipeline.visuals.pages import render
from pipeline.visuals.thumbnails import data_uri

MOST_BYTES = 50 * 2**20


_GUESSES = 10


def build_page(classifier: Classifier, examples: Sequence[Path] = ()) -> FastAPI:
    """The application.

    Args:
        classifier: that is asked.
        examples: images to try with a click.

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
        return decode_upload(file.read_bytes(), size)
    except (OSError, UndecodableError) as error:
        raise PipelineError(f"--examples: {file} can't be shown: {error}") from error


def answer(classifier: Classifier, data: bytes) -> dict:
    """What the page shows of an image: `guesses`, pairs of class and probability, the most probable first; `image` and `overlay` as
    addresses that hold them.

    Raises:
        UndecodableError: no image.
    """
    image = decode_upload(data, classifier.image_size)
    [probabilities] = classifier.probabilities(image[np.newaxis])
    asked = Prediction("", image=image, probabilities=probabilities)
    [overlay] = overlays([asked], classifier)
    told = guesses(asked, classifier.classes, _GUESSES)
    return {"guesses": told, "image": data_uri(image), "overlay": data_uri(overlay)}


TOGETHER = 25_000_000
"""Pixels of an image that is decoded beside others; larger than what most cameras take."""


# One thread takes one after the other, and the same memory again: what a thread has freed others can't have.
_alone = ThreadPoolExecutor(1, "large-images")


def decode_upload(data: bytes, size: int) -> np.ndarray:
    """As `pipeline.inputs.decoding.pixels`, of at most SAFE_PIXELS; never two at a time of those with more than TOGETHER."""
    try:
        return pixels(data, size, TOGETHER)
    except TooLargeError:
        return _alone.submit(pixels, data, size, SAFE_PIXELS).result()
