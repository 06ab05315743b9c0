"""Compare the speed of predict with a minimal tf.data loop, or measure MLflow's server with eight parallel clients.

Run it with `python -m benchmarks.deployment MODEL IMAGES [--serve URL]`.
"""

import argparse
import base64
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import pipeline  # noqa: F401  (sets environment variables that TensorFlow reads)

# isort: split
import numpy as np
import tensorflow as tf

from pipeline.config.compose import configuration
from pipeline.config.size import height_width
from pipeline.deployment.classifier import Classifier, load
from pipeline.deployment.exports.parity import milliseconds
from pipeline.deployment.find_model import find_model
from pipeline.deployment.predictions import expand_paths, predict
from pipeline.inputs.decoding import pixels

BATCH, REQUESTS, CLIENTS = 64, 2000, 8


def bare_loop(classifier: Classifier, files: list[str]) -> float:
    """Return the seconds of a minimal loop that reads, decodes, resizes and predicts JPEG and PNG files."""
    extent = height_width(classifier.decoding.size)

    def read(file: tf.Tensor) -> tf.Tensor:
        # This method decodes to the same pixels as Pillow. TensorFlow's default is faster, but up to six levels off.
        image = tf.io.decode_jpeg(tf.io.read_file(file), channels=3, dct_method="INTEGER_ACCURATE")
        return tf.cast(tf.image.resize(image, extent, antialias=True), tf.uint8)

    data = tf.data.Dataset.from_tensor_slices(files).map(read, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    started = perf_counter()
    for batch in data:
        classifier.probabilities(batch)
    return perf_counter() - started


def pipeline_loop(classifier: Classifier, files: list[str]) -> float:
    """Return the seconds that predict takes for the files."""
    started = perf_counter()
    count = sum(len(batch) for batch in predict(files, classifier, BATCH))
    if count != len(files):
        raise RuntimeError(f"only {count} of {len(files)} files were predicted")
    return perf_counter() - started


def measure_server(address: str, classifier: Classifier, files: list[str]) -> None:
    """Send `REQUESTS` requests with one image each, and print their latency and largest difference to predict."""
    host = urlsplit(address).netloc
    data = [Path(file).read_bytes() for file in files]
    expected = classifier.probabilities(np.stack([pixels(each, classifier.decoding) for each in data]))
    bodies = [json.dumps({"inputs": [{"image": base64.b64encode(each).decode()}]}).encode() for each in data]

    def request(number: int) -> tuple[float, float]:
        started = perf_counter()
        connection = http.client.HTTPConnection(host, timeout=120)
        connection.request("POST", "/invocations", bodies[number % len(bodies)], {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        seconds = perf_counter() - started
        if response.status != 200:
            raise RuntimeError(content.decode()[:500])
        probabilities = np.array(list(json.loads(content)["predictions"][0]["probabilities"].values()))
        return seconds, float(np.abs(probabilities - expected[number % len(bodies)]).max())

    list(map(request, range(20)))
    started = perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        seconds, differences = np.array(list(clients.map(request, range(REQUESTS)))).T
    rate = REQUESTS / (perf_counter() - started)
    p50, p95 = np.quantile(seconds, [0.5, 0.95]) * 1000
    blank = np.zeros(classifier.decoding.shape, np.uint8)
    print(
        f"{REQUESTS} requests of {CLIENTS} clients: {rate:.0f}/s, p50 {p50:.1f} ms, p95 {p95:.1f} ms, largest difference "
        f"to predict {differences.max():.1e}; the model alone takes {milliseconds(classifier, blank):.1f} ms per image"
    )


def main() -> None:
    """Measure predict, or a running server."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deployment", description=__doc__)
    parser.add_argument("model", help="model, as for python -m pipeline.predict")
    parser.add_argument("images", help="folder or glob pattern of images")
    parser.add_argument("--count", type=int, default=1000, help="largest number of images (default: 1000)")
    parser.add_argument("--serve", metavar="URL", help="measure the server at this URL, such as http://127.0.0.1:5001")
    args = parser.parse_args()
    classifier = load(find_model(args.model, configuration()))
    files = list(expand_paths([args.images]))[: args.count]
    if args.serve:
        measure_server(args.serve, classifier, files[:200])
        return
    # The loops run alternately, so that a disturbance affects both.
    times = np.array([[loop(classifier, files) for loop in (bare_loop, pipeline_loop)] for _ in range(5)])
    bare, own = len(files) / np.median(times, axis=0)
    print(f"{len(files)} images, median of 5: minimal loop {bare:.0f}/s, predict {own:.0f}/s (ratio {own / bare:.2f})")


if __name__ == "__main__":
    main()
