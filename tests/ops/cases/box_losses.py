"""Cases of the losses of pairs of boxes. The oracles take the boxes one by one."""

import functools

import numpy as np

from minidl.ops import box_losses

from ...torchvision_oracle import torchvision
from ..case import Case


def loss(a, b, kind, eps=1e-7):
    """Of two boxes, in numbers."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    width, height = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    total = 1 - both / (either + eps)
    if kind == "generalized_box_iou_loss":
        total += (width * height - either) / (width * height + eps)
    if kind == "distance_box_iou_loss":
        x, y = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
        total += (x**2 + y**2) / (width**2 + height**2 + eps)
    return total


def oracle(a, b, kind):
    return np.array([loss(*pair, kind) for pair in zip(a.tolist(), b.tolist(), strict=True)])


def inputs(rng):
    """Pairs that overlap, that do not, and of which one is within the other; no sides are equal."""
    corners = rng.uniform(0, 4, (10, 2))
    a = np.concatenate([corners, corners + rng.uniform(2, 5, (10, 2))], axis=1)
    b = a + rng.uniform(0.2, 1.5, (10, 4)) * rng.choice([-1, 1], (10, 4))
    b[3:5] += 12.3
    b[5] = a[5] + [0.3, 0.4, -0.5, -0.6]
    return a, b


KINDS = ("box_iou_loss", "generalized_box_iou_loss", "distance_box_iou_loss")


def theirs(kind, torch, a, b):
    return getattr(torchvision().ops, kind)(a, b)


CASES = [
    Case(
        name=kind,
        function=getattr(box_losses, kind),
        inputs=inputs,
        oracle=functools.partial(oracle, kind=kind),
        torch=functools.partial(theirs, kind) if kind != "box_iou_loss" else None,
    )
    for kind in KINDS
]
