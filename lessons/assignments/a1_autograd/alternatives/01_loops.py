"""Assignment 1 with loops over single entries."""

from __future__ import annotations

import numpy as np

# ---------------------------------------------------------------- given: what an operation is


class Mode:
    """Whether operations are recorded at the moment. `no_grad` switches it."""

    recording = True


class Function:
    """One operation, used once: `forward` computes on arrays, `backward` sends a gradient back.

    What `backward` needs later, `forward` keeps in attributes of `self`, with any names.

    Attributes:
        inputs: the Tensors the operation was applied to; `apply` sets it.
    """

    inputs: tuple[Tensor, ...] = ()

    def forward(self, *arrays, **options):
        """The result, an array, from the inputs' arrays. Changes none of them."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, grad):
        """The gradients with respect to the inputs, from that with respect to the result.

        Args:
            grad: array of the shape of forward's result. It is not changed.

        Returns:
            a tuple of arrays, one for each input and of that input's shape; a tuple also when
            there is one input. Calling it again gives the same again.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    @classmethod
    def apply(cls, *inputs, **options):
        """(Part 4.) Use the operation on Tensors, and record it where a gradient is wanted.

        Makes a new object of the class and calls its `forward` with the inputs' arrays and the
        options.

        Args:
            inputs: Tensors.
            options: handed on to `forward`.

        Returns:
            a Tensor with forward's result as `data`. If operations are being recorded
            (`Mode.recording`) and at least one input has `requires_grad`, the result has
            `requires_grad` True, its `function` is the object made here, and that object's
            `inputs` is the tuple of the inputs. Otherwise `requires_grad` is False and `function`
            None: a result that keeps no record keeps no memory either.
        """
        function = cls()
        out = Tensor(function.forward(*[x.data for x in inputs], **options))
        if Mode.recording and any(x.requires_grad for x in inputs):
            out.requires_grad = True
            out.function = function
            function.inputs = tuple(inputs)
        return out


class Neg(Function):
    """-x. Given, as an example of a Function."""

    def forward(self, x):
        return -x

    def backward(self, grad):
        return (-grad,)


# ---------------------------------------------------------------- Part 1: entry by entry


def unbroadcast(grad, shape):
    """The gradient of an array that was broadcast, from the gradient of the broadcast one.

    Args:
        grad: array.
        shape: tuple of int, a shape that NumPy broadcasts to `grad.shape`.

    Returns:
        array of shape `shape`, of grad's dtype: each entry is the sum of the entries of `grad`
        that were copied from it. `grad` is not changed; where the shapes are equal it may be
        returned itself.
    """
    result = np.zeros(shape, grad.dtype)
    for index in np.ndindex(*grad.shape):
        source = index[len(index) - len(shape) :]
        result[tuple([i if n > 1 else 0 for i, n in zip(source, shape, strict=True)])] += grad[
            index
        ]
    return result


class Add(Function):
    """a + b, with broadcasting."""

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a + b

    def backward(self, grad):
        return unbroadcast(grad, self.shapes[0]), unbroadcast(grad, self.shapes[1])


class Sub(Function):
    """a - b, with broadcasting."""

    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a - b

    def backward(self, grad):
        return unbroadcast(grad, self.shapes[0]), -unbroadcast(grad, self.shapes[1])


class Mul(Function):
    """a * b entry by entry, with broadcasting."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return a * b

    def backward(self, grad):
        return (
            unbroadcast(grad * self.b, self.a.shape),
            unbroadcast(grad * self.a, self.b.shape),
        )


class Div(Function):
    """a / b entry by entry, with broadcasting. b has no zeros."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return a / b

    def backward(self, grad):
        return (
            unbroadcast(grad / self.b, self.a.shape),
            unbroadcast(-grad * self.a / (self.b * self.b), self.b.shape),
        )


class Pow(Function):
    """x to the power of `exponent`, entry by entry. `exponent` is a number and has no gradient.

    x is positive where the exponent is not a whole number, and not zero where it is below 1.
    """

    def forward(self, x, exponent):
        self.x, self.exponent = x, exponent
        return x**exponent

    def backward(self, grad):
        return (grad * self.exponent * self.x ** (self.exponent - 1),)


