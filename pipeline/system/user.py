"""Users without an entry in the user database, as in containers that are started with a number as their user."""

import os
import tempfile
from pathlib import Path


def complete_environment() -> None:
    """Set LOGNAME and HOME for a user who has neither an entry in the user database nor these variables.

    Libraries ask for both when they are imported, and fail without them. HOME is a folder for temporary files.
    """
    if not hasattr(os, "getuid") or _is_known():
        return
    number = str(os.getuid())
    os.environ.setdefault("LOGNAME", number)
    if "HOME" not in os.environ:
        home = Path(tempfile.gettempdir()) / f"home-{number}"
        home.mkdir(mode=0o700, exist_ok=True)
        os.environ["HOME"] = str(home)


def _is_known() -> bool:
    # Windows has no such module.
    import pwd

    try:
        return bool(pwd.getpwuid(os.getuid()))
    except KeyError:
        return False
