"""Matrix products: matmul and its special cases, linear, einsum.

For C = A B and the gradient G of C:    dA = G B^T,    dB = A^T G

so the gradient of a product is two products, and differentiates into products again. Products run
through one kernel, `bmm`, which a backend may replace.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..backend import of
from .arithmetic import mul
from .autocast import autocasts
from .common import as_tensor, astype, sum_to
from .shape import Permute, diagonal, mT, reshape

__all__ = ["bmm", "dot", "einsum", "linear", "matmul", "mm", "outer"]


class MatMul(Function):
    """A B for (..., M, K) and (..., K, N).    d/dA = G B^T, d/dB = A^T G"""

    def forward(self, a: Any, b: Any) -> Any:
        need_a, need_b = self.needs_input_grad
        self.shapes = a.shape, b.shape
        self.save_for_backward(a if need_b else None, b if need_a else None)
        return of(a).bmm(a, b)

    def backward(self, grad: Tensor) -> Any:
        need_a, need_b = self.needs_input_grad
        a, b = self.saved_tensors
        return (
            sum_to(MatMul.apply(grad, mT(b)), self.shapes[0]) if need_a else None,
            sum_to(MatMul.apply(mT(a), grad), self.shapes[1]) if need_b else None,
        )


class Linear(Function):
    """x W^T + b over the last dimension of x, with all others as one.

    d/dx = G W,    d/dW = G^T x,    d/db = the sum of G over all but the last dimension
    """

    def forward(self, x: Any, weight: Any, bias: Any = None) -> Any:
        need_x, need_weight = self.needs_input_grad[:2]
        self.shape = x.shape
        self.save_for_backward(x if need_weight else None, weight if need_x else None)
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        y = of(x).bmm(rows, weight.T)
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:-1], weight.shape[0])

    def backward(self, grad: Tensor) -> Any:
        need_x, need_weight, need_bias = self.needs_input_grad
        x, weight = self.saved_tensors
        rows = math.prod(self.shape[:-1])
        g = reshape(grad, (rows, grad.shape[-1]))
        return (
            reshape(MatMul.apply(g, weight), self.shape) if need_x else None,
            MatMul.apply(mT(g), reshape(x, (rows, self.shape[-1]))) if need_weight else None,
            sum_to(g, (g.shape[1],)) if need_bias else None,
        )


@autocasts
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias.

    Args:
        input: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,) or None.

    Returns:
        (..., out_features).
    """
    _check_dtypes("linear", input, weight, *([] if bias is None else [bias]))
    if weight.ndim != 2 or input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        features = weight.shape[1] if weight.ndim == 2 else "(out_features, in_features)"
        raise ValueError(
            f"linear: input {input.shape} has {input.shape[-1] if input.ndim else 'no'} features "
            f"in its last dimension but weight {weight.shape} expects {features}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias {bias.shape} must be {weight.shape[:1]}")
    return Linear.apply(input, weight, bias)


@autocasts
def matmul(input: Any, other: Any) -> Tensor:
    """The matrix product, `input @ other`.

    Args:
        input: (..., M, K), or a vector (K,).
        other: (..., K, N), or a vector (K,). Leading dimensions broadcast.

    Returns:
        (..., M, N), without the dimension of a vector.

    Raises:
        TypeError: dtypes differ.
        ValueError: a 0-d operand, or shapes that do not fit.
    """
    return _matmul("matmul", input, other)


def _matmul(op: str, input: Any, other: Any) -> Tensor:
    a = as_tensor(input, other if isinstance(other, Tensor) else None)
    b = as_tensor(other, a)
    _check_dtypes(op, a, b)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"{op}: both operands need a dimension, got {a.shape} and {b.shape}")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    lead = _broadcast(a.shape[:-2], b.shape[:-2])
    if a.shape[-1] != inner or lead is None:
        raise ValueError(
            f"{op}: shapes {a.shape} and {b.shape} do not fit: the last dimension of the first "
            "must equal the last but one of the second, and leading dimensions must broadcast"
        )
    rows = a.shape[-2:-1]  # empty for a vector, which has no such dimension in the result
    columns = b.shape[-1:] if b.ndim > 1 else ()
    if b.ndim <= 2 and a.ndim != 2:  # one product of two matrices is faster than many
        a = reshape(a, (math.prod(a.shape[:-1]), inner))
    if b.ndim == 1:
        b = reshape(b, (inner, 1))
    elif a.ndim == 1:
        a = reshape(a, (1, inner))
    product = MatMul.apply(a, b)
    shape = (*lead, *rows, *columns)
    return product if product.shape == shape else reshape(product, shape)


