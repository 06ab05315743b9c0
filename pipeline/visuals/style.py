"""Style of charts, for PNG files on white and for SVG elements in pages with a light or dark colour scheme."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "grid.alpha": 0.18,
    "grid.color": INK,
    "legend.framealpha": 0.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "pipeline",
    "text.color": INK,
    # Powers of ten would be formulas, whose glyphs browsers lack.
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "ytick.color": INK,
    "ytick.labelsize": 9,
}

PANEL = (4.05, 2.9)
"""Size in inches of a chart in a page: as wide as a phone's screen, so that two are side by side on a larger one."""


@dataclass(frozen=True)
class Chart:
    """Chart in a page. The browser sets its title and its legend, since names may be in any script and very long."""

    title: str
    figure: Figure
    legend: tuple[tuple[str, str], ...] = ()
    """Name and colour of each series."""
    note: str = ""

    @property
    def svg(self) -> str:
        """The figure as an SVG element."""
        return as_svg(self.figure)


@contextmanager
def charting(width: float, height: float) -> Iterator[Figure]:
    """Create a figure of this size in inches; draw on it within the `with` block, in which the style applies."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def write_png(figure: Figure, file: Path) -> None:
    """Write a figure to a PNG file with a white background."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        figure.savefig(file, dpi=220, facecolor="white", metadata={"Software": None})


def as_svg(figure: Figure) -> str:
    """Convert a figure to an SVG element with selectable text, in the text colour of the surrounding page."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", dpi=110, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # The page decides on the width; the viewBox keeps the aspect ratio.
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'class="chart"', svg, count=1)
