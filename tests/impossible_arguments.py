"""Arguments that make no sense: for each function and layer, calls that must be refused.

Arrays stand for tensors. Where torch computes something nevertheless, so may minidl, but the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def x(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def args(*positional: Any, **keywords: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return positional, keywords


SIZES = [args(-1), args(2, -3), args((2, -3)), args(2.5), args("two")]
DIMS = [args(x(2, 3), 2), args(x(2, 3), -3), args(x(2, 3), dim=2)]
BINARY_SHAPES = [args(x(2, 3), x(2, 4)), args(x(2, 3), x(3, 2))]
WINDOWS = [
    args(x(1, 2, 4, 4), 0),
    args(x(1, 2, 4, 4), -1),
    args(x(1, 2, 4, 4), 5),
    args(x(1, 2, 4, 4), 2, 0),
    args(x(1, 2, 4, 4), 2, -1),
    args(x(1, 2, 4, 4), 2, 1, 2),
    args(x(1, 2, 4, 4), 2, 1, -1),
    args(x(1, 2, 4, 4), (2, 2, 2)),
    args(x(1, 2, 4, 4), 2, (1, 1, 1)),
]
SEQUENCES = [
    args(x(1, 2, 4), 0),
    args(x(1, 2, 4), 5),
    args(x(1, 2, 4), 2, -1),
    args(x(1, 2, 4), 2, 1, 2),
    args(x(1, 2, 4), (2, 2)),
]
ADAPTIVE = [
    args(x(1, 2, 4, 4), -1),
    args(x(1, 2, 4, 4), (2, -1)),
    args(x(1, 2, 4, 4), (1, 2, 3)),
    args(x(1, 2, 4, 4), 1.5),
]
CONV = [
    args(x(1, 4, 5, 5), x(6, 4, 6, 6)),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), stride=0),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), stride=-1),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), stride=(1, 1, 1)),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), padding=-1),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), padding=(1, 1, 1)),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), padding="some"),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), padding="same", stride=2),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), dilation=0),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), dilation=3),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), groups=0),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), groups=3),
    args(x(1, 4, 5, 5), x(5, 2, 3, 3), groups=2),
    args(x(1, 4, 5, 5), x(6, 4, 3, 3), x(5)),
    args(x(1, 4, 5, 5), x(6, 4, 0, 3)),
]
CONV_TRANSPOSE = [
    args(x(1, 4, 3, 3), x(4, 6, 3, 3), stride=0),
    args(x(1, 4, 3, 3), x(4, 6, 3, 3), padding=-1),
    args(x(1, 4, 3, 3), x(4, 6, 3, 3), padding=4),
    args(x(1, 4, 3, 3), x(4, 6, 3, 3), stride=2, output_padding=2),
    args(x(1, 4, 3, 3), x(4, 6, 3, 3), output_padding=-1),
    args(x(1, 4, 3, 3), x(4, 6, 3, 3), dilation=0),
    args(x(1, 4, 3, 3), x(4, 6, 3, 3), groups=3),
    args(x(1, 4, 3, 3), x(4, 6, 3, 3), x(5)),
]
RESIZE = [
    args(x(1, 2, 4, 4)),
    args(x(1, 2, 4, 4), 8, 2),
    args(x(1, 2, 4, 4), 0),
    args(x(1, 2, 4, 4), -2),
    args(x(1, 2, 4, 4), scale_factor=0.1),
    args(x(1, 2, 4, 4), scale_factor=-1.0),
    args(x(1, 2, 4, 4), (2, 2, 2)),
    args(x(1, 2, 4, 4), 8, mode="fuzzy"),
    args(x(1, 2, 4, 4), 8, mode="linear"),
    args(x(1, 2, 4, 4), 8, mode="nearest", align_corners=True),
]
PROBABILITY = [args(x(2, 3, 4, 5), p=-0.1), args(x(2, 3, 4, 5), p=1.1)]
REDUCTION = [args(x(2, 3), x(2, 3), reduction="average"), args(x(2, 3), x(2, 3), reduction=None)]
CLASSES = np.array([0, 2])

IMPOSSIBLE = {
    # creation
    **dict.fromkeys(("zeros", "ones", "empty", "rand", "randn"), SIZES),
    "full": [args((2, -3), 1.0), args((2, "x"), 1.0)],
    "eye": [args(-1), args(2, -1), args(2.5)],
    "arange": [args(0, 5, 0), args(0, 5, -1), args(5, 0, 1)],
    "linspace": [args(0, 1, -1)],
    "randint": [args(5, 5, (2,)), args(5, 3, (2,)), args(0, 5, (-1,)), args(0, (2,))],
    "randperm": [args(-1), args(2.5)],
    "randint_like": [args(x(2, 3), 5, 5), args(x(2, 3), 5, 3)],
    # reductions and choice
    **{
        name: [*DIMS, args(x(2, 3), (0, 0)), args(x(2, 3), "x")]
        for name in ("sum", "mean", "std", "var", "amax", "amin", "logsumexp", "all", "any")
    },
    **{
        name: [*DIMS, args(x(2, 3), (0, 1)), args(x(0, 3), 0), args(x(0))]
        for name in ("max", "min", "argmax", "argmin")
    },
    **dict.fromkeys(("prod", "cumsum", "sort", "argsort", "softmax", "log_softmax"), DIMS),
    "softmin": DIMS,
    "scaled_dot_product_attention": [
        args(x(3, 2), x(4, 3), x(4, 5)),
        args(x(3, 2), x(4, 2), x(5, 5)),
        args(x(3, 2), x(4, 2), x(4, 5), x(3, 5)),
        args(x(3, 2), x(4, 2), x(4, 5), x(3, 4), is_causal=True),
        args(x(3, 2), x(4, 2), x(4, 5), dropout_p=1.5),
    ],
    "norm": [args(x(2, 3), 2, 2), args(x(2, 3), "some")],
    "normalize": [args(x(2, 3), dim=2)],
    "topk": [args(x(2, 3), 4), args(x(2, 3), -1), args(x(2, 3), 1, 2)],
    "clamp": [args(x(2, 3)), args(x(2, 3), x(2, 4))],
    "where": [args(x(2, 3) > 0, x(2, 3), x(2, 4)), args(x(2, 3), x(2, 3), x(2, 3))],
    "masked_fill": [
        args(x(2, 3), x(2, 3), 0.0),
        args(x(2, 3), x(2, 4) > 0, 0.0),
        args(x(2, 3), x(2, 3) > 0, x(3)),
    ],
    "masked_select": [args(x(2, 3), x(2, 3)), args(x(2, 3), x(2, 4) > 0)],
    # arithmetic
    **dict.fromkeys(
        ("add", "sub", "mul", "pow", "eq", "lt", "maximum", "remainder", "logical_and"),
        BINARY_SHAPES,
    ),
    "div": [
        *BINARY_SHAPES,
        args(x(2, 3), 2.0, rounding_mode="up"),
        args(np.array([1, 2]), np.array([1, 0]), rounding_mode="floor"),
    ],
    "floor_divide": [args(np.array([1, 2]), np.array([1, 0]))],
    "bitwise_and": [args(x(2), x(2)), args(np.array([1, 2]), np.array([1, 2, 3]))],
    "isclose": [args(x(2), x(2).astype(np.float64)), args(x(2), x(3))],
    "allclose": [args(x(2), x(2).astype(np.float64)), args(x(2), x(3))],
    # shape
    "broadcast_tensors": BINARY_SHAPES,
    "cat": [args([]), args([x(2, 3), x(2, 4)]), args([x(2, 3), x(3)]), args([x(2, 3)], 2)],
    "stack": [args([]), args([x(2, 3), x(3, 2)]), args([x(2, 3)], 3)],
    "channel_shuffle": [args(x(2, 6, 3), 4), args(x(2, 6, 3), 0), args(x(2, 6), 2)],
    "chunk": [args(x(4), 0), args(x(4), -1), args(x(4), 2, 1)],
    "split": [
        args(x(4), -1),
        args(x(4), 0),
        args(x(4), [1, 2]),
        args(x(4), [5, -1]),
        args(x(4), 2, 1),
    ],
    "diagonal": [args(x(2, 3), 0, 0, 0), args(x(2, 3), 0, 0, 2)],
    "flatten": [args(x(2, 3), 1, 0), args(x(2, 3), 2)],
    "flip": [args(x(2, 3), (0, 0)), args(x(2, 3), (2,))],
    "meshgrid": [args(x(2, 3), indexing="ij"), args(x(2), x(3), indexing="xx")],
    "movedim": [args(x(2, 3), 0, 2), args(x(2, 3), (0, 1), 0), args(x(2, 3), (0, 0), (0, 1))],
    "narrow": [args(x(4), 0, 3, 2), args(x(4), 0, 0, -1), args(x(4), 1, 0, 1), args(x(4), 0, 5, 0)],
    "permute": [args(x(2, 3), (0,)), args(x(2, 3), (0, 0)), args(x(2, 3), (0, 2))],
    "reshape": [
        args(x(2, 3), (4, 2)),
        args(x(2, 3), (-1, -1)),
        args(x(2, 3), (-2, 3)),
        args(x(2, 3), (-1, 4)),
    ],
    "roll": [args(x(2, 3), (1, 1), (0,)), args(x(2, 3), 1, 2)],
    "squeeze": [args(x(2, 3), 2)],
    "unsqueeze": [args(x(2, 3), 3), args(x(2, 3), -4)],
    "swapaxes": [args(x(2, 3), 0, 2)],
    "transpose": [args(x(2, 3), 0, 2), args(x(2, 3), -3, 0)],
    "t": [args(x(2, 3, 4))],
    "tile": [args(x(2, 3), (-1,))],
    "tril": [args(x(3))],
    "triu": [args(x(3))],
    "unbind": [args(x(2, 3), 2)],
    "unflatten": [args(x(2, 6), 1, (2, 4)), args(x(2, 6), 2, (2, 3)), args(x(2, 6), 1, (-1, -1))],
    "pad": [
        args(x(2, 3, 4), (1,)),
        args(x(3), (1, 1, 1, 1)),
        args(x(2, 3, 4), (-5, 0)),
        args(x(2, 3, 4), (4, 0), mode="reflect"),
        args(x(2, 3, 4), (5, 0), mode="circular"),
        args(x(2, 3, 4), (1, 1), mode="mirror"),
    ],
    # indexing
    "gather": [
        args(x(2, 3), 2, np.array([[0]])),
        args(x(2, 3), 1, np.array([[3]])),
        args(x(2, 3), 1, np.array([0])),
        args(x(2, 3), 1, x(1, 1)),
    ],
    "scatter": [
        args(x(2, 3), 1, np.array([[3]]), x(1, 1)),
        args(x(2, 3), 1, np.array([[0, 1]]), x(1, 1)),
    ],
    "scatter_add": [args(x(2, 3), 1, np.array([[3]]), x(1, 1)), args(x(2), 1, np.array([0]), x(1))],
    "index_select": [args(x(2, 3), 0, np.array([2])), args(x(2, 3), 2, np.array([0]))],
    "index_put": [args(x(2, 3), (np.array([2]),), x(3)), args(x(2, 3), (np.array([0]),), x(4))],
    "repeat_interleave": [
        args(x(2, 3), -1),
        args(x(2, 3), np.array([1, 2, 3]), 0),
        args(x(2), 1, 1),
    ],
    "one_hot": [args(np.array([0, 3]), 3), args(np.array([-1])), args(x(2), 3)],
    "take_along_dim": [args(x(2, 3), np.array([0]), 1)],
    # products
    "matmul": [args(x(2, 3), x(2, 3)), args(x(), x(3)), args(x(2, 3), x(2))],
    "mm": [args(x(2, 3), x(2, 3)), args(x(3), x(3))],
    "bmm": [args(x(2, 2, 3), x(3, 3, 4)), args(x(2, 3), x(3, 4))],
    "dot": [args(x(3), x(4)), args(x(2, 3), x(2, 3))],
    "outer": [args(x(2, 3), x(3))],
    "einsum": [
        args("ij,jk->ik", x(2, 3), x(2, 3)),
        args("ij->ik", x(2, 3)),
        args("ij,jk", x(2, 3)),
        args("i->i", x(2, 3)),
        args("ij->ii", x(2, 3)),
        args("i!->i", x(2, 3)),
        args("ii->i", x(2, 3)),
    ],
    "linear": [args(x(2, 3), x(4, 2)), args(x(2, 3), x(4, 3), x(3)), args(x(2, 3), x(2, 4, 3))],
    # convolution, pooling, resizing
    "conv2d": CONV,
    "conv1d": [
        args(x(1, 4, 5), x(6, 4, 6)),
        args(x(1, 4, 5), x(6, 4, 3), stride=0),
        args(x(1, 4, 5), x(6, 4, 3), groups=3),
    ],
    "conv_transpose2d": CONV_TRANSPOSE,
    "conv_transpose1d": [
        args(x(1, 4, 3), x(4, 6, 3), stride=0),
        args(x(1, 4, 3), x(4, 6, 3), stride=2, output_padding=2),
    ],
    "max_pool2d": [
        *WINDOWS,
        args(x(1, 2, 4, 4), 2, dilation=0),
        args(x(1, 2, 4, 4), 2, dilation=4),
    ],
    "avg_pool2d": [*WINDOWS, args(x(1, 2, 4, 4), 2, divisor_override=0)],
    "max_pool1d": SEQUENCES,
    "avg_pool1d": SEQUENCES,
    "adaptive_avg_pool2d": ADAPTIVE,
    "adaptive_max_pool2d": ADAPTIVE,
    "adaptive_avg_pool1d": [args(x(1, 2, 4), -1), args(x(1, 2, 4), (2, 2))],
    "adaptive_max_pool1d": [args(x(1, 2, 4), -1), args(x(1, 2, 4), (2, 2))],
    "max_unpool2d": [
        args(x(1, 1, 1, 1), np.array([[[[99]]]]), 2),
        args(x(1, 1, 1, 1), np.array([[[[-1]]]]), 2),
        args(x(1, 1, 1, 1), np.array([[[[0]]]]), 2, output_size=(9, 9)),
    ],
    "max_unpool1d": [args(x(1, 1, 1), np.array([[[99]]]), 2)],
    "interpolate": RESIZE,
    "upsample": RESIZE,
    # activations, dropout, normalisation
    "hardtanh": [args(x(2), 1.0, -1.0)],
    "gelu": [args(x(2), approximate="some")],
    "prelu": [args(x(2, 3), x(2)), args(x(2, 3), x(1, 3))],
    **dict.fromkeys(("dropout", "dropout2d", "dropout3d", "alpha_dropout"), PROBABILITY),
    "dropout1d": [args(x(2, 3, 4), p=1.5), args(x(2, 3, 4, 5))],
    "stochastic_depth": [args(x(2), 1.5, "row"), args(x(2), 0.5, "rows")],
    "batch_norm": [
        args(x(2, 3), None, None),
        args(x(1, 3), None, None, training=True),
        args(x(2, 3), x(4), x(4)),
        args(x(3), x(3), x(3)),
    ],
    "instance_norm": [args(x(2, 3, 1)), args(x(2, 3))],
    "layer_norm": [args(x(2, 3), (2,)), args(x(2, 3), ()), args(x(2, 3), (3,), x(2))],
    "group_norm": [
        args(x(2, 6, 4), 4),
        args(x(2, 6, 4), 0),
        args(x(2, 6, 4), 2, x(3)),
        args(x(6), 2),
    ],
    "local_response_norm": [args(x(2, 3), 2), args(x(2, 3, 4), 0)],
    # losses
    **dict.fromkeys(("mse_loss", "l1_loss", "soft_margin_loss", "kl_div"), REDUCTION),
    "smooth_l1_loss": [*REDUCTION, args(x(2), x(2), beta=-1.0)],
    "huber_loss": [*REDUCTION, args(x(2), x(2), delta=0.0)],
    "binary_cross_entropy_with_logits": [*REDUCTION, args(x(2, 3), x(3))],
    "binary_cross_entropy": [args(x(2) * 9, x(2)), args(x(2), x(2), reduction="average")],
    "cross_entropy": [
        args(x(2, 3), CLASSES, reduction="average"),
        args(x(2, 3), CLASSES, label_smoothing=1.5),
        args(x(2, 3), np.array([0, 3])),
        args(x(2, 3), np.array([0, -1])),
        args(x(2, 3), CLASSES, x(2)),
        args(x(2, 3), np.array([0.0, 2.0])),
    ],
    "nll_loss": [
        args(x(2, 3), CLASSES, reduction="average"),
        args(x(2, 3), np.array([0, 3])),
        args(x(2, 3), CLASSES, x(2)),
    ],
    "multi_margin_loss": [
        args(x(2, 3), CLASSES, p=3),
        args(x(2, 3), CLASSES, reduction="average"),
        args(x(2, 3), np.array([0, 3])),
    ],
    "hinge_embedding_loss": [args(x(2), x(2), reduction="average")],
    "margin_ranking_loss": [args(x(2), x(2), x(2), reduction="average"), args(x(2), x(2), x(2, 1))],
    "gaussian_nll_loss": [
        args(x(2), x(2), -np.ones(2, np.float32)),
        args(x(2), x(2), np.ones(2, np.float32), reduction="average"),
    ],
    **{
        f"{kind}box_iou_loss": [args(x(2, 4), x(2, 4), reduction="average"), args(x(2, 5), x(2, 5))]
        for kind in ("", "generalized_", "distance_")
    },
    **{
        name: [
            args(x(1, 4, 5, 5), 0 * x(2, 5), 0),
            args(x(1, 4, 5, 5), 0 * x(2, 5), 1.5),
            args(x(1, 4, 5, 5), 0 * x(2, 5), (2, 2, 2)),
            args(x(1, 4, 5, 5), 3.0, 2),
            args(x(1, 4, 5, 5), [0 * x(2, 4)] * 2, 2),
        ]
        for name in ("roi_align", "roi_pool", "ps_roi_pool")
    },
    "sigmoid_focal_loss": [args(x(2), x(2), reduction="average"), args(x(2), x(2), alpha=2.0)],
    "dice_loss": [
        args(x(2, 3), CLASSES, reduction="average"),
        args(x(2, 3), np.array([0, 3])),
        args(x(2, 3), CLASSES, x(2)),
        args(x(2, 3), CLASSES, smooth=-1.0),
    ],
    "generalized_dice_loss": [
        args(x(2, 3), CLASSES, reduction="average"),
        args(x(2, 3), np.array([0, 3])),
    ],
    "sigmoid_cross_entropy": [
        args(x(2, 3), CLASSES, reduction="average"),
        args(x(2, 3), np.array([0, 3])),
        args(x(2, 3), np.full((2, 3), 2)),
        args(x(2, 3), CLASSES, x(2)),
    ],
}

# Constructors of layers with arguments that make no sense, and a shape to try the layer on.
IMPOSSIBLE_LAYERS = {
    "Conv2d": [args(3, 4, 3, groups=2), args(4, 3, 3, groups=2), args(4, 4, 3, padding="some")],
    "Conv1d": [args(3, 4, 3, groups=2), args(4, 4, 3, padding_mode="some")],
    "ConvTranspose2d": [args(3, 4, 3, groups=2), args(4, 4, 3, padding_mode="reflect")],
    "ConvTranspose1d": [args(3, 4, 3, groups=2)],
    "Dropout": [args(1.5), args(-0.1)],
    "Dropout1d": [args(1.5)],
    "Dropout2d": [args(1.5)],
    "StochasticDepth": [args(1.5, "row"), args(0.5, "rows")],
    "GroupNorm": [args(4, 6)],
    "MultiheadAttention": [args(6, 4), args(6, 0), args(0, 1), args(6, 2, dropout=1.5)],
    "Hardtanh": [args(1.0, -1.0)],
}
