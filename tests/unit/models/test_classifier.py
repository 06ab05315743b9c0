"""A classifier's head, and its form for another size of images."""

import keras
import numpy as np

from pipeline.models.classifier import with_input_size
from tests.support.training import classifier


def test_an_optional_hidden_layer_and_its_penalty(configure):
    config = configure("train.hidden_units=7", "train.l2=0.5", "backbone=scratch_cnn")
    head = classifier(config).get_layer("head")
    assert [layer.name for layer in head.layers] == ["dropout", "hidden", "probabilities"]
    assert head.get_layer("hidden").units == 7
    assert len(head.losses) == 2
    assert isinstance(head.get_layer("probabilities").kernel_regularizer, keras.regularizers.L2)


def test_another_size_shares_the_weights(configure):
    model = classifier(configure("backbone.weights=random", "image_size=64"))
    resized = with_input_size(model, 32)
    assert {id(each) for each in resized.weights} == {id(each) for each in model.weights}
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert resized(pixels).shape == (2, 3)
