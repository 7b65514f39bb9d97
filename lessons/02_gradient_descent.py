# %% [markdown]
# # 02. Gradient descent from the chain rule
#
# After this lesson you can
#
# - derive the gradient of a loss with the chain rule, for numbers and for arrays;
# - find a minimum by gradient descent, and say which learning rates converge, and why;
# - explain slow zigzag paths by curvature, and what momentum does about them;
# - say in which order to multiply derivatives when there are many inputs and one loss;
# - show that the gradient of a mini-batch is right on average.
#
# Needs: lesson 01.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import optim
from minidl.teach import step_through

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"

# %% [markdown]
# ## One parameter
#
# Find the $w$ for which $L(w) = \frac{1}{2} c\,(w - 3)^2$ is smallest. You see that it is 3; a
# program sees only the slope $L'(w) = c\,(w - 3)$ where it stands. Where the slope is positive the
# loss grows to the right, so go left. That is gradient descent with learning rate $\eta$:
#
# $$w \leftarrow w - \eta\, L'(w)$$
#
# Put the slope in, and look at the distance from the minimum: $w - 3$ becomes $(1 - \eta c)(w -
# 3)$. Each step multiplies the distance by the same factor. So you expect: for $0 < \eta < 2/c$ it
# shrinks, with $\eta = 1/c$ one step is enough, beyond $2/c$ it grows.

# %%
c = 2.0


def slope(w):
    return c * (w - 3.0)


def descend(w, rate, steps):
    path = [w]
    for _ in range(steps):
        w = w - rate * slope(w)
        path.append(w)
    return np.array(path)


for rate in (0.05, 0.5, 0.9, 1.1):
    path = descend(0.0, rate, 10)
    print(f"rate {rate:<4}  factor {1 - rate * c:5.2f}   w after 10 steps {path[-1]:8.3f}")
    assert np.allclose(path - 3.0, -3.0 * (1 - rate * c) ** np.arange(11))
assert abs(descend(0.0, 0.9, 50)[-1] - 3) < 1e-3
assert abs(descend(0.0, 1.1, 50)[-1] - 3) > 1000
assert descend(0.0, 0.5, 1)[-1] == 3.0

# %%
line = np.linspace(-1.5, 7.5, 200)
fig, axes = plt.subplots(1, 3, figsize=(9.5, 2.8), sharey=True, layout="constrained")
for ax, (rate, says) in zip(
    axes,
    ((0.05, "too small: slow"), (0.9, "large: jumps over"), (1.1, "above 2/c: away")),
    strict=True,
):
    path = descend(0.0, rate, 7)
    ax.plot(line, 0.5 * c * (line - 3) ** 2, color=GREY)
    ax.plot(path, 0.5 * c * (path - 3) ** 2, "o-", color=ORANGE, markersize=4)
    ax.set(title=f"rate {rate}, {says}", xlabel="w", xlim=(-1.5, 7.5), ylim=(-1, 20))
axes[0].set_ylabel("loss L(w)")
plt.show()

# %% [markdown]
# ## Two parameters: curvature in the way
#
# With several parameters the slope becomes the **gradient** $\nabla L$, one partial derivative for
# each. It points to where the loss grows fastest, at right angles to the lines of equal loss. Take
# $L(u, v) = \frac{1}{2}(u^2 + 20 v^2)$: a long valley, 20 times as steep across as along. The rate
# must stay below $2/20$, or $v$ diverges. But along the valley the factor is then at best $1 -
# 0.1$: slow. The ratio of the curvatures, the condition number, decides how slow.

# %%
curvature = np.array([1.0, 20.0])


def valley(start, rate, steps, momentum=0.0):
    position, velocity, path = np.array(start), np.zeros(2), [np.array(start)]
    for _ in range(steps):
        velocity = momentum * velocity + curvature * position
        position = position - rate * velocity
        path.append(position)
    return np.array(path)


