# %% [markdown]
# # 05. Checking gradients, and how checks lie
#
# After this lesson you can
#
# - check a gradient that you wrote by hand against differences, along one random direction;
# - choose the step of a difference, and say what goes wrong on either side of it;
# - show why a check with an all-ones cotangent accepts wrong gradients, and do it better;
# - say what a passed check does not prove: that the function itself is the right one;
# - recognise kinks, and check second derivatives.
#
# Needs: lessons 02, 04.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl.teach import step_through

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"

# %% [markdown]
# ## Two differences
#
# The derivative of $f$ at $x$ is what the slope over a step $h$ tends to as $h$ gets small. There
# are two usual slopes:
#
# $$\text{one-sided: } \frac{f(x+h) - f(x)}{h} \qquad \text{central: } \frac{f(x+h) - f(x-h)}{2h}$$
#
# By Taylor's formula the first is off by about $\frac{h}{2} f''(x)$. In the second the terms with
# $f''$ cancel, and it is off by about $\frac{h^2}{6} f'''(x)$. So with half the step you should
# expect half the error from the first, and a quarter from the second.


# %%
def f(x):
    return np.exp(x) * np.sin(x)


def slope_of_f(x):
    return np.exp(x) * (np.sin(x) + np.cos(x))


def one_sided(f, x, h):
    return (f(x + h) - f(x)) / h


