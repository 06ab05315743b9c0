"""Experiments that DVC queues."""

import json
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.tracking.tags import FOLDER
from tests.support.checkouts import Checkout
from tests.support.images import write_images


@pytest.fixture
def checkout(tmp_path):
    yield Checkout(tmp_path / "clone", write_images(tmp_path / "images", per_class=10))
    # A worker ends by itself some time after its last task, unless a busy machine keeps it from noticing.
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "queue-worker" in process.cmdline() and Path(process.cwd()) == tmp_path / "clone":
                process.kill()


@pytest.mark.slow
def test_queued_experiments_land_in_this_checkouts_store(checkout):
    checkout.edit("params.yaml", "backbone: scratch_cnn", "backbone: {name: null, weights: null}")
    checkout.commit("as shipped")
    checkout.dvc("exp", "run", "--queue", "-S", "seed=7", "-S", "backbone=scratch_cnn,efficientnet_lite0")
    # The worker outlives the command, and would hold on to its pipes.
    checkout.dvc("queue", "start", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 1500
    while any(word in (status := checkout.dvc("queue", "status")) for word in ("Queued", "Running")):
        assert time.monotonic() < deadline, status
        # Each query costs a second of a core that the experiments need.
        time.sleep(15)
    assert status.count("Success") == 2, status
    queued = checkout.experiments()
    assert {run.data.params["backbone.name"] for run in queued} == {"scratch_cnn", "efficientnet_lite0"}
    artifacts = f"file://{checkout.folder}/mlartifacts/"
    assert all(run.info.artifact_uri.startswith(artifacts) for run in queued)
    assert all(Path(run.info.artifact_uri.removeprefix("file://"), "report", "report.html").exists() for run in queued)
    # DVC has deleted the folder that an experiment ran in; what a run names is in this checkout.
    assert not any(FOLDER in run.data.tags for run in queued)
    sources = [json.loads(each.dataset.source)["uri"] for run in queued for each in run.inputs.dataset_inputs]
    assert len(sources) == 6
    assert all(Path(source).exists() for source in sources)
    shown = checkout.dvc("exp", "show", "--csv")
    # Each side names the other one's experiment.
    for run in queued:
        [row] = [line for line in shown.splitlines() if run.data.tags["dvc_experiment"] in line.split(",")]
        assert run.info.run_name.split()[-1] in row.split(",")
    assert "scratch_cnn" in shown
    assert "efficientnet_lite0" in shown
    # What was read, decoded and computed went to this checkout's cache, not to the folders that DVC throws away.
    kinds = {folder.name.partition("-")[0] for folder in (checkout.folder / "cache").glob("*/")}
    assert kinds == {"digests", "readings", "images", "frozen", "neighbours", "stages", "predictions", "jobs"}
