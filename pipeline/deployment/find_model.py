"""Lookup of a classifier by path, by MLflow address, or as the best one of this checkout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config, TrackingConfig
from pipeline.storage.files import Json, read_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import main_checkout
from pipeline.system.terminal import report
from pipeline.system.wording import some

ADDRESSES = ("runs:/", "models:/")
MODEL, LOGGED = "model.keras", "MLmodel"
# The HDF5 suffixes are recognized as classifiers, so that the error message is about the model file.
_SUFFIXES = (".keras", ".h5", ".hdf5")
_METRICS, _CALIBRATION = Path("evaluate/metrics.json"), Path("evaluate/calibration.json")


@dataclass(frozen=True)
class Calibration:
    """Temperature scaling of a classifier's probabilities."""

    temperature: float | None = None
    """Temperature fitted on the validation images; None if unknown."""
    applied: bool = False
    """Whether the temperature is applied to the classifier's probabilities."""
    in_weights: bool = False
    """Whether the temperature is contained in the weights of the file, as in models logged to MLflow."""
    tta: Json | None = None
    """Kind of test-time augmentation in the evaluation and the temperature fitted to its mean; None without it."""


@dataclass(frozen=True)
class ModelReference:
    """The file of a classifier with its origin and calibration."""

    file: Path
    origin: str
    """Path or address of the classifier, for messages."""
    calibration: Calibration = Calibration()
    root: Path | None = None
    """Folder that contains the outputs of all stages, if the file is an output of a stage."""
    run_id: str | None = None
    """Id of the MLflow run that logged the classifier."""


def is_model(word: str) -> bool:
    """Return whether a command-line argument names a classifier rather than an image."""
    path = Path(word)
    return (
        word.startswith(ADDRESSES)
        or path.suffix in _SUFFIXES
        or any((path / mark).is_file() for mark in (LOGGED, _METRICS, MODEL))
    )


def find_model(name: str | None, config: Config) -> ModelReference:
    """Find a classifier without loading it.

    Args:
        name: Path of a `.keras` file or of the output folder of one or all stages, or an MLflow address that starts
            with `runs:/` or `models:/`. None selects the classifier in outputs/, as written by `dvc repro`, or else
            the one recommended by `pipeline.compare --best`.
        config: Configuration with the tracking store in which addresses are looked up.

    Raises:
        PipelineError: There is no such classifier.
    """
    if name is None:
        outputs = main_checkout() / "outputs"
        return _in_stages(outputs) if (outputs / _METRICS).exists() else _best_run(config)
    if name.startswith(ADDRESSES):
        return _in_store(name, config.tracking)
    path = Path(name).expanduser()
    if (path / LOGGED).is_file():
        return _in_logged(path, name)
    if (path / _METRICS).is_file():
        return _in_stages(path.absolute())
    if (path / MODEL).is_file():
        path /= MODEL
    if not path.is_file():
        raise PipelineError(
            f"{name!r} is not a classifier; give a .keras file, a folder that contains one, runs:/<id>/model or "
            "models:/<name>@<alias>, or omit it for the best classifier"
        )
    return _in_stage(path.absolute())


def _in_stages(root: Path) -> ModelReference:
    return _in_stage(root / read_json(root / _METRICS)["best"] / MODEL)


def _in_stage(file: Path) -> ModelReference:
    """Return a reference to the model file of a phase, with the calibration fitted by stage evaluate."""
    root, phase = file.parent.parent, file.parent.name
    if file.name != MODEL or not (root / _CALIBRATION).exists():
        return ModelReference(file, str(file))
    fitted = read_json(root / _CALIBRATION)
    tta = fitted.get("tta") or {}
    calibration = Calibration(
        temperature=fitted.get(phase),
        applied=fitted["applied"] and phase in fitted,
        tta={"kind": tta["kind"], "temperature": tta[phase]} if phase in tta else None,
    )
    return ModelReference(file, str(file), calibration, root=root)


def _best_run(config: Config) -> ModelReference:
    # Imported here, because the import of pandas and MLflow takes seconds.
    from pipeline.comparison.ranking import best_experiment

    try:
        best = best_experiment(config)
    except PipelineError as error:
        raise PipelineError(
            f"No trained classifier was found ({error}); run make repro, or give a .keras file or runs:/<id>/model"
        ) from error
    return _in_store(f"runs:/{best.run_id}/model", config.tracking)


def _in_store(address: str, tracking: TrackingConfig) -> ModelReference:
    from pipeline.tracking.store import logged_model

    if address.startswith("runs:/") and "/" not in address.removeprefix("runs:/").strip("/"):
        address = f"{address.rstrip('/')}/model"
    return _in_logged(logged_model(tracking, address), address)


def _in_logged(folder: Path, origin: str) -> ModelReference:
    """Return a reference to a classifier in an MLflow model folder, without executing code from the folder."""
    import yaml

    description = yaml.safe_load((folder / LOGGED).read_text(encoding="utf-8"))
    files = sorted(folder.rglob("*.keras"))
    if len(files) != 1:
        raise PipelineError(
            f"{origin} was not logged by this pipeline: it contains {len(files)} .keras files, expected one"
        )
    logged = (description.get("metadata") or {}).get("calibration") or {}
    applied = bool(logged.get("applied"))
    calibration = Calibration(logged.get("temperature"), applied, in_weights=applied, tta=logged.get("tta"))
    return ModelReference(files[0], origin, calibration, run_id=description.get("run_id"))


def announce(reference: ModelReference, classes: Sequence[str]) -> None:
    """Print which classifier was found without a name, since it may have other classes than the user's images."""
    path = Path(reference.origin)
    origin = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else reference.origin
    report(f"Classifier: {origin}, with the classes {some(classes)}. Name another as the first argument")


def run_of(reference: ModelReference) -> str | None:
    """Return the id of a classifier's MLflow run; None if it is unknown.

    For outputs of stages, the id is read from stage report, or from stage evaluate in older folders without it.
    """
    if reference.root is None:
        return reference.run_id
    files = [reference.root / stage / "run.json" for stage in ("report", "evaluate")]
    return next((read_json(file)["run_id"] for file in files if file.exists()), None)
