"""Run an experiment again from what MLflow knows of it: its commit, its lock, its configuration; and compare every figure."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isnan
from pathlib import Path
from typing import Any

from pipeline.comparison.experiments import Experiment
from pipeline.config.compose import quoted
from pipeline.storage.files import file_sha256
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE, resolve

LOCK = "requirements.lock"
_LISTED = 5
# What a run's figures are called that depend on configuration, data and code alone.
_FIGURES = ("prepare/", "train/", "finetune/", "test/")


@dataclass(frozen=True)
class Figure:
    """One metric, then and now; None where it was or is missing."""

    name: str
    then: float | None
    now: float | None

    @property
    def difference(self) -> float:
        """Absolute; infinite where one alone is missing or no number."""
        if self.then is None or self.now is None or isnan(self.then) != isnan(self.now):
            return inf
        return 0.0 if isnan(self.then) else abs(self.now - self.then)


def meant(given: str, experiments: Sequence[Experiment]) -> Experiment:
    """The experiment whose id is given, or the start of one; as MLflow writes it (`runs:/<id>`) too.

    Raises:
        PipelineError: there is none, or there are several.
    """
    start = given.removeprefix("runs:/").partition("/")[0]
    found = [each for each in experiments if each.run_id.startswith(start)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{each.run_id[:8]} ({each.name})" for each in (found or experiments)[:_LISTED])
    raise PipelineError(
        f"{given!r} is {'the start of several ids' if found else 'the id of no complete experiment'}; "
        f"it takes one of those that make ui shows{f', such as {listed}' if listed else ''}"
    )


def check_out(commit: str, lock_sha256: str, folder: Path) -> None:
    """Put the code of `commit` into a clone of this repository, `folder`.

    Raises:
        PipelineError: the folder is there, this repository has no such commit, or its lock is another one.
    """
    if folder.exists():
        raise PipelineError(f"{folder} exists; delete it, or name another folder, --into DIR")
    try:
        _git("clone", "--quiet", "--no-checkout", str(CODE), str(folder))
        _git("-C", str(folder), "checkout", "--quiet", "--detach", commit)
        if file_sha256(folder / LOCK) != lock_sha256:
            raise PipelineError(
                f"The run was computed with another {LOCK} (sha256 {lock_sha256}) than its commit {commit} holds"
            )
    except PipelineError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def environment(folder: Path) -> Path:
    """The Python of an environment that is made from the lock in a clone."""
    # Absolute, since it is started from another folder; not resolved, since the link is what makes it the environment's.
    made = folder.absolute() / ".venv" / "bin" / "python"
    ran = subprocess.run(["make", "--silent", f".venv/.installed-{LOCK}", f"PYTHON={sys.executable}"], cwd=folder)
    if ran.returncode or not made.exists():
        raise PipelineError(f"{folder}: the environment could not be made from {LOCK}; see above")
    return made


def as_overrides(settings: dict[str, Any]) -> list[str]:
    """A whole configuration, as config.yaml of a run has it, as overrides that leave nothing to conf/ and params.yaml."""
    groups = [f"{name}={section['name']}" for name, section in settings.items() if isinstance(section, dict)]
    return [*groups, *_leaves(settings)]


def _leaves(settings: dict[str, Any]) -> Iterator[str]:
    for name, section in settings.items():
        if not isinstance(section, dict):
            yield f"{name}={quoted(section)}"
            continue
        for key, value in section.items():
            if key == "name":
                continue
            if (name, key) in (("dataset", "path"), ("backbone", "weights")) and value not in (
                None,
                "imagenet",
                "random",
            ):
                # A relative one meant this checkout.
                value = str(resolve(value))
            yield f"{name}.{key}={quoted(value)}"


def run_again(python: Path, settings: dict[str, Any], folder: Path) -> str:
    """Run all stages of a configuration with the code in `folder`, logged to a store of its own there; returns that store's address.

    Raises:
        PipelineError: it failed.
    """
    store = f"sqlite:///{folder.resolve()}/mlflow.db"
    overrides = [*as_overrides(settings), f"tracking.uri={quoted(store)}", "cache_folder=cache", "hydra.run.dir=job"]
    own = ("DVC_", "PYTHONPATH", "MLFLOW_TRACKING", "MLFLOW_RUN")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    if subprocess.run([str(python), "-m", "pipeline", *overrides], cwd=folder, env=clean).returncode:
        raise PipelineError(f"{folder}: the experiment failed; see above")
    return store


def compare(then: dict[str, float], now: dict[str, float]) -> list[Figure]:
    """Every figure of two runs that time and machine don't decide, by name."""
    names = sorted(name for name in then.keys() | now.keys() if name.startswith(_FIGURES))
    return [Figure(name, then.get(name), now.get(name)) for name in names]


def verdict(figures: list[Figure], tolerance: float) -> str:
    """identical, within tolerance, or different."""
    largest = max(each.difference for each in figures)
    if largest == 0:
        return "identical"
    return "within tolerance" if largest <= tolerance else "different"


def _git(*arguments: str) -> None:
    ran = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if ran.returncode:
        raise PipelineError(f"git {' '.join(arguments)}: {ran.stderr.strip()}")
