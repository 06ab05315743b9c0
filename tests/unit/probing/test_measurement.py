"""The features of a probe are those of phase 1, and come from training and validation images alone."""

import numpy as np
import pytest

from pipeline.probing.measurement import measure, measure_all
from tests.support.training import context_of, places, prepared, run_stages


@pytest.fixture
def config(configure):
    made = configure(
        "backbone=mobilenet_v3_small",
        "backbone.weights=random",
        "augment=none",
        "train.epochs=1",
        "train.label_issues=false",
    )
    context_of(made)
    return made


def entries(config) -> set[str]:
    """The sets of features that are cached."""
    return {entry.folder.name for entry in places(config).cache.listing() if entry.holds["kind"] == "frozen"}


def test_phase_1_finds_the_features_of_a_probe_and_a_probe_those_of_phase_1(config, tmp_path):
    measure(config, prepared(config), places(config))
    [pooled] = entries(config)
    run_stages(config, tmp_path, "train")
    # Phase 1 also caches what fine-tuning starts from.
    assert pooled in entries(config)
    after = entries(config)
    assert len(after) == 2
    measure(config, prepared(config), places(config))
    assert entries(config) == after


def test_test_images_are_not_read(config, tmp_path):
    manifest = prepared(config)
    images = places(config).images
    kept = tmp_path / "kept"
    for path in manifest.split("train", "validation")["path"]:
        (kept / path).parent.mkdir(parents=True, exist_ok=True)
        (kept / path).write_bytes((images / path).read_bytes())
    config.dataset.path = str(kept)
    assert places(config).images == kept
    [found] = measure_all([config], tmp_path)
    assert len(found.hits) == len(manifest.split("train", "validation"))
    assert len(found.hits) < len(manifest.rows)


def test_costs_are_those_of_the_backbone(config):
    found = measure(config, prepared(config), places(config))
    assert found.features == 576
    assert found.weights_mib == pytest.approx(939_120 * 4 / 2**20)
    assert found.milliseconds > 0
    assert 0 <= found.neighbour_accuracy <= 1
    assert found.hits.dtype == np.bool_
