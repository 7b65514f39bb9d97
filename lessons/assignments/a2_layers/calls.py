"""How the checks use layers.py: each function runs one layer and hands back all it gave.

This runs beside the submission and knows no answers. Every call is a new process, so two calls
share nothing.
"""

import numpy as np


def linear(student, x, weight, bias, grad=None):
    """linear_forward and, where grad is given, linear_backward."""
    out, cache = student.layers.linear_forward(x, weight, bias)
    result = {"out": out}
    if grad is not None:
        gx, gw, gb = student.layers.linear_backward(grad, cache)
        result |= {"grad_x": gx, "grad_weight": gw, "grad_bias": gb}
    return result


def relu(student, x, grad):
    """relu_forward and relu_backward."""
    out, cache = student.layers.relu_forward(x)
    grad_x = student.layers.relu_backward(grad, cache)
    return {"out": out, "grad_x": grad_x}


def cross_entropy(student, logits, targets, grad=None):
    """cross_entropy_forward and, where grad is given, cross_entropy_backward."""
    loss, cache = student.layers.cross_entropy_forward(logits, targets)
    result = {"loss": loss}
    if grad is not None:
        result["grad_logits"] = student.layers.cross_entropy_backward(grad, cache)
    return result


def conv_output_size(student, size, kernel, stride, padding, dilation):
    """conv_output_size, for lists of arguments."""
    arguments = zip(size, kernel, stride, padding, dilation, strict=True)
    return {"sizes": [student.layers.conv_output_size(*five) for five in arguments]}


def conv2d(student, x, weight, bias=None, grad=None, **options):
    """conv2d_forward and, where grad is given, conv2d_backward."""
    out, cache = student.layers.conv2d_forward(x, weight, bias, **options)
    result = {"out": out}
    if grad is not None:
        gx, gw, gb = student.layers.conv2d_backward(grad, cache)
        result |= {"grad_x": gx, "grad_weight": gw, "grad_bias": gb}
    return result


def two_convolutions(student, x1, weight1, grad1, x2, weight2, grad2, padding):
    """Two conv2d_forward, then their two conv2d_backward, the last layer first."""
    forward, backward = student.layers.conv2d_forward, student.layers.conv2d_backward
    out1, cache1 = forward(x1, weight1, padding=padding)
    out2, cache2 = forward(x2, weight2, padding=padding)
    grad_x2, grad_weight2, _ = backward(grad2, cache2)
    grad_x1, grad_weight1, _ = backward(grad1, cache1)
    return {
        "out1": out1,
        "out2": out2,
        "grad_x1": grad_x1,
        "grad_weight1": grad_weight1,
        "grad_x2": grad_x2,
        "grad_weight2": grad_weight2,
    }


def max_pool2d(student, x, kernel_size, grad=None, **options):
    """max_pool2d_forward and, where grad is given, max_pool2d_backward."""
    out, cache = student.layers.max_pool2d_forward(x, kernel_size, **options)
    result = {"out": out}
    if grad is not None:
        result["grad_x"] = student.layers.max_pool2d_backward(grad, cache)
    return result


def avg_pool2d(student, x, kernel_size, grad=None, **options):
    """avg_pool2d_forward and, where grad is given, avg_pool2d_backward."""
    out, cache = student.layers.avg_pool2d_forward(x, kernel_size, **options)
    result = {"out": out}
    if grad is not None:
        result["grad_x"] = student.layers.avg_pool2d_backward(grad, cache)
    return result


def batch_norm(student, x, weight, bias, running_mean, running_var, training, grad=None, **options):
    """batch_norm_forward and, where grad is given, batch_norm_backward.

    The running statistics are copied here (and below), as they may change: of all other arguments
    the checks ask whether they have been changed.
    """
    running_mean, running_var = running_mean.copy(), running_var.copy()
    out, cache = student.layers.batch_norm_forward(
        x, weight, bias, running_mean, running_var, training, **options
    )
    result = {"out": out}
    if grad is not None:
        gx, gw, gb = student.layers.batch_norm_backward(grad, cache)
        result |= {"grad_x": gx, "grad_weight": gw, "grad_bias": gb}
    return result | {"running_mean": running_mean, "running_var": running_var}


def dropout(student, x, p, training, seed, grad=None):
    """dropout_forward with a new generator, the generator's next number, dropout_backward."""
    rng = np.random.default_rng(seed)
    out, cache = student.layers.dropout_forward(x, p, training, rng)
    result = {"out": out, "next_number": rng.random()}
    if grad is not None:
        result["grad_x"] = student.layers.dropout_backward(grad, cache)
    return result


def group_norm(student, x, num_groups, weight, bias, grad=None, **options):
    """group_norm_forward and, where grad is given, group_norm_backward."""
    out, cache = student.layers.group_norm_forward(x, num_groups, weight, bias, **options)
    result = {"out": out}
    if grad is not None:
        gx, gw, gb = student.layers.group_norm_backward(grad, cache)
        result |= {"grad_x": gx, "grad_weight": gw, "grad_bias": gb}
    return result


def sgd(student, params, velocities, grads, lrs, **options):
    """One sgd_step for each of lrs; grads: the arrays of all steps, one step after the other."""
    params, velocities = ([a.copy() for a in arrays] for arrays in (params, velocities))
    params_of, velocities_of = dict(enumerate(params)), dict(enumerate(velocities))
    for step, lr in enumerate(lrs):
        of_step = dict(enumerate(grads[step * len(params) : (step + 1) * len(params)]))
        student.layers.sgd_step(params_of, of_step, velocities_of, lr, **options)
    return {"params": params, "velocities": velocities}


PARAMS = (
    "conv1.weight",
    "bn.weight",
    "bn.bias",
    "conv2.weight",
    "conv2.bias",
    "fc.weight",
    "fc.bias",
)


def convnet(student, params, mean, var, x, training, p, seed, grad=None):
    """convnet_forward and, where grad is given, convnet_backward; params in the order of PARAMS."""
    params_of = dict(zip(PARAMS, params, strict=True))
    mean, var = mean.copy(), var.copy()
    running = {"mean": mean, "var": var}
    rng = np.random.default_rng(seed)
    logits, cache = student.layers.convnet_forward(params_of, running, x, training, p, rng)
    result = {"logits": logits, "mean": mean, "var": var}
    if grad is not None:
        grads = student.layers.convnet_backward(grad, cache)
        result |= {f"grad of {name}": grads[name] for name in PARAMS}
    return result


def training(student, params, mean, var, x, targets, p, seed, lrs, momentum, weight_decay):
    """As many train_step on one batch as there are lrs."""
    after = {name: param.copy() for name, param in zip(PARAMS, params, strict=True)}
    mean, var = mean.copy(), var.copy()
    params_of, running = dict(after), {"mean": mean, "var": var}
    velocities = {name: np.zeros_like(param) for name, param in params_of.items()}
    rng = np.random.default_rng(seed)
    losses = [
        student.layers.train_step(
            params_of, running, velocities, x, targets, p, rng, lr, momentum, weight_decay
        )
        for lr in lrs
    ]
    return {"losses": losses, "mean": mean, "var": var} | after
