"""Selection of the experiments to compare; experiments that differ only in their seed are grouped into rows."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from mlflow.entities import Run

from pipeline.config import TrackingConfig
from pipeline.system.errors import PipelineError
from pipeline.tracking.metric_names import TABLE, read_table
from pipeline.tracking.store import artifact, complete_runs
from pipeline.tracking.tags import computed_by

# Stages that log a table of their metrics.
_WITH_TABLES = ("prepare", "train", "finetune", "evaluate")
# Settings that tables list first.
_FIRST = (
    *("backbone.name", "finetune.unfreeze", "augment.name", "train.name", "finetune.name", "image_size"),
    "image.resize",
)
_SPEAK_FOR_THEMSELVES = ("backbone.name", "dataset.name")


@dataclass(frozen=True)
class Experiment:
    """A complete run in the tracking store."""

    run_id: str
    name: str
    started: int
    """Start time in milliseconds since the Unix epoch."""
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    artifacts: str = ""
    """URI of the run's artifacts."""
    experiment_id: str = ""
    """Id of the MLflow experiment that the run belongs to."""

    @property
    def test_data(self) -> str:
        """Digest of the test images and their labels; empty if the run has none."""
        return self.tags.get("test_data", "")

    @property
    def taken(self) -> dict[str, str]:
        """Ids of the runs that computed the stages which this run took from elsewhere."""
        return {stage: run_id for stage, run_id in computed_by(self.tags).items() if run_id != self.run_id}

    @property
    def seconds(self) -> float:
        """Seconds of the stages that this run computed itself."""
        taken = {f"seconds/{stage}" for stage in self.taken}
        return sum(value for name, value in self.metrics.items() if name.startswith("seconds/") and name not in taken)

    def file(self, path: str) -> Path | None:
        """Return the local path of an artifact; None if the run has no artifact of that name."""
        return artifact(self.artifacts, path)

    @cached_property
    def all_metrics(self) -> dict[str, float]:
        """All metrics of the stages, also those that are only in their tables; an older run has no tables."""
        tables = [self.file(f"{stage}/{TABLE}") for stage in _WITH_TABLES]
        return self.metrics | {name: value for file in tables if file for name, value in read_table(file).items()}

    @cached_property
    def settings(self) -> dict[str, str]:
        """Settings that distinguish experiments, and the first characters of the training images' digest."""
        settings = {
            key: value
            for key, value in self.params.items()
            if not key.startswith("evaluate.") or key == "evaluate.calibrate"
        }
        # Runs of earlier versions do not say that they stretched their images. Only padding has a colour.
        if settings.setdefault("image.resize", "stretch") != "pad":
            settings.pop("image.pad_value", None)
        # The chosen unfreeze depth, if the configuration leaves it to a rule.
        chosen = {"finetune.unfreeze": self.tags["unfreeze"]} if "unfreeze" in self.tags else {}
        return settings | chosen | {"training data": self.tags.get("training_data", "")[:8]}


@dataclass(frozen=True)
class Selection:
    """Experiments to compare, and those that are excluded."""

    experiments: list[Experiment]
    """Experiments on the same test images, one per configuration and seed."""
    elsewhere: dict[str, list[Experiment]]
    """Experiments on other test images, by the images' digest."""
    repeats: int
    """Number of excluded earlier runs with the same configuration, seed and test images."""


def experiment_of(run: Run) -> Experiment:
    """Convert an MLflow run to an experiment."""
    info, data = run.info, run.data
    return Experiment(
        info.run_id,
        info.run_name,
        info.start_time,
        data.params,
        data.metrics,
        data.tags,
        info.artifact_uri,
        info.experiment_id,
    )


def find(
    tracking: TrackingConfig,
    *,
    query: str | None = None,
    sweep: str | None = None,
    run_ids: Sequence[str] | None = None,
    keys: Collection[str] | None = None,
) -> list[Experiment]:
    """Find the complete experiments in the tracking store, the latest first.

    Args:
        tracking: Settings of the tracking store.
        query: MLflow filter string for runs.
        sweep: Part of the command line of a sweep, to which the search is limited; empty for the latest sweep.
        run_ids: Ids of runs, or their first characters, to which the search is limited.
        keys: Keys of experiments, to which the search is limited.

    Raises:
        PipelineError: The store can't be used, the filter is invalid, or no complete run has one of the ids.
    """
    experiments = [experiment_of(run) for run in complete_runs(tracking, query)]
    if sweep is not None:
        part = sweep or next((each.tags["sweep"] for each in experiments if "sweep" in each.tags), "")
        experiments = [each for each in experiments if "sweep" in each.tags and part in each.tags["sweep"]]
    if keys is not None:
        experiments = [each for each in experiments if each.tags.get("experiment_key") in keys]
    if run_ids is not None:
        missing = [start for start in run_ids if not any(each.run_id.startswith(start) for each in experiments)]
        if missing:
            raise PipelineError(f"--runs: no complete experiment has the id {', '.join(missing)}")
        experiments = [each for each in experiments if each.run_id.startswith(tuple(run_ids))]
    return experiments


