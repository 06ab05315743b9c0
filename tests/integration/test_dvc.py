"""The stages under the real DVC, on made images."""

from pathlib import Path

import pytest

from pipeline.stages import STAGES as PIPELINE
from pipeline.system.paths import CODE
from pipeline.tracking.tags import computed_by
from tests.support.checkouts import STAGES, Checkout
from tests.support.images import draw, write_images

COMMENT = "\n# A comment, which changes the code and none of its results.\n"


@pytest.fixture(scope="module")
def declared(tmp_path_factory) -> Checkout:
    """A checkout whose stages DVC takes for up to date, with made outputs: what it says of a change needs no run."""
    folder = tmp_path_factory.mktemp("declared")
    checkout = Checkout(folder / "clone", write_images(folder / "images", per_class=1))
    checkout.pretend()
    assert checkout.changed() == set()
    return checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """A checkout in which all stages have run once."""
    folder = tmp_path_factory.mktemp("dvc")
    checkout = Checkout(folder / "clone", write_images(folder / "images", per_class=10))
    assert checkout.repro() == set(STAGES)
    assert checkout.repro() == {"watch"}
    checkout.commit("first result")
    return checkout


def source(folder: Path) -> Path:
    """The module of a folder that a comment is added to: any but the package's own."""
    return next(file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py")


TRAINED = {"train", "finetune", "evaluate"}
# Which stages may compute otherwise when the code in a folder changes.
REACHED = {
    ("system", "storage", "jobs", "sweeps", "comparison", "deployment", "disk", "probing", "api"): set(),
    ("visuals",): {"report"},
    ("reports",): {"report"},
    ("tracking",): {"report"},
    ("data",): {"prepare"},
    ("inputs",): {"prepare", *TRAINED, "report"},
    ("models",): TRAINED,
    ("training",): TRAINED,
    ("finetuning",): {"finetune"},
    # The report takes names and order of the metrics from it.
    ("evaluation",): {"evaluate", "report"},
    ("config",): {"configure"},
}


@pytest.mark.parametrize(("folders", "stages"), REACHED.items())
def test_a_change_of_code_reaches_just_the_stages_that_may_compute_otherwise(declared, folders, stages):
    assert changed_by(declared, *(source(declared.folder / "pipeline" / folder) for folder in folders)) == stages


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_change_of_a_stages_body_reaches_it_alone(declared, stage):
    assert changed_by(declared, declared.folder / "pipeline" / "stages" / f"{stage}.py") == {stage}


def test_documentation_and_commands_reach_no_stage(declared):
    commands = (declared.folder / "pipeline").glob("*.py")
    assert (
        changed_by(declared, declared.folder / "README.md", *(declared.folder / "docs").rglob("*.md"), *commands)
        == set()
    )


def test_each_folder_is_in_the_table():
    there = {file.parent.name for file in (CODE / "pipeline").glob("*/__init__.py")}
    assert there == {folder for folders in REACHED for folder in folders} | {"stages"}


def changed_by(checkout: Checkout, *files: Path) -> set[str]:
    """The stages that DVC would run after a comment in each of these files."""
    content = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(content[file] + COMMENT.encode())
    try:
        return checkout.changed()
    finally:
        for file in files:
            file.write_bytes(content[file])


@pytest.mark.slow
def test_a_comment_in_the_code_of_prepare_runs_it_alone_and_completes_the_new_experiment(checkout):
    drift = checkout.folder / "pipeline" / "data" / "drift.py"
    code, [first] = drift.read_text(), checkout.experiments()
    drift.write_text(code + COMMENT)
    assert checkout.repro() == {"watch", "prepare"}
    newest, *others = checkout.experiments()
    assert [run.info.run_id for run in others] == [first.info.run_id]
    assert newest.data.tags["experiment_key"] != first.data.tags["experiment_key"]
    assert computed_by(newest.data.tags)["prepare"] == newest.info.run_id
    assert {computed_by(newest.data.tags)[stage] for stage in PIPELINE[1:]} == {first.info.run_id}
    measured = {name for name in first.data.metrics if not name.startswith(("system/", "seconds/"))}
    assert {name: newest.data.metrics.get(name) for name in measured} == {
        name: first.data.metrics[name] for name in measured
    }
    assert checkout.repro() == {"watch"}
    drift.write_text(code)
    # Of the first experiment, which DVC's cache and the store have.
    assert checkout.repro() == {"watch"}


@pytest.mark.slow
def test_stages_run_when_what_they_read_has_changed(checkout):
    known = {run.info.run_id for run in checkout.experiments()}
    checkout.edit("params.yaml", "learning_rate: null, unfreeze", "learning_rate: 0.0002, unfreeze")
    checkout.edit("conf/evaluate/default.yaml", "confidence: 0.95", "confidence: 0.9")
    assert checkout.repro() == {"configure", "watch", "finetune", "evaluate", "report"}
    settings = checkout.folder / "outputs" / "settings"
    assert "learning_rate: 0.0002" in (settings / "finetune.yaml").read_text()
    assert "confidence: 0.9\n" in (settings / "evaluate.yaml").read_text()

    draw((200, 50, 40), 99).save(checkout.folder.parent / "images" / "red" / "new.png")
    assert checkout.repro() == {"watch", "prepare", "train", "finetune", "evaluate", "report"}
    assert "A comment that stays." in (checkout.folder / "params.yaml").read_text()

    # Each of the two is an experiment of its own, whole in the store, whatever DVC skipped.
    experiments = [run for run in checkout.experiments() if run.info.run_id not in known]
    assert len(experiments) == 2
    names = {"train/val_accuracy", "finetune/val_accuracy", "test/accuracy", "test/accuracy_low"}
    assert all(names <= set(run.data.metrics) for run in experiments)
    computed = [run for run in experiments if computed_by(run.data.tags)["train"] == run.info.run_id]
    assert len(computed) == 1


@pytest.mark.slow
def test_the_same_configuration_again_is_taken_from_dvcs_cache(checkout):
    before = (checkout.folder / "outputs" / "evaluate" / "metrics.json").read_text()
    checkout.edit("conf/evaluate/default.yaml", "confidence: 0.9\n", "confidence: 0.8\n")
    assert checkout.repro() == {"configure", "watch", "evaluate", "report"}
    assert (checkout.folder / "outputs" / "evaluate" / "metrics.json").read_text() != before
    checkout.edit("conf/evaluate/default.yaml", "confidence: 0.8\n", "confidence: 0.9\n")
    assert checkout.repro() == {"watch"}
    assert (checkout.folder / "outputs" / "evaluate" / "metrics.json").read_text() == before
    assert "confidence: 0.9\n" in (checkout.folder / "outputs" / "settings" / "evaluate.yaml").read_text()


@pytest.mark.slow
def test_what_was_measured_can_be_compared(checkout):
    assert "outputs/evaluate/headline.json" in checkout.dvc("metrics", "show")
    assert "accuracy_phase2" in checkout.dvc("metrics", "diff", "--all")
    assert "index.html" in checkout.dvc("plots", "diff", "-o", "dvc_plots")


@pytest.mark.slow
def test_an_experiment_runs_just_the_stages_that_its_change_reaches(checkout):
    checkout.commit("before experiments")
    # Of a single step the rate is 0: the model would come out the same, and evaluate would not run.
    output = checkout.dvc("exp", "run", "-S", "finetune.learning_rate=3e-5", "-S", "finetune.epochs=2")
    assert checkout.stages_run(output) == {"configure", "watch", "finetune", "evaluate", "report"}
    newest = checkout.experiments()[0]
    assert newest.data.params["finetune.learning_rate"] == "3e-05"
    assert "3e-05" in checkout.dvc("exp", "show", "--csv")
