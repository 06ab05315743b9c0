"""Description of a saved classifier, and what its file says of it, without loading Keras."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipeline.config.image import FULL_DEPTH, RESIZE, Decoding
from pipeline.models.archive import read_member
from pipeline.system.errors import PipelineError

CLASSES, DECODING = "classes.json", "decoding.json"
"""Files in the archive besides Keras's own: the class names, and how images are decoded."""


def describe(
    classes: Sequence[str],
    decoding: Decoding,
    *,
    temperature: float | None,
    applied: bool,
    tta: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a description of a classifier that can be written as JSON.

    Args:
        classes: Class names, in the order of the outputs.
        decoding: Decoding of files to the network's input.
        temperature: Temperature fitted on the validation split, or None if it is not known.
        applied: Whether the temperature is already applied to the outputs.
        tta: Test-time augmentation of the evaluation, and the temperature of the mean over its views.
    """
    size, depth = decoding.size, decoding.depth
    largest = f", of which {2**depth - 1} becomes 255" if depth < FULL_DEPTH else ""
    return {
        "classes": list(classes),
        "image_size": size,
        **_settings(decoding),
        "input": f"uint8 RGB [batch, {size}, {size}, 3], 0 to 255",
        "output": f"float32 probabilities [batch, {len(classes)}], in the order of classes",
        # The steps of `pipeline.inputs.decoding.pixels`, for users who decode images with other software.
        "decoding": [
            "the first frame of the file, decoded by Pillow",
            "turned and mirrored as EXIF says",
            f"16 bits a channel scaled to 8{largest}; transparency put on white; converted to RGB",
            *_resizing(decoding),
        ],
        "calibration": {"temperature": temperature, "applied": applied} | ({"tta": tta} if tta else {}),
    }


def _resizing(decoding: Decoding) -> list[str]:
    """Return the steps by which an image of w x h pixels becomes a square, complete enough to implement them."""
    size, filtered = decoding.size, "by Pillow's Image.resize with Resampling.BILINEAR, which is antialiased"
    match decoding.resize:
        case "crop":
            return [
                f"the square in the middle resized {filtered}",
                "its argument box is ((w - s) / 2, (h - s) / 2, (w + s) / 2, (h + s) / 2) with s = min(w, h)",
            ]
        case "pad":
            return [
                f"resized {filtered}",
                f"the sides are max(1, round({size} * w / l)) and max(1, round({size} * h / l)) with l = max(w, h)",
                f"put on a square of RGB {decoding.pad_value}, at (({size} - width) // 2, ({size} - height) // 2)",
            ]
        case _:
            return [f"stretched to the square {filtered}"]


def _settings(decoding: Decoding) -> dict[str, Any]:
    """Return what has been chosen for a decoding, without the size."""
    return {name: value for name, value in asdict(decoding).items() if name != "size" and value is not None}


def decoding_text(decoding: Decoding) -> str:
    """Return the content of the file `DECODING`; one without `resize` means stretch, as in earlier versions."""
    stated = _settings(decoding)
    if decoding.resize == Decoding.resize:
        del stated["resize"]
    return json.dumps(stated)


def read_decoding(file: Path) -> Decoding:
    """Read how a saved classifier's images are decoded, without building a network.

    Raises:
        PipelineError: The file was not written by `save_classifier`, or by a later version.
    """
    size = read_member(file, "config.json")["config"]["layers"][0]["config"]["batch_shape"][1]
    with zipfile.ZipFile(file) as members:
        stated = read_member(file, DECODING) if DECODING in members.namelist() else {}
    known = {each.name for each in fields(Decoding)} - {"size"}
    if not stated.keys() <= known or stated.get("resize", Decoding.resize) not in RESIZE:
        raise PipelineError(
            f"{file} decodes images in a way that this version does not know ({stated}); update the checkout"
        )
    return Decoding(size, **stated)
