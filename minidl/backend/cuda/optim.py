"""The update rules of optimisers on the GPU: one pass over the flat arrays each.

Kernels: kernels/optim.cu, kernels/lars.cu. CuPy's operators would read and write the arrays ten
times, in as many launches.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..base import Array
from ..plain.optim import OptimKernels as PlainOptimKernels
from .launcher import KernelLauncher, types

__all__ = ["OptimKernels"]

THREADS = 256
BLOCKS = 256  # for the norms of one layer, at most


class OptimKernels(KernelLauncher, PlainOptimKernels):
    """The arguments are those of `backend/plain/optim.py`; the arrays are contiguous."""

    xp: Any

    def sgd_step(
        self,
        param: Array,
        grad: Array,
        momentum_buffer: Array | None,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        nesterov: bool,
        weight_decay: float,
        maximize: bool,
        first: bool,
    ) -> None:
        args = (
            param, grad, momentum_buffer, int(momentum_buffer is not None), int(first),
            int(nesterov), _sign(maximize), lr, momentum, 1.0 - dampening, weight_decay,
        )  # fmt: skip
        self._step("mdl_sgd", args)

    def adam_step(
        self,
        param: Array,
        grad: Array,
        exp_avg: Array,
        exp_avg_sq: Array,
        max_exp_avg_sq: Array | None,
        *,
        step: int,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        decoupled: bool,
        maximize: bool,
    ) -> None:
        beta1, beta2 = betas
        args = (
            param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, int(max_exp_avg_sq is not None),
            _sign(maximize), 1.0 - lr * weight_decay if decoupled else 1.0,
            0.0 if decoupled else weight_decay, 1.0 - beta1, beta2, 1.0 - beta2,
            lr / (1.0 - beta1**step), math.sqrt(1.0 - beta2**step), eps,
        )  # fmt: skip
        self._step("mdl_adam", args)

    def rmsprop_step(
        self,
        param: Array,
        grad: Array,
        square_avg: Array,
        grad_avg: Array | None,
        momentum_buffer: Array | None,
        *,
        lr: float,
        alpha: float,
        eps: float,
        weight_decay: float,
        momentum: float,
        maximize: bool,
    ) -> None:
        args = (
            param, grad, square_avg, grad_avg, momentum_buffer, int(grad_avg is not None),
            int(momentum_buffer is not None), _sign(maximize), lr, alpha, 1.0 - alpha, eps,
            weight_decay, momentum,
        )  # fmt: skip
        self._step("mdl_rmsprop", args)

    def lars_step(
        self,
        param: Array,
        grad: Array,
        momentum_buffer: Array,
        layers: list[slice],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        trust_coefficient: float,
        eps: float,
        nesterov: bool,
        maximize: bool,
    ) -> None:
        segments, longest = self._segments(tuple((at.start, at.stop) for at in layers), param.size)
        if not len(segments):
            return
        defines, wide = types(param.dtype)
        splits = min(-(-longest // (4 * THREADS)), BLOCKS)
        parts = self.xp.empty((2, len(segments), splits), wide)
        grid = (splits, len(segments))
        args: tuple[Any, ...] = (param, grad, segments, parts)
        self.launch("lars.cu", "mdl_lars_norms", grid, (THREADS,), args, **defines)
        args = (
            param, grad, momentum_buffer, segments, parts, splits, _sign(maximize), lr, momentum,
            weight_decay, trust_coefficient, eps, int(nesterov),
        )  # fmt: skip
        self.launch("lars.cu", "mdl_lars_update", grid, (THREADS,), args, **defines)

    def _step(self, kernel: str, args: tuple[Any, ...]) -> None:
        param = args[0]
        self.launch_each("optim.cu", kernel, param.size, args, **types(param.dtype)[0])

    def _segments(self, layers: tuple[tuple[int, int], ...], size: int) -> tuple[Array, int]:
        """(S, 3): the layers and the gaps between them, uploaded once; and the longest's length."""
        tables: dict[Any, Any] = self.__dict__.setdefault("_lars_segments", {})
        key = (self.current_device(), layers, size)
        if key not in tables:
            rows, end = [], 0
            for start, stop in sorted(layers):
                rows += [(end, start, 0), (start, stop, 1)]
                end = stop
            rows = [row for row in [*rows, (end, size, 0)] if row[0] < row[1]]
            table = np.array(rows, np.int64).reshape(-1, 3)
            longest = max((stop - start for start, stop, _ in rows), default=0)
            tables[key] = self.xp.asarray(table), longest
        return tables[key]


def _sign(maximize: bool) -> float:
    return -1.0 if maximize else 1.0