@autocasts
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (M, K) and (K, N) -> (M, N)."""
    _check_ranks("mm", input, mat2, 2)
    return _matmul("mm", input, mat2)


@autocasts
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of matrices, pair by pair: (B, M, K) and (B, K, N) -> (B, M, N)."""
    _check_ranks("bmm", input, mat2, 3)
    if input.shape[0] != mat2.shape[0]:
        raise ValueError(f"bmm: batches differ: {input.shape} and {mat2.shape}; matmul broadcasts")
    return _matmul("bmm", input, mat2)


@autocasts
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors of one length; 0-d."""
    _check_ranks("dot", input, tensor, 1)
    return _matmul("dot", input, tensor)


@autocasts
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """input[i] vec2[j] for two vectors, (M,) and (N,) -> (M, N)."""
    _check_ranks("outer", input, vec2, 1)
    return mul(reshape(input, (input.shape[0], 1)), vec2)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def _check_ranks(op: str, a: Tensor, b: Tensor, rank: int) -> None:
    if a.ndim != rank or b.ndim != rank:
        raise ValueError(
            f"{op}: expected two {rank}-d tensors, got {a.shape} and {b.shape}; see matmul"
        )


def _check_dtypes(op: str, *tensors: Tensor) -> None:
    if any(x.dtype != tensors[0].dtype for x in tensors):
        found = ", ".join(str(x.dtype) for x in tensors)
        raise TypeError(f"{op}: operands must have one dtype, got {found}; cast with .to(dtype)")


# -- einsum ---------------------------------------------------------------------------------------


@autocasts
def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products, written with a letter for each dimension: "bij,bjk->bik".

    Each letter is an index; letters that the result does not name are summed over. A letter twice
    in one operand stands for its diagonal. "..." stands for dimensions without letters, which
    broadcast. Without "->" the result has "..." and, sorted, the letters that occur once.

    Operands are contracted from left to right, each time by one (batched) matrix product; write the
    cheapest order, or matmul itself, in a hot loop.

    Args:
        equation: as above; blanks are ignored.
        operands: one tensor for each term, or one list of them. Dimensions with one letter have one
            length, or 1.

    Raises:
        ValueError: the equation is not well formed, or does not fit the operands' shapes.
        TypeError: dtypes differ.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    tensors = [as_tensor(x) for x in operands]
    terms, result = _parse(equation, [x.shape for x in tensors])
    _check_dtypes("einsum", *tensors)
    dtype = tensors[0].dtype
    sizes = _label_sizes(equation, terms, [x.shape for x in tensors])

    # Each operand alone: every label once; no broadcast dimension; what nobody else has is summed.
    for k, x in enumerate(tensors):
        tensors[k], terms[k] = _without_repeats(x, terms[k])
    for k, x in enumerate(tensors):
        stretched = {c for c, n in zip(terms[k], x.shape, strict=True) if n != sizes[c]}
        tensors[k], terms[k] = _summed(x, terms[k], stretched)
    for k, x in enumerate(tensors):
        others = set(result).union(*terms[:k], *terms[k + 1 :])
        tensors[k], terms[k] = _summed(x, terms[k], set(terms[k]) - others)

    product, labels = tensors[0], terms[0]
    for k in range(1, len(tensors)):
        needed = set(result).union(*terms[k + 1 :])
        product, labels = _contract(product, labels, tensors[k], terms[k], needed)
    return astype(_ordered(product, labels, result), dtype)  # sums of small integers widen them


def _parse(
    equation: str, shapes: Sequence[tuple[int, ...]]
) -> tuple[list[list[Hashable]], list[Hashable]]:
    """The labels of each operand's dimensions and of the result's.

    A label is a letter, or for a dimension under "..." its (negative) place counted from the
    last one there.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    written = left.split(",")
    if len(written) != len(shapes):
        raise ValueError(f"einsum: {equation!r} has {len(written)} terms, not {len(shapes)}")
    terms: list[list[Hashable]] = []
    hidden = 0  # dimensions under "...": the most any operand has
    for term, shape in zip(written, shapes, strict=True):
        letters = _letters(equation, term)
        more = len(shape) - len(letters)
        if more < 0 or (more > 0 and "..." not in term):
            raise ValueError(
                f"einsum: term {term!r} of {equation!r} names {len(letters)} dimensions, but the "
                f"operand has shape {shape}"
            )
        at = term.find("...") if "..." in term else len(letters)
        terms.append([*letters[:at], *range(-more, 0), *letters[at:]])
        hidden = max(hidden, more)
    everything = [label for labels in terms for label in labels]
    if not arrow:
        once = [c for c in everything if isinstance(c, str) and everything.count(c) == 1]
        return terms, [*range(-hidden, 0), *sorted(once)]
    letters = _letters(equation, right)
    for letter in letters:
        if letter not in everything or letters.count(letter) > 1:
            raise ValueError(
                f"einsum: the result of {equation!r} names {letter!r}, which must occur in an "
                "operand, and once in the result"
            )
    if "..." not in right:
        return terms, list(letters)
    at = right.find("...")
    return terms, [*letters[:at], *range(-hidden, 0), *letters[at:]]


