"""Experiments as rows of a table: those that differ only in seed are one, told apart by what differs and only that."""

from dataclasses import dataclass

from pipeline.comparison.experiments import Experiment

# What people look for first.
_FIRST = ("backbone.name", "finetune.unfreeze", "augment.name", "train.name", "finetune.name", "image_size")
COSTS = {
    "trainable": "model/trainable_parameters",
    "training": "model/training_seconds",
    "latency": "model/prediction_milliseconds",
    "size": "model/size_mib",
}


@dataclass(frozen=True)
class Row:
    """One configuration, with all its seeds."""

    differences: dict[str, str]
    """Value of each setting in which the rows differ."""
    experiments: list[Experiment]
    """In order of seed."""

    @property
    def label(self) -> str:
        """The differences in a few words, or the run's name where there are none."""
        return (
            ", ".join(
                value if key.endswith(".name") else f"{key.rpartition('.')[2]} {value}"
                for key, value in self.differences.items()
            )
            or self.experiments[0].name
        )

    def mean(self, metric: str) -> float | None:
        """Mean of one of MLflow's metrics over the seeds; None where a run lacks it."""
        values = [each.metrics.get(metric) for each in self.experiments]
        return None if None in values else sum(values) / len(values)


def make_rows(experiments: list[Experiment]) -> list[Row]:
    """One row for each configuration but for the seed."""
    by_settings: dict[tuple, list[Experiment]] = {}
    for each in experiments:
        settings = {key: value for key, value in each.settings.items() if key != "seed"}
        by_settings.setdefault(tuple(sorted(settings.items())), []).append(each)
    settings = [dict(key) for key in by_settings]
    keys = differing(settings)
    return [
        Row({key: each.get(key, "") for key in keys}, sorted(group, key=lambda run: int(run.params.get("seed", 0))))
        for each, group in zip(settings, by_settings.values(), strict=True)
    ]


def differing(settings: list[dict[str, str]]) -> list[str]:
    """The keys whose values are not the same everywhere, the telling ones first.

    What follows from another name, as a backbone's preprocessing does from the backbone, is left out.
    """
    keys = sorted(
        {key for each in settings for key in each},
        key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST), key),
    )
    different = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    names = [key for key in different if key.endswith(".name")]
    return [
        key
        for key in different
        if not any(
            name != key and _follows(key, name, settings) and not _follows_back(key, name, names) for name in names
        )
    ]


def _follows(key: str, name: str, settings: list[dict[str, str]]) -> bool:
    """Whether each value of `name` comes with one value of `key`."""
    return len({(each.get(name), each.get(key)) for each in settings}) == len({each.get(name) for each in settings})


def _follows_back(key: str, name: str, names: list[str]) -> bool:
    """Whether `key` is itself a name that comes before `name`: of two that change together the first one is told."""
    return key in names and names.index(key) < names.index(name)
