"""
Export
======

A trained model leaves Python as one file, with the scaling of the channels and the decoding inside. Here NumPy and
onnxruntime decode it, without PyTorch and without segcrf.
"""

# %%
# Train and export
# ----------------
# Three classes are three frequencies. ``bidirectional=False`` and ``standardize="dataset"`` also allow live use.

import tempfile
from pathlib import Path

import numpy as np

from segcrf import Segmenter
from segcrf.data import switching_sinusoid
from segcrf.inference import export_model, export_step

RATE = 100.0
x, _, k = switching_sinusoid(17, 1000, sampling_rate=RATE, noise=0.3, seed=3)
names = np.array(["5 Hz", "10 Hz", "15 Hz"])
segmenter = Segmenter(
    bidirectional=False, standardize="dataset", learning_rate=1e-2, max_epochs=15, sampling_rate=RATE, progress=False
)
segmenter.fit(list(x[:16]), list(names[k[:16]]))
folder = Path(tempfile.mkdtemp())
for export, file in ((export_model, "model.onnx"), (export_step, "step.onnx")):
    export(segmenter.model_, folder / file, classes=segmenter.classes_, sampling_rate=RATE)

# %%
# Decode with NumPy and onnxruntime
# ---------------------------------
# From here on nothing is used but these two. The file holds the names of the classes and the sampling rate.

import json

import onnxruntime


def load(path):
    """Return a session, and the texts of the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    return session, {name: json.loads(text) for name, text in texts.items()}


def bands(labels, starts, posteriors, classes, rate):
    """Yield the bands of one recording: start and end in seconds, class, and mean probability."""
    begins = np.flatnonzero(starts)
    for begin, end in zip(begins, np.append(begins[1:], len(labels)), strict=True):
        label = labels[begin]
        yield begin / rate, end / rate, classes[label], posteriors[begin:end, label].mean()


session, about = load(folder / "model.onnx")
recording = x[16]  # raw, as it was measured
outputs = session.run(
    ["labels", "starts", "posteriors"],
    {"x": recording[None].astype(np.float64), "lengths": np.array([len(recording)])},
)
print("decoding:", about["decoding"])
for start, end, name, share in bands(*(each[0] for each in outputs), about["classes"], about["sampling_rate"]):
    print(f"{start:6.2f} to {end:6.2f} s  {name:>5}  {share:.2f}")

# %%
# Several recordings go in one batch: ``x`` is padded to the longest, with anything but NaN, and ``lengths`` says how
# many frames each one has. Frames beyond its length have the label -100.
#
# Live, chunk by chunk
# --------------------
# ``step.onnx`` takes the next frames and a state, and returns the next state. ``state`` in the file lists its tensors
# and their values before the first frame.


def begin(state, recordings):
    """Return the state before the first frame, for so many recordings."""
    feeds = {}
    for each in state:
        value = np.array(each["initial"], dtype=np.float64)
        value = np.where(np.isnan(value), -np.inf, value)  # null is minus infinity, which JSON does not have
        feeds[each["name"]] = np.broadcast_to(value, (recordings, *each["shape"])).astype(each["type"])
    return feeds


session, about = load(folder / "step.onnx")
state = begin(about["state"], recordings=1)
names_of_outputs = [output.name for output in session.get_outputs()]
running = None
for now, chunk in enumerate(np.array_split(recording, 100), 1):
    outputs = session.run(None, {"x": chunk[None].astype(np.float64)} | state)
    answers = dict(zip(names_of_outputs, outputs, strict=True))
    state = {name: answers[f"next_{name}"] for name in state}
    label = answers["labels"][0, -1]
    if label != running:
        print(f"{now / 10:5.1f} s  {about['classes'][label]:>5}")
        running = label

# %%
# These labels decide each frame at once, so they flicker where the signal is ambiguous. Read the probabilities of
# ``posteriors`` where that matters, or decode whole recordings.
#
# ``.pt2`` files hold the same programs for :func:`torch.export.load`; import ``segcrf.inference`` before.
