"""Classifiers as MLflow models: for `mlflow.pyfunc`, which takes images in many forms, and for `mlflow.keras`.

The module is a flavor, with the function `save_model` that `mlflow.models.Model.log` calls.
"""

import base64
import io
import logging
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, Map, Schema
from PIL import Image

from pipeline.config.image import Decoding
from pipeline.models.archive import read_member
from pipeline.models.description import CLASSES, describe, read_decoding
from pipeline.models.temperature import write_at_temperature
from pipeline.storage.files import Json
from pipeline.system.paths import CODE

# MLflow would log a line about the input example.
logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)

# Packages that are needed to load a logged model; this package's errors need hydra-core.
_SERVING = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "Pillow", "hydra-core")
# MLflow forces the input into the types that a signature names: into a table, or into arrays of one type. Without them,
# the model gets what the caller gave.
_SIGNATURE = ModelSignature(
    outputs=Schema(
        [ColSpec("string", "class"), ColSpec("double", "probability"), ColSpec(Map("double"), "probabilities")]
    )
)


def log_model(file: Path, name: str, *, temperature: float, applied: bool, tta: Json | None = None) -> None:
    """Log a saved classifier to the active run, as an MLflow model that predicts the classes of images.

    Args:
        file: Model file from `pipeline.models.saving.save_classifier`.
        name: Name of the model in its run.
        temperature: Temperature fitted on the validation images.
        applied: Whether the logits are divided by the temperature.
        tta: Test-time augmentation; see `pipeline.models.description.describe`.
    """
    classes, decoding = read_member(file, CLASSES), read_decoding(file)
    with tempfile.TemporaryDirectory() as folder:
        if applied:
            scaled = Path(folder) / file.name
            write_at_temperature(file, temperature, scaled)
            file = scaled
        Model.log(
            None,
            sys.modules[__name__],
            name=name,
            model_type="image classifier",
            metadata=describe(classes, decoding, temperature=temperature, applied=applied, tta=tta),
            data_path=str(file),
            input_example=[{"image": _example(decoding)}],
            # MLflow would load the model again to check that it accepts the example, which takes seconds.
            validate_serving_input=False,
        )


def save_model(
    path: str, mlflow_model: Model, *, data_path: str, input_example: list[dict[str, str]], **_: Any
) -> None:
    """Save a classifier in the format of MLflow models.

    Args:
        path: New folder of the model.
        mlflow_model: Description of the model, to which the flavors `keras` and `python_function` are added.
        data_path: Model file.
        input_example: Example of an input.
    """
    # What `mlflow.keras.save_model` would add, without loading the model.
    mlflow_model.add_flavor(
        "keras",
        data=f"data/{Path(data_path).stem}",
        keras_version=version("keras"),
        keras_backend="tensorflow",
        save_exported_model=False,
    )
    mlflow.pyfunc.save_model(
        path=path,
        mlflow_model=mlflow_model,
        # The loader is a module instead of a pickled object, since loading pickles can run arbitrary code.
        loader_module="pipeline.deployment.serving",
        data_path=data_path,
        code_paths=[str(CODE / "pipeline")],
        signature=_SIGNATURE,
        input_example=input_example,
        pip_requirements=[f"{package}=={version(package)}" for package in _SERVING],
    )


def _example(decoding: Decoding) -> str:
    """Return a made image of the network's size as a PNG file in base64; data of users stay out of the model."""
    file, (height, width, _) = io.BytesIO(), decoding.shape
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
