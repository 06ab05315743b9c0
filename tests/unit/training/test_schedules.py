"""Rates by step."""

import numpy as np
import pytest

from pipeline.training.optimizers import Rates


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["schedule=constant", "warmup_epochs=0"], [1, 1, 1, 1]),
        (["schedule=constant", "warmup_epochs=1"], [0, 1, 1, 1]),
        (["schedule=cosine", "warmup_epochs=0"], [1, 0.75, 0.25, 0]),
        (["schedule=cosine", "warmup_epochs=1"], [0, 1, 0.5, 0]),
        (["schedule=cosine", "warmup_epochs=1", "warmup_steps=20"], [0, 0.5, 1, 0]),
        (["schedule=step", "step_epochs=1", "step_factor=0.1", "warmup_epochs=0"], [1, 0.1, 0.01, 0.001]),
        (["schedule=step", "step_epochs=1", "step_factor=0.1", "warmup_epochs=1"], [0, 1, 0.1, 0.01]),
        (["schedule=one_cycle", "warmup_epochs=0"], [0.04, 0.9444, 0.4045, 0]),
    ],
)
def test_learning_rates(configure, given, expected):
    overrides = ["epochs=3", "learning_rate=1", *given]
    rates = Rates(configure(*(f"finetune.{each}" for each in overrides)).finetune, steps_per_epoch=10)
    if given[0] == "schedule=one_cycle":
        assert float(rates(9)) == 1
        expected = [0.04, (1 + np.cos(np.pi / 21)) / 2, (1 + np.cos(np.pi * 11 / 21)) / 2, 0]
    np.testing.assert_allclose([float(rates(step)) for step in (0, 10, 20, 30)], expected, atol=1e-6)
    np.testing.assert_allclose(rates.of(11)[[0, 10]], expected[:2], atol=1e-6)
