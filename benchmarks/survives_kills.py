"""Kill and restart the pipeline at random times: `python -m benchmarks.survives_kills --folder <empty>`.

It runs all stages with a small network on synthetic images. An experiment is killed (SIGKILL) and restarted until it is
complete, each time after a random fraction of the duration of an undisturbed run. Further experiments follow until
`--kills` is reached. The results of each must equal those of the undisturbed run. In MLflow, each must have one
complete run, with each epoch once.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from rich.console import Console

from pipeline.config import PHASES
from pipeline.stages import COMPUTING
from pipeline.storage.files import read_json, write_json
from pipeline.system.paths import CODE
from tests.support.images import write_images

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
    """Start an experiment in `folder`, with its own cache and tracking store."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(CODE), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    overrides = ["dataset=folder", f"dataset.path={images}", f"cache_folder={folder}/cache", *SETTINGS]
    with open(folder / "output.txt", "a") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *overrides], cwd=folder, env=environment, stdout=output, stderr=output
        )


def differences(folder: Path, undisturbed: Path) -> list[str]:
    """Return files of an experiment that differ from those of the undisturbed run, and problems in MLflow."""
    names = [f"{stage}/metrics.json" for stage in COMPUTING] + [f"{phase}/history.csv" for phase in PHASES]
    wrong = [name for name in names if (folder / "job" / name).read_text() != (undisturbed / "job" / name).read_text()]
    ours, theirs = (
        np.stack(pd.read_parquet(each / "job" / "evaluate" / "predictions.parquet")["probabilities"].tolist())
        for each in (folder, undisturbed)
    )
    if not np.array_equal(ours, theirs):
        wrong.append("evaluate/predictions.parquet")
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs(["1"], "tags.role = 'experiment'")
    if [run.data.tags.get("complete") for run in runs] != ["true"] or runs[0].info.status != "FINISHED":
        wrong.append(f"MLflow's runs: {[(run.info.status, run.data.tags.get('complete')) for run in runs]}")
    for run in runs:
        for metric in ("training/loss", "training/val_accuracy", "training/learning_rate"):
            steps = sorted(point.step for point in client.get_metric_history(run.info.run_id, metric))
            if steps != list(range(1, 2 * EPOCHS + 1)):
                wrong.append(f"steps of {metric}: {steps}")
    leftovers = [*(folder / "cache").glob("resume-*"), *(folder / "job").glob(".*-*")]
    return wrong + [path.name for path in leftovers]


def is_over(folder: Path) -> bool:
    """Return whether the job was complete before its process was killed."""
    file = folder / "job" / "outcome.json"
    return file.exists() and read_json(file)["status"] == "done"


def stage_reached(folder: Path) -> str:
    """Return the stage in which an experiment was killed, from its log."""
    log = folder / "job" / "pipeline.log"
    lines = log.read_text().splitlines() if log.exists() else []
    started = [line.split()[-2].rstrip(":") for line in lines if line.endswith(": started")]
    if not started:
        return "start"
    ended = (folder / "job" / started[-1] / "run.json").exists()
    return f"after {started[-1]}" if ended else started[-1]


def run_until_done(folder: Path, images: Path, draws: Iterator[float]) -> tuple[int, list[str]]:
    """Run an experiment until it is complete, and kill it after each number of seconds that `draws` yields.

    Returns:
        Last exit status, and the stage of each kill.
    """
    hit: list[str] = []
    while True:
        process = start(folder, images)
        try:
            return process.wait(next(draws, None)), hit
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            if is_over(folder):
                # The experiment is complete; running it again would create another run.
                return 0, hit
            hit.append(stage_reached(folder))
            print(f"kill: {hit[-1]}", flush=True)


def main() -> None:
    """Run experiments until the number of kills is reached, and write kills.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survives_kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="total number of kills (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random times (default: 1)")
    parser.add_argument("--folder", type=Path, required=True, help="empty folder for the experiments")
    args = parser.parse_args()
    generator, root = np.random.default_rng(args.seed), args.folder.resolve()
    images = write_images(root / "images", per_class=40)
    began = time.monotonic()
    if start(root / "undisturbed", images).wait():
        sys.exit(f"The undisturbed run failed; see {root / 'undisturbed' / 'output.txt'}")
    whole = time.monotonic() - began
    print(f"undisturbed: {whole:.0f} s", flush=True)
    hits: list[str] = []
    experiments = 0
    wrong: dict[str, list[str]] = {}
    while len(hits) < args.kills:
        folder = root / f"experiment-{experiments}"
        draws = (float(generator.uniform(0, whole)) for _ in range(args.kills - len(hits)))
        status, hit = run_until_done(folder, images, draws)
        hits += hit
        experiments += 1
        problems = [f"exit status {status}"] if status else differences(folder, root / "undisturbed")
        if problems:
            wrong[folder.name] = problems
        print(f"{folder.name}: {problems or 'same results as the undisturbed run'}", flush=True)
    result = {
        "kills": len(hits),
        "seed": args.seed,
        "experiments": experiments,
        "as undisturbed": experiments - len(wrong),
        "killed in": dict(Counter(hits)),
        "undisturbed_seconds": round(whole),
        "wrong": wrong,
    }
    write_json(root / "kills.json", result)
    Console().print(result)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
