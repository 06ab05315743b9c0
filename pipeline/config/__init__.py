"""The configuration: what may be set, how it is composed, and what is wrong with it."""

from pipeline.config.dataset import (
    AugmentConfig,
    ColumnsConfig,
    CurationConfig,
    DatasetConfig,
    DriftConfig,
    NearDuplicatesConfig,
)
from pipeline.config.schema import (
    PHASES,
    Config,
    EvaluateConfig,
    ExportConfig,
    FindLrConfig,
    RegisterConfig,
    SweepConfig,
    TrackingConfig,
    experiment_settings,
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
    "OPTIMIZERS",
    "PHASES",
    "AugmentConfig",
    "BackboneConfig",
    "ColumnsConfig",
    "Config",
    "CurationConfig",
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
    "experiment_settings",
]
