"""sliding_window_view and tensordot forward, np.add.at backward, closures for caches."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def pair(value):
    return (value, value) if np.isscalar(value) else tuple(value)


def linear_forward(x, weight, bias):
    def back(grad):
        return np.dot(grad, weight), np.einsum("nm,nd->md", grad, x), np.einsum("nm->m", grad)

    return np.tensordot(x, weight, (1, 1)) + bias[np.newaxis], back


def linear_backward(grad, cache):
    return cache(grad)


def relu_forward(x):
    out = x * (x > 0)
    return out, lambda grad: np.where(x > 0, grad, 0.0).astype(grad.dtype)


def relu_backward(grad, cache):
    return cache(grad)


def cross_entropy_forward(logits, targets):
    top = np.max(logits, axis=1)
    z = np.log(np.sum(np.exp(logits - top[:, None]), axis=1)) + top
    own = np.take_along_axis(logits, np.asarray(targets)[:, None], axis=1)[:, 0]

    def back(grad):
        softmax = np.exp(logits - z[:, None])
        one_hot = np.eye(logits.shape[1], dtype=logits.dtype)[targets]
        return (softmax - one_hot) * (float(grad) / len(logits))

    return np.mean(z - own), back


def cross_entropy_backward(grad, cache):
    return cache(grad)


def conv_output_size(size, kernel, stride, padding, dilation):
    return len(range(0, size + 2 * padding - (kernel - 1) * dilation, stride))


def view(padded, kernel, stride, dilation):
    """(N, C, OH, OW, KH, KW), a view."""
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    windows = sliding_window_view(padded, span, axis=(2, 3), writeable=False)
    return windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def pad(x, padding, with_what=0):
    ph, pw = padding
    out = np.full((*x.shape[:2], x.shape[2] + 2 * ph, x.shape[3] + 2 * pw), with_what, x.dtype)
    out[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]] = x
    return out


def places(shape, kernel, stride, dilation):
    """Flat indices into a padded image of the same form as `view` without N and C."""
    flat = np.arange(shape[2] * shape[3]).reshape(1, 1, *shape[2:])
    return view(flat, kernel, stride, dilation)[0, 0]


def add_windows(parts, shape, padding, kernel, stride, dilation=(1, 1)):
    """The adjoint of pad, then view: (N, C, OH, OW, KH, KW) to x's shape."""
    n, c, h, w = shape
    big = (n, c, h + 2 * padding[0], w + 2 * padding[1])
    flat = np.zeros((n * c, big[2] * big[3]), parts.dtype)
    index = places(big, kernel, stride, dilation).reshape(-1)
    rows = np.arange(n * c)[:, None]
    np.add.at(flat, (rows, index[None]), parts.reshape(n * c, -1))
    image = flat.reshape(big)
    return image[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w]


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    stride, padding, dilation = map(pair, (stride, padding, dilation))
    kernel = weight.shape[2:]
    windows = view(pad(x, padding), kernel, stride, dilation)
    xs = np.split(windows, groups, axis=1)
    ws = np.split(weight, groups, axis=0)
    outs = [np.tensordot(a, b, ((1, 4, 5), (1, 2, 3))) for a, b in zip(xs, ws, strict=True)]
    out = np.moveaxis(np.concatenate(outs, axis=3), 3, 1)
    if bias is not None:
        out = out + bias.reshape(1, -1, 1, 1)

    def back(grad):
        gw, gx = [], []
        for a, b, g in zip(xs, ws, np.split(grad, groups, axis=1), strict=True):
            gw.append(np.tensordot(g, a, ((0, 2, 3), (0, 2, 3))))
            parts = np.tensordot(g, b, (1, 0))  # (N, OH, OW, C, KH, KW)
            gx.append(np.moveaxis(parts, 3, 1))
        gx = add_windows(
            np.ascontiguousarray(np.concatenate(gx, 1)), x.shape, padding, kernel, stride, dilation
        )
        return gx, np.concatenate(gw), None if bias is None else np.einsum("nohw->o", grad)

    return out, back


def conv2d_backward(grad, cache):
    return cache(grad)


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    kernel = pair(kernel_size)
    stride = pair(kernel_size if stride is None else stride)
    padding = pair(padding)
    windows = view(pad(x, padding, -np.inf), kernel, stride, (1, 1))
    flat = windows.reshape(*windows.shape[:4], -1)
    winner = flat.argmax(axis=-1)

    def back(grad):
        parts = np.zeros_like(flat)
        np.put_along_axis(parts, winner[..., None], grad[..., None], -1)
        return add_windows(parts, x.shape, padding, kernel, stride)

    return np.take_along_axis(flat, winner[..., None], -1)[..., 0], back


