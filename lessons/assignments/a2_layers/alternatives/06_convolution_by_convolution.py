"""The backward of a convolution written as two more convolutions; recursion over groups."""

import numpy as np


def pair(value):
    return (value, value) if np.isscalar(value) else tuple(value)


def linear_forward(x, weight, bias):
    # A linear layer is a convolution of a 1 x 1 image.
    out = correlate(x[:, :, None, None], weight[:, :, None, None])
    return out[:, :, 0, 0] + bias, (x, weight)


def linear_backward(grad, cache):
    x, weight = cache
    return (
        sum(grad[:, m, None] * weight[m] for m in range(len(weight))),
        sum(np.outer(grad[n], x[n]) for n in range(len(x))),
        sum(grad),
    )


def relu_forward(x):
    out = np.fmax(x, x.dtype.type(0))
    return out, out


def relu_backward(grad, cache):
    return np.copysign(grad, grad) * cache.astype(bool)


def log_softmax(scores):
    ordered = np.sort(scores, axis=-1)[..., -1:]
    return scores - ordered - np.log(np.exp(scores - ordered).sum(-1, keepdims=True))


def cross_entropy_forward(logits, targets):
    chosen = np.zeros_like(logits)
    np.put_along_axis(chosen, np.array(targets).reshape(-1, 1), 1, axis=1)
    chosen /= len(logits)
    log_p = log_softmax(logits)
    return -np.vdot(log_p, chosen), {"log_p": log_p, "chosen": chosen}


def cross_entropy_backward(grad, cache):
    p = np.exp(cache["log_p"])
    return (p / len(p) - cache["chosen"]) * np.asarray(grad, p.dtype)


def conv_output_size(size, kernel, stride, padding, dilation):
    span = 1 + (kernel - 1) * dilation
    free, _ = divmod(padding + size + padding - span, stride)
    return free + 1


def holes(a, step):
    """Zeros between neighbouring rows and columns."""
    out = np.zeros(
        (*a.shape[:2], (a.shape[2] - 1) * step[0] + 1, (a.shape[3] - 1) * step[1] + 1), a.dtype
    )
    out[:, :, :: step[0], :: step[1]] = a
    return out


def border(a, top, bottom, left, right):
    return np.pad(a, ((0, 0), (0, 0), (top, bottom), (left, right)))


def correlate(x, w):
    """Plain: stride 1, no padding, no dilation, one group. Row by row of the output."""
    n, _, h, width = x.shape
    o, c, kh, kw = w.shape
    out = np.empty((n, o, h - kh + 1, width - kw + 1), np.result_type(x, w))
    for y in range(out.shape[2]):
        for z in range(out.shape[3]):
            window = x[:, :, y : y + kh, z : z + kw].reshape(n, c * kh * kw)
            out[:, :, y, z] = window @ w.reshape(o, -1).T
    return out


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if groups > 1:
        xs, ws = np.split(x, groups, 1), np.split(weight, groups, 0)
        bs = [None] * groups if bias is None else np.split(bias, groups)
        made = [
            conv2d_forward(*own, stride, padding, dilation) for own in zip(xs, ws, bs, strict=True)
        ]
        return np.concatenate([out for out, _ in made], 1), [cache for _, cache in made]
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    big = border(x, ph, ph, pw, pw)
    kernel = holes(weight, pair(dilation))
    dense = correlate(big, kernel)
    out = dense[:, :, ::sh, ::sw]
    if bias is not None:
        out = out + np.expand_dims(bias, (1, 2))
    return out, (big, kernel, dense.shape, (sh, sw), (ph, pw), pair(dilation), bias is None)


def conv2d_backward(grad, cache):
    if isinstance(cache, list):
        made = [
            conv2d_backward(g, own)
            for g, own in zip(np.split(grad, len(cache), 1), cache, strict=True)
        ]
        gb = None if made[0][2] is None else np.concatenate([b for _, _, b in made])
        return (
            np.concatenate([a for a, _, _ in made], 1),
            np.concatenate([w for _, w, _ in made]),
            gb,
        )
    big, kernel, shape, (sh, sw), (ph, pw), (dh, dw), no_bias = cache
    dense = np.zeros(shape, grad.dtype)
    dense[:, :, ::sh, ::sw] = grad
    kh, kw = kernel.shape[2] - 1, kernel.shape[3] - 1
    flipped = np.flip(kernel, (2, 3)).transpose(1, 0, 2, 3)
    gx = correlate(border(dense, kh, kh, kw, kw), np.ascontiguousarray(flipped))
    gx = gx[:, :, ph : gx.shape[2] - ph, pw : gx.shape[3] - pw]
    by_channel = correlate(
        big.transpose(1, 0, 2, 3), np.ascontiguousarray(dense.transpose(1, 0, 2, 3))
    )
    gw = by_channel.transpose(1, 0, 2, 3)[:, :, ::dh, ::dw]
    return gx, gw, None if no_bias else grad.sum(-1).sum(-1).sum(0)


