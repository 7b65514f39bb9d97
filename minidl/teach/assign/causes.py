"""Mistakes recognised from the pattern of the error.

A check knows the mistakes of its own task and gives them as `Cause`s; they are tried first. What
follows are patterns that any array may show. Each is a function of what came and what was expected
that returns a sentence where it recognises its mistake; `PATTERNS` lists them in the order in which
they are tried, the surest first, and their names are the names of causes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PATTERNS", "Cause", "Pair", "recognise"]

MANY = 200_000  # elements of an array above which nothing is tried that tries many orders of axes


@dataclass(frozen=True)
class Cause:
    """A mistake, and the array that it leads to.

    Attributes:
        name: the mistake's name, as "kernel flipped".
        wrong: the array one gets by it (of any shape), a list of several such arrays, or a
            function of what came that says whether this is it.
        why: a sentence or two for the student on what to do about it.
    """

    name: str
    wrong: Any | Callable[[np.ndarray], bool]
    why: str = ""


@dataclass(frozen=True)
class Pair:
    """What came and what was expected, and how close is close enough.

    Attributes:
        got, expected: arrays, not equal.
        rtol, atol: as of `numpy.isclose`.
        factors: names of constants.
        inputs: what the submission was called with.
        changed: the names of those that it changed in place.
    """

    got: np.ndarray
    expected: np.ndarray
    rtol: float
    atol: float
    factors: Mapping[str, float]
    inputs: Mapping[str, Any]
    changed: tuple[str, ...]

    def close(self, a: Any, b: Any) -> bool:
        """Whether two arrays have one shape and are close everywhere."""
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype.kind not in "biufc" or b.dtype.kind not in "biufc":
            return False
        return bool(np.isclose(a, b, rtol=self.rtol, atol=self.atol, equal_nan=True).all())

    @property
    def alike(self) -> bool:
        """Whether the shapes are equal."""
        return self.got.shape == self.expected.shape

    @property
    def wrong(self) -> np.ndarray:
        """Where they differ, for equal shapes."""
        return ~np.isclose(self.got, self.expected, rtol=self.rtol, atol=self.atol, equal_nan=True)


def recognise(pair: Pair, causes: Sequence[Cause]) -> tuple[str, str] | None:
    """(name, sentence) of the most likely mistake, or None."""
    with np.errstate(all="ignore"):
        for cause in causes:
            if _leads_to(cause, pair):
                return cause.name, cause.why
        for name, pattern in PATTERNS.items():
            why = pattern(pair)
            if isinstance(why, tuple):
                return why
            if why:
                return name, why
    return None


def _leads_to(cause: Cause, pair: Pair) -> bool:
    if callable(cause.wrong):
        try:
            return bool(cause.wrong(pair.got))
        except (ValueError, TypeError, IndexError):  # what came has a form it does not expect
            return False
    wrongs = cause.wrong if isinstance(cause.wrong, list) else [cause.wrong]
    return any(pair.close(pair.got, wrong) for wrong in wrongs)


# -- right numbers in a wrong form ----------------------------------------------------------------


def wrong_dtype(pair: Pair) -> str:
    if pair.alike and pair.close(pair.got, pair.expected):
        return (
            f"The values are right; the dtype is {pair.got.dtype}, not {pair.expected.dtype}. "
            "See where a conversion is missing, or one too many."
        )
    return ""


def axes_of_length_one(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if not pair.alike and pair.close(got.squeeze(), expected.squeeze()):
        return (
            "The values are right, but axes of length 1 are missing or too many: see keepdims, "
            "reshape and indexing with an integer."
        )
    return ""


def transposed(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if got.ndim != expected.ndim or not 2 <= got.ndim <= 5 or got.size > MANY:
        return ""
    for axes in itertools.permutations(range(got.ndim)):
        if axes != tuple(range(got.ndim)) and pair.close(got.transpose(axes), expected):
            order = "" if got.ndim == 2 else f": transpose({axes}) of what you return is right"
            return f"The values are right, the axes are in another order{order}."
    return ""


def wrong_shape(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if not pair.alike and got.size == expected.size and pair.close(got.ravel(), expected.ravel()):
        return "The values are right and in the right order, but the shape is another one."
    return ""


def not_summed(pair: Pair) -> tuple[str, str] | str:
    got, expected = pair.got, pair.expected
    if not got.size:
        return ""
    if got.ndim == expected.ndim + 1:
        for axis in range(got.ndim):
            for what, function in (("sum", np.sum), ("mean", np.mean)):
                if pair.close(function(got, axis), expected):
                    place = "the batch" if axis == 0 else f"axis {axis}"
                    return (
                        f"{what} over {place} missing",
                        f"The {what} of what you return over its axis {axis} is right: each of "
                        "the items has a share in the result, and the shares must be put together.",
                    )
    if not pair.alike and got.ndim >= expected.ndim:
        try:
            wide = np.broadcast_shapes(got.shape, expected.shape) == got.shape
        except ValueError:
            return ""
        padded = (1,) * (got.ndim - expected.ndim) + expected.shape
        axes = tuple(i for i, n in enumerate(got.shape) if padded[i] != n)
        if wide and pair.close(got.sum(axes, keepdims=True), expected.reshape(padded)):
            return (
                "sum over broadcast axes missing",
                f"The sum of what you return over its axes {axes} is right: where an array was "
                "broadcast, its gradient is summed over the axes that it was stretched along.",
            )
    return ""


def padding_not_cropped(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if got.ndim != expected.ndim or pair.alike:
        return ""
    excess = [g - e for g, e in zip(got.shape, expected.shape, strict=True)]
    if min(excess) < 0:
        return ""
    for left in ([n // 2 for n in excess], [0] * got.ndim, excess):
        inner = tuple(slice(a, a + n) for a, n in zip(left, expected.shape, strict=True))
        if pair.close(got[inner], expected):
            return (
                f"What you return is larger by {tuple(excess)}, and the expected values lie inside "
                "it: cut the padding off."
            )
    return ""


def border_missing(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if got.ndim != expected.ndim or pair.alike or not got.size:
        return ""
    lack = [e - g for g, e in zip(got.shape, expected.shape, strict=True)]
    if min(lack) < 0:
        return ""
    for left in ([n // 2 for n in lack], [0] * got.ndim, lack):
        inner = tuple(slice(a, a + n) for a, n in zip(left, got.shape, strict=True))
        if pair.close(got, expected[inner]):
            return (
                f"What you return is smaller by {tuple(lack)}, a part of what is expected: see the "
                "padding, and where loops and slices end."
            )
    return ""


# -- numbers that say something themselves --------------------------------------------------------


def not_a_number(pair: Pair) -> str:
    bad = np.isnan(pair.got).sum() if pair.got.dtype.kind in "fc" else 0
    if bad and not np.isnan(pair.expected).any():
        return (
            f"{bad} elements are NaN: look for 0 / 0, inf - inf, log or sqrt of a negative number, "
            "and memory from np.empty that was never filled."
        )
    return ""


def overflow(pair: Pair) -> str:
    bad = np.isinf(pair.got).sum() if pair.got.dtype.kind in "fc" else 0
    if bad and not np.isinf(pair.expected).any():
        return (
            f"{bad} elements are infinite: look for exp of a large number, a division by 0 and log "
            "of 0."
        )
    return ""


def all_zeros(pair: Pair) -> str:
    if pair.got.size and not pair.got.any() and pair.expected.any():
        return "Everything you return is 0: is an array made but never filled, or overwritten?"
    return ""


def input_came_back(pair: Pair) -> str:
    if pair.got.size > 1:
        for name, value in pair.inputs.items():
            if isinstance(value, np.ndarray) and pair.close(pair.got, value):
                return f"What you return is the input {name}, unchanged."
    return ""


def input_changed(pair: Pair) -> str:
    if pair.changed:
        return (
            f"Your code changed its input {', '.join(pair.changed)} in place (+=, x[...] =, "
            "out=). Where the contract does not ask for that, work on a copy."
        )
    return ""


# -- right but for one thing ----------------------------------------------------------------------


def inverted(pair: Pair) -> str:
    if pair.alike and pair.got.dtype.kind == "b" and pair.expected.dtype.kind == "b":
        return "True and False are exchanged." if (pair.got != pair.expected).all() else ""
    return ""


def sign(pair: Pair) -> str:
    if pair.alike and pair.got.dtype.kind in "ifc" and pair.close(-pair.got, pair.expected):
        return "Every element has the opposite sign."
    return ""


def factor(pair: Pair) -> tuple[str, str] | str:
    got, expected = pair.got, pair.expected
    if not pair.alike or got.dtype.kind not in "iuf" or expected.dtype.kind not in "iuf":
        return ""
    for name, value in pair.factors.items():
        if pair.close(got, expected * value):
            return f"too large by {name}", f"Every element is {name} = {value:g} times too large."
        if pair.close(got * value, expected):
            return f"too small by {name}", f"Every element is {name} = {value:g} times too small."
    counts = np.abs(expected) > max(pair.atol, 1e-12)
    if counts.sum() < 2:
        return ""
    ratio = float(np.median(got[counts] / expected[counts]))
    if np.isfinite(ratio) and ratio != 0 and pair.close(got, expected * ratio):
        return f"Every element is {ratio:.6g} times what is expected (1/{1 / ratio:.6g})."
    return ""


def offset(pair: Pair) -> str:
    if not pair.alike or pair.got.dtype.kind not in "iuf" or pair.got.size < 3:
        return ""
    if pair.expected.dtype.kind not in "iuf":
        return ""
    shift = float(np.median(pair.got.astype(float) - pair.expected))
    if np.isfinite(shift) and pair.close(pair.got, pair.expected + shift):
        return f"Every element is off by {shift:.6g}."
    return ""


def truncated(pair: Pair) -> str:
    expected = pair.expected
    if pair.alike and expected.dtype.kind == "f" and (expected != np.floor(expected)).any():
        for cut in (np.floor, np.trunc, np.round):
            if pair.close(pair.got, cut(expected)):
                return (
                    "Fractions are lost: look for // , int(), an integer dtype, or assignment into "
                    "an array of integers."
                )
    return ""


def flipped(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if not pair.alike or not 1 <= got.ndim <= 5 or got.size > MANY:
        return ""
    for count in range(1, got.ndim + 1):
        for axes in itertools.combinations(range(got.ndim), count):
            if pair.close(np.flip(got, axes), expected):
                return f"The values are right but in reversed order along axes {axes}."
    return ""


def shifted(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if not pair.alike or got.size > MANY:
        return ""
    for axis, length in enumerate(got.shape):
        if length < 3:
            continue
        a, b = np.moveaxis(got, axis, 0), np.moveaxis(expected, axis, 0)
        for first, second in ((a[1:], b[:-1]), (a[:-1], b[1:])):
            if pair.close(first, second):
                return f"Everything is one position off along axis {axis}."
    return ""


def another_order(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if not pair.alike or not 3 <= got.size <= MANY or got.dtype.kind not in "iuf":
        return ""
    if pair.close(np.sort(got, None), np.sort(expected, None)):
        return "The right values come, but at other places."
    return ""


def precision(pair: Pair) -> str:
    if pair.alike and pair.got.dtype.kind == "f" and pair.expected.dtype.kind == "f":
        scale = np.abs(pair.expected).max(initial=0.0)
        if scale and np.abs(pair.got - pair.expected).max(initial=0.0) < 1e-3 * scale:
            return (
                "The values are nearly right: look for a conversion to float32 or float16, an eps "
                "at another place or of another size, and for a difference of large numbers."
            )
    return ""


def only_the_first(pair: Pair) -> str:
    got, expected = pair.got, pair.expected
    if pair.alike and got.ndim >= 2 and len(got) > 1 and pair.close(got[0], expected[0]):
        rest = pair.wrong[1:].reshape(len(got) - 1, -1)
        if (rest.mean(1) > 0.5).all():
            return "The first item of the batch is right, all others are wrong."
    return ""


def only_the_border(pair: Pair) -> str:
    got = pair.got
    if not pair.alike or got.ndim < 2 or min(got.shape[-2:]) < 3:
        return ""
    wrong = pair.wrong
    if wrong.sum() > 3 and not wrong[..., 1:-1, 1:-1].any():
        return (
            "Only the outermost rows and columns are wrong: see the padding, and the ends of loops."
        )
    return ""


def sign_lost(pair: Pair) -> str:
    if not pair.alike or pair.expected.dtype.kind not in "if" or not (pair.expected < 0).any():
        return ""
    if pair.close(pair.got, np.abs(pair.expected)):
        return "Negative elements have lost their sign."
    if pair.close(pair.got, np.maximum(pair.expected, 0)):
        return "Where a negative value is expected you return 0."
    return ""


PATTERNS: dict[str, Callable[[Pair], tuple[str, str] | str]] = {
    "wrong dtype": wrong_dtype,
    "axes of length 1": axes_of_length_one,
    "input came back": input_came_back,
    "transposed": transposed,
    "wrong shape": wrong_shape,
    "sum missing": not_summed,
    "padding not cropped": padding_not_cropped,
    "border missing": border_missing,
    "not a number": not_a_number,
    "overflow": overflow,
    "all zeros": all_zeros,
    "inverted": inverted,
    "wrong sign": sign,
    "constant factor": factor,
    "truncated to integers": truncated,
    "flipped": flipped,
    "shifted by one": shifted,
    "sign lost": sign_lost,
    "constant offset": offset,
    "precision": precision,
    "another order": another_order,
    "only the first of the batch is right": only_the_first,
    "only the border is wrong": only_the_border,
    "input changed in place": input_changed,
}
