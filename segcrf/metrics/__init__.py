"""Metrics: scores of frames, segments and boundaries, calibration, and printed reports."""

from segcrf.metrics.calibration import Reliability, reliability
from segcrf.metrics.report import Report
from segcrf.metrics.scores import (
    BoundaryError,
    BoundaryScores,
    SegmentationEntropy,
    band_ratio,
    boundary_error,
    boundary_f1,
    boundary_scores,
    cohen_kappa,
    conventions,
    covering,
    edit_score,
    evaluate,
    frame_accuracy,
    hausdorff,
    macro_f1,
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
    "reliability",
    "segment_f1",
    "segmentation_entropy",
]