class Exp(Function):
    """e to the power of x, entry by entry."""

    def forward(self, x):
        self.y = np.exp(x)
        return self.y

    def backward(self, grad):
        return (grad * self.y,)


class Log(Function):
    """The natural logarithm of x, entry by entry. x is positive."""

    def forward(self, x):
        self.x = x
        return np.log(x)

    def backward(self, grad):
        return (grad / self.x,)


class ReLU(Function):
    """max(x, 0), entry by entry. The gradient where x is exactly 0 is 0."""

    def forward(self, x):
        self.x, result = x, np.zeros_like(x)
        for index in np.ndindex(*x.shape):
            if x[index] > 0:
                result[index] = x[index]
        return result

    def backward(self, grad):
        gradient = np.zeros_like(grad)
        for index in np.ndindex(*grad.shape):
            if self.x[index] > 0:
                gradient[index] = grad[index]
        return (gradient,)


class Tanh(Function):
    """The hyperbolic tangent of x, entry by entry."""

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, grad):
        return (grad * (1 - self.y * self.y),)


# ---------------------------------------------------------------- Part 2: checking gradients


def numerical_gradient(f, x, cotangent, eps=1e-6):
    """The gradient of L(x) = sum(cotangent * f(x)) by central differences, entry by entry.

    Args:
        f: takes an array of x's shape, returns an array of the cotangent's shape.
        x: float64 array of any shape and memory layout (it may be a transposed or sliced view).
        cotangent: float64 array.
        eps: how far one entry of x is moved, to each side.

    Returns:
        float64 array of x's shape. Its entry i is (L with x[i] + eps, less L with x[i] - eps) /
        (2 eps), all other entries being those of x. When the function returns, x is as it was.
    """
    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        kept = x[index]
        x[index] = kept + eps
        above = float((cotangent * f(x)).sum())
        x[index] = kept - eps
        below = float((cotangent * f(x)).sum())
        x[index] = kept
        gradient[index] = (above - below) / eps / 2
    return gradient


def gradcheck(forward, gradient, inputs, seed=0, eps=1e-6, rtol=1e-4, atol=1e-6):
    """Whether `gradient` is the gradient of `forward` at `inputs`.

    Draws one cotangent of the shape of the result from `np.random.default_rng(seed)`, standard
    normal. Compares, for every input and every entry of it, what `gradient` gives with what
    `numerical_gradient` gives with that same cotangent.

    Args:
        forward: forward(*inputs) is an array.
        gradient: gradient(cotangent, *inputs) is a tuple or list of arrays, one for each input.
        inputs: tuple or list of float64 arrays.
        seed: where the cotangent comes from.
        eps: the step of the differences.
        rtol, atol: an entry agrees if |analytic - numeric| <= atol + rtol |numeric|.

    Returns:
        True if `gradient` gives one array for each input, each has exactly its input's shape, and
        all entries agree; otherwise False. (NaN agrees with nothing.) A bool, never an exception.
    """
    rng = np.random.default_rng(seed)
    cotangent = np.array(rng.standard_normal(np.shape(forward(*inputs))))
    gradients = list(gradient(cotangent, *inputs))
    if len(gradients) != len(inputs):
        return False
    for i in range(len(inputs)):
        if np.shape(gradients[i]) != np.shape(inputs[i]):
            return False
        numeric = numerical_gradient(
            lambda x, i=i: forward(*[x if k == i else y for k, y in enumerate(inputs)]),
            inputs[i],
            cotangent,
            eps,
        )
        for index in np.ndindex(*numeric.shape):
            a, n = float(gradients[i][index]), float(numeric[index])
            if not abs(a - n) <= atol + rtol * abs(n):
                return False
    return True


