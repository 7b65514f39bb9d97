"""Layers as objects: each function makes one, and the object is the cache. im2col by index."""

import numpy as np


def pair(value):
    return (value, value) if np.isscalar(value) else tuple(value)


class Linear:
    def __init__(self, x, weight, bias):
        self.x, self.weight = x, weight
        self.out = (weight @ x.T + bias[:, None]).T

    def back(self, grad):
        ones = np.ones(len(self.x), self.x.dtype)
        return (self.weight.T @ grad.T).T, (self.x.T @ grad).T, ones @ grad


class ReLU:
    def __init__(self, x):
        self.negative = x <= 0
        self.out = np.where(self.negative, x.dtype.type(0), x)

    def back(self, grad):
        result = np.array(grad)
        result[self.negative] = 0
        return result


class CrossEntropy:
    def __init__(self, logits, targets):
        self.targets = np.asarray(targets, dtype=int)
        e = np.exp(logits - np.amax(logits, 1, keepdims=True))
        total = e.sum(1)
        self.p = e / total[:, None]
        own = logits[range(len(logits)), self.targets] - np.amax(logits, 1)
        self.out = float((np.log(total) - own).sum()) / len(logits)

    def back(self, grad):
        result = self.p.copy()
        result[range(len(result)), self.targets] -= 1
        result *= grad / len(result)
        return result


class Windows:
    """Which pixels of an image the windows hold: index arrays (KH * KW, OH * OW)."""

    def __init__(self, size, kernel, stride, padding, dilation):
        (h, w), (kh, kw), (sh, sw), (dh, dw) = size, pair(kernel), pair(stride), pair(dilation)
        self.size, self.pad = size, pair(padding)
        self.oh = conv_output_size(h, kh, sh, self.pad[0], dh)
        self.ow = conv_output_size(w, kw, sw, self.pad[1], dw)
        y = np.repeat(np.arange(kh) * dh, kw)[:, None] + np.repeat(np.arange(self.oh) * sh, self.ow)
        x = np.tile(np.arange(kw) * dw, kh)[:, None] + np.tile(np.arange(self.ow) * sw, self.oh)
        y, x = y - self.pad[0], x - self.pad[1]
        self.inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
        # Padding is one more pixel, the last.
        self.index = np.where(self.inside, y * w + x, h * w)

    def columns(self, x, outside=0.0):
        """(N, C, H, W) -> (N, C, KH * KW, OH * OW)."""
        n, c = x.shape[:2]
        extra = np.full((n, c, 1), outside, x.dtype)
        return np.concatenate([x.reshape(n, c, -1), extra], axis=2)[:, :, self.index]

    def image(self, columns):
        """The adjoint of `columns`."""
        n, c = columns.shape[:2]
        h, w = self.size
        result = np.zeros((n, c, h * w), columns.dtype)
        for i in range(n):
            for k in range(c):
                sums = np.bincount(self.index.ravel(), columns[i, k].ravel(), minlength=h * w + 1)
                result[i, k] = sums[:-1]
        return result.reshape(n, c, h, w)


class Conv2d:
    def __init__(self, x, weight, bias, stride, padding, dilation, groups):
        self.windows = Windows(x.shape[2:], weight.shape[2:], stride, padding, dilation)
        self.weight, self.has_bias, self.groups = weight, bias is not None, groups
        n, outs = len(x), len(weight) // groups
        columns = self.windows.columns(x)
        self.columns = columns.reshape(n, groups, -1, columns.shape[-1])
        self.matrices = weight.reshape(groups, outs, -1)
        out = np.matmul(self.matrices, self.columns)
        self.out = out.reshape(n, len(weight), self.windows.oh, self.windows.ow)
        if self.has_bias:
            self.out = self.out + np.reshape(bias, (1, len(bias), 1, 1))

    def back(self, grad):
        n = len(grad)
        g = grad.reshape(n, self.groups, self.matrices.shape[1], -1)
        by_image = np.matmul(g, np.swapaxes(self.columns, -1, -2))
        columns = np.matmul(np.swapaxes(self.matrices, -1, -2), g)
        kernel = self.weight.shape[2] * self.weight.shape[3]
        gx = self.windows.image(columns.reshape(n, -1, kernel, columns.shape[-1]))
        gb = grad.sum((0, 2, 3)) if self.has_bias else None
        return gx, by_image.sum(0).reshape(self.weight.shape), gb


