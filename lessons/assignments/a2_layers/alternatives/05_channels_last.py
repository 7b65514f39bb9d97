"""Images as (N, H, W, C) inside, groups as separate convolutions, running sums as moments."""

import numpy as np


def pair(value):
    if isinstance(value, (tuple, list)):
        return value[0], value[1]
    return int(value), int(value)


def inside(x):
    return np.ascontiguousarray(np.transpose(x, (0, 2, 3, 1)))


def outside(x):
    return np.transpose(x, (0, 3, 1, 2))


def linear_forward(x, weight, bias):
    return np.einsum("nd,md->nm", x, weight) + bias, [x, weight]


def linear_backward(grad, cache):
    return (
        np.einsum("nm,md->nd", grad, cache[1]),
        np.einsum("nm,nd->md", grad, cache[0]),
        np.add.reduce(grad, 0),
    )


def relu_forward(x):
    return (x + np.abs(x)) / 2, np.sign(np.maximum(x, 0))


def relu_backward(grad, cache):
    return cache * grad


def cross_entropy_forward(logits, targets):
    losses, slopes = [], []
    for scores, target in zip(logits, targets, strict=True):
        # log(1 + the others relative to the largest)
        e = np.exp(scores - scores.max())
        losses.append(np.log(e.sum()) - (scores[target] - scores.max()))
        slope = e / e.sum()
        slope[target] = slope[target] - 1
        slopes.append(slope)
    return np.stack(losses).mean(), np.stack(slopes)


def cross_entropy_backward(grad, cache):
    return cache * (float(grad) / cache.shape[0])


def conv_output_size(size, kernel, stride, padding, dilation):
    return 1 + (size + 2 * padding - dilation * kernel + dilation - 1) // stride


