"""The logged model as MLflow loads and serves it: the answers of predict, and a reason for what it can't answer."""

import base64
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.config.compose import configuration
from pipeline.deployment.classifier import load
from pipeline.deployment.find_model import find_model
from pipeline.deployment.predictions import predict
from pipeline.inputs.decoding import pixels
from pipeline.tracking.stage_log import log_model


@pytest.fixture(scope="module")
def logged(trained, tmp_path_factory, empty_store):
    """A classifier logged as evaluate logs it, calibrated; `uri` of the store, `run_id`."""
    folder = tmp_path_factory.mktemp("logged")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("served", (folder / "artifacts").as_uri()))
    with mlflow.start_run() as run:
        log_model(trained.file, "model", temperature=1.5, applied=True)
    return SimpleNamespace(uri=uri, run_id=run.info.run_id, address=f"runs:/{run.info.run_id}/model")


@pytest.fixture(scope="module")
def expected(logged, trained):
    """The answers that predict gives of the logged model, by file."""
    classifier = load(find_model(logged.address, configuration([f"tracking.uri={logged.uri}"])))
    assert classifier.calibration.temperature == 1.5
    [batch] = predict([str(file) for file in trained.files], classifier, 64)
    return {
        str(file): (classifier.classes[each.probabilities.argmax()], each.probabilities)
        for file, each in zip(trained.files, batch, strict=True)
    }


def agrees(answer, expected):
    name, probabilities = expected
    assert answer["class"] == name
    assert answer["probability"] == pytest.approx(probabilities.max(), abs=1e-5)
    np.testing.assert_allclose(list(answer["probabilities"].values()), probabilities, atol=1e-5)


def test_it_takes_bytes_base64_and_pixels(logged, trained, expected):
    mlflow.set_tracking_uri(logged.uri)
    model = mlflow.pyfunc.load_model(logged.address)
    file = trained.files[0]
    data = file.read_bytes()
    text = base64.b64encode(data).decode()
    for image in (data, text, f"data:image/png;base64,{text}", pixels(data, 32), pixels(data, 32).tolist()):
        [answer] = model.predict(pd.DataFrame({"image": [image]})).to_dict("records")
        agrees(answer, expected[str(file)])
    assert model.metadata.metadata["classes"] == ["blue", "green", "red"]
    assert model.metadata.metadata["calibration"] == {"temperature": 1.5, "applied": True}


ALONE = """
import sys, mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
with open(sys.argv[2], "rb") as file:
    print(model.predict(pandas.DataFrame({"image": [file.read()]}))["class"][0])
import pipeline
print(pipeline.__file__)
"""


def test_nothing_is_pickled_and_its_code_lies_with_it(logged, trained, tmp_path):
    mlflow.set_tracking_uri(logged.uri)
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=logged.address, dst_path=str(tmp_path)))
    assert not [file for file in folder.rglob("*") if file.suffix in (".pkl", ".pickle", ".pyc")]
    # Where this project is not.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, folder, trained.files[0]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    name, module = ran.stdout.splitlines()
    assert name == trained.files[0].parent.name
    assert Path(module).is_relative_to(folder)


def huge() -> bytes:
    """A small PNG file that says it is 40,000 pixels wide and high."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    return bytes(data)


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
            lambda: [None, 1.5, 7, True, {}, [], {"bytes": "x"}, [[1, 2], [3]]][random.integers(8)],
            lambda: random.integers(-300, 600, (32, 32, 3)).tolist(),
            lambda: random.integers(0, 256, (32, 31, 3)).tolist(),
            lambda: random.random((32, 32, 3)).tolist(),
        ][number % 9]()


@pytest.mark.parametrize("image", [b"", b"text", huge(), "/etc/passwd", None, 3, [[1], [2]]])
def test_what_it_can_not_use_is_refused_with_a_reason(logged, image):
    mlflow.set_tracking_uri(logged.uri)
    model = mlflow.pyfunc.load_model(logged.address)
    with pytest.raises(MlflowException, match="Image 1 of the request: ") as refused:
        model.predict(pd.DataFrame({"image": pd.Series([image], dtype=object)}))
    assert refused.value.get_http_status_code() == 400
    with pytest.raises(MlflowException, match="The request contains 257 images"):
        model.predict(pd.DataFrame({"image": ["x"] * 257}))


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
            {"inputs": rows},
            {"instances": rows},
            {"inputs": {"image": [text] * len(rows)}},
        ][number % 4]
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
    status, said = server.ask({"dataframe_records": [{"image": text}]})
    assert status == 200
    agrees(json.loads(said)["predictions"][0], expected[str(trained.files[0])])
