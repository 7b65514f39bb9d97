"""Assignment 1: the hidden checks. Other shapes, other numbers, and the corners of the contract."""

import operator

import numpy as np

import minidl as md
from minidl.teach.assign import Cause, check, compare, require

from .public import (
    PART1,
    PART2,
    PART3,
    PART4,
    PART5,
    PART6,
    Rule,
    ask,
    borrowed,
    compare_unbroadcast,
    cross_entropy,
    examine,
    judge,
    log_softmax,
    oracle,
    power,
    product,
    put_back,
    recorded,
    reduced,
    reshaped,
    transposed,
    unchanged,
)

# ---------------------------------------------------------------- part 1


@check(points=2, part=PART1)
def unbroadcast_to_every_kind_of_shape(student, rng):
    """unbroadcast: (3, 1, 2, 4) to (1, 1, 4), (), (3, 1, 1, 1), (2, 1) and itself; () to ()."""
    grad = rng.standard_normal((3, 1, 2, 4))
    shapes = ((1, 1, 4), (), (3, 1, 1, 1), (2, 1), (3, 1, 2, 4))
    compare_unbroadcast(student, grad, *shapes)
    compare_unbroadcast(student, np.asarray(rng.standard_normal()), ())


@check(points=2, part=PART1)
def sub_and_mul_with_broadcasting(student, rng):
    """Sub and Mul: (3, 1) with (1, 4), (2, 1, 3) with (4, 1), and () with (2, 3)."""
    draw = rng.standard_normal
    shapes = (((3, 1), (1, 4)), ((2, 1, 3), (4, 1)), ((), (2, 3)))
    rules = []
    for op, formula in (("Sub", operator.sub), ("Mul", operator.mul)):
        for left, right in shapes:
            a, b = np.asarray(draw(left)), np.asarray(draw(right))
            rules.append(Rule(op, formula, draw((a + b).shape), (a, b)))
    examine(student, *rules)


@check(points=2, part=PART1)
def div_with_and_without_broadcasting(student, rng):
    """Div: (3, 4) with (3, 4), (2, 3) with (3,), (4, 1) with (2, 1, 3); divisors of both signs."""
    rules = []
    for left, right in (((3, 4), (3, 4)), ((2, 3), (3,)), ((4, 1), (2, 1, 3))):
        a = rng.standard_normal(left)
        b = rng.uniform(0.5, 2, right) * rng.choice([-1.0, 1.0], right)
        grad = rng.standard_normal((a + b).shape)
        why = "How does 1 / b change with b? The derivative of b to the power -1 has another power."
        whole = -grad * a / b
        wrong = oracle(lambda b, s=whole.shape: b.expand(*s), whole, b)[1][0]
        squared = Cause("divided by b instead of its square", wrong, why)
        whole = -grad * a * np.ones_like(b)
        wrong = oracle(lambda b, s=whole.shape: b.expand(*s), whole, b)[1][0]
        why = "x / b * b is x: Python goes from left to right. A square below needs parentheses."
        causes = ([], [squared, Cause("divided by b and multiplied by it", wrong, why)])
        rules.append(Rule("Div", operator.truediv, grad, (a, b), causes=causes))
    examine(student, *rules)


@check(points=1, part=PART1)
def pow_with_other_exponents(student, rng):
    """Pow: x to the powers -1, 0.5, -2.5 and 1, x positive."""
    x, grad = rng.uniform(0.5, 2, (3, 2)), rng.standard_normal((3, 2))
    examine(student, *[power(x, exponent, grad) for exponent in (-1, 0.5, -2.5, 1)])


@check(points=1, part=PART1)
def functions_at_their_ends(student, rng):
    """Exp from -30 to 5, Log from 1e-5 to 1000, Tanh from -30 to 30; three axes."""
    grad = rng.standard_normal((2, 3, 4))
    x = rng.uniform(-30, 5, (2, 3, 4))
    why = "The derivative of this function is written with what forward gave, not with the input."
    confused = [Cause("input in place of the result", grad * x, why)]
    small = 10.0 ** rng.uniform(-5, 3, (2, 3, 4))
    added = [
        Cause(
            "a small number added inside the logarithm",
            lambda got: (
                bool(np.all(got >= np.log(small))) and bool(np.abs(got - np.log(small)).max() < 1)
            ),
            "The contract is log(x) for positive x; log(x + eps) is another function.",
        )
    ]
    wide = rng.standard_normal((2, 3, 4)) * np.array([0.5, 1.0, 4.0, 15.0])
    tanh = [Cause("input in place of the result", grad * (1 - wide * wide), why)]
    examine(
        student,
        Rule("Exp", md.exp, grad, (x,), causes=(confused,)),
        Rule("Tanh", md.tanh, grad, (wide,), causes=(tanh,)),
        Rule("Log", md.log, grad, (small,), of_result=added),
    )


@check(points=1, part=PART1)
def relu_at_zero(student, rng):
    """ReLU of entries of which some are exactly 0, and of large ones; cotangents of both signs."""
    x = rng.standard_normal((4, 5)) * 10.0 ** rng.integers(-8, 8, (4, 5))
    x[0, 0] = x[1, 2] = x[3, 4] = 0.0
    grad = rng.standard_normal((4, 5))
    causes = [
        Cause(
            "gradient at 0",
            [np.where(x >= 0, grad, 0), np.where(x == 0, grad / 2, np.where(x > 0, grad, 0))],
            "Where x is exactly 0, the contract asks for the gradient 0.",
        ),
        Cause(
            "masked by grad instead of x",
            [np.maximum(grad, 0), np.where(x > 0, np.maximum(grad, 0), 0)],
            "Which entries the gradient passes is decided by x; a gradient may be negative.",
        ),
    ]
    examine(student, Rule("ReLU", md.relu, grad, (x,), causes=(causes,)))


