# %% [markdown]
# # 17. DenseNet, MobileNet, squeeze-and-excitation
#
# After this lesson you can
#
# - build a dense block and count what its concatenations cost in weights and in memory;
# - derive the cost ratio of depthwise separable convolution, and apply it to a network;
# - explain the inverted residual block and why its last convolution has no ReLU;
# - compute a squeeze-and-excitation gate by hand and say what it adds to a network's cost.
#
# Needs: lessons [10](10_stride_padding_dilation_groups.html), [15](15_inception.html),
# [16](16_residual_learning.html).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import models, nn, optim
from minidl.models.blocks import SqueezeExcitation
from minidl.models.classification.densenet import DenseBlock
from minidl.models.classification.mobilenet_v1 import MobileNetV1
from minidl.models.classification.mobilenet_v2 import InvertedResidual
from minidl.nn import functional as F
from minidl.teach import step_through

rng = np.random.default_rng(0)

# %% [markdown]
# Three answers to "what comes after ResNet". They change different things: how layers are
# connected, what a convolution is, and how much each channel counts.
#
# ## DenseNet: keep everything
#
# A residual block **adds** its result to what it got. A dense layer **puts it beside** it: layer
# $l$ of a block sees the maps of all layers before it and adds $k$ of its own, the growth rate.
# With $k_0$ maps at first, it sees $k_0 + (l - 1) k$.
#
# $$x_l = H_l([x_0, x_1, \ldots, x_{l-1}])$$
#
# $H$ is batch norm, ReLU and a convolution. As every layer can read all earlier maps, it need not
# copy them, and $k$ can be small: 12 or 32.

# %%


class Dense(nn.Module):
    def __init__(self, layers, k0, k):
        super().__init__()
        seen = [k0 + i * k for i in range(layers)]
        self.norms = nn.ModuleList([nn.BatchNorm2d(c) for c in seen])
        self.convs = nn.ModuleList([nn.Conv2d(c, k, 3, padding=1, bias=False) for c in seen])

    def forward(self, x):
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = md.cat([x, conv(F.relu(norm(x)))], 1)
        return x


md.manual_seed(0)
mine, theirs = Dense(4, 6, 3), DenseBlock(4, 6, 3, None, 0.0)
for i, layer in enumerate(theirs.values()):
    layer.norm1.load_state_dict(mine.norms[i].state_dict())
    layer.conv1.load_state_dict(mine.convs[i].state_dict())
x = md.randn(2, 6, 5, 5)
assert mine(x).shape == (2, 6 + 4 * 3, 5, 5)
assert np.allclose(mine(x).data, theirs(x).data, atol=1e-5)
assert (mine(x).data[:, :6] == x.data).all()  # the input is still there

# %% [markdown]
# ### What it costs
#
# Weights: $9 k (k_0 + (l - 1) k)$ in layer $l$, which grows with depth. So each 3x3 is preceded by
# a 1x1 that reduces to $4 k$ maps ("B"), and between blocks a transition halves the maps ("C").
#
# Memory: the concatenation of layer $l$ writes **all** maps so far once more. Over $L$ layers that
# is $\sum_l (k_0 + l k)$, quadratic in $L$, although only $k_0 + L k$ different maps exist. Count
# what `Cat` writes.

# %%


def written_by_cat(layers, k0=8, k=4, pixels=16):
    with nn.init.skip_init():
        block = Dense(layers, k0, k)
    with md.record() as tape:
        block(md.zeros(1, k0, 4, 4))
    counted = sum(e.outputs[0].numel() for e in tape if e.op == "Cat")
    assert counted == pixels * sum(k0 + (i + 1) * k for i in range(layers))
    return counted, pixels * (k0 + layers * k)


for layers in (4, 8, 16):
    written, different = written_by_cat(layers)
    print(f"{layers:2} layers: {written:6,} numbers written for {different:5,} different ones")
assert written_by_cat(16)[0] > 3 * written_by_cat(8)[0]

# %% [markdown]
# That, and not the parameters, is what limits DenseNets. Their parameters are few:

# %%
with nn.init.skip_init():
    size = {
        name: sum(p.numel() for p in getattr(models, name)().parameters())
        for name in ("resnet50", "densenet121", "mobilenet_v1", "mobilenet_v2")
    }
for name, parameters in size.items():
    work = models.MULTIPLY_ADDS[name]
    print(f"{name:12} {parameters / 1e6:5.1f} M parameters {work / 1e9:5.2f} G multiply-adds")
assert size["resnet50"] > 3 * size["densenet121"]

