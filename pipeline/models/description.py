"""Description of a saved classifier, and what its file says of it, without loading Keras."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.models.archive import read_member

CLASSES, DECODING = "classes.json", "decoding.json"
"""Files in the archive besides Keras's own: the class names, and how images are decoded."""
FULL_DEPTH = 16
"""Bits of the samples of 16-bit images that use their whole range."""


def describe(
    classes: Sequence[str],
    image_size: int,
    *,
    temperature: float | None,
    applied: bool,
    tta: dict[str, Any] | None = None,
    depth: int = FULL_DEPTH,
) -> dict[str, Any]:
    """Return a description of a classifier that can be written as JSON.

    Args:
        classes: Class names, in the order of the outputs.
        image_size: Side of the images in pixels.
        temperature: Temperature fitted on the validation split, or None if it is not known.
        applied: Whether the temperature is already applied to the outputs.
        tta: Test-time augmentation of the evaluation, and the temperature of the mean over its views.
        depth: Bits from which the samples of 16-bit images are scaled.
    """
    largest = f", of which {2**depth - 1} becomes 255" if depth < FULL_DEPTH else ""
    return {
        "classes": list(classes),
        "image_size": image_size,
        "depth": depth,
        "input": f"uint8 RGB [batch, {image_size}, {image_size}, 3], 0 to 255",
        "output": f"float32 probabilities [batch, {len(classes)}], in the order of classes",
        # The steps of `pipeline.inputs.decoding.pixels`, for users who decode images with other software.
        "decoding": [
            "the first frame of the file, decoded by Pillow",
            "turned and mirrored as EXIF says",
            f"16 bits a channel scaled to 8{largest}; transparency put on white; converted to RGB",
            "stretched to the square by Pillow's Image.resize with Resampling.BILINEAR, which is antialiased",
        ],
        "calibration": {"temperature": temperature, "applied": applied} | ({"tta": tta} if tta else {}),
    }


def classes_and_size(file: Path) -> tuple[list[str], int]:
    """Read the class names and the image size in pixels of a saved classifier, without building a network.

    Raises:
        PipelineError: The file was not written by `save_classifier`.
    """
    first = read_member(file, "config.json")["config"]["layers"][0]
    return read_member(file, CLASSES), first["config"]["batch_shape"][1]


def image_depth(file: Path) -> int:
    """Read the bits from which a saved classifier's 16-bit images are scaled; 16 in files that do not state it.

    Raises:
        PipelineError: The file was not written by `save_classifier`.
    """
    with zipfile.ZipFile(file) as members:
        stated = DECODING in members.namelist()
    return read_member(file, DECODING)["depth"] if stated else FULL_DEPTH
