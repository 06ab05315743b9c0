"""Numeric precision of the frozen and the trainable part, and the fastest one of this device."""

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

# Multiply-adds for each value read or written, above which reduced precision gains more than converting values costs.
_MIN_MACS_PER_VALUE = 100


def frozen_arithmetic(precision: str) -> str:
    """Return the dtype that a frozen network computes in: of `hardware.precision`, or for auto the device's fastest."""
    return _fastest_dtype() if precision == "auto" else precision.removeprefix("mixed_")


@dataclass(frozen=True)
class Arithmetic:
    """Precision that the layers of a backbone's trainable part compute in; their weights are always float32."""

    policy: str
    """A Keras dtype policy."""
    all_layers: bool = True
    """False: in wide layers only, the others in float32."""

    def policy_of(self, layer: keras.layers.Layer) -> keras.DTypePolicy:
        """Return the dtype policy of one layer, which may be a convolution that absorbed a BatchNormalization."""
        # The latter holds the convolution.
        fits = self.all_layers or _macs_per_value(getattr(layer, "convolution", layer)) >= _MIN_MACS_PER_VALUE
        return keras.dtype_policies.get(self.policy if fits else "float32")

    def __str__(self) -> str:
        return self.policy if self.all_layers else f"{self.policy} in wide layers"


def _macs_per_value(layer: keras.layers.Layer) -> float:
    """Return the multiply-adds of a convolution or dense layer for each value read or written; 0 for others."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None or len(kernel.shape) < 2:
        return 0.0
    return math.prod(kernel.shape) / sum(kernel.shape[-2:])


def trainable_arithmetic(precision: str, model: keras.Model) -> Arithmetic:
    """Return the arithmetic for the trainable part of a backbone.

    For auto it is the device's fastest. On CPUs the gradients of depthwise convolutions are slower in bfloat16 than in
    float32, so that networks which have them use reduced precision there in wide layers only.

    Args:
        precision: `hardware.precision`.
        model: the trainable part.
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
    """Return the dtype that this device multiplies fastest, of those that networks are trained in."""
    if gpus := tf.config.list_physical_devices("GPU"):
        # Tensor cores multiply float16 from Volta (7.0) on, and from Ampere (8.0) on bfloat16, without loss scaling.
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    return "bfloat16" if cpu_bfloat16_instructions() else "float32"


def cpu_bfloat16_instructions() -> list[str]:
    """Return the processor's instructions that multiply bfloat16; none on systems other than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return sorted({"amx_bf16", "avx512_bf16"} & set(flags))
