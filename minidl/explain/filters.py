"""Filters, and other numbers on both sides of 0, as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..nn import Module
from .common import on_host

__all__ = ["as_pictures", "filters"]


def filters(model: Module, layer: str) -> np.ndarray:
    """The filters of a convolution as pictures. Krizhevsky et al. 2012, figure 3.

    Args:
        model: the network.
        layer: the path of a module with a weight (K, C, h, w), such as "conv1".

    Returns:
        (K, C, h, w) in [0, 1] for C = 1 or 3; else (K C, 1, h, w), a picture for each pair of maps.
        0 is the grey 0.5; each filter (all its maps) has its own scale.

    Raises:
        AttributeError: the model has no such module, or that has no weight.
        ValueError: its weight is not one of a convolution of pictures.
    """
    weight = model.get_parameter(f"{layer}.weight" if layer else "weight")
    if weight.ndim != 4:
        raise ValueError(f"filters: the weight of {layer!r} is {weight.shape}, not (K, C, h, w)")
    return as_pictures(weight)


def as_pictures(x: Any) -> np.ndarray:
    """Numbers on both sides of 0 as pictures in which 0 is grey.

    Args:
        x: (N, C, H, W), a tensor or an array: filters, gradients, pictures by
            `activation_maximization`.

    Returns:
        (N, C, H, W) in [0, 1] for C = 1 or 3, else (N C, 1, H, W): 0.5 + x / (2 max |x|), the
        largest of each sample; of zeros 0.5.

    Raises:
        ValueError: another shape.
    """
    array = on_host(x)
    if array.ndim != 4:
        raise ValueError(f"as_pictures: needs (N, C, H, W), got {array.shape}")
    largest = np.abs(array).max((1, 2, 3), keepdims=True, initial=0.0)
    pictures = 0.5 + 0.5 * array / np.where(largest > 0, largest, 1.0).astype(array.dtype)
    if array.shape[1] in (1, 3):
        return pictures
    return pictures.reshape(-1, 1, *array.shape[2:])
