"""Lint prose: `python tools/prose.py [paths]` reports long sentences and unwanted words by file and line.

It checks Markdown pages, and the docstrings, comments and messages in Python files. Code, tables and generated pages
are not checked. The terms of the project are defined in docs/glossary.md.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs", "pipeline", "benchmarks"]
# Pages that benchmarks generate; the strings in the benchmarks are checked instead.
GENERATED = {f"docs/benchmarks/{name}.md" for name in ("ablation", "against_recipe", "gpu")}
MOST_WORDS = 30

_UNIT = "(?:image|class|epoch|job|row|line|run|stage|batch|step|seed|group|request|round|file|machine)"
WORDS = {
    r"pictures?": "image",
    r"told": "the noun: summary, state, name; or: reported, distinguished",
    r"anew": "again",
    r"stand(?:s|ing)? in": "is in; or: replaces",
    r"(?<!there\s)is no (?!longer)\w+": "is not a",
    r"at the (?:most|least)": "at most, at least",
    r"short floats?": "reduced precision",
    r"frozen work": "features",
    r"(?:go|goes|going|went) on": "resume, continue",
    r"came? of": "result of",
    r"multiplications?": "multiply-adds",
    r"waypoints?": "intermediate cut",
    r"(?:cools?|cooled)": "apply the temperature",
    r"mend(?:s|ed|ing)?": "fix",
    r"believe[sd]?": "predict",
    r"look(?:s|ed)? (?:at|into)": "check, read",
    r"(?:lies?|lay) (?:in|at|below|under|beside|there|whole)": "is in",
    r"(?:a|the|this|its|whose) shares? of": "fraction of",
    r"in the midst of": "during",
    r"(?:whoever|whomever)": "who, the process that",
    r"did harm": "made it worse",
    rf"(?:a|an) \w+ (?:a|an) {_UNIT}": "one ... per ...",
    r"(?:a|an) \w+ each": "one ... per ...",
}
# A phrase may extend over two lines.
_WORDS = [
    (re.compile(rf"\b{pattern}\b".replace(" ", r"\s+"), re.IGNORECASE), instead) for pattern, instead in WORDS.items()
]
_CLAUSE = re.compile(r"(?:What|Whether|How|Where|Whose)\b")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SECTIONS = {"Args:", "Returns:", "Raises:", "Yields:", "Source:", "Attributes:", "Note:", "Example:"}
# A full stop ends a sentence, unless it ends an initial or an abbreviation.
_END = re.compile(r"(?<!\b[A-Z])(?<!\be\.g)(?<!\bi\.e)(?<!\bal)[.!?][\"')]*(?=\s|$)")
_ENTRY = re.compile(r"\s*(?:[-*] |\d+\. |#+ |[\w.*`, ]{1,40}: )")

Passage = tuple[int, str]
"""Number of the first line, and the text with line breaks."""


def passages(file: Path) -> Iterator[Passage]:
    """Yield the prose of a Markdown or Python file: one passage per paragraph, list entry, comment or string."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        yield from _paragraphs(1, _without_code(text))
        return
    tree = ast.parse(text)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr) or id(node) in parts:
            continue
        string = _string(node)
        # Shorter strings are names and options, not sentences.
        if string and (id(node) in docstrings or len(re.findall(r"[A-Za-z]{2,}", string)) >= 4):
            # Titles of papers can't be shortened.
            yield from _paragraphs(node.lineno, string.partition("Source:")[0])
    yield from _comments(text)


def relative_clauses(tree: ast.AST) -> Iterator[Passage]:
    """Yield line and first word of docstrings that begin with a question word; attributes may begin with `Whether`."""
    for node in ast.walk(tree):
        body = node.body if isinstance(node, _DOCUMENTED) else []
        for place, statement in enumerate(body):
            string = _string(statement.value) if isinstance(statement, ast.Expr) else None
            word = _CLAUSE.match(string or "")
            if word and not (place and word[0] == "Whether"):
                yield statement.lineno, word[0]


