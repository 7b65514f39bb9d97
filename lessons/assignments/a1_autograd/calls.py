"""How the checks use a submission: inputs in, results out. Nothing here knows what is right.

Each function is one question. It runs beside the submission (`student.autograd`) in a process of
its own; the check that asked compares the answer elsewhere. To see what a check does with your
code, read the check in public.py and the function here that it calls.
"""

import functools

import numpy as np


def several(question):
    """Let a question be asked for several inputs at once: `0 x` and `1 x` are x, asked twice."""

    def asked(student, **inputs):
        cases = {}
        for name, value in inputs.items():
            number, _, rest = name.partition(" ")
            cases.setdefault(number, {})[rest] = value
        found = {}
        for number, case in cases.items():
            for name, value in question(student, **case).items():
                found[f"{number} {name}"] = value
        return found

    return asked


# ---------------------------------------------------------------- parts 1, 3, 5: rules alone


@several
def rules(student, op, grad, x, y=None, rows=None, column=None, **options):
    """forward, then backward twice, of a Function by itself, without the engine.

    Args:
        op: the name of its class.
        grad: the gradient given to `backward`.
        x, y: the inputs; y None: there is one.
        rows: for Index: the start, stop and step of a slice.
        column: for Index: an int beside that slice.
        options: for `forward`.
    """
    if rows is not None:
        rows = slice(*rows)
        options["index"] = rows if column is None else (rows, column)
    inputs = (x,) if y is None else (x, y)
    function = getattr(student.autograd, op)()
    # (a copy: what backward does to it later is not forward's result)
    found = {"result": np.array(function.forward(*inputs, **options))}
    for time in ("gradient", "second gradient"):
        gradients = function.backward(grad)
        if not isinstance(gradients, (tuple, list)):
            found["gave"] = f"a {type(gradients).__name__}, not a tuple"
            break
        found["gave"] = f"{len(gradients)} gradients"
        for i, gradient in enumerate(gradients):
            found[f"{time} {i}"] = np.array(gradient)
    return found


@several
def unbroadcast(student, grad, shape):
    """The function of that name."""
    return {"gradient": student.autograd.unbroadcast(grad, shape)}


def dtypes(student, ops, axes, x, y, labels, grads):
    """The dtypes that Functions, the engine and SGD give for inputs of one dtype."""
    autograd = student.autograd
    options = {
        "Pow": {"exponent": 3},
        "Reshape": {"shape": (-1,)},
        "Index": {"index": ([0, 0, 1],)},
        "Sum": {"axis": axes},
        "Mean": {"axis": axes},
        "Max": {"axis": axes},
        "CrossEntropy": {"labels": labels},
    }
    found = {}
    for op in ops:
        inputs = (x, y) if op in ("Add", "Sub", "Mul", "Div") else (x,)
        inputs = (x, y.T) if op == "MatMul" else inputs
        function = getattr(autograd, op)()
        out = np.asarray(function.forward(*inputs, **options.get(op, {})))
        found[f"{op} result"] = str(out.dtype)
        for i, gradient in enumerate(function.backward(out * grads)):
            found[f"{op} gradient {i}"] = str(np.asarray(gradient).dtype)
    return found


def dtypes_in_training(student, x, labels, w1, b1, w2, b2):
    """The dtypes of gradients and parameters after training."""
    parameters = [student.autograd.Tensor(p, requires_grad=True) for p in (w1, b1, w2, b2)]
    student.autograd.train(x, labels, parameters, lr=0.1, momentum=0.9, steps=2)
    found = {}
    for name, p in zip(("w1", "b1", "w2", "b2"), parameters, strict=True):
        found[f"{name}.data"] = str(p.data.dtype)
        if p.grad is not None:
            found[f"{name}.grad"] = str(p.grad.dtype)
    return found


# ---------------------------------------------------------------- part 2: checking gradients


