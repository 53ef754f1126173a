"""
Questions people ask
====================

The questions are worded as in the issue trackers of other CRF libraries. Each answer is code that this page runs.
"""

# %%
# Why is my loss negative?
# ------------------------
# A log-probability is at most 0, so its negative is never below 0. Where ``-log_prob`` of another library is negative,
# numerator and normaliser do not belong to one model: the mask and the labels are out of step, emissions are weighted
# in one and not in the other, or a band is longer than the longest that the normaliser allows. In segcrf all labellings
# have one normaliser, and forbidden labels are an error that names the frame.

import itertools
import json
from pathlib import Path

import torch

import segcrf
from segcrf import LinearChain, LinearChainCRF, Segments, metrics

torch.manual_seed(0)
crf = LinearChainCRF(num_classes=3)
emissions = torch.randn(1, 4, 3)
everything = torch.tensor(list(itertools.product(range(3), repeat=4)))[:, None]
print(f"{len(everything)} labellings, total probability {crf(emissions).log_prob(everything).exp().sum():.6f}")

forbidden = torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])
try:
    LinearChain(torch.zeros(1, 3, 2), forbidden).log_prob(torch.tensor([[0, 1, 1]]))
except ValueError as error:
    print(error)

# %%
# The regression loss may be negative: a Gaussian is a density, and a density may exceed 1. So the *joint* loss of
# classes and targets may be negative too. Look at ``losses["crf"]`` by itself: it is at least 0.

# %%
# My labels contain -100
# ----------------------
# Leave them. A frame of -100 is summed over all classes that may stand there, in the loss as in its gradient; it is not
# dropped, so time still passes, and a band may go on or end behind it.

distribution = crf(torch.randn(1, 6, 3))
labels = torch.tensor([[0, 0, -100, -100, 1, 1]])
completions = labels.repeat(9, 1)
completions[:, 2:4] = torch.tensor(list(itertools.product(range(3), repeat=2)))
print(distribution.log_prob(labels).item())
print(distribution.log_prob(completions[:, None]).logsumexp(0).item())

# %%
# If you know something about such a frame, use it: :mod:`segcrf.structures` has functions for sets of classes, evidence
# and tolerant boundaries.
#
# On ``emg_gestures`` 64 % of the frames carry no label. The table compares three ways to train on it (the mean over
# seeds, in percent; ``python -m benchmarks.unlabelled``). Keeping the unlabelled frames beats cutting the recordings
# into labelled stretches, where no two classes ever meet. Putting the labelled frames end to end is slightly better
# still: the frames between two gestures belong to neither class here, and the sum over classes cannot know that.

results = Path(segcrf.__file__).parent.parent / "benchmarks" / "results"
runs = json.loads((results / "unlabelled.json").read_text())["runs"]
for way in dict.fromkeys(run["way"] for run in runs):
    scores = [run["scores"] for run in runs if run["way"] == way]
    print(f"{way:12}", {name: round(sum(row[name] for row in scores) / len(scores), 1) for name in scores[0]})
print(metrics.conventions())

# %%
# Which tag do I pad with?
# ------------------------
# Any. Give ``lengths``; labels and emissions beyond them are not read, even if they are NaN. There is no padding class,
# and C does not count one. Labels beyond a recording's end come back as -100.

emissions, lengths = torch.randn(2, 5, 3), torch.tensor([5, 3])
emissions[1, 3:] = torch.nan
distribution = crf(emissions, lengths)
for padding in (-100, 0, 99):
    labels = torch.tensor([[0, 0, 1, 1, 2], [2, 2, 1, padding, padding]])
    print(padding, distribution.log_prob(labels).detach())
print(distribution.mode)

# %%
# My masks have holes
# -------------------
# A mask says that frames are missing. It does not say what that means, and the three meanings have three likelihoods.
# :class:`~segcrf.structures.Gapped` takes any boolean mask, with holes or with padding at the left, and the meaning by
# name. ``"bridge"``: time passed, and nothing was observed. ``"skip"``: the frames never existed. ``"break"``: the
# recording ended, and another one began.

from segcrf.structures import Gapped

mask = torch.tensor([[False, True, True, False, True, True]])
scores = torch.randn(1, 6, 3)
for gap in ("bridge", "skip", "break"):
    gapped = Gapped(crf, scores, mask, gap)
    print(f"{gap:7}", gapped.mode, gapped.log_prob(torch.tensor([[9, 0, 0, 9, 1, 1]])).detach())