plain = valley((10.0, 1.0), 0.09, 40)
heavy = valley((10.0, 1.0), 0.09, 40, momentum=0.6)
lost = valley((10.0, 1.0), 0.11, 40)
assert np.allclose(plain[-1], [10 * (1 - 0.09) ** 40, (1 - 1.8) ** 40])
assert abs(lost[-1, 1]) > 100

# %% [markdown]
# **Momentum** adds a fraction of the last step to the present one. Across the valley, where the
# gradient changes its sign at every step, steps cancel; along it they add up to a larger one, in
# the long run $1 / (1 - 0.6) = 2.5$ times as large. Expect it nearer to the minimum after the same
# 40 steps.

# %%
fig, ax = plt.subplots(figsize=(9.5, 2.6), layout="constrained")
grid_u, grid_v = np.meshgrid(np.linspace(-10, 11, 150), np.linspace(-1.6, 1.6, 60))
ax.contour(grid_u, grid_v, 0.5 * (grid_u**2 + 20 * grid_v**2), 14, colors="0.8", linewidths=0.8)
ax.plot(*plain.T, "o-", color=ORANGE, markersize=3.5, label="gradient descent")
ax.plot(*heavy.T, "s-", color=BLUE, markersize=3.5, label="with momentum 0.6")
ax.plot(0, 0, "*", color=GREEN, markersize=14, label="minimum")
ax.set(xlabel="u", ylabel="v", title="A valley: zigzag across it, slow along it")
ax.set_xlim(min(-2.0, heavy[:, 0].min() - 1), 11)
ax.legend(loc="lower left", fontsize=8)
plt.show()
far, near = np.linalg.norm(plain[-1]), np.linalg.norm(heavy[-1])
print(f"distance from the minimum after 40 steps: {far:.4f}, with momentum {near:.6f}")
assert near < 0.1 * far

# %% [markdown]
# ## The chain rule
#
# Losses are compositions: predictions are made of parameters, errors of predictions, the loss of
# errors. Fit a line to points $(x_i, t_i)$:
#
# $$y_i = w x_i + b, \qquad e_i = y_i - t_i, \qquad L = \frac{1}{N} \sum_i e_i^2$$
#
# If $w$ changes by a little, $y_i$ changes $x_i$ times as much, $e_i$ as much as $y_i$, and $L$
# changes $\frac{2}{N} e_i$ times as much as $e_i$. Along a chain the factors multiply; where ways
# meet again, in the sum over $i$, the contributions add up:
#
# $$\frac{\partial L}{\partial w} = \sum_i \frac{\partial L}{\partial e_i} \frac{\partial
# e_i}{\partial y_i} \frac{\partial y_i}{\partial w} = \frac{2}{N} \sum_i e_i x_i, \qquad
# \frac{\partial L}{\partial b} = \frac{2}{N} \sum_i e_i$$
#
# Check it without calculus: move $w$ by a small $h$ to either side, and divide the difference of
# the two losses by $2h$. The same for $b$. (Lesson 05 is about such checks.)

# %%
rng = np.random.default_rng(0)
x = rng.uniform(-1, 3, 40)
t = 1.5 * x - 0.7 + rng.normal(0, 0.3, 40)


def loss(w, b, x=x, t=t):
    return np.mean((w * x + b - t) ** 2)


def gradient(w, b, x=x, t=t):
    e = w * x + b - t
    return np.array([2 * np.mean(e * x), 2 * np.mean(e)])


h = 1e-6
numeric = [(loss(h, 0) - loss(-h, 0)) / (2 * h), (loss(0, h) - loss(0, -h)) / (2 * h)]
print("by the chain rule", gradient(0, 0), "  by differences", np.round(numeric, 6))
assert np.allclose(gradient(0, 0), numeric, atol=1e-7)

# %% [markdown]
# The chain rule does not care who applies it. minidl records the operations and multiplies their
# derivatives; lesson 03 builds such an engine. The result must be the same:

