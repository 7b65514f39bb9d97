"""The hidden checks of A3: other sizes, options and arguments than the public ones."""

import math

import numpy as np

import minidl as md
from minidl.teach.assign import Cause, check, compare, require

from .public import (
    BLOCK_LOOK,
    HE_LOOK,
    PART1,
    PART2,
    PART3,
    PART4,
    PART5,
    PART6,
    PART7,
    PART8,
    PART9,
    Case,
    Pad,
    Path,
    accuracies,
    as_expected,
    augment_check,
    basic,
    basic_causes,
    block_of,
    bottleneck,
    bottleneck_causes,
    clip_check,
    cosine_rates,
    evaluate_check,
    he_mistakes,
    in_training_mode,
    loss_causes,
    loss_of,
    named,
    network,
    network_causes,
    normalise_check,
    pad_causes,
    preact,
    preact_causes,
    seen_order,
    sgd_check,
    shortcut,
    small_digits,
    spread,
    statistics_check,
    step_rates,
    unchanged,
    watched,
    zero_scales,
)

# 1. Initial values --------------------------------------------------------------------------------


@check(points=2, part=PART1)
def he_normal_of_other_shapes_and_draws(student, rng):
    """he_normal_: weights (64, 128, 1, 1), (48, 96, 5, 3) and twice (64, 32, 3, 3) from one rng."""
    shapes = [(64, 128, 1, 1), (48, 96, 5, 3), (64, 32, 3, 3), (64, 32, 3, 3)]
    flat = [size for shape in shapes for size in shape]
    got = student.call("he_normal", shapes=flat, seed=11)
    for number, (o, c, kh, kw) in enumerate(shapes[:3]):
        others = he_mistakes(o, c, kh, kw)
        std = math.sqrt(2 / (o * kh * kw))
        spread(f"weight {number}", got[f"weight {number}"], std, others, HE_LOOK)
    require(
        not np.array_equal(got["weight 2"], got["weight 3"]),
        "other values for the second weight of the same shape; they are equal",
        "the same values in two layers: a generator made anew begins again. Use the rng given.",
    )
    again = student.call("he_normal", shapes=flat, seed=11, other_seed=1)
    require(
        all(np.array_equal(again[name], got[name]) for name in got),
        "the same values for the same seed of rng; they differ",
        "random numbers from elsewhere: draw from the rng that the function is given.",
        "np.random.* and unseeded generators give others in each run.",
    )
    other = student.call("he_normal", shapes=flat, seed=12)
    require(
        not np.array_equal(other["weight 0"], got["weight 0"]),
        "other values for another seed of rng; they are equal",
        "the same values for each seed: draw from the rng that the function is given.",
    )


@check(points=1, part=PART1)
def scales_of_blocks_without_projection(student, rng):
    """zero_last_scales: blocks with option A, all of whose numbers were 7 before."""
    zero_scales(student, "A")


# 2. Shortcuts -------------------------------------------------------------------------------------


@check(points=2, part=PART2)
def option_a_with_odd_numbers(student, rng):
    """pad_shortcut: 3 to 8 channels, 7 x 5 pixels, strides 2, 3 and 1; 4 to 4 with stride 2."""
    for c, planes, stride, size in (
        (3, 8, 2, (7, 5)),
        (3, 6, 3, (7, 5)),
        (4, 4, 2, (5, 6)),
        (2, 3, 1, (3, 4)),
    ):
        x = rng.standard_normal((2, c, *size))
        grad = rng.standard_normal((2, planes, *(math.ceil(n / stride) for n in size)))
        expected = Case(Path("pad", pad=Pad(c, planes, stride)), rng).run(x, True, grad)
        got = student.call("pad_shortcut", x=x, planes=planes, stride=stride, grad=grad)
        as_expected(
            got,
            expected,
            pad_causes(x, planes, stride),
            "With E = planes - C new channels E // 2 come before those of x.",
        )
        unchanged(got, "x")


