"""Which experiments are compared: complete ones, each configuration once, all on the same test images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlflow.entities import Run

from pipeline.config import TrackingConfig
from pipeline.system.errors import PipelineError
from pipeline.tracking import artifact, complete_runs


@dataclass(frozen=True)
class Experiment:
    """A complete run, as the tracking store has it."""

    run_id: str
    name: str
    started: int
    """Milliseconds since the epoch."""
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    artifacts: str = ""
    """The address that they lie at."""

    @property
    def test_data(self) -> str:
        """Digest of the test images and their labels; empty in runs that do not tell."""
        return self.tags.get("test_data", "")

    def file(self, path: str) -> Path | None:
        """Where an artifact of the run lies on this machine; None where it has none of that name."""
        return artifact(self.artifacts, path)

    @cached_property
    def settings(self) -> dict[str, str]:
        """What makes it another experiment: its configuration, and the images that it learned from."""
        decides = {
            key: value
            for key, value in self.params.items()
            if not key.startswith("evaluate.") or key == "evaluate.calibrate"
        }
        return decides | {"training data": self.tags.get("training_data", "")[:8]}


@dataclass(frozen=True)
class Selection:
    """What is compared, and what is not."""

    experiments: list[Experiment]
    """On the same test images, each configuration and seed once."""
    elsewhere: dict[str, list[Experiment]]
    """Those on other test images, by the digest of these."""
    repeats: int
    """Earlier runs of the same configuration, set aside for the latest one."""


def experiment_of(run: Run) -> Experiment:
    """What MLflow knows of a run."""
    info, data = run.info, run.data
    return Experiment(
        info.run_id, info.run_name, info.start_time, data.params, data.metrics, data.tags, info.artifact_uri
    )


def find(
    tracking: TrackingConfig, query: str | None, sweep: str | None, run_ids: Sequence[str] | None
) -> list[Experiment]:
    """The complete experiments in the store, the latest first.

    Args:
        tracking: where to look.
        query: MLflow's filter on runs.
        sweep: a part of a sweep's command line; empty for the latest sweep.
        run_ids: just these runs, by the starts of their ids.

    Raises:
        PipelineError: the store can't be used, the filter is none, or no complete run has one of the ids.
    """
    found = [experiment_of(run) for run in complete_runs(tracking, query)]
    if sweep is not None:
        named = sweep or next((each.tags["sweep"] for each in found if "sweep" in each.tags), "")
        found = [each for each in found if "sweep" in each.tags and named in each.tags["sweep"]]
    if run_ids is not None:
        missing = [given for given in run_ids if not any(each.run_id.startswith(given) for each in found)]
        if missing:
            raise PipelineError(f"--runs: there is no complete experiment with the id {', '.join(missing)}")
        found = [each for each in found if each.run_id.startswith(tuple(run_ids))]
    return found


def select(found: Iterable[Experiment], strict: bool, test: str | None = None) -> Selection:
    """The latest run of each configuration, on one set of test images: the newest one with at least two configurations, or that asked for.

    Args:
        found: complete runs, in any order.
        strict: refuse where the runs were not all evaluated on the same images.
        test: the start of the wanted test images' digest.

    Raises:
        PipelineError: there is no run, or `strict` and several test sets.
    """
    latest: dict[tuple, Experiment] = {}
    ordered = sorted(found, key=lambda each: each.started)
    for each in ordered:
        latest[(each.test_data, tuple(sorted(each.settings.items())))] = each
    if not latest:
        raise PipelineError(
            "There is no complete experiment to compare; run python -m pipeline, or choose others with --filter, --sweep or --runs"
        )
    by_test: dict[str, list[Experiment]] = {}
    for each in latest.values():
        by_test.setdefault(each.test_data, []).append(each)
    wanted = _wanted(by_test, [each.test_data for each in reversed(ordered)], test)
    if strict and len(by_test) > 1:
        sets = "; ".join(f"{digest[:8] or 'unknown'}: {_names(runs)}" for digest, runs in by_test.items())
        raise PipelineError(
            f"These experiments were evaluated on different test images, so that no figure of one says anything about another ({sets}); "
            "name only those of one test set. Where no test/ folder is given, the seed draws the test images too"
        )
    return Selection(by_test.pop(wanted), by_test, len(ordered) - len(latest))


def _wanted(by_test: dict[str, list[Experiment]], newest: list[str], test: str | None) -> str:
    if test is not None:
        given = [digest for digest in by_test if digest.startswith(test) and digest]
        if len(given) != 1:
            there = ", ".join(digest[:8] for digest in by_test if digest)
            raise PipelineError(f"--test: {test!r} is the start of {len(given)} of the test sets there are: {there}")
        return given[0]
    # A run that does not say what it was tested on can't be compared with any other.
    told = [digest for digest in newest if digest] or newest
    return next((digest for digest in told if len(by_test[digest]) > 1), told[0])


def _names(runs: list[Experiment]) -> str:
    return ", ".join(each.name for each in runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
