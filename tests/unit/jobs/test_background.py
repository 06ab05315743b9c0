"""Reports that a process beside a sweep draws."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from pipeline.jobs.background import Reports, hand_over
from pipeline.jobs.identity import Experiment
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE


def test_without_a_sweep_a_job_draws_its_own(configure, tmp_path):
    experiment = Experiment.of(configure(), tmp_path / "job")
    assert not hand_over(experiment)
    with Reports() as reports:
        assert reports.failure(experiment.root) is None
    assert not hand_over(experiment)


def test_an_error_is_told_to_the_sweep(configure, tmp_path):
    experiment = Experiment.of(configure(), tmp_path / "job")
    with Reports() as reports:
        assert hand_over(experiment)
    error = reports.failure(experiment.root)
    assert error is not None
    with pytest.raises(PipelineError, match="report needs the outputs of prepare"):
        raise error


@pytest.mark.skipif(os.name != "posix", reason="uses SIGKILL")
def test_the_process_beside_does_not_outlive_its_sweep():
    code = """
import time
from pipeline.jobs.background import Reports

if __name__ == "__main__":
    with Reports() as reports:
        reports._pool_of_one().submit(time.sleep, 0).result()
        print(*reports._pool_of_one()._processes, flush=True)
        time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=CODE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as sweep:
        assert sweep.stdout is not None
        beside = psutil.Process(int(sweep.stdout.readline()))
        sweep.send_signal(signal.SIGKILL)
    beside.wait(timeout=30)
    assert not beside.is_running()
