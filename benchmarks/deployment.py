"""predict against a bare tf.data loop, and MLflow's server under eight clients: `python -m benchmarks.deployment MODEL IMAGES [--serve URL]`"""

import argparse
import base64
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import pipeline  # noqa: F401  (says what TensorFlow reads at its import)

# isort: split
import numpy as np
import tensorflow as tf

from pipeline.config.compose import configuration
from pipeline.deployment.classifier import Classifier, load
from pipeline.deployment.exports.parity import milliseconds
from pipeline.deployment.find_model import find_model
from pipeline.deployment.prediction.predictions import answers, expand_paths
from pipeline.inputs.decoding import pixels

BATCH, REQUESTS, CLIENTS = 64, 2000, 8


def bare(classifier: Classifier, files: list[str]) -> float:
    """Seconds that the shortest loop takes: read, decode, resize and ask. For JPEG and PNG files."""
    size = classifier.image_size

    def read(file):
        # The way of decoding that gives Pillow's pixels; TensorFlow's own default is faster, and up to six levels off.
        image = tf.io.decode_jpeg(tf.io.read_file(file), channels=3, dct_method="INTEGER_ACCURATE")
        return tf.cast(tf.image.resize(image, (size, size), antialias=True), tf.uint8)

    data = tf.data.Dataset.from_tensor_slices(files).map(read, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    started = perf_counter()
    for batch in data:
        classifier.probabilities(batch)
    return perf_counter() - started


def predicted(classifier: Classifier, files: list[str]) -> float:
    """Seconds that predict takes for the same."""
    started = perf_counter()
    count = sum(len(batch) for batch in answers(files, classifier, BATCH))
    assert count == len(files)
    return perf_counter() - started


def served(address: str, classifier: Classifier, files: list[str]) -> None:
    """Ask the server `REQUESTS` times, an image each, and say how long that took and whether an answer differed from predict's."""
    place = urlsplit(address)
    data = [Path(file).read_bytes() for file in files]
    expected = classifier.probabilities(np.stack([pixels(each, classifier.image_size) for each in data]))
    bodies = [json.dumps({"inputs": [{"image": base64.b64encode(each).decode()}]}).encode() for each in data]

    def ask(number: int) -> tuple[float, float]:
        started = perf_counter()
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
        connection.request("POST", "/invocations", bodies[number % len(bodies)], {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        taken = perf_counter() - started
        if answer.status != 200:
            raise RuntimeError(said.decode()[:500])
        told = np.array(list(json.loads(said)["predictions"][0]["probabilities"].values()))
        return taken, float(np.abs(told - expected[number % len(bodies)]).max())

    list(map(ask, range(20)))
    started = perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        found = np.array(list(clients.map(ask, range(REQUESTS))))
    p50, p95 = np.quantile(found[:, 0], [0.5, 0.95]) * 1000
    print(
        f"{REQUESTS} requests of {CLIENTS} clients: {REQUESTS / (perf_counter() - started):.0f}/s, p50 {p50:.1f} ms, p95 {p95:.1f} ms, "
        f"largest difference to predict {found[:, 1].max():.1e}; the bare model {milliseconds(classifier, np.zeros((classifier.image_size, classifier.image_size, 3), np.uint8)):.1f} ms an image"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--most", type=int, default=1000, help="images at most (1000)")
    parser.add_argument("--serve", metavar="URL", help="of a server that runs, such as http://127.0.0.1:5001")
    given = parser.parse_args()
    classifier = load(find_model(given.model, configuration()))
    files = list(expand_paths([given.images]))[: given.most]
    if given.serve:
        served(given.serve, classifier, files[:200])
        return
    # In turn, so that what disturbs one disturbs the other.
    times = np.array([[count(classifier, files) for count in (bare, predicted)] for _ in range(5)])
    loop, own = len(files) / np.median(times, axis=0)
    print(f"{len(files)} images, median of 5: bare loop {loop:.0f}/s, predict {own:.0f}/s, {own / loop:.2f} of it")


if __name__ == "__main__":
    main()
