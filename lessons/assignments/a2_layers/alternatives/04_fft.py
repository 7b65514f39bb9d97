"""Convolution by the Fourier transform, all in float64; normalisations step by step."""

import numpy as np


def pair(value):
    return (value, value) if np.isscalar(value) else tuple(value)


def f64(*arrays):
    return [None if a is None else np.asarray(a, dtype=np.float64) for a in arrays]


def linear_forward(x, weight, bias):
    a, w, b = f64(x, weight, bias)
    return (a.dot(w.T) + b).astype(x.dtype), (a, w, x.dtype)


def linear_backward(grad, cache):
    x, weight, dtype = cache
    (g,) = f64(grad)
    return g.dot(weight).astype(dtype), g.T.dot(x).astype(dtype), g.sum(0).astype(dtype)


def relu_forward(x):
    return np.clip(x, 0, None), np.heaviside(x, 0)


def relu_backward(grad, cache):
    return (grad * cache).astype(grad.dtype)


def cross_entropy_forward(logits, targets):
    (s,) = f64(logits)
    log_z = np.logaddexp.reduce(s, axis=1)
    loss = (log_z - np.choose(targets, s.T)).mean()
    return loss, (np.exp(s - log_z[:, None]), targets, logits.dtype)


def cross_entropy_backward(grad, cache):
    p, targets, dtype = cache
    one_hot = np.asarray(targets)[:, None] == np.arange(p.shape[1])
    return ((p - one_hot) * grad / len(p)).astype(dtype)


def conv_output_size(size, kernel, stride, padding, dilation):
    last = size + 2 * padding - 1 - dilation * (kernel - 1)
    return int(np.floor_divide(last, stride)) + 1


