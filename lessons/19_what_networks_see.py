# %% [markdown]
# # 19. What networks see
#
# After this lesson you can
#
# - look at filters, activations and the patches that excite a unit, and say what they tell;
# - make a picture that a unit likes best, and explain why it is no proof of understanding;
# - derive class activation maps and Grad-CAM, compute them by hand and test whether they are true;
# - judge layers by neighbours, linear probes and prediction depth.
#
# Needs: lessons [09](09_convolution.html), [13](13_lenet.html), [15](15_inception.html).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import explain, nn, optim
from minidl.nn import functional as F
from minidl.teach import step_through
from minidl.training import linear_probe, nearest_neighbours

rng = np.random.default_rng(0)

# %% [markdown]
# ## A network to look at
#
# Three convolutions on digits. It ends with the mean of each map and **one** linear layer, as
# GoogLeNet and ResNet do; class activation maps need that form.

# %%
train, test = md.data.digits(train=True), md.data.digits(train=False)
x_train, x_test = (
    ((d.images / 255.0 - train.mean) / train.std).astype(np.float32) for d in (train, test)
)
y_train, y_test = train.labels, test.labels


def block(c, out, size):
    conv = nn.Conv2d(c, out, size, padding=size // 2, bias=False)
    return nn.Sequential({"conv": conv, "bn": nn.BatchNorm2d(out), "relu": nn.ReLU()})


md.manual_seed(0)
net = nn.Sequential(
    {
        "layer1": block(1, 8, 5),  # (8, 28, 28)
        "pool1": nn.MaxPool2d(2),
        "layer2": block(8, 16, 3),  # (16, 14, 14)
        "pool2": nn.MaxPool2d(2),
        "layer3": block(16, 32, 3),  # (32, 7, 7)
        "mean": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(32, 10),
    }
)

# %%
epochs, batch_size = 4, 25
optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * 4000 // batch_size)
for _ in range(epochs):
    for rows in rng.permutation(4000).reshape(-1, batch_size):
        loss = F.cross_entropy(net(md.tensor(x_train[rows])), md.tensor(y_train[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
net.eval()
scores = explain.activations(net, x_test, [""])[""]  # "": the network's own output
answers = scores.argmax(1)
print(f"test accuracy {(answers == y_test).mean():.1%}")
assert (answers == y_test).mean() > 0.92

# %% [markdown]
# ## Filters and activations
#
# The first layer's filters can be drawn: they live in pixels. Grey is 0. Under each of them is what
# it makes of one digit. Those of later layers live in maps, and are hard to read; what can be drawn
# of them is their activations, and the patches that excite them.

# %%
kernels = explain.filters(net, "layer1.conv")
maps = explain.activations(net, x_test[:1], ["layer1", "layer2", "layer3"])
assert kernels.shape == (8, 1, 5, 5)
assert [maps[name].shape for name in maps] == [(1, 8, 28, 28), (1, 16, 14, 14), (1, 32, 7, 7)]

fig, axes = plt.subplots(4, 8, figsize=(8, 4.4), layout="constrained")
for k in range(8):
    axes[0, k].imshow(kernels[k, 0], cmap="gray", vmin=0, vmax=1)
    for row, values in zip(axes[1:], maps.values(), strict=True):
        row[k].imshow(values[0, k], cmap="viridis")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
for ax, text in zip(axes[:, 0], ("filters 1", "layer 1", "layer 2", "layer 3"), strict=True):
    ax.set_ylabel(text, fontsize=9)
fig.suptitle(f"Eight filters, and what eight maps of each layer make of a {y_test[0]}", fontsize=11)
plt.show()

# %% [markdown]
# ### What excites a unit
#
# Go through the test digits and keep, for a unit of layer 2, the patches with the largest answers.
# A patch is what the unit can see, its receptive field: $5 + 1$ pixels of the first window and its
# pooling, and $2 \cdot 2$ more, that is 10x10.

# %%
loader = md.data.DataLoader(md.data.TensorDataset(md.tensor(x_test)), batch_size=250)
fig, axes = plt.subplots(3, 9, figsize=(8, 2.9), layout="constrained")
second = explain.activations(net, x_test, ["layer2"])["layer2"]
for row, unit in zip(axes, (0, 5, 9), strict=True):
    top = explain.top_patches(net, loader, "layer2", unit)
    assert top.patches.shape == (9, 1, 10, 10)
    assert np.isclose(top.values[0], second[:, unit].max())
    for ax, patch in zip(row, top.patches, strict=True):
        ax.imshow(patch[0], cmap="gray_r")
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"unit {unit}", fontsize=9)
fig.suptitle(
    "The nine patches of 1,000 digits that excite three units of layer 2 most", fontsize=11
)
plt.show()

# %% [markdown]
# ## The picture a class likes best
#
# Start from faint noise and climb: change the **picture** along the gradient of what a unit
# answers. `activation_maximization` does that, with a little blur and decay, without which it finds
# noise that only the network can read.
#
# The unit here is the logarithm of a class's probability. The class's score alone would rise as
# well with pictures in which other classes have even higher scores. Do the pictures look like
# digits? And what does the network say?

# %%
log_probability = nn.Sequential(net, nn.LogSoftmax(1))
liked = explain.activation_maximization(
    log_probability,
    "",
    range(10),
    (1, 28, 28),
    steps=80,
    blur_every=8,
    generator=np.random.default_rng(0),
)
sure = np.exp(explain.activations(log_probability, liked, [""])[""])
fig, axes = plt.subplots(1, 10, figsize=(9, 1.4), layout="constrained")
for digit, (ax, picture) in enumerate(zip(axes, explain.as_pictures(liked), strict=True)):
    ax.imshow(picture[0], cmap="gray_r", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{digit}: {sure[digit, digit]:.0%}", fontsize=9)
fig.suptitle(
    "What maximises the probability of each class, and how sure the network is", fontsize=10
)
plt.show()
assert (sure.argmax(1) == np.arange(10)).sum() >= 8
assert sure.diagonal().mean() > 0.8

# %% [markdown]
# Nobody would take these textures for digits; the network does. It averages each map over all
# places, so pieces of strokes count wherever they lie, and many of them count more than a digit
# has. And it was never shown anything that is no digit: its probabilities say which digit a picture
# is if it is one, not whether it is one.
#
# ## Class activation maps
#
# Let $A_k$ be the 7x7 maps of the last layer, and $w_{ck}$ the linear layer's weight from map $k$
# to class $c$. The score is a sum over maps of means over pixels. Change the order of the sums:
#
# $$s_c = b_c + \sum_k w_{ck} \frac{1}{49} \sum_{ij} A_{kij} = b_c + \frac{1}{49} \sum_{ij}
# \Big( \sum_k w_{ck} A_{kij} \Big)$$
#
# What stands in the brackets is a map for class $c$, whose mean is the score: the **class
# activation map** (Zhou et al. 2016). It says what each place contributes.

# %%
some = x_test[:200]
A = explain.activations(net, some, ["layer3"])["layer3"]  # (N, 32, 7, 7)
w, b = net.fc.weight.data, net.fc.bias.data
by_hand = np.einsum("nk,nkij->nij", w[answers[:200]], A)
assert np.allclose(by_hand.mean((1, 2)) + b[answers[:200]], scores[:200].max(1), atol=1e-3)
assert np.allclose(by_hand, explain.cam(net, md.tensor(some), "layer3", "fc").data, atol=1e-3)

# %% [markdown]
# ### Grad-CAM
#
# Where the network does not end like that, there are no $w_{ck}$. Grad-CAM (Selvaraju et al. 2017)
# takes the mean gradient of the score with respect to map $k$ instead, and cuts off what is
# negative. For our network the gradient of $s_c$ to each pixel of $A_k$ is $w_{ck} / 49$: the same
# map up to the factor 49. So it must agree, which you can check; and it goes on to work for layers
# where CAM does not exist.

# %%
signed = explain.grad_cam(net, md.tensor(some), "layer3", relu=False)
assert np.allclose(49 * signed.data, by_hand, atol=1e-3)
assert np.allclose(
    explain.grad_cam(net, md.tensor(some), "layer3").data, np.maximum(signed.data, 0)
)

read_right = answers == y_test
shown = [int(np.flatnonzero(read_right & (y_test == digit))[0]) for digit in (2, 4, 7, 9)]
pictures = md.tensor(x_test[shown])
fig, axes = plt.subplots(3, 4, figsize=(6.5, 5), layout="constrained")
for row, layer in zip(axes, (None, "layer3", "layer2"), strict=True):
    for ax, i in zip(row, shown, strict=True):
        ax.imshow(test.images[i, 0], cmap="gray")
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel("digit" if layer is None else f"Grad-CAM, {layer}", fontsize=9)
    if layer is not None:
        evidence = explain.grad_cam(net, pictures, layer, size=(28, 28)).data
        for ax, one in zip(row, evidence, strict=True):
            ax.imshow(one, cmap="plasma", alpha=0.85 * one / one.max())
for ax, i in zip(axes[0], shown, strict=True):
    ax.set_title(f"score of {answers[i]}", fontsize=9)
fig.suptitle("Where the evidence for the answer lies (yellow: most)", fontsize=11)
plt.show()

# %% [markdown]
# ### Is the map true?
#
# A picture that looks convincing proves nothing. Test it: cover a square of 7x7 pixels where the
# map is largest, and one where it is smallest **on ink**, and see how far the score of the class
# falls. (On empty paper there is nothing to cover.)

# %%
heat = explain.cam(net, md.tensor(some), "layer3", "fc", size=(28, 28)).data


def fall(centres):
    """How much the scores fall when 7x7 pixels around (N, 2) centres become paper."""
    covered = some.copy()
    for picture, (i, j) in zip(covered, centres, strict=True):
        picture[0, max(i - 3, 0) : i + 4, max(j - 3, 0) : j + 4] = x_test.min()
    after = explain.activations(net, covered, [""])[""]
    rows = np.arange(len(some))
    return scores[rows, answers[rows]] - after[rows, answers[rows]]


ink = some[:, 0] > 0
highest = np.where(ink, heat, -np.inf).reshape(200, -1).argmax(1)
lowest = np.where(ink, heat, np.inf).reshape(200, -1).argmin(1)
falls = {
    name: fall(np.stack(np.unravel_index(place, (28, 28)), 1))
    for name, place in (("largest", highest), ("smallest", lowest))
}
print({f"map {name}": f"score falls by {values.mean():.2f}" for name, values in falls.items()})
assert falls["largest"].mean() > falls["smallest"].mean() + 0.5

# %% [markdown]
# ## Steps: where Grad-CAM's weights come from
#
# Two maps of 3x3, their means, a linear layer to two classes, and the score of class 1. Follow it
# backwards: at `Mean`, each cell of map $k$ receives $w_{1k} / 9$, everywhere the same. These
# numbers are the weights of the maps.

# %%
toy_maps = md.tensor(rng.integers(0, 5, (1, 2, 3, 3)).astype(np.float32), requires_grad=True)
toy_w = md.tensor(np.float32([[1, -2], [3, -1]]))
with md.record() as tape:
    toy_scores = F.linear(toy_maps.mean((2, 3)), toy_w)
    (toy_scores * md.tensor([[0.0, 1.0]])).sum().backward()
assert np.allclose(toy_maps.grad.data[0, 0], 3 / 9)
assert np.allclose(toy_maps.grad.data[0, 1], -1 / 9)
step_through(tape, "19_what_networks_see_steps", "A score, and its gradient to the maps")

# %% [markdown]
# ## Neighbours
#
# Two digits are neighbours when their numbers are close: their pixels, or their features, the 32
# means before the linear layer. A shifted 7 is far from itself in pixels. In these features it is
# not, as a mean over a map does not ask where something was seen. Ask 1,000 test digits, as they
# are and shifted by three pixels, for their five nearest training digits.

# %%
known, asked = (explain.activations(net, x, ["flatten"])["flatten"] for x in (x_train, x_test))
flat_train, flat_test = x_train.reshape(len(x_train), -1), x_test.reshape(len(x_test), -1)

moved = np.roll(x_test, 3, axis=3)
asked_moved = explain.activations(net, moved, ["flatten"])["flatten"]
right, found = {}, {}
for name, spaces in (
    ("pixels", (flat_train, flat_test, moved.reshape(len(moved), -1))),
    ("features", (known, asked, asked_moved)),
):
    for what, queries in (("as they are", spaces[1]), ("shifted", spaces[2])):
        found[name, what] = nearest_neighbours(spaces[0], y_train, queries, k=5)
        right[name, what] = float((found[name, what] == y_test).mean())
        print(f"five neighbours in {name:8}, digits {what:11}: {right[name, what]:.1%}")
assert right["features", "as they are"] > right["pixels", "as they are"] - 0.02
assert right["features", "shifted"] > right["pixels", "shifted"] + 0.2

# %%
fig, axes = plt.subplots(2, 7, figsize=(7.5, 2.7), layout="constrained")
misread = (found["pixels", "shifted"] != 7) & (found["features", "shifted"] == 7)
query = int(np.flatnonzero(misread & (y_test == 7))[0])
for row, (name, space, point) in zip(
    axes,
    (
        ("pixels", flat_train, moved[query].ravel()),
        ("features", known, asked_moved[query]),
    ),
    strict=True,
):
    order = np.linalg.norm(space - point, axis=1).argsort()[:6]
    row[0].imshow(moved[query, 0], cmap="gray_r")
    row[0].set_title("asked", fontsize=9)
    row[0].set_ylabel(name, fontsize=9)
    for ax, i in zip(row[1:], order, strict=True):
        ax.imshow(train.images[i, 0], cmap="gray_r")
        ax.set_title(f"{y_train[i]}", fontsize=9)
    for ax in row:
        ax.set(xticks=[], yticks=[])
fig.suptitle(
    "A shifted 7, and the training digits nearest to it in pixels and in features", fontsize=11
)
plt.show()

# %% [markdown]
# ## Linear probes
#
# What does a layer know? Train a linear classifier on its maps' means and see how well it does
# (Alain and Bengio 2016). The network is not changed. Expect the classes to become separable by
# planes from layer to layer.

# %%
layers = ["layer1", "layer2", "layer3"]
of_train = explain.activations(net, x_train[:2000], layers)
of_test = explain.activations(net, x_test, layers)
probes = {}
for layer in layers:
    known_means, asked_means = of_train[layer].mean((2, 3)), of_test[layer].mean((2, 3))
    classifier = linear_probe(known_means, y_train[:2000], 10, steps=300)
    guesses = classifier(md.tensor(asked_means)).data.argmax(1)
    probes[layer] = float((guesses == y_test).mean())
    print(f"{layer}: {known_means.shape[1]:2} means, a linear probe reads {probes[layer]:.1%}")
assert probes["layer1"] + 0.1 < probes["layer2"] < probes["layer3"]

# %% [markdown]
# ## Prediction depth
#
# Some digits are clear at once, others only at the end. Ask in every layer the nearest training
# digits for their class. The **prediction depth** of a digit is the first layer from which on all
# answers agree with the network's final one (Baldock et al. 2021): 0 if the pixels already did, 4
# if not even the last layer did. The expectation: what takes long is hard, and more often wrong.

# %%


def coarse(maps):
    """Maps averaged to 7x7 at most, as rows."""
    n, c, h, w = maps.shape
    return maps.reshape(n, c, 7, h // 7, 7, w // 7).mean((3, 5)).reshape(n, -1)


neighbours = [nearest_neighbours(flat_train[:2000], y_train[:2000], flat_test, k=15)]
for layer in layers:
    rows = coarse(of_train[layer]), coarse(of_test[layer])
    neighbours.append(nearest_neighbours(rows[0], y_train[:2000], rows[1], k=15))
depth = explain.prediction_depth(neighbours, answers)
correct = answers == y_test
for d in range(5):
    if (depth == d).any():
        print(
            f"depth {d}: {(depth == d).sum():3} digits, {correct[depth == d].mean():.1%} read right"
        )
early, late = correct[depth == 0].mean(), correct[depth >= 2].mean()
assert (depth == 0).mean() > 0.6
assert early > late + 0.05

# %%
fig, axes = plt.subplots(2, 8, figsize=(8, 2.6), layout="constrained")
for row, rows, text in (
    (axes[0], np.flatnonzero(depth == 0), "depth 0"),
    (axes[1], np.argsort(-depth, kind="stable"), "deepest"),
):
    for ax, i in zip(row, rows, strict=False):
        ax.imshow(test.images[i, 0], cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{y_test[i]}, read {answers[i]}", fontsize=8)
    row[0].set_ylabel(text, fontsize=9)
fig.suptitle("Digits that are clear in their pixels, and digits that take all layers", fontsize=11)
plt.show()

# %% [markdown]
# ## Recall
#
# **1.** Why can filters of the first layer be drawn, and not those of the third?
#
# <details><summary>Answer</summary>
# The first layer's weights belong to pixels. The third layer's belong to maps of the second, which
# mean nothing by themselves.
# </details>
#
# **2.** What must a network end with for CAM, and why?
#
# <details><summary>Answer</summary>
# The mean of each map and one linear layer. Then the score is linear in the maps, and the two sums
# can be exchanged.
# </details>
#
# **3.** What does Grad-CAM use in place of the linear layer's weights?
#
# <details><summary>Answer</summary>
# The mean over the map of the score's gradient to it.
# </details>
#
# **4.** How do you test whether a map of evidence is true?
#
# <details><summary>Answer</summary>
# Change the picture where it points and elsewhere, and compare what happens to the score.
# </details>
#
# **5.** A linear probe on layer 2 reads 70 %. What does that not say?
#
# <details><summary>Answer</summary>
# That the network uses this information, or that the layer has no more: a probe measures what a
# linear classifier finds in the features it is given, here means of maps.
# </details>
#
# ## Change one thing
#
# Give the network random weights (leave out the training). Which of the pictures and tables above
# change a lot, and which hardly? What hardly changes was never about what the network learned
# (Adebayo et al. 2018).
#
# ## Where this lives
#
# `minidl/explain` has all of these and saliency, SmoothGrad, integrated gradients, occlusion and
# guided backpropagation; `minidl/training/transfer.py` probes and neighbours;
# `plot.attribution_grid` draws them. Papers: Erhan et al. 2009, Zeiler and Fergus 2014, Zhou et al.
# 2016, Selvaraju et al. 2017, Alain and Bengio 2016, Baldock et al. 2021. Next: [lesson
# 20](20_transfer_learning.html).
