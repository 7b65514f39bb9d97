"""Training steps with the GPU's kernels, executed on the CPU: equal to the CPU's, and no waiting.

The device "strict" (the stand-in for CuPy, on which a hidden synchronisation is an error) gets the
CUDA C kernels in place of the plain ones.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.models.classification.lenet import lenet5
from minidl.models.classification.resnet_cifar import resnet20
from minidl.nn import functional as F

from ... import strict_cupy
from .common import needs_compiler

pytestmark = needs_compiler


def small_network():
    """The layers that the other two networks do not have."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.Hardswish(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.GELU(),
        nn.MaxPool2d(3, 2, 1),
        nn.SiLU(),
        nn.Upsample(scale_factor=2.0, mode="bilinear"),
        nn.AvgPool2d(2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 5),
    )


def train(make, optimizer, shape, device, steps=2):
    """Losses and parameters after some steps on random pictures, from the same start everywhere."""
    md.manual_seed(0)
    model = make().to(device)
    update = optimizer(model.parameters())
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        x = md.Tensor(rng.standard_normal(shape).astype(np.float32), device=device)
        target = md.Tensor(rng.integers(0, 5, len(x)), device=device)
        loss = F.cross_entropy(model(x), target, label_smoothing=0.1)
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.detach())
    return losses, list(model.parameters())


def sgd(parameters):
    return md.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)


def adam(parameters):
    return md.optim.AdamW(parameters, lr=1e-3, eps=1e-4)


CASES = {
    "LeNet-5": (lenet5, sgd, (3, 1, 28, 28), {"conv.cu", "pool.cu", "optim.cu"}),
    "ResNet-20": (resnet20, sgd, (3, 3, 8, 8), {"conv.cu", "norm.cu", "optim.cu"}),
    "small": (
        small_network,
        adam,
        (3, 2, 8, 8),
        {"conv.cu", "norm.cu", "pool.cu", "optim.cu", "resample.cu", "random.cu", "activation.cu"}
        | {"depthwise.cu", "depthwise_weight.cu"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_training_steps_equal_those_on_the_cpu(gpu, name):
    make, optimizer, shape, files = CASES[name]
    losses, parameters = train(make, optimizer, shape, "cpu")
    with strict_cupy.forbid_sync():
        mine, others = train(make, optimizer, shape, "strict")
    used = {file for _, file, _ in gpu._modules}
    assert files | {"cross_entropy.cu", "cross_entropy_grad.cu"} <= used
    for a, b in zip([*mine, *others], [*losses, *parameters], strict=True):
        expected = b.detach().numpy()
        found = gpu.to_host(a.data)
        assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


def train_in_mixed_precision(device, steps=2):
    """Losses, parameters and the scale after some steps under autocast, with a gradient scaler."""
    md.manual_seed(0)
    model = small_network().to(device)
    update = adam(model.parameters())
    scaler = md.amp.GradScaler(device, 2.0**10)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        x = md.Tensor(rng.standard_normal((3, 2, 8, 8)).astype(np.float32), device=device)
        target = md.Tensor(rng.integers(0, 5, len(x)), device=device)
        with md.autocast(device):
            scores = model(x)
            loss = F.cross_entropy(scores, target) + scores.softmax(1).sum()
        update.zero_grad()
        scaler.scale(loss).backward()
        with strict_cupy.allow_sync():  # its one look at the flag
            scaler.step(update)
        scaler.update()
        losses.append(loss.detach())
    return losses, list(model.parameters()), scaler


@pytest.mark.slow
def test_steps_in_mixed_precision_equal_those_on_the_cpu(gpu):
    losses, parameters, scaler = train_in_mixed_precision("cpu")
    strict_cupy.syncs.clear()
    mine, others, other_scaler = train_in_mixed_precision("strict")
    assert not strict_cupy.syncs
    files = {file for _, file, defines in gpu._modules if ("real", "__half") in defines}
    expected = {"im2col.cu", "depthwise.cu", "depthwise_weight.cu", "norm.cu", "pool.cu"}
    assert expected | {"activation.cu", "resample.cu"} <= files
    assert "softmax.cu" in {file for _, file, _ in gpu._modules}
    assert "scaling.cu" in {file for _, file, _ in gpu._modules}
    assert "conv.cu" not in files
    for a, b in zip([*mine, *others], [*losses, *parameters], strict=True):
        expected = b.detach().numpy()
        found = gpu.to_host(a.data)
        assert found.dtype == expected.dtype == np.float32
        assert np.abs(found - expected).max() <= 1e-2 * max(1.0, np.abs(expected).max())
    assert other_scaler.get_scale() == scaler.get_scale()