def select(experiments: Iterable[Experiment], *, strict: bool, test: str | None = None) -> Selection:
    """Select the latest run of each configuration and seed on one set of test images.

    Args:
        experiments: Experiments in any order.
        strict: Raise an error if the experiments were not all evaluated on the same test images.
        test: First characters of the digest of the test images. By default, the most recent test set with several
            experiments is used, or the most recent one.

    Raises:
        PipelineError: There is no experiment or no such test set, or there are several test sets and `strict` is true.
    """
    ordered = sorted(experiments, key=lambda each: each.started)
    latest = {(each.test_data, tuple(sorted(each.settings.items()))): each for each in ordered}
    if not latest:
        raise PipelineError(
            "There is no complete experiment to compare; run python -m pipeline, or change --filter, --sweep or --runs"
        )
    by_test: dict[str, list[Experiment]] = {}
    for each in latest.values():
        by_test.setdefault(each.test_data, []).append(each)
    if test is None:
        chosen = _newest_test_set(by_test, [each.test_data for each in reversed(ordered)])
    else:
        chosen = _named_test_set(by_test, test)
    if strict and len(by_test) > 1:
        sets = "; ".join(f"{digest[:8] or 'unknown'}: {name_runs(runs)}" for digest, runs in by_test.items())
        raise PipelineError(
            f"These experiments were evaluated on different test images, so their metrics can't be compared ({sets}); "
            "select experiments with the same test images. Without a test/ folder, the test images depend on the seed"
        )
    return Selection(by_test.pop(chosen), by_test, len(ordered) - len(latest))


def _named_test_set(by_test: dict[str, list[Experiment]], test: str) -> str:
    matches = [digest for digest in by_test if digest.startswith(test) and digest]
    if len(matches) != 1:
        digests = ", ".join(digest[:8] for digest in by_test if digest)
        raise PipelineError(
            f"--test: {test!r} matches {len(matches)} test sets; expected the first characters of one of {digests}"
        )
    return matches[0]


def _newest_test_set(by_test: dict[str, list[Experiment]], newest: list[str]) -> str:
    # A run without a digest of its test images can't be compared with any other.
    digests = [digest for digest in newest if digest] or newest
    return next((digest for digest in digests if len(by_test[digest]) > 1), digests[0])


def name_runs(runs: Sequence[Experiment]) -> str:
    """Format the names of the first three runs and the number of the other ones."""
    return ", ".join(each.name for each in runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")


@dataclass(frozen=True)
class Row:
    """Experiments with the same configuration, which differ only in their seed."""

    differences: dict[str, str]
    """Values of the settings in which the rows differ."""
    experiments: list[Experiment]
    """Experiments in the order of their seeds."""

    @property
    def label(self) -> str:
        """Short description of the differences; the name of the first run if there are none."""
        return describe(self.differences) or self.experiments[0].name

    def mean(self, metric: str) -> float | None:
        """Compute the mean of an MLflow metric over the seeds; None if a run lacks the metric."""
        values = [each.metrics[metric] for each in self.experiments if metric in each.metrics]
        return sum(values) / len(values) if len(values) == len(self.experiments) else None


def describe(settings: dict[str, str]) -> str:
    """Describe settings briefly, as in `vgg16, unfreeze -2, augment none`; those that a run lacks are left out."""
    return ", ".join(
        value if key in _SPEAK_FOR_THEMSELVES else f"{key.removesuffix('.name').rpartition('.')[2]} {value}"
        for key, value in settings.items()
        if value
    )


def make_rows(experiments: list[Experiment]) -> list[Row]:
    """Group experiments into rows of equal configuration, ignoring the seed."""
    by_settings: dict[tuple, list[Experiment]] = {}
    for each in experiments:
        settings = {key: value for key, value in each.settings.items() if key != "seed"}
        by_settings.setdefault(tuple(sorted(settings.items())), []).append(each)
    configurations = [dict(key) for key in by_settings]
    keys = differing_keys(configurations)
    return [
        Row({key: each.get(key, "") for key in keys}, sorted(group, key=lambda run: int(run.params.get("seed", 0))))
        for each, group in zip(configurations, by_settings.values(), strict=True)
    ]


def differing_keys(settings: list[dict[str, str]]) -> list[str]:
    """List the keys whose values differ, the most important ones first.

    Keys whose values are determined by a name are omitted, such as a backbone's preprocessing.
    """
    keys = sorted(
        {key for each in settings for key in each},
        key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST), key),
    )
    different = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    names = [key for key in different if key.endswith(".name")]
    # Of two names that determine each other, only the first one is listed.
    return [key for key in different if not any(_follows(key, name, settings) for name in takewhile(key.__ne__, names))]


def _follows(key: str, name: str, settings: list[dict[str, str]]) -> bool:
    """Return whether the value of `name` determines the value of `key`."""
    return len({(each.get(name), each.get(key)) for each in settings}) == len({each.get(name) for each in settings})
