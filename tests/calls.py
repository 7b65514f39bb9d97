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

from .ops.cases.roi import align, pooled, position_sensitive
from .torchvision_oracle import torchvision


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


CLASS_MAP = ints([0, 3, -100], [2, 2, 0])


def _map_of(torch: Any, x: Any, t: Any) -> tuple[Any, Any]:
    """Which positions count (N, 1, L), and 1 where a class is the truth (N, C, L)."""
    torch.nn.functional.cross_entropy(x, t)  # refuses what is no map of classes
    if x.ndim < 2 or t.is_floating_point():
        raise ValueError(f"{x.shape}")
    counts = (t != -100).unsqueeze(1)
    own = torch.arange(x.shape[1]).reshape(1, -1, *[1] * (t.ndim - 1))
    return counts, (t.unsqueeze(1) == own).to(x.dtype)


def _dice(torch: Any, x: Any, t: Any) -> Any:
    counts, g = _map_of(torch, x, t)
    p, places = x.softmax(1) * counts, tuple(range(2, x.ndim))
    if not places:
        p, g, places = p[..., None], g[..., None], (2,)
    both, sizes = (p * g).sum(places), (p * p + g).sum(places)
    return (1 - (2 * both + 1) / (sizes + 1)).mean()


def _generalized_dice(torch: Any, x: Any, t: Any) -> Any:
    counts, g = _map_of(torch, x, t)
    length = t[0].numel() if len(t) else 1
    p = (x.softmax(1) * counts).reshape(*x.shape[:2], length)
    g = g.reshape(p.shape)
    weight = 1 / g.sum(2) ** 2
    largest = torch.where(weight.isinf(), 0.0, weight).max(1, keepdim=True).values
    weight = torch.where(weight.isinf(), largest, weight)
    both, sizes = (weight * (p * g).sum(2)).sum(1), (weight * (p + g).sum(2)).sum(1)
    return (1 - 2 * both / sizes).mean()


def _sigmoid_cross_entropy(torch: Any, x: Any, t: Any) -> Any:
    counts, g = _map_of(torch, x, t)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x, g, reduction="none")
    return (loss * counts).sum() / (counts.sum() * x.shape[1])


def _flags(torch: Any, x: Any, t: Any) -> Any:
    """`sigmoid_cross_entropy` with targets of the shape of the scores."""
    if t.is_floating_point():
        raise TypeError(f"{t.dtype}")
    if x.ndim < 2 or x.shape != t.shape or not ((t == -100) | (t == 0) | (t == 1)).all():
        return _sigmoid_cross_entropy(torch, x, t)
    counts = t != -100
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        x, torch.clip(t, 0).to(x.dtype), reduction="none"
    )
    return (loss * counts).sum() / counts.sum()


# Regions of two images, (image, x1, y1, x2, y2), on maps with a pixel for eight of the picture.
REGIONS = np.array([[0, 9, 7, 33, 29], [1, -21, -13, 19, 21], [1, 23, 19, 77, 65.0]])


def _regions(oracle: Callable[..., Any], torch: Any, x: Any, boxes: Any) -> Any:
    """A loop over pixels in place of torchvision's compiled operation."""
    if x.ndim != 4 or 0 in x.shape[2:] or boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(f"{x.shape}, {boxes.shape}")
    if oracle is position_sensitive and x.shape[1] % 4:
        raise ValueError(f"{x.shape}")
    if len(boxes) and not (boxes[:, 0].min() >= 0 and boxes[:, 0].max() < len(x)):
        raise IndexError(f"{boxes[:, 0]}")
    made = oracle(x.double().numpy(), boxes.double().numpy(), (2, 2))
    return torch.tensor(made, dtype=x.dtype if x.is_floating_point() else torch.float32)


def _pyramid(torch: Any, x: Any, y: Any, *boxes: Any) -> Any:
    """`MultiScaleRoIAlign` of pictures of 32 x 32, box after box."""
    if not x.ndim == y.ndim == 4 or 0 in (*x.shape[2:], *y.shape[2:]) or x.shape[:2] != y.shape[:2]:
        raise ValueError(f"{x.shape}, {y.shape}")
    levels = [-round(float(np.log2(m.shape[2] / 32))) for m in (x, y)]
    if levels[1] != levels[0] + 1 or len(x) != len(boxes):
        raise ValueError(f"{x.shape}, {y.shape}")
    made = [np.zeros((0, x.shape[1], 2, 2))]
    for n, part in enumerate(boxes):
        if part.ndim != 2 or part.shape[1] != 4:
            raise ValueError(f"{part.shape}")
        for box in part.double().numpy():
            side = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            k = levels[0] if side < 224 / 2 ** (4 - levels[1]) else levels[1]
            m = (x if k == levels[0] else y).double().numpy()
            made.append(align(m, [(n, *box)], (2, 2), 0.5**k, 2))
    kinds = [m.dtype for m in (x, y) if m.is_floating_point()] or [torch.float32]
    return torch.tensor(np.concatenate(made)).to(max(kinds, key=lambda kind: kind.itemsize))


def _box_loss(name: str) -> Callable[..., Any]:
    return lambda torch, *boxes: getattr(torchvision().ops, name)(*boxes)


