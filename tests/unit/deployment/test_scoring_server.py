"""The logged model on MLflow's scoring server: many clients, and requests that are refused while it stays."""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from pipeline.config.image import Decoding
from pipeline.inputs.decoding import pixels
from tests.support.served import agrees, huge


def unusable(good: bytes, count: int):
    """Images that can't be used: bytes in base64, texts, numbers, arrays; made with a fixed seed."""
    random = np.random.default_rng(0)
    as_text = lambda data: base64.b64encode(data).decode()  # noqa: E731
    for number in range(count):
        yield [
            lambda: as_text(good[: random.integers(0, len(good) // 2)]),
            lambda: as_text(random.bytes(int(random.integers(1, 300)))),
            lambda: as_text(b""),
            lambda: as_text(huge()),
            lambda: ["/etc/passwd", "https://example.org/a.png", "ä", "a b", "data:,"][random.integers(5)],
            lambda: [None, 1.5, 7, True, {}, [], {"bytes": "x"}, [1, 2, 3]][random.integers(8)],
            lambda: random.integers(-300, 600, (32, 32, 3)).tolist(),
            lambda: random.integers(0, 256, (3, 32, 32)).tolist(),
            lambda: (random.random((32, 32, 3)) - 0.5).tolist(),
        ][number % 9]()


@pytest.fixture(scope="module")
def server(logged):
    """`mlflow models serve` on a port of this machine: its process, and how to ask it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # MLflow starts uvicorn by its name.
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": logged.uri,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m", logged.address, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ask(body, kind="application/json"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", "/invocations", data, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    try:
        for _ in range(600):
            assert process.poll() is None
            try:
                ask({})
                break
            except OSError:
                time.sleep(0.2)
        yield SimpleNamespace(process=process, ask=ask)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()
        process.terminate()
        process.wait()


def memory(process) -> int:
    """Bytes that the server and its workers hold."""
    parent = psutil.Process(process.pid)
    return sum(each.memory_info().rss for each in [parent, *parent.children(recursive=True)])


@pytest.mark.server
def test_eight_clients_get_the_answers_of_predict(server, trained, expected):
    def one(number):
        file = trained.files[number % len(trained.files)]
        text = base64.b64encode(file.read_bytes()).decode()
        rows = [{"image": text}] * (1 + number % 3)
        body = [
            {"dataframe_records": rows},
            {"dataframe_split": {"columns": ["image"], "data": [[text]] * len(rows)}},
            {"inputs": rows},
            {"instances": rows},
            {"inputs": {"image": [text] * len(rows)}},
            {"inputs": [text] * len(rows)},
            {"inputs": [pixels(file.read_bytes(), Decoding(32)).tolist()] * len(rows)},
        ][number % 7]
        status, said = server.ask(body)
        assert status == 200, said
        answer = json.loads(said)["predictions"]
        assert len(answer) == len(rows)
        for each in answer:
            agrees(each, expected[str(file)])

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(one, range(200)))


@pytest.mark.server
def test_malformed_requests_are_refused_and_the_server_stays(server, trained, expected):
    good = trained.files[0].read_bytes()
    text = base64.b64encode(good).decode()
    bodies = [
        (json.dumps({"dataframe_records": [{"image": each}]}).encode(), "application/json")
        for each in unusable(good, 440)
    ]
    bodies += [
        (body if isinstance(body, bytes) else json.dumps(body).encode(), kind)
        for body, kind in [
            (b"", "application/json"),
            (b"\xff\xfe", "application/json"),
            (b"{", "application/json"),
            ([], "application/json"),
            ("x", "application/json"),
            ({"inputs": []}, "application/json"),
            ({"inputs": {}}, "application/json"),
            ({"inputs": 3}, "application/json"),
            ({"inputs": {"file": [text]}}, "application/json"),
            ({"dataframe_records": []}, "application/json"),
            ({"dataframe_records": [{"image": text}] * 257}, "application/json"),
            ({"dataframe_records": [{"image": text}, {"image": "no"}]}, "application/json"),
            ({"dataframe_split": {"columns": ["image"]}}, "application/json"),
            ({"image": text}, "application/json"),
            (good, "image/png"),
            (good, "application/json"),
        ]
        for _ in range(4)
    ]
    assert len(bodies) >= 500
    held = []
    with ThreadPoolExecutor(8) as clients:
        for _ in range(3):
            for (body, _), (status, said) in zip(
                bodies, clients.map(lambda pair: server.ask(*pair), bodies), strict=True
            ):
                assert 400 <= status < 500, (status, body[:200], said[:300])
                assert len(said) > 10, body[:200]
            held.append(memory(server.process))
    # Threads that take turns leave some more to the allocator each time; a leak would be hundreds of MiB.
    assert held[-1] - held[0] < 50 * 2**20, held
    # Nothing of the request is repeated, and no file of the server is read.
    for paths in ([str(trained.files[0])], [{"image": str(trained.files[0])}], {"image": [str(trained.files[0])]}):
        status, said = server.ask({"inputs": paths})
        assert status == 400
        said = json.loads(said)["message"]
        assert said == "Image 1: the text is not base64 of an image file; paths have to be pathlib.Path objects"
    status, said = server.ask({"dataframe_records": [{"image": text}]})
    assert status == 200
    agrees(json.loads(said)["predictions"][0], expected[str(trained.files[0])])
