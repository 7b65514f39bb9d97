"""Floor 5: the training loop and what is around it."""

from .auxiliary import AuxiliaryLoss
from .evaluate import evaluate
from .fit import fit
from .tiles import predict_tiles
from .transfer import features, linear_probe, nearest_neighbours

__all__ = [
    "AuxiliaryLoss",
    "evaluate",
    "features",
    "fit",
    "linear_probe",
    "nearest_neighbours",
    "predict_tiles",
]
