"""as_strided windows, dataclass caches, scratch arrays kept in the module between calls."""

import dataclasses
import functools

import numpy as np
from numpy.lib.stride_tricks import as_strided

SCRATCH = {}  # reused memory; it carries nothing from one call to the next


def scratch(name, shape, dtype):
    held = SCRATCH.get(name)
    if held is None or held.shape != shape or held.dtype != dtype:
        held = SCRATCH[name] = np.empty(shape, dtype)
    return held


def pair(value):
    return (value, value) if np.isscalar(value) else tuple(value)


@dataclasses.dataclass
class Kept:
    inputs: tuple
    more: dict = dataclasses.field(default_factory=dict)


def linear_forward(x, weight, bias):
    out = np.empty((len(x), len(weight)), x.dtype)
    np.matmul(x, weight.T, out=out)
    out += bias
    return out, Kept((x.copy(), weight.copy()))


def linear_backward(grad, cache):
    x, weight = cache.inputs
    return np.matmul(grad, weight), np.matmul(grad.T, x), np.matmul(np.ones(len(x)), grad)


def relu_forward(x):
    out = np.array(x)
    np.putmask(out, out < 0, 0)
    return out, Kept((np.packbits(out > 0), x.shape))


def relu_backward(grad, cache):
    bits, shape = cache.inputs
    on = np.unpackbits(bits, count=grad.size).reshape(shape).astype(bool)
    return np.where(on, grad, np.zeros((), grad.dtype))


def cross_entropy_forward(logits, targets):
    shifted = scratch("logits", logits.shape, logits.dtype)
    np.subtract(logits, logits.max(-1, keepdims=True), out=shifted)
    own = shifted[np.arange(len(targets)), targets].copy()
    p = np.exp(shifted)
    total = p.sum(-1)
    loss = np.average(np.log(total) - own)
    return loss, Kept((p / total[:, None], np.array(targets)))


def cross_entropy_backward(grad, cache):
    p, targets = cache.inputs
    out = p.copy()
    np.subtract.at(out, (np.arange(len(out)), targets), 1)
    return np.multiply(out, float(grad) / len(out), dtype=out.dtype)


@functools.cache
def conv_output_size(size, kernel, stride, padding, dilation):
    if size + 2 * padding < dilation * (kernel - 1) + 1:
        return 0
    # One position, and those of an image that begins one step later.
    return 1 + conv_output_size(size - stride, kernel, stride, padding, dilation)


def strided(image, kernel, size, stride, dilation):
    """A writeable view (..., OH, OW, KH, KW) of (..., H, W)."""
    *lead, sh, sw = image.strides
    return as_strided(
        image,
        (*image.shape[:-2], *size, *kernel),
        (*lead, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1]),
    )


def framed(x, padding, value=0.0):
    (ph, pw), (h, w) = padding, x.shape[2:]
    out = np.empty((*x.shape[:2], h + 2 * ph, w + 2 * pw), x.dtype)
    out.fill(value)
    out[:, :, ph : ph + h, pw : pw + w] = x
    return out


def unframed(a, padding, shape):
    (ph, pw), (h, w) = padding, shape[2:]
    return a[:, :, ph : ph + h, pw : pw + w].copy()


def gather_back(parts, shape, padding, stride, dilation=(1, 1)):
    """Add parts (N, C, OH, OW, KH, KW) to where `strided` took them from, window by window."""
    n, c, h, w = shape
    image = np.zeros((n, c, h + 2 * padding[0], w + 2 * padding[1]), parts.dtype)
    view = strided(image, parts.shape[4:], parts.shape[2:4], stride, dilation)
    for y in range(parts.shape[2]):
        for x in range(parts.shape[3]):
            # Within one window no pixel is met twice.
            view[:, :, y, x] += parts[:, :, y, x]
    return unframed(image, padding, shape)


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    size = tuple(
        conv_output_size(x.shape[2 + a], weight.shape[2 + a], stride[a], padding[a], dilation[a])
        for a in (0, 1)
    )
    image = framed(x, padding).reshape(
        len(x), groups, weight.shape[1], x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1]
    )
    view = strided(image, weight.shape[2:], size, stride, dilation)
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    out = np.einsum("ngcyxij,gocij->ngoyx", view, blocks).reshape(len(x), len(weight), *size)
    if bias is not None:
        out += bias.reshape(-1, 1, 1)
    kept = Kept((view, blocks, x.shape, weight.shape, bias is not None))
    kept.more.update(padding=padding, stride=stride, dilation=dilation)
    return out, kept


