"""Augmentation with chosen strengths."""

import dataclasses

from pipeline.config import AugmentConfig
from pipeline.config.compose import composed
from pipeline.config.validate import check


def augmenting(**strengths) -> AugmentConfig:
    """Nothing but these."""
    return dataclasses.replace(check(composed(["augment=none"])).augment, **strengths)
