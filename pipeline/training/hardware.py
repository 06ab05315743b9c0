"""Set up this process for training: threads, determinism, devices, strategy."""

import functools
import gc
import logging
import os
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from pipeline.config import HardwareConfig
from pipeline.models.precision import cpu_bfloat16_instructions
from pipeline.system.errors import PipelineError
from pipeline.system.machine import threads
from pipeline.training.multi_worker import joined

log = logging.getLogger(__name__)

# Each phase and each job of a sweep traces its own functions; TensorFlow takes them for one function traced again.
tf.get_logger().addFilter(lambda record: "triggered tf.function retracing" not in record.getMessage())


def set_up(hardware: HardwareConfig, seed: int) -> tf.distribute.Strategy:
    """Set up threads, GPUs, determinism and random generators, and release the models of an earlier job.

    Returns:
        the strategy in whose scope models are built and compiled.

    Raises:
        PipelineError: an earlier job of this process has fixed other threads, GPU memory or determinism.
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
            f"hardware: threads and GPU memory can't change within one process ({error}); run jobs that differ in them "
            "as separate commands"
        ) from error
    # Collects garbage too: models have reference cycles, and a sweep's jobs share a process.
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
    """Exempt what is imported by now from garbage collection: a million objects that live as long as the process."""
    gc.freeze()


def _strategy(name: str, gpus: int) -> tf.distribute.Strategy:
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        return joined()
    devices = [device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU")]
    if len(devices) == 1:
        log.warning("hardware.strategy=mirrored: this machine has one device only, %s", devices[0])
    return tf.distribute.MirroredStrategy(devices)


def nvidia_gpu_present() -> bool:
    """Return whether the system's driver has an NVIDIA GPU, whether or not TensorFlow sees it."""
    # Linux's driver, its device where /proc is hidden, Windows's driver seen from WSL; the Makefile checks the same.
    places = (*Path("/proc/driver/nvidia").glob("gpus/*"), Path("/dev/nvidia0"), Path("/usr/lib/wsl/lib/nvidia-smi"))
    return any(place.exists() for place in places)


def describe_environment() -> dict[str, str]:
    """Describe what a result depends on beside its configuration: devices, threads and builds."""
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
