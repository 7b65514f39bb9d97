# %% [markdown]
# # 16. Residual learning
#
# After this lesson you can
#
# - describe the degradation problem, and show it with an experiment of your own;
# - build basic, bottleneck and pre-activation blocks and count what they cost;
# - explain by formulas and by measured gradients what a shortcut changes;
# - say why a residual network can be deepened without changing what it computes.
#
# Needs: lessons [07](07_mlp_and_initialisation.html), [08](08_batch_norm.html),
# [14](14_alexnet_to_vgg.html).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import nn, optim
from minidl.models.classification.preact_resnet_cifar import ORDERS, ResidualUnit
from minidl.models.classification.resnet import Bottleneck
from minidl.models.classification.resnet_cifar import BasicBlock
from minidl.nn import functional as F
from minidl.teach import step_through

rng = np.random.default_rng(0)

# %% [markdown]
# ## A thought experiment
#
# Take a trained network and add layers to it. The deeper one can do all that the shallower can: the
# added layers need only pass on what they get, and nothing is lost. So on the **training** data, a
# deeper network should never be worse.
#
# He, Zhang, Ren and Sun found in 2015 that it is. On CIFAR-10 their plain network of 56 layers had
# a higher training error than that of 20. This is no overfitting, which would be a low training
# error and a high test error: the solution is there and the optimiser does not find it. They called
# it **degradation**. Let us have it here.
#
# ## Two blocks that differ in one addition
#
# Both have two 3x3 convolutions with batch norm. The residual one adds its input before the last
# ReLU:
#
# $$\text{plain: } y = \text{relu}(F(x)) \qquad \text{residual: } y = \text{relu}(x + F(x))$$
#
# The shortcut has no parameters: both networks have exactly the same ones, and from the same seed
# even the same initial values.

# %%


class Block(nn.Module):
    def __init__(self, channels, residual, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.residual = residual

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(x + out if self.residual else out)


def network(blocks, residual, channels=8, norm=nn.BatchNorm2d, he=True):
    """A convolution, `blocks` blocks, the mean of each map, a linear layer: 2 blocks + 2 layers."""
    net = nn.Sequential(nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False))
    net.extend([norm(channels), nn.ReLU()])
    net.extend([Block(channels, residual, norm) for _ in range(blocks)])
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)])
    for module in net.modules():
        if he and isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


weights = []
for residual in (False, True):
    md.manual_seed(0)
    weights.append([p.data for p in network(2, residual).parameters()])
assert all((a == b).all() for a, b in zip(*weights, strict=True))

# %% [markdown]
# The basic block of minidl's ResNet-20 is this one, with shortcuts also for the blocks that change
# the shape.

# %%
md.manual_seed(0)
mine, theirs = Block(4, residual=True), BasicBlock(4, 4)
theirs.load_state_dict(mine.state_dict())
x = md.randn(3, 4, 6, 6)
assert np.allclose(mine(x).data, theirs(x).data, atol=1e-5)

# %% [markdown]
# ## The degradation experiment
#
# Networks of 6 and 26 layers, plain and residual, from two seeds. Everything is small: 1,000 digits
# of 14x14 pixels, eight channels, six rounds. What counts is the **training** loss. If depth did no
# harm, the plain network of 26 layers would be at least as good as that of 6.

# %%
digits = md.data.digits(train=True)
images = digits.images[:1000].reshape(-1, 1, 14, 2, 14, 2).mean((3, 5))
images = ((images / 255.0 - digits.mean) / digits.std).astype(np.float32)
labels = digits.labels[:1000]


def training_losses(net, seed, epochs=6, batch_size=50):
    """The mean training loss of each round."""
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    order, losses = np.random.default_rng(seed), []
    for _ in range(epochs):
        batches = order.permutation(len(images)).reshape(-1, batch_size)
        total = 0.0
        for rows in batches:
            loss = F.cross_entropy(net(md.tensor(images[rows])), md.tensor(labels[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(batches))
    return losses


# %%
curves = {}
for kind in ("plain", "residual"):
    for blocks in (2, 12):
        runs = []
        for seed in (0, 1):
            md.manual_seed(seed)
            runs.append(training_losses(network(blocks, kind == "residual"), seed))
        curves[kind, 2 * blocks + 2] = np.array(runs)
        last = [f"{run[-1]:.2f}" for run in runs]
        print(f"{kind:8} {2 * blocks + 2:2} layers: training loss at the end {', '.join(last)}")

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.3), layout="constrained", sharey=True)
for ax, kind in zip(axes, ("plain", "residual"), strict=True):
    for layers, colour, style in ((6, "#56b4e9", "--"), (26, "#0072b2", "-")):
        for i, run in enumerate(curves[kind, layers]):
            label = f"{layers} layers" if i == 0 else None
            ax.plot(range(1, 7), run, style, color=colour, label=label)
    ax.set_title(kind)
    ax.set_xlabel("round")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("training loss")
