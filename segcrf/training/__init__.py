"""Training: the recipe, the loop, what validation chooses, and diagnostics of a run."""

import lazy_loader

# Lightning takes seconds to import, and prediction does not need it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