def slices(shape, kernel_size, stride, padding):
    kernel = pair(kernel_size)
    stride = kernel if stride is None else pair(stride)
    padding = pair(padding)
    size = tuple(
        conv_output_size(shape[2 + a], kernel[a], stride[a], padding[a], 1) for a in (0, 1)
    )
    every = [
        (
            ...,
            slice(i, i + stride[0] * size[0], stride[0]),
            slice(j, j + stride[1] * size[1], stride[1]),
        )
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    # Enough room for the slices' ends.
    room = tuple(
        max(shape[2 + a] + 2 * padding[a], stride[a] * size[a] + kernel[a]) for a in (0, 1)
    )
    return padding, every, room


def laid(x, padding, room, value):
    out = np.full((*x.shape[:2], *room), value, x.dtype)
    out[..., padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]] = x
    return out


def taken(a, padding, shape):
    return a[..., padding[0] : padding[0] + shape[2], padding[1] : padding[1] + shape[3]]


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    padding, every, room = slices(x.shape, kernel_size, stride, padding)
    image = laid(x, padding, room, -np.inf)
    out = np.maximum.reduce([image[place] for place in every])
    return out, {"image": image, "out": out, "of": (padding, every, x.shape)}


def max_pool2d_backward(grad, cache):
    padding, every, shape = cache["of"]
    gx = np.zeros(cache["image"].shape, grad.dtype)
    open_ = np.ones(grad.shape, bool)
    for place in every:
        wins = open_ & (cache["image"][place] == cache["out"])
        gx[place] += wins * grad
        open_ &= ~wins
    return taken(gx, padding, shape)


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    padding, every, room = slices(x.shape, kernel_size, stride, padding)
    image = laid(x, padding, room, 0)
    weights = np.ones(image.shape[2:], x.dtype)
    if not count_include_pad:
        weights = laid(np.ones_like(x), padding, room, 0)[0, 0]
    inverse = 1 / sum(weights[place] for place in every)
    return sum(image[place] for place in every) * inverse, (inverse, padding, every, room, x.shape)


def avg_pool2d_backward(grad, cache):
    inverse, padding, every, room, shape = cache
    gx = np.zeros((*shape[:2], *room), grad.dtype)
    for place in every:
        gx[place] = gx[place] + grad * inverse
    return taken(gx, padding, shape)


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    # (C, M), one row a channel.
    rows = x.swapaxes(0, 1).reshape(x.shape[1], -1)

    def back_to_images(a):
        return a.reshape(x.shape[1], x.shape[0], *x.shape[2:]).swapaxes(0, 1)

    if training:
        mean, var = np.mean(rows, 1), np.var(rows, 1)
        running_mean *= 1 - momentum
        running_mean += momentum * mean
        running_var *= 1 - momentum
        running_var += momentum * np.var(rows, 1, ddof=1)
    else:
        mean, var = np.array(running_mean), np.array(running_var)
    scale = np.power(var + eps, -0.5)[:, None]
    normal = (rows - mean[:, None]) * scale
    cache = {"normal": normal, "scale": scale, "weight": weight, "images": back_to_images}
    cache["fixed"] = not training
    return back_to_images(normal * weight[:, None] + bias[:, None]), cache


def batch_norm_backward(grad, cache):
    g = grad.swapaxes(0, 1).reshape(grad.shape[1], -1)
    normal, scale = cache["normal"], cache["scale"]
    h = g * cache["weight"][:, None]
    gx = h
    if not cache["fixed"]:
        # Take away from h what lies along (1, 1, ...) and along normal.
        length = g.shape[1]
        gx = h - h.mean(1, keepdims=True) - normal * (normal * h).sum(1, keepdims=True) / length
    return cache["images"](gx * scale), (g * normal).sum(1), g.sum(1)