@check(points=2, part=PART2)
def which_shortcut_where(student, rng):
    """make_shortcut: options A, B and C where nothing, only the stride or only channels change."""
    for option, in_planes, planes, stride in (
        ("A", 4, 4, 1),
        ("B", 4, 4, 1),
        ("C", 4, 4, 1),
        ("B", 4, 4, 2),
        ("A", 4, 4, 2),
        ("B", 3, 4, 1),
        ("A", 3, 5, 1),
        ("C", 3, 4, 2),
    ):
        case = Case(shortcut(option, in_planes, planes, stride), rng)
        x = rng.standard_normal((2, in_planes, 5, 4))
        arguments = {"option": option, "in_planes": in_planes, "planes": planes, "stride": stride}
        got = student.call("shortcut", **arguments, **case.state, x=x, training=False)
        what = f"option {option}, {in_planes} to {planes} channels, stride {stride}"
        wanted, found = bool(case.description), bool(got["names"])
        cause = "kind of shortcut"
        if wanted and not found:
            cause = (
                "projection missing: with B it is needed if the channels or the stride change, "
                "with C always."
            )
        elif found and not wanted:
            cause = "projection too many: where nothing changes, A and B are the identity."
        require(
            wanted == found,
            f"{what}: {'a projection' if wanted else 'no parameters'}; parameters and buffers that "
            f"came: {', '.join(got['names']) or 'none'}",
            cause,
            "Two questions: which option, and does the shape change?",
        )
        named(got, case, "shortcut.")
        as_expected(
            got,
            case.run(x, False),
            [*pad_causes(x, planes, stride), Cause("identity missing", x * 0, "x itself.")],
            f"This was {what}.",
        )


@check(points=2, part=PART2)
def projection_in_training(student, rng):
    """make_shortcut: option "C", 2 to 3 channels, stride 3: output, gradients, statistics."""
    case = Case(shortcut("C", 2, 3, 3), rng)
    x, grad = rng.standard_normal((3, 2, 7, 5)), rng.standard_normal((3, 3, 3, 2))
    arguments = {"option": "C", "in_planes": 2, "planes": 3, "stride": 3}
    got = student.call("shortcut", **arguments, **case.state, x=x, training=True, grad=grad)
    named(got, case, "shortcut.")
    as_expected(got, case.run(x, True, grad), [], "A 1x1 convolution, then BatchNorm.")


# 3. Blocks ----------------------------------------------------------------------------------------


@check(points=3, part=PART3)
def basic_blocks_in_training(student, rng):
    """BasicBlock: option A, 3 to 6 channels, stride 2, 7 x 5 pixels; option C, 4 to 4, stride 1."""
    for arguments in ((3, 6, 2, "A"), (4, 4, 1, "C"), (3, 5, 2, "B")):
        in_planes, planes, stride, _ = arguments
        case = Case(basic(*arguments), rng)
        x = rng.standard_normal((3, in_planes, 7, 5))
        grad = rng.standard_normal((3, planes, *(math.ceil(n / stride) for n in (7, 5))))
        got = block_of(student, "BasicBlock", case, arguments, x, True, grad)
        expected = case.run(x, True, grad)
        as_expected(got, expected, basic_causes(case, x, True), BLOCK_LOOK)
        after = np.abs(got["x after"] - x).max()
        require(after == 0, "x left as it was by the forward", "input changed in place")


@check(points=3, part=PART3)
def bottlenecks_of_all_options(student, rng):
    """Bottleneck: identity (8 to 8), option A (4 to 12, stride 2), option C (8 to 8)."""
    for arguments in ((8, 2, 1, "B"), (4, 3, 2, "A"), (8, 2, 1, "C")):
        in_planes, planes, stride, _ = arguments
        case = Case(bottleneck(*arguments), rng)
        x = rng.standard_normal((2, in_planes, 5, 6))
        grad = rng.standard_normal((2, 4 * planes, *(math.ceil(n / stride) for n in (5, 6))))
        for training in (False, True):
            got = block_of(student, "Bottleneck", case, arguments, x, training, grad)
            causes = bottleneck_causes(case, x, training)
            as_expected(got, case.run(x, training, grad), causes, BLOCK_LOOK)


