"""Pictures that look the same in different clips, found by a perceptual hash."""

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE, BLOCK = 64, 16  # pixels a picture is shrunk to, and how many of its lowest frequencies are kept each way
BITS = BLOCK * BLOCK
TILE = 1024  # rows and columns compared at once: 4 MiB, and 180 MiB at worst, where all are alike

_ODD = np.indices((BLOCK, BLOCK))[1].ravel() % 2 == 1
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)  # bits of a byte

MIRROR = np.packbits(_ODD)
"""A hash xor this is the hash of the mirrored picture, uint8 (32,)."""

# Half the bits differ between unrelated pictures: 128. How far apart strangers and copies are was measured on 1,957
# press photographs (1,459 names, 192 px) and on 2,304 rendered faces (24 people, 128 px), mirrored or not:
# - Two photographs of strangers differ by 64 bits or more. Looked at one by one, the eleven pairs of different names
#   below that (39 to 63) are film stills and portraits of one person numbered apart, and one pair (0) is a copy.
#   Rendered strangers, all frontal, framed alike and some with the same hair, come as near as 35; among 100 people 29.
# - Share of copies that differ by 24 bits at most, in % of photographs / rendered faces:
#   mirrored, gray, half or double size, blurred (sigma 1 or 2 px), noise (10 levels), JPEG quality 60 or 95,
#   contrast x 0.7: 100 / 100; JPEG 30: 100 / 99.9; 40 levels brighter: 100 / 99.8; contrast x 1.3: 99.2 / 99.9;
#   gamma 0.6: 98.8 / 100, 1.6: 96.8 / 99.8; turned by 1 degree: 99.7 / 96.5, 2: 54 / 50, 3: 5 / 7, 5: 0 / 0;
#   cropped by 1 %: 94 / 95, 2 %: 31 / 11, 3.5 %: 1 / 2, 5 %: 0 / 0.
# So copies that were turned or cropped by more than a little are missed. 56 bits would find half of those turned by 5
# degrees and a third of those cropped by 5 %, but call rendered strangers copies: an audit that cries wolf is not read.
LIMIT = 24
"""Bits of :data:`BITS` by which near-duplicates differ at most."""


def hash_picture(picture: np.ndarray) -> np.ndarray:
    """Hashes what a picture looks like: the signs of its 16 x 16 lowest frequencies.

    Args:
        picture: uint8 (H, W, 3) RGB, square.

    Returns:
        256 bits, uint8 (32,): which of the cosines are positive.
    """
    gray = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    lowest = cv2.dct(gray.astype(np.float32))[:BLOCK, :BLOCK]
    # Signs, not "above the median": mirroring negates every odd horizontal frequency and leaves the even ones, so the
    # mirrored picture has the same bits but for a fixed set, and is looked for at no cost.
    # The first, the mean brightness, is positive in all and tells nothing.
    return np.packbits(lowest > 0)


def near_duplicates(hashes: np.ndarray, clips: np.ndarray | pd.Series, *, limit: int = LIMIT) -> pd.DataFrame:
    """Finds frames of different clips that look the same, as they are or mirrored; compares every pair.

    Time grows with the square: one core compares 30,000 pictures in about 1.3 s. Memory grows with the pictures
    and the pairs of clips found, not with the pairs compared.

    Args:
        hashes: of N pictures, uint8 (N, 32).
        clips: the clip of each, shape (N,).
        limit: bits by which two pictures may differ.

    Returns:
        One row for each pair of clips with near-duplicates, its closest pair of frames, closest first: ``row_a`` and
        ``row_b`` (positions in ``hashes``, ``row_a`` < ``row_b``), ``distance`` (bits, 0 to ``limit``) and
        ``mirrored``.
    """
    clip = pd.factorize(np.asarray(clips))[0].astype(np.int64)
    tiles = range(0, len(hashes), TILE)
    parts = [np.packbits(np.unpackbits(hashes[a : a + TILE], axis=1)[:, _ODD], axis=1) for a in tiles]
    odd = np.concatenate([np.empty((0, BITS // 16), dtype=np.uint8), *parts])
    half = BITS // 2
    product = np.empty(TILE * TILE, dtype=np.float32)  # made once: asking the system for it took most of the time
    found = [np.empty((0, 4), dtype=np.int64)]
    for a in tiles:
        rows = _even_signs(hashes[a : a + TILE])
        for b in range(a, len(hashes), TILE):
            columns = _even_signs(hashes[b : b + TILE])
            alike = product[: len(rows) * len(columns)]
            # A product of signs is bits alike less bits unlike. Mirroring leaves the even bits: pictures that differ in
            # too many of them are not near either way, and few are left to be looked at whole.
            np.matmul(rows, columns.T, out=alike.reshape(len(rows), len(columns)))
            near = np.flatnonzero(alike >= half - 2 * limit)
            row_a, row_b = a + near // len(columns), b + near % len(columns)
            odd_unlike = _ONES[odd[row_a] ^ odd[row_b]].sum(axis=1, dtype=np.int64)
            # Mirrored, the odd bits change sign: the nearer of the two ways counts.
            distance = (half - alike[near].astype(np.int64)) // 2 + np.minimum(odd_unlike, half - odd_unlike)
            hit = (distance <= limit) & (clip[row_a] != clip[row_b])
            pairs = np.column_stack([row_a, row_b, distance, odd_unlike > half // 2])[hit]
            found.append(_closest_of_clips(pairs, clip))
    closest = _closest_of_clips(np.concatenate(found), clip)
    table = pd.DataFrame(closest, columns=["row_a", "row_b", "distance", "mirrored"])
    return table.astype({"mirrored": bool})


def _even_signs(hashes: np.ndarray) -> np.ndarray:
    """The bits that mirroring leaves, as -1 and 1."""
    return np.unpackbits(hashes, axis=1)[:, ~_ODD].astype(np.float32) * 2 - 1


def _closest_of_clips(pairs: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Keeps of (P, 4) rows a, b, distance, mirrored the closest one of each pair of clips, closest first."""
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], pairs[:, 2]))]
    ends = np.sort(clip[pairs[:, :2]], axis=1)
    _, first = np.unique(ends[:, 0] * len(clip) + ends[:, 1], return_index=True)
    return pairs[np.sort(first)]


def group(pairs: pd.DataFrame, clips: np.ndarray | pd.Series) -> np.ndarray:
    """Joins clips that share near-duplicates, also through a third one, so that a split can keep them together.

    Args:
        pairs: of :func:`near_duplicates`.
        clips: the clip of each of the N pictures, shape (N,).

    Returns:
        For each picture the first clip of those its own is joined with (its own where it is alone), shape (N,).
    """
    clip, names = pd.factorize(np.asarray(clips))
    ends = clip[pairs["row_a"].to_numpy()], clip[pairs["row_b"].to_numpy()]
    joined = coo_array((np.ones(len(pairs), dtype=bool), ends), shape=(len(names), len(names)))
    component = connected_components(joined, directed=False)[1]
    first = np.unique(component, return_index=True)[1]
    return np.asarray(names)[first[component[clip]]]
