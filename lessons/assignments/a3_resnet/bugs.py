"""Planted bugs of A3: what students get wrong, each as a replacement in the solution's text."""

from minidl.teach.assign import Bug

HE_STD = "    std = math.sqrt(2 / (out_channels * kh * kw))\n"
HE_DRAW = "    weight.data[...] = std * rng.standard_normal(weight.shape)\n"
WALK = """    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            he_normal_(module.weight, rng)
"""
LAST_BASIC = "            module.bn2.weight.data[...] = 0\n"
LAST_BOTTLENECK = "            module.bn3.weight.data[...] = 0\n"
SUBSAMPLE = "    x = x[:, :, ::stride, ::stride]\n"
BEFORE = "    before = extra // 2\n"
PAD = "    return F.pad(x, (0, 0, 0, 0, before, extra - before))\n"
CHANGES = "    changes = stride != 1 or in_planes != planes\n    if option"
PROJECTION = (
    "            nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)\n"
)
BASIC_CONVS = """        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
"""
BASIC_FORWARD = """        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))
"""
BOTTLENECK_CONVS = """        self.conv1 = nn.Conv2d(in_planes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
"""
BOTTLENECK_FORWARD = """        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.shortcut(x))
"""
PREACT_FORWARD = """        out = self.conv2(F.relu(self.bn2(out)))
        return out + self.shortcut(active if self.projects else x)
"""
STRIDE = "                stride = 2 if stage > 0 and i == 0 else 1\n"
STEM = "            x = F.relu(self.bn1(x))\n        x = self.layer3"
TAIL = """        if self.preact:
            x = F.relu(self.bn1(x))
        return self.linear(x.mean((2, 3)))
"""
EVEN = "    even = -log_p.sum() * (1 / (n * k))\n"
MIX = "    return (1 - smoothing) * hit + smoothing * even\n"
BEST = '    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]\n'
SPLIT = "        (decay if parameter.ndim > 1 else rest).append(parameter)\n"
SGD_G = '                g = parameter.grad.numpy() + group["weight_decay"] * p\n'
SGD_V = "                velocity *= self.momentum\n                velocity += g\n"
SGD_P = (
    "                p -= self.lr * (g + self.momentum * velocity if self.nesterov else velocity)\n"
)
SGD_NONE = """                if parameter.grad is None:
                    continue
                p = parameter.data
"""
NORM = "    norm = math.sqrt(sum(float((g**2).sum()) for g in grads))\n"
SCALE = """    if norm > max_norm:
        for g in grads:
            g *= max_norm / norm
    return norm
"""
COSINE = "    return final + (lr - final) * (1 + math.cos(math.pi * t)) / 2\n"
NORMALISED = "    return normalise(train, mean, std), normalise(test, mean, std)\n"
TOP_LEFT = """    top = rng.integers(0, 2 * pad + 1, n)
    left = rng.integers(0, 2 * pad + 1, n)
"""
MIRROR = "        out[i] = crop[:, :, ::-1] if mirror[i] else crop\n"
ORDER = "    order = rng.permutation(len(images))\n"
BACKWARD = """        optimizer.zero_grad()
        loss = loss_function(net(md.tensor(images[chosen])), labels[chosen])
        loss.backward()
        if max_norm is not None:
            clip_grad_norm(net.parameters(), max_norm)
        optimizer.step()
"""
TOTAL = "        total += loss.item() * len(chosen)\n    return total / len(images)\n"
EVAL = "    before = net.training\n    net.eval()\n"
NO_GRAD = """    with md.no_grad():
        scores = [
            net(md.tensor(images[start : start + batch_size])).numpy()
"""
SCHEDULE = "        return warmup_cosine(step, lr, warmup_epochs * steps, epochs * steps)\n"
SEEN = "        seen = images if augmentation is None else augmentation(images, rng)\n"

