"""Log a stage's files to a run in MLflow."""

from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Metric, RunTag

from pipeline.config import PHASES
from pipeline.inputs.manifest import images_digest, read_manifest
from pipeline.storage.files import Json, file_sha256, files_below, read_json
from pipeline.tracking.logged_model import log_model
from pipeline.tracking.metric_names import BATCH, epoch_metrics, model_metrics, stage_metrics
from pipeline.tracking.new_run import RunRecord

_Logged = tuple[dict[str, float], dict[str, str]]
"""Metrics and tags that a stage adds to its run."""

# Files of a stage that MLflow has in another form, or that nobody would open.
_NOT_ARTIFACTS = {"model.keras", "manifest.parquet", "metrics.json", "run.json", "speed.json", "summary.md"}
_NOT_ARTIFACTS |= {"augmentation.npz", "gallery.npz"}


class StageLog:
    """Logs stages' files to one run, as often as it takes to succeed: what the run has is not logged again."""

    def __init__(self, client: mlflow.MlflowClient, run: RunRecord):
        self._client, self._run, self._run_id = client, run, run.id

    def reported_epochs(self) -> set[int]:
        """Epochs whose figures the run has."""
        return {metric.step for metric in self._client.get_metric_history(self._run_id, "training/loss")}

    def log(self, folder: Path) -> None:
        """Log the files in a stage's folder, whichever run computed them.

        Raises:
            MlflowException: the store is away.
        """
        stage, computed = folder.name, read_json(folder / "run.json")
        log_stage = {
            "prepare": self._log_prepare,
            "train": self._log_training,
            "finetune": self._log_finetune,
            "evaluate": self._log_evaluate,
            "report": self._log_report,
        }[stage]
        metrics, tags = log_stage(folder, computed)
        self._log_metrics(metrics | {f"seconds/{stage}": computed["seconds"]})
        for file in files_below(folder):
            if file.name not in _NOT_ARTIFACTS:
                place = (Path(stage) / file.relative_to(folder).parent).as_posix()
                self._client.log_artifact(self._run_id, str(file), place)
        tags = {f"{stage}.computed_by": computed["run_id"]} | tags
        self._client.log_batch(self._run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _log_prepare(self, folder: Path, _computed: Json) -> _Logged:
        self._log_data(folder / "manifest.parquet")
        return stage_metrics("prepare", read_json(folder / "metrics.json")), {}

    def _log_training(self, folder: Path, computed: Json) -> _Logged:
        self._log_epochs(folder / "history.csv")
        return stage_metrics(folder.name, read_json(folder / "metrics.json")), computed["environment"]

    def _log_finetune(self, folder: Path, computed: Json) -> _Logged:
        metrics, tags = self._log_training(folder, computed)
        figures = read_json(folder / "metrics.json")
        depth = figures["unfreeze_rounds"]
        # The configuration may have left the depth to a rule.
        self._client.update_run(self._run_id, name=self._run.name(depth))
        return metrics, tags | {"best_phase": figures["best"], "unfreeze": depth}

    def _log_evaluate(self, folder: Path, _computed: Json) -> _Logged:
        figures = read_json(folder / "metrics.json")
        return stage_metrics("evaluate", figures) | model_metrics(folder.parent, figures["best"]), {}

    def _log_report(self, folder: Path, _computed: Json) -> _Logged:
        """Log the last stage, which makes the run complete."""
        root = folder.parent
        self._log_models(root, read_json(root / "finetune" / "metrics.json")["best"])
        return {}, {"mlflow.note.content": self._note(folder / "summary.md"), "complete": "true"}

    def _log_epochs(self, history: Path) -> None:
        rows: list[dict[str, float]] = pd.read_csv(history).to_dict("records")  # type: ignore[assignment]
        there = self.reported_epochs()
        metrics = [metric for row in rows if row["epoch"] not in there for metric in epoch_metrics(row)]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + BATCH])

    def _log_metrics(self, metrics: dict[str, float]) -> None:
        there, now = self._client.get_run(self._run_id).data.metrics, mlflow.utils.time.get_current_time_millis()
        new = {name: value for name, value in metrics.items() if there.get(name) != value}
        self._client.log_batch(self._run_id, metrics=[Metric(name, value, now, 0) for name, value in new.items()])

    def _note(self, summary: Path) -> str:
        """Text at the top of the run's page: the summary, and a link to the report."""
        experiment_id = self._client.get_run(self._run_id).info.experiment_id
        report = f"#/experiments/{experiment_id}/runs/{self._run_id}/artifacts/report/report.html"
        return f"[Report]({report}). {summary.read_text(encoding='utf-8')}"

    def _log_data(self, manifest: Path) -> None:
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.data.sources import LocalArtifactDatasetSource

        dataset = MetaDataset(
            LocalArtifactDatasetSource(str(manifest.resolve())),
            name=self._run.dataset,
            digest=file_sha256(manifest)[:36],
        )
        mlflow.log_input(dataset, context="training")
        prepared = read_manifest(manifest.parent)
        self._client.set_tag(self._run_id, "test_data", images_digest(prepared.split("test")))
        self._client.set_tag(self._run_id, "training_data", images_digest(prepared.split("train", "validation")))

    def _log_models(self, root: Path, best: str) -> None:
        """Log the models that `tracking.log_model` names; the best one is called "model"."""
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
