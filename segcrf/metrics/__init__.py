"""Scores of frames, segments and boundaries, calibration, and reports.

Every score takes the truth first and the prediction second, like scikit-learn and mir_eval; everything after them is
given by keyword. Both are lists of (T,) arrays: class numbers with -100 for unlabelled frames, or class names with ""
for unlabelled ones. Scores that the field prints in percent are in percent.

The same predictions score up to ten points more or less by other conventions. The conventions are therefore arguments,
and :func:`conventions` returns a line to print with a score.

**Pooled or per recording.** ``pooled=True`` adds up the counts of all recordings before it divides;
``pooled=False`` gives the mean of the recordings' scores. A recording without a labelled frame is left out.
The default of each function is what its source does.

**Ignored classes.** For frame scores, frames with a *true* class in ``ignore`` (a background, say) are
unlabelled. All other functions drop the bands of these classes from truth and prediction; the neighbours of a
dropped band are not merged, and do not meet in a boundary.

**Ties.** Several predicted bands or boundaries may claim the same true one. ``matching`` decides which of them gets it.

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
Predicted bands per true band are infinite where there are only predicted ones. Where no frame is labelled at all, and
where there is no recording, every score is NaN, without a warning, and :func:`boundary_error` has no pairs.
"""

from segcrf.metrics.boundaries import (
    BoundaryError,
    BoundaryScores,
    boundary_error,
    boundary_f1,
    boundary_scores,
    hausdorff,
)
from segcrf.metrics.calibration import Reliability, band_reliability, matching_bands, reliability
from segcrf.metrics.frames import cohen_kappa, frame_accuracy, macro_f1
from segcrf.metrics.report import Report, conventions, evaluate
from segcrf.metrics.segments import (
    SegmentationEntropy,
    band_ratio,
    covering,
    edit_score,
    segment_f1,
    segmentation_entropy,
)

__all__ = [
    "BoundaryError",
    "BoundaryScores",
    "Reliability",
    "Report",
    "SegmentationEntropy",
    "band_ratio",
    "band_reliability",
    "boundary_error",
    "boundary_f1",
    "boundary_scores",
    "cohen_kappa",
    "conventions",
    "covering",
    "edit_score",
    "evaluate",
    "frame_accuracy",
    "hausdorff",
    "macro_f1",
    "matching_bands",
    "reliability",
    "segment_f1",
    "segmentation_entropy",
]