def _box_iou_loss(torch: Any, a: Any, b: Any) -> Any:
    """1 - IoU, with torchvision's dtypes."""
    if a.shape != b.shape:
        raise ValueError(f"{a.shape}, {b.shape}")
    a, b = [x if x.is_floating_point() else x.float() for x in (a, b)]
    a, b = a.unbind(-1), b.unbind(-1)
    if len(a) != 4:
        raise ValueError(f"{len(a)} columns")
    sides = [torch.min(a[k + 2], b[k + 2]) - torch.max(a[k], b[k]) for k in (0, 1)]
    both = sides[0].clamp(min=0) * sides[1].clamp(min=0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return 1 - both / (areas[0] + areas[1] - both + 1e-7)


# Boxes that overlap, that touch nothing, and one within the other.
BOXES = np.array([[0.5, 1, 4, 3.5], [6, 6, 7, 9], [0, 0, 8, 8]])
OTHERS = np.array([[2, 0, 5, 2.5], [1, 2, 3, 3], [3, 2, 6, 4.5]])

MAP_LOSSES = {
    "dice_loss": _dice,
    "generalized_dice_loss": _generalized_dice,
    "sigmoid_cross_entropy": _sigmoid_cross_entropy,
}


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
        _call("channel_shuffle", (2, 6, 3), run=lambda f, x: f(x, 2)),
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
        # regions
        *[
            _call(
                name,
                (2, 4, 5, 6),
                REGIONS,
                run=lambda f, x, boxes: f(x, boxes, 2, 0.125),
                torch=lambda torch, x, boxes, oracle=oracle: _regions(oracle, torch, x, boxes),
            )
            for name, oracle in [
                ("roi_align", align),
                ("roi_pool", pooled),
                ("ps_roi_pool", position_sensitive),
            ]
        ],
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
        _call("scaled_dot_product_attention", (2, 3, 5), (2, 4, 5), (2, 4, 6)),
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
        *[
            _call(name, (2, 4, 3), CLASS_MAP, torch=lambda torch, x, t, f=f: f(torch, x, t))
            for name, f in MAP_LOSSES.items()
        ],
        _call("box_iou_loss", BOXES, OTHERS, torch=_box_iou_loss),
        *[
            _call(name, BOXES, OTHERS, torch=_box_loss(name))
            for name in ("generalized_box_iou_loss", "distance_box_iou_loss")
        ],
        _call(
            "sigmoid_cross_entropy",
            (2, 3),
            ints([0, 1, -100], [1, 1, 0]),
            torch=lambda torch, x, t: _flags(torch, x, t),
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


def _frozen(torch: Any, x: Any) -> Any:
    """torchvision's FrozenBatchNorm2d(3), but neither without channels nor with one for three."""
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"shape {x.shape}")
    return torch.nn.BatchNorm2d(3).to(x.dtype).eval()(x)


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
        _layer(
            "MultiheadAttention",
            (5, 2, 6),
            (3, 2, 6),
            (3, 2, 6),
            make=_with(6, 2),
            run=lambda f, *x: f(*x)[0],
        ),
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
        *[
            _layer(
                name,
                (2, 4, 5, 6),
                REGIONS,
                make=_with(2, 0.125, *more),
                torch=lambda torch, x, boxes, oracle=oracle: _regions(oracle, torch, x, boxes),
            )
            for name, oracle, more in [
                ("RoIAlign", align, (-1,)),
                ("RoIPool", pooled, ()),
                ("PSRoIPool", position_sensitive, ()),
            ]
        ],
        _layer(
            "MultiScaleRoIAlign",
            (2, 3, 4, 8),
            (2, 3, 2, 4),
            np.array([[2, 3, 20, 17], [0, 0, 130, 100.0], [60, 40, 180, 200]]),
            np.array([[1, 1, 150, 120.0]]),
            make=_with(["0", "1"], 2, 2),
            run=lambda f, x, y, *boxes: f({"0": x, "1": y}, boxes, [(32, 32)] * 2),
            torch=_pyramid,
        ),
        _layer("Upsample", (2, 3, 4, 5), make=_with(scale_factor=2, mode="bilinear")),
        _layer("UpsamplingNearest2d", (2, 3, 4, 5), make=_with(scale_factor=2)),
        _layer("UpsamplingBilinear2d", (2, 3, 4, 5), make=_with(size=(7, 3))),
        _layer("ChannelShuffle", (2, 6, 3, 4), make=_with(3)),
        _layer("PixelShuffle", (2, 8, 3, 4), make=_with(2)),
        _layer("Dropout", (3, 4), make=_with(1.0)),
        _layer("Dropout1d", (2, 3, 4), make=_with(1.0)),
        _layer("Dropout2d", (2, 3, 4, 5), make=_with(1.0)),
        _layer("StochasticDepth", (3, 4), make=_with(1.0, "row"), torch=lambda torch, x: x * 0),
        _layer("BatchNorm1d", (4, 3), make=_with(3)),
        _layer("BatchNorm1d", (4, 3, 5), make=_with(3)),
        _layer("BatchNorm2d", (4, 3, 2, 5), make=_with(3)),
        _layer("BatchNorm2d", (4, 3, 2, 5), make=_with(3, affine=False, momentum=None)),
        _layer(
            "FrozenBatchNorm2d",
            (4, 3, 2, 5),
            make=_with(3),
            torch=lambda torch, x: _frozen(torch, x),
        ),
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
        *[
            _layer(name, (2, 4, 3), CLASS_MAP, torch=lambda torch, x, t, f=f: f(torch, x, t))
            for name, f in zip(
                ("DiceLoss", "GeneralizedDiceLoss", "SigmoidCrossEntropyLoss"),
                MAP_LOSSES.values(),
                strict=True,
            )
        ],
    ]
)

# Classes of minidl.nn that hold others and compute nothing themselves.
CONTAINERS = {
    *("Module", "Parameter", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList"),
    "Sequential",
}
