"""Names by which people recognize runs and data sets in MLflow."""

import os

from pipeline.config import Config, experiment_settings
from pipeline.config.dataset import DatasetConfig
from pipeline.config.differences import differences, flat
from pipeline.system.paths import resolve
from pipeline.system.processes import SWEEP

_KEY = 6
_MAX_SETTINGS = 5
# Settings that people change most often, in the order of a run's name. The name begins with backbone and data set.
_FIRST = (
    *("image_size", "image.resize", "augment.name", "train.name", "finetune.name", "finetune.lora_rank"),
    *("finetune.learning_rate", "train.learning_rate", "train.epochs", "finetune.epochs", "seed"),
)
_ELSEWHERE = ("backbone.name", "dataset.name", "finetune.unfreeze")


def dataset_name(dataset: DatasetConfig) -> str:
    """Return the name of the folder or table of a data set, or of the option that has none."""
    return resolve(dataset.path).name if dataset.path else dataset.name


def run_name(key: str, config: Config, depth: int | str | None = None) -> str:
    """Return the name of an experiment's run.

    Args:
        key: Key of the experiment, of which the name has the first characters.
        config: Configuration of the experiment.
        depth: Unfreeze depth that was chosen; None: that of the configuration.

    Returns:
        Backbone, data set, unfreeze depth, the settings that differ from the defaults or that the sweep varies, and the
        key: `vgg16 flowers, unfreeze -2, image_size 96, finetune.epochs 3, 3fa1b2`.
    """
    depth = config.finetune.unfreeze if depth is None else depth
    words = [f"{config.backbone.name} {dataset_name(config.dataset)}", f"unfreeze {depth}", *_settings(config)]
    return ", ".join([*words, key[:_KEY]])


def _settings(config: Config) -> list[str]:
    settings, changed = flat(experiment_settings(config)), differences(config)
    # The sweep's name is its overrides; a group such as `augment` stands for the name of its option.
    swept = {each.partition("=")[0].lstrip("+") for each in os.environ.get(SWEEP, "").split()}
    # Threads and the like seldom matter to people.
    wanted = swept | {key for key in changed if key.partition(".")[0] != "hardware"}
    shown = {key for key in settings if key in wanted or key.removesuffix(".name") in wanted}
    named = [key for key in settings if key in shown and key not in _ELSEWHERE]
    keys = sorted(named, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
    words = [f"{key.removesuffix('.name')} {settings[key]}" for key in keys]
    more = len(words) - _MAX_SETTINGS
    return words if more <= 0 else [*words[:_MAX_SETTINGS], f"{more} more"]
