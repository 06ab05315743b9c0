"""Every backbone is exported in every format that computes in float32."""

import keras
import numpy as np
import pytest

from pipeline.config.size import height_width
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.exports.formats import FORMATS
from pipeline.models.classifier import build_classifier
from pipeline.tracking.classifier_files import Calibration
from tests.support.backbones import BACKBONES, small, trained_looking
from tests.support.hub import SIZE, preset_folder, small_network

# Converters take seconds to minutes.
USUAL = ("efficientnet_lite0",)
EVERY = [
    pytest.param(name, marks=pytest.mark.slow if name in USUAL else pytest.mark.every_backbone) for name in BACKBONES
]


def telling(model, images):
    """`model`, as if trained, with logits of about 1: of random features, probabilities may all be 0 or 1."""
    trained_looking(model)
    features = np.asarray(keras.Model(model.inputs[0], model.get_layer("pooling").output)(images))
    last = model.get_layer("head").layers[-1]
    # A new head has zeros.
    kernel = np.random.default_rng(1).normal(size=last.kernel.shape)
    last.kernel.assign(kernel / np.linalg.norm(features, axis=1).max())
    return model


def logits(probabilities):
    """Softmax's arguments, but for a number that it does not see."""
    logs = np.log(probabilities.astype(np.float64))
    return logs - logs.mean(axis=1, keepdims=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [name for name, each in FORMATS.items() if each.exact])
@pytest.mark.parametrize("name", EVERY)
def test_every_backbone_answers_alike_in_every_format(name, kind, tmp_path):
    check(small(name), kind, tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("kind", [name for name, each in FORMATS.items() if each.exact])
@pytest.mark.parametrize("family", ["dinov3", "siglip", "vit"])
def test_a_vision_transformer_answers_alike_in_every_format(family, kind, tmp_path):
    pytest.importorskip("keras_hub")
    folder = preset_folder(small_network(family), tmp_path / "preset")
    pooling = "attention" if family == "siglip" else "token_average"
    config = small("hub", f"backbone.preset={folder}", f"backbone.pooling={pooling}")
    config.image_size = SIZE
    check(config, kind, tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_rectangle_is_one_in_every_format(kind, tmp_path):
    config = small("scratch_cnn")
    config.image_size = [32, 64]
    exported = check(config, kind, tmp_path)
    assert exported.description["image_size"] == [32, 64]
    # A SavedModel does not compare the sides.
    if kind != "saved_model":
        with pytest.raises(Exception, match=r"shape|dimension|Dimension|incompatible"):
            exported.probabilities(np.zeros((1, 64, 32, 3), np.uint8))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("kind", [name for name, each in FORMATS.items() if each.exact])
def test_a_vision_transformer_of_rectangles_answers_alike_in_every_format(kind, tmp_path):
    pytest.importorskip("keras_hub")
    folder = preset_folder(small_network("dinov3"), tmp_path / "preset")
    config = small("hub", f"backbone.preset={folder}", "backbone.pooling=token_average")
    config.image_size = [SIZE, 2 * SIZE]
    check(config, kind, tmp_path)


def check(config, kind, tmp_path):
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    shape = (*height_width(config.image_size), 3)
    images = np.random.default_rng(1).integers(0, 256, (4, *shape), dtype=np.uint8)
    model = telling(build_classifier(config.backbone, config.train, config.image_size, 3), images)
    classifier = Classifier(model, ["a", "b", "c"], Calibration(), origin="a test")
    target, implementation = tmp_path / FORMATS[kind].target, FORMATS[kind].implementation()
    implementation.write(classifier, images, target)
    exported = implementation(target)
    tolerance = 1e-3 if FORMATS[kind].exact else 1
    np.testing.assert_allclose(
        logits(exported.probabilities(images)), logits(classifier.probabilities(images)), atol=tolerance
    )
    assert exported.description == classifier.description()
    return exported
