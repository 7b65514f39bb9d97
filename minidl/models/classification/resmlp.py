"""ResMLP: Touvron et al., "ResMLP: feedforward networks for image classification with
data-efficient training", 2021, figure 1 and equations 1 to 3.

An MLP-Mixer reduced further: one linear layer across the patches instead of an MLP, and one scale
and one shift for each channel instead of layer normalisation.

    tokens      patch 16: 3 16^2 -> D, linear (a convolution of size and stride 16); no positions
    layer       L times:   x + s1 (A Aff(x)^T)^T            A: tokens -> tokens
                           x + s2 (C GELU(B Aff(x)))        B: D -> 4 D,  C: 4 D -> D
    result      Aff, mean over the tokens, linear

    name    L     D
    S12     12    384
    S24     24    384
    S36     36    384

Aff_{a,b}(x) = a x + b, with vectors a, b of D learned numbers, a = 1 and b = 0 at first. s1 and s2
are vectors, too ("LayerScale"): small at first, so that a deep network begins near the identity.
Parameters are called as in timm.
"""

from __future__ import annotations

from ... import nn
from ...autograd import Tensor
from ...nn.module import new_tensor
from ..blocks import FeedForward, PatchTokens, init_token_mlp

__all__ = ["Affine", "ResMLP", "ResMLPBlock", "resmlp_s12", "resmlp_s24", "resmlp_s36"]


class Affine(nn.Module):
    """a x + b for each channel, the last dimension: equation 1.

    Args:
        width: number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(nn.init.ones_(new_tensor((1, 1, width), 0)))
        self.beta = nn.Parameter(new_tensor((1, 1, width), 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * x + self.beta


class ResMLPBlock(nn.Module):
    """A linear layer across the tokens, then an MLP for each of them: equations 2 and 3.

    Args:
        width: D, channels of a token.
        tokens: how many there are.
        hidden: width inside the MLP.
        init_values: at first all of s1 and s2.
    """

    def __init__(self, width: int, tokens: int, hidden: int, init_values: float) -> None:
        super().__init__()
        self.norm1 = Affine(width)
        self.linear_tokens = nn.Linear(tokens, tokens)
        self.norm2 = Affine(width)
        self.mlp_channels = FeedForward(width, hidden)
        self.ls1 = nn.Parameter(nn.init.constant_(new_tensor((width,), 0), init_values))
        self.ls2 = nn.Parameter(nn.init.constant_(new_tensor((width,), 0), init_values))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.linear_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.ls1 * mixed
        return x + self.ls2 * self.mlp_channels(self.norm2(x))


class ResMLP(nn.Module):
    """The network of figure 1; initial values as in timm, see `init_token_mlp`.

    Args:
        num_classes: number of outputs.
        num_blocks: L.
        width: D.
        init_values: see `ResMLPBlock`.
        patch_size: height and width of a patch.
        image_size: height and width of the pictures, a multiple of patch_size.
        in_channels: channels of the pictures.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        num_blocks: int = 12,
        width: int = 384,
        init_values: float = 1e-4,
        patch_size: int = 16,
        image_size: int = 224,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = PatchTokens(in_channels, width, patch_size, image_size)
        self.blocks = nn.Sequential(
            *[
                ResMLPBlock(width, self.stem.count, 4 * width, init_values)
                for _ in range(num_blocks)
            ]
        )
        self.norm = Affine(width)
        self.head = nn.Linear(width, num_classes)
        init_token_mlp(self, self.head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x))).mean(1))


def resmlp_s12(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> ResMLP:
    """ResMLP-S12: Touvron et al. 2021, table 1.

    15,350,872 parameters; 76.6 % correct on ImageNet, trained on nothing else.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        image_size: their height and width, a multiple of 16; the number of parameters depends on
            it.

    Returns:
        a network from (N, in_channels, image_size, image_size) to scores (N, num_classes).
    """
    return ResMLP(num_classes, 12, 384, 1e-4, image_size=image_size, in_channels=in_channels)


def resmlp_s24(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> ResMLP:
    """ResMLP-S24: Touvron et al. 2021, table 1.

    30,020,680 parameters; 79.4 % correct on ImageNet, trained on nothing else.

    Arguments and result as `resmlp_s12`.
    """
    return ResMLP(num_classes, 24, 384, 1e-5, image_size=image_size, in_channels=in_channels)


def resmlp_s36(num_classes: int = 1000, *, in_channels: int = 3, image_size: int = 224) -> ResMLP:
    """ResMLP-S36: Touvron et al. 2021, table 1.

    44,690,488 parameters; 79.7 % correct on ImageNet, trained on nothing else.

    Arguments and result as `resmlp_s12`.
    """
    return ResMLP(num_classes, 36, 384, 1e-6, image_size=image_size, in_channels=in_channels)