# ---------------------------------------------------------------- part 2


@check(points=3, part=PART2)
def numerical_gradient_of_matrices_and_views(student, rng):
    """numerical_gradient: three axes, eps 1e-3; a product; transposed and sliced x; f a view."""
    draw = rng.standard_normal
    eps, c = 1e-3, (0.5, -1.0, 2.0, 0.5)

    def f(x):
        return sum(c[k] * x**k for k in range(4))

    x, u = draw((2, 3, 2)), draw((2, 3, 2))
    central = u * (f(x + eps) - f(x - eps)) / (2 * eps)
    one_sided = [u * (f(x + eps) - f(x)) / eps, u * (f(x) - f(x - eps)) / eps]
    matrix, of_product = draw((2, 4)), draw((3, 4))
    view = draw((4, 6))
    cases = [
        {"x": x, "cotangent": u, "eps": eps, "coefficients": c},
        {"x": draw((3, 2)), "cotangent": of_product, "eps": 1e-4, "matrix": matrix},
        {"x": view, "cotangent": draw((6, 4)), "eps": eps, "layout": "transposed"},
        {"x": view, "cotangent": draw((4, 3)), "eps": eps, "layout": "sliced"},
        {"x": draw((2, 3)), "cotangent": draw(6), "eps": 1e-4},
        {"x": draw((2, 2)), "cotangent": draw((2, 2)), "eps": 1e-4, "coefficients": (0, 1.0)},
    ]
    cases[2]["coefficients"] = cases[3]["coefficients"] = (0.0, 1.0, 1.0)
    cases[5]["layout"] = "transposed"
    points = [x, cases[1]["x"], view.T, view[:, ::2], cases[4]["x"], cases[5]["x"].T]
    copied = Cause(
        "changes a copy of x",
        lambda got: not got.any(),
        "x may be a view that reshape(-1), ravel or flatten copies: what is written into the copy "
        "does not move x. Index with all of the axes.",
    )
    aliased = Cause(
        "f's result overwritten",
        lambda got: not got.any(),
        "f returned a view of its argument here. Moving that array again changes what f returned "
        "before: take the sum first, or give f a new array each time.",
    )
    # A square of a product: every entry's slope depends on where the others are.
    joint = {"x": draw((2, 3)), "cotangent": draw((2, 4)), "eps": 1e-2, "matrix": draw((3, 4))}
    joint["coefficients"] = (0.0, 1.0, 0.5)
    slope = joint["cotangent"] * (1 + joint["x"] @ joint["matrix"])
    cases.append(joint)
    points.append(joint["x"])
    names = ("of a cubic", "of a product", "at a transposed x", "at a sliced x", "of a reshaping")
    names += ("of 1 x at a transposed x", "of the square of a product")
    expected = [
        central,
        of_product @ matrix.T,
        cases[2]["cotangent"] * (1 + 2 * view.T),
        cases[3]["cotangent"] * (1 + 2 * view[:, ::2]),
        cases[4]["cotangent"].reshape(2, 3),
        cases[5]["cotangent"],
        slope @ joint["matrix"].T,
    ]
    answers = ask(student, "numerical_gradient", *cases)
    for name, case, at, right, got in zip(names, cases, points, expected, answers, strict=True):
        u = case["cotangent"]
        causes = [
            Cause("divided by eps instead of 2 eps", 2 * right, "The two points are 2 eps apart."),
            aliased if name == "of a reshaping" else copied,
            Cause(
                "one-sided difference",
                one_sided if name == "of a cubic" else [],
                "Move the entry to both sides: what is left of the error is of the order of eps "
                "squared.",
            ),
            Cause(
                "entries not put back",
                lambda got, at=at, right=right: np.allclose(got.flat[0], right.flat[0], rtol=1e-4),
                "The first entry is right, later ones are not: when one entry has been moved it "
                "must be put back before the next one is.",
            ),
        ]
        if u.shape == right.shape:
            why = "L is sum(cotangent * f(x)), not sum(f(x))."
            causes.insert(0, Cause("cotangent ignored", right / u, why))
        compare(
            f"gradient {name}",
            got["gradient"],
            right,
            rtol=1e-7 if name == "of a cubic" else 1e-6,
            atol=1e-8,
            causes=causes,
            look="f(x) = x[0] + 10 x[1] by hand, with print(point) before each call of f.",
        )
        put_back(got)


@check(points=3, part=PART2)
def gradcheck_is_not_blind(student, rng):
    """gradcheck of y minus its mean: the right gradient, and one that is zero everywhere."""
    k = 5
    centre = np.eye(k) - 1 / k
    verdicts = checked(
        student,
        rng,
        rng.standard_normal((4, k)),
        centre,
        ("", centre.T, (1, 1, 1), 0),
        ("", np.zeros((k, k)), (1, 1, 1), 0),
    )
    judge(
        verdicts,
        [
            ("x minus the mean of its row", True, "right gradient rejected"),
            (
                "x minus the mean of its row, with a gradient of 0",
                False,
                "cotangent of ones: the results of this f have the sum 0 whatever x is, so with a "
                "cotangent of ones its gradient is 0. A random cotangent sees the difference",
            ),
        ],
    )


def checked(student, rng, x, matrix, *gradients, extras=None, factors=None):
    """gradcheck's verdicts. A gradient: (form, matrix, factors of its three terms, 0)."""
    y = rng.standard_normal((len(x), matrix.shape[1]))
    coefficients = (1.0, 0.5, -0.25)
    slopes = np.array([1.0, 1.0, -0.75]) * np.array([g[2] for g in gradients])
    (got,) = ask(
        student,
        "gradcheck",
        {
            "x": x,
            "y": y,
            "coefficients": coefficients,
            "matrix": matrix,
            "factor": 1.5,
            "slopes": slopes,
            "matrices": tuple(g[1] for g in gradients),
            "factors": factors or (1.5,) * len(gradients),
            "extras": tuple(np.zeros_like(y) for _ in gradients) if extras is None else extras(y),
            "form": tuple(g[0] for g in gradients),
        },
    )
    return got["verdicts"]


