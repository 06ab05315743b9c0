"""A learning-rate range test, as a run of its own beside the experiments."""

from dataclasses import asdict
from getpass import getuser
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from omegaconf import OmegaConf

from pipeline.config import Config
from pipeline.storage.files import Json
from pipeline.tracking.metric_names import BATCH
from pipeline.tracking.new_run import origin
from pipeline.tracking.store import connect, unusable


def log_rate_range(config: Config, folder: Path, figures: Json) -> None:
    """Log a learning-rate range test.

    Args:
        config: of the experiment.
        folder: the test's files; its curve is in rates.csv.
        figures: `phase`, and the rates `suggested` and `configured`.

    Raises:
        PipelineError: the store can't be used.
    """
    try:
        client, experiment_id = connect(config.tracking)
        name = f"find_lr {config.backbone.name} {figures['phase']}"
        tags = {"role": "find_lr", "mlflow.source.name": "pipeline.find_lr", "mlflow.user": getuser(), **origin()}
        run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        now = mlflow.utils.time.get_current_time_millis()
        metrics = [Metric(f"find_lr/{key}", figures[key], now, 0) for key in ("suggested", "configured")]
        for step, row in enumerate(pd.read_csv(folder / "rates.csv").to_dict("records"), start=1):
            metrics += [Metric(f"find_lr/{key}", value, now, step) for key, value in row.items()]
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        client.log_text(run_id, OmegaConf.to_yaml(OmegaConf.create(asdict(config))), "config.yaml")
        client.log_artifacts(run_id, str(folder), "find_lr")
        client.set_terminated(run_id)
    except MlflowException as error:
        raise unusable(config.tracking, error) from error
