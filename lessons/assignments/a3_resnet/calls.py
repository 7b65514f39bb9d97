"""How the checks use resnet.py: each function runs one piece and hands back all that came of it.

This runs beside the submission and knows no answers. Every call is a new process, so two calls
share nothing. What README.md excludes is closed here, before the submission is imported.
"""

import sys

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl import nn


def closed(*args, **kwargs):
    raise ImportError("this function of minidl may not be imported or used in this assignment")


for room in ("data", "metrics", "models", "optim", "training"):
    sys.modules[f"minidl.{room}"] = None
    vars(md).pop(room, None)
for place, names in (
    (F, ("cross_entropy", "nll_loss")),
    (nn, ("CrossEntropyLoss", "NLLLoss")),
    (nn.utils, ("clip_grad_norm_",)),
    (nn.init, ("kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_")),
):
    for name in names:
        setattr(place, name, closed)


# State in and out ---------------------------------------------------------------------------------


def arrays_of(module):
    """{name: Tensor} of all parameters and buffers but the counters of batches."""
    both = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {n: t for n, t in both.items() if not n.endswith("num_batches_tracked")}


def described(module):
    """The names and shapes of a module's state, sorted."""
    return sorted(f"{name} {tuple(t.shape)}" for name, t in arrays_of(module).items())


def filled(module, names, arrays):
    """Give a module the state of these names, in float64; False where it has another one."""
    wanted = sorted(f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True))
    if described(module) != wanted:
        return False
    module.double()
    own = arrays_of(module)
    for name, array in zip(names, arrays, strict=True):
        own[name].data[...] = array
    return True


def gradient(tensor):
    """What has arrived in .grad: zeros, if nothing has."""
    if tensor.grad is None:
        return np.zeros(tensor.shape, tensor.dtype)
    return tensor.grad.numpy()


def run(module, names, arrays, x, training, grad=None):
    """Forward and, where grad is given, backward of a module with a given state."""
    result = {"names": described(module)}
    if not filled(module, names, arrays):
        return result
    module.train(training)
    x = md.tensor(x, requires_grad=True)
    out = module(x)
    result |= {"out": out.detach().numpy(), "x after": x.detach().numpy()}
    if grad is not None:
        out.backward(md.tensor(grad))
        result["grad of x"] = gradient(x)
        for name, parameter in module.named_parameters():
            result[f"grad of {name}"] = gradient(parameter)
    for name, buffer in module.named_buffers():
        result[name] = buffer.numpy()
    return result


# 1. Initial values --------------------------------------------------------------------------------


def he_normal(student, shapes, seed, other_seed=0):
    """he_normal_ on weights of these shapes (numbers in fours), one after the other, one rng.

    Other generators, which must have no influence, have other_seed.
    """
    np.random.seed(other_seed)
    md.manual_seed(other_seed)
    rng = np.random.default_rng(seed)
    result = {}
    for i in range(0, len(shapes), 4):
        weight = nn.Parameter(md.zeros(tuple(shapes[i : i + 4])))
        student.resnet.he_normal_(weight, rng)
        result[f"weight {i // 4}"] = weight.detach().numpy()
    return result


def initialise(student, seed):
    """initialise on a network with nested layers, all of whose state was 7 before."""
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.Sequential(nn.Conv2d(64, 64, 3), nn.Sequential(nn.Conv2d(64, 64, 3, bias=False))),
        nn.Flatten(),
        nn.Linear(256, 100),
    )
    for parameter in net.parameters():
        parameter.data[...] = 7
    student.resnet.initialise(net, np.random.default_rng(seed))
    return {name: p.detach().numpy() for name, p in net.named_parameters()}


def zero_last_scales(student, option):
    """zero_last_scales on three blocks and a BatchNorm, all of whose state was 7 before."""
    R = student.resnet
    net = nn.Sequential(
        nn.BatchNorm2d(2),
        nn.Sequential(R.BasicBlock(2, 4, 2, option), R.BasicBlock(4, 4, 1, option)),
        R.Bottleneck(4, 2, 2, option),
        R.PreActBlock(8, 8, 1, option),
    )
    for tensor in arrays_of(net).values():
        tensor.data[...] = 7
    R.zero_last_scales(net)
    return {name: tensor.detach().numpy() for name, tensor in arrays_of(net).items()}