@check(points=3, part=PART3)
def preactivation_blocks_in_training(student, rng):
    """PreActBlock: identity, option A with stride 2, option B with channels only, option B."""
    for arguments in (
        (4, 4, 1, "A"),
        (4, 4, 1, "B"),
        (3, 6, 2, "A"),
        (3, 4, 1, "B"),
        (4, 4, 2, "B"),
    ):
        in_planes, planes, stride, _ = arguments
        case = Case(preact(*arguments), rng)
        x = rng.standard_normal((3, in_planes, 5, 6))
        grad = rng.standard_normal((3, planes, *(math.ceil(n / stride) for n in (5, 6))))
        got = block_of(student, "PreActBlock", case, arguments, x, True, grad)
        as_expected(got, case.run(x, True, grad), preact_causes(case, x, True), BLOCK_LOOK)


# 4. The network -----------------------------------------------------------------------------------


@check(points=2, part=PART4)
def layers_of_other_networks(student, rng):
    """CifarResNet: ResNet-20 (B), ResNet-56 (A), other widths, preact: names and shapes."""
    for options in (
        [3, 10, "B", 3, 16, False],
        [9, 100, "A", 3, 16, False],
        [1, 7, "C", 1, 6, False],
        [2, 10, "A", 3, 8, True],
        [2, 4, "B", 2, 4, True],
    ):
        got = student.call("network", options=options)
        named(got, Case(network(*options), rng))


@check(points=2, part=PART4)
def gradients_of_a_network(student, rng):
    """CifarResNet(2, 3, "B", 1, 4): 3 images of 9 x 7 pixels in training, all gradients."""
    options = [2, 3, "B", 1, 4, False]
    case = Case(network(*options), rng)
    x, grad = rng.standard_normal((3, 1, 9, 7)), rng.standard_normal((3, 3))
    got = student.call("network", options=options, **case.state, x=x, training=True, grad=grad)
    named(got, case)
    as_expected(
        got,
        case.run(x, True, grad),
        network_causes(case, x, True),
        "If the checks of blocks pass: print shape and mean after conv1, layer1, layer2, layer3.",
    )


@check(points=2, part=PART4)
def preactivation_network(student, rng):
    """CifarResNet(1, 4, option, 2, 4, preact=True): options A and B, with gradients."""
    for option in "AB":
        options = [1, 4, option, 2, 4, True]
        case = Case(network(*options), rng)
        x, grad = rng.standard_normal((3, 2, 8, 6)), rng.standard_normal((3, 4))
        got = student.call("network", options=options, **case.state, x=x, training=True, grad=grad)
        named(got, case)
        as_expected(
            got,
            case.run(x, True, grad),
            network_causes(case, x, True),
            "If the checks of PreActBlock pass, it is what stands before and after the stages.",
        )


# 5. Loss and accuracy -----------------------------------------------------------------------------


