"""Decoding and extraction against bare loops, in turn within one process; adds to RESULTS.md. Part of `make bench`."""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pipeline  # noqa: F401  (says what TensorFlow reads at its import)

# isort: split
import keras
import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.results import keep
from pipeline.config import Config
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.data.sources import list_images
from pipeline.inputs.images import DecodedImages
from pipeline.models.classifier import build_classifier
from pipeline.models.parts import FrozenPart, parts_for_feature_extraction
from pipeline.storage.cache import Cache
from pipeline.storage.files import file_sha256
from pipeline.training.features import FeatureCache
from pipeline.training.hardware import set_up

SIZE = 224
BACKBONES = {"vgg16": 96, "resnet50": 256, "efficientnet_lite0": 768}
"""By backbone, so many images that a round takes seconds."""


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_decoding(folder: Path, rows: pd.DataFrame, rounds: int, scratch: Path) -> None:
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
        DecodedImages(folder, rows, SIZE, Cache(scratch), 50.0, "decoding")

    bare()
    loops, kept = zip(*[(seconds(bare), seconds(ours)) for _ in range(rounds)], strict=True)
    keep(
        f"decode and resize {len(rows)} photos, checksums and writing included",
        list(loops),
        list(kept),
        note=rate(len(rows), kept),
    )


def measure_extraction(config: Config, images: DecodedImages, rounds: int, scratch: Path) -> None:
    count, name = len(images), config.backbone.name
    in_memory = images.take(np.arange(count))
    model = build_classifier(config, 2)
    plain = keras.Model(model.inputs, model.get_layer("pooling").output)
    part = parts_for_feature_extraction(model, config.backbone, config.hardware.precision).frozen

    def bare() -> None:
        for start in range(0, count, 64):
            plain(in_memory[start : start + 64], training=False).numpy()

    def folded() -> None:
        for start in range(0, count, 64):
            part.from_pixels(in_memory[start : start + 64]).numpy()

    def ours() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        FeatureCache(images, config, Cache(scratch)).kept(part, np.arange(count), 1, name)

    warm_up(plain, part, in_memory)
    measured = [(seconds(bare), seconds(folded), seconds(ours)) for _ in range(rounds)]
    loops, networks, kept = zip(*measured, strict=True)
    title, note = f"{name}, {part.arithmetic}: features of {count} decoded images", rate(count, kept)
    keep(f"{title}, against `model(x)` in float32", list(loops), list(kept), note=note)
    keep(f"{title}, against the folded network alone", list(networks), list(kept), note=note)


def warm_up(plain: keras.Model, part: FrozenPart, images: np.ndarray) -> None:
    """Both trace, and choose their kernels, when they first see a shape."""
    for size in {64, len(images) % 64} - {0}:
        plain(images[:size], training=False)
        part.from_pixels(images[:size])


def rate(count: int, measured: tuple[float, ...]) -> str:
    return f"{count / float(np.median(measured)):.0f} images/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="train/ with class sub-folders")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    folder = given.images.resolve()
    dataset = check(composed(["dataset=folder", f"dataset.path={folder}"])).dataset
    files = [image.path for image in list_images(dataset).images if image.split == "train"]
    rows = pd.DataFrame({"path": files, "sha256": [file_sha256(folder / path) for path in files]})
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        measure_decoding(folder, rows, given.rounds, Path(scratch) / "decoded")
        for backbone, count in BACKBONES.items():
            weights = "imagenet" if backbone == "efficientnet_lite0" else "random"
            config = check(composed([f"backbone={backbone}", f"backbone.weights={weights}", f"image_size={SIZE}"]))
            set_up(config.hardware, config.seed)
            images = DecodedImages(folder, rows[:count], SIZE, Cache(Path(scratch) / "images"), 50.0, "decoding")
            measure_extraction(config, images, given.rounds, Path(scratch) / "features")


if __name__ == "__main__":
    main()
