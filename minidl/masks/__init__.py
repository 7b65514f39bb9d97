"""Floor 2: masks as runs of pixels, the form in which COCO stores and compares them.

A mask of an object is a few long runs of pixels that are in it or not; its area, its union with
another one and their overlap follow from the runs alone, without the pixels. Arrays on the CPU.
"""

from .polygon import as_polygons, from_polygons
from .rle import RLE, area, bounding_boxes, decode, encode, from_json, iou, merge, to_json

__all__ = [
    "RLE",
    "area",
    "as_polygons",
    "bounding_boxes",
    "decode",
    "encode",
    "from_json",
    "from_polygons",
    "iou",
    "merge",
    "to_json",
]
