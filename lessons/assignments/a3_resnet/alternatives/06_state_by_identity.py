"""Velocities in a dict that fills itself, decay chosen by kind of module."""

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
