"""The computing cost of a network."""

import keras
import pytest

from pipeline.models.graph import count_macs
from tests.support.training import classifier


def test_multiply_adds_of_known_networks(configure):
    # M. Tan, Q. Le (2019): EfficientNet-Lite0 takes 407 million, of which its classifier 1.3.
    model = classifier(configure("backbone.weights=random", "image_size=224"))
    assert count_macs(model.get_layer("backbone")) == pytest.approx(385e6, rel=0.02)
    features = keras.layers.Input((7,))
    assert count_macs(keras.Model(features, keras.layers.Dense(5)(features))) == 35
