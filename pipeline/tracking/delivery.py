"""Deliver what a tracking store lacks since it was away."""

from pathlib import Path

import mlflow
from filelock import FileLock, Timeout
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.system import processes
from pipeline.system.errors import PipelineError
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.outbox import PendingLog
from pipeline.tracking.stage_log import StageLog
from pipeline.tracking.store import connect, mask_secrets, store_uri


def deliver_all(cache: Path) -> list[str]:
    """Deliver what `undelivered-*.json` in the cache folder name: metrics, stages' files, how each run ended.

    Nothing is sent twice.

    Returns:
        one sentence per run.

    Raises:
        PipelineError: the store is away, or some run could not be delivered; the others were.
    """
    done, failed = [], []
    for file in sorted(cache.glob("undelivered-*.json")):
        try:
            with FileLock(f"{file}.lock", timeout=0):
                done.append(_deliver(PendingLog.read(file)))
        except Timeout:
            done.append(f"{file.name}: another command is delivering it")
        except FileNotFoundError as error:
            if not file.exists():
                continue
            failed.append(f"{file.name}: {error.filename} is gone; run its experiment again, and remove {file}")
        except (MlflowException, PipelineError, OSError, ValueError, TypeError, KeyError) as error:
            failed.append(f"{file.name}: {mask_secrets(error)}")
    if failed:
        raise PipelineError("\n".join([*done, "Not delivered, and still here:", *(f"  - {each}" for each in failed)]))
    return done


def _deliver(pending: PendingLog) -> str:
    run = pending.run
    if processes.is_alive(run.process):
        return f"run {run.id}: its own process is at work, and delivers it"
    client, _ = connect(run.tracking)
    ledger = Ledger(pending.file.parent, run.experiment_key, mask_secrets(store_uri(run.tracking)))
    epochs, stages = len(pending.metrics), len(pending.stages)
    while pending.metrics:
        client.log_batch(run.id, metrics=[Metric(*metric) for metric in pending.metrics[0]])
        del pending.metrics[0]
        pending.save()
    if pending.stages:
        stage_log = StageLog(client, run)
        with mlflow.start_run(run_id=run.id):
            while pending.stages:
                folder = Path(pending.stages[0])
                stage_log.log(folder)
                ledger.add(folder, run.id)
                del pending.stages[0]
                pending.save()
    client.set_terminated(run.id, pending.status or "FINISHED")
    pending.status = None
    pending.save()
    return f"run {run.id}: delivered {epochs} epochs and {stages} stages"
