"""How long evaluate takes where there are many classes: made images, the real stages, and what of evaluate is no forward pass.

python -m benchmarks.evaluation --classes 1000 --images 10
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
_SIZE = 32


def write_images(folder: Path, classes: int, images: int) -> None:
    """train/ and test/ with class folders: a colour a class, with noise."""
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
    """Print what evaluate took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=10, help="test images a class")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_images(work / "images", given.classes, given.images)
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
        subprocess.run(command, cwd=HERE.parent, env=os.environ | {"PYTHONPATH": str(HERE.parent)}, check=True)
        out = work / "job" / "evaluate"
        seconds = json.loads((out / "run.json").read_text())["seconds"]
        size = (out / "report.html").stat().st_size / 2**20
        print(
            f"{given.classes * given.images} test images of {given.classes} classes: evaluate {seconds:.1f} s, "
            f"its forward passes included; report.html {size:.1f} MiB"
        )


if __name__ == "__main__":
    main()
