"""Weights of classes in the loss."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.system.errors import PipelineError
from pipeline.training.class_weights import class_weights

LABELS = np.repeat([0, 1, 2], [90, 9, 1])
CLASSES = ["a", "b", "c"]


def weights(configure, setting, classes=CLASSES, phase="train"):
    return class_weights(replace(getattr(configure(), phase), class_weight=setting), LABELS, classes)


def test_weights_of_classes_in_the_loss(configure):
    assert weights(configure, "none") is None
    balanced = weights(configure, "balanced")
    assert [balanced[index] * count for index, count in enumerate((90, 9, 1))] == pytest.approx([100 / 3] * 3)
    assert weights(configure, {"b": 2}) == {0: 1.0, 1: 2.0, 2: 1.0}


@pytest.mark.parametrize("phase", ["train", "finetune"])
def test_a_weight_for_an_unknown_class_names_the_key_and_the_classes(configure, phase):
    expected = rf"^{phase}\.class_weight: unknown class 'd'; the classes are 'a', 'b', 'c'$"
    with pytest.raises(PipelineError, match=expected):
        weights(configure, {"d": 2}, phase=phase)
