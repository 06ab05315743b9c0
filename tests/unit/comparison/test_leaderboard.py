"""The table that people read: rounded, with headers that differ, of runs on the same test images alone."""

import shutil

import pytest

from pipeline.comparison.experiments import find, make_rows, select
from pipeline.comparison.leaderboard import as_markdown, leaderboard
from pipeline.comparison.ranking import rank
from pipeline.config.compose import composed
from pipeline.config.validate import check
from tests.support.made_runs import Store, right


@pytest.fixture
def board(tmp_path, empty_store):
    """Of three configurations, one of which was evaluated on other images."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    store = Store(tmp_path)
    store.add(right(50, 0), test="other", backbone_name="old", seed=1)
    store.add(right(300, 7), backbone_name="a|b", seed=1)
    store.add(right(300, 1), backbone_name="c", seed=1)
    tracking = check(composed([f"tracking.uri={store.uri}"])).tracking
    selection = select(find(tracking), strict=False)
    return leaderboard(rank(make_rows(selection.experiments), "accuracy", 2, 0.95))


def test_headers_name_the_ends_of_the_interval_and_values_are_rounded(board):
    assert list(board) == [
        "rank", "backbone", "accuracy", "95% interval from", "95% interval to", "macro F1", "log loss", "calibration (ECE)",
        "model size", "trainable parameters", "prediction time", "training time", "seeds", "runs",
    ]  # fmt: skip
    assert board["backbone"].tolist() == ["c", "a|b"]
    assert board["accuracy"].tolist() == [0.9967, 0.9767]
    assert (board["95% interval from"] < board["accuracy"]).all()
    assert (board["95% interval to"] > board["accuracy"]).all()
    assert board["model size"].tolist() == ["1.0 MiB", "1.0 MiB"]


def test_in_markdown_each_row_is_one_line(board):
    lines = as_markdown(board).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(board.columns)}
    assert "| 2 | a/b | 0.9767 |" in lines[3]
