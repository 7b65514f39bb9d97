"""Assignment 1: the public checks. Their oracle is minidl: the same formula, differentiated there.

Every gradient is asked for with a random cotangent: the gradient of the sum of the result would
hide most mistakes. More checks, with other inputs, come at grading.
"""

import operator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minidl as md
from minidl.teach.assign import Cause, Wrong, check, compare, require

PART1 = "1. Entry by entry"
PART2 = "2. Checking gradients"
PART3 = "3. Move, reduce, multiply"
PART4 = "4. The engine"
PART5 = "5. Softmax and cross-entropy"
PART6 = "6. Training"


# ---------------------------------------------------------------- what several checks use


def oracle(formula, grad, *arrays):
    """The value of a formula of minidl's tensors, and its gradients for the cotangent `grad`."""
    tensors = [md.tensor(x, requires_grad=True) for x in arrays]
    out = formula(*tensors)
    out.backward(md.tensor(grad))
    return out.data, [x.grad.data for x in tensors]


def sums_to(expected):
    """Whether an array becomes the expected one by adding up its copies."""

    def found(got):
        if got.shape == expected.shape:
            return False
        spread = oracle(lambda x: x.expand(*got.shape), got, expected)
        return np.allclose(spread[1][0], expected)

    return found


def summed_early(rule, shape):
    """What comes of adding up the copies first: for each input, of an operation entry by entry.

    With both inputs written out in the result's shape, the gradient for ones is how each entry of
    the result changes. It belongs to the cotangent before the sum, not after it.
    """
    full = [np.broadcast_to(x, shape).copy() for x in rule.arrays]
    changes = oracle(rule.formula, np.ones(shape), *full)[1]
    for x, change in zip(rule.arrays, changes, strict=True):
        (alone,) = oracle(lambda x: x.expand(*shape), rule.grad, x)[1]
        yield alone * change


def mistakes(i, gradients, with_ones, early=()):
    """What goes wrong with the gradient of input i in every operation."""
    found = [
        Cause(
            "cotangent ignored",
            with_ones[i],
            "This is the derivative alone. backward is given the gradient of the loss with respect "
            "to the result; the chain rule multiplies by it.",
        ),
        Cause("wrong sign", -gradients[i], "Each entry is right but for its sign."),
        Cause(
            "not summed to the input's shape",
            sums_to(gradients[i]),
            "This input was broadcast: one entry of it went into several of the result. Its "
            "gradient is the sum of theirs; see unbroadcast.",
        ),
    ]
    if early and early[i].shape != gradients[i].shape:
        found.append(
            Cause(
                "copies added up too early",
                early[i],
                "This input was broadcast, and the gradients of its copies differ. First the "
                "gradient of every copy, in the shape of the result; then unbroadcast.",
            )
        )
    if len(gradients) == 2 and gradients[0].shape == gradients[1].shape:
        found.append(
            Cause(
                "gradients in the wrong order",
                gradients[1 - i],
                "These are the numbers of the other input. The tuple has the inputs' order; and "
                "which of a and b does each derivative contain?",
            )
        )
    return found


class Answer(dict):
    """What came back for one case, by name, with its inputs and the names of those changed."""

    def __init__(self, values, inputs, changed):
        super().__init__(values)
        self.inputs, self.changed = inputs, changed

    def __missing__(self, name):
        raise Wrong(f"a value {name}", "none")


def ask(student, question, *cases):
    """Ask a question of calls.py for several inputs in one call; an Answer for each.

    Where that call fails, they are asked one by one: the first that is wrong is reported.
    """
    inputs = {f"{i} {name}": value for i, case in enumerate(cases) for name, value in case.items()}
    try:
        got = student.call(question, **inputs)
    except Wrong:
        if len(cases) == 1:
            raise
        for case in cases:
            yield from ask(student, question, case)
        return
    for i, case in enumerate(cases):
        start = f"{i} "
        values = {n.removeprefix(start): value for n, value in got.items() if n.startswith(start)}
        changed = tuple(n.removeprefix(start) for n in got.changed if n.startswith(start))
        yield Answer(values, case, changed)


