"""Saving and loading of classifiers in Keras's format with class names."""

import json
from pathlib import Path
from textwrap import shorten
from typing import Any

import keras

from pipeline.config.image import Decoding
from pipeline.config.size import size_of
from pipeline.models.archive import copy_archive, read_member
from pipeline.models.description import CLASSES, DECODING, decoding_text
from pipeline.storage.files import whole_file
from pipeline.system.errors import PipelineError


def save_classifier(model: keras.Model, classes: list[str], file: Path, decoding: Decoding | None = None) -> None:
    """Write a classifier to a `.keras` file with class names; equal models give identical files.

    Args:
        model: Classifier to save.
        classes: Class names, in the order of the outputs.
        file: Output file.
        decoding: Decoding of the images at the network's size; None for its defaults.
    """
    sides = model.input_shape[1:3]
    decoding = decoding or Decoding(size_of(sides[0], sides[-1]))
    texts = {CLASSES: json.dumps(classes, ensure_ascii=False), DECODING: decoding_text(decoding)}
    with whole_file(file) as unfinished:
        saved = unfinished.with_suffix(".keras")
        try:
            model.save(saved)
            _repack(saved, texts, unfinished)
        finally:
            saved.unlink(missing_ok=True)


def _repack(saved: Path, texts: dict[str, str], file: Path) -> None:
    """Copy a file that Keras saved to `file`, add texts by name, and remove data that varies from save to save."""
    metadata = read_member(saved, "metadata.json")
    del metadata["date_saved"]
    config = json.loads(json.dumps(read_member(saved, "config.json")), object_hook=_without_address)
    copy_archive(saved, file, {"metadata.json": json.dumps(metadata), "config.json": json.dumps(config), **texts})


def _without_address(config: dict[str, Any]) -> dict[str, Any]:
    """Return a Keras object's configuration without the memory address that marks an object shared by several layers.

    Layers share only dtype policies, and each layer gets a separate one when Keras loads the file.
    """
    return {key: value for key, value in config.items() if key != "shared_object_id"}


def load_classifier(file: Path) -> tuple[keras.Model, list[str]]:
    """Load a saved classifier, uncompiled, and its class names, in Keras's safe mode, which runs no code.

    Raises:
        PipelineError: The file was not written by `save_classifier`, or contains objects that could run code.
    """
    # Keras would read a file with another ending as one of its older formats.
    if file.suffix != ".keras":
        raise PipelineError(f"{file} is not a classifier of this pipeline: it is not a .keras file")
    classes = read_member(file, CLASSES)
    model = load_network(file)
    if model.output_shape != (None, len(classes)):
        raise PipelineError(
            f"{file} names {len(classes)} classes, but its model's output has shape {model.output_shape}"
        )
    return model, classes


def load_network(file: Path) -> keras.Model:
    """Load a `.keras` file, uncompiled, in Keras's safe mode, which runs no code.

    Raises:
        PipelineError: The file can't be loaded, or contains objects that could run code.
    """
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # A file from another source may raise any error.
        raise PipelineError(f"{file} can't be loaded; no code in it was run: {shorten(str(error), 300)}") from error
