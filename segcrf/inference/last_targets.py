"""Predicted targets at the last frame of recordings that are still being measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf.inference.answer import mixed_targets
from segcrf.inference.layer_decoder import LayerDecoder
from segcrf.nn import DecodingRule, JointModel, SwitchingModel

__all__ = ["LastTargets"]


class LastTargets:
    """Keep the predicted targets at the last frame of each of n recordings.

    Those of a switching model are mixed by the filtered probability of its classes, without the factor of the decoding
    rule, so it takes a filter of its own.

    Args:
        model: the model of a stream.
        streams: n.
    """

    def __init__(self, model: JointModel | SwitchingModel, streams: int) -> None:
        self._model = model
        rule = DecodingRule(by_frame=True, max_delay=0)
        self._filter = LayerDecoder(model.crf, streams, rule) if isinstance(model, SwitchingModel) else None
        self._last: dict[int, Tensor] = {}

    def take(self, predictions: Mapping[int, Tensor], scores: Tensor, lengths: Sequence[int] | None = None) -> None:
        """Take what the heads make of the next frames.

        Args:
            predictions: by recording, at its last frame: (R,), or (C, R) of a switching model.
            scores: class scores (n, N, C) of the frames.
            lengths: how many of the N frames each recording has, (n,); None: all N.
        """
        weights = torch.empty(0)  # which a model with one regression for all classes does not read
        if self._filter is not None:
            self._filter.push(scores, lengths)
            assert self._filter.online is not None
            weights = torch.from_numpy(self._filter.online.filtered).to(scores.device)
        for stream, means in predictions.items():
            mine = weights if self._filter is None else weights[stream]
            self._last[stream] = mixed_targets(self._model, means, mine)

    def of(self, stream: int) -> npt.NDArray[np.float64] | None:
        """Return the targets (R,) at the last frame of a recording, in their unit; None if there are none."""
        return None if stream not in self._last else self._last[stream].cpu().numpy()

    def end(self, stream: int) -> None:
        """Forget a recording, and begin another one in its place."""
        self._last.pop(stream, None)
        if self._filter is not None:
            self._filter.finish([stream])

    def state_dict(self) -> dict[str, Any]:
        """Return the state, to be saved and loaded."""
        return {"last": dict(self._last), "filter": None if self._filter is None else self._filter.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        self._last = dict(state["last"])
        if self._filter is not None:
            self._filter.load_state_dict(state["filter"])
