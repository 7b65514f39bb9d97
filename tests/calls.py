"""One valid call, or several, of every public function and layer: what the sweeps start from.

`FUNCTIONS` has the functions of `minidl` and `minidl.nn.functional` that take tensors, `LAYERS` the
classes of `minidl.nn`. A call is written once and made with minidl's function or with torch's.
Sizes differ from dimension to dimension, so that no mistake hides behind a coincidence.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Call:
    """A valid call.

    Attributes:
        name: of the function or class.
        run: takes the function (or the layer that `make` made) and the tensors.
        inputs: for each tensor a shape (normal numbers) or an array.
        make: for a layer: takes the class, returns the layer.
        torch: how torch computes the same where it lacks the name; takes torch and its tensors.
        values: whether results are determined (not drawn at random).
        label: distinguishes several calls of one name.
    """

    name: str
    run: Callable[..., Any]
    inputs: tuple[Any, ...]
    make: Callable[[Any], Any] | None = None
    torch: Callable[..., Any] | None = None
    values: bool = True
    label: str = field(default="")

    def __str__(self) -> str:
        return f"{self.name}{self.label}"

    def arrays(self, dtype: str = "float32") -> list[np.ndarray]:
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        made = [
            x.copy() if isinstance(x, np.ndarray) else rng.standard_normal(x) for x in self.inputs
        ]
        return [a.astype(dtype) if a.dtype.kind == "f" else a for a in made]


def ints(*values: Any) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def positive(*shape: int) -> np.ndarray:
    """Numbers between 0.1 and 0.9: probabilities, variances."""
    return np.random.default_rng(sum(shape)).uniform(0.1, 0.9, shape)


MASK = np.array([[True, False, True, True], [False, True, False, True], [True, True, False, False]])
# Where max_pool2d(2) finds the maxima of (1, 2, 4, 6), one for each window.
PLACES = ints([[[0, 3, 4], [12, 14, 23]], [[7, 9, 5], [18, 20, 17]]])


def plain(f: Any, *tensors: Any) -> Any:
    return f(*tensors)


def _call(name: str, *inputs: Any, run: Any = plain, **options: Any) -> Call:
    return Call(name, run, inputs, **options)


def _numbered(calls: list[Call]) -> list[Call]:
    """Calls with a label where a name has several."""
    seen: dict[str, int] = {}
    for call in calls:
        seen[call.name] = seen.get(call.name, 0) + 1
        if seen[call.name] > 1:
            call.label = f" ({seen[call.name]})"
    return calls


UNARY = (
    *("abs", "absolute", "ceil", "clone", "cos", "erf", "exp", "expm1", "floor", "isfinite"),
    *("isinf", "isnan", "log", "log1p", "log2", "log10", "logical_not", "neg", "negative", "relu"),
    *("reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "square", "tan", "tanh"),
    *("trunc", "nonzero", "ones_like", "zeros_like", "max", "min", "sum", "mean", "prod", "norm"),
    *("all", "any", "amax", "amin", "argmax", "argmin", "std", "var", "squeeze"),
    *("flatten", "unbind", "tril", "triu", "t", "diagonal"),
    *("elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish"),
    *("relu6", "selu", "silu", "softplus", "normalize"),
)
BINARY = (
    *("add", "div", "divide", "eq", "equal", "floor_divide", "ge", "greater", "greater_equal"),
    *("gt", "isclose", "allclose", "le", "less", "less_equal", "logical_and", "logical_or"),
    *("logical_xor", "lt", "maximum", "minimum", "mul", "multiply", "ne", "not_equal", "pow"),
    *("remainder", "sub", "subtract", "true_divide"),
)

FUNCTIONS = _numbered(
    [
        *[_call(name, (3, 4)) for name in UNARY],
        *[_call(name, (2, 3), (2, 3)) for name in BINARY],
        *[_call(name, (2, 3, 1), (3, 4)) for name in BINARY],
        *[
            _call(name, ints(1, 2, 3), ints(4, 5, 6))
            for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
        ],
        _call("bitwise_not", ints(1, 2, 3)),
        # drawn at random, or of no particular value
        *[_call(name, (3, 4), values=False) for name in ("empty_like", "rand_like", "randn_like")],
        _call("full_like", (3, 4), run=lambda f, x: f(x, 2.5)),
        _call("randint_like", (3, 4), run=lambda f, x: f(x, 7), values=False),
        _call("bernoulli", positive(3, 4), values=False),
        # reductions and choice
        _call("sum", (3, 4), run=lambda f, x: f(x, 1)),
        _call("sum", (3, 4, 5), run=lambda f, x: f(x, (0, 2), keepdim=True)),
        _call("mean", (3, 4), run=lambda f, x: f(x, dim=-1)),
        _call("max", (3, 4), run=lambda f, x: f(x, 1)),
        _call("max", (3, 4), (3, 4)),
        _call("min", (3, 4), run=lambda f, x: f(x, 0)),
        _call("prod", (3, 4), run=lambda f, x: f(x, 1)),
        _call("std", (3, 4), run=lambda f, x: f(x, 1)),
        _call("var", (3, 4), run=lambda f, x: f(x, 1, correction=0)),
        _call("logsumexp", (3, 4), run=lambda f, x: f(x, 1)),
        _call("norm", (3, 4), run=lambda f, x: f(x, 1, 0)),
        _call("cumsum", (3, 4), run=lambda f, x: f(x, 1)),
        _call("all", (3, 4), run=lambda f, x: f(x, 1)),
        _call("any", (3, 4), run=lambda f, x: f(x, 1)),
        _call("amax", (3, 4), run=lambda f, x: f(x, 1)),
        _call("argmax", (3, 4), run=lambda f, x: f(x, 1)),
        _call("sort", (3, 4), run=lambda f, x: f(x, dim=1, stable=True)),
        _call("argsort", (3, 4), run=lambda f, x: f(x, dim=0, stable=True)),
        _call("topk", (3, 4), run=lambda f, x: f(x, 2)),
        _call("clamp", (3, 4), run=lambda f, x: f(x, -0.5, 0.5)),
        _call("clip", (3, 4), run=lambda f, x: f(x, min=0.0)),
        _call("clamp", (3, 4), (3, 4), (3, 4)),
        _call("where", MASK, (3, 4), (3, 4)),
        _call("where", MASK, run=plain),
        _call("masked_fill", (3, 4), MASK, run=lambda f, x, m: f(x, m, -1.0)),
        _call("masked_select", (3, 4), MASK),
        # shape
        _call("broadcast_tensors", (2, 3, 1), (3, 4)),
        _call("cat", (2, 3), (4, 3), run=lambda f, *xs: f(xs)),
        _call("cat", (2, 3), (2, 5), run=lambda f, *xs: f(xs, dim=1)),
        _call("chunk", (5, 3), run=lambda f, x: f(x, 2)),
        _call("diagonal", (2, 3, 4), run=lambda f, x: f(x, 1, 1, 2)),
        _call("flip", (3, 4), run=lambda f, x: f(x, (1,))),
        _call("flatten", (2, 3, 4), run=lambda f, x: f(x, 1)),
        _call("meshgrid", (3,), (4,), run=lambda f, *xs: f(*xs, indexing="ij")),
        _call("movedim", (2, 3, 4), run=lambda f, x: f(x, 0, 2)),
        _call("narrow", (5, 3), run=lambda f, x: f(x, 0, 1, 3)),
        _call("permute", (2, 3, 4), run=lambda f, x: f(x, (2, 0, 1))),
        _call("reshape", (3, 4), run=lambda f, x: f(x, (2, 6))),
        _call("roll", (3, 4), run=lambda f, x: f(x, 1, 0)),
        _call("split", (5, 3), run=lambda f, x: f(x, 2)),
        _call("split", (5, 3), run=lambda f, x: f(x, [2, 3])),
        _call("squeeze", (3, 1, 4), run=lambda f, x: f(x, 1)),
        _call("stack", (2, 3), (2, 3), run=lambda f, *xs: f(xs, dim=1)),
        _call("swapaxes", (2, 3, 4), run=lambda f, x: f(x, 0, 2)),
        _call("tile", (3, 4), run=lambda f, x: f(x, (2, 1))),
        _call("transpose", (2, 3, 4), run=lambda f, x: f(x, 1, 2)),
        _call("unflatten", (2, 6), run=lambda f, x: f(x, 1, (2, 3))),
        _call("unsqueeze", (3, 4), run=lambda f, x: f(x, 1)),
        _call("repeat_interleave", (3, 4), run=lambda f, x: f(x, 2, dim=1)),
        _call("pad", (2, 3, 4), run=lambda f, x: f(x, (1, 2))),
        _call("pad", (2, 3, 4, 5), run=lambda f, x: f(x, (1, 2, 0, 1), mode="reflect")),
        _call("pad", (2, 3, 4), run=lambda f, x: f(x, (1, 2), mode="circular")),
        # indexing
        _call("gather", (3, 4), ints([0, 1], [2, 3], [1, 0]), run=lambda f, x, i: f(x, 1, i)),
        _call("index_put", (3, 4), ints(0, 2), (2, 4), run=lambda f, x, i, v: f(x, (i,), v)),
        _call("index_select", (3, 4), ints(0, 2), run=lambda f, x, i: f(x, 0, i)),
        _call(
            "scatter",
            (3, 4),
            ints([0, 1], [2, 3], [1, 0]),
            (3, 2),
            run=lambda f, x, i, s: f(x, 1, i, s),
        ),
        _call(
            "scatter_add",
            (3, 4),
            ints([0, 1], [2, 3], [1, 1]),
            (3, 2),
            run=lambda f, x, i, s: f(x, 1, i, s),
        ),
        _call(
            "take_along_dim",
            (3, 4),
            ints([0, 1], [2, 3], [1, 0]),
            run=lambda f, x, i: f(x, i, dim=1),
        ),
        _call("one_hot", ints(0, 2, 1), run=lambda f, x: f(x, 4)),
        # products
        _call("matmul", (2, 3), (3, 4)),
        _call("matmul", (5, 2, 3), (5, 3, 4)),
        _call("matmul", (2, 3), (3,)),
        _call("mm", (2, 3), (3, 4)),
        _call("bmm", (5, 2, 3), (5, 3, 4)),
        _call("dot", (3,), (3,)),
        _call("outer", (3,), (4,)),
        _call("einsum", (2, 3), (3, 4), run=lambda f, a, b: f("ij,jk->ik", a, b)),
        _call("linear", (2, 3), (4, 3), (4,)),
        # convolution
        _call("conv1d", (2, 4, 7), (6, 4, 3), (6,)),
        _call("conv1d", (2, 4, 7), (6, 2, 3), run=lambda f, x, w: f(x, w, stride=2, groups=2)),
        _call("conv2d", (2, 4, 5, 7), (6, 4, 3, 2), (6,), run=lambda f, *a: f(*a, padding=(1, 0))),
        _call("conv2d", (2, 4, 5, 7), (4, 1, 3, 3), run=lambda f, x, w: f(x, w, groups=4)),
        _call("conv_transpose1d", (2, 4, 5), (4, 6, 3), (6,)),
        _call(
            "conv_transpose2d",
            (2, 4, 3, 5),
            (4, 6, 3, 2),
            (6,),
            run=lambda f, *a: f(*a, stride=2, padding=1, output_padding=1),
        ),
        # pooling
        _call("max_pool1d", (2, 3, 8), run=lambda f, x: f(x, 2)),
        _call("max_pool2d", (2, 3, 6, 8), run=lambda f, x: f(x, 3, 2, 1)),
        _call("avg_pool1d", (2, 3, 8), run=lambda f, x: f(x, 2)),
        _call("avg_pool2d", (2, 3, 6, 8), run=lambda f, x: f(x, 3, 2, 1)),
        _call("adaptive_avg_pool1d", (2, 3, 8), run=lambda f, x: f(x, 3)),
        _call("adaptive_avg_pool2d", (2, 3, 6, 8), run=lambda f, x: f(x, (2, 3))),
        _call("adaptive_max_pool1d", (2, 3, 8), run=lambda f, x: f(x, 3)),
        _call("adaptive_max_pool2d", (2, 3, 6, 8), run=lambda f, x: f(x, (2, 3))),
        _call(
            "global_avg_pool2d",
            (2, 3, 4, 5),
            torch=lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, 1),
        ),
        _call(
            "global_max_pool2d",
            (2, 3, 4, 5),
            torch=lambda torch, x: torch.nn.functional.adaptive_max_pool2d(x, 1),
        ),
        _call("max_unpool1d", (2, 3), ints([0, 3, 5], [1, 2, 4]), run=lambda f, x, i: f(x, i, 2)),
        _call("max_unpool2d", (1, 2, 2, 3), PLACES, run=lambda f, x, i: f(x, i, 2)),
        _call(
            "unpool_nearest",
            (2, 3, 4, 5),
            run=lambda f, x: f(x, 2),
            torch=lambda torch, x: _images(
                torch, x, lambda x: torch.nn.functional.interpolate(x, scale_factor=2)
            ),
        ),
        _call(
            "unpool_nails",
            (2, 3, 4, 5),
            run=lambda f, x: f(x, 2),
            torch=lambda torch, x: _images(torch, x, lambda x: _nails(torch, x)),
        ),
        # resizing
        _call("interpolate", (2, 3, 4, 5), run=lambda f, x: f(x, scale_factor=2)),
        _call("interpolate", (2, 3, 4, 5), run=lambda f, x: f(x, (3, 7), mode="bilinear")),
        _call("interpolate", (2, 3, 4), run=lambda f, x: f(x, 7, mode="linear")),
        _call("upsample", (2, 3, 4, 5), run=lambda f, x: f(x, scale_factor=2)),
        # activations with further arguments
        _call("prelu", (2, 3, 4), (3,)),
        _call("softmax", (3, 4), run=lambda f, x: f(x, dim=1)),
        _call("log_softmax", (3, 4), run=lambda f, x: f(x, dim=1)),
        _call("softmin", (3, 4), run=lambda f, x: f(x, dim=1)),
        # dropout, of everything: then the result is no matter of chance
        *[
            _call(name, shape, run=lambda f, x: f(x, 1.0, training=True))
            for name, shape in [
                ("dropout", (3, 4)),
                ("dropout1d", (2, 3, 4)),
                ("dropout2d", (2, 3, 4, 5)),
                ("dropout3d", (2, 3, 2, 4, 5)),
            ]
        ],
        _call("alpha_dropout", (3, 4), run=lambda f, x: f(x, 0.5, training=False)),
        _call(
            "stochastic_depth",
            (3, 4),
            run=lambda f, x: f(x, 1.0, "row"),
            torch=lambda torch, x: x * 0,
        ),
        # normalisation
        _call("batch_norm", (4, 3, 5), np.zeros(3), np.ones(3), (3,), (3,)),
        _call(
            "batch_norm",
            (4, 3, 2, 5),
            np.zeros(3),
            np.ones(3),
            (3,),
            (3,),
            run=lambda f, *a: f(*a, training=True),
        ),
        _call(
            "batch_norm_relu",
            (4, 3, 5),
            np.zeros(3),
            np.ones(3),
            (3,),
            (3,),
            run=lambda f, *a: f(*a, training=True),
            torch=lambda torch, *a: torch.relu(torch.nn.functional.batch_norm(*a, training=True)),
        ),
        _call("layer_norm", (2, 3, 4), (4,), (4,), run=lambda f, x, w, b: f(x, (4,), w, b)),
        _call("group_norm", (2, 6, 5), (6,), (6,), run=lambda f, x, w, b: f(x, 2, w, b)),
        _call("instance_norm", (2, 3, 5), run=plain),
        _call(
            "instance_norm",
            (2, 3, 5),
            np.zeros(3),
            np.ones(3),
            (3,),
            (3,),
            run=lambda f, *a: f(*a, use_input_stats=False),
        ),
        _call("local_response_norm", (2, 6, 4), run=lambda f, x: f(x, 3)),
        # losses
        _call("cross_entropy", (3, 4), ints(0, 3, 1)),
        _call("cross_entropy", (2, 4, 3), ints([0, 3, 1], [2, 2, 0])),
        _call("cross_entropy", (3, 4), positive(3, 4)),
        _call(
            "cross_entropy",
            (3, 4),
            ints(0, 3, 1),
            positive(4),
            run=lambda f, *a: f(*a, label_smoothing=0.1),
        ),
        _call("nll_loss", (3, 4), ints(0, 3, 1)),
        _call("nll_loss", (2, 4, 3), ints([0, 3, 1], [2, 2, 0]), positive(4)),
        _call("multi_margin_loss", (3, 4), ints(0, 3, 1)),
        _call("binary_cross_entropy", positive(3, 4), positive(4, 3).T.copy()),
        _call("binary_cross_entropy_with_logits", (3, 4), positive(3, 4)),
        _call(
            "binary_cross_entropy_with_logits",
            (3, 4),
            positive(3, 4),
            positive(4),
            run=lambda f, x, t, p: f(x, t, pos_weight=p),
        ),
        *[
            _call(name, (3, 4), (3, 4))
            for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
        ],
        _call("soft_margin_loss", (3, 4), np.sign(np.arange(12.0).reshape(3, 4) % 2 - 0.5)),
        _call("hinge_embedding_loss", (3, 4), np.sign(np.arange(12.0).reshape(3, 4) % 2 - 0.5)),
        _call("margin_ranking_loss", (3,), (3,), np.array([1.0, -1.0, 1.0])),
        _call("gaussian_nll_loss", (3, 4), (3, 4), positive(3, 4)),
        _call("kl_div", (3, 4), positive(3, 4), run=lambda f, x, t: f(x, t, reduction="batchmean")),
        _call(
            "sigmoid_focal_loss",
            (3, 4),
            (np.arange(12.0).reshape(3, 4) % 2),
            torch=lambda torch, x, t: _focal(torch, x, t),
        ),
    ]
)


def _images(torch: Any, x: Any, function: Callable[[Any], Any]) -> Any:
    """`function` of (N, C, H, W) for (C, H, W) too, and of nothing else."""
    if x.ndim not in (3, 4):
        raise ValueError(f"{x.ndim} dimensions")
    return function(x) if x.ndim == 4 else function(x[None])[0]


def _nails(torch: Any, x: Any) -> Any:
    if 0 in x.shape[1:]:
        raise ValueError("only the batch may be empty")
    out = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
    out[:, :, ::2, ::2] = x
    return out


def _focal(torch: Any, x: Any, t: Any) -> Any:
    """torchvision's definition, in torch."""
    p = torch.sigmoid(x)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
    p_t = p * t + (1 - p) * (1 - t)
    return (0.25 * t + 0.75 * (1 - t)) * loss * (1 - p_t) ** 2


