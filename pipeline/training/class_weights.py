"""Weights of the classes in the loss."""

from collections.abc import Sequence

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from pipeline.config import FinetuneConfig, PhaseConfig
from pipeline.system.errors import PipelineError


def class_weights(phase: PhaseConfig, labels: np.ndarray, classes: Sequence[str]) -> dict[int, float] | None:
    """Return the weight of each class in the loss, by class index, or None if all classes have the same weight.

    Args:
        phase: Settings with `class_weight`. balanced gives weights inversely proportional to class frequency, with an
            average of 1 over the images. A mapping gives weights by class name, which are 1 for missing classes.
        labels: Class index of each training image, int [n].
        classes: Class names.

    Raises:
        PipelineError: `class_weight` names an unknown class.
    """
    if phase.class_weight == "none":
        return None
    if phase.class_weight == "balanced":
        present = np.unique(labels)
        weights = compute_class_weight("balanced", classes=present, y=labels)
        return dict(zip(present.tolist(), weights.tolist(), strict=True))
    by_name = {name: float(weight) for name, weight in phase.class_weight.items()}
    unknown = [repr(name) for name in by_name if name not in classes]
    if unknown:
        section = "finetune" if isinstance(phase, FinetuneConfig) else "train"
        raise PipelineError(
            f"{section}.class_weight: unknown class {', '.join(unknown)}; the classes are "
            f"{', '.join(map(repr, classes))}"
        )
    return {index: by_name.get(name, 1.0) for index, name in enumerate(classes)}
