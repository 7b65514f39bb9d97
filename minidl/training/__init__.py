"""Floor 5: the training loop and what is around it."""

from .evaluate import evaluate
from .fit import fit

__all__ = ["evaluate", "fit"]
