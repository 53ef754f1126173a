"""Frame, segment and boundary scores of predicted against true labels.

Every function takes the prediction first and the truth second, as lists of (T,) arrays: class numbers with
-100 for unlabelled frames, or class names with "" for unlabelled ones. Scores that the field prints in
percent are in percent.

The same predictions score up to ten points more or less by other conventions, so these are arguments, and a score
should be printed with them.

**Pooled or per recording.** ``pooled=True`` adds up the counts of all recordings before dividing;
``pooled=False`` gives the mean of the recordings' scores. A recording without a labelled frame is left out.
Each function's default is what its source does.

**Ignored classes.** To frame scores, frames whose *true* class is in ``ignore`` (a background, say) are
unlabelled. All other functions drop the bands of these classes from truth and prediction; the neighbours of a
dropped band are not merged, and do not meet in a boundary.

**Ties.** ``matching`` says who gets a true band or boundary that several predicted ones could claim.

**Unlabelled frames.** Frames without a true label are taken out of both labellings before anything else:

=====================================  ===================================  ===================================
scores of                              a frame without a true label         a labelled frame without prediction
=====================================  ===================================  ===================================
frames: accuracy, macro F1, kappa      does not count                       is wrong, for kappa a class by itself
bands: edit, F1, covering, band ratio  is in no band, true or predicted,    is in no predicted band, and parts
                                       and parts the bands beside it        the predicted bands beside it
entropies of over-/under-segmentation  does not count, parts bands          does not count, parts bands
boundaries, Hausdorff                  ends of a gap are no boundaries;     ends of a gap are no boundaries;
                                       its duration counts as distance      its duration counts as distance
=====================================  ===================================  ===================================

**Nothing to count.** 0 of 0 is a full score: where there is nothing to find (no boundary in a recording of
one band, no band besides those of ignored classes), finding nothing is right, and the Hausdorff distance is 0.
Predicted bands per true band are infinite where there are only predicted ones. Where no frame is labelled at all, as
where there is no recording, every score is NaN, without a warning, and :func:`boundary_error` has no pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.segments import IntArray, Recordings, Segments

Array = npt.NDArray[Any]

FloatArray = npt.NDArray[np.float64]
Class = int | str
Matching = Literal["greedy", "optimal"]
BoundaryMatching = Literal["optimal", "nearest"]


# ------------------------------------------------------------------------------------------- the standard row
def evaluate(
    pred: Recordings,
    true: Recordings,
    classes: Sequence[Class] | None = None,
    *,
    ignore: Sequence[Class] = (),
    pooled: bool = True,
    matching: Matching = "greedy",
) -> dict[str, float]:
    """Score a labelling with the usual row of metrics.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        classes: the classes that ``macro_f1`` averages; None: all that occur.
        ignore: classes whose bands ``edit`` and ``f1`` leave out; the others count all classes.
        pooled: for accuracy, F1 and the band ratio; ``edit`` is always the mean over recordings, and
            ``macro_f1`` always pooled.
        matching: as for :func:`segment_f1`.

    Returns:
        ``accuracy``, ``macro_f1``, ``edit``, ``f1@10``, ``f1@25``, ``f1@50`` in percent, and ``band_ratio``.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    >>> row = evaluate([[0, 0, 1, 1, 0, 1]], [[0, 0, 0, 1, 1, 1]])
    >>> for name, value in row.items():
    ...     print(f"{name:10} {value:5.1f}")
    accuracy    66.7
    macro_f1    66.7
    edit        50.0
    f1@10       66.7
    f1@25       66.7
    f1@50       33.3
    band_ratio   2.0
    """
    row = {
        "accuracy": frame_accuracy(pred, true, pooled),
        "macro_f1": macro_f1(pred, true, classes),
        "edit": edit_score(pred, true, ignore),
    }
    for percent in (10, 25, 50):
        row[f"f1@{percent}"] = segment_f1(pred, true, percent / 100, pooled, ignore, matching=matching)
    return row | {"band_ratio": band_ratio(pred, true, pooled)}


def conventions(*, ignore: Sequence[Class] = (), pooled: bool = True, matching: Matching = "greedy") -> str:
    """Return one line that says how :func:`evaluate` counts, to be printed with its scores.

    Args:
        ignore: as given to :func:`evaluate`.
        pooled: as given to :func:`evaluate`.
        matching: as given to :func:`evaluate`.

    Raises:
        TypeError, ValueError: ``ignore`` is no list, ``pooled`` neither True nor False, or ``matching`` unknown.

    >>> print(conventions(ignore=["rest"]))
    pooled over recordings: accuracy, macro F1, F1@k (greedy matching), bands pred/true; mean over recordings: edit;
    unlabelled frames left out; classes left out of edit and F1@k: rest
    """
    _check_flag(pooled, "pooled")
    _validation.choice(matching, "matching", ("greedy", "optimal"))
    dropped = ", ".join(map(str, _check_class_list(ignore, "ignore")))
    moved = f"F1@k ({matching} matching), bands pred/true"
    summed, averaged = (f"accuracy, macro F1, {moved}", "edit") if pooled else ("macro F1", f"accuracy, edit, {moved}")
    return (
        f"pooled over recordings: {summed}; mean over recordings: {averaged}; unlabelled frames left out; "
        f"classes left out of edit and F1@k: {dropped or 'none'}"
    )


# ----------------------------------------------------------------------------------------------------- frames
def frame_accuracy(pred: Recordings, true: Recordings, pooled: bool = True, *, ignore: Sequence[Class] = ()) -> float:
    """Return the share of labelled frames whose class is right, in percent.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        pooled: over all frames (Farha and Gall, 2019), or the mean of the recordings' accuracies (Lea et al.,
            2017).
        ignore: true classes whose frames are left out.

    Raises:
        TypeError: labels are neither integers nor text, the two sides differ in kind, or ``ignore`` is no list of
            classes given as the labels are.
        ValueError: the two sides differ in recordings or frames, a label is negative and not -100, or a name in
            ``ignore`` occurs nowhere.

    >>> round(frame_accuracy([[0, 0, 1, 1]], [[0, 1, 1, -100]]), 1)
    66.7
    """
    pair = _Pair.of(pred, true).without(ignore)
    hits = [np.count_nonzero((p == t) & (t != UNLABELLED)) for p, t in zip(pair.pred, pair.true, strict=True)]
    return _percent(hits, [np.count_nonzero(t != UNLABELLED) for t in pair.true], pooled)


def macro_f1(
    pred: Recordings,
    true: Recordings,
    classes: Sequence[Class] | None = None,
    *,
    pooled: bool = True,
    ignore: Sequence[Class] = (),
) -> float:
    """Return the mean over classes of the frame-wise F1, in percent.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        classes: the classes to average; None: all that occur in either. A class that occurs in neither is
            left out.
        pooled: F1 of the frames of all recordings, or the mean over recordings of each one's macro F1, which
            averages the classes that occur in it.
        ignore: true classes whose frames are left out; nor are these classes averaged. To keep their frames and
            leave them out of the average only, name the others in ``classes``.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``classes`` are names of which none occurs.

    >>> round(macro_f1([[0, 0, 1, 1]], [[0, 0, 0, 1]]), 1)
    73.3
    """
    pair = _Pair.of(pred, true)
    averaged = None if classes is None else pair.listed(classes)
    left_out = np.append(pair.ignored(ignore), UNLABELLED)
    scores: list[float] = []
    for part in pair.without(ignore).parts(pooled):
        labels, counts = _confusion(part)
        wanted = ~np.isin(labels, left_out)
        if averaged is not None:
            wanted &= np.isin(labels, averaged)
        f1 = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))
        scores += [100 * float(f1[wanted].mean())] if wanted.any() else []
    return _mean(scores)


def cohen_kappa(pred: Recordings, true: Recordings, *, pooled: bool = True, ignore: Sequence[Class] = ()) -> float:
    """Return Cohen's kappa over labelled frames: 1 is full agreement, 0 is what chance gives.

    It is 1 where truth and prediction are one and the same class throughout.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        pooled: over the frames of all recordings, or the mean of the recordings' kappas.
        ignore: true classes whose frames are left out.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    Source: Cohen, "A coefficient of agreement for nominal scales", 1960.

    >>> cohen_kappa([[0, 0, 1, 1]], [[0, 0, 0, 1]])
    0.5
    """
    return _mean([_kappa(_confusion(part)[1]) for part in _Pair.of(pred, true).without(ignore).parts(pooled)])


# --------------------------------------------------------------------------------------------------- segments
def edit_score(pred: Recordings, true: Recordings, ignore: Sequence[Class] = (), pooled: bool = False) -> float:
    """Return how alike the orders of bands are, whatever their durations, in percent.

    100 (1 - d / n), with d the Levenshtein distance between the classes of the bands in order, and n the
    number of bands on the side that has more. The time it takes grows with predicted times true bands.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        ignore: classes whose bands are dropped first.
        pooled: distances and lengths added up, or the mean over recordings (Lea et al., 2017).

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    Source: Lea et al., "Temporal convolutional networks for action segmentation and detection", 2017.

    >>> round(edit_score([[0, 0, 1, 2, 2]], [[0, 1, 1, 1, 0]]), 1)
    66.7
    """
    pair = _Pair.of(pred, true)
    orders = [pair.split(bands.recording, bands.label) for bands in pair.bands(ignore)]
    longest = [max(len(ours), len(theirs)) for ours, theirs in zip(*orders, strict=True)]
    distances = [_edit_distance(ours, theirs) for ours, theirs in zip(*orders, strict=True)]
    return _percent(np.subtract(longest, distances), longest, pooled)


def segment_f1(
    pred: Recordings,
    true: Recordings,
    iou: float = 0.5,
    pooled: bool = True,
    ignore: Sequence[Class] = (),
    *,
    matching: Matching = "greedy",
) -> float:
    """Return the F1 of bands that overlap a true band of their class by at least ``iou``, in percent.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        iou: least intersection over union, above 0 and at most 1.
        pooled: bands of all recordings counted together (Farha and Gall, 2019), or the mean of the
            recordings' F1 (Lea et al., 2017).
        ignore: classes whose bands are dropped first.
        matching: "greedy": in time order each predicted band claims the true band it overlaps most (the
            earlier of two), and is wrong if that one is taken, even if another is free; "optimal": as many
            pairs as possible. Above an IoU of 0.5 they agree.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``iou`` or ``matching`` is not one of the above.

    Source: Lea et al., 2017; Farha and Gall, "MS-TCN", 2019.

    >>> round(segment_f1([[0, 0, 1, 1, 0, 1]], [[0, 0, 0, 1, 1, 1]], iou=0.5), 1)
    33.3
    """
    _check_fraction(iou, "iou")
    _validation.choice(matching, "matching", ("greedy", "optimal"))
    pair = _Pair.of(pred, true)
    ours, theirs = pair.bands(ignore)
    found = _found(ours, theirs, iou, matching)
    total = pair.count(ours.recording) + pair.count(theirs.recording)
    return _percent(2 * pair.count(theirs.recording[found]), total, pooled)


def covering(pred: Recordings, true: Recordings, pooled: bool = False, *, ignore: Sequence[Class] = ()) -> float:
    """Return how well predicted bands cover the true ones, whatever their classes, in percent.

    Each true band counts with its duration and the IoU of the predicted band that it overlaps most.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        pooled: over all frames, or the mean over recordings.
        ignore: classes whose bands are dropped first, from truth and prediction.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    Source: Arbelaez et al., "Contour detection and hierarchical image segmentation", 2011; van den Burg and
    Williams, "An evaluation of change point detection algorithms", 2020.

    >>> covering([[0, 0, 1, 1, 1, 1]], [[5, 5, 5, 5, 6, 6]])
    50.0
    """
    pair = _Pair.of(pred, true)
    ours, theirs = pair.bands(ignore)
    common = _overlaps(ours, theirs)
    best = np.zeros(len(theirs))
    np.maximum.at(best, common.true, common.iou)
    covered, frames = (pair.count(theirs.recording, w) for w in (theirs.durations * best, theirs.durations))
    return _percent(covered, frames, pooled)


def band_ratio(pred: Recordings, true: Recordings, pooled: bool = True, *, ignore: Sequence[Class] = ()) -> float:
    """Return predicted bands per true band: above 1 the prediction flickers, below 1 it misses bands.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        pooled: bands of all recordings counted together, or the mean of the recordings' ratios.
        ignore: classes whose bands are not counted, in truth and prediction.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    >>> band_ratio([[0, 1, 0, 1]], [[0, 0, 1, 1]])
    2.0
    """
    pair = _Pair.of(pred, true)
    ours, theirs = pair.bands(ignore)
    return _percent(pair.count(ours.recording), pair.count(theirs.recording), pooled) / 100


class SegmentationEntropy(NamedTuple):
    """Scores from 0 to 1 that fall as a labelling is over- or under-segmented."""

    over: float
    under: float


def segmentation_entropy(
    pred: Recordings,
    true: Recordings,
    by: Literal["band", "class"] = "band",
    *,
    pooled: bool = False,
    ignore: Sequence[Class] = (),
) -> SegmentationEntropy:
    """Return the normalised conditional entropies of over- and under-segmentation.

    ``over`` is 1 - H(predicted | true) / log(predicted units): 1 where every true unit has one predicted
    unit. ``under`` is 1 - H(true | predicted) / log(true units). A side with a single unit scores 1
    (mir_eval: 0). Frames without a prediction are left out, and a recording without any prediction scores 0.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        by: the units: every band for itself, or all bands of a class together as in mir_eval's
            ``segment.nce``.
        pooled: entropies over the frames of all recordings at once, or the mean over recordings.
        ignore: classes whose bands are dropped first, from truth and prediction; frames that are then in no band of
            one of the two are left out.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``by`` is not one of the above.

    Source: Lukashevich, "Towards quantitative measures of evaluating song segmentation", 2008.

    >>> segmentation_entropy([[0, 1, 0, 1]], [[0, 0, 1, 1]])
    SegmentationEntropy(over=0.5, under=1.0)
    """
    _validation.choice(by, "by", ("band", "class"))
    _check_flag(pooled, "pooled")
    pair = _Pair.of(pred, true)
    ours, theirs = pair.bands(ignore)
    common = _overlaps(ours, theirs)
    units = common.pred, common.true
    if by == "class":
        units = ours.label[common.pred], theirs.label[common.true]
    columns, recording = (*units, common.frames), ours.recording[common.pred]
    banded = pair.count(ours.recording) + pair.count(theirs.recording) > 0
    if pooled:
        scores = [_entropy_scores(*columns, bool(banded.any()))] if pair.true else []
    else:
        groups = zip(*(pair.split(recording, values) for values in columns), banded.tolist(), strict=True)
        scores = [_entropy_scores(*group) for group in groups]
    return SegmentationEntropy(*(_mean([score[side] for score in scores]) for side in (0, 1)))


# ------------------------------------------------------------------------------------------------- boundaries
class BoundaryScores(NamedTuple):
    """How many boundaries were found, in percent."""

    precision: float
    recall: float
    f1: float


def boundary_scores(
    pred: Recordings,
    true: Recordings,
    margin: float,
    sampling_rate: float | None = None,
    pooled: bool = True,
    *,
    ignore: Sequence[Class] = (),
    matching: BoundaryMatching = "optimal",
) -> BoundaryScores:
    """Return precision, recall and F1 of boundaries found within a margin, in percent.

    A boundary is the first frame of a band that follows another without a gap, whatever the classes. Each is
    matched once, to one at most ``margin`` away.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        margin: largest distance that still counts, in frames, or in seconds if ``sampling_rate`` is given.
        sampling_rate: frames per second.
        pooled: boundaries of all recordings counted together, or the mean of the recordings' scores.
        ignore: classes whose bands are dropped first, from truth and prediction: what is left are boundaries
            between two others.
        matching: "optimal": as many pairs as possible; "nearest": the nearest pairs first, at equal distance the
            earlier true one, then the earlier predicted one, which may leave a boundary without the partner that
            it could have had. With margins below half the shortest band of either side there is no difference.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``margin`` is negative, ``sampling_rate`` not above 0, or
            ``matching`` not one of the above.

    >>> boundary_scores([[0, 0, 0, 1, 0, 0]], [[0, 0, 1, 1, 1, 1]], margin=1)
    BoundaryScores(precision=50.0, recall=100.0, f1=66.66666666666667)
    """
    _validation.choice(matching, "matching", ("optimal", "nearest"))
    pair = _Pair.of(pred, true)
    reach = min(_check_margin(margin, sampling_rate), pair.longest)
    ours, theirs = pair.boundaries(reach, ignore)
    find = _reached if matching == "optimal" else _nearest
    found = find(ours.place, theirs.place, reach)[1]
    hits, predicted, actual = map(pair.count, (theirs.recording[found], ours.recording, theirs.recording))
    return BoundaryScores(
        precision=_percent(hits, predicted, pooled),
        recall=_percent(hits, actual, pooled),
        f1=_percent(2 * hits, predicted + actual, pooled),
    )


def boundary_f1(
    pred: Recordings,
    true: Recordings,
    margin: float,
    sampling_rate: float | None = None,
    pooled: bool = True,
    *,
    ignore: Sequence[Class] = (),
    matching: BoundaryMatching = "optimal",
) -> float:
    """Return the F1 of :func:`boundary_scores`, in percent.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        margin: largest distance that still counts, in frames, or in seconds if ``sampling_rate`` is given.
        sampling_rate: frames per second.
        pooled: as for :func:`boundary_scores`; so are ``ignore`` and ``matching``.
        ignore: classes whose bands are dropped first.
        matching: "optimal" or "nearest".

    Raises:
        TypeError, ValueError: as :func:`boundary_scores`.

    >>> boundary_f1([[0, 0, 0, 1, 1, 1]], [[0, 0, 1, 1, 1, 1]], margin=0)
    0.0
    """
    return boundary_scores(pred, true, margin, sampling_rate, pooled, ignore=ignore, matching=matching).f1


class BoundaryError(NamedTuple):
    """Signed error of the boundaries from one class to another (above 0: predicted too late), and counts."""

    mean: float
    sd: float
    found: int
    missed: int
    extra: int


def boundary_error(
    pred: Recordings,
    true: Recordings,
    margin: float,
    sampling_rate: float | None = None,
    *,
    ignore: Sequence[Class] = (),
) -> dict[tuple[Class, Class], BoundaryError]:
    """Return the error of boundaries per pair of classes, over all recordings.

    A true boundary is found if a predicted one between the same two classes lies at most ``margin`` away; the
    nearest pairs are matched first, at equal distance the earlier ones.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        margin: largest distance that still counts, in frames, or in seconds if ``sampling_rate`` is given; memory grows
            with the pairs that are within it.
        sampling_rate: frames per second.
        ignore: classes whose boundaries are left out.

    Returns:
        (class before, class after) -> mean and population standard deviation of predicted minus true time, in
        frames or seconds (NaN if none was found), and how many were found, missed, and predicted in vain.

    Raises:
        TypeError, ValueError: as :func:`boundary_scores`.

    >>> boundary_error([[0, 0, 0, 1, 1, 0]], [[0, 0, 1, 1, 1, 1]], margin=2)[0, 1]
    BoundaryError(mean=1.0, sd=0.0, found=1, missed=0, extra=0)
    """
    pair = _Pair.of(pred, true)
    reach = min(_check_margin(margin, sampling_rate), pair.longest)
    sides = pair.boundaries(reach, ignore)
    errors: dict[tuple[Class, Class], BoundaryError] = {}
    for kind in np.unique(np.concatenate([side.kind for side in sides]), axis=0):
        ours, theirs = (side.place[(side.kind == kind).all(1)] for side in sides)
        i, j = _nearest(ours, theirs, reach)
        found = (ours[i] - theirs[j]) / _validation.frames_per_second(sampling_rate)
        spread = float(found.std()) if found.size else math.nan
        before, after = (pair.named(int(number)) for number in kind)
        missed, extra = len(theirs) - len(found), len(ours) - len(found)
        errors[before, after] = BoundaryError(_mean(found), spread, len(found), missed, extra)
    return errors


def hausdorff(
    pred: Recordings,
    true: Recordings,
    sampling_rate: float | None = None,
    *,
    pooled: bool = False,
    ignore: Sequence[Class] = (),
) -> float:
    """Return the largest distance from a boundary to the nearest one of the other labelling.

    It is 0 for a recording where neither has a boundary, and its whole duration where only one has.

    Args:
        pred: predicted labels, list of (T,).
        true: true labels, list of (T,).
        sampling_rate: frames per second, for a distance in seconds; None: in frames.
        pooled: the largest of all recordings, or the mean over recordings.
        ignore: classes whose bands are dropped first, as for :func:`boundary_scores`.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``sampling_rate`` is not above 0.

    >>> hausdorff([[0, 0, 0, 1, 0, 0]], [[0, 0, 1, 1, 1, 1]])
    2.0
    """
    _check_flag(pooled, "pooled")
    pair = _Pair.of(pred, true)
    ours, theirs = (pair.split(side.recording, side.place) for side in pair.boundaries(0, ignore))
    distances = [_hausdorff(*sides) for sides in zip(ours, theirs, map(len, pair.true), strict=True)]
    return _mean([max(distances)] if pooled and distances else distances) / _validation.frames_per_second(sampling_rate)


# ------------------------------------------------------------------------------------------- what is compared
@dataclass(frozen=True)
class _Pair:
    """Two labellings of the same recordings, -100 in both where the truth is unlabelled."""

    pred: list[IntArray]
    true: list[IntArray]
    names: list[str] | None  # None: labels are numbers

    @classmethod
    def of(cls, pred: Recordings, true: Recordings) -> _Pair:
        ours, theirs, names = _check_label_pair(pred, true)
        return cls._judged(ours, theirs, names)

    @classmethod
    def _judged(cls, pred: list[IntArray], true: list[IntArray], names: list[str] | None) -> _Pair:
        judged = [i for i, labels in enumerate(true) if (labels != UNLABELLED).any()]
        masked = [np.where(true[i] == UNLABELLED, UNLABELLED, pred[i]) for i in judged]
        return cls(masked, [true[i] for i in judged], names)

    def without(self, ignore: Sequence[Class]) -> _Pair:
        """The pair where frames of ignored true classes are unlabelled."""
        dropped = self.ignored(ignore)
        true = [np.where(np.isin(labels, dropped), UNLABELLED, labels) for labels in self.true]
        return self._judged(self.pred, true, self.names)

    def parts(self, pooled: bool) -> list[_Pair]:
        """All recordings in one, or each by itself."""
        _check_flag(pooled, "pooled")
        if pooled:
            return [self]
        return [_Pair([pred], [true], self.names) for pred, true in zip(self.pred, self.true, strict=True)]

    def bands(self, ignore: Sequence[Class]) -> tuple[Segments, Segments]:
        """Predicted and true bands, without those of ignored classes."""
        dropped = self.ignored(ignore)
        sides = Segments.from_labels(self.pred), Segments.from_labels(self.true)
        pred, true = (side.select(~np.isin(side.label, dropped)) for side in sides)
        return pred, true

    def boundaries(self, reach: int, ignore: Sequence[Class]) -> tuple[_Boundaries, _Boundaries]:
        """Predicted and true boundaries, those of two recordings placed more than ``reach`` apart."""
        pred, true = (_boundaries(side, reach + self.longest) for side in self.bands(ignore))
        return pred, true

    @property
    def longest(self) -> int:
        """Frames of the longest recording: no two of its boundaries are further apart."""
        return max(map(len, self.true), default=0)

    def count(self, recording: IntArray, weights: IntArray | FloatArray | None = None) -> npt.NDArray[Any]:
        """How many bands or boundaries each recording has, or their sum of weights, from the recording of each."""
        return np.bincount(recording, weights, minlength=len(self.true))

    def split(self, recording: IntArray, values: IntArray) -> list[IntArray]:
        """One array per recording, from the recording of each value."""
        cuts = np.searchsorted(recording, np.arange(1, len(self.true)))
        return np.split(values, cuts) if self.true else []

    def ignored(self, ignore: Sequence[Class]) -> IntArray:
        """Numbers of the classes to ignore; a name that occurs nowhere is taken for a slip."""
        return self._numbers(ignore, "ignore", occur="all")

    def listed(self, classes: Sequence[Class]) -> IntArray:
        """Numbers of the classes to average; names may occur nowhere, but not all of them."""
        return self._numbers(classes, "classes", occur="any")

    def _numbers(self, classes: Sequence[Class], argument: str, occur: str) -> IntArray:
        given = _check_class_list(classes, argument)
        if not self.true:
            given = []  # without a label nothing tells which names there are, or that there are names
        _check_known_classes(given, argument, self.names, occur)
        known = given if self.names is None else [self.names.index(c) for c in given if c in self.names]
        return np.array(known, dtype=np.int64)

    def named(self, number: int) -> Class:
        return number if self.names is None else self.names[number]


def _percent(hits: npt.ArrayLike, totals: npt.ArrayLike, pooled: bool) -> float:
    """Percent of hits, added up before dividing or averaged after; 0 of 0 is 100, no recording is NaN."""
    _check_flag(pooled, "pooled")
    counts: FloatArray = np.stack([hits, totals], axis=1).astype(np.float64)
    if pooled and len(counts):
        counts = counts.sum(axis=0, keepdims=True)
    return _mean([100 * hit / total if total else math.inf if hit else 100.0 for hit, total in counts.tolist()])


def _mean(values: Sequence[float] | FloatArray) -> float:
    """The mean, NaN of nothing."""
    return float(np.mean(values)) if len(values) else math.nan


def _confusion(pair: _Pair) -> tuple[IntArray, IntArray]:
    """The classes that occur (-100: not predicted), and the frames of each pair (true, predicted)."""
    none = np.empty(0, dtype=np.int64)
    pred, true = (np.concatenate([none, *side]) for side in (pair.pred, pair.true))
    labelled = true != UNLABELLED
    pred, true = pred[labelled], true[labelled]
    labels = np.union1d(pred, true)
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(labels, true), np.searchsorted(labels, pred)), 1)
    return labels, counts


def _kappa(counts: IntArray) -> float:
    """Cohen's kappa from the frames of each pair of classes; NaN without any."""
    total = counts.sum()
    if not total:
        return math.nan
    agreed = np.trace(counts) / total
    by_chance = counts.sum(0) @ counts.sum(1) / total**2
    return 1.0 if by_chance == 1 else float((agreed - by_chance) / (1 - by_chance))


