"""The head of a classifier."""

import keras

from tests.support.training import classifier


def test_an_optional_hidden_layer_and_its_penalty(configure):
    config = configure("train.hidden_units=7", "train.l2=0.5", "backbone=scratch_cnn")
    head = classifier(config).get_layer("head")
    assert [layer.name for layer in head.layers] == ["dropout", "hidden", "probabilities"]
    assert head.get_layer("hidden").units == 7
    assert len(head.losses) == 2
    assert isinstance(head.get_layer("probabilities").kernel_regularizer, keras.regularizers.L2)
