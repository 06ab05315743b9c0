"""Experiments from Python: `run_experiment`, and the example notebook in a real kernel."""

import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from pipeline.api import run_experiment
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE
from tests.support.checkouts import Checkout
from tests.support.commands import small


def in_folder(folder, images, *more: str) -> list[str]:
    """The shortest experiment, in a folder of its own."""
    own = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"hydra.run.dir={folder}/job"]
    return [*small(images, folder), *own, *more]


def digests(folder) -> dict[str, dict]:
    """The sha256 of the files that the stages computed; times and dates are in none of them."""
    stages = ("prepare", "train", "finetune", "evaluate")
    files = {stage: read_json(folder / stage / "run.json")["files"] for stage in stages}
    return {
        f"{stage}/{name}": file["sha256"]
        for stage, named in files.items()
        for name, file in named.items()
        if not name.endswith((".keras", "speed.json"))
    }


@pytest.fixture
def program(tmp_path, images):
    """A started program that runs the shortest experiment, once its training has begun; and its child."""
    arguments = in_folder(tmp_path, images, "train.epochs=500", "train.early_stopping_patience=null")
    code = f"from pipeline.api import run_experiment\nrun_experiment(*{arguments!r})"
    started = subprocess.Popen([sys.executable, "-c", code], cwd=CODE, stderr=subprocess.PIPE, text=True)
    with started as process:
        assert process.stderr is not None
        seen = next((line for line in process.stderr if "epoch 2 of 500" in line), None)
        assert seen is not None
        [child] = psutil.Process(process.pid).children()
        yield process, child
        process.kill()


def test_the_module_does_not_wait_for_what_takes_seconds_to_import(command):
    code = (
        "import sys, pipeline.api; print({'tensorflow', 'keras', 'mlflow', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    ran = command("timeit", "-n1", "-r1", code)
    assert ran.stdout.startswith("set()\n"), ran.stdout + ran.stderr


def test_a_wrong_word_gets_the_sentence_of_the_command(command):
    with pytest.raises(PipelineError) as wrong:
        run_experiment("train.epocs=3")
    assert str(wrong.value) == command("pipeline", "train.epocs=3").stderr.strip()
    with pytest.raises(PipelineError, match="'-m' is not an override; give key=value, or run a sweep"):
        run_experiment("-m", "seed=1,2")


@pytest.mark.slow
def test_a_second_run_in_one_process_has_the_digits_of_a_fresh_one(command, tmp_path, images, capfd):
    run_experiment(*in_folder(tmp_path / "first", images, "seed=1"))
    capfd.readouterr()
    second = run_experiment(*in_folder(tmp_path / "second", images, "seed=2"))
    shown = capfd.readouterr()
    assert "finetune: finished" in shown.err
    assert shown.out == ""
    fresh = command("pipeline", *in_folder(tmp_path / "fresh", images, "seed=2"))
    assert fresh.returncode == 0, fresh.stderr
    assert second.folder == tmp_path / "second" / "job"
    assert digests(second.folder) == digests(tmp_path / "fresh" / "job")

    # The same call opens what exists.
    again = run_experiment(*in_folder(tmp_path / "second", images, "seed=2"))
    assert again.run_id == second.run_id
    shown = capfd.readouterr().err
    assert "report: up to date" in shown
    assert "started" not in shown

    with pytest.raises(PipelineError, match="plan=true computes nothing"):
        run_experiment(*in_folder(tmp_path / "second", images, "seed=2", "plan=true"))
    with pytest.raises(PipelineError, match=r"^The training diverged"):
        run_experiment(*in_folder(tmp_path / "worse", images, "train.learning_rate=1e30", "train.optimizer=sgd"))


@pytest.mark.slow
def test_an_interruption_ends_the_experiment_in_order(program, tmp_path):
    process, child = program
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert "Interrupted. Run the same command to resume" in said
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert not child.is_running()
    assert read_json(tmp_path / "job" / "outcome.json")["status"] == "begun"


@pytest.mark.slow
def test_the_experiment_ends_with_the_process_that_started_it(program):
    process, child = program
    process.kill()
    child.wait(timeout=120)


@pytest.mark.slow
def test_the_example_notebook(tmp_path):
    """In a kernel of its own, as people run it; an error in it is the sentence alone."""
    import nbclient
    import nbformat

    checkout = Checkout(tmp_path / "checkout", "none")
    shutil.copy(CODE / "params.yaml", checkout.folder / "params.yaml")
    notebook = nbformat.read(checkout.folder / "docs" / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    wrong = nbformat.v4.new_code_cell('run_experiment("train.epocs=3")', metadata={"tags": ["raises-exception"]})
    notebook.cells.append(wrong)
    client = nbclient.NotebookClient(
        notebook, timeout=1500, kernel_name="python3", resources={"metadata": {"path": str(checkout.folder / "docs")}}
    )
    client.execute()
    shown = {cell.id: cell.get("outputs", []) for cell in notebook.cells}
    messages = "".join(output["text"] for output in shown["first"] if output.get("name") == "stderr")
    assert "finetune: finished" in messages
    # A kernel asks its processes for colours, which would also turn on progress bars.
    assert "\x1b" not in messages
    assert [output["output_type"] for output in shown["table"]] == ["execute_result"]
    rows = shown["table"][-1]["data"]["text/plain"].splitlines()
    assert len(rows) == 3
    assert "test accuracy 0." in shown["second"][-1]["data"]["text/plain"]
    assert "image/png" in shown["history"][-1]["data"]
    assert shown["page"][-1]["data"]["text/html"].startswith("<iframe srcdoc=")
    assert shown[wrong.id][-1]["traceback"] == [
        "The configuration can't be used:\n  - train.epocs: unknown key; did you mean train.epochs?"
    ]
    assert len(list((checkout.folder / "runs").glob("*/report"))) == 2