def conv2d_backward(grad, cache):
    view, blocks, x_shape, weight_shape, has_bias = cache.inputs
    g = grad.reshape(len(grad), len(blocks), blocks.shape[1], *grad.shape[2:])
    gw = np.einsum("ngoyx,ngcyxij->gocij", g, view).reshape(weight_shape)
    parts = np.einsum("ngoyx,gocij->ngcyxij", g, blocks)
    parts = parts.reshape(len(grad), x_shape[1], *parts.shape[3:])
    gb = np.add.reduce(grad, axis=(0, 2, 3)) if has_bias else None
    return gather_back(parts, x_shape, **cache.more), gw, gb


def pool_view(x, kernel_size, stride, padding, value):
    kernel, padding = pair(kernel_size), pair(padding)
    stride = pair(kernel_size if stride is None else stride)
    size = tuple(
        conv_output_size(x.shape[2 + a], kernel[a], stride[a], padding[a], 1) for a in (0, 1)
    )
    view = strided(framed(x, padding, value), kernel, size, stride, (1, 1))
    return view, {"padding": padding, "stride": stride}


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    view, where = pool_view(x, kernel_size, stride, padding, -np.inf)
    # First the best of each row of a window, then the first best row.
    column = view.argmax(-1)
    best = np.take_along_axis(view, column[..., None], -1)[..., 0]
    row = best.argmax(-1)[..., None]
    out = np.take_along_axis(best, row, -1)[..., 0]
    column = np.take_along_axis(column, row, -1)
    return out, Kept((row, column, view.shape, x.shape), where)


def max_pool2d_backward(grad, cache):
    row, column, form, shape = cache.inputs
    parts = np.zeros(form, grad.dtype)
    n, c, y, x = np.indices(grad.shape, sparse=True)
    parts[n, c, y, x, row[..., 0], column[..., 0]] = grad
    return gather_back(parts, shape, **cache.more)


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    view, where = pool_view(x, kernel_size, stride, padding, 0)
    if count_include_pad:
        count = np.array(view.shape[4] * view.shape[5], x.dtype)
    else:
        ones, _ = pool_view(np.ones_like(x), kernel_size, stride, padding, 0)
        count = ones.sum((4, 5))
    return view.sum((4, 5)) / count, Kept((count, view.shape, x.shape), where)


def avg_pool2d_backward(grad, cache):
    count, form, shape = cache.inputs
    parts = np.broadcast_to((grad / count)[..., None, None], form)
    return gather_back(parts, shape, **cache.more)


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    axes = (0, 2, 3)[: x.ndim - 1]
    form = [1, len(weight), 1, 1][: x.ndim]
    count = np.prod([x.shape[a] for a in axes])
    if training:
        mean = x.mean(axes)
        difference = x - mean.reshape(form)
        squares = (difference * difference).sum(axes)
        var = squares / count.astype(x.dtype)
        for running, new in (
            (running_mean, mean),
            (running_var, squares / (count - 1).astype(x.dtype)),
        ):
            running += momentum * (new - running)
    else:
        difference, var = x - running_mean.reshape(form), running_var.copy()
    inverse = np.reciprocal(np.sqrt(var + eps)).reshape(form)
    out = difference * inverse
    out *= weight.reshape(form)
    out += bias.reshape(form)
    return out, Kept((difference, inverse, weight, training), {"axes": axes, "form": form})