# %% [markdown]
# Their errors on ImageNet are about the same: 24.8 % for ResNet-50 (as Hu et al. report it) and
# 25.0 % for DenseNet-121.
#
# ## Depthwise separable convolution
#
# A convolution does two things at once: it looks at neighbouring pixels and it mixes channels.
# Separate them. **Depthwise**: each of the $M$ input channels has one kernel of its own (a grouped
# convolution with $M$ groups). **Pointwise**: a 1x1 convolution mixes the results to $N$ channels.
# First the depthwise part by hand.

# %%
x = rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
depthwise = rng.standard_normal((3, 1, 3, 3)).astype(np.float32)
by_hand = np.zeros((1, 3, 4, 4), np.float32)
for c in range(3):
    for i in range(4):
        for j in range(4):
            by_hand[0, c, i, j] = (x[0, c, i : i + 3, j : j + 3] * depthwise[c, 0]).sum()
by_minidl = F.conv2d(md.tensor(x), md.tensor(depthwise), groups=3)
assert np.allclose(by_hand, by_minidl.data, atol=1e-5)

# %% [markdown]
# Followed by a pointwise convolution $p$ it equals a full convolution whose kernel from channel $c$
# to channel $o$ is $p_{oc}$ times the kernel of $c$. So all outputs look at a channel through the
# same window, and differ only in how much of it they take: that is the constraint one pays with.

# %%
pointwise = rng.standard_normal((4, 3)).astype(np.float32)
pair = F.conv2d(by_minidl, md.tensor(pointwise[:, :, None, None]))
whole = pointwise[:, :, None, None] * depthwise[:, 0]  # (4, 3, 3, 3)
assert np.allclose(pair.data, F.conv2d(md.tensor(x), md.tensor(whole)).data, atol=1e-4)

# %% [markdown]
# The cost for a pixel is $k^2 M + M N$ multiply-adds against $k^2 M N$, a ratio of
#
# $$\frac{k^2 M + M N}{k^2 M N} = \frac{1}{N} + \frac{1}{k^2}$$
#
# For 3x3 windows and many channels it approaches 1/9, and nearly all of what is left is in the
# pointwise part.

# %%


def separable_ratio(k, n):
    return 1 / n + 1 / k**2


m, n = 64, 128
with nn.init.skip_init():
    full = nn.Conv2d(m, n, 3, padding=1, bias=False)
    separable = nn.Sequential(
        nn.Conv2d(m, m, 3, padding=1, groups=m, bias=False), nn.Conv2d(m, n, 1, bias=False)
    )
    networks = {v: MobileNetV1(variant=v) for v in ("full", "separable")}
full_cost, pair_cost = (md.summary(net, (1, m, 14, 14)) for net in (full, separable))
ratio = pair_cost.multiply_adds / full_cost.multiply_adds
assert np.isclose(ratio, separable_ratio(3, n))
assert ratio < 0.12
print(f"one layer: {ratio:.3f} of the multiply-adds")

# %% [markdown]
# MobileNet (Howard et al. 2017) is built of nothing else after its first layer. Count both forms of
# the whole network on pictures of 32x32 (cost grows with the number of pixels; the ratio is the
# same). The paper's errors on ImageNet are 28.3 % with full and 29.4 % with separable convolutions.

# %%
costs = {name: md.summary(net, (1, 3, 32, 32)) for name, net in networks.items()}
for name, cost in costs.items():
    print(f"{name:10} {cost.trainable / 1e6:5.1f} M parameters {cost.multiply_adds / 1e6:6.1f} M")
whole_ratio = costs["separable"].multiply_adds / costs["full"].multiply_adds
print(f"the whole network: {whole_ratio:.3f} of the multiply-adds")
assert 1 / 9 < whole_ratio < 0.13

# %% [markdown]
# Is it as good for its cost on our digits? Two small networks that differ only in their two middle
# layers, four rounds on 1,000 digits, two seeds each.

# %%
train, test = md.data.digits(train=True), md.data.digits(train=False)
x_train, x_test = (
    ((d.images / 255.0 - train.mean) / train.std).astype(np.float32) for d in (train, test)
)


