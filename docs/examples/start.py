"""
From a CSV to bands
===================

You have a table with a row per frame: the recording, the time, the channels of the signal, and for
some recordings the class. You want the classes of the others, in bands. One command learns and one
predicts; the same in Python follows below.

Install with ``pip install 'segcrf[demo]'``, which adds training, tables and plots to the layers.
"""

# %%
# A table
# -------
# Here the table is made of synthetic signals: a sinusoid that switches between 5, 10 and 15 Hz,
# with noise, sampled 100 times a second. Twelve recordings are labelled; two are new. (In a shell,
# ``segcrf demo --tables example`` writes tables like these.)

import os
import shlex
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from segcrf.data import switching_sinusoid

scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
names = np.array(["5 Hz", "10 Hz", "15 Hz"])
x, _, k = switching_sinusoid(14, 1000, sampling_rate=100.0, noise=0.3, seed=1)


def table(chosen: range) -> pd.DataFrame:
    """Long form: a row per frame, recordings one below the other."""
    seconds = np.arange(x.shape[1]) / 100.0
    return pd.concat(
        pd.DataFrame({"recording": f"take{n:02}", "time": seconds, "x": x[n, :, 0], "label": names[k[n]]})
        for n in chosen
    )


table(range(12)).to_csv(folder / "labelled.csv", index=False)
table(range(12, 14)).drop(columns="label").to_csv(folder / "new.csv", index=False)
table(range(12, 14)).to_csv(folder / "truth.csv", index=False)
print(table(range(12)).head(3).to_string(index=False))

# %%
# On the command line
# -------------------
# In a shell this is ``segcrf fit labelled.csv --model model``. Columns called ``recording``,
# ``time`` and ``label`` are found by their names (or give ``--recording``, ``--time``,
# ``--label``), and every other column is a channel of the signal (or give ``--channels``).
# Some recordings are held out for early stopping automatically. If bands are long (at the median 50
# frames or more, as here), training runs twice, with a loss of single frames and without, and the
# better model is kept: see ``frame_loss`` of a :class:`~segcrf.Segmenter`. The epochs are few here,
# so that this page is built quickly.

from segcrf.cli import main


def shell(command: str) -> None:
    """Run ``segcrf ...`` as a shell would."""
    os.chdir(folder)
    print(f"$ {command}")
    assert main(shlex.split(command)[1:]) == 0


shell("segcrf fit labelled.csv --model model --hidden 32 --epochs 8 --quiet")

# %%
# The bands of the new recordings: start and end in the unit of the time column, half-open, and the
# mean posterior probability of the class over the band.

shell("segcrf predict new.csv --model model --out bands.csv")
print(pd.read_csv(folder / "bands.csv").head(6).to_string(index=False))

# %%
# If the truth is known, the bands can be scored:

shell("segcrf score truth.csv --model model")

# %%
# In Python
# ---------
# The same model, without tables: lists of ``(T, F)`` arrays, one per recording, and lists of
# labels, either names or indices.

from segcrf import Segmenter

known, new = slice(0, 12), slice(12, 14)
segmenter = Segmenter(sampling_rate=100.0, hidden=32, max_epochs=8, progress=False)
segmenter.fit(list(x[known]), list(names[k[known]]))
print(segmenter)
print(f"share of frames that are right: {segmenter.score(list(x[new]), list(names[k[new]])):.3f}")

# %%
# ``predict`` returns labels, ``predict_proba`` calibrated probabilities, and ``predict_segments`` the table of bands.
# The confidence of a band is the probability that it is right: that a true band of its class has an intersection over
# union of at least 0.5 with it.

print(segmenter.predict_segments(list(x[new]), recordings=["take12", "take13"]).head(6).to_string(index=False))

# %%
# And a figure: the signal, and the bands below it.

from segcrf.plot import figure

predicted = segmenter.predict([x[12]])[0]
chart = figure(x[12], {"true": names[k[12]], "predicted": predicted}, sampling_rate=100.0, classes=list(names))
