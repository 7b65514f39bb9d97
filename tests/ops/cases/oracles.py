"""Oracles that several families share: a Python function applied one element at a time."""

import numpy as np

CASES = []  # this module only helps the others


def normal(*sizes):
    """Inputs: one array of each size, from the normal distribution."""
    return lambda rng: tuple(rng.standard_normal(size) for size in sizes)


def between(low, high, *sizes):
    """Inputs: one array of each size, uniform between two bounds."""
    return lambda rng: tuple(rng.uniform(low, high, size) for size in sizes)


def away(kinks, *sizes, scale=2.0, distance=0.05):
    """Inputs: one array of each size, normal, but no number closer than `distance` to a kink."""

    def inputs(rng):
        arrays = []
        for size in sizes:
            x = rng.standard_normal(size) * scale
            for kink in kinks:
                close = np.abs(x - kink) < distance
                x = np.where(close, x + 2 * distance, x)
            arrays.append(x)
        return tuple(arrays)

    return inputs


def each(function):
    """An oracle: `function` of Python numbers, for every element of the broadcast arguments."""

    def oracle(*arrays):
        arrays = np.broadcast_arrays(*arrays)
        values = [
            function(*[a[index].item() for a in arrays]) for index in np.ndindex(arrays[0].shape)
        ]
        return np.array(values).reshape(arrays[0].shape)

    return oracle


def reduced(function, axes, keepdim=False):
    """An oracle: `function` of the list of elements that fall together, for each result element.

    Args:
        axes: those that disappear; None: all.
    """

    def oracle(x):
        gone = range(x.ndim) if axes is None else [a % x.ndim for a in np.atleast_1d(axes)]
        groups = {}
        for index in np.ndindex(x.shape):
            place = tuple(0 if a in gone else i for a, i in enumerate(index))
            groups.setdefault(place, []).append(x[index].item())
        size = tuple(1 if a in gone else n for a, n in enumerate(x.shape))
        out = np.array([function(groups[place]) for place in np.ndindex(size)]).reshape(size)
        return out if keepdim else out.reshape([n for a, n in enumerate(x.shape) if a not in gone])

    return oracle
