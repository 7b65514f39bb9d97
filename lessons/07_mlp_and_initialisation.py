# %% [markdown]
# # 07. Hidden layers, and where to begin
#
# After this lesson you can
#
# - write a network with a hidden layer, forward and backward, by hand;
# - say what ReLU changes, and why hidden units that start equal stay equal;
# - predict from one number for each layer whether activations and gradients vanish or explode;
# - choose between the initialisations of Glorot and He, and measure that the choice was right;
# - tell from the first steps of training that a network began in the wrong place.
#
# Needs: lessons 05, 06.

# %%
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import nn
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777"

# %% [markdown]
# ## What a line cannot separate
#
# Three arms of a spiral: a linear classifier draws straight borders, so we expect it to be wrong
# about half of the time, however long it learns.


# %%
def spiral(rng, each=100):
    """Points (3 each, 2) and classes of three arms."""
    radius = np.tile(np.linspace(0.05, 1, each), 3)
    arm = np.repeat(np.arange(3), each)
    angle = 4 * radius + 2 * np.pi / 3 * arm + rng.normal(0, 0.15, 3 * each)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1), arm


rng = np.random.default_rng(0)
X, t = spiral(rng)
rows = np.arange(len(X))


def loss_and_gradient(s):
    """Cross-entropy of scores and its gradient: lesson 06."""
    p = np.exp(s - s.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    ds = p.copy()
    ds[rows, t] -= 1
    return -np.log(p[rows, t]).mean(), ds / len(s)


W, b = np.zeros((3, 2)), np.zeros(3)
for _ in range(500):
    _, ds = loss_and_gradient(X @ W.T + b)
    W, b = W - ds.T @ X, b - ds.sum(0)
linear_right = np.mean((X @ W.T + b).argmax(1) == t)
print(f"linear: {linear_right:.0%} right")
assert 0.4 < linear_right < 0.65

# %% [markdown]
# ## A hidden layer
#
# Put a layer of $H$ units in between: $h = \max(0,\; x W_1^T + b_1)$, then scores
# $s = h W_2^T + b_2$. Without the $\max$ the two products would be one product with $W_2 W_1$,
# and nothing would be gained. With it each unit is a fold along a line, and scores are sums of
# folds.
#
# Backwards, with $D = \partial L / \partial s$: the gradient to $h$ is $D W_2$; ReLU lets it pass
# where $h > 0$; then the first layer gets what every linear layer gets, gradient transposed times
# input.


# %%
def forward(X, W1, b1, W2, b2):
    h = np.maximum(0, X @ W1.T + b1)
    return h, h @ W2.T + b2


def backward(X, h, W2, ds):
    dh = ds @ W2
    dz = dh * (h > 0)
    return dz.T @ X, dz.sum(0), ds.T @ h, ds.sum(0)


W1, b1 = rng.normal(0, 1, (64, 2)), np.zeros(64)
W2, b2 = rng.normal(0, 0.1, (3, 64)), np.zeros(3)
tensors = [md.tensor(v, requires_grad=True) for v in (W1, b1, W2, b2)]
scores = F.linear(F.relu(F.linear(md.tensor(X), *tensors[:2])), *tensors[2:])
F.cross_entropy(scores, md.tensor(t)).backward()

h, s = forward(X, W1, b1, W2, b2)
_, ds = loss_and_gradient(s)
for ours, theirs in zip(backward(X, h, W2, ds), tensors, strict=True):
    assert np.allclose(ours, theirs.grad.numpy())
print("all four gradients agree with the tape's")

# %%
for _ in range(1500):
    h, s = forward(X, W1, b1, W2, b2)
    loss, ds = loss_and_gradient(s)
    for value, gradient in zip((W1, b1, W2, b2), backward(X, h, W2, ds), strict=True):
        value -= 0.5 * gradient
hidden_right = np.mean(s.argmax(1) == t)
print(f"with 64 hidden units: {hidden_right:.0%} right")
assert hidden_right > 0.95

# %%
grid = np.stack(np.meshgrid(np.linspace(-1.3, 1.3, 200), np.linspace(-1.3, 1.3, 200)), -1)
answers = {
    f"linear: {linear_right:.0%} right": grid @ W.T + b,
    f"64 hidden units: {hidden_right:.0%} right": forward(grid, W1, b1, W2, b2)[1],
}
fig, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for ax, (name, scores) in zip(axes, answers.items(), strict=True):
    ax.contourf(*grid.T, scores.argmax(-1).T, 2, colors=[BLUE, ORANGE, GREEN], alpha=0.3)
    for arm, (colour, marker) in enumerate(((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"))):
        ax.scatter(*X[t == arm].T, s=9, color=colour, marker=marker)
    ax.set(title=name, aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
plt.show()

# %% [markdown]
# A network of two inputs, three hidden units and two classes, on a page. Its third unit has a
# bias of $-9$ and gives 0 for both points. Look at the step `Relu`, backward: the gradient of
# that unit is cut to 0, and so (next step) its row of $\partial$weight is 0. It learns nothing
# from these points; a unit for which that is so with all data is called *dead*.

# %%
points = md.tensor([[1.0, 2.0], [-1.0, 0.5]])
first = md.tensor([[1.0, -0.5], [-1.0, 1.0], [0.5, 0.5]], requires_grad=True)
first_bias = md.tensor([0.5, 0.0, -9.0], requires_grad=True)
second = md.tensor([[1.0, -1.0, 0.5], [-0.5, 1.0, 1.0]], requires_grad=True)
classes = md.tensor([0, 1])
with md.record() as tape:
    hidden = F.relu(F.linear(points, first, first_bias))
    loss = F.cross_entropy(F.linear(hidden, second), classes)
    loss.backward()
assert np.all(first.grad.numpy()[2] == 0)
assert np.all(first.grad.numpy()[:2] != 0)
step_through(tape, "07_mlp_and_initialisation_steps", "A hidden layer with a dead unit")

# %% [markdown]
# ## Equal weights stay equal
#
# Where should training begin? All zeros worked for the linear classifier. For hidden units equal
# weights are a trap: they compute the same, receive the same gradient, and stay the same for
# ever. 64 units do the work of one. So the first job of random weights is to make units differ.

# %%
V1, c1, V2, c2 = np.full((64, 2), 0.1), np.zeros(64), np.full((3, 64), 0.1), np.zeros(3)
for _ in range(200):
    h, s = forward(X, V1, c1, V2, c2)
    _, ds = loss_and_gradient(s)
    for value, gradient in zip((V1, c1, V2, c2), backward(X, h, V2, ds), strict=True):
        value -= 0.5 * gradient
print("different units after 200 steps:", len(np.unique(V1.round(9), axis=0)))
assert len(np.unique(V1.round(9), axis=0)) == 1
assert not np.allclose(V1[0], 0.1)  # they did move, together

# %% [markdown]
# ## How large should random weights be?
#
# Take a unit $z = \sum_{k=1}^{n} w_k h_k$ with independent weights of mean 0 and variance
# $\sigma^2$. With $E$ for the expected value, its mean square is $E[z^2] = n \sigma^2 E[h^2]$.
# ReLU sets half of a symmetric distribution to 0 and so halves the mean square. From one hidden
# layer to the next it is multiplied by
#
# $$g = \frac{n \sigma^2}{2} \text{ with ReLU}, \qquad g = n \sigma^2 \text{ with tanh near 0.}$$
#
# After $L$ layers that is $g^L$: with $g = 0.5$ and 50 layers $10^{-15}$, with $g = 2$ it is
# $10^{15}$. Only $g = 1$ survives depth:
#
# - $\sigma^2 = 1 / n$ for tanh (Glorot and Bengio 2010, who average the $n$ of both directions:
#   "Xavier");
# - $\sigma^2 = 2 / n$ for ReLU (He et al. 2015: "Kaiming").
#
# The gradient goes through the same weights the other way, and through the same halving: it is
# multiplied by the same $g$. Let us measure both, over 50 layers of 256 units.

# %%
WIDTH, DEPTH = 256, 50
STARTS = {
    "std 0.01": (0.01, ORANGE, "--"),
    "1/n (Glorot)": (np.sqrt(1 / WIDTH), GREEN, "-."),
    "2/n (He)": (np.sqrt(2 / WIDTH), BLUE, "-"),
    "std 0.15": (0.15, PINK, ":"),
}


def measure(std, activation, depth=DEPTH, seed=0):
    """The root mean square of each layer's activations, and of the gradient to them."""
    rng = np.random.default_rng(seed)
    h = md.tensor(rng.standard_normal((64, WIDTH)), requires_grad=True)
    layers = [h]
    for _ in range(depth):
        weight = md.tensor(rng.normal(0, std, (WIDTH, WIDTH)))
        layers.append(activation(F.linear(layers[-1], weight)))
    cotangent = md.tensor(rng.standard_normal((64, WIDTH)))
    gradients = md.grad(layers[-1], layers[:-1], cotangent)
    return [np.sqrt(np.mean(v.detach().numpy() ** 2)) for v in layers], [
        np.sqrt(np.mean(v.numpy() ** 2)) for v in gradients
    ]


results = {
    (activation.__name__, name): measure(std, activation)
    for activation in (md.relu, md.tanh)
    for name, (std, _, _) in STARTS.items()
}

# %% [markdown]
# First the theory, with ReLU: the factor from layer to layer should be
# $\sqrt{g} = \sigma \sqrt{n / 2}$, forward and backward.

# %%
for name, (std, _, _) in STARTS.items():
    activations, gradients = results["relu", name]
    expected = std * np.sqrt(WIDTH / 2)
    forward_factor = (activations[-1] / activations[1]) ** (1 / (DEPTH - 1))
    backward_factor = (gradients[0] / gradients[-1]) ** (1 / (DEPTH - 1))
    print(f"{name:<13} expected {expected:.3f}, ", end="")
    print(f"forward {forward_factor:.3f}, backward {backward_factor:.3f}")
    assert abs(forward_factor / expected - 1) < 0.05
    assert abs(backward_factor / expected - 1) < 0.05

# %%
fig, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained", sharex=True)
for row, activation in zip(axes, ("relu", "tanh"), strict=True):
    for name, (_, colour, line) in STARTS.items():
        for ax, values in zip(row, results[activation, name], strict=True):
            ax.semilogy(values, line, color=colour, label=name)
    row[0].set(title=f"{activation}: activations", ylabel="root mean square", ylim=(1e-20, 1e20))
    row[1].set(title=f"{activation}: gradients, from the right to the left", ylim=(1e-20, 1e20))
for ax in axes.flat:
    ax.grid(color="0.9")
    ax.set_xlabel("layer")
axes[0, 0].legend(fontsize=8)
fig.suptitle("Fifty layers: one variance keeps the size, the others lose it")
plt.show()

# %% [markdown]
# With tanh activations cannot explode, as $|\tanh| \le 1$. Gradients can: with std 0.15 (dotted)
# the units that are not in the flat ends of tanh pass them on through large weights. The ends of
# the curves, in numbers:

# %%
for (activation, name), (activations, gradients) in results.items():
    print(f"{activation}  {name:<13} last activation {activations[-1]:8.1e}   ", end="")
    print(f"first gradient {gradients[0]:8.1e}")
relu = {name: results["relu", name] for name in STARTS}
assert relu["std 0.01"][0][-1] < 1e-40
assert relu["std 0.01"][1][0] < 1e-40
assert 0.1 < relu["2/n (He)"][0][-1] < 10
assert 0.1 < relu["2/n (He)"][1][0] < 10
assert relu["std 0.15"][0][-1] > 1e9
assert relu["std 0.15"][1][0] > 1e9
assert relu["1/n (Glorot)"][1][0] < 1e-5  # Glorot's is for tanh: with ReLU it halves each layer
assert results["tanh", "std 0.15"][0][-1] < 1
assert results["tanh", "std 0.15"][1][0] > 1e3
assert results["tanh", "1/n (Glorot)"][1][0] > 1e4 * relu["1/n (Glorot)"][1][0]

# %% [markdown]
# ## Depth is what makes it matter
#
# With two layers any of these would do. We measure the gradient that reaches the first layer,
# relative to what was sent, for several depths:

# %%
print("depth        " + "".join(f"{name:>15}" for name in STARTS))
for depth in (2, 5, 10, 20):
    shares = []
    for std, _, _ in STARTS.values():
        _, gradients = measure(std, md.relu, depth)
        shares.append(gradients[0])
    print(f"{depth:>5} layers " + "".join(f"{share:>15.1e}" for share in shares))
    if depth == 2:
        assert all(1e-3 < share < 10 for share in shares)
    if depth == 20:
        assert shares[0] < 1e-15
        assert 0.2 < shares[2] < 5

# %% [markdown]
# ## Does it train?
#
# Twenty layers of 64 units on the real digits, two passes through 4,000 pictures: too little for
# a good classifier, enough to see who moves. The loss of guessing is $\log 10 = 2.303$. You
# expect std 0.01 to stay there, as its first gradients are $10^{-20}$ of the last ones.

# %%
digits = md.data.digits(train=True)
pictures = digits.images.reshape(-1, 784).astype(np.float32) / 255
pictures = (pictures - digits.mean) / digits.std
answers = np.asarray(digits.labels)


def deep_mlp(initialise):
    sizes = [784, *[64] * 19, 10]
    layers = []
    for n, out in pairwise(sizes):
        layer = nn.Linear(n, out)
        initialise(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(model, epochs=2, rate=0.003):
    optimizer = md.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    rng, losses = np.random.default_rng(0), []
    for _ in range(epochs):
        order = rng.permutation(4000)
        for chosen in order.reshape(-1, 50):
            loss = F.cross_entropy(model(md.tensor(pictures[chosen])), md.tensor(answers[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


initialisations = {
    "std 0.01": (lambda w: nn.init.normal_(w, 0, 0.01), ORANGE, "--"),
    "Glorot": (nn.init.xavier_normal_, GREEN, "-."),
    "nn.Linear's own": (lambda w: nn.init.kaiming_uniform_(w, a=5**0.5), PINK, ":"),
    "He": (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), BLUE, "-"),
}
losses = {}
for name, (initialise, _, _) in initialisations.items():
    md.manual_seed(0)
    losses[name] = train(deep_mlp(initialise))
    print(f"{name:<16} last 20 batches: loss {np.mean(losses[name][-20:]):.3f}")
assert np.mean(losses["std 0.01"][-20:]) > 2.25
assert np.mean(losses["Glorot"][-20:]) > 2.25
assert np.mean(losses["nn.Linear's own"][-20:]) > 2.25
assert np.mean(losses["He"][-20:]) < 1.4

# %%
fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for name, (_, colour, line) in initialisations.items():
    smooth = np.convolve(losses[name], np.ones(10) / 10, "valid")
    ax.plot(np.arange(len(smooth)) + 10, smooth, line, color=colour, label=name)
ax.axhline(np.log(10), color=GREY, linewidth=0.8)
ax.text(125, np.log(10) + 0.06, "guessing: log 10", color=GREY, fontsize=9)
ax.set(xlabel="step", ylabel="loss (mean of 10 batches)", ylim=(0, 2.7))
ax.set_title("Twenty layers with ReLU: where you begin decides whether you move")
ax.grid(color="0.9")
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## What layers do by themselves
#
# `nn.Linear` and `nn.Conv2d` begin, as PyTorch's, with uniform weights of variance $1 / (3n)$.
# With ReLU that is $g = 1/6$: fine for a few layers, not for twenty without normalisation, as its
# line shows, which lies on that of guessing. `nn.init` has the others.

# %%
md.manual_seed(0)
weight = nn.Linear(784, 1000).weight.detach().numpy()
print(f"784 * variance: {784 * weight.var():.3f}")
assert abs(784 * weight.var() - 1 / 3) < 0.01
he = nn.init.kaiming_normal_(md.zeros(1000, 784), nonlinearity="relu").numpy()
assert abs(784 * he.var() - 2) < 0.02

# %% [markdown]
# ## Recall
#
# 1. Why is a network of two linear layers without anything in between no better than one?
# <details><summary>Answer</summary>
# The product of two matrices is a matrix: scores are again a linear function of the input.
# </details>
#
# 2. What does ReLU's backward need from the forward pass?
# <details><summary>Answer</summary>
# Only where the output was positive: there the gradient passes, elsewhere it is 0.
# </details>
#
# 3. Layers have 100 inputs and ReLU; weights have the standard deviation 0.1. What happens over
#    20 layers?
# <details><summary>Answer</summary>
# n times variance is 1, halved by ReLU: the mean square halves in each layer, and is a millionth
# after 20.
# </details>
#
# 4. Why must hidden weights be random, while biases may be zero?
# <details><summary>Answer</summary>
# Random weights make the units differ. Then their gradients differ, and the biases become
# different too.
# </details>
#
# 5. The loss stays at log(number of classes) from the first step on. Name two causes this lesson
#    showed.
# <details><summary>Answer</summary>
# Weights so small that activations and gradients vanish, or dead units: no gradient passes the
# ReLUs.
# </details>
#
# ## Change one thing
#
# In `initialisations` replace the standard deviation 0.01 by 0.2, a little more than He's
# $\sqrt{2/64} = 0.18$, and let the loop print `losses[name][0]`, too. What is the loss before
# training, and what should it be? Compute $g$ for the layers of 64 inputs and for the first one,
# which has 784. (Take the first assert out. With 0.3 the loss ends as NaN.)
#
# ## Where this lives
#
# `minidl/nn/init.py` (all initialisations), `minidl/nn/linear.py`, `minidl/ops/activation.py`
# (ReLU). Glorot and Bengio 2010; He, Zhang, Ren and Sun 2015. A way to depend less on the start
# is [lesson 08](08_batch_norm.html), batch normalisation; another is
# [lesson 16](16_residual_learning.html).
