"""Softmax, softmin and log-softmax."""

import math

import numpy as np

from minidl.ops import softmax

from ..case import Case


def _along(dim, function):
    return lambda x: np.apply_along_axis(function, dim, x)


def _softmax_loops(row):
    powers = [math.exp(v) for v in row]
    return [v / sum(powers) for v in powers]


def _log_softmax_loops(row):
    total = sum(math.exp(v) for v in row)
    return [v - math.log(total) for v in row]


def _some(*shape):
    return lambda rng: (rng.standard_normal(shape),)


CASES = [
    Case(
        "softmax over the last dimension",
        lambda x: softmax.softmax(x, -1),
        _some(3, 4),
        _along(-1, _softmax_loops),
        torch=lambda torch, x: torch.softmax(x, -1),
    ),
    Case(
        "softmax over channels",
        lambda x: softmax.softmax(x, 1),
        _some(2, 3, 4),
        _along(1, _softmax_loops),
        torch=lambda torch, x: torch.softmax(x, 1),
    ),
    Case(
        "softmax of one number",
        lambda x: softmax.softmax(x, 0),
        lambda rng: (np.array(rng.standard_normal()),),
        lambda x: np.array(1.0),
        torch=lambda torch, x: torch.softmax(x, 0),
        order=1,
    ),
    Case(
        "softmin",
        lambda x: softmax.softmin(x, 0),
        _some(4, 2),
        _along(0, lambda row: _softmax_loops([-v for v in row])),
        torch=lambda torch, x: torch.nn.functional.softmin(x, 0),
    ),
    Case(
        "log_softmax over the last dimension",
        lambda x: softmax.log_softmax(x, -1),
        _some(3, 4),
        _along(-1, _log_softmax_loops),
        torch=lambda torch, x: torch.log_softmax(x, -1),
    ),
    Case(
        "log_softmax over channels",
        lambda x: softmax.log_softmax(x, 1),
        _some(2, 3, 2, 2),
        _along(1, _log_softmax_loops),
        torch=lambda torch, x: torch.log_softmax(x, 1),
    ),
]
