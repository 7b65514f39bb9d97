"""Networks that find objects: which, and where. One system a file.

- detector.py: what all have in common: how they are called, pictures of any size in a batch
- fpn.py: backbones with feature pyramids
- rpn.py, roi_heads.py, faster_rcnn.py: two stages; with masks mask_rcnn.py, with points
  keypoint_rcnn.py
- ssd.py, retinanet.py: one stage, boxes laid over the picture; dense.py is what they share
- rcnn.py, spp_net.py, fast_rcnn.py: regions from outside, each faster than the one before;
  regions.py is what they share
- rfcn.py: two stages, of which the second has no layers of its own
- yolo_v1.py, yolo_v2.py: one stage, cells; localization.py: one object a picture
- sliding_window_detector.py, overfeat_detector.py: a classifier that slides
"""

from .detector import Detector as Detector
from .fast_rcnn import fast_rcnn_small, fast_rcnn_vgg16
from .faster_rcnn import (
    fasterrcnn_resnet18_fpn,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_small,
    fasterrcnn_vgg16,
)
from .keypoint_rcnn import keypointrcnn_resnet50_fpn, keypointrcnn_small
from .localization import localization_resnet18, localization_small
from .mask_rcnn import maskrcnn_resnet50_fpn, maskrcnn_small
from .overfeat_detector import overfeat_detector, overfeat_detector_small
from .rcnn import rcnn_alexnet, rcnn_small
from .retinanet import retinanet_resnet50_fpn, retinanet_small
from .rfcn import rfcn_resnet101, rfcn_small
from .sliding_window_detector import sliding_window_detector
from .spp_net import spp_net_small, spp_net_zf5
from .ssd import ssd300_vgg16, ssd_small
from .yolo_v1 import yolo_v1, yolo_v1_small
from .yolo_v2 import yolo_v2, yolo_v2_small

__all__ = [
    "fast_rcnn_small",
    "fast_rcnn_vgg16",
    "fasterrcnn_resnet18_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_small",
    "fasterrcnn_vgg16",
    "keypointrcnn_resnet50_fpn",
    "keypointrcnn_small",
    "localization_resnet18",
    "localization_small",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_small",
    "overfeat_detector",
    "overfeat_detector_small",
    "rcnn_alexnet",
    "rcnn_small",
    "retinanet_resnet50_fpn",
    "retinanet_small",
    "rfcn_resnet101",
    "rfcn_small",
    "sliding_window_detector",
    "spp_net_small",
    "spp_net_zf5",
    "ssd300_vgg16",
    "ssd_small",
    "yolo_v1",
    "yolo_v1_small",
    "yolo_v2",
    "yolo_v2_small",
]