# 2. Shortcuts -------------------------------------------------------------------------------------


def pad_shortcut(student, x, planes, stride, grad=None):
    """pad_shortcut and, where grad is given, the gradient to x."""
    x = md.tensor(x, requires_grad=True)
    out = student.resnet.pad_shortcut(x, planes, stride)
    result = {"out": out.detach().numpy()}
    if grad is not None:
        out.backward(md.tensor(grad))
        result["grad of x"] = gradient(x)
    return result


def shortcut(student, option, in_planes, planes, stride, names, arrays, x, training, grad=None):
    """make_shortcut, with a given state."""
    module = student.resnet.make_shortcut(option, in_planes, planes, stride)
    return run(module, names, arrays, x, training, grad)


# 3. Blocks ----------------------------------------------------------------------------------------


def block(student, kind, in_planes, planes, stride, option, names, arrays, x, training, grad=None):
    """A block (kind: the name of its class), with a given state."""
    module = getattr(student.resnet, kind)(in_planes, planes, stride, option)
    return run(module, names, arrays, x, training, grad)


# 4. The network -----------------------------------------------------------------------------------


def depths(student, depths):
    """blocks_per_stage of each depth; -1 where it raises a ValueError."""
    numbers = []
    for depth in depths:
        try:
            numbers.append(student.resnet.blocks_per_stage(depth))
        except ValueError:
            numbers.append(-1)
    return {"numbers": numbers}


def count(student):
    """count_parameters of a network made here, one of whose parameters is frozen, and of none."""
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Sequential(nn.BatchNorm2d(5)), nn.Linear(5, 7))
    numbers = [student.resnet.count_parameters(net), student.resnet.count_parameters(nn.ReLU())]
    return {"numbers": numbers}


def network(student, options, names=None, arrays=None, x=None, training=False, grad=None):
    """CifarResNet(n, num_classes, option, in_channels, width, preact), with a given state."""
    net = student.resnet.CifarResNet(*options)
    if names is None:
        return {"names": described(net)}
    return run(net, names, arrays, x, training, grad)


# 5. Loss and accuracy -----------------------------------------------------------------------------


def loss(student, logits, targets, smoothing, grad=1.0):
    """smooth_cross_entropy and, given dL/dloss, the gradient to logits."""
    logits = md.tensor(logits, requires_grad=True)
    value = student.resnet.smooth_cross_entropy(logits, targets, smoothing)
    value.backward(md.tensor(np.asarray(grad, dtype=value.dtype)))
    return {"loss": value.detach().numpy(), "grad of logits": gradient(logits)}


def accuracy(student, logits, targets, ks):
    """topk_accuracy for each of ks."""
    return {"accuracy": [student.resnet.topk_accuracy(logits, targets, k) for k in ks]}


# 6. Optimiser -------------------------------------------------------------------------------------


