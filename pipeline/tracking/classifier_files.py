"""Lookup of a classifier by path or by MLflow address."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import ADDRESSES, TrackingConfig
from pipeline.storage.files import Json, read_json
from pipeline.system.errors import PipelineError

MODEL, LOGGED, METRICS = "model.keras", "MLmodel", Path("evaluate/metrics.json")
"""Files that mark a folder of one phase, of a logged model, and of all stages."""
_CALIBRATION = Path("evaluate/calibration.json")


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


def find_classifier(name: str, tracking: TrackingConfig) -> ModelReference:
    """Find a classifier without loading it.

    Args:
        name: Path of a `.keras` file or of the output folder of one or all stages, or an MLflow address that starts
            with `runs:/` or `models:/`.
        tracking: Settings of the store in which addresses are looked up.

    Raises:
        PipelineError: There is no such classifier.
    """
    if name.startswith(ADDRESSES):
        return in_store(name, tracking)
    path = Path(name).expanduser()
    if (path / LOGGED).is_file():
        return _in_logged(path, name)
    if (path / METRICS).is_file():
        return in_stages(path.absolute())
    if (path / MODEL).is_file():
        path /= MODEL
    if not path.is_file():
        raise PipelineError(
            f"{name!r} is not a classifier; give a .keras file, the folder of one or of a finished job, runs:/<id>, or "
            "models:/<name>@<alias>"
        )
    return _in_stage(path.absolute())


def in_stages(root: Path) -> ModelReference:
    """Return a reference to the model of the better phase in the output folder of all stages."""
    return _in_stage(root / read_json(root / METRICS)["best"] / MODEL)


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


def in_store(address: str, tracking: TrackingConfig) -> ModelReference:
    """Return a reference to the model at an MLflow address, downloaded if needed."""
    # MLflow takes seconds to import.
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


def run_of(reference: ModelReference) -> str | None:
    """Return the id of a classifier's MLflow run; None if it is unknown.

    For outputs of stages, the id is read from stage report, or from stage evaluate in older folders without it.
    """
    if reference.root is None:
        return reference.run_id
    files = [reference.root / stage / "run.json" for stage in ("report", "evaluate")]
    return next((read_json(file)["run_id"] for file in files if file.exists()), None)
