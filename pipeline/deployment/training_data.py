"""The experiment of a classifier, and the data set that it was trained on."""

from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from pipeline.comparison.experiments import find
from pipeline.config import Config
from pipeline.config.validate import check
from pipeline.inputs.manifest import MANIFEST
from pipeline.system.errors import PipelineError
from pipeline.tracking.classifier_files import ModelReference, run_of
from pipeline.tracking.tags import FOLDER, internal


def experiment_of(reference: ModelReference, config: Config) -> tuple[Config, Path]:
    """Return the configuration of a classifier's experiment, and the folder with the outputs of its stage prepare.

    Args:
        reference: The classifier.
        config: Configuration with the tracking store that has its run, and with the cache.

    Raises:
        PipelineError: The experiment is unknown, or its prepared data set is not on this machine.
    """
    run_id = run_of(reference)
    if run_id is None:
        raise PipelineError(
            f"{reference.origin}: its experiment is unknown, and so are its training images; give the folder of an "
            "experiment's outputs, or runs:/<id>/model"
        )
    [run] = find(config.tracking, run_ids=[run_id])
    settings, root = run.file("config.yaml"), reference.root or Path(internal(run.tags, FOLDER))
    if settings is None or not (root / "prepare" / MANIFEST).exists():
        raise PipelineError(
            f"{reference.origin}: {root / 'prepare' / MANIFEST} is not on this machine, and names its training images; run "
            "the experiment here, or use the machine that has it"
        )
    # The cache is that of this checkout, since the run may be that of another machine.
    return replace(check(OmegaConf.load(settings)), cache_folder=config.cache_folder), root / "prepare"
