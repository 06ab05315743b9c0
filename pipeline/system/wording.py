"""Lists and settings in messages."""

import re
import shlex
from collections.abc import Iterable

_LONG = 100
_PLAIN = re.compile(r"[\w./*-]+", re.ASCII)


def some(items: Iterable[str], most: int = 5) -> str:
    """Join the first items of a list, and count the others: `a, b and 8 more`."""
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def setting(key: str, value: str) -> str:
    """Return `key=value` as it is typed on a command line, with quotes where the shell or Hydra needs them."""
    if _PLAIN.fullmatch(value):
        return f"{key}={value}"
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", r"\'")
    text = f"{key}='{escaped}'"
    # Double quotes are easier to read, but a shell replaces some characters in them.
    return f'"{text}"' if not re.search(r'[\\"$`!]', text) else shlex.quote(text)


def short(text: str) -> str:
    """Return a text in quotes, without its middle if it is long."""
    return repr(text if len(text) <= _LONG else f"{text[: _LONG // 2]}...{text[-_LONG // 4 :]}")
