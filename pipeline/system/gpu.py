"""Presence of an NVIDIA GPU, without the libraries that use it."""

from pathlib import Path


def nvidia_gpu_present() -> bool:
    """Return whether the system's driver reports an NVIDIA GPU, even if TensorFlow can't use it."""
    # Linux driver, its device if /proc is hidden, and Windows driver in WSL; the Makefile checks the same paths.
    places = (*Path("/proc/driver/nvidia").glob("gpus/*"), Path("/dev/nvidia0"), Path("/usr/lib/wsl/lib/nvidia-smi"))
    return any(place.exists() for place in places)
