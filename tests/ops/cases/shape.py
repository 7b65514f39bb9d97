"""Cases of minidl/ops/shape.py and minidl/ops/convert.py."""

import numpy as np

from minidl.ops import indexing, shape

from ..case import Case


def normal(*sizes):
    """Inputs: one array of each size."""
    return lambda rng: tuple(rng.standard_normal(size) for size in sizes)


def placed(size, where):
    """An oracle: out[index] = x[where(*index)], one element at a time; 0 where that is None."""

    def oracle(x, *_):
        out = np.zeros(size, x.dtype)
        for index in np.ndindex(size):
            source = where(*index)
            if source is not None:
                out[index] = x[source]
        return out

    return oracle


def in_order(size):
    """An oracle: the elements of x one after another in an array of `size`."""

    def oracle(x):
        out = np.zeros(size, x.dtype)
        for to, origin in zip(np.ndindex(size), np.ndindex(x.shape), strict=True):
            out[to] = x[origin]
        return out

    return oracle


def padded(widths, source):
    """An oracle for pad: source(i, n) is the element of a row of n that stands at place i."""

    def oracle(x):
        size = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
        out = np.zeros(size, x.dtype)
        for index in np.ndindex(size):
            origin = tuple(
                source(i - a, n) for i, n, (a, _) in zip(index, x.shape, widths, strict=True)
            )
            out[index] = x[origin]
        return out

    return oracle


def constant(value):
    def oracle(x):
        out = np.full((x.shape[0], x.shape[1] + 3, x.shape[2] + 1), value, x.dtype)
        for n, h, w in np.ndindex(x.shape):
            if 0 <= w + 2 < out.shape[2]:
                out[n, h + 1, w + 2] = x[n, h, w]
        return out

    return oracle


def there_and_back(x):
    """To another device and back again."""
    return x.to("strict" if x.device.type == "cpu" else "cpu").to(x.device)


