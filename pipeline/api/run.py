"""Results of an experiment: tables, pages and the classifier."""

import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.api.page import Page
from pipeline.api.state import own_state
from pipeline.config import PHASES, Config
from pipeline.config.compose import configuration
from pipeline.deployment.find_model import find_model
from pipeline.stages import STAGES
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve
from pipeline.tracking.tags import FOLDER, internal

if TYPE_CHECKING:
    from pipeline.deployment.classifier import Classifier

_BATCH = 64


class Run:
    """Results of an experiment in a job folder, in outputs/, or in MLflow; create it with `open_run`."""

    def __init__(self, folder: Path | None, run_id: str | None, config: Config):
        self.folder, self.run_id, self._config = folder, run_id, config
        self.address = str(folder or f"runs:/{run_id}")
        """Name of the results for other commands, such as `python -m pipeline.predict`."""

    def __repr__(self) -> str:
        try:
            name, best = self.best, self.metrics[self.best]
        except PipelineError:
            return f"Run({self.address})"
        low, high = best["accuracy_low"], best["accuracy_high"]
        return f"Run({self.address}: {name}, test accuracy {best['accuracy']:.4f} ({low:.4f} to {high:.4f}))"

    def file(self, path: str) -> Path:
        """Return the local path of a stage's file; it is downloaded if only MLflow has it.

        Args:
            path: Stage and name, such as evaluate/per_class.csv.

        Raises:
            PipelineError: The results have no such file.
        """
        if self.folder:
            if (self.folder / path).exists():
                return self.folder / path
            raise PipelineError(f"{self.folder} has no {path}; run the experiment again to compute what is missing")
        with own_state():
            # MLflow takes seconds to import.
            from pipeline.tracking.store import run_artifact

            found = run_artifact(self._config.tracking, str(self.run_id), path)
        if found is None:
            raise PipelineError(
                f"{self.address} has no {path} in MLflow, and its job folder is not on this machine; open it there, or run "
                "the experiment here"
            )
        return found

    @property
    def manifest(self) -> pd.DataFrame:
        """Prepared images: one row per image, with the columns path, label, split and sha256, and its appearance."""
        return pd.read_parquet(self.file("prepare/manifest.parquet"))

    @property
    def history(self) -> pd.DataFrame:
        """Metrics of each epoch, with the column phase; epochs are counted over both phases."""
        tables = {phase: pd.read_csv(self.file(f"{phase}/history.csv")) for phase in PHASES}
        return pd.concat(tables, names=["phase"]).reset_index("phase").reset_index(drop=True)

    @property
    def predictions(self) -> pd.DataFrame:
        """Test images with label, prediction, and probabilities in the order of `classes`."""
        return pd.read_parquet(self.file("evaluate/predictions.parquet"))

    @property
    def metrics(self) -> pd.DataFrame:
        """Test metrics: one row per metric, limits of intervals included, and one column per phase."""
        content = read_json(self.file("evaluate/metrics.json"))
        return pd.json_normalize([content[phase] for phase in PHASES]).T.set_axis(PHASES, axis="columns")

    @property
    def best(self) -> str:
        """Phase that is better on the validation images; `predictions` and `classifier` are of this phase."""
        return read_json(self.file("evaluate/metrics.json"))["best"]

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return read_json(self.file("prepare/classes.json"))

    @cached_property
    def classifier(self) -> "Classifier":
        """Classifier of the better phase; it is loaded once, which imports TensorFlow.

        Raises:
            PipelineError: The results have no classifier.
        """
        with own_state():
            reference = find_model(self.address, self._config)
        from pipeline.deployment.classifier import load

        return load(reference)

    def predict(self, images: str | Path | Iterable[str | Path], *, top: int = 1) -> pd.DataFrame:
        """Predict the classes of image files, as `python -m pipeline.predict` does.

        Args:
            images: Files, folders, and glob patterns.
            top: Number of most probable classes per image, at least 1.

        Returns:
            One row per image, with the columns path, class, probability, error and calibrated, and for further classes
            class_2, probability_2 and so on. The error of an unreadable file is in its row.

        Raises:
            PipelineError: The results have no classifier.
        """
        classifier = self.classifier
        from pipeline.deployment.prediction_rows import row_columns, row_of
        from pipeline.deployment.predictions import PassedOver, expand_paths, predict

        words = [images] if isinstance(images, str | Path) else images
        passed_over = PassedOver()
        batches = predict(expand_paths(map(str, words), passed_over), classifier, _BATCH)
        rows = [row_of(each, classifier.classes, top) for batch in batches for each in batch]
        for line in passed_over.lines():
            print(line, file=sys.stderr)
        return pd.DataFrame(rows, columns=row_columns(classifier.classes, top))

    def page(self, name: str = "report") -> Page:
        """Return a page of stage report, which a notebook shows in a cell: report, duplicates or label_issues.

        Raises:
            PipelineError: The results have no such page.
        """
        return Page(self.file(f"report/{name}.html"))


def open_run(name: str | Path | None = None, *, overrides: Sequence[str] = ()) -> Run:
    """Open the results of an experiment.

    Args:
        name: Folder of a job, or outputs/, relative to the checkout; or the id of a run in MLflow, the first characters
            of it, or the name of the run. None: the results in outputs/, or else the run that
            `python -m pipeline.compare --best` recommends.
        overrides: Overrides of the configuration, such as "tracking.uri=http://host:5000".

    Raises:
        PipelineError: There are no such results, or the configuration is invalid.
    """
    with own_state():
        config = configuration(overrides)
        if name is None:
            best = find_model(None, config)
            name = best.root or f"runs:/{best.run_id}"
        folder = resolve(name)
        if any((folder / stage).is_dir() for stage in STAGES):
            return Run(folder, _logged_as(folder), config)
        return _logged(str(name), config)


def _logged(name: str, config: Config) -> Run:
    """Open a run in MLflow; tables that MLflow does not have come from its job folder, where that still exists."""
    # MLflow takes seconds to import.
    from pipeline.comparison.experiments import find
    from pipeline.deployment.reproduction import find_run

    experiments = find(config.tracking)
    try:
        run = next((each for each in experiments if each.name == name), None) or find_run(name, experiments)
    except PipelineError as error:
        raise PipelineError(f"{resolve(name)} has no results of stages, and {error}") from error
    folder = internal(run.tags, FOLDER)
    there = bool(folder) and _logged_as(Path(folder)) == run.run_id
    return Run(Path(folder) if there else None, run.run_id, config)


def _logged_as(folder: Path) -> str | None:
    """Return the id of the run to which the results in a folder were logged; None before stage report."""
    file = folder / "report" / "run.json"
    return read_json(file)["run_id"] if file.exists() else None
