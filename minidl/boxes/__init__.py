"""Floor 3: box arithmetic. Arrays in, arrays out, on the CPU and on a GPU; names as in torchvision.

A box is (x1, y1, x2, y2) in pixels, half-open, x to the right, y down; boxes are arrays (R, 4) of
float32. (float64 stays; float16 and integers are computed in float32.)

- geometry.py: areas, overlaps, clipping, forms
- coder.py: boxes as differences to other boxes; anchors.py: the boxes that these start from
- matcher.py: which true box a box is compared with in training, and which boxes are
- nms.py, soft_nms.py: of boxes that overlap, the best
- segments.py, selective_search.py, windows.py: proposals without learning, and their crops
"""

from .anchors import (
    AnchorGenerator,
    DefaultBoxGenerator,
    fpn_anchors,
    retinanet_anchors,
    rpn_anchors,
    ssd300_boxes,
)
from .coder import BoxCoder
from .geometry import (
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    generalized_box_iou,
    remove_small_boxes,
)
from .matcher import BalancedPositiveNegativeSampler, Matcher, SSDMatcher
from .nms import batched_nms, nms
from .segments import felzenszwalb
from .selective_search import hierarchical_grouping, selective_search
from .soft_nms import batched_soft_nms, soft_nms
from .windows import crop_and_warp, sliding_windows

__all__ = [
    "AnchorGenerator",
    "BalancedPositiveNegativeSampler",
    "BoxCoder",
    "DefaultBoxGenerator",
    "Matcher",
    "SSDMatcher",
    "batched_nms",
    "batched_soft_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "crop_and_warp",
    "felzenszwalb",
    "fpn_anchors",
    "generalized_box_iou",
    "hierarchical_grouping",
    "nms",
    "remove_small_boxes",
    "retinanet_anchors",
    "rpn_anchors",
    "selective_search",
    "sliding_windows",
    "soft_nms",
    "ssd300_boxes",
]
