"""Frozen work is shared: between depths, divisions and phases."""

import numpy as np
import pytest

from pipeline.inputs.images import DecodedImages
from pipeline.inputs.manifest import read_manifest
from pipeline.models.classifier import build_classifier
from pipeline.models.parts import parts_for_feature_extraction, parts_for_finetuning
from pipeline.storage.cache import Cache
from pipeline.training.features import FeatureCache
from pipeline.training.hardware import set_up


@pytest.fixture
def work(configure, tmp_path, images, monkeypatch):
    """Frozen work on the made images, the parts of a classifier, and what was computed from what."""
    from pipeline.stages import prepare

    config = configure("backbone=vgg16", "backbone.weights=random", "augment=light", "hardware.precision=float32")
    set_up(config.hardware, 1)
    (tmp_path / "prepare").mkdir()
    prepare.run(config, tmp_path, tmp_path / "prepare", None)
    rows = read_manifest(tmp_path / "prepare").split("train", "validation")
    cache = Cache(tmp_path / "cache")
    images = DecodedImages(images, rows, config.image_size, cache, 1.0, "decoding")
    computed = []
    compute = FeatureCache._compute
    monkeypatch.setattr(
        FeatureCache,
        "_compute",
        lambda self, inputs, *rest: (computed.append(tuple(inputs.shape)), compute(self, inputs, *rest))[1],
    )
    model = build_classifier(config, 3)

    def finetuning(depth):
        config.finetune.unfreeze = depth
        return parts_for_finetuning(model, config.backbone, config.finetune, "float32").frozen

    extraction = parts_for_feature_extraction(model, config.backbone, "float32")
    feature_cache = FeatureCache(images, config, cache)
    feature_cache.model = model
    return feature_cache, extraction, finetuning, computed, config


PLACES = np.arange(5, 25)


def outputs(inputs):
    return inputs.take(np.arange(len(PLACES)), np.zeros(len(PLACES), int))


def test_a_higher_cut_is_computed_from_the_highest_one_below_that_is_there(work):
    feature_cache, _, finetuning, computed, *_ = work
    for depth in ("block3", "block4", "block5"):
        feature_cache.kept(finetuning(depth), PLACES, 1, "test")
    assert computed == [(32, 32, 3), (8, 8, 128), (4, 4, 256)]
    feature_cache.kept(finetuning("block4_conv2"), PLACES, 1, "test")
    assert computed[-1] == (4, 4, 256)


def test_the_way_by_a_lower_cut_gives_what_the_direct_one_gives(work, tmp_path):
    feature_cache, _, finetuning, computed, config = work
    feature_cache.kept(finetuning("block4"), PLACES, 1, "test")
    by_way = outputs(feature_cache.kept(finetuning("block5"), PLACES, 1, "test"))
    elsewhere = FeatureCache(feature_cache._images, config, Cache(tmp_path / "other"))
    direct = outputs(elsewhere.kept(finetuning("block5"), PLACES, 1, "test"))
    assert computed == [(32, 32, 3), (4, 4, 256), (32, 32, 3)]
    np.testing.assert_allclose(by_way, direct, rtol=1e-5, atol=1e-6)


def test_pixels_are_passed_once_for_both_phases(work):
    feature_cache, extraction, finetuning, computed, *_ = work
    feature_cache.kept(extraction.frozen, PLACES, 2, "test", extraction.intermediate)
    assert computed == [(32, 32, 3), (2, 2, 512)] * 2
    feature_cache.kept(finetuning("block5"), PLACES, 2, "test")
    assert len(computed) == 4


def test_another_division_shares_the_plain_view_and_another_head_shares_all(work):
    feature_cache, extraction, _, computed, config = work
    feature_cache.kept(extraction.frozen, PLACES, 2, "test")
    feature_cache.kept(extraction.frozen, PLACES + 1, 1, "test")
    assert len(computed) == 2
    feature_cache.kept(extraction.frozen, PLACES + 1, 2, "test")
    assert len(computed) == 3
    config.train.dropout = 0.5
    feature_cache.kept(extraction.frozen, PLACES, 2, "test")
    assert len(computed) == 3


@pytest.mark.parametrize("change", ["weights", "seed", "augment", "preprocessing", "precision"])
def test_what_changes_the_results_makes_other_entries(work, change):
    feature_cache, extraction, _, computed, config = work
    feature_cache.kept(extraction.frozen, PLACES, 2, "test")
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
        part = parts_for_feature_extraction(feature_cache.model, config.backbone, "mixed_bfloat16").frozen
    feature_cache.kept(part, PLACES, 2, "test")
    # Plain images know no seed and no augmentation.
    assert len(computed) == (3 if change in ("seed", "augment") else 4)


def test_what_is_too_large_is_not_kept_and_the_sizes_are_said(work, caplog):
    feature_cache, extraction, _, computed, config = work
    assert feature_cache.fits_budget(extraction.frozen, 68)
    config.hardware.feature_cache_gib = 1e-9
    assert not feature_cache.fits_budget(extraction.frozen, 68)
    assert "68 images and views of 512 float32 each, more than hardware.feature_cache_gib=1e-09" in caplog.text
    assert not computed
