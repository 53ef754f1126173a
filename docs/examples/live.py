"""
Live
====

The recording is still going on, and you want its bands already. A :class:`~segcrf.Stream` takes frames as they come
and returns each band as soon as no later frame can change it. Its memory does not grow, and all bands together are
those of the whole recording, decoded at once.
"""

# %%
# A Segmenter for live use
# ------------------------
# Two things must not look ahead: the encoder, and the scaling of the channels.

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from segcrf import Segmenter
from segcrf.data import switching_sinusoid

x, _, k = switching_sinusoid(17, 1000, sampling_rate=100.0, noise=0.3, seed=3)
names = np.array(["5 Hz", "10 Hz", "15 Hz"])
segmenter = Segmenter(
    bidirectional=False, standardize="dataset", learning_rate=1e-2, max_epochs=15, sampling_rate=100.0, progress=False
)
segmenter.fit(list(x[:16]), list(names[k[:16]]))

# %%
# Frames in, bands out
# --------------------
# Ten frames at a time, a tenth of a second. ``decoder`` holds the class that is running. It is available
# immediately, and may still change.

stream = segmenter.stream()
returned, running, pending = [], [], []
for now, frames in enumerate(np.array_split(x[16], 100), 1):
    bands = stream.push(frames)
    returned.append(bands.assign(returned=now / 10))
    running.append(segmenter.classes_[stream.decoder.current[0]])
    pending.append(stream.decoder.pending)
returned.append(stream.finish().assign(returned=10.0))
table = pd.concat(returned, ignore_index=True).drop(columns="recording")
print(table.to_string(index=False))

# %%
# How long do they take?
# -----------------------
# A band is returned when the next one is certain. Few frames wait at any time:

late = (table["returned"] - table["end"])[:-1]
print(f"returned {late.median():.2f} s after their end at the median, {late.max():.2f} s at most")
print(f"frames that wait: {np.median(pending):.0f} at the median, {max(pending)} at most")
ends = np.minimum(np.arange(1, 101) * 10, 1000) - 1
print(f"the running class was right at once in {np.mean(np.array(running) == names[k[16]][ends]):.0%} of the calls")

figure = Figure(figsize=(7, 2.6), layout="constrained")
axes = figure.subplots()
axes.step(np.arange(1, 101) / 10, pending, where="post")
axes.set(xlabel="seconds", ylabel="frames not decided yet")
for end in table["end"][:-1]:
    axes.axvline(end, color="0.8", zorder=0)

# %%
# With ``segmenter.stream(max_delay=20)`` every label is decided after twenty frames at most. For scores of your own
# network, ``Stream(crf)`` takes ``(N, C)`` tensors, and ``filtered`` holds the probabilities of the classes at the last
# frame, given the signal so far.