@several
def numerical_gradient(student, x, cotangent, eps, coefficients=None, matrix=None, layout=""):
    """numerical_gradient of a function that the arguments choose.

    Args:
        matrix: f multiplies its argument by it first, x @ matrix; None: not.
        coefficients: of 1, x, x^2, ...: then f is that polynomial, entry by entry; None: not.
            With neither, f returns its argument, in the cotangent's shape.
        layout: "transposed" or "sliced": the function gets such a view of x.
    """

    def f(point):
        if matrix is not None:
            point = point @ matrix
        if coefficients is not None:
            return sum(c * point**k for k, c in enumerate(coefficients))
        return point if matrix is not None else point.reshape(cotangent.shape)

    given = {"": x, "transposed": x.T, "sliced": x[..., ::2]}[layout]
    return {"gradient": student.autograd.numerical_gradient(f, given, cotangent, eps)}


@several
def gradcheck(student, x, y, coefficients, matrix, factor, slopes, matrices, factors, extras, form):
    """gradcheck of f(x, y) = p(x) @ matrix + factor y, given several gradients one after another.

    Args:
        coefficients: p(x) = c[0] x + c[1] x^2 + c[2] x^3, entry by entry.
        slopes, matrices, factors: tuples, one entry a gradient: that of x is
            (u @ matrices[i]) (s[0] + s[1] x + s[2] x^2) with s = slopes[i], that of y factors[i] u.
        extras: one entry a gradient: an array that is added to the gradient of y.
        form: one entry a gradient: "", or "only x", "flat y" for other forms of the same numbers.
    """

    def forward(x, y):
        return (coefficients[0] * x + coefficients[1] * x**2 + coefficients[2] * x**3) @ matrix + (
            factor * y
        )

    verdicts = []
    for i, s in enumerate(slopes):

        def gradient(u, x, y, i=i, s=s):
            of_x = (u @ matrices[i]) * (s[0] + s[1] * x + s[2] * x**2)
            of_y = factors[i] * u + extras[i]
            if form[i] == "only x":
                return (of_x,)
            return of_x, of_y[0] if form[i] == "flat y" else of_y

        verdict = student.autograd.gradcheck(forward, gradient, (np.array(x), np.array(y)))
        isbool = isinstance(verdict, (bool, np.bool_))
        verdicts.append(str(bool(verdict)) if isbool else f"a {type(verdict).__name__}")
    return {"verdicts": verdicts}


# ---------------------------------------------------------------- part 4: the engine


@several
def apply(student, a, b, scale, want_a, want_b, recording=True):
    """Function.apply of an operation that is given here: scale (a - b)."""
    autograd = student.autograd

    class Scaled(autograd.Function):
        def forward(self, a, b, scale):
            return scale * (a - b)

    autograd.Mode.recording = recording
    a = autograd.Tensor(a, requires_grad=want_a)
    b = autograd.Tensor(b, requires_grad=want_b)
    out = Scaled.apply(a, b, scale=scale)
    other = Scaled.apply(a, b, scale=scale)
    inputs = None if out.function is None else out.function.inputs
    return {
        "type": type(out).__name__,
        "data": out.data,
        "requires_grad": bool(out.requires_grad),
        "function": type(out.function).__name__,
        "inputs": None if inputs is None else type(inputs).__name__,
        "inputs are those given": None
        if inputs is None
        else [x is y for x, y in zip(inputs, (a, b), strict=False)],
        "one object for two uses": out.function is not None and out.function is other.function,
        "inputs on the class": len(Scaled.inputs),
    }


@several
def no_grad(student, before):
    """`Mode.recording` before, in and after no_grad blocks, one in another, and an exception."""
    autograd = student.autograd
    autograd.Mode.recording = before
    found = {}
    with autograd.no_grad():
        found["in the outer block"] = bool(autograd.Mode.recording)
        with autograd.no_grad():
            found["in the inner block"] = bool(autograd.Mode.recording)
        found["after the inner block"] = bool(autograd.Mode.recording)
    found["after the outer block"] = bool(autograd.Mode.recording)
    try:
        with autograd.no_grad():
            raise KeyError("raised inside the block")
    except KeyError:
        found["the exception"] = "went on"
    else:
        found["the exception"] = "was swallowed"
    found["after the exception"] = bool(autograd.Mode.recording)
    return found


