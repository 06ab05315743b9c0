"""Kill the whole pipeline at random moments and start it again: `python -m benchmarks.kills --kills 30 --seed 1 --folder <empty folder>`.

Made images, a small network from scratch, all four stages. An experiment is killed (SIGKILL) again and again, each time after a number of seconds drawn
from 0 to those of the undisturbed run, until it has ended; then the next one begins, until there were as many kills. Each one's files have to equal
those of the undisturbed run to the last digit, and MLflow has to have it once, complete, with each epoch once.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from rich.console import Console

from pipeline.storage.files import read_json, write_json
from pipeline.system.paths import CODE
from tests.conftest import write_images

STAGES = ("prepare", "train", "finetune", "evaluate")
EPOCHS = 25
SETTINGS = [
    "backbone=scratch_cnn",
    "image_size=32",
    f"train.epochs={EPOCHS}",
    f"finetune.epochs={EPOCHS}",
    "train.early_stopping_patience=null",
    "finetune.early_stopping_patience=null",
    "tracking.system_metrics_interval=null",
    "hydra.run.dir=job",
]


def start(folder: Path, images: Path) -> subprocess.Popen:
    """The pipeline on an experiment in a folder of its own, with a cache and a store of its own."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(CODE), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    arguments = ["dataset=folder", f"dataset.path={images}", f"cache_folder={folder}/cache", *SETTINGS]
    with open(folder / "said.txt", "a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments], cwd=folder, env=environment, stdout=said, stderr=said
        )


def differences(folder: Path, defer_interrupts: Path) -> list[str]:
    """What of a finished experiment is not as in the undisturbed one, or not once in MLflow."""
    wrong = []
    names = [f"{stage}/metrics.json" for stage in STAGES] + [f"{phase}/history.csv" for phase in ("train", "finetune")]
    for name in names:
        if (folder / "job" / name).read_text() != (defer_interrupts / "job" / name).read_text():
            wrong.append(name)
    ours, theirs = (
        np.stack(pd.read_parquet(place / "job" / "evaluate" / "predictions.parquet")["probabilities"])
        for place in (folder, defer_interrupts)
    )
    if not np.array_equal(ours, theirs):
        wrong.append("evaluate/predictions.parquet")
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs(["1"])
    if [run.data.tags.get("complete") for run in runs] != ["true"] or runs[0].info.status != "FINISHED":
        wrong.append(f"MLflow's runs: {[(run.info.status, run.data.tags.get('complete')) for run in runs]}")
    for run in runs:
        for metric in ("training/loss", "validation/accuracy", "learning_rate"):
            steps = sorted(point.step for point in client.get_metric_history(run.info.run_id, metric))
            if steps != list(range(1, 2 * EPOCHS + 1)):
                wrong.append(f"steps of {metric}: {steps}")
    left = [path.name for path in (folder / "cache").glob("resume-*")] + [
        path.name for path in (folder / "job").glob(".*-*")
    ]
    return wrong + left


def outcome(folder: Path) -> str | None:
    file = folder / "job" / "outcome.json"
    return read_json(file)["status"] if file.exists() else None


def reached(folder: Path) -> str:
    """The stage in which an experiment was killed, by its log."""
    log = folder / "job" / "pipeline.log"
    begun = (
        [line.split()[-2] for line in log.read_text().splitlines() if line.endswith(" begins")] if log.exists() else []
    )
    ended = [stage for stage in STAGES if (folder / "job" / stage / "run.json").exists()]
    if not begun:
        return "start"
    return begun[-1] if begun[-1] not in ended else f"after {begun[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for the experiments")
    given = parser.parse_args()
    console, draws = Console(), np.random.default_rng(given.seed)
    root = given.folder.resolve()
    images = write_images(root / "images", per_class=40)
    began = time.monotonic()
    if start(root / "undisturbed", images).wait():
        sys.exit(f"The undisturbed run failed; see {root / 'undisturbed' / 'said.txt'}")
    whole = time.monotonic() - began
    console.print(f"undisturbed: {whole:.0f} s")
    kills, experiments, places, wrong = 0, 0, Counter(), {}
    while kills < given.kills:
        folder = root / f"experiment-{experiments}"
        while True:
            process = start(folder, images)
            try:
                status = process.wait(draws.uniform(0, whole) if kills < given.kills else None)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                if outcome(folder) == "done":
                    # All was done and said, and the process about to end: there is nothing to go on with, and a repeat would be another run.
                    status = 0
                    places["after the end, not counted"] += 1
                    break
                kills += 1
                places[reached(folder)] += 1
                console.print(f"kill {kills}: {reached(folder)}")
        found = [f"exit status {status}"] if status else differences(folder, root / "undisturbed")
        if found:
            wrong[folder.name] = found
        experiments += 1
        console.print(f"{folder.name}: {found or 'as the defer_interrupts run'}")
    result = {
        "kills": kills,
        "seed": given.seed,
        "experiments": experiments,
        "as undisturbed": experiments - len(wrong),
        "killed in": dict(places),
        "undisturbed_seconds": round(whole),
        "wrong": wrong,
    }
    write_json(root / "kills.json", result)
    console.print(result)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
