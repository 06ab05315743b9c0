"""Data sets of scikit-learn (digits) and TensorFlow Datasets, which are written once as a folder of images."""

import logging
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from PIL import Image

from pipeline.data.split_names import split_of
from pipeline.storage.files import whole_folder
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import progress

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

log = logging.getLogger(__name__)

_ENDINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"RIFF": "webp", b"BM": "bmp"}


def write_digits(folder: Path) -> Path:
    """Write 1,797 images of handwritten digits (8x8, grey) unless the folder exists.

    Files are `folder/<digit>/<number>.png`.

    Returns:
        The folder.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI Machine Learning Repository), test
    images.
    """
    return _write_once(folder, folder.with_name(f"{folder.name}.lock"), _write_digits)


def tfds_folder(name: str, folder: Path) -> Path:
    """Return the folder in which `write_tfds` writes the images of a data set."""
    return folder / "tfds" / name.replace(":", "-").replace("/", "-")


def write_tfds(name: str, folder: Path) -> Path:
    """Write the images of a TensorFlow data set to a folder unless it exists.

    Files are `<split>/<class>/<number>.<ending>`, or `<class>/<number>.<ending>` if the data set has a single split.

    Args:
        name: Name of the data set, such as tf_flowers:3.0.1.
        folder: Folder in which the data set's folder is created.

    Returns:
        The data set's folder.

    Raises:
        PipelineError: The package is missing, the data set does not exist, or its images do not have one label each.
    """
    target = tfds_folder(name, folder)
    # All data sets use one lock file, since they share a folder of downloads.
    check_tfds(name, folder)
    return _write_once(target, folder / "tfds.lock", partial(_write_tfds, name, folder / "tensorflow_datasets"))


def _write_once(folder: Path, lock: Path, write: Callable[[Path], None]) -> Path:
    """Fill a folder by calling `write` unless it exists, while other processes wait, and return the folder."""
    if not folder.is_dir():
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not folder.is_dir():
                with whole_folder(folder) as unfinished:
                    write(unfinished)
    return folder


def _write_digits(folder: Path) -> None:
    # The import takes a second and is seldom needed.
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        # Pixel values range from 0 to 16.
        grey = np.round(pixels * 255 / 16).astype(np.uint8)
        target = folder / str(label) / f"{number:04}.png"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(grey).save(target)


def check_tfds(name: str, downloads: Path) -> None:
    """Check that the images of a data set of TensorFlow Datasets are there, or can be written.

    Raises:
        PipelineError: The package is not installed.
    """
    if not tfds_folder(name, downloads).is_dir() and find_spec("tensorflow_datasets") is None:
        raise PipelineError(
            "dataset=tfds needs the package tensorflow-datasets, which is not installed; run: pip install tensorflow-datasets"
        )


def _write_tfds(name: str, downloads: Path, folder: Path) -> None:
    import tensorflow_datasets as tfds

    builder = _prepared_builder(tfds, name, downloads)
    image, label = builder.info.supervised_keys
    # Class names become folder names, which can't contain slashes.
    names = [each.replace("/", "_") for each in builder.info.features[label].names]
    splits = {name: split for name in builder.info.splits if name.isalpha() and (split := split_of(name))}
    single = set(splits.values()) == {"train"}
    for name, split in splits.items():
        home = folder if single else folder / split
        for each in names:
            (home / each).mkdir(parents=True, exist_ok=True)
        # Images stay encoded, since the pipeline has its own decoder.
        examples = builder.as_dataset(
            split=name,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding({image: True, label: True}, {image: tfds.decode.SkipDecoding()}),
        )
        with progress(f"writing {builder.name}, {name}", builder.info.splits[name].num_examples) as advance:
            for number, example in enumerate(tfds.as_numpy(examples)):
                data = example[image]
                ending = next((ending for start, ending in _ENDINGS.items() if data.startswith(start)), "jpg")
                (home / names[example[label]] / f"{number:07}.{ending}").write_bytes(data)
                advance()


def _prepared_builder(tfds: ModuleType, name: str, downloads: Path) -> "DatasetBuilder":
    """Download a data set unless it exists, and return its builder."""
    try:
        builder = tfds.builder(name, data_dir=downloads)
    except Exception as error:  # Each kind of builder raises its own errors for names and versions.
        raise PipelineError(f"dataset.tfds: TensorFlow Datasets has no {name!r}: {error}") from error
    keys = builder.info.supervised_keys
    features = builder.info.features
    if not keys or not (
        isinstance(features[keys[0]], tfds.features.Image) and isinstance(features[keys[1]], tfds.features.ClassLabel)
    ):
        raise PipelineError(
            f"dataset.tfds: {name!r} is not a data set of images with one label each; its features are {', '.join(features)}"
        )
    log.info("downloading and preparing %s, unless it is already prepared", name)
    builder.download_and_prepare()
    if "train" not in builder.info.splits:
        raise PipelineError(
            f"dataset.tfds: {name!r} has no split called train; its splits are {', '.join(builder.info.splits)}"
        )
    return builder
