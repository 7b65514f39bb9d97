"""A residual network that trains: initialisation, blocks, network, loss, optimiser, data, loop.

Networks: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015, and "Identity
mappings in deep residual networks", 2016. Initial values: the same, "Delving deep into rectifiers",
2015. Schedule and zero scales: Goyal et al., "Accurate, large minibatch SGD", 2017.

Tensors, layers and gradients come from minidl; README.md says what of it may be used. "Tensor" is
`minidl.Tensor`, "array" a NumPy array. An argument changes only where its docstring says so, and
random numbers come from the `rng` (numpy.random.Generator) that a function is given, from nowhere
else.
"""

import math

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl import nn

# 1. Initial values --------------------------------------------------------------------------------


def he_normal_(weight, rng):
    """Fill the weight of a convolution with normal values that keep the size of gradients.

    Mean 0, variance 2 / fan_out, fan_out = O * KH * KW: by how many products an input element
    enters the output ("Delving deep", equation 14).

    Args:
        weight: Tensor (O, C, KH, KW), changed in place; its dtype stays.
        rng: where the values come from. How you draw them is your choice.
    """
    # BEGIN SOLUTION
    out_channels, _, kh, kw = weight.shape
    std = math.sqrt(2 / (out_channels * kh * kw))
    weight.data[...] = std * rng.standard_normal(weight.shape)
    # END SOLUTION


def initialise(net, rng):
    """Give all layers of a network their initial values, in place.

    nn.Conv2d: weight by `he_normal_`, bias (if there is one) 0. nn.BatchNorm2d: weight 1, bias 0.
    nn.Linear: weight normal with mean 0 and standard deviation 0.01, bias 0.

    Args:
        net: an nn.Module; layers may be nested to any depth.
        rng: one generator for all layers, so that no two get the same values.
    """
    # BEGIN SOLUTION
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            he_normal_(module.weight, rng)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data[...] = 1
        elif isinstance(module, nn.Linear):
            module.weight.data[...] = 0.01 * rng.standard_normal(module.weight.shape)
        else:
            continue
        if module.bias is not None:
            module.bias.data[...] = 0
    # END SOLUTION


def zero_last_scales(net):
    """Set the scale of the last BatchNorm of every residual branch to 0, in place.

    That is bn2 of a `BasicBlock` and bn3 of a `Bottleneck` (a `PreActBlock` ends with a
    convolution and stays as it is). Nothing else changes; shortcuts are not branches.

    Args:
        net: an nn.Module that contains blocks, or is one.
    """
    # BEGIN SOLUTION
    for module in net.modules():
        if isinstance(module, BasicBlock):
            module.bn2.weight.data[...] = 0
        elif isinstance(module, Bottleneck):
            module.bn3.weight.data[...] = 0
    # END SOLUTION


# 2. Shortcuts -------------------------------------------------------------------------------------


def pad_shortcut(x, planes, stride):
    """Option A: x on every stride-th row and column, and channels of zeros. No parameters.

    With E = planes - C new channels, E // 2 of them come before those of x, the others after.

    Args:
        x: Tensor (N, C, H, W).
        planes: channels of the result, at least C.
        stride: an int.

    Returns:
        Tensor (N, planes, ceil(H / stride), ceil(W / stride)), through which gradients flow.
    """
    # BEGIN SOLUTION
    x = x[:, :, ::stride, ::stride]
    extra = planes - x.shape[1]
    before = extra // 2
    return F.pad(x, (0, 0, 0, 0, before, extra - before))
    # END SOLUTION


class PadShortcut(nn.Module):
    """`pad_shortcut` as a layer (given)."""

    def __init__(self, planes, stride):
        super().__init__()
        self.planes = planes
        self.stride = stride

    def forward(self, x):
        return pad_shortcut(x, self.planes, self.stride)


