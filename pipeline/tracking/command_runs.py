"""Create MLflow runs for the results of commands that run no experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.config import Config
from pipeline.storage.files import Json
from pipeline.tracking.metric_names import BATCH, metrics_of_now
from pipeline.tracking.names import dataset_name
from pipeline.tracking.new_run import log_config
from pipeline.tracking.origin import origin
from pipeline.tracking.store import connect, unusable


def log_rate_range(config: Config, folder: Path, figures: Json) -> None:
    """Log a learning-rate range test.

    Args:
        config: Configuration of the experiment.
        folder: Folder of the test's files, with the curve in rates.csv.
        figures: `phase`, and the learning rates `suggested` (may be None), `lowest` and `configured`.

    Raises:
        PipelineError: The store can't be used.
    """
    known = {key: figures[key] for key in ("suggested", "lowest", "configured") if figures[key] is not None}
    metrics = metrics_of_now({f"find_lr/{key}": value for key, value in known.items()})
    for step, row in enumerate(pd.read_csv(folder / "rates.csv").to_dict("records"), start=1):
        metrics += metrics_of_now({f"find_lr/{key}": value for key, value in row.items()}, step)
    name = f"{config.backbone.name} {dataset_name(config.dataset)}, {figures['phase']}"
    _log("find_lr", name, config, metrics=metrics, files=sorted(folder.iterdir()))


def log_probe(config: Config, values: Mapping[str, float], files: Sequence[Path]) -> None:
    """Log the probe of several backbones.

    Args:
        config: Configuration of the command.
        values: Metrics by name.
        files: Files to log as artifacts.

    Raises:
        PipelineError: The store can't be used.
    """
    _log("probe", dataset_name(config.dataset), config, metrics=metrics_of_now(values), files=files)


def _log(command: str, name: str, config: Config, *, metrics: Sequence[Metric], files: Sequence[Path]) -> None:
    try:
        client, experiment_id = connect(config.tracking)
        tags = {"role": command, "mlflow.source.name": f"pipeline.{command}", **origin()}
        run_id = client.create_run(experiment_id, run_name=f"{command} {name}", tags=tags).info.run_id
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        log_config(client, run_id, config)
        for file in files:
            client.log_artifact(run_id, str(file), command)
        client.set_terminated(run_id)
    except MlflowException as error:
        raise unusable(config.tracking, error) from error
