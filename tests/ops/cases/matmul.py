"""Cases of minidl/ops/matmul.py."""

import itertools

import numpy as np

from minidl.ops import matmul

from ..case import Case
from .shape import normal


def product(a, b):
    """a @ b by three loops, for matrices; batches and vectors are brought to that form."""
    if b.ndim == 1:
        return product(a, b[:, None])[..., 0]
    if a.ndim == 1:
        return product(a[None], b)[..., 0, :]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, lead + a.shape[-2:])
    b = np.broadcast_to(b, lead + b.shape[-2:])
    out = np.zeros((*lead, a.shape[-2], b.shape[-1]))
    for index in np.ndindex(out.shape):
        *n, i, j = index
        for k in range(a.shape[-1]):
            out[index] += a[(*n, i, k)] * b[(*n, k, j)]
    return out


def sums(equation):
    """einsum by one loop over every combination of indices; no ellipsis."""
    left, right = equation.split("->")
    terms = left.split(",")

    def oracle(*arrays):
        sizes = {}
        for term, a in zip(terms, arrays, strict=True):
            for letter, n in zip(term, a.shape, strict=True):
                sizes[letter] = max(n, sizes.get(letter, 1))
        out = np.zeros([sizes[c] for c in right])
        for values in itertools.product(*[range(n) for n in sizes.values()]):
            at = dict(zip(sizes, values, strict=True))
            factor = 1.0
            for term, a in zip(terms, arrays, strict=True):
                factor *= a[tuple(min(at[c], n - 1) for c, n in zip(term, a.shape, strict=True))]
            out[tuple(at[c] for c in right)] += factor
        return out

    return oracle


def einsum(equation, *sizes, explicit=None):
    return Case(
        f"einsum {equation}",
        lambda *x: matmul.einsum(equation, *x),
        normal(*sizes),
        sums(explicit or equation),
        lambda torch, *x: torch.einsum(equation, *x),
        view=True,  # a transposed operand, for "ij->ji"
    )


def matmul_case(name, a, b):
    return Case(
        f"matmul, {name}",
        lambda x, y: x @ y,
        normal(a, b),
        product,
        lambda torch, x, y: x @ y,
    )


CASES = [
    matmul_case("two matrices", (2, 3), (3, 4)),
    matmul_case("a batch and a matrix", (2, 2, 3), (3, 4)),
    matmul_case("a matrix and a batch", (2, 3), (2, 3, 4)),
    matmul_case("batches that broadcast", (2, 1, 2, 3), (3, 3, 2)),
    matmul_case("two vectors", (4,), (4,)),
    matmul_case("a vector and a matrix", (3,), (3, 4)),
    matmul_case("a matrix and a vector", (2, 3), (3,)),
    matmul_case("a vector and a batch", (3,), (2, 2, 3, 4)),
    matmul_case("a batch and a vector", (2, 2, 3), (3,)),
    matmul_case("nothing to add up", (2, 0), (0, 3)),
    Case(
        "a matrix times its own transpose",
        lambda x: x @ x.T,
        normal((3, 2)),
        lambda x: product(x, x.T),
        lambda torch, x: x @ x.T,
    ),
    Case("mm", matmul.mm, normal((2, 3), (3, 2)), product, lambda torch, x, y: torch.mm(x, y)),
    Case("bmm", matmul.bmm, normal((2, 2, 3), (2, 3, 2)), product, lambda torch, x, y: x.bmm(y)),
    Case("dot", matmul.dot, normal((5,), (5,)), product, lambda torch, x, y: torch.dot(x, y)),
    Case(
        "outer",
        matmul.outer,
        normal((3,), (4,)),
        lambda x, y: np.array([[a * b for b in y] for a in x]),
        lambda torch, x, y: torch.outer(x, y),
    ),
    Case(
        "linear",
        matmul.linear,
        normal((4, 3), (2, 3), (2,)),
        lambda x, w, b: product(x, w.T) + b,
        lambda torch, *x: torch.nn.functional.linear(*x),
    ),
    Case(
        "linear without bias, leading dimensions",
        matmul.linear,
        normal((2, 2, 3), (4, 3)),
        lambda x, w: product(x, w.T),
        lambda torch, *x: torch.nn.functional.linear(*x),
    ),
    Case(
        "linear of one vector",
        matmul.linear,
        normal((3,), (2, 3), (2,)),
        lambda x, w, b: product(w, x) + b,
        lambda torch, *x: torch.nn.functional.linear(*x),
    ),
    einsum("ij,jk->ik", (2, 3), (3, 2)),
    einsum("bij,bkj->bik", (2, 2, 3), (2, 4, 3)),
    einsum("ij->ji", (2, 3)),
    einsum("ij->", (2, 3)),
    einsum("ii->i", (3, 3)),
    einsum("iij->j", (2, 2, 3)),
    einsum("ij,ij->ij", (2, 3), (2, 3)),
    einsum("i,j->ij", (2,), (3,)),
    einsum("ij,jk->ki", (2, 3), (1, 4)),
    einsum("ik,jk->ij", (2, 3), (4, 1)),
    einsum("ab,bc,cd->ad", (2, 3), (3, 2), (2, 4)),
    einsum("ab,cd,bc->ad", (2, 3), (2, 4), (3, 2)),
    einsum("nhd,mhd,mhe->nhe", (2, 2, 3), (4, 2, 3), (4, 2, 2)),
    einsum("...ij,...jk->...ik", (2, 3, 2, 2), (3, 2, 3), explicit="abij,bjk->abik"),
    einsum("i...j,j->...i", (2, 3, 2), (2,), explicit="iaj,j->ai"),
    einsum("ba,cb", (2, 3), (4, 2), explicit="ba,cb->ac"),
]
