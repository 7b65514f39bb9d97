"""Where it computes much, it does so in float64, and converts at the end."""

import dataclasses

import numpy as np


def confusion_matrix(predicted, targets, num_classes, ignore_index=-100):
    result = np.zeros((num_classes, num_classes), np.int64)
    keep = targets != ignore_index
    np.add.at(result, (targets[keep], predicted[keep]), 1)
    return result


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
    result = []
    for o in range(out):
        if align_corners:
            at = 0.0 if out == 1 else o * (n - 1) / (out - 1)
        else:
            at = min(max((o + 0.5) * n / out - 0.5, 0.0), n - 1.0)
        result.append(at)
    return np.array(result, dtype=np.float64)


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