fig.suptitle("Depth makes the plain network worse and the residual one better (two seeds)")
plt.show()

for seed in (0, 1):
    end = {name: runs[seed, -1] for name, runs in curves.items()}
    assert end["plain", 26] > end["plain", 6] + 0.2  # degradation
    assert end["residual", 26] < end["residual", 6] - 0.2  # depth helps
    assert end["residual", 26] < end["plain", 26] - 0.7

# %% [markdown]
# The plain network of 26 layers is worse than that of 6, on the data it is trained on. With the
# shortcuts the order is reversed. Nothing else differs: not the parameters, not the work.
#
# Six rounds are short, and one may object that the deep plain network is only slow. That is the
# point, too: the paper trained for 64,000 steps, and the difference remained.
#
# ## Why? First answer: the size of gradients
#
# Without normalisation the reason is easy to see. Behind a plain layer the gradient is multiplied
# by that layer's derivative $J$, and behind 26 of them by a product of 26. If each shrinks it a
# little, nothing is left. A residual block's derivative is $I + J$, with the identity $I$: the
# gradient comes back along the shortcuts whatever $J$ is.
#
# Measure the norm of each convolution's gradient before the first step, without batch norm and with
# the default initial weights of PyTorch.

# %%


def gradient_norms(net):
    loss = F.cross_entropy(net(md.tensor(images[:100])), md.tensor(labels[:100]))
    loss.backward()
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    return np.array([np.linalg.norm(c.weight.grad.data) for c in convs])


norms = {}
for name, arguments in (
    ("no norm", {"norm": lambda channels: nn.Identity(), "he": False}),
    ("batch norm", {}),
):
    for kind in ("plain", "residual"):
        md.manual_seed(0)
        norms[name, kind] = gradient_norms(network(12, kind == "residual", **arguments))
        first, last = norms[name, kind][[0, -1]]
        print(f"{name:10} {kind:8} first convolution {first:.1e}, last {last:.1e}")

assert norms["no norm", "plain"].max() < 1e-9
assert norms["no norm", "residual"].min() > 1e-4
assert norms["batch norm", "plain"].min() > 1e-3  # healthy

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", sharey=True)
for ax, name in zip(axes, ("no norm", "batch norm"), strict=True):
    for kind, marker, colour in (("plain", "o", "#d55e00"), ("residual", "s", "#0072b2")):
        ax.semilogy(range(1, 26), norms[name, kind], marker, ms=3, ls="-", color=colour, label=kind)
    ax.set_title("without normalisation" if name == "no norm" else "with batch norm", fontsize=10)
    ax.set_xlabel("convolution")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("norm of its gradient")
axes[1].legend(frameon=False)
fig.suptitle(
    "Gradients before the first step, 26 layers: shortcuts, or batch norm, keep them alive"
)
plt.show()

# %% [markdown]
# Without norms, all gradients of the plain network are equally small, the last one's too. The
# gradient of a weight is a product of what comes forward and what comes backward: the maps fade on
# the way up, the gradient on the way down.
#
# ## Second answer: the direction of gradients
#
# But our plain network *has* batch norm, and its gradients are not small. Size is not what it
# lacks; the authors say so in section 4.1. What else can be wrong with a gradient? It can change
# from place to place so quickly that it says nothing about the next step. Change the pictures a
# little, by noise of 5 % of their deviation, and compare the gradients with respect to the pictures
# before and after: the cosine of the angle between them.

# %%