# %%
w, b = md.tensor(0.0, requires_grad=True), md.tensor(0.0, requires_grad=True)
X, T = md.tensor(x, dtype=md.float32), md.tensor(t, dtype=md.float32)
((w * X + b - T) ** 2).mean().backward()
assert np.allclose([w.grad.item(), b.grad.item()], gradient(0, 0), atol=1e-5)

# %% [markdown]
# ## Step through it
#
# On the page are three points and one step of the loss. Go to step 5, `Mean`: the loss. From step 6
# on the gradient comes back. In step 9, `Add`, one number $b$ was used for three points: point at
# its gradient $\partial b$, and the three cells it is the sum of light up.

# %%
w, b = md.tensor(1.0, requires_grad=True), md.tensor(0.0, requires_grad=True)
points, targets = md.tensor([0.0, 1.0, 2.0]), md.tensor([1.0, 2.0, 2.0])
with md.record() as tape:
    y = w * points + b
    e = y - targets
    L = e.square().mean()
    L.backward()
ran = [(event.phase, event.op) for event in tape.events]
assert ran[4] == ("forward", "Mean")
assert ran[8] == ("backward", "Add")
step_through(tape, "02_gradient_descent_line", "The gradient of a fitted line")

# %% [markdown]
# ## Descend
#
# Fifty steps with the gradient by hand, and fifty with `optim.SGD`, which is the same rule for any
# number of parameters (S for stochastic, see below). Both must end at the same place, and near the
# exact solution of least squares.

# %%
parameters = np.zeros(2)
path = [parameters]
for _ in range(50):
    parameters = parameters - 0.2 * gradient(*parameters)
    path.append(parameters)
path = np.array(path)

w, b = md.tensor(0.0, requires_grad=True), md.tensor(0.0, requires_grad=True)
optimizer = optim.SGD([w, b], lr=0.2)
for _ in range(50):
    optimizer.zero_grad()
    ((w * X + b - T) ** 2).mean().backward()
    optimizer.step()
assert np.allclose([w.item(), b.item()], parameters, atol=1e-4)

exact = np.linalg.lstsq(np.stack([x, np.ones(40)], 1), t, rcond=None)[0]
print(f"descent {parameters}, least squares {exact}")
assert np.allclose(parameters, exact, atol=1e-3)

# %% [markdown]
# ## Mini-batches
#
# With a million pictures you do not want to look at all of them for one step. Take a random part: a
# **mini-batch**. Its gradient differs from the full one, but not on average. Cut the data into 10
# batches of 4: the mean of their gradients *is* the full gradient, because the loss is a mean.

# %%
order = rng.permutation(40).reshape(10, 4)
small = np.array([gradient(0, 0, x[part], t[part]) for part in order])
assert np.allclose(small.mean(0), gradient(0, 0))
assert small.std(0).min() > 0.1

noisy, point = [np.zeros(2)], np.zeros(2)
for step in range(50):
    part = order[step % 10]
    point = point - 0.2 * gradient(*point, x[part], t[part])
    noisy.append(point)
noisy = np.array(noisy)
print(f"samples looked at: full {40 * 50}, mini-batches {4 * 50}")
assert loss(*noisy[-1]) < 0.1 * loss(0, 0)
last_steps = [np.linalg.norm(np.diff(p[-11:], axis=0), axis=1).mean() for p in (path, noisy)]
assert last_steps[1] > 100 * last_steps[0]

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
left.plot(x, t, "o", color=GREY, markersize=4, label="data")
ends = np.array([-1.0, 3.0])
for step, style in ((0, ":"), (2, "--"), (50, "-")):
    left.plot(ends, path[step, 0] * ends + path[step, 1], style, color=BLUE, label=f"step {step}")
