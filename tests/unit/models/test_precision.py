"""Which layers of the trainable part compute in reduced precision."""

import numpy as np
import pytest
from keras import layers

from pipeline.models import precision
from tests.support.training import classifier, finetuning_parts


@pytest.mark.parametrize(
    ("backbone", "depthwise", "expected"),
    [
        ("efficientnet_lite0", {"float32"}, "trainable mixed_bfloat16 in wide layers"),
        ("xception", {"float32"}, "trainable mixed_bfloat16 in wide layers"),
        ("resnet50", set(), "trainable mixed_bfloat16"),
    ],
)
def test_depthwise_convolutions_learn_in_float32_on_a_cpu_with_bfloat16(
    configure, monkeypatch, backbone, depthwise, expected
):
    monkeypatch.setattr(precision, "cpu_bfloat16_instructions", lambda: ["avx512_bf16"])
    own = [f"backbone={backbone}", "backbone.weights=random", "image_size=71", "hardware.precision=auto"]
    # The upper part, as the backbone names it.
    config = configure(*own, "finetune=light")
    parts = finetuning_parts(config, classifier(config, 2))
    assert parts.precision == f"frozen bfloat16, {expected}, head float32"
    with parts.in_their_arithmetic():
        chosen = [(getattr(layer, "convolution", layer), layer.dtype_policy.name) for layer in parts.upper.layers]
    kinds = (layers.DepthwiseConv2D, layers.SeparableConv2D)
    assert {policy for layer, policy in chosen if isinstance(layer, kinds)} == depthwise
    # One that multiplies often for each number: of 320 channels to 1280, of 512 to 512 in 3 x 3.
    widest = {policy for layer, policy in chosen if isinstance(layer, layers.Conv2D) and layer.filters in (512, 1280)}
    assert widest == (set() if backbone == "xception" else {"mixed_bfloat16"})


@pytest.mark.parametrize(
    ("shape", "policy"),
    [
        ((1, 1, 192, 1152), "mixed_bfloat16"),
        ((1, 1, 24, 144), "float32"),
        ((5, 5, 1152, 1), "float32"),
        ((768, 3072), "mixed_bfloat16"),
    ],
)
def test_wide_is_what_multiplies_often_for_each_number(shape, policy):
    layer = layers.Identity()
    layer.kernel = np.empty(shape)
    assert precision.Arithmetic("mixed_bfloat16", all_layers=False).policy_of(layer).name == policy
