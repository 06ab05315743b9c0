"""A classifier as MLflow keeps it."""

import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow

from pipeline.system.paths import CODE

# What a logged model takes to be loaded: hydra-core for this package's errors.
_SERVING = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "Pillow", "hydra-core")


def log_model(file: Path, name: str, temperature: float, applied: bool, tta: dict[str, Any] | None = None) -> None:
    """Log a saved classifier as what takes files' bytes and gives classes; its logits divided by the temperature where that is `applied`.

    `tta`: see `pipeline.models.description.describe`.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType, Map

    from pipeline.models.classifier import apply_temperature
    from pipeline.models.description import classes_and_size, describe
    from pipeline.models.saving import load_classifier, save_classifier

    classes, image_size = classes_and_size(file)
    outputs = [ColSpec("string", "class"), ColSpec("double", "probability"), ColSpec(Map("double"), "probabilities")]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # To try one MLflow would load the model again.
        warnings.filterwarnings("ignore", message=".*An input example was not provided")
        if applied:
            model, _ = load_classifier(file)
            apply_temperature(model, temperature)
            file = Path(folder) / file.name
            save_classifier(model, classes, file)
        mlflow.pyfunc.log_model(
            name=name,
            # By name: what is pickled could not be trusted.
            loader_module="pipeline.deployment.serving",
            data_path=str(file),
            code_paths=[str(CODE / "pipeline")],
            signature=ModelSignature(Schema([ColSpec(AnyType(), "image")]), Schema(outputs)),
            pip_requirements=[f"{package}=={version(package)}" for package in _SERVING],
            metadata=describe(classes, image_size, temperature, applied, tta),
        )
