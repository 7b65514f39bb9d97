"""YOLO: Redmon, Divvala, Girshick, Farhadi, "You only look once: unified, real-time object
detection", 2016. One network, one look at the picture, all boxes at once.

The picture is divided into S x S cells. The cell into which the centre of an object falls has to
find it. For each cell the network gives B boxes, each with a confidence, and one set of C class
scores: a tensor S x S x (5B + C), in each cell

    x, y, w, h, c    (B times)    p_1 ... p_C

    x, y   the centre of the box, from the cell's upper left corner, 1 is the cell's width
    w, h   square roots of the box's width and height, 1 is the picture's
    c      how sure it is that there is an object, times how well the box fits: Pr(object) * IoU
    p      Pr(class | object)

Of the B boxes of a cell with an object only one is *responsible* for it: the one that overlaps it
most. So predictors specialise in sizes and shapes. Equation 3, per picture:

    5   sum over responsible boxes          (x - x^)^2 + (y - y^)^2
    5   sum over responsible boxes          (sqrt w - sqrt w^)^2 + (sqrt h - sqrt h^)^2
        sum over responsible boxes          (c - IoU)^2
    0.5 sum over all other boxes            c^2
        sum over cells with an object       sum over classes (p - p^)^2

Roots, because a pixel too much matters more on a small box than on a large one; 5 and 0.5, because
most cells hold nothing, and would drown those that do.

What the paper leaves open is as in the authors' code (darknet, detection_layer.c):
- The network gives the roots of w and h themselves, which are squared; all outputs are linear.
- Of equal overlaps the first box is responsible. Where none of the B boxes overlaps the object, it
  is the one whose (x, y, w, h), in shares of the picture, is nearest.
- The IoU that c is compared with is a constant: no gradient flows through it to the box.
- A cell holds one object; of several that fall into it, the first in the target counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad
from ...autograd.tensor import wrap
from ...backend import Array, of
from ...boxes import box_convert, clip_boxes_to_image
from .dense import best_of
from .detector import Detector, PictureTransform, check_pictures

__all__ = [
    "FIGURE_3",
    "SMALL",
    "CellTruth",
    "YOLOv1",
    "best_detections",
    "cell_truth",
    "convolutions",
    "init_leaky",
    "responsible",
    "total_stride",
    "yolo_v1",
    "yolo_v1_small",
]

# Figure 3: (window, maps, stride) of each convolution, "M" a 2x2 maximum.
Layers = Sequence[tuple[int, int, int] | str]
FIGURE_3: Layers = (
    *((7, 64, 2), "M", (3, 192, 1), "M"),
    *((1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1), "M"),
    *([(1, 256, 1), (3, 512, 1)] * 4),
    *((1, 512, 1), (3, 1024, 1), "M"),
    *([(1, 512, 1), (3, 1024, 1)] * 2),
    *((3, 1024, 1), (3, 1024, 2), (3, 1024, 1), (3, 1024, 1)),
)
SMALL: Layers = (
    *((3, 16, 1), "M", (3, 32, 1), "M", (3, 64, 1), "M"),
    *((3, 128, 1), (3, 128, 1), "M", (1, 64, 1)),
)


class CellTruth(NamedTuple):
    """What each of the K = S * S cells of a picture should find; row by row.

    Attributes:
        occupied: (K,) bool: whether there is an object.
        boxes: (K, 4): its x, y in cells from the cell's corner, its w, h in shares of the picture.
        labels: (K,) int64.
        What stands in a cell without an object has no meaning.
    """

    occupied: Array
    boxes: Array
    labels: Array


def cell_truth(boxes: Array, labels: Array, image_size: int, grid: int) -> CellTruth:
    """The object of each cell: the first whose centre falls into it.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        labels: (R,) int64.
        image_size: height and width of the picture, pixels.
        grid: S.
    """
    xp = of(boxes).xp
    count = len(boxes)
    sizes = box_convert(boxes, "xyxy", "cxcywh") / float(image_size)
    centres = sizes[:, :2] * grid
    # A centre on the lower or right edge of the picture belongs to the last cell.
    places = xp.clip(xp.floor(centres), 0, grid - 1).astype(np.int64)
    cell = places[:, 1] * grid + places[:, 0]
    # (R + 1, K): the object's number in its cell. The last row says that nobody is there.
    numbers = xp.where(cell[:, None] == xp.arange(grid**2), xp.arange(count)[:, None], count)
    nobody = xp.full((1, grid**2), count, np.int64)
    first = xp.concatenate([numbers, nobody]).min(axis=0)
    inner = xp.concatenate([centres - places.astype(boxes.dtype), sizes[:, 2:]], axis=1)
    inner = xp.concatenate([inner, xp.zeros((1, 4), boxes.dtype)])
    labels = xp.concatenate([labels, xp.zeros(1, np.int64)])
    return CellTruth(first < count, inner[first], labels[first])


def responsible(predicted: Array, truth: Array, grid: int) -> tuple[Array, Array]:
    """Which of the boxes of each cell is responsible for its object, and how well each one fits.

    Args:
        predicted: (..., B, 4): x, y in cells from the cell's corner, w, h in shares of the picture.
        truth: (..., 4), likewise.
        grid: S.

    Returns:
        (..., B) bool: of the boxes of largest IoU the first is True; where no box overlaps the
        object at all, the one nearest to it by the distance of (x, y, w, h), in shares of the
        picture; and the IoU (..., B).
    """
    xp = of(predicted).xp
    truth = truth[..., None, :]
    middle, other_middle = predicted[..., :2] / grid, truth[..., :2] / grid
    size, other_size = predicted[..., 2:], truth[..., 2:]
    # Overlaps do not change when both boxes are moved.
    first = xp.concatenate([middle - size / 2, middle + size / 2], axis=-1)
    second = xp.concatenate([other_middle - other_size / 2, other_middle + other_size / 2], axis=-1)
    sides = xp.minimum(first[..., 2:], second[..., 2:]) - xp.maximum(
        first[..., :2], second[..., :2]
    )
    sides = xp.maximum(sides, 0.0)
    both = sides[..., 0] * sides[..., 1]
    either = size[..., 0] * size[..., 1] + other_size[..., 0] * other_size[..., 1] - both
    iou = both / xp.where(either > 0, either, 1.0)
    distance = ((middle - other_middle) ** 2 + (size - other_size) ** 2).sum(axis=-1)
    overlaps = iou.max(axis=-1, keepdims=True) > 0
    best = xp.where(overlaps, iou, -distance).argmax(axis=-1)
    return best[..., None] == xp.arange(predicted.shape[-2]), iou


def convolutions(
    layers: Layers, channels: int, batch_norm: bool = False
) -> tuple[nn.Sequential, int]:
    """Convolutions with leaky ReLU of slope 0.1, that keep the size but for their stride.

    Args:
        layers: (window, maps, stride) of each one, "M" for a 2x2 maximum.
        channels: of the input.
        batch_norm: whether there is batch norm, and then no bias, before each leaky ReLU.

    Returns:
        the layers, and the channels of the result.
    """
    result = nn.Sequential()
    for layer in layers:
        if isinstance(layer, str):
            result.append(nn.MaxPool2d(2))
            continue
        window, maps, stride = layer
        result.append(nn.Conv2d(channels, maps, window, stride, window // 2, bias=not batch_norm))
        if batch_norm:
            result.append(nn.BatchNorm2d(maps))
        result.append(nn.LeakyReLU(0.1))
        channels = maps
    return result, channels


def total_stride(layers: Layers) -> int:
    """How many pixels lie between neighbours of the map that the layers make."""
    return math.prod(2 if isinstance(layer, str) else layer[2] for layer in layers)


def init_leaky(network: nn.Module) -> None:
    """He's initial weights for layers before a leaky ReLU of slope 0.1; biases are 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, a=0.1, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class YOLOv1(Detector):
    """Convolutions, two fully connected layers, and the tensor S x S x (5B + C).

    Args:
        num_classes: C.
        grid: S.
        boxes: B.
        layers: the convolutions, as `FIGURE_3`; each is followed by a leaky ReLU of slope 0.1.
        hidden: units of the first fully connected layer.
        image_size: height and width that pictures are resized to.
        in_channels: channels of the pictures.
        batch_norm: whether there is batch norm before each leaky ReLU of a convolution.
        dropout: probability after the first fully connected layer.
        coord_weight, no_object_weight: lambda_coord and lambda_noobj of equation 3.
        score_thresh: predictions of class score times confidence below it are left out.
        nms_thresh: of two boxes of a class whose IoU is larger, the surer one is left.
        detections_per_img: the most predictions of a picture.

    Raises:
        ValueError: the convolutions make of the picture other than S x S cells.
    """

    def __init__(
        self,
        num_classes: int = 20,
        grid: int = 7,
        boxes: int = 2,
        layers: Layers = FIGURE_3,
        hidden: int = 4096,
        image_size: int = 448,
        *,
        in_channels: int = 3,
        batch_norm: bool = False,
        dropout: float = 0.5,
        coord_weight: float = 5.0,
        no_object_weight: float = 0.5,
        score_thresh: float = 0.01,
        nms_thresh: float = 0.5,
        detections_per_img: int = 100,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.grid = grid
        self.boxes = boxes
        self.image_size = image_size
        self.coord_weight = coord_weight
        self.no_object_weight = no_object_weight
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        # Pixels stay from 0 to 1, as in darknet.
        self.transform = PictureTransform(
            image_mean=(0.0,) * in_channels,
            image_std=(1.0,) * in_channels,
            size_divisible=1,
            fixed_size=(image_size, image_size),
        )
        self.features, channels = convolutions(layers, in_channels, batch_norm)
        stride = total_stride(layers)
        if image_size != stride * grid:
            raise ValueError(
                f"YOLOv1: the convolutions make cells of {stride} pixels, and {grid} x {grid} of "
                f"them make pictures of {stride * grid} x {stride * grid}, not {image_size} x "
                f"{image_size}; choose another grid or image_size"
            )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * grid**2, hidden),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
            nn.Linear(hidden, grid**2 * (5 * boxes + num_classes)),
        )
        init_leaky(self)
        # Boxes far beyond the picture would be the first thing that is learned.
        nn.init.normal_(self.classifier[-1].weight, 0.0, 0.01)

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network says of a batch (N, C, image_size, image_size), for K = S * S cells.

        Returns:
            boxes (N, K, B, 4): x, y, sqrt w, sqrt h; confidences (N, K, B); class scores (N, K, C).
        """
        cells = self.classifier(self.features(x)).reshape(len(x), self.grid**2, -1)
        split = 5 * self.boxes
        boxes = cells[..., :split].unflatten(-1, (self.boxes, 5))
        return boxes[..., :4], boxes[..., 4], cells[..., split:]

    def losses(self, images: Any, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The lines of equation 3, averaged over the pictures.

        Returns:
            "loss_box" (the first two lines), "loss_object", "loss_no_object" and "loss_class".
        """
        check_pictures("YOLOv1", images, targets, num_classes=self.num_classes)
        batch, targets = self.transform(images, targets)
        boxes, confidences, scores = self.outputs(batch.images)
        truths = [
            cell_truth(t["boxes"].data, t["labels"].data, self.image_size, self.grid)
            for t in targets
        ]
        occupied, wanted, labels = [of(a[0]).xp.stack(a) for a in zip(*truths, strict=True)]
        truth = CellTruth(occupied, wanted.astype(boxes.dtype, copy=False), labels)
        chosen, iou = responsible(self.shapes(boxes.data), truth.boxes, self.grid)
        return self.equation_3(boxes, confidences, scores, truth, chosen, iou)

    def shapes(self, boxes: Array) -> Array:
        """Boxes as the network gives them, x, y, sqrt w, sqrt h, as x, y, w, h: (..., 4)."""
        return of(boxes).xp.concatenate([boxes[..., :2], boxes[..., 2:] ** 2], axis=-1)

    def equation_3(
        self,
        boxes: Tensor,
        confidences: Tensor,
        scores: Tensor,
        truth: CellTruth,
        chosen: Array,
        iou: Array,
    ) -> dict[str, Tensor]:
        """The losses of what the network says, for the boxes that are responsible.

        Args:
            boxes, confidences, scores: as from `outputs`.
            truth: of the same cells: (N, K), (N, K, 4), (N, K).
            chosen, iou: (N, K, B), as from `responsible`.
        """
        xp, dtype = of(iou).xp, boxes.dtype
        chosen = chosen & truth.occupied[..., None]
        confident = xp.where(chosen, iou, 0.0)
        roots = xp.concatenate([truth.boxes[..., :2], xp.sqrt(truth.boxes[..., 2:])], axis=-1)
        classes = truth.labels[..., None] == xp.arange(self.num_classes)
        is_chosen, is_occupied, probability = [
            wrap(a.astype(dtype)) for a in (chosen, truth.occupied, classes)
        ]
        by_box = ((boxes - wrap(roots[..., None, :])) ** 2).sum(-1)
        by_confidence = (confidences - wrap(confident)) ** 2
        by_class = ((scores - probability) ** 2).sum(-1)
        share = 1.0 / len(boxes)  # of each picture
        return {
            "loss_box": (by_box * is_chosen).sum() * (share * self.coord_weight),
            "loss_object": (by_confidence * is_chosen).sum() * share,
            "loss_no_object": (by_confidence * (1.0 - is_chosen)).sum()
            * (share * self.no_object_weight),
            "loss_class": (by_class * is_occupied).sum() * share,
        }

    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """Boxes with class scores times confidence (equation 1), after non-maximum suppression."""
        check_pictures("YOLOv1", images)
        with no_grad():
            batch, _ = self.transform(images)
            boxes, confidences, scores = [output.data for output in self.outputs(batch.images)]
            xp = of(boxes).xp
            cell = xp.arange(self.grid)
            corner = xp.stack([xp.tile(cell, self.grid), xp.repeat(cell, self.grid)], axis=-1)
            boxes = self.shapes(boxes)
            middle = boxes[..., :2] + corner[:, None].astype(boxes.dtype)  # in cells
            middle = middle * (self.image_size / self.grid)
            half = boxes[..., 2:] * (0.5 * self.image_size)
            corners = xp.concatenate([middle - half, middle + half], axis=-1)  # (N, K, B, 4)
            sure = xp.clip(confidences, 0.0, 1.0)[..., None] * xp.clip(scores, 0.0, 1.0)[:, :, None]
            found = [
                best_detections(
                    some.reshape(-1, 4),
                    how.reshape(-1, self.num_classes),
                    (self.image_size, self.image_size),
                    score_thresh=self.score_thresh,
                    nms_thresh=self.nms_thresh,
                    detections_per_img=self.detections_per_img,
                )
                for some, how in zip(corners, sure, strict=True)
            ]
            return self.transform.restore(found, batch.sizes, batch.original_sizes)


