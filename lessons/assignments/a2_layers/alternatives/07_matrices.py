"""Convolution and pooling as one matrix each, normalisation as a projection."""

import numpy as np


def pair(value):
    return (value, value) if np.isscalar(value) else tuple(value)


def linear_forward(x, weight, bias):
    # The bias as one more column of the weight.
    ones = np.ones((len(x), 1), x.dtype)
    extended = np.hstack([x, ones])
    matrix = np.hstack([weight, bias[:, None]])
    return extended @ matrix.T, (extended, matrix)


def linear_backward(grad, cache):
    extended, matrix = cache
    gm = grad.T @ extended
    return (grad @ matrix)[:, :-1], gm[:, :-1], gm[:, -1]


def relu_forward(x):
    slope = np.greater(x, 0).astype(x.dtype)
    return slope * x, slope


def relu_backward(grad, cache):
    return np.multiply(grad, cache)


def cross_entropy_forward(logits, targets):
    n, k = logits.shape
    # Differences to the target's score: loss = log sum exp (s_j - s_t).
    difference = logits - logits[np.arange(n), targets][:, None]
    top = difference.max(1)
    loss = top + np.log(np.exp(difference - top[:, None]).sum(1))
    p = np.exp(difference - loss[:, None])
    return float(loss.sum() / n), (p, np.ravel_multi_index((np.arange(n), targets), (n, k)))


def cross_entropy_backward(grad, cache):
    p, flat = cache
    out = p.ravel().copy()
    out[flat] = out[flat] - 1
    return out.reshape(p.shape) * p.dtype.type(grad / len(p))


def conv_output_size(size, kernel, stride, padding, dilation):
    starts = np.arange(-padding, size + padding, stride)
    return int(np.count_nonzero(starts + dilation * (kernel - 1) < size + padding))


def axis_hits(size, kernel, stride, padding, dilation):
    """(OH, K) of the pixel that each kernel element meets along one axis; -1 for padding."""
    count = conv_output_size(size, kernel, stride, padding, dilation)
    hits = np.arange(count)[:, None] * stride + np.arange(kernel) * dilation - padding
    return np.where((hits < 0) | (hits >= size), -1, hits)


