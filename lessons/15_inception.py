# %% [markdown]
# # 15. Inception: 1x1 convolutions and what things cost
#
# After this lesson you can
#
# - say what a 1x1 convolution does, and compute it as a matrix product;
# - calculate when a 1x1 "reduce" in front of a large window pays, and what it gives up;
# - build an Inception block from branches that are concatenated, and derive its gradient;
# - explain what auxiliary classifiers do to the gradient of a deep network, and measure it.
#
# Needs: lessons [09](09_convolution.html), [10](10_stride_padding_dilation_groups.html),
# [14](14_alexnet_to_vgg.html).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import models, nn, optim
from minidl.models.classification.googlenet import TABLE_1, NaiveInception, inception
from minidl.nn import functional as F
from minidl.teach import step_through
from minidl.training import AuxiliaryLoss

rng = np.random.default_rng(0)

# %% [markdown]
# ## A window of one pixel
#
# A 1x1 convolution looks at one pixel, but at all its channels. With $C$ channels in and $C'$ out
# its weight is a $C' \times C$ matrix $W$, and each pixel's vector $v$ becomes $W v$: a linear
# layer, the same one at every pixel. It cannot see shapes. It mixes channels, and it changes their
# number.

# %%
x = rng.standard_normal((2, 5, 4, 4)).astype(np.float32)  # (N, C, H, W)
matrix = rng.standard_normal((3, 5)).astype(np.float32)  # (C', C)
by_hand = np.einsum("oc,nchw->nohw", matrix, x)
by_minidl = F.conv2d(md.tensor(x), md.tensor(matrix[:, :, None, None]))
assert by_minidl.shape == (2, 3, 4, 4)
assert np.allclose(by_hand, by_minidl.data, atol=1e-5)

# %% [markdown]
# ## What it is for: reduce first
#
# A convolution costs $k^2 C C'$ multiply-adds a pixel. GoogLeNet's block 3a wants 32 maps of 5x5
# windows from 192 maps of 28x28. Directly that is expensive. Instead it first reduces 192 maps to
# 16 by a 1x1 convolution, and gives those to the large window:
#
# $$25 \cdot 192 \cdot 32 \quad\text{against}\quad 192 \cdot 16 + 25 \cdot 16 \cdot 32$$

# %%
pixels = 28 * 28
direct = pixels * 25 * 192 * 32
reduced = pixels * (192 * 16 + 25 * 16 * 32)
print(f"direct {direct:,}, with a reduction to 16 maps {reduced:,}: {direct / reduced:.1f} times")
assert direct == 120_422_400
assert reduced == 12_443_648

# minidl counts the same.
with nn.init.skip_init():
    two = nn.Sequential(nn.Conv2d(192, 16, 1), nn.ReLU(), nn.Conv2d(16, 32, 5, padding=2))
assert md.summary(two, (1, 192, 28, 28)).multiply_adds == reduced

# %% [markdown]
# With $r$ maps in between, the pair costs $r C + k^2 r C'$. It is cheaper than the direct way as
# long as
#
# $$r < \frac{k^2 C C'}{C + k^2 C'}$$
#
# For the numbers above that is nearly any $r$. A large window is worth reducing for; for a 1x1
# there would be little to gain.

# %%


def break_even(k, c, c_out):
    return k * k * c * c_out / (c + k * k * c_out)


for k in (1, 3, 5):
    print(f"{k}x{k}, 192 -> 32 maps: the pair is cheaper up to r = {int(break_even(k, 192, 32))}")
r = int(break_even(5, 192, 32))
assert r * 192 + 25 * r * 32 <= 25 * 192 * 32 < (r + 1) * 192 + 25 * (r + 1) * 32
assert break_even(1, 192, 32) < 32
assert r == 154

# %% [markdown]
# ### What it gives up
#
# Without a ReLU in between, the pair is one 5x5 convolution whose weight is a product. Written as a
# matrix with a row for each input channel, that weight has rank $r$ at most: the 32 windows see
# only $r$ mixtures of the input channels. The block bets that so many are enough.

# %%
squeeze = rng.standard_normal((4, 12))  # 12 channels to r = 4
window = rng.standard_normal((8, 4, 5, 5))  # and 5x5 windows to 8 maps
whole = np.einsum("orkl,rc->ockl", window, squeeze)
x = md.tensor(rng.standard_normal((1, 12, 9, 9)))
pair = F.conv2d(F.conv2d(x, md.tensor(squeeze[:, :, None, None])), md.tensor(window))
assert np.allclose(pair.data, F.conv2d(x, md.tensor(whole)).data)
assert np.linalg.matrix_rank(whole.transpose(1, 0, 2, 3).reshape(12, -1)) == 4

