"""The measurement of a device, tried on the CPU."""

import json

import pytest

from benchmarks.gpu.cells import cells
from pipeline.system.gpu import nvidia_gpu_present


@pytest.mark.slow
def test_on_a_cpu_all_parts_have_a_row_and_nothing_in_the_checkout_changes(command, tmp_path):
    ran = command("benchmarks.gpu", "--quick", "--device", "cpu", "--json", str(tmp_path / "measured.json"))
    assert ran.returncode == 0, ran.stderr
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert measured["device"].startswith("CPU only, small sizes: ")
    assert measured["environment"]["devices"] == "CPU"
    names = [cell.name for cell in cells("cpu", quick=True)]
    assert list(measured["rows"]) == names
    for name, row in measured["rows"].items():
        # A busy machine may have no time for all.
        assert row["pipeline"] or "not measured" in row["note"] or "no result" in row["note"], name
        assert name in ran.stdout.replace("\n", " ") or len(name) > 40
    assert len(measured["rows"][names[0]]["pipeline"]) == 2


@pytest.mark.skipif(nvidia_gpu_present(), reason="it would measure this machine's GPU")
def test_without_a_gpu_it_says_what_to_do(command):
    ran = command("benchmarks.gpu", "--quick")
    assert "This machine has no NVIDIA GPU; try the command with --device cpu" in ran.stderr
