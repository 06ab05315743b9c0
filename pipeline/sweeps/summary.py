"""Summary at the end of a sweep: the comparison of its experiments, all other jobs, and the next command."""

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig
from rich.console import Console

from pipeline.config import Config
from pipeline.config.compose import from_hydra
from pipeline.jobs.job import JobResult
from pipeline.jobs.progress import outcome
from pipeline.system.errors import PipelineError
from pipeline.system.processes import SWEEP
from pipeline.system.terminal import table_console

# Overrides that select the tracking store.
_STORE = ("tracking=", "tracking.uri=", "tracking.experiment=")


@dataclass(frozen=True)
class EndedJob:
    """Job of a sweep that has ended."""

    name: str
    """Number and label of the job."""
    result: JobResult


def print_summary(jobs: Sequence[EndedJob], config: DictConfig) -> None:
    """Print the results of a sweep to standard error.

    Args:
        jobs: All jobs in order.
        config: Configuration of the sweep, with Hydra's own settings.
    """
    console = table_console(sys.stderr, 200)
    keys = {each.result.key for each in jobs if not each.result.status.failed}
    compared, command = set[str](), ""
    if keys:
        try:
            compared, command = _compare(keys, from_hydra(config), config)
        except PipelineError as error:
            console.print(f"The experiments can't be compared: {error}", style="yellow", markup=False)
    for job in jobs:
        if job.result.key not in compared:
            _print(console, f"{job.name}: {outcome(job.result)}", "red" if job.result.status.failed else None)
    counts = Counter(job.result.status for job in jobs)
    _print(console, "Jobs: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    if command:
        _print(console, f"Next, a page with charts: {command}")


def _compare(keys: set[str], config: Config, cfg: DictConfig) -> tuple[set[str], str]:
    """Print the comparison of complete experiments, if there are any.

    Returns:
        - Keys of the experiments in the table.
        - Command that makes a page of it; empty if there is no table.
    """
    # These imports take seconds.
    from pipeline.comparison.experiments import find, make_rows, select
    from pipeline.comparison.output import print_comparison
    from pipeline.comparison.ranking import rank, winner

    experiments = find(config.tracking, keys=keys)
    if not experiments:
        return set(), ""
    selection = select(experiments, strict=False)
    evaluate = config.evaluate
    ranking = rank(make_rows(selection.experiments), "accuracy", evaluate.top_k, evaluate.confidence)
    print_comparison(ranking, selection, winner(ranking, "size"), "size", file=sys.stderr)
    name = cfg.hydra.job.env_set.get(SWEEP)
    runs = selection.experiments
    chosen = (
        ["--sweep"]
        if all(run.tags.get("sweep") == name for run in runs)
        else ["--runs", *(run.run_id[:8] for run in runs)]
    )
    tracking = [each for each in cfg.hydra.overrides.task if each.startswith(_STORE)]
    command = shlex.join(["python", "-m", "pipeline.compare", *chosen, *tracking, "--html"])
    return {run.tags["experiment_key"] for run in runs}, command


def _print(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
