"""Semantic segmentation in NumPy: the way back up to pixels, what is lost there, how it is scored.

Transposed convolution and skip connections are those of Long, Shelhamer, Darrell 2015 (FCN) and
Ronneberger, Fischer, Brox 2015 (U-Net), unpooling that of Badrinarayanan, Kendall, Cipolla 2017
(SegNet), the Dice loss that of Milletari, Navab, Ahmadi 2016 (V-Net).

Images are (N, C, H, W), masks (N, H, W) of integers. `name_forward` returns (out, cache) and
`name_backward(grad, cache)` the gradients, unless a docstring says otherwise; what cache is, is up
to you. Arrays of floats have the dtype of x (of logits, of grad). No argument is changed, but for
the parameters in `train`.
"""

import numpy as np

# -- 1. scores -------------------------------------------------------------------------------------


def confusion_matrix(predicted, targets, num_classes, ignore_index=-100):
    """How many pixels of each class were predicted as which.

    Args:
        predicted: classes, integers of any dtype (uint8 too) and any shape.
        targets: the true classes, likewise; or ignore_index, where nobody knows.
        num_classes: C.
        ignore_index: pixels whose target is this count nothing.

    Returns:
        (C, C) int64: element [i, j] counts the pixels of class i that were predicted as j.
    """
    # BEGIN SOLUTION
    counted = targets != ignore_index
    rows, columns = targets[counted].astype(np.int64), predicted[counted].astype(np.int64)
    counts = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)
    # END SOLUTION


def segmentation_scores(matrix):
    """What a confusion matrix says.

    Args:
        matrix: (C, C) int64, of at least one pixel; rows are the truth.

    Returns:
        a dict of
        "accuracy"        (C,) share of each class's pixels that were predicted as it; NaN for a
                          class without pixels
        "iou"             (C,) pixels that are it and predicted as it, divided by those that are
                          either; NaN for a class that is neither
        "pixel_accuracy"  float: the share of all pixels that are right
        "mean_accuracy"   float: the mean of "accuracy" over the classes where it is a number
        "mean_iou"        float: the mean of "iou", likewise
        "frequency_weighted_iou"  float: the mean of "iou", each class weighted by how many pixels
                          it truly has
    """
    # BEGIN SOLUTION
    hits = np.diagonal(matrix).astype(np.float64)
    truth, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        accuracy = hits / truth
        iou = hits / (truth + predicted - hits)
    return {
        "accuracy": accuracy,
        "iou": iou,
        "pixel_accuracy": hits.sum() / truth.sum(),
        "mean_accuracy": np.nanmean(accuracy),
        "mean_iou": np.nanmean(iou),
        "frequency_weighted_iou": np.nansum(truth * iou) / truth.sum(),
    }
    # END SOLUTION


# -- 2. resizing -----------------------------------------------------------------------------------


def nearest_forward(x, size):
    """Resize by copying: output (o, p) is the input (floor(o H / OH), floor(p W / OW)).

    Args:
        x: (N, C, H, W).
        size: (OH, OW), larger or smaller. (Sizes given are such that floor(o * (H / OH)) in
            float64 is the same.)

    Returns:
        out (N, C, OH, OW), and a cache.
    """
    # BEGIN SOLUTION
    height, width = x.shape[2:]
    rows = np.arange(size[0]) * height // size[0]
    columns = np.arange(size[1]) * width // size[1]
    return x[:, :, rows[:, None], columns], (x.shape, rows, columns)
    # END SOLUTION


def nearest_backward(grad, cache):
    """The gradient to x (N, C, H, W) of `nearest_forward`, given dL/dout (N, C, OH, OW)."""
    # BEGIN SOLUTION
    shape, rows, columns = cache
    grad_x = np.zeros(shape, grad.dtype)
    np.add.at(grad_x, (slice(None), slice(None), rows[:, None], columns), grad)
    return grad_x
    # END SOLUTION


def source_positions(n, out, align_corners):
    """Where along one axis the pixels of a resized image lie in the original one.

    Positions count pixel centres: 0 is the centre of the first pixel, n - 1 that of the last.

    Args:
        n: pixels of the input along the axis.
        out: pixels of the output.
        align_corners: True: the centres of the first and of the last pixels of both fall together,
            and the others have equal distances (a single one lies at 0). False: the images' outer
            edges fall together, half a pixel before the first centre and half a pixel after the
            last one; positions before 0 or beyond n - 1 are moved there.

    Returns:
        (out,) float64, from 0 to n - 1.
    """
    # BEGIN SOLUTION
    places = np.arange(out)
    if align_corners:
        return places * ((n - 1) / max(out - 1, 1))
    return np.clip((places + 0.5) * n / out - 0.5, 0, n - 1)
    # END SOLUTION


