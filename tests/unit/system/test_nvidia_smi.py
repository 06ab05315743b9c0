"""The answers of a command nvidia-smi, which stands first on PATH."""

import os
import sys

import pytest

from pipeline.system import nvidia_smi
from pipeline.system.nvidia_smi import Gpu, GpuProcess

GPUS = """\
0, GPU-aaaa, NVIDIA A100-SXM4-80GB, 81920, 81000, 550.54.15, Disabled
1, GPU-bbbb, NVIDIA A100-SXM4-80GB, 81920, [N/A], 550.54.15, Enabled
"""
PROCESSES = """\
GPU-aaaa, 4711, python
GPU-bbbb, [N/A], [Insufficient Permissions]
"""
FIRST = Gpu("0", "GPU-aaaa", "NVIDIA A100-SXM4-80GB", 81920, 81000, "550.54.15", mig=False)
SECOND = Gpu("1", "GPU-bbbb", "NVIDIA A100-SXM4-80GB", 81920, 0, "550.54.15", mig=True)


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Makes the command, which answers each question with a text and ends with a status."""

    def make(gpus: str, processes: str, status: int = 0) -> None:
        file = tmp_path / "nvidia-smi"
        file.write_text(
            f"#!{sys.executable}\nimport sys\n"
            f"print({gpus!r} if '--query-gpu' in sys.argv[1] else {processes!r}, end='')\nsys.exit({status})\n"
        )
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return make


def test_gpus_and_their_processes(smi):
    smi(GPUS, PROCESSES)
    assert nvidia_smi.gpus() == [FIRST, SECOND]
    assert nvidia_smi.processes() == [GpuProcess("GPU-aaaa", 4711, "python")]


@pytest.mark.parametrize(
    ("visible", "chosen"),
    [("1", [SECOND]), ("GPU-aa", [FIRST]), ("0, 1", [FIRST, SECOND]), ("MIG-cccc", [SECOND]), ("7", [])],
)
def test_only_visible_gpus(smi, visible, chosen):
    smi(GPUS, PROCESSES)
    assert nvidia_smi.gpus(visible) == chosen


def test_a_command_that_fails_answers_differently_or_is_missing_is_no_error(smi, tmp_path, monkeypatch):
    smi(GPUS, PROCESSES, status=9)
    assert nvidia_smi.gpus() == []
    smi("Failed to initialize NVML: Driver/library version mismatch\n", "No devices were found\n")
    assert (nvidia_smi.gpus(), nvidia_smi.processes()) == ([], [])
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert (nvidia_smi.gpus(), nvidia_smi.processes()) == ([], [])