def small_network(separable):
    def conv(c, out, stride):
        if not separable:
            return [nn.Conv2d(c, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        depthwise = nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False)
        middle = [depthwise, nn.BatchNorm2d(c), nn.ReLU()]
        return [*middle, nn.Conv2d(c, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

    stem = [nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    layers = [*stem, *conv(16, 32, 2), *conv(32, 32, 1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 49, 10))


def score(net, seed, images=1000, epochs=4, batch_size=25):
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    order = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in order.permutation(images).reshape(-1, batch_size):
            loss = F.cross_entropy(net(md.tensor(x_train[rows])), md.tensor(train.labels[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    with md.no_grad():
        return float((net(md.tensor(x_test)).data.argmax(1) == test.labels).mean())


# %%
found = {}
for name in ("full", "separable"):
    found[name] = []
    for seed in (0, 1):
        md.manual_seed(seed)
        net = small_network(name == "separable")
        found[name].append(score(net, seed))
    work = md.summary(net, (1, 1, 28, 28)).multiply_adds
    print(f"{name:10} {work:7,} multiply-adds, test accuracy", [f"{a:.1%}" for a in found[name]])
assert min(found["full"] + found["separable"]) > 0.85
assert abs(np.mean(found["full"]) - np.mean(found["separable"])) < 0.05

# %% [markdown]
# ## The inverted residual
#
# A bottleneck (lesson 16) has wide ends and a narrow middle, because its 3x3 is expensive.
# Depthwise, a 3x3 is cheap, so MobileNetV2 turns it round: narrow ends, joined by the shortcut, and
# a middle that is $t = 6$ times as wide: 1x1 up, 3x3 depthwise, 1x1 down. The last 1x1 has no ReLU
# (a "linear bottleneck").

# %%


class Inverted(nn.Module):
    def __init__(self, channels, t):
        super().__init__()
        wide = t * channels
        self.up = nn.Conv2d(channels, wide, 1, bias=False)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.down = nn.Conv2d(wide, channels, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(c) for c in (wide, wide, channels)])

    def forward(self, x):
        out = F.relu6(self.norms[0](self.up(x)))
        out = F.relu6(self.norms[1](self.depthwise(out)))
        return x + self.norms[2](self.down(out))


md.manual_seed(0)
mine, theirs = Inverted(4, 6), InvertedResidual(4, 4, 1, 6)
weights = {p.shape: p for p in mine.parameters() if p.ndim == 4}
for parameter in theirs.parameters():
    if parameter.ndim == 4:
        parameter.data[...] = weights[parameter.shape].data
x = md.randn(2, 4, 6, 6)
assert np.allclose(mine(x).data, theirs(x).data, atol=1e-5)
assert sum(w.numel() for w in weights.values()) == 4 * 24 + 9 * 24 + 24 * 4

# %% [markdown]
# ### Why no ReLU at the narrow end
#
# An experiment of the paper (figure 1). Take a curve in the plane, embed it in $n$ dimensions by a
# random matrix $T$, apply ReLU there, and map back by the pseudo-inverse of $T$. In few dimensions
# ReLU destroys the curve; in many, enough coordinates survive for every point.

# %%
angle = np.linspace(0, 6 * np.pi, 300)
curve = (angle / angle.max()) * np.stack([np.cos(angle), np.sin(angle)])  # (2, 300)
dimensions = (2, 3, 5, 15, 30)
lost, shown = {}, {}
for n in dimensions:
    errors = []
    for _ in range(50):
        T = rng.standard_normal((n, 2))
        back = np.linalg.pinv(T) @ np.maximum(T @ curve, 0)
        # ReLU halves the curve on average, so compare up to the best linear map.
        fit = curve @ np.linalg.pinv(back, rcond=1e-6)
        errors.append(np.sqrt(((fit @ back - curve) ** 2).mean() / (curve**2).mean()))
        shown[n] = back
    lost[n] = float(np.mean(errors))
print({n: f"{error:.2f}" for n, error in lost.items()})
assert lost[2] > lost[5] > lost[15] > lost[30]
assert lost[2] > 1.6 * lost[30]

fig, axes = plt.subplots(1, 6, figsize=(9, 2.1), layout="constrained")
axes[0].plot(*curve, color="#0072b2", lw=1)
axes[0].set_title("the curve", fontsize=9)
for ax, n in zip(axes[1:], dimensions, strict=True):
    ax.plot(*shown[n], color="#0072b2", lw=1)
    ax.set_title(f"n = {n}: lost {lost[n]:.0%}", fontsize=9)
for ax in axes:
    ax.set(xticks=[], yticks=[])
fig.suptitle("A curve after ReLU in n dimensions (one example; mean loss over 50)", fontsize=10)
plt.show()

# %% [markdown]
# Hence: ReLU where there are many channels, none where there are few.
#
# ## Squeeze-and-excitation
#
# A convolution weighs channels by fixed numbers. A gate lets the picture decide. **Squeeze**: the
# mean $z_c$ of each channel over all pixels. **Excitation**: two small layers, $s = \sigma(W_2\,
# \text{relu}(W_1 z + b_1) + b_2)$, with a width of $C / r$ in between. Then channel $c$ is
# multiplied by $s_c$, between 0 and 1.

# %%
C, r = 8, 2
w1, b1 = rng.standard_normal((C // r, C)), rng.standard_normal(C // r)
w2, b2 = rng.standard_normal((C, C // r)), rng.standard_normal(C)
x = rng.standard_normal((2, C, 5, 5)) + 2 * rng.standard_normal((2, C, 1, 1))

z = x.mean((2, 3))  # (N, C)
s = 1 / (1 + np.exp(-(np.maximum(z @ w1.T + b1, 0) @ w2.T + b2)))
by_hand = x * s[:, :, None, None]

gate = SqueezeExcitation(C, C // r).to(md.float64)
values = (w1[:, :, None, None], b1, w2[:, :, None, None], b2)
gate.load_state_dict(dict(zip(gate.state_dict(), values, strict=True)))
assert np.allclose(gate(md.tensor(x)).data, by_hand)
assert ((s > 0) & (s < 1)).all()
assert not np.allclose(s[0], s[1])

# %% [markdown]
# The gate has $2 C^2 / r$ weights, which are used once a picture: a few parameters more and hardly
# any multiply-adds. In ResNet-50, with $r = 16$, behind each of the 16 bottlenecks:

# %%
extra = sum(n * 2 * c * c // 16 for n, c in ((3, 256), (4, 512), (6, 1024), (3, 2048)))
print(f"{extra:,} weights: {extra / size['resnet50']:.1%} of the parameters,")
print(f"{extra / models.MULTIPLY_ADDS['resnet50']:.3%} of the multiply-adds")
assert extra / size["resnet50"] < 0.1
assert extra / models.MULTIPLY_ADDS["resnet50"] < 0.001
with nn.init.skip_init():
    both = models.resnet50(se=True)
gates = [m for m in both.modules() if isinstance(m, SqueezeExcitation)]
assert sum(p.numel() for g in gates for p in g.parameters() if p.ndim == 4) == extra

# %% [markdown]
# Hu et al. report 24.8 % error for ResNet-50 on ImageNet and 23.3 % with gates, which is nearly
# ResNet-101's figure (23.2 %) for half of its work.
#
# ## Steps
#
# A depthwise convolution of two channels, a pointwise one, and a gate. On the first `Conv`, move
# over the output: each channel looks at its own input channel only. On the second, one pixel of
# both. At the last `Mul`, a whole channel is multiplied by one number; in its backward step, the
# gradient of that number is a sum over the channel.

# %%
x = md.tensor(rng.integers(-2, 3, (1, 2, 4, 4)).astype(np.float32), requires_grad=True)
deep = md.tensor(rng.integers(-1, 2, (2, 1, 3, 3)).astype(np.float32), requires_grad=True)
point = md.tensor(np.float32([[1, 1], [1, -1]]).reshape(2, 2, 1, 1), requires_grad=True)
excite = md.tensor(np.float32([[0.5, 0], [-0.5, 1]]), requires_grad=True)
with md.record() as tape:
    maps = F.conv2d(F.conv2d(x, deep, padding=1, groups=2), point)
    gate = md.sigmoid(F.linear(maps.mean((2, 3)), excite))
    (maps * gate.reshape(1, 2, 1, 1)).sum().backward()
separate = F.conv2d(x, deep, padding=1, groups=2).data[0]
assert np.allclose(maps.data[0, 1], separate[0] - separate[1])
step_through(tape, "17_densenet_mobilenet_se_steps", "Depthwise, pointwise, and a gate")

# %% [markdown]
# ## Recall
#
# **1.** A dense block has 16 input maps, growth rate 12 and 6 layers. How many maps does its last
# layer see, and how many leave the block?
#
# <details><summary>Answer</summary>
# 16 + 5 * 12 = 76, and 16 + 6 * 12 = 88.
# </details>
#
# **2.** Why do DenseNets need much memory although they have few parameters?
#
# <details><summary>Answer</summary>
# Each concatenation writes all earlier maps again: the sum grows with the square of the number of
# layers.
# </details>
#
# **3.** What is the cost ratio of a depthwise separable 5x5 convolution to 64 channels?
#
# <details><summary>Answer</summary>
# 1/64 + 1/25 = 0.056.
# </details>
#
# **4.** Why are the ends of an inverted residual narrow, and its middle wide?
#
# <details><summary>Answer</summary>
# The depthwise convolution in the middle is cheap, so it can work on many channels, where ReLU
# loses little; what is stored and passed on is narrow.
# </details>
#
# **5.** Two pictures pass the same gate. Are their channels multiplied by the same numbers?
#
# <details><summary>Answer</summary>
# No: the numbers are computed from each picture's own means.
# </details>
#
# ## Change one thing
#
# In `small_network`, use 5x5 windows (padding 2) in both forms. How does the ratio of multiply-adds
# change, and does the accuracy follow the cost?
#
# ## Where this lives
#
# `minidl/models/classification/densenet.py`, `mobilenet_v1.py`, `mobilenet_v2.py`, `se_resnet.py`;
# `SqueezeExcitation` and `inverted_residual` in `minidl/models/blocks.py`. Papers: Huang et al.
# 2017, Howard et al. 2017, Sandler et al. 2018, Hu et al. 2018. Next: [lesson
# 18](18_training.html).