def _edit_distance(first: IntArray, second: IntArray) -> int:
    """Levenshtein distance, a row of the table at a time."""
    long, short = (first, second) if len(first) >= len(second) else (second, first)
    steps = np.arange(len(long) + 1, dtype=np.int32)
    row = steps
    for symbol in short:
        best = row + 1
        np.minimum(best[1:], row[:-1] + (long != symbol), out=best[1:])
        # Insertions run along the row at 1 each: a running minimum once the number of steps is taken off.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


# --------------------------------------------------------------------------------------------------- overlaps
class _Overlaps(NamedTuple):
    """The pairs of predicted and true bands that share frames, in the order of the predicted ones."""

    pred: IntArray
    true: IntArray
    frames: IntArray
    iou: FloatArray


def _overlaps(pred: Segments, true: Segments) -> _Overlaps:
    """Find all overlaps; there are fewer than bands, so this takes no longer than sorting them."""
    span = int(max(pred.end.max(initial=0), true.end.max(initial=0)))
    # Recordings laid end to end: bands of different ones cannot overlap.
    pred_start, true_start = pred.recording * span + pred.start, true.recording * span + true.start
    pred_end, true_end = pred_start + pred.durations, true_start + true.durations
    first = np.searchsorted(true_end, pred_start, side="right")
    count = np.searchsorted(true_start, pred_end, side="left") - first
    i, j = _ranges(first, count)
    frames = np.minimum(pred_end[i], true_end[j]) - np.maximum(pred_start[i], true_start[j])
    return _Overlaps(i, j, frames, frames / (pred.durations[i] + true.durations[j] - frames))


