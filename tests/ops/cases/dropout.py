"""Dropout in all its shapes, each time from the same random state."""

import numpy as np

import minidl as md
from minidl.ops import dropout

from ..case import Case


def _seeded(function):
    def call(*inputs):
        md.manual_seed(7)
        return function(*inputs)

    return call


def _words(seed, count):
    """Philox4x32-10 in Python's integers (Salmon et al. 2011, section 3.3)."""
    words = []
    for block in range(-(-count // 4)):
        c, k = [block, 0, 0, 0], [seed, 0]
        for _ in range(10):
            a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
            c = [(b >> 32) ^ c[1] ^ k[0], b % 2**32, (a >> 32) ^ c[3] ^ k[1], a % 2**32]
            k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
        words += c
    return words[:count]


def _kept(shape, p):
    """1 where an element stays."""
    words = _words(7, int(np.prod(shape)))
    return np.array([float(w >= p * 2**32) for w in words]).reshape(shape)


def _some(*shape):
    return lambda rng: (rng.standard_normal(shape),)


def _alpha(x, p):
    limit = -1.0507009873554805 * 1.6732632423543772  # SELU's scale and alpha
    kept = np.where(_kept(x.shape, p) == 1, x, limit)
    return (kept - limit * p) / np.sqrt((1 - p) * (1 + p * limit**2))


CASES = [
    Case(
        "dropout",
        _seeded(lambda x: dropout.dropout(x, 0.3)),
        _some(5, 7),
        lambda x: x * _kept(x.shape, 0.3) / 0.7,
    ),
    Case(
        "dropout of everything",
        lambda x: dropout.dropout(x, 1.0),
        _some(3, 2),
        lambda x: np.zeros(x.shape),
    ),
    Case(
        "dropout1d",
        _seeded(lambda x: dropout.dropout1d(x, 0.5)),
        _some(3, 4, 2),
        lambda x: x * _kept((3, 4, 1), 0.5) * 2,
    ),
    Case(
        "dropout2d",
        _seeded(lambda x: dropout.dropout2d(x, 0.5)),
        _some(3, 4, 2, 2),
        lambda x: x * _kept((3, 4, 1, 1), 0.5) * 2,
    ),
    Case(
        "dropout3d",
        _seeded(lambda x: dropout.dropout3d(x, 0.5)),
        _some(2, 3, 1, 2, 2),
        lambda x: x * _kept((2, 3, 1, 1, 1), 0.5) * 2,
    ),
    Case(
        "alpha_dropout",
        _seeded(lambda x: dropout.alpha_dropout(x, 0.4, training=True)),
        _some(4, 5),
        lambda x: _alpha(x, 0.4),
    ),
    Case(
        "stochastic_depth of samples",
        _seeded(lambda x: dropout.stochastic_depth(x, 0.6, "row")),
        _some(6, 2, 2),
        lambda x: x * _kept((6, 1, 1), 0.6) / 0.4,
    ),
    Case(
        "stochastic_depth of the batch",
        _seeded(lambda x: dropout.stochastic_depth(x, 0.2, "batch")),
        _some(3, 4),
        lambda x: x * _kept((1, 1), 0.2) / 0.8,
    ),
]
