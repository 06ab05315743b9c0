"""A backbone takes its weights from a trained model, whatever stands around it there."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.models.backbones import build_backbone
from pipeline.models.classifier import BACKBONE, HEAD, build_classifier
from pipeline.models.saving import save_classifier
from pipeline.system.errors import PipelineError
from tests.support.backbones import small, small_classifier, trained_looking

IMAGES = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)


def features(backbone: keras.Model) -> np.ndarray:
    return np.asarray(backbone(IMAGES, training=False))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_the_backbone_is_the_trained_one_below_a_new_head(tmp_path, name):
    config, file = small(name), tmp_path / "model.keras"
    model = small_classifier(config)
    trained_looking(model)
    model.get_layer(HEAD).layers[-1].bias.assign([1, 2, 3])
    save_classifier(model, ["a", "b", "c"], file)
    own = replace(config.backbone, weights=str(file))
    again = build_classifier(own, config.train, 32, 5)
    np.testing.assert_array_equal(features(again.get_layer(BACKBONE)), features(model.get_layer(BACKBONE)))
    assert again.output_shape == (None, 5)
    assert not np.any(again.get_layer(HEAD).layers[-1].get_weights()[1])
    assert build_classifier(own, config.train, 64, 5).input_shape == (None, 64, 64, 3)


@pytest.mark.parametrize("nested", [True, False])
def test_a_model_of_plain_keras_may_contain_the_backbone(tmp_path, nested):
    keras.backend.clear_session()
    if nested:
        base = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
        top = [layers.GlobalAveragePooling2D(), layers.Dense(4)]
        model = keras.Sequential([layers.Input((32, 32, 3)), layers.Normalization(), base, *top])
    else:
        model = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), classes=4)
        base = keras.Model(model.inputs[0], model.get_layer("conv_pw_13_relu").output)
    trained_looking(base)
    model.save(tmp_path / "own.keras")
    own = build_backbone(replace(small("mobilenet").backbone, weights=str(tmp_path / "own.keras")), 32)
    np.testing.assert_allclose(features(own), features(base), atol=1e-6)


def test_unnamed_layers_are_found_by_their_order(tmp_path):
    def network() -> list[layers.Layer]:
        return [layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization(), layers.Conv2D(3, 3, padding="same")]

    from pipeline.models.trained_weights import take_weights

    model = keras.Sequential([layers.Input((32, 32, 3)), *network(), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    trained_looking(model)
    own = keras.Sequential([layers.Input((32, 32, 3)), *network()])
    take_weights(own, model, small("mobilenet").backbone, "own.keras")
    np.testing.assert_array_equal(features(own), features(keras.Sequential(model.layers[:3])))


def test_another_backbone_or_preprocessing_is_an_error_that_names_both(tmp_path):
    file = tmp_path / "model.keras"
    save_classifier(small_classifier(small("mobilenet")), ["a", "b", "c"], file)
    with pytest.raises(
        PipelineError, match=r"the model mobilenet in .* has other layers than backbone=vgg16"
    ) as caught:
        build_backbone(replace(small("vgg16").backbone, weights=str(file)), 32)
    assert len(str(caught.value).split()) < 60
    other = replace(small("mobilenet").backbone, weights=str(file), preprocessing="torch")
    with pytest.raises(PipelineError, match=r"^backbone.preprocessing: .* trained with another one than torch"):
        build_backbone(other, 32)


def test_code_in_a_model_is_not_run(tmp_path):
    file = tmp_path / "own.keras"
    keras.Sequential([layers.Input((32, 32, 3)), layers.Lambda(lambda x: x)]).save(file)
    with pytest.raises(PipelineError, match="no code in it was run"):
        build_backbone(replace(small("mobilenet").backbone, weights=str(file)), 32)


def test_a_rectangular_model_gives_its_weights_to_another_size(tmp_path):
    config, file = small("mobilenet"), tmp_path / "model.keras"
    model = build_classifier(config.backbone, config.train, [32, 64], 3)
    trained_looking(model)
    save_classifier(model, ["a", "b", "c"], file)
    again = build_backbone(replace(config.backbone, weights=str(file)), 32)
    for one, other in zip(again.weights, model.get_layer(BACKBONE).weights, strict=True):
        np.testing.assert_array_equal(one, other)
