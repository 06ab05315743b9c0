"""Log the results of a stage to an MLflow run."""

from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import RunTag

from pipeline.config import PHASES
from pipeline.inputs.manifest import images_digest, read_manifest
from pipeline.storage.files import file_sha256, files_below, read_json
from pipeline.system.paths import lasting
from pipeline.tracking.logged_model import log_model
from pipeline.tracking.metric_names import (
    BATCH,
    epoch_metrics,
    metrics_of_now,
    model_metrics,
    reported_epochs,
    stage_metrics,
)
from pipeline.tracking.new_run import RunRecord

# Files of stages that are logged in another form, or are of no use to readers.
_NOT_ARTIFACTS = {"model.keras", "manifest.parquet", "run.json", "speed.json", "summary.md"}
_NOT_ARTIFACTS |= {"headline.json", "predicted_classes.csv", "augmentation.npz", "gallery.npz"}


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
        metrics, tags = stage_metrics(stage, figures), {f"{stage}.computed_by": computed["run_id"]}
        match stage:
            case "prepare":
                self._log_data(folder / "manifest.parquet")
            case "train" | "finetune":
                self._log_epochs(folder / "history.csv")
                tags |= computed["environment"]
            case "evaluate":
                metrics |= model_metrics(root, figures["best"])
            case "report":
                self._log_models(root, read_json(root / "finetune" / "metrics.json")["best"])
                # The last stage makes the run complete.
                tags |= {"mlflow.note.content": self._note(folder / "summary.md"), "complete": "true"}
        if stage == "finetune":
            depth = figures["unfreeze_rounds"]
            # The depth may have been chosen automatically, so it is not known before.
            self._client.update_run(self._run_id, name=self._run.name(depth))
            tags |= {"best_phase": figures["best"], "unfreeze": depth}
        self._log_metrics(metrics | {f"seconds/{stage}": computed["seconds"]})
        for file in files_below(folder):
            if file.name not in _NOT_ARTIFACTS:
                place = (Path(stage) / file.relative_to(folder).parent).as_posix()
                self._client.log_artifact(self._run_id, str(file), place)
        self._client.log_batch(self._run_id, tags=[RunTag(name, value) for name, value in tags.items()])

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
        return f"[Report]({report}). {summary.read_text(encoding='utf-8')}"

    def _log_data(self, manifest: Path) -> None:
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.data.sources import LocalArtifactDatasetSource

        source, digest = LocalArtifactDatasetSource(str(lasting(manifest))), file_sha256(manifest)[:36]
        mlflow.log_input(MetaDataset(source, name=self._run.dataset, digest=digest), context="training")
        prepared = read_manifest(manifest.parent)
        self._client.set_tag(self._run_id, "test_data", images_digest(prepared.split("test")))
        self._client.set_tag(self._run_id, "training_data", images_digest(prepared.split("train", "validation")))

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
