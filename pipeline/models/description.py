"""A saved classifier's classes, sizes and decoding, without building the network."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.system.errors import PipelineError

DECODING = [
    "the first frame of the file, decoded by Pillow",
    "turned and mirrored as EXIF says",
    "16 bits a channel scaled to 8; transparency put on white; converted to RGB",
    "stretched to the square by Pillow's Image.resize with Resampling.BILINEAR, which is antialiased",
]
"""The steps of `pipeline.inputs.decoding.pixels`, for those who decode images elsewhere."""

CLASSES_MEMBER = "classes.json"
"""Member of the .keras archive with the classes' names, beside Keras's own members."""


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
        "decoding": DECODING,
        "calibration": {"temperature": temperature, "applied": applied} | ({"tta": tta} if tta else {}),
    }


def classes_and_size(file: Path) -> tuple[list[str], int]:
    """Read the names of a saved classifier's classes, and the side in pixels of its input; no network is built.

    Raises:
        PipelineError: the file was not written by `save_classifier`.
    """
    first = read_member(file, "config.json")["config"]["layers"][0]
    return read_member(file, CLASSES_MEMBER), first["config"]["batch_shape"][1]


def read_member(file: Path, name: str) -> Any:
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
