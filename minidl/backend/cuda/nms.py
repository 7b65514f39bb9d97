"""Non-maximum suppression on the GPU: the kernels of kernels/nms.cu and nms_reduce.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Array
from ..plain.nms import NmsKernels as PlainNmsKernels
from .launcher import C_TYPES, KernelLauncher, contiguous

__all__ = ["NmsKernels"]

THREADS = 256  # as in nms_reduce.cu


class NmsKernels(KernelLauncher, PlainNmsKernels):
    """The arguments and results are those of `backend/plain/nms.py`."""

    xp: Any

    def nms(self, boxes: Array, labels: Array | None, threshold: float) -> Array:
        xp, count = self.xp, len(boxes)
        keep = xp.empty(count, np.bool_)
        if count == 0:
            return keep
        words, real = -(-count // 64), C_TYPES[np.dtype(boxes.dtype)]
        mask, removed = xp.empty((words, count), np.uint64), xp.zeros(words, np.uint64)
        if labels is not None:
            labels = contiguous(xp, labels)
        boxes = contiguous(xp, boxes)
        pair_args = (boxes, labels, mask, int(labels is not None), count, threshold)
        self.launch_each("nms.cu", "mdl_nms_mask", mask.size, pair_args, real=real)
        args = (mask, removed, keep, count, words)
        self.launch("nms_reduce.cu", "mdl_nms_reduce", (1,), (THREADS,), args)
        return keep
