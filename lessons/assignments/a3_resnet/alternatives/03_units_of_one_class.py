"""One class for both blocks, its layers made and found by name."""

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
