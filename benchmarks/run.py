"""The pipeline against the source article's recipe, whole processes in turn; writes RESULTS.md. `make bench PICTURES=<folder>`."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
EPOCHS, FINE_TUNE_EPOCHS = 5, 3


@dataclass(frozen=True)
class Workload:
    """A recipe's run and the pipeline's on the same pictures, epochs, batch size and unfreeze depth."""

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


def timed(command: list[str], folder: Path) -> float:
    """Seconds from start to exit of a process; its output stands in `folder`/log."""
    started = time.perf_counter()
    with open(folder / "log", "w") as log:
        done = subprocess.run(
            command, cwd=HERE.parent, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(HERE.parent)}
        )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{(folder / 'log').read_text()[-2000:]}")
    return time.perf_counter() - started


def recipe(workload: Workload, pictures: Path, folder: Path) -> tuple[float, float]:
    """Seconds and test accuracy after phase 1."""
    epochs = (1, 1) if workload.scaled else (EPOCHS, FINE_TUNE_EPOCHS)
    command = [
        sys.executable, HERE / "recipe.py", pictures, folder, "--backbone", workload.backbone,
        "--fine-tune-at", workload.fine_tune_at, "--epochs", epochs[0], "--fine-tune-epochs", epochs[1],
    ]  # fmt: skip
    seconds = timed([str(word) for word in command], folder)
    said = json.loads((folder / "recipe.json").read_text())
    if workload.scaled:
        first, second = said["epochs"]
        seconds += (EPOCHS - 1) * first + (FINE_TUNE_EPOCHS - 1) * second
    return seconds, said["accuracy_phase_1"]


def pipeline(workload: Workload, pictures: Path, folder: Path) -> tuple[float, float]:
    """Seconds and test accuracy after phase 1; with an empty cache."""
    weights = "imagenet" if workload.backbone == "efficientnet_lite0" else "random"
    seconds = timed(
        [
            sys.executable, "-m", "pipeline", "dataset=folder", f"dataset.path={pictures}", f"backbone={workload.backbone}",
            f"backbone.weights={weights}", "image_size=224", f"augment.views={workload.views}", f"train.epochs={EPOCHS}",
            f"finetune.epochs={FINE_TUNE_EPOCHS}", "train.early_stopping_patience=null", "finetune.early_stopping_patience=null",
            f"finetune.unfreeze={workload.fine_tune_at}", f"cache_folder={folder}/cache", f"hydra.run.dir={folder}/job",
            f"tracking.uri=sqlite:///{folder}/mlflow.db",
        ],
        folder,
    )  # fmt: skip
    return seconds, json.loads((folder / "job" / "evaluate" / "metrics.json").read_text())["train"]["accuracy"]


def run(measure, workload: Workload, pictures: Path) -> tuple[float, float]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        return measure(workload, pictures, folder)
    finally:
        shutil.rmtree(folder)


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy"))
    short = " ".join(sorted(flags & {"avx512_bf16", "amx_bf16"})) or "no short floats"
    return (
        f"{os.cpu_count()} cores of {model} ({short}), Python {platform.python_version()}, {packages}, {date.today()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, help="train/ and test/ with two class sub-folders each")
    parser.add_argument("--pairs", type=int, default=3, help="of each workload whose recipe is short")
    parser.add_argument("--only", nargs="*", choices=WORKLOADS, default=list(WORKLOADS))
    given = parser.parse_args()
    lines, baselines = [], {}
    for name in given.only:
        workload = WORKLOADS[name]
        shared = (workload.backbone, workload.fine_tune_at)
        pairs = []
        for _ in range(1 if workload.scaled else given.pairs):
            if workload.scaled and shared in baselines:
                ours = run(pipeline, workload, given.pictures.resolve())
                pairs.append((baselines[shared], ours))
            else:
                theirs = run(recipe, workload, given.pictures.resolve())
                baselines[shared] = theirs
                pairs.append((theirs, run(pipeline, workload, given.pictures.resolve())))
            print(name, pairs[-1], flush=True)
        ratios = [theirs[0] / ours[0] for theirs, ours in pairs]
        medians = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
        lines.append(
            f"| {workload.title} | {workload.views} | {medians[0]:.0f} s{' (scaled)' * workload.scaled} | {medians[1]:.0f} s | "
            f"{statistics.median(ratios):.1f} ({', '.join(f'{ratio:.1f}' for ratio in ratios)}) | {pairs[-1][0][1]:.3f} / {pairs[-1][1][1]:.3f} |"
        )
        print(lines[-1], flush=True)
    (HERE / "RESULTS.md").write_text(
        "# The pipeline against the source article's recipe\n\n"
        f"Whole processes from start to exit, in turn, on the same pictures ({given.pictures.name}); {EPOCHS} epochs frozen and {FINE_TUNE_EPOCHS} fine-tuned, batches "
        "of 32, 224 px, the cache empty at the start. Scaled: the recipe ran once, an epoch a phase, and serves all rows of that backbone.\n"
        "The ratio is the median of the pairs', which follow. VGG16 and ResNet50 have random weights, so that only EfficientNet-Lite0's accuracies mean something.\n\n"
        f"{machine()}\n\n"
        "| workload | `augment.views` | recipe | pipeline | times faster | test accuracy of phase 1, recipe / pipeline |\n| --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    main()
