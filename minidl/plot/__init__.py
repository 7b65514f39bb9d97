"""Floor 5: pictures, drawn with matplotlib, which is imported only when one is drawn."""

from .curves import curves
from .detection import detection_grid, draw_detections
from .explain import attribution_grid
from .grid import image_grid
from .precision_recall import precision_recall
from .report import report
from .segmentation import class_colours, mask_overlay, paint_mask, segmentation_grid

__all__ = [
    "attribution_grid",
    "class_colours",
    "curves",
    "detection_grid",
    "draw_detections",
    "image_grid",
    "mask_overlay",
    "paint_mask",
    "precision_recall",
    "report",
    "segmentation_grid",
]
