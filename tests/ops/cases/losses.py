"""Losses: of classes, of probabilities, of distances, of margins, of distributions."""

import math

import numpy as np

import minidl as md
from minidl.ops import losses

from ..case import Case

IGNORED = -100
WEIGHT = [0.5, 2.0, 1.5, 0.7]


def _reduced(values, reduction, divisor=None):
    values = np.array(values, dtype=float)
    if reduction == "none":
        return values
    total = values.sum()
    return total if reduction == "sum" else total / (values.size if divisor is None else divisor)


def _log_softmax(row):
    total = sum(math.exp(v) for v in row)
    return [v - math.log(total) for v in row]


# -- classes ---------------------------------------------------------------------------------------


def _class_loops(weight=None, ignore=IGNORED, reduction="mean", smoothing=0.0, scores=True):
    def oracle(x, target):
        classes = x.shape[1]
        w = [1.0] * classes if weight is None else weight
        loss, total = np.zeros(target.shape), 0.0
        for place in np.ndindex(*target.shape):
            t = target[place]
            if t == ignore:
                continue
            row = [float(x[(place[0], c, *place[1:])]) for c in range(classes)]
            log_p = _log_softmax(row) if scores else row
            loss[place] = -(1 - smoothing) * w[t] * log_p[t]
            loss[place] -= sum(smoothing / classes * w[c] * log_p[c] for c in range(classes))
            total += w[t]
        return _reduced(loss, reduction, total)

    return oracle


def _labels(rng, *shape, ignored=False):
    target = rng.integers(0, 4, shape)
    if ignored:
        target.flat[1] = IGNORED
    return target


def _like(x, values):
    return md.tensor(values, dtype=x.dtype, device=x.device)


def _class_case(name, shape, *, weighted=False, op="cross_entropy", **options):
    """A case of cross_entropy or nll_loss with class targets; shape is (N, C, ...)."""
    ignored = options.pop("ignored", False)
    weight = WEIGHT if weighted else None
    function = getattr(losses, op)
    oracle_options = dict(options)
    oracle_options["smoothing"] = oracle_options.pop("label_smoothing", 0.0)
    positions = (shape[0], *shape[2:])

    def call(x, t):
        return function(x, t, None if weight is None else _like(x, weight), **options)

    def theirs(torch, x, t):
        w = None if weight is None else torch.tensor(weight, dtype=x.dtype)
        return getattr(torch.nn.functional, op)(x, t, w, **options)

    return Case(
        name,
        call,
        lambda rng: (rng.standard_normal(shape), _labels(rng, *positions, ignored=ignored)),
        _class_loops(weight, scores=op == "cross_entropy", **oracle_options),
        torch=theirs,
    )


def _probabilities(rng, *shape):
    t = rng.uniform(0.1, 1, shape)
    return t / t.sum(1, keepdims=True)


def _soft_loops(weight, smoothing, reduction):
    def oracle(x, target):
        classes = x.shape[1]
        loss = np.zeros((x.shape[0], *x.shape[2:]))
        for place in np.ndindex(*loss.shape):
            row = [(place[0], c, *place[1:]) for c in range(classes)]
            log_p = _log_softmax([float(x[p]) for p in row])
            for c in range(classes):
                q = (1 - smoothing) * target[row[c]] + smoothing / classes
                loss[place] -= q * weight[c] * log_p[c]
        return _reduced(loss, reduction)

    return oracle


def _multi_margin_loops(p, margin, weight):
    def oracle(x, target):
        loss = np.zeros(len(x))
        for i, t in enumerate(target):
            for c in range(x.shape[1]):
                if c != t:
                    loss[i] += max(0.0, margin - x[i, t] + x[i, c]) ** p * weight[t] / x.shape[1]
        return loss.mean()

    return oracle


def _no_ties(rng):
    """Scores with every margin - x_t + x_c at least 0.05 from zero."""
    while True:
        x = rng.standard_normal((3, 4)) * 2
        gaps = (x[:, :, None] - x[:, None, :])[:, ~np.eye(4, dtype=bool)]
        if min(np.abs(1 - gaps).min(), np.abs(0.5 - gaps).min()) > 0.05:
            return x, _labels(rng, 3)


