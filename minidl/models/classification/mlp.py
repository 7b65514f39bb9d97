"""Fully connected networks for small pictures: 784-300-100-10, with batch norm before each layer.

LeCun et al. 1998 have the same layers without batch norm (table and figure 9: 3.05 % on MNIST).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ... import nn

__all__ = ["mlp"]


def mlp(sizes: Sequence[int] = (784, 300, 100, 10), batch_norm: bool = True) -> nn.Sequential:
    """Linear layers of the given sizes with ReLU between them.

    With the default sizes it has 271,346 parameters as Keras counts them: 268,978 are trained,
    2,368 are running statistics.

    Args:
        sizes: of the input, of each hidden layer, of the output.
        batch_norm: whether a BatchNorm stands before each linear layer.

    Returns:
        a network from (N, ...) with sizes[0] numbers a sample to (N, sizes[-1]).

    Raises:
        ValueError: less than two sizes.
    """
    if len(sizes) < 2:
        raise ValueError(f"mlp: needs the sizes of input and output at least, got {tuple(sizes)}")
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (before, after) in enumerate(pairwise(sizes)):
        if i > 0:
            layers.append(nn.ReLU())
        if batch_norm:
            layers.append(nn.BatchNorm1d(before))
        linear = nn.Linear(before, after)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers.append(linear)
    return nn.Sequential(*layers)