@dataclass
class Rule:
    """A Function asked for forward and backward, to be compared with minidl.

    Attributes:
        op: the class's name.
        formula: the same of minidl's tensors.
        grad: the cotangent.
        arrays: its inputs, one or two.
        options: for `forward`, or what calls.rules makes options of.
        causes: for each input a list of Causes of its gradient.
        of_result: Causes of the result.
        look: what to look at.
    """

    op: str
    formula: Any
    grad: np.ndarray
    arrays: tuple
    options: dict = field(default_factory=dict)
    causes: tuple = ((), ())
    of_result: tuple = ()
    look: str = ""

    @property
    def question(self):
        """What calls.rules takes."""
        inputs = dict(zip("xy"[: len(self.arrays)], self.arrays, strict=True))
        return {"op": self.op, "grad": self.grad, **inputs, **self.options}


def examine(student, *rules):
    """Ask some Functions, and compare with minidl."""
    answers = ask(student, "rules", *[rule.question for rule in rules])
    for rule, got in zip(rules, answers, strict=True):
        compare_rule(rule, got)


def compare_rule(rule, got):
    """Compare one Function's answers."""
    unchanged(got, f"{rule.op}'s forward or backward")
    op, count = rule.op, len(rule.arrays)
    given = "".join(f", {name} {value}" for name, value in rule.options.items())
    given = " and ".join(str(x.shape) for x in rule.arrays) + given
    result, gradients = oracle(rule.formula, rule.grad, *rule.arrays)
    with_ones = oracle(rule.formula, np.ones_like(rule.grad), *rule.arrays)[1]
    early = tuple(summed_early(rule, result.shape)) if op in ("Mul", "Div") else ()
    compare(
        f"{op} of {given}: result of forward",
        got["result"],
        result,
        causes=rule.of_result,
        look=rule.look,
    )
    require(
        got["gave"].split()[0] == str(count),
        f"{op}.backward must return a tuple of {count} gradient{'s' * (count - 1)}; it returned "
        f"{got['gave']}",
        cause="no tuple of gradients: (gradient,) with the comma is a tuple of one",
        look="The contract of Function.backward.",
    )
    for i in range(count):
        which = f"{op} of {given}: gradient of {'the input' if count == 1 else 'ab'[i]}"
        causes = [*rule.causes[i], *mistakes(i, gradients, with_ones, early)]
        compare(which, got[f"gradient {i}"], gradients[i], causes=causes, look=rule.look)
        again = Cause(
            "changed by backward",
            lambda again: True,
            "The first call of backward gave the right gradient. It must not change what forward "
            "kept, nor its argument.",
        )
        which = f"{which}, from a second call of backward"
        compare(which, got[f"second gradient {i}"], gradients[i], causes=[again])


def put_back(got):
    """Demand that numerical_gradient left x as it was."""
    require(
        not got.changed,
        "numerical_gradient must leave x as it was; it was changed",
        cause="x not put back: keep the old value of the entry and assign it again. x + eps - 2 "
        "eps + eps is not exactly x: numbers are rounded",
        look="x[i] = old in place of x[i] += eps.",
    )


def borrowed(got):
    """Demand that backward left the array it was given alone."""
    require(
        "grads" not in got.changed,
        "the argument grad of Tensor.backward must stay as it is; it was changed",
        cause="array of another tensor changed: what a function's backward returns, and the "
        "argument grad, may be in use elsewhere. Add out of place (a = a + b), or into a copy of "
        "your own; += writes into the array",
        look="x + x, where both inputs get the very same array.",
    )


def unchanged(got, who="the function"):
    """Demand that no input was changed in place."""
    names = ", ".join(got.changed)
    require(
        not got.changed,
        f"{who} must not change its inputs; changed: {names}",
        cause="input changed in place: the caller's array is another's too; x *= 2, x -= y, "
        "x[i] = 0 and the argument out= write into it",
        look="Use x = x * 2 and the like, or work on a copy.",
    )


# ---------------------------------------------------------------- part 1


def compare_unbroadcast(student, grad, *shapes):
    """Ask unbroadcast for several shapes, and compare."""
    cases = [{"grad": grad, "shape": shape} for shape in shapes]
    for shape, got in zip(shapes, ask(student, "unbroadcast", *cases), strict=True):
        unchanged(got)
        x = np.zeros(shape)
        (expected,) = oracle(lambda x: x.expand(*grad.shape), grad, x)[1]
        of_mean = expected * expected.size / grad.size
        of_last = grad.sum(axis=tuple(range(len(shape), grad.ndim)))
        causes = unbroadcast_causes(expected, of_mean, of_last)
        compare(
            f"unbroadcast of {grad.shape} to {shape}",
            got["gradient"],
            expected,
            causes=causes,
            look="Write down which entries of the broadcast array were copied from entry 0, and "
            "add up their gradients by hand.",
        )