def selection(hits, size, dtype):
    """(OH, K, H): 1 where a kernel element meets a pixel."""
    return (hits[..., None] == np.arange(size)).astype(dtype)


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    n, c, h, w = x.shape
    o = len(weight)
    s, p, d = pair(stride), pair(padding), pair(dilation)
    rows = selection(axis_hits(h, weight.shape[2], s[0], p[0], d[0]), h, x.dtype)
    columns = selection(axis_hits(w, weight.shape[3], s[1], p[1], d[1]), w, x.dtype)
    # All channels to all channels, 0 between different groups.
    whole = np.zeros((o, c, *weight.shape[2:]), x.dtype)
    for k in range(o):
        g = k // (o // groups)
        whole[k, g * (c // groups) : (g + 1) * (c // groups)] = weight[k]
    matrix = np.einsum("ocij,yih,xjw->oyxchw", whole, rows, columns, optimize=True)
    size = matrix.shape[1:3]
    matrix = matrix.reshape(o * size[0] * size[1], c * h * w)
    out = (matrix @ x.reshape(n, -1).T).T.reshape(n, o, *size)
    if bias is not None:
        out = out + bias[None, :, None, None]
    return out, (x, weight.shape, matrix, rows, columns, groups, bias is not None)


def conv2d_backward(grad, cache):
    x, weight_shape, matrix, rows, columns, groups, has_bias = cache
    gx = (grad.reshape(len(x), -1) @ matrix).reshape(x.shape)
    whole = np.einsum("noyx,nchw,yih,xjw->ocij", grad, x, rows, columns, optimize=True)
    o, c = whole.shape[:2]
    gw = np.empty(weight_shape, x.dtype)
    for k in range(o):
        g = k // (o // groups)
        gw[k] = whole[k, g * (c // groups) : (g + 1) * (c // groups)]
    return gx, gw, np.einsum("noyx->o", grad) if has_bias else None


def windows(x_shape, kernel_size, stride, padding):
    kernel, padding = pair(kernel_size), pair(padding)
    stride = kernel if stride is None else pair(stride)
    return [axis_hits(x_shape[2 + a], kernel[a], stride[a], padding[a], 1) for a in (0, 1)]


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    rows, columns = windows(x.shape, kernel_size, stride, padding)
    n, c, h, w = x.shape
    # (OH, OW, K): flat pixels; one more pixel, minus infinity, stands for all padding.
    flat = rows[:, None, :, None] * w + columns[None, :, None, :]
    missing = (rows[:, None, :, None] < 0) | (columns[None, :, None, :] < 0)
    flat = np.where(missing, h * w, flat).reshape(len(rows), len(columns), -1)
    image = np.append(x.reshape(n * c, -1), np.full((n * c, 1), -np.inf, x.dtype), axis=1)
    met = image[:, flat]
    best = np.take_along_axis(np.broadcast_to(flat, met.shape), met.argmax(-1)[..., None], -1)[
        ..., 0
    ]
    out = np.take_along_axis(image, best.reshape(n * c, -1), 1)
    return out.reshape(n, c, *best.shape[1:]), (best, x.shape)


def max_pool2d_backward(grad, cache):
    best, shape = cache
    size = shape[2] * shape[3]
    routes = best.reshape(len(best), -1, 1) == np.arange(size)
    return np.einsum("aks,ak->as", routes, grad.reshape(len(best), -1)).reshape(shape)


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    rows, columns = windows(x.shape, kernel_size, stride, padding)
    sums = [
        selection(hits, size, x.dtype).sum(1)
        for hits, size in zip((rows, columns), x.shape[2:], strict=True)
    ]
    matrix = np.kron(*sums)  # (OH * OW, H * W)
    if count_include_pad:
        matrix = matrix / (rows.shape[1] * columns.shape[1])
    else:
        matrix = matrix / matrix.sum(1, keepdims=True)
    out = x.reshape(*x.shape[:2], -1) @ matrix.T
    return out.reshape(*x.shape[:2], len(rows), len(columns)), (matrix, x.shape)


def avg_pool2d_backward(grad, cache):
    matrix, shape = cache
    return (grad.reshape(*shape[:2], -1) @ matrix).reshape(shape)


def jacobian(normal, root):
    """d normal / d x of one normalised vector: a projection, divided by the root."""
    m = normal.size
    v = normal.ravel().astype(np.float64)
    return (np.eye(m) - 1 / m - np.outer(v, v) / m) / float(root)


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    normal, maps = np.empty_like(x), []
    for c in range(x.shape[1]):
        v = x[:, c].ravel()
        if training:
            mean, var = v.mean(), v.var()
            running_mean[c] += momentum * (mean - running_mean[c])
            running_var[c] += momentum * (v.var(ddof=1) - running_var[c])
        else:
            mean, var = running_mean[c], running_var[c]
        root = np.sqrt(var + eps)
        normal[:, c] = ((v - mean) / root).reshape(x[:, c].shape)
        maps.append(jacobian(normal[:, c], root) if training else np.eye(v.size) / float(root))
    ends = (-1,) + (1,) * (x.ndim - 2)
    out = normal * weight.reshape(ends) + bias.reshape(ends)
    return out, (normal, maps, weight)


def batch_norm_backward(grad, cache):
    normal, maps, weight = cache
    gx = np.empty_like(grad)
    for c, matrix in enumerate(maps):
        gx[:, c] = (matrix @ (grad[:, c].ravel() * weight[c])).reshape(grad[:, c].shape)
    gw = np.array([np.vdot(grad[:, c], normal[:, c]) for c in range(len(maps))], grad.dtype)
    gb = np.array([np.sum(grad[:, c]) for c in range(len(maps))], grad.dtype)
    return gx, gw, gb


def dropout_forward(x, p, training, rng):
    if not training:
        return x.copy(), 1.0
    factor = np.where(rng.random(x.shape) < p, 0.0, 1 / (1 - p)).astype(x.dtype)
    return np.multiply(x, factor), factor


def dropout_backward(grad, cache):
    return np.multiply(grad, cache)


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    n, c = x.shape[:2]
    vectors = x.reshape(n * num_groups, -1)
    roots = np.sqrt(vectors.var(1) + eps)
    normal = (vectors - vectors.mean(1)[:, None]) / roots[:, None]
    maps = [jacobian(v, root) for v, root in zip(normal, roots, strict=True)]
    normal = normal.reshape(x.shape)
    out = np.stack([normal[:, k] * weight[k] + bias[k] for k in range(c)], axis=1)
    return out, (normal, maps, weight)


def group_norm_backward(grad, cache):
    normal, maps, weight = cache
    scaled = np.stack([grad[:, k] * weight[k] for k in range(len(weight))], axis=1)
    vectors = scaled.reshape(len(maps), -1)
    gx = np.stack([matrix @ v for matrix, v in zip(maps, vectors, strict=True)])
    gw = np.einsum("nchw,nchw->c", grad, normal)
    return gx.reshape(grad.shape).astype(grad.dtype), gw, np.einsum("nchw->c", grad)


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    # All arrays as one long vector, then back into their places.
    names = list(params)

    def joined(arrays):
        return np.concatenate([arrays[name].ravel() for name in names])

    w, v = joined(params), joined(velocities)
    v = momentum * v + joined(grads) + weight_decay * w
    w = w - lr * v
    first = 0
    for name in names:
        last = first + params[name].size
        params[name][...] = w[first:last].reshape(params[name].shape)
        velocities[name][...] = v[first:last].reshape(params[name].shape)
        first = last


def convnet_forward(params, running, x, training, p, rng):
    steps = []

    def run(kind, *arguments):
        out, cache = FORWARD[kind](*arguments)
        steps.append((kind, cache))
        return out

    h = run("conv", x, params["conv1.weight"], None, 1, 1)
    scale, shift = params["bn.weight"], params["bn.bias"]
    h = run("norm", h, scale, shift, running["mean"], running["var"], training)
    h = run("relu", h)
    h = h + run("conv", h, params["conv2.weight"], params["conv2.bias"], 1, 1)
    h = run("pool", h, 2)
    steps.append(("shape", h.shape))
    h = run("drop", h.reshape(len(h), -1), p, training, rng)
    return run("linear", h, params["fc.weight"], params["fc.bias"]), steps


def convnet_backward(grad, cache):
    (_, conv1), (_, norm), (_, relu), (_, conv2), (_, pool), (_, shape), (_, drop), (_, fc) = cache
    result = {}
    grad, result["fc.weight"], result["fc.bias"] = linear_backward(grad, fc)
    grad = max_pool2d_backward(dropout_backward(grad, drop).reshape(shape), pool)
    through, result["conv2.weight"], result["conv2.bias"] = conv2d_backward(grad, conv2)
    grad = relu_backward(np.add(grad, through), relu)
    grad, result["bn.weight"], result["bn.bias"] = batch_norm_backward(grad, norm)
    result["conv1.weight"] = conv2d_backward(grad, conv1)[1]
    return result


FORWARD = {
    "conv": conv2d_forward,
    "norm": batch_norm_forward,
    "relu": relu_forward,
    "pool": max_pool2d_forward,
    "drop": dropout_forward,
    "linear": linear_forward,
}


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    logits, steps = convnet_forward(params, running, x, True, p, rng)
    loss, end = cross_entropy_forward(logits, targets)
    grads = convnet_backward(cross_entropy_backward(1.0, end), steps)
    sgd_step(params, grads, velocities, lr, momentum, weight_decay)
    return loss
