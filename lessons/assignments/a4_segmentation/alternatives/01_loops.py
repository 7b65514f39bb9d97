"""Every sum a loop, in the order of the docstrings."""

import math

import numpy as np


def confusion_matrix(predicted, targets, num_classes, ignore_index=-100):
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    for said, true in zip(np.ravel(predicted).tolist(), np.ravel(targets).tolist(), strict=True):
        if true != ignore_index:
            matrix[true, said] += 1
    return matrix


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
    height, width = x.shape[2:]
    out = np.empty((*x.shape[:2], *size), x.dtype)
    for o in range(size[0]):
        for p in range(size[1]):
            out[:, :, o, p] = x[:, :, o * height // size[0], p * width // size[1]]
    return out, (height, width)


def nearest_backward(grad, cache):
    oh, ow = grad.shape[2:]
    result = np.zeros((*grad.shape[:2], *cache), grad.dtype)
    for o in range(oh):
        for p in range(ow):
            result[:, :, o * cache[0] // oh, p * cache[1] // ow] += grad[:, :, o, p]
    return result


def source_positions(n, out, align_corners):
    result = []
    for o in range(out):
        if align_corners:
            at = 0.0 if out == 1 else o * (n - 1) / (out - 1)
        else:
            at = min(max((o + 0.5) * n / out - 0.5, 0.0), n - 1.0)
        result.append(at)
    return np.array(result, dtype=np.float64)


def bilinear_forward(x, rows, columns):
    out = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    taps = []
    for o, r in enumerate(rows):
        for p, c in enumerate(columns):
            i, j = int(np.floor(r)), int(np.floor(c))
            i2, j2 = int(np.ceil(r)), int(np.ceil(c))
            a, b = float(r) - i, float(c) - j
            four = [
                (i, j, (1 - a) * (1 - b)),
                (i, j2, (1 - a) * b),
                (i2, j, a * (1 - b)),
                (i2, j2, a * b),
            ]
            taps.append((o, p, four))
            out[:, :, o, p] = sum(x[:, :, u, v] * s for u, v, s in four)
    return out, (x.shape, taps)


def bilinear_backward(grad, cache):
    result = np.zeros(cache[0], grad.dtype)
    for o, p, four in cache[1]:
        for u, v, s in four:
            result[:, :, u, v] += grad[:, :, o, p] * s
    return result


def max_pool2d_forward(x, kernel_size, stride=None):
    step = kernel_size if stride is None else stride
    n, c, h, w = x.shape
    oh, ow = 1 + (h - kernel_size) // step, 1 + (w - kernel_size) // step
    out, indices = np.empty((n, c, oh, ow), x.dtype), np.empty((n, c, oh, ow), np.int64)
    for place in np.ndindex(n, c, oh, ow):
        top, left = place[2] * step, place[3] * step
        best = None
        for i in range(top, top + kernel_size):
            for j in range(left, left + kernel_size):
                if best is None or x[place[0], place[1], i, j] > best:
                    best, indices[place] = x[place[0], place[1], i, j], i * w + j
        out[place] = best
    return out, indices


def max_pool2d_backward(grad, indices, size):
    n, c, oh, ow = grad.shape
    result = np.zeros((n, c, *size), grad.dtype)
    for a, b, i, j in np.ndindex(n, c, oh, ow):
        row, column = divmod(int(indices[a, b, i, j]), size[1])
        result[a, b, row, column] += grad[a, b, i, j]
    return result


def max_unpool2d_forward(x, indices, size):
    result = np.zeros((*x.shape[:2], *size), x.dtype)
    for a, b in np.ndindex(*x.shape[:2]):
        used = set()
        for value, index in zip(x[a, b].ravel(), indices[a, b].ravel().tolist(), strict=True):
            if index in used:
                raise ValueError(f"place {index} twice")
            used.add(index)
            result[a, b, index // size[1], index % size[1]] = value
    return result


def max_unpool2d_backward(grad, indices):
    result = np.empty(indices.shape, grad.dtype)
    for place in np.ndindex(*indices.shape):
        result[place] = grad[place[0], place[1]].flat[indices[place]]
    return result


def conv_transpose_output_size(size, kernel, stride, padding, output_padding):
    return stride * (size - 1) + kernel + output_padding - padding - padding


def conv_transpose2d_forward(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    n, c, h, w = x.shape
    o, kh, kw = weight.shape[1:]
    oh = conv_transpose_output_size(h, kh, stride, padding, output_padding)
    ow = conv_transpose_output_size(w, kw, stride, padding, output_padding)
    out = np.zeros((n, o, oh, ow), x.dtype)
    for a in range(h):
        for b in range(w):
            stamp = np.einsum("nc,coij->noij", x[:, :, a, b], weight)
            for i in range(kh):
                for j in range(kw):
                    y, z = a * stride + i - padding, b * stride + j - padding
                    if 0 <= y < oh and 0 <= z < ow:
                        out[:, :, y, z] += stamp[:, :, i, j]
    if bias is not None:
        out += bias.reshape(1, -1, 1, 1)
    return out, {"x": x, "weight": weight, "bias": bias, "stride": stride, "padding": padding}


def conv_transpose2d_backward(grad, cache):
    x, weight, stride, padding = (cache[k] for k in ("x", "weight", "stride", "padding"))
    gx, gw = np.zeros(x.shape, x.dtype), np.zeros(weight.shape, weight.dtype)
    for a, b in np.ndindex(*x.shape[2:]):
        for i, j in np.ndindex(*weight.shape[2:]):
            y, z = a * stride + i - padding, b * stride + j - padding
            if 0 <= y < grad.shape[2] and 0 <= z < grad.shape[3]:
                gx[:, :, a, b] += grad[:, :, y, z] @ weight[:, :, i, j].T
                gw[:, :, i, j] += x[:, :, a, b].T @ grad[:, :, y, z]
    return gx, gw, None if cache["bias"] is None else np.einsum("nohw->o", grad)


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
