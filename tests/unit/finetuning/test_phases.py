"""Depths by rule, several phases, and contradictions among them."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from pipeline.finetuning.phases import finetune_phases
from pipeline.models.classifier import build_classifier
from pipeline.models.freezing import rate_factors
from pipeline.models.fused_training import absorb_frozen_batch_norm, branch_rates, with_input_size
from pipeline.models.graph import count_macs
from pipeline.system.errors import PipelineError


@pytest.fixture
def classifier(configure):
    def make(*overrides: str):
        config = configure("backbone.weights=random", *overrides)
        keras.utils.set_random_seed(1)
        return config, build_classifier(config, 3)

    return make


def test_multiplications_of_known_networks(classifier):
    # M. Tan, Q. Le (2019): EfficientNet-Lite0 takes 407 million, of which its classifier 1.3.
    _, model = classifier("image_size=224")
    assert count_macs(model.get_layer("backbone")) == pytest.approx(385e6, rel=0.02)
    features = keras.layers.Input((7,))
    assert count_macs(keras.Model(features, keras.layers.Dense(5)(features))) == 35


def test_auto_takes_the_whole_backbone_while_the_budget_allows_it(classifier, caplog):
    config, model = classifier("finetune.unfreeze=auto", "finetune.epochs=4")
    backbone = model.get_layer("backbone")
    cost = count_macs(backbone) * 4 * 100 / 1e12
    config.finetune.budget = cost * 1.01
    with caplog.at_level("INFO", "pipeline"):
        assert finetune_phases(config, backbone, 100)[0].unfreeze == "all"
        assert finetune_phases(config, backbone, 102)[0].unfreeze == config.backbone.unfreeze == "block5a"
    assert "all of it learns" in caplog.text
    assert "only its upper part learns, from block5a" in caplog.text


def test_a_phase_says_only_what_differs(classifier):
    config, model = classifier("finetune.phases=[{unfreeze: none, epochs: 2}, {unfreeze: -1, learning_rate: 1e-4}]")
    first, second = finetune_phases(config, model.get_layer("backbone"), 10)
    assert (first.unfreeze, first.epochs, first.learning_rate) == ("none", 2, config.finetune.learning_rate)
    assert (second.unfreeze, second.epochs, second.learning_rate) == (-1, config.finetune.epochs, 1e-4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("finetune.phases=[{unfreeze: all}, {unfreeze: -1}]", "freezes what phase 1 .all. has trained"),
        ("finetune.unfreeze=top_activation", "nothing learns from 'top_activation' on"),
        ("finetune.phases=[{unfreeze: blok5a}]", "did you mean block5a"),
    ],
)
def test_contradictions_say_what_to_do(classifier, given, said):
    config, model = classifier(given)
    with pytest.raises(PipelineError, match=said):
        finetune_phases(config, model.get_layer("backbone"), 10)


def test_rate_factors_go_by_blocks_from_the_top(classifier):
    config, model = classifier()
    backbone, head = model.get_layer("backbone"), model.get_layer("head")
    factors = rate_factors(backbone, head, config.backbone.blocks, 0.5, {"block7a": 0.1, "stem": 0.0})
    kernel = {
        name: factors[id(backbone.get_layer(f"{name}_conv").kernel)]
        for name in ("stem", "block6d_project", "block7a_project")
    }
    assert kernel == {"stem": 0.0, "block6d_project": 0.5, "block7a_project": 0.1}
    assert factors[id(head.layers[-1].kernel)] == 1
    with pytest.raises(PipelineError, match=r"block9 is no block .*there are stem, block1a|.*block9 is no block"):
        rate_factors(backbone, head, config.backbone.blocks, 1.0, {"block9": 1})


def test_another_size_shares_the_weights(classifier):
    _, model = classifier("image_size=64")
    small = with_input_size(model, 32)
    assert {id(each) for each in small.weights} == {id(each) for each in model.weights}
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert small(pixels).shape == (2, 3)


def test_branches_are_left_out_in_training_alone(classifier):
    config, model = classifier("image_size=32")
    backbone = model.get_layer("backbone")
    backbone.trainable = False
    rates = branch_rates(backbone, 0.9)
    assert len(rates) == 9
    assert max(rates.values()) == pytest.approx(0.9)
    network = absorb_frozen_batch_norm(backbone, rates)
    pixels = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    scale = np.abs(backbone(pixels)).max()
    np.testing.assert_allclose(network(pixels, training=False), backbone(pixels, training=False), atol=1e-4 * scale)
    assert np.abs(network(pixels, training=True) - backbone(pixels, training=False)).max() > 0.01 * scale
    assert not branch_rates(
        build_classifier(
            replace(config, backbone=replace(config.backbone, name="x", constructor="scratch_cnn")), 3
        ).get_layer("backbone"),
        0.5,
    )