def unbroadcast_causes(expected, mean, last):
    """What goes wrong with unbroadcast."""
    return [
        Cause(
            "not summed to the input's shape",
            sums_to(expected),
            "Summed over all copies this is right: some axes were left out. There are two kinds: "
            "axes that `shape` does not have, and axes that have length 1 there.",
        ),
        Cause(
            "length-1 axes dropped",
            lambda got: got.ndim < expected.ndim and np.allclose(got.ravel(), expected.ravel()),
            "The numbers are right. An axis of length 1 in `shape` stays in the result; np.sum "
            "takes it away unless keepdims=True.",
        ),
        Cause("mean instead of sum", mean, "Every copy adds its whole part to the gradient."),
        Cause(
            "summed over the last axes instead of the first",
            last,
            "NumPy lines shapes up at their ends: the axes that `shape` lacks are the first ones.",
        ),
    ]


@check(points=2, part=PART1)
def unbroadcast_adds_up_the_copies(student, rng):
    """unbroadcast: from shape (2, 3, 4) to (3, 4), to (2, 1, 4) and to (1,)."""
    compare_unbroadcast(student, rng.standard_normal((2, 3, 4)), (3, 4), (2, 1, 4), (1,))


@check(points=2, part=PART1)
def add_and_sub(student, rng):
    """Add and Sub: (3, 4) with (3, 4), and (2, 3) with (3,): forward, backward."""
    draw = rng.standard_normal
    examine(
        student,
        Rule("Add", operator.add, draw((3, 4)), (draw((3, 4)), draw((3, 4)))),
        Rule("Add", operator.add, draw((2, 3)), (draw((2, 3)), draw(3))),
        Rule("Sub", operator.sub, draw((3, 4)), (draw((3, 4)), draw((3, 4)))),
        Rule("Sub", operator.sub, draw((2, 3)), (draw((2, 3)), draw(3))),
    )


@check(points=1, part=PART1)
def mul(student, rng):
    """Mul: (3, 4) with (3, 4), and (4, 3) with (3,): forward, backward."""
    draw = rng.standard_normal
    examine(
        student,
        Rule("Mul", operator.mul, draw((3, 4)), (draw((3, 4)), draw((3, 4)))),
        Rule("Mul", operator.mul, draw((4, 3)), (draw((4, 3)), draw(3))),
    )


@check(points=1, part=PART1)
def exp_and_log(student, rng):
    """Exp and Log of (3, 5): forward, backward."""
    x, grad = rng.uniform(0.5, 2, (3, 5)), rng.standard_normal((3, 5))
    examine(student, Rule("Exp", md.exp, grad, (x,)), Rule("Log", md.log, grad, (x,)))


@check(points=2, part=PART1)
def pow_with_a_whole_exponent(student, rng):
    """Pow: x to the powers 2 and 3, x of both signs: forward, backward."""
    x, grad = rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    examine(student, *[power(x, exponent, grad) for exponent in (2, 3)])


def power(x, exponent, grad):
    """Pow with its Causes."""

    def formula(x):
        return x**exponent

    expected = oracle(formula, grad, x)[1][0]
    causes = [
        Cause(
            "exponent not lowered",
            expected * x,
            "What is the derivative of x squared? Its exponent is not 2.",
        ),
        Cause(
            "factor of the exponent forgotten",
            expected / exponent,
            "What is the derivative of x squared? Its slope at 1 is not 1.",
        ),
    ]
    return Rule("Pow", formula, grad, (x,), {"exponent": exponent}, (causes,))


@check(points=1, part=PART1)
def relu_and_tanh(student, rng):
    """ReLU and Tanh of (3, 5), entries of both signs: forward, backward."""
    x, grad = rng.standard_normal((3, 5)), rng.standard_normal((3, 5))
    examine(student, Rule("ReLU", md.relu, grad, (x,)), Rule("Tanh", md.tanh, grad, (x,)))


# ---------------------------------------------------------------- part 2


