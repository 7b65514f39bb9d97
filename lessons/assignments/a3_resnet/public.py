"""The public checks of A3: part of the handout. What they expect comes from minidl's layers.

Each check draws inputs, has calls.py run your code on them in a process of its own, and compares.
A `Cause` is a well-known mistake with the wrong result that it leads to. Blocks and networks are
written as a `Path`, a line of words, and wrong ones as another line of words.
"""

import math

import numpy as np

import minidl as md
import minidl.nn.functional as F
from minidl import nn
from minidl.data import digits
from minidl.teach.assign import Cause, check, compare, require

# Tools --------------------------------------------------------------------------------------------


class Path(nn.Module):
    """Layers in the order of a line of words.

    A word is the name of a layer, "relu", "mean" (over rows and columns), ">a" (remember this as
    a), "+x" (add the input), "+layer" (add layer(input)) or "+layer(a)" (add layer(a)).
    With cut "shortcut" or "branch" no gradient goes back along that way.
    """

    def __init__(self, path, **layers):
        super().__init__()
        self.path = path
        self.cut = ""
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        now, kept = x, {"x": x}
        for word in self.path.split():
            if word == "relu":
                now = F.relu(now)
            elif word == "mean":
                now = now.mean((2, 3))
            elif word.startswith(">"):
                kept[word[1:]] = now
            elif word == "+x":
                now = now + x
            elif word.startswith("+"):
                name, _, source = word[1:].rstrip(")").partition("(")
                start = kept[source or "x"]
                now = now.detach() if self.cut == "branch" else now
                now = now + getattr(self, name)(start.detach() if self.cut == "shortcut" else start)
            else:
                now = getattr(self, word)(now)
        return now


class Pad(nn.Module):
    """Option A by an explicit product: each channel of the result is one of x or none."""

    def __init__(self, in_planes, planes, stride, before=None):
        super().__init__()
        before = (planes - in_planes) // 2 if before is None else before
        self.stride = stride
        self.picks = np.zeros((planes, in_planes))
        self.picks[before : before + in_planes] = np.eye(in_planes)

    def forward(self, x):
        return F.conv2d(x, md.tensor(self.picks[:, :, None, None]), stride=self.stride)


