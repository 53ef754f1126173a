"""
What a switch costs
===================

A layer learns a score for every pair of classes that follow each other. Where you know more, or have
little data, give it other ``transitions``: each family is a small module, and every query of the
distribution works with it.
"""

# %%
# One cost for every switch
# -------------------------
# With few labelled recordings, C² scores are too many. A Potts model has one, set here from the frequency
# of switches in labelled data; ``emission_scale=True`` adds a factor that lets training correct an
# encoder that is too confident.

import torch

from segcrf import LinearChainCRF, SemiMarkovCRF
from segcrf.nn import (
    ConstrainedTransitions,
    FullTransitions,
    InputDependentTransitions,
    IrregularTransitions,
    LowRankTransitions,
)

torch.manual_seed(0)
labelled = [torch.arange(400) // 40 % 3, torch.arange(300) // 60 % 3]
crf = LinearChainCRF(3, transitions="potts", emission_scale=True).init_from(labelled)
print(f"a switch costs {crf.transitions.switch_cost.item():.2f} nats")
print([name for name, _ in crf.named_parameters()])

# %%
# Pairs that cannot be
# --------------------
# A forbidden pair is forbidden in the likelihood *and* in the decoder: probability goes to the paths
# that remain. Required pairs list the classes that may follow another. ``"cycle"`` and
# ``"left_to_right"`` are the two most common orders.

known = ConstrainedTransitions(FullTransitions(3), forbidden=[(0, 2)], required=[(2, 0)])
crf = LinearChainCRF(3, transitions=known)
noise = torch.randn(1, 500, 3)
labels = crf(noise).mode[0]
print("steps from 0 to 2:", int(((labels[:-1] == 0) & (labels[1:] == 2)).sum()))

phases = SemiMarkovCRF(3, max_duration=20, transitions="cycle", min_duration=5)
bands = phases(noise[:, :60]).mode[0]
print("phases in order:", torch.unique_consecutive(bands).tolist())

# %%
# Many classes
# ------------
# Fifty classes have 2,500 pairs. Three parameters per class and side, and a score of staying, are 350.

family = LowRankTransitions(50, rank=3)
print("parameters:", sum(parameter.numel() for parameter in family.parameters()))

# %%
# When the signal itself announces a switch
# -----------------------------------------
# The scores of a step may depend on the features of the frame it enters, such as those of your
# encoder. Here one channel clicks when the class changes, and the classes themselves are hard to tell
# apart; ``context`` carries the features.

switches = torch.rand(1, 2000) < 0.02
states = switches.cumsum(1) % 2
signal = torch.stack([0.4 * (2.0 * states - 1) + torch.randn(1, 2000), switches + 0.1 * torch.randn(1, 2000)], -1)


def trained(crf: LinearChainCRF, **context: torch.Tensor) -> float:
    """Share of frames decoded correctly, after training on them."""
    head = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam([*crf.parameters(), *head.parameters()], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        (-crf(head(signal), **context).log_prob(states).sum() / 2000).backward()
        optimiser.step()
    return (crf(head(signal), **context).mode == states).double().mean().item()


shared = trained(LinearChainCRF(2).init_from([states[0]]))
listening = LinearChainCRF(2, transitions=InputDependentTransitions(2, 2)).init_from([states[0]])
print(f"frames right: {shared:.3f} with shared transitions, {trained(listening, context=signal):.3f} with its own")

# %%
# Frames at uneven times
# ----------------------
# This family holds rates per second instead of probabilities per frame. After a gap of a minute the class
# before it carries no information about the class after it, while neighbouring frames still depend on
# each other. The rates come from labels and the times between them.

crf = LinearChainCRF(2, transitions=IrregularTransitions(2))
blocks = torch.arange(1000) // 100 % 2
crf.init_from([blocks, 1 - blocks], intervals=[torch.full((999,), 0.1)] * 2)
print("switches per second:", crf.transitions.generator.detach().numpy().round(3).tolist())

emissions = torch.zeros(1, 8, 2)
emissions[0, :4, 0] = 1.0  # four frames of evidence for class 0, then nothing
for gap in (0.1, 10.0, 600.0):
    times = torch.full((1, 7), 0.1)
    times[0, 3] = gap
    after = crf(emissions, context=times).marginals.labels[0, 4, 0].item()
    print(f"probability of class 0 after a gap of {gap:5.1f} s: {after:.2f}")

# %%
# What is known stays
# -------------------
# A frozen parameter is one with ``requires_grad=False``, as everywhere in PyTorch. A score of ``-inf``
# has no gradient and stays where it is; leave such parameters out of weight decay.

crf = LinearChainCRF(4, transitions="left_to_right")
with torch.no_grad():
    crf.start[1:] = -torch.inf  # every recording begins in the first stage
    crf.end[:-1] = -torch.inf  # and ends in the last
crf.start.requires_grad = crf.end.requires_grad = False
print(torch.unique_consecutive(crf(torch.randn(1, 50, 4)).mode[0]).tolist())

# %%
# Out of Python
# -------------
# :func:`segcrf.inference.export_model` writes a whole model with its decoding, for any number of recordings and frames:
# ``model.onnx`` for an ONNX runtime (``pip install 'segcrf[onnx]'``), ``model.pt2`` for ``torch.export``. See
# :doc:`exporting`.
#
# By itself, a layer can be traced too. Its decoding is one operator of this package.

frames = torch.export.Dim("frames")


class Decoder(torch.nn.Module):
    """From class scores to labels."""

    def __init__(self) -> None:
        super().__init__()
        self.crf = LinearChainCRF(3, transitions="potts").init_from(labelled)

    def forward(self, emissions: torch.Tensor) -> torch.Tensor:
        return self.crf(emissions).mode


program = torch.export.export(Decoder(), (noise,), dynamic_shapes=({1: frames},)).module()
longer = torch.randn(1, 1234, 3)
print("equal labels:", torch.equal(program(longer), Decoder()(longer)))