def _layer(name: str, *inputs: Any, make: Any = None, run: Any = plain, **options: Any) -> Call:
    return Call(name, run, inputs, make or (lambda kind: kind()), **options)


def _with(*args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    return lambda kind: kind(*args, **kwargs)


ACTIVATIONS = (
    *("ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish"),
    *("ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Tanh", "Identity"),
)

LAYERS = _numbered(
    [
        *[_layer(name, (3, 4)) for name in ACTIVATIONS],
        *[_layer(name, (3, 4), make=_with(dim=1)) for name in ("Softmax", "LogSoftmax", "Softmin")],
        _layer("Softmax2d", (2, 3, 4, 5)),
        _layer("PReLU", (2, 3, 4), make=_with(3)),
        _layer("Linear", (3, 4), make=_with(4, 5)),
        _layer("Conv1d", (2, 4, 7), make=_with(4, 6, 3)),
        _layer("Conv2d", (2, 4, 5, 7), make=_with(4, 6, (3, 2), padding=1)),
        _layer(
            "Conv2d",
            (2, 4, 5, 7),
            make=_with(4, 8, 3, padding=1, groups=4, bias=False, padding_mode="reflect"),
        ),
        _layer("ConvTranspose1d", (2, 4, 5), make=_with(4, 6, 3)),
        _layer("ConvTranspose2d", (2, 4, 3, 5), make=_with(4, 6, 3, stride=2, output_padding=1)),
        _layer("MaxPool1d", (2, 3, 8), make=_with(2)),
        _layer("MaxPool2d", (2, 3, 6, 8), make=_with(3, 2, 1)),
        _layer("AvgPool1d", (2, 3, 8), make=_with(2)),
        _layer("AvgPool2d", (2, 3, 6, 8), make=_with(3, 2, 1)),
        _layer("AdaptiveAvgPool1d", (2, 3, 8), make=_with(3)),
        _layer("AdaptiveAvgPool2d", (2, 3, 6, 8), make=_with((2, 3))),
        _layer("AdaptiveMaxPool1d", (2, 3, 8), make=_with(3)),
        _layer("AdaptiveMaxPool2d", (2, 3, 6, 8), make=_with((2, 3))),
        _layer("MaxUnpool1d", (2, 3), ints([0, 3, 5], [1, 2, 4]), make=_with(2)),
        _layer("MaxUnpool2d", (1, 2, 2, 3), PLACES, make=_with(2)),
        _layer("Upsample", (2, 3, 4, 5), make=_with(scale_factor=2, mode="bilinear")),
        _layer("UpsamplingNearest2d", (2, 3, 4, 5), make=_with(scale_factor=2)),
        _layer("UpsamplingBilinear2d", (2, 3, 4, 5), make=_with(size=(7, 3))),
        _layer("PixelShuffle", (2, 8, 3, 4), make=_with(2)),
        _layer("Dropout", (3, 4), make=_with(1.0)),
        _layer("Dropout1d", (2, 3, 4), make=_with(1.0)),
        _layer("Dropout2d", (2, 3, 4, 5), make=_with(1.0)),
        _layer("StochasticDepth", (3, 4), make=_with(1.0, "row"), torch=lambda torch, x: x * 0),
        _layer("BatchNorm1d", (4, 3), make=_with(3)),
        _layer("BatchNorm1d", (4, 3, 5), make=_with(3)),
        _layer("BatchNorm2d", (4, 3, 2, 5), make=_with(3)),
        _layer("BatchNorm2d", (4, 3, 2, 5), make=_with(3, affine=False, momentum=None)),
        _layer("InstanceNorm1d", (2, 3, 5), make=_with(3, affine=True)),
        _layer("InstanceNorm2d", (2, 3, 4, 5), make=_with(3, track_running_stats=True)),
        _layer("LayerNorm", (2, 3, 4), make=_with((3, 4))),
        _layer("GroupNorm", (2, 6, 5), make=_with(2, 6)),
        _layer("LocalResponseNorm", (2, 6, 4), make=_with(3)),
        *[
            _layer(f"{kind}Pad1d", (2, 3, 5), make=_with(2, *more))
            for kind, *more in [("Constant", 1.5), ("Reflection",), ("Replication",), ("Zero",)]
        ],
        *[
            _layer(f"{kind}Pad2d", (2, 3, 4, 5), make=_with((1, 2, 0, 1), *more))
            for kind, *more in [("Constant", 1.5), ("Reflection",), ("Replication",), ("Zero",)]
        ],
        _layer("Flatten", (2, 3, 4)),
        _layer("Unflatten", (2, 6), make=_with(1, (2, 3))),
        # losses
        _layer("CrossEntropyLoss", (3, 4), ints(0, 3, 1)),
        _layer("NLLLoss", (3, 4), ints(0, 3, 1)),
        _layer("MultiMarginLoss", (3, 4), ints(0, 3, 1)),
        _layer("BCELoss", positive(3, 4), positive(4, 3).T.copy()),
        _layer("BCEWithLogitsLoss", (3, 4), positive(3, 4)),
        *[
            _layer(name, (3, 4), (3, 4))
            for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
        ],
        _layer("SoftMarginLoss", (3, 4), np.sign(np.arange(12.0).reshape(3, 4) % 2 - 0.5)),
        _layer("HingeEmbeddingLoss", (3, 4), np.sign(np.arange(12.0).reshape(3, 4) % 2 - 0.5)),
        _layer("MarginRankingLoss", (3,), (3,), np.array([1.0, -1.0, 1.0])),
        _layer("GaussianNLLLoss", (3, 4), (3, 4), positive(3, 4)),
        _layer("KLDivLoss", (3, 4), positive(3, 4), make=_with(reduction="batchmean")),
        _layer(
            "SigmoidFocalLoss",
            (3, 4),
            (np.arange(12.0).reshape(3, 4) % 2),
            make=_with(reduction="none"),
            torch=lambda torch, x, t: _focal(torch, x, t),
        ),
    ]
)

# Classes of minidl.nn that hold others and compute nothing themselves.
CONTAINERS = {
    *("Module", "Parameter", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList"),
    "Sequential",
}
