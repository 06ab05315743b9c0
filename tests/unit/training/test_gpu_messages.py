"""What is said about GPUs that are not used, or shared."""

import importlib.util
import os
import re
from dataclasses import replace

import pytest
import tensorflow as tf

from pipeline.system.nvidia_smi import Gpu, GpuProcess
from pipeline.training import gpu_messages

GPU = Gpu("0", "GPU-aaaa", "NVIDIA A100", 40960, 40000, "550.54.15", mig=False)
ARCHITECTURES = ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"]


def gpu(*capability: int) -> dict:
    """Details of a device, as TensorFlow gives them."""
    return {"device_name": "NVIDIA B200", "compute_capability": capability}


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_hidden_gpu_is_named_as_the_users_choice(value):
    message = gpu_messages.unused_gpu({"CUDA_VISIBLE_DEVICES": value})
    assert message.startswith(f"CUDA_VISIBLE_DEVICES={value!r} hides this machine's GPU")


UNUSED = """
import os
from pipeline.training.gpu_messages import unused_gpu
print(unused_gpu(os.environ))
"""


def test_a_gpu_that_tensorflow_does_not_see_is_a_loud_message_with_the_library(command, tmp_path):
    (tmp_path / "libcudnn.so.9").write_bytes(bytes(10_000))
    (tmp_path / "unused.py").write_text(UNUSED)
    said = command("unused", LD_LIBRARY_PATH=str(tmp_path)).stdout
    assert "GPU THAT TENSORFLOW CAN'T USE" in said
    assert f"{tmp_path}/libcudnn.so.9: invalid ELF header" in said
    assert f"LD_LIBRARY_PATH is '{tmp_path}'" in said
    if importlib.util.find_spec("nvidia") is None:
        # The packages are those for CPUs.
        missing = re.search("not found: ([^;]+?)[.] LD", said)[1].split(", ")
        assert {"libcudart.so.12", "libcusolver.so.11"} < set(missing)
        assert "libcudnn.so.9" not in missing


@pytest.mark.parametrize(("capability", "newest"), [((10, 0), "9.0"), ((12, 0), "9.0"), ((9, 0), None), ((7, 5), None)])
def test_a_gpu_newer_than_the_kernels(capability, newest):
    message = gpu_messages.too_new(gpu(*capability), ARCHITECTURES, "2.21.0")
    assert (message is None) == (newest is None)
    if message:
        said = f"NVIDIA B200 (compute capability {capability[0]}.0) is newer than TensorFlow 2.21.0, whose kernels are "
        assert f"{said}for {newest}" in message


def test_this_tensorflow_has_kernels_for_a_hopper_gpu_and_none_for_later_ones():
    built_for = tf.sysconfig.get_build_info()["cuda_compute_capabilities"]
    assert gpu_messages.too_new(gpu(9, 0), built_for, tf.__version__) is None
    assert gpu_messages.too_new(gpu(10, 0), built_for, tf.__version__) is not None
    # A build for CPUs names no architectures.
    assert gpu_messages.too_new(gpu(10, 0), [], tf.__version__) is None


def test_a_free_gpu_is_not_mentioned_nor_is_this_process():
    assert gpu_messages.shared(GPU, [GpuProcess("GPU-aaaa", os.getpid(), "python"), GpuProcess("GPU-b", 1, "x")]) == []


def test_other_processes_little_memory_and_mig_are_named():
    [used] = gpu_messages.shared(GPU, [GpuProcess("GPU-aaaa", number, "blender") for number in range(1, 6)])
    assert "is also used by blender (1), blender (2), blender (3), ...: " in used
    [full] = gpu_messages.shared(replace(GPU, free_mib=1024), [])
    assert "only 1.0 of 40.0 GiB are free" in full
    [divided] = gpu_messages.shared(replace(GPU, mig=True, free_mib=0), [])
    assert "CUDA_VISIBLE_DEVICES=MIG-" in divided
