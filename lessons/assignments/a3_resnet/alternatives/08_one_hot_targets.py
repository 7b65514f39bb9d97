"""Targets as a matrix, parameters initialised by name, sequential shortcuts."""

import math

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl import nn


def he_normal_(weight, rng):
    fan_out = weight.numel() // weight.shape[1]
    values = rng.normal(0.0, (2.0 / fan_out) ** 0.5, size=weight.shape)
    with md.no_grad():
        weight[...] = md.tensor(values.astype(weight.dtype))


def initialise(net, rng):
    if isinstance(net, nn.Conv2d):
        he_normal_(net.weight, rng)
        if net.bias is not None:
            net.bias.data.fill(0)
    if isinstance(net, nn.BatchNorm2d):
        net.weight.data.fill(1)
        net.bias.data.fill(0)
    if isinstance(net, nn.Linear):
        net.weight.data[:] = rng.normal(0, 0.01, net.weight.shape)
        if net.bias is not None:
            net.bias.data.fill(0)
    for child in net.children():
        initialise(child, rng)


def zero_last_scales(net):
    last = {BasicBlock: "bn2", Bottleneck: "bn3"}
    for module in net.modules():
        name = last.get(type(module))
        if name:
            getattr(module, name).weight.data.fill(0)


def pad_shortcut(x, planes, stride):
    small = F.avg_pool2d(x, 1, stride)
    missing = planes - small.shape[1]
    if not missing:
        return small
    rows = small.swapaxes(0, 1)
    left, right = missing // 2, missing - missing // 2
    return F.pad(rows, (0, 0, 0, 0, 0, 0, left, right)).swapaxes(0, 1)


class PadShortcut(nn.Module):
    def __init__(self, planes, stride):
        super().__init__()
        self.planes = planes
        self.stride = stride

    def forward(self, x):
        return pad_shortcut(x, self.planes, self.stride)


def make_shortcut(option, in_planes, planes, stride):
    kinds = {"A": "pad", "B": "project", "C": "project"}
    kind = kinds[option]
    if option in "AB" and stride == 1 and planes == in_planes:
        kind = "same"
    module = nn.Sequential()
    if kind == "pad":
        module.append(PadShortcut(planes, stride))
    if kind == "project":
        module.add_module("0", nn.Conv2d(in_planes, planes, 1, stride, 0, bias=False))
        module.add_module("1", nn.BatchNorm2d(planes))
    return module