def max_pool2d_backward(grad, cache):
    return cache(grad)


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    kernel = pair(kernel_size)
    stride = pair(kernel_size if stride is None else stride)
    padding = pair(padding)
    missing = np.nan if not count_include_pad else 0.0
    windows = view(pad(x, padding, missing), kernel, stride, (1, 1))
    real = ~np.isnan(windows)
    share = real / real.sum(axis=(4, 5), keepdims=True)
    out = (np.nan_to_num(windows) * share).sum(axis=(4, 5)).astype(x.dtype)

    def back(grad):
        parts = (grad[..., None, None] * share).astype(grad.dtype)
        return add_windows(parts, x.shape, padding, kernel, stride)

    return out, back


def avg_pool2d_backward(grad, cache):
    return cache(grad)


def channels_last(a):
    """(N, C, ...) -> (elements of a channel, C)."""
    return np.moveaxis(a, 1, -1).reshape(-1, a.shape[1])


def channels_back(a, shape):
    return np.moveaxis(a.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    rows = channels_last(x)
    mean, var = running_mean.copy(), running_var.copy()
    if training:
        mean, var = rows.mean(0), rows.var(0)
        running_mean -= momentum * (running_mean - mean)
        running_var -= momentum * (running_var - rows.var(0, ddof=1))
    std = np.sqrt(var + eps)
    normal = (rows - mean) / std

    def back(grad):
        g = channels_last(grad)
        gw, gb = (g * normal).sum(0), g.sum(0)
        gx = g * (weight / std)
        if training:
            gx = gx - (weight / std) * (gb + normal * gw) / len(g)
        return channels_back(gx, x.shape), gw, gb

    return channels_back(normal * weight + bias, x.shape), back


def batch_norm_backward(grad, cache):
    return cache(grad)


def dropout_forward(x, p, training, rng):
    if not training:
        return x, lambda grad: grad
    stays = ~(rng.random(x.shape) < p)
    return np.where(stays, x / (1 - p), 0).astype(x.dtype), lambda grad: stays * grad / (1 - p)


def dropout_backward(grad, cache):
    return cache(grad)


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    n, c, h, w = x.shape
    # One "channel" for each block of each image, then a BatchNorm over one image.
    ones, zeros = np.ones(n * num_groups, x.dtype), np.zeros(n * num_groups, x.dtype)
    blocks = x.reshape(1, n * num_groups, c // num_groups * h, w)
    normal, inner = batch_norm_forward(blocks, ones, zeros, zeros.copy(), ones.copy(), True, 0, eps)
    normal = normal.reshape(x.shape)

    def back(grad):
        gx, _, _ = batch_norm_backward(
            (grad * weight[None, :, None, None]).reshape(blocks.shape), inner
        )
        return gx.reshape(x.shape), (grad * normal).sum((0, 2, 3)), grad.sum((0, 2, 3))

    return normal * weight[None, :, None, None] + bias[None, :, None, None], back


def group_norm_backward(grad, cache):
    return cache(grad)


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    for name in sorted(params):
        g = grads[name] + weight_decay * params[name]
        velocities[name][...] = momentum * velocities[name] + g
        params[name][...] = params[name] - lr * velocities[name]


def convnet_forward(params, running, x, training, p, rng):
    h, back_conv1 = conv2d_forward(x, params["conv1.weight"], padding=1)
    h, back_bn = batch_norm_forward(
        h, params["bn.weight"], params["bn.bias"], running["mean"], running["var"], training
    )
    h, back_relu = relu_forward(h)
    way, back_conv2 = conv2d_forward(h, params["conv2.weight"], params["conv2.bias"], padding=1)
    h, back_pool = max_pool2d_forward(h + way, (2, 2))
    shape = h.shape
    h, back_drop = dropout_forward(h.reshape(shape[0], -1), p, training, rng)
    logits, back_fc = linear_forward(h, params["fc.weight"], params["fc.bias"])

    def back(grad):
        g, fc_weight, fc_bias = back_fc(grad)
        g = back_pool(back_drop(g).reshape(shape))
        way, conv2_weight, conv2_bias = back_conv2(g)
        g, bn_weight, bn_bias = back_bn(back_relu(g + way))
        return {
            "conv1.weight": back_conv1(g)[1],
            "bn.weight": bn_weight,
            "bn.bias": bn_bias,
            "conv2.weight": conv2_weight,
            "conv2.bias": conv2_bias,
            "fc.weight": fc_weight,
            "fc.bias": fc_bias,
        }

    return logits, back


def convnet_backward(grad, cache):
    return cache(grad)


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    logits, back = convnet_forward(params, running, x, True, p, rng)
    loss, back_loss = cross_entropy_forward(logits, targets)
    sgd_step(params, back(back_loss(1.0)), velocities, lr, momentum, weight_decay)
    return float(loss)
