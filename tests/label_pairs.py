"""Truth and prediction, and scores by their definitions, written out loop by loop.

These references share no code with ``segcrf.metrics``: they follow the papers frame by frame and band by band.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import strategies as st


def masked(pred, true):
    return [p if t != -100 else -100 for p, t in zip(pred, true, strict=True)]


def bands(labels):
    """(label, start, end) of each run."""
    found, frame = [], 0
    for label, group in itertools.groupby(labels):
        length = len(list(group))
        if label != -100:
            found.append((label, frame, frame + length))
        frame += length
    return found


def without(trues, ignore):
    """Frames of ignored true classes, unlabelled."""
    return [[-100 if label in ignore else label for label in true] for true in trues]


def both_bands(pred, true, ignore=()):
    return [[band for band in bands(side) if band[0] not in ignore] for side in (masked(pred, true), list(true))]


def judged(trues, preds):
    return [(list(t), list(p)) for t, p in zip(trues, preds, strict=True) if any(label != -100 for label in t)]


def reduced(counts, pooled):
    """Percent from (hits, total) of each recording."""
    if not counts:
        return math.nan
    if pooled:
        counts = [(sum(hits for hits, _ in counts), sum(total for _, total in counts))]
    return 100 * sum(hits / total if total else 1 for hits, total in counts) / len(counts)


def averaged(scores):
    scores = [score for score in scores if not math.isnan(score)]
    return sum(scores) / len(scores) if scores else math.nan


def frames_of(trues, preds, ignore, pooled):
    """(predicted, true) classes of the frames that count, of all recordings or of each."""
    each = [
        [(p, t) for p, t in zip(pred, true, strict=True) if t != -100]
        for true, pred in judged(without(trues, ignore), preds)
    ]
    return [list(itertools.chain(*each))] if pooled else each


def reference_macro_f1(trues, preds, pooled, ignore, classes=None):
    scores = []
    for frames in frames_of(trues, preds, ignore, pooled):
        own = []
        for c in {label for frame in frames for label in frame} - {-100, *ignore}:
            hits = sum(p == t == c for p, t in frames)
            if classes is None or c in classes:
                own.append(200 * hits / (sum(p == c for p, _ in frames) + sum(t == c for _, t in frames)))
        scores.append(averaged(own))
    return averaged(scores)


def reference_kappa(trues, preds, pooled, ignore):
    scores = []
    for frames in frames_of(trues, preds, ignore, pooled):
        if not frames:
            continue
        n = len(frames)
        classes = {label for frame in frames for label in frame}
        chance = sum(sum(p == c for p, _ in frames) * sum(t == c for _, t in frames) for c in classes) / n**2
        scores.append(1 if len(classes) == 1 else (sum(p == t for p, t in frames) / n - chance) / (1 - chance))
    return averaged(scores)


def reference_accuracy(trues, preds, pooled, ignore=()):
    counts = []
    for true, pred in judged(without(trues, ignore), preds):
        frames = [(p, t) for p, t in zip(pred, true, strict=True) if t != -100]
        counts.append((sum(p == t for p, t in frames), len(frames)))
    return reduced(counts, pooled)


def iou(first, second):
    one, two = set(range(*first[1:])), set(range(*second[1:]))
    return len(one & two) / len(one | two)


def greedy_hits(pred, true, threshold):
    """MS-TCN's eval.py: each predicted band looks up its best true band of the same class."""
    used = [False] * len(true)
    for band in pred:
        overlaps = [iou(band, other) if band[0] == other[0] else 0.0 for other in true]
        best = max(range(len(true)), key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= threshold and not used[best]:
            used[best] = True
    return sum(used)


def most_pairs(first, second, fits):
    """The size of a largest matching, by trying everything."""
    if not first:
        return 0
    best = most_pairs(first[1:], second, fits)
    for place, other in enumerate(second):
        if fits(first[0], other):
            best = max(best, 1 + most_pairs(first[1:], second[:place] + second[place + 1 :], fits))
    return best


def reference_f1(trues, preds, threshold, pooled, ignore, matching):
    counts = []
    for true, pred in judged(trues, preds):
        ours, theirs = both_bands(pred, true, ignore)
        if matching == "greedy":
            hits = greedy_hits(ours, theirs, threshold)
        else:
            hits = most_pairs(ours, theirs, lambda a, b: a[0] == b[0] and iou(a, b) >= threshold)
        counts.append((2 * hits, len(ours) + len(theirs)))
    return reduced(counts, pooled)


def levenshtein(first, second):
    table = [[i + j if i * j == 0 else 0 for j in range(len(second) + 1)] for i in range(len(first) + 1)]
    for i, j in itertools.product(range(1, len(first) + 1), range(1, len(second) + 1)):
        changed = table[i - 1][j - 1] + (first[i - 1] != second[j - 1])
        table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, changed)
    return table[-1][-1]


def reference_edit(trues, preds, pooled, ignore):
    counts = []
    for true, pred in judged(trues, preds):
        ours, theirs = ([band[0] for band in side] for side in both_bands(pred, true, ignore))
        longest = max(len(ours), len(theirs))
        counts.append((longest - levenshtein(ours, theirs), longest))
    return reduced(counts, pooled)


