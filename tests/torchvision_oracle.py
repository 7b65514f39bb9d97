"""torchvision and timm, for tests that compare networks with theirs: `torchvision()`, `timm()`."""

import functools
import sys

import pytest

_REMEDY = "pip install minidl[reference]"

# What `import torchvision` looks up at once. Its compiled operations are absent where torch is the
# CPU build and torchvision the CUDA one; networks do without them, detectors with `_nms` below.
_LOOKED_UP = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept = []  # a Library takes its definitions along when it is freed


@functools.cache
def torchvision():
    """The package, or a skipped test."""
    torch = pytest.importorskip("torch", reason=f"needs torch: {_REMEDY}")
    try:
        import torchvision
    except RuntimeError:
        _forget("torchvision")
        library = torch.library.Library("torchvision", "DEF")
        for schema in _LOOKED_UP:
            library.define(schema)
        library.impl("nms", _nms, "CPU")
        _kept.append(library)
        import torchvision
        import torchvision.ops.boxes

        torchvision.ops.boxes._assert_has_ops = lambda: None
        # Its RoIAlign in Python as it is: compiling it takes longer than all that is computed.
        roi_align = sys.modules["torchvision.ops.roi_align"]
        roi_align._roi_align = roi_align._roi_align.__wrapped__
    except ImportError:
        pytest.skip(f"needs torchvision: {_REMEDY}")
    return torchvision


@functools.cache
def timm():
    """The package, or a skipped test."""
    torchvision()
    return pytest.importorskip("timm", reason=f"needs timm: {_REMEDY}")


def _nms(boxes, scores, threshold):
    """What the compiled operation does: the indices of the boxes that stay, by falling score."""
    import torch

    left, stay = scores.argsort(descending=True, stable=True), []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(left):
        best, left = left[0], left[1:]
        stay.append(best)
        corner = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        sides = corner - torch.maximum(boxes[best, :2], boxes[left, :2])
        both = sides.clamp(min=0).prod(1)
        left = left[~(both / (areas[best] + areas[left] - both) > threshold)]
    return torch.stack(stay) if stay else left


def _forget(package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]
