# %% [markdown]
# # 04. Tensors and the tape
#
# After this lesson you can
#
# - build an autograd for arrays from a list of operations, and read it backwards;
# - derive the gradients of broadcasting and of a matrix product, and check their shapes;
# - write an operation of your own for minidl: forward on arrays, backward on tensors;
# - say what `requires_grad`, `no_grad`, `detach` and `retain_graph` do to the tape;
# - take a gradient of a gradient, and say what an operation must fulfil for that.
#
# Needs: lessons 01, 03.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl.teach import step_through

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"

# %% [markdown]
# ## The tape
#
# Lesson 03 remembered every single number. With arrays, an operation remembers its arrays, and one
# operation does the work of thousands of numbers. What happened is written on a **tape**: a list of
# entries (output, inputs, rule), in the order of their happening. A rule takes the gradient of the
# output and gives those of the inputs, each of the shape of its input. The way back is the list,
# read from its end.


# %%
class Array:
    """A NumPy array that writes on the tape what happens to it."""

    tape = []

    def __init__(self, value):
        self.value = np.asarray(value, dtype=np.float64)
        self.grad = np.zeros_like(self.value)


def written(value, inputs, rule):
    output = Array(value)
    Array.tape.append((output, inputs, rule))
    return output


def backward(result):
    result.grad = np.ones_like(result.value)
    for output, inputs, rule in reversed(Array.tape):
        for x, gradient in zip(inputs, rule(output.grad), strict=True):
            assert gradient.shape == x.value.shape, f"{gradient.shape} for an array {x.value.shape}"
            x.grad += gradient


# %% [markdown]
# ## The gradient of repeating is summing
#
# In $y = x + b$ with shapes $(4, 3)$ and $(3,)$, each $b_j$ is used in all four rows (lesson 01).
# Four ways lead from $b_j$ to the loss, and their contributions add up (lesson 03):
#
# $$\frac{\partial L}{\partial b_j} = \sum_i \frac{\partial L}{\partial y_{ij}}$$
#
# So where the forward repeats along an axis, the backward sums over it. `unbroadcast` does that for
# any two shapes, by the rule of broadcasting read backwards: axes that were added at the left, and
# axes that had length 1.


# %%
def unbroadcast(gradient, shape):
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1)
    return gradient.sum(axis=repeated, keepdims=True)


def add(a, b):
    def rule(g):
        return unbroadcast(g, a.value.shape), unbroadcast(g, b.value.shape)

    return written(a.value + b.value, (a, b), rule)


def multiply(a, b):
    def rule(g):
        return unbroadcast(g * b.value, a.value.shape), unbroadcast(g * a.value, b.value.shape)

    return written(a.value * b.value, (a, b), rule)


# %% [markdown]
# ## The gradient of a matrix product
#
# For $Y = X W$ with $Y_{ik} = \sum_j X_{ij} W_{jk}$, let $G$ be the gradient of $Y$. The number
# $X_{ij}$ goes into all $Y_{ik}$ of row $i$, each time with the factor $W_{jk}$. Sum over the ways,
# that is over $k$:
#
# $$\frac{\partial L}{\partial X_{ij}} = \sum_k G_{ik} W_{jk}, \quad \text{so } \; \frac{\partial
# L}{\partial X} = G\, W^T, \qquad \frac{\partial L}{\partial W} = X^T G$$
#
# The shapes leave no other choice: $G$ is $(N, K)$, $W^T$ is $(K, J)$, and $X$ is $(N, J)$.


# %%
def matmul(x, w):
    return written(x.value @ w.value, (x, w), lambda g: (g @ w.value.T, x.value.T @ g))


def tanh(x):
    y = np.tanh(x.value)
    return written(y, (x,), lambda g: (g * (1 - y * y),))


def total(x):
    return written(x.value.sum(), (x,), lambda g: (np.broadcast_to(g, x.value.shape),))


# %% [markdown]
# A network with one hidden layer, differentiated by this tape and by minidl's. The loss weighs the
# outputs with random numbers, because a plain sum hides mistakes (lesson 05). The tape has one
# entry for each operation.

# %%
rng = np.random.default_rng(0)
shapes = {"x": (5, 4), "w1": (4, 6), "b1": (6,), "w2": (6, 3), "b2": (1, 3), "weights": (5, 3)}
values = {name: rng.standard_normal(shape) for name, shape in shapes.items()}

Array.tape.clear()
ours = {name: Array(value) for name, value in values.items()}
hidden = tanh(add(matmul(ours["x"], ours["w1"]), ours["b1"]))
output = add(matmul(hidden, ours["w2"]), ours["b2"])
loss = total(multiply(output, ours["weights"]))
backward(loss)
assert len(Array.tape) == 7

