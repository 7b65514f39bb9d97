# %% [markdown]
# # 03. A scalar autograd
#
# After this lesson you can
#
# - write an engine that differentiates any program of numbers, in about forty lines;
# - say what an operation must remember on the way forward, and what is done with it on the way
#   back;
# - explain why gradients are added up, and why the order of the way back matters;
# - check an engine with finite differences and against another engine;
# - train a small network with it, and say why real engines work on arrays.
#
# Needs: lessons 01, 02.

# %%
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl.teach import step_through

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"

# %% [markdown]
# ## One neuron by hand
#
# One neuron with input $x$, weight $w$ and bias $b$ computes $y = \tanh(w x + b)$. Its loss for the
# target $t$ is $L = (y - t)^2$. Written with one operation a line, that is
#
# $$u = w x, \qquad v = u + b, \qquad y = \tanh v, \qquad e = y - t, \qquad L = e^2$$

# %%
w, x, b, t = 0.5, 2.0, -1.5, 1.0
u = w * x
v = u + b
y = math.tanh(v)
e = y - t
L = e**2
print(f"u {u:.3f}   v {v:.3f}   y {y:.3f}   e {e:.3f}   L {L:.3f}")

# %% [markdown]
# Each line has a *local* derivative, which needs only the numbers of that line: $\partial u /
# \partial w = x$, $\partial y / \partial v = 1 - y^2$, $\partial L / \partial e = 2e$. The chain
# rule (lesson 02) multiplies them along the way from $L$ back to what you ask for. Write $\bar v$
# for $\partial L / \partial v$. You start with $\bar L = 1$ and go through the lines from the last
# to the first:

# %%
L_bar = 1.0
e_bar = L_bar * 2 * e
y_bar = e_bar * 1
v_bar = y_bar * (1 - y**2)
u_bar, b_bar = v_bar * 1, v_bar * 1
w_bar = u_bar * x
print(f"dL/dw {w_bar:.4f}   dL/db {b_bar:.4f}")


def loss(w, b):
    return (math.tanh(w * x + b) - t) ** 2


h = 1e-6  # the step of a finite difference
assert abs(w_bar - (loss(w + h, b) - loss(w - h, b)) / (2 * h)) < 1e-8
assert abs(b_bar - (loss(w, b + h) - loss(w, b - h)) / (2 * h)) < 1e-8

# %% [markdown]
# Look at what the way back used: for each line its local derivatives, and the lines in reverse. It
# did not use the formula as a whole. So if every result remembers from which numbers it was made
# and with which local derivatives, the way back can be done by a loop that knows nothing of
# $\tanh$.
#
# ## A number that remembers
#
# A `Number` has a value, a place for its gradient, and its `parents`: pairs of (the number it was
# made from, the local derivative with respect to that one). `serial` counts the numbers in the
# order in which they are made.


# %%
class Number:
    count = itertools.count()

    def __init__(self, value, parents=(), op=""):
        self.value = float(value)
        self.parents = parents
        self.op = op
        self.grad = 0.0
        self.serial = next(Number.count)

    def __add__(self, other):
        other = as_number(other)
        return Number(self.value + other.value, [(self, 1.0), (other, 1.0)], "+")

    def __sub__(self, other):
        other = as_number(other)
        return Number(self.value - other.value, [(self, 1.0), (other, -1.0)], "−")

    def __mul__(self, other):
        other = as_number(other)
        pairs = [(self, other.value), (other, self.value)]
        return Number(self.value * other.value, pairs, "×")

    def __pow__(self, n):
        return Number(self.value**n, [(self, n * self.value ** (n - 1))], f"^{n}")

    def tanh(self):
        y = math.tanh(self.value)
        return Number(y, [(self, 1 - y * y)], "tanh")


def as_number(x):
    return x if isinstance(x, Number) else Number(x)


# %% [markdown]
# These five operations are enough for a lot: the others are made of them.

# %%
Number.__neg__ = lambda a: a * -1.0
Number.__rsub__ = lambda a, b: as_number(b) - a
Number.__truediv__ = lambda a, b: a * as_number(b) ** -1
Number.__rtruediv__ = lambda a, b: as_number(b) / a
Number.__radd__ = Number.__add__  # for 2 + a: Python asks the right-hand side
Number.__rmul__ = Number.__mul__

