"""Caches that are functions or objects, a tape for the network."""

import dataclasses
import math

import numpy as np


def confusion_matrix(predicted, targets, num_classes, ignore_index=-100):
    return np.array(
        [
            [
                np.count_nonzero((targets == i) & (predicted == j) & (targets != ignore_index))
                for j in range(num_classes)
            ]
            for i in range(num_classes)
        ],
        dtype=np.int64,
    )


def segmentation_scores(matrix):
    n, total = len(matrix), int(matrix.sum())
    accuracy, iou, weighted = [], [], 0.0
    for i in range(n):
        right, true, said = (int(v) for v in (matrix[i, i], sum(matrix[i]), sum(matrix[:, i])))
        either = true + said - right
        accuracy.append(right / true if true else math.nan)
        iou.append(right / either if either else math.nan)
        if true:
            weighted += true / total * iou[i]
    known = [a for a in accuracy if not math.isnan(a)]
    seen = [a for a in iou if not math.isnan(a)]
    return {
        "mean_iou": sum(seen) / len(seen),
        "mean_accuracy": sum(known) / len(known),
        "accuracy": np.array(accuracy),
        "iou": np.array(iou),
        "pixel_accuracy": sum(int(matrix[i, i]) for i in range(n)) / total,
        "frequency_weighted_iou": weighted,
    }


def nearest_forward(x, size):
    def places(n, m):
        return [int(np.floor(o * (n / m))) for o in range(m)]

    rows, columns = places(x.shape[2], size[0]), places(x.shape[3], size[1])

    def back(grad):
        tall = np.zeros((*x.shape[:3], size[1]), grad.dtype)
        for o, r in enumerate(rows):
            tall[:, :, r] += grad[:, :, o]
        whole = np.zeros(x.shape, grad.dtype)
        for p, c in enumerate(columns):
            whole[..., c] += tall[..., p]
        return whole

    return x.take(rows, 2).take(columns, 3), back


def nearest_backward(grad, cache):
    return cache(grad)


def source_positions(n, out, align_corners):
    if align_corners:
        return np.linspace(0, n - 1, out)
    half = n / out / 2
    centres = np.linspace(half, n - half, out) if out > 1 else np.array([n / 2])
    return np.minimum(np.maximum(centres - 0.5, 0), n - 1)


def along(x, at, axis):
    """Interpolate along one axis, and the function back."""
    n = x.shape[axis]
    low = np.clip(np.floor(at).astype(int), 0, max(n - 2, 0))
    high = np.minimum(low + 1, n - 1)
    shape = [1] * x.ndim
    shape[axis] = len(at)
    t = (at - low).astype(x.dtype).reshape(shape)
    first = x.take(low, axis)
    out = first + t * (x.take(high, axis) - first)

    def back(grad):
        total = np.zeros((n, *np.moveaxis(grad, axis, 0).shape[1:]), grad.dtype)
        np.add.at(total, low, np.moveaxis(grad * (1 - t), axis, 0))
        np.add.at(total, high, np.moveaxis(grad * t, axis, 0))
        return np.moveaxis(total, 0, axis)

    return out, back


def bilinear_forward(x, rows, columns):
    tall, back_rows = along(x, rows, 2)
    out, back_columns = along(tall, columns, 3)
    return out, (back_rows, back_columns)


def bilinear_backward(grad, cache):
    return cache[0](cache[1](grad))


def max_pool2d_forward(x, kernel_size, stride=None):
    step, k = stride or kernel_size, kernel_size
    rows = np.arange(0, x.shape[2] - k + 1, step)
    columns = np.arange(0, x.shape[3] - k + 1, step)
    out = where = None
    for i in range(k):
        for j in range(k):
            here = x[:, :, (rows + i)[:, None], columns + j]
            place = np.broadcast_to((rows + i)[:, None] * x.shape[3] + columns + j, here.shape)
            if out is None:
                out, where = here.copy(), place.astype(np.int64)
            else:
                better = here > out
                out = np.where(better, here, out)
                where = np.where(better, place, where)
    return out, where


def max_pool2d_backward(grad, indices, size):
    planes = [
        np.add.reduce(
            [g * (np.arange(size[0] * size[1]) == i) for g, i in zip(gs, where, strict=True)]
        )
        for gs, where in zip(
            grad.reshape(-1, grad[0, 0].size), indices.reshape(-1, grad[0, 0].size), strict=True
        )
    ]
    return np.array(planes, grad.dtype).reshape(*grad.shape[:2], *size)


def max_unpool2d_forward(x, indices, size):
    each = indices.reshape(-1, indices[0, 0].size)
    if any(len(np.unique(row)) < len(row) for row in each):
        raise ValueError("two elements for one place")
    flat = np.zeros((len(each), size[0] * size[1]), x.dtype)
    np.put_along_axis(flat, each, x.reshape(each.shape), 1)
    return flat.reshape(*x.shape[:2], *size)


