"""Comparison of runs as a table."""

import shutil

import pytest

from pipeline.api import Run, compare
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.system.errors import PipelineError
from tests.support.made_runs import Store, right


@pytest.fixture
def store(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Store(tmp_path)


def test_runs_are_compared_best_first(store):
    config = check(composed([f"tracking.uri={store.uri}"]))
    ids = [store.add(right(200, wrong), backbone_name=name, seed=1) for name, wrong in (("a", 40), ("b", 4), ("c", 80))]
    chosen = [f"tracking.uri={store.uri}"]
    assert compare(overrides=chosen)["backbone.name"].tolist() == ["b", "a", "c"]
    # A run, and the first characters of an id.
    table = compare(Run(None, ids[0], config), ids[2][:10], overrides=chosen)
    assert table["runs"].tolist() == [ids[0], ids[2]]
    assert table["accuracy"].tolist() == [0.8, 0.6]
    assert compare(query="params.`backbone.name` = 'c'", overrides=chosen)["accuracy"].tolist() == [0.6]


def test_a_comparison_that_is_none_gets_a_sentence(store, tmp_path):
    config = check(composed([f"tracking.uri={store.uri}"]))
    chosen = [f"tracking.uri={store.uri}"]
    ids = [store.add(right(20, 4), test=test, backbone_name="a", seed=1) for test in ("one", "other")]
    with pytest.raises(PipelineError, match="were evaluated on different test images"):
        compare(*ids, overrides=chosen)
    with pytest.raises(PipelineError, match=r"metric=acuracy: unknown metric; did you mean accuracy\? \(accuracy, "):
        compare(metric="acuracy", overrides=chosen)
    with pytest.raises(PipelineError, match=f"{tmp_path} is not logged to MLflow"):
        compare(Run(tmp_path, None, config), overrides=chosen)