class Unit(nn.Module):
    """Convolutions of these sizes, in turn, each with its BatchNorm."""

    sizes = ()  # of the kernel, and the channels / planes
    strided = 1  # which convolution has the stride
    expansion = 1

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        before = in_planes
        for number, (size, factor) in enumerate(self.sizes, 1):
            step = stride if number == self.strided else 1
            conv = nn.Conv2d(before, planes * factor, size, step, size // 2, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(planes * factor))
            before = planes * factor
        self.add_module("shortcut", make_shortcut(option, in_planes, before, stride))

    def last_norm(self):
        return self.get_submodule(f"bn{len(self.sizes)}")

    def forward(self, x):
        out = x
        for number in range(1, len(self.sizes) + 1):
            if number > 1:
                out = F.relu(out)
            out = self.get_submodule(f"conv{number}")(out)
            out = self.get_submodule(f"bn{number}")(out)
        return F.relu(self.shortcut(x) + out)


class BasicBlock(Unit):
    sizes = ((3, 1), (3, 1))


class Bottleneck(Unit):
    sizes = ((1, 1), (3, 1), (1, 4))
    strided = 2
    expansion = 4


class PreActBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.shortcut = None
        self.pad = None
        if (in_planes, 1) != (planes, stride):
            if option == "A":
                self.pad = (planes, stride)
            else:
                self.shortcut = nn.Conv2d(in_planes, planes, 1, stride, bias=False)

    def forward(self, x):
        a = self.bn1(x).relu()
        out = self.conv2(self.bn2(self.conv1(a)).relu())
        if self.shortcut is not None:
            return out + self.shortcut(a)
        return out + (x if self.pad is None else pad_shortcut(x, *self.pad))


def blocks_per_stage(depth):
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError("depth must be 6 n + 2")
    return n


def count_parameters(net):
    return int(sum(p.numel() for p in net.parameters()))


class CifarResNet(nn.Module):
    def __init__(self, n, num_classes=10, option="A", in_channels=3, width=16, preact=False):
        super().__init__()
        self.kind = PreActBlock if preact else BasicBlock
        self.option = option
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * 4 if preact else width)
        self.layer1 = self.stage(n, width, width, 1)
        self.layer2 = self.stage(n, width, 2 * width, 2)
        self.layer3 = self.stage(n, 2 * width, 4 * width, 2)
        self.linear = nn.Linear(4 * width, num_classes)

    def stage(self, n, before, planes, stride):
        first = self.kind(before, planes, stride, self.option)
        return nn.Sequential(
            first, *(self.kind(planes, planes, 1, self.option) for _ in range(n - 1))
        )

    def forward(self, x):
        x = self.conv1(x)
        before = self.kind is BasicBlock
        x = F.relu(self.bn1(x)) if before else x
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
        x = x if before else F.relu(self.bn1(x))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def smooth_cross_entropy(logits, targets, smoothing=0.0):
    n, k = logits.shape
    q = np.full((n, k), smoothing / k)
    q[np.arange(n), targets] += 1 - smoothing
    return -(md.tensor(q.astype(logits.dtype)) * F.log_softmax(logits, 1)).sum() / n


def topk_accuracy(logits, targets, k=1):
    own = logits[np.arange(len(targets)), targets][:, None]
    earlier = np.arange(logits.shape[1]) < targets[:, None]
    better = (logits > own) | ((logits == own) & earlier)
    return float(np.mean(better.sum(axis=1) < k))


