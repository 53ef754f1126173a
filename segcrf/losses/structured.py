"""Structured losses: losses of a distribution over label sequences other than its negative log-likelihood.

Each takes a distribution and labels and returns one loss per recording, (B,), summed over its frames: divide the sum by
``lengths.sum()`` for a loss per frame. All are finite where classes or transitions are forbidden, and a frame of -100
carries no information.

====================================  =============================================================================
:func:`weighted_marginal_loss`        classes of unequal importance
:func:`structured_hinge`              a margin instead of probabilities
:func:`softmax_margin`                a likelihood that keeps a margin from costly confusions
:func:`expected_risk`                 the expected cost of wrong frames
:func:`smoothed_loss`                 labels that may be wrong
:func:`soft_cross_entropy`            labels that are probabilities
====================================  =============================================================================

The losses of marginals (:func:`weighted_marginal_loss`, :func:`expected_risk`, :func:`soft_cross_entropy`) need a
second derivative of the log partition in training. It goes through the reference scan, a Python loop over frames, and
is much slower than a likelihood. The others need first derivatives only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, check_share
from segcrf.structures import Structure, check_labels, check_scores_shape, check_weights, frame_mask

__all__ = [
    "expected_risk",
    "smoothed_loss",
    "soft_cross_entropy",
    "softmax_margin",
    "structured_hinge",
    "weighted_marginal_loss",
]


def weighted_marginal_loss(dist: Structure, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the class-weighted log-loss (B,): ``-sum_t weights[k_t] log p(k_t | x)`` over the posterior marginals.

    This is a valid weighting: its minimum in expectation is where each marginal is the true probability times the
    class's weight, normalised, as for a weighted cross-entropy without a structure. A weight on the scores of the
    labels alone is not valid: numerator and log partition then belong to different models, "probabilities" exceed 1,
    and the loss falls without bound as the scores of heavy classes grow. (To weight whole recordings, multiply
    ``log_prob`` by a weight per recording.)

    Args:
        dist: over B recordings.
        labels: (B, T), -100 = unlabelled.
        weights: per class, (C,), 0 or more.

    Raises:
        InputError: labels or weights are out of range, or their shape does not match.

    Source: Kakade, Teh and Roweis, "An alternate objective function for Markovian fields", 2002, for the sum of
        log-marginals; its class weights are those of importance weighting.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 2, 2), torch.zeros(2, 2))
        >>> weighted_marginal_loss(fair, torch.tensor([[0, 1]]), torch.tensor([1.0, 3.0])) / torch.tensor(2.0).log()
        tensor([4.])
    """
    _check_class_weights(weights, dist.num_classes)
    labels, known = _known(dist, labels)
    log_p = _log_marginals(dist).gather(-1, labels[..., None])[..., 0]
    loss = -torch.where(known, weights.double()[labels] * log_p, 0.0)
    return loss.sum(-1).to(dist.dtype)


