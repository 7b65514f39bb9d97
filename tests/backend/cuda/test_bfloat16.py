"""bfloat16 through the GPU's kernels: stored in 16 bits, computed in float32."""

import numpy as np
import pytest

from minidl.backend.geometry import ConvGeometry

from .common import BACKENDS, PLAIN, needs_compiler

bfloat16 = pytest.importorskip("ml_dtypes", reason="bfloat16 comes from ml_dtypes").bfloat16
pytestmark = needs_compiler
SIZE = (6, 5)


def geometry(groups=1):
    return ConvGeometry((3, 3), (1, 2), ((1, 1), (0, 1)), groups=groups)


def calls(name, *arrays):
    """A kernel's name, the arrays it takes, what else it takes."""
    g, d = geometry(), geometry(4)
    x, w, y, depthwise, rows = arrays
    scores = x.reshape(2, 4, 30)
    return {
        "conv_forward": ((x, w), (g,)),
        "conv_input_grad": ((y, w), (g, SIZE)),
        "conv_weight_grad": ((x, y), (g,)),
        "depthwise": ((x, depthwise), (d,)),
        "batch_norm": ((scores, rows, rows), (1e-5, True)),
        "gelu": ((x,), ()),
        "softmax": ((scores,), (1, False)),
        "softmax_grad": ((scores, scores), (1, True)),
        "max_pool": ((scores.reshape(8, *SIZE),), (ConvGeometry((2, 2), (2, 2)), False)),
    }[name]


NAMES = ["conv_forward", "conv_input_grad", "conv_weight_grad", "depthwise", "batch_norm"]
NAMES += ["gelu", "softmax", "softmax_grad", "max_pool"]


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_gives_the_rounded_result_of_float32(name):
    rng = np.random.default_rng(0)
    out = geometry().output_size(SIZE)
    shapes = [(2, 4, *SIZE), (3, 4, 3, 3), (2, 3, *out), (4, 1, 3, 3), (4,)]
    arrays = [rng.standard_normal(shape).astype(bfloat16) for shape in shapes]
    kernel = "conv_forward" if name == "depthwise" else name
    mine, more = calls(name, *arrays)
    found = getattr(BACKENDS[0], kernel)(*mine, *more)
    expected = getattr(PLAIN, kernel)(*[a.astype(np.float32) for a in mine], *more)
    if isinstance(found, tuple):
        found, expected = found[0], expected[0]
    assert found.dtype == bfloat16
    rounded = expected.astype(bfloat16).astype(np.float32)
    error = np.abs(found.astype(np.float32) - rounded).max()
    assert error <= 0.01 * np.abs(rounded).max()  # two neighbours are 0.8 % apart


def test_the_stand_ins_bfloat16_rounds_as_ml_dtypes_does():
    """Through a kernel that changes nothing: a maximum over windows of one number."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 9, 9)).astype(bfloat16)
    values, _ = BACKENDS[0].max_pool(x, ConvGeometry((1, 1)), False)
    assert np.array_equal(values.astype(np.float32), x.astype(np.float32))
    numbers = (rng.standard_normal((4, 5)) * 10.0 ** rng.integers(-30, 30, (4, 5))).astype(
        np.float32
    )
    grad = numbers.astype(bfloat16)
    BACKENDS[0].unscale(grad, np.full(1, 1.7, np.float32), np.zeros(1, np.float32))
    rounded = numbers.astype(bfloat16).astype(np.float32) * np.float32(1.7)
    assert np.array_equal(grad.view(np.uint16), rounded.astype(bfloat16).view(np.uint16))
