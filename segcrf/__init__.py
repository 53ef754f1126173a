"""segcrf: structured prediction that turns long signals into solid class bands."""

from segcrf.chain import LinearChain
from segcrf.crf import CRF, LinearChainCRF, SemiMarkovCRF
from segcrf.segments import Segments
from segcrf.semimarkov import SemiMarkov
from segcrf.structure import Best, Marginals, Structure

__all__ = [
    "CRF",
    "Best",
    "LinearChain",
    "LinearChainCRF",
    "Marginals",
    "Segments",
    "SemiMarkov",
    "SemiMarkovCRF",
    "Structure",
]
__version__ = "0.1.0"
