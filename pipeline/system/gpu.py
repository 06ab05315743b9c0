"""Presence of an NVIDIA GPU, without the libraries that use it."""

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path


def nvidia_gpu_present() -> bool:
    """Return whether the system's driver reports an NVIDIA GPU, even if TensorFlow can't use it."""
    # Linux driver, its device if /proc is hidden, and Windows driver in WSL; the Makefile checks the same paths.
    places = (*Path("/proc/driver/nvidia").glob("gpus/*"), Path("/dev/nvidia0"), Path("/usr/lib/wsl/lib/nvidia-smi"))
    return any(place.exists() for place in places)


def gpus_hidden(environment: Mapping[str, str]) -> bool:
    """Return whether CUDA_VISIBLE_DEVICES hides all GPUs from a process with these environment variables."""
    return "CUDA_VISIBLE_DEVICES" in environment and not gpu_names(environment)


def gpu_names(environment: Mapping[str, str]) -> list[str]:
    """Return the GPUs that a process with these environment variables may use, named as in CUDA_VISIBLE_DEVICES."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]
    # CUDA ignores all devices from the first invalid one on, and -1 is the customary invalid one.
    names = (name.strip() for name in visible.split(","))
    return list(takewhile(lambda name: name not in ("", "-1"), names))
