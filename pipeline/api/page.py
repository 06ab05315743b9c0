"""Pages of stage report in the cells of a notebook."""

import html
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Page:
    """HTML page that a notebook shows in a cell."""

    file: Path
    height: int = 800
    """Height in the notebook, in pixels."""

    def _repr_html_(self) -> str:
        # The page is in a frame of its own, so that its style does not change the notebook's.
        # Without a base, a link to one of its sections would open the notebook in the frame.
        page = self.file.read_text(encoding="utf-8").replace("<head>", '<head><base href="about:srcdoc">', 1)
        return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="{self.height}" style="border: 0"></iframe>'
