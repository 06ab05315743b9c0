"""Settings of each stage: a dataclass with the part of the configuration that it sees."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

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


class Settings(Protocol):
    """Settings of a stage, a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def of(cls, config: Config) -> "Settings":
        """Make them from the whole configuration."""


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of stage prepare: the images, and how they are split."""

    seed: int
    dataset: CurationConfig

    @classmethod
    def of(cls, config: Config) -> "PrepareSettings":
        """Make them from the whole configuration."""
        named = {each.name: getattr(config.dataset, each.name) for each in fields(CurationConfig)}
        return cls(config.seed, CurationConfig(**named))


@dataclass(frozen=True)
class TrainSettings:
    """Settings of stage train: the network, and phase 1."""

    seed: int
    image_size: int
    backbone: BackboneConfig
    augment: AugmentConfig
    train: TrainConfig
    hardware: HardwareConfig

    @classmethod
    def of(cls, config: Config) -> "TrainSettings":
        """Make them from the whole configuration."""
        return cls(**_sections(cls, config))


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of stage finetune: the network, and phase 2."""

    seed: int
    image_size: int
    backbone: BackboneConfig
    augment: AugmentConfig
    finetune: FinetuneConfig
    hardware: HardwareConfig

    @classmethod
    def of(cls, config: Config) -> "FinetuneSettings":
        """Make them from the whole configuration."""
        return cls(**_sections(cls, config))


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of stage evaluate: the network as it was trained, and how it is evaluated."""

    seed: int
    image_size: int
    backbone: BackboneConfig
    evaluate: EvaluateConfig
    hardware: HardwareConfig
    freeze_batch_norm: bool
    """Of fine-tuning: its model is evaluated in the arithmetic that it was trained in."""

    @classmethod
    def of(cls, config: Config) -> "EvaluateSettings":
        """Make them from the whole configuration."""
        freeze_batch_norm = config.finetune.freeze_batch_norm
        return cls(**_sections(cls, config, "freeze_batch_norm"), freeze_batch_norm=freeze_batch_norm)


@dataclass(frozen=True)
class ReportSettings:
    """Settings of stage report: the experiment to be shown, and what is logged of it."""

    experiment: dict[str, Any]
    """Every section that results depend on, without paths, as plain values."""
    log_model: str

    @classmethod
    def of(cls, config: Config) -> "ReportSettings":
        """Make them from the whole configuration."""
        return cls(experiment_settings(config), config.tracking.log_model)


STAGE_SETTINGS: Mapping[str, type[Settings]] = {
    "prepare": PrepareSettings,
    "train": TrainSettings,
    "finetune": FinetuneSettings,
    "evaluate": EvaluateSettings,
    "report": ReportSettings,
}


def stage_settings(stage: str, config: Config) -> Settings:
    """Return a stage's settings."""
    return STAGE_SETTINGS[stage].of(config)


def _without_path(backbone: BackboneConfig) -> BackboneConfig:
    # A weights file is identified by its digest, not by its path.
    return replace(backbone, weights="file") if backbone.has_weights_file else backbone


def _sections(settings: type, config: Config, *others: str) -> dict[str, Any]:
    sections = {each.name: getattr(config, each.name) for each in fields(settings) if each.name not in others}
    return sections | {"backbone": _without_path(config.backbone)}
