"""Whole experiments: their parts, and the same once more."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.processes import OVER, Clock
from benchmarks.results import Row, row
from benchmarks.same_results import compare_jobs
from pipeline.stages import STAGES
from pipeline.storage.files import read_json
from pipeline.system.paths import CODE

_SMALL = (
    "image_size=32", "augment.views=1", "train.epochs=2", "train.label_issues=false", "finetune.epochs=1",
    "finetune.unfreeze=-1", "finetune.interpolate=null", "evaluate.corruptions=none", "evaluate.tta=none",
)  # fmt: skip


def measure_experiments(folder: Path, environment: Mapping[str, str], clock: Clock, *, small: bool) -> dict[str, Row]:
    """Run the default experiment twice, each time with an empty cache.

    Args:
        folder: Empty folder for caches, results and runs.
        environment: Environment variables of the processes.
        clock: Time limit; experiments that it cuts off, or leaves no time for, have an error in their row.
        small: Whether to change the experiment so that it takes seconds.
    """
    title = f"experiment{' (small)' * small}: digits"
    first, again = (_run(folder / name, _SMALL if small else (), environment, clock) for name in ("first", "again"))
    if first["pipeline"]:
        first["note"] = _parts(folder / "first" / "job", first["pipeline"][0])
    if first["pipeline"] and again["pipeline"]:
        again["recipe"] = first["pipeline"]
        again["note"] = _difference(folder / "first" / "job", folder / "again" / "job")
    return {title: first, f"{title}, the same again": again}


def _run(folder: Path, overrides: Sequence[str], environment: Mapping[str, str], clock: Clock) -> Row:
    command = [
        sys.executable, "-m", "pipeline", "dataset=digits", "backbone.weights=random", *overrides,
        f"cache_folder={folder}/cache", f"tracking.uri=sqlite:///{folder}/mlflow.db", f"hydra.run.dir={folder}/job",
    ]  # fmt: skip
    if not clock.left():
        return row(note=OVER)
    folder.mkdir()
    started = time.perf_counter()
    try:
        ran = subprocess.run(command, cwd=CODE, env=environment, capture_output=True, text=True, timeout=clock.left())
    except subprocess.TimeoutExpired as error:
        return row(note=f"not measured: longer than {error.timeout:.0f} s")
    if ran.returncode:
        return row(note=f"failed: {(ran.stderr.strip().splitlines() or [''])[-1][:150]}")
    return row(pipeline=[time.perf_counter() - started])


def _parts(job: Path, seconds: float) -> str:
    """Return the seconds of each stage, and of all else, as text."""
    stages = {stage: read_json(job / stage / "run.json")["seconds"] for stage in STAGES}
    parts = stages | {"start and end": seconds - sum(stages.values())}
    return ", ".join(f"{name} {each:.1f} s" for name, each in parts.items())


def _difference(before: Path, after: Path) -> str:
    compared = compare_jobs(before, after)
    return f"{len(compared.differences)} of {compared.values} values differ from the first"
