"""Frozen work is shared: between depths, divisions and phases."""

import numpy as np
import pytest

from pipeline.cache import Cache
from pipeline.data.manifest import read_manifest
from pipeline.data.pictures import Pictures
from pipeline.features import FrozenWork
from pipeline.hardware import set_up
from pipeline.models.assembly import build_classifier
from pipeline.models.parts import parts_for_feature_extraction, parts_for_finetuning


@pytest.fixture
def work(configure, tmp_path, pictures, monkeypatch):
    """Frozen work on the made pictures, the parts of a classifier, and what was computed from what."""
    from pipeline import prepare

    config = configure("backbone=vgg16", "backbone.weights=random", "augment=light", "hardware.precision=float32")
    set_up(config.hardware, 1)
    (tmp_path / "prepare").mkdir()
    prepare.run(config, tmp_path, tmp_path / "prepare", None)
    rows = read_manifest(tmp_path / "prepare").split("train", "validation")
    cache = Cache(tmp_path / "cache")
    pictures = Pictures(pictures, rows, config.image_size, cache, 1.0, "decoding")
    computed = []
    compute = FrozenWork._compute
    monkeypatch.setattr(
        FrozenWork,
        "_compute",
        lambda self, inputs, *rest: (computed.append(tuple(inputs.shape)), compute(self, inputs, *rest))[1],
    )
    model = build_classifier(config, 3)

    def finetuning(depth):
        config.finetune.unfreeze = depth
        return parts_for_finetuning(model, config.backbone, config.finetune, "float32").frozen

    extraction = parts_for_feature_extraction(model, config.backbone, "float32")
    frozen_work = FrozenWork(pictures, config, cache)
    frozen_work.model = model
    return frozen_work, extraction, finetuning, computed, config


PLACES = np.arange(5, 25)


def outputs(inputs):
    return inputs.take(np.arange(len(PLACES)), np.zeros(len(PLACES), int))


def test_a_higher_cut_is_computed_from_the_highest_one_below_that_is_there(work):
    frozen_work, _, finetuning, computed, *_ = work
    for depth in ("block3", "block4", "block5"):
        frozen_work.kept(finetuning(depth), PLACES, 1, "test")
    assert computed == [(32, 32, 3), (8, 8, 128), (4, 4, 256)]
    frozen_work.kept(finetuning("block4_conv2"), PLACES, 1, "test")
    assert computed[-1] == (4, 4, 256)


def test_the_way_by_a_lower_cut_gives_what_the_direct_one_gives(work, tmp_path):
    frozen_work, _, finetuning, computed, config = work
    frozen_work.kept(finetuning("block4"), PLACES, 1, "test")
    by_way = outputs(frozen_work.kept(finetuning("block5"), PLACES, 1, "test"))
    elsewhere = FrozenWork(frozen_work._pictures, config, Cache(tmp_path / "other"))
    direct = outputs(elsewhere.kept(finetuning("block5"), PLACES, 1, "test"))
    assert computed == [(32, 32, 3), (4, 4, 256), (32, 32, 3)]
    np.testing.assert_allclose(by_way, direct, rtol=1e-5, atol=1e-6)


def test_pixels_are_passed_once_for_both_phases(work):
    frozen_work, extraction, finetuning, computed, *_ = work
    frozen_work.kept(extraction.frozen, PLACES, 2, "test", extraction.waypoint)
    assert computed == [(32, 32, 3), (2, 2, 512)] * 2
    frozen_work.kept(finetuning("block5"), PLACES, 2, "test")
    assert len(computed) == 4


def test_another_division_shares_the_plain_view_and_another_head_shares_all(work):
    frozen_work, extraction, _, computed, config = work
    frozen_work.kept(extraction.frozen, PLACES, 2, "test")
    frozen_work.kept(extraction.frozen, PLACES + 1, 1, "test")
    assert len(computed) == 2
    frozen_work.kept(extraction.frozen, PLACES + 1, 2, "test")
    assert len(computed) == 3
    config.train.dropout = 0.5
    frozen_work.kept(extraction.frozen, PLACES, 2, "test")
    assert len(computed) == 3


@pytest.mark.parametrize("change", ["weights", "seed", "augment", "preprocessing", "precision"])
def test_what_changes_the_results_makes_other_entries(work, change):
    frozen_work, extraction, _, computed, config = work
    frozen_work.kept(extraction.frozen, PLACES, 2, "test")
    part = extraction.frozen
    if change == "weights":
        model = build_classifier(config, 3)
        part = parts_for_feature_extraction(model, config.backbone, "float32").frozen
    elif change == "seed":
        config.seed += 1
    elif change == "augment":
        config.augment.zoom_in += 0.01
    elif change == "preprocessing":
        config.backbone.preprocessing = "tf"
    else:
        part = parts_for_feature_extraction(frozen_work.model, config.backbone, "mixed_bfloat16").frozen
    frozen_work.kept(part, PLACES, 2, "test")
    # Plain pictures know no seed and no augmentation.
    assert len(computed) == (3 if change in ("seed", "augment") else 4)


def test_what_is_too_large_is_not_kept_and_the_sizes_are_said(work, caplog):
    frozen_work, extraction, _, computed, config = work
    assert frozen_work.worth_keeping(extraction.frozen, 68)
    config.hardware.feature_cache_gib = 1e-9
    assert not frozen_work.worth_keeping(extraction.frozen, 68)
    assert "68 pictures and views of 512 float32 each, more than hardware.feature_cache_gib=1e-09" in caplog.text
    assert not computed