a, c = Number(3.0), Number(4.0)
assert (2 + a - c / 2).value == 3.0
assert (1 / c).value == 0.25

# %% [markdown]
# ## The way back
#
# A number may only hand its gradient on when it is complete, that is after all numbers made *from*
# it have handed in theirs. Those were made later, so their serials are higher. Going through all
# numbers by falling serial is therefore always right. First collect what the result was made of; a
# list of numbers still to look at takes the place of a recursive function.


# %%
def ancestors(result):
    """All numbers that a result was made of, itself included, latest first."""
    found, waiting = {}, [result]
    while waiting:
        number = waiting.pop()
        if number.serial not in found:
            found[number.serial] = number
            waiting += [parent for parent, _ in number.parents]
    return [found[serial] for serial in sorted(found, reverse=True)]


def backward(result):
    result.grad = 1.0
    for number in ancestors(result):
        for parent, local in number.parents:
            parent.grad += number.grad * local


# %% [markdown]
# That is the whole engine. It must find what you found by hand:

# %%
W, B = Number(0.5), Number(-1.5)
loss_of_neuron = ((W * 2.0 + B).tanh() - 1.0) ** 2
backward(loss_of_neuron)
print(f"dL/dw {W.grad:.4f}   dL/db {B.grad:.4f}")
assert math.isclose(W.grad, w_bar)
assert math.isclose(B.grad, b_bar)

# %% [markdown]
# ## The graph
#
# The numbers and their parents form a graph. Draw it: each box shows the operation, its value and,
# below it, its gradient. Values were computed from left to right, gradients from right to left. On
# each arrow is the local derivative: a gradient is the sum, over the arrows that leave a box, of
# (gradient at the arrow's end) × (local derivative).


# %%
def place(result):
    """(column, row) of each number: results right of their parents, inputs left of their use."""
    latest_first = ancestors(result)
    column, places = {}, {}
    for number in reversed(latest_first):
        column[number] = 1 + max((column[p] for p, _ in number.parents), default=-1)
    for number in latest_first:
        users = [column[n] for n in latest_first for p, _ in n.parents if p is number]
        if not number.parents:
            column[number] = min(users) - 1
    for number in reversed(latest_first):
        taken = [row for c, row in places.values() if c == column[number]]
        places[number] = (column[number], min(taken, default=1) - 1)
    return places


# %%
def draw(result, names, title):
    places = place(result)
    fig, ax = plt.subplots(figsize=(9.5, 2.8), layout="constrained")
    for number, (x, y) in places.items():
        label = names.get(number, number.op or f"{number.value:g}")
        text = f"{label}\nvalue {number.value:.3f}\ngrad {number.grad:.3f}"
        box = {"boxstyle": "round,pad=0.4", "fc": "#e2f0fa" if number.op else "#fdf0e4", "ec": GREY}
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5, bbox=box, zorder=3)
        twice = len(number.parents) == 2 and number.parents[0][0] is number.parents[1][0]
        for (parent, local), bend in zip(number.parents, (0.2, -0.2), strict=False):
            px, py = places[parent]
            if not twice:  # two arrows between the same numbers lie side by side
                bend = -0.25 if (py == y and x - px > 1) else 0.0  # or over what is between
            arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 33, "shrinkB": 33}
            arrow["connectionstyle"] = f"arc3,rad={bend}"
            ax.annotate("", (x, y), (px, py), arrowprops=arrow)
            at = ((px + x) / 2, (py + y) / 2 - 0.75 * bend * (x - px))
            white = {"fc": "white", "ec": "none", "pad": 0.5}
            ax.text(
                *at,
                f"{local:.3g}",
                color=ORANGE,
                fontsize=8.5,
                ha="center",
                va="center",
                bbox=white,
            )
    columns, rows = zip(*places.values(), strict=True)
    ax.set(xlim=(-0.5, max(columns) + 0.5), ylim=(min(rows) - 0.6, 0.6), title=title)
    ax.axis("off")
    plt.show()


names = {W: "w", B: "b", loss_of_neuron: "L"}
draw(loss_of_neuron, names, "One neuron: values to the right, gradients to the left")

# %% [markdown]
# ## Why gradients are added
#
# Take $f = x \cdot x + x$ at $x = 3$. The number $x$ is used three times, so three arrows leave it.
# A small change of $x$ changes $f$ by all three ways, and the changes add up: $3 + 3 + 1 = 2x + 1 =
# 7$. With `=` in place of `+=` only the last way would count. Expect 7, and something less from the
# wrong engine.

