"""Vision transformers for images of another height than width: rows and columns of patches, and their positions."""

from dataclasses import replace

import keras
import numpy as np
import pytest

pytest.importorskip("keras_hub")

from pipeline.models.hub_transformers import TRANSFORMERS
from pipeline.models.vision_transformer import patch_grid, vision_transformer
from tests.support.hub import PATCH, SIZE, SMALL, WIDTH, answer, small_network

WIDE = [SIZE, 2 * SIZE]


@pytest.fixture(autouse=True)
def _fresh():
    keras.backend.clear_session()


def parts_of(network):
    return TRANSFORMERS[type(network).__name__](network)


@pytest.mark.parametrize("family", SMALL)
def test_a_rectangle_has_rows_and_columns_of_patches(family):
    """A network whose patches do not see each other has their features where they are."""
    parts = parts_of(small_network(family))
    silent = replace(parts, blocks=(), positions=None, rotary_base=None)
    images = np.random.default_rng(2).normal(size=(2, *WIDE, 3)).astype(np.float32)
    network = vision_transformer(silent, WIDE, "average")
    maps = np.asarray(network(images))
    assert patch_grid(network) == maps.shape[1:3] == (6, 12)
    one = vision_transformer(silent, PATCH, "average")
    for row, column in ((0, 0), (0, 11), (5, 0), (4, 7)):
        patch = images[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
        np.testing.assert_allclose(maps[:, row, column], np.asarray(one(patch))[:, 0, 0], atol=1e-5)


def test_position_embeddings_are_interpolated_to_rows_and_columns():
    parts = parts_of(small_network("vit"))
    down, right = np.meshgrid(np.arange(6, dtype=np.float32), np.arange(6, dtype=np.float32), indexing="ij")
    ramps = np.stack([down, 10 * right], axis=-1).repeat(WIDTH // 2, axis=-1).reshape(36, WIDTH)
    bias = np.asarray(vision_transformer(replace(parts, positions=ramps), WIDE, "average").get_layer("embedding").bias)
    found = (bias[len(parts.prefix) :] - parts.patch.bias).reshape(6, 12, WIDTH)
    np.testing.assert_allclose(found[1:-1, 2:-2, 0], np.tile(np.arange(1, 5.0)[:, None], (1, 8)), atol=0.05)
    across = 10 * (np.arange(12) / 2 - 0.25)[2:-2]
    np.testing.assert_allclose(found[1:-1, 2:-2, -1], np.tile(across, (4, 1)), atol=0.5)
    # As many patches as in the square of the pretraining, in another grid.
    flat = vision_transformer(replace(parts, positions=ramps), [4 * PATCH, 9 * PATCH], "average")
    assert not np.allclose(np.asarray(flat.get_layer("embedding").bias)[len(parts.prefix) :], ramps + parts.patch.bias)


@pytest.mark.parametrize("size", [WIDE, WIDE[::-1]])
def test_rotary_positions_are_those_of_keras_hub_in_a_rectangle(size):
    import keras_hub

    kind, arguments = SMALL["dinov3"]
    network = small_network("dinov3")
    other = getattr(keras_hub.models, kind)(**arguments | {"image_shape": (*size, 3)})
    other.set_weights(network.get_weights())
    images = np.random.default_rng(2).normal(size=(1, *size, 3)).astype(np.float32)
    maps = vision_transformer(parts_of(network), size, "token")(images)
    np.testing.assert_allclose(np.asarray(maps)[:, 0, 0], answer(other, images)[:, 0], atol=2e-5)
