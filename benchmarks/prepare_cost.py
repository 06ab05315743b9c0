"""Measure time and memory of `prepare` on synthetic images: `python -m benchmarks.prepare_cost scan|scale|growth`.

scan: compare a first and a repeated scan of 10,000 JPEG files of 500x375 with a loop that reads, hashes and decodes.
scale: compare time and memory for 100,000 and 10,000 images, and measure the cost of 10 additional files.
growth: measure the search for near duplicates with increasing numbers of hashes.
"""

import argparse
import hashlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.made_images import SEED, write_made_images
from pipeline.config import Config
from pipeline.system.paths import CODE


def folder_config(folder: Path) -> Config:
    """Return the default configuration with the images in `folder` as data set."""
    from pipeline.config.compose import configuration

    return configuration(["dataset=folder", f"dataset.path={folder}"])


def bare_loop(folder: Path) -> float:
    """Return the seconds of a minimal loop that reads, hashes and decodes all files on all cores."""

    def read(file: str) -> str:
        data = Path(file).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.convert("RGB")
        return hashlib.sha256(data).hexdigest()

    files = [entry.path for home in os.scandir(folder) for entry in os.scandir(home.path)]
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read, files))
    return time.perf_counter() - started


def prepare_in_process(folder: Path, cache: Path) -> dict[str, float]:
    """List, scan and curate images in a new process, and return its times and its peak memory."""
    words = ["-m", "benchmarks.prepare_cost", "_prepare", "--images", str(folder), "--cache", str(cache)]
    ran = subprocess.run([sys.executable, *words], cwd=CODE, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout.splitlines()[-1])


def prepare(folder: Path, cache: Path) -> None:
    """Print the seconds and peak memory of scanning and curating images as JSON."""
    import logging

    from pipeline.data.curation import curate
    from pipeline.data.inspection import inspect
    from pipeline.data.sources import list_images

    logging.getLogger("pipeline").setLevel(logging.ERROR)
    config = folder_config(folder)
    times = [time.perf_counter()]
    listing = list_images(config.dataset)
    inspected = inspect(folder, listing.images, cache, config.dataset.max_pixels)
    times.append(time.perf_counter())
    curated = curate(inspected, listing.classes, config.dataset, config.seed)
    times.append(time.perf_counter())
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    scan_seconds, curation = np.diff(times).tolist()
    print(json.dumps({"scan": scan_seconds, "curation": curation, "gib": gib, "images": len(curated.manifest)}))


def scan(count: int, rounds: int, work: Path) -> None:
    """Print the throughput of the first scan, and the time of a repeated scan of unchanged files."""
    folder = work / "images"
    write_made_images(folder, range(count), 500, 375)
    fractions = []
    for number in range(rounds):
        bare = bare_loop(folder)
        first, again = (prepare_in_process(folder, work / f"cache{number}") for _ in range(2))
        fractions.append((bare / first["scan"], again["scan"] / first["scan"]))
        print(
            f"{count} images of 500x375: minimal loop {bare:.2f} s, first scan {first['scan']:.2f} s "
            f"({bare / first['scan']:.2f} of its throughput), repeated scan {again['scan']:.2f} s "
            f"({again['scan'] / first['scan']:.1%}); duplicates and splits {first['curation']:.2f} s",
            flush=True,
        )
    print("medians", *(f"{value:.3f}" for value in np.median(fractions, axis=0)))


