"""Which classifier is meant: a path, an address in MLflow, or nothing for this checkout's best."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config, TrackingConfig
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import main_checkout

ADDRESSES = ("runs:/", "models:/")
MODEL, LOGGED = "model.keras", "MLmodel"
# The older ones are meant as classifiers too, and refused as such.
_ENDINGS = (".keras", ".h5", ".hdf5")
_METRICS, _CALIBRATION = Path("evaluate/metrics.json"), Path("evaluate/calibration.json")


@dataclass(frozen=True)
class ModelReference:
    """A classifier's file, and what is known beside it."""

    file: Path
    origin: str
    """Where it comes from, for people."""
    temperature: float | None = None
    """Fitted on validation; None where it is not known."""
    calibrated: bool = False
    """Whether the classifier's probabilities are to be at the temperature."""
    temperature_in_weights: bool = False
    """Whether the file's weights have the temperature already, as those logged to MLflow do."""
    tta: dict[str, Any] | None = None
    """Kind of the test-time augmentation that it was evaluated with, and its temperature; None for none."""
    root: Path | None = None
    """The stages' folder that the file lies in."""
    run_id: str | None = None
    """The MLflow run that logged it."""


def is_model(given: str) -> bool:
    """Whether a word of the command line means a classifier rather than an image."""
    path = Path(given)
    return given.startswith(ADDRESSES) or path.suffix in _ENDINGS or _kind(path) is not None


def find_model(given: str | None, config: Config) -> ModelReference:
    """The classifier that is meant.

    Args:
        given: a `.keras` file, a folder of a stage or of all stages, MLflow's `runs:/` or `models:/`; None for the best one of this
            checkout: what `dvc repro` left in outputs/, else what `python -m pipeline.compare --best` names.
        config: of this checkout; its tracking store is where addresses are looked up.

    Raises:
        PipelineError: there is none.
    """
    if given is None:
        outputs = main_checkout() / "outputs"
        return _in_stages(outputs) if (outputs / _METRICS).exists() else _best_run(config)
    if given.startswith(ADDRESSES):
        return _logged(given, config.tracking)
    path = Path(given).expanduser()
    kind = _kind(path)
    if kind == "stages":
        return _in_stages(path.absolute())
    if kind == "logged":
        return _in_logged(path, given)
    if kind == "stage":
        path /= MODEL
    if not path.is_file():
        raise PipelineError(
            f"{given!r} is no classifier; give a .keras file, a folder that holds one, runs:/<id>/model, models:/<name>@<alias>, or nothing"
        )
    path = path.absolute()
    return _of_phase(path.parent.parent, path.parent.name, path)


def _kind(path: Path) -> str | None:
    """What kind of folder of a classifier's it is."""
    if (path / LOGGED).is_file():
        return "logged"
    if (path / _METRICS).is_file():
        return "stages"
    return "stage" if (path / MODEL).is_file() else None


def _in_stages(root: Path) -> ModelReference:
    best = read_json(root / _METRICS)["best"]
    return _of_phase(root, best, root / best / MODEL)


def _of_phase(root: Path, phase: str, file: Path) -> ModelReference:
    """A file that a phase has left, with what evaluate says of it."""
    if file != root / phase / MODEL or not (root / _CALIBRATION).exists():
        return ModelReference(file, str(file))
    calibration = read_json(root / _CALIBRATION)
    applied, tta = calibration["applied"] and phase in calibration, calibration.get("tta")
    tta = tta and phase in tta and {"kind": tta["kind"], "temperature": tta[phase]}
    return ModelReference(file, str(file), calibration.get(phase), applied, tta=tta or None, root=root)


def _best_run(config: Config) -> ModelReference:
    # What it is compared with takes seconds to import.
    from pipeline.comparison.best import best_experiment

    try:
        best = best_experiment(config)
    except PipelineError as error:
        raise PipelineError(
            f"There is no classifier here yet ({error}); run make repro, or name one: a .keras file, runs:/<id>/model"
        ) from error
    return _logged(f"runs:/{best.run_id}/model", config.tracking)


def _logged(address: str, tracking: TrackingConfig) -> ModelReference:
    from pipeline.tracking import logged_model

    if address.startswith("runs:/") and "/" not in address.removeprefix("runs:/").strip("/"):
        address = f"{address.rstrip('/')}/model"
    return _in_logged(logged_model(tracking, address), address)


def _in_logged(folder: Path, origin: str) -> ModelReference:
    """A classifier as MLflow keeps it. Of its files only the `.keras` archive and the description are read; no code there is run."""
    import yaml

    described = yaml.safe_load((folder / LOGGED).read_text(encoding="utf-8"))
    files = sorted(folder.rglob("*.keras"))
    if len(files) != 1:
        raise PipelineError(f"{origin} was not logged by this pipeline: it holds {len(files)} .keras files")
    calibration = (described.get("metadata") or {}).get("calibration") or {}
    applied = bool(calibration.get("applied"))
    tta, run_id = calibration.get("tta"), described.get("run_id")
    return ModelReference(files[0], origin, calibration.get("temperature"), applied, applied, tta=tta, run_id=run_id)