BUGS = [
    # 1. Initial values
    Bug(
        "He: fan_in",
        "fan_in instead of fan_out",
        "    out_channels, _, kh, kw = weight.shape\n",
        "    _, out_channels, kh, kw = weight.shape\n",
    ),
    Bug("He: no 2", "the 2 is missing", HE_STD, HE_STD.replace("2 /", "1 /")),
    Bug(
        "He: the variance as standard deviation",
        "variance taken for the standard deviation",
        HE_STD,
        "    std = 2 / (out_channels * kh * kw)\n",
    ),
    Bug(
        "He: without the kernel's area",
        "kernel area forgotten",
        HE_STD,
        "    std = math.sqrt(2 / out_channels)\n",
    ),
    Bug(
        "He: the kernel taken for square",
        "one side of the kernel forgotten",
        HE_STD,
        "    std = math.sqrt(2 / (out_channels * kh * (kh if kw == kh else 1)))\n",
    ),
    Bug(
        "He: uniform with the right deviation",
        "not normal",
        HE_DRAW,
        "    bound = std * math.sqrt(3)\n"
        "    weight.data[...] = rng.uniform(-bound, bound, weight.shape)\n",
    ),
    Bug(
        "He: numpy's global generator",
        "random numbers from elsewhere",
        HE_DRAW,
        "    weight.data[...] = std * np.random.standard_normal(weight.shape)\n",
    ),
    Bug(
        "He: a new generator in each call",
        "the same values in two layers",
        HE_DRAW,
        HE_DRAW.replace("rng.", "np.random.default_rng(0)."),
    ),
    Bug(
        "initialise: only direct children",
        "nested layers left out",
        WALK,
        WALK.replace("net.modules()", "net.children()"),
    ),
    Bug(
        "initialise: BatchNorm's weight drawn like the others",
        "BatchNorm's weight",
        "            module.weight.data[...] = 1\n",
        "            module.weight.data[...] = 0.01 * rng.standard_normal(module.weight.shape)\n",
    ),
    Bug(
        "initialise: bias of convolutions forgotten",
        "bias of a convolution",
        "        if module.bias is not None:\n",
        "        if not isinstance(module, nn.Conv2d):\n",
    ),
    Bug(
        "initialise: He for the linear layer",
        "He for the linear layer",
        "            module.weight.data[...] = 0.01 * rng",
        "            module.weight.data[...] = math.sqrt(2 / module.weight.shape[1]) * rng",
    ),
    Bug(
        "zero scales: bn1 of a basic block",
        "last scale not 0",
        LAST_BASIC,
        LAST_BASIC.replace("bn2", "bn1"),
    ),
    Bug(
        "zero scales: bn2 of a bottleneck, too",
        "another scale than the last set to 0",
        LAST_BOTTLENECK,
        LAST_BOTTLENECK + LAST_BASIC,
    ),
    Bug(
        "zero scales: the projection's BatchNorm, too",
        "scale of the shortcut set to 0",
        LAST_BOTTLENECK,
        LAST_BOTTLENECK + "        elif isinstance(module, nn.Sequential) and len(module) == 2:\n"
        "            if isinstance(module[1], nn.BatchNorm2d):\n"
        "                module[1].weight.data[...] = 0\n",
    ),
    Bug(
        "zero scales: the pre-activation block's bn2",
        "PreActBlock changed",
        "        if isinstance(module, BasicBlock):\n",
        "        if isinstance(module, (BasicBlock, PreActBlock)):\n",
    ),
    # 2. Shortcuts
    Bug(
        "option A: all zeros at the end",
        "all zeros after the channels of x",
        BEFORE,
        "    before = 0\n",
    ),
    Bug(
        "option A: the odd channel before",
        "the odd channel on the wrong side",
        BEFORE,
        "    before = extra - extra // 2\n",
    ),
    Bug(
        "option A: only rows subsampled",
        "only one direction subsampled",
        SUBSAMPLE,
        "    x = x[:, :, ::stride]\n",
    ),
    Bug(
        "option A: average pooling",
        "mean instead of subsampling",
        SUBSAMPLE,
        "    x = F.avg_pool2d(x, stride)\n",
    ),
    Bug(
        "option A: the second pixel of each pair",
        "subsampling begins at another pixel",
        SUBSAMPLE,
        "    x = x[:, :, stride - 1 :: stride, stride - 1 :: stride]\n",
    ),
    Bug(
        "option A: by way of NumPy",
        "gradient cut off",
        PAD,
        PAD.replace("F.pad(x, ", "F.pad(md.tensor(x.detach().numpy(), requires_grad=True), "),
    ),
    Bug(
        "shortcut: only channels are looked at",
        "projection missing",
        CHANGES,
        "    changes = in_planes != planes\n    if option",
    ),
    Bug(
        "shortcut: option C like B",
        "projection missing",
        'if option == "C" or (option == "B" and changes):',
        'if option in ("B", "C") and changes:',
    ),
    Bug(
        "shortcut: projection with bias",
        "bias before a BatchNorm",
        PROJECTION,
        PROJECTION.replace(", bias=False", ""),
    ),
    Bug(
        "shortcut: projection without BatchNorm",
        "BatchNorm of the projection missing",
        PROJECTION,
        "            nn.Conv2d(in_planes, planes, 1, stride, bias=False)\n",
    ),
    # 3. Blocks
    Bug(
        "basic block: ReLU before the sum",
        "ReLU before the sum",
        BASIC_FORWARD,
        BASIC_FORWARD.replace("F.relu(out + self.shortcut(x))", "F.relu(out) + self.shortcut(x)"),
    ),
    Bug(
        "basic block: no last ReLU",
        "no ReLU after the sum",
        BASIC_FORWARD,
        BASIC_FORWARD.replace("F.relu(out + self.shortcut(x))", "out + self.shortcut(x)"),
    ),
    Bug(
        "basic block: bn1 used twice",
        "a layer used twice",
        BASIC_FORWARD,
        BASIC_FORWARD.replace("self.bn2", "self.bn1"),
    ),
    Bug(
        "basic block: stride in conv2",
        "stride in the second convolution",
        BASIC_CONVS,
        BASIC_CONVS.replace("3, stride, padding", "3, padding", 1).replace(
            "planes, planes, 3, padding=1, bias=False)\n        self.bn2",
            "planes, planes, 3, stride, padding=1, bias=False)\n        self.bn2",
        ),
    ),
    Bug(
        "basic block: convolutions with bias",
        "bias before a BatchNorm",
        BASIC_CONVS,
        BASIC_CONVS.replace(", bias=False", ""),
    ),
    Bug(
        "basic block: the shortcut detached",
        "gradient cut off",
        BASIC_FORWARD,
        BASIC_FORWARD.replace("self.shortcut(x)", "self.shortcut(x.detach())"),
    ),
    Bug(
        "bottleneck: stride in the first 1x1",
        "stride in the first convolution",
        BOTTLENECK_CONVS,
        BOTTLENECK_CONVS.replace("planes, 1, bias", "planes, 1, stride, bias").replace(
            "3, stride", "3"
        ),
    ),
    Bug(
        "bottleneck: no expansion",
        "sizes of layers",
        "        out_planes = planes * self.expansion\n",
        "        out_planes = planes\n",
    ),
    Bug(
        "bottleneck: shortcut forgotten",
        "shortcut forgotten",
        BOTTLENECK_FORWARD,
        BOTTLENECK_FORWARD.replace("out + self.shortcut(x)", "out"),
    ),
    Bug(
        "bottleneck: no ReLU after bn2",
        "no ReLU between the convolutions",
        BOTTLENECK_FORWARD,
        BOTTLENECK_FORWARD.replace(
            "F.relu(self.bn2(self.conv2(out)))", "self.bn2(self.conv2(out))"
        ),
    ),
    Bug(
        "pre-activation: ReLU after the sum",
        "ReLU after the sum",
        PREACT_FORWARD,
        PREACT_FORWARD.replace(
            "out + self.shortcut(active if self.projects else x)",
            "F.relu(out + self.shortcut(active if self.projects else x))",
        ),
    ),
    Bug(
        "pre-activation: projection of x",
        "shortcut from the wrong place",
        PREACT_FORWARD,
        PREACT_FORWARD.replace("active if self.projects else x", "x"),
    ),
    Bug(
        "pre-activation: identity of a",
        "shortcut from the wrong place",
        PREACT_FORWARD,
        PREACT_FORWARD.replace("active if self.projects else x", "active"),
    ),
    # 4. The network
    Bug(
        "depth: any depth accepted",
        "depths that are not 6 n + 2 accepted",
        "    if depth < 8 or (depth - 2) % 6:\n",
        "    if depth < 8:\n",
    ),
    Bug(
        "count: tensors",
        "tensors counted instead of elements",
        "    return sum(math.prod(p.shape) for p in net.parameters())\n",
        "    return sum(1 for p in net.parameters())\n",
    ),
    Bug(
        "count: buffers, too",
        "buffers counted, too",
        "    return sum(math.prod(p.shape) for p in net.parameters())\n",
        "    return sum(math.prod(p.shape) for p in net.state_dict().values())\n",
    ),
    Bug(
        "network: stride 2 in layer1, too",
        "stride of the stages",
        STRIDE,
        "                stride = 2 if i == 0 else 1\n",
    ),
    Bug(
        "network: option not handed on",
        "projection missing",
        "                blocks.append(block(in_planes, planes, stride, option))\n",
        '                blocks.append(block(in_planes, planes, stride, "A"))\n',
    ),
    Bug(
        "network: no ReLU after bn1",
        "ReLU after the first convolution left out",
        STEM,
        STEM.replace("F.relu(self.bn1(x))", "self.bn1(x)"),
    ),
    Bug(
        "network: maximum of each map",
        "maximum instead of mean",
        TAIL,
        TAIL.replace("x.mean((2, 3))", "x.amax((2, 3))"),
    ),
    Bug(
        "network: pre-activation without the last BatchNorm and ReLU",
        "last BatchNorm and ReLU",
        TAIL,
        "        return self.linear(x.mean((2, 3)))\n",
    ),
    Bug(
        "network: ReLU of the scores",
        "ReLU of the scores",
        TAIL,
        TAIL.replace("self.linear(x.mean((2, 3)))", "F.relu(self.linear(x.mean((2, 3))))"),
    ),
    # 5. Loss and accuracy
    Bug(
        "loss: sum over the batch",
        "sum instead of mean",
        MIX,
        "    return ((1 - smoothing) * hit + smoothing * even) * n\n",
    ),
    Bug(
        "loss: smoothing shared among the other classes",
        "smoothing shared among the others only",
        EVEN,
        "    even = (-log_p.sum() * (1 / n) - hit) * (1 / (k - 1))\n",
    ),
    Bug(
        "loss: own class keeps its 1",
        "own class not reduced",
        MIX,
        "    return hit + smoothing * even\n",
    ),
    Bug(
        "loss: even part not divided by K",
        "even part not divided by K",
        EVEN,
        "    even = -log_p.sum() * (1 / n)\n",
    ),
    Bug(
        "loss: log of softmax",
        "overflow of exp, logarithm of 0",
        "    log_p = F.log_softmax(logits, 1)\n",
        "    log_p = md.log(F.softmax(logits, 1))\n",
    ),
    Bug(
        "loss: softmax over the batch",
        "softmax over the batch",
        "    log_p = F.log_softmax(logits, 1)\n",
        "    log_p = F.log_softmax(logits, 0)\n",
    ),
    Bug(
        "accuracy: the lowest scores",
        "the lowest scores instead of the highest",
        BEST,
        BEST.replace("-logits", "logits"),
    ),
    Bug(
        "accuracy: argsort reversed",
        "the wrong class of a tie",
        BEST,
        '    best = np.argsort(logits, axis=1, kind="stable")[:, ::-1][:, :k]\n',
    ),
    Bug(
        "accuracy: rank k only",
        "only rank k counted",
        BEST,
        BEST.replace("[:, :k]", "[:, k - 1 : k]"),
    ),
    Bug(
        "accuracy: divided by k",
        "divided by k",
        "    return float((best == targets[:, None]).any(axis=1).mean())\n",
        "    return float((best == targets[:, None]).mean())\n",
    ),
    # 6. Optimiser
    Bug(
        "groups: by the name weight",
        "BatchNorm's weight decays",
        "    for parameter in net.parameters():\n" + SPLIT,
        "    for name, parameter in net.named_parameters():\n"
        '        (decay if name.endswith("weight") else rest).append(parameter)\n',
    ),
    Bug("groups: exchanged", "groups exchanged", SPLIT, SPLIT.replace("> 1", "== 1")),
    Bug(
        "SGD: learning rate in the velocity",
        "learning rate in the velocity",
        SGD_V + SGD_P,
        "                velocity *= self.momentum\n"
        "                velocity += self.lr * g\n"
        "                ahead = self.lr * g + self.momentum * velocity\n"
        "                p -= ahead if self.nesterov else velocity\n",
    ),
    Bug(
        "SGD: damped gradient",
        "damped gradient",
        SGD_V,
        SGD_V.replace("+= g", "+= (1 - self.momentum) * g"),
    ),
    Bug(
        "SGD: decoupled weight decay",
        "decoupled weight decay",
        SGD_G,
        "                g = parameter.grad.numpy()\n"
        '                p -= self.lr * group["weight_decay"] * p\n',
    ),
    Bug(
        "SGD: gradient changed in place",
        "gradient changed by the step",
        SGD_G,
        '                g = parameter.grad.data\n                g += group["weight_decay"] * p\n',
    ),
    Bug(
        "SGD: nesterov with v for g",
        "nesterov with v for g",
        SGD_P,
        SGD_P.replace("(g + self.momentum", "(velocity + self.momentum"),
    ),
    Bug(
        "SGD: nesterov's move kept as velocity",
        "nesterov's move kept as the velocity",
        SGD_P,
        "                if self.nesterov:\n"
        "                    velocity *= self.momentum\n"
        "                    velocity += g\n"
        "                p -= self.lr * velocity\n",
    ),
    Bug(
        "SGD: a missing gradient counts as 0",
        "missing gradient taken for 0",
        SGD_NONE + SGD_G,
        "                p = parameter.data\n"
        "                g = 0 if parameter.grad is None else parameter.grad.numpy()\n"
        '                g = g + group["weight_decay"] * p\n',
    ),
    Bug(
        "SGD: the decay of the first group for all",
        "one weight decay for all groups",
        SGD_G,
        SGD_G.replace('group["weight_decay"]', 'self.groups[0]["weight_decay"]'),
    ),
    Bug(
        "clip: each gradient by itself",
        "each gradient clipped by itself",
        SCALE,
        """    for g in grads:
        own = math.sqrt(float((g**2).sum()))
        if own > max_norm:
            g *= max_norm / own
    return norm
""",
    ),
    Bug(
        "clip: sum of norms",
        "sum of norms",
        NORM,
        NORM.replace(
            "math.sqrt(sum(float((g**2).sum()) for g in grads))",
            "sum(math.sqrt(float((g**2).sum())) for g in grads)",
        ),
    ),
    Bug(
        "clip: small gradients made larger",
        "small gradients made larger",
        SCALE,
        SCALE.replace("norm > max_norm", "norm > 0"),
    ),
    Bug(
        "clip: norm after",
        "norm after clipping",
        SCALE,
        SCALE.replace("return norm", "return min(norm, max_norm)"),
    ),
    # 7. Schedules
    Bug(
        "steps: one step late",
        "one step late",
        "sum(milestone <= step for",
        "sum(milestone < step for",
    ),
    Bug(
        "cosine: warm-up from 0",
        "warm-up begins at 0",
        "        return lr * (step + 1) / warmup\n",
        "        return lr * step / warmup\n",
    ),
    Bug(
        "cosine: counted from step 0",
        "cosine counted from the beginning",
        "        return final\n    t = (step - warmup) / (total - warmup)\n",
        "        return final\n    t = step / total\n",
    ),
    Bug(
        "cosine: final rate added",
        "final added instead of reached",
        COSINE,
        COSINE.replace("(lr - final)", "lr"),
    ),
    Bug(
        "cosine: rises after the end",
        "rate rises again after the end",
        "    if step >= total:\n        return final\n",
        "",
    ),
    # 8. Data
    Bug(
        "statistics: mean of the images' deviations",
        "mean of the images' deviations",
        "images.std(axis=(0, 2, 3))",
        "images.std(axis=(2, 3)).mean(axis=0)",
    ),
    Bug(
        "normalise: division by 0",
        "division by 0",
        "    std = np.where(std == 0, 1.0, std)\n",
        "",
    ),
    Bug(
        "prepare: each set with its own statistics",
        "statistics of the test images",
        NORMALISED,
        NORMALISED.replace(
            "normalise(test, mean, std)", "normalise(test, *channel_statistics(test))"
        ),
    ),
    Bug(
        "prepare: statistics of both sets",
        "statistics of both sets together",
        "    mean, std = channel_statistics(train)\n",
        "    mean, std = channel_statistics(np.concatenate([train, test]))\n",
    ),
    Bug(
        "augment: last position never drawn",
        "last position never drawn",
        TOP_LEFT,
        TOP_LEFT.replace("2 * pad + 1", "max(2 * pad, 1)"),
    ),
    Bug(
        "augment: one crop for the batch",
        "one crop for all images",
        TOP_LEFT,
        TOP_LEFT + "    top[:], left[:] = top[0], left[0]\n",
    ),
    Bug(
        "augment: upside down",
        "mirrored upside down",
        MIRROR,
        MIRROR.replace("[:, :, ::-1]", "[:, ::-1]"),
    ),
    Bug(
        "augment: flip ignored",
        "mirrored although flip is False",
        "    mirror = rng.random(n) < 0.5 if flip else np.zeros(n, dtype=bool)\n",
        "    mirror = rng.random(n) < 0.5\n",
    ),
    # 9. Training
    Bug("epoch: training mode forgotten", "training mode", "    net.train()\n" + ORDER, ORDER),
    Bug("epoch: not shuffled", "not shuffled", ORDER, "    order = np.arange(len(images))\n"),
    Bug(
        "epoch: labels in the old order",
        "labels in another order than images",
        BACKWARD,
        BACKWARD.replace("labels[chosen]", "labels[start : start + batch_size]"),
    ),
    Bug(
        "epoch: gradients never forgotten",
        "gradients not forgotten",
        BACKWARD,
        BACKWARD.replace("        optimizer.zero_grad()\n", ""),
    ),
    Bug(
        "epoch: clipped after the step",
        "not clipped before the step",
        BACKWARD,
        """        optimizer.zero_grad()
        loss = loss_function(net(md.tensor(images[chosen])), labels[chosen])
        loss.backward()
        optimizer.step()
        if max_norm is not None:
            clip_grad_norm(net.parameters(), max_norm)
""",
    ),
    Bug(
        "epoch: last batch left out",
        "last batch left out",
        "range(0, len(images), batch_size)):\n        chosen",
        "range(0, len(images) - batch_size + 1, batch_size)):\n        chosen",
    ),
    Bug(
        "epoch: mean of the batches' losses",
        "mean of the batches' losses",
        TOTAL,
        "        total += loss.item()\n    return total / (number + 1)\n",
    ),
    Bug(
        "epoch: steps counted from 0",
        "steps counted from 0",
        "schedule(first_step + number)",
        "schedule(number)",
    ),
    Bug(
        "evaluate: training mode",
        "evaluation mode",
        EVAL,
        "    before = net.training\n",
    ),
    Bug(
        "evaluate: mode not restored",
        "mode not restored",
        "    net.train(before)\n",
        "    net.train()\n",
    ),
    Bug(
        "evaluate: gradients recorded",
        "gradients recorded",
        NO_GRAD,
        NO_GRAD.replace("no_grad", "enable_grad").replace(".numpy()", ".detach().numpy()"),
    ),
    Bug(
        "fit: schedule begins again in each epoch",
        "schedule begins again in each epoch",
        "                epoch * steps,\n",
        "                0,\n",
    ),
    Bug(
        "fit: epochs taken for steps",
        "epochs taken for steps",
        SCHEDULE,
        "        return warmup_cosine(step // steps, lr, warmup_epochs, epochs)\n",
    ),
    Bug(
        "fit: steps rounded down",
        "steps of an epoch rounded down",
        "    steps = math.ceil(len(images) / batch_size)\n",
        "    steps = len(images) // batch_size\n",
    ),
    Bug(
        "fit: augmented again and again",
        "augmented images augmented again",
        SEEN,
        "        images = images if augmentation is None else augmentation(images, rng)\n"
        "        seen = images\n",
    ),
    Bug(
        "fit: a new generator in each epoch",
        "the same random numbers in each epoch",
        SEEN,
        "        rng = np.random.default_rng(seed)\n" + SEEN,
    ),
    Bug(
        "fit: everything decays",
        "everything decays",
        "SGD(parameter_groups(net, weight_decay), lr,",
        'SGD([{"params": list(net.parameters()), "weight_decay": weight_decay}], lr,',
    ),
    Bug(
        "fit: smoothing not handed on",
        "smoothing not handed on",
        "        return smooth_cross_entropy(scores, targets, smoothing)\n",
        "        return smooth_cross_entropy(scores, targets)\n",
    ),
]
