"""Temperature scaling: one parameter that calibrates a posterior on held-out recordings.

Networks trained for long are too confident, and so are the scores that they give a structure: its bands are then too
short or too long. A temperature divides the scores. Fit it on recordings that did not train the network, and measure
the calibration (:func:`segcrf.metrics.reliability`) on yet others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segcrf._validation import check_choice, check_same_number
from segcrf.structures import Structure

__all__ = ["TEMPERATURE_SCOPES", "fit_temperature"]

TEMPERATURE_SCOPES = ("structure", "emissions")
# Beyond a factor of 100 either way the scores are either noise or certainties, and the loss is flat.
LARGEST = 100.0


def fit_temperature(dists: Sequence[Structure], labels: Sequence[Tensor], scope: str = "structure") -> float:
    """Return the temperature that makes the labels of held-out recordings most probable when it divides the scores.

    A temperature above 1 means that the model was too confident. Apply it with ``dist.scaled(1 / temperature)`` for
    ``scope="structure"``, or with ``dist.scaled(emissions=1 / temperature)`` for ``scope="emissions"``. For complete
    labels the likelihood is concave in the inverse temperature, so the returned one is the best between 1/100 and 100.

    Args:
        dists: distributions over the labels of batches of held-out recordings, as the model returns them.
        labels: (B, T) of each batch, -100 = unlabelled.
        scope: ``"structure"`` divides all scores and leaves the decoded bands as they are; ``"emissions"`` divides only
            the emissions, and with them their weight against a switch. The latter fits the likelihood better. On few
            recordings, where most of the likelihood lies in the switches, it may make the bands worse.

    Returns:
        The temperature, above 0.

    Raises:
        InputError: the scope is unknown, or ``dists`` and ``labels`` differ in length.

    Source: Guo et al., "On calibration of modern neural networks", 2017, there for a softmax.

    Example:
        >>> from segcrf import LinearChain
        >>> labels = torch.tensor([[0, 1, 1, 0, 0, 1, 0, 0, 1, 1]])
        >>> predicted = torch.tensor([[0, 1, 1, 0, 0, 1, 0, 0, 0, 0]])     # eight of ten are right, with a score of 5
        >>> dist = LinearChain(5.0 * torch.nn.functional.one_hot(predicted, 2).float(), torch.zeros(2, 2))
        >>> temperature = fit_temperature([dist], [labels])
        >>> f"{temperature:.3f} {dist.scaled(1 / temperature).marginals.labels[0, 0, 0]:.3f}"
        '3.607 0.800'
    """
    from scipy.optimize import minimize_scalar

    check_choice(scope, "scope", TEMPERATURE_SCOPES)
    check_same_number(len(labels), len(dists), "labels", "dists")

    def scaled(dist: Structure, temperature: float) -> Structure:
        return dist.scaled(1 / temperature) if scope == "structure" else dist.scaled(emissions=1 / temperature)

    with torch.no_grad():
        pairs = [
            (dist.replace(**{name: scores.detach() for name, scores in dist.potentials._asdict().items()}), batch)
            for dist, batch in zip(dists, labels, strict=True)
        ]

        def loss(log_temperature: float) -> float:
            temperature = math.exp(log_temperature)
            return -sum(float(scaled(dist, temperature).log_prob(batch).double().sum()) for dist, batch in pairs)

        bound = math.log(LARGEST)
        found: Any = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-5})
    return math.exp(found.x)