def steadiness(net):
    """Mean cosine between the gradients at 100 pictures and at slightly changed ones."""
    noise = 0.05 * np.random.default_rng(0).standard_normal((100, 1, 14, 14)).astype(np.float32)
    slopes = []
    for change in (0.0, noise):
        x = md.tensor(images[:100] + change, requires_grad=True)
        F.cross_entropy(net(x), md.tensor(labels[:100])).backward()
        slope = x.grad.data.reshape(100, -1)
        slopes.append(slope / np.linalg.norm(slope, axis=1, keepdims=True))
    return float((slopes[0] * slopes[1]).sum(1).mean())


for blocks in (2, 12):
    steady = {}
    for kind in ("plain", "residual"):
        md.manual_seed(0)
        steady[kind] = steadiness(network(blocks, kind == "residual"))
    print(f"{2 * blocks + 2:2} layers:", {kind: f"{value:.2f}" for kind, value in steady.items()})
assert steady["plain"] < 0.3
assert steady["residual"] > 0.5

# %% [markdown]
# Behind 26 plain layers the gradient has turned to nearly a right angle: it looks like noise, and a
# step along it is a step in the dark. Balduzzi et al. (2017) call this shattered gradients. With
# shortcuts a part of the gradient comes by short ways, which do not shatter.
#
# ## The identity
#
# What the block learns is the **residual** $F(x) = y - x$: what is to be changed. To change
# nothing, $F$ has to be 0, which is where small weights are anyway. So a residual network can be
# made deeper without changing what it computes: add blocks whose last scale (the weight of `bn2`)
# is 0. The thought experiment of the beginning becomes true by construction.

# %%
md.manual_seed(0)
shallow = network(2, residual=True).eval()
deeper = nn.Sequential(*shallow[:5], Block(8, True), Block(8, True), *shallow[5:]).eval()
for block in deeper[5:7]:
    nn.init.zeros_(block.bn2.weight)
x = md.tensor(images[:20])
assert np.allclose(shallow(x).data, deeper(x).data)

# A plain block of zeros lets nothing through.
plain = Block(8, residual=False).eval()
nn.init.zeros_(plain.bn2.weight)
assert (plain(md.randn(2, 8, 5, 5)).data == 0).all()

# %% [markdown]
# Goyal et al. (2017) use this as an initialisation: `models.resnet50(zero_init_residual=True)`.
#
# ## Steps
#
# A residual block on 4x4 pixels, without norms. On the page, look at `Add` in the backward pass:
# its gradient goes to both of its inputs unchanged. Then go to the last backward step, the first
# convolution: to what it sends to x, the shortcut's part is added.

# %%
x = md.tensor(rng.integers(0, 4, (1, 1, 4, 4)).astype(np.float32), requires_grad=True)
k1 = md.tensor(rng.integers(-1, 2, (1, 1, 3, 3)).astype(np.float32), requires_grad=True)
k2 = md.tensor(rng.integers(-1, 2, (1, 1, 3, 3)).astype(np.float32), requires_grad=True)
g = md.tensor(rng.integers(1, 4, (1, 1, 4, 4)).astype(np.float32))
with md.record() as tape:
    residual = F.conv2d(F.relu(F.conv2d(x, k1, padding=1)), k2, padding=1)
    (F.relu(x + residual) * g).sum().backward()

through_relu = g.data * ((x + residual).data > 0)
inner = F.conv2d(x, k1, padding=1).data > 0
through_branch = F.conv_transpose2d(md.tensor(through_relu), k2, padding=1).data * inner
through_branch = F.conv_transpose2d(md.tensor(through_branch), k1, padding=1).data
assert np.allclose(x.grad.data, through_relu + through_branch)
step_through(tape, "16_residual_learning_steps", "A residual block: the gradient's two ways")

# %% [markdown]
# ## The bottleneck
#
# For 50 layers and more the block is another one: 1x1 down to a quarter of the channels, 3x3 there,
# 1x1 up again. It works on four times as many channels at the same price. Count the weights of
# convolutions: a basic block on 64 channels, a bottleneck on 256, and a basic block on 256.

# %%


def conv_weights(module):
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d))


with nn.init.skip_init():
    basic64, basic256 = BasicBlock(64, 64), BasicBlock(256, 256)
    bottleneck = Bottleneck(256, 64)  # 64 inside, 4 * 64 outside
counts = [conv_weights(block) for block in (basic64, bottleneck, basic256)]
print("basic 64: {:,}  bottleneck 256/64: {:,}  basic 256: {:,}".format(*counts))
assert counts[0] == 2 * 9 * 64**2
assert counts[2] == 2 * 9 * 256**2
assert counts[1] == 256 * 64 + 9 * 64**2 + 64 * 256 < counts[0]