# %% [markdown]
# ## The block
#
# Which window is right for a layer? Inception does not decide: windows of 1x1, 3x3 and 5x5 and a
# maximum of 3x3 all look at the same input, each padded so that the size stays, and their maps are
# put one after another. Build block 3a as table 1 of the paper has it.

# %%


class Inception(nn.Module):
    def __init__(self, channels, n1, reduce3, n3, reduce5, n5, proj):
        super().__init__()
        self.one = nn.Conv2d(channels, n1, 1)
        self.reduce3 = nn.Conv2d(channels, reduce3, 1)
        self.three = nn.Conv2d(reduce3, n3, 3, padding=1)
        self.reduce5 = nn.Conv2d(channels, reduce5, 1)
        self.five = nn.Conv2d(reduce5, n5, 5, padding=2)
        self.proj = nn.Conv2d(channels, proj, 1)

    def forward(self, x):
        one = F.relu(self.one(x))
        three = F.relu(self.three(F.relu(self.reduce3(x))))
        five = F.relu(self.five(F.relu(self.reduce5(x))))
        pool = F.relu(self.proj(F.max_pool2d(x, 3, stride=1, padding=1)))
        return md.cat([one, three, five, pool], 1)


row = (8, 6, 10, 3, 4, 5)  # block 3a has (64, 96, 128, 16, 32, 32)
md.manual_seed(0)
mine, theirs = Inception(12, *row), inception(12, row, batch_norm=False)
theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values(), strict=True)))
x = md.randn(2, 12, 7, 7)
assert mine(x).shape == (2, 8 + 10 + 4 + 5, 7, 7)
assert np.allclose(mine(x).data, theirs(x).data, atol=1e-6)

# %% [markdown]
# ### The gradient of a concatenation
#
# Concatenating copies; so the gradient is cut: each branch gets the slice that belongs to its maps.
# All branches read the same $x$, so their gradients with respect to it add up. Check both with a
# random gradient $g$ of the output.

# %%
x = md.randn(2, 12, 7, 7, requires_grad=True)
g = md.randn(2, 27, 7, 7)
(whole,) = md.grad(theirs(x), x, grad_outputs=g)
parts, first = 0, 0
for branch in theirs.children():
    out = branch(x)
    last = first + out.shape[1]
    (part,) = md.grad(out, x, grad_outputs=g[:, first:last])
    parts, first = parts + part.data, last
assert first == 27
assert np.allclose(whole.data, parts, atol=1e-5)

# %% [markdown]
# ### The naive block grows
#
# Without reductions (figure 2a of the paper) there is a second problem beside the cost: the pooling
# passes all of its maps on, so that a block always has more maps than the one before. Two of them
# in a row, with the widths of 3a and 3b:

# %%
with nn.init.skip_init():
    naive = nn.Sequential(NaiveInception(192, 64, 128, 32), NaiveInception(416, 128, 192, 96))
    real = nn.Sequential(
        inception(192, TABLE_1["3a"], batch_norm=False),
        inception(256, TABLE_1["3b"], batch_norm=False),
    )
naive_cost, real_cost = (md.summary(m, (1, 192, 28, 28)) for m in (naive, real))
for name, cost in (("naive", naive_cost), ("reduced", real_cost)):
    maps = cost.rows[0].shapes[0][1]
    print(f"{name:8} {maps} maps, {cost.parameters:,} parameters, {cost.multiply_adds:,}")
assert naive_cost.rows[0].shapes[0][1] == 416 + 416
assert real_cost.rows[0].shapes[0][1] == 480
assert naive_cost.multiply_adds > 3.5 * real_cost.multiply_adds

# %% [markdown]
# ## The whole network
#
# GoogLeNet is a stem, nine blocks and the mean of each map. Count the blocks from the table, and
# compare the whole with AlexNet and VGG.

# %%


def block_cost(channels, row):
    """(parameters, multiply-adds for one pixel) of a block."""
    n1, reduce3, n3, reduce5, n5, proj = row
    maps = n1 + reduce3 + n3 + reduce5 + n5 + proj
    weights = channels * (n1 + reduce3 + reduce5 + proj) + 9 * reduce3 * n3 + 25 * reduce5 * n5
    return weights + maps, weights