@check(points=4, part=PART2)
def gradcheck_finds_every_kind_of_wrong_gradient(student, rng):
    """gradcheck: errors in one entry, in the second input, of either sign, of 1 %, NaN, shape."""
    matrix = rng.standard_normal((3, 2))
    right = ("", matrix.T, (1, 1, 1), 0)

    def extras(y):
        found = [np.zeros_like(y) for _ in range(8)]
        found[2][3, 1], found[3][3, 1] = 2.0, -2.0
        found[4][...] = 3.0
        found[5][...] = -3.0
        found[6][1, 0] = np.nan
        found[7][0], found[7][1] = 1.0, -1.0
        return tuple(found)

    rules = [right, ("", matrix.T, (1.01, 1.01, 1.01), 0), *[right] * 6]
    verdicts = checked(student, rng, rng.standard_normal((40, 3)), matrix, *rules, extras=extras)
    signed = "absolute value forgotten: an entry that is too small is as wrong as one too large"
    # What an accepted gradient tells depends on what else was accepted.
    single = (
        "only the first input compared: every input has a gradient to be compared"
        if verdicts[4] == verdicts[5] == "True"
        else signed
        if verdicts[2] != verdicts[3]
        else "errors averaged or added up: one wrong entry among many is a wrong gradient; all "
        "must agree"
    )
    judge(
        verdicts,
        [
            ("the right gradient", True, "right gradient rejected"),
            (
                "a gradient of x that is 1 % too large",
                False,
                "tolerance too wide: 1 % is a wrong factor, not an error of rounding",
            ),
            ("a gradient of y with one entry too large", False, single),
            ("a gradient of y with one entry too small", False, single),
            ("a gradient of y that is too large", False, single),
            ("a gradient of y that is too small", False, single),
            (
                "a gradient with a NaN",
                False,
                "NaN passes: every comparison with NaN is False, so ask for error <= tolerance, "
                "not for error > tolerance",
            ),
            ("a gradient of y with errors that cancel", False, single),
        ],
    )
    one_row = [("", right[1], right[2], 0), ("flat y", *right[1:]), ("only x", *right[1:])]
    shapes = checked(student, rng, rng.standard_normal((1, 3)), matrix, *one_row)
    judge(
        shapes,
        [
            ("the right gradient", True, "right gradient rejected"),
            (
                "a gradient of shape (2,) where the input has shape (1, 2), same numbers",
                False,
                "shape not compared: NumPy broadcasts in a comparison, so compare shapes first",
            ),
            ("one gradient for two inputs", False, "number of gradients not compared"),
        ],
    )


# ---------------------------------------------------------------- part 3


@check(points=2, part=PART3)
def transpose_of_three_and_four_axes(student, rng):
    """Transpose to (1, 2, 0), (2, 0, 1), (3, 1, 0, 2), with equal and different lengths."""
    draw = rng.standard_normal
    cases = []
    for shape, axes in (
        ((3, 3, 3), (1, 2, 0)),
        ((2, 3, 4), (2, 0, 1)),
        ((2, 3, 4, 5), (3, 1, 0, 2)),
        ((2, 3, 4), None),
    ):
        x = draw(shape)
        cases.append(transposed(x, axes, draw(x.transpose(axes).shape)))
    examine(student, *cases)


@check(points=1, part=PART3)
def reshape_in_every_way(student, rng):
    """Reshape: (4, 3) to (3, 4), (2, 3) to (1, 2, 3, 1), (1, 1) to (), and a transposed array."""
    draw = rng.standard_normal
    view = draw((3, 4)).T
    examine(
        student,
        reshaped(draw((4, 3)), (3, 4), draw((3, 4))),
        reshaped(draw((2, 3)), (1, 2, 3, 1), draw((1, 2, 3, 1))),
        reshaped(draw((1, 1)), (), np.asarray(draw())),
        reshaped(view, (2, -1), draw((2, 6))),
    )


@check(points=2, part=PART3)
def sum_and_mean_over_several_axes(student, rng):
    """Sum and Mean of (3, 3, 3) and (2, 3, 4): axes 1, (0, 2), -1, (-1, 0), all; keepdims."""
    draw = rng.standard_normal
    cases = []
    for op in ("Sum", "Mean"):
        for shape in ((3, 3, 3), (2, 3, 4)):
            for axis, keepdims in ((1, False), (-1, True), ((0, 2), False), (None, True)):
                cases.append(reduced(op, draw(shape), axis, draw, keepdims))
        cases.append(reduced(op, draw((2, 3, 4)), (-1, 0), draw))
        cases.append(reduced(op, draw((2, 3, 4)), None, draw))
    examine(student, *cases)


@check(points=3, part=PART3)
def max_with_ties(student, rng):
    """Max of small whole numbers, many equal: axes 0, -1, (0, 2), all; keepdims."""
    draw = rng.standard_normal
    cases = []
    for axis, keepdims in ((0, False), (-1, True), ((0, 2), False), (None, False), (None, True)):
        x = rng.integers(0, 3, (3, 4, 2)).astype(float)
        axes = (0, 1, 2) if axis is None else axis
        top = x == x.max(axis=axes, keepdims=True)
        case = reduced("Max", x, axis, draw, keepdims)
        expected = oracle(case.formula, case.grad, x)[1][0]
        count = top.sum(axis=axes, keepdims=True)
        causes = [
            Cause(
                "ties not shared",
                expected * count,
                "Every one of k equal largest entries got the whole gradient; together they must "
                "get it once: 1/k each.",
            ),
            Cause(
                "ties counted over the whole array",
                expected * count / top.sum(),
                "How many entries share is counted for each maximum by itself, along its axes.",
            ),
            Cause(
                "tie goes to the first",
                lambda got, whole=expected * count, top=top, axes=axes: bool(
                    np.all(np.isclose(got, whole) | (got == 0))
                    and np.all(((got != 0) & top).sum(axis=axes) <= 1)
                ),
                "Of several equal largest entries one got everything (argmax names the first). The "
                "contract shares evenly.",
            ),
        ]
        case.causes = ([*causes, *case.causes[0]],)
        cases.append(case)
    examine(student, *cases)