@check(points=2, part=PART2)
def numerical_gradient_by_hand(student, rng):
    """numerical_gradient of f(x) = x^2 at [1, 2, -3] with cotangent [1, 10, 2] and eps 0.25."""
    x, u = np.array([1.0, 2.0, -3.0]), np.array([1.0, 10.0, 2.0])
    case = {"x": x, "cotangent": u, "eps": 0.25, "coefficients": (0, 0, 1)}
    (got,) = ask(student, "numerical_gradient", case)
    # ((1.25^2 - 0.75^2) / 0.5, 10 (2.25^2 - 1.75^2) / 0.5, 2 (2.75^2 - 3.25^2) / 0.5)
    expected = np.array([2.0, 40.0, -12.0])
    compare(
        "gradient",
        got["gradient"],
        expected,
        causes=[
            Cause("cotangent ignored", expected / u, "L is sum(cotangent * f(x)), not sum(f(x))."),
            Cause(
                "one-sided difference",
                [expected + u * 0.25, expected - u * 0.25],
                "Move the entry to both sides: the error of a central difference is of the order "
                "of eps squared, that of a one-sided one of the order of eps.",
            ),
            Cause(
                "divided by eps instead of 2 eps", 2 * expected, "The two points are 2 eps apart."
            ),
            Cause(
                "divided by 2, then multiplied by eps",
                expected / 16,
                "a / 2 * eps is (a / 2) * eps in Python: the divisor needs parentheses.",
            ),
        ],
        look="For entry 0 by hand: f(1.25) = 1.5625, f(0.75) = 0.5625.",
    )
    put_back(got)


@check(points=2, part=PART2)
def gradcheck_tells_a_right_gradient_from_wrong_ones(student, rng):
    """gradcheck: one right gradient, one with a wrong factor, one that is zero."""
    x, y = rng.standard_normal((3, 2)), rng.standard_normal((3, 4))
    matrix = rng.standard_normal((2, 4))
    case = {
        "x": x,
        "y": y,
        "coefficients": (1.0, 0.5, 0.25),
        "matrix": matrix,
        "factor": 1.5,
        "slopes": np.array([[1.0, 1.0, 0.75], [1.0, 0.5, 0.25], [0.0, 0.0, 0.0]]),
        "matrices": (matrix.T,) * 3,
        "factors": (1.5,) * 3,
        "extras": (np.zeros((3, 4)),) * 3,
        "form": ("",) * 3,
    }
    (got,) = ask(student, "gradcheck", case)
    judge(
        got["verdicts"],
        [
            ("the right gradient", True, "right gradient rejected"),
            ("a gradient with wrong factors", False, "wrong gradient accepted"),
            ("a gradient of x that is zero", False, "wrong gradient accepted"),
        ],
    )


def judge(verdicts, wanted):
    """Compare gradcheck's verdicts; `wanted`: (what was checked, verdict, cause if not)."""
    for verdict, (what, right, cause) in zip(verdicts, wanted, strict=True):
        require(
            verdict == str(right),
            f"gradcheck of {what} must be {right}; it was {verdict}",
            cause=cause,
            look="Print the analytic and the numeric gradient side by side in gradcheck for a "
            "small case of your own.",
        )


# ---------------------------------------------------------------- part 3


@check(points=2, part=PART3)
def reshape_and_transpose(student, rng):
    """Reshape (2, 6) to (3, 4) and to (-1,); Transpose of (2, 5) and of (2, 3, 4) to (0, 2, 1)."""
    draw = rng.standard_normal
    examine(
        student,
        reshaped(draw((2, 6)), (3, 4), draw((3, 4))),
        reshaped(draw((2, 6)), (-1,), draw(12)),
        transposed(draw((2, 5)), None, draw((5, 2))),
        transposed(draw((2, 3, 4)), (0, 2, 1), draw((2, 4, 3))),
    )


def reshaped(x, shape, grad):
    """Reshape with its Causes."""
    why = "A gradient has the shape of the input, not that of the result."
    causes = [Cause("gradient has the result's shape", grad, why)]
    return Rule("Reshape", lambda x: x.reshape(shape), grad, (x,), {"shape": shape}, (causes,))


def transposed(x, axes, grad):
    """Transpose with its Causes."""
    order = tuple(reversed(range(x.ndim))) if axes is None else axes
    causes = [
        Cause(
            "axes not inverted",
            grad.transpose(order),
            "The gradient must go the way back: axis axes[i] of x came to place i, so axis i of "
            "grad goes to place axes[i]. Permuting once more the same way is that only for a swap.",
        ),
        Cause("gradient has the result's shape", grad, "A gradient has the shape of the input."),
    ]
    return Rule("Transpose", lambda x: x.permute(order), grad, (x,), {"axes": axes}, (causes,))