@check(points=3, part=PART5)
def loss_of_large_logits_and_its_gradient(student, rng):
    """smooth_cross_entropy: logits of size 1000, float32, smoothing 0.3 and 1, dL/dloss 2.5."""
    targets = rng.integers(0, 5, 4)
    for smoothing, size, dtype, grad in (
        (0.3, 1.0, np.float64, 2.5),
        (1.0, 1.0, np.float64, -0.5),
        (0.2, 1000.0, np.float64, 1.0),
        (0.2, 200.0, np.float32, 2.0),
    ):
        logits = (rng.standard_normal((4, 5)) * size).astype(dtype)
        arguments = {"logits": logits, "targets": targets, "smoothing": smoothing}
        got = student.call("loss", **arguments, grad=grad)
        loss, expected = loss_of(logits, targets, smoothing, grad)
        compare(
            f"loss (logits of size {size:g}, smoothing {smoothing})",
            got["loss"],
            np.array(loss, dtype=dtype),
            rtol=1e-5 if dtype is np.float32 else 1e-7,
            dtype=dtype,
            causes=[
                Cause(
                    "overflow of exp, logarithm of 0",
                    lambda got, size=size: not np.isfinite(got).all() or size > 100,
                    "exp(1000) is infinite, and log(exp(-1000)) minus infinity: log_softmax never "
                    "forms p. An eps inside the logarithm only hides it.",
                ),
                *loss_causes(logits.astype(float), targets, smoothing),
            ],
            factors={"N": 4, "K": 5},
        )
        compare(
            "grad of logits",
            got["grad of logits"],
            expected.astype(dtype),
            rtol=1e-4 if dtype is np.float32 else 1e-6,
            atol=1e-6 if dtype is np.float32 else 1e-9,
            dtype=dtype,
            causes=[
                Cause(
                    "gradient cut off",
                    lambda got: not np.asarray(got).any(),
                    "Everything from logits to the loss must be made of Tensors.",
                )
            ],
            factors={"N": 4},
        )
        unchanged(got, "logits", "targets")


@check(points=2, part=PART5)
def accuracy_with_ties(student, rng):
    """topk_accuracy: 40 images, 6 classes, scores with many ties, k = 1, 2, 5 and 6."""
    logits, targets = rng.integers(0, 4, (40, 6)).astype(float), rng.integers(0, 6, 40)
    order = [sorted(range(6), key=lambda c, row=row: (-row[c], c)) for row in logits]
    expected = [
        sum(int(t) in best[:k] for best, t in zip(order, targets, strict=True)) / 40
        for k in (1, 2, 5, 6)
    ]
    got = student.call("accuracy", logits=logits, targets=targets, ks=[1, 2, 5, 6])
    accuracies(got, expected, (logits, targets, [1, 2, 5, 6]))
    unchanged(got, "logits", "targets")


# 6. Optimiser -------------------------------------------------------------------------------------


def random_steps(rng, shapes, steps):
    params = [rng.standard_normal(shape) for shape in shapes]
    grads = [rng.standard_normal(shape) for _ in range(steps) for shape in shapes]
    return params, grads


@check(points=3, part=PART6)
def sgd_with_nesterov(student, rng):
    """SGD: nesterov, momentum 0.9, decays 0.1 and 0 and 0.3, four steps with changing rates."""
    params, grads = random_steps(rng, ((3, 2), (4,), (2, 1, 2)), 4)
    sgd_check(
        student,
        params,
        [1, 1, 1],
        [0.1, 0.0, 0.3],
        grads,
        [False] * 12,
        [0.1, 0.2, 0.05, 0.02],
        0.9,
        True,
    )


@check(points=2, part=PART6)
def sgd_with_missing_gradients(student, rng):
    """SGD: gradients that are None in some steps, float32, no momentum; then with momentum."""
    params, grads = random_steps(rng, ((3,), (2, 2)), 3)
    missing = [False, True, True, False, False, False]
    sgd_check(student, params, [1, 1], [0.2, 0.1], grads, missing, [0.1] * 3, 0.0, False)
    sgd_check(student, params, [2], [0.2], grads, missing, [0.1] * 3, 0.8, False)
    given = [array.astype(np.float32) for array in params]
    got = student.call(
        "sgd",
        params=given,
        sizes=[2],
        decays=[0.5],
        grads=[array.astype(np.float32) for array in grads],
        missing=[False] * 6,
        lrs=[0.1] * 3,
        momentum=0.9,
    )
    found = str(got["param 0 after step 3"].dtype)
    require(
        found == "float32",
        f"float32 parameters stay float32; got {found}",
        "wrong dtype: np.float64 numbers (np.sqrt, np.float64(0.1)) make float32 arrays float64.",
    )


