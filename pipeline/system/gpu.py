"""Presence of an NVIDIA GPU, without the libraries that use it."""

from collections.abc import Mapping
from pathlib import Path


def nvidia_gpu_present() -> bool:
    """Return whether the system's driver reports an NVIDIA GPU, even if TensorFlow can't use it."""
    # Linux driver, its device if /proc is hidden, and Windows driver in WSL; the Makefile checks the same paths.
    places = (*Path("/proc/driver/nvidia").glob("gpus/*"), Path("/dev/nvidia0"), Path("/usr/lib/wsl/lib/nvidia-smi"))
    return any(place.exists() for place in places)


def gpus_hidden(environment: Mapping[str, str]) -> bool:
    """Return whether CUDA_VISIBLE_DEVICES hides all GPUs from a process with these environment variables."""
    # CUDA ignores all devices from the first invalid one on, and -1 is the customary invalid one.
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return visible is not None and visible.partition(",")[0].strip() in ("", "-1")
