"""The shuffle of channels as a layer. Arguments as in torch.nn."""

from __future__ import annotations

from ..autograd import Tensor
from . import functional as F
from .module import Module

__all__ = ["ChannelShuffle"]


class ChannelShuffle(Module):
    """The channels of `groups` equal groups in turn: 0 1 2 | 3 4 5 become 0 3 1 4 2 5.

    Between two grouped convolutions it lets each group of the second see all groups of the first.
    Zhang et al. 2017, "ShuffleNet", figure 1.

    Args:
        groups: divides the channels of (N, C, ...).
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        if groups < 1:
            raise ValueError(f"ChannelShuffle: groups must be positive, got {groups}")
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