CLASSES = [
    _class_case("cross_entropy", (3, 4)),
    _class_case("cross_entropy, sum, weights", (3, 4), weighted=True, reduction="sum"),
    _class_case("cross_entropy, none, ignored target", (3, 4), ignored=True, reduction="none"),
    _class_case(
        "cross_entropy, weights, smoothing, ignored target",
        (4, 4),
        weighted=True,
        ignored=True,
        label_smoothing=0.2,
    ),
    _class_case("cross_entropy, smoothing", (3, 4), label_smoothing=0.1),
    _class_case(
        "cross_entropy of images, weights, smoothing, none",
        (2, 4, 2, 3),
        weighted=True,
        ignored=True,
        reduction="none",
        label_smoothing=0.3,
    ),
    _class_case("cross_entropy of images", (2, 4, 3, 2), weighted=True, ignored=True),
    Case(
        "cross_entropy of a single sample",
        lambda x, t: losses.cross_entropy(x, t),
        lambda rng: (rng.standard_normal(5), np.array(3)),
        lambda x, t: np.array(-_log_softmax(x)[3]),
        torch=lambda torch, x, t: torch.nn.functional.cross_entropy(x, t),
    ),
    *[
        Case(
            f"cross_entropy with target probabilities, smoothing {smoothing}, {reduction}",
            lambda x, t, s=smoothing, r=reduction: losses.cross_entropy(
                x, t, _like(x, WEIGHT), reduction=r, label_smoothing=s
            ),
            lambda rng: (rng.standard_normal((2, 4, 3)), _probabilities(rng, 2, 4, 3)),
            _soft_loops(WEIGHT, smoothing, reduction),
            torch=lambda torch, x, t, s=smoothing, r=reduction: torch.nn.functional.cross_entropy(
                x, t, torch.tensor(WEIGHT, dtype=x.dtype), reduction=r, label_smoothing=s
            ),
        )
        for smoothing, reduction in ((0.0, "mean"), (0.2, "none"), (0.2, "sum"))
    ],
    _class_case("nll_loss", (3, 4), op="nll_loss"),
    _class_case("nll_loss, weights", (4, 4), op="nll_loss", weighted=True, ignored=True),
    _class_case(
        "nll_loss of images, none", (2, 4, 2, 2), op="nll_loss", ignored=True, reduction="none"
    ),
    *[
        Case(
            f"multi_margin_loss, p = {p}, margin {margin}",
            lambda x, t, p=p, m=margin: losses.multi_margin_loss(x, t, p, m, _like(x, WEIGHT)),
            _no_ties,
            _multi_margin_loops(p, margin, WEIGHT),
            torch=lambda torch, x, t, p=p, m=margin: torch.nn.functional.multi_margin_loss(
                x, t, p, m, torch.tensor(WEIGHT, dtype=x.dtype)
            ),
        )
        for p, margin in ((1, 1.0), (2, 0.5))
    ],
]

# -- two outcomes ----------------------------------------------------------------------------------


def _each(loss, reduction="mean"):
    """The oracle that applies `loss` to the numbers of its (broadcast) inputs one by one."""

    def oracle(*arrays):
        arrays = np.broadcast_arrays(*arrays)
        values = [loss(*[float(v) for v in row]) for row in zip(*[a.flat for a in arrays])]  # noqa: B905
        return _reduced(np.reshape(values, arrays[0].shape), reduction)

    return oracle


def _bce(x, t, w=1.0):
    return -w * (t * math.log(x) + (1 - t) * math.log(1 - x))


def _bce_logits(x, t, w=1.0, positive=1.0):
    s = 1 / (1 + math.exp(-x))
    return -w * (positive * t * math.log(s) + (1 - t) * math.log(1 - s))


def _focal(alpha, gamma):
    def loss(x, t):
        s = 1 / (1 + math.exp(-x))
        p_t = s if t == 1 else 1 - s
        alpha_t = 1 if alpha < 0 else alpha if t == 1 else 1 - alpha
        return -alpha_t * (1 - p_t) ** gamma * math.log(p_t)

    return loss


def _torch_focal(alpha, gamma):
    """As in torchvision.ops.focal_loss, from which name and arguments come."""

    def loss(torch, x, t):
        p = torch.sigmoid(x)
        ce = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
        p_t = p * t + (1 - p) * (1 - t)
        value = ce * (1 - p_t) ** gamma
        if alpha >= 0:
            value = (alpha * t + (1 - alpha) * (1 - t)) * value
        return value.mean()

    return loss


