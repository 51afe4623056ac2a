"""Near-duplicate photos, grouped so that no group straddles a train/validation split.

Three kinds of pair are found. A *copy* is the same frame again (re-encoded, resized, stretched a
little, mirrored): the two thumbnails agree as they are. A *crop* shows a part of the same photo, or
the same photo edited: local features propose a shift, a scale and a small turn, and the thumbnails
must then agree all over the area that both show. A *scene* is found in either way but agrees less,
as another frame of a photo session does. Judging the whole common area rather than the features
keeps apart photos that share only a watermark, a logo or a printed shirt.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from usearch.index import Index

from data_prep.grouping.fingerprints import FLAT_DEVIATION, Fingerprint, resize, unpack_descriptors

TINY_SIDE = 16  # pixels, both sides of the picture that copies are looked up by
COPY_CANDIDATE = 0.9  # correlation of tiny pictures
COPY_AGREEMENT = 0.9
COPY_COLOUR_STEP = 48.0  # colour levels between the mean colours
SAME_STEP = 2.0  # grey levels: thumbnails no further apart on average need not be contrasty

COMPARE_ALL_UP_TO = 40  # photos: a smaller set needs no vocabulary
HALF_WORDS = 256  # words for half a descriptor; a whole one has the square of that
SEED = 8  # Of the words: 1 in 40 pairs, scenes that share little, are found by luck of it.
WORD_BITS = 16  # bits that part the words of many features further
SHARING = 64  # features that are to have a word; words of over 4 times as many photos don't count
MAX_CANDIDATES = 24  # photos that a photo is compared with closely, upright and again mirrored
MIN_VOTES = 4.0  # words in common, each weighted by its rarity
BLOCK = 200  # photos that are looked up at once

RATIO = 0.85  # distance of the nearest descriptor over that of the second nearest
MIN_INLIERS = 10  # matched features that follow one motion
MAX_SHIFT = 1.0  # thumbnail pixels between a feature and where the motion puts it
MAX_SCALE = 6.0
MAX_TURN = 15.0  # degrees
MIN_OVERLAP = 150  # pixels of the less detailed thumbnail
CROP_AGREEMENT = 0.85
SCENE_AGREEMENT = 0.6
MANY_INLIERS = 25  # so many make a scene of less agreement, as when people walk through it
BUSY_SCENE_AGREEMENT = 0.45

CELLS = 4  # cells per side of the common area, see `_agreement`
MIN_CELL_PIXELS = 5
NOISE = 2.0  # grey levels of deviation that are no evidence of likeness

Kind = Literal["copy", "crop", "scene"]  # The same frame, a part of it, another frame.


class DuplicatePair(NamedTuple):
    """Two near-duplicate photos, the lower index first; `score` is the agreement, up to 1."""

    first: int
    second: int
    kind: Kind
    score: float


def _agreement(
    one: NDArray[np.uint8], other: NDArray[np.uint8], inside: NDArray[np.bool_]
) -> float:
    """Mean correlation, -1 to 1, of two pictures in the cells of a grid that are `inside`.

    So neither a dark bar nor a bright background in both decides alone; a flat cell counts as 0.
    """
    places = np.argwhere(inside)
    low, high = places.min(axis=0), places.max(axis=0)
    rows, columns = ((places - low) * CELLS // (high - low + 1)).T
    cell, cells = rows * CELLS + columns, CELLS**2
    pixels = np.maximum(np.bincount(cell, minlength=cells), 1)

    def deviations(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        values = picture[inside].astype(np.float64)
        return values - (np.bincount(cell, values, cells) / pixels)[cell]

    a, b = deviations(one), deviations(other)
    together, of_a, of_b = (np.bincount(cell, p, cells) for p in (a * b, a * a, b * b))
    correlations = together / (np.sqrt(of_a * of_b) + pixels * NOISE**2)
    judged = correlations[pixels >= MIN_CELL_PIXELS]
    return float(judged.mean()) if len(judged) else 0.0


def _copy_score(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    difference = float(cv2.absdiff(one, other).mean())
    same = 1 - difference / 255 if difference <= SAME_STEP else 0.0
    return max(same, _agreement(one, other, np.ones(one.shape, bool)))


def _find_copies(fingerprints: Sequence[Fingerprint]) -> Iterator[DuplicatePair]:
    """Copies, and scenes so alike that the whole frames agree as they are."""
    first_of_colour: dict[tuple[int, ...], int] = {}
    textured: list[int] = []
    for number, print_ in enumerate(fingerprints):
        if print_.thumbnail.std() >= FLAT_DEVIATION:
            textured.append(number)
            continue
        # A flat photo has nothing but its colour.
        first = first_of_colour.setdefault(tuple(print_.colour.round().astype(int)), number)
        if first != number:
            yield DuplicatePair(first, number, "copy", 1.0)
    blocks = [np.array(textured[n : n + BLOCK]) for n in range(0, len(textured), BLOCK)]
    index = Index(ndim=TINY_SIDE**2, metric="cos", dtype="f16")
    for block in blocks:  # In one thread they come in the same order each time: one result.
        index.add(block, _draw_tiny(fingerprints, block).reshape(len(block), -1), threads=1)
    alike = [np.zeros((0, 2), int)]
    for block in blocks:
        tiny = _draw_tiny(fingerprints, block)
        for views in (tiny, tiny[:, :, ::-1]):
            flat = np.ascontiguousarray(views).reshape(len(block), -1)
            found = index.search(flat, min(len(textured), MAX_CANDIDATES + 1), threads=1)
            keys, distances = (np.atleast_2d(part) for part in (found.keys, found.distances))
            near = (distances <= 1 - COPY_CANDIDATE) & (keys != block[:, None])
            rows, places = np.nonzero(near)
            alike.append(np.sort(np.stack([block[rows], keys[rows, places].astype(int)], axis=1)))
    for first, second in map(np.ndarray.tolist, np.unique(np.concatenate(alike), axis=0)):
        one, other = fingerprints[first], fingerprints[second]
        if np.abs(one.colour - other.colour).max() > COPY_COLOUR_STEP:
            continue
        same = resize(other.thumbnail, one.thumbnail.shape[::-1])
        score = max(_copy_score(one.thumbnail, view) for view in (same, same[:, ::-1]))
        if score >= SCENE_AGREEMENT:
            kind: Kind = "copy" if score >= COPY_AGREEMENT else "scene"
            yield DuplicatePair(first, second, kind, score)


def _draw_tiny(
    fingerprints: Sequence[Fingerprint], numbers: NDArray[np.int64]
) -> NDArray[np.float32]:
    sides = TINY_SIDE, TINY_SIDE
    tiny = np.array([resize(fingerprints[n].thumbnail, sides) for n in numbers], np.float32)
    return tiny - tiny.mean(axis=(1, 2), keepdims=True)


class _Words:
    """Words for features, 32 bits: the nearest centres of a descriptor's halves, and `WORD_BITS`.

    These are the signs of what is left of it, along the directions in which most is left. The more
    features share the centres, the more of the signs count, so that about `SHARING` of them have a
    word, however many photos there are. `postings` has words << 32 and the photos, sorted.
    """

    def __init__(self, fingerprints: Sequence[Fingerprint]) -> None:
        self.prints = fingerprints
        ends = np.cumsum([0, *(len(print_.packed) for print_ in fingerprints)])
        step = max(1, ends[-1] // 20000)
        # Copies: a part of a fingerprint that is read from a file would hold the whole of it.
        pairs = zip(fingerprints, ends, strict=False)
        rows = [print_.packed[-end % step :: step].copy() for print_, end in pairs]
        sample = unpack_descriptors(np.concatenate(rows))
        self.centres: list[NDArray[np.float32]] = []
        until, words = (cv2.TERM_CRITERIA_COUNT, 10, 0.0), min(HALF_WORDS, len(sample))
        for part in map(np.ascontiguousarray, np.split(sample, 2, axis=1)):
            cv2.setRNGSeed(SEED)
            labels = np.zeros(len(part), np.int32)
            means = cv2.kmeans(part, words, labels, until, 1, cv2.KMEANS_PP_CENTERS)[2]
            self.centres.append(np.asarray(means, np.float32))
        left = self._find_nearest(sample)[1]
        self.directions = np.linalg.eigh(left.T @ left)[1][:, : -WORD_BITS - 1 : -1]
        codes, held = np.empty(ends[-1], np.uint32), np.zeros(HALF_WORDS**2)
        for number, print_ in enumerate(fingerprints):
            codes[ends[number] : ends[number + 1]] = self._encode(print_.packed)
        for part in np.split(codes, range(10**7, len(codes), 10**7)):
            held += np.bincount(np.right_shift(part, WORD_BITS), minlength=len(held))
        depth = np.clip(np.ceil(np.log2(np.maximum(held, 1) / SHARING)), 0, WORD_BITS)
        self.masks = (2**32 - 2 ** (WORD_BITS - depth)).astype(np.uint32)
        self.postings, end = np.empty(ends[-1], np.uint64), 0
        for number in range(len(fingerprints)):
            own = self._shorten(codes[ends[number] : ends[number + 1]]) | np.uint64(number)
            self.postings[end : (end := end + len(own))] = own
        self.postings = self.postings[:end]
        self.postings.sort()

    def _find_nearest(self, values: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[Any]]:
        low, high = (
            (part @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
            for part, centres in zip(np.split(values, 2, axis=1), self.centres, strict=True)
        )
        left = values - np.hstack([self.centres[0][low], self.centres[1][high]])
        return low * HALF_WORDS + high, left

    def _encode(self, packed: NDArray[np.uint8], mirrored: bool = False) -> NDArray[np.uint32]:
        nearest, left = self._find_nearest(unpack_descriptors(packed, mirrored))
        signs = (left @ self.directions > 0) @ (1 << np.arange(WORD_BITS)[::-1])
        return (nearest << WORD_BITS | signs).astype(np.uint32)

    def _shorten(self, codes: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """The words of a photo, each once, with room for the photo."""
        return np.unique(codes & self.masks[codes >> WORD_BITS]).astype(np.uint64) << np.uint64(32)

    def look_up(self, start: int, mirrored: bool) -> NDArray[np.int64]:
        """For a block of photos those with which each shares the most rare words; (N, 3)."""
        count = len(self.prints)
        block = (self.prints[number] for number in range(start, min(start + BLOCK, count)))
        own = [self._shorten(self._encode(print_.packed, mirrored)) for print_ in block]
        row, word = np.repeat(np.arange(len(own)), [*map(len, own)]), np.concatenate(own)
        low = np.searchsorted(self.postings, word)
        sharing = np.searchsorted(self.postings, word + np.uint64(2**32)) - low
        known = (sharing > 0) & (sharing <= 4 * SHARING)
        row, low, sharing = row[known], low[known], sharing[known]
        rarity = np.log(count / sharing) / np.log(count)
        places = np.arange(sharing.sum()) + np.repeat(low - sharing.cumsum() + sharing, sharing)
        photos = (self.postings[places] & np.uint64(2**32 - 1)).astype(np.int64)
        pairs = np.repeat(row, sharing) * count + photos
        # With the word's number, of 16 bits, behind the pair, sorting takes no indices.
        held = np.sort(pairs << 16 | np.repeat(np.arange(len(row)), sharing))
        starts = np.flatnonzero(np.diff(held >> 16, prepend=-1))
        votes = np.add.reduceat(rarity[held & 0xFFFF], starts)
        first, other = np.divmod(held[starts] >> 16, count)
        first += start
        found = np.flatnonzero((votes >= MIN_VOTES) & (first != other))
        found = found[np.lexsort((other[found], -votes[found], first[found]))]
        first, other = first[found], other[found]
        nearest = np.arange(len(first)) - np.searchsorted(first, first) < MAX_CANDIDATES
        ends = np.minimum(first, other), np.maximum(first, other), np.full_like(first, mirrored)
        return np.stack(ends, axis=1)[nearest]


def _crop_candidates(fingerprints: Sequence[Fingerprint]) -> NDArray[np.int64]:
    """Pairs of photos, (N, 3), with rare features in common: first, second, second mirrored."""
    count = len(fingerprints)
    if count <= COMPARE_ALL_UP_TO:
        every = ((i, j, m) for i in range(count) for j in range(i + 1, count) for m in (0, 1))
        return np.array([*every], np.int64).reshape(-1, 3)
    if not any(len(print_.packed) for print_ in fingerprints):
        return np.empty((0, 3), np.int64)
    words = _Words(fingerprints)
    ways = ((start, mirrored) for mirrored in (False, True) for start in range(0, count, BLOCK))
    return np.unique(np.concatenate([words.look_up(*way) for way in ways]), axis=0)


def _match_features(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of two sets of descriptors that are each other's nearest, by a clear margin."""
    alike = one @ other.T
    rows = np.arange(len(one))
    best = alike.argmax(axis=1)
    top = alike[rows, best]
    mutual = alike.argmax(axis=0)[best] == rows
    alike[rows, best] = -1
    # Between unit vectors the squared distance is 2 - 2 * (dot product).
    clear = 1 - top < RATIO**2 * (1 - alike.max(axis=1))
    kept = np.flatnonzero(mutual & clear)
    return kept, best[kept]