def reduced(op, x, axis, draw, keepdims=False, causes=()):
    """Sum, Mean or Max with the Causes that they share."""
    axes = tuple(range(x.ndim)) if axis is None else axis

    def formula(x):
        if op == "Max":
            return md.amax(x, axes, keepdims)
        return (x.sum if op == "Sum" else x.mean)(axes, keepdims)

    grad = np.asarray(draw(formula(md.tensor(x)).shape))
    expected = oracle(formula, grad, x)[1][0]
    size, count = x.size, x.size // grad.size
    shared = {
        "Sum": [],
        "Mean": [
            Cause(
                "mean's divisor forgotten",
                expected * count,
                "This is the gradient of the sum. How does the mean differ from it?",
            ),
            Cause(
                "divided by the size of the whole array",
                expected * count / size,
                f"Each mean is over {count} entries here, not over all {size}.",
            ),
        ],
        "Max": [],
    }[op]
    try:
        beside = np.broadcast_to(grad, x.shape) / (count if op == "Mean" else 1)
    except ValueError:  # the mistake shows as an error then
        beside = []
    if op == "Max":
        beside = beside * (expected != 0) if len(beside) else []
    axis_lost = Cause(
        "axis not put back",
        beside,
        "The gradient was repeated along the wrong axis: broadcasting lines up the last axes. Put "
        "the reduced axis back, with length 1, before repeating.",
    )
    options = {"axis": axis, "keepdims": keepdims}
    given = ([*causes, *shared, axis_lost],)
    look = "Write grad and x on paper: which entries of x does entry 0 of grad belong to?"
    return Rule(op, formula, grad, (x,), options, given, look=look)


@check(points=2, part=PART3)
def sum_over_an_axis(student, rng):
    """Sum of (3, 3) and (2, 5) over axis 1 and axis 0: forward, backward."""
    draw = rng.standard_normal
    cases = [reduced("Sum", draw(s), axis, draw) for s in ((3, 3), (2, 5)) for axis in (1, 0)]
    examine(student, *cases)


@check(points=2, part=PART3)
def mean_over_an_axis_and_over_all(student, rng):
    """Mean of (4, 4) and (4, 6) over axis 1, axis 0 and all: forward, backward."""
    draw = rng.standard_normal
    cases = [
        reduced("Mean", draw(s), axis, draw) for s in ((4, 4), (4, 6)) for axis in (1, 0, None)
    ]
    examine(student, *cases)


@check(points=2, part=PART3)
def max_without_ties(student, rng):
    """Max of (4, 4) and (4, 5) over axis 1, axis 0 and all, no two entries equal."""
    examine(
        student,
        *[
            reduced("Max", rng.permutation(4 * n).reshape(4, n) / 7, axis, rng.standard_normal)
            for n in (4, 5)
            for axis in (1, 0, None)
        ],
    )


@check(points=2, part=PART3)
def index_of_rows(student, rng):
    """Index: one row of (4, 3), a slice of rows, and the rows [2, 0]: forward, backward."""
    draw, rows = rng.standard_normal, np.array([2, 0])
    x = draw((4, 3))
    examine(
        student,
        Rule("Index", lambda x: x[1], draw(3), (x,), {"index": 1}),
        Rule("Index", lambda x: x[1:4:2], draw((2, 3)), (x,), {"rows": (1, 4, 2)}),
        Rule("Index", lambda x: x[rows], draw((2, 3)), (x,), {"index": rows}),
    )


@check(points=2, part=PART3)
def matmul_of_two_matrices(student, rng):
    """MatMul of (3, 3) with (3, 3), and of (3, 4) with (4, 2): forward, backward."""
    draw = rng.standard_normal
    examine(
        student,
        product(draw((3, 3)), draw((3, 3)), draw((3, 3))),
        product(draw((3, 4)), draw((4, 2)), draw((3, 2))),
    )


def product(a, b, grad):
    """MatMul with its Causes."""
    why = "Follow the shapes: which product of grad and the other matrix has this shape?"
    both = []
    for wrong in (lambda: grad @ b, lambda: a @ grad):
        try:
            both.append([Cause("transpose forgotten", wrong(), why)])
        except ValueError:  # the mistake shows as an error then
            both.append([])
    return Rule("MatMul", operator.matmul, grad, (a, b), causes=tuple(both))


# ---------------------------------------------------------------- part 4


@check(points=3, part=PART4)
def apply_records_an_operation(student, rng):
    """Function.apply of a given operation scale (a - b): the result, and what is recorded."""
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    cases = [
        {"a": a, "b": b, "scale": 2.0, "want_a": want_a, "want_b": want_b}
        for want_a, want_b in ((True, True), (True, False), (False, True))
    ]
    for case, got in zip(cases, ask(student, "apply", *cases), strict=True):
        unchanged(got)
        wanted = f"a requires a gradient: {case['want_a']}, b: {case['want_b']}"
        recorded(got, 2 * (a - b), wanted)


