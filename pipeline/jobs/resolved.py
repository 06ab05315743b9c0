"""The configuration as DVC's stages exchange it: one file of settings for each stage, below outputs/."""

from dataclasses import asdict
from pathlib import Path

from omegaconf import OmegaConf

from pipeline.config import Config
from pipeline.config.validate import check
from pipeline.jobs.identity import Digests
from pipeline.stages import STAGES
from pipeline.stages.settings import stage_settings
from pipeline.storage.files import Json, read_json, whole_file, write_json
from pipeline.system.errors import PipelineError

OUTPUTS = Path("outputs")
_SETTINGS, _DIGESTS = OUTPUTS / "settings", OUTPUTS / "watch"
# The whole configuration, with the folders and addresses that no result depends on.
_WHOLE = _SETTINGS / "config.yaml"


def write_settings(config: Config) -> None:
    """Write the whole configuration, and the settings of each stage, which DVC compares."""
    _write(asdict(config), _WHOLE)
    for stage in STAGES:
        _write(asdict(stage_settings(stage, config)), _SETTINGS / f"{stage}.yaml")


def read_config() -> Config:
    """Read the configuration that stage configure wrote.

    Raises:
        PipelineError: the stage has not run yet.
    """
    if not _WHOLE.exists():
        raise PipelineError(f"{_WHOLE} does not exist; run dvc repro, whose stage configure writes it")
    return check(OmegaConf.load(_WHOLE))


def write_digests(digests: Digests) -> None:
    """Write each digest to a file of its own, for the stages that depend on it."""
    for name, digest in digests.items():
        write_json(_DIGESTS / f"{name}.json", {"sha256": digest})


def read_digests() -> Digests:
    """Read what stage watch wrote."""
    return {file.stem: read_json(file)["sha256"] for file in sorted(_DIGESTS.glob("*.json"))}


def _write(settings: Json, file: Path) -> None:
    with whole_file(file) as unfinished:
        unfinished.write_text(OmegaConf.to_yaml(OmegaConf.create(settings)), encoding="utf-8")
