# %% [markdown]
# # 10. Stride, padding, dilation, groups
#
# After this lesson you can
#
# - compute the output size of any convolution, and choose the padding that keeps a size;
# - say what stride, padding, dilation and groups do, in terms of the plain convolution of lesson
#   09;
# - count parameters and multiply-adds, and say what a depthwise convolution saves;
# - compute the receptive field of a stack of layers, and measure it with gradients.
#
# Needs: lesson 09.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minidl as md
from minidl import nn
from minidl.backend.geometry import ConvGeometry, receptive_field
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"

# %% [markdown]
# ## Which pixels does a window see?
#
# Along one axis a convolution has four numbers beside the kernel size $k$:
#
# - **stride** $s$: from one window to the next it goes $s$ pixels;
# - **padding** $p$: $p$ zeros are added at both ends first;
# - **dilation** $d$: the taps of a window are $d$ pixels apart;
# - **groups** is about channels; it comes later.
#
# Tap $m$ of window $i$ therefore lies on pixel $i s + m d - p$. The whole window spans
# $d (k - 1) + 1$ pixels. On $n$ pixels there are
#
# $$o = \left\lfloor \frac{n + 2p - d (k - 1) - 1}{s} \right\rfloor + 1$$
#
# windows that fit. Do not learn it: count how often you can step before the last tap falls off
# the end.


# %%
def count_windows(n, k, s=1, p=0, d=1):
    """By trying: place windows until one does not fit."""
    windows = 0
    while windows * s + (k - 1) * d - p <= n - 1 + p:
        windows += 1
    return windows


def output_size(n, k, s=1, p=0, d=1):
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


tried = 0
for n in range(5, 20):
    for k, s, p, d in (
        (3, 1, 0, 1),
        (3, 1, 1, 1),
        (3, 2, 1, 1),
        (7, 2, 3, 1),
        (3, 1, 2, 2),
        (5, 3, 0, 1),
    ):
        y = F.conv1d(md.zeros(1, 1, n), md.zeros(1, 1, k), stride=s, padding=p, dilation=d)
        assert count_windows(n, k, s, p, d) == output_size(n, k, s, p, d) == y.shape[2]
        tried += 1
print(f"{tried} cases agree")

# %% [markdown]
# Drawn from the formula: the input with its padding, the first window and the next one.

# %%
cases = {
    "plain": {},
    "padding 1": {"p": 1},
    "stride 2, padding 1": {"s": 2, "p": 1},
    "dilation 2": {"d": 2},
}
fig, axes = plt.subplots(1, 4, figsize=(11, 3.4), layout="constrained")
for ax, (name, case) in zip(axes, cases.items(), strict=True):
    n, k, s, p, d = 5, 3, case.get("s", 1), case.get("p", 0), case.get("d", 1)
    o = output_size(n, k, s, p, d)
    for i in range(-p, n + p):
        for j in range(-p, n + p):
            inside = 0 <= i < n and 0 <= j < n
            style = {"facecolor": "#e8e8e8", "edgecolor": GREY} if inside else {"linestyle": ":"}
            ax.add_patch(Rectangle((j, i), 1, 1, **{"fill": inside, "edgecolor": GREY, **style}))
    for window, colour, size in ((0, BLUE, 0.8), (1, ORANGE, 0.45)):
        if window >= o:
            continue
        for a in range(k):
            for b in range(k):
                corner = (window * s + b * d - p + (1 - size) / 2, a * d - p + (1 - size) / 2)
                ax.add_patch(Rectangle(corner, size, size, color=colour))
    ax.set(xlim=(-1.2, n + 1.2), ylim=(n + 1.2, -1.2), aspect="equal")
    ax.set_title(f"{name}: 5 x 5 gives {o} x {o}", fontsize=10)
    ax.axis("off")
fig.suptitle("Taps of the first window (blue) and of the one to its right (orange); dotted: zeros")
plt.show()

# %% [markdown]
# ## Each one by the plain convolution
#
# You need no new algorithm for any of them. Padding is zeros around the picture. A stride keeps
# every $s$-th result of stride 1. Dilation is a larger kernel with zeros between its taps. We
# expect equal numbers:

# %%
rng = np.random.default_rng(0)
x = md.tensor(rng.standard_normal((2, 4, 9, 9)))
w = md.tensor(rng.standard_normal((6, 4, 3, 3)))
plain = F.conv2d(x, w).numpy()

padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
assert np.allclose(F.conv2d(x, w, padding=1).numpy(), F.conv2d(md.tensor(padded), w).numpy())
assert np.allclose(F.conv2d(x, w, stride=2).numpy(), plain[:, :, ::2, ::2])

