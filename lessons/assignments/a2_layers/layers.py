"""The layers of a convolutional network, forward and backward, in plain NumPy.

Every layer is a pair of functions:

    out, cache = name_forward(x, ...)     # cache: whatever the backward will need, your choice
    grads = name_backward(grad, cache)    # grad: dL/dout, an array of out's shape

`name_backward` returns dL/d(each input), for a loss L of which it knows only `grad`.
All functions keep the rules of README.md: results have the dtype of `x`; no argument is changed,
except where the docstring says so; nothing is remembered between calls but in `cache`.
"""

import numpy as np


def pair(value):
    """(h, w) of an argument given as one number for both directions, or as a pair (given)."""
    return (value, value) if np.isscalar(value) else tuple(value)


# 1. Linear, ReLU, loss ----------------------------------------------------------------------------


def linear_forward(x, weight, bias):
    """A fully connected layer: out = x weight^T + bias.

    Args:
        x: (N, D).
        weight: (M, D), one row for each output, as in PyTorch.
        bias: (M,).

    Returns:
        out: (N, M).
        cache: for `linear_backward`.
    """
    # BEGIN SOLUTION
    out = x @ weight.T + bias
    return out, (x, weight)
    # END SOLUTION


def linear_backward(grad, cache):
    """The gradients of `linear_forward`.

    Args:
        grad: (N, M), dL/dout.
        cache: from `linear_forward`.

    Returns:
        (grad_x, grad_weight, grad_bias): (N, D), (M, D), (M,).
    """
    # BEGIN SOLUTION
    x, weight = cache
    return grad @ weight, grad.T @ x, grad.sum(axis=0)
    # END SOLUTION


def relu_forward(x):
    """out = max(x, 0), element by element.

    Args:
        x: any shape.

    Returns:
        out: of the shape of x, a new array.
        cache: for `relu_backward`.
    """
    # BEGIN SOLUTION
    return np.maximum(x, 0), x > 0
    # END SOLUTION


def relu_backward(grad, cache):
    """The gradient of `relu_forward`; where x is exactly 0 it is 0, as in PyTorch.

    Args:
        grad: dL/dout, of the shape of x.
        cache: from `relu_forward`.

    Returns:
        grad_x: of the shape of x.
    """
    # BEGIN SOLUTION
    positive = cache
    return grad * positive
    # END SOLUTION


def cross_entropy_forward(logits, targets):
    """The mean over the batch of -log softmax(logits)[target].

    Logits of any size (1000, -1000) must give a finite and exact loss.

    Args:
        logits: (N, K), the scores of K classes.
        targets: (N,) integers from 0 to K - 1.

    Returns:
        loss: one number.
        cache: for `cross_entropy_backward`.
    """
    # BEGIN SOLUTION
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(targets)), targets].mean()
    return loss, (log_p, targets)
    # END SOLUTION


def cross_entropy_backward(grad, cache):
    """The gradient of `cross_entropy_forward`.

    Args:
        grad: one number, dL/dloss (1 if this loss is the end of the computation).
        cache: from `cross_entropy_forward`.

    Returns:
        grad_logits: (N, K).
    """
    # BEGIN SOLUTION
    log_p, targets = cache
    n = len(targets)
    grad_logits = np.exp(log_p)
    grad_logits[np.arange(n), targets] -= 1
    return float(grad) / n * grad_logits
    # END SOLUTION


# 2. Convolution -----------------------------------------------------------------------------------


def conv_output_size(size, kernel, stride, padding, dilation):
    """How many positions a window takes along one axis.

    Args:
        size: of the axis, before padding.
        kernel: elements of the kernel along it.
        stride: step from one position to the next.
        padding: zeros added on each of the two sides.
        dilation: distance between neighbouring kernel elements in the input (1: they touch).

    Returns:
        An int: only positions at which the whole (dilated) kernel fits into the padded axis count.
    """
    # BEGIN SOLUTION
    span = dilation * (kernel - 1) + 1
    return (size + 2 * padding - span) // stride + 1
    # END SOLUTION