def groups(student, weight_decay):
    """parameter_groups of a network made here: the names in both lists, and their decays."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)),
        nn.Linear(4, 2),
        nn.Linear(2, 3, bias=False),
    )
    names = {id(p): name for name, p in net.named_parameters()}
    found = student.resnet.parameter_groups(net, weight_decay)
    result = {"count": len(found)}
    for number, group in enumerate(found):
        members = list(group["params"])
        result[f"group {number}"] = [names.get(id(p), "something else") for p in members]
        result[f"decay {number}"] = group["weight_decay"]
    return result


def sgd(student, params, sizes, decays, grads, missing, lrs, momentum=0.0, nesterov=False):
    """SGD.step for each of lrs.

    Args:
        params: the parameters of all groups.
        sizes: how many of them each group has.
        decays: weight_decay of each group.
        grads: those of the first step, of the second ...
        missing: for each of grads whether it is None instead.
        lrs: of the steps.
    """
    parameters = [nn.Parameter(md.tensor(array)) for array in params]
    groups, start = [], 0
    for size, decay in zip(sizes, decays, strict=True):
        groups.append({"params": parameters[start : start + size], "weight_decay": decay})
        start += size
    optimizer = student.resnet.SGD(groups, lrs[0], momentum, nesterov)
    result = {}
    for step, lr in enumerate(lrs):
        for i, parameter in enumerate(parameters):
            number = step * len(parameters) + i
            given = None if missing[number] else md.tensor(grads[number])
            parameter.grad = given
        optimizer.lr = lr
        optimizer.step()
        for i, parameter in enumerate(parameters):
            result[f"param {i} after step {step + 1}"] = parameter.detach().numpy().copy()
    for i, parameter in enumerate(parameters):
        result[f"grad {i}"] = None if parameter.grad is None else parameter.grad.numpy().copy()
    optimizer.zero_grad()
    result["forgotten"] = [parameter.grad is None for parameter in parameters]
    return result


def clip(student, grads, missing, max_norm, iterator):
    """clip_grad_norm of parameters with these gradients, as a list or as an iterator."""
    parameters = []
    for array, is_none in zip(grads, missing, strict=True):
        parameters.append(nn.Parameter(md.zeros(array.shape, dtype=array.dtype)))
        if not is_none:
            parameters[-1].grad = md.tensor(array.copy())
    given = (p for p in parameters) if iterator else parameters
    norm = student.resnet.clip_grad_norm(given, max_norm)
    result = {"norm": float(norm)}
    for i, parameter in enumerate(parameters):
        result[f"grad {i}"] = None if parameter.grad is None else parameter.grad.numpy()
        result[f"param {i}"] = parameter.detach().numpy()
    return result


# 7. Schedules -------------------------------------------------------------------------------------


def step_schedule(student, steps, lr, milestones, gamma):
    """step_schedule for each of steps."""
    rates = [student.resnet.step_schedule(step, lr, milestones, gamma) for step in steps]
    return {"rates": np.array(rates, dtype=float)}


def warmup_cosine(student, steps, lr, warmup, total, final):
    """warmup_cosine for each of steps."""
    rates = [student.resnet.warmup_cosine(step, lr, warmup, total, final) for step in steps]
    return {"rates": np.array(rates, dtype=float)}


# 8. Data ------------------------------------------------------------------------------------------


def statistics(student, images):
    """channel_statistics."""
    mean, std = student.resnet.channel_statistics(images)
    return {"mean": mean, "std": std}


def normalise(student, images, mean, std):
    """normalise."""
    return {"images": student.resnet.normalise(images, mean, std)}


def prepare(student, train, test):
    """prepare."""
    train, test = student.resnet.prepare(train, test)
    return {"train": train, "test": test}


def augment(student, images, pad, seed, flip):
    """augment with a new generator, and the generator's next number."""
    rng = np.random.default_rng(seed)
    out = student.resnet.augment(images, pad, rng, flip)
    return {"images": out, "next_number": rng.random()}


# 9. Training --------------------------------------------------------------------------------------


class Watched(nn.Module):
    """A small network that notes how it is used; the top left pixel of an image tells which."""

    def __init__(self, channels, classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, classes)
        self.sizes, self.seen, self.modes, self.recording = [], [], [], []

    def forward(self, x):
        self.sizes.append(len(x))
        self.seen.extend(float(value) for value in x.detach().numpy()[:, 0, 0, 0])
        self.modes.append(bool(self.bn.training))
        self.recording.append(bool(md.is_grad_enabled()))
        return self.linear(F.relu(self.bn(self.conv(x))).mean((2, 3)))


class Plain:
    """The simplest optimiser; it notes what it meets."""

    def __init__(self, parameters, lr):
        self.parameters = list(parameters)
        self.lr = lr
        self.lrs, self.norms = [], []

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def step(self):
        grads = [p.grad.numpy() for p in self.parameters if p.grad is not None]
        self.norms.append(float(np.sqrt(sum((g**2).sum() for g in grads))))
        self.lrs.append(float(self.lr))
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.data -= self.lr * parameter.grad.numpy()


