"""What the README and the pages in docs/ promise about themselves: links, blocks, messages and length."""

import ast
import re
from pathlib import Path

import pytest

from pipeline.system.paths import CODE
from tests.support.documentation import PAGES, blocks

LANGUAGES = {"bash", "yaml", "python", "mermaid"}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, by GitHub's rule."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not heading or heading in anchors(file), target


def test_the_sites_navigation_has_all_pages_and_no_other():
    listed = re.findall(r'"([\w/]+\.md)"', (CODE / "zensical.toml").read_text())
    assert sorted(listed) == sorted(str(page.relative_to(CODE / "docs")) for page in (CODE / "docs").rglob("*.md"))


def test_the_readme_is_short_and_links_every_page():
    text = (CODE / "README.md").read_text()
    assert len(text.splitlines()) < 150
    for page in (CODE / "docs").glob("*.md"):
        assert page.name == "index.md" or f"(docs/{page.name})" in text, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_name_their_language(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES


def texts() -> list[str]:
    """All texts in the package, with `…` for what is inserted."""
    found = []
    for file in (CODE / "pipeline").rglob("*.py"):
        tree = ast.parse(file.read_text())
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                found.append(re.sub(r"%[\d.]*[a-z%]", "…", node.value))
            elif isinstance(node, ast.JoinedStr):
                values = (each.value if isinstance(each, ast.Constant) else "…" for each in node.values)
                found.append("".join(values))
    return found


def test_messages_that_troubleshooting_explains_are_those_of_the_code():
    page = (CODE / "docs" / "troubleshooting.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    assert len(messages) > 80
    known = texts()
    missing = []
    for message in messages:
        pattern = re.compile(
            ".*".join(re.escape(part.strip()) for part in message.split("…") if part.strip()), re.DOTALL
        )
        if not any(pattern.search(text) for text in known):
            missing.append(message)
    assert missing == []