def recorded(got, expected, which):
    """Demand that an operation was used and recorded."""
    require(
        got["type"] == "Tensor",
        f"apply must return a Tensor; it returned a {got['type']}",
        cause="no Tensor returned",
        look="The contract of Function.apply.",
    )
    compare("data of the result", got["data"], expected, look="The options go to forward too.")
    require(
        got["requires_grad"],
        f"({which}) the result must have requires_grad True; it is False",
        cause="all instead of any: one input that wants a gradient is enough",
        look="The contract of Function.apply.",
    )
    require(
        got["function"] == "Scaled",
        f"({which}) the result's function must be an object of the operation's class Scaled; it is "
        f"a {got['function']}",
        cause="function not recorded",
        look="The contract of Function.apply.",
    )
    require(
        got["inputs"] == "tuple" and got["inputs are those given"] == [True, True],
        f"({which}) the function's inputs must be the tuple of the two Tensors given; they are a "
        f"{got['inputs']}, the same objects: {got['inputs are those given']}",
        cause="inputs not recorded: the Tensors themselves, not their arrays and not copies, and "
        "all of them, also those that want no gradient",
        look="The contract of Function.apply.",
    )
    require(
        not got["one object for two uses"] and got["inputs on the class"] == 0,
        "two uses of an operation must have two function objects with inputs of their own",
        cause="state shared between uses: set the inputs on the new object, not on the class",
        look="The contract of Function.apply.",
    )


@check(points=2, part=PART4)
def no_grad_and_detach(student, rng):
    """no_grad switches Mode.recording off and on again; detach gives a leaf on the same array."""
    (got,) = ask(student, "no_grad", {"before": True})
    require(
        got["in the outer block"] is False,
        "Mode.recording must be False in a no_grad block; it is True",
        cause="recording not switched off",
    )
    require(
        got["after the outer block"] is True,
        "Mode.recording must be True again after the block; it is False",
        cause="recording not switched back",
    )
    data = rng.standard_normal((2, 3))
    got = student.call("detach", data=data)
    compare("data of the detached tensor", got["data"], data)
    require(
        not got["same object"] and got["the tensor itself has its function"],
        "detach must return a new Tensor and leave the tensor itself as it is",
        cause="the tensor itself was changed",
    )
    require(
        got["requires_grad"] is False and got["leaf"],
        "the detached tensor must be a leaf without requires_grad; requires_grad is "
        f"{got['requires_grad']}, leaf: {got['leaf']}",
        cause="still requires a gradient",
    )
    require(
        got["same array"],
        "the detached tensor must share its array; it has a copy",
        cause="data copied",
    )


@check(points=2, part=PART4)
def backward_through_a_chain_and_a_tensor_used_twice(student, rng):
    """Tensor.backward on small graphs of given functions, cotangent given, put together by hand.

    x -> 2 x -> 3 (2 x); then y = x + 5 x, of one tensor x; then z = 2 u + 3 v with u = 2 x,
    v = 7 u.
    """
    grad = np.array([[1.0, -2.0]])
    leaf = np.array([[[3.0, 4.0]]])
    look = "Draw the graph and carry the gradient back by hand, arrow by arrow."

    def graph(first, second, weights):
        shape = (len(first), 2, 1, 2)
        return {
            "leaves": leaf,
            "wanted": (True,),
            "first": first,
            "second": second,
            "weights": np.broadcast_to(np.array(weights).reshape(-1, 2, 1, 1), shape),
            "grads": grad[None],
            "starts": (len(first),),
        }

    # Each sum has two inputs: a chain is one whose second weight counts for nothing.
    chain = graph((0, 1), (0, 1), ((2.0, 0.0), (3.0, 0.0)))
    twice = graph((0,), (0,), ((1.0, 5.0),))
    diamond = graph((0, 1, 1), (0, 1, 2), ((2.0, 0.0), (7.0, 0.0), (2.0, 3.0)))
    overwritten = (
        "A tensor that is used twice gets two gradients: the second is added to the first."
    )
    early = (
        "u is used by v and by the result. Its gradient may be sent on to x only when both parts "
        "have arrived: that is what the topological order is for."
    )
    ignored = Cause(
        "cotangent ignored",
        np.full((1, 1, 2), 6.0),
        "backward starts with its argument; with ones only where it is left out.",
    )
    lost = Cause("gradient overwritten", [5 * grad[None], grad[None], 0 * grad[None]], overwritten)
    rows = (
        ("the chain 3 (2 x)", 6, [ignored, lost]),
        ("x + 5 x", 6, [ignored, lost]),
        (
            "2 u + 3 v",
            46,
            [Cause("handed on too early", [4 * grad[None], 42 * grad[None]], early)],
        ),
    )
    answers = ask(student, "backward", chain, twice, diamond)
    for (name, factor, causes), got in zip(rows, answers, strict=True):
        borrowed(got)
        which = f"gradient of x of {name}"
        compare(which, got["gradients"], factor * grad[None], causes=causes, look=look)


