"""Measure detection rates of duplicates and wrong labels: `python -m benchmarks.prepare_finds planted|labels`.

planted: copy some of 5,000 distinct images in four ways, and count the copies that prepare finds.
labels: change 5 % of the labels, train for a minute, and count the changed labels that label_issues.csv ranks first.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.made_images import SEED, ImageMaker
from benchmarks.prepare_cost import folder_config
from pipeline.data.duplicates import find_pairs
from pipeline.data.inspection import inspect
from pipeline.data.sources import list_images
from pipeline.system.paths import CODE


def planted(sources: list[Path], work: Path, *, photos: int = 5000, copies: int = 200) -> None:
    """Print how many copies are found, by kind of copy, and which distinct photos are wrongly found as duplicates."""
    folder = work / "images"
    originals = _distinct(sources, folder, photos)
    made_pairs = _plant(folder, originals, copies)
    dataset = folder_config(folder).dataset
    inspected = inspect(folder, list_images(dataset).images, work / "cache", dataset.max_pixels)
    pairs = find_pairs(inspected.table, inspected.hashes, inspected.mirrored, dataset.near_duplicates)
    paths = inspected.table["path"].to_numpy()
    joined = {frozenset(pair) for pair in zip(paths[pairs["first"]], paths[pairs["second"]], strict=True)}
    for name, made in made_pairs.items():
        count = sum(frozenset(pair) in joined for pair in made)
        print(f"{name}: {count} of {len(made)} found ({count / len(made):.1%})")
    among = [pair for pair in joined if pair <= set(originals)]
    wrong = {path for pair in among for path in pair}
    print(f"distinct photos found as duplicates: {len(wrong)} of {len(originals)} ({len(wrong) / len(originals):.2%})")
    for pair in among:
        print("   ", *sorted(pair))


def _distinct(sources: list[Path], folder: Path, count: int) -> list[str]:
    """Write `count` images, first the photos in `sources` and then synthetic images, and return their paths."""
    home = folder / "originals"
    home.mkdir(parents=True)
    (folder / "copies").mkdir()
    endings = (".jpg", ".jpeg", ".png")
    files = sorted(file for each in sources for file in each.rglob("*") if file.suffix.lower() in endings)[:count]
    for number, file in enumerate(files):
        shutil.copy(file, home / f"{number:05}{file.suffix.lower()}")
    maker = ImageMaker(1500)
    for number in range(len(files), count):
        maker.draw(number, 500, 375).save(home / f"{number:05}.jpg", quality=90)
    print(f"{len(files)} photos and {count - len(files)} synthetic images")
    return [f"originals/{file.name}" for file in sorted(home.iterdir())]


def _plant(folder: Path, originals: list[str], count: int) -> dict[str, list[tuple[str, str]]]:
    """Copy `count` different originals in each of four ways, and return the pairs of original and copy."""
    chosen = np.random.default_rng(SEED).permutation(len(originals))[: 4 * count].reshape(4, count)
    pairs: dict[str, list[tuple[str, str]]] = {
        "exact": [], "resized to 0.6": [], "quality 40": [], "cropped by 3 %": [],
    }  # fmt: skip
    for name, places in zip(pairs, chosen, strict=True):
        for place in places:
            original = folder / originals[place]
            copy = folder / "copies" / f"{name.split()[0]}-{original.stem}.jpg"
            with Image.open(original) as opened:
                image = opened.convert("RGB")
            width, height = image.size
            if name == "exact":
                shutil.copy(original, copy)
            elif name == "quality 40":
                image.save(copy, quality=40)
            elif name == "resized to 0.6":
                image.resize((round(0.6 * width), round(0.6 * height)), Image.Resampling.BICUBIC).save(copy, quality=90)
            else:
                x, y = 0.015 * width, 0.015 * height
                image.crop((round(x), round(y), round(width - x), round(height - y))).save(copy, quality=90)
            pairs[name].append((originals[place], f"copies/{copy.name}"))
    return pairs


def labels(source: Path, work: Path, overrides: list[str]) -> None:
    """Print how many of the changed labels are among the first rows of label_issues.csv."""
    wrong = _exchange_labels(source, work / "images")
    command = [
        sys.executable, "-m", "pipeline.train", "dataset=folder", f"dataset.path={work}/images",
        f"cache_folder={work}/cache", "dataset.label_conflicts=keep", f"hydra.run.dir={work}/job",
        f"tracking.uri=sqlite:///{work}/mlflow.db", "tracking.system_metrics_interval=null", "train.epochs=1", *overrides,
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=CODE, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr[-3000:])
    table = pd.read_csv(work / "job" / "train" / "label_issues.csv")
    ranked = wrong & set(table["path"])
    for fraction in (0.05, 0.1):
        first = ranked & set(table["path"].head(round(fraction * len(table))))
        print(
            f"{len(first)} of {len(ranked)} changed labels ({len(first) / len(ranked):.1%}) are among the first "
            f"{fraction:.0%} of {len(table)} images"
        )


def _exchange_labels(source: Path, target: Path) -> set[str]:
    """Copy the images, change the label of one training image in twenty, and return the paths of these."""
    draws = np.random.default_rng(SEED)
    files = sorted(file for file in (source / "train").rglob("*") if file.is_file())
    classes = sorted({file.parent.name for file in files})
    swapped = set(draws.permutation(len(files))[: len(files) // 20].tolist())
    wrong = set()
    for number, file in enumerate(files):
        label = file.parent.name
        if number in swapped:
            label = str(draws.choice([name for name in classes if name != label]))
            wrong.add(f"train/{label}/{file.name}")
        copy = target / "train" / label / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    for split in ("test", "validation"):
        if (source / split).is_dir():
            shutil.copytree(source / split, target / split)
    return wrong


def main() -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prepare_finds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["planted", "labels"], help="measurement to run")
    parser.add_argument(
        "--images",
        type=Path,
        nargs="*",
        default=[],
        help="planted: folders of photos, to which synthetic images are added; labels: one folder with train/",
    )
    parser.add_argument("--photos", type=int, default=5000, help="planted: number of images (default: 5000)")
    parser.add_argument("--copies", type=int, default=200, help="planted: copies of each kind (default: 200)")
    parser.add_argument("--overrides", nargs="*", default=[], help="labels: overrides of the configuration")
    args = parser.parse_args()
    if args.what == "labels" and len(args.images) != 1:
        parser.error("labels needs exactly one folder; use --images <folder with train/>")
    work = Path(tempfile.mkdtemp(prefix="bench-prepare-"))
    try:
        if args.what == "planted":
            planted(args.images, work, photos=args.photos, copies=args.copies)
        else:
            labels(args.images[0], work, args.overrides)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