@check(points=2, part=PART3)
def index_with_repeats_and_masks(student, rng):
    """Index: rows [1, 1, 0, 1]; pairs of rows and columns; a mask; x[:, 1]; negative numbers."""
    draw = rng.standard_normal
    x = draw((4, 3))
    repeated = np.array([1, 1, 0, 1])
    rows, columns = np.array([0, 3, 0, 2]), np.array([1, 2, 1, 0])
    mask = x > 0
    why = "gradient[index] += grad writes each place once, also when the index names it twice."

    def lost(index, grad):
        wrong = np.zeros(x.shape)
        wrong[index] = grad
        return ([Cause("repeated entries lost", wrong, why)],)

    of_rows, of_pairs = draw((4, 3)), draw(4)
    examine(
        student,
        Rule(
            "Index",
            lambda x: x[repeated],
            of_rows,
            (x,),
            {"index": repeated},
            lost(repeated, of_rows),
        ),
        Rule(
            "Index",
            lambda x: x[rows, columns],
            of_pairs,
            (x,),
            {"index": (rows, columns)},
            lost((rows, columns), of_pairs),
        ),
        Rule("Index", lambda x: x[mask], draw(mask.sum()), (x,), {"index": mask}),
        Rule("Index", lambda x: x[:, 1], draw(4), (x,), {"rows": (None, None, None), "column": 1}),
        Rule("Index", lambda x: x[-1], draw(3), (x,), {"index": -1}),
    )


@check(points=2, part=PART3)
def matmul_of_batches(student, rng):
    """MatMul of (3, 3, 3) with (3, 3, 3), and of (2, 4, 3, 5) with (4, 5, 2): batches broadcast."""
    draw = rng.standard_normal
    cube = product(draw((3, 3, 3)), draw((3, 3, 3)), draw((3, 3, 3)))
    a, b = cube.arrays
    why = "x.T reverses all axes, the batch too; a matrix product transposes the last two."
    causes = [
        [Cause("transposed over all axes", cube.grad @ b.T, why)],
        [Cause("transposed over all axes", a.T @ cube.grad, why)],
    ]
    cube.causes = tuple([*causes[i], *cube.causes[i]] for i in range(2))
    examine(
        student,
        cube,
        product(draw((2, 4, 3, 5)), draw((4, 5, 2)), draw((2, 4, 3, 2))),
        product(draw((3, 2)), draw((5, 1, 2, 4)), draw((5, 1, 3, 4))),
    )


# ---------------------------------------------------------------- part 4


@check(points=2, part=PART4)
def apply_without_a_record(student, rng):
    """Function.apply: no input wants a gradient; recording is switched off."""
    a, b = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    cases = [
        {"a": a, "b": b, "scale": -0.5, "want_a": want, "want_b": want, "recording": recording}
        for want, recording in ((True, True), (False, True), (True, False))
    ]
    answers = list(ask(student, "apply", *cases))
    recorded(answers[0], -0.5 * (a - b), "both inputs require a gradient")
    for got, which, cause in (
        (answers[1], "no input requires a gradient", "recorded without need"),
        (answers[2], "Mode.recording is False", "recorded in spite of no_grad"),
    ):
        compare("data of the result", got["data"], -0.5 * (a - b))
        require(
            not got["requires_grad"],
            f"({which}) the result must have requires_grad False; it is True",
            cause=cause,
            look="The contract of Function.apply, last sentence.",
        )
        require(
            got["function"] == "NoneType",
            f"({which}) the result's function must be None; it is a {got['function']}, and keeps "
            "every array before it in memory",
            cause=cause,
            look="The contract of Function.apply, last sentence.",
        )


@check(points=2, part=PART4)
def no_grad_within_no_grad(student, rng):
    """no_grad: one block in another, a block left by an exception, and recording off before."""
    before, off = ask(student, "no_grad", {"before": True}, {"before": False})
    require(
        before["in the outer block"] is False and before["in the inner block"] is False,
        "Mode.recording must be False inside the blocks",
        cause="recording not switched off",
    )
    require(
        before["after the inner block"] is False,
        "after the inner of two blocks, still in the outer one, Mode.recording must be False; it "
        "is True",
        cause="recording switched on at exit: put back what was there on entering",
        look="__enter__ can keep something on self for __exit__.",
    )
    require(
        before["after the outer block"] is True,
        "after both blocks Mode.recording must be True again; it is False",
        cause="recording not switched back",
    )
    require(
        before["the exception"] == "went on",
        "an exception raised in the block must go on to the caller; it was swallowed",
        cause="exception swallowed: an __exit__ that returns something true stops the exception",
    )
    require(
        before["after the exception"] is True,
        "after a block left by an exception Mode.recording must be what it was before; it is not",
        cause="recording not switched back",
    )
    require(
        off["after the outer block"] is False,
        "Mode.recording was False before the block and must be False after it; it is True",
        cause="recording switched on at exit: put back what was there on entering",
    )


