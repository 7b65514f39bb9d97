"""Random convolutions against torch: values and all gradients, both dtypes."""

import warnings

import numpy as np
import pytest

import minidl as md
from minidl.ops import conv

torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")

RTOL = {"float64": 1e-10, "float32": 1e-4}  # relative to the largest value


def draw(rng):
    """The name of a function, shapes of its three arrays, and parameters that go together."""
    dims = int(rng.integers(1, 3))
    transposed = bool(rng.integers(2))
    kernel = rng.integers(1, 6, dims)
    stride = rng.integers(1, 4, dims)
    dilation = rng.integers(1, 4, dims)
    groups = int(rng.choice([1, 1, 1, 2, 3, 4]))
    inside, outside = groups * rng.integers(1, 5, 2)
    if groups > 1 and rng.integers(2):  # depthwise, with one or two filters to a channel
        inside, outside = groups, groups * rng.integers(1, 3)
    batch = int(rng.integers(1, 4))
    span = dilation * (kernel - 1) + 1
    padding = rng.integers(0, 4, dims)
    parameters = {"stride": stride, "dilation": dilation, "groups": groups, "padding": padding}
    if transposed:
        size = rng.integers(1, 8, dims)
        left = (size - 1) * stride + span - 2 * padding
        parameters["padding"] = padding = np.where(left < 1, 0, padding)
        parameters["output_padding"] = rng.integers(0, np.maximum(stride, dilation))
        weight = (inside, outside // groups, *kernel)
    else:
        size = np.maximum(1, span - 2 * padding) + rng.integers(0, 12, dims)
        weight = (outside, inside // groups, *kernel)
        if rng.integers(4) == 0:
            parameters["padding"] = "same"
            parameters["stride"] = np.ones(dims, int)
    parameters = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in parameters.items()}
    name = f"conv_transpose{dims}d" if transposed else f"conv{dims}d"
    return name, [(batch, inside, *size), weight, (outside,)], parameters


def compare(seed):
    rng = np.random.default_rng(seed)
    name, shapes, parameters = draw(rng)
    shapes = [tuple(int(n) for n in shape) for shape in shapes]
    where = f"seed {seed}: {name}, {shapes}, {parameters}"
    arrays = [rng.standard_normal(shape) for shape in shapes]
    for dtype, rtol in RTOL.items():
        ours = [md.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
        theirs = [torch.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
        y = getattr(conv, name)(*ours, **parameters)
        expected = getattr(torch.nn.functional, name)(*theirs, **parameters)
        near(y.detach().numpy(), expected.detach().numpy(), rtol, f"{where}: value, {dtype}")
        u = rng.standard_normal(y.shape).astype(dtype)
        gradients = md.grad(y, ours, md.tensor(u))
        wanted = torch.autograd.grad(expected, theirs, torch.tensor(u))
        for what, g, e in zip(("input", "weight", "bias"), gradients, wanted, strict=True):
            near(g.numpy(), e.numpy(), rtol, f"{where}: gradient to {what}, {dtype}")


def near(actual, expected, rtol, what):
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    error = np.abs(actual - expected).max(initial=0.0)
    scale = np.abs(expected).max(initial=0.0)
    assert error <= rtol * max(scale, 1e-3), f"{what}: error {error:.3g} of {scale:.3g}"


@pytest.fixture(autouse=True)
def _quiet_torch():
    """On one thread: several wait for each other 20 times as long as such small sums take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():  # torch copies for 'same' with even kernels, and says so
        warnings.simplefilter("ignore", UserWarning)
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("block", range(8))
def test_random_configurations_agree_with_torch(block):
    for seed in range(75 * block, 75 * (block + 1)):
        compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(16))
def test_many_random_configurations_agree_with_torch(block):
    for seed in range(1000 + 100 * block, 1000 + 100 * (block + 1)):
        compare(seed)


@pytest.mark.parametrize(
    ("shape", "weight", "parameters"),
    [
        ((2, 48, 44, 44), (48, 48, 3, 3), {"padding": 1}),  # Winograd
        ((3, 32, 52, 51), (40, 32, 3, 3), {}),  # Winograd, with tiles cut off
        ((2, 3, 56, 57), (32, 3, 7, 7), {"stride": 2, "padding": 3}),  # im2col, and col2im
        ((5, 20, 16, 16), (24, 20, 3, 3), {"padding": 1}),  # rows
        ((4, 64, 4, 4), (48, 64, 3, 3), {"padding": 1}),  # images multiplied together
        ((3, 24, 12, 12), (24, 1, 3, 3), {"padding": 1, "groups": 24}),  # banded matrices
        ((2, 4, 60, 60), (8, 1, 3, 3), {"padding": 1, "groups": 4}),  # wide depthwise
        ((2, 32, 30, 30), (16, 32, 1, 1), {"stride": 2}),  # pointwise
        ((1, 2, 300, 300), (8, 2, 5, 5), {"padding": 2}),  # an image in bands
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_line_of_the_table_agrees_with_torch(shape, weight, parameters, dtype):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s).astype(dtype) for s in (shape, weight, weight[:1])]
    ours = [md.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = conv.conv2d(*ours, **parameters)
    expected = torch.nn.functional.conv2d(*theirs, **parameters)
    near(y.detach().numpy(), expected.detach().numpy(), RTOL[dtype], "value")
    u = rng.standard_normal(y.shape).astype(dtype)
    wanted = torch.autograd.grad(expected, theirs, torch.tensor(u))
    for g, e in zip(md.grad(y, ours, md.tensor(u)), wanted, strict=True):
        near(g.numpy(), e.numpy(), RTOL[dtype], "gradient")
