"""Set up the machine for a training: precision, threads, determinism, devices."""

import functools
import gc
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from pipeline.config import HardwareConfig
from pipeline.errors import PipelineError
from pipeline.sharing import threads
from pipeline.workers import joined

log = logging.getLogger(__name__)
# Multiplications for each number read or written, from which on short floats gain more than it costs to convert what comes in and goes out.
_WIDE = 100
# Each phase and each job of a sweep traces its own functions, of which TensorFlow warns as of one function's misuse.
tf.get_logger().addFilter(lambda record: "triggered tf.function retracing" not in record.getMessage())


def set_up(hardware: HardwareConfig, seed: int) -> tf.distribute.Strategy:
    """Apply `hardware` to this process, seed every generator, and forget the models of an earlier job.

    Returns:
        the strategy in whose scope models are built and compiled.

    Raises:
        PipelineError: the process has already begun with other thread counts.
    """
    gpus = tf.config.list_physical_devices("GPU")
    try:
        # Before anything that starts TensorFlow's runtime, which fixes them.
        tf.config.threading.set_intra_op_parallelism_threads(threads(hardware.intra_op_threads))
        tf.config.threading.set_inter_op_parallelism_threads(threads(hardware.inter_op_threads))
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, hardware.memory_growth)
    except RuntimeError as error:
        raise PipelineError(
            f"hardware: threads and GPU memory can't change within one process ({error}); run jobs that differ in them as separate commands"
        ) from error
    # Collects garbage too: models hold on to themselves in circles, and a sweep's jobs share a process.
    keras.backend.clear_session()
    _exempt_imports_from_collection()
    keras.utils.set_random_seed(seed)
    if hardware.deterministic:
        tf.config.experimental.enable_op_determinism()
    elif is_op_determinism_enabled():
        raise PipelineError(
            "hardware.deterministic can't be switched off within one process; run such jobs as separate commands"
        )
    if not gpus and nvidia_gpu_present():
        log.warning(
            "THIS MACHINE HAS AN NVIDIA GPU THAT TENSORFLOW DOES NOT SEE: training on the CPU. "
            "Install requirements-gpu.lock (remove .venv and run make again), and check that nvidia-smi works"
        )
    return _strategy(hardware.strategy, len(gpus))


@functools.cache
def _exempt_imports_from_collection() -> None:
    """What is imported by now lives as long as the process: a million objects that each collection would look through."""
    gc.freeze()


def _strategy(name: str, gpus: int) -> tf.distribute.Strategy:
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        return joined()
    devices = [device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU")]
    if len(devices) == 1:
        log.warning("hardware.strategy=mirrored: there is one device only, %s", devices[0])
    return tf.distribute.MirroredStrategy(devices)


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
        fits = self.everywhere or _multiplications_a_number(getattr(layer, "convolution", layer)) >= _WIDE
        return keras.dtype_policies.get(self.policy if fits else "float32")

    def __str__(self) -> str:
        return self.policy if self.everywhere else f"{self.policy} in wide layers"


def _multiplications_a_number(layer: keras.layers.Layer) -> float:
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


def nvidia_gpu_present() -> bool:
    """Whether the system's driver knows an NVIDIA GPU, whatever TensorFlow sees."""
    # Linux's driver, its device where /proc is hidden, and Windows's driver seen from WSL; the Makefile looks at the same places.
    places = (*Path("/proc/driver/nvidia").glob("gpus/*"), Path("/dev/nvidia0"), Path("/usr/lib/wsl/lib/nvidia-smi"))
    return any(place.exists() for place in places)


def description() -> dict[str, str]:
    """What a result depends on and a configuration can't say: devices, threads, builds."""
    build = tf.sysconfig.get_build_info()
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "devices": ", ".join(gpus) or "CPU",
        "cores": str(os.cpu_count()),
        "intra_op_threads": str(tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()),
        "inter_op_threads": str(tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count()),
        "cpu_short_floats": " ".join(_cpu_bfloat16()) or "none",
        "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"],
        "tensorflow": f"{tf.__version__} ({'CUDA ' + build['cuda_version'] if build.get('cuda_version') else 'CPU build'})",
        "keras": keras.__version__,
    }
