"""Batch, layer, group, instance and local response normalisation; vectors of length 1."""

import itertools
import math

import numpy as np

import minidl as md
from minidl.ops import norm

from ..case import Case

EPS = 1e-3  # large enough to be seen in the results


def _standardized(values, eps):
    values = [float(v) for v in values]
    mean = sum(values) / len(values)
    var = sum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / math.sqrt(var + eps) for v in values]


def _over(x, groups, weight, bias, eps=EPS):
    """Each list of places in `groups` normalised together; weight and bias by channel."""
    y = np.zeros(x.shape)
    for places in groups:
        for place, v in zip(places, _standardized([x[p] for p in places], eps), strict=True):
            y[place] = v * weight[place[1]] + bias[place[1]]
    return y


def _places(x):
    return list(itertools.product(*[range(n) for n in x.shape]))


def _batch_loops(x, weight=None, bias=None):
    c = x.shape[1]
    weight, bias = _default(weight, 1, c), _default(bias, 0, c)
    groups = [[p for p in _places(x) if p[1] == i] for i in range(c)]
    return _over(x, groups, weight, bias)


def _default(vector, value, n):
    return [value] * n if vector is None else vector


def _group_loops(count):
    def oracle(x, weight, bias):
        size = x.shape[1] // count
        groups = [
            [p for p in _places(x) if p[0] == n and p[1] // size == g]
            for n in range(x.shape[0])
            for g in range(count)
        ]
        return _over(x, groups, weight, bias)

    return oracle


def _layer_loops(x, weight, bias):
    y = np.zeros(x.shape)
    for i in range(x.shape[0]):
        normal = _standardized(x[i].ravel(), EPS)
        y[i] = np.reshape(normal, x.shape[1:]) * weight + bias
    return y


RUNNING_MEAN, RUNNING_VAR = [0.5, -1.0, 2.0], [0.5, 1.5, 3.0]


def _running(x):
    return [md.tensor(v, dtype=x.dtype, device=x.device) for v in (RUNNING_MEAN, RUNNING_VAR)]


def _frozen_loops(x, weight, bias):
    y = np.zeros(x.shape)
    for p in _places(x):
        c = p[1]
        normal = (x[p] - RUNNING_MEAN[c]) / math.sqrt(RUNNING_VAR[c] + EPS)
        y[p] = normal * weight[c] + bias[c]
    return y


def _torch_running(torch, x):
    return [torch.tensor(v, dtype=x.dtype) for v in (RUNNING_MEAN, RUNNING_VAR)]


def _image(shape=(4, 3, 2, 3)):
    return lambda rng: (
        rng.standard_normal(shape) * 2 + 1,
        rng.uniform(0.5, 2, shape[1]),
        rng.standard_normal(shape[1]),
    )


def _away_from_kinks(rng, *kinks):
    """Inputs of which no normalised result is near the kinks."""
    while True:
        x, weight, bias = _image()(rng)
        y = _batch_loops(x, weight, bias)
        if min(np.abs(y - kink).min() for kink in kinks) > 1e-2:
            return x, weight, bias


def _window_loops(size, alpha, beta, k):
    def oracle(x):
        y = np.zeros(x.shape)
        for place in _places(x):
            total = 0.0
            for c in range(place[1] - size // 2, place[1] - size // 2 + size):
                if 0 <= c < x.shape[1]:
                    total += x[(place[0], c, *place[2:])] ** 2
            y[place] = x[place] / (k + alpha * total / size) ** beta
        return y

    return oracle


def _unit_loops(p, dim):
    def oracle(x):
        length = np.apply_along_axis(
            lambda v: max(abs(v)) if p == math.inf else sum(abs(v) ** p) ** (1 / p), dim, x
        )
        return x / np.expand_dims(length, dim)

    return oracle


def _spread_out(rng):
    """No two absolute values alike and none near 0: away from the kinks of these norms."""
    sizes = rng.permutation(np.linspace(0.5, 3, 12)).reshape(3, 4)
    return (sizes * rng.choice([-1, 1], (3, 4)),)


CASES = [
    Case(
        "batch_norm, training, images",
        lambda x, w, b: norm.batch_norm(x, None, None, w, b, True, eps=EPS),
        _image(),
        _batch_loops,
        torch=lambda torch, x, w, b: torch.nn.functional.batch_norm(
            x, None, None, w, b, True, eps=EPS
        ),
    ),
    Case(
        "batch_norm, training, vectors, without weight and bias",
        lambda x: norm.batch_norm(x, None, None, training=True, eps=EPS),
        lambda rng: (rng.standard_normal((6, 4)),),
        _batch_loops,
        torch=lambda torch, x: torch.nn.functional.batch_norm(
            x, None, None, training=True, eps=EPS
        ),
    ),
    Case(
        "batch_norm, training, sequences, weight only",
        lambda x, w: norm.batch_norm(x, None, None, w, training=True, eps=EPS),
        lambda rng: (rng.standard_normal((3, 2, 5)), rng.uniform(0.5, 2, 2)),
        _batch_loops,
        torch=lambda torch, x, w: torch.nn.functional.batch_norm(
            x, None, None, w, training=True, eps=EPS
        ),
    ),
    Case(
        "batch_norm, training, mean far from zero",
        lambda x, w, b: norm.batch_norm(x, None, None, w, b, True, eps=EPS),
        lambda rng: (_image()(rng)[0] + 100, *_image()(rng)[1:]),
        _batch_loops,
        torch=lambda torch, x, w, b: torch.nn.functional.batch_norm(
            x, None, None, w, b, True, eps=EPS
        ),
        dtypes=("float64",),  # in float32 torch's own gradients are off by 1e-4 here
    ),
    Case(
        "batch_norm, frozen",
        lambda x, w, b: norm.batch_norm(x, *_running(x), w, b, eps=EPS),
        _image(),
        _frozen_loops,
        torch=lambda torch, x, w, b: torch.nn.functional.batch_norm(
            x, *_torch_running(torch, x), w, b, eps=EPS
        ),
    ),
    Case(
        "batch_norm, frozen, without weight and bias",
        lambda x: norm.batch_norm(x, *_running(x), eps=EPS),
        lambda rng: (rng.standard_normal((2, 3)),),
        lambda x: _frozen_loops(x, [1, 1, 1], [0, 0, 0]),
        torch=lambda torch, x: torch.nn.functional.batch_norm(
            x, *_torch_running(torch, x), eps=EPS
        ),
    ),
    Case(
        "batch_norm_relu, training",
        lambda x, w, b: norm.batch_norm_relu(x, None, None, w, b, True, eps=EPS),
        lambda rng: _away_from_kinks(rng, 0.0),
        lambda x, w, b: np.maximum(_batch_loops(x, w, b), 0),
        torch=lambda torch, x, w, b: torch.nn.functional.relu(
            torch.nn.functional.batch_norm(x, None, None, w, b, True, eps=EPS)
        ),
    ),
    Case(
        "batch_norm_relu with a ceiling, training",
        lambda x, w, b: norm.batch_norm_relu(x, None, None, w, b, True, eps=EPS, ceiling=0.75),
        lambda rng: _away_from_kinks(rng, 0.0, 0.75),
        lambda x, w, b: np.clip(_batch_loops(x, w, b), 0, 0.75),
        torch=lambda torch, x, w, b: torch.nn.functional.hardtanh(
            torch.nn.functional.batch_norm(x, None, None, w, b, True, eps=EPS), 0.0, 0.75
        ),
    ),
    Case(
        "batch_norm_relu with a ceiling, frozen",
        lambda x, w, b: norm.batch_norm_relu(x, *_running(x), w, b, eps=EPS, ceiling=0.75),
        _image(),
        lambda x, w, b: np.clip(_frozen_loops(x, w, b), 0, 0.75),
        torch=lambda torch, x, w, b: torch.nn.functional.hardtanh(
            torch.nn.functional.batch_norm(x, *_torch_running(torch, x), w, b, eps=EPS), 0.0, 0.75
        ),
    ),
    Case(
        "batch_norm_relu, frozen",
        lambda x, w, b: norm.batch_norm_relu(x, *_running(x), w, b, eps=EPS),
        _image(),
        lambda x, w, b: np.maximum(_frozen_loops(x, w, b), 0),
        torch=lambda torch, x, w, b: torch.nn.functional.relu(
            torch.nn.functional.batch_norm(x, *_torch_running(torch, x), w, b, eps=EPS)
        ),
    ),
    Case(
        "layer_norm over two dimensions",
        lambda x, w, b: norm.layer_norm(x, (3, 4), w, b, EPS),
        lambda rng: tuple(rng.standard_normal(s) for s in ((2, 3, 4), (3, 4), (3, 4))),
        _layer_loops,
        torch=lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (3, 4), w, b, EPS),
    ),
    Case(
        "layer_norm without weight and bias",
        lambda x: norm.layer_norm(x, 5, eps=EPS),
        lambda rng: (rng.standard_normal((3, 5)),),
        lambda x: _layer_loops(x, 1, 0),
        torch=lambda torch, x: torch.nn.functional.layer_norm(x, (5,), eps=EPS),
    ),
    Case(
        "group_norm, two groups",
        lambda x, w, b: norm.group_norm(x, 2, w, b, EPS),
        _image((2, 4, 3)),
        _group_loops(2),
        torch=lambda torch, x, w, b: torch.nn.functional.group_norm(x, 2, w, b, EPS),
    ),
    Case(
        "instance_norm, own statistics",
        lambda x, w, b: norm.instance_norm(x, *_running(x), w, b, eps=EPS),
        _image((2, 3, 2, 2)),
        _group_loops(3),
        torch=lambda torch, x, w, b: torch.nn.functional.instance_norm(
            x, *_torch_running(torch, x), w, b, eps=EPS
        ),
    ),
    Case(
        "instance_norm, running statistics",
        lambda x, w, b: norm.instance_norm(x, *_running(x), w, b, use_input_stats=False, eps=EPS),
        _image((2, 3, 4)),
        _frozen_loops,
        torch=lambda torch, x, w, b: torch.nn.functional.instance_norm(
            x, *_torch_running(torch, x), w, b, use_input_stats=False, eps=EPS
        ),
    ),
    Case(
        "local_response_norm, odd window",
        lambda x: norm.local_response_norm(x, 3, 0.5, 0.75, 2.0),
        lambda rng: (rng.standard_normal((2, 5, 2, 2)),),
        _window_loops(3, 0.5, 0.75, 2.0),
        torch=lambda torch, x: torch.nn.functional.local_response_norm(x, 3, 0.5, 0.75, 2.0),
    ),
    Case(
        "local_response_norm, even window, larger than the channels",
        lambda x: norm.local_response_norm(x, 6, 0.5),
        lambda rng: (rng.standard_normal((2, 3, 4)),),
        _window_loops(6, 0.5, 0.75, 1.0),
        torch=lambda torch, x: torch.nn.functional.local_response_norm(x, 6, 0.5),
    ),
    *[
        Case(
            f"normalize, p = {p}, dim {dim}",
            lambda x, p=p, dim=dim: norm.normalize(x, p, dim),
            _spread_out,
            _unit_loops(p, dim),
            torch=lambda torch, x, p=p, dim=dim: torch.nn.functional.normalize(x, p, dim),
        )
        for p, dim in ((2.0, 1), (2.0, 0), (1.0, 1), (3.0, -1), (math.inf, 1))
    ],
]
