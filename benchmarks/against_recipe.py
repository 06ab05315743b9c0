"""Compare the run time of the pipeline with that of the source article's recipe: `make bench IMAGES=<folder>`.

Whole processes of both run alternately. The results are added to docs/benchmarks/against_recipe.md.
"""

import argparse
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.results import add_row
from pipeline.system.paths import CODE

EPOCHS, FINE_TUNE_EPOCHS = 5, 3
T = TypeVar("T")


@dataclass(frozen=True)
class Workload:
    """Settings with which both the recipe and the pipeline run."""

    title: str
    backbone: str
    fine_tune_at: int
    """Index of the lowest layer that fine-tuning trains."""
    views: int
    scaled: bool = False
    """Whether the recipe runs once with one epoch per phase, and the time of its other epochs is extrapolated."""


WORKLOADS = {
    "vgg16": Workload("VGG16, from layer 15", "vgg16", 15, 0, scaled=True),
    "vgg16_views": Workload("VGG16, from layer 15", "vgg16", 15, 4, scaled=True),
    "resnet50": Workload("ResNet50, its last block", "resnet50", 165, 0, scaled=True),
    "lite0": Workload("EfficientNet-Lite0, from layer 120", "efficientnet_lite0", 120, 0),
    "lite0_views": Workload("EfficientNet-Lite0, from layer 120", "efficientnet_lite0", 120, 4),
}


@dataclass(frozen=True)
class Sweep:
    """Sweep over unfreeze depths."""

    title: str
    backbone: str
    depths: tuple[int, ...]
    """Indices of the lowest trained layer, in ascending order."""


SWEEPS = {
    "sweep": Sweep("VGG16", "vgg16", (11, 12, 13, 15, 16, 17)),
    "sweep_resnet50": Sweep("ResNet50", "resnet50", (113, 123, 133, 143, 155, 165)),
}
"""Sweeps by name, over the convolutions in the last two blocks of VGG16, and over the last six blocks of ResNet50."""


@dataclass(frozen=True)
class Measured:
    """Measurements of one run of the recipe or the pipeline."""

    seconds: float
    accuracy: float
    """Accuracy on the test images after phase 1."""


def timed(command: list[object], folder: Path) -> float:
    """Run a process with its output in `folder`/log, and return the seconds from its start to its exit."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with open(folder / "log", "w") as log:
        ran = subprocess.run([str(word) for word in command], cwd=CODE, stdout=log, stderr=log)
    if ran.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{(folder / 'log').read_text()[-2000:]}")
    return time.perf_counter() - started


def run_recipe(
    workload: Workload, images: Path, folder: Path, *, epochs: int = FINE_TUNE_EPOCHS, seed: int
) -> Measured:
    """Run the recipe with `epochs` epochs of fine-tuning."""
    first, second = (1, 1) if workload.scaled else (EPOCHS, epochs)
    seconds = timed(
        [
            sys.executable, "-m", "benchmarks.article_recipe", images, folder, "--backbone", workload.backbone,
            "--fine-tune-at", workload.fine_tune_at, "--epochs", first, "--fine-tune-epochs", second, "--seed", seed,
        ],
        folder,
    )  # fmt: skip
    result = json.loads((folder / "recipe.json").read_text())
    if workload.scaled:
        frozen, fine_tuned = result["epochs"]
        seconds += (EPOCHS - 1) * frozen + (epochs - 1) * fine_tuned
    return Measured(seconds, result["accuracy_phase_1"])


def run_pipeline(backbone: str, images: Path, folder: Path, *overrides: str, epochs: int = FINE_TUNE_EPOCHS) -> float:
    """Run a job or a sweep with its cache and tracking store in `folder`, and return the seconds."""
    weights = "imagenet" if backbone == "efficientnet_lite0" else "random"
    if weights == "random":
        # Only the speed is measured, so diverging losses must not stop the training.
        overrides += ("train.diverged_above=1e9", "finetune.diverged_above=1e9")
    return timed(
        [
            sys.executable, "-m", "pipeline", "dataset=folder", f"dataset.path={images}", f"backbone={backbone}",
            f"backbone.weights={weights}", "image_size=224", f"train.epochs={EPOCHS}", f"finetune.epochs={epochs}",
            "train.early_stopping_patience=null", "finetune.early_stopping_patience=null",
            f"cache_folder={folder}/cache", f"tracking.uri=sqlite:///{folder}/mlflow.db", *overrides,
        ],
        folder,
    )  # fmt: skip


def run_job(workload: Workload, images: Path, folder: Path, *, seed: int) -> Measured:
    """Run one job of the pipeline with an empty cache."""
    seconds = run_pipeline(
        workload.backbone, images, folder, f"finetune.unfreeze={workload.fine_tune_at}",
        f"augment.views={workload.views}", f"seed={seed}", f"hydra.run.dir={folder}/job",
    )  # fmt: skip
    metrics = json.loads((folder / "job" / "evaluate" / "metrics.json").read_text())
    return Measured(seconds, metrics["train"]["accuracy"])


def in_new_folder(measure: Callable[[Path], T]) -> T:
    """Call a function with a new empty folder, and delete the folder afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        return measure(folder)
    finally:
        shutil.rmtree(folder)