def scale(count: int, work: Path) -> None:
    """Print time and memory for `count` images and a tenth of them, and the time for 10 additional files."""
    per_image = []
    for images in (count // 10, count):
        write_made_images(work / str(images), range(images), 96, 96)
        cost = prepare_in_process(work / str(images), work / f"cache{images}")
        seconds = cost["scan"] + cost["curation"]
        per_image.append(1e3 * seconds / images)
        print(
            f"{images}: {seconds:.1f} s ({cost['scan']:.1f} + {cost['curation']:.1f}), {per_image[-1]:.3f} ms per image, "
            f"peak {cost['gib']:.2f} GiB",
            flush=True,
        )
    print(f"time per image: {per_image[1] / per_image[0]:.2f} times as long")
    again = prepare_in_process(work / str(count), work / f"cache{count}")
    write_made_images(work / str(count), range(count, count + 10), 96, 96)
    more = prepare_in_process(work / str(count), work / f"cache{count}")
    print(
        f"unchanged files: {again['scan']:.2f} + {again['curation']:.2f} s; "
        f"10 additional files: {more['scan']:.2f} + {more['curation']:.2f} s"
    )


def growth(counts: list[int]) -> None:
    """Print the time of the search for near duplicates for each number of hashes.

    The hashes are computed from random low frequencies, and one in twenty has a near duplicate.
    """
    from pipeline.data.duplicates import find_pairs

    near_duplicates = folder_config(CODE).dataset.near_duplicates
    draws = np.random.default_rng(SEED)
    reach = np.arange(16)
    amplitude = (1 / (1 + np.hypot.outer(reach, reach)) ** 1.2).astype(np.float32)
    seconds = []
    for count in counts:
        parts, distances = [], []
        for start in range(0, count, 10_000):
            own = draws.standard_normal((min(10_000, count - start), 16, 16), dtype=np.float32) * amplitude
            near = own[::20] + 0.25 * amplitude * draws.standard_normal(own[::20].shape, dtype=np.float32)
            parts += [hash_bits(own), hash_bits(near)]
            distances.append(np.bitwise_count(parts[-2][::20] ^ parts[-1]).sum(axis=1))
        hashes = np.concatenate(parts)
        table = pd.DataFrame({"sha256": np.arange(len(hashes)).astype(str), "width": 64, "height": 64, "detail": 100.0})
        started = time.perf_counter()
        pairs = find_pairs(table, hashes, hashes, near_duplicates)
        seconds.append(time.perf_counter() - started)
        planted = int((np.concatenate(distances) <= near_duplicates.distance).sum())
        print(
            f"{len(hashes):>7} hashes: {seconds[-1]:.2f} s, {1e6 * seconds[-1] / len(hashes):.0f} us per hash; "
            f"{len(pairs)} pairs found, {planted} expected within {near_duplicates.distance} bits",
            flush=True,
        )
    power = np.polyfit(np.log(counts[1:]), np.log(seconds[1:]), 1)[0]
    minutes = seconds[-1] * (1e6 / counts[-1]) ** power / 60
    print(f"the time grows as n^{power:.2f}; a million hashes would take {minutes:.1f} minutes")


def hash_bits(frequencies: np.ndarray) -> np.ndarray:
    """Return the hashes of images by their frequencies, as `pipeline.data.duplicates` computes them.

    Args:
        frequencies: Float [n, 16, 16].

    Returns:
        Array, uint8 [n, 32].
    """
    median = np.median(frequencies, axis=(1, 2), keepdims=True)
    return np.packbits((frequencies > median).reshape(len(frequencies), -1), axis=1)


def main() -> None:
    """Run one of the three measurements."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prepare_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        choices=["scan", "scale", "growth", "_prepare"],
        metavar="{scan,scale,growth}",
        help="measurement to run",
    )
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help="number of images (default: 10,000 for scan, else 100,000)")
    parser.add_argument("--rounds", type=int, default=3, help="number of repetitions of scan (default: 3)")
    args = parser.parse_args()
    count = args.count or (10_000 if args.what == "scan" else 100_000)
    if args.what == "_prepare":
        prepare(args.images, args.cache)
    elif args.what == "growth":
        growth([round(count / 10 ** (half / 2)) for half in reversed(range(5))])
    else:
        work = Path(tempfile.mkdtemp(prefix="bench-prepare-"))
        try:
            if args.what == "scan":
                scan(count, args.rounds, work)
            else:
                scale(count, work)
        finally:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