theirs = {n: md.tensor(v, dtype=md.float64, requires_grad=True) for n, v in values.items()}
hidden = (theirs["x"] @ theirs["w1"] + theirs["b1"]).tanh()
output = hidden @ theirs["w2"] + theirs["b2"]
(output * theirs["weights"]).sum().backward()
for name in values:
    error = np.abs(ours[name].grad - theirs[name].grad.numpy()).max()
    print(f"{name:<8} {shapes[name]!s:<8} largest difference {error:.1e}")
    assert error < 1e-12

# %% [markdown]
# ## Step through it
#
# On the page: three rows, a weight matrix, a bias of shape `(2,)`. In step 2 point at a cell of the
# sum: one cell of the bias lights up for the whole column. In step 3, on the way back, point at a
# cell of the bias' gradient $\partial b$: it is the sum of a whole column of $\partial y$. In step
# 4 a cell of the weight's gradient is an inner product of a column of $X$ with a column of $G$,
# which the page calls $\partial y$.

# %%
X = md.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
W = md.tensor([[1.0, 0.0], [-1.0, 2.0]], requires_grad=True)
bias = md.tensor([0.5, -0.5], requires_grad=True)
with md.record() as tape:
    y = X @ W + bias
    y.backward(md.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]))
assert [event.op for event in tape.events] == ["MatMul", "Add", "Add", "MatMul"]
assert bias.grad.tolist() == [3.0, 4.0]
assert np.array_equal(W.grad.numpy(), X.numpy().T @ [[1, 0], [2, 1], [0, 3]])
step_through(tape, "04_tensors_and_tape_bias", "A matrix product and a repeated bias")

# %% [markdown]
# ## An operation of your own
#
# In minidl an operation is a `Function`. Its `forward` computes with arrays and declares with
# `save_for_backward` what backward will need; everything else is freed. Its `backward` computes
# with tensors. Write the softplus $y = \log(1 + e^x)$, whose derivative is the logistic function $1
# / (1 + e^{-x})$.


# %%
class Softplus(md.Function):
    def forward(self, x):
        self.save_for_backward(x)
        return np.logaddexp(0, x)

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * md.sigmoid(x)


x = md.tensor([-2.0, 0.0, 3.0], dtype=md.float64, requires_grad=True)
y = Softplus.apply(x)
print(y)
y.backward(md.tensor([1.0, 2.0, 3.0], dtype=md.float64))
assert np.allclose(x.grad.numpy(), [1, 2, 3] / (1 + np.exp(-x.detach().numpy())))
assert md.gradcheck(Softplus.apply, x)

# %% [markdown]
# ## Gradients add up, until you clear them
#
# `backward` adds to `.grad`. Two losses, one after the other, leave the gradient of their sum. So a
# training loop clears the gradients before each step (`optimizer.zero_grad()`). What you forget is
# not an error, only a wrong direction.

# %%
w = md.tensor([1.0, 2.0], requires_grad=True)
(w * w).sum().backward()
assert w.grad.tolist() == [2.0, 4.0]
(3 * w).sum().backward()
assert w.grad.tolist() == [5.0, 7.0]
w.grad = None
(3 * w).sum().backward()
assert w.grad.tolist() == [3.0, 3.0]

# %% [markdown]
# ## What is on the tape, and what is not
#
# An operation is recorded only if one of its inputs asks for a gradient, directly or because it was
# computed from one that does. In `no_grad` nothing is recorded; `detach` gives the same numbers
# without a past. What is recorded keeps arrays alive. Count the bytes that `tanh` keeps in a stack
# of 20 layers: 20 results of $64 \cdot 256$ numbers of 4 bytes, which its backward would need,
# against none. (`md.record`, which writes the pages of steps, lists all that is computed, whether
# a backward may follow or not; `saved` is how many bytes an operation keeps for it.)

# %%
layers = [md.randn(256, 256) * 0.05 for _ in range(20)]
for weight in layers:
    weight.requires_grad_()
picture = md.randn(64, 256)


def saved_by_layers(recording):
    with md.record() as tape, md.set_grad_enabled(recording):
        y = picture
        for weight in layers:
            y = (y @ weight).tanh()
    assert y.requires_grad is recording
    assert (y.grad_fn is None) is not recording
    return np.cumsum([event.saved for event in tape.events if event.op == "Tanh"])


kept, without = saved_by_layers(True), saved_by_layers(False)
assert kept[-1] == 20 * 64 * 256 * 4
assert without[-1] == 0
assert not (picture @ layers[0].detach()).requires_grad

fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
ax.plot(range(1, 21), kept / 1024, "o-", color=ORANGE, label="recorded")
ax.plot(range(1, 21), without / 1024, "s-", color=BLUE, label="in no_grad")
ax.set(xlabel="layers", ylabel="KiB", title="Results that tanh keeps for its backward")
ax.set_xticks(range(0, 21, 5))
ax.legend()
plt.show()

# %% [markdown]
# A backward frees what it has used. A second one through the same graph is an error that says so;
# `retain_graph=True` keeps it.

