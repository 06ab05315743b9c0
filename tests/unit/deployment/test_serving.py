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
from pipeline.tracking.logged_model import log_model


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


@pytest.fixture(scope="module")
def model(logged):
    """What a user of MLflow loads."""
    mlflow.set_tracking_uri(logged.uri)
    return mlflow.pyfunc.load_model(logged.address)


def forms(files) -> dict[str, object]:
    """The same images in all forms that predict takes, the first ones of two; one image alone is `one`."""
    data = [file.read_bytes() for file in files]
    texts = [base64.b64encode(each).decode() for each in data]
    images = [Image.open(file) for file in files]
    batch = np.stack([np.asarray(image) for image in images])
    return {
        "uint8 batch": batch,
        "float batch to 1": batch.astype(np.float32) / 255,
        "float batch to 255": batch.astype(np.float64),
        "list of arrays": list(batch),
        "nested lists": batch.tolist(),
        "with transparency": np.concatenate([batch, np.full_like(batch[..., :1], 255)], axis=3),
        "list of bytes": data,
        "Pillow images": images,
        "paths": list(files),
        "paths as text": [str(file) for file in files],
        "base64": texts,
        "data URIs": [f"data:image/png;base64,{text}" for text in texts],
        "table of bytes": pd.DataFrame({"image": data}),
        "table of base64": pd.DataFrame({"image": texts}),
        "table of arrays": pd.DataFrame({"image": list(batch)}),
        "table of paths": pd.DataFrame({"image": list(files)}),
        "column": pd.Series(data),
        "records": [{"image": text} for text in texts],
        "columns": {"image": batch},
    }


def test_it_takes_images_in_all_forms_of_a_user_of_mlflow(model, trained, expected):
    files = trained.files[:2]
    for name, data in forms(files).items():
        answers = model.predict(data).to_dict("records")
        assert len(answers) == 2, name
        for file, answer in zip(files, answers, strict=True):
            agrees(answer, expected[str(file)])
    [file] = files[:1]
    pixels_of_file = np.asarray(Image.open(file))
    for one in (pixels_of_file, pixels_of_file / 255, file.read_bytes(), Image.open(file), file, str(file)):
        [answer] = model.predict(one).to_dict("records")
        agrees(answer, expected[str(file)])


def test_images_of_any_size_shape_and_mode_are_as_their_files_are(model, tmp_path):
    random = np.random.default_rng(3)
    noise = random.integers(0, 256, (45, 70, 3), np.uint8)
    image = Image.fromarray(noise)
    turned = image.getexif()
    turned[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=turned)
    made = [image, image.convert("L"), image.convert("P"), image.convert("CMYK"), Image.open(tmp_path / "turned.png")]
    made.append(Image.fromarray(random.integers(0, 256, (20, 9, 4), np.uint8)))
    for each in made:
        each.convert("RGB").save(tmp_path / "file.png") if each.mode == "CMYK" else each.save(tmp_path / "file.png", exif=each.getexif())  # fmt: skip
        pd.testing.assert_frame_equal(model.predict([each]), model.predict(tmp_path / "file.png"))
    grey = np.asarray(image.convert("L"))
    for array in (grey, grey[..., np.newaxis], grey / 255):
        pd.testing.assert_frame_equal(model.predict(array), model.predict(image.convert("L")))
    # A black image in a batch of the range to 255.
    batch = np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 200.0)])
    pd.testing.assert_frame_equal(model.predict(batch), model.predict(batch.astype(np.uint8)))
    assert len(model.predict(np.repeat(noise[np.newaxis], 300, axis=0))) == 300


def test_it_is_described_as_mlflow_describes_models(logged, model, trained, expected):
    info = mlflow.models.get_model_info(logged.address)
    assert [column["name"] for column in info.signature.outputs.to_dict()] == ["class", "probability", "probabilities"]
    assert model.metadata.metadata["classes"] == ["blue", "green", "red"]
    assert model.metadata.metadata["calibration"] == {"temperature": 1.5, "applied": True}
    [example] = model.input_example
    assert Image.open(io.BytesIO(base64.b64decode(example["image"]))).size == (32, 32)
    assert len(model.predict(model.input_example)) == 1
    requirements = Path(mlflow.pyfunc.get_model_dependencies(logged.address)).read_text().split()
    assert {each.partition("==")[0] for each in requirements} >= {"mlflow", "tensorflow", "keras", "numpy", "Pillow"}
    network = mlflow.keras.load_model(logged.address)
    images = np.stack([pixels(file.read_bytes(), 32) for file in trained.files])
    probabilities = np.stack([expected[str(file)][1] for file in trained.files])
    np.testing.assert_allclose(network.predict(images, verbose=0), probabilities, atol=1e-5)


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
            lambda: [None, 1.5, 7, True, {}, [], {"bytes": "x"}, [1, 2, 3]][random.integers(8)],
            lambda: random.integers(-300, 600, (32, 32, 3)).tolist(),
            lambda: random.integers(0, 256, (3, 32, 32)).tolist(),
            lambda: (random.random((32, 32, 3)) - 0.5).tolist(),
        ][number % 9]()


@pytest.mark.parametrize("image", [b"", b"text", huge(), "/etc/passwd", None, 3, [1, 2], Path("/nowhere.png")])
def test_what_it_can_not_use_is_refused_with_a_reason(model, image):
    for data in (pd.DataFrame({"image": pd.Series([image], dtype=object)}), [{"image": image}], {"image": image}):
        with pytest.raises(MlflowException, match=r"^Image 1: ") as refused:
            model.predict(data)
        assert refused.value.get_http_status_code() == 400


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros((2, 3, 64, 64), np.uint8), r"the pixels have shape \[3, 64, 64\]; expected \[height, width, channels\]"),
        (np.zeros((5, 8, 8)), r"the pixels have shape \[5, 8, 8\]"),
        (np.zeros((1, 2, 2, 2, 3)), r"the pixels have shape \[1, 2, 2, 2, 3\]"),
        (np.full((4, 4, 3), 300), "values from 300 to 300; expected integers from 0 to 255, or floats from 0 to 1 or 255"),
        (np.full((4, 4, 3), -0.5), "values from -0.5 to -0.5"),
        (np.full((4, 4, 3), np.nan), "values from nan to nan"),
        (np.zeros((4, 4, 3), complex), "can't use an array of type complex128 and shape"),
        (np.zeros((0, 4, 4, 3)), "can't use an array of type float64 and shape"),
        ([[1, 2], [3]], "the rows of the pixels have different lengths"),
        (["nowhere.png"], "Image 1: the text is not a file or base64"),
        (["a b" * 50_000], "Image 1: the text is not a file or base64"),
        (object(), "Image 1: can't use a value of type object; expected pixels"),
        (pd.DataFrame({"file": ["a.png"]}), "The table has no column 'image', but file"),
        ({"file": "a.png"}, "The input has no key 'image', but file"),
        ([], "The input has no images; expected pixels"),
        ([Image.new("F", (4, 4))], "Image 1: Pillow images of floating-point pixels are not supported"),
    ],
)  # fmt: skip
def test_the_reason_is_a_sentence_without_the_data(model, data, reason):
    with pytest.raises(MlflowException, match=reason) as refused:
        model.predict(data)
    assert len(refused.value.message) < 400


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
            {"inputs": [pixels(file.read_bytes(), 32).tolist()] * len(rows)},
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
