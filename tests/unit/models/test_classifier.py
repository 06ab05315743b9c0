"""A classifier's head, and its form for another size of images."""

import keras
import numpy as np
import pytest

from pipeline.models.classifier import with_input_size
from pipeline.system.errors import PipelineError
from tests.support.backbones import small, small_classifier
from tests.support.training import classifier


def test_an_optional_hidden_layer_and_its_penalty(configure):
    config = configure("train.hidden_units=7", "train.l2=0.5", "backbone=scratch_cnn")
    head = classifier(config).get_layer("head")
    assert [layer.name for layer in head.layers] == ["dropout", "hidden", "probabilities"]
    assert head.get_layer("hidden").units == 7
    assert len(head.losses) == 2
    assert isinstance(head.get_layer("probabilities").kernel_regularizer, keras.regularizers.L2)


@pytest.mark.parametrize("hidden", [0, 7])
def test_a_new_head_guesses(configure, hidden):
    head = classifier(configure("backbone=scratch_cnn", f"train.hidden_units={hidden}")).get_layer("head")
    features = 1000 * np.random.default_rng(1).random((4, 128), np.float32)
    np.testing.assert_array_equal(head(features), np.full((4, 3), 1 / 3, np.float32))


def test_another_size_shares_the_weights(configure):
    model = classifier(configure("backbone.weights=random", "image_size=64"))
    resized = with_input_size(model, 32)
    assert {id(each) for each in resized.weights} == {id(each) for each in model.weights}
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert resized(pixels).shape == (2, 3)


def test_a_rectangle_is_taken_by_height_and_width(configure):
    model = classifier(configure("backbone.weights=random", "image_size=[64,96]"))
    assert model.input_shape == (None, 64, 96, 3)
    assert model.get_layer("backbone").output_shape[1:3] == (2, 3)
    other = with_input_size(model, [96, 32])
    assert other.get_layer("backbone").output_shape[1:3] == (3, 1)
    assert {id(each) for each in other.weights} == {id(each) for each in model.weights}


def test_a_backbone_whose_inner_networks_have_one_size_is_refused():
    model = small_classifier(small("convnext_tiny"))
    with pytest.raises(PipelineError, match=r"^finetune\.image_size: this backbone contains networks .*; use null$"):
        with_input_size(model, 64)
