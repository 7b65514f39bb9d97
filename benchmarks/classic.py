"""The baseline: convolution as usually taught, the whole batch as one matrix of columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from minidl import backend
from minidl.backend.geometry import ConvGeometry

__all__ = ["classic_convolutions"]


def _columns(x: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """(N Ho Wo, C kh kw): every window as a row."""
    padded = np.pad(x, ((0, 0), (0, 0), *geometry.padding))
    windows = np.lib.stride_tricks.sliding_window_view(padded, geometry.kernel, (2, 3))
    windows = windows[:, :, :: geometry.stride[0], :: geometry.stride[1]]
    n, c, ho, wo, kh, kw = windows.shape
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * ho * wo, c * kh * kw)


def _rows(g: np.ndarray) -> np.ndarray:
    """(N Ho Wo, O)"""
    return g.transpose(0, 2, 3, 1).reshape(-1, g.shape[1])


def conv_forward(
    x: np.ndarray, w: np.ndarray, geometry: ConvGeometry, bias: np.ndarray | None = None
) -> np.ndarray:
    ho, wo = geometry.output_size(x.shape[2:])
    y = _columns(x, geometry) @ w.reshape(len(w), -1).T
    if bias is not None:
        y += bias
    return np.ascontiguousarray(y.reshape(len(x), ho, wo, -1).transpose(0, 3, 1, 2))


def conv_input_grad(
    g: np.ndarray, w: np.ndarray, geometry: ConvGeometry, size: tuple[int, int]
) -> np.ndarray:
    n, _, ho, wo = g.shape
    (kh, kw), (sh, sw) = geometry.kernel, geometry.stride
    columns = (_rows(g) @ w.reshape(len(w), -1)).reshape(n, ho, wo, -1, kh, kw)
    dx = np.zeros((n, w.shape[1], *geometry.padded_size(size)), g.dtype)
    for i in range(kh):
        for j in range(kw):
            target = dx[:, :, i : i + sh * ho : sh, j : j + sw * wo : sw]
            target += columns[:, :, :, :, i, j].transpose(0, 3, 1, 2)
    (top, _), (left, _) = geometry.padding
    return np.ascontiguousarray(dx[:, :, top : top + size[0], left : left + size[1]])


def conv_weight_grad(x: np.ndarray, g: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    dw = _rows(g).T @ _columns(x, geometry)
    return dw.reshape(g.shape[1], x.shape[1], *geometry.kernel)


@contextmanager
def classic_convolutions() -> Iterator[None]:
    """Compute minidl's CPU convolutions (of one group, not dilated) in this way, in the block."""
    cpu = backend.by_name("cpu")
    for kernel in (conv_forward, conv_input_grad, conv_weight_grad):
        setattr(cpu, kernel.__name__, kernel)
    try:
        yield
    finally:
        for kernel in (conv_forward, conv_input_grad, conv_weight_grad):
            delattr(cpu, kernel.__name__)