def spread(a, step, size=None):
    """Zeros between neighbouring elements of the last two axes."""
    h, w = a.shape[-2:]
    size = size or ((h - 1) * step[0] + 1, (w - 1) * step[1] + 1)
    out = np.zeros((*a.shape[:-2], *size))
    out[..., : (h - 1) * step[0] + 1 : step[0], : (w - 1) * step[1] + 1 : step[1]] = a
    return out


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    stride, (ph, pw), dilation = pair(stride), pair(padding), pair(dilation)
    a, w, b = f64(x, weight, bias)
    n, c, h, width = a.shape
    size = (h + 2 * ph, width + 2 * pw)
    oh = conv_output_size(h, w.shape[2], stride[0], ph, dilation[0])
    ow = conv_output_size(width, w.shape[3], stride[1], pw, dilation[1])
    image = np.zeros((n, c, *size))
    image[:, :, ph : ph + h, pw : pw + width] = a
    fx = np.fft.rfft2(image).reshape(n, groups, c // groups, size[0], -1)
    # A correlation multiplies with the conjugate. No wrap-around reaches a valid position.
    fw = np.fft.rfft2(spread(w, dilation), s=size)
    fw = fw.reshape(groups, len(w) // groups, c // groups, size[0], -1)
    full = np.fft.irfft2(np.einsum("ngcuv,gocuv->ngouv", fx, fw.conj()), s=size)
    full = full.reshape(n, len(w), *size)
    out = full[:, :, : oh * stride[0] : stride[0], : ow * stride[1] : stride[1]][:, :, :oh, :ow]
    if b is not None:
        out = out + b[:, None, None]
    kept = fx, fw, size, stride, (ph, pw), dilation, x.shape, weight.shape, b is not None, x.dtype
    return out.astype(x.dtype), kept


def conv2d_backward(grad, cache):
    fx, fw, size, stride, (ph, pw), dilation, x_shape, w_shape, has_bias, dtype = cache
    (g,) = f64(grad)
    n, groups = fx.shape[:2]
    fg = np.fft.rfft2(spread(g, stride, size)).reshape(n, groups, -1, *fx.shape[3:])
    gx = np.fft.irfft2(np.einsum("ngouv,gocuv->ngcuv", fg, fw), s=size)
    gx = gx.reshape(n, x_shape[1], *size)[:, :, ph : ph + x_shape[2], pw : pw + x_shape[3]]
    gw = np.fft.irfft2(np.einsum("ngouv,ngcuv->gocuv", fg.conj(), fx), s=size)
    gw = gw.reshape(*w_shape[:2], *size)
    rows, columns = (np.arange(k) * d for k, d in zip(w_shape[2:], dilation, strict=True))
    gw = gw[:, :, rows[:, None], columns]
    gb = g.sum((0, 2, 3)).astype(dtype) if has_bias else None
    return gx.astype(dtype), gw.astype(dtype), gb


def each_window(shape, kernel_size, stride, padding):
    kernel = pair(kernel_size)
    sh, sw = pair(kernel_size if stride is None else stride)
    ph, pw = pair(padding)
    oh = conv_output_size(shape[2], kernel[0], sh, ph, 1)
    ow = conv_output_size(shape[3], kernel[1], sw, pw, 1)
    boxes = []
    for y in range(oh):
        for x in range(ow):
            top, left = y * sh - ph, x * sw - pw
            rows = slice(max(0, top), min(shape[2], top + kernel[0]))
            columns = slice(max(0, left), min(shape[3], left + kernel[1]))
            boxes.append((y, x, rows, columns))
    return (oh, ow), boxes, kernel[0] * kernel[1]


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    size, boxes, _ = each_window(x.shape, kernel_size, stride, padding)
    out = np.zeros((*x.shape[:2], *size), x.dtype)
    masks = []
    for y, z, rows, columns in boxes:
        window = x[:, :, rows, columns]
        out[:, :, y, z] = window.max((2, 3))
        hit = (window == out[:, :, y, z, None, None]).reshape(*x.shape[:2], -1)
        first = hit & (hit.cumsum(2) == 1)
        masks.append(first.reshape(window.shape))
    return out, (boxes, masks, x.shape)


def max_pool2d_backward(grad, cache):
    boxes, masks, shape = cache
    gx = np.zeros(shape, grad.dtype)
    for (y, z, rows, columns), mask in zip(boxes, masks, strict=True):
        gx[:, :, rows, columns] += mask * grad[:, :, y, z, None, None]
    return gx


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    size, boxes, area = each_window(x.shape, kernel_size, stride, padding)
    out = np.zeros((*x.shape[:2], *size), x.dtype)
    for y, z, rows, columns in boxes:
        window = x[:, :, rows, columns]
        count = area if count_include_pad else window.shape[2] * window.shape[3]
        out[:, :, y, z] = window.sum((2, 3)) / count
    return out, (boxes, area if count_include_pad else None, x.shape)


def avg_pool2d_backward(grad, cache):
    boxes, area, shape = cache
    gx = np.zeros(shape, grad.dtype)
    for y, z, rows, columns in boxes:
        part = gx[:, :, rows, columns]
        part += grad[:, :, y, z, None, None] / (area or part.shape[2] * part.shape[3])
    return gx


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    a, w, b = f64(x, weight, bias)
    axes = (0,) if x.ndim == 2 else (0, 2, 3)
    form = (-1,) if x.ndim == 2 else (-1, 1, 1)
    count = a.size // a.shape[1]
    if training:
        mean = a.sum(axes) / count
        centred = a - mean.reshape(form)
        var = (centred**2).sum(axes) / count
        running_mean[:] = running_mean + momentum * (mean - running_mean)
        running_var[:] = running_var + momentum * (var * count / (count - 1) - running_var)
    else:
        centred = a - running_mean.astype(float).reshape(form)
        var = running_var.astype(float)
    root = np.sqrt(var + eps).reshape(form)
    normal = centred / root
    out = normal * w.reshape(form) + b.reshape(form)
    return out.astype(x.dtype), (centred, root, normal, w.reshape(form), axes, training, x.dtype)


def batch_norm_backward(grad, cache):
    centred, root, normal, w, axes, training, dtype = cache
    (g,) = f64(grad)
    grad_weight, grad_bias = (g * normal).sum(axes), g.sum(axes)
    # Back through out = normal * w + b and normal = centred * (1 / root), step by step.
    grad_normal = g * w
    grad_centred = grad_normal / root
    if training:
        count = g.size // g.shape[1]
        grad_inverse = (grad_normal * centred).sum(axes, keepdims=True)
        grad_root = -grad_inverse / root**2
        grad_var = grad_root / (2 * root)
        grad_centred = grad_centred + 2 * centred * grad_var / count
        grad_mean = -grad_centred.sum(axes, keepdims=True)
        grad_centred = grad_centred + grad_mean / count
    return tuple(a.astype(dtype) for a in (grad_centred, grad_weight, grad_bias))


def dropout_forward(x, p, training, rng):
    scale = np.ones(x.shape)
    if training:
        scale = (rng.random(x.size).reshape(x.shape) >= p) / (1.0 - p)
    return (x * scale).astype(x.dtype), scale


def dropout_backward(grad, cache):
    return (grad * cache).astype(grad.dtype)


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    n, c, h, w = x.shape
    a = x.astype(np.float64).reshape(n, num_groups, c // num_groups, h, w)
    mean = np.einsum("ngchw->ng", a)[..., None, None, None] / a[0, 0].size
    centred = a - mean
    var = np.einsum("ngchw,ngchw->ng", centred, centred)[..., None, None, None] / a[0, 0].size
    inverse = (var + eps) ** -0.5
    normal = (centred * inverse).reshape(x.shape)
    out = normal * weight.reshape(1, c, 1, 1) + bias.reshape(1, c, 1, 1)
    return out.astype(x.dtype), (normal, inverse, weight.astype(float), num_groups)


def group_norm_backward(grad, cache):
    normal, inverse, weight, groups = cache
    n = len(grad)
    (g,) = f64(grad)
    gw = np.einsum("nchw,nchw->c", g, normal)
    gb = np.einsum("nchw->c", g)
    gn = (g * weight[:, None, None]).reshape(n, groups, -1)
    y = normal.reshape(n, groups, -1)
    m = gn.shape[-1]
    dot = np.einsum("ngk,ngk->ng", gn, y)[..., None]
    gx = (m * gn - gn.sum(-1, keepdims=True) - y * dot) * inverse.reshape(n, groups, 1) / m
    return tuple(a.astype(grad.dtype) for a in (gx.reshape(grad.shape), gw, gb))


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    for name in grads:
        g = grads[name].astype(np.float64)
        if weight_decay:
            g = g + weight_decay * params[name]
        v = momentum * velocities[name].astype(np.float64) + g
        velocities[name][...] = v
        params[name][...] -= (lr * v).astype(params[name].dtype)


def convnet_forward(params, running, x, training, p, rng):
    tape = []

    def through(forward, backward, *inputs):
        out, cache = forward(*inputs)
        tape.append((backward, cache))
        return out

    h = through(conv2d_forward, conv2d_backward, x, params["conv1.weight"], None, 1, 1)
    h = through(
        batch_norm_forward,
        batch_norm_backward,
        h,
        params["bn.weight"],
        params["bn.bias"],
        running["mean"],
        running["var"],
        training,
    )
    h = through(relu_forward, relu_backward, h)
    branch = through(
        conv2d_forward, conv2d_backward, h, params["conv2.weight"], params["conv2.bias"], 1, 1
    )
    h = through(max_pool2d_forward, max_pool2d_backward, h + branch, 2)
    tape.append((lambda g, shape: g.reshape(shape), h.shape))
    h = through(dropout_forward, dropout_backward, h.reshape(len(h), -1), p, training, rng)
    return through(linear_forward, linear_backward, h, params["fc.weight"], params["fc.bias"]), tape


def convnet_backward(grad, cache):
    names = {
        linear_backward: ["fc.weight", "fc.bias"],
        batch_norm_backward: ["bn.weight", "bn.bias"],
    }
    convs = iter((["conv2.weight", "conv2.bias"], ["conv1.weight", None]))
    grads, g = {}, grad
    for backward, kept in reversed(cache):
        result = backward(g, kept)
        if not isinstance(result, tuple):
            g = result
            continue
        own = names.get(backward) or next(convs)
        grads.update(zip(own, result[1:], strict=True))
        # Around conv2 goes the shortcut.
        g = result[0] + g if own[0] == "conv2.weight" else result[0]
    grads.pop(None, None)
    return grads


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    logits, tape = convnet_forward(params, running, x, True, p, rng)
    loss, cache = cross_entropy_forward(logits, targets)
    grads = convnet_backward(cross_entropy_backward(1.0, cache), tape)
    sgd_step(params, grads, velocities, lr, momentum, weight_decay)
    return loss
