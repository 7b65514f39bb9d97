"""Vision Transformer (ViT): Dosovitskiy et al., "An image is worth 16x16 words: transformers for
image recognition at scale", 2021, table 1 and equations 1 to 4.

A picture is cut into patches of 16x16 or 32x32 pixels; each becomes a vector, a "token", by one
linear map, and from there on pictures are treated like sentences.

    tokens      patch P: 3 P^2 -> D, linear (a convolution of size and stride P)
                a learned class token in front, a learned position added to each token
    encoder     L times:   x + attention(norm(x)),   x + MLP(norm(x))
    result      norm, linear from the class token

    name    layers L   width D   MLP    heads
    Ti      12         192       768    3      Touvron et al., "DeiT", 2021, table 1
    S       12         384       1536   6      likewise
    B       12         768       3072   12     Dosovitskiy et al., table 1
    L       24         1024      4096   16     likewise

Parameters are called as in torchvision, which has B and L.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ... import nn
from ...autograd import Tensor, no_grad
from ...nn import functional as F
from ...nn.module import new_tensor
from ...ops.shape import cat, expand

__all__ = [
    "Encoder",
    "EncoderBlock",
    "VisionTransformer",
    "interpolate_embeddings",
    "vit_b_16",
    "vit_b_32",
    "vit_l_16",
    "vit_l_32",
    "vit_s_16",
    "vit_s_32",
    "vit_ti_16",
    "vit_ti_32",
]

NORM_EPS = 1e-6  # that of the authors' code


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)): equations 2 and 3.

    Args:
        num_heads: of the attention.
        hidden_dim: D, the width of a token.
        mlp_dim: the width inside the MLP.
        dropout: probability after the attention and after each linear layer of the MLP.
        attention_dropout: probability with which an attention weight becomes 0.
    """

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden_dim, eps=NORM_EPS)
        self.self_attention = nn.MultiheadAttention(
            hidden_dim, num_heads, dropout=attention_dropout, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(hidden_dim, eps=NORM_EPS)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_dim, mlp_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(mlp_dim, hidden_dim),
            nn.Dropout(dropout),
        )
        for layer in (self.mlp[0], self.mlp[3]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.ln_1(x)
        mixed, _ = self.self_attention(tokens, tokens, tokens, need_weights=False)
        x = x + self.dropout(mixed)
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Positions, L blocks and a last normalisation, (N, tokens, D) to (N, tokens, D).

    Args:
        seq_length: number of tokens.
        num_layers: L.
        num_heads, hidden_dim, mlp_dim, dropout, attention_dropout: as for `EncoderBlock`.
    """

    def __init__(
        self,
        seq_length: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(new_tensor((1, seq_length, hidden_dim), 0))
        nn.init.normal_(self.pos_embedding, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential()
        for i in range(num_layers):
            block = EncoderBlock(num_heads, hidden_dim, mlp_dim, dropout, attention_dropout)
            self.layers.add_module(f"encoder_layer_{i}", block)
        self.ln = nn.LayerNorm(hidden_dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """The Vision Transformer.

    Initial values are torchvision's: the patches' map normal with standard deviation
    1 / sqrt(inputs), positions normal with 0.02, the last linear layer 0 (section 3.2 of the paper:
    for a new task, "we attach a zero-initialized D x K feedforward layer").

    Args:
        image_size: height and width of the pictures, a multiple of patch_size.
        patch_size: P.
        num_layers, num_heads, hidden_dim, mlp_dim: L, heads, D and the MLP's width.
        dropout, attention_dropout: probabilities, see `EncoderBlock`.
        num_classes: number of outputs.
        representation_size: width of one more layer, with tanh, before the last (section 3.1: for
            training from scratch on much data); default: none.
        in_channels: channels of the pictures.

    Raises:
        ValueError: the picture cannot be divided into patches.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        num_classes: int = 1000,
        representation_size: int | None = None,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if image_size < patch_size or image_size % patch_size:
            raise ValueError(
                f"VisionTransformer: image_size {image_size} must be a multiple of patch_size "
                f"{patch_size}"
            )
        self.image_size = image_size
        self.patch_size = patch_size
        self.conv_proj = nn.Conv2d(in_channels, hidden_dim, patch_size, patch_size)
        self.class_token = nn.Parameter(new_tensor((1, 1, hidden_dim), 0))
        self.encoder = Encoder(
            (image_size // patch_size) ** 2 + 1,
            num_layers,
            num_heads,
            hidden_dim,
            mlp_dim,
            dropout,
            attention_dropout,
        )
        self.heads = nn.Sequential()
        if representation_size is not None:
            self.heads.add_module("pre_logits", nn.Linear(hidden_dim, representation_size))
            self.heads.add_module("act", nn.Tanh())
        self.heads.add_module("head", nn.Linear(representation_size or hidden_dim, num_classes))
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        layers = [self.conv_proj]
        if "pre_logits" in dict(self.heads.named_children()):
            layers.append(self.heads.pre_logits)
        for layer in layers:
            fan_in = math.prod(layer.weight.shape[1:])
            nn.init.trunc_normal_(layer.weight, std=math.sqrt(1 / fan_in))
            nn.init.zeros_(layer.bias)
        for values in (self.class_token, self.heads.head.weight, self.heads.head.bias):
            nn.init.zeros_(values)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"VisionTransformer: pictures must be (N, C, {self.image_size}, "
                f"{self.image_size}), got {x.shape}; build it with another image_size, and see "
                "interpolate_embeddings for weights that exist"
            )
        tokens = self.conv_proj(x).flatten(2).transpose(1, 2)
        n, _, width = tokens.shape
        tokens = self.encoder(cat([expand(self.class_token, n, 1, width), tokens], 1))
        return self.heads(tokens[:, 0])


def interpolate_embeddings(
    image_size: int,
    patch_size: int,
    model_state: Mapping[str, Tensor],
    interpolation_mode: str = "bicubic",
    reset_heads: bool = False,
) -> dict[str, Tensor]:
    """The weights of a `VisionTransformer` for pictures of another size (section 3.2).

    The positions of the patches, a square, are resized like a picture; all else stays.

    Args:
        image_size: of the new network.
        patch_size: P, as in the network that the weights are from.
        model_state: its state dict.
        interpolation_mode: "bicubic" or "bilinear".
        reset_heads: leave out the layers behind the encoder, for a new task.

    Returns:
        a state dict.

    Raises:
        ValueError: the old patches do not form a square.
    """
    state = dict(model_state)
    key = "encoder.pos_embedding"
    positions = state[key]
    _, length, width = positions.shape
    before, after = math.isqrt(length - 1), image_size // patch_size
    if before * before != length - 1:
        raise ValueError(
            f"interpolate_embeddings: {key} {tuple(positions.shape)} has {length - 1} patches, "
            "which do not form a square"
        )
    if after != before:
        with no_grad():
            grid = positions[:, 1:].transpose(1, 2).reshape(1, width, before, before)
            size = (after, after)
            grid = F.interpolate(grid, size, mode=interpolation_mode, align_corners=True)
            rows = grid.flatten(2).transpose(1, 2)
            state[key] = cat([positions[:, :1], rows], 1)
        if reset_heads:
            state = {name: v for name, v in state.items() if not name.startswith("heads")}
    return state


def vit_ti_16(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    representation_size: int | None = None,
) -> VisionTransformer:
    """ViT-Ti/16: Dosovitskiy et al. 2021, equations 1-4; the size: DeiT, table 1.

    5,717,416 parameters. Arguments and result as `vit_b_16`.
    """
    return VisionTransformer(
        image_size,
        16,
        12,
        3,
        192,
        768,
        dropout,
        attention_dropout,
        num_classes,
        representation_size,
        in_channels=in_channels,
    )


def vit_ti_32(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    representation_size: int | None = None,
) -> VisionTransformer:
    """ViT-Ti/32: Dosovitskiy et al. 2021, equations 1-4; the size: DeiT, table 1.

    6,131,560 parameters. Arguments and result as `vit_b_16`.
    """
    return VisionTransformer(
        image_size,
        32,
        12,
        3,
        192,
        768,
        dropout,
        attention_dropout,
        num_classes,
        representation_size,
        in_channels=in_channels,
    )


def vit_s_16(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    representation_size: int | None = None,
) -> VisionTransformer:
    """ViT-S/16: Dosovitskiy et al. 2021, equations 1-4; the size: DeiT, table 1.

    22,050,664 parameters. Arguments and result as `vit_b_16`.
    """
    return VisionTransformer(
        image_size,
        16,
        12,
        6,
        384,
        1536,
        dropout,
        attention_dropout,
        num_classes,
        representation_size,
        in_channels=in_channels,
    )


def vit_s_32(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    representation_size: int | None = None,
) -> VisionTransformer:
    """ViT-S/32: Dosovitskiy et al. 2021, equations 1-4; the size: DeiT, table 1.

    22,878,952 parameters. Arguments and result as `vit_b_16`.
    """
    return VisionTransformer(
        image_size,
        32,
        12,
        6,
        384,
        1536,
        dropout,
        attention_dropout,
        num_classes,
        representation_size,
        in_channels=in_channels,
    )


def vit_b_16(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    representation_size: int | None = None,
) -> VisionTransformer:
    """ViT-B/16: Dosovitskiy et al. 2021, table 1.

    86,567,656 parameters; 77.91 % correct on ImageNet at 384x384, trained on ImageNet alone
    (table 5).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        image_size: their height and width, a multiple of the patch size. The number of positions,
            and with it that of parameters, depends on it.
        dropout: probability after attention and after each linear layer of an MLP.
        attention_dropout: probability with which an attention weight becomes 0.
        representation_size: see `VisionTransformer`.

    Returns:
        a network from (N, in_channels, image_size, image_size) to scores (N, num_classes).
    """
    return VisionTransformer(
        image_size,
        16,
        12,
        12,
        768,
        3072,
        dropout,
        attention_dropout,
        num_classes,
        representation_size,
        in_channels=in_channels,
    )


def vit_b_32(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    representation_size: int | None = None,
) -> VisionTransformer:
    """ViT-B/32: Dosovitskiy et al. 2021, table 1.

    88,224,232 parameters. Arguments and result as `vit_b_16`.
    """
    return VisionTransformer(
        image_size,
        32,
        12,
        12,
        768,
        3072,
        dropout,
        attention_dropout,
        num_classes,
        representation_size,
        in_channels=in_channels,
    )


def vit_l_16(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    representation_size: int | None = None,
) -> VisionTransformer:
    """ViT-L/16: Dosovitskiy et al. 2021, table 1.

    304,326,632 parameters. Arguments and result as `vit_b_16`.
    """
    return VisionTransformer(
        image_size,
        16,
        24,
        16,
        1024,
        4096,
        dropout,
        attention_dropout,
        num_classes,
        representation_size,
        in_channels=in_channels,
    )


def vit_l_32(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    representation_size: int | None = None,
) -> VisionTransformer:
    """ViT-L/32: Dosovitskiy et al. 2021, table 1.

    306,535,400 parameters. Arguments and result as `vit_b_16`.
    """
    return VisionTransformer(
        image_size,
        32,
        24,
        16,
        1024,
        4096,
        dropout,
        attention_dropout,
        num_classes,
        representation_size,
        in_channels=in_channels,
    )