# %%
w = md.tensor(2.0, requires_grad=True)
cube = w * w * w
cube.backward(retain_graph=True)
cube.backward()
assert w.grad.item() == 2 * 12.0  # twice the derivative 3 w²
try:
    cube.backward()
except RuntimeError as error:
    print(error)
else:
    raise AssertionError("expected an error")

# %% [markdown]
# And if you change an array that a backward still needs, the gradient would be that of other
# numbers. minidl counts changes in place and refuses:

# %%
w = md.tensor([1.0, 2.0], requires_grad=True)
middle = w * 2
loss = (middle * middle).sum()
with md.no_grad():
    middle += 1
try:
    loss.backward()
except RuntimeError as error:
    print(error)
else:
    raise AssertionError("expected an error")

# %% [markdown]
# ## A gradient of a gradient
#
# A `backward` that computes with tensors can be recorded as well: `create_graph=True` puts it on
# the tape. Then a gradient is a result like any other, and can be differentiated. For $y = \tanh
# x$:
#
# $$y' = 1 - y^2, \qquad y'' = -2 y\, y', \qquad y''' = -2 y'^2 - 2 y\, y''$$

# %%
x = md.tensor(np.linspace(-3, 3, 121), dtype=md.float64, requires_grad=True)
derivatives = [x.tanh()]
for _ in range(3):
    (slope,) = md.grad(derivatives[-1].sum(), x, create_graph=True)
    derivatives.append(slope)
y0, y1, y2, y3 = (d.detach().numpy() for d in derivatives)
assert np.allclose(y1, 1 - y0**2)
assert np.allclose(y2, -2 * y0 * y1)
assert np.allclose(y3, -2 * y1**2 - 2 * y0 * y2)

# (The sum over all points is a trick: each y depends on its own x alone.)
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
lines = zip((y0, y1, y2, y3), (BLUE, ORANGE, GREEN, GREY), ("-", "--", "-.", ":"), strict=True)
for order, (values, colour, style) in enumerate(lines):
    ax.plot(x.detach().numpy(), values, style, color=colour, label="tanh" + "'" * order)
ax.set(xlabel="x", title="tanh and its first three derivatives, all by backward")
ax.legend()
plt.show()

# %% [markdown]
# The second derivative came out right because every `backward` in minidl is written with
# operations that have one themselves. Your `Softplus` is, too. Had its backward used NumPy, the
# first derivative would be right and the second silently 0: the check of second order is what finds
# it.


# %%
class FirstOrderOnly(Softplus):
    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * md.tensor(1 / (1 + np.exp(-x.detach().numpy())))  # a constant to the tape


x = md.tensor([-2.0, 0.0, 3.0], dtype=md.float64, requires_grad=True)
assert md.gradcheck(FirstOrderOnly.apply, x)
assert md.gradgradcheck(Softplus.apply, x)
assert not md.gradgradcheck(FirstOrderOnly.apply, x, raise_exception=False)

# %% [markdown]
# ## Recall
#
# 1. $x$ has the shape $(8, 5, 3)$, $b$ the shape $(5, 1)$. Over which axes is the gradient of $b$
#   in $x + b$ summed?
#
# <details><summary>Answer</summary>
# Over the first, which was added, and the last, which had length 1: `g.sum(0).sum(-1,
# keepdims=True)`.
# </details>
#
# 2. Why is the gradient of $W$ in $Y = X W$ equal to $X^T G$ and not $G X^T$?
#
# <details><summary>Answer</summary>
# $W_{jk}$ goes into $Y_{ik}$ with the factor $X_{ij}$, for all $i$: the sum is over rows. $G X^T$
# has the wrong shape as well, unless all sizes are equal.
# </details>
#
# 3. What does `tanh` keep for its backward, its input or its result?
#
# <details><summary>Answer</summary>
# Its result: $1 - y^2$ needs no more, and the next operation often keeps the same array.
# </details>
#
# 4. Evaluation on test pictures needs more memory than expected. What was forgotten?
#
# <details><summary>Answer</summary>
# `with md.no_grad():`. Everything was recorded, and kept as long as the results live.
# </details>
#
# 5. When does `backward` of a second order fail without a word?
#
# <details><summary>Answer</summary>
# When a `backward` computes with arrays in place of tensors: what depends on the input counts as a
# constant.
# </details>
#
# ## Change one thing
#
# In `unbroadcast`, leave out the last line (return after the first sum). Which of the six gradients
# of the network stops the program, and why do the others still pass? Then choose other shapes so
# that none notices.
#
# ## Where this lives
#
# `minidl/autograd/function.py` and `minidl/autograd/engine.py` (in place of a list, each result
# knows its operation, so that what nobody needs any more is freed); `minidl/ops/arithmetic.py`,
# `minidl/ops/matmul.py`. Tapes: Wengert 1964. Next: [lesson 05](05_checking_gradients.html), how to
# check what you wrote.
