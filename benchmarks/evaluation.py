"""Measure evaluate with many classes, on synthetic images: `python -m benchmarks.evaluation --classes 1000`."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.storage.files import read_json
from pipeline.system.paths import CODE

_SIZE = 32


def write_images(folder: Path, classes: int, images: int) -> None:
    """Write train/ and test/ with class folders of synthetic images: one colour per class, with noise."""
    generator = np.random.default_rng(0)
    colours = generator.integers(40, 216, (classes, 1, 1, 3))
    for split, count in (("train", 8), ("test", images)):
        for number, colour in enumerate(colours):
            home = folder / split / f"class_{number:04}"
            home.mkdir(parents=True)
            noise = generator.integers(-40, 40, (count, _SIZE, _SIZE, 3))
            for index, image in enumerate((colour + noise).astype(np.uint8)):
                Image.fromarray(image).save(home / f"{index}.png", compress_level=1)


def main() -> None:
    """Run the pipeline, and print the times of evaluate and report, and the size of the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--classes", type=int, default=1000, help="number of classes (default: 1000)")
    parser.add_argument("--images", type=int, default=10, help="test images per class (default: 10)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_images(work / "images", args.classes, args.images)
        settings = {
            "dataset": "folder",
            "dataset.path": work / "images",
            "backbone": "scratch_cnn",
            "augment": "none",
            "image_size": _SIZE,
            "train.epochs": 3,
            "finetune.epochs": 1,
            "cache_folder": work / "cache",
            "tracking.uri": f"sqlite:///{work}/mlflow.db",
            "hydra.run.dir": work / "job",
        }
        command = [sys.executable, "-m", "pipeline", *(f"{key}={value}" for key, value in settings.items())]
        subprocess.run(command, cwd=CODE, env=os.environ | {"PYTHONPATH": str(CODE)}, check=True)
        seconds = {stage: read_json(work / "job" / stage / "run.json")["seconds"] for stage in ("evaluate", "report")}
        mib = (work / "job" / "report" / "report.html").stat().st_size / 2**20
        print(
            f"{args.classes * args.images} test images of {args.classes} classes: evaluate {seconds['evaluate']:.1f} s, "
            f"including forward passes; report {seconds['report']:.1f} s; report.html {mib:.1f} MiB"
        )


if __name__ == "__main__":
    main()