def _string(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else "X" for each in node.values)
    return None


def _comments(text: str) -> Iterator[Passage]:
    """Yield the comments of a Python file; comments on successive lines are one passage."""
    start, last = 0, -1
    lines: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or re.match(r"#:? ?(?:noqa|type:|fmt:|isort:|!)", token.string):
            continue
        if token.start[0] != last + 1 or token.line.strip() != token.string:
            if lines:
                yield start, "\n".join(lines)
            start, lines = token.start[0], []
        lines.append(token.string.lstrip("#: "))
        last = token.start[0]
    if lines:
        yield start, "\n".join(lines)


def _without_code(text: str) -> str:
    """Replace code blocks, tables and comments in Markdown by blank lines, and remove the generated part."""
    lines, fenced = [], False
    for line in text.partition("<!-- Generated")[0].splitlines():
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        code = fence or fenced or line.lstrip().startswith(("|", "<!--", "![")) or line.startswith("    ")
        lines.append("" if code else line)
    return "\n".join(lines)


def _paragraphs(first: int, text: str) -> Iterator[Passage]:
    """Yield the paragraphs of a text; a list entry and the description of an argument are separate paragraphs."""
    start = first
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], first):
        ends = not line.strip() or line.strip() in _SECTIONS
        if lines and (ends or _ENTRY.match(line)):
            yield start, "\n".join(lines)
            lines = []
        if not ends:
            start = start if lines else number
            lines.append(line)


def sentences(passage: str) -> Iterator[tuple[int, str]]:
    """Yield each sentence with the number of line breaks before it.

    Code in backticks is replaced by one word, and a link by its text.
    """
    # All line breaks are preserved, so that line numbers can be computed.
    text = re.sub(r"`[^`]+`", lambda code: "`" + "\n" * code[0].count("\n"), passage)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    start = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        sentence = text[start:end]
        if sentence.strip():
            indent = len(sentence) - len(sentence.lstrip())
            yield text[: start + indent].count("\n"), sentence.lstrip()
        start = end


def problems(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and description of each problem in a file."""
    if file.suffix == ".py":
        for line, word in relative_clauses(ast.parse(file.read_text(encoding="utf-8"))):
            yield line, f"a docstring starts with a noun or an imperative, not with {word!r}"
    for line, passage in passages(file):
        for below, sentence in sentences(passage):
            count = len(re.findall(r"\S*[\w`]\S*", sentence))
            if count > MOST_WORDS:
                yield line + below, f"{count} words in a sentence, {MOST_WORDS} are allowed: {_start(sentence)}"
            for pattern, instead in _WORDS:
                for found in pattern.finditer(sentence):
                    place = line + below + sentence[: found.start()].count("\n")
                    yield place, f"{' '.join(found[0].split())!r}; say: {instead}"


def _start(sentence: str) -> str:
    return " ".join(sentence.split()[:6]) + " ..."


def files(paths: list[Path]) -> list[Path]:
    """Return the Markdown and Python files in `paths`, without templates and generated pages."""
    found = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [
        file
        for file in found
        if (file.suffix == ".py" or (file.suffix == ".md" and "templates" not in file.parts))
        and not (file.is_relative_to(ROOT) and file.relative_to(ROOT).as_posix() in GENERATED)
    ]


def main() -> None:
    """Print all problems; the exit status is 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python tools/prose.py", description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help="files and folders (default: all prose of the project)")
    args = parser.parse_args()
    count = 0
    for file in files([path.resolve() for path in args.paths] or [ROOT / name for name in DEFAULT]):
        name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
        for line, problem in sorted(set(problems(file))):
            print(f"{name}:{line}: {problem}")
            count += 1
    if count:
        sys.exit(f"{count} problems found")


if __name__ == "__main__":
    main()
