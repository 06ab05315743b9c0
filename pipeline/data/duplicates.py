"""Find files that show the same image: by their bytes, and by perceptual hashes that hardly differ.

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
"""Images are hashed at SIDE x SIDE grey levels."""
_FREQUENCIES = 16
HASH_BYTES = _FREQUENCIES**2 // 8
"""Bytes of a hash."""
# The lowest frequencies of an image's cosine transform (type II) are a product with this matrix on both sides.
_WAVES = dct(np.eye(SIDE), axis=0)[:_FREQUENCIES]
# Each round sorts the hashes by randomly drawn bits, and compares each hash with the few that follow it.
_KEY_BITS, _NEIGHBOURS = 32, 4
# Largest probability that a pair at the very limit is compared in no round.
_MISSED = 0.005


def downscale(image: Image.Image, colour_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Downscale an RGB image for its hash and its statistics.

    Returns:
        (grey, colours): uint8 [SIDE, SIDE], and uint8 [colour_side, colour_side, 3].
    """
    factor = max(1, min(image.size) // SIDE)
    # Averaging whole pixels is fast, and does not change the hashed frequencies. The box keeps the last, partial pixels
    # in their place.
    small, box = image.reduce(factor), (0, 0, image.width / factor, image.height / factor)
    grey = small.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    colours = small.resize((colour_side, colour_side), Image.Resampling.NEAREST)
    return np.asarray(grey), np.asarray(colours)


def perceptual_hashes(greys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the pHash of many images, as `imagehash.phash(..., hash_size=16)` does for one.

    A bit is set where a low frequency of the cosine transform is above the median of them all.

    Args:
        greys: uint8 [n, SIDE, SIDE].

    Returns:
        (bits, mirrored, detail): the hash, uint8 [n, HASH_BYTES]; that of the mirrored image; and float64 [n], the
        median amplitude of the hashed frequencies in grey levels of 255. Bits are meaningless where it is near 0.2,
        the effect of rounding to integer levels.

    Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010.
    """
    frequencies = _WAVES @ greys @ _WAVES.T
    detail = np.median(np.abs(frequencies), axis=(1, 2)) / (2 * SIDE)
    # Mirroring changes the sign of waves that are odd from left to right.
    odd = np.where(np.arange(_FREQUENCIES) % 2, -1.0, 1.0)
    return _bits(frequencies), _bits(frequencies * odd), detail


def _bits(frequencies: np.ndarray) -> np.ndarray:
    above = frequencies > np.median(frequencies, axis=(1, 2), keepdims=True)
    return np.packbits(above.reshape(len(above), -1), axis=1)


def find_pairs(
    table: pd.DataFrame, hashes: np.ndarray, mirrored: np.ndarray, near: NearDuplicatesConfig
) -> pd.DataFrame:
    """Find pairs of duplicates that connect all images which are the same; not every pair of a large group.

    Args:
        table: sha256, width, height and detail of each image.
        hashes: perceptual hashes, uint8 [n, 32].
        mirrored: hashes of the mirrored images, uint8 [n, 32].
        near: limits of near duplicates.

    Returns:
        Columns first and second (rows of `table`, first < second), kind (exact, near or mirrored), distance (in bits).
    """
    codes = pd.factorize(table["sha256"])[0]
    parts = [_pairs(*chain_pairs(codes), "exact", 0)]
    if near.find:
        # One of several copies of a file is enough.
        eligible = ~table["sha256"].duplicated() & (table[["width", "height"]].min(axis=1) >= near.min_side)
        rows = np.flatnonzero(eligible & (table["detail"] >= near.min_detail))
        parts.append(_near(rows, hashes[rows], near.distance))
        if near.mirrored:
            parts.append(_mirrored(rows, hashes[rows], mirrored[rows], near.distance))
    pairs = pd.concat(parts, ignore_index=True)
    return pairs.drop_duplicates(["first", "second"]).sort_values(["first", "second"], ignore_index=True)


def connected_groups(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number the groups of rows that pairs connect: the group of each of `count` rows, int [count]."""
    ties = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(ties, directed=False)[1]


def chain_pairs(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs that connect the rows with the same code, each with the next; codes below 0 are skipped."""
    order = np.argsort(codes, kind="stable")
    same = (codes[order][1:] == codes[order][:-1]) & (codes[order][1:] >= 0)
    return order[:-1][same], order[1:][same]


def _pairs(first: np.ndarray, second: np.ndarray, kind: str, distance: np.ndarray | int) -> pd.DataFrame:
    return pd.DataFrame({"first": first, "second": second, "kind": kind, "distance": distance})


def _near(rows: np.ndarray, hashes: np.ndarray, limit: int) -> pd.DataFrame:
    # Each hash as one item that NumPy can compare.
    items = np.ascontiguousarray(hashes).view(f"V{HASH_BYTES}").ravel()
    _, representatives, codes = np.unique(items, return_index=True, return_inverse=True)
    # One of several images with the same hash is compared with the others.
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
    """Find pairs of hashes that differ in at most `limit` bits: first and second (first < second), and the distance.

    The number of comparisons grows little faster than the number of hashes, not with its square. So a pair near the
    limit may be missed, though seldom. Every pair that is found is checked on all bits.

    Source: M. Charikar, Similarity Estimation Techniques from Rounding Algorithms, 2002.
    """
    # Transposed, so that NumPy's inner loops run along the hashes.
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
    """Return the rounds after which a pair with `limit` different bits has been compared with probability 1 - _MISSED.

    A pair is compared in a round where it agrees in log2(`count`) bits, as many as distinguish that many hashes.
    """
    agrees = (1 - limit / (8 * HASH_BYTES)) ** math.log2(max(count, 2))
    return math.ceil(math.log(_MISSED) / math.log1p(-agrees)) if limit else 1


def _close_in_round(words: np.ndarray, bits: np.ndarray, number: int, limit: int) -> np.ndarray:
    """Find the close pairs of one round, as first * n + second; the round's number seeds its draw of bits."""
    chosen = np.random.default_rng(number).permutation(HASH_BYTES * 8)[:_KEY_BITS]
    count = bits.shape[1]
    keys = np.ascontiguousarray(np.packbits(bits[chosen], axis=0).T).view(">u4").ravel().astype(np.uint64)
    # With the row in the low bits, the order is the same on every machine.
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
    """Return the number of bits in which hashes differ, uint16 [n]; hashes are columns of words, uint64 [4, n]."""
    return np.bitwise_count(words ^ others).sum(axis=0, dtype=np.uint16)


def _ordered(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.minimum(first, second), np.maximum(first, second)