left.set(xlabel="x", ylabel="t", title="The line after some steps")
left.legend(fontsize=8)
grid_w, grid_b = np.meshgrid(np.linspace(-0.3, 2.4, 60), np.linspace(-1.6, 1.0, 60))
levels = [
    [loss(a, c) for a, c in zip(*rows, strict=True)] for rows in zip(grid_w, grid_b, strict=True)
]
right.contour(grid_w, grid_b, levels, np.geomspace(0.1, 6, 12), colors="0.8", linewidths=0.8)
right.plot(*path.T, "o-", color=BLUE, markersize=3, label="all data")
right.plot(*noisy.T, "s-", color=ORANGE, markersize=3, linewidth=0.7, label="mini-batches of 4")
right.set(xlabel="w", ylabel="b", title="The same way down, with noise")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# With a constant rate the noisy path does not come to rest: it goes around the minimum. Lesson 18
# lets the rate fall.
#
# ## In which order?
#
# For arrays the derivative of a step is a matrix, its **Jacobian**: one row for each output, one
# column for each input. The chain rule multiplies Jacobians. For $x \to y \to z \to L$ with $n$,
# $n$, $n$ and 1 numbers, where $J_y$ is the Jacobian of the step from $x$ to $y$, and so on,
#
# $$\frac{\partial L}{\partial x} = J_L\, J_z\, J_y, \qquad J_L: 1 \times n, \quad J_z: n \times n,
# \quad J_y: n \times n$$
#
# The product is the same from either side, the work is not. From the left (from the loss back)
# there is always one row: $2 n^2$ multiplications. From the right (from the inputs forward) a
# matrix times a matrix comes first: $n^3 + n^2$. With one loss and many parameters, start at the
# loss.

# %%
n = 50
J_L, J_z, J_y = rng.normal(size=(1, n)), rng.normal(size=(n, n)), rng.normal(size=(n, n))


def multiplications(A, B):
    return A.shape[0] * A.shape[1] * B.shape[1]


back = multiplications(J_L, J_z) + multiplications(J_L @ J_z, J_y)
forward = multiplications(J_z, J_y) + multiplications(J_L, J_z @ J_y)
assert np.allclose((J_L @ J_z) @ J_y, J_L @ (J_z @ J_y))
assert (back, forward) == (2 * n**2, n**3 + n**2)
print(f"multiplications: from the loss back {back:,}, from the inputs forward {forward:,}")

# %% [markdown]
# That is why the way back is called *backpropagation*, and why engines do it in this order.
#
# ## Recall
#
# 1. The curvature of a loss is $c = 8$. Which learning rates converge, and which is the best?
#
# <details><summary>Answer</summary>
# Those between 0 and $2/8$. With $1/8$ the factor $1 - \eta c$ is 0 and one step is enough.
# </details>
#
# 2. Two parameters have the curvatures 1 and 100. Why does the first learn slowly?
#
# <details><summary>Answer</summary>
# The rate must be below $2/100$ for the second. The first then shrinks its distance by a factor of
# at best $1 - 0.02$ a step.
# </details>
#
# 3. Where do gradients multiply, and where do they add?
#
# <details><summary>Answer</summary>
# Factors along one way from the parameter to the loss multiply; the contributions of several ways
# add up.
# </details>
#
# 4. What is the mean of the gradients of all mini-batches of an epoch, all taken at the same
#    parameters?
#
# <details><summary>Answer</summary>
# The gradient over all data, if the loss is a mean and all batches have the same size.
# </details>
#
# 5. You have 3 inputs and a million outputs, and want the whole Jacobian. Which order is cheaper?
#
# <details><summary>Answer</summary>
# Forward: one pass for each input, 3 in all. Backward would be one pass for each output.
# </details>
#
# ## Change one thing
#
# In the cell with `heavy`, try the momenta 0.0, 0.3, 0.6, 0.9 and 0.97, and print the distance
# after 40 steps for each. (The assertion below the picture holds for 0.6; take it out.) Is more
# always better? Look at the path of the last one in the picture and say what it does.
#
# ## Where this lives
#
# `minidl/optim/sgd.py` has momentum, Nesterov's too; `minidl/autograd/engine.py` the order from the
# loss back. Gradient descent: Cauchy 1847; momentum: Polyak 1964; stochastic: Robbins and Monro
# 1951. Next: [lesson 03](03_scalar_autograd.html), an engine that applies the chain rule for you.
