"""Summary at the end of a sweep: the comparison of its experiments, all other jobs, and the next command."""

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console

from pipeline.config import Config
from pipeline.config.compose import from_hydra
from pipeline.jobs.job import JobResult
from pipeline.jobs.progress import outcome
from pipeline.system.errors import PipelineError
from pipeline.system.processes import SWEEP
from pipeline.system.terminal import table_console, waiting

if TYPE_CHECKING:
    from pipeline.comparison.experiments import Experiment, Selection
    from pipeline.comparison.ranking import RankedRow, Ranking

# Overrides that select the tracking store.
_STORE = ("tracking=", "tracking.uri=", "tracking.experiment=")


@dataclass(frozen=True)
class EndedJob:
    """Job of a sweep that has ended."""

    name: str
    """Number and label of the job."""
    result: JobResult


@dataclass(frozen=True)
class Comparison:
    """Complete experiments of a sweep, ranked on their common test images."""

    selection: "Selection"
    ranking: "Ranking"
    chosen: int | None
    """Index of the recommended row; None if the costs are unknown."""

    @property
    def best(self) -> "RankedRow":
        """Recommended row, or else the first one."""
        return self.ranking.rows[self.chosen or 0]


def print_summary(jobs: Sequence[EndedJob], config: DictConfig) -> Comparison | None:
    """Print the results of a sweep to standard error.

    Args:
        jobs: All jobs in order.
        config: Configuration of the sweep, with Hydra's own settings.

    Returns:
        The comparison of the experiments; None if there is none.
    """
    console = table_console(sys.stderr, 200)
    keys = {each.result.key for each in jobs if not each.result.status.failed}
    comparison, compared, command = None, set[str](), ""
    if keys:
        try:
            comparison = _compare(keys, from_hydra(config))
        except PipelineError as error:
            console.print(f"The experiments can't be compared: {error}", style="yellow", markup=False)
    if comparison:
        compared = {run.tags["experiment_key"] for run in comparison.selection.experiments}
        command = _next_command(comparison.selection.experiments, config)
    for job in jobs:
        if job.result.key not in compared:
            _print(console, f"{job.name}: {outcome(job.result)}", "red" if job.result.status.failed else None)
    counts = Counter(job.result.status for job in jobs)
    _print(console, "Jobs: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    if command:
        _print(console, f"Next, a page with charts: {command}")
    return comparison


def _compare(keys: set[str], config: Config) -> Comparison | None:
    """Print the comparison of complete experiments, and return it; None if there are no such experiments."""
    with waiting("comparing the experiments"):
        # These imports take seconds.
        from pipeline.comparison.experiments import find, make_rows, select
        from pipeline.comparison.output import print_comparison
        from pipeline.comparison.ranking import rank, winner

        experiments = find(config.tracking, keys=keys)
        if not experiments:
            return None
        selection = select(experiments, strict=False)
        evaluate = config.evaluate
        ranking = rank(make_rows(selection.experiments), "accuracy", evaluate.top_k, evaluate.confidence)
        chosen = winner(ranking, "size")
    print_comparison(ranking, selection, chosen, "size", file=sys.stderr)
    return Comparison(selection, ranking, chosen)


def _next_command(runs: Sequence["Experiment"], cfg: DictConfig) -> str:
    """Return the command that makes a page of the comparison of these runs."""
    name = cfg.hydra.job.env_set.get(SWEEP)
    chosen = (
        ["--sweep"]
        if all(run.tags.get("sweep") == name for run in runs)
        else ["--runs", *(run.run_id[:8] for run in runs)]
    )
    tracking = [each for each in cfg.hydra.overrides.task if each.startswith(_STORE)]
    return shlex.join(["python", "-m", "pipeline.compare", *chosen, *tracking, "--html"])


def _print(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
