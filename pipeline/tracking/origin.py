"""Origin of a run: the user, the version of the code, and the sweep of the job."""

import functools
import getpass
import json
import logging
import os
import subprocess
from dataclasses import dataclass

from pipeline.storage.files import content_digest, file_sha256, text_sha256
from pipeline.system.paths import CODE, LOCKS
from pipeline.system.processes import SWEEP, TRIAL
from pipeline.tracking.tags import CODE_SHA256, PREFIX

log = logging.getLogger(__name__)

# Files and folders of the checkout whose content decides what a run computes.
_CODE = ("conf", "dvc.yaml", "pipeline")


@dataclass(frozen=True)
class RunOrigin:
    """Run in MLflow that holds an experiment's results, for people."""

    run_id: str
    name: str = ""
    page: str = ""
    """Address in MLflow's user interface; empty if the store is unreachable."""
    commit: str = ""
    """Commit of the code; empty if it is unknown."""
    user: str = ""


def origin() -> dict[str, str]:
    """Return tags with the user, the code and its commit, uncommitted changes, lock files, and the sweep of the job."""
    commit = _commit()
    tags = {
        "mlflow.user": user(),
        CODE_SHA256: _code(),
        "git_commit": commit,
        "mlflow.source.git.commit": commit,
        "git_dirty": str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower() if commit else "",
    }
    tags |= {
        f"{PREFIX}{lock.stem.replace('requirements', 'lock').replace('-', '_')}_sha256": file_sha256(lock)
        for lock in LOCKS
        if lock.exists()
    }
    # The committed version, since DVC changes the file in the folder while stages run.
    committed = _git("show", "HEAD:dvc.lock") if commit else ""
    tags[f"{PREFIX}dvc_lock_sha256"] = text_sha256(f"{committed}\n") if committed else ""
    tags["sweep"] = os.environ.get(SWEEP, "")
    if trial := json.loads(os.environ.get(TRIAL, "{}")):
        tags |= {"study": trial["study"], "trial": str(trial["number"])}
    return {name: value for name, value in tags.items() if value}


def user() -> str:
    """Return the user's name, or the number of a user without a name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())


@functools.cache
def _code() -> str:
    return text_sha256("".join(f"{name} {content_digest(CODE / name)}\n" for name in _CODE))


@functools.cache
def _commit() -> str:
    """Return the commit of the checkout; if git can't name it, log the reason once per process, and return ""."""
    try:
        # A checkout without git may be in a folder of another repository.
        _run("ls-files", "--error-unmatch", "dvc.yaml")
        return _run("rev-parse", "HEAD")
    except FileNotFoundError:
        reason = "git is not installed"
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[0]
        if "dubious ownership" in reason:
            reason = f"another user owns the checkout; git config --global --add safe.directory '{CODE}' allows it"
    log.warning("tracking: git_commit is not recorded (%s); the tag %s identifies the code", reason, CODE_SHA256)
    return ""


def _git(*arguments: str) -> str:
    try:
        return _run(*arguments)
    except (OSError, subprocess.CalledProcessError):
        return ""


def _run(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=CODE, capture_output=True, text=True, check=True).stdout.strip()