def max_unpool2d_backward(grad, indices):
    rows, columns = np.divmod(indices, grad.shape[3])
    a = np.arange(grad.shape[0])[:, None, None, None]
    return grad[a, np.arange(grad.shape[1])[None, :, None, None], rows, columns]


def conv_transpose_output_size(size, kernel, stride, padding, output_padding):
    last = (size - 1) * stride + kernel
    return last - 2 * padding + output_padding


@dataclasses.dataclass
class Stamps:
    """Which output pixel each (input pixel, kernel element) writes: a matrix of 0 and 1."""

    x: np.ndarray
    weight: np.ndarray
    has_bias: bool
    down: np.ndarray
    across: np.ndarray


def stamps_of_axis(n, k, stride, padding, size):
    """(out, n, k): 1 where input a and element i meet in the output pixel."""
    hit = np.arange(n)[:, None] * stride + np.arange(k) - padding
    return (np.arange(size)[:, None, None] == hit).astype(float)


def conv_transpose2d_forward(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    maps = [
        stamps_of_axis(
            n,
            k,
            stride,
            padding,
            conv_transpose_output_size(n, k, stride, padding, output_padding),
        )
        for n, k in zip(x.shape[2:], weight.shape[2:], strict=True)
    ]
    kept = Stamps(x, weight, bias is not None, *maps)
    tall = np.einsum("nchw,coij,yhi->noywj", x, weight, kept.down, optimize=True)
    out = np.einsum("noywj,zwj->noyz", tall, kept.across, optimize=True)
    if bias is not None:
        out = out + bias[:, None, None]
    return out.astype(x.dtype), kept


def conv_transpose2d_backward(grad, cache):
    tall = np.einsum("noyz,zwj->noywj", grad, cache.across, optimize=True)
    spread = np.einsum("noywj,yhi->nohwij", tall, cache.down, optimize=True)
    grad_x = np.einsum("nohwij,coij->nchw", spread, cache.weight, optimize=True)
    grad_weight = np.einsum("nohwij,nchw->coij", spread, cache.x, optimize=True)
    grad_bias = np.add.reduce(grad, axis=(0, 2, 3)) if cache.has_bias else None
    return grad_x.astype(grad.dtype), grad_weight.astype(grad.dtype), grad_bias


def bilinear_kernel(channels, factor):
    # A tent is a box convolved with a box.
    boxes = np.ones(factor)
    line = np.convolve(boxes, boxes) / factor
    if factor % 2 == 0:
        fine = np.convolve(np.ones(2 * factor), np.ones(2 * factor)) / (2 * factor)
        line = fine[::2]
    tent = np.outer(line, line)
    return np.einsum("ab,ij->abij", np.identity(channels), tent)


def upsample(x, factor):
    one = bilinear_kernel(1, factor).astype(x.dtype)
    n, c, h, w = x.shape
    alone = x.reshape(n * c, 1, h, w)
    out, _ = conv_transpose2d_forward(alone, one, stride=factor, padding=factor // 2)
    return out.reshape(n, c, h * factor, w * factor)


def skip_forward(up, skip):
    cuts = []
    for big, small in zip(skip.shape[2:], up.shape[2:], strict=True):
        first = (big - small) // 2
        cuts.append(range(first, first + small))
    place = np.ix_(range(skip.shape[0]), range(skip.shape[1]), *cuts)
    return np.hstack([skip[place], up]), {"place": place, "like": np.zeros_like(skip)}


def skip_backward(grad, cache):
    like = cache["like"].copy()
    to_skip, to_up = np.split(grad, [like.shape[1]], axis=1)
    like[cache["place"]] = to_skip
    return to_up, like


class PixelLoss:
    """The mean of minus log p over pixels with weights."""

    def __init__(self, logits, targets, weight, ignore_index):
        self.ignored = targets == ignore_index
        classes = np.arange(logits.shape[1]).reshape(1, -1, 1, 1)
        self.own = (targets[:, None] == classes) & ~self.ignored[:, None]
        vector = np.ones(logits.shape[1]) if weight is None else weight
        self.v = (self.own * vector.reshape(1, -1, 1, 1)).sum(1, keepdims=True)
        self.sum = self.v.sum()
        shifted = logits - logits.max(1, keepdims=True)
        self.log_sum = np.log(np.exp(shifted).sum(1, keepdims=True))
        self.p = np.exp(shifted - self.log_sum)
        terms = np.where(self.own, self.log_sum - shifted, 0) * self.v
        self.value = terms.sum() / self.sum if self.sum else 0.0

    def back(self, grad):
        if not self.sum:
            return np.zeros_like(self.p)
        return ((self.p - self.own) * (self.v * (grad / self.sum))).astype(self.p.dtype)


def cross_entropy_forward(logits, targets, weight=None, ignore_index=-100):
    loss = PixelLoss(logits, targets, weight, ignore_index)
    return loss.value, loss


def cross_entropy_backward(grad, cache):
    return cache.back(grad)


def dice_forward(logits, targets, smooth=1.0):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    g = np.zeros_like(p)
    np.put_along_axis(g, targets[:, None], 1, axis=1)
    axes = (2, 3)
    above, below = 2 * (p * g).sum(axes) + smooth, (p * p + g * g).sum(axes) + smooth
    loss = 1 - np.mean(above / below)

    def back(grad):
        a, b = (t[:, :, None, None] for t in (above, below))
        to_p = grad / above.size * (2 * p * a - 2 * g * b) / (b * b)
        to_e = to_p / e.sum(1, keepdims=True)
        to_e = to_e - (to_p * p).sum(1, keepdims=True) / e.sum(1, keepdims=True)
        return to_e * e

    return loss, back


def dice_backward(grad, cache):
    return cache(float(grad))


def mirrored(index, size):
    """The pixel that stands at a place beyond the border."""
    period = 2 * (size - 1)
    index = index % period
    return min(index, period - index)


def predict_tiles(network, image, tile, context):
    _, height, width = image.shape
    out = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            rows = [mirrored(i, height) for i in range(top - context, top + tile + context)]
            columns = [mirrored(i, width) for i in range(left - context, left + tile + context)]
            answer = network(image[:, rows][:, :, columns])
            if out is None:
                out = np.zeros((answer.shape[0], height, width), answer.dtype)
            h, w = min(tile, height - top), min(tile, width - left)
            part = answer[:, context : context + h, context : context + w]
            out[:, top : top + h, left : left + w] = part
    return out


def predict_windows(network, image, window, stride):
    _, height, width = image.shape
    sums, times = None, np.zeros((height, width))
    tops = sorted({*range(0, height - window + 1, stride), height - window})
    lefts = sorted({*range(0, width - window + 1, stride), width - window})
    for top in tops:
        for left in lefts:
            answer = network(image[:, top : top + window, left : left + window])
            if sums is None:
                sums = np.zeros((len(answer), height, width))
            sums[:, top : top + window, left : left + window] += answer
            times[top : top + window, left : left + window] += 1
    return sums / times


def conv3x3_forward(x, weight, bias):
    """As given, by shifts of the image."""
    h, w = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(x), len(weight), h, w), x.dtype) + bias.reshape(1, -1, 1, 1)
    for i, j in np.ndindex(3, 3):
        part = padded[:, :, i : i + h, j : j + w]
        out += np.tensordot(weight[:, :, i, j], part, (1, 1)).swapaxes(0, 1)
    return out, (padded, weight)


