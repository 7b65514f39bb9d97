"""SPP-net: He, Zhang, Ren, Sun, "Spatial pyramid pooling in deep convolutional networks for visual
recognition", 2014.

Convolutions take maps of any size; it is the layer after them that wants a number. So let the
pooling between the two have a fixed number of bins instead of a fixed size of window, and that at
several levels, from 1 x 1 to 6 x 6 (section 2.2): whatever the picture, 50 bins of each map.

For detection (section 4) the bins are those of a region: the picture goes through the convolutions
once, and all its regions are pooled from that map. R-CNN computes 2,000 crops; this is as accurate,
and up to a hundred times faster. The stages of training are those of R-CNN, with other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import nn
from ...autograd import Tensor
from ...backend import Array, of
from ...boxes import box_area
from ...nn import functional as F
from ...ops.indexing import index_select
from ...ops.shape import cat
from ..classification.alexnet import local_response_norm
from .detector import PictureTransform
from .rcnn import StagedDetector, new_classifier
from .regions import Proposals, small_backbone, small_proposals
from .roi_heads import TwoMLPHead

__all__ = [
    "SPPNet",
    "SpatialPyramidPool",
    "map_windows",
    "spp_net_small",
    "spp_net_zf5",
]

NO_LIMIT = 1 << 30  # pixels: of the longer side
CANONICAL_AREA = 224.0**2  # square pixels: of the scales of a picture, a region likes this most


class SpatialPyramidPool(nn.Module):
    """The largest value in each bin of several grids laid over a map, or over windows of it.

    Args:
        levels: bins along each axis of each grid; the paper's are 1, 2, 3 and 6, or 4 in place of 6
            where fewer features are wanted.

    Raises:
        ValueError: no level.

    Example:
        >>> SpatialPyramidPool((1, 2, 3, 6))(torch.zeros(8, 256, 13, 17)).shape
        (8, 12800)
    """

    def __init__(self, levels: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        if not levels:
            raise ValueError("SpatialPyramidPool: levels must not be empty")
        self.levels = tuple(levels)

    @property
    def bins(self) -> int:
        """Numbers that each channel gives."""
        return sum(level * level for level in self.levels)

    def forward(self, x: Tensor, windows: Any = None) -> Tensor:
        """Features of whole maps, or of windows.

        Args:
            x: (N, C, H, W), of any size.
            windows: boxes (K, 5) or a list of (K_i, 4), as in `functional.roi_pool`, in pixels of
                the map: the first and the last of them, both of which belong to the window.

        Returns:
            (N, C * bins), or (K, C * bins): one grid after the other, in each one channel after the
            other.
        """
        if windows is None:
            grids = [F.adaptive_max_pool2d(x, level) for level in self.levels]
        else:
            grids = [F.roi_pool(x, windows, level) for level in self.levels]
        return cat([grid.flatten(1) for grid in grids], 1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


def map_windows(boxes: Array, stride: int, first: float) -> Array:
    """The pixels of a map whose centres lie in a box: the first and the last of each axis.

    Appendix A: left and top floor(x / S) + 1, right and bottom ceil(x / S) - 1, where the centres
    lie at multiples of S.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels of the picture.
        stride: S, pixels of the picture for one of the map.
        first: where in the picture the centre of the map's first pixel is: S / 2 where halves of
            2 x 2 were taken; 0.5 where all windows are odd and padded by half.

    Returns:
        (R, 4) the same of the map, whole numbers. A box between two centres has the pixel that
        follows it.
    """
    xp = of(boxes).xp
    places = (boxes - first) / stride
    start, stop = xp.floor(places[:, :2]) + 1.0, xp.ceil(places[:, 2:]) - 1.0
    return xp.concatenate([start, xp.maximum(start, stop)], axis=1)


class SPPNet(StagedDetector):
    """Each region is pooled from the maps of its picture.

    `losses` teaches the convolutions, too, if they are not frozen. The paper's are not trained
    further after ImageNet: `nn.freezing.freeze(model.backbone)`. In `fine_tune` let a step have a
    few pictures (`batch_size`), as all whose regions are drawn are computed.

    Args:
        backbone: pictures (N, 3, H, W) to maps (N, C, h, w).
        head, classifier, num_classes: as in `StagedDetector`, and `options`, of which by default
            background, negative_nms and regression_overlap are the paper's (section 4.1).
        stride, first: of the maps, see `map_windows`.
        levels: of the pyramid.
        scales: shorter sides that a picture is resized to. With several of them each region is
            taken from that where its area is nearest to 224 x 224 (section 4.1).
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: TwoMLPHead,
        classifier: nn.Linear,
        num_classes: int,
        *,
        stride: int = 16,
        first: float = 0.5,
        levels: Sequence[int] = (1, 2, 3, 6),
        scales: Sequence[int] = (688,),
        **options: Any,
    ) -> None:
        options = {
            "background": (0.1, 0.5),
            "negative_nms": 0.7,
            "regression_overlap": 0.5,
            **options,
        }
        super().__init__(backbone, head, classifier, num_classes, **options)
        self.stride, self.first = stride, first
        self.pyramid = SpatialPyramidPool(levels)
        self.transforms = [
            PictureTransform(side, NO_LIMIT, size_divisible=stride) for side in scales
        ]

    def pooled(self, images: Sequence[Tensor], boxes: Sequence[Array]) -> Tensor:
        """As `StagedDetector`."""
        xp = of(boxes[0]).xp
        choices = [self._scales_of(*pair) for pair in zip(images, boxes, strict=True)]
        parts, places = [], []
        for number, transform in enumerate(self.transforms):
            batch, _ = transform(images)
            maps = self.backbone(batch.images)
            windows, start = [], 0
            for mine, choice, size, original in zip(
                boxes, choices, batch.sizes, batch.original_sizes, strict=True
            ):
                chosen = xp.nonzero(choice == number)[0]
                places.append(chosen + start)
                start += len(mine)
                (moved,) = transform.restore([{"boxes": Tensor(mine[chosen])}], [original], [size])
                windows.append(map_windows(moved["boxes"].data, self.stride, self.first))
            parts.append(self.pyramid(maps, windows))
        # Back into the order of the boxes.
        return index_select(cat(parts), 0, Tensor(xp.argsort(xp.concatenate(places))))

    def _scales_of(self, image: Tensor, boxes: Array) -> Array:
        """(R,) for each box the number of the scale at which it is seen best."""
        xp = of(boxes).xp
        shorter = min(image.shape[1:])
        areas = box_area(boxes)[:, None]
        factors = xp.asarray([float(t.min_size) / shorter for t in self.transforms])
        return abs(areas * factors**2 - CANONICAL_AREA).argmin(axis=1)


