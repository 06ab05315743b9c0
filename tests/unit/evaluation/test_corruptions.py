"""Damage: the same again, worse with each level, of the image's own size."""

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt


def image(size: int) -> np.ndarray:
    """Blobs and edges of all colours."""
    small = np.random.default_rng(3).integers(30, 226, (7, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity(name):
    plain = image(96)
    distances = []
    for severity in SEVERITIES:
        # Random ones in the mean of a few.
        damaged = [corrupt(plain, name, severity, seed) for seed in range(3)]
        assert all(each.dtype == np.uint8 and each.shape == plain.shape for each in damaged)
        distances.append(np.mean([np.abs(each.astype(float) - plain).mean() for each in damaged]))
    assert distances[0] > 0
    assert distances[-1] > distances[0]
    assert np.array_equal(corrupt(plain, name, 3, 5), corrupt(plain, name, 3, 5))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pictures_may_be_small_black_or_white(name):
    for plain in (image(32), np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)):
        for severity in (1, 5):
            assert corrupt(plain, name, severity, 0).shape == plain.shape


def test_noise_has_the_published_strength():
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert corrupt(grey, "gaussian_noise", 1, 0).std() / 255 == pytest.approx(0.08, rel=0.03)
    changed = (corrupt(grey, "impulse_noise", 5, 0) != grey).mean()
    assert changed == pytest.approx(0.27, rel=0.05)


def test_blur_and_contrast_keep_the_mean():
    plain = image(96)
    for name in ("defocus_blur", "motion_blur", "contrast", "pixelate"):
        assert corrupt(plain, name, 2, 0).mean() == pytest.approx(plain.mean(), abs=2)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(32, 64), (64, 32)])
def test_a_corrupted_rectangle_is_of_its_size_and_not_turned(name, size):
    # The left half is dark, and the lower one red.
    plain = np.full((*size, 3), 60, np.uint8)
    plain[:, size[1] // 2 :] = 140
    plain[size[0] // 2 :, :, 0] += 60
    seen = np.mean([corrupt(plain, name, 1, seed) for seed in range(4)], axis=0)
    assert seen.shape == plain.shape
    assert seen[:, : size[1] // 2, 1].mean() + 15 < seen[:, size[1] // 2 :, 1].mean()
    assert seen[: size[0] // 2, :, 0].mean() + 10 < seen[size[0] // 2 :, :, 0].mean()