# %%
x3 = Number(3.0)
f = x3 * x3 + x3
backward(f)
assert x3.grad == 7.0
draw(f, {x3: "x", f: "f"}, "Three arrows leave x, and their contributions add up to 7")


# %%
def backward_with_assignment(result):
    result.grad = 1.0
    for number in ancestors(result):
        for parent, local in number.parents:
            parent.grad = number.grad * local


backward(f)  # once more: question 5 below asks about it
assert x3.grad == 20.0
x3.grad = 0.0
backward_with_assignment(f)
print(f"with += 7.0, with = {x3.grad}")
assert x3.grad != 7.0

# %% [markdown]
# ## Why the order matters
#
# You could also follow every way from the result to the inputs as soon as you see it. The sum over
# all ways is the right gradient, but how many ways are there? Double a number $n$ times by $a = a +
# a$: each addition has two arrows to the same number, so there are $2^n$ ways. In order, each
# number is visited once: $n + 1$ visits.


# %%
def backward_way_by_way(number, grad):
    """Add grad to the number, and go on at once. Returns how many visits that took."""
    number.grad += grad
    visits = 1
    for parent, local in number.parents:
        visits += backward_way_by_way(parent, grad * local)
    return visits


rounds, way_by_way, in_order = range(1, 15), [], []
for n in rounds:
    start = total = Number(1.0)
    for _ in range(n):
        total = total + total
    way_by_way.append(backward_way_by_way(total, 1.0))
    assert start.grad == 2.0**n
    in_order.append(len(ancestors(total)))
assert way_by_way == [2 ** (n + 1) - 1 for n in rounds]
assert in_order == [n + 1 for n in rounds]

fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.semilogy(rounds, way_by_way, "o-", color=ORANGE, label="way by way")
ax.semilogy(rounds, in_order, "s-", color=BLUE, label="in order, each number once")
ax.set(xlabel="additions a = a + a", ylabel="visits", title="The same gradient, at another cost")
ax.legend()
plt.show()

# %% [markdown]
# The second reason for a loop: Python's recursive calls may go about 1,000 deep. A chain of 5,000
# operations is no problem in order.

# %%
total = start = Number(1.0)
for _ in range(5000):
    total = total + 0.001
backward(total)
assert start.grad == 1.0
try:
    backward_way_by_way(total, 1.0)
except RecursionError as error:
    print("way by way:", error)
else:
    raise AssertionError("expected a RecursionError")

# %% [markdown]
# ## Checks
#
# Two kinds. First against finite differences, for random programs: start with three numbers, and
# again and again apply a random operation to random ones.


# %%
def random_program(numbers, seed):
    rng = np.random.default_rng(seed)
    numbers = list(numbers)
    for _ in range(12):
        i, j = rng.integers(len(numbers), size=2)
        a, b = numbers[i], numbers[j]
        how = rng.integers(4)
        if how == 0:
            numbers.append(a + b)
        elif how == 1:
            numbers.append(a * b)
        elif how == 2:
            numbers.append((a - b).tanh())
        else:
            numbers.append(a / (b * b + 1.0))
    return sum(n.tanh() for n in numbers[3:])


worst = 0.0
for seed in range(50):
    at = np.random.default_rng(1000 + seed).standard_normal(3)
    inputs = [Number(v) for v in at]
    backward(random_program(inputs, seed))
    for i, step in enumerate(1e-6 * np.eye(3)):
        up, down = (random_program(map(Number, at + s), seed).value for s in (step, -step))
        worst = max(worst, abs(inputs[i].grad - (up - down) / 2e-6))
print(f"50 programs, 3 inputs each: largest difference {worst:.1e}")
assert worst < 1e-7

# %% [markdown]
# Second, against another engine. minidl's tensors have the same operators, so the same programs
# run with them (in float64, as Python's numbers are). Two engines that agree to the last digits are
# better evidence than a difference, which is off by rounding.

# %%
worst = 0.0
for seed in range(50):
    at = np.random.default_rng(1000 + seed).standard_normal(3)
    ours = [Number(v) for v in at]
    theirs = [md.tensor(v, dtype=md.float64, requires_grad=True) for v in at]
    backward(random_program(ours, seed))
    random_program(theirs, seed).backward()
    for mine, other in zip(ours, theirs, strict=True):
        expected = 0.0 if other.grad is None else other.grad.item()
        worst = max(worst, abs(mine.grad - expected))
