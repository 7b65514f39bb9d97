# %% [markdown]
# # 08. Batch normalisation
#
# After this lesson you can
#
# - write batch normalisation forward and backward, for rows and for images;
# - derive its gradient and explain the two means that are subtracted in it;
# - keep running statistics, and say why a network answers differently in training and in
#   evaluation;
# - predict how noisy it is with small batches;
# - fold it into the convolution before it.
#
# Needs: lessons 05, 07.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import nn
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"

# %% [markdown]
# ## The algorithm
#
# Lesson 07 chose weights so that activations *begin* at a reasonable size. Batch normalisation
# (Ioffe and Szegedy 2015) makes them so, at each step, whatever the weights. For each feature,
# over the $N$ rows $x_i$ of the batch:
#
# $$\mu = \frac{1}{N} \sum_i x_i \qquad v = \frac{1}{N} \sum_i (x_i - \mu)^2 \qquad
# \hat{x}_i = \frac{x_i - \mu}{\sqrt{v + \varepsilon}} \qquad y_i = \gamma \hat{x}_i + \beta$$
#
# The small $\varepsilon = 10^{-5}$ keeps the division safe where $v = 0$. Scale $\gamma$ and
# shift $\beta$, one number each for every feature, are trained, so that the layer can undo what
# it did if that is best.


# %%
def batch_norm(x, gamma, beta, eps=1e-5):
    mu = x.mean(0)
    v = ((x - mu) ** 2).mean(0)
    x_hat = (x - mu) / np.sqrt(v + eps)
    return gamma * x_hat + beta, x_hat, np.sqrt(v + eps)


rng = np.random.default_rng(0)
x = 5 + 3 * rng.standard_normal((8, 4))
gamma, beta = rng.uniform(0.5, 2, 4), rng.standard_normal(4)
y, x_hat, deviation = batch_norm(x, gamma, beta)
print("mean and standard deviation before:", x.mean(0).round(2), x.std(0).round(2))
print("after, without scale and shift:    ", x_hat.mean(0).round(9) + 0.0, x_hat.std(0).round(3))
assert np.allclose(x_hat.mean(0), 0)
assert np.allclose(x_hat.std(0), 1, atol=1e-4)

variables = [md.tensor(value, requires_grad=True) for value in (x, gamma, beta)]
theirs = F.batch_norm(variables[0], None, None, variables[1], variables[2], training=True)
assert np.allclose(y, theirs.detach().numpy())

# %% [markdown]
# ## Images
#
# For images $(N, C, H, W)$ a feature is a channel: a convolution treats all pixels alike, so all
# $N H W$ numbers of a channel share one mean and one variance. $\gamma$ and $\beta$ have $C$
# numbers. In code only the axes change, or the image is made into rows:

# %%
images = rng.standard_normal((2, 4, 3, 5))
as_rows = images.transpose(0, 2, 3, 1).reshape(-1, 4)  # (N H W, C)
by_rows = batch_norm(as_rows, gamma, beta)[0].reshape(2, 3, 5, 4).transpose(0, 3, 1, 2)
by_minidl = F.batch_norm(md.tensor(images), None, None, *variables[1:], training=True)
assert np.allclose(by_rows, by_minidl.detach().numpy())
print("each channel has its statistics over", len(as_rows), "numbers")

# %% [markdown]
# ## The gradient
#
# Let $g_i = \partial L / \partial y_i$. The easy ones first:
# $\partial L / \partial \beta = \sum_i g_i$ and
# $\partial L / \partial \gamma = \sum_i g_i \hat{x}_i$.
#
# For $x$, call $h_i = \gamma g_i$ the gradient to $\hat{x}_i$ and
# $\sigma = \sqrt{v + \varepsilon}$. Each $x_j$ acts in three ways: directly, through $\mu$, and
# through $\sigma$. A change of $x_j$ by $dx_j$ gives
#
# $$d\mu = \frac{dx_j}{N} \qquad d\sigma = \frac{1}{2\sigma} \cdot \frac{2 (x_j - \mu)}{N} dx_j
# = \frac{\hat{x}_j}{N} dx_j \qquad
# d\hat{x}_i = \frac{1}{\sigma} \left( [i = j] \, dx_j - d\mu - \hat{x}_i \, d\sigma \right)$$
#
# ($\mu$ acts on $v$ too, but $\sum_i (x_i - \mu) = 0$ makes that vanish.) Multiply $d\hat{x}_i$
# by $h_i$, add up over $i$:
#
# $$\frac{\partial L}{\partial x_j} = \frac{1}{\sigma} \left( h_j - \frac{1}{N} \sum_i h_i
# - \hat{x}_j \frac{1}{N} \sum_i h_i \hat{x}_i \right)$$
#
# In words: the gradient, minus its mean, minus $\hat{x}$ times its mean product with $\hat{x}$.


