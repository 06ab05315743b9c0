"""Heat maps: against gradients of the whole network, where the image speaks, for every backbone."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.evaluation.gradcam import heatmaps, map_cells
from pipeline.visuals.pages import overlay
from tests.support.backbones import BACKBONES, small
from tests.support.training import classifier, extraction_parts, finetuning_parts

FEW = ("efficientnet_lite0", "mobilenet_v2", "scratch_cnn")


@pytest.fixture(autouse=True)
def _fresh():
    keras.backend.clear_session()
    # Models hold on to themselves in circles.
    gc.collect()
    keras.utils.set_random_seed(1)


def made_pictures(size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[] if each in FEW else [pytest.mark.every_backbone]) for each in BACKBONES],
)
def test_every_backbone_can_be_asked_where_it_looks(name):
    config = small(name)
    model = classifier(config)
    images = made_pictures(config.image_size)
    maps = heatmaps(model, images, np.array([0, 2]))
    assert maps.shape == images.shape[:3]
    assert np.isfinite(maps).all()
    assert (maps >= 0).all()
    assert all(each.max() in (0, pytest.approx(1)) for each in maps)
    assert overlay(images[0], maps[0]).dtype == np.uint8


@pytest.mark.parametrize("name", FEW)
def test_the_parts_of_both_phases_give_the_same_maps(name):
    """In float32, where folding alone sets them apart from the model."""
    config = small(name, "hardware.precision=float32")
    model, images = classifier(config), made_pictures(config.image_size)
    asked = np.array([0, 2])
    expected = heatmaps(model, images, asked)
    for parts in (extraction_parts(config, model), finetuning_parts(config, model)):
        with parts.in_their_arithmetic():
            np.testing.assert_allclose(heatmaps(model, images, asked, parts.feature_maps), expected, atol=1e-3)


def test_it_is_the_gradient_of_the_logit_with_a_hidden_layer_too():
    """Against the whole network with its softmax taken off, by one tape."""
    config = small("scratch_cnn", "train.hidden_units=8")
    images = made_pictures(64)
    config.image_size = 64
    model = classifier(config)
    model.get_layer("head").layers[-1].activation = keras.activations.linear
    with tf.GradientTape() as tape:
        features = model.get_layer("backbone")(model.get_layer("preprocessing")(images))
        tape.watch(features)
        logit = model.get_layer("head")(model.get_layer("pooling")(features))[:, 1]
    weights = tf.reduce_mean(tape.gradient(logit, features), axis=(1, 2), keepdims=True)
    expected = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy()
    found = heatmaps(model, images, np.array([1, 1]))
    # At the middle of each of the 4 x 4 cells, up to interpolation and scale.
    centres = found[:, 8::16, 8::16]
    for cells, image in zip(expected, centres, strict=True):
        if cells.max() > 0:
            assert np.corrcoef(cells.ravel(), image.ravel())[0, 1] > 0.9


def test_it_glows_where_the_class_is():
    """A network that counts red says that it looks at the red corner."""
    config = small("scratch_cnn")
    config.image_size = 64
    model = classifier(config, 2)
    backbone = model.get_layer("backbone")
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, np.float32)
            # The first channel is passed on.
            kernel[1, 1, 0, 0] = 1 / 255 if layer.kernel.shape[2] == 3 else 1
            layer.set_weights([kernel, np.zeros(layer.bias.shape, np.float32)])
    weights = np.zeros((128, 2), np.float32)
    weights[0] = [5, -5]
    model.get_layer("head").layers[-1].set_weights([weights, np.zeros(2, np.float32)])
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, :20, :20, 0] = 255
    red, other = heatmaps(model, image.repeat(2, axis=0), np.array([0, 1]))
    assert np.unravel_index(red.argmax(), red.shape) < (20, 20)
    assert red[40:, 40:].max() == 0
    assert other.max() == 0


@pytest.mark.parametrize("size", [[96, 192], [192, 96]])
def test_it_glows_at_the_place_in_a_rectangle(size):
    """The maximum of a convolutional network's map is where the cell of its feature maps is."""
    config = small("scratch_cnn")
    config.image_size = size
    model = classifier(config, 2)
    images = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    height, width = size
    maps = np.zeros((2, height // 16, width // 16, 128), np.float32)
    maps[0, 1, -2] = maps[1, -1, 0] = 1
    head = model.get_layer("head").layers[-1]
    head.kernel.assign(np.ones(head.kernel.shape))
    found = heatmaps(model, images, np.array([0, 1]), lambda batch: tf.constant(maps))
    assert map_cells(model) == (height // 16, width // 16)
    for each, (row, column) in zip(found, ((24, width - 24), (height - 8, 8)), strict=True):
        place = np.unravel_index(each.argmax(), each.shape)
        assert np.abs(np.subtract(place, (row, column))).max() <= 8
