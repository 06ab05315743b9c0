"""Setup of a process for training: threads, determinism, devices, distribution strategy and other workers."""

import functools
import gc
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.framework.config import is_op_determinism_enabled

from pipeline.config import HardwareConfig
from pipeline.models.precision import cpu_bfloat16_instructions, frozen_arithmetic
from pipeline.system import nvidia_smi
from pipeline.system.cuda import cudnn_version
from pipeline.system.errors import PipelineError
from pipeline.system.gpu import nvidia_gpu_present
from pipeline.system.machine import threads
from pipeline.system.nvidia_smi import Gpu
from pipeline.system.processes import TF_CONFIG_EXAMPLE
from pipeline.training import gpu_messages
from pipeline.training.workers import connect, is_connected, joined

log = logging.getLogger(__name__)

# Each phase and each job of a sweep traces its own functions, which TensorFlow mistakes for retracing one function.
tf.get_logger().addFilter(lambda record: "triggered tf.function retracing" not in record.getMessage())


# Excludes existing objects from garbage collection: about a million objects of imported modules that are never freed.
_freeze_once = functools.cache(gc.freeze)


def set_up(hardware: HardwareConfig, seed: int) -> tf.distribute.Strategy:
    """Set up threads, GPUs, determinism and random generators, and release the models of an earlier job.

    Returns:
        The distribution strategy in whose scope models are built and compiled.

    Raises:
        PipelineError: An earlier job of this process has set other threads, GPU memory or determinism.
    """
    gpus = tf.config.list_physical_devices("GPU")
    try:
        # These settings can't be changed once TensorFlow's runtime has started.
        _set_threads(hardware)
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, hardware.memory_growth)
    except RuntimeError as error:
        raise PipelineError(
            f"hardware: threads and GPU memory can't change within one process ({error}); run jobs that differ in them "
            "as separate commands"
        ) from error
    _release_gradients()
    # This also collects garbage, since models have reference cycles, and jobs of a sweep share a process.
    keras.backend.clear_session()
    _freeze_once()
    keras.utils.set_random_seed(seed)
    if hardware.deterministic:
        tf.config.experimental.enable_op_determinism()
    elif is_op_determinism_enabled():
        raise PipelineError(
            "hardware.deterministic can't be switched off after a deterministic job in the same process; run such jobs as "
            "separate commands"
        )
    _warn_of_gpus()
    if message := gpu_messages.no_xla(jit_compile=hardware.jit_compile, deterministic=hardware.deterministic):
        _warn_once(message)
    strategy = _strategy(hardware.strategy, len(gpus))
    _check_xla(hardware, strategy)
    if gpus:
        _start_gpus()
    return strategy


@functools.cache
def _start_gpus() -> None:
    """Start CUDA in a thread, once in a process: it takes seconds, in which images can be decoded."""
    threading.Thread(target=first_operations, args=("GPU",), name="first operations", daemon=True).start()


def first_operations(kind: str) -> None:
    """Load the libraries of convolutions and matrix products by one of each, on each device of a kind (GPU, CPU)."""
    for device in tf.config.list_logical_devices(kind):
        with tf.device(device.name):
            maps = tf.nn.conv2d(tf.zeros((1, 8, 8, 3)), tf.zeros((3, 3, 3, 8)), 1, "SAME")
            tf.linalg.matmul(tf.reshape(maps, (64, 8)), tf.zeros((8, 8)))


def _release_gradients() -> None:
    """Remove the custom gradients of earlier models, with which TensorFlow would keep their graphs and images.

    Each trained model has some, since Keras's optimizers sum gradients by an operation with a custom gradient.
    """
    for name in list(ops.gradient_registry.list()):
        if name.startswith("CustomGradient-"):
            del ops.gradient_registry._registry[name]


@functools.cache
def _warn_once(message: str) -> None:
    log.warning(message)


@functools.cache
def _warn_of_gpus() -> None:
    """Warn once of a GPU that is not used, and of what hinders those that are."""
    seen = tf.config.list_physical_devices("GPU")
    if not seen:
        if nvidia_gpu_present():
            log.warning(gpu_messages.unused_gpu(os.environ))
        return
    details = list(map(tf.config.experimental.get_device_details, seen))
    built_for = tf.sysconfig.get_build_info().get("cuda_compute_capabilities", [])
    found = nvidia_smi.gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    processes = nvidia_smi.processes()
    for message in (
        *(gpu_messages.too_new(each, built_for, tf.__version__) for each in details),
        *(message for gpu in found for message in gpu_messages.shared(gpu, processes)),
    ):
        if message:
            log.warning(message)


