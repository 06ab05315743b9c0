"""Depths by rule, several rounds, and contradictions among them."""

import re

import keras
import pytest

from pipeline.finetuning.rounds import finetune_rounds
from pipeline.models.graph import count_macs
from pipeline.system.errors import PipelineError
from tests.support.training import classifier


@pytest.fixture
def backbone_of(configure):
    def make(*overrides: str):
        config = configure("backbone.weights=random", *overrides)
        keras.utils.set_random_seed(1)
        return config, classifier(config).get_layer("backbone")

    return make


def test_auto_takes_the_whole_backbone_while_the_budget_allows_it(backbone_of, caplog):
    config, backbone = backbone_of("finetune.unfreeze=auto", "finetune.epochs=4")
    cost = count_macs(backbone) * 4 * 100 / 1e12
    config.finetune.budget = cost * 1.01
    with caplog.at_level("INFO", "pipeline"):
        [whole] = finetune_rounds(config.finetune, config.backbone, backbone, 100)
        [upper] = finetune_rounds(config.finetune, config.backbone, backbone, 102)
    assert (whole.settings.unfreeze, whole.first_layer) == ("all", 0)
    assert upper.settings.unfreeze == config.backbone.unfreeze == "block5a"
    assert backbone.layers[upper.first_layer].name.startswith("block5a_")
    assert "all of it is trained" in caplog.text
    assert "its upper part is trained, from block5a" in caplog.text


def test_a_round_sets_only_what_differs(backbone_of):
    overrides = "finetune.phases=[{unfreeze: none, epochs: 2}, {unfreeze: -1, learning_rate: 1e-4}]"
    config, backbone = backbone_of(overrides)
    rounds = finetune_rounds(config.finetune, config.backbone, backbone, 10)
    first, second = (each.settings for each in rounds)
    assert (first.unfreeze, first.epochs, first.learning_rate) == ("none", 2, config.finetune.learning_rate)
    assert (second.unfreeze, second.epochs, second.learning_rate) == (-1, config.finetune.epochs, 1e-4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "finetune.phases=[{unfreeze: all}, {unfreeze: -1}]",
            "round 2 (-1) freezes layers that round 1 (all) has trained",
        ),
        ("finetune.unfreeze=top_activation", "no trainable layer at or above 'top_activation'"),
        ("finetune.phases=[{unfreeze: blok5a}]", "did you mean block5a"),
    ],
)
def test_contradictions_say_what_to_do(backbone_of, override, message):
    config, backbone = backbone_of(override)
    with pytest.raises(PipelineError, match=re.escape(message)):
        finetune_rounds(config.finetune, config.backbone, backbone, 10)
