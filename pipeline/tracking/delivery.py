"""What a tracking store was away for, delivered when it is back."""

from pathlib import Path

import mlflow
from filelock import FileLock, Timeout
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.config import TrackingConfig
from pipeline.system import processes
from pipeline.system.errors import PipelineError
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.outbox import PendingLog
from pipeline.tracking.stage_log import StageLog
from pipeline.tracking.store import connect, masked, store_uri


def deliver_all(cache: Path) -> list[str]:
    """Deliver what `undelivered-*.json` in the cache folder name: metrics, stages' files, how the run ended. What MLflow has is not sent again.

    Returns:
        a sentence for each run.

    Raises:
        PipelineError: the store is away, or some run could not be delivered; the others were.
    """
    told, failed = [], []
    for file in sorted(cache.glob("undelivered-*.json")):
        try:
            with FileLock(f"{file}.lock", timeout=0):
                told.append(_deliver(PendingLog.read(file)))
        except Timeout:
            told.append(f"{file.name}: another command is delivering it")
        except FileNotFoundError as error:
            if not file.exists():
                continue
            failed.append(f"{file.name}: {error.filename} is gone; run its experiment again, and remove {file}")
        except (MlflowException, PipelineError, OSError, ValueError, TypeError) as error:
            failed.append(f"{file.name}: {masked(error)}")
    if failed:
        raise PipelineError("\n".join([*told, "Not delivered, and still here:", *(f"  - {each}" for each in failed)]))
    return told


def _deliver(left: PendingLog) -> str:
    run_id = left.run["id"]
    if processes.is_alive(left.run["process"]):
        return f"run {run_id}: its own process is at work, and delivers it"
    tracking = TrackingConfig(**left.run["tracking"])
    client, _ = connect(tracking)
    ledger = Ledger(left.file.parent, left.run["experiment_key"], masked(store_uri(tracking)))
    metrics, stages = len(left.metrics), len(left.stages)
    while left.metrics:
        client.log_batch(run_id, metrics=[Metric(*metric) for metric in left.metrics[0]])
        del left.metrics[0]
        left.keep()
    if left.stages:
        stage_log = StageLog(client, run_id, left.run["dataset"], left.run["tracking"]["log_model"])
        with mlflow.start_run(run_id=run_id):
            while left.stages:
                stage_log.log(Path(left.stages[0]))
                ledger.add(Path(left.stages[0]), run_id)
                del left.stages[0]
                left.keep()
    client.set_terminated(run_id, left.status or "FINISHED")
    left.status = None
    left.keep()
    return f"run {run_id}: delivered {metrics} epochs and {stages} stages"
