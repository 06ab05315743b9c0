"""Detection of files that show the same image, by their bytes and by similar perceptual hashes.

A perceptual hash has 256 bits that hardly change when an image is resized, recompressed or slightly cropped.
"""

import math

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.config import NearDuplicatesConfig
from pipeline.system.machine import on_all_cores
from pipeline.system.terminal import progress

SIDE = 64
"""Side in pixels of the grey images that are hashed."""
_FREQUENCIES = 16
HASH_BYTES = _FREQUENCIES**2 // 8
"""Size of a hash in bytes."""
# Multiplying an image by this matrix on both sides gives the lowest frequencies of its cosine transform (type II).
_WAVES = dct(np.eye(SIDE), axis=0)[:_FREQUENCIES]
# Each round sorts the hashes by _KEY_BITS random bits, and compares each hash with the next _NEIGHBOURS hashes.
_KEY_BITS, _NEIGHBOURS = 32, 4
# Highest probability that a pair whose distance equals the limit is not compared in any round.
_MISSED = 0.005


def downscale(image: Image.Image, colour_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Downscale an RGB image for hashing and for its statistics.

    Returns:
        (grey, colours): Grey levels, uint8 [SIDE, SIDE], and RGB pixels, uint8 [colour_side, colour_side, 3].
    """
    factor = max(1, min(image.size) // SIDE)
    # Reducing by an integer factor is fast, and does not change the hashed frequencies. The box is exact even if the
    # image's size is not a multiple of the factor.
    small, box = image.reduce(factor), (0, 0, image.width / factor, image.height / factor)
    grey = small.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    colours = small.resize((colour_side, colour_side), Image.Resampling.NEAREST)
    return np.asarray(grey), np.asarray(colours)


def perceptual_hashes(greys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the pHash of many images, as `imagehash.phash(..., hash_size=16)` does for one.

    A bit is set if the coefficient of a low frequency of the cosine transform is above the median of all of them.

    Args:
        greys: Grey levels of the images, uint8 [n, SIDE, SIDE].

    Returns:
        (bits, mirrored, detail): The hashes, uint8 [n, HASH_BYTES], the hashes of the mirrored images, and the median
        amplitude of the hashed frequencies in grey levels (0 to 255), float64 [n]. Bits are meaningless if the
        amplitude is near 0.2, the effect of rounding to integer levels.

    Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010.
    """
    frequencies = _WAVES @ greys @ _WAVES.T
    detail = np.median(np.abs(frequencies), axis=(1, 2)) / (2 * SIDE)
    # Mirroring an image changes the sign of its odd horizontal frequencies.
    odd = np.where(np.arange(_FREQUENCIES) % 2, -1.0, 1.0)
    return _bits(frequencies), _bits(frequencies * odd), detail


def _bits(frequencies: np.ndarray) -> np.ndarray:
    above = frequencies > np.median(frequencies, axis=(1, 2), keepdims=True)
    return np.packbits(above.reshape(len(above), -1), axis=1)


def find_pairs(
    table: pd.DataFrame, hashes: np.ndarray, mirrored: np.ndarray, near: NearDuplicatesConfig
) -> pd.DataFrame:
    """Find pairs of duplicate images.

    The pairs connect all images of a group of duplicates, but not every pair in a large group is returned.

    Args:
        table: Columns sha256, width, height and detail of each image.
        hashes: Perceptual hashes, uint8 [n, 32].
        mirrored: Hashes of the mirrored images, uint8 [n, 32].
        near: Settings for near duplicates.

    Returns:
        Table with the columns first and second (rows of `table`, first < second), kind (exact, near or mirrored) and
        distance (in bits).
    """
    codes = pd.factorize(table["sha256"])[0]
    parts = [_pairs(*chain_pairs(codes), "exact", 0)]
    if near.find:
        # Only one of several identical files is compared with other files.
        eligible = ~table["sha256"].duplicated() & (table[["width", "height"]].min(axis=1) >= near.min_side)
        rows = np.flatnonzero(eligible & (table["detail"] >= near.min_detail))
        parts.append(_near(rows, hashes[rows], near.distance))
        if near.mirrored:
            parts.append(_mirrored(rows, hashes[rows], mirrored[rows], near.distance))
    pairs = pd.concat(parts, ignore_index=True)
    return pairs.drop_duplicates(["first", "second"]).sort_values(["first", "second"], ignore_index=True)


def connected_groups(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Find the groups of rows that are connected by pairs, and return each row's group number, int [count].

    Args:
        count: Number of rows.
        first: First row of each pair, int [m].
        second: Second row of each pair, int [m].
    """
    ties = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(ties, directed=False)[1]


def chain_pairs(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair each row with the next row that has the same code; rows with negative codes are skipped."""
    order = np.argsort(codes, kind="stable")
    same = (codes[order][1:] == codes[order][:-1]) & (codes[order][1:] >= 0)
    return order[:-1][same], order[1:][same]


def _pairs(first: np.ndarray, second: np.ndarray, kind: str, distance: np.ndarray | int) -> pd.DataFrame:
    return pd.DataFrame({"first": first, "second": second, "kind": kind, "distance": distance})


def _near(rows: np.ndarray, hashes: np.ndarray, limit: int) -> pd.DataFrame:
    # Each hash becomes a single item that NumPy can compare.
    items = np.ascontiguousarray(hashes).view(f"V{HASH_BYTES}").ravel()
    _, representatives, codes = np.unique(items, return_index=True, return_inverse=True)
    # Only one of several images with the same hash is compared with other hashes.
    same = _pairs(*chain_pairs(codes), "near", 0)
    first, second, distance = close_pairs(hashes[representatives], limit)
    others = _pairs(*_ordered(representatives[first], representatives[second]), "near", distance)
    pairs = pd.concat([same, others], ignore_index=True)
    return pairs.assign(first=rows[pairs["first"]], second=rows[pairs["second"]])


def _mirrored(rows: np.ndarray, hashes: np.ndarray, mirrored: np.ndarray, limit: int) -> pd.DataFrame:
    count = len(rows)
    first, second, distance = close_pairs(np.concatenate([hashes, mirrored]), limit)
    crossing = (first < count) & (second >= count) & (second - count != first)
    pair = _ordered(first[crossing], second[crossing] - count)
    return _pairs(rows[pair[0]], rows[pair[1]], "mirrored", distance[crossing])


def close_pairs(hashes: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs of hashes that differ in at most `limit` bits.

    The number of comparisons grows little faster than the number of hashes, not with its square. Therefore a pair near
    the limit is occasionally missed. Every pair that is found is checked on all bits.

    Returns:
        (first, second, distance): Indices of both hashes, first < second, and the number of different bits, int64 [m]
        each.

    Source: M. Charikar, Similarity Estimation Techniques from Rounding Algorithms, 2002.
    """
    # The arrays are transposed so that NumPy's inner loops run over the hashes.
    words = np.ascontiguousarray(np.ascontiguousarray(hashes).view(np.uint64).T)
    bits = np.ascontiguousarray(np.unpackbits(hashes, axis=1).T)
    found, rounds = [np.empty(0, np.int64)], _round_count(len(hashes), limit)
    with progress("comparing images", rounds, "rounds") as advance:
        for codes in on_all_cores(lambda number: _close_in_round(words, bits, number, limit), range(rounds)):
            found.append(codes)
            advance()
    first, second = np.divmod(np.unique(np.concatenate(found)), max(1, len(hashes)))
    return first, second, _distance(words[:, first], words[:, second]).astype(np.int64)


def _round_count(count: int, limit: int) -> int:
    """Return the number of rounds needed to compare a pair with `limit` different bits with probability 1 - _MISSED.

    A round compares a pair if both agree in log2(`count`) bits, the number of bits that distinguishes `count` hashes.
    """
    agrees = (1 - limit / (8 * HASH_BYTES)) ** math.log2(max(count, 2))
    return math.ceil(math.log(_MISSED) / math.log1p(-agrees)) if limit else 1


def _close_in_round(words: np.ndarray, bits: np.ndarray, number: int, limit: int) -> np.ndarray:
    """Find the close pairs of one round, encoded as first * n + second; `number` is the seed of its random bits."""
    chosen = np.random.default_rng(number).permutation(HASH_BYTES * 8)[:_KEY_BITS]
    count = bits.shape[1]
    keys = np.ascontiguousarray(np.packbits(bits[chosen], axis=0).T).view(">u4").ravel().astype(np.uint64)
    # The row number in the low bits makes the order the same on every machine.
    ordered = np.sort((keys << np.uint64(32)) | np.arange(count, dtype=np.uint64))
    order = (ordered & np.uint64(2**32 - 1)).astype(np.int64)
    ahead = words[:, order]
    found = [np.empty(0, np.int64)]
    for step in range(1, _NEIGHBOURS + 1):
        near = np.flatnonzero(_distance(ahead[:, :-step], ahead[:, step:]) <= limit)
        first, second = _ordered(order[near], order[near + step])
        found.append(first * count + second)
    return np.concatenate(found)


def _distance(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the number of different bits per pair of hashes, uint16 [n]; hashes are columns of uint64 [4, n]."""
    return np.bitwise_count(words ^ others).sum(axis=0, dtype=np.uint16)


def _ordered(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.minimum(first, second), np.maximum(first, second)