def one_group(x, w, stride, dilation, size):
    """x (N, H, W, C), padded; w (KH, KW, C, O)."""
    n, c, o = len(x), x.shape[3], w.shape[3]
    kh, kw = w.shape[:2]
    columns = np.empty((n, *size, kh * kw * c), x.dtype)
    for y in range(size[0]):
        for z in range(size[1]):
            top, left = y * stride[0], z * stride[1]
            window = x[
                :,
                top : top + dilation[0] * (kh - 1) + 1 : dilation[0],
                left : left + dilation[1] * (kw - 1) + 1 : dilation[1],
            ]
            columns[:, y, z] = window.reshape(n, -1)
    return columns @ w.reshape(-1, o), columns


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    stride, (ph, pw), dilation = pair(stride), pair(padding), pair(dilation)
    size = (
        conv_output_size(x.shape[2], weight.shape[2], stride[0], ph, dilation[0]),
        conv_output_size(x.shape[3], weight.shape[3], stride[1], pw, dilation[1]),
    )
    padded = np.pad(inside(x), ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    w = np.transpose(weight, (2, 3, 1, 0))
    c, o = weight.shape[1], len(weight) // groups
    outs, kept = [], []
    for g in range(groups):
        kernel = np.ascontiguousarray(w[..., g * o : (g + 1) * o])
        out, columns = one_group(padded[..., g * c : (g + 1) * c], kernel, stride, dilation, size)
        outs.append(out)
        kept.append((kernel, columns))
    out = np.concatenate(outs, axis=-1)
    if bias is not None:
        out = out + bias
    return outside(out), (kept, padded.shape, stride, (ph, pw), dilation, bias is None)


def conv2d_backward(grad, cache):
    kept, shape, stride, (ph, pw), dilation, no_bias = cache
    g_all = inside(grad)
    oh, ow = g_all.shape[1:3]
    gxs, gws = [], []
    o = g_all.shape[3] // len(kept)
    for k, (kernel, columns) in enumerate(kept):
        g = g_all[..., k * o : (k + 1) * o]
        kh, kw, c, _ = kernel.shape
        gw = columns.reshape(-1, columns.shape[-1]).T @ g.reshape(-1, o)
        gws.append(np.transpose(gw.reshape(kernel.shape), (3, 2, 0, 1)))
        parts = (g @ kernel.reshape(-1, o).T).reshape(len(g), oh, ow, kh, kw, c)
        gx = np.zeros((*shape[:3], c), grad.dtype)
        for y in range(oh):
            for z in range(ow):
                top, left = y * stride[0], z * stride[1]
                gx[
                    :,
                    top : top + dilation[0] * (kh - 1) + 1 : dilation[0],
                    left : left + dilation[1] * (kw - 1) + 1 : dilation[1],
                ] += parts[:, y, z]
        gxs.append(gx)
    gx = outside(np.concatenate(gxs, axis=-1))
    gx = gx[:, :, ph : gx.shape[2] - ph, pw : gx.shape[3] - pw]
    return gx, np.concatenate(gws), None if no_bias else g_all.sum((0, 1, 2))


def pool_places(shape, kernel_size, stride, padding):
    """For rows and columns: a list of (the window's pixels along that axis)."""
    kernel, padding = pair(kernel_size), pair(padding)
    stride = kernel if stride is None else pair(stride)
    axes = []
    for a in (0, 1):
        count = conv_output_size(shape[2 + a], kernel[a], stride[a], padding[a], 1)
        starts = [k * stride[a] - padding[a] for k in range(count)]
        axes.append([(max(0, s), min(shape[2 + a], s + kernel[a])) for s in starts])
    return axes, kernel


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    (rows, columns), _ = pool_places(x.shape, kernel_size, stride, padding)
    h, w = x.shape[2:]
    out = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    flat = np.empty(out.shape, np.intp)
    for i, (r0, r1) in enumerate(rows):
        for j, (c0, c1) in enumerate(columns):
            window = x[:, :, r0:r1, c0:c1].reshape(*x.shape[:2], -1)
            k = window.argmax(-1)
            out[:, :, i, j] = window.max(-1)
            flat[:, :, i, j] = (r0 + k // (c1 - c0)) * w + c0 + k % (c1 - c0)
    return out, (flat, h, w)


def max_pool2d_backward(grad, cache):
    flat, h, w = cache
    n, c = grad.shape[:2]
    offset = np.arange(n * c).reshape(n, c, 1, 1) * (h * w)
    sums = np.bincount((flat + offset).ravel(), grad.ravel(), minlength=n * c * h * w)
    return sums.reshape(n, c, h, w).astype(grad.dtype)


def mean_matrix(places, size, kernel, counted, dtype):
    """(windows, pixels): one axis of an average pooling, as a matrix."""
    matrix = np.zeros((len(places), size), dtype)
    for i, (first, last) in enumerate(places):
        matrix[i, first:last] = 1 / (kernel if counted else last - first)
    return matrix


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    # The mean over a rectangle is the mean over columns of the means over rows.
    axes, kernel = pool_places(x.shape, kernel_size, stride, padding)
    left, right = (
        mean_matrix(axes[a], x.shape[2 + a], kernel[a], count_include_pad, x.dtype) for a in (0, 1)
    )
    return left @ x @ right.T, (left, right)


def avg_pool2d_backward(grad, cache):
    left, right = cache
    return left.T @ grad @ right


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    shape = (1, len(weight)) + (1,) * (x.ndim - 2)
    axes = tuple(np.delete(np.arange(x.ndim), 1))
    m = x.size / len(weight)
    if training:
        mean = x.sum(axis=axes, dtype=np.float64) / m
        square = np.square(x, dtype=np.float64).sum(axis=axes) / m
        var = np.maximum(square - mean**2, 0)
        running_mean[...] = running_mean * (1 - momentum) + mean * momentum
        running_var[...] = running_var * (1 - momentum) + var * (m / (m - 1)) * momentum
    else:
        mean, var = running_mean.astype(np.float64), running_var.astype(np.float64)
    # out = scale * x + shift: the normalisation folded into one product.
    scale = weight / np.sqrt(var + eps)
    shift = bias - scale * mean
    out = (x * scale.reshape(shape) + shift.reshape(shape)).astype(x.dtype)
    return out, (x, mean, var + eps, scale, m, axes, shape, training)


def batch_norm_backward(grad, cache):
    x, mean, var, scale, m, axes, shape, training = cache
    centred = x - mean.reshape(shape)
    gb = grad.sum(axes, dtype=np.float64)
    gw = (grad * centred).sum(axes) / np.sqrt(var)
    gx = grad * scale.reshape(shape)
    if training:
        slope = scale * gw / np.sqrt(var) / m
        gx = gx - (scale * gb / m).reshape(shape) - centred * slope.reshape(shape)
    return gx.astype(x.dtype), gw.astype(x.dtype), gb.astype(x.dtype)


def dropout_forward(x, p, training, rng):
    if training:
        dropped = np.less(rng.random(size=x.shape), p)
        return np.ma.filled(np.ma.array(x / (1 - p), mask=dropped), 0), (dropped, 1 - p)
    return 1 * x, None


def dropout_backward(grad, cache):
    if cache is None:
        return 1 * grad
    dropped, stays = cache
    out = grad / stays
    out[dropped] = 0
    return out


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    channels = np.array_split(np.arange(x.shape[1]), num_groups)
    out, normal, roots = np.empty_like(x), np.empty_like(x), []
    for own in channels:
        block = x[:, own]
        mean = block.mean((1, 2, 3), keepdims=True)
        root = np.sqrt(((block - mean) ** 2).mean((1, 2, 3), keepdims=True) + eps)
        normal[:, own] = (block - mean) / root
        roots.append(root)
    out = outside(inside(normal) * weight + bias)
    return out, (normal, roots, channels, weight)


def group_norm_backward(grad, cache):
    normal, roots, channels, weight = cache
    gx = np.empty_like(grad)
    for own, root in zip(channels, roots, strict=True):
        g, y = grad[:, own] * weight[own, None, None], normal[:, own]
        g = g - g.mean((1, 2, 3), keepdims=True)
        gx[:, own] = (g - y * (y * g).mean((1, 2, 3), keepdims=True)) / root
    return gx, inside(grad * normal).sum((0, 1, 2)), inside(grad).sum((0, 1, 2))


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    for name, v in velocities.items():
        np.copyto(v, momentum * v + (grads[name] + weight_decay * params[name]))
        np.copyto(params[name], params[name] - lr * v)


def convnet_forward(params, running, x, training, p, rng):
    get = params.__getitem__
    h1, k1 = conv2d_forward(x, get("conv1.weight"), padding=(1, 1))
    h2, k2 = batch_norm_forward(
        h1, get("bn.weight"), get("bn.bias"), running["mean"], running["var"], training
    )
    h3, k3 = relu_forward(h2)
    h4, k4 = conv2d_forward(h3, get("conv2.weight"), get("conv2.bias"), padding=(1, 1))
    h5, k5 = max_pool2d_forward(h3 + h4, 2, 2)
    h6, k6 = dropout_forward(h5.reshape(x.shape[0], h5[0].size), p, training, rng)
    h7, k7 = linear_forward(h6, get("fc.weight"), get("fc.bias"))
    return h7, (k1, k2, k3, k4, k5, k6, k7, h5.shape)


def convnet_backward(grad, cache):
    k1, k2, k3, k4, k5, k6, k7, shape = cache
    g6, fw, fb = linear_backward(grad, k7)
    g5 = max_pool2d_backward(dropout_backward(g6, k6).reshape(shape), k5)
    g4, cw, cb = conv2d_backward(g5, k4)
    g2, bw, bb = batch_norm_backward(relu_backward(g4 + g5, k3), k2)
    _, c1, _ = conv2d_backward(g2, k1)
    names = ("conv1.weight", "bn.weight", "bn.bias", "conv2.weight", "conv2.bias")
    return dict(zip((*names, "fc.weight", "fc.bias"), (c1, bw, bb, cw, cb, fw, fb), strict=True))


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    logits, kept = convnet_forward(params, running, x, True, p, rng)
    loss, slopes = cross_entropy_forward(logits, targets)
    grads = convnet_backward(cross_entropy_backward(1.0, slopes), kept)
    sgd_step(params, grads, velocities, lr, momentum, weight_decay)
    return loss
