"""Attention."""

import math

import numpy as np

from minidl.ops import attention

from ..case import Case

MASK = np.array([[True, False, True, True], [False, True, False, False], [True, True, True, False]])
BIAS = np.array([[0.5, -np.inf, 1.0, 0.0], [-1.0, 2.0, -np.inf, 0.3], [0.0, 0.1, 0.2, -0.3]])
CAUSAL = np.array([[j <= i for j in range(4)] for i in range(3)])


def _loops(mask=None, bias=None, scale=None):
    """Query by query and key by key."""

    def oracle(q, k, v):
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        q, k, v = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (q, k, v))
        y = np.zeros((*q.shape[:-1], v.shape[-1]))
        factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
        for place in np.ndindex(*q.shape[:-1]):
            *batch, i = place
            powers = []
            for j in range(k.shape[-2]):
                score = factor * sum(
                    a * b for a, b in zip(q[place], k[(*batch, j)], strict=True)
                ) + (0.0 if bias is None else bias[i, j])
                powers.append(math.exp(score) if mask is None or mask[i, j] else 0.0)
            for j, power in enumerate(powers):
                y[place] += power / sum(powers) * v[(*batch, j)]
        return y

    return oracle


def _inputs(*lead):
    return lambda rng: tuple(
        rng.standard_normal((*lead, n, e)) for n, e in ((3, 2), (4, 2), (4, 5))
    )


def _torch(**arguments):
    def function(torch, *tensors):
        given = dict(arguments)
        if "attn_mask" in given:
            mask = torch.tensor(given["attn_mask"])
            given["attn_mask"] = mask if mask.dtype == torch.bool else mask.to(tensors[0].dtype)
        return torch.nn.functional.scaled_dot_product_attention(*tensors, **given)

    return function


def _with_mask(mask):
    def function(q, k, v):
        from minidl import tensor

        dtype = bool if mask.dtype == bool else q.dtype
        masked = tensor(mask, dtype=dtype, device=q.device)
        return attention.scaled_dot_product_attention(q, k, v, masked)

    return function


CASES = [
    Case(
        "scaled_dot_product_attention, two batch dimensions",
        attention.scaled_dot_product_attention,
        _inputs(2, 2),
        _loops(),
        torch=_torch(),
    ),
    Case(
        "scaled_dot_product_attention, causal, with a scale of its own",
        lambda q, k, v: attention.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3),
        _inputs(2),
        _loops(CAUSAL, scale=0.3),
        torch=_torch(is_causal=True, scale=0.3),
    ),
    Case(
        "scaled_dot_product_attention, mask of bools",
        _with_mask(MASK),
        _inputs(),
        _loops(MASK),
        torch=_torch(attn_mask=MASK),
    ),
    Case(
        "scaled_dot_product_attention, mask of numbers",
        _with_mask(BIAS),
        _inputs(2),
        _loops(bias=BIAS),
        torch=_torch(attn_mask=BIAS),
    ),
    Case(
        "scaled_dot_product_attention, four heads share two keys and values",
        lambda q, k, v: attention.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        lambda rng: (
            rng.standard_normal((2, 4, 3, 2)),
            rng.standard_normal((2, 2, 4, 2)),
            rng.standard_normal((2, 2, 4, 5)),
        ),
        lambda q, k, v: _loops()(q, np.repeat(k, 2, 1), np.repeat(v, 2, 1)),
        torch=_torch(enable_gqa=True),
    ),
]
