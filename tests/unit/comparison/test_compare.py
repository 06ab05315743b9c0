"""Comparing made experiments: rows, tests, groups, the winner, the page, and what is refused."""

import re
import shutil
import sys
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline import compare
from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Experiment, differing_keys, find, make_rows, select
from pipeline.comparison.output import as_frame
from pipeline.comparison.plots import cost_charts, pareto_front
from pipeline.comparison.ranking import rank, reason, winner
from pipeline.config import RegisterConfig
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.evaluation.metrics import RANKING_METRICS
from pipeline.system.errors import PipelineError
from tests.support.made_runs import Store, right


@pytest.fixture
def store(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Store(tmp_path)


@pytest.fixture
def run_compare(store, monkeypatch, capsys):
    """A function that runs the command in this process and returns what it printed."""

    def run(*arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["compare", *arguments, f"tracking.uri={store.uri}"])
        compare.main()
        return capsys.readouterr()

    return run


def ranked(store, metric: str = "accuracy"):
    tracking = check(composed([f"tracking.uri={store.uri}"])).tracking
    selection = select(find(tracking), strict=False)
    return rank(make_rows(selection.experiments), metric, 2, 0.95)


def test_two_single_runs_are_compared_by_mcnemar_whatever_their_order(store):
    first, second = right(200, 20), right(200, 44)
    first[60:63] = False
    store.add(first, backbone_name="a", seed=1)
    store.add(second, backbone_name="b", seed=1)
    ranking = ranked(store)
    assert [each.row.label for each in ranking.rows] == ["a", "b"]
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    assert ranking.p[0, 1] == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert (ranking.rows[0].estimate.low, ranking.rows[0].estimate.high) == pytest.approx(
        stats.binomtest(int(first.sum()), 200).proportion_ci(0.95, "wilson"), abs=1e-6
    )
    assert ranking.groups == [[0], [1]]


def test_seeds_are_one_row_and_the_order_of_images_does_not_matter(store):
    for seed in (1, 2, 3):
        store.add(right(300, 20 + 5 * seed), backbone_name="a", seed=seed)
        store.add(right(300, 90, start=seed), backbone_name="b", seed=seed)
    ranking = ranked(store)
    best, other = ranking.rows
    assert best.by_seed == pytest.approx([275 / 300, 270 / 300, 265 / 300])
    assert best.estimate.value == pytest.approx(0.9)
    assert best.spread == pytest.approx(np.std([275, 270, 265], ddof=1) / 300)
    assert best.estimate.low < 0.9 < best.estimate.high
    assert other.spread == pytest.approx(0)
    assert ranking.p[0, 1] < 0.001


def test_runs_from_before_there_was_a_choice_stretched_their_images(store):
    store.add(right(300, 20), seed=1)
    store.add(right(300, 21), seed=2, image_resize="stretch", image_pad_value=128)
    store.add(right(300, 22), seed=3, image_resize="stretch", image_pad_value=0)
    store.add(right(300, 90), seed=1, image_resize="pad", image_pad_value=0)
    store.add(right(300, 120), seed=1, image_resize="pad", image_pad_value=128)
    rows = ranked(store).rows
    assert [len(each.row.experiments) for each in rows] == [3, 1, 1]
    assert [each.row.label for each in rows] == [
        "resize stretch",
        "resize pad, pad_value 0",
        "resize pad, pad_value 128",
    ]


def test_every_metric_ranks_and_tests(store):
    for number, wrong in enumerate((5, 6, 120)):
        store.add(right(300, wrong), backbone_name=f"net{number}", seed=1)
    for metric in RANKING_METRICS:
        ranking = ranked(store, metric)
        assert [each.row.label for each in ranking.rows] == ["net0", "net1", "net2"]
        assert ranking.groups == [[0, 1], [2]]
        assert all(each.estimate.low <= each.estimate.value <= each.estimate.high for each in ranking.rows)


def test_the_cheapest_that_can_not_be_told_from_the_best_wins(store, run_compare):
    store.add(right(300, 5), backbone_name="large", seed=1, costs=(500, 1e7, 30, 900))
    small = store.add(right(300, 8), backbone_name="small", seed=1, costs=(10, 1e4, 3, 50))
    store.add(right(300, 150), backbone_name="tiny", seed=1, costs=(1, 1e2, 1, 5))
    output, why = run_compare("--best")
    assert output.strip() == small
    assert "small" in why
    assert "large, is not significantly better" in why
    assert "lowest model size" in why
    ranking = ranked(store)
    assert winner(ranking, "latency") == 1


def test_equally_cheap_ones_are_told_apart_by_what_they_train(store):
    store.add(right(300, 5), finetune_unfreeze="-2", costs=(10.01, 5e5, 3, 50))
    store.add(right(300, 6), finetune_unfreeze="-1", costs=(10.02, 1e5, 3, 50))
    ranking = ranked(store)
    assert ranking.rows[winner(ranking, "size")].row.label == "unfreeze -1"
    assert reason(ranking, 1, "size") == (
        "The best, unfreeze -2, is not significantly better. Of the 2 models that do not differ significantly at the "
        "level 0.05, all have about the same model size, and it trains the fewest parameters."
    )
    # The size is no cost in which they differ.
    assert [chart.title for chart in cost_charts(ranking)] == ["Accuracy by trainable parameters"]


def test_of_those_with_equal_costs_the_best_wins(store):
    for wrong, rate in ((6, 0.1), (5, 0.2)):
        store.add(right(300, wrong), train_learning_rate=rate, costs=(10.0, 1e5, 3, 50))
    ranking = ranked(store)
    assert winner(ranking, "size") == 0
    assert reason(ranking, 0, "size") == (
        "It has the best accuracy. Of the 2 models that do not differ significantly at the level 0.05, all have about "
        "the same model size, and none trains fewer parameters."
    )
    assert cost_charts(ranking) == []


def test_every_cost_can_decide_who_is_registered():
    [cost] = [each for each in fields(RegisterConfig) if each.name == "cost"]
    assert cost.metadata["schema"]["enum"] == list(COSTS)


def test_other_test_images_are_marked_or_refused(store, run_compare):
    old = store.add(right(50, 5), test="other", backbone_name="old", seed=1)
    new = store.add(right(300, 5), backbone_name="new", seed=1)
    store.add(right(300, 9), backbone_name="newer", seed=1)
    # A single newest one, with which nothing can be compared, hides no others.
    store.add(right(40, 9), test="third", backbone_name="newest", seed=1)
    output, _ = run_compare()
    assert re.search(r"Excluded because of different test images.*old", output)
    assert "300 test images" in output
    digest = store.client.get_run(old).data.tags["test_data"][:6]
    output, _ = run_compare("--test", digest)
    assert "50 test images" in output
    assert "the only model" in output
    with pytest.raises(SystemExit, match="--test: 'zz' matches 0 test sets; expected the first characters of one of"):
        run_compare("--test", "zz")
    with pytest.raises(SystemExit, match="different test images"):
        run_compare("--runs", old, new)
    with pytest.raises(SystemExit, match="no complete experiment has the id nonsense"):
        run_compare("--runs", "nonsense")


def test_repeats_of_a_configuration_count_once_and_incomplete_runs_never(store):
    store.add(right(300, 50), backbone_name="a", seed=1)
    store.add(right(300, 5), backbone_name="a", seed=1)
    store.add(right(300, 1), backbone_name="b", seed=1, tags={"complete": "false"})
    [only] = ranked(store).rows
    assert only.by_seed == [pytest.approx(295 / 300)]


def test_experiments_are_found_by_filter_and_by_sweep(store, run_compare, tmp_path):
    store.add(right(300, 5), backbone_name="a", seed=1, tags={"sweep": "backbone=a,b"})
    store.add(right(300, 9), backbone_name="b", seed=1, tags={"sweep": "backbone=a,b"})
    store.add(right(300, 7), backbone_name="c", seed=1, tags={"sweep": "backbone=c,d"})
    for arguments, expected in (
        (["--sweep"], {"c"}),
        (["--sweep", "backbone=a"], {"a", "b"}),
        (["--filter", "params.`backbone.name` != 'a'"], {"b", "c"}),
    ):
        run_compare(*arguments, "--csv", str(tmp_path / "table.csv"))
        table = pd.read_csv(tmp_path / "table.csv")
        if len(expected) > 1:
            assert set(table["backbone.name"]) == expected
        assert len(table) == len(expected)
    with pytest.raises(SystemExit, match="no complete experiment to compare"):
        run_compare("--sweep", "nonsense")
    with pytest.raises(SystemExit, match=r"the store .* can't be used"):
        run_compare("--filter", "what is this")


def test_the_page_is_one_file_with_groups_frontier_depths_and_curves(store, run_compare, tmp_path):
    for backbone, size in (("vgg", 60), ("lite", 15)):
        for depth, (wrong, trained) in {"-1": (12, 1e5), "-2": (10, 4e5), "all": (9, 3e6)}.items():
            for seed in (1, 2):
                wrong_here = wrong + seed + 60 * (backbone == "vgg")
                costs = (size, trained, size / 3, trained / 1e4)
                store.add(right(300, wrong_here), backbone_name=backbone, backbone_preprocessing=backbone, finetune_unfreeze=depth, seed=seed, costs=costs)  # fmt: skip
    output, _ = run_compare("--html", str(tmp_path / "page.html"), "--csv", str(tmp_path / "table.csv"))
    assert "lite" in output
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert all(link.startswith(("data:", "#")) for link in re.findall(r"src=[\"']([^\"']*)", page))
    links = re.findall(r'<a href="([^"]*)">', page)
    assert len(links) == 24
    assert sum(link.startswith("http://127.0.0.1:5000/#/experiments/") for link in links) == 12
    assert sum(link.startswith("file:") and link.endswith("report/report.html") for link in links) == 12
    assert page.count('class="chart"') == 7
    assert "Effect of each setting" in page
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["seeds"].tolist() == [2] * 6
    assert table["groups"].tolist() == ["A"] * 3 + ["B"] * 3
    # What follows from the backbone does not stand beside it.
    assert [name for name in table if name in ("backbone.name", "finetune.unfreeze", "backbone.preprocessing")] == [
        "backbone.name",
        "finetune.unfreeze",
    ]


def test_what_differs_and_only_that():
    base = {
        "backbone.name": "a",
        "backbone.blocks": "x",
        "train.epochs": "5",
        "train.name": "default",
        "dropout": "0.1",
    }
    other = base | {"backbone.name": "b", "backbone.blocks": "y"}
    assert differing_keys([base, other]) == ["backbone.name"]
    # Two recipes that come with two epochs: the recipe tells both.
    assert differing_keys([base, base | {"train.name": "article", "train.epochs": "7"}]) == ["train.name"]
    assert differing_keys([base, other, other | {"dropout": "0.5"}]) == ["backbone.name", "dropout"]
    assert differing_keys([base, base | {"backbone.blocks": "z"}]) == ["backbone.blocks"]
    assert differing_keys([base]) == []


def test_the_frontier_is_what_nothing_beats():
    assert pareto_front([1, 2, 3, 2, 5], [0.5, 0.7, 0.6, 0.8, 0.9]) == [0, 3, 4]
    assert pareto_front([1, 1], [0.5, 0.6]) == [1]


def test_a_run_without_a_digest_is_never_compared_with_others():
    def made(name, started, **tags):
        return Experiment(name, name, started, {"seed": name}, {}, tags)

    selection = select([made("a", 1, test_data="x"), made("b", 2)], strict=False)
    assert [each.name for each in selection.experiments] == ["a"]
    assert list(selection.elsewhere) == [""]
    with pytest.raises(PipelineError, match="no complete experiment"):
        select([], strict=False)


def test_stages_that_were_taken_are_named_and_their_time_is_not_counted(store, run_compare):
    first = store.add(right(200, 20), backbone_name="a", seed=1)
    elsewhere = "f" * 32
    tags = {"prepare.computed_by": elsewhere, "train.computed_by": first}
    taker = store.add(right(200, 30), tags=tags, backbone_name="b", seed=1)
    for run_id in (first, taker):
        own = {f"{stage}.computed_by": run_id for stage in ("finetune", "evaluate")}
        own |= {f"{stage}.computed_by": run_id for stage in ("prepare", "train") if run_id == first}
        for name, value in own.items():
            store.client.set_tag(run_id, name, value)
        for stage, seconds in (("prepare", 1.0), ("train", 20.0), ("finetune", 300.0)):
            store.client.log_metric(run_id, f"seconds/{stage}", seconds)
    table = as_frame(ranked(store))
    assert table["taken"].tolist() == ["", "prepare: run ffffffff; train: row 1"]
    assert table["seconds"].tolist() == [321.0, 300.0]
    printed = run_compare()[0]
    assert "prepare: run ffffffff; train: row 1  5 min" in printed


def test_experiments_are_found_by_their_keys(store):
    wanted = store.add(right(20, 2), tags={"experiment_key": "a" * 16}, backbone_name="a", seed=1)
    store.add(right(20, 2), tags={"experiment_key": "b" * 16}, backbone_name="b", seed=1)
    tracking = check(composed([f"tracking.uri={store.uri}"])).tracking
    assert [each.run_id for each in find(tracking, keys={"a" * 16, "c" * 16})] == [wanted]
