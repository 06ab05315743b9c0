"""The rule by which a challenger becomes champion."""

import numpy as np
import pandas as pd
import pytest

from pipeline.comparison.experiments import Experiment
from pipeline.config import RegisterConfig
from pipeline.deployment.gate import (
    compare_with_champion,
    decide,
    hits_on_same_images,
)
from pipeline.evaluation.significance import compare_hits
from pipeline.system.errors import PipelineError
from pipeline.tracking.store import connect

REGISTER = RegisterConfig(name="test", model="classifier", margin=0.01, cost="latency", saving=0.02)


def predictions(hits):
    """A table as evaluate writes it, in an order of its own."""
    labels = np.where(np.arange(len(hits)) % 2, "cat", "dog")
    other = np.where(labels == "cat", "dog", "cat")
    table = pd.DataFrame(
        {
            "sha256": [f"{number:064}" for number in range(len(hits))],
            "label": labels,
            "prediction": np.where(hits, labels, other),
        }
    )
    return table.sample(frac=1, random_state=int(hits.sum()))


def right(count, of=1000):
    return np.arange(of) < count


@pytest.mark.parametrize(
    ("champion", "challenger", "costs", "promoted", "why"),
    [
        (right(900), right(930), (1, 9), True, "is significantly better"),
        # A few images more, by chance as likely.
        (right(900), right(902), (1, 2), False, "neither significantly better nor cheaper"),
        (right(900), right(902), (2, 1), True, "not worse .* and cheaper"),
        (right(900), right(899), (2, 1), True, "not worse .* and cheaper"),
        # Cheaper by as little as chance gives.
        (right(900), right(902), (2, 1.99), False, "nor cheaper by register.saving=0.02"),
        # Cheaper, and nobody knows whether worse.
        (right(900), np.roll(right(900), 60), (2, 1), False, "may be worse"),
        (right(930), right(900), (2, 1), False, "may be worse"),
        (right(900), right(900), (1, 1), False, "neither"),
    ],
)
def test_the_rule(champion, challenger, costs, promoted, why):
    difference = compare_hits(*hits_on_same_images(predictions(champion), predictions(challenger)), 0.95)
    assert difference.value == pytest.approx(challenger.mean() - champion.mean())
    decision = decide(difference, costs, REGISTER, 0.95)
    assert decision.promoted is promoted
    assert pd.Series(decision.reason).str.contains(why).all()
    assert decision.record()["challenger_cost"] == costs[1]
    assert {"mcnemar_p", "accuracy_difference_low", "margin", "gained", "lost"} <= set(decision.record())


def test_only_the_same_images_are_compared():
    first, second = hits_on_same_images(predictions(right(3, 10)), predictions(right(7, 10)))
    assert first.tolist() == right(3, 10).tolist()
    assert second.tolist() == right(7, 10).tolist()
    with pytest.raises(PipelineError, match="different test images"):
        hits_on_same_images(predictions(right(3, 10)), predictions(right(3, 11)))


def test_a_champion_whose_run_is_gone_is_not_compared(configure):
    config = configure()
    connect(config.tracking)
    decision = compare_with_champion("f" * 32, Experiment("0" * 32, "challenger", 0, {}, {}, {}), config)
    assert not decision.promoted
    assert "of champion or challenger was deleted" in decision.reason