spread = np.zeros((6, 4, 5, 5))
spread[:, :, ::2, ::2] = w.numpy()
assert np.allclose(F.conv2d(x, w, dilation=2).numpy(), F.conv2d(x, md.tensor(spread)).numpy())
print("padding, stride and dilation are plain convolutions in disguise")

# %% [markdown]
# To keep a size with stride 1, pad by $p = d (k - 1) / 2$ at each end: 1 for 3 taps, 2 for 5.
# This is why kernels have an odd number of taps; an even one needs one zero more at one end
# (`padding="same"` puts it at the right).
#
# With a stride the floor in the formula can leave pixels out. On 6 pixels windows of 3 with
# stride 2 begin at 0 and 2; pixel 5 is in none of them, and its gradient is 0. The network cannot
# see it.

# %%
for d, k in ((1, 3), (1, 5), (1, 7), (2, 3)):
    assert output_size(10, k, p=d * (k - 1) // 2, d=d) == 10
pair = F.conv1d(md.tensor([[[1.0, 2.0, 3.0]]]), md.tensor([[[1.0, 10.0]]]), padding="same")
assert pair.numpy().tolist() == [[[21, 32, 3]]]
line = md.tensor(rng.standard_normal((1, 1, 6)), requires_grad=True)
F.conv1d(line, md.ones(1, 1, 3, dtype=md.float64), stride=2).sum().backward()
print("in how many windows each pixel is:", line.grad.numpy()[0, 0])
assert np.array_equal(line.grad.numpy()[0, 0], [1, 1, 2, 1, 1, 0])

# %% [markdown]
# ## Groups
#
# With `groups=G` input and output channels are cut into $G$ parts, and each output part sees only
# its own input part: $G$ small convolutions side by side. The weight is $(O, C / G, k, k)$. With
# $G = C$ each channel is filtered by itself: **depthwise** convolution.

# %%
w2 = md.tensor(rng.standard_normal((6, 2, 3, 3)))  # 4 channels in, 2 groups: each sees 2
grouped = F.conv2d(x, w2, groups=2).numpy()
halves = [F.conv2d(x[:, 2 * g : 2 * g + 2], w2[3 * g : 3 * g + 3]).numpy() for g in (0, 1)]
assert np.allclose(grouped, np.concatenate(halves, 1))

w4 = md.tensor(rng.standard_normal((4, 1, 3, 3)))
depthwise = F.conv2d(x, w4, groups=4).numpy()
for c in range(4):
    assert np.allclose(depthwise[:, c], F.conv2d(x[:, c : c + 1], w4[c : c + 1]).numpy()[:, 0])
print(grouped.shape, depthwise.shape)

# %% [markdown]
# Look at them on a page: five convolutions of a small picture. In each, point at output cells and
# follow the window. With padding the window's zeros are drawn; with stride 2 it jumps; with
# dilation 2 there are holes in it. In the last two, with two channels, see which slices of the
# picture light up: both, or only one (the small arrows go to the other channel).

# %%
small = md.tensor((np.arange(25.0) % 6).reshape(1, 1, 5, 5))
two = md.tensor(np.stack([np.arange(9.0), 10 * np.arange(9.0)]).reshape(1, 2, 3, 3))
kernel = md.tensor(np.array([[[[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]]]))
both = md.tensor(np.ones((2, 2, 2, 2)))
each = md.tensor(np.ones((2, 1, 2, 2)))
with md.record() as tape:
    same = F.conv2d(small, kernel, padding=1)
    halved = F.conv2d(small, kernel, stride=2, padding=1)
    dilated = F.conv2d(small, kernel, dilation=2)
    full = F.conv2d(two, both)
    separate = F.conv2d(two, each, groups=2)
assert same.shape[2:] == (5, 5)
assert halved.shape[2:] == (3, 3)
assert dilated.shape[2:] == (1, 1)
assert np.allclose(full.numpy()[0, 0], separate.numpy()[0].sum(0))
step_through(tape, "10_stride_padding_dilation_groups_steps", "Padding, stride, dilation, groups")

# %% [markdown]
# ## What it costs
#
# One output number takes $\frac{C}{G} k_h k_w$ multiply-adds, and there are
# $O \cdot o_h \cdot o_w$ of them:
#
# $$\text{parameters: } O \, \frac{C}{G} \, k_h k_w \qquad
# \text{multiply-adds: } O \, \frac{C}{G} \, k_h k_w \cdot o_h o_w$$
#
# A stride of 2 quarters the multiply-adds, and leaves the parameters. Dilation changes neither.
# Groups divide both by $G$. A depthwise convolution does not mix channels, so networks add a 1 x
# 1 convolution that does: together a *depthwise separable* convolution (Howard et al. 2017).
# Against the full one it costs
#
# $$\frac{C k^2 + C O}{C O k^2} = \frac{1}{O} + \frac{1}{k^2}$$
#
# For 3 x 3 and many channels that is about one ninth.


# %%
def cost(layer, size):
    """(parameters, multiply-adds) of a Conv2d without bias on a map of size x size."""
    o = output_size(
        size, layer.kernel_size[0], layer.stride[0], layer.padding[0], layer.dilation[0]
    )
    numbers = layer.out_channels * layer.in_channels // layer.groups * layer.kernel_size[0] ** 2
    return numbers, numbers * o * o


layers = {
    "3 x 3": nn.Conv2d(64, 64, 3, padding=1, bias=False),
    "3 x 3, stride 2": nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False),
    "3 x 3, dilation 2": nn.Conv2d(64, 64, 3, padding=2, dilation=2, bias=False),
    "3 x 3, 4 groups": nn.Conv2d(64, 64, 3, padding=1, groups=4, bias=False),
    "3 x 3, depthwise": nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False),
    "1 x 1": nn.Conv2d(64, 64, 1, bias=False),
}
image = md.zeros(1, 64, 16, 16)
costs = {}
for name, layer in layers.items():
    costs[name] = cost(layer, 16)
    report = md.summary(layer, image)
    assert costs[name] == (report.rows[0].parameters, report.rows[0].multiply_adds)
    print(f"{name:<18} parameters {costs[name][0]:>7,}   multiply-adds {costs[name][1]:>10,}")

