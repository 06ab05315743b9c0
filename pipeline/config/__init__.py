"""The configuration: what may be set, how it is composed, and what is wrong with it."""

from pipeline.config.dataset import AugmentConfig, ColumnsConfig, DatasetConfig, DriftConfig, NearDuplicatesConfig
from pipeline.config.schema import (
    NOT_PART_OF_EXPERIMENT,
    Config,
    EvaluateConfig,
    ExportConfig,
    FindLrConfig,
    RegisterConfig,
    SweepConfig,
    TrackingConfig,
)
from pipeline.config.training import (
    OPTIMIZERS,
    BackboneConfig,
    FinetuneConfig,
    HardwareConfig,
    PhaseConfig,
    TrainConfig,
)

__all__ = [
    "NOT_PART_OF_EXPERIMENT",
    "OPTIMIZERS",
    "AugmentConfig",
    "BackboneConfig",
    "ColumnsConfig",
    "Config",
    "DatasetConfig",
    "DriftConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FindLrConfig",
    "FinetuneConfig",
    "HardwareConfig",
    "NearDuplicatesConfig",
    "PhaseConfig",
    "RegisterConfig",
    "SweepConfig",
    "TrackingConfig",
    "TrainConfig",
]
