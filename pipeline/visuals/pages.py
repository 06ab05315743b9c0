"""Rendering of self-contained, printable HTML pages that follow the colour scheme of the browser."""

import base64
import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from PIL import Image

from pipeline.inputs.decoding import UndecodableError, decode
from pipeline.storage.files import whole_file
from pipeline.system.machine import on_all_cores

_THUMBNAIL_SIDE, _EMBEDDED_SIDE, _MIN_SIDE = 176, 192, 96


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
    environment.filters |= {"figure": figure, "percent": lambda value: f"{value:.1%}", "p": p_value, "along": along}
    return environment.get_template(template).render(**content)


def figure(value: float) -> str:
    """Format the value of a metric for tables."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def p_value(value: float) -> str:
    """Format a p-value for tables."""
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def scale(lowest: float, highest: float) -> tuple[float, float]:
    """Return round ends of an axis that shows the differences between values from `lowest` to `highest`."""
    step = 10.0 ** math.floor(math.log10(max(highest - lowest, 1e-3)))
    # Rounded first, so that 0.7 / 0.1 is 7 and not a little less.
    low, high = math.floor(round(lowest / step, 6)) * step, math.ceil(round(highest / step, 6)) * step
    return round(low, 6), round(max(high, low + step), 6)


def along(value: float, ends: tuple[float, float]) -> str:
    """Return the place of a value on an axis with these ends, as a percentage for SVG."""
    return f"{100 * min(1.0, max(0.0, (value - ends[0]) / (ends[1] - ends[0]))):.2f}%"


@dataclass(frozen=True)
class Thumbnail:
    """An image file with a heading and lines of text, to be shown as a thumbnail that opens the file."""

    folder: Path
    path: str
    """Path of the file in the folder."""
    heading: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Titled group of thumbnails."""

    title: str
    thumbnails: Sequence[Thumbnail]
    note: str = ""


def cards(thumbnails: Sequence[Thumbnail], depth: int | None = None) -> list[dict[str, object]]:
    """Return what templates show of thumbnails.

    Args:
        thumbnails: Image files; of an unreadable one, the image is None.
        depth: Bits from which the samples of 16-bit files are scaled; None: those that the file uses.
    """
    return list(on_all_cores(functools.partial(_card, depth=depth), thumbnails))


def write_thumbnails(file: Path, title: str, introduction: str, groups: Sequence[Group]) -> None:
    """Write a page of thumbnails in titled groups; unreadable images are replaced by a note."""
    content = [{"title": each.title, "note": each.note, "cards": cards(each.thumbnails)} for each in groups]
    write_page("thumbnails.html", file, title=title, introduction=introduction, groups=content)


def _card(card: Thumbnail, depth: int | None) -> dict[str, object]:
    return {
        # Pages are the same wherever the images are, so that the link is made when the page is opened.
        "path": quote(card.path, errors="surrogateescape"),
        "name": _printable(card.path),
        "heading": card.heading,
        "lines": [_printable(line) for line in card.lines],
        "image_uri": _thumbnail_uri(card.folder / card.path, depth),
    }


def _thumbnail_uri(file: Path, depth: int | None) -> str | None:
    try:
        image = decode(file.read_bytes(), depth=depth).image
    except (OSError, UndecodableError):
        return None
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), reducing_gap=2.0)
    return _jpeg_uri(image)


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def data_uri(pixels: np.ndarray) -> str:
    """Encode an image, uint8 [h, w, 3], as a JPEG data URI with sides of at most 192 pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((_EMBEDDED_SIDE, _EMBEDDED_SIDE), Image.Resampling.LANCZOS, reducing_gap=None)
    return _jpeg_uri(image)


def mosaic_uri(images: np.ndarray) -> str:
    """Encode rows of images, uint8 [rows, columns, h, w, 3], as the data URI of one image with gaps."""
    rows, columns, longer = *images.shape[:2], max(images.shape[2:4])
    gap = max(1, longer // 16)
    # Enlarged by whole pixels, since small images can't be recognised.
    times = max(1, _MIN_SIDE // longer)
    larger = images.repeat(times, axis=2).repeat(times, axis=3)
    height, width = larger.shape[2:4]
    spaced = np.pad(larger, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=128)
    mosaic = spaced.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), 3)[:-gap, :-gap]
    return _jpeg_uri(Image.fromarray(mosaic))


def _jpeg_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


# Colours of a heat map from 0 to 1, and its opacity at 1, so that the image keeps its own colours where the map is low.
_HEAT = np.array([(13, 8, 135), (126, 3, 168), (204, 71, 120), (248, 149, 64), (240, 249, 33)], np.float32)
_OPACITY = 0.75


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Blend an image with a heat map: the higher the value, the more of the map's colour, from blue to yellow.

    Args:
        image: RGB image, uint8 [h, w, 3].
        heatmap: Heat map, float [h, w] in [0, 1].

    Returns:
        RGB image, uint8 [h, w, 3].
    """
    places = np.linspace(0, 1, len(_HEAT))
    colours = np.stack([np.interp(heatmap, places, channel) for channel in _HEAT.T], axis=-1)
    opacity = _OPACITY * heatmap[..., np.newaxis]
    return (image * (1 - opacity) + colours * opacity).round().astype(np.uint8)


def heat_scale() -> str:
    """Return the colours of `overlay` from 0 to 1 as a gradient in CSS."""
    stops = (
        f"rgb({', '.join(f'{channel:.0f}' for channel in colour)}, {_OPACITY * place:.2f})"
        for colour, place in zip(_HEAT, np.linspace(0, 1, len(_HEAT)), strict=True)
    )
    return f"linear-gradient(to right, {', '.join(stops)})"