def check_rule(function, *arrays, **options):
    """Given: `gradcheck` of a Function's two methods alone. check_rule(Mul, a, b) is True or False.

    Args:
        function: the class.
        arrays: its inputs, float64.
        options: handed on to `forward`.
    """

    def forward(*arrays):
        return function().forward(*arrays, **options)

    def gradient(cotangent, *arrays):
        used = function()
        used.forward(*arrays, **options)
        return used.backward(cotangent)

    return gradcheck(forward, gradient, arrays)


def check_tensors(function, *arrays):
    """Given: `gradcheck` of a function of Tensors, through the engine of part 4.

    For example check_tensors(lambda a, b: (a * b + a).exp().sum(), a, b).
    """

    def forward(*arrays):
        return function(*[Tensor(x) for x in arrays]).data

    def gradient(cotangent, *arrays):
        tensors = [Tensor(x, requires_grad=True) for x in arrays]
        function(*tensors).backward(cotangent)
        return [x.grad for x in tensors]

    return gradcheck(forward, gradient, arrays)


# ---------------------------------------------------------------- Part 3: move, reduce, multiply


class Reshape(Function):
    """x in another shape, its entries in the same (row-major) order."""

    def forward(self, x, shape):
        """shape: tuple of int; one of them may be -1, as in np.reshape."""
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, grad):
        return (grad.reshape(self.shape),)


class Transpose(Function):
    """x with its axes in another order: axis i of the result is axis axes[i] of x."""

    def forward(self, x, axes=None):
        """axes: tuple of int, a permutation, none of them negative; None: the order reversed."""
        self.axes = axes
        return x.transpose(axes)

    def backward(self, grad):
        back = None if self.axes is None else np.argsort(self.axes)
        return (grad.transpose(back),)


class Sum(Function):
    """The sum over some axes."""

    def forward(self, x, axis=None, keepdims=False):
        """axis: int or tuple of int, they may be negative; None: all. Otherwise as np.sum."""
        self.shape = x.shape
        self.kept = x.sum(axis=axis, keepdims=True).shape
        return x.sum(axis=axis, keepdims=keepdims)

    def backward(self, grad):
        return (np.broadcast_to(grad.reshape(self.kept), self.shape),)


class Mean(Function):
    """The mean over some axes."""

    def forward(self, x, axis=None, keepdims=False):
        """axis, keepdims: as for Sum."""
        self.shape = x.shape
        kept = x.sum(axis=axis, keepdims=True)
        self.kept, self.count = kept.shape, x.size // kept.size
        return x.mean(axis=axis, keepdims=keepdims)

    def backward(self, grad):
        return (np.broadcast_to(grad.reshape(self.kept) / self.count, self.shape),)


class Max(Function):
    """The largest entry over some axes.

    Where k entries tie for the largest, each of them gets 1/k of the gradient.
    """

    def place(self, index):
        return tuple([0 if i in self.axes else n for i, n in enumerate(index)])

    def forward(self, x, axis=None, keepdims=False):
        """axis, keepdims: as for Sum."""
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        self.axes = {a % x.ndim for a in axes}
        shape = tuple([1 if i in self.axes else n for i, n in enumerate(x.shape)])
        top, self.winners = np.full(shape, -np.inf, x.dtype), {}
        for index in np.ndindex(*x.shape):
            place = self.place(index)
            if x[index] > top[place]:
                top[place], self.winners[place] = x[index], [index]
            elif x[index] == top[place]:
                self.winners[place].append(index)
        self.shape, self.kept = x.shape, shape
        if keepdims:
            return top
        return top.reshape([n for i, n in enumerate(x.shape) if i not in self.axes])

    def backward(self, grad):
        gradient, grad = np.zeros(self.shape, grad.dtype), grad.reshape(self.kept)
        for place, winners in self.winners.items():
            for index in winners:
                gradient[index] = grad[place] / len(winners)
        return (gradient,)


