"""Resizing, stamping and counting as products of matrices."""

import dataclasses

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def confusion_matrix(predicted, targets, num_classes, ignore_index=-100):
    keep = np.not_equal(targets, ignore_index).ravel()
    is_class = np.arange(num_classes)
    truth = (np.ravel(targets)[:, None] == is_class) & keep[:, None]
    said = np.ravel(predicted)[:, None] == is_class
    return truth.astype(np.int64).T @ said.astype(np.int64)


def segmentation_scores(matrix):
    share = matrix / matrix.sum()
    true, said, right = share.sum(1), share.sum(0), share.diagonal()
    either = true + said - right
    accuracy = np.full(len(share), np.nan)
    np.divide(right, true, out=accuracy, where=true > 0)
    iou = np.full(len(share), np.nan)
    there = (matrix.sum(0) + matrix.sum(1)) > 0
    np.divide(right, either, out=iou, where=there)
    return {
        "accuracy": accuracy,
        "iou": iou,
        "pixel_accuracy": float(np.trace(share)),
        "mean_accuracy": float(accuracy[true > 0].mean()),
        "mean_iou": float(iou[there].mean()),
        "frequency_weighted_iou": float(true[there] @ iou[there]),
    }


def choice(n, out):
    """(out, n), one 1 a row."""
    places = np.floor(np.arange(out) * (n / out)).astype(int)
    return np.eye(n)[np.minimum(places, n - 1)]


def nearest_forward(x, size):
    down, across = choice(x.shape[2], size[0]), choice(x.shape[3], size[1])
    return np.einsum("oh,nchw,pw->ncop", down, x, across).astype(x.dtype), (down, across)


def nearest_backward(grad, cache):
    return np.einsum("oh,ncop,pw->nchw", cache[0], grad, cache[1]).astype(grad.dtype)


def source_positions(n, out, align_corners):
    if align_corners:
        return np.linspace(0, n - 1, out)
    half = n / out / 2
    centres = np.linspace(half, n - half, out) if out > 1 else np.array([n / 2])
    return np.minimum(np.maximum(centres - 0.5, 0), n - 1)


def shares(n, at):
    """(out, n): how much of each pixel a position takes."""
    result = np.zeros((len(at), n))
    for o, place in enumerate(at):
        low = min(int(place), n - 1)
        result[o, low] += 1 - (place - low)
        if low + 1 < n:
            result[o, low + 1] += place - low
    return result


def bilinear_forward(x, rows, columns):
    down, across = shares(x.shape[2], rows), shares(x.shape[3], columns)
    return (down @ x.astype(np.float64) @ across.T).astype(x.dtype), [down, across]


def bilinear_backward(grad, cache):
    down, across = cache
    return (down.T @ grad @ across).astype(grad.dtype)


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


def cross_entropy_forward(logits, targets, weight=None, ignore_index=-100):
    k = logits.shape[1]
    rows = np.moveaxis(logits, 1, -1).reshape(-1, k)
    labels = targets.ravel()
    keep = np.flatnonzero(labels != ignore_index)
    back = np.zeros(rows.shape)
    kept, own = rows[keep].astype(np.float64), labels[keep]
    v = np.ones(len(keep)) if weight is None else np.asarray(weight, np.float64)[own]
    if not len(keep):
        return np.float64(0), (back, logits.shape, logits.dtype)
    z = np.logaddexp.reduce(kept, axis=1)
    here = np.arange(len(keep))
    loss = np.average(z - kept[here, own], weights=v)
    p = np.exp(kept - z[:, None])
    p[here, own] -= 1
    back[keep] = p * (v / v.sum())[:, None]
    return loss, (back, logits.shape, logits.dtype)


def cross_entropy_backward(grad, cache):
    back, (n, k, h, w), dtype = cache
    return np.moveaxis((grad * back).reshape(n, h, w, k), -1, 1).astype(dtype)


def dice_forward(logits, targets, smooth=1.0):
    n, k = logits.shape[:2]
    z = logits.reshape(n, k, -1).astype(np.float64)
    p = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])
    g = np.eye(k)[targets.reshape(n, -1)].swapaxes(1, 2)
    u = 2 * np.einsum("nkl,nkl->nk", p, g) + smooth
    v = np.einsum("nkl,nkl->nk", p, p) + g.sum(2) + smooth
    return float(np.mean((v - u) / v)), {"p": p, "g": g, "u": u, "v": v, "like": logits}


def dice_backward(grad, cache):
    p, like = cache["p"], cache["like"]
    u, v = cache["u"][..., None], cache["v"][..., None]
    slope = 2 * (p * u / v - cache["g"]) / v * (grad / u.size)
    inner = np.einsum("nkl,nkl->nl", slope, p)[:, None]
    return (p * (slope - inner)).reshape(like.shape).astype(like.dtype)


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
