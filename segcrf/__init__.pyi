from . import baselines as baselines
from . import cli as cli
from . import data as data
from . import inference as inference
from . import kernels as kernels
from . import losses as losses
from . import metrics as metrics
from . import nn as nn
from . import plot as plot
from . import structures as structures
from . import training as training
from ._validation import UNLABELLED as UNLABELLED
from ._validation import InputError as InputError
from ._validation import InputTypeError as InputTypeError
from .data import Dialect as Dialect
from .data import read_recordings as read_recordings
from .inference import Stream as Stream
from .nn import CRF as CRF
from .nn import LinearChainCRF as LinearChainCRF
from .nn import SemiMarkovCRF as SemiMarkovCRF
from .segmenter import Segmenter as Segmenter
from .segments import Segments as Segments
from .structures import LinearChain as LinearChain
from .structures import Marginals as Marginals
from .structures import SemiMarkov as SemiMarkov
from .structures import Structure as Structure

__version__: str
