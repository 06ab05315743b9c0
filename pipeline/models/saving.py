"""The file of a classifier: Keras's own format, with the names of the classes beside the weights."""

import json
import shutil
import zipfile
from pathlib import Path
from textwrap import shorten
from typing import Any

import keras

from pipeline.models.description import CLASSES_MEMBER, read_member
from pipeline.storage.files import whole_file
from pipeline.system.errors import PipelineError


def save_classifier(model: keras.Model, classes: list[str], file: Path) -> None:
    """Write a `.keras` file that also names the classes; the same bytes whenever the model is the same.

    Args:
        model: the classifier.
        classes: their names, in the order of the outputs.
        file: to write.
    """
    with whole_file(file) as unfinished:
        saved = unfinished.with_suffix(".keras")
        try:
            model.save(saved)
            _repack(saved, classes, unfinished)
        finally:
            saved.unlink(missing_ok=True)


def _repack(saved: Path, classes: list[str], file: Path) -> None:
    """Write what Keras saved to `file`, with the classes, and without what differs from one saving to the next."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(file, "w") as target:
        metadata = json.loads(source.read("metadata.json"))
        del metadata["date_saved"]
        texts = {
            "metadata.json": json.dumps(metadata),
            "config.json": json.dumps(json.loads(source.read("config.json"), object_hook=_without_address)),
            CLASSES_MEMBER: json.dumps(classes, ensure_ascii=False),
        }
        for name in sorted({*source.namelist(), *texts}):
            # Dated 1980, as any member that is given no date.
            member = zipfile.ZipInfo(name)
            if name in texts:
                target.writestr(member, texts[name])
                continue
            # By its size zipfile decides whether it takes the 64-bit form.
            member.file_size = source.getinfo(name).file_size
            with source.open(name) as weights, target.open(member, "w") as copy:
                shutil.copyfileobj(weights, copy, 2**20)


def _without_address(config: dict[str, Any]) -> dict[str, Any]:
    """Return an object's configuration without its address in memory, if several layers share it.

    Layers share dtype policies alone, and when Keras loads them each gets its own.
    """
    return {key: value for key, value in config.items() if key != "shared_object_id"}


def load_classifier(file: Path) -> tuple[keras.Model, list[str]]:
    """Load a saved classifier and the names of its classes; uncompiled, in Keras's safe mode, which runs no code.

    Raises:
        PipelineError: the file was not written by `save_classifier`, or holds what could run code.
    """
    # By its name Keras would take it for one of its older formats, whatever it holds.
    if file.suffix != ".keras":
        raise PipelineError(f"{file} is not a classifier of this pipeline: it is not a .keras file")
    classes = read_member(file, CLASSES_MEMBER)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # What was put together elsewhere raises anything.
        raise PipelineError(f"{file} can't be loaded, and nothing in it was run: {shorten(str(error), 300)}") from error
    if model.output_shape != (None, len(classes)):
        raise PipelineError(f"{file} names {len(classes)} classes, but its output has shape {model.output_shape}")
    return model, classes