def central(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


for name, difference, factor in (("one-sided", one_sided, 2), ("central", central, 4)):
    errors = [abs(difference(f, 1.0, h) - slope_of_f(1.0)) for h in (1e-2, 5e-3)]
    print(f"{name:<10} error {errors[0]:.2e}, with half the step {errors[1]:.2e}")
    assert abs(errors[0] / errors[1] - factor) < 0.02 * factor

# %% [markdown]
# ## The step: not too large, not too small
#
# Why not take $h = 10^{-15}$? Because a computer rounds: float64 keeps about 16 digits, so $f$ is
# off by about $10^{-16}$ of its size, and the division by $h$ enlarges that. The sum of both
# errors has a smallest value in between. For central differences it lies near
# $h = \varepsilon^{1/3}$, where $\varepsilon$ is the spacing of floating point numbers near 1:
# $2 \cdot 10^{-16}$ in float64, $10^{-7}$ in float32.

# %%
steps = 10.0 ** np.arange(-15, 0.1, 0.25)
curves = {
    "one-sided, float64": (one_sided, np.float64, ORANGE, "--"),
    "central, float64": (central, np.float64, BLUE, "-"),
    "central, float32": (central, np.float32, GREEN, "-."),
}
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
best = {}
for name, (difference, dtype, colour, line) in curves.items():
    points = np.linspace(0.5, 1.5, 21)  # the median over some points: a curve without spikes
    errors = [
        np.median([abs(difference(f, dtype(x), dtype(h)) / slope_of_f(x) - 1) for x in points])
        for h in steps
    ]
    ax.loglog(steps, errors, line, color=colour, label=name)
    best[name] = steps[np.argmin(errors)], min(errors)
ax.set(xlabel="step h", ylabel="relative error of the slope", ylim=(1e-13, 10))
ax.set_title("Left: rounding. Right: the curve bends. Best in between.")
ax.grid(color="0.9")
ax.legend()
plt.show()

# %%
for name, (step, error) in best.items():
    print(f"{name:<20} best step {step:.0e}, relative error {error:.0e}")

assert 1e-7 < best["central, float64"][0] < 1e-4
assert best["central, float64"][1] < 1e-9
assert 1e-10 < best["one-sided, float64"][0] < 1e-6
assert best["one-sided, float64"][1] > 10 * best["central, float64"][1]
assert best["central, float32"][0] > 1e-4
assert 1e-7 < best["central, float32"][1] < 1e-4

# %% [markdown]
# Two rules follow. Use central differences with a step near $10^{-6}$ for numbers near 1. And
# check in float64, even if you will train in float32: there the very best step leaves about five
# right digits, and a step of $10^{-8}$ leaves none, as $x + h$ is rounded back to $x$:

# %%
assert np.float32(1.0) + np.float32(1e-8) == np.float32(1.0)
assert central(f, np.float32(1.0), np.float32(1e-8)) == 0.0

# %% [markdown]
# ## Many inputs, many outputs
#
# A layer maps a vector $x$ to a vector $y$. Its derivative is the Jacobian $J$, with
# $J_{ij} = \partial y_i / \partial x_j$. `backward` never returns $J$. It is given a
# **cotangent** $u$, the gradient of the loss to $y$, and returns $J^T u$, the gradient of the
# loss to $x$.
#
# To compare all of $J$ with differences you need two evaluations for each input. One random
# direction $v$ does nearly as well with two in all. Let $\langle a, b \rangle$ be the sum of the
# products of corresponding entries. Then both sides of
#
# $$\left\langle u, \frac{f(x + h v) - f(x - h v)}{2h} \right\rangle \approx \langle u, J v \rangle
# = \langle v, J^T u \rangle$$
#
# are single numbers. An error in $J^T u$ would have to be exactly perpendicular to a random $v$
# to pass.


# %%
def check(forward, backward, x, u, rng, h=1e-6):
    """How far the slopes along a random direction are apart; our slopes are of size 1."""
    v = rng.standard_normal(x.shape)
    numeric = np.sum(u * (forward(x + h * v) - forward(x - h * v))) / (2 * h)
    analytic = np.sum(v * backward(x, u))
    return abs(analytic - numeric)


# %% [markdown]
# Try it on softmax, $y_i = e^{x_i} / \sum_j e^{x_j}$, of each row. From
# $\partial y_i / \partial x_j = y_i ([i = j] - y_j)$, where $[i = j]$ is 1 if $i = j$ and else 0,
# you get $(J^T u)_j = y_j \left(u_j - \sum_i u_i y_i\right)$.


# %%
def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def softmax_backward(x, u):
    y = softmax(x)
    return y * (u - np.sum(u * y, 1, keepdims=True))


rng = np.random.default_rng(0)
x = rng.standard_normal((6, 5))
u = rng.standard_normal((6, 5))
error = check(softmax, softmax_backward, x, u, rng)
print(f"the two slopes differ by {error:.1e}")
assert error < 1e-7

# %% [markdown]
# ## How a check lies
#
# A tempting short cut is to sum the outputs, `y.sum().backward()`, and to compare with
# differences of the sum. That is the cotangent of all ones. But each row of a softmax sums to 1
# *whatever x is*: the sum's derivative is zero. All that is checked is that `backward` returns
# zeros for $u = 1$, and many wrong functions do. Here are four; you would expect a check to
# reject each of them.

# %%
mistakes = {
    "right": softmax_backward,
    "returns zeros": lambda x, u: np.zeros_like(x),
    "wrong sign": lambda x, u: -softmax_backward(x, u),
    "mean in place of weighted sum": lambda x, u: softmax(x) * (u - u.mean(1, keepdims=True)),
    "forgot the factor y": lambda x, u: u - np.sum(u * softmax(x), 1, keepdims=True),
}
found = {}
for name, backward in mistakes.items():
    found[name] = [check(softmax, backward, x, c, rng) for c in (np.ones_like(x), u)]
    print(f"{name:<32} all ones {found[name][0]:.0e}    random {found[name][1]:.0e}")

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
rows = np.arange(len(found))
for offset, part, label, colour in ((-0.2, 0, "all-ones", ORANGE), (0.2, 1, "random", BLUE)):
    lengths = np.maximum([pair[part] for pair in found.values()], 1e-13)
    ax.barh(rows + offset, lengths, 0.36, left=1e-13, color=colour, label=f"{label} cotangent")
ax.axvline(1e-6, color=GREY, linestyle=":")
ax.text(7e-7, -0.75, "accepted below this", color=GREY, fontsize=9, ha="right")
ax.set(
    xscale="log",
    yticks=rows,
    yticklabels=list(found),
    xlabel="difference of the slopes that the check sees",
)
ax.set_ylim(len(rows) - 0.4, -1.1)
ax.set_title("All ones accepts four wrong backwards of softmax")
ax.legend(loc="upper right")
plt.show()

ones_accepts = [name for name, pair in found.items() if pair[0] < 1e-6]
random_accepts = [name for name, pair in found.items() if pair[1] < 1e-6]
assert ones_accepts == list(mistakes)  # every one, right or wrong
assert random_accepts == ["right"]

# %% [markdown]
# Any output with a fixed sum is blind in this way: softmax, and every normalisation, whose
# outputs have mean 0 (lesson 08 meets this again). The all-ones cotangent hides a second kind of
# mistake, too: a backward that forgets to multiply by $u$ at all cannot be told from a right one
# when $u = 1$.


# %%
def square_backward(x, u):
    return 2 * x  # forgot the factor u


blind = check(np.square, square_backward, x, np.ones_like(x), rng)
seen = check(np.square, square_backward, x, u, rng)
print(f"all ones {blind:.0e}, random {seen:.0e}")
assert blind < 1e-6
assert seen > 1e-2

# %% [markdown]
# Look at it number by number. The page below runs minidl's softmax twice on the same row and goes
# back with $u = (1, 1, 1)$, then with $u = (1, 0, -1)$. Go to step 6, the backward of the first
# `Softmax`: what comes in is 1 everywhere, what goes out is 0 everywhere, so nothing of the
# formula was tested. In step 12, the second one, each number of the formula counts.

# %%
scores = md.tensor(np.log([[2.0, 1.0, 1.0]]), requires_grad=True)  # probabilities 1/2, 1/4, 1/4
all_ones = md.tensor([[1.0, 1.0, 1.0]], dtype=md.float64)
uneven = md.tensor([[1.0, 0.0, -1.0]], dtype=md.float64)
with md.record() as tape:
    (md.softmax(scores, 1) * all_ones).sum().backward()
    assert np.abs(scores.grad.numpy()).max() < 1e-15
    scores.grad = None
    (md.softmax(scores, 1) * uneven).sum().backward()
assert np.abs(scores.grad.numpy()).min() > 0.04
step_through(tape, "05_checking_gradients_steps", "Softmax with two cotangents")

# %% [markdown]
# ## minidl's check
#
# `md.gradcheck` does all this: float64, central differences, a random direction and a random
# cotangent. When a check fails, it looks at each entry and reports the worst. The last column,
# analytic / numeric, often names the mistake: here it is $-1$ in each line.


# %%
class WrongSign(md.Function):
    def forward(self, x):
        y = softmax(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad):
        (y,) = self.saved_tensors
        return y * ((grad * y).sum(1, keepdim=True) - grad)


point = md.tensor(x, requires_grad=True)
assert md.gradcheck(lambda x: md.softmax(x, 1), point)
assert not md.gradcheck(WrongSign.apply, point, raise_exception=False)
try:
    md.gradcheck(WrongSign.apply, point)
except RuntimeError as error:
    print(error)

# %% [markdown]
# It refuses float32, as you now know why:

# %%
try:
    md.gradcheck(lambda x: md.softmax(x, 1), md.tensor(x, dtype=md.float32, requires_grad=True))
    raise AssertionError("float32 was accepted")
except ValueError as error:
    print(error)

# %% [markdown]
# ## What a passed check does not prove
#
# A check compares a function with *its own* derivative. If the function is not the one you meant,
# and the gradient fits it, all is well with the check. Suppose you standardise columns, and
# divide the squares by $N - 1$ where the paper says $N$. The gradient check passes. Only a second
# opinion on the *value* finds it: another program, or a slow loop written straight from the
# definition.


# %%
def standardise(x):  # meant: variance with N; written: with N - 1
    centred = x - x.mean(0)
    return centred / md.sqrt((centred * centred).sum(0) / (len(x) - 1))


def by_definition(x):
    y = np.empty_like(x)
    for j in range(x.shape[1]):
        mean = sum(x[:, j]) / len(x)
        variance = sum((value - mean) ** 2 for value in x[:, j]) / len(x)
        y[:, j] = (x[:, j] - mean) / variance**0.5
    return y


assert md.gradcheck(standardise, point)  # consistent with itself ...
ratio = standardise(point).detach().numpy() / by_definition(x)
print(f"value / definition = {ratio.min():.4f} everywhere: sqrt(5/6) = {np.sqrt(5 / 6):.4f}")
assert np.allclose(ratio, np.sqrt(5 / 6))  # ... and wrong

# %% [markdown]
# So each operation of minidl is tested twice: its value against a slow, obvious loop, and its
# gradient against differences.
#
# ## Kinks
#
# ReLU, max and $|x|$ have points without a derivative. At 0 the slope of ReLU is 1 to the right
# and 0 to the left. A central difference gives their mean, 0.5, and `backward` gives 0 by
# convention. Neither is wrong; the question was. It is enough that the *step* crosses the kink:
# at $x = 10^{-8}$ the derivative is 1, yet a step of $10^{-6}$ reaches over.


# %%
def relu(x):
    return np.maximum(x, 0)


assert central(relu, 0.0, 1e-6) == 0.5
print("ReLU at 1e-8, by differences:", central(relu, 1e-8, 1e-6), " by its formula: 1")
assert abs(central(relu, 1e-8, 1e-6) - 0.505) < 1e-9

try:
    md.gradcheck(md.relu, md.tensor([0.7, 1e-8, -0.4], dtype=md.float64, requires_grad=True))
    raise AssertionError("the kink was not noticed")
except RuntimeError as error:
    print(error)

# %% [markdown]
# The remedy is another point, not a wider tolerance: a tolerance that forgives 0.505 for 1
# forgives real mistakes. For max-pooling, take numbers that differ by much more than the step, as
# a shuffled `arange`:

# %%
apart = rng.permutation(36).reshape(1, 1, 6, 6) / 10
assert md.gradcheck(
    lambda x: md.nn.functional.max_pool2d(x, 3, stride=2), md.tensor(apart, requires_grad=True)
)

# %% [markdown]
# ## Second order
#
# A gradient is a function too, $x, u \mapsto J^T u$, and can be checked in the same way.
# `gradgradcheck` does this. It catches a backward that gives the right numbers but computes them
# on bare arrays: the engine then sees a constant, and takes its derivative to be 0.


# %%
class Cube(md.Function):
    def forward(self, x):
        self.save_for_backward(x)
        return x**3

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * 3.0 * x * x  # Tensors: the engine can go on from here


class ConstantCube(Cube):
    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * md.tensor(3.0 * x.detach().numpy() ** 2)  # an array: a constant to the engine


assert md.gradcheck(Cube.apply, point)
assert md.gradgradcheck(Cube.apply, point)
assert md.gradcheck(ConstantCube.apply, point)  # first order: nothing to complain about
assert not md.gradgradcheck(ConstantCube.apply, point, raise_exception=False)

# %% [markdown]
# ## Recall
#
# 1. Why is a central difference better than a one-sided one with the same step?
# <details><summary>Answer</summary>
# The error terms with the second derivative cancel. What remains falls with the square of the
# step.
# </details>
#
# 2. You halve a step of 1e-9 in float64. Does the error of the difference become smaller?
# <details><summary>Answer</summary>
# No, as a rule it doubles: to the left of the best step rounding rules, and it is divided by the
# step.
# </details>
#
# 3. Which wrong gradients of softmax does an all-ones cotangent accept?
# <details><summary>Answer</summary>
# All that give 0 when every u is 1: zeros, the wrong sign, any wrong factor, a wrong kind of
# mean.
# </details>
#
# 4. A gradient check passes. What else must you test, and how?
# <details><summary>Answer</summary>
# The value of the forward pass, against something written independently: a slow loop or another
# program.
# </details>
#
# 5. The check of a network with ReLU fails at one of a thousand random points. What do you look
#    at first?
# <details><summary>Answer</summary>
# Whether an input of a ReLU lies within the step from 0 at that point. Move the point.
# </details>
#
# ## Change one thing
#
# To `mistakes` add `"elementwise": lambda x, u: softmax(x) * (1 - softmax(x)) * u`, which takes
# only the diagonal of the Jacobian. Guess before you run: does the all-ones cotangent notice this
# one, and so which of the two asserts below the picture fails? Why does it differ from the other
# four?
#
# ## Where this lives
#
# `minidl/autograd/gradcheck.py` is the check, with its search for the right step (Ridders 1982).
# `tests/ops/cases/` lists the points at which each operation of minidl is checked to second
# order. Next: [lesson 06](06_linear_classifier.html), a classifier with gradients by hand.