# %%
def batch_norm_backward(g, x_hat, deviation, gamma):
    h = gamma * g
    dx = (h - h.mean(0) - x_hat * (h * x_hat).mean(0)) / deviation
    return dx, (g * x_hat).sum(0), g.sum(0)


g = rng.standard_normal(y.shape)  # a random cotangent: see lesson 05
theirs.backward(md.tensor(g))
for ours, variable in zip(batch_norm_backward(g, x_hat, deviation, gamma), variables, strict=True):
    assert np.allclose(ours, variable.grad.numpy())
print("gradients to x, gamma and beta agree with minidl's")

# %% [markdown]
# What do the two subtractions mean? The output does not change when $x$ is shifted, or scaled
# (but for $\varepsilon$). So no gradient may point in these directions:
# $\sum_j \partial L / \partial x_j = 0$ and $\sum_j \hat{x}_j \, \partial L / \partial x_j = 0$.
# The means are what must be taken away for that.
#
# And the all-ones cotangent of lesson 05 sees nothing here: each column of $y$ has a fixed sum.

# %%
dx, _, _ = batch_norm_backward(g, x_hat, deviation, gamma)
print("sums of dx:", np.abs(dx.sum(0)).max().round(12), np.abs((dx * x_hat).sum(0)).max().round(3))
assert np.allclose(dx.sum(0), 0)
assert np.allclose((dx * x_hat).sum(0), 0, atol=1e-4)  # up to epsilon
assert np.allclose(batch_norm_backward(np.ones_like(g), x_hat, deviation, gamma)[0], 0)

# %% [markdown]
# On a page: a picture with two channels of four pixels, (1, 2, 4). In step 2 point at any $y$:
# the mean and the deviation of its channel are in the formula. In step 9, the backward, point at
# cells of $\partial x$ and see the two means go off $\partial y$. The second channel is the first
# one times 100: look at how much smaller its $\partial x$ is for the same $\partial y$.
# (`Reshape` before and after gives other inputs the form (N, C, pixels); here it changes
# nothing.)

# %%
channel = np.array([1.0, 2.0, 4.0, 5.0])
two = md.tensor(np.stack([channel, 100 * channel])[None], requires_grad=True)
weights = md.tensor([[[1.0, -1.0, 0.0, 2.0], [1.0, -1.0, 0.0, 2.0]]], dtype=md.float64)
with md.record() as tape:
    normalised = F.batch_norm(two, None, None, training=True)
    (normalised * weights).sum().backward()
first, second = two.grad.numpy()[0]
assert np.allclose(first, 100 * second, rtol=1e-4)
step_through(tape, "08_batch_norm_steps", "Batch normalisation of two channels")

# %% [markdown]
# ## What it changes for the layer before it
#
# A layer $x = W a + c$ followed by batch normalisation gives the same result for $10 W$: the
# scale is divided out. Its bias $c$ is subtracted with the mean, so it receives the gradient 0;
# that is why convolutions before it are made with `bias=False`. And the gradient to $10 W$ is a
# tenth of that to $W$: large weights take small steps.

# %%
a = md.tensor(rng.standard_normal((16, 6)))
W = rng.standard_normal((3, 6))
cotangent = md.tensor(rng.standard_normal((16, 3)))
found = []
for factor in (1.0, 10.0):
    weight, bias = md.tensor(factor * W, requires_grad=True), md.zeros(3, dtype=md.float64)
    bias.requires_grad = True
    out = F.batch_norm(F.linear(a, weight, bias), None, None, training=True)
    out.backward(cotangent)
    found.append((out.detach().numpy(), weight.grad.numpy(), bias.grad.numpy()))
assert np.allclose(found[0][0], found[1][0], atol=1e-4)
assert np.allclose(found[0][1], 10 * found[1][1], atol=1e-3)
assert np.abs(found[0][2]).max() < 1e-12

# %% [markdown]
# ## It makes the start matter less
#
# The experiment of lesson 07: ten layers of 64 units, two passes through the 4,000 digits,
# weights with the hopeless standard deviation 0.01. Without normalisation the loss stays at
# $\log 10$. With it, we expect the network to learn.

# %%
digits = md.data.digits(train=True)
pictures = (digits.images.reshape(-1, 784).astype(np.float32) / 255 - digits.mean) / digits.std
answers = np.asarray(digits.labels)