def bilinear_forward(x, rows, columns):
    """Sample an image at a grid of positions, linearly between pixels along both axes.

    Args:
        x: (N, C, H, W).
        rows: (OH,) float64, from 0 to H - 1, in any order.
        columns: (OW,) float64, from 0 to W - 1.

    Returns:
        out (N, C, OH, OW): element (o, p) is x at (rows[o], columns[p]); and a cache.
    """
    # BEGIN SOLUTION
    (top, bottom, down), (left, right, across) = (
        neighbours(positions, n) for positions, n in zip((rows, columns), x.shape[2:], strict=True)
    )
    corners = [
        (top, left, np.outer(1 - down, 1 - across).astype(x.dtype)),
        (top, right, np.outer(1 - down, across).astype(x.dtype)),
        (bottom, left, np.outer(down, 1 - across).astype(x.dtype)),
        (bottom, right, np.outer(down, across).astype(x.dtype)),
    ]
    out = sum(x[:, :, r[:, None], c] * share for r, c, share in corners)
    return out, (x.shape, corners)
    # END SOLUTION


def neighbours(positions, n):
    """A help for bilinear sampling, which you may use or delete.

    Returns:
        the indices of the pixels before and after each position, and the share (0 to 1) that the
        one after has in it.
    """
    # BEGIN SOLUTION
    before = np.floor(positions).astype(np.int64)
    after = np.minimum(before + 1, n - 1)
    return before, after, positions - before
    # END SOLUTION


def bilinear_backward(grad, cache):
    """The gradient to x (N, C, H, W) of `bilinear_forward`, given dL/dout (N, C, OH, OW)."""
    # BEGIN SOLUTION
    shape, corners = cache
    grad_x = np.zeros(shape, grad.dtype)
    for r, c, share in corners:
        np.add.at(grad_x, (slice(None), slice(None), r[:, None], c), grad * share)
    return grad_x
    # END SOLUTION


# -- 3. pooling that can be undone -----------------------------------------------------------------


def steps(first, count, stride):
    """Given: the slice that takes `count` elements, from `first` on, every stride-th."""
    return slice(first, first + (count - 1) * stride + 1, stride)


def max_pool2d_forward(x, kernel_size, stride=None):
    """The largest element of each window, and where it was.

    Args:
        x: (N, C, H, W).
        kernel_size: int k; windows are k x k.
        stride: int; None: kernel_size. Windows that do not fit entirely are left out.

    Returns:
        out: (N, C, OH, OW), OH = floor((H - k) / stride) + 1.
        indices: (N, C, OH, OW) int64: row * W + column of the element in its plane of x; of equal
            elements the first in reading order.
    """
    # BEGIN SOLUTION
    k, stride = kernel_size, stride or kernel_size
    height, width = x.shape[2:]
    down, across = (height - k) // stride + 1, (width - k) // stride + 1
    windows = np.stack(
        [
            x[:, :, steps(i, down, stride), steps(j, across, stride)]
            for i in range(k)
            for j in range(k)
        ]
    )
    winner = windows.argmax(axis=0)
    rows = np.arange(down)[:, None] * stride + winner // k
    columns = np.arange(across) * stride + winner % k
    return windows.max(axis=0), rows * width + columns
    # END SOLUTION


def max_pool2d_backward(grad, indices, size):
    """The gradient of max pooling.

    Args:
        grad: (N, C, OH, OW), dL/dout.
        indices: (N, C, OH, OW) as `max_pool2d_forward` gives them; windows may have overlapped.
        size: (H, W) of x.

    Returns:
        (N, C, H, W), dL/dx.
    """
    # BEGIN SOLUTION
    n, c = grad.shape[:2]
    planes = np.zeros((n * c, size[0] * size[1]), grad.dtype)
    plane = np.arange(n * c)[:, None]
    np.add.at(planes, (plane, indices.reshape(n * c, -1)), grad.reshape(n * c, -1))
    return planes.reshape(n, c, *size)
    # END SOLUTION


