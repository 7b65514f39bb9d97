"""Velocities and statistics in float64, gradients replaced by new tensors."""

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


class Kernel(nn.Conv2d):
    """A convolution that calls the function itself."""

    def forward(self, x):
        return F.conv2d(x, self.weight, None, self.stride, self.padding)


def norm(layer, x):
    """BatchNorm by the function, with the layer's arrays."""
    return F.batch_norm(
        x,
        layer.running_mean,
        layer.running_var,
        layer.weight,
        layer.bias,
        layer.training,
        layer.momentum,
        layer.eps,
    )


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        self.conv1 = Kernel(in_planes, planes, 3, stride, 1, bias=False)
        self.conv2 = Kernel(planes, planes, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = make_shortcut(option, in_planes, planes, stride)

    def last_norm(self):
        return self.bn2

    def forward(self, x):
        hidden = norm(self.bn1, self.conv1(x))
        hidden = hidden * (hidden.detach() > 0)
        total = norm(self.bn2, self.conv2(hidden)) + self.shortcut(x)
        return total * (total.detach() > 0)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        wide = Bottleneck.expansion * planes
        self.conv1 = Kernel(in_planes, planes, 1, bias=False)
        self.conv2 = Kernel(planes, planes, 3, stride, 1, bias=False)
        self.conv3 = Kernel(planes, wide, 1, bias=False)
        for number, channels in enumerate((planes, planes, wide), 1):
            setattr(self, f"bn{number}", nn.BatchNorm2d(channels))
        self.shortcut = make_shortcut(option, in_planes, wide, stride)

    def last_norm(self):
        return self.bn3

    def forward(self, x):
        h = F.relu(norm(self.bn1, self.conv1(x)))
        h = F.relu(norm(self.bn2, self.conv2(h)))
        return F.relu(norm(self.bn3, self.conv3(h)) + self.shortcut(x))


class PreActBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv1 = Kernel(in_planes, planes, 3, stride, 1, bias=False)
        self.conv2 = Kernel(planes, planes, 3, 1, 1, bias=False)
        way = None
        if stride != 1 or in_planes != planes:
            way = PadShortcut(planes, stride)
            if option == "B":
                way = Kernel(in_planes, planes, 1, stride, bias=False)
        self.shortcut = way

    def forward(self, x):
        a = F.relu(norm(self.bn1, x))
        branch = self.conv2(F.relu(norm(self.bn2, self.conv1(a))))
        if self.shortcut is None:
            return x + branch
        return self.shortcut(a if isinstance(self.shortcut, Kernel) else x) + branch


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
    n, k = logits.shape
    top = logits.detach().numpy().max(axis=1, keepdims=True)
    z = logits - md.tensor(top)
    log_sum = md.log(md.exp(z).sum(1))
    own = z[np.arange(n), np.asarray(targets)]
    losses = log_sum - (1 - smoothing) * own - (smoothing / k) * z.sum(1)
    return losses.mean()


def topk_accuracy(logits, targets, k=1):
    hits = 0
    for scores, target in zip(logits.tolist(), targets.tolist(), strict=True):
        order = sorted(range(len(scores)), key=lambda c, scores=scores: (-scores[c], c))
        hits += target in order[:k]
    return hits / len(targets)


def parameter_groups(net, weight_decay):
    norms = set()
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            norms |= {f"{name}.weight", f"{name}.bias"}
    groups = ([], [])
    for name, p in net.named_parameters():
        groups[name in norms or name.endswith("bias")].append(p)
    return [
        {"params": groups[0], "weight_decay": weight_decay},
        {"params": groups[1], "weight_decay": 0.0},
    ]


class SGD:
    """Scales the velocity by -lr only where it is added; keeps the gradients in one place."""

    def __init__(self, groups, lr, momentum=0.0, nesterov=False):
        self.groups = groups
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.velocity = {}

    def parameters(self):
        for number, group in enumerate(self.groups):
            for place, p in enumerate(group["params"]):
                yield (number, place), p, group["weight_decay"]

    def zero_grad(self):
        for _, p, _ in self.parameters():
            p.grad = None

    def step(self):
        for key, p, decay in self.parameters():
            if p.grad is None:
                continue
            g = np.array(p.grad.numpy(), dtype=np.float64)
            g += decay * p.data
            v = self.velocity.setdefault(key, np.zeros(p.shape))
            v[...] = self.momentum * v + g
            if self.nesterov:
                g += self.momentum * v
            else:
                g = v
            p.data[...] = (p.data - self.lr * g).astype(p.dtype)


def clip_grad_norm(parameters, max_norm):
    grads = [p.grad for p in parameters if p.grad is not None]
    norms = np.array([np.linalg.norm(g.numpy().ravel()) for g in grads])
    norm = float(np.linalg.norm(norms))
    if norm <= max_norm:
        return norm
    for g in grads:
        g.data[...] /= norm / max_norm
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
