"""What `prepare` does with images, measured on made ones: `python benchmarks/data.py scan|scale|planted|growth|labels`.

scan     10,000 JPEG files of 500x375: the first scan against a bare loop that reads, hashes and decodes them, then again with nothing changed
scale    100,000 made images against 10,000, the memory it takes, and 10 files more
planted  copies of 5,000 distinct photos: the ones below --images, filled up with made ones
growth   the search for near duplicates alone, by the number of hashes
labels   5 % of the labels below --images (train/ with class folders) exchanged: where label_issues.csv has them; trains for a minute
"""

import argparse
import hashlib
import io
import json
import logging
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
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
logging.getLogger("pipeline").setLevel(logging.ERROR)

SEED = 20


class Maker:
    """Draws images that no two are alike of: windows of clouds with the spectrum of photos, laid over each other, with a few shapes."""

    def __init__(self, side: int, sheets: int = 6):
        draws = np.random.default_rng(SEED)
        frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
        frequency[0, 0] = 1
        self._sheets = []
        for _ in range(sheets):
            spectrum = np.fft.rfft2(draws.standard_normal((3, side, side))) / frequency**1.1
            cloud = np.fft.irfft2(spectrum)
            cloud = 127 + 55 * cloud / cloud.std(axis=(1, 2), keepdims=True)
            self._sheets.append(Image.fromarray(cloud.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)))

    def draw(self, number: int, width: int, height: int) -> Image.Image:
        """The image with this number."""
        draws = np.random.default_rng([SEED, number])
        layers = []
        for _ in range(2):
            sheet = self._sheets[draws.integers(len(self._sheets))]
            span = draws.uniform(0.25, 0.9) * min(sheet.width / width, sheet.height / height)
            x, y = draws.uniform(0, sheet.width - span * width), draws.uniform(0, sheet.height - span * height)
            window = (x, y, x + span * width, y + span * height)
            layers.append(sheet.resize((width, height), Image.Resampling.BILINEAR, box=window))
        image = Image.blend(*layers, draws.uniform(0.3, 0.7))
        for _ in range(draws.integers(1, 5)):
            size = (draws.uniform(0.1, 0.5, 2) * (width, height)).astype(int) + 1
            place = tuple((draws.uniform(-0.1, 0.8, 2) * (width, height)).astype(int).tolist())
            image.paste(tuple(draws.integers(0, 256, 3).tolist()), (*place, place[0] + size[0], place[1] + size[1]))
        return image


def make(folder: Path, numbers: range, width: int, height: int) -> None:
    """Write made images as JPEG files of two classes."""
    maker = Maker(3 * max(width, height))
    for name in ("even", "odd"):
        (folder / name).mkdir(parents=True, exist_ok=True)

    def write(number: int) -> None:
        image = maker.draw(number, width, height)
        image.save(folder / ("odd" if number % 2 else "even") / f"{number:07}.jpg", quality=85)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, numbers))


def bare_loop(folder: Path) -> float:
    """Seconds that it takes to read, hash and decode all files on all cores, and nothing else."""

    def read(file: str) -> str:
        with open(file, "rb") as opened:
            data = opened.read()
        with Image.open(io.BytesIO(data)) as image:
            image.convert("RGB")
        return hashlib.sha256(data).hexdigest()

    files = [entry.path for home in os.scandir(folder) for entry in os.scandir(home.path)]
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read, files))
    return time.perf_counter() - started


def settings(folder: Path, *overrides: str):
    from pipeline.config.compose import composed
    from pipeline.config.validate import check

    return check(composed(["dataset=folder", f"dataset.path={folder}", *overrides]))


def prepared(folder: Path, cache: Path) -> dict[str, float]:
    """A process of its own that lists, scans and curates; its seconds and its peak memory."""
    words = [sys.executable, __file__, "_prepare", "--images", folder, "--cache", cache]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _prepare(folder: Path, cache: Path) -> None:
    from pipeline.data.curation import curate
    from pipeline.data.inspection import inspect
    from pipeline.data.sources import list_images

    config = settings(folder)
    times = [time.perf_counter()]
    listing = list_images(config.dataset)
    inspected = inspect(folder, listing.images, cache, config.dataset.max_pixels)
    times.append(time.perf_counter())
    curated = curate(inspected, listing.classes, config.dataset, config.seed, None)
    times.append(time.perf_counter())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    scan, curation = np.diff(times).tolist()
    print(
        json.dumps(
            {"scan": scan, "curation": curation, "gib": peak, "images": len(curated.manifest), **curated.figures}
        )
    )


