"""Testing: the contracts, for those who add a structure, a kernel, an encoder or a format.

It needs pytest, Hypothesis and SciPy. :mod:`segcrf.testing.oracle` lists every outcome and uses nothing of segcrf.
"""

from segcrf.testing.distributions import LabelDistributionContract
from segcrf.testing.encoders import CausalEncoderContract, EncoderContract
from segcrf.testing.errors import rejects
from segcrf.testing.formats import FormatContract
from segcrf.testing.structures import StructureContract

__all__ = [
    "CausalEncoderContract",
    "EncoderContract",
    "FormatContract",
    "LabelDistributionContract",
    "StructureContract",
    "rejects",
]
