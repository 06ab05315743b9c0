"""Settings of each stage: dataclasses with the part of the configuration that it uses, and their files for DVC."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from omegaconf import OmegaConf

from pipeline.config import (
    AugmentConfig,
    BackboneConfig,
    Config,
    CurationConfig,
    EvaluateConfig,
    FinetuneConfig,
    HardwareConfig,
    ImageConfig,
    TrainConfig,
    experiment_settings,
)
from pipeline.config.differences import differences
from pipeline.config.size import Size
from pipeline.config.validate import check
from pipeline.storage.cache import Cache
from pipeline.storage.files import Json, whole_file
from pipeline.system.errors import PipelineError

RESULTS = 1
"""Version of the results, increased by hand if a fix in code that no stage declares changes numbers.

Such code is in `system/`, `storage/`, `config/` and `jobs/`.
"""
OUTPUTS = Path("outputs")
"""Folder of the stages' outputs under DVC."""
_SETTINGS = OUTPUTS / "settings"


@dataclass(frozen=True)
class Places:
    """Folders and files on this machine that a stage reads; they are not part of keys or outputs."""

    images: Path
    """Base folder of the paths in the manifest."""
    table: Path | None
    """CSV file that lists the images; None if the source has none. Only prepare reads it."""
    weights: Path | None
    """File with the backbone's weights; None if `backbone.weights` names no file."""
    cache: Cache
    """Cache of decoded images and features."""
    preset: Path | None = None
    """Folder that `backbone.preset` names; None if it names none."""


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of stage prepare: the data set, its checks and its splits."""

    seed: int
    dataset: CurationConfig


@dataclass(frozen=True)
class _NetworkSettings:
    seed: int
    image_size: Size
    image: ImageConfig
    backbone: BackboneConfig
    hardware: HardwareConfig


@dataclass(frozen=True)
class TrainSettings(_NetworkSettings):
    """Settings of stage train: the network, its augmentation and phase 1."""

    augment: AugmentConfig
    train: TrainConfig


@dataclass(frozen=True)
class FinetuneSettings(_NetworkSettings):
    """Settings of stage finetune: the network, its augmentation and phase 2."""

    augment: AugmentConfig
    finetune: FinetuneConfig


@dataclass(frozen=True)
class EvaluateSettings(_NetworkSettings):
    """Settings of stage evaluate: the network and its evaluation."""

    evaluate: EvaluateConfig
    freeze_batch_norm: bool
    """Value of `finetune.freeze_batch_norm`, so that the fine-tuned model is evaluated as it was trained."""


@dataclass(frozen=True)
class ReportSettings:
    """Settings of stage report: the experiment to show, and the models to log."""

    experiment: Json
    """All settings that results depend on, without paths, as plain values."""
    differences: Json
    """Those that differ from the defaults in conf/, by key."""
    log_model: str


Settings = PrepareSettings | TrainSettings | FinetuneSettings | EvaluateSettings | ReportSettings
_KINDS: dict[str, type[Settings]] = {
    "prepare": PrepareSettings,
    "train": TrainSettings,
    "finetune": FinetuneSettings,
    "evaluate": EvaluateSettings,
    "report": ReportSettings,
}


def stage_settings(stage: str, config: Config) -> Settings:
    """Return the settings of a stage: the part of the configuration that its dataclass declares."""
    curation = {each.name: getattr(config.dataset, each.name) for each in fields(CurationConfig)}
    values = vars(config) | {
        "dataset": CurationConfig(**curation),
        # A weights file and a preset's folder are identified by their digest, not by their path.
        "backbone": config.backbone.without_paths(),
        "freeze_batch_norm": config.finetune.freeze_batch_norm,
        "experiment": experiment_settings(config),
        "differences": differences(config) if stage == "report" else {},
        "log_model": config.tracking.log_model,
    }
    kind = _KINDS[stage]
    return kind(**{each.name: values[each.name] for each in fields(kind)})


def write_settings(config: Config) -> None:
    """Write the complete configuration, and the settings of each stage, which DVC compares."""
    # The complete configuration also has the folders and addresses that no result depends on.
    settings = {"config": asdict(config)} | {
        stage: {"results": RESULTS, **asdict(stage_settings(stage, config))} for stage in _KINDS
    }
    for name, values in settings.items():
        with whole_file(_SETTINGS / f"{name}.yaml") as unfinished:
            unfinished.write_text(OmegaConf.to_yaml(OmegaConf.create(values)), encoding="utf-8")


def read_config() -> Config:
    """Read the configuration that stage configure wrote.

    Raises:
        PipelineError: Stage configure has not run yet.
    """
    file = _SETTINGS / "config.yaml"
    if not file.exists():
        raise PipelineError(f"{file} does not exist; run dvc repro, which writes it in stage configure")
    return check(OmegaConf.load(file))