def random_graph(rng, leaves, sums, width=3):
    """A graph in which every sum but the last is used, most of them several times."""
    first = [int(rng.integers(max(0, i - 4), i)) for i in range(leaves, leaves + sums)]
    second = [int(rng.integers(0, i)) for i in range(leaves, leaves + sums)]
    # Leaf 1 wants no gradient: a sum of nothing else would want none either.
    first = [2 if i == 1 else i for i in first]
    # A chain along the side, so that there are short and long ways between the same two.
    for i in range(1, sums):
        if i % 2:
            first[i] = leaves + i - 1
    first[-1] = leaves + sums - 2
    weights = rng.uniform(0.3, 0.9, (sums, 2, width)) * rng.choice([-1, 1], (sums, 2, width))
    weights[rng.random((sums, 2)) < 0.3] = 1.0
    return {
        "leaves": rng.standard_normal((leaves, width)),
        "wanted": tuple(bool(i != 1) for i in range(leaves)),
        "first": tuple(first),
        "second": tuple(second),
        "weights": weights,
    }


def wanting(graph):
    """Whether each tensor of a graph requires a gradient, and which the last one depends on."""
    wants = list(graph["wanted"])
    edges = list(zip(graph["first"], graph["second"], strict=True))
    for i, j in edges:
        wants.append(wants[i] or wants[j])
    count = len(graph["wanted"])
    reached = {len(wants) - 1}
    for n in range(len(wants) - 1, count - 1, -1):
        if n in reached:
            reached |= {k for k in edges[n - count] if wants[k]}
    return wants, reached


@check(points=3, part=PART4)
def topological_order_of_graphs(student, rng):
    """topological_order: a diamond with a short and a long side, and four random graphs."""
    diamond = {
        "leaves": rng.standard_normal((2, 3)),
        "wanted": (True, False),
        "first": (0, 2, 3, 4),
        "second": (1, 2, 3, 2),
        "weights": np.ones((4, 2, 3)),
    }
    graphs = [diamond, *[random_graph(rng, 4, sums) for sums in (5, 9, 14, 25)]]
    for graph, got in zip(graphs, ask(student, "order", *graphs), strict=True):
        order = got["order"]
        wants, reached = wanting(graph)
        last = len(wants) - 1
        edges = ", ".join(
            f"t{n} = t{i} + t{j}"
            for n, (i, j) in enumerate(
                zip(graph["first"], graph["second"], strict=True), len(graph["wanted"])
            )
        )
        listing = ", ".join(f"t{n}" for n in order[:12]) + (" ..." if len(order) > 12 else "")
        said = f"of the graph {edges} (from t{last}) came: {listing}. " if last < 12 else ""
        require(
            -1 not in order,
            f"{said}The list must hold the Tensors of the graph themselves; there are others in it",
            cause="others than the graph's tensors",
        )
        require(
            len(set(order)) == len(order),
            f"{said}Each tensor must stand in the list once; one is there several times",
            cause="tensor listed twice: remember by id() which tensors have been seen",
            look="A tensor is reached by every path to it.",
        )
        require(
            all(wants[n] for n in order),
            f"{said}A tensor without requires_grad is in the list (t1 is such a leaf)",
            cause="tensor without requires_grad listed",
        )
        require(
            set(order) == reached,
            f"{said}{len(reached - set(order))} tensors are missing",
            cause="tensors missing",
            look="Leaves with requires_grad belong to it, and so does the tensor itself.",
        )
        place = {n: i for i, n in enumerate(order)}
        count = len(graph["wanted"])
        early = [
            (n, k)
            for n in order
            if n >= count
            for k in (graph["first"][n - count], graph["second"][n - count])
            if k in place and place[k] < place[n]
        ]
        backwards = place[last] == len(order) - 1 and len(order) > 1
        require(
            not early,
            f"{said}A tensor must stand before all inputs of its function; t{early[0][1]} stands "
            f"before t{early[0][0]}, which was computed from it"
            if early
            else "",
            cause="order reversed: the result comes first, leaves come last"
            if backwards
            else "not a topological order: a tensor may be listed only when everything computed "
            "from it is; being met first, or being near the result, does not say that",
            look="Depth first: list a tensor after all of its inputs have been listed, then "
            "reverse the list.",
        )


@check(points=3, part=PART4)
def backward_on_random_graphs(student, rng):
    """Tensor.backward: random graphs, tensors used several times, a leaf without requires_grad."""
    graphs = [random_graph(rng, 4, sums) for sums in (3, 8, 20)]
    for graph in graphs:
        graph["grads"] = rng.standard_normal((1, 3))
        graph["starts"] = (len(graph["wanted"]) + len(graph["first"]) - 1,)
    for graph, got in zip(graphs, ask(student, "backward", *graphs), strict=True):
        borrowed(got)
        compare_gradients(graph, got)
        _, reached = wanting(graph)
        wanted = [n in reached for n in range(4)]
        require(
            got["leaves with grad"] == wanted,
            "grad must be an array for the leaves with requires_grad that the result depends on "
            f"({wanted}), None for the others; it is there for {got['leaves with grad']}",
            cause="gradient for a tensor that wants none",
        )
        require(
            not any(got["others with grad"]),
            "only leaves get a grad; a result of an operation has one after backward",
            cause="grad of a tensor that is no leaf",
            look="Keep what has arrived in a dict of this one call, not on the tensors.",
        )
        require(
            max(got["uses of each function"]) == 1,
            "each function's backward must be called once, with the sum of what arrived; one was "
            f"called {max(got['uses of each function'])} times",
            cause="function used more than once",
        )


def flow(graph, grad, start):
    """The gradients of the leaves by the definition: back along every edge, latest sum first."""
    count = len(graph["wanted"])
    wants, _ = wanting(graph)
    gradients = np.zeros((len(wants), grad.shape[-1]))
    gradients[start] = grad
    touched = {start}
    for n in range(start, count - 1, -1):
        for k, side in ((graph["first"][n - count], 0), (graph["second"][n - count], 1)):
            if n in touched and wants[k]:
                gradients[k] += graph["weights"][n - count][side] * gradients[n]
                touched.add(k)
    leaves = gradients[:count]
    leaves[[n not in touched for n in range(count)]] = np.nan
    return leaves


