"""Style of charts, for PNG files on white and for SVG elements in pages with a light or dark colour scheme."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

# Colour of text and axes, which `as_svg` replaces by the text colour of the page.
INK = "#1f2429"
BLUE, ORANGE, GREEN, RED, PURPLE = "#3f7fd9", "#e07a2f", "#2f9e6e", "#d9485f", "#8a63d2"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, "#1fa3b3", "#b58900", "#c054a8", "#6f8f2f", "#7d8590")

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=SERIES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9.5,
    "grid.alpha": 0.18,
    "grid.color": INK,
    "legend.framealpha": 0.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "pipeline",
    "text.color": INK,
    # Dollar signs in class names do not delimit formulas.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def charting(width: float, height: float) -> Iterator[Figure]:
    """Create a figure of this size in inches; draw on it within the `with` block, in which the style applies."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def write_png(figure: Figure, file: Path) -> None:
    """Write a figure to a PNG file with a white background."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        # Ten percent larger files than at the default level, in a quarter of the time.
        compression = {"compress_level": 2}
        figure.savefig(file, dpi=110, facecolor="white", metadata={"Software": None}, pil_kwargs=compression)


def as_svg(figure: Figure) -> str:
    """Convert a figure to an SVG element with selectable text, in the text colour of the surrounding page."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", dpi=110, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # Limits the width to that of the figure; the viewBox keeps the aspect ratio.
    return re.sub(r'width="([\d.]+pt)" height="[\d.]+pt"', r'class="chart" style="width: \1"', svg, count=1)


def shorten(text: str, limit: int) -> str:
    """Shorten a text to at most `limit` characters, with an ellipsis in the middle."""
    return text if len(text) <= limit else f"{text[: limit // 2 - 1]}…{text[-(limit - limit // 2) :]}"
