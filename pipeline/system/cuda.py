"""CUDA's driver and libraries, loaded as TensorFlow loads them, to find out why it does not use a GPU."""

import ctypes
import importlib.util
import os
from pathlib import Path

_DRIVER = "libcuda.so.1"
# Libraries that TensorFlow 2.21 loads before it uses a GPU, and the packages of requirements-gpu.lock that have them.
# It uses no GPU if one of them is missing.
_LIBRARIES = {
    "libcudart.so.12": "cuda_runtime",
    "libcublas.so.12": "cublas",
    "libcublasLt.so.12": "cublas",
    "libcufft.so.11": "cufft",
    "libcusolver.so.11": "cusolver",
    "libcusparse.so.12": "cusparse",
    "libcudnn.so.9": "cudnn",
}


def driver_problem() -> str | None:
    """Return why the driver can't be used, as text; None if it can."""
    try:
        driver = ctypes.CDLL(_DRIVER)
        status = driver.cuInit(0)
    except (OSError, AttributeError) as error:
        return str(error)
    return f"{_DRIVER}: cuInit failed with error {status}" if status else None


def library_problems() -> list[str]:
    """Return a text for each of CUDA's libraries that TensorFlow needs and that can't be loaded."""
    return [problem for name, package in _LIBRARIES.items() if (problem := _problem(name, package))]


def cudnn_version() -> str | None:
    """Return the version of the cuDNN library that a process on this machine loads; None without one."""
    try:
        number = _load("libcudnn.so.9", "cudnn").cudnnGetVersion()
    except (OSError, AttributeError):
        return None
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def device_memory() -> int | None:
    """Return the memory of the first visible GPU in bytes, used or not; None if the driver can't be asked."""
    try:
        driver = ctypes.CDLL(_DRIVER)
        device, size = ctypes.c_int(), ctypes.c_size_t()
        failed = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0)
        failed = failed or driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    except (OSError, AttributeError):
        return None
    return None if failed else size.value


def _problem(name: str, package: str) -> str | None:
    try:
        _load(name, package)
    except OSError as error:
        return str(error) if name in str(error) else f"{name}: {error}"
    return None


def _load(name: str, package: str) -> ctypes.CDLL:
    """Load a library from where TensorFlow finds it: LD_LIBRARY_PATH, the NVIDIA packages, or else the system."""
    folders = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    packages = importlib.util.find_spec("nvidia")
    folders += [Path(root) / package / "lib" for root in (packages and packages.submodule_search_locations) or ()]
    found = next((folder / name for folder in folders if (folder / name).exists()), name)
    return ctypes.CDLL(str(found))