class MaxPool2d:
    def __init__(self, x, kernel_size, stride, padding):
        self.windows = Windows(x.shape[2:], kernel_size, stride, padding, 1)
        self.columns = self.windows.columns(x, -np.inf)
        self.best = self.columns.argmax(2)
        best = np.take_along_axis(self.columns, self.best[:, :, None], 2)
        self.out = best.reshape(*x.shape[:2], self.windows.oh, self.windows.ow)

    def back(self, grad):
        n, c = grad.shape[:2]
        number = np.arange(self.columns.shape[2])[:, None]
        chosen = number == self.best[:, :, None]
        return self.windows.image(chosen * grad.reshape(n, c, 1, -1))


class AvgPool2d:
    def __init__(self, x, kernel_size, stride, padding, count_include_pad):
        self.windows = Windows(x.shape[2:], kernel_size, stride, padding, 1)
        inside = self.windows.inside
        self.count = np.full(inside.shape[1], len(inside)) if count_include_pad else inside.sum(0)
        total = self.windows.columns(x).sum(2)
        out = total / self.count.astype(x.dtype)
        self.out = out.reshape(*x.shape[:2], self.windows.oh, self.windows.ow)

    def back(self, grad):
        n, c = grad.shape[:2]
        share = grad.reshape(n, c, 1, -1) / self.count.astype(grad.dtype)
        return self.windows.image(np.repeat(share, len(self.windows.index), 2))


class Normalise:
    """(x - mean) / std over some axes, with weight and bias that broadcast."""

    def __init__(self, x, weight, bias, eps, axes, statistics=None):
        self.axes, self.weight, self.fixed = axes, weight, statistics is not None
        mean, var = statistics or (x.mean(axes, keepdims=True), x.var(axes, keepdims=True))
        self.std = (var + eps) ** 0.5
        self.normal = (x - mean) / self.std
        self.out = self.normal * weight + bias

    def back(self, grad):
        g = grad * self.weight
        if self.fixed:
            return g / self.std
        g = g - g.mean(self.axes, keepdims=True)
        return (g - self.normal * np.mean(g * self.normal, self.axes, keepdims=True)) / self.std


class BatchNorm:
    def __init__(self, x, weight, bias, running_mean, running_var, training, momentum, eps):
        self.axes = tuple(a for a in range(x.ndim) if a != 1)
        self.form = [1] * x.ndim
        self.form[1] = x.shape[1]
        fixed = None
        if training:
            for running, new in (
                (running_mean, x.mean(self.axes)),
                (running_var, x.var(self.axes, ddof=1)),
            ):
                np.multiply(running, 1 - momentum, out=running)
                np.add(running, momentum * new, out=running)
        else:
            fixed = running_mean.reshape(self.form), running_var.reshape(self.form)
        scale, shift = weight.reshape(self.form), bias.reshape(self.form)
        self.inner = Normalise(x, scale, shift, eps, self.axes, fixed)
        self.out = self.inner.out

    def back(self, grad):
        return self.inner.back(grad), (grad * self.inner.normal).sum(self.axes), grad.sum(self.axes)