print(f"largest difference between the engines {worst:.1e}")
assert worst < 1e-12

# %% [markdown]
# ## Step through it
#
# The page below holds the neuron in minidl, number by number. Steps 1 to 5 go forward. At each of
# the steps 6 to 10, look at the gradient that comes in on the right and the ones that go out on the
# left: the second divided by the first is the local derivative on the arrow in your picture. At
# step 8, `Tanh`, it is $1 - y^2 = 0.786$.

# %%
w = md.tensor(0.5, requires_grad=True)
b = md.tensor(-1.5, requires_grad=True)
with md.record() as tape:
    y = (w * 2.0 + b).tanh()
    loss = (y - 1.0) ** 2
    loss.backward()
assert len(tape) == 10
assert (tape.events[7].phase, tape.events[7].op) == ("backward", "Tanh")
assert abs(w.grad.item() - w_bar) < 1e-6
assert abs(1 - y.item() ** 2 - 0.786) < 1e-3
step_through(tape, "03_scalar_autograd_neuron", "One neuron, forward and back")

# %% [markdown]
# ## Train with it
#
# Two half moons: 60 points in the plane, two classes with targets $-1$ and $1$. The network has 2
# inputs, 8 hidden neurons and 1 output, all with $\tanh$, so 33 parameters. It is small because
# each multiplication is a Python object here.

# %%
rng = np.random.default_rng(0)
angle = rng.uniform(0, np.pi, 60)
side = np.repeat([1.0, -1.0], 30)
points = np.stack([np.cos(angle) * side + 0.5 * (side < 0), np.sin(angle) * side], axis=1)
points[:, 1] += 0.25 * (side < 0)
points += rng.normal(0, 0.08, points.shape)


def start(rng, make):
    hidden = [[make(v) for v in row] for row in rng.normal(0, 0.8, (8, 3))]
    last = [make(v) for v in rng.normal(0, 0.4, 9)]
    return hidden, last


def network(parameters, x1, x2):
    hidden, last = parameters
    activations = [(w1 * x1 + w2 * x2 + b).tanh() for w1, w2, b in hidden]
    return sum((a * w for a, w in zip(activations, last[:8], strict=True)), last[8]).tanh()


# %% [markdown]
# A step of gradient descent, as in lesson 02: forward, zero the gradients, backward, move against
# them. The loss is the mean squared error over all points. You should expect it to fall, and almost
# all points to end on the right side.

# %%
parameters = start(rng, Number)
flat = [p for row in parameters[0] for p in row] + parameters[1]
assert len(flat) == 33
losses = []
for _ in range(80):
    loss = 0.0
    for (x1, x2), target in zip(points.tolist(), side.tolist(), strict=True):
        loss = loss + (network(parameters, x1, x2) - target) ** 2 / len(points)
    for p in flat:
        p.grad = 0.0
    backward(loss)
    for p in flat:
        p.value -= 0.8 * p.grad
    losses.append(loss.value)
answers = np.array([network(parameters, *p).value for p in points.tolist()])
right = np.mean(np.sign(answers) == side)
print(f"loss {losses[0]:.2f} -> {losses[-1]:.3f}, {right:.0%} of the points on the right side")
assert losses[-1] < 0.3 * losses[0]
assert right > 0.9

# %%
grid_x, grid_y = np.meshgrid(np.linspace(-1.6, 2.1, 25), np.linspace(-1.4, 1.6, 25))
answer = [network(parameters, *p).value for p in zip(grid_x.flat, grid_y.flat, strict=True)]
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
left.plot(losses, color=BLUE)
left.set(xlabel="step", ylabel="mean squared error", title="The loss falls", ylim=(0, None))
shades = right.contourf(
    grid_x, grid_y, np.reshape(answer, grid_x.shape), 21, cmap="RdBu", vmin=-1.2, vmax=1.2
)
for value, colour, marker in ((1, BLUE, "o"), (-1, ORANGE, "^")):
    right.scatter(*points[side == value].T, c=colour, marker=marker, edgecolors="white")