def max_unpool2d_forward(x, indices, size):
    """Each element back to where max pooling found it, 0 everywhere else.

    Args:
        x: (N, C, OH, OW).
        indices: (N, C, OH, OW) int64, places in a plane H * W.
        size: (H, W) of the result.

    Returns:
        (N, C, H, W), and nothing else: backward needs no more than the indices.

    Raises:
        ValueError: two elements of one plane would go to the same place (the windows of the
            pooling overlapped). The same index in two different planes is no such case.
    """
    # BEGIN SOLUTION
    n, c = x.shape[:2]
    places = indices.reshape(n * c, -1)
    if (np.diff(np.sort(places, axis=1), axis=1) == 0).any():
        raise ValueError("max_unpool2d: two elements go to one place: windows overlapped")
    planes = np.zeros((n * c, size[0] * size[1]), x.dtype)
    planes[np.arange(n * c)[:, None], places] = x.reshape(n * c, -1)
    return planes.reshape(n, c, *size)
    # END SOLUTION


def max_unpool2d_backward(grad, indices):
    """The gradient of `max_unpool2d_forward` to x.

    Args:
        grad: (N, C, H, W), dL/dout.
        indices: (N, C, OH, OW) int64.

    Returns:
        (N, C, OH, OW).
    """
    # BEGIN SOLUTION
    n, c = grad.shape[:2]
    taken = np.take_along_axis(grad.reshape(n, c, -1), indices.reshape(n, c, -1), axis=2)
    return taken.reshape(indices.shape)
    # END SOLUTION


# -- 4. transposed convolution ---------------------------------------------------------------------


def conv_transpose_output_size(size, kernel, stride, padding, output_padding):
    """The output's height (or width), an int, of a transposed convolution of `size` pixels."""
    # BEGIN SOLUTION
    return (size - 1) * stride - 2 * padding + kernel + output_padding
    # END SOLUTION


