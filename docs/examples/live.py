"""
Live
====

The recording is still going on, and you want its bands already. A stream takes frames as they come and returns each
band as soon as it is decided. Its memory does not grow, and all calls together give exactly the labels of ``predict``,
however the frames are cut into calls.
"""

# %%
# A Segmenter for live use
# ------------------------
# ``bidirectional=False`` gives an encoder that sees no later frames. ``max_delay=30`` decides the label of every frame
# after at most 30 later frames, here 0.3 seconds: in streams and in ``predict`` alike. So the score of whole recordings
# is also that of the live system. Validation recordings choose the decoding rule under this delay.

import io

import numpy as np
import pandas as pd
import torch

from segcrf import Segmenter
from segcrf.data import switching_sinusoid

x, _, k = switching_sinusoid(20, 1000, sampling_rate=100.0, noise=0.6, seed=3)
names = np.array(["5 Hz", "10 Hz", "15 Hz"])
segmenter = Segmenter(
    bidirectional=False,
    max_delay=30,
    hidden=32,
    frame_loss=1.0,
    learning_rate=1e-2,
    max_epochs=12,
    sampling_rate=100.0,
    classes=list(names),
    progress=False,
)
segmenter.fit(list(x[:16]), list(names[k[:16]]))
print(segmenter.decoding_)

# %%
# Frames in, bands out
# --------------------
# Ten frames at a time, a tenth of a second. A band is returned when its last frame is decided. Its confidence is the
# probability that it is right, given what was known when each frame was decided.

stream = segmenter.stream(recording="now")
returned = []
for call, frames in enumerate(np.array_split(x[16], 100), 1):
    bands = stream.push(frames)
    returned.append(bands.assign(returned=call / 10))
returned.append(stream.finish().assign(returned=10.0))
table = pd.concat(returned, ignore_index=True)
print(table.to_string(index=False))

# %%
# The same bands come from the whole recording, and from frames that are pushed one by one.

whole = segmenter.predict_segments([x[16]], recordings=["now"])
stream = segmenter.stream(recording="now")
one_by_one = pd.concat([stream.push(frame[None]) for frame in x[16]] + [stream.finish()], ignore_index=True)
for bands in (table, one_by_one):
    assert bands[["start", "end", "label"]].equals(whole[["start", "end", "label"]])
    assert np.allclose(bands["confidence"], whole["confidence"])

# %%
# What is running?
# ----------------
# ``decoder`` answers at once, without a delay, by the frames so far. ``current`` is the class of the running band and
# its first frame, ``filtered`` the probability of the classes at the last frame, and ``following`` that at the next
# frame. These answers may change with the next frames; bands that were returned never change.

stream = segmenter.stream()
for end in (50, 100, 220, 240):
    stream.push(x[16][stream.decoder.frames : end])
    label, start = stream.decoder.current
    last, following = stream.decoder.filtered.numpy().round(2), stream.decoder.following.numpy().round(2)
    print(f"at {end / 100} s: {names[label]} since {start / 100} s; {last}, next {following}")
print(stream.decoder)

# %%
# What does waiting buy?
# ----------------------
# ``set_decoding`` changes the rule of a fitted model. Here each frame is decided by its own probabilities, after a
# delay that grows. At no delay even a good model flickers: the first frames of a band are not enough to tell its class.

from segcrf.plot import figure

new = list(x[16:])
tracks = {"true": names[k[16]]}
kept = segmenter.decoding_
for delay in (0, 5, 10, 20, 40, 80):
    segmenter.set_decoding(by_frame=True, max_delay=delay)
    accuracy, bands = segmenter.score(new, list(names[k[16:]])), segmenter.predict_segments(new)
    print(f"delay {delay / 100:.2f} s: {accuracy:.1%} of the frames right, {len(bands)} bands")
    if delay in (0, 10, 40):
        tracks[f"{delay / 100} s"] = segmenter.predict([x[16]])[0]
segmenter.set_decoding(kept)
print(f"in truth {sum(1 + np.count_nonzero(np.diff(labels)) for labels in k[16:])} bands")
chart = figure(x[16], tracks, sampling_rate=100.0, classes=list(names))

# %%
# Without ``max_delay`` a stream waits until later frames cannot change a label. It then gives the labels of the whole
# recording, and few frames wait; but how many is not known beforehand. This needs a rule for sequences,
# ``Segmenter(bidirectional=False, decoding="sequence")``: probabilities of frames change until the end.

# %%
# A stream that stops and goes on
# -------------------------------
# ``state_dict`` holds all that a stream remembers of its recording: the state of the encoder, the undecided frames and
# the running band. Loaded into another stream of the same model, in this process or another one, the recording goes on
# as if nothing had happened.

stream = segmenter.stream(recording="now")
before = stream.push(x[16][:450])
file = io.BytesIO()
torch.save(stream.state_dict(), file)

file.seek(0)
continued = segmenter.stream(recording="now")
continued.load_state_dict(torch.load(file, weights_only=True))
after = [continued.push(x[16][450:]), continued.finish()]
print(f"{len(before)} bands before, {sum(map(len, after))} after; {file.getbuffer().nbytes} bytes between")
assert pd.concat([before, *after], ignore_index=True).equals(one_by_one)

# %%
# Many recordings at once
# -----------------------
# ``streams(n)`` decodes n recordings in one call. Each begins and ends at its own time, and gets the bands that a
# stream of its own would return. Here the second recording begins 2 seconds later. The third lasts 4 seconds; then its
# slot begins another one.

streams = segmenter.streams(3, recordings=["A", "B", "C"])
bands = [streams.push({0: x[16][:200], 2: x[18][:200]})]
bands.append(streams.push([x[16][200:400], x[17][:200], x[18][200:400]]))
bands.append(streams.finish(2))
bands.append(streams.push({0: x[16][400:], 1: x[17][200:], 2: x[19][:100]}))
print(streams.frames)
bands += [streams.finish(slot) for slot in range(3)]
together = pd.concat(bands, ignore_index=True)
print(together.groupby("recording")["end"].max().to_dict())
first = together[together["recording"] == "A"].reset_index(drop=True)
assert first[["start", "end", "label"]].equals(whole[["start", "end", "label"]])

# %%
# In a shell
# ----------
# ``segcrf stream`` reads frames from standard input, lines of CSV or raw float32 numbers, and writes a line of JSON for
# each band as soon as it is finished. With ``--current`` it also writes the running band. ``--state`` names a file that
# is saved when the command is terminated; started again, it continues the recording::
#
#     measure | segcrf stream --model model --state state | act

# %%
# Gaps, and scores of your own
# ----------------------------
# The Segmenter replaces missing values (NaN) by the last measured ones, in streams as in ``predict``.
#
# An encoder of your own streams if it declares that it is causal and has a method ``step``: see :doc:`encoders`. For
# scores of your own network, :class:`~segcrf.Stream` takes ``(N, C)`` tensors, and works with any layer:

from segcrf import LinearChainCRF, Stream

crf = LinearChainCRF(3)
scores = 3 * torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
stream = Stream(crf)
pieces = [stream.push(piece) for piece in scores.split(7)] + [stream.finish()]
labels = np.concatenate([np.repeat(piece.label, piece.durations) for piece in pieces])
assert (labels == crf(scores[None]).mode[0].numpy()).all()