def conv(in_planes, planes, size, stride=1):
    return nn.Conv2d(in_planes, planes, size, stride, padding=size // 2, bias=False)


def shortcut(option, in_planes, planes, stride):
    """What make_shortcut must return."""
    if option == "C" or (option == "B" and (stride, in_planes) != (1, planes)):
        return nn.Sequential(conv(in_planes, planes, 1, stride), nn.BatchNorm2d(planes))
    return Pad(in_planes, planes, stride)


BASIC = "conv1 bn1 relu conv2 bn2 +shortcut relu"
BOTTLENECK = "conv1 bn1 relu conv2 bn2 relu conv3 bn3 +shortcut relu"


def basic(in_planes, planes, stride, option):
    return Path(
        BASIC,
        conv1=conv(in_planes, planes, 3, stride),
        bn1=nn.BatchNorm2d(planes),
        conv2=conv(planes, planes, 3),
        bn2=nn.BatchNorm2d(planes),
        shortcut=shortcut(option, in_planes, planes, stride),
    )


def bottleneck(in_planes, planes, stride, option):
    return Path(
        BOTTLENECK,
        conv1=conv(in_planes, planes, 1),
        bn1=nn.BatchNorm2d(planes),
        conv2=conv(planes, planes, 3, stride),
        bn2=nn.BatchNorm2d(planes),
        conv3=conv(planes, 4 * planes, 1),
        bn3=nn.BatchNorm2d(4 * planes),
        shortcut=shortcut(option, in_planes, 4 * planes, stride),
    )


def preact(in_planes, planes, stride, option):
    changes = (stride, in_planes) != (1, planes)
    projects = changes and option == "B"
    way = conv(in_planes, planes, 1, stride) if projects else Pad(in_planes, planes, stride)
    return Path(
        "bn1 relu >a conv1 bn2 relu conv2 " + ("+shortcut(a)" if projects else "+shortcut"),
        bn1=nn.BatchNorm2d(in_planes),
        conv1=conv(in_planes, planes, 3, stride),
        bn2=nn.BatchNorm2d(planes),
        conv2=conv(planes, planes, 3),
        shortcut=way,
    )


NETWORK = "conv1 bn1 relu layer1 layer2 layer3 mean linear"
PREACT_NETWORK = "conv1 layer1 layer2 layer3 bn1 relu mean linear"


def network(n, classes, option, channels, width, is_preact):
    block = preact if is_preact else basic
    stages = {}
    before = width
    for number, planes in enumerate((width, 2 * width, 4 * width), 1):
        strides = [1 if number == 1 else 2] + [1] * (n - 1)
        inputs = [before] + [planes] * (n - 1)
        pairs = zip(inputs, strides, strict=True)
        stages[f"layer{number}"] = nn.Sequential(*(block(i, planes, s, option) for i, s in pairs))
        before = planes
    return Path(
        PREACT_NETWORK if is_preact else NETWORK,
        conv1=conv(channels, width, 3),
        bn1=nn.BatchNorm2d(before if is_preact else width),
        linear=nn.Linear(before, classes),
        **stages,
    )


class Case:
    """A module of the tools above with a random state in float64.

    Attributes:
        module: it.
        state: what a call of calls.py takes, {"names": ..., "arrays": ...}.
    """

    def __init__(self, module, rng):
        self.module = module.double()
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        self.tensors = {n: t for n, t in tensors.items() if not n.endswith("batches_tracked")}
        values = {}
        for name, tensor in self.tensors.items():
            draw = rng.standard_normal(tensor.shape)
            if tensor.ndim > 1:
                draw *= math.sqrt(2 / math.prod(tensor.shape[1:]))
            elif name.endswith(("weight", "var")):
                draw = rng.uniform(0.5, 2, tensor.shape)
            else:
                draw *= 0.3
            values[name] = draw
        self.state = {"names": list(values), "arrays": list(values.values())}

    @property
    def description(self):
        return sorted(f"{name} {tensor.shape}" for name, tensor in self.tensors.items())

    def run(self, x, training, grad=None, path=None, cut=""):
        """What calls.run must hand back; with another path or a cut: what it wrongly hands back."""
        self.module.cut = cut
        right = self.module.path if path else None
        if path:
            self.module.path = path
        for name, array in zip(*self.state.values(), strict=True):
            self.tensors[name].data[...] = array
        self.module.train(training)
        x = md.tensor(x, requires_grad=True)
        out = self.module(x)
        result = {"out": out.detach().numpy()}
        if grad is not None:
            self.module.zero_grad()
            out.backward(md.tensor(grad))
            result["grad of x"] = x.grad.numpy()
            for name, parameter in reversed(list(self.module.named_parameters())):
                if parameter.grad is not None:
                    result[f"grad of {name}"] = parameter.grad.numpy().copy()
        for name, buffer in self.module.named_buffers():
            if not name.endswith("batches_tracked"):
                result[name] = buffer.numpy().copy()
        if path:
            self.module.path = right
        return result

    def moved(self, x, training, strides):
        """The output with other strides of some layers, {name: stride}."""
        layers = {name: self.module.get_submodule(name) for name in strides}
        before = {name: layer.stride for name, layer in layers.items()}
        for name, layer in layers.items():
            layer.stride = (strides[name], strides[name])
        out = self.run(x, training)["out"]
        for name, layer in layers.items():
            layer.stride = before[name]
        return out


def named(got, case, within=""):
    """Demand the names and shapes of parameters and buffers that the contract says.

    Args:
        got: what came.
        case: what is expected.
        within: what stands before the names in a block, "shortcut." of a shortcut by itself.
    """
    wanted = case.description
    shown = [
        [name for name in wanted if name not in got["names"]],
        [name for name in got["names"] if name not in wanted],
    ]
    missing, extra = ([within + name for name in names] for names in shown)
    cause = (
        "names or shapes of parameters: The layers, their sizes or the names of the attributes are "
        "not those of the contract."
    )
    plain = {name.split()[0] for name in missing}, {name.split()[0] for name in extra}
    if any("conv" in name and "bias (" in name for name in extra):
        cause = (
            "bias before a BatchNorm: BatchNorm subtracts the mean, and with it any bias. "
            "bias=False in the convolution."
        )
    elif any("shortcut" in name and "bias (" in name for name in extra) and not missing:
        cause = (
            "bias before a BatchNorm: BatchNorm subtracts the mean, and with it any bias. "
            "bias=False in the convolution of the projection."
        )
    elif plain[0] == plain[1] and missing:
        cause = "sizes of layers: The names are right, the shapes are others."
    elif missing and all("shortcut.1." in name for name in missing) and not extra:
        cause = (
            "BatchNorm of the projection missing: A projection is a convolution and a BatchNorm: "
            "what comes through the shortcut is added to the output of a BatchNorm."
        )
    elif any("shortcut" in name for name in missing) and not extra:
        cause = (
            "projection missing: This shortcut must have parameters of its own. In a network: is "
            "the option handed on to every block?"
        )
    elif any("shortcut" in name for name in extra) and not missing:
        cause = "projection too many: This shortcut has no parameters, or fewer."
    require(
        not missing and not extra,
        "names and shapes of the state (state_dict) as in the contract; "
        f"missing: {', '.join(shown[0][:6]) or 'nothing'}; "
        f"not expected: {', '.join(shown[1][:6]) or 'nothing'}",
        cause,
        "Print [(name, p.shape) for name, p in module.named_parameters()].",
    )


def as_expected(got, expected, causes=(), look="", cuts=None):
    """Compare all that Case.run gives; causes are of "out", cuts (from `cut_ways`) of gradients."""
    for name, value in expected.items():
        gradient = name.startswith("grad")
        if name == "out":
            looks = look
        elif gradient:
            looks = (
                "The output is right, this gradient is not: look for .data, .numpy(), detach() and "
                "no_grad in the forward, which let no gradient through."
            )
        else:
            looks = "Each BatchNorm is to be used once in a forward, and as a module: bn(x)."
        own = causes if name == "out" else DETACHED if gradient else RUNNING
        if gradient and cuts:
            own = [
                Cause("gradient cut off", wrong[name], f"Nothing comes back along the {way}.")
                for way, wrong in cuts.items()
                if name in wrong and not np.allclose(wrong[name], value)
            ] + DETACHED
        compare(name, got[name], value, rtol=1e-6, atol=1e-9, causes=own, look=looks)


DETACHED = [
    Cause(
        "gradient cut off",
        lambda got: not np.asarray(got).any(),
        "No gradient arrives here: something in the forward leaves the graph.",
    )
]
RUNNING = [
    Cause(
        "running statistics not updated",
        lambda got: not np.asarray(got).any(),
        "In training each BatchNorm keeps running statistics.",
    )
]


def cut_ways(case, x, training, grad):
    """The wrong gradients where one of the two ways of a block is cut."""
    return {way: case.run(x, training, grad, cut=way) for way in ("shortcut", "branch")}


def unchanged(got, *names):
    """Demand that the call has left its inputs alone."""
    for name in names:
        require(
            name not in got.changed,
            f"{name} must be left as it was; the call has changed its elements",
            "input changed in place: others still need that array (the next epoch, another check).",
            "Look for x[...] = , -=, *= and out= on an argument or on a view of one; make a new "
            "array.",
        )


# 1. Initial values --------------------------------------------------------------------------------

PART1 = "1. Initial values"


def spread(name, weight, std, others=(), look=""):
    """Demand normal values with mean 0 and this standard deviation, within 6 standard errors.

    Args:
        name: of the weight.
        weight: it.
        std: expected.
        others: (cause, standard deviation that it leads to) for known mistakes.
        look: what to look at.
    """
    n, found = weight.size, float(weight.std())
    margin = 6 / math.sqrt(2 * n)
    cause = "standard deviation"
    for known, value in others:
        if abs(found / value - 1) < margin:
            cause = known
            break
    require(
        np.isfinite(weight).all() and abs(found / std - 1) < margin,
        f"{name} {weight.shape}: standard deviation expected {std:.5g} (to {margin:.1%}), got "
        f"{found:.5g}",
        cause,
        look,
    )
    mean = float(weight.mean())
    require(
        abs(mean) < 6 * std / math.sqrt(n),
        f"{name}: mean expected 0 (to {6 * std / math.sqrt(n):.2g}), got {mean:.3g}",
        "mean is not 0: the values lie around 0, half of them below.",
        look,
    )
    kurtosis = float((((weight - mean) / found) ** 4).mean())
    require(
        abs(kurtosis - 3) < 6 * math.sqrt(24 / n) + 0.02,
        f"{name}: mean of ((w - mean) / std)^4 expected 3, as of a normal distribution, got "
        f"{kurtosis:.3g}",
        "not normal: a uniform distribution gives 1.8, a normal one 3.",
        "rng.standard_normal or rng.normal.",
    )


HE_LOOK = "fan_out = O * KH * KW, the number of rows of the weight times the kernel's area."


def he_mistakes(o, c, kh, kw):
    out, inner = o * kh * kw, c * kh * kw
    return [
        (
            "fan_in instead of fan_out: the contract divides by the number of outputs that an "
            "input enters, not by the number of inputs of an output.",
            math.sqrt(2 / inner),
        ),
        (
            "the 2 is missing: ReLU sets half of the values to 0, and the 2 makes up for it.",
            math.sqrt(1 / out),
        ),
        (
            "variance taken for the standard deviation: 2 / fan_out is the variance; the standard "
            "deviation is its square root.",
            2 / out,
        ),
        (
            "kernel area forgotten: fan_out counts the kernel's elements, too.",
            math.sqrt(2 / o),
        ),
        ("Xavier instead of He: only one of the two fans enters.", math.sqrt(2 / (out + inner))),
        (
            "one side of the kernel forgotten: the area is KH * KW.",
            math.sqrt(2 / (o * kh)),
        ),
    ]


@check(points=2, part=PART1)
def he_normal_of_a_3x3_convolution(student, rng):
    """he_normal_: mean, standard deviation and form of the values of a weight (128, 32, 3, 3)."""
    shape = (128, 32, 3, 3)
    got = student.call("he_normal", shapes=shape, seed=int(rng.integers(1000)))
    weight = got["weight 0"]
    require(
        weight.any(),
        "random values; all are 0, as before the call",
        "not changed in place: weight = ... names a new Tensor. Change the elements: "
        "weight.data[...] = ... .",
    )
    require(weight.dtype == np.float32, f"dtype float32, got {weight.dtype}", "wrong dtype")
    spread("weight", weight, math.sqrt(2 / (128 * 9)), he_mistakes(*shape), HE_LOOK)


@check(points=3, part=PART1)
def initial_values_of_a_network(student, rng):
    """initialise: convolutions, BatchNorms and a linear layer, nested; all numbers were 7 before.

    Of the convolutions' values it is only asked whether they are random and of the right size,
    as he_normal_ has checks of its own.
    """
    got = student.call("initialise", seed=int(rng.integers(1000)))
    for name in ("2.0.weight", "2.1.0.weight"):
        require(
            (got[name] != 7).all(),
            f"{name} (a convolution inside another module) initialised; it still is 7",
            "nested layers left out: a network contains modules that contain modules.",
            "net.modules() walks through all of them; net.children() only through the first floor.",
        )
    require(
        (got["0.weight"] != 7).all(),
        "0.weight (a convolution without bias) initialised; it still is 7",
        "convolution left out",
    )
    for name in ("0.weight", "2.0.weight", "2.1.0.weight"):
        std, right = float(got[name].std()), math.sqrt(2 / (64 * 9))
        require(
            0.2 * right < std < 5 * right,
            f"{name}: a standard deviation near {right:.3g}, got {std:.3g}",
            "he_normal_ not used for convolutions",
        )
    require(
        not np.array_equal(got["2.0.weight"], got["2.1.0.weight"]),
        "other values in each layer; two convolutions of the same shape got the same",
        "the same values in two layers: a generator made anew (or with the same seed) for each "
        "layer begins again. Hand on the one rng.",
        "Where is default_rng called? Nowhere in this function.",
    )
    for name, expected, cause in (
        ("1.weight", 1, "BatchNorm's weight"),
        ("1.bias", 0, "BatchNorm's bias"),
        ("2.0.bias", 0, "bias of a convolution"),
        ("4.bias", 0, "bias of the linear layer"),
    ):
        require(
            (got[name] == expected).all(),
            f"{name} filled with {expected}, got {got[name].ravel()[0]:g} at its beginning",
            f"{cause}: its initial value is {expected}.",
        )
    linear = [
        ("He for the linear layer: its standard deviation is 0.01.", math.sqrt(2 / 256)),
        ("He for the linear layer: its standard deviation is 0.01.", math.sqrt(2 / 100)),
        (
            "variance taken for the standard deviation: 0.01 is the standard deviation.",
            math.sqrt(0.01),
        ),
    ]
    spread("4.weight", got["4.weight"], 0.01, linear)


@check(points=2, part=PART1)
def scales_that_are_zero_at_first(student, rng):
    """zero_last_scales: blocks with projections, all of whose numbers were 7 before."""
    zero_scales(student, "B")


def zero_scales(student, option):
    got = student.call("zero_last_scales", option=option)
    last = {"1.0.bn2.weight", "1.1.bn2.weight", "2.bn3.weight"}
    for name in sorted(last):
        require(
            name in got and not got[name].any(),
            f"{name} filled with 0, got {got[name].ravel()[0] if name in got else 'no such name'}",
            "last scale not 0: bn2 ends the branch of a BasicBlock, bn3 that of a Bottleneck.",
        )
    for name, array in got.items():
        cause = "something else set to 0"
        if "shortcut" in name:
            cause = (
                "scale of the shortcut set to 0: then nothing gets through the block at all. Only "
                "the branch ends with a scale of 0."
            )
        elif "bias" in name:
            cause = "shift set to 0, too: only the scale (weight) is asked for."
        elif name.startswith("3."):
            cause = (
                "PreActBlock changed: the last layer of its branch is a convolution; its bn2 "
                "stands in the middle."
            )
        elif name.startswith("0."):
            cause = "BatchNorm outside of blocks set to 0"
        elif "bn" in name:
            cause = "another scale than the last set to 0: the zeros would block the branch inside."
        require(
            name in last or (array == 7).all(),
            f"{name} left as it was (7), got {array.ravel()[0]:g}",
            cause,
            "Nothing but the last BatchNorm's weight of each branch changes.",
        )


# 2. Shortcuts -------------------------------------------------------------------------------------

PART2 = "2. Shortcuts"


def pad_causes(x, planes, stride):
    c = x.shape[1]
    extra = planes - c

    def padded(x, before):
        after = extra - before
        return np.pad(x, ((0, 0), (before, after), (0, 0), (0, 0)))

    strided = x[:, :, ::stride, ::stride]
    h, w = strided.shape[2:]
    causes = [
        Cause(
            "all zeros after the channels of x",
            padded(strided, 0),
            "Half of the new channels (rounded down) come before those of x.",
        ),
        Cause(
            "all zeros before the channels of x",
            padded(strided, extra),
            "Half of the new channels (rounded down) come before those of x, the others after.",
        ),
        Cause(
            "the odd channel on the wrong side",
            padded(strided, extra - extra // 2),
            "E // 2 channels before, E - E // 2 after.",
        ),
        Cause(
            "first stride forgotten, only channels",
            padded(x, extra // 2),
            "Rows and columns are taken every stride-th.",
        ),
        Cause(
            "only one direction subsampled",
            [padded(x[:, :, ::stride], extra // 2), padded(x[..., ::stride], extra // 2)],
            "The stride holds for rows and for columns.",
        ),
        Cause(
            "subsampling begins at another pixel",
            padded(x[:, :, stride - 1 :: stride, stride - 1 :: stride], extra // 2),
            "x[..., ::stride]: the first row and column stay.",
        ),
        Cause(
            "channels repeated",
            np.concatenate([strided] * 2, 1)[:, :planes],
            "The new channels are zeros.",
        ),
    ]
    if min(x.shape[2:]) >= stride:
        rows, columns = (n // stride * stride for n in x.shape[2:])
        pooled = x[:, :, :rows, :columns].reshape(
            *x.shape[:2], rows // stride, stride, columns // stride, stride
        )
        causes.append(
            Cause(
                "mean instead of subsampling",
                [padded(pooled.mean((3, 5)), extra // 2), padded(pooled.max((3, 5)), extra // 2)],
                "Pixels between are left out, not pooled.",
            )
        )
        causes.append(
            Cause(
                "size rounded down",
                padded(x[:, :, ::stride, ::stride], extra // 2)[
                    :, :, : x.shape[2] // stride, : x.shape[3] // stride
                ],
                f"{h} x {w} positions: of an odd number of rows the last one counts, too.",
            )
        )
    return causes


@check(points=2, part=PART2)
def option_a_with_stride_2(student, rng):
    """pad_shortcut: 4 channels to 8, stride 2, 6 x 8 pixels; and the gradient to x."""
    x, grad = rng.standard_normal((2, 4, 6, 8)), rng.standard_normal((2, 8, 3, 4))
    expected = Case(Path("pad", pad=Pad(4, 8, 2)), rng).run(x, True, grad)
    got = student.call("pad_shortcut", x=x, planes=8, stride=2, grad=grad)
    as_expected(
        got,
        expected,
        pad_causes(x, 8, 2),
        "Channels 2 to 5 of the result hold x[:, :, ::2, ::2], the others zeros.",
    )


@check(points=2, part=PART2)
def projection_with_stride_2(student, rng):
    """make_shortcut: option "B", 3 to 5 channels, stride 2: names, output in evaluation."""
    case = Case(shortcut("B", 3, 5, 2), rng)
    x = rng.standard_normal((2, 3, 5, 6))
    got = student.call(
        "shortcut",
        option="B",
        in_planes=3,
        planes=5,
        stride=2,
        **case.state,
        x=x,
        training=False,
    )
    named(got, case, "shortcut.")
    as_expected(
        got,
        case.run(x, False),
        [],
        "A 1x1 convolution with stride 2, then BatchNorm, no ReLU.",
    )


# 3. Blocks ----------------------------------------------------------------------------------------

PART3 = "3. Blocks"


def block_of(student, kind, case, arguments, x, training, grad=None):
    """Call a block; demand its names."""
    names = ("in_planes", "planes", "stride", "option")
    given = dict(zip(names, arguments, strict=True))
    got = student.call("block", kind=kind, **given, **case.state, x=x, training=training, grad=grad)
    named(got, case)
    return got


def basic_causes(case, x, training):
    """Wrong outputs of a BasicBlock."""

    def out(path):
        return case.run(x, training, path=path)["out"]

    causes = [
        Cause(
            "shortcut forgotten",
            out("conv1 bn1 relu conv2 bn2 relu"),
            "The sum with shortcut(x) comes before the last ReLU.",
        ),
        Cause(
            "ReLU before the sum",
            [
                out("conv1 bn1 relu conv2 bn2 relu +shortcut"),
                out("conv1 bn1 relu conv2 bn2 relu +shortcut relu"),
            ],
            "First the sum, then the ReLU: a branch that has passed a ReLU can only add.",
        ),
        Cause(
            "no ReLU after the sum",
            out("conv1 bn1 relu conv2 bn2 +shortcut"),
            "The block ends with a ReLU.",
        ),
        Cause(
            "no ReLU between the convolutions",
            out("conv1 bn1 conv2 bn2 +shortcut relu"),
            "After bn1 comes a ReLU; two convolutions without one are one.",
        ),
        Cause(
            "BatchNorm left out",
            [
                out("conv1 bn1 relu conv2 +shortcut relu"),
                out("conv1 relu conv2 bn2 +shortcut relu"),
            ],
            "Each convolution is followed by its BatchNorm.",
        ),
        Cause(
            "ReLU before BatchNorm",
            out("conv1 relu bn1 conv2 bn2 +shortcut relu"),
            "Convolution, BatchNorm, ReLU, in this order.",
        ),
    ]
    if case.module.conv1.weight.shape == case.module.conv2.weight.shape:
        causes.append(
            Cause(
                "a layer used twice",
                [
                    out("conv1 bn1 relu conv2 bn1 +shortcut relu"),
                    out("conv1 bn1 relu conv1 bn2 +shortcut relu"),
                ],
                "Each of conv1, bn1, conv2, bn2 is used once.",
            )
        )
    if case.module.conv1.stride == (2, 2):
        causes.append(
            Cause(
                "stride in the second convolution",
                case.moved(x, training, {"conv1": 1, "conv2": 2}),
                "conv1 has the stride: then conv2 computes on the smaller image.",
            )
        )
    return causes


BLOCK_LOOK = "Print the block's layers in turn, for one image, beside the formula of the docstring."


@check(points=2, part=PART3)
def basic_block_with_identity(student, rng):
    """BasicBlock(4, 4): output in evaluation, and gradients given a random one."""
    case = Case(basic(4, 4, 1, "B"), rng)
    x, grad = rng.standard_normal((2, 2, 4, 5, 6))
    got = block_of(student, "BasicBlock", case, (4, 4, 1, "B"), x, False, grad)
    cuts = cut_ways(case, x, False, grad)
    as_expected(got, case.run(x, False, grad), basic_causes(case, x, False), BLOCK_LOOK, cuts)


def bottleneck_causes(case, x, training):
    """Wrong outputs of a Bottleneck."""

    def out(path):
        return case.run(x, training, path=path)["out"]

    causes = [
        Cause(
            "shortcut forgotten",
            out("conv1 bn1 relu conv2 bn2 relu conv3 bn3 relu"),
            "The sum with shortcut(x) comes before the last ReLU.",
        ),
        Cause(
            "ReLU before the sum",
            [
                out("conv1 bn1 relu conv2 bn2 relu conv3 bn3 relu +shortcut"),
                out("conv1 bn1 relu conv2 bn2 relu conv3 bn3 relu +shortcut relu"),
            ],
            "First the sum, then the ReLU.",
        ),
        Cause(
            "no ReLU after the sum",
            out("conv1 bn1 relu conv2 bn2 relu conv3 bn3 +shortcut"),
            "The block ends with a ReLU.",
        ),
        Cause(
            "no ReLU between the convolutions",
            [
                out("conv1 bn1 conv2 bn2 relu conv3 bn3 +shortcut relu"),
                out("conv1 bn1 relu conv2 bn2 conv3 bn3 +shortcut relu"),
            ],
            "After bn1 and after bn2 comes a ReLU.",
        ),
        Cause(
            "BatchNorm left out",
            [
                out("conv1 bn1 relu conv2 bn2 relu conv3 +shortcut relu"),
                out("conv1 bn1 relu conv2 relu conv3 bn3 +shortcut relu"),
                out("conv1 relu conv2 bn2 relu conv3 bn3 +shortcut relu"),
            ],
            "Each convolution is followed by its BatchNorm.",
        ),
    ]
    if case.module.conv2.stride == (2, 2):
        for first, last, where in ((2, 1, "first"), (1, 2, "last")):
            causes.append(
                Cause(
                    f"stride in the {where} convolution",
                    case.moved(x, training, {"conv1": first, "conv2": 1, "conv3": last}),
                    "conv2, the 3x3, has the stride: a 1x1 with stride 2 never looks at three "
                    "pixels of four.",
                )
            )
    return causes


@check(points=3, part=PART3)
def bottleneck_with_projection(student, rng):
    """Bottleneck(6, 2, stride=2, option="B"): in training, with gradients and statistics."""
    case = Case(bottleneck(6, 2, 2, "B"), rng)
    x, grad = rng.standard_normal((3, 6, 6, 6)), rng.standard_normal((3, 8, 3, 3))
    got = block_of(student, "Bottleneck", case, (6, 2, 2, "B"), x, True, grad)
    cuts = cut_ways(case, x, True, grad)
    as_expected(got, case.run(x, True, grad), bottleneck_causes(case, x, True), BLOCK_LOOK, cuts)


def preact_causes(case, x, training):
    """Wrong outputs of a PreActBlock."""

    def out(path):
        return case.run(x, training, path=path)["out"]

    way = case.module.path.split()[-1]
    start = "bn1 relu >a conv1 bn2 relu conv2 "
    causes = [
        Cause(
            "ReLU after the sum",
            out(f"{start} {way} relu"),
            "Nothing comes after the sum: that is the point of this block.",
        ),
        Cause(
            "shortcut from the wrong place",
            [out(start + other) for other in ("+shortcut", "+shortcut(a)") if other != way],
            "A projection takes a = relu(bn1(x)); the identity and option A take x itself.",
        ),
        Cause("shortcut forgotten", out(start), "The sum with the shortcut is missing."),
        Cause(
            "ReLU left out",
            [
                out(f"bn1 >a conv1 bn2 relu conv2 {way}"),
                out(f"bn1 relu >a conv1 bn2 conv2 {way}"),
            ],
            "Each convolution comes after a BatchNorm and a ReLU.",
        ),
        Cause(
            "second BatchNorm left out",
            out(f"bn1 relu >a conv1 relu conv2 {way}"),
            "Each convolution comes after a BatchNorm and a ReLU.",
        ),
    ]
    if case.module.conv1.weight.shape == case.module.conv2.weight.shape and (
        case.module.conv1.stride == (1, 1)
    ):
        causes.append(
            Cause(
                "the order of the old block",
                out(f"conv1 bn1 relu >a conv2 bn2 {way}"),
                "BatchNorm and ReLU come before the convolution.",
            )
        )
    if case.module.conv1.stride == (2, 2):
        causes.append(
            Cause(
                "stride in the second convolution",
                case.moved(x, training, {"conv1": 1, "conv2": 2}),
                "conv1 has the stride.",
            )
        )
    return causes


@check(points=2, part=PART3)
def preactivation_block_with_projection(student, rng):
    """PreActBlock(3, 5, stride=2, option="B"): names and output in evaluation."""
    case = Case(preact(3, 5, 2, "B"), rng)
    x = rng.standard_normal((2, 3, 6, 5))
    got = block_of(student, "PreActBlock", case, (3, 5, 2, "B"), x, False)
    as_expected(got, case.run(x, False), preact_causes(case, x, False), BLOCK_LOOK)


# 4. The network -----------------------------------------------------------------------------------

PART4 = "4. The network"


@check(points=2, part=PART4)
def depth_and_number_of_parameters(student, rng):
    """blocks_per_stage(8, 20, 110), and of depths there are none of; count_parameters of layers."""
    got = student.call("depths", depths=[8, 20, 110, 18, 21, 2])
    numbers = got["numbers"]
    require(
        numbers[3:] == [-1, -1, -1],
        f"a ValueError for the depths 18, 21 and 2; what came (-1: ValueError): {numbers[3:]}",
        "depths that are not 6 n + 2 accepted: 18 would be rounded silently to another network.",
        "(depth - 2) must be a multiple of 6, and n at least 1.",
    )
    require(
        numbers[:3] == [1, 3, 18],
        f"n = 1, 3 and 18 for the depths 8, 20 and 110, got {numbers[:3]}",
        "number of blocks: three stages of n blocks of 2 layers, conv1 and the linear layer: "
        "6 n + 2.",
    )
    # By hand: convolution 3 * 5 * 9 + 5, BatchNorm 2 * 5, linear 5 * 7 + 7.
    numbers = student.call("count")["numbers"]
    known = {
        140 + 10 + 42 + 10: "buffers counted, too",
        140 + 10 + 42 + 11: "buffers counted, too",
        6: "tensors counted instead of elements",
        140 + 42: "nested layers left out",
        135 + 5 + 35: "biases left out",
    }
    require(
        list(numbers) == [192, 0],
        f"192 for a convolution, a BatchNorm and a linear layer, and 0 for a ReLU; got {numbers}",
        known.get(numbers[0], "number of parameters"),
        "A parameter's number of elements is the product of its shape.",
    )


@check(points=1, part=PART4)
def layers_of_resnet_8(student, rng):
    """CifarResNet(1, option="A"): names and shapes of all parameters and buffers."""
    got = student.call("network", options=[1, 10, "A", 3, 16, False])
    named(got, Case(network(1, 10, "A", 3, 16, False), rng))


def network_causes(case, x, training):
    """Wrong scores of a CifarResNet."""

    def out(path):
        return case.run(x, training, path=path)["out"]

    right = case.module.path
    causes = [
        Cause(
            "ReLU after the first convolution left out",
            out("conv1 bn1 layer1 layer2 layer3 mean linear"),
            "conv1, bn1, ReLU, then layer1.",
        )
        if right == NETWORK
        else Cause(
            "last BatchNorm and ReLU",
            [
                out("conv1 layer1 layer2 layer3 mean linear"),
                out("conv1 layer1 layer2 layer3 bn1 mean linear"),
                out("conv1 layer1 layer2 layer3 relu mean linear"),
            ],
            "The last block ends with a sum that has seen no BatchNorm and no ReLU: both come "
            "before the mean.",
        ),
        Cause(
            "ReLU of the scores",
            out(right + " relu"),
            "Scores are not limited: nothing comes after the linear layer.",
        ),
    ]
    if right == NETWORK:
        causes.append(
            Cause(
                "BatchNorm after the first convolution left out",
                out("conv1 relu layer1 layer2 layer3 mean linear"),
                "conv1, bn1, ReLU, then layer1.",
            )
        )
    maximum = case.run(x, training, path=right.replace("mean linear", ">end"))["out"].max((2, 3))
    weight, bias = (
        case.state["arrays"][case.state["names"].index(f"linear.{n}")] for n in ("weight", "bias")
    )
    causes.append(
        Cause("maximum instead of mean", maximum @ weight.T + bias, "The mean of each map.")
    )
    total = case.run(x, training, path=right.replace("mean linear", ">end"))["out"].sum((2, 3))
    causes.append(Cause("sum instead of mean", total @ weight.T + bias, "The mean of each map."))
    for strides, name, why in (
        ({2: 1}, "stride of the stages", "layer2 and layer3 begin with stride 2."),
        ({3: 1}, "stride of the stages", "layer2 and layer3 begin with stride 2."),
        ({1: 2}, "stride of the stages", "layer1 keeps the size."),
    ):
        moves = {}
        for stage, stride in strides.items():
            moves[f"layer{stage}.0.conv1"] = stride
            moves[f"layer{stage}.0.shortcut"] = stride
        if all(hasattr(case.module.get_submodule(m), "stride") for m in moves):
            causes.append(Cause(name, case.moved(x, training, moves), why))
    return causes


@check(points=3, part=PART4)
def scores_of_resnet_14(student, rng):
    """CifarResNet(2, 5, "A", 2, 4): scores of 2 images of 8 x 12 pixels, in evaluation."""
    options = [2, 5, "A", 2, 4, False]
    case = Case(network(*options), rng)
    x = rng.standard_normal((2, 2, 8, 12))
    got = student.call("network", options=options, **case.state, x=x)
    named(got, case)
    as_expected(
        got,
        case.run(x, False),
        network_causes(case, x, False),
        "If the checks of blocks pass: print shape and mean after conv1, layer1, layer2, layer3.",
    )


# 5. Loss and accuracy -----------------------------------------------------------------------------

PART5 = "5. Loss and accuracy"


def loss_of(logits, targets, smoothing, grad=1.0, rule="right"):
    """The loss by its definition, in float64, and its gradient."""
    n, k = logits.shape
    z = logits.astype(np.float64)
    z = z - z.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = np.eye(k)[targets] * (1 - smoothing)
    if rule == "others":
        q = q + smoothing / (k - 1) * (1 - np.eye(k)[targets])
    elif rule == "k - 1":
        q = q + smoothing / (k - 1)
    elif rule == "one":
        q = np.eye(k)[targets] + smoothing / k
    elif rule == "swapped":
        q = np.eye(k)[targets] * smoothing + (1 - smoothing) / k
    elif rule == "sum over k":
        q = q + smoothing
    elif rule == "no even":
        pass
    else:
        q = q + smoothing / k
    loss = -(q * log_p).sum() / n
    return loss, grad * (np.exp(log_p) * q.sum(1, keepdims=True) - q) / n


def loss_causes(logits, targets, smoothing):
    n = len(logits)
    right = loss_of(logits, targets, smoothing)[0]
    rules = {
        "smoothing shared among the others only": (
            "others",
            "smoothing / K goes to each of the K classes, its own too.",
        ),
        "smoothing divided by K - 1": ("k - 1", "smoothing / K goes to each class."),
        "own class not reduced": ("one", "The class itself has 1 - smoothing + smoothing / K."),
        "smoothing and 1 - smoothing exchanged": (
            "swapped",
            "smoothing is the share of the even distribution.",
        ),
        "even part not divided by K": ("sum over k", "Each class gets smoothing / K."),
        "even part forgotten": ("no even", "smoothing / K of each class belongs to q, too."),
    }
    causes = [Cause("sum instead of mean", np.array(right * n), "The mean over the batch.")]
    causes.append(
        Cause(
            "smoothing has no effect",
            np.array(loss_of(logits, targets, 0.0)[0]),
            "The targets are to be smoothed.",
        )
    )
    causes += [
        Cause(name, np.array(loss_of(logits, targets, smoothing, rule=rule)[0]), why)
        for name, (rule, why) in rules.items()
        if smoothing
    ]
    with np.errstate(all="ignore"):
        p = np.exp(logits)
        p /= p.sum(0)
        wrong_axis = -np.log(p[np.arange(n), targets]).mean()
    causes.append(
        Cause("softmax over the batch", np.array(wrong_axis), "Softmax is over the K classes.")
    )
    return causes


@check(points=3, part=PART5)
def smoothed_cross_entropy(student, rng):
    """smooth_cross_entropy: 6 images, 4 classes, smoothing 0 and 0.1, and the gradient."""
    logits, targets = rng.standard_normal((6, 4)) * 2, rng.integers(0, 4, 6)
    for smoothing in (0.0, 0.1):
        got = student.call("loss", logits=logits, targets=targets, smoothing=smoothing)
        loss, grad = loss_of(logits, targets, smoothing)
        compare(
            f"loss (smoothing {smoothing})",
            got["loss"],
            np.array(loss),
            causes=loss_causes(logits, targets, smoothing),
            factors={"N": 6, "K": 4},
            look="Write down q for one image with 4 classes and smoothing 0.1: 0.925 and 0.025.",
        )
        compare("grad of logits", got["grad of logits"], grad, causes=DETACHED, factors={"N": 6})


@check(points=1, part=PART5)
def top_1_and_top_2_accuracy(student, rng):
    """topk_accuracy: four images whose ranks can be read off, k = 1, 2 and 3."""
    logits = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
    targets = np.array([1, 0, 1, 1])  # on ranks 1, 1, 2 and 3
    got = student.call("accuracy", logits=logits, targets=targets, ks=[1, 2, 3])
    accuracies(got, [0.5, 0.75, 1.0], (logits, targets, [1, 2, 3]))


def accuracies(got, expected, arguments):
    logits, targets, ks = arguments
    ranks = (logits > logits[np.arange(len(targets)), targets][:, None]).sum(1)
    low = (logits < logits[np.arange(len(targets)), targets][:, None]).sum(1)
    places = np.arange(logits.shape[1])
    own = logits[np.arange(len(targets)), targets][:, None]
    after = ranks + ((logits == own) & (places > targets[:, None])).sum(1)
    ties = ((logits == own) & (places < targets[:, None])).sum(1)
    compare(
        "accuracy",
        np.asarray(got["accuracy"], dtype=float),
        np.array(expected),
        causes=[
            Cause(
                "the lowest scores instead of the highest",
                [np.array([(rank < k).mean() for k in ks]) for rank in (low, low + ties)],
                "argsort sorts upwards: the best are at its end.",
            ),
            Cause(
                "all classes of a tie counted",
                np.array([(ranks < k).mean() for k in ks]),
                "Of equal scores only the class with the lower number counts as the higher: "
                "otherwise a network that always answers 0 has accuracy 1.",
            ),
            Cause(
                "the wrong class of a tie",
                np.array([(after < k).mean() for k in ks]),
                "Of equal scores the class with the lower number counts as the higher one. A "
                "reversed argsort puts the last one first; argsort(-x, kind='stable') does not.",
            ),
            Cause(
                "k has no effect",
                np.array([(ranks < 1).mean() for _ in ks]),
                "The class may be on any of the first k ranks.",
            ),
            Cause(
                "only rank k counted",
                np.array([(ranks == k - 1).mean() for k in ks]),
                "Any of the first k ranks counts, not only the k-th.",
            ),
            Cause(
                "count instead of share",
                np.array(expected) * len(targets),
                "The share of the images: divide by N.",
            ),
            Cause("in percent", np.array(expected) * 100, "From 0 to 1."),
            Cause(
                "divided by k",
                np.array([(ranks < k).mean() / k for k in ks]),
                "An image counts once, whatever k is: divide by N, not by N * k.",
            ),
        ],
        look="Sort the scores of one image by hand.",
    )


# 6. Optimiser -------------------------------------------------------------------------------------

PART6 = "6. Optimiser"


@check(points=2, part=PART6)
def what_decays(student, rng):
    """parameter_groups: which parameters of convolutions, BatchNorms and linear layers decay."""
    got = student.call("groups", weight_decay=0.01)
    require(got["count"] == 2, f"2 groups, got {got['count']}", "number of groups")
    first, second = list(got["group 0"]), list(got["group 1"])
    decay = ["0.weight", "2.0.weight", "3.weight", "4.weight"]
    rest = ["0.bias", "1.weight", "1.bias", "2.1.weight", "2.1.bias", "3.bias"]
    known = "group"
    if sorted(first) == sorted(rest):
        known = "groups exchanged: the first group is the one that decays."
    elif any(name in first for name in ("1.weight", "2.1.weight")):
        known = (
            "BatchNorm's weight decays: it has one axis, and its name ends with weight like that "
            "of a convolution. Ask for the number of axes, or for the kind of module."
        )
    elif any(name.endswith("bias") for name in first):
        known = "biases decay: only weights of convolutions and linear layers decay."
    elif len(first + second) != len(set(first + second)):
        known = "a parameter in both groups or twice: it would be changed twice in each step."
    elif len(first + second) < len(decay + rest):
        known = "parameters missing: what is in no group is never trained."
    require(
        sorted(first) == sorted(decay) and sorted(second) == sorted(rest),
        f"first group {sorted(decay)}, second {sorted(rest)}; got {sorted(first)} and "
        f"{sorted(second)}",
        known,
        "Names: 0 and 2.0 are convolutions, 1 and 2.1 BatchNorms, 3 and 4 linear layers.",
    )
    require(
        got["decay 0"] == 0.01 and got["decay 1"] == 0,
        f"weight_decay 0.01 and 0, got {got['decay 0']} and {got['decay 1']}",
        "decay of the groups",
    )


def sgd_run(params, sizes, decays, grads, missing, lrs, momentum, nesterov, rule="right"):
    """The parameters after each step, by the formulas of the docstring or by a wrong rule."""
    params = [np.array(p, dtype=float) for p in params]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    velocities = [np.zeros_like(p) for p in params]
    result = []
    for step, lr in enumerate(lrs):
        for i, p in enumerate(params):
            number = step * len(params) + i
            if missing[number]:
                if rule == "None as 0":
                    g = decays[owner[i]] * p
                elif rule == "velocity runs on":
                    g = np.zeros_like(p)
                else:
                    continue
            else:
                sign = -1 if rule == "decay grows" else 1
                decay = 0 if rule in ("no decay", "decoupled") else sign * decays[owner[i]]
                decay = decays[0] if rule == "one decay" else decay
                g = grads[number] + decay * p
            v = velocities[i]
            if rule == "damped":
                v = momentum * v + (1 - momentum) * g
            elif rule == "first step damped" and step == 0:
                v = (1 - momentum) * g
            elif rule == "lr inside":
                v = momentum * v + lr * g
            elif rule == "no momentum":
                v = g
            elif rule == "velocity changed by nesterov":
                v = momentum * v + g
                v = g + momentum * v
            else:
                v = momentum * v + g
            old, velocities[i] = velocities[i], v
            move = v
            if rule == "old velocity":
                move = old
            if (nesterov and rule != "nesterov ignored") or rule == "nesterov always":
                move = g + momentum * v
                if rule == "nesterov with the old velocity":
                    move = g + momentum * old
                elif rule == "nesterov v twice":
                    move = v + momentum * v
                elif rule == "nesterov without g":
                    move = momentum * v
                elif rule == "nesterov without decay":
                    move = grads[number] + momentum * v
            if rule == "velocity changed by nesterov":
                move = v
            first_lr = lrs[0] if rule == "first rate" else lr
            factor = 1 if rule == "lr inside" else first_lr
            if rule == "decoupled":
                p = p - lr * decays[owner[i]] * p
            params[i] = p + factor * move if rule == "uphill" else p - factor * move
        result.append([p.copy() for p in params])
    return result


RULES = {
    "uphill": ("sign", "Downhill: p minus lr * v."),
    "no momentum": ("momentum without effect", "The velocity adds up, v = momentum * v + g."),
    "damped": ("damped gradient", "v = momentum * v + g: g is not multiplied by 1 - momentum."),
    "first step damped": ("first step damped", "Before the first step v is 0."),
    "lr inside": (
        "learning rate in the velocity",
        "The learning rate comes in where p moves; the two differ as soon as it changes.",
    ),
    "old velocity": ("velocity of the step before", "First v, then p."),
    "no decay": ("weight decay without effect", "g = p.grad + weight_decay * p."),
    "decay grows": ("weight decay with the wrong sign", "g = p.grad + weight_decay * p."),
    "one decay": ("one weight decay for all groups", "Each group has its own weight_decay."),
    "decoupled": (
        "decoupled weight decay",
        "The decay goes past the velocity (AdamW's rule); here it is a part of g, and so enters "
        "the velocity.",
    ),
    "nesterov ignored": ("nesterov without effect", "With nesterov p moves by g + momentum * v."),
    "nesterov always": ("nesterov always on", "Without nesterov p moves by lr * v."),
    "nesterov with the old velocity": (
        "nesterov with the velocity of the step before",
        "g + momentum * v with the new v.",
    ),
    "nesterov v twice": ("nesterov with v for g", "g + momentum * v, not v + momentum * v."),
    "nesterov without g": ("nesterov without the gradient", "g + momentum * v."),
    "nesterov without decay": (
        "nesterov with the gradient before the decay",
        "g contains the weight decay in both places.",
    ),
    "velocity changed by nesterov": (
        "nesterov's move kept as the velocity",
        "p moves by g + momentum * v, but v itself stays momentum * v + g.",
    ),
    "first rate": (
        "learning rate of the first step",
        "lr is read from the attribute in each step: the schedule sets it.",
    ),
    "None as 0": ("missing gradient taken for 0", "Where grad is None nothing changes."),
    "velocity runs on": ("missing gradient taken for 0", "Where grad is None nothing changes."),
}


def sgd_check(student, params, sizes, decays, grads, missing, lrs, momentum, nesterov):
    """Call SGD and compare the parameters after each step."""
    arguments = (sizes, decays, grads, missing, lrs, momentum, nesterov)
    names = ("sizes", "decays", "grads", "missing", "lrs", "momentum", "nesterov")
    got = student.call("sgd", params=params, **dict(zip(names, arguments, strict=True)))
    expected = sgd_run(params, *arguments)
    known = {rule: sgd_run(params, *arguments, rule=rule) for rule in RULES}
    for step, values in enumerate(expected):
        for i, value in enumerate(values):
            causes = [
                Cause(
                    "not changed in place",
                    lambda got, i=i: np.array_equal(got, params[i]),
                    "The network holds the same Tensor: change its elements, as in "
                    "parameter.data -= ... .",
                ),
                *(
                    Cause(*RULES[rule][:1], [steps[step][i]], RULES[rule][1])
                    for rule, steps in known.items()
                    if not np.allclose(steps[step][i], value, rtol=1e-5, atol=1e-12)
                ),
            ]
            if missing[step * len(params) + i]:
                before = expected[step - 1][i] if step else params[i]
                causes.insert(
                    0,
                    Cause(
                        "missing gradient taken for 0",
                        lambda got, before=before: not np.allclose(got, before),
                        "Where grad is None nothing changes: continue with the next parameter.",
                    ),
                )
            name = f"param {i} after step {step + 1}"
            compare(name, got[name], value, causes=causes, look="Two steps by hand, with one p.")
    last = len(lrs) - 1
    for i in range(len(params)):
        if not missing[last * len(params) + i]:
            compare(
                f"grad {i} after the last step",
                got[f"grad {i}"],
                grads[last * len(params) + i],
                causes=[
                    Cause(
                        "gradient changed by the step",
                        lambda got: True,
                        "Others read p.grad after the step (a norm, another optimiser): make a "
                        "new array for g. += and the array of p.grad are the usual reason.",
                    )
                ],
            )
    require(
        all(got["forgotten"]),
        "zero_grad sets the grad of every parameter to None; some still have one",
        "zero_grad: gradients of the step before would add up with the new ones.",
    )
    return got


@check(points=3, part=PART6)
def sgd_with_momentum_and_decay(student, rng):
    """SGD: groups with decay 0.5 and 0, two steps, learning rates 0.5 and 0.25, momentum 0.5."""
    # By hand: g = 2 + 0.5 * 1 = 2.5, v = 2.5, p = 1 - 0.5 * 2.5 = -0.25; then
    # g = 4 - 0.125 = 3.875, v = 1.25 + 3.875 = 5.125, p = -0.25 - 0.25 * 5.125 = -1.53125.
    sgd_check(
        student,
        params=[np.array([1.0, 2.0]), np.array([3.0])],
        sizes=[1, 1],
        decays=[0.5, 0.0],
        grads=[np.array([2.0, -1.0]), np.array([1.0]), np.array([4.0, 0.5]), np.array([-3.0])],
        missing=[False] * 4,
        lrs=[0.5, 0.25],
        momentum=0.5,
        nesterov=False,
    )


def clip_check(student, grads, missing, max_norm, iterator):
    given = [g for g, none in zip(grads, missing, strict=True) if not none]
    norm = math.sqrt(sum((g**2).sum() for g in given))
    scale = min(1.0, max_norm / norm)
    got = student.call("clip", grads=grads, missing=missing, max_norm=max_norm, iterator=iterator)
    compare(
        "norm",
        got["norm"],
        np.array(norm),
        rtol=1e-5,
        causes=[
            Cause(
                "norm after clipping",
                np.array(norm * scale),
                "What is returned is the norm before: it tells how the training goes.",
            ),
            Cause("square root forgotten", np.array(norm**2), "The norm is the root of the sum."),
            Cause(
                "sum of norms",
                np.array(sum(np.sqrt((g**2).sum()) for g in given)),
                "All elements form one long vector: add up squares, one root at the end.",
            ),
            Cause(
                "largest of the norms",
                np.array(max(np.sqrt((g**2).sum()) for g in given)),
                "All elements form one long vector: add up squares, one root at the end.",
            ),
            Cause(
                "sum of absolute values",
                np.array(sum(np.abs(g).sum() for g in given)),
                "The root of the sum of squares.",
            ),
        ],
        look="The gradients (3, 0) and (4) have the norm 5.",
    )
    for i, (grad, none) in enumerate(zip(grads, missing, strict=True)):
        require(
            not got[f"param {i}"].any(),
            f"parameter {i} left as it was; its elements have changed",
            "parameters clipped instead of gradients",
        )
        if none:
            require(got[f"grad {i}"] is None, "grad stays None", "gradient out of nothing")
            continue
        each = min(1.0, max_norm / math.sqrt((grad**2).sum()))
        compare(
            f"grad {i}",
            got[f"grad {i}"],
            grad * scale,
            rtol=1e-5,
            causes=[
                Cause(
                    "each gradient clipped by itself",
                    grad * each,
                    "One factor for all gradients: otherwise the direction changes.",
                ),
                Cause(
                    "elements clipped",
                    np.clip(grad, -max_norm, max_norm),
                    "The norm is limited, not the elements.",
                ),
                Cause(
                    "small gradients made larger",
                    grad * max_norm / norm if norm < max_norm else np.zeros(0),
                    "A norm below max_norm stays as it is.",
                ),
                Cause(
                    "not clipped",
                    grad if scale < 1 else np.zeros(0),
                    "The gradients must change: p.grad is what the optimiser reads.",
                ),
                Cause(
                    "divided by the norm only",
                    grad / norm,
                    "max_norm / norm is the factor.",
                ),
                Cause("wrong factor", [grad / max_norm, grad * norm / max_norm], "max_norm / norm"),
            ],
            look="With (3, 0), (4) and max_norm 1 all is divided by 5.",
        )


@check(points=2, part=PART6)
def clipping_by_the_common_norm(student, rng):
    """clip_grad_norm: gradients (3, 0) and (4), whose norm is 5, max_norm 2."""
    grads = [np.array([3.0, 0.0]), np.array([[4.0]])]
    clip_check(student, grads, [False, False], 2.0, False)


# 7. Schedules -------------------------------------------------------------------------------------

PART7 = "7. Schedules"


def step_rates(student, steps, lr, milestones, gamma):
    got = student.call("step_schedule", steps=steps, lr=lr, milestones=milestones, gamma=gamma)

    def rates(power):
        return np.array([lr * gamma ** power(step) for step in steps])

    compare(
        "rates",
        got["rates"],
        rates(lambda s: sum(m <= s for m in milestones)),
        rtol=1e-9,
        causes=[
            Cause(
                "one step late",
                rates(lambda s: sum(m < s for m in milestones)),
                "The step with the milestone's number already has the smaller rate.",
            ),
            Cause(
                "one step early",
                rates(lambda s: sum(m <= s + 1 for m in milestones)),
                "The rate changes with the milestone, not before.",
            ),
            Cause(
                "only the first milestone",
                rates(lambda s: int(any(m <= s for m in milestones))),
                "Each milestone that has passed multiplies once more.",
            ),
            Cause(
                "milestones taken for sorted",
                rates(
                    lambda s: next((i for i, m in enumerate(milestones) if m > s), len(milestones))
                ),
                "Milestones come in any order: count those that are <= step.",
            ),
            Cause(
                "gamma subtracted or multiplied by the count",
                np.array(
                    [
                        lr * (gamma * max(1, n) if n else 1)
                        for n in (sum(m <= s for m in milestones) for s in steps)
                    ]
                ),
                "gamma to the power of the count.",
            ),
        ],
        look="lr * gamma ** (number of milestones <= step).",
    )


def cosine_rates(student, steps, lr, warmup, total, final):
    got = student.call("warmup_cosine", steps=steps, lr=lr, warmup=warmup, total=total, final=final)

    def rates(
        ramp=lambda s: lr * (s + 1) / warmup,
        t=lambda s: (s - warmup) / (total - warmup),
        curve=lambda t: final + (lr - final) * (1 + math.cos(math.pi * t)) / 2,
        end=lambda s: s >= total,
    ):
        def rate(s):
            if s < warmup:
                return ramp(s)
            return final if end(s) else curve(t(s))

        return np.array([rate(s) for s in steps])

    compare(
        "rates",
        got["rates"],
        rates(),
        rtol=1e-9,
        atol=1e-12,
        causes=[
            Cause(
                "warm-up begins at 0",
                rates(lambda s: lr * s / warmup),
                "The first step has lr / warmup: with rate 0 it would be lost.",
            ),
            Cause(
                "warm-up too slow",
                rates(lambda s: lr * (s + 1) / (warmup + 1)),
                "The last step of the warm-up has the full lr.",
            ),
            Cause(
                "cosine counted from the beginning",
                rates(t=lambda s: s / total),
                "t is 0 where the warm-up ends, and 1 at total.",
            ),
            Cause(
                "length of the cosine",
                [
                    rates(t=lambda s: (s - warmup) / total),
                    rates(t=lambda s: (s - warmup) / max(total - warmup - 1, 1)),
                    rates(t=lambda s: (s - warmup + 1) / (total - warmup)),
                ],
                "t = (step - warmup) / (total - warmup).",
            ),
            Cause(
                "final rate forgotten",
                [
                    rates(curve=lambda t: lr * (1 + math.cos(math.pi * t)) / 2),
                    np.where(
                        np.array(steps) >= total,
                        0,
                        rates(curve=lambda t: lr * (1 + math.cos(math.pi * t)) / 2),
                    ),
                ],
                "The curve falls from lr to final, not to 0.",
            ),
            Cause(
                "final added instead of reached",
                rates(curve=lambda t: final + lr * (1 + math.cos(math.pi * t)) / 2),
                "final + (lr - final) * ...: at t = 0 that is lr.",
            ),
            Cause(
                "straight line",
                rates(curve=lambda t: final + (lr - final) * (1 - t)),
                "Half a cosine: (1 + cos(pi * t)) / 2.",
            ),
            Cause(
                "quarter of a cosine",
                rates(curve=lambda t: final + (lr - final) * math.cos(math.pi * t / 2)),
                "Half a cosine: (1 + cos(pi * t)) / 2.",
            ),
            Cause(
                "rate rises again after the end",
                rates(end=lambda s: False),
                "From step `total` on it is final: a cosine would rise again.",
            ),
        ],
        look="By hand: lr 1, warmup 2, total 6: 0.5, 1, 1, 0.854, 0.5, 0.146, and then 0.",
    )


@check(points=1, part=PART7)
def rates_in_steps(student, rng):
    """step_schedule: lr 0.1, milestones 3 and 5, steps 0 to 7."""
    step_rates(student, list(range(8)), 0.1, [3, 5], 0.1)


@check(points=2, part=PART7)
def warm_up_and_cosine(student, rng):
    """warmup_cosine: lr 0.8, 3 steps of warm-up, 9 in all, steps 0 to 8."""
    cosine_rates(student, list(range(9)), 0.8, 3, 9, 0.0)


# 8. Data ------------------------------------------------------------------------------------------

PART8 = "8. Data"


def statistics_check(student, images):
    got = student.call("statistics", images=images)
    x = images.astype(float)
    compare(
        "mean",
        got["mean"],
        x.mean((0, 2, 3)),
        causes=[
            Cause("one mean for all channels", np.array(x.mean()), "Each channel has its own."),
            Cause("a mean for each image", x.mean((2, 3)), "One mean over all images."),
            Cause("a mean for each pixel", x.mean(0), "The mean is over rows and columns, too."),
        ],
        look="axis=(0, 2, 3): what remains is the axis of channels.",
    )
    count = x.size // x.shape[1]
    own = x - x.mean((2, 3), keepdims=True)
    compare(
        "std",
        got["std"],
        x.std((0, 2, 3)),
        causes=[
            Cause("unbiased", x.std((0, 2, 3), ddof=1), "Divide by N * H * W."),
            Cause("variance instead of std", x.var((0, 2, 3)), "The root of the variance."),
            Cause(
                "mean of the images' deviations",
                [x.std((2, 3)).mean(0), np.sqrt((own**2).mean((0, 2, 3)))],
                "Images differ in their mean: one deviation over all of them.",
            ),
        ],
        factors={"N * H * W": count},
    )
    unchanged(got, "images")


def normalise_check(student, images, mean, std):
    got = student.call("normalise", images=images, mean=mean, std=std)
    x, m = images.astype(float), mean[:, None, None]
    s = np.where(std == 0, 1.0, std)[:, None, None]
    compare(
        "images",
        got["images"],
        ((x - m) / s).astype(np.float32),
        rtol=1e-5,
        atol=1e-6,
        dtype=np.float32,
        causes=[
            Cause("divided by the variance", (x - m) / s**2, "Divide by std."),
            Cause("mean not subtracted", x / s, "First subtract the mean."),
            Cause("divided first", x / s - m, "(x - mean) / std: the mean is subtracted first."),
            Cause("not divided", x - m, "Divide by std."),
            Cause(
                "division by 0",
                lambda got: not np.isfinite(got).all(),
                "A channel that is the same everywhere has std 0: divide it by 1.",
            ),
            Cause(
                "std made larger",
                lambda got: 0 < np.abs(got - (x - m) / s).max() < 1,
                "std is used as it is, without an eps; only 0 is replaced.",
            ),
        ],
        look="mean[:, None, None] has the shape (C, 1, 1), which fits to (N, C, H, W).",
    )
    unchanged(got, "images", "mean", "std")


@check(points=2, part=PART8)
def statistics_and_normalisation(student, rng):
    """channel_statistics and normalise: 5 float images of 3 channels, 4 x 6 pixels."""
    images = rng.standard_normal((5, 3, 4, 6)) * np.array([1, 2, 4])[:, None, None] + 3
    images += rng.standard_normal((5, 1, 1, 1))
    statistics_check(student, images)
    normalise_check(student, images, np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 4.0]))


def augmented(images, pad, seed, flip, rule="right"):
    """What augment must return, image by image, pixel by pixel; or by a wrong rule."""
    rng = np.random.default_rng(seed)
    n, c, h, w = images.shape
    top, left = (rng.integers(0, 2 * pad + 1, n) for _ in range(2))
    if rule == "order of the draws":
        top, left = left, top
    if rule == "excludes the last":
        rng = np.random.default_rng(seed)
        top, left = (rng.integers(0, max(2 * pad, 1), n) for _ in range(2))
    mirror = rng.random(n) < 0.5 if flip else np.zeros(n, bool)
    if rule == "one move for all":
        top, left = np.full(n, top[0]), np.full(n, left[0])
    if rule == "one mirror for all":
        mirror[:] = mirror[0]
    if rule == "always mirrors":
        mirror[:] = True
    if rule == "never mirrors":
        mirror[:] = False
    if rule == "mirrors the others":
        mirror = ~mirror
    out = np.zeros_like(images)
    for i in range(n):
        for y in range(h):
            for x in range(w):
                across = w - 1 - x if mirror[i] and rule != "upside down" else x
                down = h - 1 - y if mirror[i] and rule == "upside down" else y
                row, column = down + top[i] - pad, across + left[i] - pad
                if rule == "mirrored before":  # the image is mirrored, then moved
                    down, across = y + top[i] - pad, x + left[i] - pad
                    row, column = down, w - 1 - across if mirror[i] else across
                if rule == "moves the other way":
                    row, column = down - top[i] + pad, across - left[i] + pad
                if rule == "wraps around":
                    row, column = row % h, column % w
                if rule == "repeats the border":
                    row, column = min(max(row, 0), h - 1), min(max(column, 0), w - 1)
                if 0 <= row < h and 0 <= column < w:
                    out[i, :, y, x] = images[i, :, row, column]
    return out


AUGMENT = {
    "order of the draws": ("top and left exchanged", "First top (rows), then left (columns)."),
    "excludes the last": (
        "last position never drawn",
        "rng.integers excludes its upper end: 0 to 2 * pad are 2 * pad + 1 positions.",
    ),
    "one move for all": ("one crop for all images", "Each image has its own top and left."),
    "one mirror for all": ("one coin for all images", "Each image has its own draw."),
    "always mirrors": ("all mirrored", "Only where mirror[i]."),
    "never mirrors": ("none mirrored", "Images with mirror[i] are mirrored."),
    "mirrors the others": ("the others mirrored", "rng.random(N) < 0.5 says which are mirrored."),
    "upside down": ("mirrored upside down", "Left and right are exchanged: the last axis."),
    "mirrored before": (
        "mirrored before the crop",
        "First the crop, then the mirror: otherwise an image moves the other way.",
    ),
    "moves the other way": ("moved the other way", "Row 0 of the result is padded row top[i]."),
    "wraps around": ("pixels come back on the other side", "Zeros enter at the border, no roll."),
    "repeats the border": ("border repeated", "The padding is zeros."),
}


def augment_check(student, images, pad, seed, flip):
    got = student.call("augment", images=images, pad=pad, seed=seed, flip=flip)
    right = augmented(images, pad, seed, flip)
    causes = [Cause("nothing done", images.copy(), "Each image is moved and perhaps mirrored.")]
    for rule, (name, why) in AUGMENT.items():
        wrong = augmented(images, pad, seed, flip, rule)
        if not np.array_equal(wrong, right):
            causes.append(Cause(name, wrong, why))
    if not flip:
        causes.insert(
            0,
            Cause(
                "mirrored although flip is False",
                augmented(images, pad, seed, True),
                "Mirrored digits are no digits: flip=False draws no coin and mirrors nothing.",
            ),
        )
    compare(
        "images",
        got["images"],
        right,
        dtype=images.dtype,
        causes=causes,
        look="Try one image with pixels 1, 2, 3 ..., pad 1, and print top, left and mirror.",
    )
    rng = np.random.default_rng(seed)
    for _ in range(2):
        rng.integers(0, 2 * pad + 1, len(images))
    if flip:
        rng.random(len(images))
    require(
        got["next_number"] == rng.random(),
        "the draws of the docstring, and no others; rng is somewhere else afterwards",
        "number of draws: without flip no coin is drawn.",
    )
    unchanged(got, "images")


@check(points=2, part=PART8)
def random_crops_and_mirrors(student, rng):
    """augment: 12 images of 2 channels, 4 x 5 pixels, pad 2, with flip."""
    augment_check(student, rng.standard_normal((12, 2, 4, 5)), 2, int(rng.integers(1000)), True)


# 9. Training --------------------------------------------------------------------------------------

PART9 = "9. Training"


def watched(rng, n, channels=2, classes=3):
    """A state for calls.Watched, images that tell their number by their first pixel, labels."""
    path = Path(
        "conv bn relu mean linear",
        conv=nn.Conv2d(channels, 4, 3, bias=False),
        bn=nn.BatchNorm2d(4),
        linear=nn.Linear(4, classes),
    )
    images = rng.standard_normal((n, channels, 5, 5))
    images[:, 0, 0, 0] = np.arange(n) / 10
    return Case(path, rng), images, rng.integers(0, classes, n)


def seen_order(got, n, batch_size, seed):
    """Demand that the images came in the order of the docstring, in batches of the right size."""
    sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
    found = list(got["sizes"])
    cause = "sizes of batches"
    if found == sizes[:-1]:
        cause = (
            "last batch left out: N need not be a multiple of batch_size; the last, smaller batch "
            "counts, too."
        )
    require(
        found == sizes,
        f"batches of {sizes} images, got {found}",
        cause,
        "range(0, N, batch_size), and a slice that may end beyond the array.",
    )
    order = np.random.default_rng(seed).permutation(n) / 10
    compare(
        "images in the order in which they were seen (their first pixels, image i having i / 10)",
        np.array(got["seen"], dtype=float),
        order,
        causes=[
            Cause(
                "not shuffled",
                np.arange(n) / 10,
                "rng.permutation(N) is the order of this epoch: without it each batch is the same "
                "in every epoch.",
            )
        ],
        look="order = rng.permutation(N); its first batch_size entries are the first batch.",
    )


def in_training_mode(got):
    require(
        all(got["modes"]) and got["mode after"],
        f"training mode in each forward and afterwards; BatchNorm's modes: {got['modes']}",
        "training mode: the network came in evaluation mode (from evaluate, say), in which "
        "BatchNorm does not use the batch. net.train() comes first.",
    )


@check(points=3, part=PART9)
def one_epoch(student, rng):
    """train_epoch: 10 images in batches of 4, a schedule, clipping; what network and optimiser see.

    The network, the optimiser and the loss are made in calls.py; the schedule is lr / (1 + step).
    """
    case, images, labels = watched(rng, 10)
    got = student.call(
        "train_epoch",
        images=images,
        labels=labels,
        **case.state,
        classes=3,
        batch_size=4,
        seed=5,
        lr=0.4,
        first_step=3,
        max_norm=0.5,
    )
    seen_order(got, 10, 4, 5)
    in_training_mode(got)
    compare(
        "learning rates of the steps",
        np.array(got["lrs"], dtype=float),
        np.array([0.4 / 4, 0.4 / 5, 0.4 / 6]),
        causes=[
            Cause("schedule not used", np.full(3, 0.4), "optimizer.lr = schedule(step)."),
            Cause(
                "steps counted from 0",
                0.4 / np.arange(1, 4),
                "The first step has the number first_step.",
            ),
            Cause(
                "rate of the step before",
                [np.array([0.4, 0.1, 0.08]), np.array([0.4 / 3, 0.1, 0.08])],
                "Set the rate before the step.",
            ),
            Cause("one step ahead", 0.4 / np.arange(5, 8), "The first is number first_step."),
            Cause("rate the same all over the epoch", np.full(3, 0.1), "A rate for each step."),
        ],
        look="The schedule is asked with the numbers 3, 4 and 5.",
    )
    require(
        max(got["norms"]) < 0.5 * (1 + 1e-5),
        f"gradients clipped to the norm 0.5 before each step; their norms in the three steps: "
        f"{', '.join(f'{norm:.3g}' for norm in got['norms'])}",
        "not clipped before the step: clip between backward and step.",
        "If the checks of clip_grad_norm fail, mend them first.",
    )


def evaluate_check(student, rng, n, batch_size, k, training):
    case, images, labels = watched(rng, n, classes=5)
    got = student.call(
        "evaluate",
        images=images,
        labels=labels,
        **case.state,
        classes=5,
        batch_size=batch_size,
        k=k,
        training=training,
    )

    def accuracy(mode, rows=slice(None), k=k):
        out = case.run(images[rows], mode)["out"]
        rank = (out > out[np.arange(len(out)), labels[rows]][:, None]).sum(1)
        return (rank < k).mean()

    require(
        not any(got["modes"]),
        f"evaluation mode in each forward; BatchNorm's modes (True: training): {got['modes']}",
        "evaluation mode: in training mode the answer for an image depends on the others of its "
        "batch, and evaluating changes the running statistics. net.eval() comes first.",
    )
    require(
        not any(got["recording"]),
        "no recording of gradients; is_grad_enabled was True",
        "gradients recorded: with md.no_grad(): saves the memory of all intermediate results.",
    )
    require(
        list(got["mode after"]) == [training, training],
        f"the mode of before afterwards: training={training}; got {list(got['mode after'])}",
        "mode not restored: remember net.training, and set that again with net.train(before).",
    )
    batches = [slice(s, s + batch_size) for s in range(0, n, batch_size)]
    whole = n // batch_size * batch_size
    compare(
        "accuracy",
        got["accuracy"],
        np.array(accuracy(False)),
        causes=[
            Cause(
                "mean of the batches' accuracies",
                np.array(np.mean([accuracy(False, b) for b in batches])),
                "The last batch is smaller and must count less: count images.",
            ),
            Cause(
                "last batch left out",
                [
                    np.array(accuracy(False, slice(0, whole))),
                    np.array(accuracy(False, slice(0, whole)) * whole / n),
                ]
                if 0 < whole < n
                else np.zeros(0),
                "N need not be a multiple of batch_size.",
            ),
            Cause("k not handed on", np.array(accuracy(False, k=1)), "topk_accuracy(..., k)."),
            Cause(
                "count instead of share",
                np.array(accuracy(False) * n),
                "The share of the images.",
            ),
        ],
        look="If the checks of topk_accuracy fail, mend them first.",
    )
    for name, array in zip(*case.state.values(), strict=True):
        require(
            np.array_equal(got[f"{name} after"], array),
            f"{name} left as it was",
            "network changed by evaluating it",
        )


@check(points=2, part=PART9)
def evaluation(student, rng):
    """evaluate: 7 images in batches of 3, the network being in training mode before."""
    evaluate_check(student, rng, 7, 3, 1, True)


def small_digits(count, test):
    """(images (N, 1, 8, 8), labels) of training and test: the middle, every 3 x 3 pixels one."""
    result = []
    for train, number in ((True, count), (False, test)):
        data = digits(train=train)
        images = data.images[:number, :, 2:26, 2:26].reshape(number, 1, 8, 3, 8, 3).mean((3, 5))
        result += [images.astype(np.float32), data.labels[:number].astype(np.int64)]
    return result


@check(points=2, part=PART9)
def a_resnet_learns_digits(student, rng):
    """All together: a ResNet-8 of width 8, 800 digits of 8 x 8 pixels, 8 epochs; at least 70 %."""
    train, train_labels, test, test_labels = small_digits(800, 400)
    got = student.call(
        "digits",
        train=train,
        train_labels=train_labels,
        test=test,
        test_labels=test_labels,
        epochs=8,
        seed=1,
    )
    losses = [float(loss) for loss in got["losses"]]
    require(
        len(losses) == 8 and np.isfinite(losses).all(),
        f"8 finite losses, one for each epoch; got {losses}",
        "losses of the epochs",
    )
    require(
        losses[-1] < 0.7 * losses[0],
        f"a loss that falls by 30 % at least; losses: {', '.join(f'{x:.3f}' for x in losses)}",
        "the network does not learn",
        "Mend the failing checks of the other parts first. Else: train on one batch again and "
        "again; its loss must go to what smoothing leaves.",
    )
    require(
        got["accuracy"] >= 0.70,
        f"an accuracy of at least 0.70 on digits not seen in training; got {got['accuracy']:.3f}",
        "the network does not generalise: the loss falls, so it learns; what differs between "
        "training and test? Normalisation, BatchNorm's mode, mirrored digits.",
    )
