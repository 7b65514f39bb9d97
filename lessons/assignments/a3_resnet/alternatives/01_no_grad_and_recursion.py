"""Tensors changed under no_grad, modules walked by recursion, rates in a list."""

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
    n, c, h, w = x[:, :, ::stride, ::stride].shape
    before = (planes - c) // 2
    after = planes - c - before
    parts = [x[:, :, ::stride, ::stride]]
    if before:
        parts.insert(0, md.zeros((n, before, h, w), dtype=x.dtype))
    if after:
        parts.append(md.zeros((n, after, h, w), dtype=x.dtype))
    return md.cat(parts, 1)


class PadShortcut(nn.Module):
    def __init__(self, planes, stride):
        super().__init__()
        self.planes = planes
        self.stride = stride

    def forward(self, x):
        return pad_shortcut(x, self.planes, self.stride)


class Same(nn.Module):
    def forward(self, x):
        return x


def make_shortcut(option, in_planes, planes, stride):
    same = stride == 1 and in_planes == planes
    if same and option != "C":
        return Same()
    if option == "A":
        return PadShortcut(planes, stride)
    convolution = nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(planes))


def conv3x3(a, b, stride=1):
    return nn.Conv2d(a, b, 3, stride, 1, bias=False)


def conv1x1(a, b):
    return nn.Conv2d(a, b, 1, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        self.shortcut = make_shortcut(option, in_planes, planes, stride)
        self.conv1, self.bn1 = conv3x3(in_planes, planes, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes), nn.BatchNorm2d(planes)

    def last_norm(self):
        return self.bn2

    def forward(self, x):
        way = self.shortcut(x)
        x = self.conv1(x)
        x = self.bn1(x)
        x = md.relu(x)
        x = self.conv2(x)
        x = self.bn2(x)
        return md.relu(way + x)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        self.shortcut = make_shortcut(option, in_planes, 4 * planes, stride)
        self.conv1, self.bn1 = conv1x1(in_planes, planes), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv1x1(planes, 4 * planes), nn.BatchNorm2d(4 * planes)

    def last_norm(self):
        return self.bn3

    def forward(self, x):
        y = x
        for number in (1, 2, 3):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            if number == 3:
                y = y + self.shortcut(x)
            y = F.relu(y)
        return y


class PreActBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(in_planes), conv3x3(in_planes, planes, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(planes), conv3x3(planes, planes)
        self.option = option if stride > 1 or planes > in_planes else "none"
        self.planes, self.stride = planes, stride
        if self.option == "B":
            self.shortcut = nn.Conv2d(in_planes, planes, 1, stride, bias=False)

    def forward(self, x):
        a = F.relu(self.bn1(x))
        if self.option == "B":
            way = self.shortcut(a)
        elif self.option == "A":
            way = pad_shortcut(x, self.planes, self.stride)
        else:
            way = x
        return way + self.conv2(F.relu(self.bn2(self.conv1(a))))


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
    for milestone in sorted(milestones):
        if step >= milestone:
            lr = lr * gamma
    return float(lr)


def warmup_cosine(step, lr, warmup, total, final=0.0):
    if step < warmup:
        return lr * (step + 1) / warmup
    t = min((step - warmup) / (total - warmup), 1.0)
    return final + 0.5 * (lr - final) * (1.0 + math.cos(t * math.pi))


def channel_statistics(images):
    x = np.moveaxis(images, 1, 0).reshape(images.shape[1], -1).astype(np.float64)
    mean = x.mean(1)
    return mean, np.sqrt(((x - mean[:, None]) ** 2).mean(1))


def normalise(images, mean, std):
    out = np.empty(images.shape, dtype=np.float32)
    for c in range(images.shape[1]):
        out[:, c] = images[:, c] - float(mean[c])
        if std[c] != 0:
            out[:, c] = (images[:, c] - float(mean[c])) / float(std[c])
    return out


def prepare(train, test):
    statistics = channel_statistics(train)
    return tuple(normalise(images, *statistics) for images in (train, test))


def augment(images, pad, rng, flip=True):
    n, c, h, w = images.shape
    top, left = (rng.integers(0, 2 * pad + 1, n) for _ in range(2))
    rows = top[:, None] + np.arange(h)
    columns = left[:, None] + np.arange(w)
    if flip:
        mirror = rng.random(n) < 0.5
        columns[mirror] = columns[mirror, ::-1]
    padded = np.zeros((n, c, h + 2 * pad, w + 2 * pad), images.dtype)
    padded[:, :, pad : pad + h, pad : pad + w] = images
    which = np.arange(n)[:, None, None]
    picked = padded[which, :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return np.ascontiguousarray(picked.transpose(0, 3, 1, 2))


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
