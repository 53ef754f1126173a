"""Losses of a structure other than its negative log-likelihood.

Each takes a distribution and labels and returns one number per recording, (B,), summed over its frames: divide the sum
by ``lengths.sum()`` for a loss per frame. All are finite where classes or transitions are forbidden, and a frame of
-100 says nothing.

====================================  =============================================================================
:func:`weighted_marginal_loss`        classes of unequal importance
:func:`structured_hinge`              a margin instead of probabilities
:func:`softmax_margin`                a likelihood that keeps a margin from costly confusions
:func:`expected_risk`                 the expected cost of a wrong frame, itself
:func:`smoothed_loss`                 labels that are not to be believed to the last
:func:`soft_cross_entropy`            labels that are probabilities
====================================  =============================================================================

To train on those of marginals (:func:`weighted_marginal_loss`, :func:`expected_risk`, :func:`soft_cross_entropy`) takes
a second derivative of the log partition, which goes through the reference scan, a Python loop over frames: much slower
than a likelihood. The others need first derivatives only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.structures import Structure, check_labels, check_scores_shape, check_weights

__all__ = [
    "expected_risk",
    "smoothed_loss",
    "soft_cross_entropy",
    "softmax_margin",
    "structured_hinge",
    "weighted_marginal_loss",
]


def weighted_marginal_loss(dist: Structure, labels: Tensor, weights: Tensor) -> Tensor:
    """Class-weighted log-loss (B,): ``-sum_t weights[k_t] log p(k_t | x)`` over the posterior marginals.

    A valid weighting: its minimum in expectation is where each marginal is the true probability times the class's
    weight, normalised, as for a weighted cross-entropy without a structure. Weighting the scores of the labels alone is
    not: numerator and log partition then belong to different models, "probabilities" exceed 1, and the loss falls
    without bound as the scores of heavy classes grow. (To weight whole recordings, multiply ``log_prob`` by a number.)

    Args:
        dist: over B recordings.
        labels: (B, T), -100 = unlabelled.
        weights: per class, (C,), 0 or more.

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
    """Cross-entropy (B,) of the posterior marginals against soft labels: ``-sum_t sum_c targets[t, c] log p(c | x)``.

    Smallest where the marginals are the targets. A frame whose targets are all zero is unlabelled. For targets that
    are noisy observations of a hard label see :func:`segcrf.structures.evidence`; for the joint log-loss expected under
    independent frames, ``LinearChain(targets.log(), torch.zeros(C, C)).cross_entropy(dist)``.

    Args:
        dist: over B recordings.
        targets: (B, T, C), 0 or more; beyond a recording's length not read.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 2, 2), torch.zeros(2, 2))
        >>> soft_cross_entropy(fair, torch.tensor([[[0.5, 0.5], [0.0, 0.0]]]))
        tensor([0.6931])
    """
    check_weights(targets, tuple(dist.emissions.shape), dist.lengths)
    frames = torch.arange(targets.shape[1], device=targets.device)
    targets = torch.where((frames < dist.lengths[:, None])[..., None], targets, 0.0).double()
    return -(targets * _log_marginals(dist)).sum((1, 2)).to(dist.dtype)


def structured_hinge(dist: Structure, labels: Tensor, cost: Tensor | None = None) -> Tensor:
    """Margin-rescaled hinge (B,): ``max_y [score(y) + sum_t cost[k_t, y_t]] - score(labels)``.

    Zero once the labels beat every other labelling by the cost of confusing them. Where frames are unlabelled, the
    score of the labels is that of their best completion (a latent structural hinge, no longer convex).

    Args:
        dist: over B recordings; only its scores count, not their normalisation.
        labels: (B, T), -100 = unlabelled, costs nothing.
        cost: of saying class (column) where class (row) is labelled, (C, C), zero on the diagonal; None: 1 for every
            wrong frame, the Hamming loss.

    Raises:
        ValueError: the labels are forbidden.

    Source: Taskar, Guestrin and Koller, "Max-margin Markov networks", 2003; Tsochantaridis et al., 2005.

    Example:
        >>> from segcrf import LinearChain
        >>> dist = LinearChain(torch.tensor([[[0.3, 0.0], [2.0, 0.0]]]), torch.zeros(2, 2))
        >>> structured_hinge(dist, torch.tensor([[0, 0]]))          # the first frame lacks 0.7 of its margin
        tensor([0.7000])
    """
    labels, known = _known(dist, labels)
    classes = torch.arange(dist.num_classes, device=labels.device)
    given = dist.restrict((labels[..., None] == classes) | ~known[..., None])
    return _rival(dist, labels, known, cost).best.score - given.best.score