# %% [markdown]
# ## Pre-activation
#
# In the block above, a ReLU stands on the main road: after every addition, what is negative is cut
# off. He et al. (2016) move batch norm and ReLU into the branch, before each convolution. Then
# nothing stands between one addition and the next, and with $x_l$ before block $l$
#
# $$x_{l+1} = x_l + F_l(x_l) \quad\Rightarrow\quad x_L = x_0 + \sum_{l=0}^{L-1} F_l(x_l)$$
#
# The last maps are the first ones plus what all branches added, and the gradient of $x_0$ contains
# that of $x_L$ unchanged. Check it on minidl's units; `"original"` is the block of 2015.

# %%
for order, holds in (("full", True), ("original", False)):
    md.manual_seed(0)
    units = [ResidualUnit(4, 4, 1, ORDERS[order]) for _ in range(5)]
    x = start = md.randn(2, 4, 6, 6)
    added = np.zeros(x.shape, np.float32)
    for unit in units:
        added += unit.residual(unit.before(x)).data
        x = unit(x)
    equal = np.allclose(x.data, start.data + added, atol=1e-4)
    print(f"{order}: the end is the start plus all branches: {equal}")
    assert equal == holds

# %% [markdown]
# The gradient's part: let all branches end in a convolution of zeros, and what arrives at $x_0$ is
# exactly what was given at $x_L$. In the original order, five ReLUs have cut off a half.

# %%
for order in ("full", "original"):
    units = [ResidualUnit(4, 4, 1, ORDERS[order]) for _ in range(5)]
    for unit in units:
        nn.init.zeros_(unit.residual.conv2.weight)
    x = start = md.randn(2, 4, 6, 6, requires_grad=True)
    for unit in units:
        x = unit(x)
    g = md.randn(2, 4, 6, 6)
    (slope,) = md.grad(x, start, grad_outputs=g)
    kept = float((slope.data == g.data).mean())
    print(f"{order}: {kept:.0%} of the gradient arrives unchanged")
    assert kept == 1 if order == "full" else 0.3 < kept < 0.7

# %% [markdown]
# With 1001 layers this made the difference between 7.6 and 4.9 % error on CIFAR-10.
#
# ## Recall
#
# **1.** How does degradation differ from overfitting?
#
# <details><summary>Answer</summary>
# The deeper network is worse on the training data already. Overfitting is a low training error with
# a high test error.
# </details>
#
# **2.** What does a shortcut cost in parameters and multiply-adds?
#
# <details><summary>Answer</summary>
# Nothing, where shapes are equal: one addition for each number. Where the shape changes, zeros for
# the new channels, or a 1x1 convolution.
# </details>
#
# **3.** With batch norm, gradients of the plain network are not small. What is wrong with them?
#
# <details><summary>Answer</summary>
# Their direction: it changes completely with small changes of the input, so that it says little
# about where a step leads.
# </details>
#
# **4.** How do you add a block to a residual network without changing its output?
#
# <details><summary>Answer</summary>
# Set the scale of the branch's last batch norm (and its shift) to 0: the branch is 0, and the ReLU
# passes on what a ReLU before it has made non-negative.
# </details>
#
# **5.** Why does a bottleneck on 256 channels cost less than a basic block on 64?
#
# <details><summary>Answer</summary>
# Its 3x3 convolution works on 64 channels only once; the two 1x1 convolutions have 2 * 256 * 64
# weights, fewer than the second 3x3's 9 * 64 * 64.
# </details>
#
# ## Change one thing
#
# In `Block.forward`, scale the shortcut: `0.5 * x + out`. After twelve blocks, how much of the
# direct gradient is left? Run the experiment with it, and compare with table 1 of He et al. (2016).
#
# ## Where this lives
#
# `minidl/models/classification/resnet_cifar.py` (plain and residual, for small pictures),
# `resnet.py` (for ImageNet), `preact_resnet_cifar.py` (five orders, six shortcuts).
# `examples/degradation.py` is the experiment on CIFAR-10. Papers: He et al. 2015 and 2016. Next:
# [lesson 17](17_densenet_mobilenet_se.html).
