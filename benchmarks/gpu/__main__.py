"""Measure the speed of this machine's GPU: feed, feature extraction, training steps, and whole experiments.

It takes at most four minutes, or one with --quick; what no time was left for has no row. Images are made and weights
are random, so that no network is needed. The results are added to benchmarks/results.json and docs/benchmarks/gpu.md.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from rich.table import Table

from benchmarks.gpu.cells import cells
from benchmarks.gpu.experiments import measure_experiments
from benchmarks.gpu.processes import OVER, Clock, measure_cells
from benchmarks.results import Row, add_rows, columns, processor, row
from pipeline.storage.files import Json
from pipeline.system.gpu import nvidia_gpu_present
from pipeline.system.terminal import table_console, waiting
from pipeline.training.gpu_messages import unused_gpu

# Seconds at the end in which the command itself ends.
_END = 8


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute, fewer cells and no experiment")
    parser.add_argument("--minutes", type=float, help="time limit (default: 4, or 1 with --quick); all needs some ten")
    parser.add_argument(
        "--device", choices=["gpu", "cpu"], default="gpu", help="cpu: small sizes, to try it (default: gpu)"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file only")
    args = parser.parse_args()
    if args.device == "gpu" and not nvidia_gpu_present():
        sys.exit("This machine has no NVIDIA GPU; try the command with --device cpu")
    clock = Clock(60 * (args.minutes or (1 if args.quick else 4)) - _END)
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": "-1"} if args.device == "cpu" else {})
    planned = cells(args.device, quick=args.quick)
    with waiting("measuring"), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        # Whether it gives the same digits twice comes before speed.
        small = args.device == "cpu"
        rows = {} if args.quick else measure_experiments(Path(folder), environment, clock, small=small)
        facts, results = measure_cells(planned, environment, clock)
        if not facts:
            why = f". {unused_gpu(environment)}" if args.device == "gpu" else ""
            sys.exit(f"Nothing was measured: {results[0]['error']}{why}")
        rows |= {cell.name: _row(result) for cell, result in zip(planned, results, strict=True)}
    device = _device(facts, args.device)
    _print_table(device, rows)
    if args.json:
        args.json.write_text(json.dumps({"device": device, "environment": facts, "rows": rows}, indent=1) + "\n")
    else:
        # Rows of earlier, longer measurements stay.
        add_rows(device, {name: each for name, each in rows.items() if each["note"] != OVER}, page="gpu")


def _row(result: Json) -> Row:
    """Return the row of a cell: seconds for its images, and notes."""
    if "error" in result:
        return row(note=result["error"])
    notes = [f"{result['rate']:,.0f} images/s", f"{result['memory'] / 2**30:.1f} GiB", f"first {result['first']:.1f} s"]
    if result["peak"] is not None:
        notes.insert(1, f"{result['peak']:.0%} of the card's peak")
    if result["waiting"] is not None:
        notes.append(f"waiting for input {result['waiting']:.0%}")
    return row(recipe=result["recipe"], pipeline=result["pipeline"], note=", ".join(notes))


def _device(facts: Json, kind: str) -> str:
    """Return a heading that names the device and all that its speed depends on."""
    names = {"compute_capability": "capability", "driver": "driver", "cuda": "CUDA", "cudnn": "cuDNN"}
    known = ", ".join(f"{word} {facts[key]}" for key, word in names.items() if key in facts)
    gpu = f"{facts.get('devices', 'GPU')} ({known}), on " if kind == "gpu" else "CPU only, small sizes: "
    return gpu + processor()


def _print_table(device: str, rows: dict[str, Row]) -> None:
    console, table = table_console(), Table("", "bare loop", "pipeline", "times faster", "and")
    for name, each in rows.items():
        table.add_row(name, *columns(each))
    console.print(device)
    console.print(table)


if __name__ == "__main__":
    main()
