"""Regions in which there may be an object, for detectors that do not find them themselves.

What R-CNN, SPP-net and Fast R-CNN share: where proposals come from, which object each of them
shows, how scores of regions become detections, and the parts of their small networks.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from ... import nn
from ...autograd import Tensor, tensor
from ...backend import Array, of
from ...boxes import (
    Matcher,
    box_iou,
    clip_boxes_to_image,
    remove_small_boxes,
    selective_search,
)
from ..blocks import ConvNormAct
from .dense import best_of

__all__ = [
    "CachedProposals",
    "Proposals",
    "RegionMatcher",
    "Regions",
    "SmallBody",
    "detections",
    "load_classifier",
    "match_regions",
    "small_backbone",
    "small_proposals",
]

# A picture (3, H, W), as it was given, to an array (R, 4) of boxes in its pixels.
Proposals = Callable[[Tensor], Array]

LEAST_SIDE = 1.0  # pixels: a narrower proposal shows nothing


class CachedProposals:
    """Proposals of any source, found once for each picture and remembered.

    Selective search takes 0.05 seconds for a picture of 64 x 64 and seconds for a photograph: more
    than a training step, and training sees each picture many times. A picture is known again by its
    pixels, so one that is changed by chance each time is searched each time.

    Args:
        source: a function of a picture, a NumPy array (3, H, W) of numbers from 0 to 1, that
            returns boxes (R, 4) x1, y1, x2, y2 in pixels, the better ones first.
        most: so many of them are used, the first ones.
        capacity: of so many pictures proposals are remembered; then the one that was not asked for
            for longest is forgotten.

    Example:
        >>> proposals = CachedProposals(functools.partial(selective_search, min_box=8))
        >>> boxes = proposals(image)
    """

    def __init__(
        self,
        source: Callable[[np.ndarray], np.ndarray] = selective_search,
        most: int = 2000,
        capacity: int = 10_000,
    ) -> None:
        self.source, self.most, self.capacity = source, most, capacity
        self._known: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def __call__(self, image: Tensor) -> Array:
        """The proposals of an image (C, H, W).

        Returns:
            (R, 4) float32 on its device, within the picture, none narrower than a pixel. They are
            found on the host, to which a picture on a GPU is copied each time.

        Raises:
            ValueError: the source returns something else than boxes (R, 4), or a NaN.
        """
        pixels = of(image.data).to_host(image.data)
        key = hashlib.blake2b(pixels.tobytes(), digest_size=16)
        key.update(f"{pixels.shape} {pixels.dtype}".encode())
        found = self._known.pop(key.digest(), None)
        if found is None:
            found = self._search(pixels)
        self._known[key.digest()] = found
        if len(self._known) > self.capacity:
            self._known.popitem(last=False)
        return tensor(found, device=image.device).data

    def _search(self, pixels: np.ndarray) -> np.ndarray:
        boxes = np.asarray(self.source(pixels), np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
            raise ValueError(
                f"CachedProposals: {self.source} must return finite boxes (R, 4) for a picture "
                f"{pixels.shape}, got {boxes.shape}"
            )
        boxes = clip_boxes_to_image(boxes[: self.most], pixels.shape[1:])
        return boxes[remove_small_boxes(boxes, LEAST_SIDE)]

    def __repr__(self) -> str:
        return f"CachedProposals({self.source}, most={self.most}, capacity={self.capacity})"


class RegionMatcher(Matcher):
    """Which object a region shows, or that it shows background, or neither.

    Args:
        foreground: a region shows the object that it overlaps most, if their intersection over
            union is at least this.
        background: (low, high): where that is from low to below high, it shows background. Regions
            that overlap less are left out, as the easy ones, a simple kind of hard example mining
            (Girshick 2015, section 2.3); but in a picture without objects all are background.
    """

    def __init__(self, foreground: float, background: tuple[float, float]) -> None:
        super().__init__(foreground, background[1])
        self.lowest = background[0]

    def __call__(self, match_quality_matrix: Array) -> Array:
        """As `Matcher`."""
        result = super().__call__(match_quality_matrix)
        if len(match_quality_matrix) == 0:
            return result
        easy = match_quality_matrix.max(axis=0) < self.lowest
        return of(result).xp.where(easy, self.BETWEEN_THRESHOLDS, result)


class Regions(NamedTuple):
    """Boxes of one picture, and what each of them shows.

    Attributes:
        boxes: array (R, 4) x1, y1, x2, y2, pixels.
        labels: array (R,) int64: 0 background, k + 1 an object of class k, -1 neither.
    """

    boxes: Array
    labels: Array


def match_regions(
    proposals: Array, target: Mapping[str, Tensor], matcher: RegionMatcher
) -> Regions:
    """Proposals, and the objects themselves after them, with what they show.

    Args:
        proposals: (R, 4) x1, y1, x2, y2, pixels.
        target: "boxes" (M, 4) and "labels" (M,) from 0; M may be 0.
        matcher: decides by the overlaps.

    Returns:
        R + M regions.
    """
    boxes = target["boxes"].data.astype(proposals.dtype, copy=False)
    xp = of(boxes).xp
    regions = xp.concatenate([proposals, boxes])
    # A match of -2 (neither) or -1 (background) is the last but one of these, or the last.
    kinds = xp.concatenate([target["labels"].data + 1, xp.array([-1, 0])])
    return Regions(regions, kinds[matcher(box_iou(boxes, regions))])


def detections(
    boxes: Array,
    scores: Array,
    size: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    detections_per_img: int,
) -> dict[str, Tensor]:
    """What is found in a picture, from the scores of regions.

    Args:
        boxes: (R, C, 4) x1, y1, x2, y2 in pixels: where the object is if region r shows class c; or
            (R, 1, 4), where that is the same for all classes.
        scores: (R, C) of the classes without background.
        size: (H, W) of the picture; boxes are cut off at its sides.
        score_thresh: regions with a higher score are candidates.
        nms_thresh: of two candidates of one class with a larger intersection over union the one of
            lower score is none.
        detections_per_img: the most detections, those of the highest scores.

    Returns:
        "boxes" (D, 4) float32, "labels" (D,) int64, "scores" (D,) float32, by falling score.
    """
    xp = of(scores).xp
    boxes = xp.broadcast_to(boxes, (*scores.shape, 4)).reshape(-1, 4).astype(np.float32)
    labels = xp.broadcast_to(xp.arange(scores.shape[1]), scores.shape).reshape(-1)
    scores = scores.reshape(-1).astype(np.float32)
    return best_of(boxes, scores, labels, size, score_thresh, nms_thresh, detections_per_img)


# -- parts of networks ---------------------------------------------------------------------------


def load_classifier(features: nn.Module, head: nn.Module, network: nn.Module) -> None:
    """Start from a network that classifies: its convolutions and its two hidden layers.

    Args:
        features: the detector's convolutions, all or the first of the network's.
        head: the detector's, with `fc6` and `fc7`.
        network: with `features` and `classifier`, as `vgg16`, `alexnet` and `zfnet` are.

    Raises:
        RuntimeError: as `load_state_dict`: shapes do not fit, or layers are missing.
    """
    given, own = network.features.state_dict(), features.state_dict()
    features.load_state_dict({name: given[name] for name in own if name in given})
    hidden = [layer for layer in network.classifier if isinstance(layer, nn.Linear)]
    head.fc6.load_state_dict(hidden[0].state_dict())
    head.fc7.load_state_dict(hidden[1].state_dict())


def small_backbone(width: int = 16) -> nn.Sequential:
    """Four convolutions for small pictures: (N, 3, H, W) to (N, 4 width, H / 4, W / 4)."""
    return nn.Sequential(
        ConvNormAct(3, width),
        nn.MaxPool2d(2),
        ConvNormAct(width, 2 * width),
        nn.MaxPool2d(2),
        ConvNormAct(2 * width, 4 * width),
        ConvNormAct(4 * width, 4 * width),
    )


class SmallBody(nn.Module):
    """`small_backbone` as heads want it: one map, "0".

    Attributes:
        out_channels: of the map.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = small_backbone(width)
        self.out_channels = 4 * width

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to a map (N, out_channels, H / 4, W / 4)."""
        return {"0": self.features(x)}


def small_proposals() -> CachedProposals:
    """Selective search for pictures of 64 to 128 pixels: objects there are small, too."""
    return CachedProposals(partial(selective_search, min_box=8.0))
