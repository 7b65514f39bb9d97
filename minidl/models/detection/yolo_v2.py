"""YOLO v2: Redmon, Farhadi, "YOLO9000: better, faster, stronger", 2017, section 2.

What it changes of YOLO (`yolo_v1.py`), each line a line of the paper's table 2:

- Batch norm behind every convolution.
- Anchors in place of fully connected layers: each cell of the last map has A boxes to start from,
  and for each of them class scores of its own. So two objects in one cell can be found, and
  pictures may be of any size that the stride divides.
- Dimension clusters: widths and heights of the anchors are found by k-means among the boxes of the
  data, by the distance 1 - IoU of boxes with one centre (`dimension_clusters`).
- Direct location prediction: of t_x, t_y, t_w, t_h, t_o, where the cell's corner is (c_x, c_y) and
  the anchor's size (p_w, p_h), in cells,

      b_x = sigmoid(t_x) + c_x     b_w = p_w e^{t_w}     Pr(object) * IoU = sigmoid(t_o)
      b_y = sigmoid(t_y) + c_y     b_h = p_h e^{t_h}

  so that a box cannot leave its cell.
- Passthrough: a finer map joins the last one; each 2x2 pixels of it are put one behind the other as
  channels.
- Multi-scale training: `resize` every few batches (the paper: ten).

The network is Darknet-19 (table 6) without its last convolution, followed by three more, as in the
authors' yolov2-voc.cfg; there a 1x1 convolution to 64 maps precedes the passthrough, which is not
in the paper.

The loss is not in the paper. As in the authors' code (darknet, region_layer.c): the anchor whose
shape overlaps that of the object most, in the cell of the object's centre, is responsible for it;
where several objects want the same one, the last of them gets it. Per picture

    1/2 sum over responsible anchors    (sigmoid(t_x) - x^)^2 + ... + (t_w - log(w^ / p_w))^2 + ...
    5/2 sum over responsible anchors    (sigmoid(t_o) - IoU)^2
    1/2 sum over others                 sigmoid(t_o)^2, unless the box overlaps an object by 0.6
        sum over responsible anchors    -log softmax(class scores) of the object's class

where the IoU is a constant. (That code also draws all boxes towards their anchors, with a hundredth
of the weight, for the first 12,800 pictures; not done here.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad
from ...autograd.tensor import wrap
from ...backend import Array, of, quiet
from ...backend.random import host_generator
from ...boxes import box_convert, box_iou
from ...boxes.coder import BOX_CLIP
from ...nn import functional as F
from ...ops.shape import cat
from .detector import Detector, PictureTransform, check_pictures
from .yolo_v1 import Layers, best_detections, convolutions, init_leaky, total_stride

__all__ = [
    "DARKNET_19",
    "VOC_ANCHORS",
    "Assigned",
    "Passthrough",
    "YOLOv2",
    "average_iou",
    "dimension_clusters",
    "shape_iou",
    "yolo_v2",
    "yolo_v2_small",
]

# Table 6, up to the map that is passed through, and from there on: (window, maps, stride).
DARKNET_19: tuple[Layers, Layers] = (
    (
        *((3, 32, 1), "M", (3, 64, 1), "M"),
        *((3, 128, 1), (1, 64, 1), (3, 128, 1), "M"),
        *((3, 256, 1), (1, 128, 1), (3, 256, 1), "M"),
        *((3, 512, 1), (1, 256, 1), (3, 512, 1), (1, 256, 1), (3, 512, 1)),
    ),
    ("M", (3, 1024, 1), (1, 512, 1), (3, 1024, 1), (1, 512, 1), (3, 1024, 1)),
)
SMALL: tuple[Layers, Layers] = (
    ((3, 16, 1), "M", (3, 32, 1), "M", (3, 64, 1)),
    ("M", (3, 128, 1), (1, 64, 1), (3, 128, 1)),
)

# Widths and heights in cells of 32 pixels, from yolov2-voc.cfg: clusters of Pascal VOC's boxes in
# pictures of 416x416.
VOC_ANCHORS = (
    (1.3221, 1.73145),
    (3.19275, 4.00944),
    (5.05587, 8.09892),
    (9.47112, 4.84053),
    (11.2364, 10.0071),
)

# In cells of 8 pixels: clusters of the boxes of 1,000 `Scenes` of 64x64 pixels.
SCENE_ANCHORS = ((1.25, 2.71), (2.1, 2.38), (2.33, 3.73), (3.23, 3.02), (3.76, 4.24))


# -- dimension clusters ----------------------------------------------------------------------------


@quiet
def shape_iou(sizes: Array, others: Array) -> Array:
    """Intersection over union of boxes that have the same centre.

    Args:
        sizes: (R, 2) width and height.
        others: (K, 2), likewise.

    Returns:
        (R, K).
    """
    xp = of(sizes).xp
    both = xp.minimum(sizes[:, None], others).prod(axis=2)
    return both / (sizes.prod(axis=1)[:, None] + others.prod(axis=1) - both)


def dimension_clusters(
    sizes: np.ndarray, k: int, *, restarts: int = 10, iterations: int = 300
) -> np.ndarray:
    """Anchors for a data set: k-means of widths and heights with the distance 1 - IoU.

    With the Euclidean distance large boxes would decide where the clusters are; overlap does not
    depend on the size (section 2, dimension clusters). Each start takes k of the boxes, drawn by
    `manual_seed`; the result of the best one counts.

    Args:
        sizes: (R, 2) widths and heights of the boxes, in any unit; on the host.
        k: how many anchors.
        restarts: how many starts.
        iterations: of one start at most; it ends when no box changes its cluster.

    Returns:
        (k, 2) in the unit of `sizes` and its dtype, by rising area.

    Raises:
        ValueError: not (R, 2), sizes that are not positive, or fewer than k different ones.
    """
    sizes = np.asarray(sizes)
    pairs = sizes.ndim == 2 and sizes.shape[1] == 2
    if not pairs or not (sizes > 0).all():
        raise ValueError(
            f"dimension_clusters: sizes must be (R, 2) positive widths and heights, got "
            f"{sizes.shape}{', some of them not' if pairs else ''}"
        )
    different = np.unique(sizes, axis=0)
    if not 1 <= k <= len(different):
        raise ValueError(
            f"dimension_clusters: k must be from 1 to the {len(different)} different sizes, got {k}"
        )
    results = [_k_means(sizes, different, k, iterations) for _ in range(restarts)]
    best = max(results, key=lambda clusters: average_iou(sizes, clusters))
    return best[np.argsort(best.prod(axis=1), kind="stable")]


def _k_means(sizes: np.ndarray, different: np.ndarray, k: int, iterations: int) -> np.ndarray:
    clusters = host_generator().permutation(different)[:k]
    members = np.full(len(sizes), -1)
    for _ in range(iterations):
        before, members = members, shape_iou(sizes, clusters).argmax(axis=1)
        if (members == before).all():
            break
        # A cluster that nothing is nearest to stays where it is.
        clusters = np.stack(
            [
                sizes[members == i].mean(axis=0) if (members == i).any() else clusters[i]
                for i in range(k)
            ]
        )
    return clusters


def average_iou(sizes: np.ndarray, clusters: np.ndarray) -> float:
    """The mean overlap of boxes with the cluster that is nearest to each (table 1).

    Args:
        sizes: (R, 2) widths and heights.
        clusters: (k, 2).
    """
    return float(shape_iou(sizes, clusters).max(axis=1).mean())


# -- the network -----------------------------------------------------------------------------------


class Passthrough(nn.Module):
    """Maps (N, C, H, W) to (N, 4C, H / 2, W / 2): each 2x2 pixels become four channels."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        pixels = x.reshape(n, c, h // 2, 2, w // 2, 2)
        return pixels.permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


