# %% [markdown]
# # 06. A linear classifier, with softmax and with hinge loss
#
# After this lesson you can
#
# - write scores, softmax, cross-entropy and hinge loss for a batch, and derive their gradients;
# - say what a loss must be before training, and use that as a first test;
# - train the classifier on real digits with stochastic gradient descent, without any autograd;
# - read its weights as templates, and say what such a classifier cannot do.
#
# Needs: lessons 02, 05.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import nn
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"

# %% [markdown]
# ## Data
#
# minidl comes with 5,000 real handwritten digits of MNIST: 4,000 to train on, 1,000 to test. A
# picture of 28 x 28 pixels becomes a row of 784 numbers in $[0, 1]$. From each pixel we subtract
# its mean over the training pictures, so that a classifier need not spend effort on what all
# digits share.

# %%
train, test = md.data.digits(train=True), md.data.digits(train=False)
X = train.images.reshape(-1, 784).astype(np.float32) / 255
X_test = test.images.reshape(-1, 784).astype(np.float32) / 255
labels, labels_test = np.asarray(train.labels), np.asarray(test.labels)
mean = X.mean(0)
X, X_test = X - mean, X_test - mean
print(X.shape, X_test.shape, "pictures of each class:", np.bincount(labels))
assert X.shape == (4000, 784)
assert X_test.shape == (1000, 784)

# %% [markdown]
# ## Scores are inner products with templates
#
# A linear classifier has a weight $W$ with one row for each of the $C = 10$ classes, and a bias
# $b$. Its scores are $s_{nc} = \sum_k x_{nk} W_{ck} + b_c$, in matrices $S = X W^T + b$. Row
# $W_c$ is a **template** as large as a picture: the score is high where the picture is bright and
# the template is positive. The class with the highest score is the answer.


# %%
def scores_of(X, W, b):
    return X @ W.T + b


def accuracy(X, labels, W, b):
    return float(np.mean(scores_of(X, W, b).argmax(1) == labels))


rng = np.random.default_rng(0)
W, b = rng.normal(0, 0.01, (10, 784)).astype(np.float32), np.zeros(10, np.float32)
chance = accuracy(X_test, labels_test, W, b)
print(f"untrained: {chance:.1%} right")
assert chance < 0.3

# %% [markdown]
# ## Softmax and cross-entropy
#
# Softmax turns scores into probabilities, $p_{nc} = e^{s_{nc}} / \sum_j e^{s_{nj}}$. The loss of
# a picture with the true class $t_n$ is $-\log p_{n t_n}$, and the loss $L$ is the mean over the
# $N$ pictures of the batch.
#
# $e^{1000}$ is too large for a computer. But adding a number to all scores of a row changes no
# probability, so we subtract the row's largest score first. Then the largest exponent is 0.