def make_shortcut(option, in_planes, planes, stride):
    """The shortcut of a block from in_planes to planes channels (2015, section 3.3).

    "A": `PadShortcut` where the shape changes. "B": a projection where the shape changes. "C": a
    projection always. Else the identity. The shape changes if stride or channels do.

    A projection is an nn.Sequential of a 1x1 convolution with the stride and without bias, and an
    nn.BatchNorm2d (names: 0.weight, 1.weight, 1.bias ...). The identity is an nn.Module without
    parameters that returns x, such as an nn.Sequential().

    Args:
        option: "A", "B" or "C".
        in_planes, planes, stride: ints.

    Returns:
        an nn.Module from (N, in_planes, H, W) to (N, planes, H / stride, W / stride), rounded up.
    """
    # BEGIN SOLUTION
    changes = stride != 1 or in_planes != planes
    if option == "C" or (option == "B" and changes):
        return nn.Sequential(
            nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
        )
    return PadShortcut(planes, stride) if changes else nn.Sequential()
    # END SOLUTION


# 3. Blocks ----------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)) (2015, figure 5, left).

    conv1 and conv2 are 3x3 with padding 1 and without bias; conv1 has the stride. Attributes:
    conv1, bn1, conv2, bn2, shortcut (from `make_shortcut`).

    Args:
        in_planes: input channels.
        planes: output channels.
        stride: of the block.
        option: "A", "B" or "C".
    """

    expansion = 1

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        # BEGIN SOLUTION
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = make_shortcut(option, in_planes, planes, stride)
        # END SOLUTION

    def forward(self, x):
        """(N, in_planes, H, W) -> (N, planes, H / stride, W / stride), rounded up."""
        # BEGIN SOLUTION
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))
        # END SOLUTION


class Bottleneck(nn.Module):
    """1x1 to `planes` channels, 3x3, 1x1 to 4 * planes (2015, figure 5, right).

    relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut(x)). No convolution has a
    bias; conv2, the 3x3 one with padding 1, has the stride. Attributes: conv1, bn1, conv2, bn2,
    conv3, bn3, shortcut (from `make_shortcut`).

    Args:
        in_planes: input channels.
        planes: inner channels; a quarter of the output's.
        stride: of the block.
        option: "A", "B" or "C".
    """

    expansion = 4

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        # BEGIN SOLUTION
        out_planes = planes * self.expansion
        self.conv1 = nn.Conv2d(in_planes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_planes)
        self.shortcut = make_shortcut(option, in_planes, out_planes, stride)
        # END SOLUTION

    def forward(self, x):
        """(N, in_planes, H, W) -> (N, 4 * planes, H / stride, W / stride), rounded up."""
        # BEGIN SOLUTION
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.shortcut(x))
        # END SOLUTION


class PreActBlock(nn.Module):
    """Normalisation and ReLU before each convolution, nothing after the sum (2016, figure 1b).

    With a = relu(bn1(x)):  conv2(relu(bn2(conv1(a)))) + s. Where the shape stays, s is x itself;
    where it changes, s is with option "A" `pad_shortcut` of x, with option "B" a 1x1 convolution
    of a (not of x), with the block's stride and without bias and BatchNorm.

    conv1 and conv2 are 3x3 with padding 1 and without bias; conv1 has the stride. Attributes: bn1,
    conv1, bn2, conv2, and only where it is a convolution has shortcut parameters
    (shortcut.weight).

    Args:
        in_planes: input channels.
        planes: output channels.
        stride: of the block.
        option: "A" or "B".
    """

    expansion = 1

    def __init__(self, in_planes, planes, stride=1, option="B"):
        super().__init__()
        # BEGIN SOLUTION
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        changes = stride != 1 or in_planes != planes
        self.projects = changes and option == "B"
        if self.projects:
            self.shortcut = nn.Conv2d(in_planes, planes, 1, stride, bias=False)
        else:
            self.shortcut = PadShortcut(planes, stride) if changes else nn.Sequential()
        # END SOLUTION

    def forward(self, x):
        """(N, in_planes, H, W) -> (N, planes, H / stride, W / stride), rounded up."""
        # BEGIN SOLUTION
        active = F.relu(self.bn1(x))
        out = self.conv1(active)
        out = self.conv2(F.relu(self.bn2(out)))
        return out + self.shortcut(active if self.projects else x)
        # END SOLUTION


# 4. The network -----------------------------------------------------------------------------------


def blocks_per_stage(depth):
    """n for a network of depth = 6 n + 2 layers.

    Raises:
        ValueError: there is no such n of at least 1.
    """
    # BEGIN SOLUTION
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth must be 6 n + 2 (8, 14, 20 ...), not {depth}")
    return (depth - 2) // 6
    # END SOLUTION


def count_parameters(net):
    """How many numbers are trained: all elements of all parameters (an int; no buffers)."""
    # BEGIN SOLUTION
    return sum(math.prod(p.shape) for p in net.parameters())
    # END SOLUTION


class CifarResNet(nn.Module):
    """The networks of 6 n + 2 layers for small images (2015, section 4.2).

        conv1    3x3, padding 1, no bias   width channels
        layer1   n blocks                  width channels
        layer2   n blocks, half the size   2 * width channels
        layer3   n blocks, half the size   4 * width channels
                 mean of each map
        linear   with bias                 num_classes

    The first block of layer2 and of layer3 has stride 2. `BasicBlock`: bn1 and a ReLU come after
    conv1. With preact=True the blocks are `PreActBlock`s, nothing comes between conv1 and layer1,
    and bn1 (of 4 * width channels then) and a ReLU come after layer3.

    layer1, layer2, layer3 are nn.Sequential's of blocks (layer2.0.conv1.weight ...).

    Args:
        n: blocks in each stage.
        num_classes: outputs.
        option: of all blocks.
        in_channels: of the images.
        width: channels of the first stage.
        preact: which blocks.
    """

    def __init__(self, n, num_classes=10, option="A", in_channels=3, width=16, preact=False):
        super().__init__()
        # BEGIN SOLUTION
        block = PreActBlock if preact else BasicBlock
        self.preact = preact
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4 * width if preact else width)
        in_planes = width
        for stage, planes in enumerate((width, 2 * width, 4 * width)):
            blocks = []
            for i in range(n):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(in_planes, planes, stride, option))
                in_planes = planes
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(in_planes, num_classes)
        # END SOLUTION

    def forward(self, x):
        """(N, in_channels, H, W) -> scores (N, num_classes); any H and W."""
        # BEGIN SOLUTION
        x = self.conv1(x)
        if not self.preact:
            x = F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.preact:
            x = F.relu(self.bn1(x))
        return self.linear(x.mean((2, 3)))
        # END SOLUTION


# 5. Loss and accuracy -----------------------------------------------------------------------------


def smooth_cross_entropy(logits, targets, smoothing=0.0):
    """Cross-entropy with smoothed targets (Szegedy et al. 2016, section 7), mean over the batch.

    The target distribution q of an image is (1 - smoothing) on its class plus smoothing / K on
    each of the K classes (its own, too). The image's loss is -sum over k of q[k] * log p[k], with
    p = softmax(logits). Logits of any size (1000, -1000) must give a finite and exact loss.

    Args:
        logits: Tensor (N, K).
        targets: array (N,) of ints from 0 to K - 1.
        smoothing: from 0 to 1.

    Returns:
        Tensor of shape (), from which backward() reaches logits.
    """
    # BEGIN SOLUTION
    n, k = logits.shape
    log_p = F.log_softmax(logits, 1)
    hit = -log_p[np.arange(n), targets].mean()
    even = -log_p.sum() * (1 / (n * k))
    return (1 - smoothing) * hit + smoothing * even
    # END SOLUTION


def topk_accuracy(logits, targets, k=1):
    """The share of images whose class is among the k of the highest scores.

    Of equal scores, the class with the lower number counts as the higher score.

    Args:
        logits: array (N, K).
        targets: array (N,) of ints.
        k: from 1 to K.

    Returns:
        a float from 0 to 1.
    """
    # BEGIN SOLUTION
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((best == targets[:, None]).any(axis=1).mean())
    # END SOLUTION


# 6. Optimiser -------------------------------------------------------------------------------------


def parameter_groups(net, weight_decay):
    """The parameters of a network in two groups: those that decay, and those that do not.

    Weights of convolutions and linear layers decay. Weights of BatchNorm and all biases do not.

    Args:
        net: an nn.Module of convolutions, linear layers and BatchNorms.
        weight_decay: of the first group.

    Returns:
        [{"params": [...], "weight_decay": weight_decay}, {"params": [...], "weight_decay": 0.0}],
        every parameter of net in one of the two lists, once.
    """
    # BEGIN SOLUTION
    decay, rest = [], []
    for parameter in net.parameters():
        (decay if parameter.ndim > 1 else rest).append(parameter)
    return [
        {"params": decay, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    # END SOLUTION


class SGD:
    """Gradient descent with momentum, Nesterov's form of it, and weight decay, as PyTorch's.

    A step, for each parameter p with gradient p.grad (v: its velocity, 0 before the first step):

        g = p.grad + weight_decay * p          weight_decay of p's group
        v = momentum * v + g
        p = p - lr * v                         or, with nesterov, p - lr * (g + momentum * v)

    A parameter whose grad is None is left alone, its velocity too.

    Args:
        groups: as from `parameter_groups`.
        lr: learning rate. Kept as the attribute `lr`, which may be set before each step.
        momentum: from 0 to 1.
        nesterov: bool.
    """

    def __init__(self, groups, lr, momentum=0.0, nesterov=False):
        self.groups = groups
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        # BEGIN SOLUTION
        self.velocities = [[np.zeros(p.shape, p.dtype) for p in g["params"]] for g in groups]
        # END SOLUTION

    def zero_grad(self):
        """Forget the gradients of all parameters: set them to None."""
        # BEGIN SOLUTION
        for group in self.groups:
            for parameter in group["params"]:
                parameter.grad = None
        # END SOLUTION

    def step(self):
        """Change all parameters in place, their dtype and their gradients staying as they are."""
        # BEGIN SOLUTION
        for group, velocities in zip(self.groups, self.velocities, strict=True):
            for parameter, velocity in zip(group["params"], velocities, strict=True):
                if parameter.grad is None:
                    continue
                p = parameter.data
                g = parameter.grad.numpy() + group["weight_decay"] * p
                velocity *= self.momentum
                velocity += g
                p -= self.lr * (g + self.momentum * velocity if self.nesterov else velocity)
        # END SOLUTION


def clip_grad_norm(parameters, max_norm):
    """Scale all gradients together, in place, so that their common norm is at most max_norm.

    The norm is that of all elements of all gradients in one long vector. If it is larger than
    max_norm, all gradients are multiplied by max_norm / norm, otherwise they stay.

    Args:
        parameters: a list or an iterator (net.parameters()); some may have grad None.
        max_norm: a number above 0.

    Returns:
        the norm before, a float.
    """
    # BEGIN SOLUTION
    grads = [p.grad.data for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
    if norm > max_norm:
        for g in grads:
            g *= max_norm / norm
    return norm
    # END SOLUTION


# 7. Schedules -------------------------------------------------------------------------------------


def step_schedule(step, lr, milestones, gamma=0.1):
    """The learning rate of a step: lr, multiplied by gamma at each milestone.

    Args:
        step: number of the step, from 0.
        lr: a number.
        milestones: ints in any order; the step with that number already has the smaller rate.
        gamma: a number.

    Returns:
        a float.
    """
    # BEGIN SOLUTION
    return lr * gamma ** sum(milestone <= step for milestone in milestones)
    # END SOLUTION


def warmup_cosine(step, lr, warmup, total, final=0.0):
    """The learning rate of a step: linear warm-up, then half a cosine down to `final`.

        step < warmup:           lr * (step + 1) / warmup
        warmup <= step < total:  final + (lr - final) * (1 + cos(pi * t)) / 2,
                                 t = (step - warmup) / (total - warmup)
        step >= total:           final

    Args:
        step: number of the step, from 0.
        lr: the highest rate.
        warmup: steps of the warm-up, 0 for none; below total.
        total: steps of the training, warm-up included.
        final: the last rate.

    Returns:
        a float.
    """
    # BEGIN SOLUTION
    if step < warmup:
        return lr * (step + 1) / warmup
    if step >= total:
        return final
    t = (step - warmup) / (total - warmup)
    return final + (lr - final) * (1 + math.cos(math.pi * t)) / 2
    # END SOLUTION


# 8. Data ------------------------------------------------------------------------------------------


def channel_statistics(images):
    """Mean and standard deviation of each channel over all images, rows and columns.

    Args:
        images: array (N, C, H, W), float or uint8.

    Returns:
        (mean, std): arrays (C,) of float64; std is the biased one (divide by N * H * W).
    """
    # BEGIN SOLUTION
    images = images.astype(np.float64)
    return images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
    # END SOLUTION


def normalise(images, mean, std):
    """(images - mean) / std, channel by channel. Where std is 0 nothing is divided.

    Args:
        images: array (N, C, H, W), float or uint8.
        mean, std: arrays (C,).

    Returns:
        array (N, C, H, W) of float32.
    """
    # BEGIN SOLUTION
    std = np.where(std == 0, 1.0, std)
    return ((images - mean[:, None, None]) / std[:, None, None]).astype(np.float32)
    # END SOLUTION


def prepare(train, test):
    """Both sets of images normalised, with statistics that a training may know.

    The test images stand for images that nobody has seen yet: their statistics are not known.

    Args:
        train, test: arrays (N, C, H, W) and (M, C, H, W).

    Returns:
        (train, test): arrays of float32, of the same shapes.
    """
    # BEGIN SOLUTION
    mean, std = channel_statistics(train)
    return normalise(train, mean, std), normalise(test, mean, std)
    # END SOLUTION


def augment(images, pad, rng, flip=True):
    """Each image randomly moved by up to `pad` pixels, and mirrored with probability 1/2.

    The images get `pad` rows and columns of zeros on each side. Of image i, what is returned are H
    rows from row top[i], and W columns from column left[i], of the padded image; where mirror[i],
    left and right of that are exchanged. For equal random numbers draw in this order, once each:

        top = rng.integers(0, 2 * pad + 1, N)
        left = rng.integers(0, 2 * pad + 1, N)
        mirror = rng.random(N) < 0.5              only if flip

    Args:
        images: array (N, C, H, W).
        pad: an int, 0 or more.
        rng: a generator.
        flip: False: none is mirrored (digits, text, road signs).

    Returns:
        a new array (N, C, H, W) of the dtype of images.
    """
    # BEGIN SOLUTION
    n, _, height, width = images.shape
    top = rng.integers(0, 2 * pad + 1, n)
    left = rng.integers(0, 2 * pad + 1, n)
    mirror = rng.random(n) < 0.5 if flip else np.zeros(n, dtype=bool)
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.empty_like(images)
    for i in range(n):
        crop = padded[i, :, top[i] : top[i] + height, left[i] : left[i] + width]
        out[i] = crop[:, :, ::-1] if mirror[i] else crop
    return out
    # END SOLUTION


# 9. Training --------------------------------------------------------------------------------------


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
    """One pass over the training set, in training mode.

    The order is rng.permutation(N), drawn once. Its first batch_size images are the first batch,
    and so on; the last batch may be smaller. For each batch: the learning rate is set
    (optimizer.lr = schedule(step), if there is a schedule), gradients are forgotten, the loss is
    computed and its gradients, these are clipped to max_norm (`clip_grad_norm`, if max_norm is not
    None), the optimiser steps. Steps are counted from first_step.

    Args:
        net: an nn.Module; in training mode when this returns.
        loss_function: (scores (N, K) Tensor, labels (N,) array) -> Tensor of shape (), a mean over
            the images of the batch.
        optimizer: has lr, zero_grad() and step().
        images: array (N, C, H, W), handed to net as Tensor of the same dtype.
        labels: array (N,) of ints.
        batch_size: an int.
        rng: a generator.
        schedule: from the number of a step to its learning rate; None: optimizer.lr stays.
        first_step: number of the first step.
        max_norm: None: nothing is clipped.

    Returns:
        the mean of the loss over all images (each counts the same), a float.
    """
    # BEGIN SOLUTION
    net.train()
    order = rng.permutation(len(images))
    total = 0.0
    for number, start in enumerate(range(0, len(images), batch_size)):
        chosen = order[start : start + batch_size]
        if schedule is not None:
            optimizer.lr = schedule(first_step + number)
        optimizer.zero_grad()
        loss = loss_function(net(md.tensor(images[chosen])), labels[chosen])
        loss.backward()
        if max_norm is not None:
            clip_grad_norm(net.parameters(), max_norm)
        optimizer.step()
        total += loss.item() * len(chosen)
    return total / len(images)
    # END SOLUTION


def evaluate(net, images, labels, batch_size=100, k=1):
    """`topk_accuracy` of a network, in evaluation mode and without recording gradients.

    Args:
        net: an nn.Module; its parameters and buffers stay as they are, and it is in the mode (of
            net.training) in which it was before when this returns.
        images: array (N, C, H, W).
        labels: array (N,) of ints.
        batch_size: how many images are computed at a time; N need not be a multiple of it.
        k: of the accuracy.

    Returns:
        a float from 0 to 1.
    """
    # BEGIN SOLUTION
    before = net.training
    net.eval()
    with md.no_grad():
        scores = [
            net(md.tensor(images[start : start + batch_size])).numpy()
            for start in range(0, len(images), batch_size)
        ]
    net.train(before)
    return topk_accuracy(np.concatenate(scores), labels, k)
    # END SOLUTION


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
    """Train a network with everything above: `SGD` with nesterov, groups, `warmup_cosine`, ...

    The initial values of net are not touched. All random numbers come from one generator,
    np.random.default_rng(seed). In each epoch first the images are augmented, then `train_epoch`
    runs on these. Steps are counted on from epoch to epoch; the warm-up is the steps of
    warmup_epochs, the cosine ends at 0 with the last step of the last epoch.

    Args:
        net: an nn.Module, changed in place.
        images, labels: arrays (N, C, H, W) and (N,).
        epochs, batch_size, warmup_epochs: ints.
        lr: the highest learning rate.
        momentum: of SGD.
        weight_decay: of convolutions' and linear layers' weights only.
        smoothing: of the loss.
        max_norm: of the gradients; None: no limit.
        augmentation: (images, rng) -> images; None: none.
        seed: an int.

    Returns:
        the losses of the epochs, a list of floats.
    """
    # BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    optimizer = SGD(parameter_groups(net, weight_decay), lr, momentum, nesterov=True)
    steps = math.ceil(len(images) / batch_size)

    def schedule(step):
        return warmup_cosine(step, lr, warmup_epochs * steps, epochs * steps)

    def loss_function(scores, targets):
        return smooth_cross_entropy(scores, targets, smoothing)

    losses = []
    for epoch in range(epochs):
        seen = images if augmentation is None else augmentation(images, rng)
        losses.append(
            train_epoch(
                net,
                loss_function,
                optimizer,
                seen,
                labels,
                batch_size,
                rng,
                schedule,
                epoch * steps,
                max_norm,
            )
        )
    return losses
    # END SOLUTION
