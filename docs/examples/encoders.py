"""
An encoder of your own
======================

The Segmenter takes any PyTorch module as its encoder: the structured layer, training, decoding, saving, export and the
commands stay as they are. A module turns signals ``(B, T, F)`` into features ``(B, T, H)``.
"""

# %%
# A module, a class or a function
# -------------------------------
# A class or a function is called with the number of channels. A module is copied by every fit. Encoders that look at
# the whole recording need nothing else.

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf import Segmenter
from segcrf.data import switching_sinusoid

x, _, k = switching_sinusoid(14, 1000, sampling_rate=100.0, noise=0.3, seed=5)
names = np.array(["5 Hz", "10 Hz", "15 Hz"])
known, new = (list(x[:12]), list(names[k[:12]])), (list(x[12:]), list(names[k[12:]]))
settings = {"frame_loss": 1.0, "learning_rate": 1e-2, "max_epochs": 5, "sampling_rate": 100.0, "progress": False}


class Convolutions(nn.Module):
    """Two convolutions over time. The first makes one frame of four."""

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        self.wide = nn.Conv1d(channels, hidden, 24, stride=4, padding=12)
        self.next = nn.Conv1d(hidden, hidden, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, T / 4, H) of signals (B, T, F)."""
        return functional.gelu(self.next(functional.gelu(self.wide(x.mT)))).mT


segmenter = Segmenter(encoder=Convolutions, **settings).fit(*known)
print(segmenter.model_.encoder)
print(f"share of frames that are right: {segmenter.score(*new):.3f}")

# %%
# This module is strided: it returns a quarter of the frames. The Segmenter finds that out and repeats each of them four
# times, so that every frame has features. The first and the last training window of a recording may have a single
# frame, so the convolutions are padded to return something for that, too.
#
# The module takes no lengths, so padding behind a short recording could leak into its features. Recordings of different
# lengths therefore run one by one, which is slower and gives the same answer for every batch. A module with
# ``forward(x, lengths)`` gets the valid frames of each recording and runs them together.
#
# Other answers than features are rejected, and the error says what came instead:

try:
    Segmenter(encoder=lambda channels: nn.LSTM(channels, 32, batch_first=True), **settings).fit(*known)
except TypeError as error:
    print(error)

# %%
# Save and load
# -------------
# A model folder holds the weights of your encoder and where its class can be imported from, but no program, and loading
# executes nothing. So you pass the encoder again. On the command line it is ``--encoder MODULE:NAME``, for ``segcrf
# fit`` and for the commands that load the model.

scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name) / "model"
segmenter.save(folder)
loaded = Segmenter.load(folder, encoder=Convolutions)
assert all(np.array_equal(a, b) for a, b in zip(loaded.predict(new[0]), segmenter.predict(new[0]), strict=True))
try:
    Segmenter.load(folder)
except ValueError as error:
    print(error)

# %%
# Live
# ----
# A stream needs an encoder that sees no later frames and can go on where it stopped. Such a module declares ``causal =
# True`` and has a method ``step(x, state)``, which returns the features of the next frames and the state for the call
# after them. The state is None at first; ``step`` must not change a state that it is given.


class Recent(nn.Module):
    """A convolution over each frame and the frames before it; these are the state."""

    causal = True

    def __init__(self, channels: int, hidden: int = 32, before: int = 23) -> None:
        super().__init__()
        self.before = before
        self.wide = nn.Conv1d(channels, hidden, before + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, T, H) of signals (B, T, F)."""
        return self.step(x)[0]

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return features (B, N, H) of the next frames (B, N, F), and the last frames (B, before, F)."""
        frames = torch.cat([x.new_zeros(len(x), self.before, x.shape[2]) if state is None else state, x], dim=1)
        return functional.gelu(self.wide(frames.mT)).mT, frames[:, len(x[0]) :]


live = Segmenter(encoder=Recent, bidirectional=False, max_delay=30, **settings).fit(*known)
print(f"share of frames that are right: {live.score(*new):.3f}")
stream = live.stream()
bands = pd.concat([stream.push(frames) for frames in new[0][0].reshape(-1, 50, 1)] + [stream.finish()])
columns = ["start", "end", "label"]
assert bands[columns].reset_index(drop=True).equals(live.predict_segments(new[0][:1])[columns])
print(bands.to_string(index=False))

# %%
# The stream gives the labels of ``predict`` to the bit. Products of matrices round differently for one frame and for a
# hundred, so ``step`` gets one frame of one recording at a time. If yours gives the same bits in every call, declare
# ``exact_steps = True``, and it gets all frames at once. ``segcrf.testing.CausalEncoderContract`` tests what a stream
# relies on: see :doc:`../api/testing`.
