"""Mistakes that students make in A4, planted in the solution one at a time."""

from pathlib import Path

from minidl.teach.assign import Bug

SOLUTION = Path(__file__).with_name("segmentation.py").read_text(encoding="utf-8")


def piece(start, end):
    """The solution's text from start to end, for bugs that change two places at once."""
    first = SOLUTION.index(start)
    return SOLUTION[first : SOLUTION.index(end, first) + len(end)]


COUNTS = piece("    rows, columns = targets[counted]", "reshape(num_classes, num_classes)\n")
NEAREST_BACK = "    np.add.at(grad_x, (slice(None), slice(None), rows[:, None], columns), grad)\n"
BILINEAR_BACK = (
    "        np.add.at(grad_x, (slice(None), slice(None), r[:, None], c), grad * share)\n"
)
EDGE = "    return np.clip((places + 0.5) * n / out - 0.5, 0, n - 1)\n"
POOL_BACK = "    np.add.at(planes, (plane, indices.reshape(n * c, -1)), grad.reshape(n * c, -1))\n"
REFUSED = piece("    if (np.diff(np.sort(places", 'windows overlapped")\n')
TAKEN = piece("    taken = np.take_along_axis(", "taken.reshape(indices.shape)\n")
TRANSPOSED_OUT = piece("    oh = conv_transpose_output_size(", "padding + ow]\n")
PUT_BACK = (
    "    large[:, :, padding : padding + grad.shape[2], padding : padding + grad.shape[3]] = grad\n"
)
SKIP = "    return np.concatenate([cropped, up], axis=1), (skip.shape, top, left)\n"
SKIP_BACK = "    return grad[:, channels:].copy(), grad_skip\n"
LOG_SOFTMAX = piece("    shifted = logits", "keepdims=True))\n")
SHARES = piece("    total = shares.sum()", "(total if total > 0 else 1)\n")
LOSS_BACK = "    return float(grad) * shares[:, None] * (np.exp(log_p) - one_hot)\n"
DICE_BACK = "    return float(grad) * p * (by_p - (p * by_p).sum(axis=1, keepdims=True))\n"
BY_P = "    by_p = -(2 * g / below - above * 2 * p / below**2) / above.size\n"
WINDOW_ADD = piece("            total[(slice(None), *place)] += answer", "count[place] += 1\n")

KEPT = piece("    return out, (x, weight, bias is", "stride, padding, shape = cache\n")

