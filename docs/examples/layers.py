"""
In a training loop of your own
==============================

The layers need PyTorch only. A module holds the parameters and, called with class scores, **returns
a distribution** over label sequences; the loss is minus its ``log_prob``, the bands are its
``mode``.
"""

# %%
# The layer
# ---------
# Scores are ``(B, T, C)``: recordings, frames, classes. ``lengths`` says how many frames of each
# are valid. Frames beyond come back as -100, and a label of -100 within is unlabelled: it is summed
# over, not dropped.

import torch

from segcrf import LinearChainCRF

torch.manual_seed(0)
crf = LinearChainCRF(num_classes=3)
emissions = torch.randn(2, 8, 3, requires_grad=True)
lengths = torch.tensor([8, 5])
labels = torch.tensor([[0, 0, 0, 1, 1, -100, 2, 2], [2, 2, 2, 0, 0, -100, -100, -100]])

distribution = crf(emissions, lengths)
loss = -distribution.log_prob(labels).sum() / lengths.sum()
loss.backward()
print(f"loss per frame: {loss.item():.3f}")
print(distribution.mode)

# %%
# The same object has everything else: the posterior probability of each class at each
# frame, the expected number of bands, the entropy, samples.

marginals = distribution.marginals
print(marginals.labels[1, :5].detach().numpy().round(2))
print(f"expected bands: {marginals.starts.sum((1, 2)).detach().numpy().round(2)}")
print(f"entropy in nats: {distribution.entropy().detach().numpy().round(2)}")
print(distribution.sample((2,))[:, 1, :5])

# %%
# Knowledge of the labels restricts the same distribution. Here the first recording never enters
# class 2.

allowed = torch.ones(2, 8, 3, dtype=torch.bool)
allowed[0, :, 2] = False
print(distribution.restrict(allowed).mode)

# %%
# Classes and targets
# -------------------
# :class:`~segcrf.nn.JointModel` is an encoder with two heads.
# :class:`~segcrf.losses.JointObjective` returns its losses by name, each per valid frame. You
# choose how to combine them: with any function from named losses to a scalar.

from segcrf.data import switching_sinusoid
from segcrf.losses import FixedWeights, JointObjective
from segcrf.nn import JointModel, LSTMEncoder

x, y, k = (torch.from_numpy(part) for part in switching_sinusoid(64, 200, seed=0))
model = JointModel(LSTMEncoder(1, hidden=32), LinearChainCRF(3), num_targets=1)
objective, total = JointObjective("gaussian"), FixedWeights()
optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=1e-2)
for step in range(101):
    losses = objective(model(x), k, y)
    optimizer.zero_grad()
    total(losses).backward()
    optimizer.step()
    if step % 50 == 0:
        print(step, {name: round(loss.item(), 3) for name, loss in losses.items()})

# %%
# The regression loss may fall below zero: it is minus the logarithm of a density, and a density may
# exceed one.
