"""Run one stage: its files whole or not at all, its results in the tracking store."""

import importlib
import logging
from pathlib import Path
from time import perf_counter

from mlflow.exceptions import MlflowException

from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.files import read_json, whole_folder, write_json
from pipeline.tracking import open_run

log = logging.getLogger(__name__)


RUN = "run.json"


def is_done(folder: Path, key: str) -> bool:
    """Whether a stage's folder holds its files for the experiment with this key, and MLflow has them."""
    if not (folder / RUN).exists():
        return False
    run = read_json(folder / RUN)
    return run["experiment_key"] == key and run["logged"]


def execute(stage: str, config: Config, root: Path, key: str) -> None:
    """Run the stage's module on its inputs below `root`, write `root/<stage>/`, and log it under the experiment's key.

    Raises:
        PipelineError: an input is missing, or whatever the stage finds wrong.
    """
    module = importlib.import_module(f"pipeline.{stage}")
    for name in module.INPUTS:
        if not (root / name).is_dir():
            raise PipelineError(
                f"{stage} needs what {name} writes, and {root / name} does not exist; run dvc repro, or python -m pipeline"
            )
    log.info("%s begins", stage)
    started = perf_counter()
    with open_run(config, key, stage, root, module.INPUTS) as run:
        with whole_folder(root / stage) as out:
            environment = module.run(config, root, out, run.report_epoch)
            state = {
                "run_id": run.run_id,
                "experiment_key": key,
                "seconds": round(perf_counter() - started, 3),
                "environment": environment,
                "logged": False,
            }
            write_json(out / RUN, state)
        try:
            run.log_stage(root / stage)
        except MlflowException as error:
            raise PipelineError(
                f"tracking: what {stage} computed lies in {root / stage}, but the tracking store can't be reached ({error}); "
                "the same command runs it again"
            ) from error
        write_json(root / stage / RUN, state | {"logged": True})
    log.info("%s ended after %.0f s: %s", stage, perf_counter() - started, root / stage)