def _check_xla(hardware: HardwareConfig, strategy: tf.distribute.Strategy) -> None:
    """Refuse what the configuration's check refuses too, where the devices have decided on float16 or on mirroring."""
    mirrored = isinstance(strategy, tf.distribute.MirroredStrategy | tf.distribute.MultiWorkerMirroredStrategy)
    if hardware.jit_compile and mirrored and frozen_arithmetic(hardware.precision) == "float16":
        raise PipelineError(
            f"hardware.jit_compile: invalid value true with hardware.strategy={hardware.strategy} in float16 on these "
            "GPUs; use jit_compile=false or precision=float32"
        )


def _set_threads(hardware: HardwareConfig) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads(hardware.intra_op_threads))
    tf.config.threading.set_inter_op_parallelism_threads(threads(hardware.inter_op_threads))


def _strategy(name: str, gpus: int) -> tf.distribute.Strategy:
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        return joined()
    devices = [device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU")]
    if len(devices) == 1:
        if name == "auto":
            return tf.distribute.get_strategy()
        log.warning("hardware.strategy=mirrored: this machine has only one device, %s", devices[0])
    return _mirrored(*devices)


@functools.cache
def _mirrored(*devices: str) -> tf.distribute.MirroredStrategy:
    """Return the strategy for devices, one for all phases: those of a second one would meet the first one's sums."""
    return tf.distribute.MirroredStrategy(devices)


def describe_machine() -> dict[str, str]:
    """Return the devices, threads and library builds on which the digits of features and results depend."""
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
        "cpu_short_floats": " ".join(cpu_bfloat16_instructions()) or "none",
        "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"],
        "tensorflow": f"{tf.__version__} ({'CUDA ' + build['cuda_version'] if build.get('cuda_version') else 'CPU build'})",
        "keras": keras.__version__,
    }


def describe_environment() -> dict[str, str]:
    """Return the machine, and on a GPU also what else helps to repeat or to explain a result; no key depends on it."""
    seen = tf.config.list_physical_devices("GPU")
    return describe_machine() | (_describe_gpus(seen) if seen else {})


def _describe_gpus(seen: list[tf.config.PhysicalDevice]) -> dict[str, str]:
    details = list(map(tf.config.experimental.get_device_details, seen))
    return describe_gpus(details, nvidia_smi.gpus(os.environ.get("CUDA_VISIBLE_DEVICES")), os.environ) | {
        "cuda": tf.sysconfig.get_build_info().get("cuda_version", "unknown"),
        "cudnn": cudnn_version() or "unknown",
        "precision": f"auto is {frozen_arithmetic('auto')}",
        "tf32": str(tf.config.experimental.tensor_float_32_execution_enabled()).lower(),
        "deterministic": str(is_op_determinism_enabled()).lower(),
    }


def describe_gpus(details: list[dict[str, Any]], found: list[Gpu], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the properties of GPUs, as text.

    Args:
        details: Device details by TensorFlow.
        found: The same GPUs by nvidia-smi; empty without it.
        environment: Environment variables of this process.
    """
    capabilities = [".".join(map(str, each.get("compute_capability", ("unknown",)))) for each in details]
    return {
        "compute_capability": ", ".join(capabilities),
        "gpu_memory_mib": ", ".join(str(gpu.total_mib) for gpu in found) or "unknown",
        "driver": ", ".join(sorted({gpu.driver for gpu in found})) or "unknown",
        "gpu_allocator": environment.get("TF_GPU_ALLOCATOR", "default"),
    }


def join(hardware: HardwareConfig) -> None:
    """Connect to the other workers, and wait for them; call it before any other use of TensorFlow.

    Raises:
        PipelineError: The environment variable TF_CONFIG is not set.
    """
    if is_connected():
        return
    if "TF_CONFIG" not in os.environ:
        raise PipelineError(
            f"hardware.strategy=multi_worker needs the environment variable TF_CONFIG: {TF_CONFIG_EXAMPLE}"
        )
    _set_threads(hardware)
    connect()
