"""Setup of a process for training: threads, determinism, devices, distribution strategy and other workers."""

import functools
import gc
import logging
import os

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from pipeline.config import HardwareConfig
from pipeline.models.precision import cpu_bfloat16_instructions
from pipeline.system.errors import PipelineError
from pipeline.system.gpu import nvidia_gpu_present
from pipeline.system.machine import threads
from pipeline.system.processes import TF_CONFIG_EXAMPLE, worker_index

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
    if not gpus and nvidia_gpu_present():
        log.warning(
            "THIS MACHINE HAS AN NVIDIA GPU THAT TENSORFLOW CAN'T USE: training on the CPU. "
            "Install requirements-gpu.lock (remove .venv and run make again), and check that nvidia-smi works"
        )
    return _strategy(hardware.strategy, len(gpus))


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
        log.warning("hardware.strategy=mirrored: this machine has only one device, %s", devices[0])
    return tf.distribute.MirroredStrategy(devices)


def describe_environment() -> dict[str, str]:
    """Return the devices, threads and library builds that a result depends on besides its configuration."""
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


class Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """Multi-worker strategy of TensorFlow, adapted to Keras 3 (3.15)."""

    def reduce(self, reduce_op: tf.distribute.ReduceOp | str, value: object, axis: int | None = None) -> object:
        """Reduce a value over all replicas; also accept the tuples and scalars that Keras passes."""
        if isinstance(value, tuple):
            return tuple(self.experimental_local_results(each)[0] for each in value)
        if axis == 0 and self.experimental_local_results(value)[0].shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)


_joined: list[Workers] = []


def join(hardware: HardwareConfig) -> None:
    """Connect to the other workers, and wait for them; call it before any other use of TensorFlow.

    Raises:
        PipelineError: The environment variable TF_CONFIG is not set.
    """
    if _joined:
        return
    if "TF_CONFIG" not in os.environ:
        raise PipelineError(
            f"hardware.strategy=multi_worker needs the environment variable TF_CONFIG: {TF_CONFIG_EXAMPLE}"
        )
    _set_threads(hardware)
    log.info("worker %d: connecting to the other workers", worker_index())
    _joined.append(Workers())


def joined() -> Workers:
    """Return the distribution strategy that connects all workers.

    Raises:
        PipelineError: This process has not connected to the other workers; see `join`.
    """
    if not _joined:
        raise PipelineError(
            "hardware.strategy=multi_worker: this process is not connected to other workers. Run python -m pipeline, or "
            "one stage's command, on each machine; DVC and -m start only one process"
        )
    return _joined[0]


def broadcast(number: int) -> int:
    """Return the chief's `number` on every worker."""
    strategy = joined()
    summand = tf.constant(number if worker_index() == 0 else 0)

    @tf.function
    def total() -> object:
        return strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("sum", summand))

    # Each of the chief's GPUs is a replica, and adds the number once.
    replicas = len(strategy.extended.worker_devices)
    return int(strategy.experimental_local_results(total())[0]) // replicas
