"""Report of the command nvidia-smi about GPUs: names, memory, driver, MIG and processes."""

import csv
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

_SECONDS = 20


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine."""

    index: str
    uuid: str
    name: str
    total_mib: int
    free_mib: int
    driver: str
    mig: bool
    """Whether it is divided into instances by MIG."""


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU."""

    uuid: str
    """UUID of the GPU."""
    pid: int
    name: str


def gpus(visible: str | None = None) -> list[Gpu]:
    """Return the GPUs of this machine; empty if nvidia-smi is missing or fails.

    Args:
        visible: Value of CUDA_VISIBLE_DEVICES, indices or UUIDs; None for all GPUs.
    """
    fields = "index,uuid,name,memory.total,memory.free,driver_version,mig.mode.current"
    found = [
        Gpu(index, uuid, name, _mib(total), _mib(free), driver, mig == "Enabled")
        for index, uuid, name, total, free, driver, mig in _query(f"--query-gpu={fields}")
    ]
    if visible is None:
        return found
    names = [name.strip() for name in visible.split(",")]
    chosen = [gpu for gpu in found if gpu.index in names or any(name and gpu.uuid.startswith(name) for name in names)]
    # Instances of MIG have UUIDs of their own.
    return chosen or ([gpu for gpu in found if gpu.mig] if "MIG" in visible else [])


def processes() -> list[GpuProcess]:
    """Return the processes that compute on the GPUs; empty if nvidia-smi is missing, fails or may not tell."""
    return [
        GpuProcess(uuid, int(pid), name)
        for uuid, pid, name in _query("--query-compute-apps=gpu_uuid,pid,process_name")
        if pid.isdigit()
    ]


def _query(question: str) -> Iterable[list[str]]:
    """Return the rows of an answer; empty if there is none, or not of the expected form."""
    command = ["nvidia-smi", question, "--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    columns = question.count(",") + 1
    rows = csv.reader(ran.stdout.splitlines(), skipinitialspace=True)
    return [row for row in rows if len(row) == columns]


def _mib(text: str) -> int:
    return int(text) if text.isdigit() else 0