def detach(student, data):
    """Tensor.detach, of a tensor that has a function."""
    autograd = student.autograd
    tensor = linked(autograd, [autograd.Tensor(data, requires_grad=True)], [1.0])
    tensor.grad = np.ones_like(data)
    found = tensor.detach()
    return {
        "data": found.data,
        "same array": bool(np.shares_memory(found.data, tensor.data)),
        "same object": found is tensor,
        "requires_grad": bool(found.requires_grad),
        "leaf": found.function is None,
        "grad": None if found.grad is None else "an array",
        "the tensor itself requires_grad": bool(tensor.requires_grad),
        "the tensor itself has its function": tensor.function is not None,
    }


@functools.cache
def weighted_sum(autograd):
    """A Function that is given here: its `backward` sends each input its weight times grad.

    With a weight of 1 it hands out the very array it was given.
    """

    class WeightedSum(autograd.Function):
        used = 0

        def __init__(self, weights):
            self.weights = weights

        def backward(self, grad):
            self.used += 1
            return tuple([grad if np.all(w == 1) else w * grad for w in self.weights])

    return WeightedSum


def linked(autograd, inputs, weights):
    """A tensor, the weighted sum of others, put into the graph by hand, without apply."""
    data = sum(w * x.data for w, x in zip(weights, inputs, strict=True))
    out = autograd.Tensor(data, requires_grad=any(x.requires_grad for x in inputs))
    if out.requires_grad:
        out.function = weighted_sum(autograd)(weights)
        out.function.inputs = tuple(inputs)
    return out


def built(autograd, leaves, wanted, first, second, weights):
    """A graph: the leaves, then weighted sums of two earlier tensors each.

    Args:
        leaves: (L, ...) their data. wanted: whether leaf i requires a gradient.
        first, second: the numbers of the two tensors that sum i adds.
        weights: (S, 2, ...) their weights.
    """
    tensors = [
        autograd.Tensor(x, requires_grad=bool(w)) for x, w in zip(leaves, wanted, strict=True)
    ]
    for i, j, w in zip(first, second, weights, strict=True):
        tensors.append(linked(autograd, [tensors[i], tensors[j]], [w[0], w[1]]))
    return tensors


@several
def order(student, leaves, wanted, first, second, weights):
    """The numbers of the tensors in topological_order of the last one; -1: not one of them."""
    tensors = built(student.autograd, leaves, wanted, first, second, weights)
    numbers = {id(x): i for i, x in enumerate(tensors)}
    found = student.autograd.topological_order(tensors[-1])
    return {"order": [numbers.get(id(x), -1) for x in found]}


@several
def backward(student, leaves, wanted, first, second, weights, grads, starts):
    """Tensor.backward, from tensor starts[i] with gradient grads[i], one after another."""
    tensors = built(student.autograd, leaves, wanted, first, second, weights)
    for start, grad in zip(starts, grads, strict=True):
        tensors[start].backward(grad)
    nothing = np.full(leaves.shape[1:], np.nan)
    count = len(leaves)
    return {
        "gradients": np.stack([nothing if x.grad is None else x.grad for x in tensors[:count]]),
        "leaves with grad": [x.grad is not None for x in tensors[:count]],
        "others with grad": [x.grad is not None for x in tensors[count:]],
        "uses of each function": [
            x.function.used if x.function is not None else 0 for x in tensors[count:]
        ],
    }


def chain(student, leaf, weights, grad):
    """backward through a chain of as many functions as there are weights."""
    autograd = student.autograd
    first = out = autograd.Tensor(leaf, requires_grad=True)
    for w in weights:
        out = linked(autograd, [out], [w])
    try:
        out.backward(grad)
    except RecursionError:
        return {"gradient": None, "raised": "RecursionError"}
    return {"gradient": first.grad, "raised": "nothing"}


