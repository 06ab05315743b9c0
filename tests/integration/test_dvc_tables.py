"""DVC's tables and charts of experiments, from made outputs: no stage that computes has to run."""

import json
import re
import shlex
import subprocess

import pytest

from pipeline.system.paths import CODE
from tests.support.checkouts import Checkout

HEADLINE = {
    "accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "macro_f1": 0.89, "log_loss": 0.3, "ece": 0.02,
    "accuracy_phase1": 0.85, "accuracy_phase2": 0.9, "images": 360,
}  # fmt: skip


def outputs(accuracy: float) -> dict[str, str]:
    """The files that DVC shows, of an experiment with this accuracy."""
    history = "epoch,learning_rate,loss,accuracy,val_loss,val_accuracy\n{0},0.001,0.5,0.7,0.4,{1}\n"
    return {
        "evaluate/headline.json": json.dumps(HEADLINE | {"accuracy": accuracy}),
        "watch/experiment.json": json.dumps({"mlflow": f"{accuracy:.4f}"[2:]}),
        "train/history.csv": history.format(1, accuracy),
        "finetune/history.csv": history.format(2, accuracy),
        "evaluate/predicted_classes.csv": "true,train,finetune\na,a,a\nb,a,b\n",
        "evaluate/curves.csv": "class,auc,fpr,tpr,recall,precision\na,1,0,0,1,0.5\na,1,0,1,0,1\nb,1,0,0,1,0.5\nb,1,1,1,0,1\n",
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """A checkout with two commits, of which the second one is better and has other settings, as shipped otherwise."""
    checkout = Checkout(tmp_path_factory.mktemp("tables") / "clone", "unused")
    (checkout.folder / "params.yaml").write_text((CODE / "params.yaml").read_text())
    checkout.pretend(outputs(0.9))
    checkout.commit("first")
    checkout.edit("params.yaml", "train:\n  name:\n  epochs:\n", "train:\n  name:\n  epochs: 30\n")
    checkout.pretend(outputs(0.975))
    checkout.commit("second")
    return checkout


def test_metrics_begin_with_the_headline_and_are_few(checkout):
    header = checkout.dvc("metrics", "show").splitlines()[0].split()
    assert header[:2] == ["Path", "accuracy"]
    assert set(header[1:]) == set(HEADLINE)
    assert len(header[1:]) <= 12


def test_two_experiments_differ_in_what_differs(checkout):
    metrics = json.loads(checkout.dvc("metrics", "diff", "HEAD~1", "HEAD", "--json"))
    assert metrics["outputs/evaluate/headline.json"] == {
        "accuracy": {"old": 0.9, "new": 0.975, "diff": pytest.approx(0.075)}
    }
    params = json.loads(checkout.dvc("params", "diff", "HEAD~1", "HEAD", "--json"))
    assert params["params.yaml"] == {"train.epochs": {"old": None, "new": 30}}


def test_the_table_of_experiments_fits_200_columns(checkout):
    recipe = re.search(r"^\tdvc (exp show .*)", (CODE / "Makefile").read_text(), re.MULTILINE)[1].replace("$$", "$")
    table = checkout.dvc(*shlex.split(recipe), "--num", "2")
    header, *rows = [line.split() for line in table.splitlines() if not set(line) <= set(" ─")]
    assert header == ["Experiment", "Created", "accuracy", "train.epochs", "mlflow"]
    assert max(map(len, table.splitlines())) < 200
    # The time of a commit has a blank.
    assert [row[-3:] for row in rows] == [["0.975", "30", "9750"], ["0.975", "30", "9750"], ["0.9", "-", "9000"]]


def test_an_experiment_changes_only_its_lines_of_params(checkout):
    changes = ("train.epochs=3", "finetune.learning_rate=3e-4", "seed=7", "backbone=scratch_cnn")
    checkout.dvc("exp", "run", "configure", *(word for change in changes for word in ("-S", change)))
    try:
        changed = re.findall(r"^([+-])(?![+-])(.*)", checkout.difference("params.yaml"), re.MULTILINE)
        assert [line for sign, line in changed if sign == "+"] == [
            "seed: 7", "backbone: scratch_cnn", "  epochs: 3", "  learning_rate: 0.0003",
        ]  # fmt: skip
        assert [line for sign, line in changed if sign == "-"] == [
            "seed:", "backbone:", "  name:", "  weights:", "  epochs: 30", "  learning_rate:",
        ]  # fmt: skip
    finally:
        checkout.discard()


@pytest.fixture(scope="module")
def charts(checkout) -> dict:
    """The charts of both commits in Vega-Lite by name, with their data."""
    drawn = json.loads(checkout.dvc("plots", "diff", "HEAD~1", "HEAD", "--json", stderr=subprocess.DEVNULL))["data"]
    return {name: found[0]["content"] for name, found in drawn.items() if found}


@pytest.mark.parametrize("chart", ["accuracy", "loss"])
def test_learning_curves_are_coloured_by_phase_and_split(charts, chart):
    encoding = charts[chart]["encoding"]
    assert (encoding["x"]["title"], encoding["y"]["title"]) == ("epoch", chart)
    assert encoding["color"]["field"] == "line"
    assert encoding["color"]["scale"]["domain"] == [
        f"{phase}, {split}" for phase in ("phase 1", "fine-tuning") for split in ("training", "validation")
    ]
    # The names of files and columns, from which the template takes phase and split.
    lines = {(row["rev"], row["filename"], row["field"]) for row in charts[chart]["data"]["values"]}
    assert lines == {
        (revision, f"{phase}/history.csv", column)
        for revision in ("HEAD~1", "HEAD")
        for phase in ("train", "finetune")
        for column in (chart, f"val_{chart}")
    }


@pytest.mark.parametrize(("number", "phase", "predicted"), [(1, "train", ["a", "a"]), (2, "finetune", ["a", "b"])])
def test_confusions_are_counted_by_dvcs_own_template(charts, number, phase, predicted):
    chart = charts[f"confusion_phase{number}"]
    # With a second facet, the matrices would stand in each other's places.
    assert chart["facet"] == {"column": {"field": "rev", "sort": []}, "row": {}}
    axes = chart["spec"]["encoding"]
    assert (axes["x"]["title"], axes["y"]["title"]) == ("true class", "predicted class")
    assert (axes["x"]["field"], axes["y"]["field"]) == ("true", phase)
    pairs = [(row["rev"], row["true"], row[phase]) for row in chart["data"]["values"]]
    assert pairs == [(revision, *pair) for revision in ("HEAD~1", "HEAD") for pair in zip("ab", predicted, strict=True)]


@pytest.mark.parametrize(
    ("chart", "x", "y"),
    [("roc", "false positive rate", "true positive rate"), ("precision_recall", "recall", "precision")],
)
def test_curves_of_classes_have_a_colour_each(charts, chart, x, y):
    encoding = charts[chart]["encoding"]
    assert (encoding["x"]["title"], encoding["y"]["title"], encoding["color"]["field"]) == (x, y, "class")
    assert len(charts[chart]["data"]["values"]) == 8
