"""The file that holds a classifier: Keras's own format, with the names of the classes beside the weights."""

import json
import zipfile
from pathlib import Path
from textwrap import shorten

import keras

from pipeline.models.description import _CLASSES, _member
from pipeline.storage.files import whole_file
from pipeline.system.errors import PipelineError


def save_classifier(model: keras.Model, classes: list[str], file: Path) -> None:
    """Write a `.keras` file that also names the classes, in the order of the outputs."""
    with whole_file(file) as unfinished:
        archive = unfinished.with_suffix(".keras")
        try:
            model.save(archive)
            with zipfile.ZipFile(archive, "a") as members:
                members.writestr(_CLASSES, json.dumps(classes, ensure_ascii=False))
            archive.replace(unfinished)
        finally:
            archive.unlink(missing_ok=True)


def load_classifier(file: Path) -> tuple[keras.Model, list[str]]:
    """A saved classifier with the names of its classes; uncompiled, and nothing in the file is run (Keras's safe mode).

    Raises:
        PipelineError: it was not written by `save_classifier`, or holds what could run code.
    """
    # By its name Keras would take it for one of its older formats, whatever it holds.
    if file.suffix != ".keras":
        raise PipelineError(f"{file} is not a classifier of this pipeline: it is no .keras file")
    classes = _member(file, _CLASSES)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # What was put together elsewhere raises anything.
        raise PipelineError(f"{file} can't be loaded, and nothing in it was run: {shorten(str(error), 300)}") from error
    if model.output_shape != (None, len(classes)):
        raise PipelineError(f"{file} names {len(classes)} classes, and its answers are {model.output_shape}")
    return model, classes
