"""What is evaluated, and what came of it."""

from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from pipeline.data.pictures import Pictures
from pipeline.models.parts import Parts

PHASES = ("train", "finetune")


@dataclass(frozen=True)
class TestSet:
    """What both phases are evaluated on."""

    # The name is no test of pytest's.
    __test__ = False

    rows: pd.DataFrame
    """Of the manifest."""
    labels: np.ndarray
    """Class indices, int64 [n]."""
    pictures: Pictures
    classes: list[str]


@dataclass(frozen=True)
class Outcome:
    """A phase's model and what it says of the test pictures."""

    model: keras.Model
    parts: Parts
    plain: np.ndarray
    """Class probabilities of the pictures as they are, float32 [n, classes]."""
    own_temperature: float
    """Of these, fitted on the validation pictures."""
    as_trained: np.ndarray
    """The mean with those of test-time augmentation; the same without it."""
    calibrated: np.ndarray
    """The same at the temperature."""
    temperature: float
    """Fitted on the validation pictures, which were augmented alike."""
    probabilities: np.ndarray
    """Those of the two that `evaluate.calibrate` chooses."""

    @property
    def predicted(self) -> np.ndarray:
        """Class indices, int64 [n]."""
        return self.probabilities.argmax(axis=1)