assert block_cost(192, TABLE_1["3a"])[0] == 163_696
with nn.init.skip_init():
    net = models.googlenet(variant="2014", aux_logits=False)
    sizes = {
        "AlexNet": sum(p.numel() for p in models.alexnet().parameters()),
        "GoogLeNet": sum(p.numel() for p in net.parameters()),
        "VGG-16": sum(p.numel() for p in models.vgg16().parameters()),
    }
    channels = 192
    for name, row in TABLE_1.items():
        block = getattr(net, f"inception{name}")
        assert sum(p.numel() for p in block.parameters()) == block_cost(channels, row)[0]
        channels = row[0] + row[2] + row[4] + row[5]
work = {n: models.MULTIPLY_ADDS[n.lower().replace("-", "")] for n in sizes}
print("parameters:   ", {n: f"{v / 1e6:.1f} M" for n, v in sizes.items()})
print("multiply-adds:", {n: f"{v / 1e9:.1f} G" for n, v in work.items()})
assert sizes["AlexNet"] > 8 * sizes["GoogLeNet"]
assert sizes["VGG-16"] > 19 * sizes["GoogLeNet"]
assert work["VGG-16"] > 10 * work["GoogLeNet"]

# %% [markdown]
# Most of AlexNet's parameters were in linear layers. Here the last maps, 1024 of 7x7, are averaged
# to 1024 numbers, and the only linear layer has about a million weights. That GoogLeNet has so few
# parameters is due to the mean; that it does so little work is due to the reductions.

# %%
head = net.fc.weight.numel()
flat = 1024 * 7 * 7 * 1000  # without the mean
assert head == 1_024_000
assert flat > 7 * sizes["GoogLeNet"]

fig, axes = plt.subplots(1, 2, figsize=(8, 2.3), layout="constrained")
for ax, values, unit, title in (
    (axes[0], sizes, 1e6, "parameters, millions"),
    (axes[1], work, 1e9, "multiply-adds of a picture, billions"),
):
    bars = ax.barh(list(values), [v / unit for v in values.values()], color="#0072b2")
    ax.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    ax.set_xlabel(title)
    ax.margins(x=0.15)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
fig.suptitle("22 layers, and less to store than AlexNet, less to do than VGG", fontsize=11)
plt.show()

# %% [markdown]
# ## Steps through a block
#
# A block with two branches on a picture of 4x4 pixels with two channels: a 1x1 convolution, and one
# of 1x1 followed by 3x3. On the page, go to `Cat` and see two maps become one array; go on to its
# backward step, where the gradient is cut. The last backward steps are those of the two 1x1
# convolutions: the second one adds its gradient of x to that of the first.

# %%
picture = md.tensor(rng.integers(-2, 3, (1, 2, 4, 4)).astype(np.float32), requires_grad=True)
to_one = md.tensor(np.float32([1, -1]).reshape(1, 2, 1, 1), requires_grad=True)
reduce = md.tensor(np.float32([2, 1]).reshape(1, 2, 1, 1), requires_grad=True)
window = md.tensor(rng.integers(-1, 2, (1, 1, 3, 3)).astype(np.float32), requires_grad=True)
weights = md.tensor(rng.integers(-2, 3, (1, 2, 4, 4)).astype(np.float32))
with md.record() as tape:
    left = F.conv2d(picture, to_one)
    right = F.conv2d(F.conv2d(picture, reduce), window, padding=1)
    (md.cat([left, right], 1) * weights).sum().backward()
alone = F.conv_transpose2d(weights[:, :1], to_one)  # what the left branch adds
reached = F.conv_transpose2d(F.conv_transpose2d(weights[:, 1:], window, padding=1), reduce)
assert np.allclose(picture.grad.data, alone.data + reached.data)
step_through(tape, "15_inception_steps", "Two branches, concatenated, and the gradient's two ways")

# %% [markdown]
# ## Auxiliary classifiers
#
# In 2014 there was no batch norm, and 22 layers were hard to train: on its way back, the gradient
# of layers with small initial weights becomes smaller from layer to layer. GoogLeNet puts two small
# classifiers onto blocks 4a and 4d. In training, their losses are added with weight 0.3; afterwards
# they are thrown away.
#
# Here is the effect in a toy: nine 3x3 convolutions without normalisation, with the initial weights
# that are usual in PyTorch, and a classifier behind the third, sixth and ninth.

# %%