def soft_cross_entropy(dist: Structure, targets: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of the marginals against soft labels: ``-sum_t sum_c targets[t, c] log p(c | x)``.

    It is smallest where the marginals are the targets. A frame with targets of 0 only is unlabelled. For targets that
    are noisy observations of a hard label see :func:`segcrf.structures.evidence`; for the joint log-loss expected under
    independent frames, ``LinearChain(targets.log(), torch.zeros(C, C)).cross_entropy(dist)``.

    Args:
        dist: over B recordings.
        targets: (B, T, C), 0 or more; values beyond a recording's length are not read.

    Raises:
        InputError: a target is negative or not finite, or the shape does not match.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 2, 2), torch.zeros(2, 2))
        >>> soft_cross_entropy(fair, torch.tensor([[[0.5, 0.5], [0.0, 0.0]]]))
        tensor([0.6931])
    """
    check_weights(targets, "targets", tuple(dist.emissions.shape), dist.lengths)
    targets = torch.where(frame_mask(dist.lengths, targets.shape[1])[..., None], targets, 0.0).double()
    return -(targets * _log_marginals(dist)).sum((1, 2)).to(dist.dtype)


def structured_hinge(dist: Structure, labels: Tensor, cost: Tensor | None = None) -> Tensor:
    """Return the margin-rescaled hinge (B,): ``max_y [score(y) + sum_t cost[k_t, y_t]] - score(labels)``.

    It is zero once the labels beat every other labelling by the cost of confusing them. Where frames are unlabelled,
    the score of the labels is that of their best completion (a latent structural hinge, which is not convex).

    Args:
        dist: over B recordings; only its scores count, not their normalisation.
        labels: (B, T), -100 = unlabelled, costs nothing.
        cost: (C, C), cost of predicting a class (column) where a class (row) is labelled, zero on the diagonal; None:
            1 for every wrong frame, the Hamming loss.

    Raises:
        InputError: the labels are forbidden or out of range, or the shape of an argument does not match.

    Source: Taskar, Guestrin and Koller, "Max-margin Markov networks", 2003; Tsochantaridis et al., 2005.

    Example:
        >>> from segcrf import LinearChain
        >>> dist = LinearChain(torch.tensor([[[0.3, 0.0], [2.0, 0.0]]]), torch.zeros(2, 2))
        >>> structured_hinge(dist, torch.tensor([[0, 0]]))          # 0.7 of the first frame's margin is missing
        tensor([0.7000])
    """
    labels, known = _known(dist, labels)
    classes = torch.arange(dist.num_classes, device=labels.device)
    given = dist.restrict((labels[..., None] == classes) | ~known[..., None])
    return _rival(dist, labels, known, cost).best.score - given.best.score


def softmax_margin(dist: Structure, labels: Tensor, cost: Tensor | None = None) -> Tensor:
    """Return the softmax-margin (B,): ``log sum_y exp(score(y) + sum_t cost[k_t, y_t]) - score(labels)``.

    This is the negative log-likelihood of a model under which costly labellings are more probable than in the data: a
    soft :func:`structured_hinge`, and no smaller than it. Large costs where a rare class is labelled make the model
    predict that class sooner; its probabilities then are not frequencies. Where frames are unlabelled, the score of the
    labels is that of all their completions together.

    Args:
        dist: over B recordings.
        labels: (B, T), -100 = unlabelled, costs nothing.
        cost: as in :func:`structured_hinge`.

    Raises:
        InputError: labels are out of range, or the shape of an argument does not match.

    Source: Gimpel and Smith, "Softmax-margin CRFs: training log-linear models with cost functions", 2010.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 1, 2), torch.zeros(2, 2))
        >>> softmax_margin(fair, torch.tensor([[0]]))               # log(1 + e), where the likelihood has log 2
        tensor([1.3133])
    """
    labels, known = _known(dist, labels)
    rival = _rival(dist, labels, known, cost)
    # In double precision: both are of the order of T, and their difference need not be.
    excess = rival.double().log_partition - dist.double().log_partition
    return excess.to(dist.dtype) - dist.log_prob(labels.masked_fill(~known, UNLABELLED))


def expected_risk(dist: Structure, labels: Tensor, cost: Tensor | None = None) -> Tensor:
    """Return the expected cost (B,) of a labelling drawn from ``dist``: ``sum_t sum_c p(c | x) cost[k_t, c]``.

    It is bounded, so that one mislabelled stretch cannot dominate. It is not convex: start from a model that was
    trained by its likelihood.

    Args:
        dist: over B recordings.
        labels: (B, T), -100 = unlabelled, costs nothing.
        cost: as in :func:`structured_hinge`; None: the expected number of wrong frames.

    Raises:
        InputError: labels are out of range, or the shape of an argument does not match.

    Source: Suzuki, McDermott and Isozaki, "Training conditional random fields with multivariate evaluation measures",
        2006; Li and Eisner, 2009.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
        >>> expected_risk(fair, torch.tensor([[0, 1, 1, -100]]))
        tensor([1.5000])
    """
    labels, known = _known(dist, labels)
    risk = (dist.marginals.labels.double() * _cost(dist, cost)[labels]).sum(-1)
    return torch.where(known, risk, 0.0).sum(-1).to(dist.dtype)


def smoothed_loss(dist: Structure, labels: Tensor, smoothing: float, prior: Tensor | None = None) -> Tensor:
    """Return the log-loss (B,) under a mixture of the labels and of all allowed labellings: label smoothing.

    ``-(1 - smoothing) log p(labels) - smoothing E_u[log p]``, where u is uniform over the labellings that are not
    forbidden; with a ``prior``, u weighs them by ``prod_t prior[y_t]``. The mixture is of whole sequences: forbidden
    ones have no share, so the loss stays finite. Smoothing frame by frame would not stay finite. A draw from u flickers
    and teaches the model to switch, so 0.01 is already a large share.

    Args:
        dist: over B recordings.
        labels: (B, T), -100 = unlabelled.
        smoothing: share of u, from 0 to below 1.
        prior: share of each class, (C,), above 0.

    Raises:
        InputError: the labels are forbidden, or an argument is out of range.

    Source: Szegedy et al., "Rethinking the Inception architecture", 2016, for classes; here applied to label sequences.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 2, 2), torch.zeros(2, 2))
        >>> smoothed_loss(fair, torch.tensor([[0, 1]]), 0.1)        # uniform already: log 4 for any share
        tensor([1.3863])
    """
    check_share(smoothing, "smoothing")
    other = dist.uniform()
    if prior is not None:
        _check_prior(prior, dist.num_classes)
        emissions = other.emissions + prior.detach().to(other.emissions).log()
        other = other.replace(emissions=emissions)
    return -(1 - smoothing) * dist.log_prob(labels) + smoothing * other.cross_entropy(dist)


def _known(dist: Structure, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return checked labels (B, T), 0 where a frame is unlabelled, and which frames are labelled."""
    event = (dist.emissions.shape[0], dist.emissions.shape[1])
    labels = check_labels(labels, event, dist.num_classes, dist.lengths)
    known = (labels != UNLABELLED) & frame_mask(dist.lengths, event[1])
    return labels.masked_fill(~known, 0), known