CASES = [
    Case(
        "reshape with an open size",
        lambda x: shape.reshape(x, (3, -1)),
        normal((2, 3, 4)),
        in_order((3, 8)),
        lambda torch, x: x.reshape(3, -1),
        view=True,
    ),
    Case(
        "view of a 0-d tensor",
        lambda x: x.view(1, 1),
        normal(()),
        in_order((1, 1)),
        lambda torch, x: x.view(1, 1),
        view=True,
    ),
    Case(
        "flatten from dimension 1",
        lambda x: shape.flatten(x, 1),
        normal((2, 3, 2, 2)),
        in_order((2, 12)),
        lambda torch, x: torch.flatten(x, 1),
        view=True,
    ),
    Case(
        "unflatten",
        lambda x: shape.unflatten(x, 1, (2, -1)),
        normal((2, 6, 2)),
        in_order((2, 2, 3, 2)),
        lambda torch, x: x.unflatten(1, (2, -1)),
        view=True,
    ),
    Case(
        "permute",
        lambda x: x.permute(2, 0, -2),
        normal((2, 3, 4)),
        placed((4, 2, 3), lambda i, j, k: (j, k, i)),
        lambda torch, x: x.permute(2, 0, -2),
        view=True,
    ),
    Case(
        "transpose",
        lambda x: shape.transpose(x, 0, -1),
        normal((2, 3, 4)),
        placed((4, 3, 2), lambda i, j, k: (k, j, i)),
        lambda torch, x: torch.transpose(x, 0, -1),
        view=True,
    ),
    Case(
        "swapaxes",
        lambda x: shape.swapaxes(x, 1, 2),
        normal((2, 3, 4)),
        placed((2, 4, 3), lambda i, j, k: (i, k, j)),
        lambda torch, x: torch.swapaxes(x, 1, 2),
        view=True,
    ),
    Case(
        "movedim of two dimensions",
        lambda x: shape.movedim(x, (0, 1), (-1, 0)),
        normal((2, 3, 4)),
        placed((3, 4, 2), lambda i, j, k: (k, i, j)),
        lambda torch, x: torch.movedim(x, (0, 1), (-1, 0)),
        view=True,
    ),
    Case(
        "T and mT",
        lambda x, y: (x.T, y.mT),
        normal((2, 3), (2, 3, 4)),
        lambda x, y: (
            placed((3, 2), lambda i, j: (j, i))(x),
            placed((2, 4, 3), lambda i, j, k: (i, k, j))(y),
        ),
        lambda torch, x, y: (x.T, y.mT),
        view=True,
    ),
    Case(
        "squeeze and unsqueeze",
        lambda x: x.squeeze(1).unsqueeze(-1),
        normal((2, 1, 3)),
        in_order((2, 3, 1)),
        lambda torch, x: x.squeeze(1).unsqueeze(-1),
        view=True,
    ),
    Case(
        "squeeze of all dimensions",
        lambda x: x.squeeze(),
        normal((1, 3, 1, 2)),
        in_order((3, 2)),
        lambda torch, x: x.squeeze(),
        view=True,
    ),
    Case(
        "expand with a new dimension",
        lambda x: x.expand(2, -1, 3),
        normal((4, 1)),
        placed((2, 4, 3), lambda i, j, k: (j, 0)),
        lambda torch, x: x.expand(2, -1, 3),
        view=True,
    ),
    Case(
        "expand_as",
        lambda x, y: x.expand_as(y),
        normal((3, 1), (3, 4)),
        placed((3, 4), lambda i, j: (i, 0)),
        lambda torch, x, y: x.expand_as(y),
        view=True,
    ),
    Case(
        "broadcast_tensors",
        shape.broadcast_tensors,
        normal((3, 1), (2, 1, 4)),
        lambda x, y: (
            placed((2, 3, 4), lambda i, j, k: (j, 0))(x),
            placed((2, 3, 4), lambda i, j, k: (i, 0, k))(y),
        ),
        lambda torch, x, y: torch.broadcast_tensors(x, y),
        view=True,
    ),
    Case(
        "meshgrid, ij",
        shape.meshgrid,
        normal((2,), (3,), ()),
        lambda x, y, z: (
            placed((2, 3, 1), lambda i, j, k: (i,))(x),
            placed((2, 3, 1), lambda i, j, k: (j,))(y),
            placed((2, 3, 1), lambda i, j, k: ())(z),
        ),
        lambda torch, x, y, z: torch.meshgrid(x, y, z, indexing="ij"),
        view=True,
    ),
    Case(
        "meshgrid, xy",
        lambda *axes: shape.meshgrid(*axes, indexing="xy"),
        normal((2,), (3,), (4,)),
        lambda x, y, z: (
            placed((3, 2, 4), lambda i, j, k: (j,))(x),
            placed((3, 2, 4), lambda i, j, k: (i,))(y),
            placed((3, 2, 4), lambda i, j, k: (k,))(z),
        ),
        lambda torch, x, y, z: torch.meshgrid(x, y, z, indexing="xy"),
        view=True,
    ),
    Case(
        "narrow",
        lambda x: x.narrow(1, -3, 2),
        normal((2, 5)),
        placed((2, 2), lambda i, j: (i, j + 2)),
        lambda torch, x: x.narrow(1, -3, 2),
        view=True,
    ),
    Case(
        "diagonal above the main one, of a batch",
        lambda x: x.diagonal(1, -2, -1),
        normal((2, 3, 5)),
        placed((2, 3), lambda n, i: (n, i, i + 1)),
        lambda torch, x: x.diagonal(1, -2, -1),
        view=True,
    ),
    Case(
        "diagonal below the main one, dimensions exchanged",
        lambda x: x.diagonal(-1, 2, 0),
        normal((3, 2, 4)),
        placed((2, 3), lambda n, i: (i, n, i + 1)),
        lambda torch, x: x.diagonal(-1, 2, 0),
        view=True,
    ),
    Case(
        "tril",
        lambda x: x.tril(-1),
        normal((2, 3, 4)),
        placed((2, 3, 4), lambda n, i, j: (n, i, j) if j <= i - 1 else None),
        lambda torch, x: x.tril(-1),
    ),
    Case(
        "triu",
        lambda x: x.triu(1),
        normal((4, 3)),
        placed((4, 3), lambda i, j: (i, j) if j >= i + 1 else None),
        lambda torch, x: x.triu(1),
    ),
    Case(
        "cat along dimension 1",
        lambda *x: shape.cat(x, 1),
        normal((2, 1, 2), (2, 3, 2), (2, 0, 2)),
        lambda x, y, z: (
            placed((2, 4, 2), lambda i, j, k: (i, j, k) if j < 1 else None)(x)
            + placed((2, 4, 2), lambda i, j, k: (i, j - 1, k) if j >= 1 else None)(y)
        ),
        lambda torch, *x: torch.cat(x, 1),
    ),
    Case(
        "cat of a tensor with itself",
        lambda x: shape.cat([x, x], -1),
        normal((2, 3)),
        placed((2, 6), lambda i, j: (i, j % 3)),
        lambda torch, x: torch.cat([x, x], -1),
    ),
    Case(
        "stack in the middle",
        lambda x, y: shape.stack([x, y], 1),
        normal((2, 3), (2, 3)),
        lambda x, y: np.array([[x[i], y[i]] for i in range(2)]),
        lambda torch, x, y: torch.stack([x, y], 1),
    ),
    Case(
        "stack of 0-d tensors",
        lambda x, y: shape.stack([x, y]),
        normal((), ()),
        lambda x, y: np.array([x, y]),
        lambda torch, x, y: torch.stack([x, y]),
    ),
    Case(
        "split into equal pieces and a rest",
        lambda x: x.split(2, 1),
        normal((2, 5)),
        lambda x: (x[:, 0:2], x[:, 2:4], x[:, 4:5]),
        lambda torch, x: x.split(2, 1),
        view=True,
    ),
    Case(
        "split into given lengths",
        lambda x: x.split([1, 0, 3], -1),
        normal((2, 4)),
        lambda x: (x[:, 0:1], x[:, 1:1], x[:, 1:4]),
        lambda torch, x: x.split([1, 0, 3], -1),
        view=True,
    ),
    Case(
        "one piece of a split, twice",
        lambda x: shape.cat([x.split(2)[1]] * 2),
        normal((4, 2)),
        lambda x: np.array([x[2], x[3], x[2], x[3]]),
        lambda torch, x: torch.cat([x.split(2)[1]] * 2),
    ),
    Case(
        "channel_shuffle",
        lambda x: shape.channel_shuffle(x, 2),
        normal((2, 6, 3)),
        placed((2, 6, 3), lambda n, c, i: (n, 3 * (c % 2) + c // 2, i)),
        lambda torch, x: torch.channel_shuffle(x, 2),
    ),
    Case(
        "chunk",
        lambda x: x.chunk(3),
        normal((5, 2)),
        lambda x: (x[0:2], x[2:4], x[4:5]),
        lambda torch, x: x.chunk(3),
        view=True,
    ),
    Case(
        "unbind",
        lambda x: x.unbind(1),
        normal((2, 3)),
        lambda x: (x[:, 0], x[:, 1], x[:, 2]),
        lambda torch, x: x.unbind(1),
        view=True,
    ),
    Case(
        "iteration over the first dimension",
        lambda x: tuple(x),
        normal((3, 2)),
        lambda x: (x[0], x[1], x[2]),
        lambda torch, x: tuple(x),
        view=True,
    ),
    Case(
        "clone",
        lambda x: x.clone(),
        normal((2, 3)),
        in_order((2, 3)),
        lambda torch, x: x.clone(),
    ),
    Case(
        "contiguous after permute",
        lambda x: x.permute(1, 0).contiguous(),
        normal((2, 3)),
        placed((3, 2), lambda i, j: (j, i)),
        lambda torch, x: x.permute(1, 0).contiguous(),
        view=True,  # where the input happens to be column-major nothing is copied
    ),
    Case(
        "flip of two dimensions",
        lambda x: x.flip(0, -1),
        normal((2, 3, 4)),
        placed((2, 3, 4), lambda i, j, k: (1 - i, j, 3 - k)),
        lambda torch, x: x.flip(0, -1),
    ),
    Case(
        "roll along two dimensions",
        lambda x: x.roll((1, -2), (0, 1)),
        normal((3, 4)),
        placed((3, 4), lambda i, j: ((i - 1) % 3, (j + 2) % 4)),
        lambda torch, x: x.roll((1, -2), (0, 1)),
    ),
    Case(
        "roll of the flat tensor",
        lambda x: x.roll(5),
        normal((2, 4)),
        placed((2, 4), lambda i, j: divmod((4 * i + j - 5) % 8, 4)),
        lambda torch, x: x.roll(5),
        view=True,  # of the rolled copy
    ),
    Case(
        "repeat with a new dimension",
        lambda x: x.repeat(2, 1, 3),
        normal((2, 3)),
        placed((2, 2, 9), lambda n, i, j: (i, j % 3)),
        lambda torch, x: x.repeat(2, 1, 3),
    ),
    Case(
        "repeat once",
        lambda x: x.repeat(1, 1),
        normal((2, 3)),
        in_order((2, 3)),
        lambda torch, x: x.repeat(1, 1),
    ),
    Case(
        "tile of the last dimension",
        lambda x: shape.tile(x, 2),
        normal((2, 3)),
        placed((2, 6), lambda i, j: (i, j % 3)),
        lambda torch, x: torch.tile(x, (2,)),
    ),
    Case(
        "repeat_interleave by a number",
        lambda x: indexing.repeat_interleave(x, 3, 1),
        normal((2, 3, 2)),
        placed((2, 9, 2), lambda i, j, k: (i, j // 3, k)),
        lambda torch, x: torch.repeat_interleave(x, 3, 1),
    ),
    Case(
        "pad with a constant, one side cut away",
        lambda x: shape.pad(x, (2, -1, 1, 2), value=0.5),
        normal((2, 3, 4)),
        constant(0.5),
        lambda torch, x: torch.nn.functional.pad(x, (2, -1, 1, 2), value=0.5),
    ),
    Case(
        "pad by reflection",
        lambda x: shape.pad(x, (2, 1, 1, 0), "reflect"),
        normal((1, 2, 3, 4)),
        padded(
            [(0, 0), (0, 0), (1, 0), (2, 1)],
            lambda i, n: i if 0 <= i < n else -i if i < 0 else 2 * (n - 1) - i,
        ),
        lambda torch, x: torch.nn.functional.pad(x, (2, 1, 1, 0), "reflect"),
    ),
    Case(
        "pad by replication",
        lambda x: shape.pad(x, (3, 1, 0, 2), "replicate"),
        normal((1, 2, 3, 2)),
        padded([(0, 0), (0, 0), (0, 2), (3, 1)], lambda i, n: min(max(i, 0), n - 1)),
        lambda torch, x: torch.nn.functional.pad(x, (3, 1, 0, 2), "replicate"),
    ),
    Case(
        "pad circularly",
        lambda x: shape.pad(x, (3, 1, 2, 0), "circular"),
        normal((1, 2, 3, 4)),
        padded([(0, 0), (0, 0), (2, 0), (3, 1)], lambda i, n: i % n),
        lambda torch, x: torch.nn.functional.pad(x, (3, 1, 2, 0), "circular"),
    ),
    Case(
        "to another device and back",
        there_and_back,
        normal((2, 3)),
        in_order((2, 3)),
        strict=False,  # it goes there itself
    ),
]