def _scores(rng):
    return rng.standard_normal((3, 4)) * 2, rng.uniform(0, 1, (3, 4))


OUTCOMES = [
    Case(
        "binary_cross_entropy",
        lambda x, t: losses.binary_cross_entropy(x, t),
        lambda rng: (rng.uniform(0.1, 0.9, (3, 4)), rng.uniform(0, 1, (3, 4))),
        _each(_bce),
        torch=lambda torch, x, t: torch.nn.functional.binary_cross_entropy(x, t),
    ),
    Case(
        "binary_cross_entropy, weights, none",
        lambda x, t, w: losses.binary_cross_entropy(x, t, w, "none"),
        lambda rng: (
            rng.uniform(0.1, 0.9, (3, 4)),
            rng.uniform(0, 1, (3, 4)),
            rng.uniform(0.5, 2, 4),
        ),
        _each(_bce, "none"),
    ),
    Case(
        "binary_cross_entropy_with_logits",
        lambda x, t: losses.binary_cross_entropy_with_logits(x, t),
        _scores,
        _each(_bce_logits),
        torch=lambda torch, x, t: torch.nn.functional.binary_cross_entropy_with_logits(x, t),
    ),
    Case(
        "binary_cross_entropy_with_logits, weights of samples and positives",
        lambda x, t, w, p: losses.binary_cross_entropy_with_logits(x, t, w, "sum", p),
        lambda rng: (*_scores(rng), rng.uniform(0.5, 2, (3, 1)), rng.uniform(0.5, 2, 4)),
        _each(_bce_logits, "sum"),
    ),
    *[
        Case(
            f"sigmoid_focal_loss, alpha {alpha}, gamma {gamma}",
            lambda x, t, a=alpha, g=gamma: losses.sigmoid_focal_loss(x, t, a, g, "mean"),
            lambda rng: (rng.standard_normal((3, 4)), rng.integers(0, 2, (3, 4)) * 1.0),
            _each(_focal(alpha, gamma)),
            torch=_torch_focal(alpha, gamma),
        )
        for alpha, gamma in ((0.25, 2), (-1, 1.5))
    ],
    Case(
        "soft_margin_loss",
        lambda x, t: losses.soft_margin_loss(x, t),
        lambda rng: (rng.standard_normal((3, 4)), rng.choice([-1, 1], (3, 4))),
        _each(lambda x, t: math.log(1 + math.exp(-t * x))),
        torch=lambda torch, x, t: torch.nn.functional.soft_margin_loss(x, t),
    ),
]

# -- distances, margins, distributions -------------------------------------------------------------


def _smooth(beta):
    return lambda x, t: (x - t) ** 2 / 2 / beta if abs(x - t) < beta else abs(x - t) - beta / 2


def _two(rng):
    """Two arrays whose differences stay clear of 0, 0.7 and 1, the kinks of the cases below."""
    while True:
        x, t = rng.standard_normal((2, 3, 4)) * 1.5
        if min(np.abs(np.abs(x - t) - kink).min() for kink in (0, 0.7, 1)) > 0.01:
            return x, t


def _gauss(eps, full):
    def loss(x, t, var):
        var = max(var, eps)
        return (math.log(var) + (x - t) ** 2 / var + (math.log(2 * math.pi) if full else 0)) / 2

    return loss


def _hinge(x, t):
    return x if t == 1 else max(0.0, 1 - x)


def _ranking(x, y, t):
    return max(0.0, 0.5 - t * (x - y))


def _clear_of(kink, function):
    """Inputs for which function(*inputs) stays clear of `kink`."""

    def wrap(inputs):
        def draw(rng):
            while True:
                arrays = inputs(rng)
                if np.abs(function(*arrays) - kink).min() > 0.01:
                    return arrays

        return draw

    return wrap


def _signs(rng, *shape):
    return rng.choice([-1, 1], shape)


