"""Pages of thumbnails, for a person to judge by: one file each, with nothing loaded from elsewhere."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pipeline.data.decoding import UndecodableError, decode
from pipeline.data.pictures import on_all_cores
from pipeline.files import whole_file

_SIDE = 176
_STYLE = """
:root { color-scheme: light dark; --line: #d4d4d8; --soft: #71717a; --card: #f6f6f7; }
@media (prefers-color-scheme: dark) { :root { --line: #3f3f46; --soft: #a1a1aa; --card: #1e1e21; } }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; background: light-dark(#fff, #121214); }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } p { color: var(--soft); margin: .2rem 0 1.2rem; }
section { border-top: 1px solid var(--line); padding: .9rem 0; } h2 { font-size: 1rem; margin: 0 0 .6rem; }
.row { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 176px; background: var(--card); border-radius: 8px; overflow: hidden; }
figure img { display: block; width: 176px; height: 176px; object-fit: contain; background: #8882; }
figcaption { font-size: 12px; padding: .4rem .5rem; overflow-wrap: anywhere; } figcaption b { display: block; font-size: 13px; }
.soft { color: var(--soft); }
"""


@dataclass(frozen=True)
class Card:
    """A picture with what is said below it."""

    file: Path
    heading: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Pictures to be looked at side by side."""

    title: str
    cards: list[Card]


def write_page(file: Path, title: str, introduction: str, groups: Iterable[Group]) -> None:
    """Write a page that shows `groups` one below the other; pictures that can't be read any more are said to be so."""
    sections = []
    for group in groups:
        shown = "".join(
            f"<figure>{picture}<figcaption><b>{escape(card.heading)}</b>"
            + "".join(f'<span class="soft">{escape(_printable(line))}</span><br>' for line in card.lines)
            + "</figcaption></figure>"
            for card, picture in zip(group.cards, on_all_cores(_thumbnail, group.cards), strict=True)
        )
        heading = f"<h2>{escape(group.title)}</h2>" if group.title else ""
        sections.append(f'<section>{heading}<div class="row">{shown}</div></section>')
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1><p>{escape(introduction)}</p>{''.join(sections)}</html>\n"
    )
    with whole_file(file) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def _thumbnail(card: Card) -> str:
    try:
        image = decode(card.file.read_bytes()).image
    except (OSError, UndecodableError):
        return '<span class="soft">can\'t be read</span>'
    image.thumbnail((_SIDE, _SIDE), reducing_gap=2.0)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    encoded = base64.b64encode(data.getvalue()).decode()
    return f'<img alt="{escape(_printable(card.file.name))}" loading="lazy" src="data:image/jpeg;base64,{encoded}">'


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)
