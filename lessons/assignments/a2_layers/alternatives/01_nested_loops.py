"""Every sum a loop, every cache a dict, everything in the order of the docstrings."""

import math

import numpy as np


def pair(value):
    return (value, value) if np.isscalar(value) else tuple(value)


def linear_forward(x, weight, bias):
    n, m = x.shape[0], weight.shape[0]
    out = np.empty((n, m), x.dtype)
    for i in range(n):
        for k in range(m):
            out[i, k] = np.dot(x[i], weight[k]) + bias[k]
    return out, {"x": x, "weight": weight}


def linear_backward(grad, cache):
    x, weight = cache["x"], cache["weight"]
    gx, gw = np.zeros_like(x), np.zeros_like(weight)
    gb = np.zeros(weight.shape[0], x.dtype)
    for i in range(x.shape[0]):
        for k in range(weight.shape[0]):
            gx[i] += grad[i, k] * weight[k]
            gw[k] += grad[i, k] * x[i]
            gb[k] += grad[i, k]
    return gx, gw, gb


def relu_forward(x):
    out = x.copy()
    for place in np.ndindex(*x.shape):
        if x[place] <= 0:
            out[place] = 0
    return out, {"out": out}


def relu_backward(grad, cache):
    return np.where(cache["out"] > 0, grad, np.zeros_like(grad))


def cross_entropy_forward(logits, targets):
    total, shares = 0.0, []
    for row, target in zip(logits, targets, strict=True):
        top = float(max(row))
        exps = [math.exp(float(score) - top) for score in row]
        total += math.log(sum(exps)) + top - float(row[target])
        shares.append([e / sum(exps) for e in exps])
    return total / len(targets), (shares, targets, logits.dtype)


def cross_entropy_backward(grad, cache):
    shares, targets, dtype = cache
    result = np.array(shares)
    for n, target in enumerate(targets):
        result[n, target] -= 1
    return (result * grad / len(targets)).astype(dtype)


def conv_output_size(size, kernel, stride, padding, dilation):
    count, start = 0, -padding
    while start + dilation * (kernel - 1) < size + padding:
        count, start = count + 1, start + stride
    return count


