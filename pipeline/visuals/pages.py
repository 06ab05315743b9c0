"""Rendering of self-contained, printable HTML pages that follow the colour scheme of the browser."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from PIL import Image

from pipeline.inputs.decoding import UndecodableError, decode
from pipeline.storage.files import whole_file
from pipeline.system.machine import on_all_cores

_THUMBNAIL_SIDE, _EMBEDDED_SIDE = 176, 192


def write_page(template: str, file: Path, **content: object) -> None:
    """Render a template from the folder templates/ and write it to `file`."""
    with whole_file(file) as unfinished:
        # File names may be invalid UTF-8, but a page must be valid.
        unfinished.write_text(render(template, **content), encoding="utf-8", errors="replace")


def render(template: str, **content: object) -> str:
    """Render a template from the folder templates/; HTML templates escape all text that is not marked as safe."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "percent": lambda value: f"{value:.1%}", "p": p_value}
    return environment.get_template(template).render(**content)


def figure(value: float) -> str:
    """Format the value of a metric for tables."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def p_value(value: float) -> str:
    """Format a p-value for tables."""
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


@dataclass(frozen=True)
class Thumbnail:
    """An image file with a heading and lines of text, to be shown as a thumbnail."""

    file: Path
    heading: str
    lines: tuple[str, ...]


def write_thumbnails(file: Path, title: str, introduction: str, groups: Mapping[str, Sequence[Thumbnail]]) -> None:
    """Write a page of thumbnails in titled groups; unreadable images are replaced by a note."""
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
    """Encode a square image, uint8 [size, size, 3], as a JPEG data URI with a side of at most 192 pixels."""
    image = Image.fromarray(pixels)
    if image.width > _EMBEDDED_SIDE:
        image = image.resize((_EMBEDDED_SIDE, _EMBEDDED_SIDE), Image.Resampling.LANCZOS)
    return _jpeg_uri(image)


def _jpeg_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Blend an image with a heat map: regions of low values become dark and grey, regions of high values bright.

    Args:
        image: RGB image, uint8 [size, size, 3].
        heatmap: Heat map, float [size, size] in [0, 1].

    Returns:
        RGB image, uint8 [size, size, 3].
    """
    # Imported here, because it takes half a second and most pages do not need it.
    from matplotlib import colormaps

    grey = image.astype(np.float32).mean(axis=2, keepdims=True) * 0.55
    glow = colormaps["inferno"](heatmap)[..., :3].astype(np.float32) * 255
    weight = heatmap[..., np.newaxis] * 0.6
    blended = grey * (1 - weight) + glow * weight + image * 0.25 * heatmap[..., np.newaxis]
    return np.clip(blended, 0, 255).astype(np.uint8)
