"""What has to be known of a classifier to use it elsewhere; travels with it in every form."""

from collections.abc import Sequence
from typing import Any

DECODING = [
    "the first frame of the file, decoded by Pillow",
    "turned and mirrored as EXIF says",
    "16 bits a channel scaled to 8; transparency put on white; converted to RGB",
    "stretched to the square by Pillow's Image.resize with Resampling.BILINEAR, which is antialiased",
]
"""What `pipeline.data.decoding.pixels` does, for who has to do the same elsewhere."""


def describe(
    classes: Sequence[str], image_size: int, temperature: float | None, applied: bool, tta: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The description, fit for JSON.

    Args:
        classes: in the order of the outputs.
        image_size: side in pixels.
        temperature: fitted on validation; None where it is not known.
        applied: whether the outputs are at that temperature.
        tta: kind of the test-time augmentation that it was evaluated with, and the temperature of the mean over its views.
    """
    return {
        "classes": list(classes),
        "image_size": image_size,
        "input": f"uint8 RGB [batch, {image_size}, {image_size}, 3], 0 to 255",
        "output": f"float32 probabilities [batch, {len(classes)}], in the order of classes",
        "decoding": DECODING,
        "calibration": {"temperature": temperature, "applied": applied} | ({"tta": tta} if tta else {}),
    }