def places(x_shape, weight_shape, out_shape, stride, padding, dilation, groups):
    """(output place, input place, weight place) of every product in a convolution."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    outs, ins = weight_shape[0] // groups, weight_shape[1]
    for n, o, y, x in np.ndindex(*out_shape):
        for c, i, j in np.ndindex(*weight_shape[1:]):
            row, column = y * sh + i * dh - ph, x * sw + j * dw - pw
            if 0 <= row < x_shape[2] and 0 <= column < x_shape[3]:
                yield (n, o, y, x), (n, o // outs * ins + c, row, column), (o, c, i, j)


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    size = [
        conv_output_size(x.shape[2 + a], weight.shape[2 + a], s, p, d)
        for a, s, p, d in zip((0, 1), pair(stride), pair(padding), pair(dilation), strict=True)
    ]
    out = np.zeros((len(x), len(weight), *size), x.dtype)
    if bias is not None:
        for o in range(len(weight)):
            out[:, o] = bias[o]
    products = list(places(x.shape, weight.shape, out.shape, stride, padding, dilation, groups))
    for place, source, element in products:
        out[place] += x[source] * weight[element]
    return out, {"x": x, "weight": weight, "bias": bias, "products": products}


def conv2d_backward(grad, cache):
    x, weight = cache["x"], cache["weight"]
    gx, gw = np.zeros_like(x), np.zeros_like(weight)
    for place, source, element in cache["products"]:
        gx[source] += grad[place] * weight[element]
        gw[element] += grad[place] * x[source]
    gb = None
    if cache["bias"] is not None:
        gb = np.array([grad[:, o].sum() for o in range(len(weight))], dtype=x.dtype)
    return gx, gw, gb


def windows(shape, kernel_size, stride, padding):
    """The size of the output, and a function (y, x) -> list of the pixels of its window."""
    kernel = pair(kernel_size)
    stride = pair(kernel_size if stride is None else stride)
    padding = pair(padding)
    size = [conv_output_size(shape[2 + a], kernel[a], stride[a], padding[a], 1) for a in (0, 1)]

    def pixels(y, x):
        top, left = y * stride[0] - padding[0], x * stride[1] - padding[1]
        return [
            (r, c)
            for r in range(max(top, 0), min(top + kernel[0], shape[2]))
            for c in range(max(left, 0), min(left + kernel[1], shape[3]))
        ]

    return size, pixels, kernel[0] * kernel[1]


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    size, pixels, _ = windows(x.shape, kernel_size, stride, padding)
    out, winners = np.empty((*x.shape[:2], *size), x.dtype), {}
    for n, c, y, z in np.ndindex(*out.shape):
        best = None
        for place in pixels(y, z):
            if best is None or x[n, c][place] > x[n, c][best]:
                best = place
        winners[n, c, y, z] = best
        out[n, c, y, z] = x[n, c][best]
    return out, {"winners": winners, "shape": x.shape}


def max_pool2d_backward(grad, cache):
    gx = np.zeros(cache["shape"], grad.dtype)
    for (n, c, y, z), winner in cache["winners"].items():
        gx[n, c][winner] += grad[n, c, y, z]
    return gx


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    size, pixels, area = windows(x.shape, kernel_size, stride, padding)
    out = np.empty((*x.shape[:2], *size), x.dtype)
    for n, c, y, z in np.ndindex(*out.shape):
        inside = pixels(y, z)
        total = sum(float(x[n, c][place]) for place in inside)
        out[n, c, y, z] = total / (area if count_include_pad else len(inside))
    return out, (pixels, area, count_include_pad, x.shape)


def avg_pool2d_backward(grad, cache):
    pixels, area, counted, shape = cache
    gx = np.zeros(shape, grad.dtype)
    for n, c, y, z in np.ndindex(*grad.shape):
        inside = pixels(y, z)
        for place in inside:
            gx[n, c][place] += grad[n, c, y, z] / (area if counted else len(inside))
    return gx


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    out, channels = np.empty_like(x), []
    for c in range(x.shape[1]):
        values = x[:, c]
        count = values.size
        mean, var = float(running_mean[c]), float(running_var[c])
        if training:
            mean = float(values.sum()) / count
            squares = float(((values - mean) ** 2).sum())
            var = squares / count
            running_mean[c] = (1 - momentum) * float(running_mean[c]) + momentum * mean
            unbiased = squares / (count - 1)
            running_var[c] = (1 - momentum) * float(running_var[c]) + momentum * unbiased
        std = math.sqrt(var + eps)
        out[:, c] = weight[c] * ((values - mean) / std) + bias[c]
        channels.append((values - mean, std, float(weight[c])))
    return out, (channels, training)


def batch_norm_backward(grad, cache):
    channels, training = cache
    gx = np.empty_like(grad)
    gw, gb = np.empty(len(channels), grad.dtype), np.empty(len(channels), grad.dtype)
    for c, (centred, std, scale) in enumerate(channels):
        g = grad[:, c]
        gb[c] = g.sum()
        gw[c] = (g * centred).sum() / std
        gx[:, c] = g * scale / std
        if training:
            # Through the variance, then through the mean.
            grad_var = float((g * centred).sum()) * scale * -0.5 / std**3
            gx[:, c] += grad_var * 2 * centred / g.size
            gx[:, c] -= float(g.sum()) * scale / std / g.size
    return gx, gw, gb


def dropout_forward(x, p, training, rng):
    out = x.copy()
    stays = None
    if training:
        stays = rng.random(x.shape) >= p
        out[~stays] = 0
        out /= 1 - p
    return out, (stays, p)


def dropout_backward(grad, cache):
    stays, p = cache
    if stays is None:
        return grad
    result = np.zeros_like(grad)
    result[stays] = grad[stays] / (1 - p)
    return result


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    size = x.shape[1] // num_groups
    out, kept = np.empty_like(x), []
    for n in range(len(x)):
        for g in range(num_groups):
            block = x[n, g * size : (g + 1) * size]
            centred = block - block.mean()
            std = math.sqrt(float((centred**2).mean()) + eps)
            kept.append((n, g, centred / std, std))
            for k in range(size):
                c = g * size + k
                out[n, c] = weight[c] * (centred[k] / std) + bias[c]
    return out, (kept, size, weight)


def group_norm_backward(grad, cache):
    kept, size, weight = cache
    gx, gw, gb = np.empty_like(grad), np.zeros_like(weight), np.zeros_like(weight)
    for n, g, normal, std in kept:
        rows = slice(g * size, (g + 1) * size)
        gw[rows] += (grad[n, rows] * normal).sum((1, 2))
        gb[rows] += grad[n, rows].sum((1, 2))
        h = grad[n, rows] * weight[rows, None, None]
        gx[n, rows] = (h - h.mean() - normal * (h * normal).mean()) / std
    return gx, gw, gb


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    for name in params:
        param, velocity = params[name], velocities[name]
        for place in np.ndindex(*param.shape):
            g = grads[name][place] + weight_decay * param[place]
            velocity[place] = momentum * velocity[place] + g
            param[place] = param[place] - lr * velocity[place]


def convnet_forward(params, running, x, training, p, rng):
    caches = {}
    a, caches["conv1"] = conv2d_forward(x, params["conv1.weight"], None, 1, 1)
    b, caches["bn"] = batch_norm_forward(
        a, params["bn.weight"], params["bn.bias"], running["mean"], running["var"], training
    )
    c, caches["relu"] = relu_forward(b)
    d, caches["conv2"] = conv2d_forward(c, params["conv2.weight"], params["conv2.bias"], 1, 1)
    e, caches["pool"] = max_pool2d_forward(c + d, 2)
    f, caches["drop"] = dropout_forward(e.reshape(e.shape[0], -1), p, training, rng)
    out, caches["fc"] = linear_forward(f, params["fc.weight"], params["fc.bias"])
    caches["shape"] = e.shape
    return out, caches


def convnet_backward(grad, cache):
    grads = {}
    gf, grads["fc.weight"], grads["fc.bias"] = linear_backward(grad, cache["fc"])
    ge = dropout_backward(gf, cache["drop"]).reshape(cache["shape"])
    gd = max_pool2d_backward(ge, cache["pool"])
    gc, grads["conv2.weight"], grads["conv2.bias"] = conv2d_backward(gd, cache["conv2"])
    gb = relu_backward(gc + gd, cache["relu"])
    ga, grads["bn.weight"], grads["bn.bias"] = batch_norm_backward(gb, cache["bn"])
    grads["conv1.weight"] = conv2d_backward(ga, cache["conv1"])[1]
    return grads


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    logits, caches = convnet_forward(params, running, x, True, p, rng)
    loss, cache = cross_entropy_forward(logits, targets)
    grads = convnet_backward(cross_entropy_backward(1, cache), caches)
    sgd_step(params, grads, velocities, lr, momentum=momentum, weight_decay=weight_decay)
    return loss
