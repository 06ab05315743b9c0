"""DVC's tables and charts of experiments, from made outputs: no stage that computes has to run."""

import json
import re
import shlex

import pytest

from pipeline.system.paths import CODE
from tests.support.checkouts import Checkout

pytestmark = pytest.mark.timeout(600)

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


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["train.epochs=3"], {"-  epochs: 30", "+  epochs: 3"}),
        (
            ["finetune.learning_rate=3e-4", "seed=7"],
            {"-  learning_rate:", "+  learning_rate: 0.0003", "-seed:", "+seed: 7"},
        ),
        (["backbone=vgg16"], {"-backbone:", "-  name:", "-  weights:", "+backbone: vgg16"}),
    ],
)
def test_an_experiment_changes_only_its_lines_of_params(checkout, change, expected):
    options = [word for each in change for word in ("-S", each)]
    checkout.dvc("exp", "run", "configure", *options)
    try:
        diff = checkout.difference("params.yaml")
        assert set(re.findall(r"^[+-](?![+-]).*", diff, re.MULTILINE)) == expected
    finally:
        checkout.discard()


def spec(checkout: Checkout, chart: str) -> dict:
    """The chart of both commits in Vega-Lite, whose data are in it."""
    return json.loads(checkout.dvc("plots", "diff", "HEAD~1", "HEAD", "--targets", chart, "--show-vega"))


@pytest.mark.parametrize("chart", ["accuracy", "loss"])
def test_learning_curves_are_coloured_by_phase_and_split(checkout, chart):
    drawn = spec(checkout, chart)
    encoding = drawn["encoding"]
    assert (encoding["x"]["title"], encoding["y"]["title"]) == ("epoch", chart)
    assert encoding["color"]["field"] == "line"
    assert encoding["color"]["scale"]["domain"] == [
        f"{phase}, {split}" for phase in ("phase 1", "fine-tuning") for split in ("training", "validation")
    ]
    # What the line's name is computed from.
    lines = {(row["rev"], row["filename"], row["field"]) for row in drawn["data"]["values"]}
    assert lines == {
        (revision, f"{phase}/history.csv", column)
        for revision in ("HEAD~1", "HEAD")
        for phase in ("train", "finetune")
        for column in (chart, f"val_{chart}")
    }


def test_confusions_are_counted_by_dvcs_own_template(checkout):
    drawn = spec(checkout, "confusion")
    assert drawn["facet"]["row"] == {"field": "field", "sort": []}
    axes = drawn["spec"]["encoding"]
    assert (axes["x"]["title"], axes["y"]["title"]) == ("true class", "predicted class")
    pairs = [(row["true"], row["dvc_inferred_y_value"], row["field"]) for row in drawn["data"]["values"]]
    assert pairs == 2 * [("a", "a", "train"), ("b", "a", "train"), ("a", "a", "finetune"), ("b", "b", "finetune")]


@pytest.mark.parametrize(
    ("chart", "x", "y"),
    [("roc", "false positive rate", "true positive rate"), ("precision_recall", "recall", "precision")],
)
def test_curves_of_classes_have_a_colour_each(checkout, chart, x, y):
    drawn = spec(checkout, chart)
    encoding = drawn["encoding"]
    assert (encoding["x"]["title"], encoding["y"]["title"], encoding["color"]["field"]) == (x, y, "class")
    assert len(drawn["data"]["values"]) == 8
