"""A job's side of an Optuna trial: report epochs, honour pruning."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from pipeline.storage.files import read_json
from pipeline.system.environment import TRIAL
from pipeline.system.errors import PipelineError
from pipeline.training.history import Row

OBJECTIVES = {"val_accuracy": "maximize", "val_loss": "minimize", "seconds": "minimize"}
"""What can be searched for, and in which direction it is better."""


class PrunedError(PipelineError):
    """A trial that others were better than by this epoch."""

    run_status = "KILLED"


def pruner() -> list[Callable[[Row], None]]:
    """What reports each epoch to the search, where this job is a trial whose epochs it wants to see; else nothing.

    Raises, when called:
        PrunedError: the search ends this trial.
    """
    trial = os.environ.get(TRIAL)
    named = json.loads(trial) if trial else {}
    if not named.get("report"):
        return []
    import optuna

    study = optuna.load_study(study_name=named["study"], storage=named["storage"], pruner=_pruner(named["pruner"]))
    running = optuna.trial.Trial(study, named["id"])

    def report(row: Row) -> None:
        running.report(row[named["report"]], int(row["epoch"]))
        if running.should_prune():
            raise PrunedError(
                f"trial {named['number']} of {named['study']} was pruned after epoch {row['epoch']}: others were better by then"
            )

    return [report]


def figures(folder: Path) -> dict[str, float]:
    """The objectives of a job that has trained: of its better phase, with the seconds of all training."""
    phases = [folder / phase for phase in ("train", "finetune") if (folder / phase / "metrics.json").exists()]
    if not phases:
        return {}
    last = read_json(phases[-1] / "metrics.json")
    best = read_json(folder / last.get("best", phases[-1].name) / "metrics.json")
    seconds = sum(read_json(phase / "run.json")["seconds"] for phase in phases)
    return {"val_accuracy": best["val_accuracy"], "val_loss": best["val_loss"], "seconds": seconds}


def _pruner(settings: dict):
    import optuna

    startup, warmup = settings["startup_trials"], settings["warmup_epochs"]
    if settings["name"] == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, warmup))
    return optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
