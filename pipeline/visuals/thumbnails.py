"""Thumbnails inside pages that load nothing."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.inputs.decoding import UndecodableError, decode
from pipeline.system.machine import on_all_cores
from pipeline.visuals.pages import write_page

_SIDE = 176


@dataclass(frozen=True)
class Thumbnail:
    """An image with what is said below it."""

    file: Path
    heading: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Images to be looked at side by side."""

    title: str
    cards: list[Thumbnail]


def write_thumbnails(file: Path, title: str, introduction: str, groups: Iterable[Group]) -> None:
    """Write a page that shows `groups` one below the other; images that can't be read any more are said to be so."""
    shown = [{"title": group.title, "cards": list(on_all_cores(_shown, group.cards))} for group in groups]
    write_page("thumbnails.html", file, title=title, introduction=introduction, groups=shown)


def _shown(card: Thumbnail) -> dict[str, Any]:
    return {
        "name": _printable(card.file.name),
        "heading": card.heading,
        "lines": [_printable(line) for line in card.lines],
        "image": _thumbnail(card.file),
    }


def _thumbnail(file: Path) -> str | None:
    """A small JPEG in base64."""
    try:
        image = decode(file.read_bytes()).image
    except (OSError, UndecodableError):
        return None
    image.thumbnail((_SIDE, _SIDE), reducing_gap=2.0)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return base64.b64encode(data.getvalue()).decode()


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


_EMBEDDED_SIDE = 192


def data_uri(pixels: np.ndarray) -> str:
    """A pixels as a JPEG inside an address, for pages that load nothing."""
    image = Image.fromarray(pixels)
    if image.width > _EMBEDDED_SIDE:
        image = image.resize((_EMBEDDED_SIDE, _EMBEDDED_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """An image uint8 [size, size, 3] under its heat map [size, size]: what does not count turns grey and dark, what counts glows."""
    # Half a second to import, and most pages need none of it.
    from matplotlib import colormaps

    grey = image.astype(np.float32).mean(axis=2, keepdims=True) * 0.55
    glow = colormaps["inferno"](heatmap)[..., :3].astype(np.float32) * 255
    share = heatmap[..., np.newaxis] * 0.6
    return np.clip(grey * (1 - share) + glow * share + image * 0.25 * heatmap[..., np.newaxis], 0, 255).astype(np.uint8)
