"""Cells that fail, end their process, or take too long, are results."""

import os

import pytest

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.processes import OVER, Clock, measure_cells
from pipeline.system.gpu import nvidia_gpu_present

FEED = Cell("feed", "features", 32, 64, 32, bare=True)
MISSING = Cell("extraction", "no_such_backbone", 32, 8, 8)
SMALL = Cell("training", "scratch_cnn", 32, 8, 8, bare=True)
FREE = Cell("training", "scratch_cnn", 32, 8, 8, deterministic=False)
ON_CPU = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture
def environment(tmp_path):
    """Makes an environment whose Python runs some code at its start."""

    def make(code: str) -> dict[str, str]:
        (tmp_path / "sitecustomize.py").write_text(code)
        return ON_CPU | {"PYTHONPATH": str(tmp_path)}

    return make


@pytest.mark.slow
def test_a_cell_that_fails_is_a_result_beside_the_others():
    facts, [feed, missing, small, free] = measure_cells([FEED, MISSING, SMALL, FREE], ON_CPU, Clock(600))
    assert facts["devices"] == "CPU"
    assert "no_such_backbone" in missing["error"]
    for result in (feed, small, free):
        assert len(result["pipeline"]) == 2, result
        assert all(
            seconds > 0 for seconds in [*result["pipeline"], *result["recipe"], result["rate"], result["memory"]]
        )
    assert (len(feed["recipe"]), len(small["recipe"]), len(free["recipe"])) == (2, 2, 0)


ENDS = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "benchmarks.gpu.feed":
            print("a library gave up", file=sys.stderr, flush=True)
            os._exit(7)
sys.meta_path.insert(0, Finder())
"""


def test_a_process_that_ends_says_so_for_each_cell(environment):
    _, results = measure_cells([FEED, SMALL], environment(ENDS), Clock(600))
    assert results == [{"error": "the process has ended with status 7: a library gave up"}] * 2


@pytest.mark.skipif(nvidia_gpu_present(), reason="it would measure this machine's GPU")
def test_without_a_gpu_the_cpu_is_not_measured_in_its_place():
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    _, [result] = measure_cells([FEED], seen, Clock(600))
    assert result == {"error": "the process has ended with status 1: TensorFlow sees no GPU"}


def test_what_takes_too_long_is_ended(environment):
    _, [result] = measure_cells([FEED], environment("import time\ntime.sleep(3600)"), Clock(2))
    assert result["error"] == OVER


def test_without_time_nothing_is_measured():
    assert measure_cells([FEED, FREE], ON_CPU, Clock(0)) == ({}, [{"error": OVER}] * 2)
