"""Libraries that TensorFlow loads for a GPU: missing, broken, and a driver that refuses."""

import shutil
import subprocess

import pytest

# A driver with one GPU, whose memory and initial error are compiled in.
DRIVER = """
int cuInit(unsigned flags) { return INITIAL; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceTotalMem_v2(unsigned long *bytes, int device) { *bytes = 85899345920ul; return 0; }
"""
CUDNN = "unsigned long cudnnGetVersion(void) { return 92800; }"


@pytest.fixture
def compiled(tmp_path):
    """Compiles a real library into the test's folder."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")

    def compile_library(name: str, source: str, *options: str) -> None:
        (tmp_path / "source.c").write_text(source)
        arguments = [compiler, "-shared", "-fPIC", *options, "-o", tmp_path / name, tmp_path / "source.c"]
        subprocess.run(arguments, check=True)

    return compile_library


@pytest.fixture
def ask(command, tmp_path):
    """What an expression on `pipeline.system.cuda` is, in a process that finds libraries in the test's folder."""

    def answer(expression: str) -> str:
        (tmp_path / "asked.py").write_text(f"from pipeline.system import cuda\nprint({expression})")
        ran = command("asked", LD_LIBRARY_PATH=str(tmp_path))
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    return answer


def test_a_broken_library_is_named_with_its_place(ask, tmp_path):
    (tmp_path / "libcudnn.so.9").write_bytes(bytes(10_000))
    assert f"{tmp_path}/libcudnn.so.9: invalid ELF header" in ask("cuda.library_problems()")
    assert ask("cuda.cudnn_version()") == "None"


def test_a_library_that_loads_is_no_problem_and_tells_its_version(ask, compiled):
    compiled("libcudnn.so.9", CUDNN)
    assert "libcudnn" not in ask("cuda.library_problems()")
    assert ask("cuda.cudnn_version()") == "9.28.0"


def test_a_driver_tells_why_it_refuses_and_how_much_memory_there_is(ask, compiled, tmp_path):
    compiled("libcuda.so.1", DRIVER, "-DINITIAL=803")
    assert ask("cuda.driver_problem()") == "libcuda.so.1: cuInit failed with error 803"
    assert ask("cuda.device_memory()") == "None"
    compiled("libcuda.so.1", DRIVER, "-DINITIAL=0")
    assert ask("cuda.driver_problem()") == "None"
    assert ask("cuda.device_memory()") == str(80 * 2**30)


def test_a_broken_driver_is_named(ask, tmp_path):
    (tmp_path / "libcuda.so.1").write_text("no library")
    assert ask("cuda.driver_problem()") == f"{tmp_path}/libcuda.so.1: file too short"
    assert ask("cuda.device_memory()") == "None"
