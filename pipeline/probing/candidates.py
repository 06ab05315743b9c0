"""Backbones to probe: those that are named, or all whose weights are on this machine."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.config import Config
from pipeline.config.compose import CONF, GROUPS, configuration
from pipeline.config.size import height_width
from pipeline.config.validate import ConfigError, unknown
from pipeline.jobs.networks import BUNDLED
from pipeline.models.hub_presets import ARCHITECTURES
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import report


def candidates(overrides: Sequence[str], names: Sequence[str] | None) -> list[Config]:
    """Return the configuration of each backbone to probe, at its own image size unless `image_size` is configured.

    The configured backbone keeps its settings, such as a file of weights. The others have those in conf/backbone/.

    Args:
        overrides: Overrides of the configuration.
        names: Names of backbones; None: all whose weights are on this machine.

    Raises:
        PipelineError: The configuration or a name is invalid, or there are no pretrained weights to probe.
    """
    base = configuration(overrides)
    if strange := [name for name in names or () if name not in GROUPS["backbone"]]:
        problems = "; ".join(unknown("backbone", name, GROUPS["backbone"]) for name in strange)
        raise PipelineError(f"--backbones {problems}. All names: python -m pipeline --help backbone")
    shared = [each for each in overrides if not re.match(r"[+~]*backbone(\.|=|$)", each)]
    found = []
    for name in dict.fromkeys(names or _available(base)):
        try:
            own = base if name == base.backbone.name else configuration([*shared, f"backbone={name}"])
        except ConfigError as error:
            if names:
                raise
            report(f"{name} is left out: {'; '.join(error.problems)}")
            continue
        if not names and (patch := _misfit(own)):
            report(f"{name} is left out: image_size: invalid value {own.image_size}; expected a multiple of {patch}")
            continue
        # Depths and ranks of fine-tuning suit the blocks of one backbone, and change no features.
        finetune = replace(own.finetune, unfreeze="auto", phases=None, rate_factors=None, lora_rank=None)
        found.append(replace(own, finetune=finetune))
    _refuse_random(found)
    return found


def _misfit(config: Config) -> int | None:
    """Return the patch size of a preset if a side of the images is not a multiple of it."""
    _, arguments = ARCHITECTURES.get(str(config.backbone.preset), ("", {}))
    patch = arguments.get("patch_size", 1)
    return patch if any(side % patch for side in height_width(config.image_size)) else None


def _refuse_random(configs: Sequence[Config]) -> None:
    if not configs:
        raise PipelineError(
            "No backbone to probe fits these settings; name some with --backbones, or change image_size"
        )
    random = [each.backbone.name for each in configs if each.backbone.weights == "random"]
    if random:
        raise PipelineError(
            f"--backbones: {', '.join(random)} has random weights here, and only pretrained features can be probed; "
            "leave it out, or set backbone.weights"
        )


def _available(base: Config) -> list[str]:
    """Return the backbones whose weights are on this machine, the configured one first."""
    backbone = base.backbone
    has_folder = backbone.has_preset_folder and backbone.weights == "preset"
    own = [backbone.name] if backbone.has_weights_file or has_folder or _is_here(backbone) else []
    others = [name for name in GROUPS["backbone"] if name != backbone.name]
    shipped = {name: OmegaConf.load(CONF / "backbone" / f"{name}.yaml") for name in others}
    return own + [name for name, each in shipped.items() if _is_here(each)]


def _is_here(backbone: Any) -> bool:
    """Return whether pretrained weights are on this machine, of a backbone by its settings."""
    if backbone.weights == "preset" and backbone.preset:
        # KerasHub downloads presets with kagglehub, which names a folder after the preset.
        home = os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub"
        return any(Path(home, "models").glob(f"*/*/*/{Path(backbone.preset).name}/*/model*.weights.h5"))
    return has_weights(backbone.constructor, backbone.weights)


def has_weights(constructor: str, weights: str) -> bool:
    """Return whether a backbone's ImageNet weights are on this machine, so that nothing is downloaded.

    Args:
        constructor: Setting `backbone.constructor`.
        weights: Setting `backbone.weights`.
    """
    if weights != "imagenet":
        return False
    # Keras names its files in several ways: mobilenet_1_0_224_tf_no_top.h5, weights_mobilenet_v3_large_224_...h5.
    own = re.compile(rf"(weights)?{constructor.lower()}(weights|notop|\d).*")
    return constructor in BUNDLED or any("notop" in name and own.match(name) for name in _downloaded())


def _downloaded() -> list[str]:
    """Return the names of the weights files that Keras has downloaded, in lower case and without punctuation."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return [re.sub(r"[^a-z0-9]", "", file.name.lower()) for file in Path(home, "models").glob("*.h5")]