def _found(pred: Segments, true: Segments, iou: float, matching: Matching) -> npt.NDArray[np.bool_]:
    """(N_true,) bool, the true bands that are matched."""
    common = _overlaps(pred, true)
    good = (pred.label[common.pred] == true.label[common.true]) & (common.iou >= iou)
    i, j, quality = common.pred[good], common.true[good], common.iou[good]
    if matching == "greedy":
        order = np.lexsort((j, -quality, i))
        _, best = np.unique(i[order], return_index=True)
        # Whichever of its claimants comes first takes a true band: it is found if there is any.
        matched = j[order][best]
    else:
        matched = _most_pairs(i, j)
    found = np.zeros(len(true), dtype=np.bool_)
    found[matched] = True
    return found


def _most_pairs(pred: IntArray, true: IntArray) -> list[int]:
    """The true bands of a largest matching among overlaps.

    Overlaps are sorted by both bands at once, so that taking each one whose bands are free leaves most to
    those after.
    """
    matched: list[int] = []
    last = -1
    for i, j in zip(pred.tolist(), true.tolist(), strict=True):
        if i > last and (not matched or j > matched[-1]):
            last = i
            matched.append(j)
    return matched


def _entropy_scores(pred: IntArray, true: IntArray, frames: IntArray, banded: bool) -> tuple[float, float]:
    """(over, under) from overlaps: predicted unit, true unit, frames in common; and whether there is any band."""
    if not frames.size:
        return (0.0, 0.0) if banded else (1.0, 1.0)
    _, codes = np.unique(true, return_inverse=True)
    joint = _entropy(pred * (codes.max() + 1) + codes, frames)

    def score(units: IntArray, given: IntArray) -> float:
        number = len(np.unique(units))
        # H(units | given) = H(units, given) - H(given), which rounding may put below 0.
        return 1.0 - max(joint - _entropy(given, frames), 0.0) / math.log(number) if number > 1 else 1.0

    return score(pred, given=true), score(true, given=pred)