def scan(given: argparse.Namespace, work: Path) -> None:
    folder = work / "images"
    make(folder, range(given.count), 500, 375)
    rounds = []
    for number in range(given.rounds):
        bare = bare_loop(folder)
        first = prepared(folder, work / f"cache{number}")
        again = prepared(folder, work / f"cache{number}")
        rounds.append((bare / first["scan"], again["scan"] / first["scan"]))
        print(
            f"{given.count} images of 500x375: bare loop {bare:.2f} s, first scan {first['scan']:.2f} s ({bare / first['scan']:.2f} of its throughput), "
            f"nothing changed {again['scan']:.2f} s ({again['scan'] / first['scan']:.1%}); duplicates and splits {first['curation']:.2f} s",
            flush=True,
        )
    print("medians", *(f"{value:.3f}" for value in np.median(rounds, axis=0)))


def scale(given: argparse.Namespace, work: Path) -> None:
    small, large = given.count // 10, given.count
    results = []
    for count in (small, large):
        make(work / str(count), range(count), 96, 96)
        found = prepared(work / str(count), work / f"cache{count}")
        seconds = found["scan"] + found["curation"]
        results.append(1e3 * seconds / count)
        print(
            f"{count}: {seconds:.1f} s ({found['scan']:.1f} + {found['curation']:.1f}), {results[-1]:.3f} ms each, peak {found['gib']:.2f} GiB",
            flush=True,
        )
    print(f"time per image: {results[1] / results[0]:.2f} times")
    again = prepared(work / str(large), work / f"cache{large}")
    make(work / str(large), range(large, large + 10), 96, 96)
    more = prepared(work / str(large), work / f"cache{large}")
    print(
        f"nothing changed: {again['scan']:.2f} + {again['curation']:.2f} s; 10 files more: {more['scan']:.2f} + {more['curation']:.2f} s"
    )


def planted(given: argparse.Namespace, work: Path) -> None:
    from pipeline.data.duplicates import find_pairs
    from pipeline.data.inspection import inspect
    from pipeline.data.sources import list_images

    folder = work / "images"
    originals = _distinct(given.images, folder, 5000)
    copies = _plant(folder, originals, 200)
    config = settings(folder)
    inspected = inspect(folder, list_images(config.dataset).images, work / "cache", config.dataset.max_pixels)
    pairs = find_pairs(inspected.table, inspected.hashes, inspected.mirrored, config.dataset.near_duplicates)
    paths = inspected.table["path"].to_numpy()
    joined = {frozenset(pair) for pair in zip(paths[pairs["first"]], paths[pairs["second"]], strict=True)}
    for kind, made in copies.items():
        found = sum(frozenset(pair) in joined for pair in made)
        print(f"{kind}: {found} of {len(made)} found ({found / len(made):.1%})")
    among = [pair for pair in joined if pair <= set(originals)]
    alone = {path for pair in among for path in pair}
    print(
        f"distinct photos joined to another one: {len(alone)} of {len(originals)} ({len(alone) / len(originals):.2%})"
    )
    for pair in among:
        print("   ", *sorted(pair))


def _distinct(images: list[Path], folder: Path, count: int) -> list[str]:
    """Write `count` photos, those of `images` first, and give their paths."""
    home = folder / "originals"
    home.mkdir(parents=True)
    (folder / "copies").mkdir()
    files = sorted(
        file for each in images for file in each.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png")
    )[:count]
    for number, file in enumerate(files):
        shutil.copy(file, home / f"{number:05}{file.suffix.lower()}")
    maker = Maker(1500)
    for number in range(len(files), count):
        maker.draw(number, 500, 375).save(home / f"{number:05}.jpg", quality=90)
    print(f"{len(files)} given photos and {count - len(files)} made ones")
    return [f"originals/{file.name}" for file in sorted(home.iterdir())]


