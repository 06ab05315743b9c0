"""The order of probed backbones, their tests, the recommended one, and the outputs."""

import io

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from pipeline.config.compose import configuration
from pipeline.probing.measurement import Measurement
from pipeline.probing.output import metrics, print_ranking, write_files
from pipeline.probing.ranking import rank


def measurement(backbone: str, wrong: int, macs: int, images: int = 400) -> Measurement:
    """A backbone that is wrong on the first images."""
    config = configuration([f"backbone={backbone}", "image_size=96"])
    hits = np.arange(images) >= wrong
    return Measurement(
        config, hits, neighbour_accuracy=0.5, features=8, milliseconds=1.25, weights_mib=2.0, macs=macs * 10**6
    )


def test_the_cheapest_that_does_not_differ_from_the_best_is_recommended():
    ranking = rank(
        [measurement("vgg16", 80, 1), measurement("resnet50", 20, 9), measurement("vgg19", 23, 4), measurement("xception", 24, 5)],
        0.95,
    )  # fmt: skip
    assert [row.measurement.backbone for row in ranking.rows] == ["resnet50", "vgg19", "xception", "vgg16"]
    assert [row.letters for row in ranking.rows] == ["A", "A", "A", "B"]
    assert ranking.rows[ranking.chosen].measurement.backbone == "vgg19"
    assert ranking.reason.startswith("Of the 3 that do not differ significantly from the best (level 0.05)")
    # Holm multiplies the smallest p-value of the six pairs by six, the next by five, and so on.
    exact = [binomtest(0, lost).pvalue * factor for lost, factor in ((3, 2), (4, 3), (60, 6))]
    assert [row.p for row in ranking.rows] == pytest.approx([1, *exact])


def test_a_single_best_and_an_only_one_are_recommended():
    apart = rank([measurement("vgg16", 80, 1), measurement("resnet50", 20, 9)], 0.95)
    assert apart.rows[apart.chosen].measurement.backbone == "resnet50"
    assert apart.reason == "It is significantly better than every other one (corrected p below 0.05)."
    alone = rank([measurement("vgg16", 80, 1)], 0.95)
    assert (alone.chosen, alone.reason) == (0, "It is the only one.")


def test_table_page_and_metrics_have_the_same_numbers(tmp_path):
    ranking = rank([measurement("vgg16", 80, 1), measurement("resnet50", 20, 9)], 0.95)
    page, table = write_files(ranking, tmp_path, "flowers & trees")
    rows = pd.read_csv(table)
    assert rows["backbone"].tolist() == ["resnet50", "vgg16"]
    assert rows["accuracy"].tolist() == [0.95, 0.8]
    assert rows["recommended"].tolist() == [True, False]
    text = page.read_text()
    assert "Backbones for flowers &amp; trees" in text
    assert "Take <b>resnet50</b>" in text
    assert text.count("<td><b>") + text.count('<td class="text"><b>') == 2
    assert metrics(ranking)["probe/vgg16/accuracy"] == 0.8
    printed = io.StringIO()
    print_ranking(ranking, file=printed)
    assert "0.9500" in printed.getvalue()
    assert "Recommended: resnet50. It is significantly better" in printed.getvalue()