def deep_mlp(normalise):
    layers, n = [], 784
    for _ in range(9):
        layers += [nn.Linear(n, 64), nn.BatchNorm1d(64) if normalise else nn.Identity(), nn.ReLU()]
        n = 64
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, 0, 0.01)
    return model


def train(model, epochs=2, rate=0.1):
    optimizer = md.optim.SGD(model.parameters(), lr=rate)
    rng, losses = np.random.default_rng(0), []
    for _ in range(epochs):
        for chosen in rng.permutation(4000).reshape(-1, 50):
            loss = F.cross_entropy(model(md.tensor(pictures[chosen])), md.tensor(answers[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


losses = {}
for normalise in (False, True):
    md.manual_seed(0)
    losses[normalise] = train(deep_mlp(normalise))
    print(
        f"normalised: {normalise!s:<6} loss of the last 20: {np.mean(losses[normalise][-20:]):.2f}"
    )
assert np.mean(losses[False][-20:]) > 2.25
assert np.mean(losses[True][-20:]) < 1.4

# %% [markdown]
# ## Training and evaluation
#
# In training the statistics come from the batch, so a picture's result depends on its neighbours
# in the batch. When the network is used there may be one picture only, and its answer should not
# depend on others. So the layer keeps **running statistics** while it trains, with momentum 0.1:
#
# $$\text{running} \leftarrow 0.9 \cdot \text{running} + 0.1 \cdot \text{batch}$$
#
# and `model.eval()` makes it use them. They begin at mean 0 and variance 1. For the running
# variance the sum of squares is divided by $N - 1$, as it estimates the variance of *all*
# pictures; the batch itself is divided by $\sqrt{v}$ with $N$.

# %%
layer = nn.BatchNorm1d(1)
true_mean, true_std = 3.0, 2.0
mean, variance, path = 0.0, 1.0, []
for _ in range(60):
    batch = (true_mean + true_std * rng.standard_normal((32, 1))).astype(np.float32)
    layer(md.tensor(batch))
    mean = 0.9 * mean + 0.1 * batch.mean()
    variance = 0.9 * variance + 0.1 * batch.var(ddof=1)
    path.append((layer.running_mean.item(), layer.running_var.item()))
assert np.isclose(path[-1][0], mean, rtol=1e-4)
assert np.isclose(path[-1][1], variance, rtol=1e-4)
assert abs(path[-1][0] - true_mean) < 0.4
assert abs(path[4][0] - true_mean) > 1  # after 5 batches
assert round(0.9**5, 2) == 0.59
assert round(0.9**30, 2) == 0.04

# %% [markdown]
# After $k$ batches the start still counts with $0.9^k$: 59 % after 5 batches, 4 % after 30. A
# network that is evaluated too early answers with statistics of nothing. This is the most
# frequent surprise with batch normalisation: the training loss is fine, the evaluation is not.

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for k, (name, truth, colour) in enumerate((("mean", 3, BLUE), ("variance", 4, ORANGE))):
    axes[0].plot(range(1, 61), [p[k] for p in path], color=colour, label=f"running {name}")
    axes[0].axhline(truth, color=colour, linestyle=":", linewidth=1)
axes[0].set(xlabel="batches seen", title="Running statistics approach the truth (dotted)")
axes[0].legend(loc="lower right")

sizes = [2, 4, 8, 16, 32, 64, 128]
noise = []
for n in sizes:  # the same row x = 1 of a standard normal, among n - 1 others, 2000 times
    others = rng.standard_normal((n - 1, 2000))
    batch = np.concatenate([np.ones((1, 2000)), others])
    noise.append(batch_norm(batch, 1.0, 0.0)[0][0].std())
axes[1].loglog(sizes, noise, "o-", color=BLUE, label="measured")
axes[1].loglog(sizes, np.sqrt(1.5 / np.array(sizes)), "--", color=GREY, label=r"$\sqrt{1.5 / N}$")
axes[1].set(xlabel="batch size N", ylabel="standard deviation of one result")
axes[1].set_title("One row's result depends on its neighbours")
axes[1].set_xticks(sizes, sizes)
axes[1].legend()
for ax in axes:
    ax.grid(color="0.9")
plt.show()

# %% [markdown]
# ## Small batches
#
# The right picture: the same row goes through with different neighbours, and we look how much its
# result varies. A mean of $N$ numbers is off by $1/\sqrt{N}$, and the deviation adds its own
# error; in squares $\frac{1}{N}$ and $\frac{1}{2N}$ for a row at $x = 1$ among normal ones,
# together $\sqrt{1.5 / N}$. With 32 rows that is a mild noise (which the paper found to help
# against overfitting). With 2 rows each feature becomes $+1$ or $-1$: *all* that is left of it is
# which of the two is larger. With one row nothing is left, and minidl says so:

# %%
assert np.all(np.diff(noise) < 0)
assert abs(noise[-1] / np.sqrt(1.5 / 128) - 1) < 0.15
pair, _, _ = batch_norm(np.array([[0.3, 7.0], [0.5, -90.0]]), 1.0, 0.0)
print(pair.round(2))
assert np.allclose(np.abs(pair), 1, atol=1e-2)
try:
    nn.BatchNorm1d(3)(md.randn(1, 3))
    raise AssertionError("a batch of one row was accepted")
except ValueError as error:
    print(error)

# %% [markdown]
# (Detectors train with one or two large pictures per batch. They freeze the statistics, or use
# group normalisation, which needs no batch: Wu and He 2018.)
#
# In evaluation a row has one answer, whatever stands beside it:

# %%
layer = nn.BatchNorm1d(4)
rows = md.randn(8, 4)
alone, among = layer(rows[:4])[:2], layer(rows)[:2]
assert not np.allclose(alone.detach().numpy(), among.detach().numpy(), atol=1e-2)
layer.eval()
assert np.array_equal(layer(rows[:2]).detach().numpy(), layer(rows).detach().numpy()[:2])

# %% [markdown]
# ## Folding
#
# In evaluation $\mu$ and $\sigma$ are constants, so
# $y = \frac{\gamma}{\sigma} (W * a + c - \mu) + \beta$ is again a convolution ($*$), with
#
# $$W' = \frac{\gamma}{\sigma} W \qquad c' = \frac{\gamma}{\sigma} (c - \mu) + \beta$$
#
# where each output channel has its own $\gamma, \sigma, c, \mu, \beta$. The normalisation costs
# nothing any more.

# %%
md.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
for _ in range(20):
    model(2 * md.randn(16, 3, 10, 10) + 1)  # running statistics become something
model[1].weight.data[:] = rng.uniform(0.5, 2, 8)
model[1].bias.data[:] = rng.standard_normal(8)
model.eval()

conv, norm = model[0], model[1]
scale = (norm.weight / md.sqrt(norm.running_var + norm.eps)).detach().numpy()
folded = nn.Conv2d(3, 8, 3)
folded.weight.data[:] = conv.weight.detach().numpy() * scale[:, None, None, None]
shift = conv.bias.detach().numpy() - norm.running_mean.numpy()
folded.bias.data[:] = shift * scale + norm.bias.detach().numpy()

image = md.randn(1, 3, 10, 10)
expected = model(image).detach().numpy()
assert np.abs(F.relu(folded(image)).detach().numpy() - expected).max() < 1e-5
print("largest difference:", np.abs(F.relu(folded(image)).detach().numpy() - expected).max())

by_minidl = nn.utils.fold_batchnorm(model, image)
assert np.abs(by_minidl(image).detach().numpy() - expected).max() < 1e-5
print(by_minidl)

# %% [markdown]
# Only in evaluation, and never before the last training step: the folded convolution has no
# statistics to update.
#
# ## Recall
#
# 1. Over which axes are mean and variance taken for images (N, C, H, W), and how many numbers has
#    gamma?
# <details><summary>Answer</summary>
# Over N, H and W; gamma has C.
# </details>
#
# 2. Why is the sum of the gradient over the batch zero?
# <details><summary>Answer</summary>
# Adding a constant to a feature changes nothing in the output, so the derivative in that
# direction is 0.
# </details>
#
# 3. Training loss is good, evaluation after a few steps is bad. What do you look at first?
# <details><summary>Answer</summary>
# The running statistics: they may still be near their start, or differ from those of the batches.
# </details>
#
# 4. Why does a convolution before a BatchNorm have no bias?
# <details><summary>Answer</summary>
# The mean that is subtracted contains it: it has no effect and no gradient. The shift beta does
# its work.
# </details>
#
# 5. What does a feature carry after normalisation with two rows in a batch?
# <details><summary>Answer</summary>
# Only which of the two is larger: the results are +1 and -1 (times gamma, plus beta).
# </details>
#
# ## Change one thing
#
# In `deep_mlp` put the normalisation after the ReLU instead of before it. Does the network still
# learn from the same start? Then use weights of standard deviation 1 in place of 0.01: does the
# answer change?
#
# ## Where this lives
#
# `minidl/ops/norm.py` (BatchNorm and its gradient, which is a Function itself),
# `minidl/nn/normalization.py` (running statistics), `minidl/nn/fusion.py` (folding). Ioffe and
# Szegedy 2015; Wu and He 2018. Next: [lesson 09](09_convolution.html), convolution.
