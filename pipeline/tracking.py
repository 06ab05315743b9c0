"""All that is said to MLflow: one run an experiment, found by its key, which the stages log into in turn."""

import hashlib
import logging
import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from getpass import getuser
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Usage telemetry stays off unless somebody wants it; MLflow reads this when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# A bar for each small file that is read.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from omegaconf import OmegaConf

from pipeline import leaderboard
from pipeline.checkout import CODE, main_checkout, resolve
from pipeline.config import BESIDE, Config, TrackingConfig
from pipeline.data.manifest import pictures_digest, read_manifest
from pipeline.errors import DivergedError, PipelineError
from pipeline.files import file_sha256, read_json
from pipeline.identity import LOCKS
from pipeline.interruption import interrupted, undisturbed

log = logging.getLogger(__name__)
# Two lines at the start and end of every stage that say nothing.
logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)

# Files of a stage that MLflow gets in another form, or that hold nothing to look at.
_NOT_ARTIFACTS = {"model.keras", "manifest.parquet", "metrics.json", "run.json", "speed.json", "summary.md"}
_EPOCH_METRICS = {
    "loss": "training/loss",
    "accuracy": "training/accuracy",
    "val_loss": "validation/loss",
    "val_accuracy": "validation/accuracy",
}
# What a logged model takes to be loaded: hydra-core for this package's errors.
_SERVING = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "Pillow", "hydra-core")
# What one call of log_batch takes.
_BATCH = {"metrics": 1000, "params": 100}


class ExperimentRun:
    """The MLflow run of one experiment, as one stage sees it."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str, key: str, config: Config):
        self.run_id, self.key = run_id, key
        self._client, self._config = client, config
        self._reported: set[int] = set()

    def report_epoch(self, row: dict[str, float]) -> None:
        """Log an epoch's figures at once; see `pipeline.training.epochs.Row`. A store that is away for a while does not end a training."""
        try:
            with undisturbed():
                self._client.log_batch(self.run_id, metrics=_epoch_metrics(row))
            self._reported.add(row["epoch"])
        except MlflowException as error:
            log.warning("Epoch %d could not be logged, and is again at the stage's end: %s", row["epoch"], error)

    def log_stage(self, folder: Path) -> None:
        """Log the files that a stage has left in `folder`, whichever run computed them."""
        stage = folder.name
        figures, computed = read_json(folder / "metrics.json"), read_json(folder / "run.json")
        metrics = _stage_metrics(stage, figures) | {f"seconds/{stage}": computed["seconds"]}
        if stage == "evaluate":
            metrics |= _model_metrics(folder.parent, figures["best"])
        history = folder / "history.csv"
        if history.exists():
            rows = pd.read_csv(history).to_dict("records")
            epochs = [metric for row in rows if row["epoch"] not in self._reported for metric in _epoch_metrics(row)]
            for start in range(0, len(epochs), _BATCH["metrics"]):
                self._client.log_batch(self.run_id, metrics=epochs[start : start + _BATCH["metrics"]])
        self._client.log_batch(
            self.run_id,
            metrics=[
                Metric(name, value, mlflow.utils.time.get_current_time_millis(), 0) for name, value in metrics.items()
            ],
        )
        for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in _NOT_ARTIFACTS):
            self._client.log_artifact(
                self.run_id, str(file), (Path(stage) / file.relative_to(folder).parent).as_posix()
            )
        if (folder / "manifest.parquet").exists():
            self._log_data(folder / "manifest.parquet")
        if "best" in figures:
            self._client.set_tag(self.run_id, "best_phase", figures["best"])
        if stage == "evaluate":
            self._log_models(folder.parent, figures["best"])
        if (folder / "summary.md").exists():
            self._client.set_tag(self.run_id, "mlflow.note.content", self._note(folder / "summary.md"))
        tags = {f"{stage}.computed_by": computed["run_id"]}
        if (folder / "model.keras").exists():
            # Where it was trained; where it was evaluated stands in that stage's run.json.
            tags |= computed["environment"]
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        if stage == "evaluate":
            self._client.set_tag(self.run_id, "complete", "true")

    def _note(self, summary: Path) -> str:
        """What the run's page says first: the summary, and the way to the report."""
        experiment_id = self._client.get_run(self.run_id).info.experiment_id
        report = f"#/experiments/{experiment_id}/runs/{self.run_id}/artifacts/evaluate/report.html"
        return f"[Report]({report}). {summary.read_text(encoding='utf-8')}"

    def _log_data(self, manifest: Path) -> None:
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.data.sources import LocalArtifactDatasetSource

        dataset = MetaDataset(
            LocalArtifactDatasetSource(str(manifest.resolve())),
            name=self._config.dataset.name,
            digest=file_sha256(manifest)[:36],
        )
        mlflow.log_input(dataset, context="training")
        prepared = read_manifest(manifest.parent)
        self._client.set_tag(self.run_id, "test_data", pictures_digest(prepared.split("test")))
        self._client.set_tag(self.run_id, "training_data", pictures_digest(prepared.split("train", "validation")))

    def _log_models(self, root: Path, best: str) -> None:
        """Log the models that `tracking.log_model` asks for; the best one is called "model"."""
        phases = {"best": [best], "all": ["train", "finetune"], "none": []}[self._config.tracking.log_model]
        calibration = read_json(root / "evaluate" / "calibration.json")
        for phase in phases:
            name = "model" if phase == best else f"model_{phase}"
            tta = calibration["tta"] and {"kind": calibration["tta"]["kind"], "temperature": calibration["tta"][phase]}
            log_model(root / phase / "model.keras", name, calibration[phase], calibration["applied"], tta)


