"""Find a classifier by a path, by an address in MLflow, or as the best of this checkout."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config, TrackingConfig
from pipeline.storage.files import Json, read_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import main_checkout

ADDRESSES = ("runs:/", "models:/")
MODEL, LOGGED = "model.keras", "MLmodel"
# The older ones name classifiers too, and are refused as such.
_SUFFIXES = (".keras", ".h5", ".hdf5")
_METRICS, _CALIBRATION = Path("evaluate/metrics.json"), Path("evaluate/calibration.json")


@dataclass(frozen=True)
class Calibration:
    """Temperature of a classifier's probabilities."""

    temperature: float | None = None
    """Fitted on validation; None where it is not known."""
    applied: bool = False
    """Whether the classifier's probabilities are at the temperature."""
    in_weights: bool = False
    """Whether the file's weights include the temperature already, as those logged to MLflow do."""
    tta: Json | None = None
    """Kind of the test-time augmentation that it was evaluated with, and the temperature of its mean; None for none."""


@dataclass(frozen=True)
class ModelReference:
    """A classifier's file, and what is known beside it."""

    file: Path
    origin: str
    """Its origin, for people."""
    calibration: Calibration = Calibration()
    root: Path | None = None
    """Folder of the stages' folders, if the file is in one."""
    run_id: str | None = None
    """The MLflow run that logged it."""


def is_model(word: str) -> bool:
    """Return whether a word of the command line names a classifier rather than an image."""
    path = Path(word)
    return (
        word.startswith(ADDRESSES)
        or path.suffix in _SUFFIXES
        or any((path / mark).is_file() for mark in (LOGGED, _METRICS, MODEL))
    )


def find_model(name: str | None, config: Config) -> ModelReference:
    """Find a classifier, without loading it.

    Args:
        name: a `.keras` file, a folder of a stage or of all stages, or MLflow's `runs:/` or `models:/`. None for the
            best one of this checkout: in outputs/ as `dvc repro` leaves it, else what `pipeline.compare --best` names.
        config: of this checkout; its tracking store is where addresses are looked up.

    Raises:
        PipelineError: there is none.
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
            f"{name!r} is not a classifier; give a .keras file, a folder that holds one, runs:/<id>/model, "
            "models:/<name>@<alias>, or nothing"
        )
    return _in_stage(path.absolute())


def _in_stages(root: Path) -> ModelReference:
    return _in_stage(root / read_json(root / _METRICS)["best"] / MODEL)


def _in_stage(file: Path) -> ModelReference:
    """Refer to a phase's file, with the calibration that stage evaluate found."""
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
    # Comparing loads pandas and MLflow, which takes seconds.
    from pipeline.comparison.ranking import best_experiment

    try:
        best = best_experiment(config)
    except PipelineError as error:
        raise PipelineError(
            f"There is no classifier here yet ({error}); run make repro, or name one: a .keras file, runs:/<id>/model"
        ) from error
    return _in_store(f"runs:/{best.run_id}/model", config.tracking)


def _in_store(address: str, tracking: TrackingConfig) -> ModelReference:
    from pipeline.tracking.store import logged_model

    if address.startswith("runs:/") and "/" not in address.removeprefix("runs:/").strip("/"):
        address = f"{address.rstrip('/')}/model"
    return _in_logged(logged_model(tracking, address), address)


def _in_logged(folder: Path, origin: str) -> ModelReference:
    """Refer to a classifier in MLflow's folder; its archive and its description are read, and no code there is run."""
    import yaml

    description = yaml.safe_load((folder / LOGGED).read_text(encoding="utf-8"))
    files = sorted(folder.rglob("*.keras"))
    if len(files) != 1:
        raise PipelineError(
            f"{origin} was not logged by this pipeline: it holds {len(files)} .keras files, expected one"
        )
    logged = (description.get("metadata") or {}).get("calibration") or {}
    applied = bool(logged.get("applied"))
    calibration = Calibration(logged.get("temperature"), applied, in_weights=applied, tta=logged.get("tta"))
    return ModelReference(files[0], origin, calibration, run_id=description.get("run_id"))


def run_of(reference: ModelReference) -> str | None:
    """The MLflow run that a classifier belongs to; None where no run is known.

    Of a folder of stages it is the run that the last stage computed; older folders have no stage report.
    """
    if reference.root is None:
        return reference.run_id
    files = [reference.root / stage / "run.json" for stage in ("report", "evaluate")]
    return next((read_json(file)["run_id"] for file in files if file.exists()), None)
