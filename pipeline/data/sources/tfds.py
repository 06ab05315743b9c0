"""Data sets of TensorFlow Datasets, written once as a folder of the published image files."""

import logging
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from filelock import FileLock

from pipeline.data.listing import SPLIT_ALIASES
from pipeline.storage.files import whole_folder
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import progress

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

log = logging.getLogger(__name__)

_ENDINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"RIFF": "webp", b"BM": "bmp"}


def write_tfds(name: str, folder: Path) -> Path:
    """Write the images of `name` (such as tf_flowers:3.0.1) below `folder`, unless they are there.

    Files are `<split>/<class>/<number>.<ending>`, or `<class>/<number>.<ending>` where the data set has a single split.

    Returns:
        The data set's folder.

    Raises:
        PipelineError: the package is missing, or the data set does not exist or is not of images with one label each.
    """
    target = folder / "tfds" / name.replace(":", "-").replace("/", "-")
    if target.is_dir():
        return target
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise PipelineError(
            "dataset=tfds needs the package tensorflow-datasets, which is not installed: pip install tensorflow-datasets"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}/tfds.lock"):
        if not target.is_dir():
            builder = _builder(tfds, name, folder / "tensorflow_datasets")
            with whole_folder(target) as unfinished:
                _write(tfds, builder, unfinished)
    return target


def _builder(tfds: ModuleType, name: str, downloads: Path) -> "DatasetBuilder":
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
            f"dataset.tfds: {name!r} is not a data set of images with one label each; it has {', '.join(features)}"
        )
    log.info("downloading and preparing %s, unless that was done before", name)
    builder.download_and_prepare()
    if "train" not in builder.info.splits:
        raise PipelineError(
            f"dataset.tfds: {name!r} has no split called train; it has {', '.join(builder.info.splits)}"
        )
    return builder


def _write(tfds: ModuleType, builder: "DatasetBuilder", folder: Path) -> None:
    image, label = builder.info.supervised_keys
    # Class names become folder names.
    names = [each.replace("/", "_") for each in builder.info.features[label].names]
    splits = {name: SPLIT_ALIASES[name] for name in builder.info.splits if name in SPLIT_ALIASES}
    single = set(splits.values()) == {"train"}
    for name, split in splits.items():
        home = folder if single else folder / split
        for each in names:
            (home / each).mkdir(parents=True, exist_ok=True)
        # The published bytes: the pipeline has its own decoder.
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