class Index(Function):
    """x[index]. An entry that is taken several times gets the sum of its gradients."""

    def forward(self, x, index):
        """index: whatever NumPy allows between brackets (int, slice, array of int or bool, tuple
        of these).
        """
        self.shape, self.index = x.shape, index
        return x[index]

    def backward(self, grad):
        gradient = np.zeros(self.shape, grad.dtype)
        numbers = np.arange(gradient.size).reshape(self.shape)[self.index]
        flat = gradient.reshape(-1)
        for place, value in zip(numbers.ravel(), np.ravel(grad), strict=True):
            flat[place] += value
        return (gradient,)


class MatMul(Function):
    """a @ b. Both have at least two axes; leading axes are batches and broadcast as in np.matmul.

    a: (..., n, k), b: (..., k, m), result: (..., n, m).
    """

    def forward(self, a, b):
        self.a, self.b = a, b
        return a @ b

    def backward(self, grad):
        return (
            unbroadcast(grad @ self.b.swapaxes(-1, -2), self.a.shape),
            unbroadcast(self.a.swapaxes(-1, -2) @ grad, self.b.shape),
        )


# ---------------------------------------------------------------- Part 4: the engine


class no_grad:
    """`with no_grad():` operations inside are not recorded.

    Afterwards `Mode.recording` is what it was before, also where one block stands inside another
    and where the block is left by an exception, which goes on to the caller.
    """

    def __enter__(self):
        self.before = Mode.recording
        Mode.recording = False

    def __exit__(self, kind, exception, traceback):
        Mode.recording = self.before


def topological_order(tensor):
    """The tensors that a gradient of `tensor` flows through, each after all that it flows from.

    Args:
        tensor: a Tensor with `requires_grad`.

    Returns:
        list of Tensors: `tensor` itself and every tensor with `requires_grad` that it was computed
        from, directly or not; each once. A tensor stands before all inputs of its function, so
        `tensor` is the first. A tensor without `function` is a leaf and has no inputs.
        Graphs may be 100,000 operations deep (no recursion) and have any number of paths.
    """
    order, seen = [], set()
    stack = [(tensor, False)]
    while stack:
        current, inputs_done = stack.pop()
        if inputs_done:
            order.append(current)
        elif id(current) not in seen:
            seen.add(id(current))
            stack.append((current, True))
            if current.function is not None:
                stack.extend([(x, False) for x in current.function.inputs if x.requires_grad])
    return order[::-1]