@check(points=2, part=PART6)
def clipping_of_some_and_of_none(student, rng):
    """clip_grad_norm: an iterator, a parameter without gradient; a norm below max_norm; float32."""
    grads = [rng.standard_normal(shape) for shape in ((3, 2), (4,), (2, 2, 2), (1,))]
    missing = [False, True, False, False]
    clip_check(student, grads, missing, 0.7, True)
    clip_check(student, grads, missing, 100.0, False)
    clip_check(student, grads, missing, 100.0, True)


# 7. Schedules -------------------------------------------------------------------------------------


@check(points=1, part=PART7)
def rates_in_steps_with_other_arguments(student, rng):
    """step_schedule: milestones in any order and at 0, gamma 0.5; and no milestones."""
    step_rates(student, list(range(12)), 3.0, [7, 2, 9], 0.5)
    step_rates(student, [0, 1, 2, 30], 0.5, [0, 30], 0.2)
    step_rates(student, [0, 5], 0.5, [], 0.1)


@check(points=2, part=PART7)
def warm_up_and_cosine_with_other_arguments(student, rng):
    """warmup_cosine: a final rate, steps after the end, no warm-up, a warm-up of one step."""
    cosine_rates(student, list(range(16)), 0.5, 4, 11, 0.02)
    cosine_rates(student, [0, 1, 5, 6, 7], 0.3, 0, 7, 0.0)
    cosine_rates(student, [0, 1, 2, 3, 4, 20], 2.0, 1, 4, 0.5)


# 8. Data ------------------------------------------------------------------------------------------


@check(points=2, part=PART8)
def preparation_of_training_and_test(student, rng):
    """prepare: uint8 images; the test's are brighter; one channel is the same everywhere."""
    train = rng.integers(0, 200, (6, 3, 4, 4)).astype(np.uint8)
    test = rng.integers(50, 256, (5, 3, 4, 4)).astype(np.uint8)
    train[:, 1] = 90
    statistics_check(student, train)
    x = train.astype(float)
    mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3))
    normalise_check(student, train, mean, std)
    got = student.call("prepare", train=train, test=test)

    def normalised(images, source):
        x, s = images.astype(float), source.astype(float)
        deviation = s.std((0, 2, 3))
        deviation[deviation == 0] = 1
        mean = s.mean((0, 2, 3))[:, None, None]
        return ((x - mean) / deviation[:, None, None]).astype(np.float32)

    both = np.concatenate([train, test])
    leaks = [
        Cause(
            "statistics of the test images",
            lambda got: any(
                np.allclose(got, normalised(images, test), rtol=1e-4, atol=1e-5)
                for images in (train, test)
                if images.shape == got.shape
            ),
            "Test images stand for images nobody has seen: a network in use gets one at a time. "
            "And the network was trained with other numbers: 0 then means another brightness.",
        ),
        Cause(
            "statistics of both sets together",
            lambda got: any(
                np.allclose(got, normalised(images, both), rtol=1e-4, atol=1e-5)
                for images in (train, test)
                if images.shape == got.shape
            ),
            "What is known of the test images must not enter the training.",
        ),
        Cause(
            "uint8 overflow",
            lambda got: not np.isfinite(got).all(),
            "uint8 minus uint8 wraps around; convert first.",
        ),
    ]
    for name, images in (("train", train), ("test", test)):
        compare(
            name,
            got[name],
            normalised(images, train),
            rtol=1e-4,
            atol=1e-5,
            dtype=np.float32,
            causes=leaks,
            look="Mean and std once, of train, used for both.",
        )
    unchanged(got, "train", "test")


@check(points=2, part=PART8)
def crops_without_mirrors(student, rng):
    """augment: float32 without flip, uint8 with flip, no padding, one image."""
    images = rng.standard_normal((10, 1, 6, 3)).astype(np.float32)
    augment_check(student, images, 1, int(rng.integers(1000)), False)
    pictures = rng.integers(0, 256, (9, 3, 5, 4)).astype(np.uint8)
    augment_check(student, pictures, 3, int(rng.integers(1000)), True)
    augment_check(student, pictures, 0, int(rng.integers(1000)), True)


