"""The pipeline against the source article's recipe, whole processes in turn; writes RESULTS.md. `make bench IMAGES=<folder>`."""

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
from pathlib import Path

from benchmarks.results import keep

ROOT = Path(__file__).resolve().parents[1]
EPOCHS, FINE_TUNE_EPOCHS = 5, 3


@dataclass(frozen=True)
class Workload:
    """A recipe's run and the pipeline's on the same images, epochs, batch size and unfreeze depth."""

    title: str
    backbone: str
    fine_tune_at: int
    """Index of the lowest layer that learns in fine-tuning."""
    views: int
    scaled: bool = False
    """The recipe is run once, for an epoch a phase, and its other epochs are reckoned at that one's time."""


WORKLOADS = {
    "vgg16": Workload("VGG16, from layer 15", "vgg16", 15, 0, scaled=True),
    "vgg16_views": Workload("VGG16, from layer 15", "vgg16", 15, 4, scaled=True),
    "resnet50": Workload("ResNet50, its last block", "resnet50", 165, 0, scaled=True),
    "lite0": Workload("EfficientNet-Lite0, from layer 120", "efficientnet_lite0", 120, 0),
    "lite0_views": Workload("EfficientNet-Lite0, from layer 120", "efficientnet_lite0", 120, 4),
}
# Every convolution of VGG16's last two blocks, the deepest first.
SWEEP = (11, 12, 13, 15, 16, 17)


