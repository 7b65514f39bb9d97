"""Loops over images, channels and elements; nothing clever."""

import math

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl import nn


def he_normal_(weight, rng):
    o, c, kh, kw = weight.shape
    for row in range(o):  # one output channel after the other
        draws = [rng.standard_normal((kh, kw)) for _ in range(c)]
        weight.data[row] = np.stack(draws) * np.sqrt(2 / (o * kh * kw))


def initialise(net, rng):
    def one(module):
        kind = type(module).__name__
        if "Conv2d" in kind:
            he_normal_(module.weight, rng)
        elif kind == "BatchNorm2d":
            nn.init.ones_(module.weight)
        elif kind == "Linear":
            values = rng.standard_normal(module.weight.shape) / 100
            module.weight.data[...] = values
        else:
            return
        if module.bias is not None:
            nn.init.zeros_(module.bias)

    net.apply(one)


def zero_last_scales(net):
    for name, module in list(net.named_modules()):
        if isinstance(module, (BasicBlock, Bottleneck)):
            last = "bn3" if isinstance(module, Bottleneck) else "bn2"
            prefix = f"{name}.{last}" if name else last
            scale = net.get_submodule(prefix).weight
            with md.no_grad():
                scale *= 0.0


def pad_shortcut(x, planes, stride):
    channels = x.shape[1]
    before = (planes - channels) // 2
    pick = np.zeros((planes, channels, 1, 1), dtype=x.dtype)  # a 1x1 convolution that copies
    for c in range(channels):
        pick[before + c, c] = 1
    return F.conv2d(x, md.tensor(pick), stride=stride)


class PadShortcut(nn.Module):
    def __init__(self, planes, stride):
        super().__init__()
        self.planes, self.stride = planes, stride

    def forward(self, x):
        return pad_shortcut(x, self.planes, self.stride)


class Projection(nn.Sequential):
    def __init__(self, in_planes, planes, stride):
        super().__init__()
        self.append(nn.Conv2d(in_planes, planes, (1, 1), (stride, stride), bias=False))
        self.append(nn.BatchNorm2d(planes))


def make_shortcut(option, in_planes, planes, stride):
    changes = (in_planes, 1) != (planes, stride)
    if option == "A":
        return PadShortcut(planes, stride)  # without a change it returns what it gets
    if option == "B" and not changes:
        return nn.Sequential()
    return Projection(in_planes, planes, stride)


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
    for n in range(1, depth):
        if 6 * n + 2 == depth:
            return n
    raise ValueError(f"no network has {depth} layers")


def count_parameters(net):
    total = 0
    for parameter in net.parameters():
        size = 1
        for length in parameter.shape:
            size *= length
        total += size
    return total


class CifarResNet(nn.Module):
    def __init__(self, n, num_classes=10, option="A", in_channels=3, width=16, preact=False):
        super().__init__()
        planes = [width] * n + [2 * width] * n + [4 * width] * n
        before = [width, *planes]
        self.linear = nn.Linear(planes[-1], num_classes)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[-1] if preact else width)
        for number, channels in enumerate(planes):
            stage, place = number // n + 1, number % n
            if place == 0:
                setattr(self, f"layer{stage}", nn.Sequential())
            stride = 1 if channels == before[number] else 2
            block = (BasicBlock, PreActBlock)[preact](before[number], channels, stride, option)
            getattr(self, f"layer{stage}").append(block)
        self.is_preact = preact

    def forward(self, x):
        def norm(x):
            return F.relu(self.bn1(x))

        steps = [self.conv1, norm, self.layer1, self.layer2, self.layer3]
        if self.is_preact:
            steps.append(steps.pop(1))
        for step in steps:
            x = step(x)
        n, c, h, w = x.shape
        return self.linear(x.reshape(n, c, h * w).sum(2) / (h * w))


def smooth_cross_entropy(logits, targets, smoothing=0.0):
    total = None
    for i, target in enumerate(targets):
        row = logits[i]
        log_p = row - md.logsumexp(row, 0)
        loss = -(1 - smoothing) * log_p[int(target)] - smoothing * log_p.mean()
        total = loss if total is None else total + loss
    return total / len(targets)


def topk_accuracy(logits, targets, k=1):
    numbers = np.broadcast_to(np.arange(logits.shape[1]), logits.shape)
    order = np.lexsort((numbers, -logits), axis=1)
    hits = [t in row for t, row in zip(targets, order[:, :k], strict=True)]
    return float(np.mean(hits))


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
    if not len(milestones):
        return lr
    rest = list(milestones)[1:]
    return step_schedule(step, lr * gamma if milestones[0] <= step else lr, rest, gamma)


def warmup_cosine(step, lr, warmup, total, final=0.0):
    rates = [lr * (s + 1) / warmup for s in range(warmup)]
    length = total - warmup
    for s in range(length):
        share = (1 + math.cos(math.pi * s / length)) / 2
        rates.append(share * lr + (1 - share) * final)
    return rates[step] if step < total else final


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