right.set(xlabel="x1", ylabel="x2", title="What the network says of every point")
fig.colorbar(shades, ax=right, label="output", ticks=[-1, 0, 1])
plt.show()

# %% [markdown]
# ## Why arrays
#
# How large was the graph of one step? Count the numbers. Then write the same network with minidl's
# arrays: one operation multiplies all points with all weights, and its backward is one product,
# too.

# %%
nodes = len(ancestors(loss))
hidden = np.array([[p.value for p in row] for row in parameters[0]])
last = np.array([p.value for p in parameters[1]])
W1 = md.tensor(hidden[:, :2].T, requires_grad=True)
b1, W2 = md.tensor(hidden[:, 2], requires_grad=True), md.tensor(last[:8], requires_grad=True)
b2 = md.tensor(last[8], requires_grad=True)
inputs, targets = md.tensor(points), md.tensor(side)
with md.record() as tape:
    output = ((inputs @ W1 + b1).tanh() @ W2 + b2).tanh()
    mean_loss = ((output - targets) ** 2).mean()
forward = len(tape)
print(f"{nodes:,} numbers in our graph, {forward} operations in minidl's")
assert nodes > 100 * forward

# %% [markdown]
# The gradients are those of our engine, after one more pass of it with the present parameters:

# %%
mean_loss.backward()
loss = sum(
    (network(parameters, *p) - s) ** 2 / 60
    for p, s in zip(points.tolist(), side.tolist(), strict=True)
)
for p in flat:
    p.grad = 0.0
backward(loss)
assert abs(loss.value - mean_loss.item()) < 1e-12
ours = np.array([[p.grad for p in row] for row in parameters[0]])
assert np.allclose(W1.grad.numpy().T, ours[:, :2], atol=1e-12)
assert np.allclose(b1.grad.numpy(), ours[:, 2], atol=1e-12)
assert np.allclose(W2.grad.numpy(), [p.grad for p in parameters[1][:8]], atol=1e-12)

# %% [markdown]
# ## Recall
#
# 1. What does a result remember in this engine, and what does it not need to?
#
# <details><summary>Answer</summary>
# The numbers it was made from and the local derivative for each. Not which operation it was: the
# loop of `backward` multiplies and adds, whatever the operation.
# </details>
#
# 2. A weight is used by all 60 points. What is its gradient made of?
#
# <details><summary>Answer</summary>
# Of the sum of 60 contributions, one for each arrow that leaves it.
# </details>
#
# 3. When may a number hand on its gradient, and how does the engine make sure of it?
#
# <details><summary>Answer</summary>
# When all numbers made from it have handed in theirs. These have higher serials, and `backward`
# goes through the serials from high to low.
# </details>
#
# 4. Why is $\partial L / \partial w$ for all 33 weights not 33 times as dear as for one?
#
# <details><summary>Answer</summary>
# One way back passes each number once and leaves a gradient at all of them. Its cost is that of the
# forward pass times a small factor, however many inputs there are. Finite differences would need
# two forward passes for each weight.
# </details>
#
# 5. After `backward(f)` for $f = x \cdot x + x$ at $x = 3$ the gradient of $x$ is 7. You call
#   `backward(f)` once more, without setting anything to zero. Why is it 20 then, and not 14?
#
# <details><summary>Answer</summary>
# Gradients are added to what is there, so that several uses, or several losses, add up. For $x$
# that would make $7 + 7$. But $x \cdot x$, in between, has kept its gradient too: it has become 2,
# and hands on 2 · (3 + 3). With the 1 of the last arrow that is $7 + 12 + 1$. An engine that can go
# back twice must begin afresh with the numbers in between, and add up at the inputs only.
# </details>
#
# ## Change one thing
#
# Give `Number` a method `relu`: the value is $\max(0, v)$ and the local derivative 1 where $v > 0$,
# else 0. Use it in `network` for the hidden neurons in place of `tanh` (and for minidl's hidden
# layer in the section "Why arrays"). What shape does the boundary between the two colours take now,
# and where does it have its corners?
#
# ## Where this lives
#
# `minidl/autograd/engine.py` goes back by the same rule (the highest sequence number that waits),
# `minidl/autograd/function.py` is a result that remembers. The idea of the way back: Linnainmaa
# 1970; for networks: Rumelhart, Hinton and Williams 1986. Next: [lesson
# 04](04_tensors_and_tape.html), the same with arrays.
