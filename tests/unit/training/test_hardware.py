"""Setting up a process; a mirrored training equals one on one device."""

import gc
import json
import threading
from collections import Counter

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

from pipeline.inputs.images import DecodedImages
from pipeline.system.nvidia_smi import Gpu
from pipeline.training import hardware
from tests.support.hub import SIZE, preset_folder, small_network
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

run_stages(check(composed(json.loads(sys.argv[1]))), Path(sys.argv[2]), *sys.argv[3:])
"""


def histories(command, folder, phase: str, strategies: list[str], *overrides: str) -> list[list[list[float]]]:
    """What a phase logs of each epoch by each strategy, with two logical devices."""
    (folder / "mirrored.py").write_text(MIRRORED)
    shared, found = ["train.epochs=2", "train.dropout=0", f"cache_folder={folder}/cache"], []
    for strategy in strategies:
        out, settings = folder / strategy, json.dumps([*shared, *overrides, f"hardware.strategy={strategy}"])
        # Both phases in one process, as in a job.
        ran = command(
            "mirrored", settings, str(out), "prepare", "train", *(["finetune"] if phase == "finetune" else [])
        )
        assert ran.returncode == 0, ran.stderr
        # With fewer than two devices a mirrored training is one on one device.
        assert "only one device" not in ran.stderr
        rows = (out / phase / "history.csv").read_text().splitlines()[1:]
        found.append([[float(value) for value in row.split(",")] for row in rows])
    return found


@pytest.mark.slow
def test_mirrored_on_two_logical_devices_agrees_with_one(command, tmp_path, images):
    network = ["backbone=efficientnet_lite0", "image_size=32"]
    strategies = ["one_device", "mirrored", "auto"]
    one, two, auto = histories(
        command, tmp_path, "train", strategies, "dataset=folder", f"dataset.path={images}", *network
    )
    assert one == [pytest.approx(row, rel=1e-3, abs=1e-6) for row in two]
    # Sums over two devices are rounded otherwise than those of one.
    assert auto == two != one


def test_auto_is_one_device_where_there_is_one(configure):
    strategy = hardware.set_up(configure("hardware.strategy=auto").hardware, 1)
    assert not isinstance(strategy, tf.distribute.MirroredStrategy)


@pytest.mark.slow
def test_mirrored_low_rank_updates_agree_with_those_on_one_device(command, tmp_path, images):
    pytest.importorskip("keras_hub")
    preset = preset_folder(small_network("vit"), tmp_path / "vit")
    network = ["backbone=hub", f"backbone.preset={preset}", "backbone.min_image_size=8", f"image_size={SIZE}"]
    tuning = ["backbone.unfreeze=-2", "finetune=light", "finetune.epochs=2", "finetune.lora_rank=4"]
    options = [*network, *tuning, "finetune.learning_rate=0.01", "hardware.precision=float32"]
    strategies = ["one_device", "mirrored"]
    one, two = histories(
        command, tmp_path, "finetune", strategies, "dataset=folder", f"dataset.path={images}", *options
    )
    assert one == [pytest.approx(row, rel=1e-3, abs=1e-6) for row in two]


def test_no_gpu_is_started_on_a_cpu(configure):
    hardware.set_up(configure().hardware, 1)
    assert "first operations" not in {thread.name for thread in threading.enumerate()}
    # Where there is a GPU, the same runs on it; it draws no random numbers.
    tf.random.set_seed(1)
    expected = tf.random.uniform((3,)).numpy()
    tf.random.set_seed(1)
    hardware.first_operations("CPU")
    assert tf.random.uniform((3,)).numpy().tolist() == expected.tolist()


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
