"""A classifier as a model in MLflow."""

import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import mlflow

from pipeline.storage.files import Json
from pipeline.system.paths import CODE

# Packages that loading a logged model needs: hydra-core for this package's errors.
_SERVING = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "Pillow", "hydra-core")


def log_model(file: Path, name: str, *, temperature: float, applied: bool, tta: Json | None = None) -> None:
    """Log a saved classifier to the active run, as a model from files' bytes to classes.

    Args:
        file: as `pipeline.models.saving.save_classifier` wrote it.
        name: of the model in its run.
        temperature: fitted on validation.
        applied: whether its logits are divided by the temperature.
        tta: see `pipeline.models.description.describe`.
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
        # Checking an example, MLflow would load the model once more.
        warnings.filterwarnings("ignore", message=".*An input example was not provided")
        if applied:
            model, _ = load_classifier(file)
            apply_temperature(model, temperature)
            file = Path(folder) / file.name
            save_classifier(model, classes, file)
        mlflow.pyfunc.log_model(
            name=name,
            # By name, since nobody should have to trust a pickle.
            loader_module="pipeline.deployment.serving",
            data_path=str(file),
            code_paths=[str(CODE / "pipeline")],
            signature=ModelSignature(Schema([ColSpec(AnyType(), "image")]), Schema(outputs)),
            pip_requirements=[f"{package}=={version(package)}" for package in _SERVING],
            metadata=describe(classes, image_size, temperature=temperature, applied=applied, tta=tta),
        )