@several
def doubling(student, leaf, weights, grad):
    """backward through sums of a tensor with itself: one path more at every step, twice each."""
    autograd = student.autograd
    first = out = autograd.Tensor(leaf, requires_grad=True)
    for w in weights:
        out = linked(autograd, [out, out], [w[0], w[1]])
    out.backward(grad)
    return {"gradient": first.grad}


@several
def backward_without_argument(student, leaf, weight, wanted):
    """backward() of a sum of one tensor; the name of the exception if it raises one."""
    autograd = student.autograd
    x = autograd.Tensor(leaf, requires_grad=wanted)
    out = linked(autograd, [x], [weight])
    try:
        out.backward()
    except NotImplementedError:
        raise
    except Exception as error:
        return {"raised": type(error).__name__, "gradient": None}
    return {"raised": "nothing", "gradient": x.grad}


@several
def expression(student, name, a, b, grad):
    """A formula of Tensors with the given operators: its value and both gradients."""
    autograd = student.autograd
    formulas = {
        "arithmetic": lambda a, b: (1 - a) * b / (2 + a**2) - 3 / b + (-a),
        "statistics": lambda a, b: (a - a.mean(axis=0)) / (a - b).exp().sum(axis=1, keepdims=True),
        "network": lambda a, b: (a @ b.transpose()).tanh().max(axis=1).reshape(-1, 1) + a[:, :1],
    }
    a, b = autograd.Tensor(a, requires_grad=True), autograd.Tensor(b, requires_grad=True)
    out = formulas[name](a, b)
    out.backward(grad)
    return {"value": out.data, "gradient of a": a.grad, "gradient of b": b.grad}


# ---------------------------------------------------------------- part 6: training


@several
def sgd(student, first, second, first_grads, second_grads, skipped, lr, momentum):
    """SGD on two parameters with given gradients; the second has none in the step `skipped`."""
    autograd = student.autograd
    # (copies: a step may be taken in place)
    p = autograd.Tensor(np.array(first), requires_grad=True)
    q = autograd.Tensor(np.array(second), requires_grad=True)
    optimizer = autograd.SGD([p, q], lr, momentum)
    seen = []
    for i, (g, h) in enumerate(zip(first_grads, second_grads, strict=True)):
        p.grad, q.grad = g, None if i == skipped else h
        optimizer.step()
        seen.append((np.array(p.data), np.array(q.data)))
    p.grad, q.grad = first_grads[0], second_grads[0]
    optimizer.zero_grad()
    return {
        "first parameter": np.stack([a for a, _ in seen]),
        "second parameter": np.stack([b for _, b in seen]),
        "grad after zero_grad": [x.grad is not None for x in (p, q)],
    }


@several
def train(student, x, labels, w1, b1, w2, b2, lr, momentum, steps):
    """train, and what the network says before and after it."""
    autograd = student.autograd
    parameters = [autograd.Tensor(np.array(p), requires_grad=True) for p in (w1, b1, w2, b2)]
    before = np.array(autograd.two_layer(autograd.Tensor(x), *parameters).data)
    losses = autograd.train(x, labels, parameters, lr, momentum, steps)
    found = {"logits before": before, "losses": np.array(losses, dtype=np.float64)}
    found["logits after"] = autograd.two_layer(autograd.Tensor(x), *parameters).data
    names = ("w1", "b1", "w2", "b2")
    return found | {n: p.data for n, p in zip(names, parameters, strict=True)}


@several
def two_layer(student, x, w1, b1, w2, b2):
    """The network's logits."""
    parameters = [student.autograd.Tensor(p, requires_grad=True) for p in (w1, b1, w2, b2)]
    return {"logits": student.autograd.two_layer(student.autograd.Tensor(x), *parameters).data}