def conv_transpose2d_forward(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    """Put a copy of the kernel, times x, at every stride-th pixel; add up; cut the border off.

    Element (a, b) of x times weight[c, o, i, j] is added to pixel (a stride + i, b stride + j) of
    a large image of output channel o. `padding` rows and columns are cut off on each of its four
    sides; then the result is `output_padding` rows longer at the bottom and columns at the right:
    these go on in the large image, as far as it reaches, and are 0 beyond. At last bias is added
    everywhere.

    Args:
        x: (N, C, H, W).
        weight: (C, O, KH, KW): *inputs* first, no flipping.
        bias: (O,) or None.
        stride, padding, output_padding: ints; output_padding is smaller than stride.

    Returns:
        out (N, O, OH, OW), and a cache.
    """
    # BEGIN SOLUTION
    height, width = x.shape[2:]
    filters, kh, kw = weight.shape[1:]
    large = np.zeros(
        (
            len(x),
            filters,
            (height - 1) * stride + kh + output_padding,
            (width - 1) * stride + kw + output_padding,
        ),
        x.dtype,
    )
    for i, j in np.ndindex(kh, kw):
        copies = np.einsum("nchw,co->nohw", x, weight[:, :, i, j], optimize=True)
        large[:, :, steps(i, height, stride), steps(j, width, stride)] += copies
    oh = conv_transpose_output_size(height, kh, stride, padding, output_padding)
    ow = conv_transpose_output_size(width, kw, stride, padding, output_padding)
    out = large[:, :, padding : padding + oh, padding : padding + ow]
    if bias is not None:
        out = out + bias[:, None, None]
    return out, (x, weight, bias is not None, stride, padding, large.shape)
    # END SOLUTION


def conv_transpose2d_backward(grad, cache):
    """The gradients of `conv_transpose2d_forward`.

    Args:
        grad: (N, O, OH, OW), dL/dout.

    Returns:
        grad_x (N, C, H, W), grad_weight (C, O, KH, KW), grad_bias (O,) or None without a bias.
    """
    # BEGIN SOLUTION
    x, weight, has_bias, stride, padding, shape = cache
    height, width = x.shape[2:]
    large = np.zeros(shape, grad.dtype)
    large[:, :, padding : padding + grad.shape[2], padding : padding + grad.shape[3]] = grad
    grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    for i, j in np.ndindex(weight.shape[2:]):
        met = large[:, :, steps(i, height, stride), steps(j, width, stride)]
        grad_x += np.einsum("nohw,co->nchw", met, weight[:, :, i, j], optimize=True)
        grad_weight[:, :, i, j] = np.einsum("nchw,nohw->co", x, met, optimize=True)
    return grad_x, grad_weight, grad.sum(axis=(0, 2, 3)) if has_bias else None
    # END SOLUTION


def bilinear_kernel(channels, factor):
    """Weights with which a transposed convolution of stride `factor` interpolates.

    Args:
        channels: C.
        factor: int f >= 1, by how much is enlarged.

    Returns:
        (C, C, k, k) float64, k = 2 f - f % 2 (4 for 2, 5 for 3, 8 for 4). Output channel i sees
        input channel i only. Its kernel is the product of a tent along rows and one along columns:
        1 at the middle of the kernel (for an even k that is between two elements), falling by
        1 / f with each element.
    """
    # BEGIN SOLUTION
    k = 2 * factor - factor % 2
    tent = 1 - np.abs(np.arange(k) - (k - 1) / 2) / factor
    return np.eye(channels)[:, :, None, None] * np.outer(tent, tent)
    # END SOLUTION


def upsample(x, factor):
    """Enlarge x (N, C, H, W) to (N, C, H f, W f) by a transposed convolution with that kernel.

    The padding is what makes the size come out, equal on all sides. Away from the border it is
    bilinear interpolation with align_corners=False.
    """
    # BEGIN SOLUTION
    weight = bilinear_kernel(x.shape[1], factor).astype(x.dtype)
    return conv_transpose2d_forward(x, weight, stride=factor, padding=factor // 2)[0]
    # END SOLUTION


# -- 5. skip connections ---------------------------------------------------------------------------


def skip_forward(up, skip):
    """U-Net's "copy and crop": the middle of an earlier map beside the one that came up.

    Args:
        up: (N, C, h, w), what came up.
        skip: (N, D, H, W), what was there on the way down; H >= h, W >= w.

    Returns:
        out (N, D + C, h, w): first the channels of skip, cropped to (h, w), then those of up. The
        crop begins at row (H - h) // 2 and column (W - w) // 2. And a cache.
    """
    # BEGIN SOLUTION
    (height, width), (h, w) = skip.shape[2:], up.shape[2:]
    top, left = (height - h) // 2, (width - w) // 2
    cropped = skip[:, :, top : top + h, left : left + w]
    return np.concatenate([cropped, up], axis=1), (skip.shape, top, left)
    # END SOLUTION


def skip_backward(grad, cache):
    """The gradients to up (N, C, h, w) and to skip (N, D, H, W), given dL/dout (N, D + C, h, w)."""
    # BEGIN SOLUTION
    shape, top, left = cache
    channels, (h, w) = shape[1], grad.shape[2:]
    grad_skip = np.zeros(shape, grad.dtype)
    grad_skip[:, :, top : top + h, left : left + w] = grad[:, :channels]
    return grad[:, channels:].copy(), grad_skip
    # END SOLUTION


# -- 6. losses -------------------------------------------------------------------------------------


def log_softmax(logits):
    """log of exp(s) / sum exp(s) over axis 1, the classes: a help, which you may use or delete."""
    # BEGIN SOLUTION
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    # END SOLUTION


def cross_entropy_forward(logits, targets, weight=None, ignore_index=-100):
    """The mean of -log p[target] over pixels, weighted by class.

    With v = weight[target] for a pixel, and 0 for an ignored one, it is the sum over all pixels
    of the batch of v * -log p[target], divided by the sum of v. If all pixels are ignored it is 0.

    Args:
        logits: (N, K, H, W), scores, of any size: 1000 too.
        targets: (N, H, W) int64, from 0 to K - 1, or ignore_index.
        weight: (K,) positive, or None: 1 for each class.
        ignore_index: the target of ignored pixels, which may be negative or larger than K.

    Returns:
        loss, one number, and a cache.
    """
    # BEGIN SOLUTION
    counted = targets != ignore_index
    labels = np.where(counted, targets, 0)
    shares = counted.astype(logits.dtype)
    if weight is not None:
        shares = shares * weight.astype(logits.dtype)[labels]
    total = shares.sum()
    shares = shares / (total if total > 0 else 1)
    log_p = log_softmax(logits)
    picked = np.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return -(shares * picked).sum(), (log_p, labels, shares)
    # END SOLUTION


def cross_entropy_backward(grad, cache):
    """The gradient to logits (N, K, H, W); grad is one number, dL/dloss."""
    # BEGIN SOLUTION
    log_p, labels, shares = cache
    one_hot = labels[:, None] == np.arange(log_p.shape[1])[:, None, None]
    return float(grad) * shares[:, None] * (np.exp(log_p) - one_hot)
    # END SOLUTION


def dice_forward(logits, targets, smooth=1.0):
    """The soft Dice loss: 1 - (2 sum p g + smooth) / (sum p^2 + sum g + smooth).

    p is the softmax of the logits over the classes; g is 1 where the target is the class, else 0.
    The sums run over the pixels of one image, for one class; the loss is the mean of the N * K
    values that this gives.

    Args:
        logits: (N, K, H, W).
        targets: (N, H, W) int64, from 0 to K - 1.
        smooth: a positive number.

    Returns:
        loss, one number, and a cache.
    """
    # BEGIN SOLUTION
    p = np.exp(log_softmax(logits))
    g = (targets[:, None] == np.arange(logits.shape[1])[:, None, None]).astype(logits.dtype)
    above = 2 * (p * g).sum(axis=(2, 3), keepdims=True) + smooth
    below = (p**2 + g).sum(axis=(2, 3), keepdims=True) + smooth
    return (1 - above / below).mean(), (p, g, above, below)
    # END SOLUTION


def dice_backward(grad, cache):
    """The gradient to logits (N, K, H, W); grad is one number, dL/dloss."""
    # BEGIN SOLUTION
    p, g, above, below = cache
    by_p = -(2 * g / below - above * 2 * p / below**2) / above.size
    return float(grad) * p * (by_p - (p * by_p).sum(axis=1, keepdims=True))
    # END SOLUTION


# -- 7. images larger than a network ---------------------------------------------------------------


def predict_tiles(network, image, tile, context):
    """Segment a large image by tiles, with surroundings for each (U-Net, figure 2).

    The network sees pieces with `context` pixels more on each side than the tile, as its zeros at
    the border of a piece spoil the answers near it; only the tile in the middle of an answer is
    used. Beyond its border the image is continued by its mirror image, in which the border row
    itself is not repeated: ... 3 2 1 | 0 1 2 3 ... (`np.pad` calls that "reflect").

    Args:
        network: a function from a piece (C, t, t) to scores (K, t, t), t = tile + 2 context. Its
            answer for a pixel depends on at most `context` pixels around, and not on where it is.
        image: (C, H, W); H and W need not be multiples of tile.
        tile: int.
        context: int.

    Returns:
        (K, H, W): scores of each pixel, as of one piece that holds the whole image with `context`
        pixels of its mirror image around. How you lay the tiles is up to you.
    """
    # BEGIN SOLUTION
    height, width = image.shape[1:]
    down, across = -(-height // tile) * tile, -(-width // tile) * tile  # rounded up
    padded = np.pad(
        image,
        ((0, 0), (context, context + down - height), (context, context + across - width)),
        mode="reflect",
    )
    large = tile + 2 * context
    rows = []
    for top in range(0, down, tile):
        answers = [
            network(padded[:, top : top + large, left : left + large])
            for left in range(0, across, tile)
        ]
        middle = slice(context, context + tile)
        rows.append(np.concatenate([answer[:, middle, middle] for answer in answers], axis=2))
    return np.concatenate(rows, axis=1)[:, :height, :width]
    # END SOLUTION


def predict_windows(network, image, window, stride):
    """Segment a large image by a sliding window: the mean of all answers for a pixel.

    Along each axis windows begin at 0, stride, 2 stride ... as long as they fit; if the last of
    them does not end at the border there is one more that does.

    Args:
        network: a function from a piece (C, window, window) to scores (K, window, window).
        image: (C, H, W); H and W are at least window.
        window, stride: ints, stride <= window.

    Returns:
        (K, H, W): of each pixel the mean over the windows that contain it.
    """
    # BEGIN SOLUTION
    height, width = image.shape[1:]
    total, count = 0, np.zeros((height, width), image.dtype)
    for top in window_starts(height, window, stride):
        for left in window_starts(width, window, stride):
            place = (slice(top, top + window), slice(left, left + window))
            answer = network(image[(slice(None), *place)])
            if np.ndim(total) == 0:
                total = np.zeros((len(answer), height, width), answer.dtype)
            total[(slice(None), *place)] += answer
            count[place] += 1
    return total / count
    # END SOLUTION


def window_starts(size, window, stride):
    """A help for `predict_windows`, which you may use or delete: where windows begin, a list."""
    # BEGIN SOLUTION
    starts = list(range(0, size - window + 1, stride))
    if starts[-1] != size - window:
        starts.append(size - window)
    return starts
    # END SOLUTION


# -- 8. a network that trains ----------------------------------------------------------------------


def conv3x3_forward(x, weight, bias):
    """Given: a convolution (N, C, H, W) -> (N, O, H, W) by weight (O, C, 3, 3), zeros around x."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    out = np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)
    return out + bias[:, None, None], (windows, weight)


def conv3x3_backward(grad, cache):
    """Given: grad_x, grad_weight and grad_bias of `conv3x3_forward`."""
    windows, weight = cache
    grad_weight = np.einsum("nohw,nchwij->ocij", grad, windows, optimize=True)
    flipped = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    grad_x, _ = conv3x3_forward(grad, flipped, np.zeros(len(flipped), grad.dtype))
    return grad_x, grad_weight, grad.sum(axis=(0, 2, 3))


def unet_forward(params, x):
    """A U-Net with one step down and one up.

    down    = relu(conv3x3(x, "down.weight", "down.bias"))               (N, F, H, W)
    small   = max pooling of down, windows 2 x 2                         (N, F, H / 2, W / 2)
    bottom  = relu(conv3x3(small, "bottom.weight", "bottom.bias"))       (N, G, H / 2, W / 2)
    up      = transposed convolution of bottom, "up.weight" (G, F, 2, 2),
              "up.bias" (F,), stride 2                                   (N, F, H, W)
    both    = down and up joined as by `skip_forward`                    (N, 2 F, H, W)
    logits  = conv3x3(both, "head.weight", "head.bias")                  (N, K, H, W)

    Args:
        params: a dict of the eight arrays named above.
        x: (N, C, H, W), H and W even.

    Returns:
        logits (N, K, H, W), and a cache.
    """
    # BEGIN SOLUTION
    down, down_cache = conv3x3_forward(x, params["down.weight"], params["down.bias"])
    down = np.maximum(down, 0)
    small, indices = max_pool2d_forward(down, 2)
    bottom, bottom_cache = conv3x3_forward(small, params["bottom.weight"], params["bottom.bias"])
    bottom = np.maximum(bottom, 0)
    up, up_cache = conv_transpose2d_forward(
        bottom, params["up.weight"], params["up.bias"], stride=2
    )
    both, skip_cache = skip_forward(up, down)
    logits, head_cache = conv3x3_forward(both, params["head.weight"], params["head.bias"])
    return logits, (
        down,
        down_cache,
        indices,
        bottom,
        bottom_cache,
        up_cache,
        skip_cache,
        head_cache,
    )
    # END SOLUTION


def unet_backward(grad, cache):
    """The gradients to the parameters, a dict with the keys of params; grad is dL/dlogits."""
    # BEGIN SOLUTION
    down, down_cache, indices, bottom, bottom_cache, up_cache, skip_cache, head_cache = cache
    grads = {}
    grad, grads["head.weight"], grads["head.bias"] = conv3x3_backward(grad, head_cache)
    grad_up, grad_down = skip_backward(grad, skip_cache)
    grad, grads["up.weight"], grads["up.bias"] = conv_transpose2d_backward(grad_up, up_cache)
    grad = grad * (bottom > 0)
    grad, grads["bottom.weight"], grads["bottom.bias"] = conv3x3_backward(grad, bottom_cache)
    grad_down = grad_down + max_pool2d_backward(grad, indices, down.shape[2:])
    grad_down = grad_down * (down > 0)
    _, grads["down.weight"], grads["down.bias"] = conv3x3_backward(grad_down, down_cache)
    return grads
    # END SOLUTION


def train(params, x, targets, steps, rate, weight=None):
    """Train `unet_forward` by gradient descent, all images at once.

    The loss is the cross-entropy, with the weights of classes, plus the Dice loss with smooth=1.

    Args:
        params: a dict, changed in place: the arrays in it get new values.
        x: (N, C, H, W).
        targets: (N, H, W) int64.
        steps: how many.
        rate: each parameter becomes parameter - rate * gradient.
        weight: as for `cross_entropy_forward`.

    Returns:
        a list of floats: the loss before each step.
    """
    # BEGIN SOLUTION
    losses = []
    for _ in range(steps):
        logits, cache = unet_forward(params, x)
        first, first_cache = cross_entropy_forward(logits, targets, weight)
        second, second_cache = dice_forward(logits, targets)
        losses.append(float(first + second))
        grad = cross_entropy_backward(1.0, first_cache) + dice_backward(1.0, second_cache)
        for name, gradient in unet_backward(grad, cache).items():
            params[name] -= rate * gradient
    return losses
    # END SOLUTION