# %%
# How do I get probabilities instead of labels?
# ---------------------------------------------
# ``marginals.labels`` are the posterior probabilities of each class at each frame, given the whole recording;
# ``filtered`` those given the signal so far. A softmax of the emissions is neither: it does not know the neighbours.

distribution = LinearChain(3 * torch.randn(1, 200, 3), 4 * torch.eye(3))
print(distribution.marginals.labels[0, :3])
print(distribution.filtered[0, :3])

# %%
# ``mode`` is the best labelling as a whole; ``posterior_mode`` the best class of each frame by itself, which has the
# fewest expected wrong frames, flickers more, and may be a labelling that is forbidden. ``topk``, ``sample``,
# ``entropy`` and ``expected_bands`` say what else might be.

print(f"{len(Segments.from_labels(distribution.mode))} bands, expected {distribution.expected_bands.item():.1f}")

# %%
# How sure is this band?
# ----------------------
# There are two answers. The mean marginal is the expected share of its frames that are right. The band probability is
# the probability of exactly this band, from its first frame to its last: it is small where a boundary is uncertain. In
# tables of the Segmenter: ``predict_segments(X, confidence="frames")`` or ``"band"``. Its default is a third answer,
# ``"right"``: the probability that a true band of the class overlaps at least half of both together.

bands = Segments.from_labels(distribution.mode)
print(bands.with_score(distribution.mean_marginal(bands)))
print(bands.with_score(distribution.band_probability(bands)))

# %%
# Only recordings of other people show whether such confidences are right. So ``Segmenter.fit`` calibrates by its
# validation recordings, and ``calibrate(X, y)`` by others: one temperature for the probabilities of frames, which
# leaves the most probable class of each frame as it is; a logistic curve for the confidence of bands; and the errors of
# boundaries, which ``predict_segments(X, interval=0.9)`` turns into intervals. (``python -m benchmarks.calibrated``)
#
# A structure without a Segmenter has :func:`~segcrf.training.fit_temperature`. A temperature, fitted on held-out
# recordings, makes a model less sure. One that divides all scores of the structure leaves its bands as they were. One
# that divides only the emissions fits the likelihood better, and can merge the bands into one: most of the likelihood
# lies in frames where nothing switches. (``python -m benchmarks.calibration``)

calibrated = json.loads((results / "calibration.json").read_text())["data_sets"]
for name, result in calibrated.items():
    print(name, "temperatures", result["temperature"])
    for when in ("as trained", "structure", "emissions"):
        row = result[when]
        columns = ("expected_calibration_error", "log_loss_per_frame", "accuracy", "band_ratio")
        print(f"   {when:10}", {column: row[column] for column in columns})

# %%
# My classes are unbalanced: where do I put class weights?
# --------------------------------------------------------
# Not on the emissions: numerator and normaliser would belong to different models. Weight the log-probability of each
# labelled frame instead; :func:`~segcrf.losses.weighted_marginal_loss` says what is then estimated. At the
# decoder, costs do the same without a new training.

from segcrf.losses import weighted_marginal_loss

labels = distribution.mode
print(weighted_marginal_loss(distribution, labels, torch.tensor([1.0, 1.0, 5.0])) / labels.shape[1])
missing_2_costs_five = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [5.0, 5.0, 0.0]])
print(distribution.minimum_risk(missing_2_costs_five).flatten().bincount(), labels.flatten().bincount())

# %%
# I know the order of the bands, but not when
# -------------------------------------------
# Then the loss is minus the log-probability of all labellings in that order, and the best of them is a forced
# alignment. The same holds for one labelled frame per band, and for boundaries that are right to within a few frames.

from segcrf.structures import boundary_tolerance, timestamps, transcript

distribution = LinearChain(torch.randn(1, 12, 3, requires_grad=True), torch.eye(3))
aligned = transcript(distribution, [[0, 2, 1]])
print(aligned.mode)
marks = torch.full((1, 12), -100)
marks[0, [1, 6, 10]] = torch.tensor([0, 2, 1])
print(timestamps(distribution, marks).mode)
for frames in (0, 1, 2):
    known = boundary_tolerance(distribution, aligned.mode, frames)
    print(f"every boundary within {frames}: {known.log_share.item():.3f}")
(-known.log_share.sum()).backward()
