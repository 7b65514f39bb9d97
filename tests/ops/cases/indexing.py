"""Cases of minidl/ops/indexing.py."""

import numpy as np

import minidl as md
from minidl.ops import indexing

from ..case import Case
from .shape import normal, placed

ROWS = np.array([2, 0, 2, -1])
PAIRS = np.array([[1, 0, 1], [2, 2, 0]])
MASK = np.array([[True, False, True], [False, False, True]])


def with_arrays(*sizes, **arrays):
    """Inputs: floats of these sizes, then the arrays."""
    return lambda rng: (*normal(*sizes)(rng), *arrays.values())


def assigned(key, accumulate=False):
    """An oracle for index_put with a key of one array in front."""

    def oracle(x, value, *indices):
        out = x.copy()
        rows = key(*indices)
        value = np.broadcast_to(value, (len(rows), *x.shape[1:]))
        for row, new in zip(rows, value, strict=True):
            out[row] = out[row] + new if accumulate else new
        return out

    return oracle


def gathered(x, index):
    """gather along dimension 1 of three."""
    out = np.zeros(index.shape)
    for i, j, k in np.ndindex(index.shape):
        out[i, j, k] = x[i, index[i, j, k], k]
    return out


def scattered(accumulate):
    def oracle(x, src, index):
        out = x.copy()
        for i, j in np.ndindex(index.shape):
            old = out[index[i, j], j] if accumulate else 0
            out[index[i, j], j] = old + src[i, j]
        return out

    return oracle


def assign(x, value):
    """x[1:, [0, 2]] = value on a copy of x, recorded."""
    y = x * 1.0
    y[1:, [0, 2]] = value
    return y


def assign_oracle(x, value):
    out = x.copy()
    for i in (1, 2):
        out[i, 0], out[i, 2] = value[i - 1]
    return out


def twice(x):
    """Two assignments and one augmented one: the first is partly overwritten."""
    y = x * 1.0
    y[0] = y[1] * 2.0
    y[:, 1] += y[:, 0]
    y[2] *= 3.0
    return y


def twice_oracle(x):
    y = x.copy()
    y[0] = y[1] * 2
    for i in range(3):
        y[i, 1] = y[i, 1] + y[i, 0]
    for j in range(3):
        y[2, j] = 3 * y[2, j]
    return y


def index_of(torch, array):
    return torch.as_tensor(np.asarray(array))