def watched(images, names, arrays, classes):
    net = Watched(images.shape[1], classes)
    if not filled(net, names, arrays):
        raise ValueError("the check and calls.py do not fit together")
    return net


def state_after(net):
    return {f"{name} after": t.detach().numpy() for name, t in arrays_of(net).items()}


def train_epoch(
    student, images, labels, names, arrays, classes, batch_size, seed, lr, first_step, max_norm
):
    """train_epoch with a network, an optimiser, a loss and a schedule made here.

    The schedule is lr / (1 + step), or None where first_step is None; the loss is the mean over
    the images of the squared distance between scores and targets.
    """
    net = watched(images, names, arrays, classes).eval()
    optimizer = Plain(net.parameters(), lr)

    def loss_function(scores, targets):
        return ((scores - np.eye(classes)[targets]) ** 2).sum() * (1 / len(targets))

    more = {} if first_step is None else {"schedule": lambda step: lr / (1 + step)}
    more |= {"first_step": first_step} if first_step else {}
    loss = student.resnet.train_epoch(
        net,
        loss_function,
        optimizer,
        images,
        labels,
        batch_size,
        np.random.default_rng(seed),
        max_norm=max_norm,
        **more,
    )
    noted = {"sizes": net.sizes, "seen": net.seen, "modes": net.modes, "lrs": optimizer.lrs}
    noted |= {"norms": optimizer.norms, "mode after": bool(net.training)}
    return {"loss": loss, **noted, **state_after(net)}


def evaluate(student, images, labels, names, arrays, classes, batch_size, k, training):
    """evaluate with a network made here, which is in the given mode before."""
    net = watched(images, names, arrays, classes).train(training)
    value = student.resnet.evaluate(net, images, labels, batch_size, k)
    noted = {"sizes": net.sizes, "modes": net.modes, "recording": net.recording}
    noted |= {"mode after": [bool(net.training), bool(net.bn.training)]}
    return {"accuracy": value, **noted, **state_after(net)}


def fit(student, images, labels, names, arrays, classes, pad, options, values):
    """fit with a network made here; options: names of arguments, values: theirs."""
    net = watched(images, names, arrays, classes)

    def augmentation(images, rng):
        return np.roll(images, rng.integers(0, pad + 1), axis=3)

    arguments = dict(zip(options, values, strict=True))
    if pad:
        arguments["augmentation"] = augmentation
    losses = student.resnet.fit(net, images, labels, **arguments)
    return {"losses": losses, "sizes": net.sizes, **state_after(net)}


def digits(student, train, train_labels, test, test_labels, epochs, seed):
    """All of resnet.py together: a ResNet-8 is made, trained and evaluated."""
    R = student.resnet
    net = R.CifarResNet(1, 10, "A", 1, 8)
    R.initialise(net, np.random.default_rng(seed))
    R.zero_last_scales(net)
    train, test = R.prepare(train, test)
    losses = R.fit(
        net,
        train,
        train_labels,
        epochs,
        32,
        0.2,
        warmup_epochs=1,
        smoothing=0.1,
        max_norm=5.0,
        augmentation=lambda images, rng: R.augment(images, 1, rng, flip=False),
        seed=seed,
    )
    accuracy = R.evaluate(net, test, test_labels)
    return {"losses": losses, "accuracy": accuracy}


def repeated(student, images, labels, seeds):
    """A network made and trained with each of seeds, other random numbers being drawn between."""
    R = student.resnet
    result = {}
    for number, seed in enumerate(seeds):
        np.random.seed(number)
        md.manual_seed(number)
        net = R.CifarResNet(1, 10, "B", 1, 4)
        R.initialise(net, np.random.default_rng(seed))
        made = net.linear.weight.detach().numpy().copy()
        R.fit(
            net,
            images,
            labels,
            2,
            16,
            0.1,
            augmentation=lambda images, rng: R.augment(images, 1, rng),
            seed=seed,
        )
        state = [tensor.detach().numpy().ravel() for tensor in arrays_of(net).values()]
        result[f"made {number}"] = made
        result[f"state {number}"] = np.concatenate(state)
    return result
