"""Store measured times in results.json, and write docs/benchmarks/against_recipe.md with one table per machine."""

import json
import os
import platform
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from pipeline.storage.files import read_json, whole_file
from pipeline.system.paths import CODE

_FILE, PAGE = CODE / "benchmarks" / "results.json", CODE / "docs" / "benchmarks" / "against_recipe.md"
_ABOVE = """# The pipeline against the source article's recipe, and its parts against bare loops

Whole processes from start to exit, in turn, on the same images, with an empty cache. 1,000 photos are for training and
400 for testing; 5 epochs are frozen and 3 fine-tuned, with batches of 32 at 224 px. VGG16 and ResNet50 have random weights.

- "Scaled": the recipe ran once, for one epoch per phase; its other epochs are extrapolated. All rows of its backbone use
  that run. Compiling counts once since 2026-11-26; in rows before, it counts once per epoch.
- "Times faster" is the median of the pairs' ratios, which follow it. Each pair has a seed of its own.
- With VGG16 and the same arithmetic on both sides, caching features can gain a factor of 6.3 at most. The recipe passes 8,800
  images through the network, the pipeline 1,400, and there is no BatchNormalization to fold.
- Reduced precision multiplies that: by at most two with AVX512-BF16, which multiplies two pairs for each of float32's
  one; by more with AMX.
- Start-up, and what the recipe does not do, take 20 seconds of each job here: splits, label issues, intervals, Grad-CAM,
  report, tracking.
- On processors without instructions for neural networks (AVX2 alone), TensorFlow leaves out oneDNN's kernels by default.
  The pipeline switches them on; the recipe runs as it is.

`make bench IMAGES=<folder>` measures all; `python -m benchmarks.against_recipe`, `.throughput` and `.memory` its parts.
"""


class Row(TypedDict):
    """Seconds of each run of one workload on one machine."""

    recipe: list[float]
    pipeline: list[float]
    scaled: bool
    note: str
    date: str


def machine() -> str:
    """Return a description of the processor, its instructions for reduced precision, and package versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set[str]())
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy"))
    reduced = " ".join(sorted(flags & {"avx512_bf16", "amx_bf16"})) or "no instructions for reduced precision"
    return f"{os.cpu_count()} cores of {model} ({reduced}), Python {platform.python_version()}, {packages}"


def add_row(workload: str, *, recipe: list[float], pipeline: list[float], scaled: bool = False, note: str = "") -> None:
    """Add or replace this machine's row for a workload, with seconds of each run, and write both files."""
    results: dict[str, dict[str, Row]] = read_json(_FILE)
    row = Row(recipe=recipe, pipeline=pipeline, scaled=scaled, note=note, date=str(date.today()))
    results.setdefault(machine(), {})[workload] = row
    with whole_file(_FILE) as unfinished:
        unfinished.write_text(json.dumps(results, indent=1) + "\n")
    write_page(results)


def write_page(results: dict[str, dict[str, Row]]) -> None:
    """Write the page from the rows of each machine and workload."""
    PAGE.write_text(_ABOVE + "".join(_part(name, rows) for name, rows in results.items()))


def _part(name: str, rows: dict[str, Row]) -> str:
    head = "| workload | recipe or bare loop | pipeline | times faster | and | date |\n| --- | --- | --- | --- | --- | --- |\n"
    return f"\n## {name}\n\n{head}" + "".join(_line(workload, row) for workload, row in rows.items())


def _line(workload: str, row: Row) -> str:
    theirs, ours = (_seconds(row["recipe"]), _seconds(row["pipeline"]))
    ratios = [a / b for a, b in zip(row["recipe"], row["pipeline"], strict=False)]
    faster = f"{statistics.median(ratios):.1f} ({', '.join(f'{ratio:.1f}' for ratio in ratios)})" if ratios else ""
    return (
        f"| {workload} | {theirs}{' (scaled)' * row['scaled']} | {ours} | {faster} | {row['note']} | {row['date']} |\n"
    )


def _seconds(measured: list[float]) -> str:
    if not measured:
        return ""
    median = statistics.median(measured)
    return f"{median:,.0f} s" if median >= 20 else f"{median:.2f} s"