def parameter_groups(net, weight_decay):
    decay = [p for p in net.parameters() if p.ndim in (2, 4)]
    rest = [p for p in net.parameters() if p.ndim == 1]
    return [
        {"params": decay, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


class SGD:
    def __init__(self, groups, lr, momentum=0.0, nesterov=False):
        self.lr = lr
        self.mu = momentum
        self.look_ahead = nesterov
        self.flat = []
        for group in groups:
            for p in group["params"]:
                self.flat.append([p, group["weight_decay"], md.zeros(p.shape, dtype=p.dtype)])

    def zero_grad(self):
        for p, _, _ in self.flat:
            p.grad = None

    def step(self):
        with md.no_grad():
            for entry in self.flat:
                p, decay, v = entry
                if p.grad is not None:
                    g = p.grad + decay * p
                    v = self.mu * v + g
                    entry[2] = v
                    p -= self.lr * (g + self.mu * v if self.look_ahead else v)


def clip_grad_norm(parameters, max_norm):
    parameters = list(parameters)
    squares = 0.0
    for p in parameters:
        if p.grad is not None:
            for value in p.grad.numpy().ravel():
                squares += float(value) ** 2
    norm = squares**0.5
    factor = min(1.0, max_norm / (norm + 1e-12))
    for p in parameters:
        if p.grad is not None:
            p.grad.data[...] = p.grad.data * factor
    return norm


def step_schedule(step, lr, milestones, gamma=0.1):
    passed = int((np.array(milestones, dtype=float) <= step).sum())
    return float(lr * np.power(float(gamma), passed))


def warmup_cosine(step, lr, warmup, total, final=0.0):
    if step >= total:
        return float(final)
    if step >= warmup:
        left = (total - step) / (total - warmup)
        return float(final + (lr - final) * np.sin(np.pi * left / 2) ** 2)
    return float(np.linspace(lr / warmup, lr, warmup)[step])


def channel_statistics(images):
    count = images.size / images.shape[1]
    means, stds = [], []
    for c in range(images.shape[1]):
        x = images[:, c].astype(np.float64).ravel()
        mean = math.fsum(x) / count
        means.append(mean)
        stds.append(math.sqrt(math.fsum((x - mean) ** 2) / count))
    return np.array(means), np.array(stds)


def normalise(images, mean, std):
    shape = (1, -1, 1, 1)
    scale = np.ones_like(std, dtype=np.float64)
    np.divide(1.0, std, out=scale, where=std != 0)
    x = images.astype(np.float64) - np.asarray(mean, dtype=np.float64).reshape(shape)
    return np.float32(x * scale.reshape(shape))


def prepare(train, test):
    mean, std = channel_statistics(train)
    joined = normalise(np.concatenate([train, test]), mean, std)
    return joined[: len(train)], joined[len(train) :]


def augment(images, pad, rng, flip=True):
    n, _, h, w = images.shape
    top = rng.integers(0, 2 * pad + 1, n)
    left = rng.integers(0, 2 * pad + 1, n)
    coins = rng.random(n) if flip else np.ones(n)
    out = np.zeros_like(images)
    for i, (t, l, coin) in enumerate(zip(top, left, coins, strict=True)):
        dy, dx = int(t) - pad, int(l) - pad  # out[y, x] = image[y + dy, x + dx]
        y0, y1 = max(0, -dy), min(h, h - dy)
        x0, x1 = max(0, -dx), min(w, w - dx)
        if y0 < y1 and x0 < x1:
            out[i, :, y0:y1, x0:x1] = images[i, :, y0 + dy : y1 + dy, x0 + dx : x1 + dx]
        if coin < 0.5:
            out[i] = np.flip(out[i], -1).copy()
    return out


def train_epoch(
    net,
    loss_function,
    optimizer,
    images,
    labels,
    batch_size,
    rng,
    schedule=None,
    first_step=0,
    max_norm=None,
):
    net.train(True)
    queue = list(rng.permutation(len(labels)))
    step, losses = first_step, []
    while queue:
        batch, queue = queue[:batch_size], queue[batch_size:]
        scores = net(md.tensor(images[batch]))
        loss = loss_function(scores, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        if schedule:
            optimizer.lr = schedule(step)
        if max_norm is not None:
            clip_grad_norm(list(net.parameters()), max_norm)
        optimizer.step()
        losses += [float(loss.item())] * len(batch)
        step += 1
    return float(np.mean(losses))


def evaluate(net, images, labels, batch_size=100, k=1):
    mode = net.training
    net.train(False)
    right = 0.0
    try:
        with md.no_grad():
            for start in range(0, len(images), batch_size):
                part = slice(start, start + batch_size)
                scores = net(md.tensor(images[part])).numpy()
                right += topk_accuracy(scores, labels[part], k) * len(scores)
    finally:
        net.train(mode)
    return round(right) / len(images)


def fit(
    net,
    images,
    labels,
    epochs,
    batch_size,
    lr,
    momentum=0.9,
    weight_decay=1e-4,
    warmup_epochs=0,
    smoothing=0.0,
    max_norm=None,
    augmentation=None,
    seed=0,
):
    rng = np.random.default_rng(seed)
    per_epoch = -(-len(images) // batch_size)
    rates = [
        warmup_cosine(s, lr, warmup_epochs * per_epoch, epochs * per_epoch)
        for s in range(epochs * per_epoch)
    ]
    optimizer = SGD(parameter_groups(net, weight_decay), rates[0], momentum, True)
    losses = []
    for epoch in range(epochs):
        batch = images.copy()
        if augmentation is not None:
            batch = augmentation(batch, rng)
        loss = train_epoch(
            net,
            lambda scores, y: smooth_cross_entropy(scores, y, smoothing),
            optimizer,
            batch,
            labels,
            batch_size,
            rng,
            schedule=rates.__getitem__,
            first_step=epoch * per_epoch,
            max_norm=max_norm,
        )
        losses.append(loss)
    return losses