def softmax_margin(dist: Structure, labels: Tensor, cost: Tensor | None = None) -> Tensor:
    """Softmax-margin (B,): ``log sum_y exp(score(y) + sum_t cost[k_t, y_t]) - score(labels)``.

    The negative log-likelihood of a model that is made to look at costly labellings more often than it will meet them:
    a soft :func:`structured_hinge`, and no smaller than it. Costs that are large where a rare class is labelled are
    meant to make the model say it sooner; its probabilities then are no frequencies any more. Where frames are
    unlabelled, the score of the labels is that of all their completions together.

    Args:
        dist: over B recordings.
        labels: (B, T), -100 = unlabelled, costs nothing.
        cost: as in :func:`structured_hinge`.

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
    """Expected cost (B,) of a labelling drawn from the distribution: ``sum_t sum_c p(c | x) cost[k_t, c]``.

    Bounded, so that one mislabelled stretch cannot dominate; not convex, so begin from a trained likelihood.

    Args:
        dist: over B recordings.
        labels: (B, T), -100 = unlabelled, costs nothing.
        cost: as in :func:`structured_hinge`; None: the expected number of wrong frames.

    Source: Suzuki, McDermott and Isozaki, "Training conditional random fields with multivariate evaluation measures",
        2006; Li and Eisner, 2009.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
        >>> expected_risk(fair, torch.tensor([[0, 1, 1, -100]]))
        tensor([1.5000])
    """
    labels, known = _known(dist, labels)
    each = (dist.marginals.labels.double() * _cost(dist, cost)[labels]).sum(-1)
    return torch.where(known, each, 0.0).sum(-1).to(dist.dtype)


def smoothed_loss(dist: Structure, labels: Tensor, smoothing: float, prior: Tensor | None = None) -> Tensor:
    """Label smoothing over sequences (B,): the log-loss under a mixture of the labels and of all allowed labellings.

    ``-(1 - smoothing) log p(labels) - smoothing E_u[log p]``, where u is uniform over the labellings that are not
    forbidden; or, with a ``prior``, weighs them by ``prod_t prior[y_t]``. A mixture of whole sequences: forbidden ones
    have no share, so the loss stays finite, as smoothing frame by frame would not. A draw of u flickers, and teaches
    switching: 0.01 is much.

    Args:
        dist: over B recordings.
        labels: (B, T), -100 = unlabelled.
        smoothing: share of u, from 0 up to and without 1.
        prior: share of each class, (C,), above 0.

    Raises:
        ValueError: the labels are forbidden, or an argument is out of range.

    Source: Szegedy et al., "Rethinking the Inception architecture", 2016, for classes; here for label sequences.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 2, 2), torch.zeros(2, 2))
        >>> smoothed_loss(fair, torch.tensor([[0, 1]]), 0.1)        # already uniform: log 4 whatever the share
        tensor([1.3863])
    """
    _validation.share(smoothing, "smoothing")
    other = dist.uniform()
    if prior is not None:
        _check_prior(prior, dist.num_classes)
        emissions = other.emissions + prior.detach().to(other.emissions).log()
        other = other.replace(emissions=emissions)
    return -(1 - smoothing) * dist.log_prob(labels) + smoothing * other.cross_entropy(dist)


def _known(dist: Structure, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Checked labels (B, T), 0 where there is none, and where there is one."""
    event = (dist.emissions.shape[0], dist.emissions.shape[1])
    labels = check_labels(labels, event, dist.num_classes, dist.lengths)
    frames = torch.arange(event[1], device=labels.device)
    known = (labels != UNLABELLED) & (frames < dist.lengths[:, None])
    return labels.masked_fill(~known, 0), known


def _log_marginals(dist: Structure) -> Tensor:
    """Log of the posterior marginals (B, T, C), float64; what is forbidden counts as the smallest number there is."""
    probability = dist.double().marginals.labels
    return probability.clamp(min=torch.finfo(torch.float64).tiny).log()


def _rival(dist: Structure, labels: Tensor, known: Tensor, cost: Tensor | None) -> Structure:
    """The structure whose scores are raised by what a labelling costs."""
    margin = torch.where(known[..., None], _cost(dist, cost)[labels], 0.0)
    return dist.replace(emissions=dist.emissions + margin.to(dist.dtype))


def _cost(dist: Structure, cost: Tensor | None) -> Tensor:
    if cost is None:
        return 1.0 - torch.eye(dist.num_classes, dtype=torch.float64, device=dist.emissions.device)
    return check_scores_shape(cost, "cost", (dist.num_classes, dist.num_classes), "(C, C)").double()


def _check_class_weights(values: Tensor, num_classes: int) -> None:
    """Refuse weights (C,) of classes that are negative, infinite or NaN."""
    check_scores_shape(values, "weights", (num_classes,), "(C,)")
    if torch.compiler.is_compiling() or ((values >= 0) & (values < torch.inf)).all():
        return
    raise ValueError(f"weights must be finite numbers of 0 or more, one per class, got {values.tolist()}")


def _check_prior(values: Tensor, num_classes: int) -> None:
    """Refuse shares (C,) of classes that are not all above 0."""
    check_scores_shape(values, "prior", (num_classes,), "(C,)")
    if torch.compiler.is_compiling() or ((values > 0) & (values < torch.inf)).all():
        return
    raise ValueError(
        f"prior must be a share above 0 for every class, got {values.tolist()}; give unseen classes a little"
    )
