"""Sizing: the depths, rates and windows of encoders that training recordings decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf.segments import Segments

__all__ = ["choose_size"]

Array = npt.NDArray[Any]

# Frames of the lowest rate of a U-Net that a median band should have: two are a beginning and an end, and the recurrent
# network needs some between.
COARSE_FRAMES = 4
# A transition shows in the bands around it; more than these few rarely help, and every one costs a layer or a window.
BANDS_SEEN = 4


def choose_size(encoder: str, labels: Sequence[Array], window: int) -> dict[str, int]:
    """Return the options of an encoder that follow from the training labels.

    Let d be the median duration of the bands, C the number of classes, and the horizon h = d * min(C, 4) frames: so far
    a frame should see on either side, since every class may occur there. A frame never sees more than a window of
    training or the longest recording holds, so h is at most half of the shorter one. Then

    * ``"unet"``: as many halvings of the rate as leave a median band 4 frames at the lowest rate, 1 to 5;
    * ``"ms-tcn"``: as many dilated layers as it takes until all stages together see h frames, 3 to 9;
    * ``"attention"``: a window such that all layers together see h frames, 8 to 128;
    * ``"conv-lstm"``, ``"conv-gru"``: as many convolutions as it takes to see half of a band on either side, 1 to 3;
    * others: the sizes of their class.

    Args:
        encoder: name of an encoder.
        labels: class indices of each training recording, (T,); -100 = unlabelled.
        window: frames of a training window.

    Returns:
        Arguments of the encoder's class by name.

    Example:
        >>> choose_size("unet", [np.repeat([0, 1, 0], [30, 40, 50])], 256)
        {'layers': 3}
    """
    bands = Segments.from_labels(labels)
    duration = float(np.median(bands.durations))
    horizon = duration * min(len(np.unique(bands.label)), BANDS_SEEN)
    horizon = min(horizon, window / 2, max(map(len, labels)) / 2)
    if encoder == "unet":
        return {"layers": _between(1, math.floor(math.log2(max(duration / COARSE_FRAMES, 1))), 5)}
    if encoder == "ms-tcn":  # a stage with filters of 3 frames sees 2 ** layers - 1 frames on either side
        return {"layers": _between(3, math.ceil(math.log2(horizon / 2 + 1)), 9)}
    if encoder == "attention":
        return {"window": _between(8, math.ceil(horizon / 2), 128)}
    if encoder in ("conv-lstm", "conv-gru"):  # with filters of 5 frames, 2 * (2 ** layers - 1)
        return {"stem_layers": _between(1, math.ceil(math.log2(duration / 4 + 1)), 3)}
    return {}


def _between(lowest: int, value: int, largest: int) -> int:
    return min(max(value, lowest), largest)
