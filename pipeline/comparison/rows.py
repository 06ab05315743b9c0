"""Experiments as rows of a table: one row for those that differ only in seed, named by the settings that differ."""

from dataclasses import dataclass
from itertools import takewhile

from pipeline.comparison.experiments import Experiment

# The settings that readers look for first.
_FIRST = ("backbone.name", "finetune.unfreeze", "augment.name", "train.name", "finetune.name", "image_size")


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
        return describe(self.differences) or self.experiments[0].name

    def mean(self, metric: str) -> float | None:
        """Mean of one of MLflow's metrics over the seeds; None where a run lacks it."""
        values = [each.metrics[metric] for each in self.experiments if metric in each.metrics]
        return sum(values) / len(values) if len(values) == len(self.experiments) else None


def describe(settings: dict[str, str]) -> str:
    """Settings in a few words, such as `vgg16, unfreeze -2`."""
    return ", ".join(
        value if key.endswith(".name") else f"{key.rpartition('.')[2]} {value}" for key, value in settings.items()
    )


def make_rows(experiments: list[Experiment]) -> list[Row]:
    """Make one row for each configuration without its seed."""
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
    """List the keys whose values differ, the most informative ones first.

    Left out is what follows from a name, as a backbone's preprocessing does from the backbone.
    """
    keys = sorted(
        {key for each in settings for key in each},
        key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST), key),
    )
    different = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    names = [key for key in different if key.endswith(".name")]
    # Of two names that change together the first one is listed.
    return [key for key in different if not any(_follows(key, name, settings) for name in takewhile(key.__ne__, names))]


def _follows(key: str, name: str, settings: list[dict[str, str]]) -> bool:
    """Return whether each value of `name` comes with one value of `key`."""
    return len({(each.get(name), each.get(key)) for each in settings}) == len({each.get(name) for each in settings})
