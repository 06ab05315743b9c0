"""Messages about GPUs before a training: why they are not used, and what hinders them."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.system.cuda import driver_problem, library_problems
from pipeline.system.gpu import gpus_hidden
from pipeline.system.nvidia_smi import Gpu, GpuProcess

# Free memory, as a fraction of all, below which a GPU is too full to share.
_LITTLE_FREE = 0.25
# End of the system's message about a library that is in none of the folders.
_NOT_FOUND = "No such file or directory"


def unused_gpu(environment: Mapping[str, str]) -> str:
    """Return why TensorFlow sees no GPU on a machine that has one.

    Args:
        environment: Environment variables of this process.
    """
    if gpus_hidden(environment):
        value = environment["CUDA_VISIBLE_DEVICES"]
        return f"CUDA_VISIBLE_DEVICES={value!r} hides this machine's GPU: training on the CPU. To use it, unset the variable"
    reasons = _reasons([*filter(None, [driver_problem()]), *library_problems()])
    path = environment.get("LD_LIBRARY_PATH", "")
    return (
        f"THIS MACHINE HAS AN NVIDIA GPU THAT TENSORFLOW CAN'T USE: training on the CPU. {reasons}. "
        f"LD_LIBRARY_PATH is {path!r}{', and comes before the installed packages: unset it' if path else ''}. "
        "Check nvidia-smi; or remove .venv and run make setup, which installs requirements-gpu.lock"
    )


def _reasons(problems: Sequence[str]) -> str:
    """Return problems as one text, with a list of the libraries that are not there."""
    missing = [each.partition(":")[0] for each in problems if each.endswith(_NOT_FOUND)]
    others = [each for each in problems if not each.endswith(_NOT_FOUND)]
    found = others + [f"not found: {', '.join(missing)}"] * bool(missing)
    return "; ".join(found) or "all of CUDA's libraries load; see TensorFlow's messages above"


def too_new(details: Mapping[str, Any], built_for: Sequence[str], version: str) -> str | None:
    """Return a message if TensorFlow has no kernels for a GPU, since it is newer; else None.

    Args:
        details: Device details by TensorFlow: `device_name`, and `compute_capability`, such as (9, 0).
        built_for: Architectures of TensorFlow's kernels, such as sm_89 and compute_90.
        version: Version of TensorFlow.
    """
    name, capability = details.get("device_name", "The GPU"), details.get("compute_capability", (0, 0))
    newest = max((int(each.rpartition("_")[2].rstrip("af")) for each in built_for), default=0)
    if not newest or capability[0] <= newest // 10:
        return None
    return (
        f"{name} (compute capability {capability[0]}.{capability[1]}) is newer than TensorFlow {version}, whose kernels "
        f"are for {newest // 10}.{newest % 10} at most: it compiles them for minutes, or fails with CUDA_ERROR_INVALID_PTX. "
        "Use an older GPU, NVIDIA's TensorFlow container, or the CPU (CUDA_VISIBLE_DEVICES=-1)"
    )


def shared(gpu: Gpu, processes: Sequence[GpuProcess]) -> list[str]:
    """Return messages about a GPU that is divided, used by other processes, or nearly full.

    Args:
        gpu: GPU that is used.
        processes: Processes on all GPUs.
    """
    messages, called = [], f"GPU {gpu.index} ({gpu.name})"
    others = [each for each in processes if each.uuid == gpu.uuid and each.pid != os.getpid()]
    if gpu.mig:
        messages.append(
            f"{called} is divided by MIG, and a process can use one of its instances: the first, or the one that "
            "CUDA_VISIBLE_DEVICES=MIG-... names (nvidia-smi -L lists them)"
        )
    if others:
        names = ", ".join(f"{each.name} ({each.pid})" for each in others[:3]) + ", ..." * (len(others) > 3)
        messages.append(f"{called} is also used by {names}: memory and time are shared with it")
    # All of the memory is not that of an instance.
    if not gpu.mig and gpu.total_mib and gpu.free_mib < _LITTLE_FREE * gpu.total_mib:
        messages.append(
            f"{called}: only {gpu.free_mib / 1024:.1f} of {gpu.total_mib / 1024:.1f} GiB are free. If the memory does not "
            "suffice, end other processes, name another GPU in CUDA_VISIBLE_DEVICES, or lower the batch sizes"
        )
    return messages


def no_xla(*, jit_compile: bool, deterministic: bool) -> str | None:
    """Return a message if XLA is configured, and switched off by determinism; else None."""
    if not (jit_compile and deterministic):
        return None
    return (
        "hardware.jit_compile=true has no effect with hardware.deterministic=true: Keras then switches XLA off. For XLA, "
        "set hardware.deterministic=false"
    )
