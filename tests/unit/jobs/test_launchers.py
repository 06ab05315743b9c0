"""Launchers: how many jobs run at the same time."""

import os

import pytest
from omegaconf import OmegaConf

from pipeline.jobs.launchers import one_job_per_gpu, workers


def test_launchers_say_how_many_jobs_run_at_once():
    basic = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    assert workers(OmegaConf.create({"_target_": basic})) == 1
    assert workers(OmegaConf.create({"_target_": "joblib", "n_jobs": 3})) == 3
    assert workers(OmegaConf.create({"_target_": "joblib", "n_jobs": -1})) == os.cpu_count()
    assert workers(OmegaConf.create({"_target_": "ray"})) is None


@pytest.mark.parametrize(
    ("visible", "overrides", "strategy", "jobs"),
    [
        ("0,1", ["seed=1,2"], "one_device", 2),
        ("0,1,2", ["seed=1,2"], "auto", 3),
        ("MIG-a,MIG-b", ["seed=1,2"], "one_device", 2),
        ("0", ["seed=1,2"], "one_device", None),
        ("0,-1,1", ["seed=1,2"], "one_device", None),
        ("", ["seed=1,2"], "one_device", None),
        ("0,1", ["seed=1,2"], "mirrored", None),
        ("0,1", ["seed=1,2", "hydra/launcher=basic"], "one_device", None),
        ("0,1", ["hydra/sweeper=optuna"], "one_device", None),
    ],
)
def test_each_gpu_gets_a_job_of_a_sweep(configure, monkeypatch, visible, overrides, strategy, jobs):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    configs = [configure(f"hardware.strategy={strategy}")]
    expected = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"] if jobs else []
    assert one_job_per_gpu(overrides, configs) == expected
