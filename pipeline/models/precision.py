"""The arithmetic that a device computes fastest in, for the frozen and the trainable part."""

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

# Multiplications for each number read or written, from which on short floats gain more than it costs to convert what comes in and goes out.
_MIN_MACS_PER_VALUE = 100


def frozen_arithmetic(precision: str) -> str:
    """The dtype that a frozen network computes in: of `hardware.precision`, or under auto the device's fastest."""
    return _short_floats() if precision == "auto" else precision.removeprefix("mixed_")


@dataclass(frozen=True)
class Arithmetic:
    """What the layers of a backbone's part that learns compute in; their weights are float32 all the time."""

    policy: str
    """A Keras dtype policy."""
    everywhere: bool = True
    """Else in wide layers alone, the rest in float32."""

    def policy_of(self, layer: keras.layers.Layer) -> keras.DTypePolicy:
        """`layer` may be what absorbed the BatchNormalization after a convolution."""
        fits = self.everywhere or _macs_per_value(getattr(layer, "convolution", layer)) >= _MIN_MACS_PER_VALUE
        return keras.dtype_policies.get(self.policy if fits else "float32")

    def __str__(self) -> str:
        return self.policy if self.everywhere else f"{self.policy} in wide layers"


def _macs_per_value(layer: keras.layers.Layer) -> float:
    """How many a convolution or dense layer does for each number that it reads or writes; 0 for any other."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None or len(kernel.shape) < 2:
        return 0.0
    return math.prod(kernel.shape) / sum(kernel.shape[-2:])


def trainable_arithmetic(precision: str, model: keras.Model) -> Arithmetic:
    """The arithmetic for the part of a backbone that learns.

    Under auto it is the device's fastest. In networks with depthwise convolutions, whose gradients are slower in bfloat16 than in float32 on
    CPUs, that is short floats in wide layers alone there.
    """
    if precision != "auto":
        return Arithmetic(precision)
    short = _short_floats()
    if short == "float32":
        return Arithmetic(short)
    depthwise = (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    on_cpu = not tf.config.list_physical_devices("GPU")
    return Arithmetic(f"mixed_{short}", not (on_cpu and any(isinstance(layer, depthwise) for layer in model.layers)))


def _short_floats() -> str:
    """The shortest floating-point numbers that this device multiplies fast, of those that networks are trained with."""
    if gpus := tf.config.list_physical_devices("GPU"):
        # NVIDIA's tensor cores take float16 from Volta (7.0) on, and bfloat16, which needs no loss scaling, from Ampere (8.0) on.
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    return "bfloat16" if _cpu_bfloat16() else "float32"


def _cpu_bfloat16() -> list[str]:
    """The processor's instructions that multiply bfloat16; none where Linux does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return sorted({"amx_bf16", "avx512_bf16"} & set(flags))
