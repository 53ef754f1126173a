"""
Targets and classes at once
===========================

The problem that this library was made for. A signal switches between three oscillations, 5, 10 and
15 Hz. A recurrent network reads the noisy signal and predicts two things at each frame: the clean
value a little ahead, ``y``, and the oscillation that is on, ``k``. Trained with squared error plus
cross-entropy, its ``k`` flickers. Two questions follow: *is that sum a sensible loss at all?* and
*how do I get solid bands?*

**The sum is sensible when both terms are negative log-likelihoods in one unit, nats per frame.**
Squared error is the likelihood of a Gaussian with a fixed variance; cross-entropy is that of
independent frames. The likelihood of a conditional random field, in place of the cross-entropy,
keeps the sum and drops the independence.

**Bands come from a model that knows what a switch costs.** A penalty on switching pushes the scores
of neighbouring frames together, but each frame is still decided by itself, and the weight is yours
to tune. A conditional random field learns the cost of each switch with the scores, and decodes the
whole sequence at once.

Below, the same encoder is trained in three ways with the same signals, first weights, batches and
steps: this is ``segcrf demo --quick``.
"""

# %%
# The problem
# -----------

from segcrf.cli import demo

settings = demo.QUICK
print(settings)

# %%
# Train in three ways
# -------------------
# The weight of the penalty is the best of several on validation signals. The encoder is causal, so
# its forecast of ``y`` sees no future. Scores are of held-out signals.

signals, results = demo.compare_methods(settings, progress=False)
print(demo.format_table(results, signals))

# %%
# The figure
# ----------
# On top the signal, the true value ahead and the forecast; below, the true bands and those of each
# method.

chart = demo.draw_figure(signals, results)

# %%
# The joint loss by itself
# ------------------------
# What the third row of the table minimises, in a loop of your own: see
# :ref:`sphx_glr_generated_layers.py`.
