"""Networks as Han, Mao and Dally store them: "Deep compression", 2016, and SqueezeNet's own file.

Most weights of a pruned network are 0, and the others share few values (section 3): of a weight
are kept how many zeros come before it, in 4 bits (figure 2), and which of 256 values it has, in 8.
Where more than 15 zeros follow each other, the sixteenth is stored as if it were a weight, of the
value 0.
(The Huffman code of section 4 is not part of the file.)

    numbers of stored weights      uint32 for each layer
    for each layer
        values                     256 float32, the first of them 0
        bias                       float32 for each output
        which value                uint8 for each stored weight
        zeros before it            4 bits for each stored weight, the first in the lower half

All are little-endian, and weights are in the order of (C_out, C_in, KH, KW).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..autograd import Tensor

__all__ = ["load_deep_compressed"]

_VALUES = 256


def load_deep_compressed(
    path: str | os.PathLike[str], shapes: Mapping[str, tuple[int, ...]], device: Any = None
) -> dict[str, Tensor]:
    """Read a network stored by deep compression.

    Args:
        path: the file.
        shapes: the layers in the file's order: name -> shape of the weight, outputs first. The file
            does not have them.
        device: where the tensors go; default: the device in force.

    Returns:
        {name.weight, name.bias, ...}, float32: a state dict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of other layers.

    Example:
        >>> convolutions = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d)]
        >>> net.load_state_dict(
        ...     load_deep_compressed("squeezenet.net", {n: m.weight.shape for n, m in convolutions})
        ... )
    """
    raw = np.fromfile(path, np.uint8)
    counts = [int(n) for n in _pieces(raw, [4 * len(shapes)], path)[0].view("<u4")]
    lengths = [4 * len(shapes)]
    for shape, count in zip(shapes.values(), counts, strict=True):
        lengths += [4 * _VALUES, 4 * shape[0], count, (count + 1) // 2]
    _, *pieces = _pieces(raw, lengths, path)
    if sum(lengths) != raw.size:
        raise ValueError(
            f"load_deep_compressed: {os.fspath(path)} has {raw.size} bytes; these {len(shapes)} "
            f"layers take {sum(lengths)}"
        )
    state = {}
    for i, (name, shape) in enumerate(shapes.items()):
        values, bias, which, halves = pieces[4 * i : 4 * i + 4]
        zeros = np.stack([halves & 15, halves >> 4], axis=1).reshape(-1)[: counts[i]]
        places = np.cumsum(zeros.astype(np.int64) + 1) - 1
        weight = np.zeros(math.prod(shape), np.float32)
        if counts[i] and places[-1] >= weight.size:
            raise ValueError(
                f"load_deep_compressed: {os.fspath(path)} has a weight number {places[-1]} of "
                f"{name}, whose shape {tuple(shape)} has {weight.size}"
            )
        weight[places] = values.view("<f4")[which]
        state[f"{name}.weight"] = Tensor(weight.reshape(shape), device=device)
        state[f"{name}.bias"] = Tensor(bias.view("<f4").astype(np.float32), device=device)
    return state


def _pieces(raw: np.ndarray, lengths: list[int], path: Any) -> list[np.ndarray]:
    """Consecutive pieces of these lengths in bytes, each in memory of its own."""
    if sum(lengths) > raw.size:
        raise ValueError(
            f"load_deep_compressed: {os.fspath(path)} ({raw.size} bytes) is truncated or of other "
            f"layers: these take {sum(lengths)} bytes"
        )
    ends = np.cumsum(lengths)
    return [raw[end - length : end].copy() for end, length in zip(ends, lengths, strict=True)]
