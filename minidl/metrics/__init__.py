"""Scores: how good a network's answers are."""

from .classification import accuracy, topk_accuracy

__all__ = ["accuracy", "topk_accuracy"]