CASES = [
    Case(
        "x[key] with integers, slices, None and an ellipsis",
        lambda x: x[1, ..., None, 1:4:2],
        normal((2, 3, 5)),
        placed((3, 1, 2), lambda i, _, j: (1, i, 1 + 2 * j)),
        lambda torch, x: x[1, ..., None, 1:4:2],
        view=True,
    ),
    Case(
        "x[key], a single element",
        lambda x: x[1, -1],
        normal((2, 3)),
        placed((), lambda: (1, 2)),
        lambda torch, x: x[1, -1],
        view=True,
    ),
    Case(
        "x[key] backwards",
        lambda x: x[::-1, 3:0:-2],
        normal((2, 4)),
        placed((2, 2), lambda i, j: (1 - i, 3 - 2 * j)),
        view=True,
    ),
    Case(
        "x[key] with one index array, duplicates in it",
        lambda x, i: x[i],
        with_arrays((3, 2), rows=ROWS),
        placed((4, 2), lambda i, j: (ROWS[i] % 3, j)),
        lambda torch, x, i: x[i],
    ),
    Case(
        "x[key] with an index matrix in the middle",
        lambda x, i: x[:, i],
        with_arrays((2, 3, 2), pairs=PAIRS),
        placed((2, 2, 3, 2), lambda a, i, j, b: (a, PAIRS[i, j], b)),
        lambda torch, x, i: x[:, i],
    ),
    Case(
        "x[key] with two index arrays that broadcast",
        lambda x, i, j: x[i, :, j],
        with_arrays((3, 2, 4), rows=ROWS[:, None], columns=np.array([3, 1, 3])),
        placed((4, 3, 2), lambda i, j, k: (ROWS[i] % 3, k, (3, 1, 3)[j])),
        lambda torch, x, i, j: x[i, :, j],
    ),
    Case(
        "x[key] with adjacent index arrays behind a slice",
        lambda x, i, j: x[1:, i, j],
        with_arrays((3, 3, 4), rows=ROWS, columns=np.array([3, 1, 3, 0])),
        placed((2, 4), lambda a, i: (a + 1, ROWS[i] % 3, (3, 1, 3, 0)[i])),
        lambda torch, x, i, j: x[1:, i, j],
    ),
    Case(
        "x[key] with an integer, a slice and a list",
        lambda x: x[0, :, [1, 2, 2]],
        normal((2, 3, 4)),
        placed((3, 3), lambda i, j: (0, i, (1, 2, 2)[j])),
        lambda torch, x: x[0, :, [1, 2, 2]],
    ),
    Case(
        "x[key] with a 0-d index and an index array",
        lambda x, n, i: x[n, :, i],
        with_arrays((2, 3, 4), n=np.array(1), columns=np.array([3, 3, 0])),
        placed((3, 3), lambda i, j: (1, i, (3, 3, 0)[j])),
        lambda torch, x, n, i: x[n, :, i],
    ),
    Case(
        "x[key] with rows longer than the CPU adds element by element",
        lambda x, i: x[i],
        with_arrays((3, 520), rows=ROWS),
        lambda x, i: np.array([x[2], x[0], x[2], x[2]]),
        lambda torch, x, i: x[i],
    ),
    Case(
        "x[key] with planes longer than the CPU adds element by element",
        lambda x, i: x[:, i],
        with_arrays((2, 3, 260), rows=ROWS),
        lambda x, i: np.stack([x[:, 2], x[:, 0], x[:, 2], x[:, 2]], 1),
        lambda torch, x, i: x[:, i],
    ),
    Case(
        "x[mask]",
        lambda x: x[MASK],
        normal((2, 3, 2)),
        placed((3, 2), lambda n, k: (*((0, 0), (0, 2), (1, 2))[n], k)),
        lambda torch, x: x[index_of(torch, MASK)],
        strict=False,  # how many there are must be waited for
    ),
    Case(
        "x[key] with a slice and a mask",
        lambda x: x[1:, [True, False, True]],
        normal((3, 3)),
        placed((2, 2), lambda i, j: (i + 1, (0, 2)[j])),
        lambda torch, x: x[1:, [True, False, True]],
        strict=False,
    ),
    Case(
        "index_put of rows",
        lambda x, v, i: indexing.index_put(x, (i,), v),
        with_arrays((4, 3), (2, 3), rows=np.array([3, 1])),
        assigned(lambda i: i),
        lambda torch, x, v, i: torch.index_put(x, (i,), v),
    ),
    Case(
        "index_put that accumulates, with duplicates and a value that broadcasts",
        lambda x, v, i: indexing.index_put(x, (i,), v, accumulate=True),
        with_arrays((3, 2), (2,), rows=ROWS),
        assigned(lambda i: i, accumulate=True),
        lambda torch, x, v, i: torch.index_put(x, (i,), v, accumulate=True),
    ),
    Case(
        "index_put that accumulates into a slice",
        lambda x, v: indexing.index_put(x, slice(1, 3), v, accumulate=True),
        normal((4, 2), (2, 2)),
        assigned(lambda: (1, 2), accumulate=True),
    ),
    Case(
        "index_put that accumulates into columns of a part",
        lambda x, v, i: indexing.index_put(x, (slice(1, None), i), v, accumulate=True),
        with_arrays((3, 3), (2, 4), rows=ROWS),
        lambda x, v, i: np.stack(
            [
                x[0],
                *[
                    [
                        x[r, 0] + v[r - 1, 1],
                        x[r, 1],
                        x[r, 2] + v[r - 1, 0] + v[r - 1, 2] + v[r - 1, 3],
                    ]
                    for r in (1, 2)
                ],
            ]
        ),
    ),
    Case(
        "index_put of a 0-d index and an index array",
        lambda x, v, n, i: indexing.index_put(x, (n, slice(None), i), v),
        with_arrays((2, 3, 4), (3, 2), n=np.array(1), columns=np.array([3, 0])),
        lambda x, v, n, i: np.array([x[0], [[v[r, 1], *x[1, r, 1:3], v[r, 0]] for r in range(3)]]),
        lambda torch, x, v, n, i: torch.stack([x[0], x[1].index_copy(1, i, v)]),
    ),
    Case(
        "index_put under a mask",
        lambda x, v: indexing.index_put(x, MASK, v),
        normal((2, 3), (3,)),
        lambda x, v: np.array([[v[0], x[0, 1], v[1]], [x[1, 0], x[1, 1], v[2]]]),
        lambda torch, x, v: x.masked_scatter(index_of(torch, MASK), v),
        strict=False,
    ),
    Case(
        "assignment to part of a recorded tensor",
        assign,
        normal((3, 4), (2, 2)),
        assign_oracle,
    ),
    Case(
        "assignments one after the other",
        twice,
        normal((3, 3)),
        twice_oracle,
    ),
    Case(
        "gather",
        lambda x, i: indexing.gather(x, 1, i),
        lambda rng: (rng.standard_normal((2, 4, 3)), rng.integers(0, 4, (2, 5, 2))),
        gathered,
        lambda torch, x, i: torch.gather(x, 1, i),
    ),
    Case(
        "scatter",
        lambda x, s, i: indexing.scatter(x, 0, i, s),
        with_arrays((4, 3), (2, 3), index=np.array([[0, 2, 3], [3, 1, 0]])),
        scattered(False),
        lambda torch, x, s, i: torch.scatter(x, 0, i, s),
    ),
    Case(
        "scatter of a number",
        lambda x, i: indexing.scatter(x, 1, i, 2.5),
        with_arrays((2, 3), index=np.array([[2], [0]])),
        lambda x, i: np.array([[*x[0, :2], 2.5], [2.5, *x[1, 1:]]]),
        lambda torch, x, i: torch.scatter(x, 1, i, 2.5),
    ),
    Case(
        "scatter_add of part of the source, with duplicates",
        lambda x, s, i: indexing.scatter_add(x, 0, i, s),
        with_arrays((3, 4), (5, 4), index=np.array([[0, 2, 2], [0, 1, 2], [2, 1, 2]])),
        scattered(True),
        lambda torch, x, s, i: torch.scatter_add(x, 0, i, s[:3, :3]),  # torch's fails on s
    ),
    Case(
        "take_along_dim with broadcasting",
        lambda x, i: indexing.take_along_dim(x, i, 1),
        with_arrays((2, 4), index=np.array([[3, 0, 3]])),
        lambda x, i: np.array([[x[n, 3], x[n, 0], x[n, 3]] for n in range(2)]),
        lambda torch, x, i: torch.take_along_dim(x, i, 1),
    ),
    Case(
        "take_along_dim of the flat tensor",
        lambda x, i: indexing.take_along_dim(x, i),
        with_arrays((2, 4), index=np.array([[7, 0], [1, 1]])),
        lambda x, i: np.array([x[1, 3], x[0, 0], x[0, 1], x[0, 1]]),
        lambda torch, x, i: torch.take_along_dim(x, i),
    ),
    Case(
        "index_select",
        lambda x, i: indexing.index_select(x, 1, i),
        with_arrays((2, 3), index=np.array([2, 0, 2])),
        lambda x, i: np.array([[x[n, 2], x[n, 0], x[n, 2]] for n in range(2)]),
        lambda torch, x, i: torch.index_select(x, 1, i),
    ),
    Case(
        "masked_select with broadcasting",
        lambda x: indexing.masked_select(x, md.tensor([True, False, True], device=x.device)),
        normal((2, 1)),
        lambda x: np.array([x[0, 0], x[0, 0], x[1, 0], x[1, 0]]),
        lambda torch, x: torch.masked_select(x, torch.tensor([True, False, True])),
        strict=False,
    ),
    Case(
        "repeat_interleave by a number for each slice",
        lambda x: indexing.repeat_interleave(x, [2, 0, 1], 1),
        normal((2, 3)),
        lambda x: np.array([[x[n, 0], x[n, 0], x[n, 2]] for n in range(2)]),
        lambda torch, x: torch.repeat_interleave(x, torch.tensor([2, 0, 1]), 1),
    ),
    Case(
        "one_hot",
        lambda i: indexing.one_hot(i, 4),
        lambda rng: (np.array([[3, 0], [1, 1]]),),
        lambda i: np.array([[[int(c == k) for k in range(4)] for c in row] for row in i]),
        lambda torch, i: torch.nn.functional.one_hot(i, 4),
        order=0,
    ),
]