@contextmanager
def open_run(config: Config, key: str, stage: str, root: Path, inputs: tuple[str, ...]) -> Iterator[ExperimentRun]:
    """The experiment's run, open while a stage works; what other runs computed of its `inputs` is filled in from their files.

    The run is the experiment's latest one, unless that is complete, or has begun this stage before: a forced repeat is a new run.
    It ends as FINISHED, FAILED, or KILLED where it was interrupted.

    Raises:
        PipelineError: the tracking store can't be used.
    """
    try:
        client, experiment_id = connect(config.tracking)
        run_id = _find(client, experiment_id, key, stage) or _create(client, experiment_id, key, config)
        _offer_views(client, experiment_id)
        client.set_tag(run_id, f"{stage}.computed_by", "begun")
        interval = config.tracking.system_metrics_interval
        mlflow.set_system_metrics_sampling_interval(interval)
        mlflow.start_run(run_id=run_id, log_system_metrics=interval is not None)
    except MlflowException as error:
        raise PipelineError(f"tracking: the store {store_uri(config.tracking)} can't be used: {error}") from error
    run = ExperimentRun(client, run_id, key, config)
    status = "FINISHED"
    try:
        tags = client.get_run(run_id).data.tags
        for name in inputs:
            if f"{name}.computed_by" not in tags:
                run.log_stage(root / name)
        yield run
    except BaseException as error:
        status = "KILLED" if interrupted() or isinstance(error, KeyboardInterrupt) else "FAILED"
        if isinstance(error, DivergedError):
            client.set_tag(run_id, "diverged", str(error))
        raise
    finally:
        with undisturbed():
            mlflow.end_run(status)


def connect(tracking: TrackingConfig) -> tuple[mlflow.MlflowClient, str]:
    """A client of the store, which is initialised first, and the id of the experiment to log to, made where it is missing.

    Raises:
        MlflowException: the store can't be used.
        PipelineError: somebody deleted the experiment.
    """
    uri = store_uri(tracking)
    mlflow.set_tracking_uri(uri)
    local = uri.startswith("sqlite:///")
    database = Path(uri.removeprefix("sqlite:///")) if local else main_checkout() / "mlflow.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    # Processes that open a new database at the same time break it for good, and making a client is opening it.
    with FileLock(f"{database}.lock"):
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name(tracking.experiment)
        if experiment is None:
            artifacts = (database.parent / "mlartifacts").as_uri() if local else None
            # The UI then shows what belongs to model training.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return client, client.create_experiment(tracking.experiment, artifacts, tags)
    if experiment.lifecycle_stage == "deleted":
        raise PipelineError(
            f"tracking.experiment: {tracking.experiment!r} was deleted in MLflow; restore it there, or choose another name"
        )
    return client, experiment.experiment_id


def complete_runs(tracking: TrackingConfig, query: str | None = None) -> list[Run]:
    """The complete experiments in the store, as MLflow has them, the latest first; those that MLflow's filter `query` finds.

    Raises:
        PipelineError: the store can't be used, or the filter is none.
    """
    conditions = "tags.complete = 'true'" + (f" and {query}" if query else "")
    try:
        client, experiment_id = connect(tracking)
        found, token = [], None
        while token is None or token:
            page = client.search_runs([experiment_id], conditions, max_results=1000, page_token=token)
            found += page
            token = page.token or ""
    except MlflowException as error:
        raise PipelineError(f"tracking: {store_uri(tracking)} can't be asked for runs: {error}") from error
    return found


def artifact(place: str, path: str) -> Path | None:
    """An artifact of the run whose artifacts lie at `place`, on this machine, downloaded where they lie elsewhere; None where there is no such one."""
    try:
        # By its address: each look-up of a run makes a client.
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{place}/{path}"))
    except (MlflowException, OSError):
        return None