def best_detections(
    boxes: Array,
    scores: Array,
    size: tuple[int, int],
    *,
    score_thresh: float,
    nms_thresh: float,
    detections_per_img: int,
) -> dict[str, Tensor]:
    """What is left of all boxes of a picture, each of them a candidate for every class.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels; they are cut off at the edges of the picture.
        scores: (R, C) of each box and class.
        size: (H, W) of the picture, pixels.
        score_thresh, nms_thresh, detections_per_img: as in `YOLOv1`.

    Returns:
        "boxes" (K, 4), "labels" (K,) int64 and "scores" (K,), by falling score. On a GPU this
        waits: the host must learn how many there are.
    """
    xp = of(boxes).xp
    boxes = clip_boxes_to_image(boxes, size)
    seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    row, label = xp.nonzero((scores > score_thresh) & seen[:, None])
    boxes, scores = boxes[row], scores[row, label]
    return best_of(boxes, scores, label, size, score_thresh, nms_thresh, detections_per_img)


def yolo_v1(
    num_classes: int = 20, *, in_channels: int = 3, dropout: float = 0.5, **options: Any
) -> YOLOv1:
    """YOLO: Redmon, Divvala, Girshick, Farhadi, 2016, figure 3; 271,703,550 parameters.

    24 convolutions and two fully connected layers, S = 7, B = 2, pictures of 448x448. Published
    mean AP on VOC 2007 63.4 % (table 1), with the first 20 convolutions trained on ImageNet before.

    Args:
        num_classes: kinds of objects.
        in_channels: channels of the pictures.
        dropout: probability after the first fully connected layer.
        options: of `YOLOv1`: score_thresh, nms_thresh, detections_per_img and the weights of the
            loss.

    Returns:
        a `Detector`, for pictures of any size.
    """
    return YOLOv1(num_classes, in_channels=in_channels, dropout=dropout, **options)


def yolo_v1_small(
    num_classes: int = 13, *, in_channels: int = 3, dropout: float = 0.2, **options: Any
) -> YOLOv1:
    """YOLO for pictures of 64x64: six convolutions with batch norm, S = 4, B = 2.

    Each cell has weights of its own, and learns from the objects in it only: so there are few,
    16 pixels wide. 967,296 parameters for 13 classes. Made for `minidl.data.Scenes`. Arguments and
    result as `yolo_v1`.
    """
    return YOLOv1(
        num_classes,
        4,
        2,
        SMALL,
        512,
        64,
        in_channels=in_channels,
        batch_norm=True,
        dropout=dropout,
        **options,
    )
