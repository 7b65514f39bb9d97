"""Attention: each query takes a weighted mean of values, by how well it matches their keys.

Vaswani et al., "Attention is all you need", 2017, section 3.2.1 and equation 1:

    attention(Q, K, V) = softmax(Q K^T / sqrt(E)) V
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..autograd.tensor import wrap
from ..backend import of
from .arithmetic import add, mul
from .autocast import autocasts
from .common import as_float, astype, check_broadcast, check_devices, masked
from .dropout import dropout
from .indexing import repeat_interleave
from .matmul import matmul
from .selection import where
from .shape import transpose
from .softmax import softmax

__all__ = ["attention_with_weights", "scaled_dot_product_attention"]


@autocasts
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale Q K^T + mask) V, over the last two dimensions.

    Args:
        query: (..., L, E): L vectors that ask.
        key: (..., S, E): S vectors that are compared with them.
        value: (..., S, Ev): what is averaged.
        attn_mask: broadcasts to (..., L, S): bool, true where a query may look at a key; or numbers
            that are added to the scores, -inf where it may not.
        dropout_p: the probability with which a weight becomes 0, also in evaluation.
        is_causal: query i may look at keys 0 to i only; instead of a mask.
        scale: default: 1 / sqrt(E).
        enable_gqa: key and value may have fewer heads (dimension -3) than query, which then share
            them in groups of neighbours (Ainslie et al. 2023).

    Returns:
        (..., L, Ev); zeros for a query that may look at no key.

    Raises:
        ValueError: shapes that do not fit; both a mask and `is_causal`; a dropout_p outside 0 to 1.
        TypeError: query, key and value of different dtypes; a mask of integers.
    """
    op = "scaled_dot_product_attention"
    if attn_mask is not None and is_causal:
        raise ValueError(f"{op}: give attn_mask or is_causal=True, not both")
    query, key, value = as_float(query), as_float(key), as_float(value)
    check_devices(op, query, key, value, attn_mask)
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ValueError(
            f"{op}: query, key and value must have at least 2 dimensions (..., length, features), "
            f"got {query.shape}, {key.shape} and {value.shape}"
        )
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"{op}: query {query.shape} and key {key.shape} must have vectors of one length, key "
            f"and value {value.shape} as many of them"
        )
    if not query.dtype == key.dtype == value.dtype:
        raise TypeError(
            f"{op}: query, key and value must have one dtype, got {query.dtype}, {key.dtype} and "
            f"{value.dtype}; cast with .to(dtype)"
        )
    if not 0.0 <= dropout_p <= 1.0:
        raise ValueError(f"{op}: dropout_p must be between 0 and 1, got {dropout_p}")
    if enable_gqa:
        key, value = (_repeat_heads(op, query, x) for x in (key, value))
    try:
        np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    except ValueError:
        raise ValueError(
            f"{op}: the leading dimensions of query {query.shape}, key {key.shape} and value "
            f"{value.shape} do not broadcast; each must be equal or 1"
        ) from None
    if is_causal:
        length, keys = query.shape[-2], key.shape[-2]
        xp = of(query.data).xp
        attn_mask = wrap(xp.arange(length)[:, None] >= xp.arange(keys)[None])
    return attention_with_weights(op, query, key, value, attn_mask, dropout_p, scale)[0]


def attention_with_weights(
    op: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout_p: float = 0.0,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The result of `scaled_dot_product_attention`, and the weights (..., L, S) of the mean."""
    if scale is None:
        scale = 1 / math.sqrt(max(query.shape[-1], 1))
    scores = matmul(mul(query, scale), transpose(key, -2, -1))
    blind = None  # which queries may look at no key: their scores stay, their weights become 0
    if mask is not None:
        check_broadcast(op, scores, mask)
        kind = mask.data.dtype.kind
        if kind == "b":
            blind = ~mask.data.any(axis=-1, keepdims=True)
            scores = where(wrap(mask.data | blind), scores, -math.inf)
        elif kind in "fV":
            blind = (mask.data == -math.inf).all(axis=-1, keepdims=True)
            scores = add(scores, astype(masked(mask, ~blind), scores.dtype))
        else:
            raise TypeError(f"{op}: a mask holds bools or floats, got {mask.dtype}")
    weights = softmax(scores, -1)
    if blind is not None:
        weights = masked(weights, ~blind)
    if dropout_p:
        weights = dropout(weights, dropout_p)
    return matmul(weights, value), weights


def _repeat_heads(op: str, query: Tensor, x: Tensor) -> Tensor:
    """Each head of x (..., H', S, E) as often as it takes to have those of query (..., H, L, E)."""
    heads: Any = query.shape[-3] if query.ndim > 2 else 1
    own: Any = x.shape[-3] if x.ndim > 2 else 1
    if own == 0 or heads % own:
        raise ValueError(
            f"{op}: the {heads} heads of query {query.shape} cannot be divided among the {own} of "
            f"{x.shape}"
        )
    return x if own == heads else repeat_interleave(x, heads // own, -3)