# 9. Training --------------------------------------------------------------------------------------


def epoch_by_hand(case, images, labels, batch_size, seed, rates, max_norm, rule="right"):
    """(mean loss, state after) of an epoch with the network, loss and optimiser of calls.py."""
    n, classes = len(images), int(case.tensors["linear.bias"].shape[0])
    load(case)
    case.module.train()
    order = np.random.default_rng(seed).permutation(n)
    losses, sizes = [], []
    if rule == "gradients added up":
        case.module.zero_grad()
    for rate, start in zip(rates, range(0, n, batch_size), strict=True):
        chosen = order[start : start + batch_size]
        if rule != "gradients added up":
            case.module.zero_grad()
        out = case.module(md.tensor(images[chosen]))
        rows = labels[chosen] if rule != "labels in the old order" else labels[start:][:batch_size]
        loss = ((out - np.eye(classes)[rows]) ** 2).sum() * (1 / len(chosen))
        loss.backward()
        parameters = list(case.module.parameters())
        norm = math.sqrt(sum(float((p.grad.numpy() ** 2).sum()) for p in parameters))
        scale = 1.0 if max_norm is None else min(1.0, max_norm / norm)
        for p in parameters:
            p.data -= rate * scale * p.grad.numpy()
        losses.append(loss.item())
        sizes.append(len(chosen))
    mean = float(np.mean(losses)) if rule == "batches" else np.dot(losses, sizes) / n
    return losses, mean, {name: t.detach().numpy().copy() for name, t in case.tensors.items()}


def load(case):
    for name, array in zip(*case.state.values(), strict=True):
        case.tensors[name].data[...] = array


@check(points=2, part=PART9)
def weights_after_an_epoch(student, rng):
    """train_epoch: the loss and the weights after 11 images in batches of 4; no schedule."""
    case, images, labels = watched(rng, 11)
    for max_norm in (None, 0.3):
        arguments = (images, labels, 4, 8, [0.2] * 3, max_norm)
        got = student.call(
            "train_epoch",
            images=images,
            labels=labels,
            **case.state,
            classes=3,
            batch_size=4,
            seed=8,
            lr=0.2,
            first_step=None,
            max_norm=max_norm,
        )
        seen_order(got, 11, 4, 8)
        in_training_mode(got)
        losses, mean, state = epoch_by_hand(case, *arguments)
        added = epoch_by_hand(case, *arguments, rule="gradients added up")
        mixed = epoch_by_hand(case, *arguments, rule="labels in the old order")
        loose = epoch_by_hand(case, *arguments[:-1], None)
        zero = "Gradients add up in .grad: optimizer.zero_grad() before each backward."
        pairing = "images[chosen] and labels[chosen]: the same rows of both."
        compare(
            "loss",
            got["loss"],
            np.array(mean),
            causes=[
                Cause(
                    "mean of the batches' losses",
                    np.array(np.mean(losses)),
                    "The last batch is smaller: weigh each loss with the size of its batch.",
                ),
                Cause(
                    "sum instead of mean",
                    [np.array(sum(losses)), np.array(mean * 11)],
                    "Divide by the number of images.",
                ),
                Cause("loss of the last batch", np.array(losses[-1]), "The mean over all images."),
                Cause("gradients not forgotten", np.array(added[1]), zero),
                Cause("labels in another order than images", np.array(mixed[1]), pairing),
                Cause("not clipped", np.array(loose[1]), "Clip between backward and step."),
            ],
        )
        for name, value in state.items():
            compare(
                f"{name} after the epoch",
                got[f"{name} after"],
                value,
                causes=[
                    Cause("gradients not forgotten", added[2][name], zero),
                    Cause("labels in another order than images", mixed[2][name], pairing),
                    Cause("not clipped", loose[2][name], "Clip between backward and step."),
                ],
                look="zero_grad, forward, loss, backward, clip, step.",
            )
        unchanged(got, "images", "labels")


