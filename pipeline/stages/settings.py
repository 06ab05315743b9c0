"""Settings of each stage: a dataclass with the part of the configuration that it sees, and DVC's file of each."""

from dataclasses import asdict, dataclass, fields, replace
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
    TrainConfig,
    experiment_settings,
)
from pipeline.config.validate import check
from pipeline.storage.files import Json, whole_file
from pipeline.system.errors import PipelineError

RESULTS = 1
"""Raise it by hand if a fix in code that no stage declares (system, storage, config, jobs) changes numbers."""
OUTPUTS = Path("outputs")
"""Folder of DVC's results."""
_SETTINGS = OUTPUTS / "settings"


@dataclass(frozen=True)
class Places:
    """Folders of this machine that a stage reads from; they are part of no key and no output."""

    images: Path
    """Folder that the manifest's paths start from."""
    table: Path | None
    """The CSV file that lists the images, where there is one; read by prepare alone."""
    weights: Path | None
    """File of the backbone's weights, where `backbone.weights` names one."""
    cache: Path
    """Decoded images and cached features."""


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of stage prepare: the images, and how they are split."""

    seed: int
    dataset: CurationConfig


@dataclass(frozen=True)
class _NetworkSettings:
    seed: int
    image_size: int
    backbone: BackboneConfig
    hardware: HardwareConfig


@dataclass(frozen=True)
class TrainSettings(_NetworkSettings):
    """Settings of stage train: the network, and phase 1."""

    augment: AugmentConfig
    train: TrainConfig


@dataclass(frozen=True)
class FinetuneSettings(_NetworkSettings):
    """Settings of stage finetune: the network, and phase 2."""

    augment: AugmentConfig
    finetune: FinetuneConfig


@dataclass(frozen=True)
class EvaluateSettings(_NetworkSettings):
    """Settings of stage evaluate: the network as it was trained, and how it is evaluated."""

    evaluate: EvaluateConfig
    freeze_batch_norm: bool
    """Of fine-tuning: its model is evaluated in the arithmetic that it was trained in."""


@dataclass(frozen=True)
class ReportSettings:
    """Settings of stage report: the experiment to be shown, and what is logged of it."""

    experiment: Json
    """Every section that results depend on, without paths, as plain values."""
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
    """Return what a stage sees of the configuration: the values of its dataclass's fields, and nothing else."""
    curation = {each.name: getattr(config.dataset, each.name) for each in fields(CurationConfig)}
    values = vars(config) | {
        "dataset": CurationConfig(**curation),
        # A weights file is identified by its digest, not by its path.
        "backbone": replace(config.backbone, weights="file") if config.backbone.has_weights_file else config.backbone,
        "freeze_batch_norm": config.finetune.freeze_batch_norm,
        "experiment": experiment_settings(config),
        "log_model": config.tracking.log_model,
    }
    kind = _KINDS[stage]
    return kind(**{each.name: values[each.name] for each in fields(kind)})


def write_settings(config: Config) -> None:
    """Write the whole configuration, and the settings of each stage, which DVC compares."""
    # The whole one also has the folders and addresses that no result depends on.
    settings = {"config": asdict(config)} | {
        stage: {"results": RESULTS, **asdict(stage_settings(stage, config))} for stage in _KINDS
    }
    for name, values in settings.items():
        with whole_file(_SETTINGS / f"{name}.yaml") as unfinished:
            unfinished.write_text(OmegaConf.to_yaml(OmegaConf.create(values)), encoding="utf-8")


def read_config() -> Config:
    """Read the configuration that stage configure wrote.

    Raises:
        PipelineError: the stage has not run yet.
    """
    file = _SETTINGS / "config.yaml"
    if not file.exists():
        raise PipelineError(f"{file} does not exist; run dvc repro, whose stage configure writes it")
    return check(OmegaConf.load(file))
