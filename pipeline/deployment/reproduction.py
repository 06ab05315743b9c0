"""Rerun an experiment from its MLflow run, with its commit, lock file and configuration, and compare all metrics."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from pathlib import Path

import yaml
from rich.table import Table

from pipeline.comparison.experiments import Experiment, find
from pipeline.config import ADDRESSES, TrackingConfig
from pipeline.config.texts import quoted, quoted_at
from pipeline.storage.files import Json, file_sha256
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE, resolve
from pipeline.system.terminal import table_console, waiting
from pipeline.tracking.classifier_files import find_classifier
from pipeline.tracking.tags import LOCK_SHA256, internal

LOCK = "requirements.lock"
_LISTED = 5
# Prefixes of the metrics that depend only on configuration, data and code.
_FIGURES = ("prepare/", "train/", "finetune/", "test/")


@dataclass(frozen=True)
class Figure:
    """Values of one metric in the original and the new run; None if a run lacks the metric."""

    name: str
    then: float | None
    now: float | None

    @property
    def difference(self) -> float:
        """Absolute difference; infinite if a value is missing, or if only one is NaN."""
        if self.then is None or self.now is None or isnan(self.then) != isnan(self.now):
            return inf
        return 0.0 if isnan(self.then) else abs(self.now - self.then)


def run_again(
    name: str, tracking: TrackingConfig, *, folder: Path | None, make_environment: bool
) -> tuple[Experiment, list[Figure]]:
    """Rerun a complete experiment of the tracking store.

    Args:
        name: Id of the run, or the first characters of the id.
        tracking: Settings of the tracking store.
        folder: New folder for code, environment and results; None for reproduced/<run>.
        make_environment: Whether to create an environment from the lock file instead of using the current one.

    Returns:
        The experiment, and its metrics in both runs.

    Raises:
        PipelineError: There is no such run, its code or configuration was not recorded, or the rerun failed.
    """
    with waiting("reading runs from MLflow"):
        run = find_run(name, find(tracking))
    file, commit, lock = run.file("config.yaml"), run.tags.get("git_commit"), internal(run.tags, LOCK_SHA256)
    if not (file and commit and lock):
        raise PipelineError(
            f"{run.name} ({run.run_id}) can't be rerun: its configuration, commit or lock file was not recorded"
        )
    if run.tags.get("git_dirty") == "true":
        print(f"{run.name} was computed with uncommitted changes; its commit is rerun without them", file=sys.stderr)
    folder = folder or Path("reproduced") / run.run_id[:8]
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    weights = settings["backbone"]["weights"]
    if weights.startswith(ADDRESSES):
        # The clone has a store of its own.
        settings["backbone"]["weights"] = str(find_classifier(weights, tracking).file)
    check_out(commit, lock, folder)
    store = run_pipeline(environment(folder) if make_environment else Path(sys.executable), settings, folder)
    runs = find(replace(tracking, uri=store, experiment=settings["tracking"]["experiment"]))
    if not runs:
        raise PipelineError(f"{folder}: the experiment left no complete run in {store}; see its output above")
    return run, compare(run.all_metrics, runs[0].all_metrics)


def find_run(name: str, experiments: Sequence[Experiment]) -> Experiment:
    """Find the experiment whose run id is or begins with `name`, which may have the form `runs:/<id>`.

    Raises:
        PipelineError: No experiment or several experiments match.
    """
    start = name.removeprefix("runs:/").partition("/")[0]
    matches = [each for each in experiments if each.run_id.startswith(start)]
    if len(matches) == 1:
        return matches[0]
    examples = ", ".join(f"{each.run_id[:8]} ({each.name})" for each in (matches or experiments)[:_LISTED])
    raise PipelineError(
        f"{name!r} {'matches several run ids' if matches else 'is not the run id of a complete experiment'}; "
        f"give a run id that make ui shows{f', such as {examples}' if examples else ''}"
    )


def check_out(commit: str, lock_sha256: str, folder: Path) -> None:
    """Clone this repository to `folder` and check out `commit`.

    Raises:
        PipelineError: The folder exists, the commit does not exist, or its lock file has a different digest.
    """
    if folder.exists():
        raise PipelineError(f"{folder} exists; delete it, or give another folder with --out DIR")
    try:
        _git("clone", "--quiet", "--no-checkout", str(CODE), str(folder))
        _git("-C", str(folder), "checkout", "--quiet", "--detach", commit)
        if file_sha256(folder / LOCK) != lock_sha256:
            raise PipelineError(
                f"The run was computed with a {LOCK} (sha256 {lock_sha256}) that differs from that of its commit {commit}"
            )
    except PipelineError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def environment(folder: Path) -> Path:
    """Create a virtual environment from the lock file in `folder`, and return the path of its Python."""
    # Absolute, because Python is started from another folder. Not resolved, because the symbolic link selects the
    # environment.
    python = folder.absolute() / ".venv" / "bin" / "python"
    made = subprocess.run(["make", "--silent", f".venv/.installed-{LOCK}", f"PYTHON={sys.executable}"], cwd=folder)
    if made.returncode or not python.exists():
        raise PipelineError(f"{folder}: the environment could not be created from {LOCK}; see the output above")
    return python


def as_overrides(settings: Json) -> list[str]:
    """Convert a complete configuration, as in config.yaml of a run, to overrides of all keys."""
    overrides = []
    for name, section in settings.items():
        if not isinstance(section, dict):
            overrides.append(f"{name}={quoted(section)}")
            continue
        if "name" in section:
            overrides.append(f"{name}={section['name']}")
        for key, value in section.items():
            is_path = (name, key) in (("dataset", "path"), ("backbone", "weights"))
            if is_path and value not in (None, "imagenet", "random"):
                # Relative paths refer to this checkout, not to the clone.
                value = str(resolve(value))
            if key != "name":
                overrides.append(f"{name}.{key}={quoted_at(f'{name}.{key}', value)}")
    return overrides


def run_pipeline(python: Path, settings: Json, folder: Path) -> str:
    """Run all stages with the code in `folder`, and return the URI of the new tracking store.

    Raises:
        PipelineError: The experiment failed.
    """
    store = f"sqlite:///{folder.resolve()}/mlflow.db"
    overrides = [*as_overrides(settings), f"tracking.uri={quoted(store)}", "cache_folder=cache", "hydra.run.dir=job"]
    own = ("DVC_", "PYTHONPATH", "MLFLOW_TRACKING", "MLFLOW_RUN")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    if subprocess.run([str(python), "-m", "pipeline", *overrides], cwd=folder, env=clean).returncode:
        raise PipelineError(f"{folder}: the experiment failed; see its output above")
    return store


def compare(then: dict[str, float], now: dict[str, float]) -> list[Figure]:
    """Pair the metrics of two runs by name, without metrics that depend on time and machine."""
    names = sorted(name for name in then.keys() | now.keys() if name.startswith(_FIGURES))
    return [Figure(name, then.get(name), now.get(name)) for name in names]


def verdict(figures: Sequence[Figure], tolerance: float) -> str:
    """Classify the differences between two runs as `identical`, `within tolerance` or `different`."""
    largest = max(each.difference for each in figures)
    if largest == 0:
        return "identical"
    return "within tolerance" if largest <= tolerance else "different"


def print_figures(run: Experiment, figures: Sequence[Figure], tolerance: float) -> None:
    """Print the metrics that differ, and whether the results are the same."""
    console, result = table_console(), verdict(figures, tolerance)
    table = Table("", "original", "rerun", "difference", box=None, header_style="bold")
    for each in figures:
        if each.difference > 0:
            cells = (each.name, _format_value(each.then), _format_value(each.now), f"{each.difference:.2g}")
            table.add_row(*cells, style="red" if each.difference > tolerance else None)
    if table.row_count:
        console.print(table)
    limit = "" if result == "identical" else f" ({tolerance:g})"
    console.print(f"{run.name} ({run.run_id}): {len(figures)} metrics, {result}{limit}")


def _format_value(value: float | None) -> str:
    return "missing" if value is None else f"{value:.9g}"


def _git(*arguments: str) -> None:
    ran = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if ran.returncode:
        raise PipelineError(f"git {' '.join(arguments)}: {ran.stderr.strip()}")
