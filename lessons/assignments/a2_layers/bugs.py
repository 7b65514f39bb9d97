"""Planted bugs of A2: what students get wrong, each as a replacement in the solution's text."""

from pathlib import Path

from minidl.teach.assign import Bug

SOLUTION = Path(__file__).with_name("layers.py").read_text(encoding="utf-8")


def piece(start, end):
    """The solution's text from start to end, for bugs that change two places at once."""
    first = SOLUTION.index(start)
    return SOLUTION[first : SOLUTION.index(end, first) + len(end)]


LOSS = "    loss = -log_p[np.arange(len(targets)), targets].mean()\n"
LOG_P = """    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
"""
ONE_HOT = "    grad_logits[np.arange(n), targets] -= 1\n"
SPAN = "    span = dilation * (kernel - 1) + 1\n"
FIT = "    return (size + 2 * padding - span) // stride + 1\n"
CONV_PAD = """    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    grouped"""
GRAD_KERNELS = 'grad_kernels[..., i, j] = np.einsum("ngoyx,ngcyx->goc", grad, met, optimize=True)'
GRAD_PADDED = """        grad_padded[..., rows, columns] += np.einsum(
            "ngoyx,goc->ngcyx", grad, kernels[..., i, j], optimize=True
        )"""
CONV_CROP = "    grad_x = grad_padded[:, :, ph : height - ph, pw : width - pw]\n"
MAX_ROUTE = "        grad_padded[:, :, rows, columns] += np.where(where == number, grad, 0)\n"
CROP = (
    "    return grad_padded[:, :, padding[0] : height - padding[0], "
    "padding[1] : width - padding[1]]\n"
)
AVG_SHARE = "        grad_padded[:, :, rows, columns] += share\n"
AVG_COUNT = """    if count_include_pad:
        count[:] = kernel[0] * kernel[1]
"""
BN_RUNNING_MEAN = "running_mean[:] = (1 - momentum) * running_mean + momentum * mean"
BN_RUNNING_VAR = "running_var[:] = (1 - momentum) * running_var + momentum * unbiased"
BN_MODE = "        mean, var = running_mean, running_var\n"
BN_STD = "    inverse_std = (1 / np.sqrt(var + eps)).reshape(shape)\n"
BN_MEAN = "    through_mean = grad_normalized.mean(axis=axes, keepdims=True)\n"
BN_VAR = (
    "    through_var = normalized * (grad_normalized * normalized).mean(axis=axes, keepdims=True)\n"
)
BN_X = "    grad_x = inverse_std * (grad_normalized - through_mean - through_var)\n"
BN_EVAL = """    if not training:
        return grad_normalized * inverse_std, grad_weight, grad_bias
"""
DROP_EVAL = """    if not training:
        return x.copy(), None
"""
DROP = "    scale = (rng.random(x.shape) >= p).astype(x.dtype) / (1 - p)\n"
DROP_BACK = "    return grad.copy() if scale is None else grad * scale\n"
GN_BLOCKS = """    blocks = x.reshape(x.shape[0], num_groups, -1)
    mean = blocks.mean(axis=2, keepdims=True)
    inverse_std = 1 / np.sqrt(blocks.var(axis=2, keepdims=True) + eps)
    normalized = (blocks - mean) * inverse_std
"""
GN_X = "    grad_x = inverse_std * (g - through_mean - through_var)\n"
SGD = """        velocity *= momentum
        velocity += grads[name] + weight_decay * param
        param -= lr * velocity
"""
TIES = piece("    return out, (where,", "np.where(where == number, grad, 0)\n")
BN_CACHE = piece(
    "    return out, (normalized, inverse_std, weight.resh", "* normalized).sum(axis=axes)\n"
)
NET_RELU = piece("    h, relu = relu_forward(h)\n", "    h = h + branch\n")