def dropout_forward(x, p, training, rng):
    if training:
        chosen = np.flatnonzero(rng.random(x.shape).ravel() >= p)
        out = np.zeros(x.size, x.dtype)
        out[chosen] = x.ravel()[chosen] / (1 - p)
        return out.reshape(x.shape), (chosen, p)
    return np.positive(x), None


def dropout_backward(grad, cache):
    if not cache:
        return np.positive(grad)
    chosen, p = cache
    out = np.zeros(grad.size, grad.dtype)
    out[chosen] = grad.ravel()[chosen] / (1 - p)
    return out.reshape(grad.shape)


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    size = x.shape[1] // num_groups
    normal, scales = np.empty_like(x), []
    for first in range(0, x.shape[1], size):
        block = x[:, first : first + size].reshape(len(x), -1)
        scale = 1 / np.sqrt(np.var(block, axis=1) + eps)
        scales.append(scale)
        shifted = (block - np.mean(block, axis=1)[:, None]) * scale[:, None]
        normal[:, first : first + size] = shifted.reshape(len(x), size, *x.shape[2:])
    out = (normal.swapaxes(1, 3) * weight + bias).swapaxes(1, 3)
    return out, (normal, scales, size, weight)


def group_norm_backward(grad, cache):
    normal, scales, size, weight = cache
    gx = np.empty_like(grad)
    for k, scale in enumerate(scales):
        own = slice(k * size, (k + 1) * size)
        h = (grad[:, own].swapaxes(1, 3) * weight[own]).swapaxes(1, 3).reshape(len(grad), -1)
        y = normal[:, own].reshape(len(grad), -1)
        h = h - (h.sum(1, keepdims=True) + y * (h * y).sum(1, keepdims=True)) / h.shape[1]
        gx[:, own] = (h * scale[:, None]).reshape(gx[:, own].shape)
    gw, gb = (np.apply_over_axes(np.sum, a, (0, 2, 3)).ravel() for a in (grad * normal, grad))
    return gx, gw, gb


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    def one(param, grad, velocity):
        velocity *= momentum
        velocity += grad
        velocity += weight_decay * param
        param += -lr * velocity

    for name in params:
        one(params[name], grads[name], velocities[name])


def convnet_forward(params, running, x, training, p, rng):
    cache = {}
    h, cache["conv1"] = conv2d_forward(x, params["conv1.weight"], None, 1, 1)
    h, cache["bn"] = batch_norm_forward(
        h, params["bn.weight"], params["bn.bias"], running["mean"], running["var"], training
    )
    h, cache["relu"] = relu_forward(h)
    # The shortcut as one more kernel element: identity + convolution is one convolution.
    same = np.zeros_like(params["conv2.weight"])
    same[range(len(same)), range(len(same)), 1, 1] = 1
    h, cache["conv2"] = conv2d_forward(h, params["conv2.weight"] + same, params["conv2.bias"], 1, 1)
    h, cache["pool"] = max_pool2d_forward(h, 2)
    cache["shape"] = h.shape
    h, cache["drop"] = dropout_forward(h.reshape(len(x), -1), p, training, rng)
    logits, cache["fc"] = linear_forward(h, params["fc.weight"], params["fc.bias"])
    return logits, cache


def convnet_backward(grad, cache):
    g, fc_weight, fc_bias = linear_backward(grad, cache["fc"])
    g = dropout_backward(g, cache["drop"]).reshape(cache["shape"])
    g = max_pool2d_backward(g, cache["pool"])
    g, conv2_weight, conv2_bias = conv2d_backward(g, cache["conv2"])
    g, bn_weight, bn_bias = batch_norm_backward(relu_backward(g, cache["relu"]), cache["bn"])
    conv1_weight = conv2d_backward(g, cache["conv1"])[1]
    return {
        "fc.weight": fc_weight,
        "fc.bias": fc_bias,
        "conv2.weight": conv2_weight,
        "conv2.bias": conv2_bias,
        "bn.weight": bn_weight,
        "bn.bias": bn_bias,
        "conv1.weight": conv1_weight,
    }


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    logits, cache = convnet_forward(params, running, x, True, p, rng)
    loss, end = cross_entropy_forward(logits, targets)
    grads = convnet_backward(cross_entropy_backward(1, end), cache)
    sgd_step(params, grads, velocities, lr, momentum, weight_decay)
    return np.array(loss)
