"""Pooling, unpooling and resizing against torch at random configurations.

Values, indices and gradients, in float64 to 1e-10 and in float32 to 1e-4, relative to the largest.
Four hundred configurations of each kind by default, 4,000 with `-m slow`.
"""

from functools import partial

import numpy as np
import pytest

import minidl as md
from minidl.ops import pool, resize

torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
F = torch.nn.functional


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread():
    """torch's threads wait for each other in a spin, for long when the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}
DEFAULT, SLOW = 400, 4000


def pick(rng, *options):
    return options[rng.integers(len(options))]


def some_input(rng, dims, dtype, ties):
    lead = pick(rng, (2, 3), (1, 1), (4,), (3, 2))
    shape = lead + tuple(int(n) for n in rng.integers(3, 14, dims))
    if ties:  # few different values, as after a ReLU
        return rng.integers(-1, 3, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def near(actual, expected, dtype):
    actual, expected = np.asarray(actual.data), expected.detach().numpy()
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    assert actual.dtype == expected.dtype
    if expected.dtype.kind == "i":
        assert np.array_equal(actual, expected)
    elif expected.size:
        scale = max(float(np.abs(expected).max()), 1e-6)
        error = float(np.abs(actual - expected).max())
        assert error <= TOLERANCE[dtype] * scale, f"relative error {error / scale:.2g}"


def compare(rng, x, dtype, ours, theirs):
    """Outputs and the gradient with a random cotangent, or an error on both sides."""
    a = md.tensor(x, requires_grad=True)
    b = torch.tensor(x, requires_grad=True)
    try:
        expected = theirs(b)
    except RuntimeError as error:
        with pytest.raises(ValueError):
            ours(a)
        return str(error)
    result = ours(a)
    if not isinstance(result, tuple):
        result, expected = (result,), (expected,)
    for mine, other in zip(result, expected, strict=True):
        near(mine, other, dtype)
    cotangent = rng.standard_normal(result[0].shape).astype(dtype)
    (mine,) = md.grad(result[0], a, md.tensor(cotangent))
    (other,) = torch.autograd.grad(expected[0], b, torch.tensor(cotangent))
    near(mine, other, dtype)
    return None


def sizes(rng, dims, low, high):
    """One number for all axes, or one for each."""
    if rng.random() < 0.5:
        return int(rng.integers(low, high))
    return tuple(int(n) for n in rng.integers(low, high, dims))


def padding_for(rng, kernel):
    if isinstance(kernel, int):
        return int(rng.integers(0, kernel // 2 + 1))
    return tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)


def max_pooling(rng, dtype):
    dims = pick(rng, 1, 2, 2)
    kernel = sizes(rng, dims, 1, 5)
    options = {
        "kernel_size": kernel,
        "stride": pick(rng, None, sizes(rng, dims, 1, 4)),
        "padding": padding_for(rng, kernel),
        "dilation": pick(rng, 1, 1, sizes(rng, dims, 1, 4)),
        "ceil_mode": bool(rng.random() < 0.5),
        # torch's 1-D pooling without indices is another implementation
        "return_indices": bool(rng.random() < 0.7),
    }
    x = some_input(rng, dims, dtype, ties=rng.random() < 0.5)
    name = f"max_pool{dims}d"
    return x, options, name, getattr(pool, name), getattr(F, name)


def average_pooling(rng, dtype):
    dims = pick(rng, 1, 2, 2)
    kernel = sizes(rng, dims, 1, 6)
    options = {
        "kernel_size": kernel,
        "stride": pick(rng, None, sizes(rng, dims, 1, 5)),
        "padding": padding_for(rng, kernel),
        "ceil_mode": bool(rng.random() < 0.5),
        "count_include_pad": bool(rng.random() < 0.5),
    }
    if dims == 2 and rng.random() < 0.3:
        options["divisor_override"] = int(rng.integers(1, 7))
    name = f"avg_pool{dims}d"
    x = some_input(rng, dims, dtype, ties=False)
    return x, options, name, getattr(pool, name), getattr(F, name)


def adaptive_pooling(rng, dtype):
    dims = pick(rng, 1, 2, 2)
    kind = pick(rng, "avg", "max")
    options = {"output_size": sizes(rng, dims, 1, 9)}
    if dims == 2 and rng.random() < 0.2:
        options["output_size"] = (None, int(rng.integers(1, 9)))
    if kind == "max":
        options["return_indices"] = True
    name = f"adaptive_{kind}_pool{dims}d"
    x = some_input(rng, dims, dtype, ties=kind == "max" and rng.random() < 0.5)
    return x, options, name, getattr(pool, name), getattr(F, name)


def resizing(rng, dtype):
    dims = pick(rng, 1, 2, 2, 2)
    linear = ("linear",) if dims == 1 else ("bilinear", "bilinear", "bicubic")
    options = {"mode": pick(rng, "nearest", "nearest-exact", "area", *linear)}
    if rng.random() < 0.5:
        options["size"] = sizes(rng, dims, 1, 24)
    else:
        factor = pick(rng, 0.5, 2.0, 3.0, 1.5, 0.75, round(float(rng.uniform(0.4, 3)), 2))
        options["scale_factor"] = factor
        if rng.random() < 0.3:
            options["recompute_scale_factor"] = bool(rng.random() < 0.5)
    if options["mode"] in linear:
        options["align_corners"] = pick(rng, None, False, True)
        options["antialias"] = dims == 2 and bool(rng.random() < 0.3)
    x = some_input(rng, dims, dtype, ties=False)
    if x.ndim == dims + 1:
        x = x[None]
    outputs = output_size(x, options)
    if options.get("antialias") and outputs[-1] == 1:
        options["antialias"] = False  # torch 2.13 is wrong here: all its output's rows are the same
    if "scale_factor" in options and any(
        out in (n, 2 * n) for n, out in zip(x.shape[2:], outputs, strict=True)
    ):
        # torch's gradient ignores the factor here (antialias; nearest of sequences), its value not
        options["recompute_scale_factor"] = True
    if options["mode"].startswith("nearest") and on_an_edge(x, outputs, options):
        options["mode"] = "area"
    return x, options, "interpolate", resize.interpolate, F.interpolate


def output_size(x, options):
    inputs = x.shape[2:]
    if "scale_factor" in options:
        return [int(n * options["scale_factor"]) for n in inputs]
    return np.broadcast_to(options["size"], len(inputs)).tolist()


def on_an_edge(x, outputs, options):
    """Whether a pixel to pick is decided by rounding: torch's own kernels differ there."""
    for n, out in zip(x.shape[2:], outputs, strict=True):
        for ratio in (n / max(out, 1), 1 / options.get("scale_factor", out / n)):
            position = (np.arange(out) + (options["mode"] == "nearest-exact") / 2) * ratio
            inexact = ratio * 2**10 % 1 > 0
            if inexact and (abs(position[1:] - np.round(position[1:])) < 1e-5).any():
                return True
    return False


