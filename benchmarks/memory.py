"""Measure the peak anonymous memory of train and finetune on few and many synthetic images; part of `make bench`.

The results are added to docs/benchmarks/against_recipe.md. Memory-mapped files are not counted, since the system can
free their pages at any time.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.results import add_row
from pipeline.system.paths import CODE

STAGES = ("train", "finetune")
INTERVAL = 0.05


def write_images(folder: Path, count: int) -> None:
    """Write noise images of two classes, which differ in brightness."""

    def draw(number: int) -> None:
        low = 128 * (number % 2)
        noise = np.random.default_rng(number).integers(low, low + 128, (48, 48, 3), dtype=np.uint8)
        file = folder / ("dark", "bright")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(file, compress_level=0)

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(count)))


def peak_of(command: list[str]) -> int:
    """Run a process, and return its largest anonymous memory in bytes, measured twenty times per second."""
    peak = 0
    with subprocess.Popen(command, cwd=CODE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            if size := re.search(r"RssAnon:\s+(\d+) kB", status):
                peak = max(peak, int(size[1]) * 1024)
            time.sleep(INTERVAL)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return peak


def peaks(count: int, folder: Path) -> list[int]:
    """Return the peak memory in bytes of each stage with `count` images."""
    write_images(folder / "images", count)
    overrides = [
        "dataset=folder", f"dataset.path={folder}/images", "image_size=96", f"cache_folder={folder}/cache",
        f"tracking.uri=sqlite:///{folder}/mlflow.db", f"hydra.run.dir={folder}/job", "augment.views=1",
        "train.epochs=2", "finetune.epochs=2",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "pipeline.prepare", *overrides], cwd=CODE, check=True, capture_output=True)
    return [peak_of([sys.executable, "-m", f"pipeline.{stage}", *overrides]) for stage in STAGES]


def main() -> None:
    """Measure both stages with few and many images."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--few", type=int, default=2_000, help="smaller number of images (default: 2000)")
    parser.add_argument("--many", type=int, default=20_000, help="larger number of images (default: 20000)")
    args = parser.parse_args()
    measured = {}
    for count in (args.few, args.many):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            measured[count] = peaks(count, Path(folder))
    for stage, few, many in zip(STAGES, measured[args.few], measured[args.many], strict=True):
        note = f"{few / 2**20:.0f} MiB, {many / 2**20:.0f} MiB: {many / few:.2f} times as much"
        print(stage, note)
        add_row(
            f"peak anonymous memory of {stage}, {args.few:,} and {args.many:,} images, EfficientNet-Lite0 at 96 px",
            recipe=[],
            pipeline=[],
            note=note,
        )


if __name__ == "__main__":
    main()