def run_metrics(run_id: str) -> dict[str, float]:
    """The last value of each of a run's metrics."""
    return mlflow.get_run(run_id).data.metrics


def run_artifact(tracking: TrackingConfig, run_id: str, path: str) -> Path | None:
    """As `artifact`, of a run in the configured store."""
    try:
        connect(tracking)
    except MlflowException as error:
        raise PipelineError(f"tracking: the store {store_uri(tracking)} can't be used: {error}") from error
    return artifact(f"runs:/{run_id}", path)


def log_exports(tracking: TrackingConfig, run_id: str, results: dict[str, dict[str, Any]]) -> None:
    """Add what was found of a model's exports to its run: `export/<format>/size_mib` and the like. A run that is gone is said, not an error."""
    try:
        client, _ = connect(tracking)
        now = mlflow.utils.time.get_current_time_millis()
        named = {f"export/{name}": value for name, value in _flat(results) if value is not None}
        metrics = [Metric(name.replace(".", "/"), float(value), now, 0) for name, value in named.items()]
        client.log_batch(run_id, metrics=metrics)
    except MlflowException as error:
        log.warning("The exports' figures could not be logged to run %s: %s", run_id, error)


def log_rate_range(config: Config, folder: Path, figures: dict[str, Any]) -> None:
    """Log a rate range test as a run of its own, beside the experiments: its curve, its files, and what it suggests.

    Raises:
        PipelineError: the store can't be used.
    """
    try:
        client, experiment_id = connect(config.tracking)
        name = f"find_lr {config.backbone.name} {figures['phase']}"
        tags = {"role": "find_lr", "mlflow.source.name": "pipeline.find_lr", "mlflow.user": getuser(), **_origin()}
        run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        now = mlflow.utils.time.get_current_time_millis()
        metrics = [Metric(f"find_lr/{key}", figures[key], now, 0) for key in ("suggested", "configured")]
        for step, row in enumerate(pd.read_csv(folder / "rates.csv").to_dict("records"), start=1):
            metrics += [Metric(f"find_lr/{key}", value, now, step) for key, value in row.items()]
        for start in range(0, len(metrics), _BATCH["metrics"]):
            client.log_batch(run_id, metrics=metrics[start : start + _BATCH["metrics"]])
        client.log_text(run_id, OmegaConf.to_yaml(OmegaConf.create(asdict(config))), "config.yaml")
        client.log_artifacts(run_id, str(folder), "find_lr")
        client.set_terminated(run_id)
    except MlflowException as error:
        raise PipelineError(f"tracking: the store {store_uri(config.tracking)} can't be used: {error}") from error


def logged_model(tracking: TrackingConfig, address: str) -> Path:
    """The folder of a logged or registered model on this machine, downloaded where the store is elsewhere.

    Args:
        tracking: the store.
        address: `runs:/<id>/<name>` or `models:/<name>@<alias>`, as MLflow writes them.

    Raises:
        PipelineError: the store can't be used, or has no such model.
    """
    try:
        connect(tracking)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=address))
    except (MlflowException, OSError) as error:
        raise PipelineError(f"{address}: {store_uri(tracking)} has no such model ({error})") from error


def store_uri(tracking: TrackingConfig) -> str:
    """Where runs are logged: `tracking.uri`, else MLFLOW_TRACKING_URI, else the main checkout's mlflow.db."""
    uri = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    # A relative path would mean another place in each working folder, also in one that DVC throws away.
    return f"sqlite:///{resolve(uri.removeprefix('sqlite:///'))}" if uri.startswith("sqlite:///") else uri


def _offer_views(client: mlflow.MlflowClient, experiment_id: str) -> None:
    """Store what the list of runs looks best in; see `pipeline.leaderboard`."""
    there = client.get_experiment(experiment_id).tags
    for key, value in leaderboard.tags().items():
        if there.get(key) != value:
            client.set_experiment_tag(experiment_id, key, value)


def _find(client: mlflow.MlflowClient, experiment_id: str, key: str, stage: str) -> str | None:
    """The experiment's latest run, if this stage may log into it."""
    query = f"tags.role = 'experiment' and tags.experiment_key = '{key}'"
    found = client.search_runs([experiment_id], query, order_by=["attributes.start_time DESC"], max_results=1)
    if not found or "complete" in found[0].data.tags or f"{stage}.computed_by" in found[0].data.tags:
        return None
    return found[0].info.run_id


