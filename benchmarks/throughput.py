"""Compare the speed of decoding and feature extraction with that of minimal loops; part of `make bench`.

Both run alternately in one process. The results are added to docs/benchmarks/against_recipe.md.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pipeline  # noqa: F401  (sets environment variables that TensorFlow reads)

# isort: split
import keras
import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.results import add_row
from pipeline.config import Config
from pipeline.config.compose import configuration
from pipeline.config.image import Decoding
from pipeline.data.sources import list_images
from pipeline.inputs.images import DecodedImages
from pipeline.models.classifier import POOLING, build_classifier
from pipeline.models.parts import FrozenPart, parts_for_feature_extraction
from pipeline.storage.cache import Cache
from pipeline.storage.files import file_sha256
from pipeline.training.features import FeatureCache
from pipeline.training.hardware import set_up

SIZE = 224
CACHE_GIB = 50.0
BACKBONES = {"vgg16": 96, "resnet50": 256, "efficientnet_lite0": 768}
"""Number of images for each backbone, chosen so that a round takes seconds."""


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_decoding(folder: Path, rows: pd.DataFrame, rounds: int, scratch: Path) -> None:
    """Compare the speed of decoding to the cache with that of a loop that only decodes and resizes."""
    files = [folder / path for path in rows["path"]]

    def bare_one(file: Path) -> np.ndarray:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    def bare() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(bare_one, files):
                pass

    def ours() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        DecodedImages(folder, rows, Decoding(SIZE), Cache(scratch), budget_gib=CACHE_GIB, title="decoding")

    bare()
    loops, cached = zip(*[(seconds(bare), seconds(ours)) for _ in range(rounds)], strict=True)
    add_row(
        f"decode and resize {len(rows)} photos, checksums and writing included",
        recipe=list(loops),
        pipeline=list(cached),
        note=rate(len(rows), cached),
    )


def measure_extraction(config: Config, images: DecodedImages, rounds: int, scratch: Path) -> None:
    """Compare the speed of computing cached features with that of `model(x)`, and of the folded network alone."""
    count, name = len(images), config.backbone.name
    in_memory = images.take(np.arange(count))
    model = build_classifier(config.backbone, config.train, SIZE, class_count=2)
    plain = keras.Model(model.inputs, model.get_layer(POOLING).output)
    part = parts_for_feature_extraction(model, config.backbone, config.hardware.precision).frozen

    def bare() -> None:
        for start in range(0, count, 64):
            plain(in_memory[start : start + 64], training=False).numpy()

    def folded() -> None:
        for start in range(0, count, 64):
            part.from_pixels(in_memory[start : start + 64]).numpy()

    def ours() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        features = FeatureCache(images, Cache(scratch), config)
        features.load(part, np.arange(count))

    warm_up(plain, part, in_memory)
    measured = [(seconds(bare), seconds(folded), seconds(ours)) for _ in range(rounds)]
    loops, networks, cached = zip(*measured, strict=True)
    title = f"{name}, {part.arithmetic}: features of {count} decoded images"
    for against, times in (("`model(x)` in float32", loops), ("the folded network alone", networks)):
        add_row(f"{title}, against {against}", recipe=list(times), pipeline=list(cached), note=rate(count, cached))


def warm_up(plain: keras.Model, part: FrozenPart, images: np.ndarray) -> None:
    """Call both networks once with each batch shape, so that tracing and the choice of kernels are not measured."""
    for size in {64, len(images) % 64} - {0}:
        plain(images[:size], training=False)
        part.from_pixels(images[:size])


def rate(count: int, measured: tuple[float, ...]) -> str:
    """Return the number of images per second in the median round, as text."""
    return f"{count / float(np.median(measured)):.0f} images/s"


def main() -> None:
    """Measure decoding, then feature extraction with each backbone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("images", type=Path, help="folder with train/, which contains class folders")
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements (default: 3)")
    args = parser.parse_args()
    folder = args.images.resolve()
    dataset = configuration(["dataset=folder", f"dataset.path={folder}"]).dataset
    files = [image.path for image in list_images(dataset).images if image.split == "train"]
    rows = pd.DataFrame({"path": files, "sha256": [file_sha256(folder / path) for path in files]})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder_name:
        scratch = Path(folder_name)
        measure_decoding(folder, rows, args.rounds, scratch / "decoded")
        for backbone, count in BACKBONES.items():
            weights = "imagenet" if backbone == "efficientnet_lite0" else "random"
            config = configuration([f"backbone={backbone}", f"backbone.weights={weights}", f"image_size={SIZE}"])
            set_up(config.hardware, config.seed)
            images = DecodedImages(
                folder, rows[:count], Decoding(SIZE), Cache(scratch / "images"), budget_gib=CACHE_GIB, title="decoding"
            )
            measure_extraction(config, images, args.rounds, scratch / "features")


if __name__ == "__main__":
    main()
