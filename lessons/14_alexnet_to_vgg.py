# %% [markdown]
# # 14. From AlexNet to VGG: why 3x3
#
# After this lesson you can
#
# - count parameters, multiply-adds and activations of a network from its table, before building it;
# - compute the receptive field of a stack of layers, and check it with a gradient;
# - say what a stack of 3x3 convolutions saves against one large window, and what it costs;
# - say where VGG's 138 million parameters are, and where its memory goes.
#
# Needs: lessons [09](09_convolution.html), [10](10_stride_padding_dilation_groups.html),
# [13](13_lenet.html).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import explain, models, nn
from minidl.models.classification.vgg import TABLE_1, VGG
from minidl.nn import functional as F
from minidl.teach import step_through

rng = np.random.default_rng(0)

# %% [markdown]
# ## Two tables
#
# AlexNet (Krizhevsky, Sutskever and Hinton, 2012) has five convolutions with windows of 11x11, 5x5
# and 3x3. VGG (Simonyan and Zisserman, 2014) has windows of 3x3 only, and 8 to 16 layers of them.
# Write both as lists; a layer is a tuple of what it is and its numbers. (This is AlexNet in the
# form that torchvision has, with one tower.)

# %%
ALEXNET = [
    *[("conv", 11, 4, 2, 64), ("pool", 3, 2)],  # window, stride, padding, maps
    *[("conv", 5, 1, 2, 192), ("pool", 3, 2)],
    *[("conv", 3, 1, 1, 384), ("conv", 3, 1, 1, 256), ("conv", 3, 1, 1, 256), ("pool", 3, 2)],
    *[("fc", 4096), ("fc", 4096), ("fc", 1000)],
]


def vgg(configuration):
    """The list of a column of table 1 of the paper: "A", "B", "C", "D" or "E"."""
    layers = []
    for windows, maps in zip(TABLE_1[configuration], (64, 128, 256, 512, 512), strict=True):
        layers += [("conv", k, 1, k // 2, maps) for k in windows] + [("pool", 2, 2)]
    return layers + [("fc", 4096), ("fc", 4096), ("fc", 1000)]


VGG16 = vgg("D")
assert sum(layer[0] == "conv" for layer in VGG16) == 13  # and three linear layers make sixteen

# %% [markdown]
# ## Counting without building
#
# VGG-16 takes half a gigabyte. To count, one does not need it. Walk through the list with the shape
# $(C, H, W)$ in hand:
#
# - a convolution of window $k$, stride $s$ and padding $p$ makes $\lfloor (H + 2p - k) / s \rfloor
#   + 1$ rows of $H$, has $C' (k^2 C + 1)$ parameters for $C'$ maps, and computes $k^2 C$
#   multiply-adds for each of its outputs;
# - pooling has neither, but keeps an output;
# - a linear layer has $C' (n + 1)$ parameters for $n$ inputs.

# %%


def walk(layers, shape=(3, 224, 224)):
    """For each layer: its tuple, the shape of its output, parameters, multiply-adds."""
    rows = []
    for layer in layers:
        c, h, w = shape
        if layer[0] == "fc":
            parameters, work = layer[1] * (c * h * w + 1), layer[1] * c * h * w
            shape = (layer[1], 1, 1)
        else:
            k, stride = layer[1:3]
            padding, maps = layer[3:] if layer[0] == "conv" else (0, c)
            size = [(n + 2 * padding - k) // stride + 1 for n in (h, w)]
            shape = (maps, *size)
            conv = layer[0] == "conv"
            parameters = maps * (k * k * c + 1) if conv else 0
            work = k * k * c * maps * size[0] * size[1] if conv else 0
        rows.append((layer, shape, parameters, work))
    return rows


def total(rows, column):
    return sum(row[column] for row in rows)


for name, layers in (("AlexNet", ALEXNET), ("VGG-16", VGG16)):
    rows = walk(layers)
    print(f"\n{name}: {total(rows, 2):,} parameters, {total(rows, 3):,} multiply-adds")
    for layer, shape, parameters, work in rows:
        print(f"  {layer!s:24} {shape!s:16} {parameters:12,} {work:14,}")

# %% [markdown]
# Are these numbers right? minidl keeps the multiply-adds of all its networks in a table that its
# tests count anew. For the parameters, build the two networks with `skip_init`: their arrays are
# zeros that the operating system provides only when somebody reads them, and nobody does.

# %%
with nn.init.skip_init():
    for name, layers in (("alexnet", ALEXNET), ("vgg16", VGG16)):
        counted = sum(p.numel() for p in getattr(models, name)().parameters())
        assert counted == total(walk(layers), 2)
        assert models.MULTIPLY_ADDS[name] == total(walk(layers), 3)
assert total(walk(ALEXNET), 2) == 61_100_840
assert total(walk(VGG16), 2) == 138_357_544

# %% [markdown]
# ## What a unit sees
#
# The **receptive field** of a unit is the square of pixels that can change it. Going through the
# layers, keep two numbers: $r$, the side of the field, and $j$, how many pixels apart two
# neighbouring units look. At first $r = j = 1$. A window of $k$ taps with stride $s$ reaches over
# $k - 1$ further units, each $j$ pixels away:
#
# $$r \leftarrow r + (k - 1) j, \qquad j \leftarrow j s$$
#
# Two windows of 3x3 see 5x5 pixels, three see 7x7: $n$ of them see $2n + 1$.

# %%


def receptive_field(layers):
    r, j = 1, 1
    for kind, *numbers in layers:
        if kind != "fc":
            k, stride = numbers[:2]
            r, j = r + (k - 1) * j, j * stride
    return r, j


for n in range(1, 6):
    assert receptive_field([("conv", 3, 1, 1, 64)] * n) == (2 * n + 1, 1)
print("AlexNet, last pooling:", receptive_field(ALEXNET))
print("VGG-16,  last pooling:", receptive_field(VGG16))
assert receptive_field(ALEXNET) == (195, 32)
assert receptive_field(VGG16) == (212, 32)

# %% [markdown]
# Both end with units that see most of the picture and lie 32 pixels apart. The difference is in
# how they get there: AlexNet's first layer jumps over three pixels of four.
#
# A gradient shows what a unit sees: where it is not 0. Take the middle unit behind one, two and
# three random 3x3 convolutions with ReLUs in between, and ask for its gradient to the picture, 40
# times with new weights. `explain.receptive_windows` follows the windows back instead; both must
# agree with the formula.

# %%
md.manual_seed(1)
slopes = []
for n in (1, 2, 3):
    slope = np.zeros((11, 11), np.float32)
    for _ in range(40):
        stack = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1))
        for _ in range(n - 1):
            stack.extend([nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)])
        x = md.randn(1, 1, 11, 11, requires_grad=True)
        stack(x)[0, 0, 5, 5].backward()
        slope += np.abs(x.grad.data[0, 0]) / 40
    rows, columns = np.nonzero(slope)
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 2 * n + 1
    windows, _ = explain.receptive_windows(stack, str(2 * n - 2), (1, 11, 11))
    assert windows[5].tolist() == [5 - n, 5 + n + 1]
    slopes.append(slope)

fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.9), layout="constrained")
for n, (ax, slope) in enumerate(zip(axes, slopes, strict=True), 1):
    ax.imshow(slope, cmap="Blues", vmin=0)
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{n} x (3x3): sees {2 * n + 1}x{2 * n + 1}", fontsize=10)
fig.suptitle("Mean size of the middle unit's gradient to each of 11x11 pixels", fontsize=11)
plt.show()

# %% [markdown]
# The field of a stack is not filled evenly: there are more ways from its middle to the unit than
# from its corners. The pixels that really count, the *effective* receptive field, are fewer.

# %%
middle, corners = slopes[2][5, 5], slopes[2][[2, 2, 8, 8], [2, 8, 2, 8]].mean()
print(f"three convolutions: gradient in the middle / in the corners = {middle / corners:.1f}")
assert middle > 2 * corners

# %% [markdown]
# ## One large window, or a stack
#
# With $C$ maps in and out and no biases, a window of 7x7 has $49 C^2$ weights. Three of 3x3 see as
# much and have $27 C^2$: 45 % less, with three ReLUs instead of one. As each weight is used once
# for each pixel, the multiply-adds are in the same ratio.

# %%
C = 32
large = nn.Conv2d(C, C, 7, padding=3, bias=False)
stack = nn.Sequential(*[nn.Conv2d(C, C, 3, padding=1, bias=False) for _ in range(3)])
one, three = (md.summary(m, (1, C, 20, 20)) for m in (large, stack))
print(f"7x7: {one.parameters:,} parameters, {one.multiply_adds:,} multiply-adds")
print(f"3x3: {three.parameters:,} parameters, {three.multiply_adds:,} multiply-adds")
assert one.parameters == 49 * C**2
assert three.parameters == 27 * C**2
assert three.multiply_adds * 49 == one.multiply_adds * 27

