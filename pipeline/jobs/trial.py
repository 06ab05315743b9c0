"""A job's side of an Optuna trial: report epochs, honour pruning."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config import PHASES
from pipeline.storage.files import Json, read_json
from pipeline.system.errors import PipelineError
from pipeline.system.processes import TRIAL
from pipeline.training import Row

OBJECTIVES = {"val_accuracy": "maximize", "val_loss": "minimize", "seconds": "minimize"}
"""Objectives of a search, and the better direction of each."""


class PrunedError(PipelineError):
    """A trial that was worse than others by this epoch."""

    run_status = "KILLED"


def pruner() -> list[Callable[[Row], None]]:
    """Listener that reports each epoch to the search, where this job is a trial of one that prunes; else none.

    It raises PrunedError where the search ends this trial.
    """
    trial = os.environ.get(TRIAL)
    search = json.loads(trial) if trial else {}
    if not search.get("report"):
        return []
    import optuna

    study = optuna.load_study(study_name=search["study"], storage=search["storage"], pruner=_pruner(search["pruner"]))
    running = optuna.trial.Trial(study, search["id"])

    def report(row: Row) -> None:
        running.report(row[search["report"]], int(row["epoch"]))
        if running.should_prune():
            raise PrunedError(
                f"trial {search['number']} of {search['study']} was pruned after epoch {row['epoch']}: others were better by then"
            )

    return [report]


def figures(folder: Path) -> dict[str, float]:
    """The objectives of a job that has trained: figures of its better phase, and the seconds of all training."""
    phases = [folder / phase for phase in PHASES if (folder / phase / "metrics.json").exists()]
    if not phases:
        return {}
    last = read_json(phases[-1] / "metrics.json")
    best = read_json(folder / last.get("best", phases[-1].name) / "metrics.json")
    seconds = sum(read_json(phase / "run.json")["seconds"] for phase in phases)
    return {"val_accuracy": best["val_accuracy"], "val_loss": best["val_loss"], "seconds": seconds}


def _pruner(settings: Json) -> Any:
    import optuna

    startup, warmup = settings["startup_trials"], settings["warmup_epochs"]
    if settings["name"] == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, warmup))
    return optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
