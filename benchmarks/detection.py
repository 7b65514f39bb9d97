"""What detectors do beside their networks: RoIAlign and non-maximum suppression.

minidl beside torchvision, where its compiled operations load, and beside the plain way ("classic"):
a loop over boxes that gathers the four neighbours of each sample, and a loop that compares each box
with all that are left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .timing import race

__all__ = ["ROWS", "measure"]

ROWS = {
    "align": "RoIAlign, 128 boxes, 256 channels, 38 x 50",
    "align and gradient": "RoIAlign and its gradient, 128 boxes, 256 channels, 38 x 50",
    "nms": "NMS, 12,000 boxes",
}
SCALE, BINS, SAMPLES = 1 / 16, 7, 2  # a map of stride 16; RoIAlign's bins and samples in each


def boxes_in(count: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(K, 4) float32 corners within a picture, sides of 16 to 512 pixels, each octave as often."""
    sides = np.exp(rng.uniform(np.log(16), np.log(512), (count, 2)))
    middle = rng.random((count, 2)) * [width, height]
    corners = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)
    return np.clip(corners, 0, [width, height] * 2).astype(np.float32)


def classic_roi_align(features: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(K, C, 7, 7) from a map (C, H, W), whose boxes are in it: box after box."""
    _, height, width = features.shape
    result = np.empty((len(boxes), len(features), BINS, BINS), features.dtype)
    share = (np.arange(BINS * SAMPLES, dtype=np.float32) + 0.5) / (BINS * SAMPLES)
    for box, pooled in zip(boxes * np.float32(SCALE), result, strict=True):
        x, y = (box[a] + share * max(box[a + 2] - box[a], np.float32(1)) for a in (0, 1))
        y, x = np.clip(y, 0, height - 1)[:, None], np.clip(x, 0, width - 1)
        top, left = np.floor(y).astype(int), np.floor(x).astype(int)
        below, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
        dy, dx = y - top, x - left
        samples = (
            (1 - dy) * ((1 - dx) * features[:, top, left] + dx * features[:, top, right])
            + dy * ((1 - dx) * features[:, below, left] + dx * features[:, below, right])
        )  # fmt: skip
        pooled[:] = samples.reshape(-1, BINS, SAMPLES, BINS, SAMPLES).mean(axis=(2, 4))
    return result


def classic_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes left: the best one, and again of those that it does not overlap."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        left = left[common / (areas[best] + areas[left] - common) <= threshold]
    return np.array(kept)


def torchvision_operations() -> Any:
    """`torchvision.ops`, or None where its compiled operations do not load."""
    import torch

    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError):
        return None
    return torchvision.ops


def contenders(name: str) -> dict[str, Callable[[], Any]]:
    """name -> a function that does the work of a row of the table on the CPU once."""
    import torch

    import minidl as md
    from minidl.boxes import nms
    from minidl.nn import functional as F

    rng, ops = np.random.default_rng(0), torchvision_operations()
    if name == "nms":
        boxes, scores = boxes_in(12_000, 800, 1066, rng), rng.random(12_000, np.float32)
        work = {
            "minidl": lambda: nms(boxes, scores, 0.7),
            "classic": lambda: classic_nms(boxes, scores, 0.7),
        }
        if ops is not None:
            given = torch.from_numpy(boxes), torch.from_numpy(scores)
            work["torch"] = lambda: ops.nms(*given, 0.7).numpy()
        return work

    features = rng.standard_normal((1, 256, 38, 50), np.float32)
    boxes = boxes_in(128, 608, 800, rng)
    rois = np.concatenate([np.zeros((128, 1), np.float32), boxes], axis=1)
    if name == "align":
        ours = md.Tensor(features)
        work = {
            "minidl": lambda: F.roi_align(ours, rois, BINS, SCALE, SAMPLES).numpy(),
            "classic": lambda: classic_roi_align(features[0], boxes),
        }
        if ops is not None:
            theirs = torch.from_numpy(features), torch.from_numpy(rois)
            work["torch"] = lambda: ops.roi_align(*theirs, BINS, SCALE, SAMPLES).numpy()
        return work

    gradient = rng.standard_normal((128, 256, BINS, BINS), np.float32)
    leaf, weight = md.Tensor(features, requires_grad=True), md.Tensor(gradient)

    def minidl_gradient() -> np.ndarray:
        pooled = F.roi_align(leaf, rois, BINS, SCALE, SAMPLES)
        return md.grad((pooled * weight).sum(), leaf)[0].numpy()

    work = {"minidl": minidl_gradient}
    if ops is not None:
        their_leaf = torch.from_numpy(features).requires_grad_()
        their_rois, their_weight = torch.from_numpy(rois), torch.from_numpy(gradient)

        def torch_gradient() -> np.ndarray:
            pooled = ops.roi_align(their_leaf, their_rois, BINS, SCALE, SAMPLES)
            return torch.autograd.grad((pooled * their_weight).sum(), their_leaf)[0].numpy()

        work["torch"] = torch_gradient
    return work


def measure(name: str, seconds: float) -> dict[str, float]:
    """Seconds of each contender for a row of the table."""
    return race(contenders(name), seconds)
