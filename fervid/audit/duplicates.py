"""Near-duplicate pictures in different clips, found by a perceptual hash."""

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 64  # pixels; pictures are resized to this square
BLOCK = 16  # lowest frequencies used in each direction
BITS = BLOCK * BLOCK
TILE = 1024  # rows and columns compared at once: 4 MiB, at most 180 MiB if all pictures are alike

_ODD = np.indices((BLOCK, BLOCK))[1].ravel() % 2 == 1
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)  # set bits per byte

MIRROR = np.packbits(_ODD)
"""XOR with this mask turns the hash of a picture into that of its mirror image, uint8 (32,)."""

# Unrelated pictures differ in half of the bits (128). The limit was chosen from distances measured on 1,957 press
# photographs (1,459 names, 192 px) and on 2,304 rendered faces (24 subjects, 128 px), mirrored or not:
# - Photographs of different people differ in 64 bits or more. All pairs of different names below that were inspected:
#   eleven (39 to 63 bits) are film stills and portraits of one person under several numbers, and one (0) is a copy.
#   Rendered faces of different subjects are all frontal, framed alike and partly have the same hair; they differ in as
#   few as 35 bits, among 100 subjects 29.
# - Percentage of copies that differ in at most 24 bits, photographs / rendered faces:
#   mirrored, grayscale, half or double size, blurred (sigma 1 or 2 px), noise (10 levels), JPEG quality 60 or 95,
#   contrast x 0.7: 100 / 100; JPEG 30: 100 / 99.9; 40 levels brighter: 100 / 99.8; contrast x 1.3: 99.2 / 99.9;
#   gamma 0.6: 98.8 / 100, 1.6: 96.8 / 99.8; rotated by 1 degree: 99.7 / 96.5, 2: 54 / 50, 3: 5 / 7, 5: 0 / 0;
#   cropped by 1%: 94 / 95, 2%: 31 / 11, 3.5%: 1 / 2, 5%: 0 / 0.
# Copies that are rotated by 2 degrees or more, or cropped by 2% or more, are therefore often missed. A limit of 56
# bits would find half of those rotated by 5 degrees and a third of those cropped by 5%, but would also report rendered
# faces of different subjects. False alarms would make users ignore the audit, so the limit is low.
LIMIT = 24
"""Maximum number of bits, of :data:`BITS`, in which near-duplicates differ."""


def hash_picture(picture: np.ndarray) -> np.ndarray:
    """Computes a perceptual hash: the signs of the 16 x 16 lowest frequencies of the cosine transform.

    Args:
        picture: uint8 (H, W, 3) RGB, square.

    Returns:
        256 bits, uint8 (32,): 1 where a coefficient is positive.
    """
    gray = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    lowest = cv2.dct(gray.astype(np.float32))[:BLOCK, :BLOCK]
    # Signs, not comparisons with the median: mirroring negates every odd horizontal frequency and leaves the even ones
    # unchanged, so a fixed mask gives the hash of the mirrored picture at no cost.
    # The first bit, the mean brightness, is always positive and carries no information.
    return np.packbits(lowest > 0)


def near_duplicates(hashes: np.ndarray, clips: np.ndarray | pd.Series, *, limit: int = LIMIT) -> pd.DataFrame:
    """Finds near-duplicate frames of different clips, mirrored or not, by comparing all pairs.

    Time is quadratic in the number of pictures: one core compares 30,000 pictures in about 1.3 s. Memory grows with the
    number of pictures and of near-duplicates, not with the number of pairs compared.

    Args:
        hashes: hashes of N pictures from :func:`hash_picture`, uint8 (N, 32).
        clips: clip of each picture, shape (N,).
        limit: maximum number of bits in which two near-duplicates differ.

    Returns:
        One row for each pair of clips with near-duplicates, sorted by distance. A row has the closest pair of frames:
        ``row_a`` and ``row_b`` (positions in ``hashes``, ``row_a`` < ``row_b``), ``distance`` (bits, 0 to ``limit``)
        and ``mirrored``.
    """
    clip = pd.factorize(np.asarray(clips))[0].astype(np.int64)
    tiles = range(0, len(hashes), TILE)
    parts = [np.packbits(np.unpackbits(hashes[a : a + TILE], axis=1)[:, _ODD], axis=1) for a in tiles]
    odd = np.concatenate([np.empty((0, BITS // 16), dtype=np.uint8), *parts])
    half = BITS // 2
    product = np.empty(TILE * TILE, dtype=np.float32)  # allocated once: allocation took most of the time
    found = [np.empty((0, 4), dtype=np.int64)]
    for a in tiles:
        rows = _even_signs(hashes[a : a + TILE])
        for b in range(a, len(hashes), TILE):
            columns = _even_signs(hashes[b : b + TILE])
            alike = product[: len(rows) * len(columns)]
            # The product of signs is the number of equal bits minus the number of different bits. Mirroring does not
            # change the even bits, so pictures that differ in too many of them are no near-duplicates, mirrored or not.
            # Only the few remaining pairs are compared in full.
            np.matmul(rows, columns.T, out=alike.reshape(len(rows), len(columns)))
            near = np.flatnonzero(alike >= half - 2 * limit)
            row_a, row_b = a + near // len(columns), b + near % len(columns)
            odd_unlike = _ONES[odd[row_a] ^ odd[row_b]].sum(axis=1, dtype=np.int64)
            # Mirroring flips the odd bits: use the smaller of the two distances.
            distance = (half - alike[near].astype(np.int64)) // 2 + np.minimum(odd_unlike, half - odd_unlike)
            hit = (distance <= limit) & (clip[row_a] != clip[row_b])
            pairs = np.column_stack([row_a, row_b, distance, odd_unlike > half // 2])[hit]
            found.append(_closest_of_clips(pairs, clip))
    closest = _closest_of_clips(np.concatenate(found), clip)
    table = pd.DataFrame(closest, columns=["row_a", "row_b", "distance", "mirrored"])
    return table.astype({"mirrored": bool})


def _even_signs(hashes: np.ndarray) -> np.ndarray:
    """Returns the bits that mirroring does not change, as -1 and 1."""
    return np.unpackbits(hashes, axis=1)[:, ~_ODD].astype(np.float32) * 2 - 1


def _closest_of_clips(pairs: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Returns the closest row of each pair of clips, sorted by distance; rows are (a, b, distance, mirrored)."""
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], pairs[:, 2]))]
    ends = np.sort(clip[pairs[:, :2]], axis=1)
    _, first = np.unique(ends[:, 0] * len(clip) + ends[:, 1], return_index=True)
    return pairs[np.sort(first)]


def group(pairs: pd.DataFrame, clips: np.ndarray | pd.Series) -> np.ndarray:
    """Groups clips that share near-duplicates, directly or through other clips, so that a split can keep them together.

    Args:
        pairs: near-duplicates from :func:`near_duplicates`.
        clips: clip of each of the N pictures, shape (N,).

    Returns:
        The group of each picture, named after the first clip in the group, shape (N,).
    """
    clip, names = pd.factorize(np.asarray(clips))
    ends = clip[pairs["row_a"].to_numpy()], clip[pairs["row_b"].to_numpy()]
    joined = coo_array((np.ones(len(pairs), dtype=bool), ends), shape=(len(names), len(names)))
    component = connected_components(joined, directed=False)[1]
    first = np.unique(component, return_index=True)[1]
    return np.asarray(names)[first[component[clip]]]