@check(points=1, part=PART9)
def evaluation_in_other_modes(student, rng):
    """evaluate: 11 images in batches of 4 and k = 2, evaluation mode before; one large batch."""
    evaluate_check(student, rng, 11, 4, 2, False)
    evaluate_check(student, rng, 5, 100, 3, True)


def fit_by_hand(case, images, labels, pad, given, rule=""):
    """(losses, state) of fit, made of minidl's optimiser and loss; or of a wrong fit."""
    options = {"momentum": 0.9, "weight_decay": 1e-4, "warmup_epochs": 0, "smoothing": 0.0}
    options |= {"max_norm": None, "seed": 0} | given
    load(case)
    case.module.train()
    rng = np.random.default_rng(options["seed"])
    parameters = list(case.module.parameters())
    decay = options["weight_decay"]
    one = [p for p in parameters if p.ndim > 1 or rule == "decay everywhere"]
    rest = [p for p in parameters if all(p is not q for q in one)]
    optimizer = md.optim.SGD(
        [{"params": one, "weight_decay": 0.0 if rule == "no decay" else decay}]
        + ([{"params": rest, "weight_decay": 0.0}] if rest else []),
        lr=options["lr"],
        momentum=0.9 if rule == "momentum" else options["momentum"],
        nesterov=rule != "nesterov",
    )
    n, size, epochs = len(images), options["batch_size"], options["epochs"]
    steps = n // size if rule == "steps rounded down" else math.ceil(n / size)
    warm, total = options["warmup_epochs"] * steps, epochs * steps
    if rule == "epochs for steps":
        warm, total = options["warmup_epochs"], epochs
    losses, count = [], 0
    moved = images
    for epoch in range(epochs):
        if rule == "new rng":
            rng = np.random.default_rng(options["seed"])
        if pad and rule != "no augmentation":
            source = moved if rule == "augmented again and again" else images
            moved = np.roll(source, rng.integers(0, pad + 1), axis=3)
        else:
            moved = images
        order = rng.permutation(n)
        sum_ = 0.0
        if rule in ("restart", "steps rounded down"):
            count = 0 if rule == "restart" else epoch * steps
        for start in range(0, n, size):
            t = epoch if rule == "epochs for steps" else count
            if t < warm:
                rate = options["lr"] * (t + 1) / warm
            elif t < total:
                x = (t - warm) / (total - warm)
                rate = options["lr"] * (1 + math.cos(math.pi * x)) / 2
            else:
                rate = 0.0
            rate = options["lr"] if rule == "constant rate" else rate
            for group in optimizer.param_groups:
                group["lr"] = rate
            chosen = order[start : start + size]
            optimizer.zero_grad()
            smoothing = 0.0 if rule == "no smoothing" else options["smoothing"]
            scores = case.module(md.tensor(moved[chosen]))
            loss = md.nn.functional.cross_entropy(
                scores, md.tensor(labels[chosen]), label_smoothing=smoothing
            )
            loss.backward()
            if options["max_norm"] is not None and rule != "no clipping":
                md.nn.utils.clip_grad_norm_(parameters, options["max_norm"])
            optimizer.step()
            sum_ += loss.item() * len(chosen)
            count += 1
        losses.append(sum_ / n)
    return losses, {name: t.detach().numpy().copy() for name, t in case.tensors.items()}