def _aligned_agreement(
    one: NDArray[np.uint8], other: NDArray[np.uint8], motion: NDArray[np.floating | np.integer]
) -> float:
    """Over what both show, 0 if too little; `motion` (2, 3) takes x, y, 1 of `one` to `other`."""
    size = other.shape[::-1]
    inside = cv2.warpAffine(np.ones(one.shape, np.float32), motion, size) > 0.99
    if inside.sum() < MIN_OVERLAP:
        return 0.0
    # Blurred to the lesser detail, and a little more since the motion is not exact to the pixel.
    blur = 0.5 / float(np.hypot(*motion[:, 0])) + 0.5
    warped = cv2.warpAffine(cv2.GaussianBlur(one, (0, 0), blur), motion, size)
    blurred = cv2.GaussianBlur(other, (0, 0), 1.0)
    return _agreement(np.asarray(warped, np.uint8), np.asarray(blurred, np.uint8), inside)


def _compare_parts(
    fingerprints: Sequence[Fingerprint], first: int, second: int, mirrored: bool
) -> DuplicatePair | None:
    """The pair as a crop or a scene, the second photo mirrored if asked; None if it is neither."""
    one, other = fingerprints[first], fingerprints[second]
    if min(len(one.packed), len(other.packed)) < MIN_INLIERS:
        return None
    rows, columns = _match_features(
        unpack_descriptors(one.packed), unpack_descriptors(other.packed, mirrored)
    )
    if len(rows) < MIN_INLIERS:
        return None
    here, there, view = one.points[rows], other.points[columns], other.thumbnail
    if mirrored:
        view = view[:, ::-1]
        there = np.stack([view.shape[1] - 1 - there[:, 0], there[:, 1]], axis=1)
    motion, follows = cv2.estimateAffinePartial2D(
        here, there, ransacReprojThreshold=MAX_SHIFT, maxIters=500
    )
    if motion is None or follows.sum() < MIN_INLIERS:
        return None
    scale, turn = np.hypot(*motion[:, 0]), np.degrees(np.arctan2(motion[1, 0], motion[0, 0]))
    if not 1 / MAX_SCALE <= scale <= MAX_SCALE or abs(turn) > MAX_TURN:
        return None
    if scale <= 1:
        score = _aligned_agreement(one.thumbnail, view, motion)
    else:
        score = _aligned_agreement(view, one.thumbnail, cv2.invertAffineTransform(motion))
    if score < (SCENE_AGREEMENT if follows.sum() < MANY_INLIERS else BUSY_SCENE_AGREEMENT):
        return None
    return DuplicatePair(first, second, "crop" if score >= CROP_AGREEMENT else "scene", score)


