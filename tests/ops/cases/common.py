"""Casts and broadcasting, and scalars beside tensors."""

import numpy as np

from minidl.ops.common import astype, broadcast_to, sum_to

from ..case import Case


def _sum_to_loops(x):
    total = np.zeros((3, 1))
    for i in range(2):
        for j in range(3):
            for k in range(4):
                total[j, 0] += x[i, j, k]
    return total


CASES = [
    Case(
        "cast of a product of integers and floats",
        lambda n, x: astype(n, "float64") * astype(x, "float64"),
        lambda rng: (np.array([1, -2, 3]), rng.standard_normal(3)),
        lambda n, x: np.array([1.0 * x[0], -2.0 * x[1], 3.0 * x[2]]),
        torch=lambda torch, n, x: n.double() * x.double(),
        dtypes=("float64",),
    ),
    Case(
        "broadcast_to along new and old axes",
        lambda x: broadcast_to(x, (2, 3, 4)),
        lambda rng: (rng.standard_normal((3, 1)),),
        lambda x: np.stack([np.stack([x[:, 0]] * 4, axis=1)] * 2),
        torch=lambda torch, x: x.expand(2, 3, 4),
        view=True,
    ),
    Case(
        "sum_to, the adjoint of broadcast_to",
        lambda x: sum_to(x, (3, 1)),
        lambda rng: (rng.standard_normal((2, 3, 4)),),
        _sum_to_loops,
        torch=lambda torch, x: x.sum_to_size(3, 1),
    ),
]