fields = np.arange(3, 16, 2)
fig, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
ax.plot(fields, fields**2, "o-", color="#d55e00", label="one window")
ax.plot(fields, 9 * (fields - 1) // 2, "s-", color="#0072b2", label="a stack of 3x3")
ax.set_xlabel("side of the receptive field")
ax.set_ylabel("weights / C²")
ax.set_title("A stack grows linearly with what it sees, one window quadratically", fontsize=10)
ax.set_xticks(fields)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ### What the ReLU in between is for
#
# Without it nothing would be gained in kind. Two convolutions in a row are linear, so they are
# **one** convolution, and its 5x5 kernel can be computed: each tap of the first one, moved by each
# tap of the second. With a ReLU in between that is no longer so.

# %%
first, second = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
together = np.zeros((5, 5))
for i in range(3):
    for j in range(3):
        together[i : i + 3, j : j + 3] += second[i, j] * first

x = md.tensor(rng.standard_normal((1, 1, 12, 12)))
a, b, ab = (md.tensor(k[None, None]) for k in (first, second, together))
linear = F.conv2d(F.conv2d(x, a), b)
rectified = F.conv2d(F.relu(F.conv2d(x, a)), b)
once = F.conv2d(x, ab)
assert once.shape == linear.shape == (1, 1, 8, 8)
assert np.allclose(once.data, linear.data)
assert np.abs(once.data - rectified.data).max() > 1

# %% [markdown]
# The other way round it does not work: 18 numbers cannot make every kernel of 25. A stack is a
# large window under a constraint, and the constraint acts like a regulariser (section 2.3 of the
# paper).
#
# ## Steps
#
# Watch a field grow backwards: 7x7 pixels, two convolutions, and the gradient of the middle output
# only. Go to the last `Mul`, which picks that output, and from there through the backward steps:
# one cell, then 3x3, then 5x5 of them are not 0.

# %%
picture = md.tensor(rng.integers(0, 4, (1, 1, 7, 7)).astype(np.float32), requires_grad=True)
kernel1 = md.tensor(np.float32([[1, 2, 1], [2, 3, 2], [1, 2, 1]]).reshape(1, 1, 3, 3))
kernel2 = md.tensor(np.float32([[1, 1, 1], [1, 2, 1], [1, 1, 1]]).reshape(1, 1, 3, 3))
pick = np.zeros((1, 1, 3, 3), np.float32)
pick[0, 0, 1, 1] = 1
with md.record() as tape:
    seen = F.conv2d(F.conv2d(picture, kernel1), kernel2)
    (seen * md.tensor(pick)).sum().backward()
assert (picture.grad.data[0, 0, 1:6, 1:6] != 0).all()
assert np.count_nonzero(picture.grad.data) == 25
step_through(tape, "14_alexnet_to_vgg_steps", "Two 3x3 convolutions see 5x5 pixels")

# %% [markdown]
# ## What it costs: memory
#
# For the backward pass the output of each layer is kept. Large windows with a large stride shrink
# the maps at once; a stack at full resolution keeps 224x224 pixels of 64 maps, twice. Count all
# outputs of convolutions and linear layers (ReLU can work in place, and pooling is small).

# %%


def activations(layers):
    return [int(np.prod(shape)) for layer, shape, _, _ in walk(layers) if layer[0] != "pool"]


kept = {"AlexNet": activations(ALEXNET), "VGG-16": activations(VGG16)}
for name, numbers in kept.items():
    print(f"{name:8} {sum(numbers):11,} numbers a picture: {4 * sum(numbers) / 1e6:.1f} MB")
assert sum(kept["VGG-16"]) > 25 * sum(kept["AlexNet"])
share = sum(kept["VGG-16"][:2]) / sum(kept["VGG-16"])
print(f"The first two of VGG-16's 16 layers hold {share:.0%} of it.")
assert 0.45 < share < 0.5

# %% [markdown]
# The same count by measurement: a VGG-16 whose layers have an eighth of the maps. `md.summary`
# computes it once for a picture of zeros and adds up what is kept for the backward pass. It is more
# than counted above: results of ReLU and pooling, and for each maximum where it was found. But not
# by more than a factor of three.

# %%
with nn.init.skip_init():
    narrow = VGG("D", 10, widths=(8, 16, 32, 64, 64), hidden=64)
measured = md.summary(narrow, (1, 3, 224, 224))
counted = 4 * sum(kept["VGG-16"][:13]) / 8
print(f"counted {counted / 1e6:.1f} MB, measured {measured.activation_bytes / 1e6:.1f} MB")
assert counted < measured.activation_bytes < 3 * counted

# %% [markdown]
# ## Where everything is
#
# Three bars for each layer of VGG-16: its share of parameters, of multiply-adds and of activations.
# Expect activations at the beginning, work in the middle, parameters at the end.

# %%
rows = [row for row in walk(VGG16) if row[0][0] != "pool"]
labels, stage, place = [], 1, 1
for layer in VGG16:
    if layer[0] == "pool":
        stage, place = stage + 1, 1
    else:
        labels.append(f"conv{stage}.{place}" if layer[0] == "conv" else f"fc{place}")
        place += 1
shares = {
    "activations": np.array(kept["VGG-16"]),
    "multiply-adds": np.array([row[3] for row in rows]),
    "parameters": np.array([row[2] for row in rows]),
}
fig, axes = plt.subplots(3, 1, figsize=(7.5, 5), layout="constrained", sharex=True)
for ax, (name, numbers) in zip(axes, shares.items(), strict=True):
    ax.bar(labels, 100 * numbers / numbers.sum(), color="#0072b2")
    ax.set_ylabel(f"{name}, %", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
axes[-1].tick_params(axis="x", rotation=60, labelsize=8)
fig.suptitle("VGG-16: memory at the beginning, work in the middle, weights at the end", fontsize=11)
plt.show()

fc1 = 512 * 7 * 7 * 4096
print(f"fc1 alone: {fc1:,} weights, {fc1 / total(walk(VGG16), 2):.0%} of all")
assert fc1 / total(walk(VGG16), 2) > 0.74
assert shares["multiply-adds"][:13].sum() / shares["multiply-adds"].sum() > 0.99
assert shares["parameters"][13:].sum() / shares["parameters"].sum() > 0.89

# %% [markdown]
# So the deep part of VGG, the thirteen convolutions, holds a tenth of its parameters. Later
# networks drop the linear layers: the mean of each map goes straight into the classifier, and that
# is most of what [GoogLeNet](15_inception.html) saves against AlexNet.
#
# ## Does it pay?
#
# On ImageNet, yes. These are the papers' errors on its validation pictures, beside what you can
# count. AlexNet's is that of the network of 2012, with two towers.

# %%
published = {"alexnet": 40.7, "vgg16": 25.6, "vgg19": 25.5}  # top-1 error in %
tables = {"alexnet": ALEXNET, "vgg16": VGG16, "vgg19": vgg("E")}
for name, layers in tables.items():
    rows = walk(layers)
    millions, billions = total(rows, 2) / 1e6, total(rows, 3) / 1e9
    assert models.MULTIPLY_ADDS[name] == total(rows, 3)
    print(f"{name:8} {millions:5.0f} M parameters {billions:5.1f} G multiply-adds", end="  ")
    print(f"{published[name]} % error")
assert total(walk(VGG16), 3) > 21 * total(walk(ALEXNET), 3)

# %% [markdown]
# Twice the parameters, twenty-one times the work, and errors down from 40.7 to 25.6 %. Three more
# layers (VGG-19) bring next to nothing: depth of this kind had reached its end, which is where
# [lesson 16](16_residual_learning.html) begins.
#
# ## Recall
#
# **1.** Which receptive field have four 3x3 convolutions of stride 1, and how many weights against
# one window of that size?
#
# <details><summary>Answer</summary>
# 9x9: 4 * 9 = 36 C² weights against 81 C².
# </details>
#
# **2.** The first convolution of a network has stride 4. How does that act on the receptive field
# of the layers behind it?
#
# <details><summary>Answer</summary>
# j becomes 4: every further window of k taps adds 4 (k - 1) pixels instead of k - 1.
# </details>
#
# **3.** What would two 3x3 convolutions without a non-linearity between them be?
#
# <details><summary>Answer</summary>
# One 5x5 convolution, and not every one: the kernel is made of 18 numbers, not 25.
# </details>
#
# **4.** Where does VGG-16 keep most of its activations, do most of its work, hold most parameters?
#
# <details><summary>Answer</summary>
# Activations in the first two convolutions (224x224 pixels), work in the convolutions after that,
# parameters in the first linear layer (74 %).
# </details>
#
# **5.** A batch of 64 pictures does not fit into memory. Why does it not help to make VGG's linear
# layers smaller?
#
# <details><summary>Answer</summary>
# They hold parameters, whose memory does not grow with the batch. What grows is the activations,
# and those are in the first convolutions.
# </details>
#
# ## Change one thing
#
# In "Two tables", give AlexNet's first layer the window 7 and the stride 2, as ZFNet has it, and
# pad by 1 (leave out the assertions that name AlexNet's own figures). What happens to the
# multiply-adds of the second layer, to the receptive field at the end, and to the parameters of the
# first linear layer? Which of the three would have stopped you in 2012, with 3 GB on each of two
# GPUs?
#
# ## Where this lives
#
# `minidl/models/classification/alexnet.py`, `vgg.py`, `zfnet.py`; `minidl/nn/summary.py` counts,
# and `minidl/models/costs.py` has the results. Papers: Krizhevsky et al. 2012, Zeiler and Fergus
# 2014, Simonyan and Zisserman 2014. Next: [lesson 15](15_inception.html), width and 1x1.
