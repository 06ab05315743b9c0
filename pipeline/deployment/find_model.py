"""Lookup of a classifier by name, or as the best one of this checkout."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.config import ADDRESSES, Config
from pipeline.system.errors import PipelineError
from pipeline.system.paths import main_checkout
from pipeline.system.terminal import report
from pipeline.system.wording import some
from pipeline.tracking.classifier_files import (
    LOGGED,
    METRICS,
    MODEL,
    ModelReference,
    find_classifier,
    in_stages,
    in_store,
)

# The HDF5 suffixes are recognized as classifiers, so that the error message is about the model file.
_SUFFIXES = (".keras", ".h5", ".hdf5")


def is_model(word: str) -> bool:
    """Return whether a command-line argument names a classifier rather than an image."""
    path = Path(word)
    return (
        word.startswith(ADDRESSES)
        or path.suffix in _SUFFIXES
        or any((path / mark).is_file() for mark in (LOGGED, METRICS, MODEL))
    )


def find_model(name: str | None, config: Config) -> ModelReference:
    """Find a classifier without loading it.

    Args:
        name: Path or address, as in `find_classifier`. None selects the classifier in outputs/, as written by
            `dvc repro`, or else the one recommended by `pipeline.compare --best`.
        config: Configuration with the tracking store in which addresses are looked up.

    Raises:
        PipelineError: There is no such classifier.
    """
    if name is not None:
        return find_classifier(name, config.tracking)
    outputs = main_checkout() / "outputs"
    return in_stages(outputs) if (outputs / METRICS).exists() else _best_run(config)


def _best_run(config: Config) -> ModelReference:
    # Imported here, because the import of pandas and MLflow takes seconds.
    from pipeline.comparison.ranking import best_experiment

    try:
        best = best_experiment(config)
    except PipelineError as error:
        raise PipelineError(
            f"No trained classifier was found ({error}); run make repro, or give a .keras file or runs:/<id>/model"
        ) from error
    return in_store(f"runs:/{best.run_id}/model", config.tracking)


def announce(reference: ModelReference, classes: Sequence[str]) -> None:
    """Print which classifier was found without a name, since it may have other classes than the user's images."""
    path = Path(reference.origin)
    origin = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else reference.origin
    report(f"Classifier: {origin}, with the classes {some(classes)}. Name another as the first argument")
