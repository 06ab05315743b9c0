"""Run of a sweep in MLflow: opened at its start, completed with the table and the comparison of its jobs."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig, OmegaConf

from pipeline.config import TrackingConfig
from pipeline.storage.files import text_sha256
from pipeline.sweeps.summary import Comparison, EndedJob
from pipeline.system.errors import PipelineError
from pipeline.system.processes import SWEEP
from pipeline.tracking.names import dataset_name
from pipeline.tracking.origin import origin
from pipeline.tracking.parent_run import ParentRun
from pipeline.tracking.store import experiment_runs, mask_secrets, ui_address
from pipeline.tracking.tags import SWEEP_KEY

log = logging.getLogger(__name__)

_PLACE, _COST = "sweep", "size"
_LONGEST_NAME = 120


def open_parent(cfg: DictConfig) -> ParentRun:
    """Open the run of a sweep, or of the study of a search, so that jobs can be nested in it.

    Args:
        cfg: Configuration of the sweep, with Hydra's own settings.
    """
    # The whole configuration may be valid only with the values of a job.
    tracking = TrackingConfig(**OmegaConf.to_container(cfg.tracking, resolve=True))
    overrides = OmegaConf.select(cfg, f"hydra.job.env_set.{SWEEP}") or ""
    study = cfg.hydra.sweeper.get("study")
    tags = {"role": "search" if study else "sweep", "mlflow.source.name": "pipeline", **origin(), "sweep": overrides}
    if study:
        return ParentRun(tracking, f"search {study}", identity=("study", study), tags=tags)
    # The stage is part of the name, since two stages may be swept with the same overrides.
    identity = (SWEEP_KEY, text_sha256(f"{cfg.hydra.job.name} {overrides}")[:16])
    name = f"sweep {dataset_name(cfg.dataset)}: {_short(overrides)}"[:_LONGEST_NAME]
    return ParentRun(tracking, name, identity=identity, tags=tags)


def _short(overrides: str) -> str:
    """Return the overrides that have several values, or all of them if none has."""
    words = overrides.split()
    return " ".join([each for each in words if "," in each or "(" in each] or words)


def log_results(parent: ParentRun, jobs: Sequence[EndedJob], comparison: Comparison | None) -> None:
    """Log the table of the jobs to the run of the sweep and, if they can be compared, leaderboard, page and best run.

    An unreachable store is not an error; then the same command logs it later.
    """
    if not parent.id:
        return
    try:
        keys = {each.result.key for each in jobs} - {""}
        runs = {run.data.tags.get("experiment_key", ""): run for run in reversed(experiment_runs(parent.tracking))}
        runs = {key: run for key, run in runs.items() if key in keys}
        parent.adopt(list(runs.values()))
        counts = {"sweep/jobs": float(len(jobs)), "sweep/failed": float(sum(job.result.status.failed for job in jobs))}
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            _job_table(jobs, {key: run.info.run_id for key, run in runs.items()}).to_csv(out / "jobs.csv", index=False)
            tags = _write_comparison(parent, comparison, out) if comparison else {}
            # MLflow shows metrics in the order in which they are logged.
            best = comparison.best.estimate.named(f"best/{comparison.ranking.metric}") if comparison else {}
            parent.log(out, _PLACE, metrics=best | counts, tags=tags)
    except (MlflowException, PipelineError, OSError) as error:
        log.warning("tracking: the results of the sweep could not be logged: %s", mask_secrets(error))


def _job_table(jobs: Sequence[EndedJob], run_ids: dict[str, str]) -> pd.DataFrame:
    """Return a row per job: its settings, status, validation metrics and run."""
    rows = [
        {
            "job": each.name,
            "status": str(each.result.status),
            **each.result.figures,
            "run": run_ids.get(each.result.key, ""),
            "folder": each.result.folder,
            "reason": each.result.reason,
        }
        for each in jobs
    ]
    return pd.DataFrame(rows)


def _write_comparison(parent: ParentRun, comparison: Comparison, out: Path) -> dict[str, str]:
    """Write leaderboard.csv and compare.html, and return the tags with the best run and the description."""
    # These imports take seconds, and the start of a sweep does not need them.
    from pipeline.comparison.leaderboard import as_markdown, leaderboard
    from pipeline.comparison.output import write_comparison
    from pipeline.comparison.ranking import reason

    ranking, chosen = comparison.ranking, comparison.chosen
    board = leaderboard(ranking)
    board.to_csv(out / "leaderboard.csv", index=False)
    page, server = out / "compare.html", ui_address(parent.tracking)
    write_comparison(page, ranking, comparison.selection, chosen=chosen, cost=_COST, server=server)
    best, run = comparison.best, comparison.best.row.experiments[0]
    estimate = best.estimate
    why = reason(ranking, chosen, _COST) if chosen is not None else ""
    note = [
        f"Best: [{run.name}]({parent.address(run.run_id)}). {ranking.label.capitalize()} **{estimate.value:.4f}** "
        f"({estimate.low:.4f} to {estimate.high:.4f}) on {ranking.images} test images. {why}",
        f"[Comparison with charts]({parent.address(path=f'{_PLACE}/compare.html')})",
        as_markdown(board),
    ]
    return {"best_run": run.run_id, "mlflow.note.content": "\n\n".join(note)}
