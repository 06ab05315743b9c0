"""Folders: this code, its locks, and the checkout that results and data belong to."""

import os
from pathlib import Path

CODE = Path(__file__).resolve().parents[2]


def main_checkout() -> Path:
    """The folder that relative paths of the configuration, the tracking store and the data belong to.

    Under DVC it is the repository that `DVC_ROOT` names, also from the temporary copy in which an experiment runs, so that
    nothing is left behind there; else it is the checkout of this code.
    """
    return Path(os.environ.get("DVC_ROOT") or CODE).resolve()


def resolve(path: str | Path) -> Path:
    """An absolute path; a relative one is taken from the main checkout, and `~` is the user's home."""
    return (main_checkout() / Path(path).expanduser()).resolve()


LOCKS = (CODE / "requirements.lock", CODE / "requirements-gpu.lock")