def batch_norm_backward(grad, cache):
    difference, inverse, weight, training = cache.inputs
    axes, form = cache.more["axes"], cache.more["form"]
    gw = (grad * difference * inverse).sum(axes)
    gb = grad.sum(axes)
    gx = grad.copy()
    if training:
        count = grad.size // len(weight)
        gx -= (gb / count).reshape(form)
        gx -= difference * inverse * (gw / count).reshape(form)
    gx *= inverse * weight.reshape(form)
    return gx, gw, gb


def dropout_forward(x, p, training, rng):
    if not training:
        return x[...], Kept((None,))
    draws = scratch("draws", x.shape, np.float64)
    rng.random(out=draws)
    factor = (draws >= p) * x.dtype.type(1 / (1 - p))
    return x * factor, Kept((factor,))


def dropout_backward(grad, cache):
    (factor,) = cache.inputs
    return grad if factor is None else grad * factor


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    # One image after the other, its groups as the channels of a BatchNorm of rows.
    n, c, h, w = x.shape
    one = np.ones(num_groups, x.dtype)
    images, kept = [], []
    for image in x:
        rows = image.reshape(num_groups, -1).T
        out, cache = batch_norm_forward(rows, one, 0 * one, 0 * one, one.copy(), True, 0.5, eps)
        images.append(out.T.reshape(c, h, w))
        kept.append(cache)
    normal = np.stack(images)
    out = normal * weight.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1)
    return out, Kept((normal, weight, num_groups, kept))


def group_norm_backward(grad, cache):
    normal, weight, groups, kept = cache.inputs
    gx = np.empty_like(grad)
    for n, one in enumerate(kept):
        g = grad[n] * weight.reshape(-1, 1, 1)
        gx[n] = batch_norm_backward(g.reshape(groups, -1).T, one)[0].T.reshape(g.shape)
    return gx, np.add.reduce(grad * normal, (0, 2, 3)), np.add.reduce(grad, (0, 2, 3))


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    for name, param in params.items():
        move = scratch(f"move {param.shape}", param.shape, param.dtype)
        np.multiply(param, weight_decay, out=move)
        move += grads[name]
        velocity = velocities[name]
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, move, out=velocity)
        np.multiply(velocity, lr, out=move)
        np.subtract(param, move, out=param)


def convnet_forward(params, running, x, training, p, rng):
    h, conv1 = conv2d_forward(x, params["conv1.weight"], padding=1)
    scale, shift = params["bn.weight"], params["bn.bias"]
    h, norm = batch_norm_forward(h, scale, shift, running["mean"], running["var"], training)
    h, relu = relu_forward(h)
    way, conv2 = conv2d_forward(h, params["conv2.weight"], params["conv2.bias"], padding=1)
    way += h
    h, pool = max_pool2d_forward(way, 2)
    flat, drop = dropout_forward(h.reshape(len(x), -1), p, training, rng)
    logits, fc = linear_forward(flat, params["fc.weight"], params["fc.bias"])
    return logits, Kept((conv1, norm, relu, conv2, pool, drop, fc), {"shape": h.shape})


def convnet_backward(grad, cache):
    conv1, norm, relu, conv2, pool, drop, fc = cache.inputs
    g, fc_weight, fc_bias = linear_backward(grad, fc)
    g = max_pool2d_backward(dropout_backward(g, drop).reshape(cache.more["shape"]), pool)
    way, conv2_weight, conv2_bias = conv2d_backward(g, conv2)
    way += g
    g, scale, shift = batch_norm_backward(relu_backward(way, relu), norm)
    grads = {"conv2.weight": conv2_weight, "conv2.bias": conv2_bias}
    grads |= {"fc.weight": fc_weight, "fc.bias": fc_bias, "bn.weight": scale, "bn.bias": shift}
    return {"conv1.weight": conv2d_backward(g, conv1)[1], **grads}


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    logits, net = convnet_forward(params, running, x, True, p, rng)
    loss, end = cross_entropy_forward(logits, targets)
    grads = convnet_backward(cross_entropy_backward(1.0, end), net)
    sgd_step(params, grads, velocities, lr, momentum, weight_decay)
    return loss
