"""HTML pages of one file each, which load nothing, follow the colour scheme, and can be printed."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline.storage.files import whole_file


def write_page(template: str, file: Path, **content: object) -> None:
    """Render a template of the folder templates/ to `file`."""
    with whole_file(file) as unfinished:
        # A file's name may not be valid UTF-8; a page has to be.
        unfinished.write_text(render(template, **content), encoding="utf-8", errors="replace")


def render(template: str, **content: object) -> str:
    """Render a template of the folder templates/; HTML escapes all text, except charts that it marks as safe."""
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
    """Format a metric for tables."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def p_value(value: float) -> str:
    """Format a p value for tables."""
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