def measure_pairs(name: str, pairs: int, images: Path, baselines: dict[tuple[str, int], Measured]) -> None:
    """Run the recipe and the pipeline alternately, and record their times.

    Args:
        name: Name of the workload.
        pairs: Number of pairs of runs; scaled workloads have one pair.
        images: Folder with train/ and test/.
        baselines: Measurements of the recipe by backbone and depth, which scaled workloads share. New ones are added.
    """
    workload = WORKLOADS[name]
    theirs, ours = [], []
    for seed in range(1, 2 if workload.scaled else pairs + 1):
        shared = (workload.backbone, workload.fine_tune_at)
        if not (workload.scaled and shared in baselines):
            baselines[shared] = in_new_folder(partial(run_recipe, workload, images, seed=seed))
        theirs.append(baselines[shared])
        ours.append(in_new_folder(partial(run_job, workload, images, seed=seed)))
        print(name, theirs[-1], ours[-1], flush=True)
    note = ""
    if workload.backbone == "efficientnet_lite0":
        accuracies = (statistics.mean(each.accuracy for each in side) for side in (theirs, ours))
        note = "mean test accuracy of phase 1: " + " and ".join(f"{accuracy:.4f}" for accuracy in accuracies)
    add_row(
        f"{workload.title}, `augment.views={workload.views}`",
        recipe=[each.seconds for each in theirs],
        pipeline=[each.seconds for each in ours],
        scaled=workload.scaled,
        note=note,
    )


def fine_tuning_seconds(log: str, epochs: int) -> float:
    """Return the total seconds of a sweep's fine-tuning epochs, from its log.

    The first epoch of a job includes compilation, so the median of the other epochs is used for it.
    """
    ended = re.findall(r"^(\S+ \S+),(\d+) INFO epoch (\d+) of", log, re.MULTILINE)
    # Phase 1 is trained by one of the jobs.
    times = [
        datetime.fromisoformat(f"{day}.{milliseconds}").timestamp()
        for day, milliseconds, epoch in ended
        if int(epoch) > EPOCHS
    ]
    jobs = [times[start : start + epochs] for start in range(0, len(times), epochs)]
    return sum(epochs * statistics.median(after - before for before, after in itertools.pairwise(job)) for job in jobs)


def measure_sweep(name: str, images: Path, epochs: int, folder: Path) -> None:
    """Compare a sweep over six unfreeze depths, with an empty cache, with six runs of the recipe.

    Then run the sweep with another head and cached features. Another seed would change the random weights of the
    backbone, so that no cached features could be used.
    """
    sweep = SWEEPS[name]
    lowest, highest = sweep.depths[0], sweep.depths[-1]
    ends = [Workload("", sweep.backbone, depth, 0, scaled=True) for depth in (lowest, highest)]
    deepest, shallowest = (
        in_new_folder(partial(run_recipe, end, images, epochs=epochs, seed=1)).seconds for end in ends
    )
    fractions = [(depth - lowest) / (highest - lowest) for depth in sweep.depths]
    theirs = sum(deepest + (shallowest - deepest) * fraction for fraction in fractions)
    depths = ",".join(map(str, sweep.depths))
    overrides = ("-m", f"finetune.unfreeze={depths}", "augment.views=0", f"hydra.sweep.dir={folder}/jobs")
    ours = run_pipeline(sweep.backbone, images, folder, *overrides, epochs=epochs)
    again = run_pipeline(sweep.backbone, images, folder, *overrides, "train.hidden_units=64", epochs=epochs)
    beyond = (again - fine_tuning_seconds((folder / "log").read_text(), epochs)) / len(sweep.depths)
    title = f"{sweep.title}, a sweep from layers {depths}"
    add_row(
        f"{title}, `augment.views=0`",
        recipe=[theirs],
        pipeline=[ours],
        scaled=True,
        note=f"{epochs} fine-tuning epochs; recipe at layers {lowest} and {highest}, the others interpolated",
    )
    add_row(
        f"{title}, with another head, features cached",
        recipe=[],
        pipeline=[again],
        note=f"{beyond:.1f} s per job beyond its fine-tuning",
    )


def main() -> None:
    """Measure the chosen workloads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_recipe", description=__doc__)
    parser.add_argument("images", type=Path, help="folder with train/ and test/, each with two class folders")
    parser.add_argument(
        "--pairs", type=int, default=3, help="pairs of runs per workload that is not scaled (default: 3)"
    )
    parser.add_argument(
        "--sweep-epochs",
        type=int,
        default=FINE_TUNE_EPOCHS,
        help="fine-tuning epochs per job of the sweep (default: 3)",
    )
    parser.add_argument(
        "--only",
        nargs="*",
        choices=[*WORKLOADS, *SWEEPS],
        default=[*WORKLOADS, *SWEEPS],
        help="workloads to measure (default: all)",
    )
    args = parser.parse_args()
    images: Path = args.images.resolve()
    baselines: dict[tuple[str, int], Measured] = {}
    for name in args.only:
        if name in SWEEPS:
            in_new_folder(partial(measure_sweep, name, images, args.sweep_epochs))
        else:
            measure_pairs(name, args.pairs, images, baselines)


if __name__ == "__main__":
    main()