# %%
def softmax(s):
    e = np.exp(s - s.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(s, t):
    """The loss and its gradient to the scores."""
    rows = np.arange(len(s))
    p = softmax(s)
    loss = -np.log(p[rows, t]).mean()
    ds = p.copy()
    ds[rows, t] -= 1
    return loss, ds / len(s)


print(softmax(np.array([[1000.0, 1001.0, 998.0]])))
assert np.allclose(
    softmax(np.array([[1000.0, 1001.0, 998.0]])), softmax(np.array([[2.0, 3.0, 0.0]]))
)

# %% [markdown]
# Where does the gradient in the last lines come from? Write the loss of one picture as
# $-s_t + \log \sum_j e^{s_j}$. The first term has the derivative $-1$ with respect to $s_t$, the
# second $e^{s_c} / \sum_j e^{s_j} = p_c$ with respect to each $s_c$. Together:
#
# $$\frac{\partial L}{\partial s_{nc}} = \frac{1}{N} \left( p_{nc} - [c = t_n] \right)$$
#
# where $[c = t_n]$ is 1 for the true class, else 0. Each row sums to zero: what the true class is
# pushed up, the others are pushed down, each in proportion to its probability.
#
# ## Hinge loss
#
# The hinge loss (of the multi-class support vector machine) does not ask for probabilities, only
# that the true score lead every other one by a margin of 1:
#
# $$L = \frac{1}{N} \sum_n \sum_{c \ne t_n} \max(0,\; 1 - s_{n t_n} + s_{nc})$$
#
# Each term that is not 0 has the slope $+1$ to its own $s_{nc}$ and $-1$ to $s_{n t_n}$.


# %%
def hinge(s, t):
    """The loss and its gradient to the scores."""
    rows = np.arange(len(s))
    margins = 1 - s[rows, t][:, None] + s
    margins[rows, t] = 0
    loss = np.maximum(margins, 0).sum() / len(s)
    ds = (margins > 0).astype(s.dtype)
    ds[rows, t] = -ds.sum(1)
    return loss, ds / len(s)


# %% [markdown]
# ## Two tests before any training
#
# With all scores equal, each class has probability 1/10: cross-entropy must be
# $\log 10 \approx 2.303$, and the hinge loss 9, one for each wrong class. If your loss begins
# elsewhere, look for a mistake first.
#
# And the gradients must agree with minidl's, which come from its tape. (`F.multi_margin_loss`
# divides the sum over classes by $C$; we multiply it by 10.)

# %%
assert np.isclose(cross_entropy(np.zeros((5, 10)), np.arange(5))[0], np.log(10))
assert hinge(np.zeros((5, 10)), np.arange(5))[0] == 9

s = rng.standard_normal((6, 10))
t = rng.integers(0, 10, 6)
for ours, theirs in (
    (cross_entropy, F.cross_entropy),
    (hinge, lambda s, t: 10 * F.multi_margin_loss(s, t)),
):
    scores = md.tensor(s, requires_grad=True)
    loss = theirs(scores, md.tensor(t))
    loss.backward()
    value, ds = ours(s, t)
    assert np.isclose(value, loss.item())
    assert np.allclose(ds, scores.grad.numpy())
    assert np.allclose(ds.sum(1), 0)
print("both losses and gradients agree with minidl's")

# %% [markdown]
# From the scores on, the chain rule is two lines. With $D = \partial L / \partial S$, of shape
# $(N, C)$:
#
# $$\frac{\partial L}{\partial W} = D^T X \qquad \frac{\partial L}{\partial b} = \sum_n D_n$$
#
# Read it from the shapes: $W$ is $(C, 784)$, and so is $D^T X$. Each template receives the
# pictures of the batch, each times how much its score should change: pictures of its own class
# are *added* (after the minus of the descent), pictures mistaken for it are subtracted.
#
# A small case on a page, with three pictures of 2 x 2 pixels and three classes. Look at the
# backward of `CrossEntropy`, step 3: the row of $\partial x$ is $p$ with 1 subtracted at the
# target, divided by 3. In step 4, `Linear` backward, point at a cell of $\partial$weight: it is a
# sum of three products.

# %%
pixels = md.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
templates = md.tensor(
    [[1.0, -1.0, 0.0, 1.0], [0.0, 1.0, 1.0, -1.0], [0.5, 0.0, -1.0, 0.5]], requires_grad=True
)
biases = md.zeros(3, requires_grad=True)
targets = md.tensor([0, 1, 2])
with md.record() as tape:
    loss = F.cross_entropy(F.linear(pixels, templates, biases), targets)
    loss.backward()
D = cross_entropy(scores_of(pixels.numpy(), templates.detach().numpy(), np.zeros(3)), [0, 1, 2])[1]
assert np.allclose(templates.grad.numpy(), D.T @ pixels.numpy(), atol=1e-6)
assert np.allclose(biases.grad.numpy(), D.sum(0), atol=1e-6)
step_through(tape, "06_linear_classifier_steps", "A linear classifier: loss and gradients")

# %% [markdown]
# ## Training
#
# Stochastic gradient descent: shuffle, take 50 pictures, take a step against the gradient, go on.
# What is small here is the data (4,000 of MNIST's 60,000 pictures) and the model (7,850 numbers).


# %%
def fit(loss_and_gradient, rate, epochs=12, batch=50):
    rng = np.random.default_rng(1)
    W, b = np.zeros((10, 784), np.float32), np.zeros(10, np.float32)
    history = []
    for _ in range(epochs):
        order, losses = rng.permutation(len(X)), []
        for start in range(0, len(X), batch):
            chosen = order[start : start + batch]
            x = X[chosen]
            loss, ds = loss_and_gradient(scores_of(x, W, b), labels[chosen])
            W -= rate * ds.T @ x
            b -= rate * ds.sum(0)
            losses.append(loss)
        rates = accuracy(X, labels, W, b), accuracy(X_test, labels_test, W, b)
        history.append((np.mean(losses), *rates))
    return W, b, np.array(history)


trained = {"softmax": fit(cross_entropy, 0.1), "hinge": fit(hinge, 0.01)}
for name, (W, _, history) in trained.items():
    print(f"{name:<8} loss {history[0, 0]:.2f} -> {history[-1, 0]:.2f}, right in training ", end="")
    print(f"{history[-1, 1]:.1%}, on new digits {history[-1, 2]:.1%}")
    assert W.dtype == np.float32
    assert history[-1, 0] < history[0, 0] / 2
    assert 0.85 < history[-1, 2] < history[-1, 1]

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for (name, (_, _, history)), colour in zip(trained.items(), (BLUE, ORANGE), strict=True):
    epochs = np.arange(1, len(history) + 1)
    axes[0].plot(epochs, history[:, 0], "o-", color=colour, markersize=3, label=name)
    axes[1].plot(epochs, 100 * history[:, 1], "--", color=colour, label=f"{name}, training")
    axes[1].plot(
        epochs, 100 * history[:, 2], "o-", color=colour, markersize=3, label=f"{name}, new"
    )
axes[0].set(xlabel="epoch", ylabel="mean loss", title="Both losses fall (each on its own scale)")
axes[1].set(xlabel="epoch", ylabel="right, %", title="New digits: about 90 %, and it stays there")
axes[0].set_ylim(bottom=0)
for ax in axes:
    ax.grid(color="0.9")
    ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## What each loss still wants
#
# Once a picture's margins are all met, the hinge loss is content: its gradient is exactly 0 and
# the picture no longer moves anything. Cross-entropy never stops: $p_t < 1$, so there is always a
# little to gain. We expect many pictures with gradient 0 for hinge, and none for softmax.

# %%
for name, function in (("softmax", cross_entropy), ("hinge", hinge)):
    W, b, _ = trained[name]
    _, ds = function(scores_of(X, W, b).astype(np.float64), labels)
    idle = float(np.mean(np.all(ds == 0, 1)))
    print(f"{name:<8} pictures without any gradient: {idle:.0%}")
    assert idle == 0 if name == "softmax" else idle > 0.5

# %% [markdown]
# ## Templates
#
# A row of $W$ has as many numbers as a picture, so we can look at it. Blue is positive (ink here
# speaks for the class), red negative (ink here speaks against it). In the 0 you see the ring, and
# red where its hole must be empty.

# %%
fig, axes = plt.subplots(2, 10, figsize=(10, 2.5), layout="constrained")
for i, (name, (W, *_)) in enumerate(trained.items()):
    limit = np.abs(W).max() * 0.8
    for digit, ax in enumerate(axes[i]):
        ax.imshow(W[digit].reshape(28, 28), cmap="RdBu", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        if i == 0:
            ax.set_title(digit)
    axes[i, 0].set_ylabel(name)
fig.suptitle("What each class looks for: blue for, red against")
plt.show()

ring, hole = trained["softmax"][0][0].reshape(28, 28), slice(12, 16)
assert ring[hole, hole].mean() < 0 < ring[8:20, 5:9].mean()

# %% [markdown]
# ## The same in minidl
#
# `nn.Linear(784, 10)` holds $W$ and $b$, the tape does the chain rule, `optim.SGD` the step. From
# the same start, with the same batches, the result must be the same up to rounding.

# %%
model = nn.Linear(784, 10)
nn.init.zeros_(model.weight)
nn.init.zeros_(model.bias)
optimizer = md.optim.SGD(model.parameters(), lr=0.1)
rng = np.random.default_rng(1)
for _ in range(12):
    order = rng.permutation(len(X))
    for start in range(0, len(X), 50):
        chosen = order[start : start + 50]
        loss = F.cross_entropy(model(md.tensor(X[chosen])), md.tensor(labels[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
difference = np.abs(model.weight.detach().numpy() - trained["softmax"][0]).max()
print(f"largest difference of two weights: {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# ## What it cannot do
#
# One template for each class, at one place. Move every test picture three pixels to the right:
# for you nothing has changed (`np.roll` moves empty margin in from the other side). For the
# classifier each picture has become other numbers, and it was told nothing about which pixels are
# neighbours.

# %%
W, b, _ = trained["softmax"]
for pixels in (0, 1, 2, 3, 4):
    moved = np.roll(test.images.astype(np.float32)[:, 0] / 255, pixels, axis=2).reshape(-1, 784)
    right = accuracy(moved - mean, labels_test, W, b)
    print(f"{pixels} pixels to the right: {right:.1%} right")
    assert right > 0.85 if pixels == 0 else pixels < 3 or right < 0.6

# %% [markdown]
# The remedy has two parts: more than one template for each class (hidden units,
# [lesson 07](07_mlp_and_initialisation.html)) and small templates that are moved over the picture
# (convolution, [lesson 09](09_convolution.html)).
#
# ## Recall
#
# 1. What is the gradient of the cross-entropy to the scores?
# <details><summary>Answer</summary>
# (p - one-hot target) / N: the probabilities, with 1 subtracted at the true class.
# </details>
#
# 2. Why may you subtract the largest score before the exponentials?
# <details><summary>Answer</summary>
# Numerator and denominator of softmax are then divided by the same number; the probabilities
# stay.
# </details>
#
# 3. There are 100 classes and the untrained network's loss is 7. What do you conclude?
# <details><summary>Answer</summary>
# It should be log 100 = 4.6. The scores are not near each other at the start (weights too large,
# or pictures not scaled), or the loss is wrong.
# </details>
#
# 4. Which shape has dL/dW for X (N, K) and C classes, and which product gives it?
# <details><summary>Answer</summary>
# (C, K), as W; it is D transposed times X, with D (N, C) the gradient to the scores.
# </details>
#
# 5. After training, for which pictures is the gradient of the hinge loss zero?
# <details><summary>Answer</summary>
# For those whose true score leads all others by at least the margin.
# </details>
#
# ## Change one thing
#
# In `fit`, let the templates shrink at each step: after the line `W -= rate * ds.T @ x` add
# `W *= 0.999` (weight decay). Compare the templates and both accuracies. Do the templates become
# smoother, and what happens to the gap between training and new digits?
#
# ## Where this lives
#
# `minidl/ops/losses.py` (cross_entropy, multi_margin_loss), `minidl/ops/matmul.py` (linear),
# `minidl/nn/linear.py`. The multi-class hinge loss is from Weston and Watkins 1999. Next:
# [lesson 07](07_mlp_and_initialisation.html), hidden layers.