class GroupNorm:
    def __init__(self, x, num_groups, weight, bias, eps):
        n, c, h, w = x.shape
        self.blocks = (n, num_groups, c // num_groups, h, w)
        scale, shift = (a.reshape(1, num_groups, -1, 1, 1) for a in (weight, bias))
        self.inner = Normalise(x.reshape(self.blocks), scale, shift, eps, (2, 3, 4))
        self.out = self.inner.out.reshape(x.shape)

    def back(self, grad):
        g = grad.reshape(self.blocks)
        gw = (g * self.inner.normal).sum((0, 3, 4)).ravel()
        return self.inner.back(g).reshape(grad.shape), gw, g.sum((0, 3, 4)).ravel()


class Dropout:
    def __init__(self, x, p, training, rng):
        self.factor = None
        if training:
            self.factor = np.zeros_like(x)
            self.factor[rng.random(x.shape) >= p] = 1 / (1 - p)
        self.out = x if self.factor is None else self.factor * x

    def back(self, grad):
        return grad if self.factor is None else self.factor * grad


def made(layer):
    return layer.out, layer


def linear_forward(x, weight, bias):
    return made(Linear(x, weight, bias))


def relu_forward(x):
    return made(ReLU(x))


def cross_entropy_forward(logits, targets):
    return made(CrossEntropy(logits, targets))


def conv_output_size(size, kernel, stride, padding, dilation):
    room = size + 2 * padding - dilation * (kernel - 1)
    return -(-room // stride)


def conv2d_forward(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return made(Conv2d(x, weight, bias, stride, padding, dilation, groups))


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    return made(MaxPool2d(x, kernel_size, stride or kernel_size, padding))


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    return made(AvgPool2d(x, kernel_size, stride or kernel_size, padding, count_include_pad))


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    return made(BatchNorm(x, weight, bias, running_mean, running_var, training, momentum, eps))


def dropout_forward(x, p, training, rng):
    return made(Dropout(x, p, training, rng))


def group_norm_forward(x, num_groups, weight, bias, eps=1e-5):
    return made(GroupNorm(x, num_groups, weight, bias, eps))


def back(grad, cache):
    return cache.back(grad)


linear_backward = relu_backward = cross_entropy_backward = conv2d_backward = back
max_pool2d_backward = avg_pool2d_backward = batch_norm_backward = back
dropout_backward = group_norm_backward = back


class Net:
    def __init__(self, params, running, x, training, p, rng):
        self.conv1 = Conv2d(x, params["conv1.weight"], None, 1, 1, 1, 1)
        self.bn = BatchNorm(
            self.conv1.out,
            params["bn.weight"],
            params["bn.bias"],
            running["mean"],
            running["var"],
            training,
            0.1,
            1e-5,
        )
        self.relu = ReLU(self.bn.out)
        self.conv2 = Conv2d(self.relu.out, params["conv2.weight"], params["conv2.bias"], 1, 1, 1, 1)
        self.pool = MaxPool2d(self.relu.out + self.conv2.out, 2, 2, 0)
        self.drop = Dropout(self.pool.out.reshape(len(x), -1), p, training, rng)
        self.fc = Linear(self.drop.out, params["fc.weight"], params["fc.bias"])
        self.out = self.fc.out

    def back(self, grad):
        found = {}

        def keep(name, results):
            for kind, result in zip(("weight", "bias"), results[1:], strict=True):
                if result is not None:
                    found[f"{name}.{kind}"] = result
            return results[0]

        g = self.drop.back(keep("fc", self.fc.back(grad)))
        g = self.pool.back(g.reshape(self.pool.out.shape))
        g = g + keep("conv2", self.conv2.back(g))
        g = keep("bn", self.bn.back(self.relu.back(g)))
        keep("conv1", self.conv1.back(g))
        return found


def convnet_forward(params, running, x, training, p, rng):
    return made(Net(params, running, x, training, p, rng))


convnet_backward = back


class SGD:
    def __init__(self, lr, momentum, weight_decay):
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay

    def step(self, param, grad, velocity):
        velocity[:] = velocity * self.momentum + grad + param * self.weight_decay
        np.subtract(param, velocity * self.lr, out=param)


def sgd_step(params, grads, velocities, lr, momentum=0.9, weight_decay=0.0):
    rule = SGD(lr, momentum, weight_decay)
    for name, grad in grads.items():
        rule.step(params[name], grad, velocities[name])


def train_step(params, running, velocities, x, targets, p, rng, lr, momentum=0.9, weight_decay=0.0):
    net = Net(params, running, x, True, p, rng)
    loss = CrossEntropy(net.out, targets)
    sgd_step(params, net.back(loss.back(1.0)), velocities, lr, momentum, weight_decay)
    return loss.out