class Tensor:
    """An array and its place in the graph.

    Attributes:
        data: array; float32 and float64 stay what they are, other dtypes become float64.
        requires_grad: whether a gradient is wanted.
        grad: array of data's shape, or None. Only leaves (tensors without `function`) get one.
        function: the Function that made it; None for a leaf.
    """

    # NumPy's operators leave `array + tensor` to this class.
    __array_ufunc__ = None

    def __init__(self, data, requires_grad=False):
        data = np.asarray(data)
        self.data = data if data.dtype in (np.float32, np.float64) else data.astype(np.float64)
        self.requires_grad = requires_grad
        self.grad = None
        self.function = None

    def backward(self, grad=None):
        """Add the gradient of this tensor to the `grad` of every leaf it was computed from.

        Goes through `topological_order(self)`, calling each tensor's function's `backward` once,
        with the sum of all gradients that arrived at that tensor.

        - Leaves with `requires_grad` get a `grad`, an array of their own; where they already have
          one, the new gradient is added to it. Other tensors' `grad` stays None.
        - Calling it again, on this or on another tensor of the same graph, adds again.
        - An array that came from a function's `backward`, or the argument `grad`, may also be in
          use elsewhere (Add may hand one array to both its inputs): it is never changed.
        - Tensors without `requires_grad` are passed over.

        Args:
            grad: array of data's shape, the gradient with respect to this tensor; may be left out
                if `data` has one entry: then it is 1.

        Raises:
            RuntimeError: this tensor has no `requires_grad`, or `grad` is left out and `data` has
                not exactly one entry.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: this tensor does not require a gradient")
        if grad is None:
            if self.data.size != 1:
                raise RuntimeError(f"backward: shape {self.data.shape} needs the argument grad")
            grad = np.ones_like(self.data)
        arrived = {id(self): grad}
        for tensor in topological_order(self):
            total = arrived.pop(id(tensor))
            if tensor.function is None:
                tensor.grad = np.array(total) if tensor.grad is None else tensor.grad + total
                continue
            parts = tensor.function.backward(total)
            for x, part in zip(tensor.function.inputs, parts, strict=True):
                if x.requires_grad:
                    before = arrived.get(id(x))
                    arrived[id(x)] = part if before is None else before + part

    def detach(self):
        """A new Tensor on the same array (no copy): a leaf without `requires_grad`."""
        return Tensor(self.data)

    # From here on given: the operators.

    def _other(self, value):
        """A number or an array beside this tensor, as a Tensor; a number takes this dtype."""
        if isinstance(value, Tensor):
            return value
        return Tensor(value if isinstance(value, np.ndarray) else self.data.dtype.type(value))

    def __add__(self, other):
        return Add.apply(self, self._other(other))

    __radd__ = __add__

    def __sub__(self, other):
        return Sub.apply(self, self._other(other))

    def __rsub__(self, other):
        return Sub.apply(self._other(other), self)

    def __mul__(self, other):
        return Mul.apply(self, self._other(other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        return Div.apply(self, self._other(other))

    def __rtruediv__(self, other):
        return Div.apply(self._other(other), self)

    def __neg__(self):
        return Neg.apply(self)

    def __pow__(self, exponent):
        return Pow.apply(self, exponent=exponent)

    def __matmul__(self, other):
        return MatMul.apply(self, self._other(other))

    def __rmatmul__(self, other):
        return MatMul.apply(self._other(other), self)

    def __getitem__(self, index):
        return Index.apply(self, index=index)

    def exp(self):
        return Exp.apply(self)

    def log(self):
        return Log.apply(self)

    def relu(self):
        return ReLU.apply(self)

    def tanh(self):
        return Tanh.apply(self)

    def reshape(self, *shape):
        return Reshape.apply(self, shape=shape)

    def transpose(self, axes=None):
        return Transpose.apply(self, axes=axes)

    def sum(self, axis=None, keepdims=False):
        return Sum.apply(self, axis=axis, keepdims=keepdims)

    def mean(self, axis=None, keepdims=False):
        return Mean.apply(self, axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        return Max.apply(self, axis=axis, keepdims=keepdims)

    def __repr__(self):
        return f"Tensor({self.data}, requires_grad={self.requires_grad})"


# ---------------------------------------------------------------- Part 5: softmax, cross-entropy


class LogSoftmax(Function):
    """log(exp(x) / sum(exp(x))), the sum along one axis; finite for every finite x.

    x may have entries of any size, also all of them below -1000 or some above 1000.
    """

    def forward(self, x, axis=-1):
        """axis: int."""
        self.axis, self.y = axis, np.empty_like(x)
        rows, results = np.moveaxis(x, axis, -1), np.moveaxis(self.y, axis, -1)
        for index in np.ndindex(*rows.shape[:-1]):
            row = rows[index] - max(rows[index])
            results[index] = row - np.log(sum(np.exp(v) for v in row))
        return self.y

    def backward(self, grad):
        gradient = np.empty_like(grad)
        ys, gs = np.moveaxis(self.y, self.axis, -1), np.moveaxis(grad, self.axis, -1)
        results = np.moveaxis(gradient, self.axis, -1)
        for index in np.ndindex(*ys.shape[:-1]):
            total = sum(gs[index])
            for j, y in enumerate(ys[index]):
                results[index][j] = gs[index][j] - np.exp(y) * total
        return (gradient,)


class CrossEntropy(Function):
    """The mean over n of -log p[n, labels[n]], where p is the softmax of each row of the logits.

    As stable as LogSoftmax. The result is one number: an array of shape ().
    """

    def forward(self, logits, labels):
        """logits: (N, C). labels: (N,) int64, each from 0 to C - 1; they have no gradient."""
        self.logits, self.labels, total = logits, labels, 0
        for row, label in zip(logits, labels, strict=True):
            row = row - row.max()
            total = total + np.log(np.exp(row).sum()) - row[label]
        return total / len(labels)

    def backward(self, grad):
        gradient = np.empty_like(self.logits)
        for n, (row, label) in enumerate(zip(self.logits, self.labels, strict=True)):
            p = np.exp(row - row.max())
            p /= p.sum()
            for c in range(len(p)):
                gradient[n, c] = grad * (p[c] - (c == label)) / len(self.labels)
        return (gradient,)


# ---------------------------------------------------------------- Part 6: training


class SGD:
    """Stochastic gradient descent with momentum, torch's way.

    Each parameter p has its own velocity v, at first 0. A step: v <- momentum v + p.grad, then
    p.data <- p.data - lr v. The dtype of p.data stays.
    """

    def __init__(self, parameters, lr, momentum=0.0):
        """parameters: Tensors. lr, momentum: numbers."""
        self.parameters = list(parameters)
        self.lr = lr
        self.momentum = momentum
        self.velocities = [np.zeros_like(p.data) for p in self.parameters]

    def zero_grad(self):
        """Set the grad of every parameter to None."""
        for p in self.parameters:
            p.grad = None

    def step(self):
        """One step. A parameter whose grad is None stays, and so does its velocity.

        The arrays p.grad are not changed.
        """
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                self.velocities[i] = self.momentum * self.velocities[i] + p.grad
                p.data = p.data - self.lr * self.velocities[i]


def two_layer(x, w1, b1, w2, b2):
    """The logits of a network with one hidden layer: relu(x w1 + b1) w2 + b2.

    Args:
        x: Tensor (N, D). w1: (D, H). b1: (H,). w2: (H, C). b2: (C,). All Tensors.

    Returns:
        Tensor (N, C).
    """
    return (x @ w1 + b1).relu() @ w2 + b2


def train(x, labels, parameters, lr, momentum, steps):
    """Train `two_layer` on all of the data at once, with CrossEntropy and SGD.

    Args:
        x: array (N, D).
        labels: (N,) int64.
        parameters: the Tensors w1, b1, w2, b2, with `requires_grad`. Their data is changed.
        lr, momentum: for SGD.
        steps: how many steps.

    Returns:
        list of `steps` floats: the loss before each step.
    """
    optimizer = SGD(parameters, lr, momentum)
    losses = []
    for _ in range(steps):
        loss = CrossEntropy.apply(two_layer(Tensor(x), *parameters), labels=labels)
        losses.append(float(loss.data))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


# ---------------------------------------------------------------- given: a problem to train on


def spiral(points=60, classes=3, seed=0):
    """Arms of a spiral, one a class, that no straight line separates.

    Returns:
        x (points * classes, 2) float64, labels (points * classes,) int64.
    """
    rng = np.random.default_rng(seed)
    radius = np.tile(np.linspace(0.1, 1, points), classes)
    labels = np.repeat(np.arange(classes), points)
    angle = 4 * radius + 2 * np.pi * labels / classes + 0.15 * rng.standard_normal(labels.shape)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), labels


def demo(hidden=64, steps=400):
    """Train on the spiral and print how it goes: `python autograd.py`."""
    x, labels = spiral()
    rng = np.random.default_rng(1)
    w1 = Tensor(rng.standard_normal((2, hidden)), requires_grad=True)
    b1 = Tensor(np.zeros(hidden), requires_grad=True)
    w2 = Tensor(rng.standard_normal((hidden, 3)) / np.sqrt(hidden), requires_grad=True)
    b2 = Tensor(np.zeros(3), requires_grad=True)
    losses = train(x, labels, [w1, b1, w2, b2], lr=0.5, momentum=0.9, steps=steps)
    for step in range(0, steps, steps // 10):
        print(f"step {step:4d}  loss {losses[step]:.4f}")
    with no_grad():
        predicted = two_layer(Tensor(x), w1, b1, w2, b2).data.argmax(axis=1)
    print(f"{(predicted == labels).mean():.1%} of the points are classified rightly")


if __name__ == "__main__":
    demo()
