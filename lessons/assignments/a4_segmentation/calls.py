"""How the checks call segmentation.py. It is part of the handout, and knows no answers.

Each function here runs in a fresh process of its own beside the submission, of which
`student.segmentation` is the module. Whatever it returns goes back to the check.
"""

import numpy as np


def confusion_matrix(student, predicted, targets, num_classes, **options):
    matrix = student.segmentation.confusion_matrix(predicted, targets, num_classes, **options)
    return {"matrix": matrix}


def scores(student, matrix):
    return dict(student.segmentation.segmentation_scores(matrix))


def nearest(student, x, size, grad):
    out, cache = student.segmentation.nearest_forward(x, tuple(size))
    return {"out": out, "grad_x": student.segmentation.nearest_backward(grad, cache)}


def positions(student, n, out, align_corners):
    """source_positions, for lists of arguments."""
    found = [
        student.segmentation.source_positions(*three)
        for three in zip(n, out, align_corners, strict=True)
    ]
    return {f"positions {i}": value for i, value in enumerate(found)}


def bilinear(student, x, rows, columns, grad=None):
    out, cache = student.segmentation.bilinear_forward(x, rows, columns)
    result = {"out": out}
    if grad is not None:
        result["grad_x"] = student.segmentation.bilinear_backward(grad, cache)
    return result


def resize(student, x, size, align_corners, grad):
    """source_positions along both axes, then bilinear_forward there, and back."""
    rows, columns = (
        student.segmentation.source_positions(n, out, align_corners)
        for n, out in zip(x.shape[2:], size, strict=True)
    )
    return bilinear(student, x, rows, columns, grad)


def max_pool(student, x, kernel_size, stride=None, grad=None):
    out, indices = student.segmentation.max_pool2d_forward(x, kernel_size, stride)
    result = {"out": out, "indices": indices}
    if grad is not None:
        size = x.shape[2:]
        result["grad_x"] = student.segmentation.max_pool2d_backward(grad, indices, size)
    return result


def max_pool_gradient(student, grad, indices, size):
    return {"grad_x": student.segmentation.max_pool2d_backward(grad, indices, tuple(size))}


def max_unpool(student, x, indices, size, grad=None):
    """Whether it was refused (ValueError), and if not, what came."""
    try:
        out = student.segmentation.max_unpool2d_forward(x, indices, tuple(size))
    except ValueError as error:
        return {"refused": True, "message": str(error)}
    result = {"refused": False, "out": out}
    if grad is not None:
        result["grad_x"] = student.segmentation.max_unpool2d_backward(grad, indices)
    return result


def transpose_sizes(student, size, kernel, stride, padding, output_padding):
    """conv_transpose_output_size, for lists of arguments."""
    cases = zip(size, kernel, stride, padding, output_padding, strict=True)
    return {"sizes": [student.segmentation.conv_transpose_output_size(*case) for case in cases]}


def conv_transpose(student, x, weight, bias=None, grad=None, other=None, **options):
    """Forward and, where grad is given, backward; in between, forward of another x."""
    out, cache = student.segmentation.conv_transpose2d_forward(x, weight, bias, **options)
    result = {"out": out}
    if other is not None:
        student.segmentation.conv_transpose2d_forward(other, weight, bias, **options)
    if grad is not None:
        gx, gw, gb = student.segmentation.conv_transpose2d_backward(grad, cache)
        result |= {"grad_x": gx, "grad_weight": gw, "grad_bias": gb}
    return result


def kernel(student, channels, factor):
    return {"weight": student.segmentation.bilinear_kernel(channels, factor)}


def upsample(student, x, factor):
    return {"out": student.segmentation.upsample(x, factor)}


def skip(student, up, skip, grad=None):
    out, cache = student.segmentation.skip_forward(up, skip)
    result = {"out": out}
    if grad is not None:
        result["grad_up"], result["grad_skip"] = student.segmentation.skip_backward(grad, cache)
    return result


def cross_entropy(student, logits, targets, grad=None, **options):
    loss, cache = student.segmentation.cross_entropy_forward(logits, targets, **options)
    result = {"loss": loss}
    if grad is not None:
        result["grad_logits"] = student.segmentation.cross_entropy_backward(grad, cache)
    return result


def dice(student, logits, targets, grad=None, **options):
    loss, cache = student.segmentation.dice_forward(logits, targets, **options)
    result = {"loss": loss}
    if grad is not None:
        result["grad_logits"] = student.segmentation.dice_backward(grad, cache)
    return result


def filtered(piece, kernels):
    """A network of one layer: kernels (K, C, s, s) over a piece (C, h, w), zeros around it."""
    if np.ndim(piece) != 3:
        raise ValueError(f"network takes one piece (C, t, t), not an array of {np.shape(piece)}")
    reach = kernels.shape[-1] // 2
    padded = np.pad(piece, ((0, 0), (reach, reach), (reach, reach)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[2:], axis=(1, 2))
    return np.einsum("chwij,kcij->khw", windows, kernels)


def tiles(student, image, kernels, tile, context):
    """predict_tiles with a network of one layer; and the sizes of the pieces that it was shown."""
    sizes = []

    def network(piece):
        sizes.append(np.shape(piece))
        return filtered(piece, kernels)

    out = student.segmentation.predict_tiles(network, image, tile, context)
    return {"out": out, "pieces": np.array(sizes)}


def windows(student, image, matrix, window, stride):
    """predict_windows with a network that mixes channels, and is surer in the middle of a piece."""
    sizes = []

    def network(piece):
        sizes.append(np.shape(piece))
        ramps = [np.minimum(np.arange(n) + 1, n - np.arange(n)) for n in piece.shape[1:]]
        return np.einsum("kc,chw->khw", matrix, piece) * np.outer(*ramps)

    out = student.segmentation.predict_windows(network, image, window, stride)
    return {"out": out, "pieces": np.array(sizes)}


def unet(student, x, grad=None, **params):
    logits, cache = student.segmentation.unet_forward(params, x)
    result = {"logits": logits}
    if grad is not None:
        grads = student.segmentation.unet_backward(grad, cache)
        result |= {f"gradient of {name}": value for name, value in grads.items()}
    return result


def train(student, x, targets, steps, rate, weight=None, **params):
    losses = student.segmentation.train(params, x, targets, steps, rate, weight)
    logits, _ = student.segmentation.unet_forward(params, x)
    return {"losses": [float(loss) for loss in losses], "logits": logits} | params
