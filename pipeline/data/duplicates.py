"""Files that show the same image: by their bytes, and by perceptual hashes that hardly differ."""

import math

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.config import NearDuplicatesConfig
from pipeline.data.perceptual_hash import HASH_BYTES
from pipeline.system.machine import on_all_cores
from pipeline.system.terminal import progress

# Hashes are sorted by some of their bits, in many draws of them, and each is compared with a few that follow it.
_KEY_BITS, _NEIGHBOURS = 32, 4
# So seldom a pair at the very limit may come to lie side by side in no draw.
_MISSED = 0.005


def find_pairs(
    table: pd.DataFrame, hashes: np.ndarray, mirrored: np.ndarray, near: NearDuplicatesConfig
) -> pd.DataFrame:
    """Pairs that tie all images which are the same together; not every pair of a large group.

    Args:
        table: sha256, width, height and detail of each image.
        hashes: perceptual hashes, uint8 [n, 32].
        mirrored: those of the mirrored images.
        near: what counts as near.

    Returns:
        columns first and second (rows of `table`, the first one the smaller), kind (exact, near or mirrored) and distance in bits.
    """
    codes = pd.factorize(table["sha256"])[0]
    parts = [_chains(codes, "exact")]
    if near.find:
        # Copies of one file say the same.
        told = ~table["sha256"].duplicated() & (table[["width", "height"]].min(axis=1) >= near.min_side)
        rows = np.flatnonzero(told & (table["detail"] >= near.min_detail))
        parts.append(_near(rows, hashes[rows], near.distance))
        if near.mirrored:
            parts.append(_mirrored(rows, hashes[rows], mirrored[rows], near.distance))
    pairs = pd.concat(parts, ignore_index=True)
    return pairs.drop_duplicates(["first", "second"]).sort_values(["first", "second"], ignore_index=True)


def tied_together(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The number of the group that each of `count` rows belongs to, where pairs tie rows together; int [count]."""
    ties = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(ties, directed=False)[1]


def chain(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that tie together the rows with the same code, each with the next; codes below 0 are none."""
    order = np.argsort(codes, kind="stable")
    same = (codes[order][1:] == codes[order][:-1]) & (codes[order][1:] >= 0)
    return order[:-1][same], order[1:][same]


def _chains(codes: np.ndarray, kind: str) -> pd.DataFrame:
    return _pairs(*chain(codes), kind, 0)


def _pairs(first: np.ndarray, second: np.ndarray, kind: str, distance: np.ndarray | int) -> pd.DataFrame:
    return pd.DataFrame({"first": first, "second": second, "kind": kind, "distance": distance})


def _near(rows: np.ndarray, hashes: np.ndarray, limit: int) -> pd.DataFrame:
    _, representatives, codes = np.unique(_as_items(hashes), return_index=True, return_inverse=True)
    # Images with the very same hash stand in for each other.
    same = _chains(codes, "near")
    first, second, distance = _close(hashes[representatives], limit)
    others = _pairs(*_ordered(representatives[first], representatives[second]), "near", distance)
    found = pd.concat([same, others], ignore_index=True)
    return found.assign(first=rows[found["first"]], second=rows[found["second"]])


def _mirrored(rows: np.ndarray, hashes: np.ndarray, mirrored: np.ndarray, limit: int) -> pd.DataFrame:
    count = len(rows)
    first, second, distance = _close(np.concatenate([hashes, mirrored]), limit)
    crossing = (first < count) & (second >= count) & (second - count != first)
    pair = _ordered(first[crossing], second[crossing] - count)
    return _pairs(rows[pair[0]], rows[pair[1]], "mirrored", distance[crossing])


def _close(hashes: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of hashes that differ in at most `limit` bits: first and second, the first one the smaller, and how many bits.

    What is compared grows little faster than the number of hashes, not with its square (after M. Charikar, Similarity Estimation Techniques
    from Rounding Algorithms, 2002). So a pair near the limit may be missed, though seldom; that a pair is near is checked on all bits.
    """
    # By word and by bit, so that all work is along the hashes.
    words = np.ascontiguousarray(np.ascontiguousarray(hashes).view(np.uint64).T)
    bits = np.ascontiguousarray(np.unpackbits(hashes, axis=1).T)
    found, draws = [np.empty(0, np.int64)], _draws(len(hashes), limit)
    with progress("comparing images", draws, "rounds") as advance:
        for pairs in on_all_cores(lambda draw: _close_in_a_draw(words, bits, draw, limit), range(draws)):
            found.append(pairs)
            advance()
    joined = np.unique(np.concatenate(found))
    first, second = np.divmod(joined, max(1, len(hashes)))
    return first, second, _distance(words[:, first], words[:, second]).astype(np.int64)


def _draws(count: int, limit: int) -> int:
    """How many draws it takes until a pair with `limit` different bits has, all but surely, lain side by side among `count` hashes.

    It does where it agrees in as many bits as tell that many hashes apart.
    """
    agrees = (1 - limit / (8 * HASH_BYTES)) ** math.log2(max(count, 2))
    return math.ceil(math.log(_MISSED) / math.log1p(-agrees)) if limit else 1


def _close_in_a_draw(words: np.ndarray, bits: np.ndarray, draw: int, limit: int) -> np.ndarray:
    """Pairs found with one draw of bits as first * n + second; always the same draw, so that the same files give the same pairs."""
    chosen = np.random.default_rng(draw).permutation(HASH_BYTES * 8)[:_KEY_BITS]
    count = bits.shape[1]
    keys = np.zeros(count, np.uint64)
    for part in np.packbits(bits[chosen], axis=0):
        keys = (keys << np.uint64(8)) | part
    # Hash and row in one number: the order is the same on every machine.
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
    """The bits in which hashes differ, given as columns of words: uint16 [n]."""
    total = np.zeros(words.shape[1], np.uint16)
    for one, other in zip(words, others, strict=True):
        total += np.bitwise_count(one ^ other)
    return total


def _ordered(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.minimum(first, second), np.maximum(first, second)


def _as_items(hashes: np.ndarray) -> np.ndarray:
    """Each hash as one item that can be compared."""
    return np.ascontiguousarray(hashes).view(f"V{HASH_BYTES}").ravel()
