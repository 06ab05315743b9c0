"""The logged model as MLflow loads it: the answers of predict, and a reason for what it can't answer."""

import base64
import io
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.config.image import Decoding
from pipeline.inputs.decoding import pixels
from tests.support.served import agrees, huge


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
    images = np.stack([pixels(file.read_bytes(), Decoding(32)) for file in trained.files])
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