assert costs["3 x 3"][1] == 4 * costs["3 x 3, stride 2"][1]
assert costs["3 x 3"] == costs["3 x 3, dilation 2"]
separable = costs["3 x 3, depthwise"][1] + costs["1 x 1"][1]
assert np.isclose(separable / costs["3 x 3"][1], 1 / 64 + 1 / 9)
print(f"separable / full: {separable / costs['3 x 3'][1]:.3f}")

# %% [markdown]
# Fewer multiply-adds are not always less time: a depthwise convolution does little with each
# number it reads, and reading is what takes long then. Lesson 11 measures times.
#
# ## The receptive field, computed
#
# Which input pixels can change one number of a deep layer? One 3 x 3 convolution sees 3 x 3. A
# second one on top sees 3 x 3 numbers that each see 3 x 3, together 5 x 5. In general keep two
# numbers, the field $r$ and the distance $j$ ("jump") between the fields of neighbours, both 1 in
# the picture. A layer does
#
# $$r \leftarrow r + d (k - 1) \, j \qquad j \leftarrow j \, s$$


# %%
def field(layers):
    """Size of the receptive field after (k, s, d) layers, first one first."""
    r, j = 1, 1
    for k, s, d in layers:
        r, j = r + d * (k - 1) * j, j * s
    return r


stacks = {
    "one 7 x 7": [(7, 1, 1)],
    "three 3 x 3": [(3, 1, 1)] * 3,
    "3 x 3, dilation 1, 2, 4": [(3, 1, 1), (3, 1, 2), (3, 1, 4)],
    "3 x 3, dilation 2, 2, 2": [(3, 1, 2)] * 3,
    "3 x 3, stride 2, 2, 2": [(3, 2, 1)] * 3,
    "ten 3 x 3": [(3, 1, 1)] * 10,
}
for name, layers in stacks.items():
    geometries = [ConvGeometry((k, k), (s, s), dilation=(d, d)) for k, s, d in layers]
    assert field(layers) == receptive_field(geometries).size[0]
    print(f"{name:<25} {field(layers):>3} pixels")
assert field(stacks["one 7 x 7"]) == field(stacks["three 3 x 3"]) == 7
assert field([(3, 1, 1)] * 10) == 21  # grows by 2 with each layer
assert field([(3, 2, 1)] * 10) == 2**11 - 1  # doubles with each layer

# %% [markdown]
# Three 3 x 3 layers see as much as one 7 x 7, with 27 taps in place of 49 (per pair of channels),
# and two ReLUs in between: the idea of VGG (lesson 14).
#
# ## The receptive field, measured
#
# A pixel is in the field exactly if the gradient of the number to that pixel can be different
# from 0. So send back a 1 from the middle of the output, and look where something arrives. We
# take positive random weights, so that nothing cancels.


