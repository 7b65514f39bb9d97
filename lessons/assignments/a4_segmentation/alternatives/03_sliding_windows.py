"""Views of windows; a transposed convolution as a convolution with holes."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def confusion_matrix(predicted, targets, num_classes, ignore_index=-100):
    result = np.zeros((num_classes, num_classes), np.int64)
    keep = targets != ignore_index
    np.add.at(result, (targets[keep], predicted[keep]), 1)
    return result


def segmentation_scores(matrix):
    right = np.diag(matrix)
    missed, wrong = matrix.sum(1) - right, matrix.sum(0) - right

    def ratio(above, below):
        return np.where(below == 0, np.nan, above / np.where(below == 0, 1, below))

    accuracy, iou = ratio(right, right + missed), ratio(right, right + missed + wrong)
    weights = (right + missed) / matrix.sum()
    return {
        "accuracy": accuracy,
        "iou": iou,
        "pixel_accuracy": right.sum() / matrix.sum(),
        "mean_accuracy": np.nanmean(accuracy),
        "mean_iou": np.mean(iou[~np.isnan(iou)]),
        "frequency_weighted_iou": np.sum(np.nan_to_num(iou) * weights),
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
    scale = (n - 1) / (out - 1) if align_corners and out > 1 else n / out
    shift = 0.0 if align_corners else (scale - 1) / 2
    at = scale * np.arange(out) + shift
    if align_corners and out == 1:
        at[:] = 0
    return at.clip(0, n - 1)


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
    step = stride or kernel_size
    view = sliding_window_view(x, (kernel_size, kernel_size), (2, 3))[:, :, ::step, ::step]
    flat = view.reshape(*view.shape[:4], -1)
    best = np.argmax(flat, -1)
    i, j = np.unravel_index(best, (kernel_size, kernel_size))
    oh, ow = best.shape[2:]
    places = np.ravel_multi_index(
        (
            i + step * np.arange(oh).reshape(-1, 1),
            j + step * np.arange(ow).reshape(1, -1),
        ),
        x.shape[2:],
    )
    return np.take_along_axis(flat, best[..., None], -1)[..., 0], places


def max_pool2d_backward(grad, indices, size):
    n, c = grad.shape[:2]
    area = size[0] * size[1]
    base = (np.arange(n * c) * area).reshape(n, c, 1, 1)
    flat = np.bincount((indices + base).ravel(), grad.ravel(), minlength=n * c * area)
    return flat.reshape(n, c, *size).astype(grad.dtype)


def max_unpool2d_forward(x, indices, size):
    n, c = x.shape[:2]
    area = size[0] * size[1]
    base = (np.arange(n * c) * area).reshape(n, c, 1, 1)
    where = (indices + base).ravel()
    if np.bincount(where, minlength=n * c * area).max(initial=0) > 1:
        raise ValueError("overlap")
    out = np.zeros(n * c * area, x.dtype)
    out[where] = x.ravel()
    return out.reshape(n, c, *size)


def max_unpool2d_backward(grad, indices):
    n, c = grad.shape[:2]
    a, b = np.ogrid[:n, :c]
    return grad.reshape(n, c, -1)[a[..., None, None], b[..., None, None], indices]


def conv_transpose_output_size(size, kernel, stride, padding, output_padding):
    return int((size - 1) * stride + 1 + (kernel - 1) - 2 * padding + output_padding)


def cut(a, before, size):
    """size rows and columns from `before` on; zeros where a has none (before may be negative)."""
    out = np.zeros((*a.shape[:2], *size), a.dtype)
    h, w = a.shape[2:]
    y, x = max(before, 0), max(before, 0)
    part = a[:, :, y : min(before + size[0], h), x : min(before + size[1], w)]
    out[:, :, y - before : y - before + part.shape[2], x - before : x - before + part.shape[3]] = (
        part
    )
    return out


def conv_transpose2d_forward(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    """Zeros between the elements of x, then an ordinary convolution with the flipped kernel."""
    (h, w), (kh, kw) = x.shape[2:], weight.shape[2:]
    holes = np.zeros((*x.shape[:2], (h - 1) * stride + 1, (w - 1) * stride + 1), x.dtype)
    holes[:, :, ::stride, ::stride] = x
    wide = np.pad(holes, ((0, 0), (0, 0), (kh - 1,) * 2, (kw - 1,) * 2))
    windows = sliding_window_view(wide, (kh, kw), (2, 3))
    whole = np.tensordot(windows, weight[:, :, ::-1, ::-1], ((1, 4, 5), (0, 2, 3)))
    whole = whole.transpose(0, 3, 1, 2)
    size = [
        conv_transpose_output_size(n, k, stride, padding, output_padding)
        for n, k in ((h, kh), (w, kw))
    ]
    out = cut(whole, padding, size)
    if bias is not None:
        out += bias[None, :, None, None]
    return out, (x, weight, stride, padding, bias is None, whole.shape[2:])


def conv_transpose2d_backward(grad, cache):
    x, weight, stride, padding, plain, size = cache
    whole = cut(grad, -padding, size)
    windows = sliding_window_view(whole, weight.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    grad_x = np.einsum("nohwij,coij->nchw", windows, weight, optimize=True)
    grad_weight = np.einsum("nohwij,nchw->coij", windows, x, optimize=True)
    return grad_x, grad_weight, None if plain else grad.sum(3).sum(2).sum(0)


def bilinear_kernel(channels, factor):
    k = 2 * factor - factor % 2
    middle = (k - 1) / 2
    weight = np.zeros((channels, channels, k, k))
    for c in range(channels):
        for i in range(k):
            for j in range(k):
                down, across = 1 - abs(i - middle) / factor, 1 - abs(j - middle) / factor
                weight[c, c, i, j] = down * across
    return weight


def upsample(x, factor):
    k = 2 * factor - factor % 2
    padding = (k - factor + 1) // 2
    return conv_transpose2d_forward(
        x, bilinear_kernel(x.shape[1], factor).astype(x.dtype), None, factor, padding
    )[0]


def skip_forward(up, skip):
    n, c, h, w = up.shape
    d = skip.shape[1]
    top, left = (skip.shape[2] - h) // 2, (skip.shape[3] - w) // 2
    out = np.empty((n, c + d, h, w), up.dtype)
    out[:, :d] = skip[:, :, top:, left:][:, :, :h, :w]
    out[:, d:] = up
    return out, (d, top, left, skip.shape[2] - h - top, skip.shape[3] - w - left)


def skip_backward(grad, cache):
    d, top, left, bottom, right = cache
    back = np.pad(grad[:, :d], ((0, 0), (0, 0), (top, bottom), (left, right)))
    return grad[:, d:], back


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


def predict_tiles(network, image, tile, context):
    # The last tiles are moved back so that they end at the border.
    height, width = image.shape[1:]
    beyond = [(0, 0)] + [(context, context + max(0, tile - n)) for n in (height, width)]
    padded = np.pad(image, beyond, mode="reflect")
    result = {}
    for top in places(height, tile, tile):
        for left in places(width, tile, tile):
            size = tile + 2 * context
            piece = np.ascontiguousarray(padded[:, top : top + size, left : left + size])
            answer = network(piece)
            result[top, left] = answer[:, context : context + tile, context : context + tile]
    out = np.zeros((len(answer), max(height, tile), max(width, tile)), answer.dtype)
    for (top, left), part in result.items():
        out[:, top : top + tile, left : left + tile] = part
    return out[:, :height, :width]


def places(size, window, stride):
    found, at = [], 0
    while at + window < size:
        found.append(at)
        at += stride
    return [*found, max(size - window, 0)]


def predict_windows(network, image, window, stride):
    height, width = image.shape[1:]
    layers = []
    for top in places(height, window, stride):
        for left in places(width, window, stride):
            answer = network(image[:, top : top + window, left : left + window])
            layer = np.full((len(answer), height, width), np.nan)
            layer[:, top : top + window, left : left + window] = answer
            layers.append(layer)
    return np.nanmean(layers, axis=0)


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