DISTANCES = [
    *[
        Case(
            f"{name}, {reduction}",
            lambda x, t, f=name, r=reduction, o=options: getattr(losses, f)(x, t, reduction=r, **o),
            _two,
            _each(loss, reduction),
            torch=lambda torch, x, t, f=name, r=reduction, o=options: getattr(
                torch.nn.functional, f
            )(x, t, reduction=r, **o),
        )
        for name, options, loss, reduction in (
            ("mse_loss", {}, lambda x, t: (x - t) ** 2, "mean"),
            ("mse_loss", {}, lambda x, t: (x - t) ** 2, "none"),
            ("l1_loss", {}, lambda x, t: abs(x - t), "sum"),
            ("smooth_l1_loss", {}, _smooth(1.0), "mean"),
            ("smooth_l1_loss", {"beta": 0.7}, _smooth(0.7), "none"),
            ("huber_loss", {"delta": 0.7}, lambda x, t: 0.7 * _smooth(0.7)(x, t), "mean"),
        )
    ],
    Case(
        "hinge_embedding_loss",
        lambda x, t: losses.hinge_embedding_loss(x, t),
        _clear_of(1, lambda x, t: x)(lambda rng: (rng.uniform(0, 2, (3, 4)), _signs(rng, 3, 4))),
        _each(_hinge),
        torch=lambda torch, x, t: torch.nn.functional.hinge_embedding_loss(x, t),
    ),
    Case(
        "margin_ranking_loss",
        lambda x, y, t: losses.margin_ranking_loss(x, y, t, 0.5),
        _clear_of(0, lambda x, y, t: 0.5 - t * (x - y))(
            lambda rng: (*rng.standard_normal((2, 3, 4)), _signs(rng, 3, 4))
        ),
        _each(_ranking),
        torch=lambda torch, x, y, t: torch.nn.functional.margin_ranking_loss(x, y, t, 0.5),
    ),
    Case(
        "gaussian_nll_loss",
        lambda x, t, var: losses.gaussian_nll_loss(x, t, var, full=True),
        lambda rng: (*rng.standard_normal((2, 3, 4)), rng.uniform(0.5, 2, (3, 4))),
        _each(_gauss(1e-6, True)),
        torch=lambda torch, x, t, var: torch.nn.functional.gaussian_nll_loss(x, t, var, full=True),
    ),
    Case(
        "gaussian_nll_loss, one variance for a row, none",
        lambda x, t, var: losses.gaussian_nll_loss(x, t, var, reduction="none"),
        lambda rng: (*rng.standard_normal((2, 3, 4)), rng.uniform(0.5, 2, (3, 1))),
        _each(_gauss(1e-6, False), "none"),
        torch=lambda torch, x, t, var: torch.nn.functional.gaussian_nll_loss(
            x, t, var, reduction="none"
        ),
    ),
    Case(
        "kl_div",
        lambda x, t: losses.kl_div(x, t, "batchmean"),
        lambda rng: (rng.standard_normal((3, 4)), _probabilities(rng, 3, 4)),
        lambda x, t: _each(lambda a, b: b * (math.log(b) - a), "sum")(x, t) / 3,
        torch=lambda torch, x, t: torch.nn.functional.kl_div(x, t, reduction="batchmean"),
    ),
    Case(
        "kl_div, targets of log-probabilities",
        lambda x, t: losses.kl_div(x, t, "sum", log_target=True),
        lambda rng: tuple(rng.standard_normal((2, 3, 4))),
        _each(lambda a, b: math.exp(b) * (b - a), "sum"),
        torch=lambda torch, x, t: torch.nn.functional.kl_div(
            x, t, reduction="sum", log_target=True
        ),
    ),
]

# -- regions ---------------------------------------------------------------------------------------


def _region_probabilities(x, sample):
    """p[class][place] of a sample, and its places."""
    places = list(np.ndindex(*x.shape[2:]))
    table = {}
    for place in places:
        row = [float(x[(sample, c, *place)]) for c in range(x.shape[1])]
        if len(row) == 1:
            table[place] = {1: 1 / (1 + math.exp(-row[0]))}
        else:
            table[place] = dict(enumerate(math.exp(v) for v in _log_softmax(row)))
    return places, table


