"""MLP-Mixer: Tolstikhin et al., "MLP-Mixer: an all-MLP architecture for vision", 2021, table 1.

A Vision Transformer whose attention is replaced by an MLP across the patches: nothing but linear
layers, applied alternately to columns and to rows of a table of patches times channels.

    tokens      patch P: 3 P^2 -> C, linear (a convolution of size and stride P); no positions
    mixer       L times:   x + (MLP(norm(x)^T))^T     S -> D_S -> S, of each channel
                           x + MLP(norm(x))           C -> D_C -> C, of each token
    result      norm, mean over the tokens, linear

    name    L     C       D_C     D_S    patch sizes
    S       8     512     2048    256    32, 16
    B       12    768     3072    384    32, 16
    L       24    1024    4096    512    32, 16

S is the number of tokens, 49 for patches of 32x32 of a 224x224 picture and 196 for 16x16.
Parameters are called as in timm.
"""

from __future__ import annotations

from ... import nn
from ...autograd import Tensor
from ..blocks import FeedForward, PatchTokens, init_token_mlp

__all__ = [
    "MixerBlock",
    "MlpMixer",
    "mixer_b16",
    "mixer_b32",
    "mixer_l16",
    "mixer_l32",
    "mixer_s16",
    "mixer_s32",
]

NORM_EPS = 1e-6  # that of the authors' code


class MixerBlock(nn.Module):
    """Mixes tokens, then channels: equation 1.

    Args:
        width: C, channels of a token.
        tokens: S, how many there are.
        tokens_dim: D_S, the width of the MLP across the tokens.
        channels_dim: D_C, the width of the MLP across the channels.
    """

    def __init__(self, width: int, tokens: int, tokens_dim: int, channels_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp_tokens = FeedForward(tokens, tokens_dim)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp_channels = FeedForward(width, channels_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class MlpMixer(nn.Module):
    """The network of table 1; initial values as in timm, see `init_token_mlp`.

    Args:
        num_classes: number of outputs.
        num_blocks: L.
        width: C.
        tokens_dim, channels_dim: D_S and D_C.
        patch_size: P.
        image_size: height and width of the pictures, a multiple of patch_size.
        in_channels: channels of the pictures.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        num_blocks: int = 8,
        width: int = 512,
        tokens_dim: int = 256,
        channels_dim: int = 2048,
        patch_size: int = 16,
        image_size: int = 224,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = PatchTokens(in_channels, width, patch_size, image_size)
        self.blocks = nn.Sequential(
            *[
                MixerBlock(width, self.stem.count, tokens_dim, channels_dim)
                for _ in range(num_blocks)
            ]
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, num_classes)
        init_token_mlp(self, self.head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x))).mean(1))


def mixer_s16(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> MlpMixer:
    """Mixer-S/16: Tolstikhin et al. 2021, table 1.

    18,528,264 parameters.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        image_size: their height and width, a multiple of the patch size; the number of parameters
            depends on it.

    Returns:
        a network from (N, in_channels, image_size, image_size) to scores (N, num_classes).
    """
    return MlpMixer(num_classes, 8, 512, 256, 2048, 16, image_size, in_channels=in_channels)


def mixer_s32(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> MlpMixer:
    """Mixer-S/32: Tolstikhin et al. 2021, table 1.

    19,104,624 parameters. Arguments and result as `mixer_s16`.
    """
    return MlpMixer(num_classes, 8, 512, 256, 2048, 32, image_size, in_channels=in_channels)


def mixer_b16(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> MlpMixer:
    """Mixer-B/16: Tolstikhin et al. 2021, table 1.

    59,880,472 parameters. Arguments and result as `mixer_s16`.
    """
    return MlpMixer(num_classes, 12, 768, 384, 3072, 16, image_size, in_channels=in_channels)


def mixer_b32(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> MlpMixer:
    """Mixer-B/32: Tolstikhin et al. 2021, table 1.

    60,293,428 parameters. Arguments and result as `mixer_s16`.
    """
    return MlpMixer(num_classes, 12, 768, 384, 3072, 32, image_size, in_channels=in_channels)


def mixer_l16(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> MlpMixer:
    """Mixer-L/16: Tolstikhin et al. 2021, table 1.

    208,196,168 parameters. Arguments and result as `mixer_s16`.
    """
    return MlpMixer(num_classes, 24, 1024, 512, 4096, 16, image_size, in_channels=in_channels)


def mixer_l32(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> MlpMixer:
    """Mixer-L/32: Tolstikhin et al. 2021, table 1.

    206,939,264 parameters. Arguments and result as `mixer_s16`.
    """
    return MlpMixer(num_classes, 24, 1024, 512, 4096, 32, image_size, in_channels=in_channels)
