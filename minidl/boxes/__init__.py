"""Floor 3: box arithmetic. Arrays in, arrays out, on the CPU and on a GPU; names as in torchvision.

A box is (x1, y1, x2, y2) in pixels, half-open, x to the right, y down; boxes are arrays (R, 4) of
float32. (float64 stays; float16 and integers are computed in float32.)
"""

from .geometry import (
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    generalized_box_iou,
    remove_small_boxes,
)
from .nms import batched_nms, nms

__all__ = [
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "generalized_box_iou",
    "nms",
    "remove_small_boxes",
]