def _dice_loops(weight=None, ignore=IGNORED, reduction="mean", smooth=1.0):
    def oracle(x, target):
        classes = [1] if x.shape[1] == 1 else range(x.shape[1])
        w = [1.0] * len(classes) if weight is None else weight
        loss = np.zeros(x.shape[:2])
        for n in range(len(x)):
            places, p = _region_probabilities(x, n)
            for column, c in enumerate(classes):
                both = sizes = 0.0
                for place in places:
                    if target[(n, *place)] != ignore:
                        truth = 1.0 if target[(n, *place)] == c else 0.0
                        both += p[place][c] * truth
                        sizes += p[place][c] ** 2 + truth**2
                loss[n, column] = w[column] * (1 - (2 * both + smooth) / (sizes + smooth))
        return _reduced(loss, reduction, len(x) * sum(w))

    return oracle


def _generalized_dice_loops(x, target):
    losses_ = []
    for n in range(len(x)):
        places, p = _region_probabilities(x, n)
        counted = [place for place in places if target[(n, *place)] != IGNORED]
        volume = [sum(target[(n, *a)] == c for a in counted) for c in range(x.shape[1])]
        heaviest = max(1 / v**2 for v in volume if v)
        both = sizes = 0.0
        for c, v in enumerate(volume):
            w = 1 / v**2 if v else heaviest
            both += w * sum(p[a][c] for a in counted if target[(n, *a)] == c)
            sizes += w * (v + sum(p[a][c] for a in counted))
        losses_.append(1 - 2 * both / sizes)
    return np.mean(losses_)


def _sigmoid_loops(weight=None, reduction="mean"):
    def oracle(x, target):
        w = [1.0] * x.shape[1] if weight is None else weight
        loss, total = np.zeros(x.shape), 0.0
        for place in np.ndindex(*x.shape):
            c = place[1]
            t = target[place] if target.ndim == x.ndim else target[(place[0], *place[2:])]
            if t == IGNORED:
                continue
            truth = t if target.ndim == x.ndim else float(t == c)
            loss[place] = _bce_logits(float(x[place]), truth, w[c])
            total += w[c]
        return _reduced(loss, reduction, total)

    return oracle


def _map_case(name, shape, call, oracle, *, high=4, flags=False):
    positions = shape if flags else (shape[0], *shape[2:])

    def inputs(rng):
        target = rng.integers(0, high, positions)
        target.flat[1] = IGNORED
        return rng.standard_normal(shape), target

    return Case(name, call, inputs, oracle)


REGIONS = [
    _map_case(
        "dice_loss", (2, 4, 3, 5), lambda x, t: losses.dice_loss(x, t), _dice_loops(smooth=1.0)
    ),
    _map_case(
        "dice_loss, weights",
        (2, 4, 7),
        lambda x, t: losses.dice_loss(x, t, _like(x, WEIGHT), smooth=0.5),
        _dice_loops(WEIGHT, smooth=0.5),
    ),
    _map_case(
        "dice_loss of one score for two classes, none",
        (3, 1, 2, 4),
        lambda x, t: losses.dice_loss(x, t, reduction="none"),
        _dice_loops(reduction="none"),
        high=2,
    ),
    _map_case(
        "generalized_dice_loss",
        (2, 4, 3, 5),
        lambda x, t: losses.generalized_dice_loss(x, t),
        _generalized_dice_loops,
    ),
    _map_case(
        "generalized_dice_loss, a class that is nowhere",
        (2, 4, 6),
        lambda x, t: losses.generalized_dice_loss(x, t),
        _generalized_dice_loops,
        high=3,
    ),
    _map_case(
        "sigmoid_cross_entropy",
        (2, 4, 3),
        lambda x, t: losses.sigmoid_cross_entropy(x, t),
        _sigmoid_loops(),
    ),
    _map_case(
        "sigmoid_cross_entropy, a flag for each class, weights, none",
        (2, 4, 3),
        lambda x, t: losses.sigmoid_cross_entropy(x, t, _like(x, WEIGHT), reduction="none"),
        _sigmoid_loops(WEIGHT, "none"),
        high=2,
        flags=True,
    ),
    _map_case(
        "sigmoid_cross_entropy, a flag for each class, weights",
        (2, 4, 3),
        lambda x, t: losses.sigmoid_cross_entropy(x, t, _like(x, WEIGHT)),
        _sigmoid_loops(WEIGHT),
        high=2,
        flags=True,
    ),
]

CASES = CLASSES + OUTCOMES + DISTANCES + REGIONS
