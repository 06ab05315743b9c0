"""Saving and loading of classifiers in Keras's format with class names, and their description."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import keras

from pipeline.storage.files import whole_file
from pipeline.system.errors import PipelineError

# File in the archive that contains the class names, besides Keras's own files.
_CLASSES = "classes.json"


def save_classifier(model: keras.Model, classes: list[str], file: Path) -> None:
    """Write a classifier to a `.keras` file with class names; equal models give identical files.

    Args:
        model: Classifier to save.
        classes: Class names, in the order of the outputs.
        file: Output file.
    """
    with whole_file(file) as unfinished:
        saved = unfinished.with_suffix(".keras")
        try:
            model.save(saved)
            _repack(saved, classes, unfinished)
        finally:
            saved.unlink(missing_ok=True)


def _repack(saved: Path, classes: list[str], file: Path) -> None:
    """Copy a file that Keras saved to `file`, add the class names, and remove data that varies from save to save."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(file, "w") as target:
        metadata = json.loads(source.read("metadata.json"))
        del metadata["date_saved"]
        texts = {
            "metadata.json": json.dumps(metadata),
            "config.json": json.dumps(json.loads(source.read("config.json"), object_hook=_without_address)),
            _CLASSES: json.dumps(classes, ensure_ascii=False),
        }
        for name in sorted({*source.namelist(), *texts}):
            # A ZipInfo without a date has the constant date 1980.
            member = zipfile.ZipInfo(name)
            if name in texts:
                target.writestr(member, texts[name])
                continue
            # zipfile uses the size to choose between the 32-bit and the 64-bit format.
            member.file_size = source.getinfo(name).file_size
            with source.open(name) as weights, target.open(member, "w") as copy:
                shutil.copyfileobj(weights, copy, 2**20)


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
    classes = _read_member(file, _CLASSES)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # A file from another source may raise any error.
        raise PipelineError(f"{file} can't be loaded; no code in it was run: {shorten(str(error), 300)}") from error
    if model.output_shape != (None, len(classes)):
        raise PipelineError(
            f"{file} names {len(classes)} classes, but its model's output has shape {model.output_shape}"
        )
    return model, classes


def describe(
    classes: Sequence[str],
    image_size: int,
    *,
    temperature: float | None,
    applied: bool,
    tta: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a description of a classifier that can be written as JSON.

    Args:
        classes: Class names, in the order of the outputs.
        image_size: Side of the images in pixels.
        temperature: Temperature fitted on the validation split, or None if it is not known.
        applied: Whether the temperature is already applied to the outputs.
        tta: Test-time augmentation of the evaluation, and the temperature of the mean over its views.
    """
    return {
        "classes": list(classes),
        "image_size": image_size,
        "input": f"uint8 RGB [batch, {image_size}, {image_size}, 3], 0 to 255",
        "output": f"float32 probabilities [batch, {len(classes)}], in the order of classes",
        # The steps of `pipeline.inputs.decoding.pixels`, for users who decode images with other software.
        "decoding": [
            "the first frame of the file, decoded by Pillow",
            "turned and mirrored as EXIF says",
            "16 bits a channel scaled to 8; transparency put on white; converted to RGB",
            "stretched to the square by Pillow's Image.resize with Resampling.BILINEAR, which is antialiased",
        ],
        "calibration": {"temperature": temperature, "applied": applied} | ({"tta": tta} if tta else {}),
    }


def classes_and_size(file: Path) -> tuple[list[str], int]:
    """Read the class names and the image size in pixels of a saved classifier, without building a network.

    Raises:
        PipelineError: The file was not written by `save_classifier`.
    """
    first = _read_member(file, "config.json")["config"]["layers"][0]
    return _read_member(file, _CLASSES), first["config"]["batch_shape"][1]


def _read_member(file: Path, name: str) -> Any:
    """Read a JSON file from the archive of a saved classifier.

    Raises:
        PipelineError: The file was not written by `save_classifier`.
    """
    try:
        with zipfile.ZipFile(file) as members:
            return json.loads(members.read(name))
    except (KeyError, ValueError) as error:
        raise PipelineError(f"{file} is not a classifier of this pipeline: it has no {name} ({error})") from error
    except zipfile.BadZipFile as error:
        raise PipelineError(
            f"{file} is not a classifier of this pipeline, or is truncated ({error}); "
            "copy it again, or run the stage again that wrote it"
        ) from error