# %%
def measured(layers, size=41):
    x = md.zeros(1, 1, size, size, dtype=md.float64, requires_grad=True)
    y = x
    for k, s, d in layers:
        weight = rng.uniform(0.5, 1.5, (1, 1, k, k)) / k**2
        y = F.conv2d(y, md.tensor(weight), stride=s, padding=d * (k - 1) // 2, dilation=d)
    middle = np.zeros(y.shape)
    middle[0, 0, y.shape[2] // 2, y.shape[3] // 2] = 1
    y.backward(md.tensor(middle))
    return x.grad.numpy()[0, 0]


fig, axes = plt.subplots(1, len(stacks), figsize=(13, 2.9), layout="constrained")
for ax, (name, layers) in zip(axes, stacks.items(), strict=True):
    gradient = measured(layers)
    rows = np.flatnonzero(gradient.any(1))
    assert rows[-1] - rows[0] + 1 == field(layers)
    ax.imshow(np.ma.masked_equal(gradient, 0), cmap="viridis")
    ax.set_title(f"{name}\n{field(layers)} pixels", fontsize=9)
    ax.set(xticks=[], yticks=[])
fig.suptitle("Which of 41 x 41 pixels one output depends on, and how much")
plt.show()

# %% [markdown]
# Two things to see. With dilation 2 throughout there are holes: only every second pixel is seen,
# and the neighbour of this output sees the others ("gridding"). Dilations 1, 2, 4 leave none. And
# in the last picture the field is 21 wide, but most of the gradient sits in the middle: many
# paths lead there, few to the border. The *effective* field grows only with the square root of
# the depth (Luo et al. 2016).

# %%
holes = measured(stacks["3 x 3, dilation 2, 2, 2"])
assert np.mean(holes[14:27, 14:27] == 0) > 0.7
assert not np.any((holes != 0) & (np.roll(holes, 1, axis=1) != 0))  # the neighbour's pixels
assert np.all(measured(stacks["3 x 3, dilation 1, 2, 4"])[13:28, 13:28] > 0)
ten = measured(stacks["ten 3 x 3"])
share = ten[15:26, 15:26].sum() / ten.sum()
print(f"the inner 11 x 11 of 21 x 21 pixels have {share:.0%} of the gradient")
assert share > 0.8


def spread(depth):
    """Root of the mean square distance from the middle, weighted by the gradient."""
    shares = measured([(3, 1, 1)] * depth).sum(0)
    return np.sqrt(shares @ (np.arange(41) - 20.0) ** 2 / shares.sum())


width = spread(5), spread(20)
print(f"5 layers: spread {width[0]:.1f} pixels, 20 layers: {width[1]:.1f}")
assert 1.6 < width[1] / width[0] < 2.4  # twice, not four times

# %% [markdown]
# In a whole network `md.explain.receptive_windows(model, layer, shape)` follows the operations
# back and says which rows and columns each unit sees.
#
# ## Recall
#
# 1. 224 pixels, 7 taps, stride 2, padding 3: how many outputs?
# <details><summary>Answer</summary>
# floor((224 + 6 - 7) / 2) + 1 = 112.
# </details>
#
# 2. Which padding keeps the size for 5 taps with dilation 3?
# <details><summary>Answer</summary>
# The window spans 3 * 4 + 1 = 13 pixels, so 6 at each end.
# </details>
#
# 3. What has a depthwise 3 x 3 convolution with 100 channels for weights, and what can it not do?
# <details><summary>Answer</summary>
# 100 x 1 x 3 x 3 = 900 numbers. It cannot combine channels.
# </details>
#
# 4. A layer gets stride 2 in place of 1. What happens to the receptive field of the layers after
#    it?
# <details><summary>Answer</summary>
# Each of them widens the field by twice as many pixels as before.
# </details>
#
# 5. Why may a pixel inside the receptive field have hardly any influence?
# <details><summary>Answer</summary>
# Few paths lead from it to the output: near the border of the field there is only one, in the
# middle there are many.
# </details>
#
# ## Change one thing
#
# In `stacks` add `"dilation 1, 2, 3": [(3, 1, 1), (3, 1, 2), (3, 1, 3)]` and
# `"dilation 1, 3, 9": [(3, 1, 1), (3, 1, 3), (3, 1, 9)]`. Compute the fields before you run.
# Which has holes? What is the largest field that three 3 x 3 layers can have without any?
#
# ## Where this lives
#
# `minidl/backend/geometry.py`: `ConvGeometry`, which convolution, pooling and receptive fields
# share. `minidl/nn/summary.py` counts. Dumoulin and Visin 2016; Yu and Koltun 2016 (dilation);
# Araujo et al. 2019 (receptive fields). Next: [lesson 11](11_five_ways_to_convolve.html), five
# ways to compute all this.
