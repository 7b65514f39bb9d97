"""What tests of several segmentation networks share: pictures, learning by heart, torch."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import nn, no_grad, optim, tensor

COLOURS = np.array([[0.0, 0.3, -0.6], [1.0, -0.7, 0.2], [-1.0, 0.5, 0.9]])  # of three classes


def scenes(count, channels, height, width, *, kind="shapes"):
    """Pictures (N, C, H, W) with noise, and what each pixel shows, int64 (N, H, W) below 3.

    kind: "shapes", a square of class 1 and a disc of class 2 before class 0; or "halves", two
    classes side by side or one above the other: what a net can learn that sees coarsely.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((count, height, width), np.int64)
    for i, mask in enumerate(masks):
        if kind == "halves":
            along, size = ((x, width), (y, height))[i % 2]
            mask[...] = np.where(along < size * (0.4 + 0.1 * (i % 3)), i % 3, (i + 1) % 3)
            continue
        side = height // 3
        top, left = rng.integers(0, height // 2 - side + 1), rng.integers(0, width - side + 1)
        mask[top : top + side, left : left + side] = 1
        radius = height / 5
        centre = rng.uniform(radius, width - radius)
        mask[(y - 0.74 * height) ** 2 + (x - centre) ** 2 < radius**2] = 2
    images = np.moveaxis(COLOURS[masks][..., :channels], -1, 1)
    if channels == 1:  # classes differ in brightness
        images = (masks[:, None] - 1.0) * np.ones((1, 1, 1, 1))
    images = images + rng.normal(0, 0.2, (count, channels, height, width))
    return images.astype(np.float32), masks


def middle(masks, size):
    """The middle (N, *size) of masks (N, H, W), for networks that see a margin."""
    top, left = ((n - m) // 2 for n, m in zip(masks.shape[1:], size, strict=True))
    return masks[:, top : top + size[0], left : left + size[1]]


def mean_iou(predicted, truth, classes):
    """The mean over all classes of (in both) / (in either)."""
    found = []
    for c in range(classes):
        a, b = predicted == c, truth == c
        found.append((a & b).sum() / (a | b).sum())
    return float(np.mean(found))


def overfit_scenes(net, images, masks, *, steps, lr):
    """Mean IoU on the pictures that a network has been trained on, in training mode."""
    x = tensor(images)
    optimizer = optim.Adam([p for p in net.parameters() if p.requires_grad], lr=lr)
    loss_of = nn.CrossEntropyLoss()
    net.train()

    def outputs():
        scores = net(x)
        return scores if isinstance(scores, tuple) else (scores,)

    with no_grad():
        masks = middle(masks, outputs()[0].shape[2:])
    labels = tensor(masks)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(loss_of(scores, labels) for scores in outputs()).backward()
        optimizer.step()
    with no_grad():
        return mean_iou(outputs()[0].data.argmax(1), masks, 3)


def shake(net, seed=2):
    """Nothing special in a network: biases that are not 0, statistics that are not 0 and 1."""
    rng = np.random.default_rng(seed)
    for name, p in net.named_parameters():
        if p.ndim == 1:
            low, high = (0.5, 1.5) if name.endswith("weight") else (-0.2, 0.2)
            p.data[...] = rng.uniform(low, high, p.shape)
        elif not p.data.any():  # scores that start at 0
            p.data[...] = rng.normal(0, 0.3, p.shape)
    for name, b in net.named_buffers():
        if name.endswith("running_mean"):
            b.data[...] = rng.normal(0, 0.2, b.shape)
        elif name.endswith("running_var"):
            b.data[...] = rng.uniform(0.5, 1.5, b.shape)
    return net


class Torch:
    """torch's layers with the weights of a network here: `t.conv("down.0.0", x, padding=1)`."""

    def __init__(self, net):
        self.torch = pytest.importorskip(
            "torch", reason="needs torch: pip install minidl[reference]"
        )
        self.F = self.torch.nn.functional
        self.training = net.training
        self.values = {k: self.torch.tensor(v.data) for k, v in net.state_dict().items()}

    def conv(self, name, x, **options):
        v = self.values
        return self.F.conv2d(x, v[f"{name}.weight"], v.get(f"{name}.bias"), **options)

    def deconv(self, name, x, **options):
        v = self.values
        return self.F.conv_transpose2d(x, v[f"{name}.weight"], v.get(f"{name}.bias"), **options)

    def norm(self, name, x):
        mean, var, weight, bias = (
            self.values[f"{name}.{part}"].clone()
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return self.F.batch_norm(x, mean, var, weight, bias, self.training)


def assert_as_in_torch(net, images, forward):
    """Outputs are those of `forward(t, x)`, written with torch, to 1e-4 of the largest, and so are
    gradients by a random cotangent, to 1e-3 of the largest of each parameter.
    """
    t = Torch(net)
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    for name in trained:
        t.values[name].requires_grad_()
    actual, expected = net(tensor(images)), forward(t, t.torch.tensor(images))
    if not isinstance(actual, tuple):
        actual, expected = (actual,), (expected,)
    assert len(actual) == len(expected)
    rng = np.random.default_rng(4)
    losses = []
    for a, e in zip(actual, expected, strict=True):
        host = e.detach().numpy()
        assert a.shape == host.shape
        assert np.abs(a.data - host).max() <= 1e-4 * np.abs(host).max() > 0
        cotangent = rng.normal(size=host.shape).astype(np.float32)
        losses.append(((a * tensor(cotangent)).sum(), (e * t.torch.tensor(cotangent)).sum()))
    net.zero_grad()
    for loss in map(sum, zip(*losses, strict=True)):
        loss.backward()
    gradients = {name: t.values[name].grad.numpy() for name in trained}
    # A bias before batch norm has no gradient but rounding errors.
    least = 1e-5 * max(np.abs(gradient).max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        apart = np.abs(trained[name].grad.data - gradient).max()
        assert apart <= 1e-3 * np.abs(gradient).max() + least, name
