"""
What has the model learned?
===========================

A fitted model holds class scores (emissions) and scores of switches (transitions). It is tempting to plot
``softmax(emissions)`` as "what the network thinks" and ``exp(transitions)`` as "the transition matrix". **Neither is a
probability of anything.** The structured layer normalises both together over whole sequences, so that a constant can
move from one to the other without changing a single answer; and as the layer knows that bands are solid, the emissions
need not be.

Ask the distribution instead: posterior marginals, expected counts, decoded durations. And to see what in the *signal*
decides, show the model signals, or follow its gradient.
"""

# %%
# A model to look at
# ------------------
# A signal that switches between 5, 10 and 15 Hz, with noise.

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from segcrf import Segmenter, Segments
from segcrf.data import switching_sinusoid

RATE, CLASSES = 100.0, ["5 Hz", "10 Hz", "15 Hz"]
x, _, k = switching_sinusoid(96, 200, noise=0.3, seed=0)
segmenter = Segmenter(hidden=24, window=200, max_epochs=10, learning_rate=2e-2, progress=False).fit(list(x), list(k))

x, _, k = switching_sinusoid(16, 500, noise=0.3, seed=1)
model = segmenter.model_.requires_grad_(False)
distribution = model(torch.as_tensor(x)).dist

# %%
# Bands
# -----
# The best class of each frame, by emissions and by posterior marginals, and the best sequence:

found = {
    "true": torch.as_tensor(k),
    "decoded, distribution.mode": distribution.mode,
    "distribution.marginals, best class of each frame": distribution.marginals.labels.argmax(-1),
    "softmax(emissions), best class of each frame": distribution.emissions.argmax(-1),
}
rows = {
    name: {
        "bands per recording": float((labels[:, 1:] != labels[:, :-1]).sum(1).float().mean() + 1),
        "accuracy %": 100 * float((labels == torch.as_tensor(k)).float().mean()),
    }
    for name, labels in found.items()
}
pd.DataFrame(rows).T.round(2)

# %%
# How long does a class last?
# ---------------------------
# ``exp(transitions)`` with rows made to sum to one, read as a Markov chain, against what the model expects of these
# recordings, and decodes in them. The mean dwell in frames, by class:


def dwell(stays: torch.Tensor) -> list[float]:
    """Mean number of frames in each class of a chain with this probability of staying."""
    return (1 / (1 - stays)).tolist()


counts = distribution.marginals.transitions.sum(0)
bands = Segments.from_labels(list(distribution.mode.numpy()))
truth = Segments.from_labels(list(k))
table = {
    "exp(transitions), rows to one": dwell(distribution.transitions.softmax(1).diagonal()),
    "expected counts, distribution.marginals.transitions": dwell(counts.diagonal() / counts.sum(1)),
    "decoded bands": [float(bands.durations[bands.label == c].mean()) for c in range(3)],
    "true bands": [float(truth.durations[truth.label == c].mean()) for c in range(3)],
}
pd.DataFrame(table, index=CLASSES).T.round(1)

# %%
# The transitions were set from counts in the labels before training, and nothing holds them there: the emissions may
# take over any part of their work. Bands are cut by the ends of the recordings; expected counts are not.
#
# Probabilities over time
# -----------------------
# On top what not to plot; below what to plot, over the true bands.

first = slice(0, 300)
chart = Figure(figsize=(7.0, 3.0), layout="constrained")
axes = chart.subplots(2, 1, sharex=True)
shown = {"softmax(emissions)": distribution.emissions[0].softmax(-1), "marginals": distribution.marginals.labels[0]}
for ax, (name, p) in zip(axes, shown.items(), strict=True):
    for c, label in enumerate(CLASSES):
        ax.plot(np.arange(300) / RATE, p[first, c], linewidth=0.9, label=label)
        ax.fill_between(np.arange(300) / RATE, 0, k[0, first] == c, alpha=0.15, step="mid", linewidth=0)
    ax.set_ylabel(name, fontsize=8)
axes[0].legend(frameon=False, fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
axes[1].set_xlabel("time (s)")

# %%
# A frequency sweep
# -----------------
# How does the model label a frequency that it was not trained on? Below are the posterior in the middle of pure tones
# from 1 to 25 Hz, and how strongly each unit of the encoder swings.

tones = np.arange(1.0, 25.5, 0.5)
time = np.arange(300) / RATE
sweep = np.sin(2 * np.pi * tones[:, None] * time)[..., None]
output = model(torch.as_tensor(sweep))
posterior = output.dist.marginals.labels[:, 100:200].mean(1)
swing = output.features[:, 100:200].std(1)
boundaries = tones[1:][np.diff(posterior.argmax(-1).numpy()) != 0]
print("the answer changes at", ", ".join(f"{tone:g}" for tone in boundaries), "Hz")

chart = Figure(figsize=(7.0, 3.2), layout="constrained")
top, bottom = chart.subplots(2, 1, sharex=True)
for c, label in enumerate(CLASSES):
    top.plot(tones, posterior[:, c], label=label)
top.set_ylabel("posterior", fontsize=8)
top.legend(frameon=False, fontsize=7)
order = swing.argmax(0).argsort()
bottom.pcolormesh(tones, np.arange(len(order)), swing[:, order].T, cmap="viridis", shading="nearest")
bottom.set(xlabel="frequency (Hz)")
bottom.set_ylabel("unit, by its best frequency", fontsize=8)

# %%
# Which frames of the signal decided?
# -----------------------------------
# Integrated gradients (Sundararajan, Taly and Yan, 2017) share out the difference between this signal and silence over
# its frames. What is explained is a probability of the whole model, the log-probability that frame t has class c:
# ``restrict`` forbids all else there, and two log partitions are subtracted. With captum: ``pip install
# 'segcrf[interpret]'``. On a GPU wrap it in ``torch.backends.cudnn.flags(enabled=False)``: cuDNN's recurrent layers
# have no gradient in evaluation mode.

from captum.attr import IntegratedGradients


def log_probability(signal: torch.Tensor, frame: int, label: int) -> torch.Tensor:
    """Log-probability (B,) that this frame has this class."""
    asked = model(signal).dist
    allowed = torch.ones_like(asked.emissions, dtype=torch.bool)
    allowed[:, frame] = False
    allowed[:, frame, label] = True
    return asked.restrict(allowed).log_partition - asked.log_partition


frame = 150
label = int(distribution.mode[0, frame])
signal = torch.as_tensor(x[:1, :300])
shares = IntegratedGradients(log_probability).attribute(
    signal, additional_forward_args=(frame, label), n_steps=32, internal_batch_size=8
)
change = log_probability(signal, frame, label) - log_probability(torch.zeros_like(signal), frame, label)
print(f"shares sum to {float(shares.sum()):.3f}, the log-probability changes by {float(change.detach()):.3f}")

chart = Figure(figsize=(7.0, 2.2), layout="constrained")
ax = chart.subplots()
ax.plot(time, x[0, :300, 0], color="#9A9A9A", linewidth=0.8)
ax.bar(time, 5 * shares[0, :, 0].detach().numpy(), width=1 / RATE, color="#D55E00")
ax.axvline(frame / RATE, color="#222222", linewidth=0.8, linestyle=":")
ax.set(xlabel="time (s)", ylabel="signal; shares × 5")

# %%
# Read such pictures with care: on time series, gradients often point at the right time and the wrong channel, or the
# other way round (Ismail, Gunady, Corrada Bravo and Feizi, 2020).