@check(points=1, part=PART4)
def formulas_of_tensors(student, rng):
    """All together: formulas written with Tensor's operators, value and gradients."""
    a, b = rng.standard_normal((4, 3)), rng.uniform(1, 2, (4, 3))
    grad = rng.standard_normal((4, 3))
    look = (
        "Which parts of it lose points in parts 1, 3 and 4? See calls.expression. If none does: "
        "check_rule tries one operation, also those without a public check, as Div."
    )
    formulas = {
        "arithmetic": lambda a, b: (1 - a) * b / (2 + a**2) - 3 / b + (-a),
        "statistics": lambda a, b: (a - a.mean(0)) / (a - b).exp().sum(1, keepdim=True),
    }
    cases = [{"name": name, "a": a, "b": b, "grad": grad} for name in formulas]
    answers = ask(student, "expression", *cases)
    for (name, formula), got in zip(formulas.items(), answers, strict=True):
        value, gradients = oracle(formula, grad, a, b)
        compare(f"{name}: value", got["value"], value, look=look)
        for which, expected in zip("ab", gradients, strict=True):
            key = f"gradient of {which}"
            require(
                got[key] is not None,
                f"{name}: after backward {which}.grad must be an array; it is None",
                cause="no gradient arrived: was each operation recorded by apply, and is every "
                "leaf in topological_order?",
                look="The other checks of part 4.",
            )
            compare(f"{name}: {key}", got[key], expected, look=look)


# ---------------------------------------------------------------- part 5


@check(points=2, part=PART5)
def log_softmax_of_rows(student, rng):
    """LogSoftmax of (4, 5) along the last axis, entries near 1, random cotangent."""
    examine(student, log_softmax(rng.standard_normal((4, 5)), -1, rng.standard_normal((4, 5))))


def log_softmax(x, axis, grad, of_result=()):
    """LogSoftmax, with what to look at."""
    look = (
        "each result depends on every entry of its row: how does result j change with entry i, for "
        "j = i and for another j?"
    )
    options = {"axis": axis}

    def formula(x):
        return md.log_softmax(x, axis)

    # What is right for a cotangent whose entries have the sum 1 along the axis, taken for all:
    one = np.zeros_like(grad)
    np.moveaxis(one, axis, 0)[0] = 1.0
    as_for_one = grad + oracle(formula, one, x)[1][0] - one
    causes = [
        Cause(
            "sum of the gradient forgotten",
            as_for_one,
            "This is right only where the entries of grad in a row have the sum 1. All results of "
            "a row share one sum of exp: through it each of them depends on each x of the row.",
        )
    ]
    return Rule("LogSoftmax", formula, grad, (x,), options, (causes,), of_result, look)


@check(points=2, part=PART5)
def cross_entropy_of_a_few_rows(student, rng):
    """CrossEntropy of (4, 5), cotangent 1."""
    logits, labels = rng.standard_normal((4, 5)), np.array([3, 0, 4, 3])
    examine(student, cross_entropy(logits, labels, np.array(1.0)))


def cross_entropy(logits, labels, grad):
    """CrossEntropy with its Causes."""
    count, classes = logits.shape

    def formula(x):
        return md.nn.functional.cross_entropy(x, md.tensor(labels))

    result, (expected,) = oracle(formula, grad, logits)
    of_gradient = [
        Cause("not divided by N", expected * count, "The loss is the mean over the rows."),
        Cause(
            "divided by N C",
            expected / classes,
            "The loss is the mean over the N rows: one term each, not one for each class.",
        ),
        Cause(
            "label not subtracted",
            expected + grad * np.eye(classes)[labels] / count,
            "At the label the gradient is negative: more of that logit is less loss.",
        ),
    ]
    of_result = [
        Cause("not divided by N", result * count, "The loss is the mean over the rows."),
        Cause("divided by N C", result / classes, "One term for each row, not for each class."),
        Cause("wrong sign", -result, "The loss is minus the logarithm: it is never negative."),
    ]
    look = "The gradient of one row by hand, with two classes."
    options = {"labels": labels}
    return Rule("CrossEntropy", formula, grad, (logits,), options, (of_gradient,), of_result, look)