def reference_covering(trues, preds, pooled, ignore):
    counts = []
    for true, pred in judged(trues, preds):
        ours, theirs = both_bands(pred, true, ignore)
        covered = sum((end - start) * max((iou(band, other) for other in ours), default=0)
                      for band in theirs for _, start, end in [band])  # fmt: skip
        counts.append((covered, sum(end - start for _, start, end in theirs)))
    return reduced(counts, pooled)


def changes(labels, ignore=()):
    return [
        t
        for t in range(1, len(labels))
        if labels[t] != labels[t - 1] and not {-100, *ignore} & {labels[t - 1], labels[t]}
    ]


def nearest_first(ours, theirs, margin):
    """Pairs (predicted, true), the nearest first, at equal distance the earlier true one, then the earlier predicted
    one."""
    ours, theirs, pairs = list(ours), list(theirs), []
    while candidates := [(abs(o - t), t, o) for o in ours for t in theirs if abs(o - t) <= margin]:
        _, frame, guess = min(candidates)
        pairs.append((guess, frame))
        ours.remove(guess)
        theirs.remove(frame)
    return pairs


def reference_boundaries(trues, preds, margin, pooled, ignore, matching):
    counts = []
    for true, pred in judged(trues, preds):
        ours, theirs = changes(masked(pred, true), ignore), changes(true, ignore)
        if matching == "optimal":
            hits = most_pairs(ours, theirs, lambda a, b: abs(a - b) <= margin)
        else:
            hits = len(nearest_first(ours, theirs, margin))
        counts.append((hits, len(ours), len(theirs)))
    return (
        reduced([(hits, ours) for hits, ours, _ in counts], pooled),
        reduced([(hits, theirs) for hits, _, theirs in counts], pooled),
        reduced([(2 * hits, ours + theirs) for hits, ours, theirs in counts], pooled),
    )


def reference_hausdorff(trues, preds, pooled, ignore):
    distances = []
    for true, pred in judged(trues, preds):
        ours, theirs = changes(masked(pred, true), ignore), changes(true, ignore)
        if not ours or not theirs:
            distances.append(len(true) if ours or theirs else 0)
            continue
        forth = max(min(abs(a - b) for b in theirs) for a in ours)
        back = max(min(abs(a - b) for a in ours) for b in theirs)
        distances.append(max(forth, back))
    if pooled:
        return max(distances, default=math.nan)
    return sum(distances) / len(distances) if distances else math.nan


def conditional_entropy_score(of, given_):
    """1 - H(of | given) / log(number of of), from its definition."""
    if len(set(of)) < 2:
        return 1.0
    total = 0.0
    for unit in set(given_):
        inside = [other for other, own in zip(of, given_, strict=True) if own == unit]
        for other in set(inside):
            share = inside.count(other) / len(inside)
            total -= len(inside) / len(of) * share * math.log(share)
    return 1 - total / math.log(len(set(of)))


def reference_entropies(trues, preds, by, pooled, ignore):
    # The unit of each frame of a recording in each of the two labellings.
    recordings = []
    for number, (true, pred) in enumerate(judged(trues, preds)):
        units = [{}, {}]
        for side, own in zip(units, both_bands(pred, true, ignore), strict=True):
            for label, start, end in own:
                unit = (number, start) if by == "band" else label
                side.update({(number, t): unit for t in range(start, end)})
        recordings.append(units)
    if pooled and recordings:
        sides = zip(*recordings, strict=True)
        recordings = [[dict(itertools.chain(*(frames.items() for frames in side))) for side in sides]]
    scores = []
    for units in recordings:
        frames = [t for t in units[1] if t in units[0]]
        ours, theirs = [units[0][t] for t in frames], [units[1][t] for t in frames]
        pair = conditional_entropy_score(ours, theirs), conditional_entropy_score(theirs, ours)
        scores.append(pair if frames else (0.0, 0.0) if any(units) else (1.0, 1.0))
    return np.mean(scores, axis=0) if scores else (math.nan, math.nan)


@st.composite
def labellings(draw, unpredicted=True, max_frames=12, max_recordings=3):
    """True and predicted labels of up to three short recordings, some of them empty or unlabelled."""
    preds, trues = [], []
    for _ in range(draw(st.integers(0, max_recordings))):
        frames = draw(st.integers(0, max_frames))
        own = st.lists(st.sampled_from([0, 1, 2] + [-100] * unpredicted), min_size=frames, max_size=frames)
        theirs = st.lists(st.sampled_from([0, 0, 1, 2, -100]), min_size=frames, max_size=frames)
        preds.append(np.array(draw(own), dtype=np.int64))
        trues.append(np.array(draw(theirs), dtype=np.int64))
    return trues, preds


ignored = st.sampled_from([(), (0,), (1, 2)])


def same(value, expected):
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9)


def long_case(seed, num_classes=4, num_frames=600, flicker=0.1):
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.integers(0, num_classes, 60), 10)[:num_frames]
    pred = np.where(rng.random(num_frames) < flicker, rng.integers(0, num_classes, num_frames), np.roll(true, 2))
    return true, pred


def cut_case(seed):
    """A long case in recordings of 150, 50 and 400 frames."""
    return [np.split(labels, [150, 200]) for labels in long_case(seed)]


def breakpoints(labels):
    return [*changes(labels.tolist()), len(labels)]
