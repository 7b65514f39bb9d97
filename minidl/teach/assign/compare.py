"""`compare`: is the array that came the one expected; if not, how do they differ, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .causes import Cause, Pair, recognise
from .checks import Wrong, last_call

__all__ = ["compare"]


def compare(
    name: str,
    got: Any,
    expected: Any,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    causes: Sequence[Cause] = (),
    look: str = "",
    dtype: Any = None,
    factors: Mapping[str, float] | None = None,
) -> None:
    """Demand that an array is the expected one: shape, dtype, values.

    Args:
        name: what it is called, as "grad_weight".
        got: what came from the submission.
        expected: what must come.
        rtol, atol: |got - expected| <= atol + rtol |expected|, as `numpy.isclose`.
        causes: the mistakes to recognise, tried in this order before the general ones.
        look: what to look at next.
        dtype: the dtype demanded (default: only its kind: bool, integer, floating or complex).
        factors: constants by which it may be too large or too small, by name: {"N": 2} is
            recognised as "too large by N" or "too small by N".

    Raises:
        Wrong: it is not the expected one; the exception is the feedback.
    """
    expected = np.asarray(expected)
    wanted = f"{name}: {form(expected, dtype)}"
    if isinstance(got, (list, tuple)) and all(isinstance(v, (int, float)) for v in got):
        got = np.asarray(got)
    if got is None:
        why = f"{name} is None: is a return statement missing, or a name left as None?"
        raise Wrong(wanted, "None", "nothing returned", why, look)
    if not isinstance(got, (np.ndarray, np.generic, bool, int, float)):
        kind = f"a {type(got).__name__}"
        if isinstance(got, str):
            kind += f": {got[:60]!r}"
        elif isinstance(got, (list, tuple)):
            kind += f" of {len(got)}"
        raise Wrong(wanted, kind, "no array", f"{name} must be an array or a number.", look)
    value = np.asarray(got)
    difference = differs(value, expected, rtol, atol, dtype)
    if difference is None:
        return
    call = last_call.get()
    inputs, changed = (call.inputs, call.changed) if call is not None else ({}, ())
    pair = Pair(value, expected, rtol, atol, factors or {}, inputs, changed)
    cause, why = recognise(pair, causes) or (None, "")
    raise Wrong(wanted, difference, cause, why, look)


def differs(
    got: np.ndarray, expected: np.ndarray, rtol: float, atol: float, dtype: Any = None
) -> str | None:
    """How an array differs from the expected one, in words; None where it does not."""
    found = form(got)
    if got.shape != expected.shape:
        return f"{found}: the shape is another one"
    if dtype is not None and got.dtype != np.dtype(dtype):
        return f"{found}: the dtype is another one"
    if dtype is None and _kind(got) != _kind(expected):
        return f"{found}: the dtype is of another kind"
    with np.errstate(all="ignore"):
        right = np.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)
        if right.all():
            return None
        first = np.unravel_index(int(np.argmin(right)), right.shape)
        a, b = got[first], expected[first]
        count = int((~right).sum())
        if got.dtype.kind == "b":
            return (
                f"{found}; {count} of {right.size} elements differ\n"
                f"first {_place(first)}: expected {b}, got {a}"
            )
        exact = np.result_type(got, expected, np.float64)
        error = np.abs(got.astype(exact) - expected.astype(exact))
        relative = error / np.abs(expected)
        digits = 6 if error[first] > 1e-5 * np.abs(expected[first].astype(exact)) else 12
    if not first:
        return (
            f"{found}: expected {b:.{digits}g}, got {a:.{digits}g}; error {_largest(error)} "
            f"(relative: {_largest(relative)})"
        )
    return (
        f"{found}; {count} of {right.size} elements differ; largest error {_largest(error)} "
        f"(relative: {_largest(relative)})\n"
        f"first {_place(first)}: expected {b:.{digits}g}, got {a:.{digits}g}"
    )


def form(array: np.ndarray, dtype: Any = None) -> str:
    """The dtype and the shape of an array, as a student reads them."""
    kind = str(np.dtype(dtype)) if dtype is not None else str(array.dtype)
    return f"{kind} of shape {array.shape}" if array.shape else f"one number ({kind})"


def _largest(errors: np.ndarray) -> str:
    errors = np.asarray(errors)
    finite = errors[np.isfinite(errors)]
    return f"{finite.max():.3g}" if finite.size else "not finite"


def _place(index: tuple[Any, ...]) -> str:
    return f"at [{', '.join(str(int(i)) for i in index)}]" if index else "and only"


def _kind(array: np.ndarray) -> str:
    return {"u": "i"}.get(array.dtype.kind, array.dtype.kind)
