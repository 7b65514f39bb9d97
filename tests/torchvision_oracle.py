"""torchvision and timm, for tests that compare networks with theirs: `torchvision()`, `timm()`."""

import functools

import pytest

_REMEDY = "pip install minidl[reference]"

# What `import torchvision` looks up at once. Its compiled operations are absent where torch is the
# CPU build and torchvision the CUDA one; the networks do without them.
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
        _kept.append(library)
        import torchvision
    except ImportError:
        pytest.skip(f"needs torchvision: {_REMEDY}")
    return torchvision


@functools.cache
def timm():
    """The package, or a skipped test."""
    torchvision()
    return pytest.importorskip("timm", reason=f"needs timm: {_REMEDY}")


def _forget(package):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]
