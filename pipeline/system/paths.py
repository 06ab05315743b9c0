"""Paths of this code, its lock files, and the checkout for results and data."""

import os
from contextlib import suppress
from pathlib import Path

CODE = Path(__file__).resolve().parents[2]
"""Checkout of this code."""
LOCKS = (CODE / "requirements.lock", CODE / "requirements-gpu.lock")
"""Lock files of the installed packages, on which results depend."""


def main_checkout() -> Path:
    """Return the base folder of relative paths of the configuration, the tracking store and the data.

    Under DVC it is the repository in `DVC_ROOT`, also if an experiment runs in a temporary copy, since DVC deletes the
    copy afterwards. Otherwise it is the checkout of this code.
    """
    return Path(os.environ.get("DVC_ROOT") or CODE).resolve()


def lasting(path: Path) -> Path:
    """Return the absolute path under which a file or folder is found later.

    In the copy of a DVC experiment, it is the same path in the main checkout, where `dvc exp apply` puts the result.
    """
    path = path.resolve()
    return main_checkout() / path.relative_to(CODE) if path.is_relative_to(CODE) else path


def resolve(path: str | Path) -> Path:
    """Return an absolute path: relative paths are relative to the main checkout, and `~` is the home folder.

    Environment variables, such as `$HOME`, are replaced unless there is a path with this text.
    """
    plain = _absolute(Path(path))
    return plain if "$" not in str(path) or plain.exists() else _absolute(Path(os.path.expandvars(path)))


def _absolute(path: Path) -> Path:
    # Users of containers may have no home folder.
    with suppress(RuntimeError):
        path = path.expanduser()
    return (main_checkout() / path).resolve()
