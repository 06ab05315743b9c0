"""Peak anonymous memory of train and finetune on few and on many made images; adds to RESULTS.md. Part of `make bench`.

Mapped files are left out: the system takes their pages back when it wants to.
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

from benchmarks.results import keep
from benchmarks.run import ROOT

STAGES = ("train", "finetune")
INTERVAL = 0.05


def make_pictures(folder: Path, count: int) -> None:
    """Noise of two brightnesses, so that there are two classes to tell."""

    def draw(number: int) -> None:
        low = 128 * (number % 2)
        noise = np.random.default_rng(number).integers(low, low + 128, (48, 48, 3), dtype=np.uint8)
        file = folder / ("dark", "bright")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(file, compress_level=0)

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(count)))


def peak_of(command: list[str]) -> int:
    """The largest anonymous memory, in bytes, of a process that ends well; looked at twenty times a second."""
    peak = 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            if found := re.search(r"RssAnon:\s+(\d+) kB", status):
                peak = max(peak, int(found[1]) * 1024)
            time.sleep(INTERVAL)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return peak


def peaks(count: int, folder: Path) -> list[int]:
    """Of each stage, with so many images."""
    make_pictures(folder / "images", count)
    common = [
        "dataset=folder", f"dataset.path={folder}/images", "image_size=96", f"cache_folder={folder}/cache",
        f"tracking.uri=sqlite:///{folder}/mlflow.db", f"hydra.run.dir={folder}/job", "augment.views=1",
        "train.epochs=2", "finetune.epochs=2",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "pipeline.prepare", *common], cwd=ROOT, check=True, capture_output=True)
    return [peak_of([sys.executable, "-m", f"pipeline.{stage}", *common]) for stage in STAGES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--many", type=int, default=20_000)
    given = parser.parse_args()
    measured = {}
    for count in (given.few, given.many):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            measured[count] = peaks(count, Path(folder))
    for stage, few, many in zip(STAGES, measured[given.few], measured[given.many], strict=True):
        note = f"{few / 2**20:.0f} MiB, {many / 2**20:.0f} MiB: {many / few:.2f} times as much"
        print(stage, note)
        keep(
            f"peak anonymous memory of {stage}, {given.few:,} and {given.many:,} images, EfficientNet-Lite0 at 96 px",
            [],
            [],
            note=note,
        )


if __name__ == "__main__":
    main()
