"""Occlusion: what the score loses when a part of the picture is covered."""

from __future__ import annotations

import numpy as np

from ..autograd import Tensor, no_grad
from ..backend import of
from ..nn import Module
from ..nn.modes import eval_mode
from .common import Target, as_input, class_scores, classes_of

__all__ = ["occlusion"]


def occlusion(
    model: Module,
    x: Tensor,
    target: Target = None,
    *,
    size: int = 8,
    stride: int = 4,
    value: float = 0.0,
    batch_size: int = 64,
) -> Tensor:
    """How much a class's score falls when a square is moved over the picture.

    Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014, section 4.2.

    Args:
        model: a network from x to scores (N, classes).
        x: pictures (N, C, H, W).
        target: a class, or (N,) one for each picture; None: the class with the best score.
        size: of the square, in pixels.
        stride: pixels from one place of the square to the next; the last ones end at the border.
        value: what the square is filled with.
        batch_size: covered pictures that go through the network together.

    Returns:
        (N, H, W), for each pixel the mean fall of the score over the squares that cover it.

    Raises:
        TypeError: x is not a tensor of floating-point numbers.
        ValueError: x are no pictures, the model's output no scores, the target no class of theirs,
            or sizes that do not fit.
    """
    x = as_input("occlusion", x, pictures=True).detach()
    count, _, height, width = x.shape
    if not (1 <= size <= min(height, width) and stride >= 1 and batch_size >= 1):
        raise ValueError(
            f"occlusion: a square of {size} pixels, stride {stride} and batches of {batch_size} "
            f"do not do for pictures of {(height, width)}"
        )
    places = [(i, j) for i in _starts(height, size, stride) for j in _starts(width, size, stride)]
    xp = of(x.data).xp
    fall = xp.zeros((count, height, width), x.dtype)
    covered = xp.zeros((height, width), x.dtype)
    together = max(1, batch_size // max(count, 1))
    with eval_mode(model), no_grad():
        classes = classes_of("occlusion", model, x, target)
        before = class_scores("occlusion", model, x, classes).data
        for first in range(0, len(places), together):
            part = places[first : first + together]
            batch = xp.stack([x.data] * len(part))  # (places, N, C, H, W)
            for k, (i, j) in enumerate(part):
                batch[k, :, :, i : i + size, j : j + size] = value
            copies = Tensor(batch.reshape(-1, *x.shape[1:]), device=x.device)
            scores = class_scores("occlusion", model, copies, np.tile(classes, len(part)))
            lost = before - scores.data.reshape(len(part), count)
            for k, (i, j) in enumerate(part):
                fall[:, i : i + size, j : j + size] += lost[k, :, None, None]
                covered[i : i + size, j : j + size] += 1
    # With a stride above the size some pixels are never covered: nothing is known of them.
    return Tensor(fall / xp.maximum(covered, 1), device=x.device)


def _starts(length: int, size: int, stride: int) -> list[int]:
    starts = list(range(0, length - size, stride))
    return [*starts, length - size]