def tap(i, j, out_size, stride, dilation):
    """The pixels of the padded input that kernel element (i, j) meets (help, not graded).

    A window slides over the padded input. Follow one of its elements, (i, j), through all positions
    of the window: the pixels it meets are a regular grid, so two slices can name them all, and
    `padded[:, :, rows, columns]` has the shape (N, C, OH, OW). With that a convolution needs a loop
    over kernel elements only. Delete this function if you go another way.

    Args:
        i, j: row and column in the kernel.
        out_size: (OH, OW).
        stride, dilation: pairs (h, w).

    Returns:
        (rows, columns), two slices.
    """
    # BEGIN SOLUTION
    top, left = i * dilation[0], j * dilation[1]
    rows = slice(top, top + stride[0] * (out_size[0] - 1) + 1, stride[0])
    columns = slice(left, left + stride[1] * (out_size[1] - 1) + 1, stride[1])
    return rows, columns
    # END SOLUTION


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """2-D convolution as all deep-learning libraries mean it (a cross-correlation: no flipping).

    out[n, o, y, x'] = bias[o] + sum over c, i, j of
        weight[o, c, i, j] * padded[n, c, y * stride + i * dilation, x' * stride + j * dilation]

    where c runs over the input channels of the group of o. With `groups` = G the input channels
    are G consecutive blocks of C / G, the output channels G consecutive blocks of O / G, and block
    g of the output sees block g of the input only. G = C = O is a depthwise convolution.

    Args:
        x: (N, C, H, W).
        weight: (O, C / groups, KH, KW).
        bias: (O,), or None for none.
        stride, padding, dilation: an int for both directions or a pair (h, w).
        groups: divides C and O.

    Returns:
        out: (N, O, OH, OW), with OH and OW from `conv_output_size`.
        cache: for `conv2d_backward`.
    """
    # BEGIN SOLUTION
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    n, channels, height, width = x.shape
    out_channels, _, kh, kw = weight.shape
    oh = conv_output_size(height, kh, stride[0], padding[0], dilation[0])
    ow = conv_output_size(width, kw, stride[1], padding[1], dilation[1])

    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    grouped = padded.reshape(n, groups, channels // groups, *padded.shape[2:])
    kernels = weight.reshape(groups, out_channels // groups, channels // groups, kh, kw)
    out = np.zeros((n, groups, out_channels // groups, oh, ow), dtype=x.dtype)
    for i, j in np.ndindex(kh, kw):
        rows, columns = tap(i, j, (oh, ow), stride, dilation)
        met = grouped[..., rows, columns]
        out += np.einsum("ngcyx,goc->ngoyx", met, kernels[..., i, j], optimize=True)
    out = out.reshape(n, out_channels, oh, ow)
    if bias is not None:
        out += bias[:, None, None]
    return out, (grouped, kernels, bias is not None, stride, padding, dilation)
    # END SOLUTION


def conv2d_backward(grad, cache):
    """The gradients of `conv2d_forward`.

    Args:
        grad: (N, O, OH, OW), dL/dout.
        cache: from `conv2d_forward`.

    Returns:
        (grad_x, grad_weight, grad_bias): of the shapes of x, weight and bias; grad_bias is None if
        there was no bias.
    """
    # BEGIN SOLUTION
    grouped, kernels, has_bias, stride, padding, dilation = cache
    n, groups, channels, height, width = grouped.shape
    _, out_channels, _, kh, kw = kernels.shape
    out_size = grad.shape[2:]

    grad_bias = grad.sum(axis=(0, 2, 3)) if has_bias else None
    grad = grad.reshape(n, groups, out_channels, *out_size)
    grad_padded = np.zeros_like(grouped)
    grad_kernels = np.zeros_like(kernels)
    for i, j in np.ndindex(kh, kw):
        rows, columns = tap(i, j, out_size, stride, dilation)
        met = grouped[..., rows, columns]
        grad_kernels[..., i, j] = np.einsum("ngoyx,ngcyx->goc", grad, met, optimize=True)
        # += : with stride < kernel the same pixel is met by several kernel elements.
        grad_padded[..., rows, columns] += np.einsum(
            "ngoyx,goc->ngcyx", grad, kernels[..., i, j], optimize=True
        )
    grad_padded = grad_padded.reshape(n, groups * channels, height, width)
    ph, pw = padding
    grad_x = grad_padded[:, :, ph : height - ph, pw : width - pw]
    return grad_x, grad_kernels.reshape(groups * out_channels, channels, kh, kw), grad_bias
    # END SOLUTION


# 3. Pooling ---------------------------------------------------------------------------------------


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    """The largest element of each window, channel by channel.

    Padding is never the largest: it counts as minus infinity, not as 0.

    Args:
        x: (N, C, H, W).
        kernel_size, stride, padding: an int or a pair (h, w); stride None means kernel_size.
            padding is at most half of kernel_size.

    Returns:
        out: (N, C, OH, OW), sizes as for a convolution.
        cache: for `max_pool2d_backward`.
    """
    # BEGIN SOLUTION
    kernel = pair(kernel_size)
    stride = kernel if stride is None else pair(stride)
    padding = pair(padding)
    oh, ow = (
        conv_output_size(x.shape[2 + axis], kernel[axis], stride[axis], padding[axis], 1)
        for axis in (0, 1)
    )
    width = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    padded = np.pad(x, width, constant_values=-np.inf)
    out = np.full((*x.shape[:2], oh, ow), -np.inf, dtype=x.dtype)
    where = np.zeros(out.shape, dtype=np.int64)  # the kernel element that met the largest
    for number, (i, j) in enumerate(np.ndindex(*kernel)):
        rows, columns = tap(i, j, (oh, ow), stride, (1, 1))
        met = padded[:, :, rows, columns]
        larger = met > out  # not >= : of equal elements the first stays
        out[larger] = met[larger]
        where[larger] = number
    return out, (where, padded.shape, kernel, stride, padding)
    # END SOLUTION


def max_pool2d_backward(grad, cache):
    """The gradient of `max_pool2d_forward`.

    If several elements of a window are the largest, the first of them in reading order (row by row)
    gets the whole gradient. An element that is the largest of several windows gets the sum.

    Args:
        grad: (N, C, OH, OW), dL/dout.
        cache: from `max_pool2d_forward`.

    Returns:
        grad_x: (N, C, H, W).
    """
    # BEGIN SOLUTION
    where, padded_shape, kernel, stride, padding = cache
    grad_padded = np.zeros(padded_shape, dtype=grad.dtype)
    for number, (i, j) in enumerate(np.ndindex(*kernel)):
        rows, columns = tap(i, j, grad.shape[2:], stride, (1, 1))
        grad_padded[:, :, rows, columns] += np.where(where == number, grad, 0)
    height, width = padded_shape[2:]
    return grad_padded[:, :, padding[0] : height - padding[0], padding[1] : width - padding[1]]
    # END SOLUTION


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    """The mean of each window, channel by channel; padding is 0.

    Args:
        x: (N, C, H, W).
        kernel_size, stride, padding: an int or a pair (h, w); stride None means kernel_size.
            padding is at most half of kernel_size.
        count_include_pad: True divides every window's sum by KH * KW; False divides it by the
            number of its elements that are pixels of x, not padding.

    Returns:
        out: (N, C, OH, OW), sizes as for a convolution.
        cache: for `avg_pool2d_backward`.
    """
    # BEGIN SOLUTION
    kernel = pair(kernel_size)
    stride = kernel if stride is None else pair(stride)
    padding = pair(padding)
    oh, ow = (
        conv_output_size(x.shape[2 + axis], kernel[axis], stride[axis], padding[axis], 1)
        for axis in (0, 1)
    )
    width = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    padded = np.pad(x, width)
    is_pixel = np.pad(np.ones_like(x[:1, :1]), width)
    total = np.zeros((*x.shape[:2], oh, ow), dtype=x.dtype)
    count = np.zeros((1, 1, oh, ow), dtype=x.dtype)
    for i, j in np.ndindex(*kernel):
        rows, columns = tap(i, j, (oh, ow), stride, (1, 1))
        total += padded[:, :, rows, columns]
        count += is_pixel[:, :, rows, columns]
    if count_include_pad:
        count[:] = kernel[0] * kernel[1]
    return total / count, (count, padded.shape, kernel, stride, padding)
    # END SOLUTION


def avg_pool2d_backward(grad, cache):
    """The gradient of `avg_pool2d_forward`.

    Args:
        grad: (N, C, OH, OW), dL/dout.
        cache: from `avg_pool2d_forward`.

    Returns:
        grad_x: (N, C, H, W).
    """
    # BEGIN SOLUTION
    count, padded_shape, kernel, stride, padding = cache
    share = grad / count
    grad_padded = np.zeros(padded_shape, dtype=grad.dtype)
    for i, j in np.ndindex(*kernel):
        rows, columns = tap(i, j, grad.shape[2:], stride, (1, 1))
        grad_padded[:, :, rows, columns] += share
    height, width = padded_shape[2:]
    return grad_padded[:, :, padding[0] : height - padding[0], padding[1] : width - padding[1]]
    # END SOLUTION


# 4. BatchNorm -------------------------------------------------------------------------------------


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    """Batch normalisation: BatchNorm1d for (N, C), BatchNorm2d for (N, C, H, W).

    Each channel c is normalised over all its M elements (M = N, or N * H * W):

        out = weight[c] * (x - mean[c]) / sqrt(var[c] + eps) + bias[c]

    training=True: mean and var are the batch's; var is the biased one, sum (x - mean)^2 / M.
    The running statistics are changed IN PLACE, `momentum` being the share of the new value:

        running_mean <- (1 - momentum) * running_mean + momentum * mean
        running_var  <- (1 - momentum) * running_var  + momentum * (unbiased variance, / (M - 1))

    training=False: mean and var are running_mean and running_var, and nothing is changed.

    Args:
        x: (N, C) or (N, C, H, W); in training M is at least 2.
        weight, bias: (C,), scale and shift.
        running_mean, running_var: (C,).
        training: bool.
        momentum, eps: numbers.

    Returns:
        out: of the shape of x.
        cache: for `batch_norm_backward`.
    """
    # BEGIN SOLUTION
    axes = (0, *range(2, x.ndim))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if training:
        mean, var = x.mean(axis=axes), x.var(axis=axes)
        count = x.size // x.shape[1]
        unbiased = var * (count / (count - 1))
        running_mean[:] = (1 - momentum) * running_mean + momentum * mean
        running_var[:] = (1 - momentum) * running_var + momentum * unbiased
    else:
        mean, var = running_mean, running_var
    inverse_std = (1 / np.sqrt(var + eps)).reshape(shape)
    normalized = (x - mean.reshape(shape)) * inverse_std
    out = weight.reshape(shape) * normalized + bias.reshape(shape)
    return out, (normalized, inverse_std, weight.reshape(shape), training)
    # END SOLUTION


def batch_norm_backward(grad, cache):
    """The gradients of `batch_norm_forward`, in the mode in which the forward was run.

    In training mean and var are functions of x, and their gradients count; with training=False they
    are constants.

    Args:
        grad: dL/dout, of the shape of x.
        cache: from `batch_norm_forward`.

    Returns:
        (grad_x, grad_weight, grad_bias): of the shapes of x, weight and bias.
    """
    # BEGIN SOLUTION
    normalized, inverse_std, weight, training = cache
    axes = (0, *range(2, grad.ndim))
    grad_bias = grad.sum(axis=axes)
    grad_weight = (grad * normalized).sum(axis=axes)
    grad_normalized = grad * weight
    if not training:
        return grad_normalized * inverse_std, grad_weight, grad_bias
    through_mean = grad_normalized.mean(axis=axes, keepdims=True)
    through_var = normalized * (grad_normalized * normalized).mean(axis=axes, keepdims=True)
    grad_x = inverse_std * (grad_normalized - through_mean - through_var)
    return grad_x, grad_weight, grad_bias
    # END SOLUTION


# 5. Dropout ---------------------------------------------------------------------------------------


def dropout_forward(x, p, training, rng):
    """Inverted dropout.

    training=True: an element stays where the same element of `rng.random(x.shape)` (one draw, for
    the whole array, in float64) is >= p, and is multiplied by 1 / (1 - p); the others become 0.
    training=False: out equals x, and rng is not used.

    Args:
        x: any shape.
        p: the probability with which an element is dropped, 0 <= p < 1.
        training: bool.
        rng: an np.random.Generator.

    Returns:
        out: of the shape and dtype of x.
        cache: for `dropout_backward`.
    """
    # BEGIN SOLUTION
    if not training:
        return x.copy(), None
    scale = (rng.random(x.shape) >= p).astype(x.dtype) / (1 - p)
    return x * scale, scale
    # END SOLUTION


def dropout_backward(grad, cache):
    """The gradient of `dropout_forward`, in the mode and with the mask of the forward.

    Args:
        grad: dL/dout, of the shape of x.
        cache: from `dropout_forward`.

    Returns:
        grad_x: of the shape and dtype of x.
    """
    # BEGIN SOLUTION
    scale = cache
    return grad.copy() if scale is None else grad * scale
    # END SOLUTION


# 6. GroupNorm -------------------------------------------------------------------------------------


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    """Group normalisation: each image by itself, so nothing is running and nothing to switch.

    The C channels are num_groups consecutive blocks. Each block of each image is normalised with
    the mean and the biased variance of its own C / num_groups * H * W elements; then each channel
    c is scaled by weight[c] and shifted by bias[c]. One group is a layer normalisation over
    (C, H, W), C groups are an instance normalisation.

    Args:
        x: (N, C, H, W).
        num_groups: divides C.
        weight, bias: (C,).
        eps: added to the variance.

    Returns:
        out: of the shape of x.
        cache: for `group_norm_backward`.
    """
    # BEGIN SOLUTION
    blocks = x.reshape(x.shape[0], num_groups, -1)
    mean = blocks.mean(axis=2, keepdims=True)
    inverse_std = 1 / np.sqrt(blocks.var(axis=2, keepdims=True) + eps)
    normalized = (blocks - mean) * inverse_std
    weight, bias = weight[:, None, None], bias[:, None, None]
    return normalized.reshape(x.shape) * weight + bias, (normalized, inverse_std, weight)
    # END SOLUTION


def group_norm_backward(grad, cache):
    """The gradients of `group_norm_forward`.

    Args:
        grad: (N, C, H, W), dL/dout.
        cache: from `group_norm_forward`.

    Returns:
        (grad_x, grad_weight, grad_bias): of the shapes of x, weight and bias.
    """
    # BEGIN SOLUTION
    normalized, inverse_std, weight = cache
    grad_bias = grad.sum(axis=(0, 2, 3))
    grad_weight = (grad * normalized.reshape(grad.shape)).sum(axis=(0, 2, 3))
    g = (grad * weight).reshape(normalized.shape)
    through_mean = g.mean(axis=2, keepdims=True)
    through_var = normalized * (g * normalized).mean(axis=2, keepdims=True)
    grad_x = inverse_std * (g - through_mean - through_var)
    return grad_x.reshape(grad.shape), grad_weight, grad_bias
    # END SOLUTION


# 7. A network that trains -------------------------------------------------------------------------


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    """One step of stochastic gradient descent with momentum, as PyTorch's SGD does it.

    For each name:  g = grad + weight_decay * param
                    velocity <- momentum * velocity + g
                    param <- param - lr * velocity

    The arrays in params and velocities are changed IN PLACE (others hold the same arrays); grads
    stays as it is.

    Args:
        params, grads, velocities: dicts of arrays, with the same names and shapes.
        lr, momentum, weight_decay: numbers.
    """
    # BEGIN SOLUTION
    for name, param in params.items():
        velocity = velocities[name]
        velocity *= momentum
        velocity += grads[name] + weight_decay * param
        param -= lr * velocity
    # END SOLUTION


def convnet_forward(params, running, x, training, p, rng):
    """The class scores of a small convolutional network.

        h = relu(batch_norm(conv2d(x)))    conv 3 x 3, padding 1, no bias: BatchNorm has one
        h = h + conv2d(h)                  conv 3 x 3, padding 1, with bias; a shortcut around it
        h = max_pool2d(h)                  2 x 2
        h = dropout(h flattened)           (N, F, H / 2, W / 2) -> (N, F * H / 2 * W / 2)
        logits = linear(h)

    Args:
        params: a dict with "conv1.weight" (F, C, 3, 3); "bn.weight" and "bn.bias" (F,);
            "conv2.weight" (F, F, 3, 3); "conv2.bias" (F,); "fc.weight" (K, F * H / 2 * W / 2);
            "fc.bias" (K,).
        running: a dict with "mean" and "var" (F,), the running statistics of the BatchNorm, which
            has the default momentum and eps.
        x: (N, C, H, W), H and W even.
        training: bool, for BatchNorm and dropout.
        p: the probability of dropout.
        rng: an np.random.Generator, for dropout.

    Returns:
        logits: (N, K).
        cache: for `convnet_backward`.
    """
    # BEGIN SOLUTION
    h, conv1 = conv2d_forward(x, params["conv1.weight"], padding=1)
    h, bn = batch_norm_forward(
        h, params["bn.weight"], params["bn.bias"], running["mean"], running["var"], training
    )
    h, relu = relu_forward(h)
    branch, conv2 = conv2d_forward(h, params["conv2.weight"], params["conv2.bias"], padding=1)
    h = h + branch
    h, pool = max_pool2d_forward(h, 2)
    shape = h.shape
    h, drop = dropout_forward(h.reshape(len(h), -1), p, training, rng)
    logits, fc = linear_forward(h, params["fc.weight"], params["fc.bias"])
    return logits, (conv1, bn, relu, conv2, pool, shape, drop, fc)
    # END SOLUTION


def convnet_backward(grad, cache):
    """The gradients of all parameters of `convnet_forward`.

    Args:
        grad: (N, K), dL/dlogits.
        cache: from `convnet_forward`.

    Returns:
        A dict of arrays with the names and shapes of params.
    """
    # BEGIN SOLUTION
    conv1, bn, relu, conv2, pool, shape, drop, fc = cache
    grads = {}
    grad, grads["fc.weight"], grads["fc.bias"] = linear_backward(grad, fc)
    grad = dropout_backward(grad, drop).reshape(shape)
    grad = max_pool2d_backward(grad, pool)
    branch, grads["conv2.weight"], grads["conv2.bias"] = conv2d_backward(grad, conv2)
    grad = relu_backward(grad + branch, relu)
    grad, grads["bn.weight"], grads["bn.bias"] = batch_norm_backward(grad, bn)
    _, grads["conv1.weight"], _ = conv2d_backward(grad, conv1)
    return grads
    # END SOLUTION


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    """One step of training: scores, loss, gradients, and one `sgd_step`.

    Args:
        params, running, velocities: as in `convnet_forward` and `sgd_step`; changed in place.
        x, targets: (N, C, H, W) images and their (N,) classes.
        p, rng: for dropout.
        lr, momentum, weight_decay: for `sgd_step`.

    Returns:
        The loss before the step, one number.
    """
    # BEGIN SOLUTION
    logits, net = convnet_forward(params, running, x, True, p, rng)
    loss, end = cross_entropy_forward(logits, targets)
    grads = convnet_backward(cross_entropy_backward(1.0, end), net)
    sgd_step(params, grads, velocities, lr, momentum, weight_decay)
    return loss
    # END SOLUTION