def compare_gradients(graph, got):
    """Compare the leaves' gradients of one or several calls of backward."""
    parts = [flow(graph, g, s) for g, s in zip(graph["grads"], graph["starts"], strict=True)]
    expected = np.where(np.all(np.isnan(parts), axis=0), np.nan, np.nansum(np.array(parts), axis=0))
    with_ones = sum(
        flow(graph, np.ones_like(g), s)
        for g, s in zip(graph["grads"], graph["starts"], strict=True)
    )
    extra = ~np.isnan(got["gradients"]) & np.isnan(expected)
    causes = [
        Cause("cotangent ignored", with_ones, "backward starts with its argument grad."),
        Cause(
            "earlier gradient lost",
            lambda got: len(parts) > 1 and np.allclose(got, parts[-1], equal_nan=True),
            "These are the gradients of the last call alone. A leaf that has a grad keeps it: the "
            "new gradient is added.",
        ),
        Cause(
            "gradient of an earlier backward used again",
            lambda got: len(parts) > 1 and bool(np.nanmax(np.abs(got - parts[0])) > 0),
            "One call of backward alone is right. The second must start afresh: what arrived at "
            "the tensors in between belongs to one call only, and must not be kept on them.",
        ),
        Cause(
            "gradient for a tensor that wants none",
            lambda got: bool(extra.any()),
            "A tensor without requires_grad gets no grad.",
        ),
        Cause(
            "gradient overwritten or sent on too early",
            lambda got: len(parts) == 1,
            "A tensor that several others use gets the sum of their gradients, and all of them "
            "must have arrived before it is handed on.",
        ),
    ]
    compare(
        "grad of the leaves (NaN: None)",
        got["gradients"],
        expected,
        causes=causes,
        look="x + x, then u = 2 x and u + 3 u, by hand.",
    )


@check(points=2, part=PART4)
def backward_several_times(student, rng):
    """Tensor.backward twice from the same tensor, then from another one of the graph."""
    graphs = []
    for starts in ((9, 9), (9, 7), (9, 9, 6)):
        graph = random_graph(rng, 4, 6)
        grads = rng.standard_normal((len(starts), 3))
        # One call alone comes first: if that is wrong, the cause is not that there are several.
        graphs.append({**graph, "grads": grads[:1], "starts": starts[:1]})
        graphs.append({**graph, "grads": grads, "starts": starts})
    for graph, got in zip(graphs, ask(student, "backward", *graphs), strict=True):
        borrowed(got)
        compare_gradients(graph, got)


@check(points=2, part=PART4)
def backward_leaves_borrowed_arrays_alone(student, rng):
    """Tensor.backward where functions hand one array to several tensors; the argument, twice."""
    # t3 = t0 + t1, t4 = t3 + t2, t5 = t3 + t4, t6 = t5 + t4: 3 paths to t0 and t1, 2 to t2
    graph = {
        "leaves": rng.standard_normal((3, 3)),
        "wanted": (True, True, True),
        "first": (0, 3, 3, 5),
        "second": (1, 2, 4, 4),
        "weights": np.full((4, 2, 3), 2.0),
        "grads": rng.standard_normal((2, 3)),
        "starts": (6, 6),
    }
    once = {**graph, "grads": graph["grads"][:1], "starts": (6,)}
    # With every weight 1, each function's backward returns the very array it was given, twice.
    sharing = {**graph, "weights": np.ones((4, 2, 3))}
    *apart, got = ask(student, "backward", once, graph, sharing)
    for case, found in zip((once, graph), apart, strict=True):
        compare_gradients(case, found)
    borrowed(got)
    expected = np.array([[3.0], [3.0], [2.0]]) * graph["grads"].sum(axis=0)
    causes = [
        Cause(
            "array of another tensor changed",
            lambda got: True,
            "Where the functions hand out arrays of their own the gradients are right. Here two "
            "tensors were given one array: adding to it in place (+=, out=) changes it for both. "
            "Add out of place, or into a copy of your own.",
        ),
    ]
    compare("grad of the leaves", got["gradients"], expected, causes=causes)