def _letters(equation: str, term: str) -> list[str]:
    letters = term.replace("...", "", 1)
    if not all(c.isascii() and c.isalpha() for c in letters):
        raise ValueError(f"einsum: {term!r} in {equation!r} may hold letters and one '...' only")
    return list(letters)


def _label_sizes(
    equation: str, terms: list[list[Hashable]], shapes: Sequence[tuple[int, ...]]
) -> dict[Hashable, int]:
    sizes: dict[Hashable, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, n in zip(term, shape, strict=True):
            known = sizes.get(label, 1)
            if n != known and 1 not in (n, known):
                raise ValueError(
                    f"einsum: dimension {label!r} of {equation!r} has lengths {known} and {n} "
                    f"(shapes {', '.join(map(str, shapes))})"
                )
            sizes[label] = n if known == 1 else known
    return sizes


def _without_repeats(x: Tensor, labels: list[Hashable]) -> tuple[Tensor, list[Hashable]]:
    """`x` with a diagonal in place of dimensions that have one label."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if x.shape[i] != x.shape[j]:
                raise ValueError(
                    f"einsum: {label!r} stands twice in one operand, for dimensions of lengths "
                    f"{x.shape[i]} and {x.shape[j]}"
                )
            x = diagonal(x, 0, i, j)
            labels = [*labels[:i], *labels[i + 1 : j], *labels[j + 1 :], label]
    return x, labels


def _summed(
    x: Tensor, labels: list[Hashable], away: set[Hashable]
) -> tuple[Tensor, list[Hashable]]:
    """`x` summed over the labels in `away`."""
    if not away:
        return x, labels
    shape = zip(labels, x.shape, strict=True)
    x = sum_to(x, tuple([1 if c in away else n for c, n in shape]))
    kept = [(c, n) for c, n in zip(labels, x.shape, strict=True) if c not in away]
    return reshape(x, tuple([n for _, n in kept])), [c for c, _ in kept]


def _contract(
    a: Tensor, of_a: list[Hashable], b: Tensor, of_b: list[Hashable], needed: set[Hashable]
) -> tuple[Tensor, list[Hashable]]:
    """The product of two operands, summed over the labels that are not `needed` any more."""
    batch = [c for c in of_a if c in of_b and c in needed]
    summed = [c for c in of_a if c in of_b and c not in needed]
    rows = [c for c in of_a if c not in of_b]
    columns = [c for c in of_b if c not in of_a]
    sizes = {**dict(zip(of_a, a.shape, strict=True)), **dict(zip(of_b, b.shape, strict=True))}

    def count(labels: list[Hashable]) -> int:
        return math.prod([sizes[c] for c in labels])

    a = _ordered(a, of_a, [*batch, *rows, *summed])
    b = _ordered(b, of_b, [*batch, *summed, *columns])
    if summed:
        a = reshape(a, (count(batch), count(rows), count(summed)))
        b = reshape(b, (count(batch), count(summed), count(columns)))
        product = MatMul.apply(a, b)
    else:
        shared = [sizes[c] for c in batch]
        a = reshape(a, (*shared, count(rows), 1))
        b = reshape(b, (*shared, 1, count(columns)))
        product = mul(a, b)
    labels = [*batch, *rows, *columns]
    return reshape(product, tuple([sizes[c] for c in labels])), labels


def _ordered(x: Tensor, labels: list[Hashable], order: list[Hashable]) -> Tensor:
    if labels == order:
        return x
    return Permute.apply(x, dims=tuple([labels.index(c) for c in order]))
