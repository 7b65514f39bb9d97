"""New tensors: filled, counted, drawn at random.

Random numbers come from the host generator that `manual_seed` seeds, so they are the same on every
device. `size` is given as integers or as one tuple.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import Tensor, wrap
from ..autograd.tensor import DEFAULT_FLOAT
from ..backend import by_name, default_device, of
from ..backend import device as device_of
from ..backend.random import host_generator

__all__ = [
    "arange",
    "bernoulli",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "zeros",
    "zeros_like",
]


def _make(create: Callable[[Any], Any], device: Any, requires_grad: bool) -> Tensor:
    """A leaf with the array that `create(xp)` makes."""
    chosen = default_device() if device is None else device_of(device)
    backend = by_name(chosen)
    # An array made by the library lies on its current device: asarray brings it to the chosen one.
    result = wrap(backend.asarray(create(backend.xp), None, chosen.index))
    return result.requires_grad_() if requires_grad else result


def _size(op: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    try:
        shape = tuple([operator.index(n) for n in size])
    except TypeError:
        raise TypeError(f"{op}: sizes are integers, got {size}") from None
    if any(n < 0 for n in shape):
        raise ValueError(f"{op}: sizes must not be negative, got {shape}")
    return shape


# -- filled ---------------------------------------------------------------------------------------


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Args:
        size: the shape, as integers or as one tuple.
        dtype: default float32.
        device: default: the one in force (`minidl.use`).
        requires_grad: whether gradients with respect to it are wanted.
    """
    shape = _size("zeros", size)
    return _make(lambda xp: xp.zeros(shape, dtype or DEFAULT_FLOAT), device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones. Arguments as `zeros`."""
    shape = _size("ones", size)
    return _make(lambda xp: xp.ones(shape, dtype or DEFAULT_FLOAT), device, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with whatever is in memory, to be filled. Arguments as `zeros`."""
    shape = _size("empty", size)
    return _make(lambda xp: xp.empty(shape, dtype or DEFAULT_FLOAT), device, requires_grad)


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor filled with one number.

    Args:
        size: the shape, a tuple.
        fill_value: a number; without `dtype` it decides: bool, int64 or float32.
    """
    shape = _size("full", (size,))
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    dtype = dtype or _dtype_of(fill_value)
    return _make(lambda xp: xp.full(shape, fill_value, dtype), device, requires_grad)


def _dtype_of(*numbers: Any) -> np.dtype:
    """The dtype of Python numbers: bool, int64, or as soon as one is a float, float32."""
    dtype = np.result_type(*numbers)
    return DEFAULT_FLOAT if dtype.kind == "f" else dtype


def zeros_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of the shape, and by default the dtype and device, of `input`."""
    return zeros(input.shape, **_like(input, dtype, device, requires_grad))


def ones_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Ones of the shape, and by default the dtype and device, of `input`."""
    return ones(input.shape, **_like(input, dtype, device, requires_grad))


def empty_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Unfilled memory of the shape, and by default the dtype and device, of `input`."""
    return empty(input.shape, **_like(input, dtype, device, requires_grad))


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number, in the shape, and by default the dtype and device, of `input`."""
    return full(input.shape, fill_value, **_like(input, dtype, device, requires_grad))


def _like(input: Tensor, dtype: Any, device: Any, requires_grad: bool) -> dict[str, Any]:
    return {
        "dtype": dtype or input.dtype,
        "device": device or input.device,
        "requires_grad": requires_grad,
    }


# -- counted --------------------------------------------------------------------------------------


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The identity matrix, (n, m) with ones on the diagonal; m defaults to n."""
    shape = _size("eye", (n, n if m is None else m))
    return _make(lambda xp: xp.eye(*shape, dtype=dtype or DEFAULT_FLOAT), device, requires_grad)


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from start (0 if there is one argument) up to and without end, `step` apart.

    Returns:
        ceil((end - start) / step) numbers: int64 if all arguments are integers, else float32.

    Raises:
        ValueError: a step of 0, or one that leads away from `end`.
    """
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) / step < 0:
        raise ValueError(f"arange: from {start} one never comes to {end} in steps of {step}")
    dtype = dtype or _dtype_of(start, end, step)
    # Counted in double precision or in integers, so that errors of single steps do not add up.
    return _make(lambda xp: xp.arange(start, end, step).astype(dtype), device, requires_grad)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers at equal distances from start to end, both included; float32."""
    if steps < 0:
        raise ValueError(f"linspace: the number of steps must not be negative, got {steps}")
    return _make(
        lambda xp: xp.linspace(start, end, steps).astype(dtype or DEFAULT_FLOAT),
        device,
        requires_grad,
    )


# -- drawn at random ------------------------------------------------------------------------------


def _drawn(
    op: str,
    draw: Callable[[np.random.Generator, np.dtype], np.ndarray],
    dtype: Any,
    device: Any,
    requires_grad: bool,
    generator: np.random.Generator | None,
) -> Tensor:
    """A leaf with numbers that `draw(generator, dtype)` draws, in single or double precision."""
    dtype = np.dtype(dtype or DEFAULT_FLOAT)
    if dtype.kind not in "fV":
        raise TypeError(f"{op}: random real numbers need a floating-point dtype, got {dtype}")
    precision = dtype if dtype.kind == "f" and dtype.itemsize >= 4 else DEFAULT_FLOAT
    numbers = draw(host_generator() if generator is None else generator, precision)
    return _make(lambda xp: xp.asarray(numbers.astype(dtype, copy=False)), device, requires_grad)


def rand(
    *size: Any,
    generator: np.random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn uniformly from [0, 1).

    Args:
        size: the shape, as integers or as one tuple.
        generator: a NumPy generator; default: the one that `manual_seed` seeds.
        dtype: floating-point; default float32.
        device: default: the one in force.
        requires_grad: whether gradients with respect to it are wanted.
    """
    shape = _size("rand", size)
    return _drawn(
        "rand", lambda rng, kind: rng.random(shape, kind), dtype, device, requires_grad, generator
    )


def randn(
    *size: Any,
    generator: np.random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn from the standard normal distribution. Arguments as `rand`."""
    shape = _size("randn", size)
    return _drawn(
        "randn",
        lambda rng, kind: rng.standard_normal(shape, kind),
        dtype,
        device,
        requires_grad,
        generator,
    )


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: np.random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers drawn uniformly from low (inclusive) to high (exclusive).

    `randint(high, size)` starts at 0. Other arguments as `rand`; the dtype is int64.

    Raises:
        ValueError: an empty range.
    """
    if size is None:
        low, high, size = 0, low, high
    if size is None or high <= low:
        raise ValueError(f"randint: expected low < high and a size, got {low}, {high}, {size}")
    shape = _size("randint", (size,))
    rng = host_generator() if generator is None else generator
    numbers = rng.integers(low, high, shape).astype(dtype or np.int64)
    return _make(lambda xp: xp.asarray(numbers), device, requires_grad)


def randperm(
    n: int,
    *,
    generator: np.random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers 0 to n - 1 in random order, int64."""
    (count,) = _size("randperm", (n,))
    rng = host_generator() if generator is None else generator
    numbers = rng.permutation(count).astype(dtype or np.int64)
    return _make(lambda xp: xp.asarray(numbers), device, requires_grad)


def bernoulli(input: Tensor, *, generator: np.random.Generator | None = None) -> Tensor:
    """1 with the probability that `input` gives for each element, else 0; its shape and dtype.

    Raises:
        ValueError: a probability outside 0 to 1 (on the CPU).
    """
    of(input.data).check_range("bernoulli", input.data, 0.0, 1.0)
    chances = rand(input.shape, generator=generator, device=input.device)
    return wrap((chances.data < input.data).astype(input.dtype))


def rand_like(
    input: Tensor,
    *,
    generator: np.random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`rand` of the shape, and by default the dtype and device, of `input`."""
    return rand(input.shape, generator=generator, **_like(input, dtype, device, requires_grad))


def randn_like(
    input: Tensor,
    *,
    generator: np.random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`randn` of the shape, and by default the dtype and device, of `input`."""
    return randn(input.shape, generator=generator, **_like(input, dtype, device, requires_grad))


def randint_like(
    input: Tensor,
    low: int,
    high: int | None = None,
    *,
    generator: np.random.Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`randint` of the shape, and by default the dtype and device, of `input`."""
    first, last = (0, low) if high is None else (low, high)
    return randint(
        first,
        last,
        input.shape,
        generator=generator,
        **_like(input, dtype, device, requires_grad),
    )
