"""Process that measures cells: their descriptions come as a JSON list, and a line of JSON goes out for each.

A cell that ends the process, or hangs, costs only itself: the command starts another process for the others.
"""

import json
import os
import re
import sys
from pathlib import Path

import pipeline  # noqa: F401  (sets environment variables that TensorFlow reads)

# isort: split
import tensorflow as tf

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.feed import measure_feed
from benchmarks.gpu.networks import measure_extraction, measure_training
from benchmarks.gpu.peaks import fraction_of_peak
from pipeline.config import Config
from pipeline.config.compose import configuration
from pipeline.storage.files import Json
from pipeline.system.gpu import gpus_hidden
from pipeline.training.hardware import describe_environment, set_up

_MEASURE = {"feed": measure_feed, "extraction": measure_extraction, "training": measure_training}


def measure(cell: Cell) -> Json:
    """Measure a cell, and return its figures."""
    config = _configuration(cell)
    set_up(config.hardware, config.seed)
    tf.config.experimental.enable_tensor_float_32_execution(cell.precision == "tf32")
    gpu = bool(tf.config.list_physical_devices("GPU"))
    if gpu:
        tf.config.experimental.reset_memory_stats("GPU:0")
    found = _MEASURE[cell.part](cell, config)
    used = tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpu else _own_memory()
    rate = found.images / min(found.pipeline)
    return {
        "recipe": found.bare,
        "pipeline": found.pipeline,
        "first": found.first,
        "rate": rate,
        "memory": used,
        "waiting": found.waiting,
        "peak": fraction_of_peak(describe_environment()["devices"], cell.precision, rate * found.macs) if gpu else None,
    }


def _configuration(cell: Cell) -> Config:
    precision = "float32" if cell.precision == "tf32" else cell.precision
    backbone = "scratch_cnn" if cell.part == "feed" else cell.subject
    return configuration(
        [
            f"backbone={backbone}", "backbone.weights=random", f"image_size={cell.image_size}",
            f"hardware.precision={precision}", f"hardware.deterministic={str(cell.deterministic).lower()}",
            f"hardware.jit_compile={str(cell.xla).lower()}",
        ]
    )  # fmt: skip


def _own_memory() -> int:
    """Return the anonymous memory of this process in bytes."""
    [kib] = re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) * 1024


def main() -> None:
    """Measure the cells of standard input."""
    cells = [Cell(**each) for each in json.load(sys.stdin)]
    if not gpus_hidden(os.environ) and not tf.config.list_physical_devices("GPU"):
        sys.exit("TensorFlow sees no GPU")
    first = _configuration(cells[0])
    set_up(first.hardware, first.seed)
    print(json.dumps({"facts": describe_environment()}), flush=True)
    for cell in cells:
        try:
            result = measure(cell)
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
