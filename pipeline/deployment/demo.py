"""Demo web page that shows classes, the Grad-CAM heat map and the nearest training images of an uploaded image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from pipeline.config.image import Decoding
from pipeline.config.size import size_text
from pipeline.deployment.classifier import Classifier, decode_upload
from pipeline.deployment.neighbours import NeighbourSearch
from pipeline.deployment.prediction_output import overlays
from pipeline.deployment.predictions import Prediction, top_classes
from pipeline.inputs.decoding import UndecodableError
from pipeline.system.errors import PipelineError
from pipeline.visuals.pages import Thumbnail, cards, data_uri, render

MAX_BYTES = 50 * 2**20
"""Maximum size of an uploaded file in bytes."""
_CLASSES = 10


def build_page(
    classifier: Classifier, examples: Sequence[Path] = (), nearest: NeighbourSearch | None = None
) -> FastAPI:
    """Build the web application of the demo.

    Args:
        classifier: Classifier that predicts the images.
        examples: Files of example images, shown as buttons.
        nearest: Search for similar training images; None: they are not shown.

    Raises:
        PipelineError: An example can't be read or is not an image.
    """
    app = FastAPI(openapi_url=None)
    page = render(
        "demo.html",
        title="Try the classifier",
        count=len(classifier.classes),
        size=size_text(classifier.decoding.size),
        model=classifier.origin,
        examples=[data_uri(_example_pixels(file, classifier.decoding)) for file in examples],
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
            if len(data) > MAX_BYTES:
                return JSONResponse(
                    {"error": f"The file is larger than {MAX_BYTES // 2**20} MiB, the maximum size"}, 413
                )
        try:
            return JSONResponse(await run_in_threadpool(predict_upload, classifier, bytes(data), nearest))
        except UndecodableError as error:
            return JSONResponse({"error": f"The file can't be used: {error}"}, 400)

    return app


def _example_pixels(file: Path, decoding: Decoding) -> np.ndarray:
    try:
        return decode_upload(file.read_bytes(), decoding)
    except (OSError, UndecodableError) as error:
        raise PipelineError(f"--examples: {file} can't be used: {error}") from error


def predict_upload(classifier: Classifier, data: bytes, nearest: NeighbourSearch | None = None) -> dict[str, object]:
    """Predict the classes of an image file.

    Args:
        classifier: Classifier that predicts the image.
        data: Bytes of the file.
        nearest: Search for similar training images.

    Returns:
        A dictionary with `guesses`, pairs of class and probability, the most probable first, with the data URIs `image`
        and `overlay`, and with `neighbours`: label, path and data URI (None if the file can't be read) of the most
        similar training images, the nearest first.

    Raises:
        UndecodableError: The bytes are not an image.
    """
    image = decode_upload(data, classifier.decoding)
    [probabilities] = classifier.probabilities(image[np.newaxis])
    prediction = Prediction("", image, probabilities)
    [overlay] = overlays([prediction], classifier)
    guesses = top_classes(prediction, classifier.classes, _CLASSES)
    answer: dict[str, object] = {"guesses": guesses, "image": data_uri(image), "overlay": data_uri(overlay)}
    found = nearest(image[np.newaxis])[0] if nearest else []
    shown = cards([Thumbnail(Path(), each.path, each.label) for each in found])
    return answer | {"neighbours": [[each["heading"], each["name"], each["image_uri"]] for each in shown]}
