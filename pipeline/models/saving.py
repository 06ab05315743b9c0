"""The file of a classifier, in Keras's own format with the names of the classes, and its description."""

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

# Member of the archive with the names of the classes, beside Keras's own members.
_CLASSES = "classes.json"


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
            _CLASSES: json.dumps(classes, ensure_ascii=False),
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
    classes = _read_member(file, _CLASSES)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # What was put together elsewhere raises anything.
        raise PipelineError(f"{file} can't be loaded, and nothing in it was run: {shorten(str(error), 300)}") from error
    if model.output_shape != (None, len(classes)):
        raise PipelineError(f"{file} names {len(classes)} classes, but its output has shape {model.output_shape}")
    return model, classes


def describe(
    classes: Sequence[str],
    image_size: int,
    *,
    temperature: float | None,
    applied: bool,
    tta: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the description of a classifier, fit for JSON.

    Args:
        classes: in the order of the outputs.
        image_size: side in pixels.
        temperature: fitted on validation; None where it is not known.
        applied: whether the outputs are at that temperature.
        tta: the test-time augmentation that it was evaluated with, and the temperature of the mean over its views.
    """
    return {
        "classes": list(classes),
        "image_size": image_size,
        "input": f"uint8 RGB [batch, {image_size}, {image_size}, 3], 0 to 255",
        "output": f"float32 probabilities [batch, {len(classes)}], in the order of classes",
        # The steps of `pipeline.inputs.decoding.pixels`, for those who decode images elsewhere.
        "decoding": [
            "the first frame of the file, decoded by Pillow",
            "turned and mirrored as EXIF says",
            "16 bits a channel scaled to 8; transparency put on white; converted to RGB",
            "stretched to the square by Pillow's Image.resize with Resampling.BILINEAR, which is antialiased",
        ],
        "calibration": {"temperature": temperature, "applied": applied} | ({"tta": tta} if tta else {}),
    }


def classes_and_size(file: Path) -> tuple[list[str], int]:
    """Read the names of a saved classifier's classes, and the side in pixels of its input; no network is built.

    Raises:
        PipelineError: the file was not written by `save_classifier`.
    """
    first = _read_member(file, "config.json")["config"]["layers"][0]
    return _read_member(file, _CLASSES), first["config"]["batch_shape"][1]


def _read_member(file: Path, name: str) -> Any:
    """Read a JSON member of a saved classifier.

    Raises:
        PipelineError: the file was not written by `save_classifier`.
    """
    try:
        with zipfile.ZipFile(file) as members:
            return json.loads(members.read(name))
    except (KeyError, ValueError) as error:
        raise PipelineError(f"{file} is not a classifier of this pipeline: it has no {name} ({error})") from error
    except zipfile.BadZipFile as error:
        raise PipelineError(
            f"{file} is not a classifier of this pipeline, or was cut short ({error}); "
            "copy it again, or run the stage again that wrote it"
        ) from error