def _entropy(units: IntArray, frames: IntArray) -> float:
    """Entropy in nats of the unit of a frame."""
    _, codes = np.unique(units, return_inverse=True)
    shares = np.bincount(codes, frames) / frames.sum()
    return float(-(shares * np.log(shares)).sum())


# ------------------------------------------------------------------------------------------------- boundaries
class _Boundaries(NamedTuple):
    """Where a band follows another without a gap."""

    recording: IntArray  # (N,)
    place: IntArray  # (N,), first frame of the later band on one axis for all recordings
    kind: IntArray  # (N, 2), class before and after


def _boundaries(bands: Segments, span: int) -> _Boundaries:
    touching = (bands.recording[1:] == bands.recording[:-1]) & (bands.start[1:] == bands.end[:-1])
    recording, start = bands.recording[1:][touching], bands.start[1:][touching]
    kind = np.stack([bands.label[:-1][touching], bands.label[1:][touching]], axis=1)
    return _Boundaries(recording, recording * span + start, kind)


def _reached(pred: IntArray, true: IntArray, reach: int) -> tuple[list[int], list[int]]:
    """Pairs at most ``reach`` apart, matched in order; on a line, the earliest pair first gives the most pairs."""
    matched_pred, matched_true = list[int](), list[int]()
    ours, theirs = pred.tolist(), true.tolist()
    i = j = 0
    while i < len(ours) and j < len(theirs):
        if abs(ours[i] - theirs[j]) <= reach:
            matched_pred.append(i)
            matched_true.append(j)
            i, j = i + 1, j + 1
        elif ours[i] < theirs[j]:
            i += 1
        else:
            j += 1
    return matched_pred, matched_true


