"""Scores: how good a network's answers are."""

from .classification import accuracy, topk_accuracy
from .detection import COCOAveragePrecision, VOCAveragePrecision
from .score import Score
from .segmentation import ConfusionMatrix

__all__ = [
    "COCOAveragePrecision",
    "ConfusionMatrix",
    "Score",
    "VOCAveragePrecision",
    "accuracy",
    "topk_accuracy",
]