def _log_marginals(dist: Structure) -> Tensor:
    """Return the log of the posterior marginals (B, T, C), float64; forbidden classes get the smallest number."""
    probability = dist.double().marginals.labels
    return probability.clamp(min=torch.finfo(torch.float64).tiny).log()


def _rival(dist: Structure, labels: Tensor, known: Tensor, cost: Tensor | None) -> Structure:
    """Return the structure with the cost of each labelling added to its score."""
    margin = torch.where(known[..., None], _cost(dist, cost)[labels], 0.0)
    return dist.replace(emissions=dist.emissions + margin.to(dist.dtype))


def _cost(dist: Structure, cost: Tensor | None) -> Tensor:
    """Return a checked cost matrix (C, C), float64."""
    if cost is None:
        return 1.0 - torch.eye(dist.num_classes, dtype=torch.float64, device=dist.emissions.device)
    return check_scores_shape(cost, "cost", (dist.num_classes, dist.num_classes), "(C, C)").double()


def _check_class_weights(values: Tensor, num_classes: int) -> None:
    """Raise for weights (C,) of classes that are negative, infinite or NaN."""
    check_scores_shape(values, "weights", (num_classes,), "(C,)")
    if torch.compiler.is_compiling() or ((values >= 0) & (values < torch.inf)).all():
        return
    raise InputError("weights", str(values.tolist()), "a finite weight of 0 or more for every class")


def _check_prior(values: Tensor, num_classes: int) -> None:
    """Raise for shares (C,) of classes that are not all above 0."""
    check_scores_shape(values, "prior", (num_classes,), "(C,)")
    if torch.compiler.is_compiling() or ((values > 0) & (values < torch.inf)).all():
        return
    advice = "give classes that never occur a small share"
    raise InputError("prior", str(values.tolist()), "a finite share above 0 for every class", advice)
