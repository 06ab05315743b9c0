"""Copies are found, however they were made; what is distinct stays apart; the search does not compare all with all."""

import hashlib
from dataclasses import replace

import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from pipeline.config import NearDuplicatesConfig
from pipeline.data.duplicates import (
    HASH_BYTES,
    SIDE,
    chain_pairs,
    close_pairs,
    connected_groups,
    downscale,
    find_pairs,
    perceptual_hashes,
)
from tests.support.datasets import photo, recompressed

NEAR = NearDuplicatesConfig(find=True, distance=36, mirrored=False, min_side=64, min_detail=2.0)


def cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = image.width * share / 2, image.height * share / 2
    return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))


def found_pairs(images: list[Image.Image], near: NearDuplicatesConfig = NEAR) -> dict[tuple[int, int], str]:
    bits, mirrored, detail = perceptual_hashes(np.stack([downscale(image, 16)[0] for image in images]))
    table = pd.DataFrame(
        {
            "sha256": [hashlib.sha256(image.tobytes() + bytes(image.size)).hexdigest() for image in images],
            "width": [image.width for image in images],
            "height": [image.height for image in images],
            "detail": detail,
        }
    )
    pairs = find_pairs(table, bits, mirrored, near)
    return {(pair.first, pair.second): pair.kind for pair in pairs.itertuples()}


def test_the_hash_is_imagehashs_own():
    greys = np.stack([downscale(photo(number), 16)[0] for number in range(20)])
    own, _, _ = perceptual_hashes(greys)
    theirs = np.stack([imagehash.phash(Image.fromarray(grey), hash_size=16).hash.ravel() for grey in greys])
    assert np.array_equal(np.unpackbits(own, axis=1).astype(bool), theirs)


def test_looking_at_the_reduced_picture_hardly_changes_the_hash():
    images = [photo(number, 500, 375) for number in range(10)]
    own, _, _ = perceptual_hashes(np.stack([downscale(image, 16)[0] for image in images]))
    theirs = np.packbits([imagehash.phash(image, hash_size=16).hash.ravel() for image in images], axis=1)
    assert np.bitwise_count(own ^ theirs).sum(axis=1).max() <= 12


def test_the_mirrored_hash_is_that_of_the_mirrored_picture():
    greys = np.stack([downscale(photo(number), 16)[0] for number in range(10)])
    assert np.array_equal(perceptual_hashes(greys)[1], perceptual_hashes(greys[:, :, ::-1])[0])


def test_copies_of_every_kind_are_found_and_nothing_else():
    images = [photo(number) for number in range(30)]
    copies = [
        images[0].copy(),
        images[1].resize((144, 108), Image.Resampling.BICUBIC),
        recompressed(images[2], 40),
        cropped(images[3], 0.03),
    ]
    assert found_pairs(images + copies) == {(0, 30): "exact", (1, 31): "near", (2, 32): "near", (3, 33): "near"}


def test_mirrored_copies_are_found_where_they_are_asked_for():
    images = [photo(number) for number in range(10)]
    copies = [recompressed(ImageOps.mirror(images[4]), 80)]
    assert found_pairs(images + copies) == {}
    mirrored = replace(NEAR, mirrored=True)
    assert found_pairs(images + copies, mirrored) == {(4, 10): "mirrored"}


def test_only_equal_files_where_near_ones_are_not_asked_for():
    images = [photo(0), photo(0).resize((120, 90)), photo(0)]
    assert found_pairs(images, replace(NEAR, find=False)) == {(0, 2): "exact"}


def test_small_and_flat_pictures_are_not_judged_by_their_looks():
    small = [photo(0, 40, 30), recompressed(photo(0, 40, 30), 90)]
    flat = [Image.new("RGB", (200, 200), colour) for colour in ("red", "blue", "white")]
    assert found_pairs(small + flat) == {}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures_are_no_trouble(count):
    assert close_pairs(np.zeros((count, HASH_BYTES), np.uint8), 10)[0].tolist() == [0] * (count // 2)
    assert (
        len(
            find_pairs(
                pd.DataFrame({"sha256": [], "width": [], "height": [], "detail": []}),
                *[np.zeros((0, HASH_BYTES), np.uint8)] * 2,
                NEAR,
            )
        )
        == 0
    )


def test_a_large_group_is_tied_together_whole():
    groups = connected_groups(6, *chain_pairs(np.array([3, -1, 3, 8, -1, 3])))
    assert groups[0] == groups[2] == groups[5]
    assert len(set(groups)) == 4
    bits = np.random.default_rng(1).integers(0, 256, (1, HASH_BYTES), dtype=np.uint8).repeat(500, axis=0)
    bits[np.arange(500), np.arange(500) % HASH_BYTES] ^= 1 << (np.arange(500) // HASH_BYTES % 8).astype(np.uint8)
    first, second, _ = close_pairs(bits, 4)
    assert len(set(connected_groups(500, first, second))) == 1


def test_what_is_compared_grows_little_faster_than_the_number_of_hashes(monkeypatch):
    compared, counts = [], np.bitwise_count
    monkeypatch.setattr(np, "bitwise_count", lambda words: compared.append(len(words)) or counts(words))
    totals = []
    for count in (1_000, 4_000):
        compared.clear()
        close_pairs(np.random.default_rng(count).integers(0, 256, (count, HASH_BYTES), dtype=np.uint8), 36)
        totals.append(sum(compared))
    assert totals[1] < 6 * totals[0]


def test_near_pairs_among_many_are_found():
    draws = np.random.default_rng(3)
    bits = draws.integers(0, 256, (20_000, HASH_BYTES), dtype=np.uint8)
    near = np.unpackbits(bits[:300], axis=1)
    for row in near:
        row[draws.permutation(256)[:30]] ^= 1
    first, second, distance = close_pairs(np.concatenate([bits, np.packbits(near, axis=1)]), 36)
    assert (distance == 30).all()
    expected = set(zip(range(300), range(20_000, 20_300), strict=True))
    assert set(zip(first.tolist(), second.tolist(), strict=True)) <= expected
    assert len(first) >= 0.99 * 300


def test_the_same_pictures_give_the_same_pairs():
    bits = np.random.default_rng(3).integers(0, 2, (2000, HASH_BYTES), dtype=np.uint8)
    once, again = (close_pairs(bits, 30) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert downscale(photo(1), 16)[0].shape == (SIDE, SIDE)