def _create(client: mlflow.MlflowClient, experiment_id: str, key: str, config: Config) -> str:
    name = f"{config.backbone.name} {Path(config.dataset.path).name if config.dataset.path else config.dataset.name} {config.finetune.unfreeze} {key[:6]}"
    tags = {
        "role": "experiment",
        "experiment_key": key,
        "mlflow.source.name": "pipeline",
        "mlflow.user": getuser(),
        **_origin(),
    }
    run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
    settings = {name: value for name, value in asdict(config).items() if name not in ("tracking", *BESIDE)}
    params = [Param(name, str(value)) for name, value in _flat(settings) if value is not None]
    for start in range(0, len(params), _BATCH["params"]):
        client.log_batch(run_id, params=params[start : start + _BATCH["params"]])
    client.log_text(run_id, OmegaConf.to_yaml(OmegaConf.create(asdict(config))), "config.yaml")
    return run_id


def _origin() -> dict[str, str]:
    """What it takes to come back to this code: commit, whether anything was changed since, locks, and the sweep that the job belongs to."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    tags = {
        "git_commit": commit,
        "mlflow.source.git.commit": commit,
        "git_dirty": str(bool(changes)).lower() if commit else "",
    }
    tags |= {
        f"{lock.stem.replace('requirements', 'lock').replace('-', '_')}_sha256": file_sha256(lock)
        for lock in LOCKS
        if lock.exists()
    }
    # The one in the folder is half-written while stages run.
    committed = _git("show", "HEAD:dvc.lock")
    tags["dvc_lock_sha256"] = hashlib.sha256(f"{committed}\n".encode()).hexdigest() if committed else ""
    tags["sweep"] = os.environ.get("PIPELINE_SWEEP", "")
    return {name: value for name, value in tags.items() if value}


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=CODE, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _flat(settings: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _epoch_metrics(row: dict[str, float]) -> list[Metric]:
    now, step = mlflow.utils.time.get_current_time_millis(), int(row["epoch"])
    named = {name: row[column] for column, name in _EPOCH_METRICS.items()} | {"learning_rate": row["learning_rate"]}
    return [Metric(name, value, now, step) for name, value in named.items()]


def _stage_metrics(stage: str, figures: dict) -> dict[str, float]:
    """A stage's metrics.json under MLflow's names: `prepare/images`, `test/accuracy` for the best phase, `test/train/accuracy` for each."""
    if stage == "evaluate":
        phases = {phase: values for phase, values in figures.items() if isinstance(values, dict)}
        return {f"test/{name.replace('.', '/')}": value for name, value in _flat(figures[figures["best"]] | phases)}
    if stage == "prepare":
        # What there is of each class is in the plots: thousands of numbers, under names that MLflow may not take.
        told = {name: value for name, value in figures.items() if name not in ("class_counts", "class_shares")}
        return {f"prepare/{name.replace('.', '/')}": value for name, value in _flat(told)}
    # The rest of a phase's figures stands in its epochs, or in its parameters.
    phase = {"kept_epoch", "val_loss", "val_accuracy", "trainable_parameters"}
    return {
        f"{stage}/{name}": value for name, value in figures.items() if isinstance(value, int | float) and name in phase
    }


def _model_metrics(root: Path, best: str) -> dict[str, float]:
    """What the better phase's model takes: parameters that were trained, size, time for a prediction; and all training, as it ran."""
    return {
        "model/trainable_parameters": read_json(root / best / "metrics.json")["trainable_parameters"],
        "model/size_mib": (root / best / "model.keras").stat().st_size / 2**20,
        "model/prediction_milliseconds": read_json(root / "evaluate" / "speed.json")["prediction_milliseconds"],
        "model/training_seconds": sum(
            read_json(root / phase / "run.json")["seconds"] for phase in ("train", "finetune")
        ),
    }


def log_model(file: Path, name: str, temperature: float, applied: bool, tta: dict[str, Any] | None = None) -> None:
    """Log a saved classifier as what takes files' bytes and gives classes; its logits divided by the temperature where that is `applied`.

    `tta`: see `pipeline.models.description.describe`.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType, Map

    from pipeline.models.archive import load_classifier, save_classifier
    from pipeline.models.description import describe
    from pipeline.models.temperature import cool

    model, classes = load_classifier(file)
    if applied:
        cool(model, temperature)
    outputs = [ColSpec("string", "class"), ColSpec("double", "probability"), ColSpec(Map("double"), "probabilities")]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # To try one MLflow would load the model again.
        warnings.filterwarnings("ignore", message=".*An input example was not provided")
        save_classifier(model, classes, Path(folder) / "model.keras")
        mlflow.pyfunc.log_model(
            name=name,
            # By name: what is pickled could not be trusted.
            loader_module="pipeline.deployment.serving",
            data_path=str(Path(folder) / "model.keras"),
            code_paths=[str(CODE / "pipeline")],
            signature=ModelSignature(Schema([ColSpec(AnyType(), "image")]), Schema(outputs)),
            pip_requirements=[f"{package}=={version(package)}" for package in _SERVING],
            metadata=describe(classes, model.inputs[0].shape[1], temperature, applied, tta),
        )
