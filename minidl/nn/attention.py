"""Attention with several heads: Vaswani et al., "Attention is all you need", 2017, section 3.2."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Tensor
from ..ops.attention import attention_with_weights
from ..ops.autocast import is_autocast_enabled
from ..ops.common import as_float
from ..ops.creation import zeros
from ..ops.shape import cat, expand, pad
from . import functional as F
from . import init
from .linear import Linear
from .module import Module, Parameter, new_tensor, parameter_if

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Attention of several heads, each on its own projection of queries, keys and values.

    head_h = attention(Q W_h^Q, K W_h^K, V W_h^V), and the result is (head_1, ..., head_H) W^O.

    Args:
        embed_dim: E, the length of a query and of a result.
        num_heads: H, divides E; a head works with E / H numbers.
        dropout: probability with which an attention weight becomes 0 in training.
        bias: whether the projections have one.
        add_bias_kv: one more key and value, both learned.
        add_zero_attn: one more key and value, both zero.
        kdim, vdim: lengths of a key and of a value; default: E.
        batch_first: whether sequences are (N, L, E) instead of (L, N, E).
        device: where the parameters are made.
        dtype: their dtype; default float32.

    Attributes:
        in_proj_weight: (3 E, E): W^Q, W^K and W^V of all heads, one below the other, drawn by
            `init.xavier_uniform_`; None if kdim or vdim differ from E: then q_proj_weight (E, E),
            k_proj_weight (E, kdim) and v_proj_weight (E, vdim).
        in_proj_bias: (3 E,), at first 0; or None.
        out_proj: W^O, a `Linear` of E to E.
        bias_k, bias_v: (1, 1, E) with `add_bias_kv`, or None.

    Raises:
        ValueError: E is not a multiple of H; `dropout` is no probability.

    Example:
        >>> attention = nn.MultiheadAttention(192, 3, batch_first=True)
        >>> mixed, weights = attention(tokens, tokens, tokens)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim {embed_dim} must be a multiple of num_heads "
                f"{num_heads}, both positive"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"MultiheadAttention: dropout must be in [0, 1], got {dropout}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads

        def matrix(rows: int, columns: int) -> Parameter:
            return Parameter(new_tensor((rows, columns), 0, device, dtype))

        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight: Parameter | None = matrix(3 * embed_dim, embed_dim)
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = matrix(embed_dim, embed_dim)
            self.k_proj_weight = matrix(embed_dim, self.kdim)
            self.v_proj_weight = matrix(embed_dim, self.vdim)
            self.register_parameter("in_proj_weight", None)
        self.register_parameter(
            "in_proj_bias", parameter_if(bias, (3 * embed_dim,), 0, device, dtype)
        )
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(
                name, parameter_if(add_bias_kv, (1, 1, embed_dim), 0, device, dtype)
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = getattr(self, name)
            if weight is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: (L, N, E), with `batch_first` (N, L, E); or (L, E).
            key: likewise (S, N, kdim).
            value: likewise (S, N, vdim).
            key_padding_mask: (N, S) or (S,): bool, true where a key must *not* be looked at; or
                numbers that are added to the scores.
            need_weights: whether the weights are returned.
            attn_mask: the same for pairs, (L, S) or (N H, L, S).
            average_attn_weights: whether weights are averaged over the heads.
            is_causal: a hint that attn_mask is a causal mask; the mask itself decides.

        Returns:
            the results, in the shape of query; and the weights (N, L, S), without averaging
            (N, H, L, S), or None. Both are 0 for a query whose keys are all masked.

        Raises:
            ValueError: shapes that do not fit; `is_causal` without a mask.
            TypeError: inputs and parameters of different dtypes; a mask of integers.
        """
        query, key, value = as_float(query), as_float(key), as_float(value)
        self._check(query, key, value)
        if is_causal and attn_mask is None:
            raise ValueError("MultiheadAttention: is_causal is a hint on attn_mask; give one")
        batched = query.ndim == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        n, length, _ = query.shape

        q, k, v = self._project(query, key, value)
        mask = self._mask(n, length, k.shape[1], attn_mask, key_padding_mask)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (
                cat([x, expand(b, n, 1, -1)], 1) for x, b in ((k, self.bias_k), (v, self.bias_v))
            )
        if self.add_zero_attn:
            k, v = (
                cat([x, zeros(n, 1, x.shape[2], dtype=x.dtype, device=x.device)], 1) for x in (k, v)
            )
        extra = k.shape[1] - key.shape[1]
        if mask is not None and extra:
            mask = pad(mask, (0, extra), value=0.0)

        out, weights = attention_with_weights(
            "MultiheadAttention",
            self._heads(q),
            self._heads(k),
            self._heads(v),
            mask,
            self.dropout if self.training else 0.0,
        )
        out = self.out_proj(out.transpose(1, 2).reshape(n, length, self.embed_dim))
        if average_attn_weights and need_weights:
            weights = weights.mean(1)
        if not batched:
            out, weights = out.squeeze(0), weights.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        return out, weights if need_weights else None

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Queries, keys and values of all heads, (N, length, E) each."""
        if self.in_proj_weight is None:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        elif query is key is value:  # one product instead of three
            return list(F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1))
        else:
            weights = list(self.in_proj_weight.chunk(3))
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        inputs = (query, key, value)
        return [F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]

    def _heads(self, x: Tensor) -> Tensor:
        """(N, length, E) as (N, H, length, E / H)."""
        n, length, _ = x.shape
        return x.reshape(n, length, self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(
        self,
        n: int,
        length: int,
        keys: int,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
    ) -> Tensor | None:
        """Both masks as numbers to be added to the scores (N, H, L, S)."""
        heads = self.num_heads
        allowed: dict[str, Any] = {
            "attn_mask": [(length, keys), (n * heads, length, keys)],
            "key_padding_mask": [(n, keys), (keys,)][: 1 + (n == 1)],
        }
        total = None
        for name, mask in (("attn_mask", attn_mask), ("key_padding_mask", key_padding_mask)):
            if mask is None:
                continue
            if mask.shape not in allowed[name]:
                expected = " or ".join(map(str, allowed[name]))
                raise ValueError(
                    f"MultiheadAttention: {name} {mask.shape} must have the shape {expected} for "
                    f"{n} sequence(s) of {length} queries and {keys} keys in {heads} heads"
                )
            if not mask.is_floating_point():
                if mask.dtype != bool:
                    raise TypeError(
                        f"MultiheadAttention: {name} holds bools or floats, got {mask.dtype}"
                    )
                dtype = self.out_proj.weight.dtype
                nothing = zeros(mask.shape, dtype=dtype, device=mask.device)
                mask = nothing.masked_fill(mask, -math.inf)
            if name == "key_padding_mask":
                mask = mask.reshape(-1, 1, 1, keys)
            elif mask.ndim == 3:
                mask = mask.reshape(n, heads, length, keys)
            total = mask if total is None else total + mask
        return total

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        dtype = self.out_proj.weight.dtype
        if not is_autocast_enabled(query.device.type):
            for name, x in (("query", query), ("key", key), ("value", value)):
                if x.dtype != dtype:
                    raise TypeError(
                        f"MultiheadAttention: {name} is {x.dtype}, the parameters are {dtype}; "
                        "cast one with .to(dtype)"
                    )
        features = self.embed_dim, self.kdim, self.vdim
        tensors = (query, key, value)
        fits = query.ndim in (2, 3) and key.ndim == value.ndim == query.ndim
        fits = fits and all(x.shape[-1] == f for x, f in zip(tensors, features, strict=True))
        fits = fits and key.shape[:-1] == value.shape[:-1]
        if fits and query.ndim == 3:
            batch = 0 if self.batch_first else 1
            fits = query.shape[batch] == key.shape[batch]
        if not fits:
            order = "(N, length, features)" if self.batch_first else "(length, N, features)"
            raise ValueError(
                f"MultiheadAttention: query {query.shape}, key {key.shape} and value "
                f"{value.shape} must be {order} or (length, features) with {features[0]}, "
                f"{features[1]} and {features[2]} features, key and value equally long"
            )

    def extra_repr(self) -> str:
        return (
            f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}, "
            f"bias={self.in_proj_bias is not None}, batch_first={self.batch_first}"
        )
