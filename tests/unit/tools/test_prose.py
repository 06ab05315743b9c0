from pathlib import Path

import pytest

from tools.prose import problems

LONG = " ".join(["word"] * 31) + "."


def lines(file: Path, text: str) -> list[tuple[int, str]]:
    file.write_text(text)
    return sorted(problems(file))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'"""Module.\n\n{LONG}\n"""\n', 3),
        ('def name():\n    """What came first."""\n', 2),
        ("x = 1\n# It starts anew.\n", 2),
        ("value = 1\nprint(f'{value} is no size; name another')\n", 2),
        ('def name():\n    """Name.\n\n    Args:\n        given: a row\n            an image.\n    """\n', 5),
    ],
)
def test_long_sentences_clauses_and_words_are_found_where_they_are(tmp_path, text, line):
    assert [number for number, _ in lines(tmp_path / "module.py", text)] == [line]


def test_code_tables_and_generated_parts_of_pages_are_left_out(tmp_path):
    page = f"# Title\n\n    {LONG}\n\n| {LONG} |\n\n`a picture` and there is no image.\n\n<!-- Generated -->\n{LONG}\n"
    assert lines(tmp_path / "page.md", page) == []
    assert lines(tmp_path / "page.md", f"# Title\n\nA picture.\n{LONG}\n") != []