@check(points=2, part=PART4, seconds=15)
def backward_on_deep_graphs(student, rng):
    """Tensor.backward through 20,000 functions in a row, and along 2^60 paths."""
    length = 20_000
    half = rng.uniform(0.5, 2, (length // 2, 1))
    weights = np.stack([half, 1 / half], axis=1).reshape(length, 1)
    grad = rng.standard_normal(1)
    got = student.call("chain", leaf=np.ones(1), weights=weights, grad=grad)
    require(
        got["raised"] == "nothing",
        f"backward through {length} functions in a row must work; it raised {got['raised']}",
        cause="recursion: Python's calls nest about 1000 deep, graphs far deeper. Keep a list of "
        "what is still to be done in place of calls within calls",
        look="In topological_order: what does each call of the recursion remember while it waits? "
        "That is what the entries of the list must hold.",
    )
    compare("gradient through the chain", got["gradient"], grad * np.prod(weights))
    weights = rng.uniform(0.3, 0.7, (60, 2, 2))
    case = {"leaf": np.ones(2), "weights": weights, "grad": rng.standard_normal(2)}
    (got,) = ask(student, "doubling", case)
    expected = case["grad"] * weights.sum(axis=1).prod(axis=0)
    compare("gradient through 60 doublings", got["gradient"], expected, atol=0)


@check(points=1, part=PART4)
def backward_without_its_argument(student, rng):
    """Tensor.backward(): with one entry it starts from 1; with several, or no graph, it raises."""
    cases = [
        {"leaf": rng.standard_normal(shape), "weight": 3.0, "wanted": wanted}
        for shape, wanted in (((1, 1), True), ((), True), ((2,), True), ((1,), False))
    ]
    cases = [case | {"leaf": np.asarray(case["leaf"])} for case in cases]
    one, number, several, none = ask(student, "backward_without_argument", *cases)
    for got, shape in ((one, (1, 1)), (number, ())):
        require(
            got["raised"] == "nothing",
            f"backward() of a tensor of shape {shape} must start from 1; it raised {got['raised']}",
            cause="one entry is enough",
        )
        compare(f"gradient, shape {shape}", got["gradient"], np.full(shape, 3.0))
    for got, which in (
        (several, "backward() of a tensor of shape (2,) without grad"),
        (none, "backward() of a tensor without requires_grad"),
    ):
        require(
            got["raised"] == "RuntimeError",
            f"{which} must raise RuntimeError; it raised {got['raised']}",
            cause="missing RuntimeError: silence would hide a mistake of the caller",
            look="The contract of Tensor.backward, Raises.",
        )


# ---------------------------------------------------------------- part 5


def softmax_rule(x, axis, grad):
    """LogSoftmax with all of its Causes."""
    rule = log_softmax(x, axis, grad)
    expected = oracle(rule.formula, grad, x)[0]
    p, common = np.exp(expected), expected > -20
    rule.of_result = (
        Cause(
            "overflow",
            lambda got: not np.isfinite(got).all(),
            "exp(1000) is infinite and exp(-1000) is 0, whose logarithm is. Subtracting one number "
            "from a whole row does not change its softmax: which number makes exp safe?",
        ),
        Cause(
            "a small number added inside the logarithm",
            lambda got: (
                np.allclose(got[common], expected[common])
                and bool(np.all(got[~common] > expected[~common]))
            ),
            "It only hides that a probability became 0: the logarithm of 1e-12 is -27.6, whatever "
            "it should be. Take the logarithm of the sum, not of the quotient.",
        ),
    )
    why = (
        "All results share one sum, and every gradient in the row goes into it: minus softmax "
        "times the sum of the row's gradients. With a cotangent of ones, or of one 1, this does "
        "not show."
    )
    others = [i for i in range(x.ndim) if i != axis % x.ndim]
    rule.causes = (
        [
            Cause("sum of the gradient forgotten", [grad - p, grad - p * grad], why),
            Cause(
                "summed along another axis",
                [grad - p * grad.sum(axis=i, keepdims=True) for i in others]
                + [grad - p * grad.sum()],
                "The sum of the gradients goes along the axis of the softmax.",
            ),
        ],
    )
    return rule


@check(points=3, part=PART5)
def log_softmax_stays_finite(student, rng):
    """LogSoftmax: axes 0, 1, -1 of (3, 3) and (2, 3, 4); rows near 1000, -1000 and both."""
    draw = rng.standard_normal
    far = draw((3, 3)) + np.array([[1000.0], [-1000.0], [0.0]])
    spread = np.array([[0.0, 1000.0, -1000.0], [-2000.0, -1999.0, -2001.0]])
    examine(
        student,
        softmax_rule(draw((2, 3, 4)), 1, draw((2, 3, 4))),
        softmax_rule(draw((3, 3)), 0, draw((3, 3))),
        softmax_rule(far, 1, draw((3, 3))),
        softmax_rule(far.T.copy(), 0, draw((3, 3))),
        softmax_rule(spread, -1, draw((2, 3))),
    )


@check(points=3, part=PART5)
def cross_entropy_with_a_cotangent(student, rng):
    """CrossEntropy: (5, 3) and (1, 4), cotangents of other sizes and signs; logits near 1000."""
    draw = rng.standard_normal
    far = draw((3, 4)) + np.array([[1000.0], [-1000.0], [0.0]])
    far[2] = [0.0, 800.0, -800.0, 1.0]
    cases = (
        (draw((5, 3)), np.array([2, 0, 0, 1, 2]), -1.7),
        (draw((1, 4)), np.array([3]), 0.3),
        (draw((4, 3)), np.array([1, 1, 0, 1]), 0.7),
        (far, np.array([3, 0, 2]), 2.5),
    )
    rules = []
    for logits, labels, grad in cases:
        rule = cross_entropy(logits, labels, np.array(grad))
        p = np.exp(oracle(lambda x: md.log_softmax(x, 1), np.zeros_like(logits), logits)[0])
        p[:, labels] -= 1
        every_row = Cause(
            "labels taken as columns of every row",
            grad * p / len(labels),
            "p[:, labels] names these columns in all rows. One entry of each row is meant: give "
            "the rows' numbers as well.",
        )
        rule.causes = ([every_row, *rule.causes[0]],)
        rules.append(rule)
    examine(student, *rules)


# ---------------------------------------------------------------- part 6


@check(points=1, part=PART6)
def sgd_with_a_parameter_left_out(student, rng):
    """SGD: random gradients, momentum 0.9; the second parameter has no grad in the third step."""
    first, second = rng.standard_normal((2, 3)), rng.standard_normal(4)
    first_grads, second_grads = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 4))
    lr, momentum, skipped = 0.05, 0.9, 2
    case = {
        "first": first,
        "second": second,
        "first_grads": first_grads,
        "second_grads": second_grads,
        "skipped": skipped,
        "lr": lr,
        "momentum": momentum,
    }
    (got,) = ask(student, "sgd", case)
    unchanged(got)

    def walk(start, grads, left_out=-1, moves=False, decays=False):
        p, v, seen = start, np.zeros_like(start), []
        for i, g in enumerate(grads):
            if i != left_out:
                v = momentum * v + g
                p = p - lr * v
            else:
                v = momentum * v if decays else v
                p = p - lr * v if moves else p
            seen.append(p)
        return np.stack(seen)

    compare("first parameter", got["first parameter"], walk(first, first_grads))
    causes = [
        Cause(
            "a parameter without gradient moved",
            [walk(second, second_grads, skipped, True, d) for d in (True, False)],
            "A parameter whose grad is None stays where it is, whatever its velocity.",
        ),
        Cause(
            "velocity of a parameter without gradient changed",
            [
                walk(second, second_grads, skipped, False, True),
                np.concatenate(
                    [
                        walk(second, second_grads[:2]),
                        walk(second, second_grads[:2])[-1:],
                        walk(walk(second, second_grads[:2])[-1], second_grads[3:]),
                    ]
                ),
            ],
            "A parameter whose grad is None is left out altogether: its velocity waits.",
        ),
    ]
    expected = walk(second, second_grads, skipped)
    compare("second parameter", got["second parameter"], expected, causes=causes)


