"""Setting up a process; a mirrored training equals one on one device."""

import gc
import json
from collections import Counter

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

from pipeline.inputs.images import DecodedImages
from pipeline.system.nvidia_smi import Gpu
from pipeline.training import hardware
from tests.support.training import fit

MIRRORED = """
import json, sys
from pathlib import Path
import pipeline
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from pipeline.config.compose import composed
from pipeline.config.validate import check
from tests.support.training import run_stages

run_stages(check(composed(json.loads(sys.argv[1]))), Path(sys.argv[2]), "prepare", "train")
"""


@pytest.mark.slow
def test_mirrored_on_two_logical_devices_agrees_with_one(command, tmp_path, images):
    (tmp_path / "mirrored.py").write_text(MIRRORED)
    overrides = [
        "dataset=folder",
        f"dataset.path={images}",
        "image_size=32",
        "backbone=efficientnet_lite0",
        "train.epochs=2",
        "train.dropout=0",
        f"cache_folder={tmp_path}/cache",
    ]
    histories = []
    for strategy in ("one_device", "mirrored", "auto"):
        out = tmp_path / strategy
        ran = command("mirrored", json.dumps([*overrides, f"hardware.strategy={strategy}"]), str(out))
        assert ran.returncode == 0, ran.stderr
        # With fewer than two devices a mirrored training is one on one device.
        assert "only one device" not in ran.stderr
        rows = (out / "train" / "history.csv").read_text().splitlines()[1:]
        histories.append([[float(value) for value in row.split(",")] for row in rows])
    alone, mirrored, auto = histories
    assert alone == [pytest.approx(row, rel=1e-3, abs=1e-6) for row in mirrored]
    # Sums over two devices are rounded otherwise than those of one.
    assert auto == mirrored != alone


def test_auto_is_one_device_where_there_is_one(configure):
    assert not isinstance(
        hardware.set_up(configure("hardware.strategy=auto").hardware, 1), tf.distribute.MirroredStrategy
    )


def test_the_environment_is_what_a_result_depends_on():
    environment = hardware.describe_environment()
    assert environment["devices"] == "CPU"
    assert environment["tensorflow"].startswith("2.")
    # On a CPU nothing else is recorded: keys of cached features have all of it.
    assert environment == hardware.describe_machine()
    names = "devices cores intra_op_threads inter_op_threads cpu_short_floats onednn tensorflow keras"
    assert list(environment) == names.split()


def test_what_is_recorded_of_gpus():
    details = [{"device_name": "NVIDIA A100", "compute_capability": (8, 0)}]
    found = [Gpu("0", "GPU-aaaa", "NVIDIA A100", 40960, 40000, "550.54.15", mig=False)]
    described = hardware.describe_gpus(details, found, {"TF_GPU_ALLOCATOR": "cuda_malloc_async"})
    assert described == {
        "compute_capability": "8.0",
        "gpu_memory_mib": "40960",
        "driver": "550.54.15",
        "gpu_allocator": "cuda_malloc_async",
    }
    unknown = {"compute_capability": "unknown", "gpu_memory_mib": "unknown", "driver": "unknown"}
    assert hardware.describe_gpus([{}], [], {}) == unknown | {"gpu_allocator": "default"}


def test_xla_is_switched_off_by_determinism_which_is_said_once(configure, caplog):
    settings = configure("hardware.jit_compile=true").hardware
    for _ in range(2):
        hardware.set_up(settings, 1)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.warns(UserWarning, match="Proceeding with `jit_compile=False`"):
        network.compile("sgd", "mse", jit_compile=True)
    assert network.jit_compile is False
    assert [record.getMessage().partition(" has")[0] for record in caplog.records] == ["hardware.jit_compile=true"]


def test_a_job_releases_the_graphs_models_and_images_of_the_job_before(configure):
    config = configure("backbone=scratch_cnn", "hardware.precision=float32")
    kinds, remaining = (FuncGraph, keras.Model, DecodedImages), []
    for _ in range(3):
        fit(config, "finetune")
        hardware.set_up(config.hardware, 1)
        remaining.append(Counter(kind for each in gc.get_objects() for kind in kinds if isinstance(each, kind)))
    # The first job may leave functions that all jobs share.
    assert remaining[2] == remaining[1]


def test_tensorflow_warns_of_all_but_functions_traced_anew(caplog):
    logger = tf.get_logger()
    logger.warning("5 out of the last 5 calls to f triggered tf.function retracing.")
    logger.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]
