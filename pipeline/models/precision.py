"""Numeric precision of the frozen and the trainable part of a classifier, and the fastest dtype of the device."""

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

# Multiply-adds per value read or written, above which reduced precision is faster despite the conversion of values.
_MIN_MACS_PER_VALUE = 100


def frozen_arithmetic(precision: str) -> str:
    """Return the dtype that a frozen network computes in, which for `hardware.precision=auto` is the fastest one."""
    return _fastest_dtype() if precision == "auto" else precision.removeprefix("mixed_")


@dataclass(frozen=True)
class Arithmetic:
    """Precision of the computation in a backbone's trainable part; weights are always float32."""

    policy: str
    """Keras dtype policy."""
    all_layers: bool = True
    """Whether all layers use `policy`; if False, only wide layers do, and the others use float32."""

    def policy_of(self, layer: keras.layers.Layer) -> keras.DTypePolicy:
        """Return the dtype policy of a layer, which may be a convolution fused with BatchNormalization."""
        # A fused layer has its convolution as an attribute.
        fits = self.all_layers or _macs_per_value(getattr(layer, "convolution", layer)) >= _MIN_MACS_PER_VALUE
        return keras.dtype_policies.get(self.policy if fits else "float32")

    def __str__(self) -> str:
        return self.policy if self.all_layers else f"{self.policy} in wide layers"


def _macs_per_value(layer: keras.layers.Layer) -> float:
    """Return the multiply-adds of a convolution or dense layer per value read or written; 0 for other layers."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None or len(kernel.shape) < 2:
        return 0.0
    return math.prod(kernel.shape) / sum(kernel.shape[-2:])


def trainable_arithmetic(precision: str, model: keras.Model) -> Arithmetic:
    """Return the precision for the trainable part of a backbone.

    For auto, it is the fastest of the device. On CPUs, the gradients of depthwise convolutions are slower in bfloat16
    than in float32. Networks that have them use reduced precision in wide layers only.

    Args:
        precision: Setting `hardware.precision`.
        model: Trainable part of the backbone.
    """
    if precision != "auto":
        return Arithmetic(precision)
    dtype = _fastest_dtype()
    if dtype == "float32":
        return Arithmetic(dtype)
    depthwise = (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    on_cpu = not tf.config.list_physical_devices("GPU")
    slow = on_cpu and any(isinstance(layer, depthwise) for layer in model.layers)
    return Arithmetic(f"mixed_{dtype}", all_layers=not slow)


def _fastest_dtype() -> str:
    """Return the fastest dtype of this device for training: float32, bfloat16 or float16."""
    if gpus := tf.config.list_physical_devices("GPU"):
        # Tensor cores support float16 from Volta (7.0) on, and bfloat16, without loss scaling, from Ampere (8.0) on.
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    return "bfloat16" if cpu_bfloat16_instructions() else "float32"


def cpu_bfloat16_instructions() -> list[str]:
    """Return the names of the processor's bfloat16 instructions; empty on systems other than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return sorted({"amx_bf16", "avx512_bf16"} & set(flags))
