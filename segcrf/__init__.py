"""segcrf: structured prediction that turns long signals into solid class bands.

Structures say what, kernels make it fast, nn learns it, losses train it, training fits it, inference runs it anywhere;
data, metrics, baselines and plot surround it; the Segmenter and the cli are the two doors.
"""

import lazy_loader

__version__ = "0.1.0"
# The names are imported when they are used first, from where __init__.pyi says.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# An exported program calls the operators of structures, and finds them once they are registered.
import segcrf.structures  # noqa: E402, F401  # pyright: ignore[reportUnusedImport]
