"""The pages of the documentation and their code blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.system.paths import CODE

PAGES = [
    *(CODE / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *(CODE / "docs").rglob("*.md"),
]


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    language: str
    text: str

    @property
    def name(self) -> str:
        """Its first line."""
        return self.text.splitlines()[0]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [Block(language, text) for language, text in found]
