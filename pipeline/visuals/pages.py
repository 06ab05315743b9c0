"""Pages of HTML in one file each: nothing is loaded from anywhere, they follow the colour scheme, and they print."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline.storage.files import whole_file


def write_page(template: str, file: Path, **content) -> None:
    """Render a template of this folder to `file`."""
    with whole_file(file) as unfinished:
        # A file's name need not be UTF-8, as a page is.
        unfinished.write_text(render(template, **content), encoding="utf-8", errors="replace")


def render(template: str, **content) -> str:
    """The page that a template of this folder gives; text is escaped in HTML, charts are marked as safe by the template that places them."""
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
    """A metric as tables show it."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def p_value(value: float) -> str:
    """A p value as tables show it."""
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
