"""Short descriptions of the overrides in which the jobs of a sweep differ."""

from collections import Counter
from collections.abc import Sequence

# Groups whose options need no name of the group.
_PLAIN = ("backbone", "dataset", "experiment")


def labels(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return one label per job, from its overrides without those that all jobs share."""
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    return [label([each for each in overrides if each not in common]) for overrides in jobs]


def label(overrides: Sequence[str]) -> str:
    """Describe overrides briefly, as in `vgg16, unfreeze -2`, without those of Hydra's own settings."""
    pairs = [each.lstrip("+~").partition("=") for each in overrides]
    pairs = [pair for pair in pairs if not pair[0].startswith("hydra")]
    leaves = Counter(key.rpartition(".")[2] for key, _, _ in pairs)

    def name(key: str) -> str:
        leaf = key.rpartition(".")[2]
        return leaf if leaves[leaf] == 1 else key

    return ", ".join(value if key in _PLAIN else f"{name(key)} {value}" for key, _, value in pairs)
