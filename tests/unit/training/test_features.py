"""Features are shared: between depths, divisions and phases."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from pipeline.config import Config
from pipeline.inputs.augmentation import Variants
from pipeline.inputs.batches import FeatureInputs
from pipeline.models.parts import FrozenPart
from tests.support.training import classifier, context_of, data_of, extraction_parts, finetuning_parts, places

INDICES = np.arange(5, 25)


@pytest.fixture
def config(configure):
    made = configure("backbone=vgg16", "backbone.weights=random", "augment=light", "hardware.precision=float32")
    context_of(made)
    return made


@pytest.fixture
def model(config):
    return classifier(config)


@pytest.fixture
def starts(monkeypatch):
    """Shapes of the lower features that others were computed from; where there were none, it was from pixels."""
    shapes = []
    continue_from = FrozenPart.continue_from

    def recorded(part, lower):
        shapes.append(lower.shape)
        return continue_from(part, lower)

    monkeypatch.setattr(FrozenPart, "continue_from", recorded)
    return shapes


def below(config: Config, model: keras.Model, depth: str) -> FrozenPart:
    return finetuning_parts(replace(config, finetune=replace(config.finetune, unfreeze=depth)), model).frozen


def load(config: Config, part: FrozenPart, indices=INDICES, variant_count=1, intermediate=None) -> FeatureInputs:
    features = data_of(config).features
    variants = Variants(config.augment, len(indices), features.images.size, config.seed)
    return features.load(part, indices, variants=variants, variant_count=variant_count, intermediate=intermediate)


def computed(config: Config) -> int:
    """How many sets of features were computed: each is an entry of the cache."""
    return sum(entry.holds["kind"] == "frozen" for entry in places(config).cache.listing())


def outputs(inputs: FeatureInputs) -> np.ndarray:
    return inputs.take(np.arange(len(INDICES)), np.zeros(len(INDICES), int))


def test_a_higher_cut_is_computed_from_the_highest_one_below_that_is_there(config, model, starts):
    for depth in ("block3", "block4", "block5"):
        load(config, below(config, model, depth))
    assert starts == [(8, 8, 128), (4, 4, 256)]
    assert computed(config) == 3
    load(config, below(config, model, "block4_conv2"))
    assert starts[2:] == [(4, 4, 256)]


def test_features_by_way_of_a_lower_cut_are_those_from_pixels(config, model, starts, tmp_path):
    load(config, below(config, model, "block4"))
    by_way = outputs(load(config, below(config, model, "block5")))
    elsewhere = replace(config, cache_folder=str(tmp_path / "other"))
    direct = outputs(load(elsewhere, below(config, model, "block5")))
    assert starts == [(4, 4, 256)]
    assert (computed(config), computed(elsewhere)) == (2, 1)
    np.testing.assert_allclose(by_way, direct, rtol=1e-5, atol=1e-6)


def test_pixels_are_passed_once_for_both_phases(config, model, starts):
    extraction = extraction_parts(config, model)
    load(config, extraction.frozen, variant_count=2, intermediate=extraction.intermediate)
    assert computed(config) == 4
    assert starts == [(2, 2, 512)] * 2
    load(config, below(config, model, "block5"), variant_count=2)
    assert computed(config) == 4


def test_another_division_shares_the_plain_variant_and_another_head_shares_all(config, model):
    part = extraction_parts(config, model).frozen
    load(config, part, variant_count=2)
    load(config, part, INDICES + 1)
    assert computed(config) == 2
    load(config, part, INDICES + 1, variant_count=2)
    assert computed(config) == 3
    config.train.dropout, config.train.hidden_units = 0.5, 7
    context_of(config)
    load(config, extraction_parts(config, classifier(config)).frozen, variant_count=2)
    assert computed(config) == 3


@pytest.mark.parametrize("change", ["weights", "seed", "augment", "preprocessing", "precision"])
def test_what_changes_the_results_makes_other_entries(config, model, change):
    load(config, extraction_parts(config, model).frozen, variant_count=2)
    assert computed(config) == 2
    if change == "weights":
        model = classifier(config)
    elif change == "seed":
        config.seed += 1
    elif change == "augment":
        config.augment.zoom_in += 0.01
    elif change == "preprocessing":
        config.backbone.preprocessing = "tf"
    else:
        config.hardware.precision = "mixed_bfloat16"
    load(config, extraction_parts(config, model).frozen, variant_count=2)
    # Plain images depend on neither seed nor augmentation.
    assert computed(config) == (3 if change in ("seed", "augment") else 4)


def test_what_is_too_large_is_not_cached_and_the_sizes_are_named(config, model, caplog):
    caplog.set_level("WARNING")
    part = extraction_parts(config, model).frozen
    features = data_of(config).features
    assert features.fits(part, 68, warn=True)
    assert not caplog.text
    config.hardware.feature_cache_gib = 1e-9
    features = data_of(config).features
    assert not features.fits(part, 68, warn=True)
    # 512 numbers of 4 bytes for each.
    assert "68 images and variants need 0.0 GiB (limit hardware.feature_cache_gib=1e-09" in caplog.text
    assert computed(config) == 0
