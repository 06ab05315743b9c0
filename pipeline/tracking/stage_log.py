"""Log the results of a stage to an MLflow run."""

from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import RunTag

from pipeline.config import PHASES
from pipeline.inputs.manifest import MANIFEST, images_digest, read_manifest
from pipeline.storage.files import files_below, read_json
from pipeline.system.paths import lasting
from pipeline.tracking.dataset_inputs import dataset_inputs
from pipeline.tracking.logged_model import log_model
from pipeline.tracking.metric_names import (
    BATCH,
    TABLE,
    as_table,
    charted,
    epoch_metrics,
    metrics_of_now,
    model_metrics,
    reported_epochs,
    stage_metrics,
)
from pipeline.tracking.new_run import RunRecord
from pipeline.tracking.tags import with_stage

# Files of stages that are logged in another form, or are of no use to readers.
_NOT_ARTIFACTS = {"model.keras", "manifest.parquet", "run.json", "speed.json", "summary.md"}
_NOT_ARTIFACTS |= {"headline.json", "predicted_classes.csv", "augmentation.npz", "gallery.npz", "vectors.npz"}


class StageLog:
    """Logger of stages' results to one run; after a failure, logging again only adds what the run lacks."""

    def __init__(self, client: mlflow.MlflowClient, run: RunRecord):
        self._client, self._run, self._run_id = client, run, run.id

    def log(self, folder: Path) -> None:
        """Log the results in a stage's folder, which another run may have computed.

        Raises:
            MlflowException: The store is unreachable.
        """
        stage, root, computed = folder.name, folder.parent, read_json(folder / "run.json")
        figures = {} if stage == "report" else read_json(folder / "metrics.json")
        metrics = stage_metrics(stage, figures)
        logged, tags = charted(metrics) | {f"seconds/{stage}": computed["seconds"]}, dict[str, str]()
        match stage:
            case "prepare":
                tags = self._log_data(folder)
            case "train" | "finetune":
                self._log_epochs(folder / "history.csv")
                tags = self._log_environment(stage, computed["environment"])
            case "evaluate":
                logged |= model_metrics(root, figures["best"])
            case "report":
                self._log_models(root, read_json(root / "finetune" / "metrics.json")["best"])
                # The last stage makes the run complete.
                tags = {"mlflow.note.content": self._note(folder / "summary.md"), "complete": "true"}
        if stage == "finetune":
            tags |= {"best_phase": figures["best"], "unfreeze": figures["unfreeze_rounds"]}
            self._name_depth(figures["unfreeze_rounds"])
        self._log_metrics(logged)
        if metrics:
            self._client.log_text(self._run_id, as_table(metrics), f"{stage}/{TABLE}")
        for file in files_below(folder):
            if file.name not in _NOT_ARTIFACTS:
                place = (Path(stage) / file.relative_to(folder).parent).as_posix()
                self._client.log_artifact(self._run_id, str(file), place)
        tags |= with_stage(self._client.get_run(self._run_id).data.tags, stage, computed["run_id"])
        self._client.log_batch(self._run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _name_depth(self, depth: str) -> None:
        """Put the unfreeze depth into the run's name, since it may have been chosen automatically."""
        name = self._client.get_run(self._run_id).info.run_name
        named = name.replace(f"unfreeze {self._run.unfreeze},", f"unfreeze {depth},")
        if named != name:
            self._client.update_run(self._run_id, name=named)

    def _log_environment(self, stage: str, environment: dict[str, str]) -> dict[str, str]:
        """Log what a training depended on, and return the part of it that people look for as tags."""
        self._client.log_dict(self._run_id, environment, f"{stage}/environment.json")
        return {name: environment[name] for name in ("devices", f"{stage}.precision") if name in environment}

    def _log_epochs(self, history: Path) -> None:
        rows: list[dict[str, float]] = pd.read_csv(history).to_dict("records")  # type: ignore[assignment]
        there = reported_epochs(self._client, self._run_id)
        metrics = [metric for row in rows if row["epoch"] not in there for metric in epoch_metrics(row)]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + BATCH])

    def _log_metrics(self, metrics: dict[str, float]) -> None:
        there = self._client.get_run(self._run_id).data.metrics
        new = {name: value for name, value in metrics.items() if there.get(name) != value}
        self._client.log_batch(self._run_id, metrics=metrics_of_now(new))

    def _note(self, summary: Path) -> str:
        """Return the description of the run in MLflow: a link to the report, and the summary."""
        experiment_id = self._client.get_run(self._run_id).info.experiment_id
        report = f"#/experiments/{experiment_id}/runs/{self._run_id}/artifacts/report/report.html"
        return f"[Report]({report}), data set {self._run.dataset}. {summary.read_text(encoding='utf-8')}"

    def _log_data(self, folder: Path) -> dict[str, str]:
        """Log the images of each split as inputs of the run, and return their digests as tags."""
        prepared = read_manifest(folder)
        place = Path(self._run.images) if self._run.images else lasting(folder / MANIFEST)
        self._client.log_inputs(self._run_id, dataset_inputs(prepared, self._run.dataset, place))
        return {
            "test_data": images_digest(prepared.split("test")),
            "training_data": images_digest(prepared.split("train", "validation")),
        }

    def _log_models(self, root: Path, best: str) -> None:
        """Log the models that `tracking.log_model` selects; the model of the better phase is named "model"."""
        phases = {"best": [best], "all": list(PHASES), "none": []}[self._run.tracking.log_model]
        query = f"source_run_id = '{self._run_id}' AND status = 'READY'"
        experiment_id = self._client.get_run(self._run_id).info.experiment_id
        there = {each.name for each in self._client.search_logged_models([experiment_id], filter_string=query)}
        calibration = read_json(root / "evaluate" / "calibration.json")
        for phase in phases:
            name = "model" if phase == best else f"model_{phase}"
            tta = calibration["tta"] and {"kind": calibration["tta"]["kind"], "temperature": calibration["tta"][phase]}
            if name not in there:
                file, applied = root / phase / "model.keras", calibration["applied"]
                log_model(file, name, temperature=calibration[phase], applied=applied, tta=tta)