def timed(command: list[object], folder: Path) -> float:
    """Seconds from start to exit of a process; its output stands in `folder`/log."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with open(folder / "log", "w") as log:
        done = subprocess.run([str(word) for word in command], cwd=ROOT, stdout=log, stderr=log)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{(folder / 'log').read_text()[-2000:]}")
    return time.perf_counter() - started


def recipe(
    backbone: str, fine_tune_at: int, scaled: bool, fine_tune_epochs: int, seed: int, images: Path, folder: Path
) -> tuple[float, float]:
    """Seconds and test accuracy after phase 1."""
    epochs = (1, 1) if scaled else (EPOCHS, fine_tune_epochs)
    seconds = timed(
        [
            sys.executable, "-m", "benchmarks.recipe", images, folder, "--backbone", backbone, "--fine-tune-at", fine_tune_at,
            "--epochs", epochs[0], "--fine-tune-epochs", epochs[1], "--seed", seed,
        ],
        folder,
    )  # fmt: skip
    said = json.loads((folder / "recipe.json").read_text())
    if scaled:
        first, second = said["epochs"]
        seconds += (EPOCHS - 1) * first + (fine_tune_epochs - 1) * second
    return seconds, said["accuracy_phase_1"]


def pipeline(
    backbone: str, fine_tune_at: object, fine_tune_epochs: int, images: Path, folder: Path, *more: str
) -> float:
    """Seconds of a job below `folder`/job, or of a sweep; its cache and its store lie in `folder`."""
    weights = "imagenet" if backbone == "efficientnet_lite0" else "random"
    if weights == "random":
        # Whatever their loss is, they are here for their speed.
        more += ("train.diverged_above=1e9", "finetune.diverged_above=1e9")
    return timed(
        [
            sys.executable, "-m", "pipeline", "dataset=folder", f"dataset.path={images}", f"backbone={backbone}",
            f"backbone.weights={weights}", "image_size=224", f"train.epochs={EPOCHS}", f"finetune.epochs={fine_tune_epochs}",
            "train.early_stopping_patience=null", "finetune.early_stopping_patience=null", f"finetune.unfreeze={fine_tune_at}",
            f"cache_folder={folder}/cache", f"tracking.uri=sqlite:///{folder}/mlflow.db", *more,
        ],
        folder,
    )  # fmt: skip


def in_new_folder(measure: Callable, *arguments):
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        return measure(*arguments, folder)
    finally:
        shutil.rmtree(folder)


def job(workload: Workload, seed: int, images: Path, folder: Path) -> tuple[float, float]:
    """Seconds and test accuracy after phase 1; with an empty cache."""
    seconds = pipeline(
        workload.backbone, workload.fine_tune_at, FINE_TUNE_EPOCHS, images, folder,
        f"augment.views={workload.views}", f"seed={seed}", f"hydra.run.dir={folder}/job",
    )  # fmt: skip
    return seconds, json.loads((folder / "job" / "evaluate" / "metrics.json").read_text())["train"]["accuracy"]


def measure_pairs(name: str, pairs: int, images: Path, baselines: dict) -> None:
    workload = WORKLOADS[name]
    measured = []
    for seed in range(1, 2 if workload.scaled else pairs + 1):
        shared = (workload.backbone, workload.fine_tune_at)
        if not (workload.scaled and shared in baselines):
            baselines[shared] = in_new_folder(recipe, *shared, workload.scaled, FINE_TUNE_EPOCHS, seed, images)
        measured.append((baselines[shared], in_new_folder(job, workload, seed, images)))
        print(name, measured[-1], flush=True)
    theirs, ours = zip(*measured, strict=True)
    keep(
        f"{workload.title}, `augment.views={workload.views}`",
        recipe=[seconds for seconds, _ in theirs],
        pipeline=[seconds for seconds, _ in ours],
        scaled=workload.scaled,
        note=f"mean test accuracy of phase 1: {statistics.mean(a for _, a in theirs):.4f} and {statistics.mean(a for _, a in ours):.4f}"
        if workload.backbone == "efficientnet_lite0"
        else "",
    )


def fine_tuning_steps(log: str, epochs: int) -> float:
    """Seconds that a sweep's fine-tuning epochs took, by its log; a job's first one, which compiles too, is reckoned at the median of its others."""
    ended = re.findall(r"^(\S+ \S+),(\d+) INFO epoch (\d+) of", log, re.MULTILINE)
    times = [datetime.fromisoformat(f"{day}.{milliseconds}").timestamp() for day, milliseconds, _ in ended]
    per_job = EPOCHS + epochs
    total = 0.0
    for job in range(0, len(times), per_job):
        last = times[job + EPOCHS : job + per_job]
        total += epochs * statistics.median(after - before for before, after in itertools.pairwise(last))
    return total


def measure_sweep(images: Path, fine_tune_epochs: int, folder: Path) -> None:
    """Six unfreeze depths of VGG16 in one sweep, cache empty at the start, against six runs of the recipe; then the same with another head (another seed would draw other weights)."""
    deepest, shallowest = (
        in_new_folder(recipe, "vgg16", depth, True, fine_tune_epochs, 1, images)[0] for depth in (SWEEP[0], SWEEP[-1])
    )
    share = [(depth - SWEEP[0]) / (SWEEP[-1] - SWEEP[0]) for depth in SWEEP]
    theirs = sum(deepest + (shallowest - deepest) * part for part in share)
    depths = ",".join(map(str, SWEEP))
    options = ("augment.views=0", f"hydra.sweep.dir={folder}/jobs")
    ours = pipeline("vgg16", depths, fine_tune_epochs, images, folder, *options, "-m")
    again = pipeline("vgg16", depths, fine_tune_epochs, images, folder, *options, "train.hidden_units=64", "-m")
    beyond = (again - fine_tuning_steps((folder / "log").read_text(), fine_tune_epochs)) / len(SWEEP)
    told = (
        f"{fine_tune_epochs} fine-tuning epochs; recipe at layers {SWEEP[0]} and {SWEEP[-1]}, the others interpolated"
    )
    keep(
        f"VGG16, a sweep from layers {depths}, `augment.views=0`",
        recipe=[theirs],
        pipeline=[ours],
        scaled=True,
        note=told,
    )
    keep(
        "the same sweep with another head, frozen work cached",
        recipe=[],
        pipeline=[again],
        scaled=False,
        note=f"{beyond:.1f} s a job beyond its fine-tuning",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="train/ and test/ with two class sub-folders each")
    parser.add_argument("--pairs", type=int, default=3, help="of each workload whose recipe is short")
    parser.add_argument(
        "--sweep-epochs", type=int, default=FINE_TUNE_EPOCHS, help="fine-tuning epochs of the sweep's jobs"
    )
    parser.add_argument("--only", nargs="*", choices=[*WORKLOADS, "sweep"], default=[*WORKLOADS, "sweep"])
    given = parser.parse_args()
    images, baselines = given.images.resolve(), {}
    for name in given.only:
        if name == "sweep":
            in_new_folder(measure_sweep, images, given.sweep_epochs)
        else:
            measure_pairs(name, given.pairs, images, baselines)


if __name__ == "__main__":
    main()