class Deep(nn.Module):
    """Nine convolutions; scores of the last classifier, then of the auxiliary ones."""

    def __init__(self, width=8):
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(1 if i == 0 else width, width, 3, padding=1) for i in range(9)]
        )
        self.heads = nn.ModuleList([nn.Linear(width * 49, 10) for _ in range(3)])

    def forward(self, x):
        scores = []
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            if i == 0:
                x = F.max_pool2d(x, 2)
            if i % 3 == 2:
                scores.append(self.heads[i // 3](x.flatten(1)))
        return scores[2], scores[0], scores[1]


# %%
digits = md.data.digits(train=True)
images = digits.images[:1000].reshape(-1, 1, 14, 2, 14, 2).mean((3, 5))  # 14x14 pixels
images = ((images / 255.0 - digits.mean) / digits.std).astype(np.float32)
labels = digits.labels[:1000]

norms = {}
for weight in (0.0, 0.3):
    md.manual_seed(0)
    deep = Deep()
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss(), weight)
    criterion(deep(md.tensor(images[:200])), md.tensor(labels[:200])).backward()
    norms[weight] = [float(np.linalg.norm(c.weight.grad.data)) for c in deep.convs]
gain = norms[0.3][0] / norms[0.0][0]
print(f"With auxiliary losses the gradient of the first layer is {gain:.0f} times as large.")
assert gain > 10
assert norms[0.0][8] > 10 * norms[0.0][0]

# %%
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for weight, marker, colour in ((0.0, "o", "#d55e00"), (0.3, "s", "#0072b2")):
    label = "with auxiliary losses" if weight else "one classifier, at the end"
    ax.semilogy(range(1, 10), norms[weight], marker, ls="-", color=colour, label=label)
ax.set_xlabel("convolution")
ax.set_ylabel("norm of its gradient")
ax.set_title("Before the first step: what reaches the first layers", fontsize=10)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Does it matter? Train both for eight rounds on 1,000 small digits and look at the **last**
# classifier, which both have. A gradient that is small everywhere leaves the network where it is,
# with the loss of guessing among ten, $\ln 10 = 2.303$.

# %%


def last_losses(weight, epochs=8, batch_size=50):
    md.manual_seed(0)
    deep, order, losses = Deep(), np.random.default_rng(0), []
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss(), weight)
    optimizer = optim.SGD(deep.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        batches = order.permutation(len(images)).reshape(-1, batch_size)
        losses.append(0.0)
        for rows in batches:
            scores, target = deep(md.tensor(images[rows])), md.tensor(labels[rows])
            optimizer.zero_grad()
            criterion(scores, target).backward()
            optimizer.step()
            losses[-1] += F.cross_entropy(scores[0], target).item() / len(batches)
    return losses


curves = {weight: last_losses(weight) for weight in (0.0, 0.3)}
for weight, losses in curves.items():
    print(f"auxiliary weight {weight}:", " ".join(f"{loss:.2f}" for loss in losses))
assert curves[0.0][-1] > 2.2
assert curves[0.3][-1] < 1.6

# %% [markdown]
# The same layers learn once a gradient reaches them. Better initial weights ([lesson
# 07](07_mlp_and_initialisation.html)) or batch norm ([lesson 08](08_batch_norm.html)) would have
# done it, too, and with them the auxiliary losses lose this task: Szegedy et al. found in 2015 that
# they hardly matter early in training, and act as a regulariser at its end.
#
# ## Recall
#
# **1.** What can a 1x1 convolution do, and what can it not do?
#
# <details><summary>Answer</summary>
# It mixes the channels of each pixel and changes their number. It does not see neighbouring pixels.
# </details>
#
# **2.** 256 maps of 14x14 are to become 64 by 5x5 windows. What does a reduction to 32 save?
#
# <details><summary>Answer</summary>
# A pixel costs 25 * 256 * 64 = 409,600 directly and 256 * 32 + 25 * 32 * 64 = 59,392 with it: a
# seventh.
# </details>
#
# **3.** Why must all branches of a block give maps of one size, and how is it done?
#
# <details><summary>Answer</summary>
# They are concatenated along the channels. Each window of k x k has stride 1 and padding
# (k - 1) / 2.
# </details>
#
# **4.** What is the gradient of a block's input?
#
# <details><summary>Answer</summary>
# The sum of what the branches send back, each from its own slice of the output's gradient.
# </details>
#
# **5.** Where do the parameters go that GoogLeNet does not have?
#
# <details><summary>Answer</summary>
# Into no linear layers on 7x7 maps: it averages each map first. The reductions save most of the
# rest.
# </details>
#
# ## Change one thing
#
# In the cell with `Deep`, initialise the convolutions by
# `nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")`. Is there still anything for the
# auxiliary losses to do: for the gradient of the first layer, and for the loss after eight rounds?
#
# ## Where this lives
#
# `minidl/models/classification/googlenet.py` and `inception_blocks.py`, its successors in
# `inception_v2.py` to `inception_v4.py`; `minidl/training/auxiliary.py`. Papers: Lin et al. 2013
# (1x1 convolutions), Szegedy et al. 2014 and 2015. Next: [lesson 16](16_residual_learning.html).
