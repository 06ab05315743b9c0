"""A sweep of 24 jobs: four at a time and killed twice, then one after the other: `python -m benchmarks.sweeps --folder <empty folder>`.

Every experiment has to be in MLflow once, complete, and each job's metrics have to be the same in both. With `--jobs` and `--workers` the time that
parallel workers save is measured: on a quiet machine, and with `--kills 0`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
from rich.console import Console

from pipeline.storage.files import write_json
from pipeline.system.paths import CODE
from tests.conftest import write_images

SETTINGS = [
    "backbone=scratch_cnn",
    "image_size=32",
    "train.epochs=5",
    "finetune.epochs=5",
    "tracking.system_metrics_interval=null",
    "finetune.unfreeze=all,-1",
]
FIGURES = ("prepare/metrics.json", "train/metrics.json", "finetune/metrics.json", "evaluate/metrics.json")


def start(folder: Path, images: Path, jobs: int, more: list[str]) -> subprocess.Popen:
    """The sweep, in a folder with a cache and a store of its own."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(CODE), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    arguments = ["dataset=folder", f"dataset.path={images}", f"cache_folder={folder}/cache", *SETTINGS, *more]
    seeds = "seed=" + ",".join(map(str, range(jobs // 2)))
    with open(folder / "said.txt", "a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", "-m", *arguments, seeds],
            cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip


def run(folder: Path, images: Path, jobs: int, workers: int, kills: int = 0, seed: int = 1) -> float:
    """Run the sweep to its end, killed so often at random moments (SIGKILL to all its processes); seconds of the last start."""
    more = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}"] if workers > 1 else []
    draws = np.random.default_rng(seed)
    for _ in range(kills):
        process = start(folder, images, jobs, more)
        # Some jobs have ended by then, others are in the midst of their work.
        ended, wanted = 0, complete(folder) + int(draws.integers(2, jobs // (kills + 1) + 1))
        while ended < wanted and process.poll() is None:
            time.sleep(1)
            ended = complete(folder)
        time.sleep(draws.uniform(0, 5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    began = time.monotonic()
    status = start(folder, images, jobs, more).wait()
    if status:
        sys.exit(f"The sweep ended with status {status}; see {folder / 'said.txt'}")
    return time.monotonic() - began


def complete(folder: Path) -> int:
    return len(list(folder.glob("runs/*/evaluate/run.json")))


def found(folder: Path, jobs: int) -> list[str]:
    """What is wrong with the experiments in MLflow."""
    runs = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_runs(["1"])
    done = [run.data.tags["experiment_key"] for run in runs if run.data.tags.get("complete") == "true"]
    wrong = []
    if len(done) != jobs or len(set(done)) != jobs:
        wrong.append(f"{len(done)} complete runs of {len(set(done))} experiments, {jobs} expected")
    if left := [run.info.run_id for run in runs if run.info.status == "RUNNING"]:
        wrong.append(f"left RUNNING: {left}")
    if others := [
        (run.info.status, run.data.tags["experiment_key"]) for run in runs if "complete" not in run.data.tags
    ]:
        wrong.append(f"not complete: {others}")
    return wrong


def differing(one: Path, other: Path) -> list[str]:
    """Files of figures that two sweeps do not have alike."""
    names = {
        str(path.relative_to(place))
        for place in (one, other)
        for file in FIGURES
        for path in place.glob(f"runs/*/{file}")
    }
    return sorted(
        name for name in names
        if not (one / name).exists() or not (other / name).exists() or (one / name).read_text() != (other / name).read_text()
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=24, help="an even number")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for both sweeps")
    given = parser.parse_args()
    root = given.folder.resolve()
    images = write_images(root / "images")
    parallel = run(root / "parallel", images, given.jobs, given.workers, given.kills)
    sequential = run(root / "sequential", images, given.jobs, 1)
    result = {
        "jobs": given.jobs,
        "workers": given.workers,
        "kills": given.kills,
        "in_mlflow": {name: found(root / name, given.jobs) or "each once" for name in ("parallel", "sequential")},
        "differing": differing(root / "parallel", root / "sequential"),
        "seconds": {"parallel": round(parallel, 1), "sequential": round(sequential, 1)},
        "cores": os.cpu_count(),
    }
    write_json(root / "sweeps.json", result)
    Console().print(result)
    sys.exit(bool(result["differing"]) or any(wrong != "each once" for wrong in result["in_mlflow"].values()))


if __name__ == "__main__":
    main()