class Assigned(NamedTuple):
    """Which anchors of a picture have an object to find, and what; K = cells times A of them.

    Attributes:
        chosen: (K,) bool: whether the anchor is responsible for an object.
        ignored: (K,) bool: whether its box overlaps an object, so that nothing is said of it.
        boxes: (K, 4): x, y in cells from the cell's corner, log(w / p_w), log(h / p_h).
        iou: (K,) of its box and its object.
        labels: (K,) int64.
        Where none is chosen, boxes, iou and labels have no meaning.
    """

    chosen: Array
    ignored: Array
    boxes: Array
    iou: Array
    labels: Array


class YOLOv2(Detector):
    """Darknet-19, a passthrough, and for each anchor t_x, t_y, t_w, t_h, t_o and class scores.

    Args:
        num_classes: kinds of objects.
        anchors: width and height of each, in cells.
        layers: the convolutions before and after the map that is passed through, as `DARKNET_19`;
            batch norm and a leaky ReLU of slope 0.1 follow each.
        width: maps of the convolutions behind them.
        passed: maps of the 1x1 convolution before the passthrough.
        image_size: height and width that pictures are resized to, see `resize`.
        in_channels: channels of the pictures.
        coord_weight, object_weight, no_object_weight, class_weight: of the loss.
        ignore_thresh: an anchor whose box overlaps an object by more is not said to be empty.
        score_thresh, nms_thresh, detections_per_img: as in `YOLOv1`.

    Raises:
        ValueError: an image_size that the stride does not divide.
    """

    def __init__(
        self,
        num_classes: int = 20,
        anchors: Sequence[tuple[float, float]] = VOC_ANCHORS,
        layers: tuple[Layers, Layers] = DARKNET_19,
        width: int = 1024,
        passed: int = 64,
        image_size: int = 416,
        *,
        in_channels: int = 3,
        coord_weight: float = 1.0,
        object_weight: float = 5.0,
        no_object_weight: float = 1.0,
        class_weight: float = 1.0,
        ignore_thresh: float = 0.6,
        score_thresh: float = 0.01,
        nms_thresh: float = 0.5,
        detections_per_img: int = 100,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.coord_weight = coord_weight
        self.object_weight = object_weight
        self.no_object_weight = no_object_weight
        self.class_weight = class_weight
        self.ignore_thresh = ignore_thresh
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.stride = total_stride(layers[0]) * total_stride(layers[1])
        self.anchors: Tensor
        self.register_buffer("anchors", Tensor(np.array(anchors, np.float32)))

        self.fine, channels = convolutions(layers[0], in_channels, batch_norm=True)
        self.passthrough, _ = convolutions([(1, passed, 1)], channels, batch_norm=True)
        self.passthrough.append(Passthrough())
        self.coarse, channels = convolutions(
            [*layers[1], (3, width, 1), (3, width, 1)], channels, batch_norm=True
        )
        self.head, channels = convolutions([(3, width, 1)], channels + 4 * passed, batch_norm=True)
        self.head.append(nn.Conv2d(channels, len(anchors) * (5 + num_classes), 1))
        init_leaky(self)
        # At first boxes are the anchors.
        nn.init.normal_(self.head[-1].weight, 0.0, 0.01)
        self.resize(image_size)

    def resize(self, image_size: int) -> None:
        """From now on work on pictures of that height and width (multi-scale training).

        Args:
            image_size: a multiple of the stride. The larger, the finer and slower.

        Raises:
            ValueError: not a multiple.
        """
        if image_size < self.stride or image_size % self.stride:
            raise ValueError(
                f"YOLOv2: image_size must be a multiple of the stride {self.stride}, got "
                f"{image_size}"
            )
        self.image_size = image_size
        self.grid = image_size // self.stride
        channels = self.fine[0].in_channels
        self.transform = PictureTransform(
            image_mean=(0.0,) * channels,
            image_std=(1.0,) * channels,
            size_divisible=1,
            fixed_size=(image_size, image_size),
        )

    def outputs(self, x: Tensor) -> Tensor:
        """(N, K, 5 + num_classes) of a batch: row by row, cell by cell, anchor by anchor."""
        fine = self.fine(x)
        maps = self.head(cat([self.passthrough(fine), self.coarse(fine)], 1))
        return maps.permute(0, 2, 3, 1).reshape(len(x), -1, 5 + self.num_classes)

    def decode(self, outputs: Array) -> Array:
        """The boxes that outputs (..., K, 5 + num_classes) mean, for any number of pictures.

        Returns:
            (..., K, 4) x1, y1, x2, y2, pixels of the resized picture.
        """
        xp = of(outputs).xp
        corner, anchor = self._starts(outputs)
        with no_grad():
            middle = F.sigmoid(wrap(outputs[..., :2])).data + corner
        half = xp.exp(xp.minimum(outputs[..., 2:4], BOX_CLIP)) * anchor * 0.5
        return xp.concatenate([middle - half, middle + half], axis=-1) * float(self.stride)

    def _starts(self, like: Array) -> tuple[Array, Array]:
        """(K, 2) the upper left corner of each anchor's cell, and (K, 2) its size, in cells."""
        xp = of(like).xp
        count = len(self.anchors)
        cell = xp.repeat(xp.arange(self.grid**2), count)
        corner = xp.stack([cell % self.grid, cell // self.grid], axis=1)
        anchor = xp.tile(self.anchors.data, (self.grid**2, 1))
        return corner.astype(like.dtype), anchor.astype(like.dtype)

    def assign(self, outputs: Array, boxes: Array, labels: Array) -> Assigned:
        """What each anchor of a picture has to find.

        Args:
            outputs: (K, 5 + num_classes) of the picture.
            boxes: (R, 4) x1, y1, x2, y2, pixels of the resized picture.
            labels: (R,).
        """
        xp = of(outputs).xp
        corner, anchor = self._starts(outputs)
        count, places = len(boxes), len(outputs)
        if count == 0:
            nothing = xp.zeros(places, np.bool_)
            zeros = xp.zeros((places, 4), outputs.dtype)
            return Assigned(nothing, nothing, zeros, zeros[:, 0], xp.zeros(places, np.int64))
        sizes = box_convert(boxes, "xyxy", "cxcywh").astype(outputs.dtype) / float(self.stride)
        # A centre on the lower or right edge of the picture belongs to the last cell.
        cell = xp.clip(xp.floor(sizes[:, :2]), 0, self.grid - 1).astype(np.int64)
        shape = shape_iou(sizes[:, 2:], anchor[: len(self.anchors)]).argmax(axis=1)
        place = (cell[:, 1] * self.grid + cell[:, 0]) * len(self.anchors) + shape
        # (R, K): the object's number where it wants to be; the last one gets the place.
        claims = xp.where(place[:, None] == xp.arange(places), xp.arange(count)[:, None], -1)
        owner = claims.max(axis=0)
        chosen, owner = owner >= 0, xp.maximum(owner, 0)
        overlaps = box_iou(self.decode(outputs), boxes.astype(outputs.dtype, copy=False))  # (K, R)
        mine = sizes[owner]
        wanted = [mine[:, :2] - corner, xp.log(mine[:, 2:] / anchor)]
        return Assigned(
            chosen,
            overlaps.max(axis=1) > self.ignore_thresh,
            xp.concatenate(wanted, axis=1),
            xp.take_along_axis(overlaps, owner[:, None], axis=1)[:, 0],
            labels[owner].astype(np.int64),
        )

    def losses(self, images: Any, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The lines of the loss, see the text of this file, averaged over the pictures.

        Returns:
            "loss_box", "loss_object", "loss_no_object" and "loss_class".
        """
        check_pictures("YOLOv2", images, targets, num_classes=self.num_classes)
        batch, targets = self.transform(images, targets)
        outputs = self.outputs(batch.images)
        assigned = [
            self.assign(found, target["boxes"].data, target["labels"].data)
            for found, target in zip(outputs.data, targets, strict=True)
        ]
        stacked = [of(a[0]).xp.stack(a) for a in zip(*assigned, strict=True)]
        return self.region_loss(outputs, Assigned(*stacked))

    def region_loss(self, outputs: Tensor, assigned: Assigned) -> dict[str, Tensor]:
        """The losses of outputs (N, K, 5 + num_classes), given what each anchor has to find."""
        xp, dtype = of(outputs.data).xp, outputs.dtype
        chosen = wrap(assigned.chosen.astype(dtype))
        empty = wrap((~(assigned.chosen | assigned.ignored)).astype(dtype))
        box = cat([F.sigmoid(outputs[..., :2]), outputs[..., 2:4]], -1)
        # Where nothing is to be found, a box as it is: log 0 times 0 would be NaN.
        wanted = xp.where(assigned.chosen[..., None], assigned.boxes, box.data)
        sure = F.sigmoid(outputs[..., 4])
        by_class = F.cross_entropy(
            outputs[..., 5:].flatten(0, 1), wrap(assigned.labels.reshape(-1)), reduction="none"
        ).reshape(chosen.shape)
        share = 1.0 / len(outputs)  # of each picture
        return {
            "loss_box": ((box - wrap(wanted)) ** 2).sum() * (0.5 * share * self.coord_weight),
            "loss_object": ((sure - wrap(assigned.iou)) ** 2 * chosen).sum()
            * (0.5 * share * self.object_weight),
            "loss_no_object": (sure**2 * empty).sum() * (0.5 * share * self.no_object_weight),
            "loss_class": (by_class * chosen).sum() * (share * self.class_weight),
        }

    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """Boxes with Pr(class) times Pr(object) * IoU, after non-maximum suppression."""
        check_pictures("YOLOv2", images)
        with no_grad():
            batch, _ = self.transform(images)
            outputs = self.outputs(batch.images)
            scores = F.sigmoid(outputs[..., 4:5]) * F.softmax(outputs[..., 5:], -1)
            found = [
                best_detections(
                    boxes,
                    sure,
                    (self.image_size, self.image_size),
                    score_thresh=self.score_thresh,
                    nms_thresh=self.nms_thresh,
                    detections_per_img=self.detections_per_img,
                )
                for boxes, sure in zip(self.decode(outputs.data), scores.data, strict=True)
            ]
            return self.transform.restore(found, batch.sizes, batch.original_sizes)


def yolo_v2(
    num_classes: int = 20,
    anchors: Sequence[tuple[float, float]] = VOC_ANCHORS,
    *,
    in_channels: int = 3,
    image_size: int = 416,
    **options: Any,
) -> YOLOv2:
    """YOLO v2: Redmon, Farhadi, 2017, section 2 and table 6; 50,655,389 parameters.

    23 convolutions, 18 of them those of Darknet-19; five anchors. Published mean AP on VOC 2007
    76.8 % at 416x416, 78.6 % at 544x544 (table 3), with Darknet-19 trained on ImageNet before.

    Args:
        num_classes: kinds of objects.
        anchors: width and height of each in cells of 32 pixels, see `dimension_clusters`.
        in_channels: channels of the pictures.
        image_size: height and width that pictures are resized to, a multiple of 32.
        options: of `YOLOv2`: the weights of the loss, score_thresh, nms_thresh,
            detections_per_img.

    Returns:
        a `Detector`, for pictures of any size.
    """
    return YOLOv2(num_classes, anchors, in_channels=in_channels, image_size=image_size, **options)


def yolo_v2_small(
    num_classes: int = 13,
    anchors: Sequence[tuple[float, float]] = SCENE_ANCHORS,
    *,
    in_channels: int = 3,
    image_size: int = 64,
    **options: Any,
) -> YOLOv2:
    """YOLO v2 for pictures of 64x64: nine convolutions, cells of 8 pixels, five anchors.

    709,514 parameters for 13 classes. Made for `minidl.data.Scenes`, whose boxes in pictures of
    64x64 the anchors are clusters of. Arguments and result as `yolo_v2`; image_size is a multiple
    of 8.
    """
    return YOLOv2(
        num_classes,
        anchors,
        SMALL,
        128,
        16,
        image_size,
        in_channels=in_channels,
        **options,
    )
