"""Floor 3: optimisers, learning-rate schedules, averages of weights. Names as in torch.optim."""

from . import lr_scheduler
from .adam import Adam, AdamW
from .ema import EMA
from .lars import LARS
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["EMA", "LARS", "SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