def zf5_features() -> nn.Sequential:
    """ZF-5 (table 1), with every window padded by half, so that centres lie at multiples of 16."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 7, stride=2, padding=3),
        nn.ReLU(),
        local_response_norm(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(96, 256, 5, stride=2, padding=2),
        nn.ReLU(),
        local_response_norm(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
    )


def spp_net_zf5(
    num_classes: int = 20,
    *,
    dropout: float = 0.5,
    scales: Sequence[int] = (480, 576, 688, 864, 1200),
    proposals: Proposals | None = None,
) -> SPPNet:
    """SPP-net on ZF-5: He et al. 2014; 73,026,709 parameters, and SVMs and box regressors.

    59.2 % mean AP on VOC 2007 (table 9, five scales), from weights trained on ImageNet.

    Args:
        num_classes: kinds of objects, background not among them.
        dropout: probability after fc6 and fc7.
        scales: (688,) is five times as fast, with 58.0 %.
        proposals: as in `StagedDetector`.

    Returns:
        a detector, to be trained by `rcnn.train_rcnn`.
    """
    return SPPNet(
        zf5_features(),
        TwoMLPHead(256 * 50, 4096, dropout),
        new_classifier(4096, num_classes),
        num_classes,
        scales=scales,
        proposals=proposals,
    )


def spp_net_small(
    num_classes: int = 13,
    *,
    width: int = 16,
    hidden: int = 128,
    levels: Sequence[int] = (1, 2, 3, 4),
    scales: Sequence[int] = (96,),
    proposals: Proposals | None = None,
) -> SPPNet:
    """SPP-net that learns on a CPU, for pictures of 64 to 128 pixels.

    Four convolutions with batch norm, stride 4, 30 bins of each map, two hidden layers.

    Args:
        num_classes: kinds of objects, background not among them; 13: all of `Scenes`.
        width: channels of the first convolution; the last have four times as many.
        hidden: units of fc6 and fc7.
        levels: of the pyramid.
        scales: shorter sides that a picture is resized to.
        proposals: as in `StagedDetector`; default: selective search with boxes from 8 pixels on.

    Returns:
        a detector for pictures with three channels, to be trained by `rcnn.train_rcnn`.
    """
    return SPPNet(
        small_backbone(width),
        TwoMLPHead(4 * width * sum(n * n for n in levels), hidden),
        new_classifier(hidden, num_classes),
        num_classes,
        stride=4,
        first=2.0,
        levels=levels,
        scales=scales,
        proposals=small_proposals() if proposals is None else proposals,
    )
