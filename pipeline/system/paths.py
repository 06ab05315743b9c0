"""Folders: this code, its lock files, and the checkout that results and data belong to."""

import os
from pathlib import Path

CODE = Path(__file__).resolve().parents[2]
"""Checkout of this code."""
LOCKS = (CODE / "requirements.lock", CODE / "requirements-gpu.lock")
"""Lock files of the packages that results are computed with."""


def main_checkout() -> Path:
    """Return the folder that relative paths of the configuration, the tracking store and the data belong to.

    Under DVC it is the repository that `DVC_ROOT` names, even within the temporary copy in which an experiment runs, so
    that no files are left in the copy. Otherwise it is the checkout of this code.
    """
    return Path(os.environ.get("DVC_ROOT") or CODE).resolve()


def resolve(path: str | Path) -> Path:
    """Return an absolute path; relative ones start from the main checkout, and `~` is the user's home."""
    return (main_checkout() / Path(path).expanduser()).resolve()