BUGS = [
    # 1. Linear, ReLU, loss
    Bug(
        "linear: bias left out", "bias forgotten", "out = x @ weight.T + bias", "out = x @ weight.T"
    ),
    Bug(
        "linear: weight gradient averaged over the batch",
        "divided by N",
        "return grad @ weight, grad.T @ x, grad.sum(axis=0)",
        "return grad @ weight, grad.T @ x / len(x), grad.sum(axis=0)",
    ),
    Bug(
        "linear: weight gradient transposed",
        "transposed",
        "return grad @ weight, grad.T @ x, grad.sum(axis=0)",
        "return grad @ weight, x.T @ grad, grad.sum(axis=0)",
    ),
    Bug(
        "linear: bias gradient not summed over the batch",
        "not summed over the batch",
        "return grad @ weight, grad.T @ x, grad.sum(axis=0)",
        "return grad @ weight, grad.T @ x, grad",
    ),
    Bug(
        "linear: bias gradient summed over the outputs",
        "not summed over the batch",
        "return grad @ weight, grad.T @ x, grad.sum(axis=0)",
        "return grad @ weight, grad.T @ x, grad.sum(axis=1)",
    ),
    Bug(
        "ReLU changes x in place",
        "input changed in place",
        "    return np.maximum(x, 0), x > 0\n",
        "    positive = x > 0\n    x[~positive] = 0\n    return x, positive\n",
    ),
    Bug(
        "ReLU: gradient passes at 0",
        "gradient at 0",
        "return np.maximum(x, 0), x > 0",
        "return np.maximum(x, 0), x >= 0",
    ),
    Bug(
        "ReLU backward looks at the sign of grad",
        "sign of grad instead of x",
        "    return grad * positive\n",
        "    return np.maximum(grad, 0)\n",
    ),
    Bug(
        "ReLU backward returns the mask",
        "grad forgotten",
        "    return grad * positive\n",
        "    return positive.astype(grad.dtype)\n",
    ),
    Bug(
        "ReLU backward overwrites grad",
        "input changed in place",
        "    return grad * positive\n",
        "    grad[~positive] = 0\n    return grad\n",
    ),
    Bug("loss: sum over the batch", "sum instead of mean", LOSS, LOSS.replace("mean", "sum")),
    Bug(
        "loss: a[:, targets]",
        "[:, targets]",
        LOSS,
        "    loss = -log_p[:, targets].mean()\n",
    ),
    Bug(
        "loss: no maximum subtracted",
        "overflow of exp",
        "    shifted = logits - logits.max(axis=1, keepdims=True)\n",
        "    shifted = logits\n",
    ),
    Bug(
        "loss: the maximum of the whole batch subtracted",
        "maximum of the whole batch",
        "    shifted = logits - logits.max(axis=1, keepdims=True)\n",
        "    shifted = logits - logits.max()\n",
    ),
    Bug(
        "loss: log(p + 1e-12)",
        "probability clamped",
        "    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))\n",
        "    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)\n"
        "    log_p = np.log(p + 1e-12)\n",
    ),
    Bug(
        "loss: log of a softmax that underflows",
        "logarithm of 0",
        "    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))\n",
        "    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)\n"
        "    log_p = np.log(p)\n",
    ),
    Bug(
        "loss: softmax over the batch",
        "softmax over the batch",
        LOG_P,
        LOG_P.replace("axis=1", "axis=0"),
    ),
    Bug(
        "loss gradient: not divided by N",
        "mean forgotten",
        "    return float(grad) / n * grad_logits\n",
        "    return float(grad) * grad_logits\n",
    ),
    Bug(
        "loss gradient: the incoming gradient ignored",
        "grad forgotten",
        "    return float(grad) / n * grad_logits\n",
        "    return grad_logits / n\n",
    ),
    Bug(
        "loss gradient: a[:, targets] -= 1",
        "[:, targets]",
        ONE_HOT,
        "    grad_logits[:, targets] -= 1\n",
    ),
    Bug("loss gradient: softmax alone", "target forgotten", ONE_HOT, ""),
    Bug(
        "loss gradient: targets minus softmax",
        "sign",
        "    return float(grad) / n * grad_logits\n",
        "    return -float(grad) / n * grad_logits\n",
    ),
    # 2. Convolution
    Bug(
        "output size: padding counted once",
        "padding on one side",
        FIT,
        FIT.replace("2 * padding", "padding"),
    ),
    Bug(
        "output size: span of dilation * kernel",
        "dilation times kernel",
        SPAN,
        "    span = dilation * kernel\n",
    ),
    Bug(
        "output size: rounded up",
        "rounded up",
        FIT,
        "    return -(-(size + 2 * padding - span) // stride) + 1\n",
    ),
    Bug(
        "output size: + 1 left out",
        "one too few",
        FIT,
        "    return (size + 2 * padding - span) // stride\n",
    ),
    Bug("output size: true division", "a float", FIT, FIT.replace("//", "/")),
    Bug(
        "pairs: width before height",
        "h and w mixed up",
        "np.isscalar(value) else tuple(value)",
        "np.isscalar(value) else tuple(value)[::-1]",
    ),
    Bug(
        "convolution with a flipped kernel",
        "kernel flipped",
        "met, kernels[..., i, j], optimize=True)\n    out = out",
        "met, kernels[..., kh - 1 - i, kw - 1 - j], optimize=True)\n    out = out",
    ),
    Bug(
        "convolution: rows and columns of the kernel exchanged",
        "kernel transposed",
        "met, kernels[..., i, j], optimize=True)\n    out = out",
        "met, kernels.swapaxes(-1, -2)[..., i % kw, j % kh], optimize=True)\n    out = out",
    ),
    Bug(
        "convolution: bias added in the loop over kernel elements",
        "bias added once per kernel element",
        "        out += bias[:, None, None]\n",
        "        out += kh * kw * bias[:, None, None]\n",
    ),
    Bug(
        "convolution: bias left out",
        "bias forgotten",
        "    if bias is not None:\n        out += bias[:, None, None]\n",
        "",
    ),
    Bug(
        "convolution: horizontal stride for both directions",
        "h and w mixed up",
        "    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)\n",
        "    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)\n"
        "    stride = stride[::-1]\n",
    ),
    Bug(
        "convolution: dilation ignored",
        "dilation ignored",
        "    top, left = i * dilation[0], j * dilation[1]\n",
        "    top, left = i, j\n",
    ),
    Bug(
        "convolution: groups dealt out like cards on input and output",
        "groups interleaved",
        "    out = out.reshape(n, out_channels, oh, ow)\n",
        "    out = out.swapaxes(1, 2).reshape(n, out_channels, oh, ow)\n",
    ),
    Bug(
        "convolution: input channels of groups dealt out like cards",
        "groups interleaved",
        "    grouped = padded.reshape(n, groups, channels // groups, *padded.shape[2:])\n",
        "    grouped = padded.reshape(n, channels // groups, groups, *padded.shape[2:])\n"
        "    grouped = grouped.swapaxes(1, 2)\n",
    ),
    Bug(
        "convolution: every group sees the first block of x",
        "first group's input everywhere",
        "        met = grouped[..., rows, columns]\n        out +=",
        "        met = grouped[:, [0] * groups][..., rows, columns]\n        out +=",
    ),
    Bug(
        "convolution in float64 whatever comes in",
        "float64",
        "oh, ow), dtype=x.dtype)\n    for i, j in np.ndindex(kh, kw):",
        "oh, ow))\n    for i, j in np.ndindex(kh, kw):",
    ),
    Bug(
        "convolution keeps its cache in the module",
        "state kept between calls",
        "    return out, (grouped, kernels, bias is not None, stride, padding, dilation)\n",
        "    kept = conv2d_forward.__dict__.setdefault('kept', [])\n"
        "    kept[:] = grouped, kernels, bias is not None, stride, padding, dilation\n"
        "    return out, kept\n",
    ),
    Bug(
        "convolution: gradient of the padded image returned",
        "padding not cropped",
        CONV_CROP,
        "    grad_x = grad_padded\n",
    ),
    Bug(
        "convolution: gradient cropped at the end only",
        "padding not cropped",
        CONV_CROP,
        "    grad_x = grad_padded[:, :, : height - 2 * ph, : width - 2 * pw]\n",
    ),
    Bug(
        "convolution: gradient cropped by [p:-p]",
        "a slice to -0",
        CONV_CROP,
        "    grad_x = grad_padded[:, :, ph:-ph, pw:-pw]\n",
    ),
    Bug(
        "convolution: gradients of overlapping windows overwrite each other",
        "overwritten instead of added",
        GRAD_PADDED,
        GRAD_PADDED.replace("+=", "="),
    ),
    Bug(
        "convolution: grad_x with a flipped kernel",
        "kernel flipped",
        GRAD_PADDED,
        GRAD_PADDED.replace("[..., i, j]", "[..., kh - 1 - i, kw - 1 - j]"),
    ),
    Bug(
        "convolution: grad_weight flipped",
        "kernel flipped",
        GRAD_KERNELS,
        GRAD_KERNELS.replace("[..., i, j]", "[..., kh - 1 - i, kw - 1 - j]"),
    ),
    Bug(
        "convolution: grad_weight averaged over the batch",
        "divided by N",
        GRAD_KERNELS,
        GRAD_KERNELS + " / n",
    ),
    Bug(
        "convolution: grad_weight averaged over batch and positions",
        "divided by N * OH * OW",
        GRAD_KERNELS,
        GRAD_KERNELS + " / (n * out_size[0] * out_size[1])",
    ),
    Bug(
        "convolution: grad_bias a mean",
        "divided by N * OH * OW",
        "grad_bias = grad.sum(axis=(0, 2, 3)) if has_bias else None",
        "grad_bias = grad.mean(axis=(0, 2, 3)) if has_bias else None",
    ),
    Bug(
        "convolution: grad_bias summed over the batch only",
        "not summed over all axes",
        "grad_bias = grad.sum(axis=(0, 2, 3)) if has_bias else None",
        "grad_bias = grad.sum(axis=0) if has_bias else None",
    ),
    Bug(
        "convolution: a grad_bias without a bias",
        "no bias, no gradient",
        "grad_bias = grad.sum(axis=(0, 2, 3)) if has_bias else None",
        "grad_bias = grad.sum(axis=(0, 2, 3))",
    ),
    Bug(
        "convolution: stride ignored in the backward",
        "stride ignored",
        "        rows, columns = tap(i, j, out_size, stride, dilation)\n",
        "        rows, columns = tap(i, j, out_size, (1, 1), dilation)\n",
    ),
    Bug(
        "convolution: dilation ignored in the backward",
        "dilation ignored",
        "        rows, columns = tap(i, j, out_size, stride, dilation)\n",
        "        rows, columns = tap(i, j, out_size, stride, (1, 1))\n",
    ),
    # 3. Pooling
    Bug(
        "max pooling pads with 0",
        "padded with 0",
        "    padded = np.pad(x, width, constant_values=-np.inf)\n",
        "    padded = np.pad(x, width)\n",
    ),
    Bug(
        "max pooling: the last of equal elements wins",
        "last of the ties",
        "        larger = met > out  #",
        "        larger = met >= out  #",
    ),
    Bug(
        "max pooling: all equal elements get the gradient",
        "all of the ties",
        TIES,
        TIES.replace("(where,", "((padded, out),").replace(
            "where == number", "where[0][:, :, rows, columns] == where[1]"
        ),
    ),
    Bug(
        "max pooling: overlapping windows overwrite each other",
        "overwritten instead of added",
        MAX_ROUTE,
        "        here = grad_padded[:, :, rows, columns]\n"
        "        here[where == number] = grad[where == number]\n",
    ),
    Bug(
        "max pooling: every element of the window gets the gradient",
        "every element of the window",
        MAX_ROUTE,
        "        grad_padded[:, :, rows, columns] += grad\n",
    ),
    Bug(
        "max pooling: stride 1 by default",
        "stride ignored",
        """    stride = kernel if stride is None else pair(stride)
    padding = pair(padding)
    oh, ow = (
        conv_output_size(x.shape[2 + axis], kernel[axis], stride[axis], padding[axis], 1)
        for axis in (0, 1)
    )
    width = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    padded = np.pad(x, width, constant_values=-np.inf)
""",
        """    stride = (1, 1) if stride is None else pair(stride)
    padding = pair(padding)
    oh, ow = (
        conv_output_size(x.shape[2 + axis], kernel[axis], stride[axis], padding[axis], 1)
        for axis in (0, 1)
    )
    width = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    padded = np.pad(x, width, constant_values=-np.inf)
""",
    ),
    Bug(
        "max pooling: gradient of the padded image returned",
        "padding not cropped",
        MAX_ROUTE + "    height, width = padded_shape[2:]\n" + CROP,
        MAX_ROUTE + "    return grad_padded\n",
    ),
    Bug(
        "average pooling: sum",
        "not divided",
        "    return total / count, (count,",
        "    return total, (count,",
    ),
    Bug(
        "average pooling divides by KH * KH",
        "divided by KH * KH",
        "        count[:] = kernel[0] * kernel[1]\n",
        "        count[:] = kernel[0] ** 2\n",
    ),
    Bug(
        "average pooling ignores count_include_pad",
        "count_include_pad ignored",
        AVG_COUNT,
        "    count[:] = kernel[0] * kernel[1]\n",
    ),
    Bug(
        "average pooling: count_include_pad the wrong way round",
        "count_include_pad reversed",
        "    if count_include_pad:\n",
        "    if not count_include_pad:\n",
    ),
    Bug(
        "average pooling: the backward divides by the window's area always",
        "divided by another number than the forward",
        "    share = grad / count\n",
        "    share = grad / (kernel[0] * kernel[1])\n",
    ),
    Bug(
        "average pooling: the backward does not divide",
        "not divided",
        "    share = grad / count\n",
        "    share = grad\n",
    ),
    Bug(
        "average pooling: overlapping windows overwrite each other",
        "overwritten instead of added",
        AVG_SHARE,
        AVG_SHARE.replace("+=", "="),
    ),
    # 4. BatchNorm
    Bug(
        "BatchNorm: unbiased variance in the output",
        "unbiased variance in the output",
        "mean, var = x.mean(axis=axes), x.var(axis=axes)",
        "mean, var = x.mean(axis=axes), x.var(axis=axes, ddof=1)",
    ),
    Bug(
        "BatchNorm: biased variance in running_var",
        "biased variance in running_var",
        BN_RUNNING_VAR,
        BN_RUNNING_VAR.replace("unbiased", "var"),
    ),
    Bug(
        "BatchNorm: unbiased with N instead of N * H * W",
        "N against N * H * W",
        "        count = x.size // x.shape[1]\n",
        "        count = x.shape[0]\n",
    ),
    Bug(
        "BatchNorm: standard deviation in running_var",
        "standard deviation in running_var",
        BN_RUNNING_VAR,
        BN_RUNNING_VAR.replace("unbiased", "np.sqrt(var + eps)"),
    ),
    Bug(
        "BatchNorm: momentum is the share of the old value",
        "momentum reversed",
        BN_RUNNING_MEAN + "\n        " + BN_RUNNING_VAR,
        "running_mean[:] = momentum * running_mean + (1 - momentum) * mean\n"
        "        running_var[:] = momentum * running_var + (1 - momentum) * unbiased",
    ),
    Bug(
        "BatchNorm: running statistics replaced, not changed",
        "not changed in place",
        BN_RUNNING_MEAN + "\n        " + BN_RUNNING_VAR,
        BN_RUNNING_MEAN.replace("[:]", "") + "\n        " + BN_RUNNING_VAR.replace("[:]", ""),
    ),
    Bug(
        "BatchNorm: running statistics updated in evaluation too",
        "running statistics changed in evaluation",
        BN_MODE,
        BN_MODE + "        mean, var = mean.copy(), var.copy()\n"
        "        running_mean += momentum * (x.mean(axis=axes) - running_mean)\n",
    ),
    Bug(
        "BatchNorm: the batch's statistics in evaluation",
        "train and evaluation mode mixed up",
        BN_MODE,
        "        mean, var = x.mean(axis=axes), x.var(axis=axes)\n",
    ),
    Bug(
        "BatchNorm subtracts the mean from x in place",
        "input changed in place",
        "    normalized = (x - mean.reshape(shape)) * inverse_std\n",
        "    x -= mean.reshape(shape)\n    normalized = x * inverse_std\n",
    ),
    Bug(
        "BatchNorm: eps outside of the root",
        "eps outside the root",
        BN_STD,
        "    inverse_std = (1 / (np.sqrt(var) + eps)).reshape(shape)\n",
    ),
    Bug(
        "BatchNorm: eps left out",
        "eps forgotten",
        BN_STD,
        "    inverse_std = (1 / np.sqrt(var)).reshape(shape)\n",
    ),
    Bug(
        "BatchNorm: divides by the variance",
        "root forgotten",
        BN_STD,
        "    inverse_std = (1 / (var + eps)).reshape(shape)\n",
    ),
    Bug(
        "BatchNorm: statistics in float64",
        "float64",
        "mean, var = x.mean(axis=axes), x.var(axis=axes)",
        "mean, var = x.mean(axis=axes, dtype=np.float64), x.var(axis=axes, dtype=np.float64)",
    ),
    Bug(
        "BatchNorm backward: mean and variance are constants",
        "mean and variance taken for constants",
        BN_X,
        "    grad_x = inverse_std * grad_normalized\n",
    ),
    Bug(
        "BatchNorm backward: path through the mean left out",
        "path through the mean forgotten",
        BN_X,
        BN_X.replace(" - through_mean", ""),
    ),
    Bug(
        "BatchNorm backward: path through the variance left out",
        "path through the variance forgotten",
        BN_X,
        BN_X.replace(" - through_var", ""),
    ),
    Bug(
        "BatchNorm backward: means over N, not N * H * W",
        "N against N * H * W",
        BN_MEAN + BN_VAR,
        "    n = len(grad)\n"
        "    through_mean = grad_normalized.sum(axis=axes, keepdims=True) / n\n"
        "    through_var = normalized * "
        "(grad_normalized * normalized).sum(axis=axes, keepdims=True) / n\n",
    ),
    Bug(
        "BatchNorm backward: formula of training in evaluation",
        "formula of training in evaluation",
        BN_EVAL,
        "",
    ),
    Bug(
        "BatchNorm backward: scale left out of grad_x",
        "scale forgotten",
        "    grad_normalized = grad * weight\n",
        "    grad_normalized = grad\n",
    ),
    Bug(
        "BatchNorm: grad_weight with x instead of the normalised x",
        "x instead of the normalised x",
        BN_CACHE,
        BN_CACHE.replace("training)", "training, x)")
        .replace("training = cache", "training, x = cache")
        .replace("(grad * normalized)", "(grad * x)"),
    ),
    Bug(
        "BatchNorm: grad_bias a mean",
        "divided by M",
        "    grad_bias = grad.sum(axis=axes)\n",
        "    grad_bias = grad.mean(axis=axes)\n",
    ),
    # 5. Dropout
    Bug("dropout: not scaled", "not scaled", DROP, DROP.replace(" / (1 - p)", "")),
    Bug(
        "dropout: p is the probability to stay",
        "kept and dropped mixed up",
        DROP,
        "    scale = (rng.random(x.shape) < p).astype(x.dtype) / p\n",
    ),
    Bug(
        "dropout: kept where the draw is below p, scaled by 1 / (1 - p)",
        "kept and dropped mixed up",
        DROP,
        DROP.replace(">=", "<"),
    ),
    Bug(
        "dropout: scaled again in evaluation",
        "scaled in evaluation",
        DROP_EVAL,
        DROP_EVAL.replace("x.copy()", "x * (1 - p)"),
    ),
    Bug("dropout: drops in evaluation too", "dropout on in evaluation", DROP_EVAL, ""),
    Bug(
        "dropout: one mask for all images",
        "one mask for the whole batch",
        DROP,
        DROP.replace("x.shape", "x.shape[1:]"),
    ),
    Bug(
        "dropout: a bool divided is float64", "float64", DROP, DROP.replace(".astype(x.dtype)", "")
    ),
    Bug(
        "dropout backward: mask without the scale",
        "not scaled",
        DROP_BACK,
        "    return grad.copy() if scale is None else grad * (scale > 0)\n",
    ),
    Bug(
        "dropout backward: passes everything",
        "mask forgotten",
        DROP_BACK,
        "    return grad.copy()\n",
    ),
    # 6. GroupNorm
    Bug(
        "GroupNorm: groups dealt out like cards",
        "channels interleaved",
        GN_BLOCKS + "    weight, bias",
        GN_BLOCKS.replace(
            "x.reshape(x.shape[0], num_groups, -1)",
            "x.reshape(len(x), -1, num_groups, *x.shape[2:]).swapaxes(1, 2)\n"
            "    dealt = blocks.shape\n"
            "    blocks = blocks.reshape(len(x), num_groups, -1)",
        )
        + "    normalized = normalized.reshape(dealt).swapaxes(1, 2).reshape(blocks.shape)\n"
        "    weight, bias",
    ),
    Bug(
        "GroupNorm: statistics over the batch",
        "statistics over the batch",
        GN_BLOCKS,
        GN_BLOCKS.replace("axis=2", "axis=(0, 2)"),
    ),
    Bug(
        "GroupNorm: unbiased variance",
        "unbiased variance in the output",
        GN_BLOCKS,
        GN_BLOCKS.replace("blocks.var(axis=2,", "blocks.var(axis=2, ddof=1,"),
    ),
    Bug(
        "GroupNorm backward: scale left out",
        "scale forgotten",
        "    g = (grad * weight).reshape(normalized.shape)\n",
        "    g = grad.reshape(normalized.shape)\n",
    ),
    Bug(
        "GroupNorm backward: path through the variance left out",
        "path through the variance forgotten",
        GN_X,
        GN_X.replace(" - through_var", ""),
    ),
    # 7. A network that trains
    Bug(
        "SGD: learning rate in the velocity",
        "learning rate in the velocity",
        SGD,
        SGD.replace(
            "grads[name] + weight_decay * param", "lr * (grads[name] + weight_decay * param)"
        ).replace("param -= lr * velocity", "param -= velocity"),
    ),
    Bug(
        "SGD: gradient multiplied by 1 - momentum",
        "damped gradient",
        SGD,
        SGD.replace(
            "+= grads[name] + weight_decay * param",
            "+= (1 - momentum) * (grads[name] + weight_decay * param)",
        ),
    ),
    Bug(
        "SGD: new arrays instead of the same",
        "not changed in place",
        SGD,
        "        velocity = momentum * velocity + grads[name] + weight_decay * param\n"
        "        params[name] = param - lr * velocity\n"
        "        velocities[name] = velocity\n",
    ),
    Bug(
        "SGD: Nesterov",
        "Nesterov",
        SGD,
        "        g = grads[name] + weight_decay * param\n"
        "        velocity *= momentum\n"
        "        velocity += g\n"
        "        param -= lr * (g + momentum * velocity)\n",
    ),
    Bug(
        "SGD: weight decay outside of the velocity",
        "weight decay outside the velocity",
        SGD,
        "        velocity *= momentum\n"
        "        velocity += grads[name]\n"
        "        param -= lr * (velocity + weight_decay * param)\n",
    ),
    Bug(
        "SGD: weight decay added to grads in place",
        "input changed in place",
        SGD,
        "        grads[name] += weight_decay * param\n"
        + SGD.replace(" + weight_decay * param", ""),
    ),
    Bug(
        "network: gradient of the shortcut left out",
        "gradient of the shortcut forgotten",
        "    grad = relu_backward(grad + branch, relu)\n",
        "    grad = relu_backward(branch, relu)\n",
    ),
    Bug(
        "network: gradient of the branch left out",
        "gradient of the branch forgotten",
        "    grad = relu_backward(grad + branch, relu)\n",
        "    grad = relu_backward(grad, relu)\n",
    ),
    Bug(
        "network: ReLU after the sum",
        "ReLU after the sum",
        NET_RELU,
        NET_RELU.replace("    h, relu = relu_forward(h)\n", "") + "    h, relu = relu_forward(h)\n",
    ),
    Bug(
        "network: dropout always in training mode",
        "mode of the dropout",
        "dropout_forward(h.reshape(len(h), -1), p, training, rng)",
        "dropout_forward(h.reshape(len(h), -1), p, True, rng)",
    ),
    Bug(
        "network: BatchNorm always in training mode",
        "mode of the BatchNorm",
        'running["mean"], running["var"], training\n',
        'running["mean"], running["var"], True\n',
    ),
    Bug(
        "training: weight decay and momentum not handed on",
        "momentum and weight_decay not handed on",
        "    sgd_step(params, grads, velocities, lr, momentum, weight_decay)\n",
        "    sgd_step(params, grads, velocities, lr)\n",
    ),
    Bug(
        "training: the same mask in every step",
        "the same mask in every step",
        "    logits, net = convnet_forward(params, running, x, True, p, rng)\n",
        "    rng = np.random.default_rng(4)\n"
        "    logits, net = convnet_forward(params, running, x, True, p, rng)\n",
    ),
]