def _nearest(pred: IntArray, true: IntArray, reach: int) -> tuple[list[int], list[int]]:
    """Pairs at most ``reach`` apart, matched nearest first; at equal distance the earlier true one first."""
    first = np.searchsorted(pred, true - reach, side="left")
    count = np.searchsorted(pred, true + reach, side="right") - first
    j, i = _ranges(first, count)
    order = np.lexsort((i, j, np.abs(pred[i] - true[j])))
    # Dictionaries keep the order in which they were filled: the pairs side by side.
    matched_pred, matched_true = dict[int, None](), dict[int, None]()
    for ours, theirs in zip(i[order].tolist(), j[order].tolist(), strict=True):
        if ours not in matched_pred and theirs not in matched_true:
            matched_pred[ours] = matched_true[theirs] = None
    return list(matched_pred), list(matched_true)


def _ranges(first: IntArray, count: IntArray) -> tuple[IntArray, IntArray]:
    """The numbers ``first[n]`` to ``first[n] + count[n] - 1`` for each n, and the n of each before them."""
    n = np.repeat(np.arange(len(first)), count)
    return n, np.arange(len(n)) + np.repeat(first - (np.cumsum(count) - count), count)


def _hausdorff(pred: IntArray, true: IntArray, num_frames: int) -> float:
    if not len(pred) or not len(true):
        return float(num_frames * (len(pred) != len(true)))
    return float(max(_farthest(pred, true), _farthest(true, pred)))