BUGS = [
    # -- 1. scores
    Bug(
        "confusion matrix with predictions as rows",
        cause="rows and columns exchanged",
        old="np.bincount(rows * num_classes + columns,",
        new="np.bincount(columns * num_classes + rows,",
    ),
    Bug(
        "confusion matrix by m[rows, columns] += 1",
        cause="repeated pixels counted once",
        old=COUNTS,
        new="""    rows, columns = targets[counted], predicted[counted]
    counts = np.zeros((num_classes, num_classes), np.int64)
    counts[rows, columns] += 1
    return counts
""",
    ),
    Bug(
        "ignored pixels counted as class 0",
        cause="ignored pixels counted",
        old=COUNTS,
        new="""    targets = np.where(counted, targets, 0)
    rows, columns = targets.ravel().astype(np.int64), predicted.ravel().astype(np.int64)
    counts = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)
""",
    ),
    Bug(
        "masks of bytes multiplied as bytes",
        cause="overflow of uint8",
        old=piece("    rows, columns = targets[counted]", "\n"),
        new="    rows, columns = targets[counted], predicted[counted]\n",
    ),
    Bug(
        "union without subtracting the intersection",
        cause="intersection counted twice",
        old="iou = hits / (truth + predicted - hits)",
        new="iou = hits / (truth + predicted)",
    ),
    Bug(
        "accuracy of a class divided by its predictions",
        cause="precision instead of accuracy",
        old="accuracy = hits / truth",
        new="accuracy = hits / predicted",
    ),
    Bug(
        "absent classes get IoU 0",
        cause="absent classes counted as 0",
        old="iou = hits / (truth + predicted - hits)",
        new="iou = hits / np.maximum(truth + predicted - hits, 1)",
    ),
    Bug(
        "mean IoU only over classes that are in the truth",
        cause="class without truth left out",
        old='"mean_iou": np.nanmean(iou)',
        new='"mean_iou": np.nanmean(iou[truth > 0])',
    ),
    Bug(
        "frequencies taken from the predictions",
        cause="weights from the predictions",
        old="np.nansum(truth * iou) / truth.sum()",
        new="np.nansum(predicted * iou) / truth.sum()",
    ),
    # -- 2. resizing
    Bug(
        "nearest rounds",
        cause="rounded instead of cut",
        old=piece("    rows = np.arange(size[0])", "width // size[1]\n"),
        new="""    rows, columns = (
        np.minimum(np.round(np.arange(m) * n / m), n - 1).astype(int)
        for n, m in ((height, size[0]), (width, size[1]))
    )
""",
    ),
    Bug(
        "nearest backward overwrites",
        cause="overwritten instead of added",
        old=NEAREST_BACK,
        new="    grad_x[:, :, rows[:, None], columns] = grad\n",
    ),
    Bug(
        "nearest backward averages the copies",
        cause="mean instead of sum",
        old=NEAREST_BACK,
        new=NEAREST_BACK
        + """    times = np.bincount(rows, minlength=shape[2])[:, None] * np.bincount(
        columns, minlength=shape[3]
    )
    grad_x = grad_x / np.maximum(times, 1)
""",
    ),
    Bug(
        "positions without half pixels",
        cause="half a pixel forgotten",
        old=EDGE,
        new="    return np.clip(places * n / out, 0, n - 1)\n",
    ),
    Bug(
        "positions beyond the edge",
        cause="not moved to the edge",
        old=EDGE,
        new="    return (places + 0.5) * n / out - 0.5\n",
    ),
    Bug(
        "aligned corners with n / out",
        cause="steps counted as pixels",
        old="places * ((n - 1) / max(out - 1, 1))",
        new="places * ((n - 1) / out)",
    ),
    Bug(
        "align_corners the other way round",
        cause="align_corners the other way",
        old="    if align_corners:\n",
        new="    if not align_corners:\n",
    ),
    Bug(
        "aligned corners of a single pixel",
        cause="one pixel: 0 / 0",
        old="places * ((n - 1) / max(out - 1, 1))",
        new="places * (np.float64(n - 1) / (out - 1))",
    ),
    Bug(
        "bilinear: the farther pixel has the larger share",
        cause="shares exchanged",
        old="    return before, after, positions - before\n",
        new="    return before, after, 1 - (positions - before)\n",
    ),
    Bug(
        "bilinear: the pixel after the last one",
        cause="IndexError",
        old="    after = np.minimum(before + 1, n - 1)\n",
        new="    after = before + 1\n",
    ),
    Bug(
        "bilinear backward with += on repeated indices",
        cause="overwritten instead of added",
        old=BILINEAR_BACK,
        new="        grad_x[:, :, r[:, None], c] += grad * share\n",
    ),
    Bug(
        "bilinear backward hands everything to one pixel",
        cause="shares forgotten",
        old="""    for r, c, share in corners:
        np.add.at(grad_x, (slice(None), slice(None), r[:, None], c), grad * share)
""",
        new="""    r, c, _ = corners[0]
    np.add.at(grad_x, (slice(None), slice(None), r[:, None], c), grad)
""",
    ),
    Bug(
        "bilinear in float64 whatever comes",
        cause="wrong dtype",
        old=piece(
            "        (top, left, np.outer(1 - down", "np.outer(down, across).astype(x.dtype)),\n"
        ),
        new=piece(
            "        (top, left, np.outer(1 - down", "np.outer(down, across).astype(x.dtype)),\n"
        ).replace(".astype(x.dtype)", ""),
    ),
    # -- 3. unpooling
    Bug(
        "index of the maximum within its window",
        cause="index within the window",
        old="return windows.max(axis=0), rows * width + columns",
        new="return windows.max(axis=0), winner",
    ),
    Bug(
        "index counts in rows of the output",
        cause="width of the output",
        old="return windows.max(axis=0), rows * width + columns",
        new="return windows.max(axis=0), rows * across + columns",
    ),
    Bug(
        "the last of equal elements wins",
        cause="last of equal elements",
        old="    winner = windows.argmax(axis=0)\n",
        new="    winner = k * k - 1 - windows[::-1].argmax(axis=0)\n",
    ),
    Bug(
        "stride of the pooling ignored",
        cause="stride ignored",
        old="    k, stride = kernel_size, stride or kernel_size\n",
        new="    k = stride = kernel_size\n",
    ),
    Bug(
        "pooling backward overwrites",
        cause="overwritten instead of added",
        old=POOL_BACK,
        new="    planes[plane, indices.reshape(n * c, -1)] += grad.reshape(n * c, -1)\n",
    ),
    Bug(
        "pooling backward forgets the planes",
        cause="first plane everywhere",
        old=POOL_BACK,
        new="    np.add.at(planes.reshape(-1), indices.ravel(), grad.ravel())\n",
    ),
    Bug("overlaps lose an element in silence", cause="overlap not refused", old=REFUSED, new=""),
    Bug(
        "equal indices of different planes refused",
        cause="planes mixed up",
        old=REFUSED,
        new="""    if len(np.unique(indices)) < indices.size:
        raise ValueError("overlap")
""",
    ),
    Bug(
        "unpooling backward reads the first plane",
        cause="first plane everywhere",
        old=TAKEN,
        new="    return grad.ravel()[indices]\n",
    ),
    Bug(
        "unpooling guesses the size",
        cause="size ignored",
        old="    places = indices.reshape(n * c, -1)\n    if (np.diff(",
        new="""    places = indices.reshape(n * c, -1)
    size = (2 * x.shape[2], size[1])
    if (np.diff(""",
    ),
    # -- 4. transposed convolution
    Bug(
        "output size with padding added",
        cause="padding added instead of removed",
        old="    return (size - 1) * stride - 2 * padding + kernel + output_padding\n",
        new="    return (size - 1) * stride + 2 * padding + kernel + output_padding\n",
    ),
    Bug(
        "output size without output padding",
        cause="output padding forgotten",
        old="    return (size - 1) * stride - 2 * padding + kernel + output_padding\n",
        new="    return (size - 1) * stride - 2 * padding + kernel\n",
    ),
    Bug(
        "copies of the kernel overwrite each other",
        cause="overwritten instead of added",
        old="steps(j, width, stride)] += copies",
        new="steps(j, width, stride)] = copies",
    ),
    Bug(
        "transposed convolution flips the kernel",
        cause="kernel flipped",
        old='copies = np.einsum("nchw,co->nohw", x, weight[:, :, i, j], optimize=True)',
        new='copies = np.einsum("nchw,co->nohw", x, weight[:, :, -1 - i, -1 - j], optimize=True)',
    ),
    Bug(
        "weight read with outputs first",
        cause="channels of the weight exchanged",
        old='copies = np.einsum("nchw,co->nohw", x, weight[:, :, i, j], optimize=True)',
        new='copies = np.einsum("nchw,oc->nohw", x, weight[:, :, i, j], optimize=True)',
    ),
    Bug(
        "output padding appended as zeros",
        cause="output padding of zeros",
        old=TRANSPOSED_OUT,
        new="""    oh = conv_transpose_output_size(height, kh, stride, padding, 0)
    ow = conv_transpose_output_size(width, kw, stride, padding, 0)
    out = large[:, :, padding : padding + oh, padding : padding + ow]
    out = np.pad(out, ((0, 0), (0, 0), (0, output_padding), (0, output_padding)))
""",
    ),
    Bug(
        "padding not cut off",
        cause="padding not cropped",
        old=TRANSPOSED_OUT,
        new="    out = large\n",
    ),
    Bug(
        "bias added in the loop",
        cause="bias once per kernel element",
        old="        out = out + bias[:, None, None]\n",
        new="        out = out + bias[:, None, None] * kh * kw\n",
    ),
    Bug(
        "gradient to x with the flipped kernel",
        cause="kernel flipped",
        old='"nohw,co->nchw", met, weight[:, :, i, j], optimize=True)',
        new='"nohw,co->nchw", met, weight[:, :, -1 - i, -1 - j], optimize=True)',
    ),
    Bug(
        "cache in a global variable",
        cause="cache shared between calls",
        old=KEPT,
        new=KEPT.replace("    return out, (", "    globals()['LAST'] = (")
        .replace("large.shape)\n", "large.shape)\n    return out, None\n")
        .replace("= cache", "= globals()['LAST']"),
    ),
    Bug(
        "gradient not put back behind the padding",
        cause="border not put back",
        old=PUT_BACK,
        new="    large[:, :, : grad.shape[2], : grad.shape[3]] = grad\n",
    ),
    Bug(
        "gradient to the weight is a mean over the batch",
        cause="divided by N",
        old='grad_weight[:, :, i, j] = np.einsum("nchw,nohw->co", x, met, optimize=True)',
        new='grad_weight[:, :, i, j] = np.einsum("nchw,nohw->co", x, met, optimize=True) / len(x)',
    ),
    Bug(
        "gradient to the bias for each image",
        cause="not summed over the batch",
        old="grad.sum(axis=(0, 2, 3)) if has_bias",
        new="grad.sum(axis=(2, 3)) if has_bias",
    ),
    Bug(
        "kernel with its middle beside the middle",
        cause="another middle of the kernel",
        old="np.abs(np.arange(k) - (k - 1) / 2) / factor",
        new="np.abs(np.arange(k) - (factor - 1)) / factor",
    ),
    Bug(
        "kernel between all channels",
        cause="channels mixed",
        old="    return np.eye(channels)[:, :, None, None] * np.outer(tent, tent)\n",
        new="    return np.ones((channels, channels, 1, 1)) * np.outer(tent, tent)\n",
    ),
    Bug(
        "kernel normalised to the sum 1",
        cause="normalised",
        old="    return np.eye(channels)[:, :, None, None] * np.outer(tent, tent)\n",
        new="    tent = tent / tent.sum()\n"
        "    return np.eye(channels)[:, :, None, None] * np.outer(tent, tent)\n",
    ),
    Bug(
        "upsampling with the padding of another kernel",
        cause="padding of another size",
        old="stride=factor, padding=factor // 2)[0]",
        new="stride=factor, padding=(factor - 1) // 2)[0]",
    ),
    # -- 5. skip connections
    Bug(
        "crop from the upper left corner",
        cause="cropped at the corner",
        old="    top, left = (height - h) // 2, (width - w) // 2\n",
        new="    top = left = 0\n",
    ),
    Bug(
        "odd rest at the upper left",
        cause="odd rest on the other side",
        old="    top, left = (height - h) // 2, (width - w) // 2\n",
        new="    top, left = (height - h + 1) // 2, (width - w + 1) // 2\n",
    ),
    Bug(
        "crop that ends at minus 0",
        cause="slice that ends at -0",
        old="    cropped = skip[:, :, top : top + h, left : left + w]\n",
        new="""    cropped = skip[:, :, top : top - (height - h), left : left - (width - w)]
    if cropped.size == 0:
        return cropped, (skip.shape, top, left)
""",
    ),
    Bug(
        "channels joined in the other order",
        cause="order of the channels",
        old=SKIP,
        new=SKIP.replace("[cropped, up]", "[up, cropped]"),
    ),
    Bug(
        "gradient split after the wrong channels",
        cause="split at the wrong channel",
        old=SKIP_BACK,
        new="    return grad[:, : grad.shape[1] - channels].copy(), grad_skip\n",
    ),
    Bug(
        "gradient to skip in the size of the crop",
        cause="crop not undone",
        old=SKIP_BACK,
        new="    return grad[:, channels:].copy(), grad[:, :channels].copy()\n",
    ),
    # -- 6. losses
    Bug(
        "cross-entropy divided by all pixels",
        cause="divided by the number of pixels",
        old=SHARES,
        new="    shares = shares / shares.size\n",
    ),
    Bug(
        "cross-entropy: ignored pixels as class 0",
        cause="ignored pixels counted",
        old="    shares = counted.astype(logits.dtype)\n",
        new="    shares = np.ones(targets.shape, logits.dtype)\n",
    ),
    Bug(
        "cross-entropy of nothing is 0 / 0",
        cause="nothing counted",
        old=SHARES,
        new="    shares = shares / shares.sum()\n",
    ),
    Bug(
        "softmax over the rows of the image",
        cause="softmax over another axis",
        old=LOG_SOFTMAX,
        new=LOG_SOFTMAX.replace("axis=1", "axis=2"),
    ),
    Bug(
        "no maximum subtracted",
        cause="overflow of exp",
        old="    shifted = logits - logits.max(axis=1, keepdims=True)\n",
        new="    shifted = logits\n",
    ),
    Bug(
        "log(p + 1e-12)",
        cause="probability clamped",
        old="    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))\n",
        new="    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)\n"
        "    return np.log(p + 1e-12)\n",
    ),
    Bug(
        "gradient of the loss without class weights",
        cause="weights forgotten",
        old="    return -(shares * picked).sum(), (log_p, labels, shares)\n",
        new="    alike = counted / max(counted.sum(), 1)\n"
        "    return -(shares * picked).sum(), (log_p, labels, alike)\n",
    ),
    Bug(
        "gradient at ignored pixels",
        cause="gradient at ignored pixels",
        old=LOSS_BACK,
        new="    one_hot = one_hot * (shares > 0)[:, None]\n"
        "    shares = np.where(shares > 0, shares, shares.max())\n" + LOSS_BACK,
    ),
    Bug(
        "gradient of the loss ignores grad",
        cause="grad forgotten",
        old=LOSS_BACK,
        new=LOSS_BACK.replace("float(grad) * ", ""),
    ),
    Bug(
        "Dice without the factor 2",
        cause="factor 2 forgotten",
        old="    above = 2 * (p * g)",
        new="    above = (p * g)",
    ),
    Bug(
        "Dice with p instead of its square",
        cause="p instead of p squared",
        old="    below = (p**2 + g)",
        new="    below = (p + g)",
    ),
    Bug(
        "Dice over the whole batch",
        cause="sums over the batch",
        old=piece("    above = 2 * (p * g)", "keepdims=True) + smooth\n    below")
        + " = (p**2 + g).sum(axis=(2, 3), keepdims=True) + smooth\n",
        new="""    above = 2 * (p * g).sum(axis=(0, 2, 3), keepdims=True) + smooth
    below = (p**2 + g).sum(axis=(0, 2, 3), keepdims=True) + smooth
""",
    ),
    Bug(
        "Dice: smooth only below",
        cause="smooth on one side",
        old="    above = 2 * (p * g).sum(axis=(2, 3), keepdims=True) + smooth\n",
        new="    above = 2 * (p * g).sum(axis=(2, 3), keepdims=True)\n",
    ),
    Bug(
        "Dice backward ends at the probabilities",
        cause="softmax not differentiated",
        old=DICE_BACK,
        new="    return float(grad) * by_p\n",
    ),
    Bug(
        "Dice backward with the derivative of a sigmoid",
        cause="softmax as if it were a sigmoid",
        old=DICE_BACK,
        new="    return float(grad) * by_p * p * (1 - p)\n",
    ),
    Bug(
        "Dice backward: the denominator is a constant",
        cause="denominator taken as constant",
        old=BY_P,
        new="    by_p = -(2 * g / below) / above.size\n",
    ),
    # -- 7. large images
    Bug(
        "zeros beyond the border of the image",
        cause="zeros beyond the border",
        old='        mode="reflect",\n',
        new='        mode="constant",\n',
    ),
    Bug(
        "border row repeated in the mirror image",
        cause="border row repeated",
        old='        mode="reflect",\n',
        new='        mode="symmetric",\n',
    ),
    Bug(
        "tiles at the end left out",
        cause="last tiles missing",
        old="    return np.concatenate(rows, axis=1)[:, :height, :width]\n",
        new="""    result = np.concatenate(rows, axis=1)[:, :height, :width]
    result[:, height // tile * tile :] = 0
    result[:, :, width // tile * tile :] = 0
    return result
""",
    ),
    Bug(
        "the tile taken from the corner of the answer",
        cause="middle of the answer missed",
        old="        middle = slice(context, context + tile)\n",
        new="        middle = slice(0, tile)\n",
    ),
    Bug(
        "windows added up, not averaged",
        cause="not divided by the count",
        old="    return total / count\n",
        new="    return total\n",
    ),
    Bug(
        "windows overwrite each other",
        cause="overwritten instead of averaged",
        old=WINDOW_ADD,
        new="            total[(slice(None), *place)] = answer\n            count[place] = 1\n",
    ),
    Bug(
        "no window at the border",
        cause="border not covered",
        old="        starts.append(size - window)\n",
        new="        pass\n",
    ),
    # -- 8. a network that trains
    Bug(
        "network: no ReLU after the first convolution",
        cause="ReLU forgotten",
        old="    down = np.maximum(down, 0)\n",
        new="",
    ),
    Bug(
        "network backward: no mask of the second ReLU",
        cause="ReLU forgotten in the backward",
        old="    grad = grad * (bottom > 0)\n",
        new="",
    ),
    Bug(
        "network backward: the skip connection has no gradient",
        cause="one of two ways forgotten",
        old="    grad_down = grad_down + max_pool2d_backward(",
        new="    grad_down = max_pool2d_backward(",
    ),
    Bug(
        "training: the gradient of Dice left out",
        cause="gradient of Dice forgotten",
        old="cross_entropy_backward(1.0, first_cache) + dice_backward(1.0, second_cache)",
        new="cross_entropy_backward(1.0, first_cache)",
    ),
    Bug(
        "training: uphill",
        cause="uphill",
        old="            params[name] -= rate * gradient\n",
        new="            params[name] += rate * gradient\n",
    ),
    Bug(
        "training: new arrays in the dict",
        cause="parameters not changed",
        old="            params[name] -= rate * gradient\n",
        new="            params[name] = params[name] - rate * gradient\n",
    ),
    Bug(
        "training: steps without the weights of classes",
        cause="weights forgotten",
        old="cross_entropy_forward(logits, targets, weight)\n        second",
        new="cross_entropy_forward(logits, targets)\n        second",
    ),
]
