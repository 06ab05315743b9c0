"""What was measured, kept as results.json, and RESULTS.md, its table for people: a part for each machine."""

import json
import os
import platform
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
_ABOVE = """# The pipeline against the source article's recipe, and its parts against bare loops

Whole processes from start to exit, in turn, on the same images, epochs (5 frozen, 3 fine-tuned), batches of 32, 224 px, the cache empty at
the start, on 1,000 photos for training and 400 for testing. "Scaled": the recipe ran once, an epoch a phase, which counts for the others, and
serves all rows of its backbone; what compiling took counts once since 2026-11-26, in rows before as often as there are epochs.
"Times faster" is the median of the pairs' ratios, which follow it; each pair has a seed of its own. VGG16 and ResNet50 have random weights.
With the same arithmetic on both sides and no BatchNormalization to fold, 6.3 is all that can be gained from doing frozen work once with VGG16: the
recipe passes 8,800 images through the network, the pipeline 1,400. Short floats multiply that: by two at most where AVX512-BF16 does them, which
multiplies two pairs for each of float32's one, by more with AMX. Start-up and what the recipe has not (splits, label issues, intervals, Grad-CAM,
report, tracking) take 20 seconds of each job here. On processors without instructions for neural networks (AVX2 alone) TensorFlow leaves oneDNN's
kernels out unless it is told; the pipeline tells it, the recipe runs as it stands.
`make bench IMAGES=<folder>` measures; `python -m benchmarks.run`, `.throughput` and `.memory` in parts.
"""


def machine() -> str:
    """Processor, with its instructions for short floats, and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy"))
    short = " ".join(sorted(flags & {"avx512_bf16", "amx_bf16"})) or "no instructions for short floats"
    return f"{os.cpu_count()} cores of {model} ({short}), Python {platform.python_version()}, {packages}"


def keep(workload: str, recipe: list[float], pipeline: list[float], scaled: bool = False, note: str = "") -> None:
    """Add a row of seconds, or replace this machine's earlier one, and write both files anew."""
    row = {"recipe": recipe, "pipeline": pipeline, "scaled": scaled, "note": note, "date": str(date.today())}
    file = HERE / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    results.setdefault(machine(), {})[workload] = row
    file.write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(_page(results))


def _page(results: dict[str, dict[str, dict]]) -> str:
    return _ABOVE + "".join(_part(name, rows) for name, rows in results.items())


def _part(name: str, rows: dict[str, dict]) -> str:
    head = "| workload | recipe or bare loop | pipeline | times faster | and | date |\n| --- | --- | --- | --- | --- | --- |\n"
    return f"\n## {name}\n\n{head}" + "".join(_line(workload, row) for workload, row in rows.items())


def _line(workload: str, row: dict) -> str:
    medians = [statistics.median(row[side]) if row[side] else None for side in ("recipe", "pipeline")]
    theirs, ours = ("" if each is None else f"{each:,.0f} s" if each >= 20 else f"{each:.2f} s" for each in medians)
    ratios = [a / b for a, b in zip(row["recipe"], row["pipeline"], strict=False)]
    faster = f"{statistics.median(ratios):.1f} ({', '.join(f'{ratio:.1f}' for ratio in ratios)})" if ratios else ""
    return (
        f"| {workload} | {theirs}{' (scaled)' * row['scaled']} | {ours} | {faster} | {row['note']} | {row['date']} |\n"
    )