def _farthest(points: IntArray, others: IntArray) -> int:
    """The largest distance from a point to the nearest of the others, all sorted."""
    after = np.searchsorted(others, points)
    before, after = others[np.maximum(after - 1, 0)], others[np.minimum(after, len(others) - 1)]
    return int(np.minimum(np.abs(points - before), np.abs(points - after)).max())


def _check_class_list(values: object, name: str) -> list[Any]:
    """Return several classes as a list; a single name is no list of letters."""
    listed = _validation.to_numpy(values).tolist() if isinstance(values, Tensor | np.ndarray) else values
    if isinstance(listed, str | bytes) or not isinstance(listed, Iterable):
        raise TypeError(f"{name}: got {listed!r}, expected a list of classes; write [{listed!r}]")
    return list(cast(Iterable[Any], listed))


def _check_known_classes(classes: Sequence[Any], name: str, names: Sequence[str] | None, occur: str) -> None:
    """Refuse classes that are not given as the labels are, or do not occur.

    Args:
        classes: numbers, or names where labels are text.
        name: what the argument is called.
        names: those that occur in the labels; None: labels are numbers.
        occur: whether "all" the names must occur, or "any" of them.
    """
    kind, expected = ("numbers", int | np.integer) if names is None else ("names", str)
    for label in classes:
        if not isinstance(label, expected) or isinstance(label, bool):
            raise TypeError(f"{name}: got the class {label!r}, expected class {kind}, as the labels are; give it so")
        if label == "" or (names is None and label < 0):
            raise ValueError(
                f"{name}: got {label!r}, expected a class; leave it out: frames without a label never count"
            )
    unknown = [] if names is None else [label for label in classes if label not in names]
    if unknown and (occur == "all" or len(unknown) == len(classes)):
        raise ValueError(
            f"{name}: got the class {unknown[0]!r}, expected one that occurs in the labels: {', '.join(names or [])}; "
            "correct its spelling, or leave it out"
        )


