"""
Correcting a prediction
=======================

Someone has looked at the bands, and knows better about some of them. What is known goes into ``predict``, and decoding
is exact under it: the known frames get their classes, and the frames around them change with these.
"""

# %%
# Where to look
# -------------
# The signal is noisy, and the training recordings are few, so that there is something to correct. Bands with a
# confidence below ``min_confidence`` lose their label in the table; their rows stay, to be looked at.

import os
import tempfile

import numpy as np
import pandas as pd

from segcrf import Segmenter
from segcrf.data import switching_sinusoid
from segcrf.plot import figure

x, _, k = switching_sinusoid(12, 1000, sampling_rate=100.0, noise=0.9, seed=3)
names = np.array(["5 Hz", "10 Hz", "15 Hz"])
settings = {"hidden": 32, "frame_loss": 1.0, "learning_rate": 1e-2, "max_epochs": 8, "progress": False}
segmenter = Segmenter(sampling_rate=100.0, classes=list(names), **settings)
segmenter.fit(list(x[:8]), list(names[k[:8]]))
signal, true = x[9], names[k[9]]
before = segmenter.predict_segments([signal], recordings=["take9"], min_confidence=0.6)
print(before.to_string(index=False))

# %%
# Two corrections
# ---------------
# A correction is a row with a class, its start and its end, in the unit of the table. It need not be a whole band: a
# piece where the class is certain is enough, and the model finds the boundaries around it. Rows without a label say
# nothing, so the table above could be edited and given back.

corrections = pd.DataFrame({"recording": "take9", "start": [8.6, 9.7], "end": [8.7, 9.8], "label": ["15 Hz", "5 Hz"]})
after = segmenter.predict_segments([signal], recordings=["take9"], given=corrections)
print(after.to_string(index=False))

# %%
# The corrections reach beyond their own frames. All answers are those of the restricted distribution: the bands, the
# confidences in the table, and ``predict_proba(X, given=...)``. Corrections that the model cannot agree with are an
# error that names the frame.

corrected = segmenter.predict([signal], given=corrections.assign(recording=0))[0]
given = np.full(len(true), "", dtype=true.dtype)
for row in corrections.itertuples():
    given[round(100 * row.start) : round(100 * row.end)] = row.label
tracks = {"true": true, "predicted": segmenter.predict([signal])[0], "given": given, "corrected": corrected}
for name in ("predicted", "corrected"):
    print(f"{name}: {np.mean(tracks[name] == true):.1%} of the frames right")
changed = np.count_nonzero(corrected != tracks["predicted"])
print(f"{np.count_nonzero(given != '')} frames given, {changed} changed")
assert (corrected == given)[given != ""].all()
chart = figure(signal, tracks, sampling_rate=100.0, classes=list(names))

# %%
# ``given`` may also be a list of labels per frame, written as in ``fit``, with ``""`` (or -100) where the class is
# unknown: ``segmenter.predict([signal], given=[given])``.

# %%
# Other knowledge
# ---------------
# ``forbid`` names classes that cannot occur, everywhere or in the bands of a table. ``transcript`` is the order of the
# bands, without their times. ``min_duration`` is the shortest band, of all classes or by class, in the unit of the
# tables; only the edges of the recording may cut a band shorter. All of them can be combined.

order = [str(name) for name in true[np.r_[True, true[1:] != true[:-1]]]]
last_second = pd.DataFrame({"recording": [0], "start": [9.0], "end": [10.0], "label": ["10 Hz"]})
knowledge = {
    "nothing": {},
    "no band below 0.5 s": {"min_duration": 0.5},
    "the order of the bands": {"transcript": [order]},
    "two corrections": {"given": [given]},
    "and no 10 Hz in the last second": {"given": [given], "forbid": last_second},
}
for what, known in knowledge.items():
    predicted = segmenter.predict([signal], **known)[0]
    bands = 1 + np.count_nonzero(predicted[1:] != predicted[:-1])
    print(f"{what:32} {np.mean(predicted == true):.1%} of the frames right, {bands} bands")

# %%
# A minimum duration gives fewer bands, and not always better ones: where the model takes one class for another, a
# longer band is wrong for longer.

# %%
# On the command line
# -------------------
# ``segcrf predict`` has the same options. Edit the table that it writes, empty the labels that you do not know, and
# pass it to ``--given``.

from segcrf.cli import main

scratch = tempfile.TemporaryDirectory()
os.chdir(scratch.name)
segmenter.save("model")
seconds = np.arange(len(signal)) / 100.0
pd.DataFrame({"recording": "take9", "time": seconds, "x": signal[:, 0]}).to_csv("new.csv", index=False)
corrections.to_csv("corrections.csv", index=False)

command = "segcrf predict new.csv --model model --given corrections.csv --min-duration 0.2 --out bands.csv"
print(f"$ {command}")
assert main(command.split()[1:]) == 0
print(pd.read_csv("bands.csv").tail(3).to_string(index=False))

# %%
# Learning from corrections
# -------------------------
# Corrections are labels, and all other frames of the recording are unlabelled. ``fit(..., warm_start=True)`` goes on
# from the trained weights instead of random ones.

segmenter.set_params(max_epochs=2)
segmenter.fit([*x[:8], signal], [*names[k[:8]], given], warm_start=True)
print(f"without a prompt: {segmenter.score([signal], [true]):.1%} of the frames right")
