"""What of libraries' messages is shown."""

import subprocess
import sys

import pytest

from pipeline.system.noise import is_noise
from pipeline.system.paths import CODE


@pytest.mark.parametrize(
    "line",
    [
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        b"I0000 00:00:1795752448.258098   11147 port.cc:153] oneDNN custom operations are on. You may see",
        b"I0000 00:00:1795752448.259285   11147 cudart_stub.cc:31] Could not find cuda drivers on your machine",
        b"W0000 00:00:1795752448.259285   11147 tf_tfl_flatbuffer_helpers.cc:364] Ignored output_format.",
        b"E0000 00:00:1758131045.203198 3722035 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting",
        b"2025-09-17 14:44:05.157831: I external/local_xla/xla/tsl/cuda/cudart_stub.cc:32] Could not find cuda drivers",
        b"E0000 00:00:1795783559.107280    6764 node_def_util.cc:682] NodeDef mentions attribute use_unbounded_threadpool "
        b"which is not in the op definition: Op<name=MapDataset; signature=input_dataset:variant",
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
        b"fully_quantize: 0, inference_type: 6, input_inference_type: FLOAT32, output_inference_type: FLOAT32",
    ],
)
def test_what_changes_nothing_is_noise(line):
    assert is_noise(line + b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b"W0000 00:00:1795752448.2 111 gpu_device.cc:2365] Cannot dlopen some GPU libraries. Please make sure",
        b"2025-09-17 14:44:05.157831: W tensorflow/x.cc:64] Could not load dynamic library 'libcudnn.so.9'; dlerror",
        b"E0000 00:00:1758131045.203198 3722035 cuda_executor.cc:12] failed call to cuInit: INTERNAL: CUDA error",
        b"F0000 00:00:1758131045.203198 3722035 cpu_feature_guard.cc:29] The library was compiled to use AVX2",
        b"2026-11-27 04:07:26,777 INFO train: started",
        b"Traceback (most recent call last):",
        b"Illegal instruction",
    ],
)
def test_problems_and_our_own_lines_are_shown(line):
    assert not is_noise(line + b"\n")


def run(code: str) -> subprocess.CompletedProcess:
    code = (
        f"from pipeline.system.noise import hide_library_messages, tensorflow_import\nhide_library_messages()\n{code}"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=CODE, capture_output=True, text=True)


def test_tensorflow_is_imported_without_a_word_and_later_words_arrive():
    ran = run(
        "with tensorflow_import():\n    import tensorflow\n"
        "import os, sys, warnings\n"
        "warnings.warn('old')\n"
        "print('own', file=sys.stderr)\n"
        "os.write(2, b'I0000 00:00:1795752448.258098   11147 port.cc:153] information\\nlast words')\n"
        "os.abort()"
    )
    assert ran.returncode < 0
    assert sorted(ran.stderr.splitlines()) == ["last words", "own"]


def test_warnings_about_code_are_hidden_unless_they_are_asked_for():
    code = "import warnings; warnings.warn('old')"
    assert run(code).stderr == ""
    asked = subprocess.run(
        [sys.executable, "-W", "default", "-c", f"from pipeline.system.noise import *\nhide_library_messages()\n{code}"],
        cwd=CODE, capture_output=True, text=True,
    )  # fmt: skip
    assert "UserWarning: old" in asked.stderr