def run(kind, count, seed):
    rng = np.random.default_rng(seed)
    refused = 0
    for number in range(count):
        dtype = pick(rng, np.float64, np.float32)
        x, options, name, ours, theirs = kind(rng, dtype)
        try:
            error = compare(rng, x, dtype, partial(ours, **options), partial(theirs, **options))
        except BaseException as problem:
            raise AssertionError(
                f"configuration {number}: {name}, input {x.shape} {x.dtype}, {options}"
            ) from problem
        refused += error is not None
    assert refused < count / 3, "too few configurations were legal to say anything"


KINDS = [max_pooling, average_pooling, adaptive_pooling, resizing]


@pytest.mark.parametrize("kind", KINDS)
def test_random_configurations_equal_torch(kind):
    run(kind, DEFAULT, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_random_configurations_equal_torch(kind):
    run(kind, SLOW, seed=2)


def unpooling(rng, count):
    for number in range(count):
        dtype = pick(rng, np.float64, np.float32)
        dims = pick(rng, 1, 2, 2)
        kernel = int(rng.integers(1, 5))
        stride = int(rng.integers(kernel, kernel + 2))  # no pixel in two windows
        padding = int(rng.integers(0, kernel // 2 + 1))
        x = some_input(rng, dims, dtype, ties=False)
        if min(x.shape[-dims:]) < kernel:
            continue
        theirs_pool = getattr(F, f"max_pool{dims}d")
        options = {"kernel_size": kernel, "stride": stride, "padding": padding}
        pooled, places = theirs_pool(torch.tensor(x), **options, return_indices=True)
        options["output_size"] = x.shape[-dims:]
        y = rng.standard_normal(pooled.shape).astype(dtype)
        name = f"max_unpool{dims}d"
        ours, theirs = getattr(pool, name), getattr(F, name)
        try:
            compare(
                rng,
                y,
                dtype,
                partial(ours, indices=md.tensor(places.numpy()), **options),
                partial(theirs, indices=places, **options),
            )
        except BaseException as problem:
            raise AssertionError(
                f"configuration {number}: {name} of {x.shape}, {options}"
            ) from problem


def test_random_unpoolings_equal_torch():
    unpooling(np.random.default_rng(3), DEFAULT)


@pytest.mark.slow
def test_thousands_of_random_unpoolings_equal_torch():
    unpooling(np.random.default_rng(4), SLOW)
