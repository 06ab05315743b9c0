"""The saved preprocessing equals what each network was pretrained with."""

import keras
import numpy as np
import pytest
import yaml

from pipeline.config.compose import CONF
from pipeline.config.training import HUB
from pipeline.models.efficientnet_lite import LITE
from pipeline.models.preprocessing import build_preprocessing

BACKBONES = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((CONF / "backbone").glob("*.yaml"))}
# Networks that Keras does not have.
OWN = {"scratch_cnn", HUB, *LITE}
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
MODULES = {
    "ConvNeXt": "convnext", "DenseNet": "densenet", "EfficientNetV2": "efficientnet_v2", "EfficientNetB": "efficientnet",
    "InceptionResNet": "inception_resnet_v2", "InceptionV3": "inception_v3", "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3", "MobileNet": "mobilenet", "NASNet": "nasnet", "VGG16": "vgg16", "VGG19": "vgg19", "Xception": "xception",
}  # fmt: skip


def module_of(constructor: str):
    if constructor.startswith("ResNet"):
        return keras.applications.resnet_v2 if constructor.endswith("V2") else keras.applications.resnet
    return getattr(
        keras.applications, next(module for prefix, module in MODULES.items() if constructor.startswith(prefix))
    )


@pytest.mark.parametrize("name", [name for name, each in BACKBONES.items() if each["constructor"] not in OWN])
def test_it_equals_keras_own(name):
    expected = module_of(BACKBONES[name]["constructor"]).preprocess_input(IMAGES.astype(np.float32))
    preprocessing = build_preprocessing(BACKBONES[name]["preprocessing"], 8)
    np.testing.assert_allclose(preprocessing(IMAGES), expected, atol=1e-4)


def test_every_constructor_of_keras_has_a_configuration():
    constructors = {name for name in dir(keras.applications) if name[0].isupper()}
    configured = {backbone["constructor"] for backbone in BACKBONES.values()}
    assert constructors == configured - OWN
    assert len(constructors) == 40


def test_lite():
    np.testing.assert_allclose(
        build_preprocessing("lite", 8)(IMAGES), (IMAGES.astype(np.float32) - 127) / 128, atol=1e-6
    )
