"""Store measured times in results.json, and write pages in docs/benchmarks with one table per machine."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NotRequired, TypedDict

from pipeline.storage.files import read_json, whole_file
from pipeline.system import nvidia_smi
from pipeline.system.paths import CODE

_FILE, _PAGES = CODE / "benchmarks" / "results.json", CODE / "docs" / "benchmarks"
_AGAINST_RECIPE = """# The pipeline against the source article's recipe, and its parts against bare loops

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
_GPU = """# Speed on GPUs

`python -m benchmarks.gpu` measures this machine's GPU in at most four minutes, and adds a table here; `--quick` takes one
minute, and `--minutes=10` is enough for all rows. Images are made and weights random, so that it needs no network. Each
cell has a fixed number of images.

- feed: batches with labels, as training reads them, against indexing the same memory map in a bare loop, which augments
  by the same function.
- extraction: features of the frozen backbone, from pixels in memory, against `model(x)`, compiled, on a batch in the
  GPU's memory.
- training: all layers, BatchNormalization frozen, against Keras's `fit` of the same network. Waiting for input is the
  fraction of its steps' time in which their batch was not loaded yet; on a GPU it is the most that they can have waited.
- The bare side has the same precision by Keras's global dtype policy.
- experiment: the default experiment in a process of its own, with an empty cache. "The same again" is compared with the
  first run, whose seconds stand on the left.
- Without another word a cell is deterministic, and has the precision that `hardware.precision=auto` chooses.
- The price of determinism is the difference between a training row and the one that is not deterministic.
- "first" is the first round, in which functions are traced and kernels chosen. It is not in the seconds.
- Peaks are those of data sheets. Memory is the largest amount that TensorFlow held on the GPU.

{measured}
"""
_NOT_MEASURED = "No GPU has been measured yet. `--device cpu` has small sizes, to try the command."
_ABOVE = {"against_recipe": _AGAINST_RECIPE, "gpu": _GPU}


class Row(TypedDict):
    """Seconds of each run of one workload on one machine."""

    recipe: list[float]
    pipeline: list[float]
    scaled: bool
    note: str
    date: str
    page: NotRequired[str]
    """Name of the page that shows it; without it, against_recipe."""


def row(*, recipe: Sequence[float] = (), pipeline: Sequence[float] = (), scaled: bool = False, note: str = "") -> Row:
    """Return a row of today."""
    return Row(recipe=list(recipe), pipeline=list(pipeline), scaled=scaled, note=note, date=str(date.today()))


def machine() -> str:
    """Return a description of the GPUs and of `processor`."""
    gpus = nvidia_smi.gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    return ", ".join([*(gpu.name for gpu in gpus), processor()])


def processor() -> str:
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
    """Add or replace this machine's row for a workload, with seconds of each run, and write all files."""
    add_rows(machine(), {workload: row(recipe=recipe, pipeline=pipeline, scaled=scaled, note=note)})


def add_rows(device: str, rows: dict[str, Row], *, page: str | None = None) -> None:
    """Add or replace a device's rows by workload, shown on a page, and write all files."""
    results: dict[str, dict[str, Row]] = read_json(_FILE)
    for workload, each in rows.items():
        shown = Row(**each, page=page) if page else each
        results.setdefault(device, {})[workload] = shown
    with whole_file(_FILE) as unfinished:
        unfinished.write_text(json.dumps(results, indent=1) + "\n")
    write_pages(results)


def write_pages(results: dict[str, dict[str, Row]]) -> None:
    """Write the pages from the rows of each device and workload."""
    for page in _ABOVE:
        (_PAGES / f"{page}.md").write_text(page_text(page, results))


def page_text(page: str, results: dict[str, dict[str, Row]]) -> str:
    """Return the text of a page, with a table for each device that has rows on it."""
    parts = ""
    for device, rows in results.items():
        own = {name: each for name, each in rows.items() if each.get("page", "against_recipe") == page}
        parts += _part(device, own) if own else ""
    return _ABOVE[page].replace("\n{measured}\n", "" if parts else f"\n{_NOT_MEASURED}\n") + parts


def _part(name: str, rows: dict[str, Row]) -> str:
    head = "| workload | recipe or bare loop | pipeline | times faster | and | date |\n| --- | --- | --- | --- | --- | --- |\n"
    lines = (f"| {workload} | {' | '.join(columns(each))} | {each['date']} |\n" for workload, each in rows.items())
    return f"\n## {name}\n\n{head}{''.join(lines)}"


def columns(each: Row) -> list[str]:
    """Return the cells of a row: seconds of the recipe or bare loop and of the pipeline, their ratio, and the note."""
    ratios = [a / b for a, b in zip(each["recipe"], each["pipeline"], strict=False)]
    faster = f"{_ratio(statistics.median(ratios))} ({', '.join(map(_ratio, ratios))})" if ratios else ""
    return [_seconds(each["recipe"]) + " (scaled)" * each["scaled"], _seconds(each["pipeline"]), faster, each["note"]]


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value >= 0.1 else f"{value:.1g}"


def _seconds(measured: list[float]) -> str:
    if not measured:
        return ""
    median = statistics.median(measured)
    if median < 0.1:
        return f"{1000 * median:.1f} ms"
    return f"{median:,.0f} s" if median >= 20 else f"{median:.2f} s"
