"""Images inside pages of one file: pages of thumbnails, data URIs, heat maps over images."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.inputs.decoding import UndecodableError, decode
from pipeline.system.machine import on_all_cores
from pipeline.visuals.pages import write_page

_THUMBNAIL_SIDE, _EMBEDDED_SIDE = 176, 192


@dataclass(frozen=True)
class Thumbnail:
    """An image file, with a heading and lines of text below it."""

    file: Path
    heading: str
    lines: tuple[str, ...] = ()


def write_thumbnails(file: Path, title: str, introduction: str, groups: Mapping[str, Sequence[Thumbnail]]) -> None:
    """Write a page with one group, by title, below the other; an unreadable image has a remark in its place."""
    content = {heading: list(on_all_cores(_card, thumbnails)) for heading, thumbnails in groups.items()}
    write_page("thumbnails.html", file, title=title, introduction=introduction, groups=content)


def _card(card: Thumbnail) -> dict[str, object]:
    return {
        "name": _printable(card.file.name),
        "heading": card.heading,
        "lines": [_printable(line) for line in card.lines],
        "image_uri": _thumbnail_uri(card.file),
    }


def _thumbnail_uri(file: Path) -> str | None:
    try:
        image = decode(file.read_bytes()).image
    except (OSError, UndecodableError):
        return None
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), reducing_gap=2.0)
    return _jpeg_uri(image)


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def data_uri(pixels: np.ndarray) -> str:
    """Encode square pixels, uint8 [size, size, 3], as a data URI of a JPEG of at most 192 pixels a side."""
    image = Image.fromarray(pixels)
    if image.width > _EMBEDDED_SIDE:
        image = image.resize((_EMBEDDED_SIDE, _EMBEDDED_SIDE), Image.Resampling.LANCZOS)
    return _jpeg_uri(image)


def _jpeg_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Lay a heat map over an image: what does not count turns grey and dark, what counts glows.

    Args:
        image: uint8 [size, size, 3].
        heatmap: float [size, size] in 0 to 1.

    Returns:
        uint8 [size, size, 3].
    """
    # Half a second to import, and most pages do not need it.
    from matplotlib import colormaps

    grey = image.astype(np.float32).mean(axis=2, keepdims=True) * 0.55
    glow = colormaps["inferno"](heatmap)[..., :3].astype(np.float32) * 255
    weight = heatmap[..., np.newaxis] * 0.6
    blended = grey * (1 - weight) + glow * weight + image * 0.25 * heatmap[..., np.newaxis]
    return np.clip(blended, 0, 255).astype(np.uint8)
