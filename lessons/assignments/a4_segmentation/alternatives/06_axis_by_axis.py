"""Separable things one axis after the other, indices by divmod."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def confusion_matrix(predicted, targets, num_classes, ignore_index=-100):
    keep = np.not_equal(targets, ignore_index).ravel()
    is_class = np.arange(num_classes)
    truth = (np.ravel(targets)[:, None] == is_class) & keep[:, None]
    said = np.ravel(predicted)[:, None] == is_class
    return truth.astype(np.int64).T @ said.astype(np.int64)


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


def log_softmax(logits):
    top = np.max(logits, 1)[:, None]
    return logits - top - np.log(np.sum(np.exp(logits - top), 1))[:, None]


def cross_entropy_forward(logits, targets, weight=None, ignore_index=-100):
    n, k, h, w = logits.shape
    total = mass = 0.0
    back = np.zeros(logits.shape)
    for a, i, j in np.ndindex(n, h, w):
        t = int(targets[a, i, j])
        if t == ignore_index:
            continue
        v = 1.0 if weight is None else float(weight[t])
        s = logits[a, :, i, j].astype(float)
        e = np.exp(s - s.max())
        total += v * (math.log(e.sum()) + s.max() - s[t])
        mass += v
        back[a, :, i, j] = v * e / e.sum()
        back[a, t, i, j] -= v
    if mass == 0:
        return 0.0, back.astype(logits.dtype)
    return total / mass, (back / mass).astype(logits.dtype)


def cross_entropy_backward(grad, cache):
    return cache * float(grad)


def dice_forward(logits, targets, smooth=1.0):
    p = np.exp(log_softmax(logits))
    n, k = p.shape[:2]
    losses, slopes = [], np.zeros_like(p)
    for a in range(n):
        for c in range(k):
            g = (targets[a] == c).astype(p.dtype)
            u = 2 * np.sum(p[a, c] * g) + smooth
            v = np.sum(p[a, c] ** 2) + np.sum(g) + smooth
            losses.append(1 - u / v)
            slopes[a, c] = (u * 2 * p[a, c] - 2 * g * v) / v**2 / (n * k)
    return sum(losses) / len(losses), (p, slopes)


def dice_backward(grad, cache):
    p, slopes = cache
    result = np.zeros_like(p)
    for c in range(p.shape[1]):
        for d in range(p.shape[1]):
            result[:, c] += slopes[:, d] * p[:, d] * ((c == d) - p[:, c])
    return result * float(grad)


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
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    out = np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)
    return out + bias[:, None, None], (windows, weight)


def conv3x3_backward(grad, cache):
    windows, weight = cache
    grad_weight = np.einsum("nohw,nchwij->ocij", grad, windows, optimize=True)
    flipped = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    grad_x, _ = conv3x3_forward(grad, flipped, np.zeros(len(flipped), grad.dtype))
    return grad_x, grad_weight, grad.sum(axis=(0, 2, 3))


def unet_forward(params, x):
    c = {"x": x}
    c["a"], c["conv1"] = conv3x3_forward(x, params["down.weight"], params["down.bias"])
    c["down"] = np.where(c["a"] > 0, c["a"], 0)
    c["small"], c["where"] = max_pool2d_forward(c["down"], 2, 2)
    c["b"], c["conv2"] = conv3x3_forward(c["small"], params["bottom.weight"], params["bottom.bias"])
    c["bottom"] = np.where(c["b"] > 0, c["b"], 0)
    c["up"], c["conv3"] = conv_transpose2d_forward(
        c["bottom"], params["up.weight"], params["up.bias"], 2
    )
    c["both"], c["skip"] = skip_forward(c["up"], c["down"])
    out, c["conv4"] = conv3x3_forward(c["both"], params["head.weight"], params["head.bias"])
    return out, c


def unet_backward(grad, cache):
    g_both, hw, hb = conv3x3_backward(grad, cache["conv4"])
    g_up, g_down = skip_backward(g_both, cache["skip"])
    g_bottom, uw, ub = conv_transpose2d_backward(g_up, cache["conv3"])
    g_small, bw, bb = conv3x3_backward(np.where(cache["b"] > 0, g_bottom, 0), cache["conv2"])
    g_down = g_down + max_pool2d_backward(g_small, cache["where"], cache["down"].shape[2:])
    _, dw, db = conv3x3_backward(np.where(cache["a"] > 0, g_down, 0), cache["conv1"])
    names = ("down", "bottom", "up", "head")
    pairs = ((dw, db), (bw, bb), (uw, ub), (hw, hb))
    return {
        f"{name}.{kind}": value
        for name, pair in zip(names, pairs, strict=True)
        for kind, value in zip(("weight", "bias"), pair, strict=True)
    }


def train(params, x, targets, steps, rate, weight=None):
    history = np.zeros(steps)
    for step in range(steps):
        logits, cache = unet_forward(params, x)
        one, c1 = cross_entropy_forward(logits, targets, weight=weight)
        two, c2 = dice_forward(logits, targets)
        history[step] = one + two
        grads = unet_backward(cross_entropy_backward(1, c1) + dice_backward(1, c2), cache)
        for name in params:
            params[name][...] = params[name] - rate * grads[name]
    return history.tolist()