@check(points=1, part=PART6)
def two_layers(student, rng):
    """two_layer: (5, 3) through 4 hidden units to 2 logits, all biases and weights random."""
    draw = rng.standard_normal
    x, w1, b1, w2, b2 = draw((5, 3)), draw((3, 4)), draw(4), draw((4, 2)), draw(2)
    (got,) = ask(student, "two_layer", {"x": x, "w1": w1, "b1": b1, "w2": w2, "b2": b2})
    unchanged(got)
    hidden = x @ w1 + b1
    expected = np.maximum(hidden, 0) @ w2 + b2
    causes = [
        Cause("ReLU forgotten", hidden @ w2 + b2, "Without it two layers are one."),
        Cause(
            "ReLU after the second layer",
            [np.maximum(expected, 0), np.maximum(hidden @ w2 + b2, 0)],
            "Logits may be negative: the last layer has no ReLU.",
        ),
        Cause(
            "ReLU before the bias",
            (np.maximum(x @ w1, 0) + b1) @ w2 + b2,
            "relu(x w1 + b1): the bias shifts where the unit switches on.",
        ),
    ]
    compare("logits", got["logits"], expected, causes=causes)


@check(points=2, part=PART6)
def training_step_by_step(student, rng):
    """train: the losses and parameters of 6 steps, momentum 0.8, on random data."""
    draw = rng.standard_normal
    x, labels = draw((12, 3)), rng.integers(0, 4, 12)
    start = [draw((3, 6)), draw(6), draw((6, 4)), draw(4)]
    names = ("w1", "b1", "w2", "b2")
    lr, momentum, steps = 0.2, 0.8, 6
    case = {"x": x, "labels": labels, "lr": lr, "momentum": momentum, "steps": steps}
    (got,) = ask(student, "train", case | dict(zip(names, start, strict=True)))
    unchanged(got)

    def walk(zero=True, momentum=momentum, late=False):
        ps = [md.tensor(p.copy(), requires_grad=True) for p in start]
        sgd = md.optim.SGD(ps, lr=lr, momentum=momentum)
        losses = []
        for _ in range(steps + late):
            w1, b1, w2, b2 = ps
            logits = (md.tensor(x) @ w1 + b1).relu() @ w2 + b2
            loss = md.nn.functional.cross_entropy(logits, md.tensor(labels))
            losses.append(loss.item())
            if zero:
                sgd.zero_grad()
            loss.backward()
            sgd.step()
        return np.array(losses[late:]), [p.data for p in ps]

    losses, parameters = walk()
    causes = [
        Cause(
            "gradients not set back",
            walk(zero=False)[0],
            "backward adds to grad: without zero_grad before it every step uses the gradients of "
            "all steps before, too.",
        ),
        Cause(
            "loss after the step",
            walk(late=True)[0],
            "The list holds the loss before each step: the first one is that of the parameters "
            "given.",
        ),
        Cause(
            "momentum ignored",
            walk(momentum=0.0)[0],
            "SGD is given the momentum, and one SGD object keeps the velocities of all steps.",
        ),
        Cause(
            "parameters not changed",
            np.full(steps, losses[0]),
            "Are there gradients when SGD's step is called? zero_grad takes them away.",
        ),
    ]
    look = "Which of these loses points elsewhere: CrossEntropy, SGD, two_layer, backward?"
    compare("losses", got["losses"], losses, causes=causes, look=look)
    for name, expected in zip(names, parameters, strict=True):
        compare(f"{name} after training", got[name], expected, look=look)


@check(points=1, part=PART6)
def float32_stays_float32(student, rng):
    """The dtype of each Function's result and gradients and of trained parameters, for float32."""
    x, y = rng.uniform(0.5, 2, (2, 4, 3)).astype(np.float32)
    ops = ("Add", "Sub", "Mul", "Div", "Pow", "Exp", "Log", "ReLU", "Tanh", "Reshape", "Transpose")
    ops += ("Sum", "Mean", "Max", "Index", "MatMul", "LogSoftmax", "CrossEntropy")
    labels = rng.integers(0, 3, 4)
    got = student.call("dtypes", ops=ops, axes=1, x=x, y=y, labels=labels, grads=np.float32(0.5))
    w1, w2 = rng.standard_normal((3, 5)), rng.standard_normal((5, 3))
    case = {"w1": w1, "b1": np.zeros(5), "w2": w2, "b2": np.zeros(3)}
    case = {name: value.astype(np.float32) for name, value in case.items()}
    trained = student.call("dtypes_in_training", x=x, labels=labels, **case)
    for name, dtype in (*got.items(), *trained.items()):
        require(
            dtype == "float32",
            f"{name} must be float32 where all inputs are float32; it is {dtype}",
            cause="dtype changed: np.zeros, np.ones and np.eye make float64 unless told; an array "
            "of int64 times one of float32 is float64, too",
            look="print(array.dtype) after each line of this operation.",
        )