def find_pairs(fingerprints: Sequence[Fingerprint]) -> list[DuplicatePair]:
    """The near-duplicate pairs among photos in order of their indices, each once.

    A photo is compared closely only with those that share the most rare features with it, so a
    large group may lack some of its pairs.
    """
    # One thread: the products are many and small, so more threads would mostly wait on each other.
    with threadpool_limits(1):
        pairs = {(pair.first, pair.second): pair for pair in _find_copies(fingerprints)}
        for first, second, mirrored in map(np.ndarray.tolist, _crop_candidates(fingerprints)):
            known = pairs.get((first, second))
            if known is None or known.kind == "scene":
                pair = _compare_parts(fingerprints, first, second, bool(mirrored))
                if pair is not None and (known is None or pair.score > known.score):
                    pairs[first, second] = pair
    return [pairs[key] for key in sorted(pairs)]


def group_near_duplicates(fingerprints: Sequence[Fingerprint]) -> list[int]:
    """For each photo the smallest index among its near-duplicates, directly or through others."""
    pairs = find_pairs(fingerprints) if fingerprints else []
    return find_leaders(len(fingerprints), [(pair.first, pair.second) for pair in pairs])


def find_leaders(count: int, links: Sequence[tuple[int, int]]) -> list[int]:
    """For each of `count` items the smallest index that it is linked with, directly or not.

    >>> find_leaders(4, [(1, 3)])
    [0, 1, 2, 1]
    """
    leaders = list(range(count))

    def lead(item: int) -> int:
        while item != leaders[item]:
            leaders[item] = item = leaders[leaders[item]]
        return item

    for one, other in links:
        low, high = sorted((lead(one), lead(other)))
        leaders[high] = low
    return [lead(item) for item in range(count)]
