"""Option A as a 1x1 convolution that copies, shuffled arrays instead of indices."""

import math

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl import nn


def he_normal_(weight, rng):
    count = math.prod(weight.shape)
    flat = rng.standard_normal(count)
    std = math.sqrt(2 * weight.shape[1] / count)
    weight.data[...] = (flat * std).reshape(weight.shape).astype(np.float32)


def initialise(net, rng):
    owners = {}
    for name, module in net.named_modules():
        owners[name] = module
    for name, parameter in net.named_parameters():
        owner_name, _, last = name.rpartition(".")
        owner = owners[owner_name]
        if last == "bias":
            parameter.data *= 0
        elif isinstance(owner, nn.BatchNorm2d):
            parameter.data[...] = np.ones(parameter.shape)
        elif isinstance(owner, nn.Conv2d):
            he_normal_(parameter, rng)
        else:
            parameter.data[...] = rng.normal(scale=0.01, size=parameter.shape)


def zero_last_scales(net):
    for module in net.modules():
        last_norm = getattr(module, "last_norm", None)
        if last_norm is not None:
            last_norm().weight.data[:] = 0.0


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
    decaying = []
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            decaying.append(module.weight)
    chosen = {id(p) for p in decaying}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    return [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


class SGD:
    def __init__(self, groups, lr, momentum=0.0, nesterov=False):
        self.groups, self.lr, self.momentum, self.nesterov = groups, lr, momentum, nesterov
        self.state = {}

    def zero_grad(self):
        for group in self.groups:
            for p in group["params"]:
                p.grad = None

    def step(self):
        for group in self.groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad.numpy() + p.detach().numpy() * group["weight_decay"]
                if id(p) in self.state:
                    v = self.momentum * self.state[id(p)] + g
                else:
                    v = g.copy()
                self.state[id(p)] = v
                move = g + self.momentum * v if self.nesterov else v
                p.data[...] = p.data - self.lr * move


def clip_grad_norm(parameters, max_norm):
    owners = [p for p in parameters if p.grad is not None]
    vector = np.concatenate([p.grad.numpy().ravel() for p in owners])
    norm = float(np.linalg.norm(vector))
    if norm > max_norm:
        for p in owners:
            p.grad = p.grad * (max_norm / norm)
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


def batches(order, size):
    """Pieces of an order, the last one perhaps smaller."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


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
    net.train()
    order = rng.permutation(images.shape[0])
    shuffled, answers = images[order], labels[order]
    mean, seen = 0.0, 0
    for number, rows in enumerate(batches(np.arange(len(order)), batch_size)):
        optimizer.lr = optimizer.lr if schedule is None else schedule(first_step + number)
        optimizer.zero_grad()
        loss = loss_function(net(md.tensor(shuffled[rows])), answers[rows])
        loss.backward()
        clip_grad_norm(net.parameters(), math.inf if max_norm is None else max_norm)
        optimizer.step()
        seen += len(rows)
        mean += (loss.item() - mean) * len(rows) / seen
    return mean


def evaluate(net, images, labels, batch_size=100, k=1):
    mode = net.training
    net.eval()
    scores = np.concatenate(
        [scored(net, images[rows]) for rows in batches(np.arange(len(images)), batch_size)]
    )
    if mode:
        net.train()
    return topk_accuracy(scores, labels, k)


@md.no_grad()
def scored(net, images):
    return net(md.tensor(images)).numpy()


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
    groups = parameter_groups(net, weight_decay)
    optimizer = SGD(groups, lr, momentum=momentum, nesterov=True)
    done, losses = 0, []
    steps = len(list(batches(range(len(images)), batch_size)))
    for _ in range(epochs):
        losses.append(
            train_epoch(
                net,
                lambda scores, targets: smooth_cross_entropy(scores, targets, smoothing),
                optimizer,
                images if augmentation is None else augmentation(images, rng),
                labels,
                batch_size,
                rng,
                lambda step: warmup_cosine(step, lr, warmup_epochs * steps, epochs * steps),
                done,
                max_norm,
            )
        )
        done += steps
    return losses
