"""Compare a parallel sweep that is killed twice with a sequential sweep of the same jobs.

Run it with `python -m benchmarks.survives_sweeps --folder <empty>`. Each experiment must have one complete run in
MLflow, and the metrics of each job must be equal in both sweeps. With `--kills 0` on an otherwise idle machine, it
measures the time that parallel workers save.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
from rich.console import Console

from pipeline.stages import COMPUTING, STAGES
from pipeline.storage.files import write_json
from pipeline.system.paths import CODE
from tests.support.images import write_images

SETTINGS = [
    "backbone=scratch_cnn",
    "image_size=32",
    "train.epochs=5",
    "finetune.epochs=5",
    "tracking.system_metrics_interval=null",
    "finetune.unfreeze=all,-1",
]


@dataclass(frozen=True)
class Sweep:
    """Sweep with its own cache and tracking store."""

    folder: Path
    images: Path
    jobs: int
    workers: int = 1

    def start(self) -> subprocess.Popen:
        """Start or resume the sweep."""
        self.folder.mkdir(exist_ok=True)
        store = f"sqlite:///{self.folder}/mlflow.db"
        overrides = ["dataset=folder", f"dataset.path={self.images}", f"cache_folder={self.folder}/cache", *SETTINGS]
        if self.workers > 1:
            overrides += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={self.workers}"]
        seeds = "seed=" + ",".join(map(str, range(self.jobs // 2)))
        with open(self.folder / "output.txt", "a") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "pipeline", "-m", *overrides, seeds],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(CODE), "MLFLOW_TRACKING_URI": store},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def run(self, kills: int = 0) -> float:
        """Run the sweep until it is complete, killing all its processes (SIGKILL) at random times.

        Returns:
            Seconds from the last start to the end.
        """
        draws = np.random.default_rng(1)
        for _ in range(kills):
            process = self.start()
            # When enough jobs are complete, the sweep is killed while others are running.
            enough = self.complete() + int(draws.integers(2, self.jobs // (kills + 1) + 1))
            while self.complete() < enough and process.poll() is None:
                time.sleep(1)
            time.sleep(draws.uniform(0, 5))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        began = time.monotonic()
        if status := self.start().wait():
            sys.exit(f"The sweep ended with status {status}; see {self.folder / 'output.txt'}")
        return time.monotonic() - began

    def complete(self) -> int:
        """Return the number of complete jobs."""
        return len(list(self.folder.glob(f"runs/*/{STAGES[-1]}/run.json")))

    def problems(self) -> list[str]:
        """Return descriptions of the problems with the experiments in MLflow."""
        runs = mlflow.MlflowClient(f"sqlite:///{self.folder}/mlflow.db").search_runs(["1"], "tags.role = 'experiment'")
        done = [run.data.tags["experiment_key"] for run in runs if run.data.tags.get("complete") == "true"]
        wrong = []
        if len(done) != self.jobs or len(set(done)) != self.jobs:
            wrong.append(f"{len(done)} complete runs of {len(set(done))} experiments, {self.jobs} expected")
        if running := [run.info.run_id for run in runs if run.info.status == "RUNNING"]:
            wrong.append(f"left RUNNING: {running}")
        incomplete = [run for run in runs if "complete" not in run.data.tags]
        if incomplete:
            states = [(run.info.status, run.data.tags["experiment_key"]) for run in incomplete]
            wrong.append(f"not complete: {states}")
        return wrong


def differing(one: Path, other: Path) -> list[str]:
    """Return the paths of metrics files that differ between two sweeps."""
    files = [f"runs/*/{stage}/metrics.json" for stage in COMPUTING]
    contents = [
        {path.relative_to(folder).as_posix(): path.read_text() for file in files for path in folder.glob(file)}
        for folder in (one, other)
    ]
    return sorted(name for name in contents[0] | contents[1] if contents[0].get(name) != contents[1].get(name))


def main() -> None:
    """Run both sweeps, compare their results, and write sweeps.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survives_sweeps", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=24, help="number of jobs, which must be even (default: 24)")
    parser.add_argument("--workers", type=int, default=4, help="number of parallel jobs (default: 4)")
    parser.add_argument("--kills", type=int, default=2, help="number of kills of the parallel sweep (default: 2)")
    parser.add_argument("--folder", type=Path, required=True, help="empty folder for both sweeps")
    args = parser.parse_args()
    root = args.folder.resolve()
    images = write_images(root / "images")
    parallel = Sweep(root / "parallel", images, args.jobs, args.workers)
    sequential = Sweep(root / "sequential", images, args.jobs)
    seconds = {"parallel": parallel.run(args.kills), "sequential": sequential.run()}
    problems = {sweep.folder.name: sweep.problems() for sweep in (parallel, sequential)}
    result = {
        "jobs": args.jobs,
        "workers": args.workers,
        "kills": args.kills,
        "in_mlflow": {name: wrong or "each once" for name, wrong in problems.items()},
        "differing": differing(parallel.folder, sequential.folder),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "cores": os.cpu_count(),
    }
    write_json(root / "sweeps.json", result)
    Console().print(result)
    sys.exit(bool(result["differing"]) or any(problems.values()))


if __name__ == "__main__":
    main()