def _check_flag(value: object, name: str) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: got {value!r}, expected True or False")


def _check_label_pair(pred: object, true: object) -> tuple[list[Array], list[Array], list[str] | None]:
    """Return predicted and true labels as int64 arrays that match, and the class names where labels are text."""
    sides = {"pred": _validation.label_list(pred, "pred"), "true": _validation.label_list(true, "true")}
    _validation.same_number(len(sides["pred"]), len(sides["true"]), "pred", "true")
    for i, (ours, theirs) in enumerate(zip(*sides.values(), strict=True)):
        if ours.shape != theirs.shape:
            raise ValueError(
                f"recording {i}: pred has {len(ours)} frames, true has {len(theirs)}; "
                "compare labellings of the same frames, cut to the recording's length"
            )
    kinds = {name: _validation.label_kind(arrays, name) for name, arrays in sides.items()}
    if len(set(kinds.values())) > 1:
        raise TypeError(f"labels are of two kinds, got {kinds}; give pred and true the same, integers or text")
    if kinds["true"] == "index":
        indices = [_validation.class_indices(arrays, name=name) for name, arrays in sides.items()]
        return indices[0], indices[1], None
    known = sorted({str(text) for arrays in sides.values() for array in arrays for text in np.unique(array)} - {""})
    return _validation.class_names(sides["pred"], known), _validation.class_names(sides["true"], known), known


def _check_fraction(value: float, name: str) -> None:
    """Refuse anything but a number above 0 and at most 1."""
    if not _validation.is_number(value) or not 0 < value <= 1:
        raise ValueError(f"{name}: got {value!r}, expected above 0 and at most 1, such as 0.5")


def _check_margin(value: float, sampling_rate: float | None) -> int:
    """Return a margin in whole frames; with a sampling rate the margin is in seconds."""
    per_second = _validation.frames_per_second(sampling_rate)
    if not _validation.is_number(value) or not 0 <= value < float("inf"):
        raise ValueError(
            f"margin: got {value!r}, expected 0 or more {'frames' if sampling_rate is None else 'seconds'}"
        )
    # 0.29 s at 100 Hz is 28.999999999999996 frames in floating point, and means 29. A product may be infinite.
    return int(min(np.floor(value * per_second + 1e-6), 2.0**53))