def conv3x3_backward(grad, cache):
    padded, weight = cache
    h, w = grad.shape[2:]
    gp, gw = np.zeros_like(padded), np.zeros_like(weight)
    for i, j in np.ndindex(3, 3):
        gw[:, :, i, j] = np.tensordot(
            grad, padded[:, :, i : i + h, j : j + w], ((0, 2, 3), (0, 2, 3))
        )
        back = np.tensordot(weight[:, :, i, j], grad, (0, 1)).swapaxes(0, 1)
        gp[:, :, i : i + h, j : j + w] += back
    return gp[:, :, 1:-1, 1:-1], gw, grad.sum((0, 2, 3))


def unet_forward(params, x):
    """Each layer leaves on a tape what takes its gradient back."""
    tape = []

    def conv(x, name):
        out, cache = conv3x3_forward(x, params[f"{name}.weight"], params[f"{name}.bias"])
        tape.append((name, conv3x3_backward, cache))
        return out

    def relu(x):
        tape.append(("", lambda g, mask: g * mask, x > 0))
        return x * (x > 0)

    down = relu(conv(x, "down"))
    small, where = max_pool2d_forward(down, 2)
    size = down.shape[2:]
    tape.append(("pool", lambda g, cache: max_pool2d_backward(g, cache, size), where))
    bottom = relu(conv(small, "bottom"))
    up, cache = conv_transpose2d_forward(bottom, params["up.weight"], params["up.bias"], stride=2)
    tape.append(("up", conv_transpose2d_backward, cache))
    both, cache = skip_forward(up, down)
    tape.append(("skip", skip_backward, cache))
    return conv(both, "head"), tape


def unet_backward(grad, cache):
    grads, waiting = {}, 0
    for name, function, kept in reversed(cache):
        result = function(grad, kept)
        if name == "skip":
            grad, waiting = result
        elif name == "pool":
            grad = waiting + result
        elif name:
            grad, grads[f"{name}.weight"], grads[f"{name}.bias"] = result
        else:
            grad = result
    return grads


def train(params, x, targets, steps, rate, weight=None):
    def step():
        logits, cache = unet_forward(params, x)
        parts = [
            (cross_entropy_forward(logits, targets, weight), cross_entropy_backward),
            (dice_forward(logits, targets, 1.0), dice_backward),
        ]
        slope = sum(back(1.0, kept) for (_, kept), back in parts)
        for name, gradient in unet_backward(slope, cache).items():
            np.subtract(params[name], rate * gradient, out=params[name])
        return float(sum(value for (value, _), _ in parts))

    return [step() for _ in range(steps)]
