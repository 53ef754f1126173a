"""Segmenter: from lists of recordings to solid bands, in the manner of scikit-learn."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf import _check, storage
from segcrf._check import UNLABELLED
from segcrf.crf import LinearChainCRF
from segcrf.encoders import Encoder, make_encoder
from segcrf.inference import Inferred, infer
from segcrf.losses import FixedWeights, JointObjective
from segcrf.model import JointModel
from segcrf.segments import Segments
from segcrf.windows import Recording, Standardizer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Segmenter"]

Array = npt.NDArray[Any]
Recordings = Sequence[npt.ArrayLike]
STRUCTURES = {"linear-chain": LinearChainCRF}
