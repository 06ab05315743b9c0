"""Description of a saved classifier, and what its file says of it, without loading Keras."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipeline.config.image import FULL_DEPTH, RESIZE, Decoding
from pipeline.config.size import size_of
from pipeline.models.archive import read_member
from pipeline.system.errors import PipelineError

CLASSES, DECODING = "classes.json", "decoding.json"
"""Files in the archive besides Keras's own: the class names, and how images are decoded."""

# Words for a square and for another rectangle: the whole, the part that crop shows, its box, and the sides for pad.
_SQUARE = (
    "square",
    "the square",
    "((w - s) / 2, (h - s) / 2, (w + s) / 2, (h + s) / 2) with s = min(w, h)",
    "max(1, round({width} * w / l)) and max(1, round({width} * h / l)) with l = max(w, h)",
)
_RECTANGLE = (
    "rectangle ({width} wide, {height} high)",
    "the part of {width} to {height}",
    "((w - a) / 2, (h - b) / 2, (w + a) / 2, (h + b) / 2) with a = min(w, h * {width} / {height}) and b = min(h, w * {height} / {width})",
    "max(1, round(w * l / s)) and max(1, round(h * l / s)) with l, s = {width}, w if w * {height} >= h * {width}, else {height}, h",
)


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
    (height, width, _), depth = decoding.shape, decoding.depth
    largest = f", of which {2**depth - 1} becomes 255" if depth < FULL_DEPTH else ""
    return {
        "classes": list(classes),
        "image_size": decoding.size,
        **_settings(decoding),
        "input": f"uint8 RGB [batch, {height}, {width}, 3], 0 to 255",
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
    """Return the steps by which an image of w x h pixels gets the size, complete enough to implement them."""
    filtered = "by Pillow's Image.resize with Resampling.BILINEAR, which is antialiased"
    height, width, _ = decoding.shape
    words = _SQUARE if height == width else _RECTANGLE
    whole, part, box, scaled = (text.format(height=height, width=width) for text in words)
    match decoding.resize:
        case "crop":
            return [f"{part} in the middle resized {filtered}", f"its argument box is {box}"]
        case "pad":
            place = f"(({width} - width) // 2, ({height} - height) // 2)"
            return [
                f"resized {filtered}",
                f"the sides are {scaled}",
                f"put on a {whole} of RGB {decoding.pad_value}, at {place}",
            ]
        case _:
            return [f"stretched to the {whole} {filtered}"]


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
    _, height, width, _ = read_member(file, "config.json")["config"]["layers"][0]["config"]["batch_shape"]
    with zipfile.ZipFile(file) as members:
        stated = read_member(file, DECODING) if DECODING in members.namelist() else {}
    known = {each.name for each in fields(Decoding)} - {"size"}
    if not stated.keys() <= known or stated.get("resize", Decoding.resize) not in RESIZE:
        raise PipelineError(
            f"{file} decodes images in a way that this version does not know ({stated}); update the checkout"
        )
    return Decoding(size_of(height, width), **stated)