FIT = {
    "no smoothing": ("smoothing not handed on", "smooth_cross_entropy(scores, labels, smoothing)."),
    "no decay": ("weight decay not handed on", "parameter_groups(net, weight_decay)."),
    "decay everywhere": (
        "everything decays",
        "Use parameter_groups: BatchNorm and biases do not decay.",
    ),
    "momentum": ("momentum not handed on", "SGD(..., momentum)."),
    "nesterov": ("nesterov not switched on", "SGD(..., nesterov=True)."),
    "constant rate": ("schedule not used", "Hand a schedule to train_epoch."),
    "epochs for steps": (
        "epochs taken for steps",
        "warmup_cosine counts steps: an epoch has ceil(N / batch_size).",
    ),
    "steps rounded down": (
        "steps of an epoch rounded down",
        "The last, smaller batch is a step, too: ceil(N / batch_size).",
    ),
    "restart": (
        "schedule begins again in each epoch",
        "first_step is the number of steps done so far.",
    ),
    "new rng": (
        "the same random numbers in each epoch",
        "One generator, made once before the first epoch.",
    ),
    "no augmentation": ("augmentation not used", "augmentation(images, rng), once an epoch."),
    "augmented again and again": (
        "augmented images augmented again",
        "Each epoch begins with the original images; else they move out of the frame.",
    ),
    "no clipping": ("max_norm not handed on", "train_epoch(..., max_norm)."),
}


@check(points=3, part=PART9)
def a_whole_training(student, rng):
    """fit: three epochs of 7 images in batches of 3, warm-up, augmentation: losses, weights."""
    case, images, labels = watched(rng, 7)
    for pad, given in (
        (
            2,
            {
                "epochs": 3,
                "batch_size": 3,
                "lr": 0.2,
                "momentum": 0.7,
                "weight_decay": 0.1,
                "warmup_epochs": 1,
                "smoothing": 0.2,
                "max_norm": 0.5,
                "seed": 4,
            },
        ),
        (0, {"epochs": 2, "batch_size": 7, "lr": 0.1, "momentum": 0.5, "seed": 1}),
    ):
        got = student.call(
            "fit",
            images=images,
            labels=labels,
            **case.state,
            classes=3,
            pad=pad,
            options=list(given),
            values=list(given.values()),
        )
        losses, state = fit_by_hand(case, images, labels, pad, given)
        wrong = {rule: fit_by_hand(case, images, labels, pad, given, rule) for rule in FIT}
        compare(
            "losses of the epochs",
            np.asarray(got["losses"], dtype=float),
            np.array(losses),
            rtol=1e-5,
            causes=[
                Cause(name, np.array(wrong[rule][0]), why)
                for rule, (name, why) in FIT.items()
                if not np.allclose(wrong[rule][0], losses, rtol=1e-5)
            ],
            look="If checks of other parts fail, mend them first: this is made of them.",
        )
        for name, value in state.items():
            compare(
                f"{name} after the training",
                got[f"{name} after"],
                value,
                rtol=1e-4,
                atol=1e-6,
                causes=[
                    Cause(cause, wrong[rule][1][name], why)
                    for rule, (cause, why) in FIT.items()
                    if not np.allclose(wrong[rule][1][name], value, rtol=1e-4, atol=1e-6)
                ],
                look="If checks of other parts fail, mend them first: this is made of them.",
            )
        unchanged(got, "images", "labels")


@check(points=2, part=PART9)
def the_same_seed_gives_the_same_weights(student, rng):
    """All together, twice with seed 3 and once with 4; numpy.random and minidl seeded otherwise."""
    images, labels, _, _ = small_digits(48, 1)
    got = student.call("repeated", images=images / 255, labels=labels, seeds=[3, 3, 4])
    elsewhere = (
        "random numbers from elsewhere: only rng (and the seed of fit) may decide: look for "
        "np.random, minidl's own initial values that were left in place, and unseeded generators."
    )
    for what in ("made", "state"):
        name = "initial weights" if what == "made" else "weights after the training"
        require(
            np.array_equal(got[f"{what} 0"], got[f"{what} 1"]),
            f"the same {name} for the same seed, bit by bit; they differ",
            elsewhere,
        )
        require(
            not np.array_equal(got[f"{what} 0"], got[f"{what} 2"]),
            f"other {name} for another seed; they are the same",
            "seed without effect",
        )
    require(
        np.isfinite(got["state 0"]).all(),
        "finite weights after the training",
        "not a number",
    )