def _plant(folder: Path, originals: list[str], count: int) -> dict[str, list[tuple[str, str]]]:
    """Copies of different originals, `count` of each kind; pairs of original and copy."""
    chosen = np.random.default_rng(SEED).permutation(len(originals))[: 4 * count].reshape(4, count)
    planted = {"exact": [], "resized to 0.6": [], "quality 40": [], "cropped by 3 %": []}
    for kind, places in zip(planted, chosen, strict=True):
        for place in places:
            original = folder / originals[place]
            copy = folder / "copies" / f"{kind.split()[0]}-{original.stem}.jpg"
            with Image.open(original) as opened:
                image = opened.convert("RGB")
            width, height = image.size
            if kind == "exact":
                shutil.copy(original, copy)
            elif kind == "quality 40":
                image.save(copy, quality=40)
            elif kind == "resized to 0.6":
                image.resize((round(0.6 * width), round(0.6 * height)), Image.Resampling.BICUBIC).save(copy, quality=90)
            else:
                x, y = 0.015 * width, 0.015 * height
                image.crop((round(x), round(y), round(width - x), round(height - y))).save(copy, quality=90)
            planted[kind].append((originals[place], f"copies/{copy.name}"))
    return planted


def growth(given: argparse.Namespace, work: Path) -> None:
    """Hashes of made images' low frequencies, one in twenty with a near copy."""
    from pipeline.data import duplicates
    from pipeline.data import perceptual_hash as perceptual

    draws = np.random.default_rng(SEED)
    reach = np.arange(16)
    amplitude = (1 / (1 + np.hypot.outer(reach, reach)) ** 1.2).astype(np.float32)
    counts, seconds = [1_000, 3_162, 10_000, 31_623, 100_000], []
    for count in counts:
        hashes = []
        for start in range(0, count, 10_000):
            own = draws.standard_normal((min(10_000, count - start), 16, 16), dtype=np.float32) * amplitude
            near = own[::20] + 0.25 * amplitude * draws.standard_normal(own[::20].shape, dtype=np.float32)
            hashes.append(perceptual._bits(np.concatenate([own, near])))
        bits = np.concatenate(hashes)
        distance = np.concatenate(
            [
                np.bitwise_count(part[: len(part) * 20 // 21][::20] ^ part[len(part) * 20 // 21 :]).sum(axis=1)
                for part in hashes
            ]
        )
        started = time.perf_counter()
        first, _, _ = duplicates._close(bits, 36)
        seconds.append(time.perf_counter() - started)
        print(
            f"{len(bits):>7} hashes: {seconds[-1]:.2f} s, {1e6 * seconds[-1] / len(bits):.0f} us each; {len(first)} pairs of {(distance <= 36).sum()} planted within 36 bits",
            flush=True,
        )
    power = np.polyfit(np.log(counts[1:]), np.log(seconds[1:]), 1)[0]
    print(f"grows as n^{power:.2f}; a million would take {seconds[-1] * 10**power / 60:.1f} minutes")


def labels(given: argparse.Namespace, work: Path) -> None:
    import pandas as pd

    draws = np.random.default_rng(SEED)
    [images] = given.images
    files = sorted(file for file in (images / "train").rglob("*") if file.is_file())
    classes = sorted({file.parent.name for file in files})
    swapped = set(draws.permutation(len(files))[: len(files) // 20].tolist())
    wrong = set()
    for number, file in enumerate(files):
        label = file.parent.name
        if number in swapped:
            label = draws.choice([name for name in classes if name != label])
            wrong.add(f"train/{label}/{file.name}")
        target = work / "images" / "train" / label / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    for split in ("test", "validation"):
        if (images / split).is_dir():
            shutil.copytree(images / split, work / "images" / split)
    words = [
        sys.executable, "-m", "pipeline.train", "dataset=folder", f"dataset.path={work}/images", f"cache_folder={work}/cache", "dataset.label_conflicts=keep",
        f"hydra.run.dir={work}/job", f"tracking.uri=sqlite:///{work}/mlflow.db", "tracking.system_metrics_interval=null", "train.epochs=1", *given.overrides,
    ]  # fmt: skip
    ran = subprocess.run(words, cwd=HERE.parent, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr[-3000:])
    table = pd.read_csv(work / "job" / "train" / "label_issues.csv")
    looked_at = wrong & set(table["path"])
    for share in (0.05, 0.1):
        first = set(table["path"].head(round(share * len(table))))
        print(
            f"{len(looked_at & first)} of {len(looked_at)} exchanged labels ({len(looked_at & first) / len(looked_at):.1%}) are among the first {share:.0%} of {len(table)} images"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scan", "scale", "planted", "growth", "labels", "_prepare"])
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overrides", nargs="*", default=[])
    given = parser.parse_args()
    if given.what == "_prepare":
        return _prepare(given.images[0], given.cache)
    given.count = given.count or {"scan": 10_000, "scale": 100_000}.get(given.what)
    work = Path(tempfile.mkdtemp(prefix="bench-data-"))
    try:
        globals()[given.what](given, work)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