# ---------------------------------------------------------------- part 6


@check(points=2, part=PART6)
def sgd_steps_by_hand(student, rng):
    """SGD, lr 0.1: three steps from [1, 3] and from [2, 4], momentum 0 and momentum 0.5."""
    cases = [
        {
            "first": np.array([1.0, 3.0]),
            "second": np.array([2.0, 4.0]),
            "first_grads": np.ones((3, 2)),
            "second_grads": np.full((3, 2), 2.0),
            "skipped": -1,
            "lr": 0.1,
            "momentum": momentum,
        }
        for momentum in (0.0, 0.5)
    ]
    by_hand = (
        ([0.9, 0.8, 0.7], [1.8, 1.6, 1.4]),
        ([0.9, 0.75, 0.575], [1.8, 1.5, 1.15]),
    )
    # With momentum 0.5, what else comes out for p and q by a common mistake:
    uphill = ([1.1, 1.25, 1.425], [2.2, 2.5, 2.85])
    damped = ([0.95, 0.875, 0.7875], [1.9, 1.75, 1.575])
    shared = ([0.9, 0.675, 0.41875], [1.75, 1.4375, 1.109375])
    for right, got in zip(by_hand, ask(student, "sgd", *cases), strict=True):
        unchanged(got)
        for i, name in enumerate(("first", "second")):

            def both(numbers, i=i):
                return np.array(numbers[i])[:, None] + np.array([0.0, 2.0])

            without = by_hand[0] if right is by_hand[1] else ([1.1, 1.2, 1.3], [2.2, 2.4, 2.6])
            causes = [
                Cause("uphill", both(uphill), "The gradient points to where the loss grows."),
                Cause(
                    "gradient damped by 1 - momentum",
                    both(damped),
                    "Some books average: v <- m v + (1 - m) g. The contract has torch's form, "
                    "m v + g.",
                ),
                Cause(
                    "one velocity for all parameters",
                    both(shared),
                    "Every parameter has its own velocity, which no other one changes.",
                ),
                Cause(
                    "momentum ignored" if right is by_hand[1] else "uphill",
                    both(without),
                    "The velocity is kept from step to step."
                    if right is by_hand[1]
                    else "The gradient points to where the loss grows.",
                ),
            ]
            which = f"{name} parameter after each step, momentum {got.inputs['momentum']}"
            compare(which, got[f"{name} parameter"], both(right), causes=causes)
        require(
            got["grad after zero_grad"] == [False, False],
            "after zero_grad the grad of every parameter must be None",
            cause="grad not set to None",
        )


@check(points=2, part=PART6)
def training_learns_the_spiral(student, rng):
    """train on 60 points of a spiral with three arms: 100 steps, 90 % classified rightly."""
    radius = np.tile(np.linspace(0.1, 1, 20), 3)
    labels = np.repeat(np.arange(3), 20)
    angle = 3 * radius + 2 * np.pi * labels / 3 + 0.1 * rng.standard_normal(60)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    case = {"x": x, "labels": labels, "lr": 0.3, "momentum": 0.9, "steps": 100}
    case |= {"w1": 2 * rng.standard_normal((2, 16)), "b1": np.zeros(16)}
    case |= {"w2": rng.standard_normal((16, 3)) / 4, "b2": np.zeros(3)}
    (got,) = ask(student, "train", case)
    unchanged(got)
    losses = got["losses"]
    require(
        losses.shape == (100,),
        f"train must return 100 losses, one for each step; the shape is {losses.shape}",
        cause="number of losses",
    )
    right = float((got["logits after"].argmax(1) == labels).mean())
    require(
        right >= 0.9,
        f"at least 90 % of the points must be classified rightly after training; {right:.1%} are. "
        f"The loss went from {losses[0]:.4g} over {losses[49]:.4g} to {losses[-1]:.4g}",
        cause="parameters not changed: the loss is the same in every step. Are there gradients "
        "when SGD's step is called?"
        if np.ptp(losses) == 0
        else "network does not learn",
        look="Does the loss fall at all? Then check_tensors(lambda w1: ..., w1) of the loss as a "
        "function of each parameter; is zero_grad called in every step, before backward?",
    )
