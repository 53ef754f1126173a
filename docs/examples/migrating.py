"""
From pytorch-crf
================

Change one line::

    from torchcrf import CRF  # before
    from segcrf import CRF    # after

Constructor, calls, parameter names, ``state_dict``, reductions and types of error are those of
pytorch-crf 0.7.2. Trained weights load as they are.
"""

# %%
# Same results
# ------------

import torch
import torchcrf

import segcrf

torch.manual_seed(0)
theirs = torchcrf.CRF(5, batch_first=True)
ours = segcrf.CRF(5, batch_first=True)
ours.load_state_dict(theirs.state_dict())

emissions, tags = torch.randn(2, 6, 5), torch.randint(5, (2, 6))
mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
print("theirs", theirs(emissions, tags, mask).item(), theirs.decode(emissions, mask))
print("ours  ", ours(emissions, tags, mask).item(), ours.decode(emissions, mask))
assert torch.allclose(theirs(emissions, tags, mask), ours(emissions, tags, mask))
assert theirs.decode(emissions, mask) == ours.decode(emissions, mask)

# %%
# Where they differ
# -----------------
# A mask with holes. segcrf leaves the masked frames out, as if they had never been. The likelihoods
# of all taggings of the frames that count must sum to one:

import itertools

hole = torch.tensor([[True, False, True]])
every = [(a, 0, c) for a, c in itertools.product(range(5), repeat=2)]
for name, crf in {"theirs": theirs, "ours": ours}.items():
    likelihoods = [crf(emissions[:1, :3], torch.tensor([tagging]), hole).exp() for tagging in every]
    print(f"{name:6} sum of probabilities: {torch.stack(likelihoods).sum().item():.4f}")

# %%
# A tag of -100, PyTorch's ``ignore_index``, may stand where the mask is off. Where the mask is on it
# means unlabelled, and the likelihood is summed over the classes.

unlabelled = tags.clone()
unlabelled[0, 2] = -100
print(f"one unlabelled frame: {ours(emissions, unlabelled, mask).item():.4f}")

# %%
# NaN or infinite scores raise a ``ValueError`` that names the place, instead of spreading.
#
# More than before
# ----------------
# ``crf.dist(emissions, mask)`` is the :class:`~segcrf.LinearChain` behind it, batch
# first: marginals, entropy, samples, restriction. New code uses
# :class:`~segcrf.LinearChainCRF`, which takes ``lengths`` instead of a mask.

print(ours.dist(emissions, mask).marginals.labels[1, 0].detach().numpy().round(3))
