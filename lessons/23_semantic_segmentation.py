# %% [markdown]
# # 23. Semantic segmentation
#
# After this lesson you can
#
# - name the class of every pixel with a network that has nothing but convolutions;
# - compute a transposed convolution by hand, and say of what it is the transpose;
# - give it weights with which it interpolates;
# - explain what skip connections bring back, and how FCN and U-Net join them;
# - measure the result by mean intersection over union.
#
# Needs: lessons 09, 12, 18, 22.

# %%
import itertools

import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import nn, optim
from minidl.data import Scenes
from minidl.metrics import ConfusionMatrix
from minidl.nn import functional as F
from minidl.teach import step_through

# %% [markdown]
# ## The task
#
# A label for each pixel: here 0 for background, 1 for a disc, 2 for a rectangle. Two discs side by
# side get the same label: semantic segmentation does not count objects (lesson 27 does).

# %%
CLASSES, SIZE = ("background", "disc", "rectangle"), 32
data = Scenes(
    16, SIZE, 3, "semantic", CLASSES[1:], objects=(1, 2), scale=(0.3, 0.6), difficulty=0.1
)
samples = [data[i] for i in range(16)]
images = md.tensor(np.stack([image.data for image, _ in samples]))
masks = md.tensor(np.stack([mask.data for _, mask in samples]))
print("shares of the classes:", (np.bincount(masks.data.ravel()) / masks.data.size).round(2))
assert masks.shape == (16, SIZE, SIZE)

# %% [markdown]
# ## Down is easy, up is the question
#
# Lesson 22 turned a classifier into a network that slides and gives a *map* of scores, one cell
# for every 8 pixels, say, if it pools three times. For pixels we must come back up. Copying each
# cell 8 x 8 times is one way; a layer that *learns* how to come up is better: the **transposed
# convolution**.
#
# A convolution with stride 2 takes *one* output from a window of inputs, and steps by 2. The
# transposed one goes the other way: each input puts a *copy of the kernel*, multiplied by its
# value, into the output, steps by 2 there, and where copies overlap they are added.


# %%
def transposed_by_hand(x, kernel, stride):
    """x (H, W), kernel (k, k) to ((H - 1) stride + k, (W - 1) stride + k)."""
    k = len(kernel)
    result = np.zeros([(n - 1) * stride + k for n in x.shape])
    for i, j in np.ndindex(x.shape):
        result[i * stride : i * stride + k, j * stride : j * stride + k] += x[i, j] * kernel
    return result


rng = np.random.default_rng(0)
x, kernel = rng.standard_normal((4, 5)), rng.standard_normal((3, 3))
up = transposed_by_hand(x, kernel, 2)
print(f"{x.shape} with a 3 x 3 kernel and stride 2 becomes {up.shape}")
theirs = F.conv_transpose2d(md.tensor(x[None, None]), md.tensor(kernel[None, None]), stride=2)
assert np.allclose(up, theirs.data[0, 0])

# %% [markdown]
# Why "transposed"? A convolution is linear, so it is a matrix $M$, from a flat picture to a flat
# map (lesson 09). The transposed convolution with the same kernel is $M^T$: it goes from maps to
# pictures. It is *not* the inverse: $M^T M$ is not the identity. But you have met it before: the
# *gradient* of a convolution to its input is $M^T$ times the gradient of its output. We build $M$
# column by column, and check all three. (With channels it is as in any convolution: each pair of
# an input and an output channel has a kernel, and the results of all input channels are added.)

# %%
height, width = up.shape
columns = []
for place in range(height * width):
    picture = np.zeros(height * width)
    picture[place] = 1.0
    picture = md.tensor(picture.reshape(1, 1, height, width))
    columns.append(F.conv2d(picture, md.tensor(kernel[None, None]), stride=2).data.ravel())
M = np.stack(columns, axis=1)
print("the matrix of the convolution:", M.shape)
assert np.allclose(M.T @ x.ravel(), up.ravel())
assert not np.allclose(M.T @ M, np.eye(height * width), atol=0.1)

picture = md.tensor(rng.standard_normal((1, 1, height, width)), requires_grad=True)
F.conv2d(picture, md.tensor(kernel[None, None]), stride=2).backward(md.tensor(x[None, None]))
assert np.allclose(picture.grad.data[0, 0], up)

# %% [markdown]
# **Step through it.** Each input cell stamps its kernel into the output. Point at an output cell
# in the step of the transposed convolution: the inputs whose copies reach it light up; some cells
# get one copy, some two, some four. That uneven pattern is a common flaw of such layers
# ("checkerboard").

# %%
cells = md.tensor(np.array([[[[1, 2], [3, 4]]]], np.float32), requires_grad=True)
stamp = np.array([[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]], np.float32) / 4
stamp = md.tensor(stamp, requires_grad=True)
with md.record() as tape:
    enlarged = F.conv_transpose2d(cells, stamp, stride=2)
    enlarged.backward(md.ones(1, 1, 5, 5))
print(enlarged.data[0, 0])
assert enlarged.data[0, 0, 2, 2] == np.array([1, 2, 3, 4]).sum() / 4  # four corners of copies
step_through(tape, "23_semantic_segmentation_steps", "A transposed convolution, copy by copy")

# %% [markdown]
# ## Starting as interpolation
#
# With random weights the way up begins as noise. FCN starts it as *bilinear interpolation*: for a
# factor $s$ the kernel has $2s \times 2s$ cells, a tent that falls linearly from the middle to
# both sides; output pixels between two inputs get a weighted mean of both. Away from the border it
# must equal what a resize does.


# %%
def tent(stride):
    places = np.arange(2 * stride) - (stride - 0.5)  # from the middle of the kernel
    line = 1 - np.abs(places) / stride
    return np.outer(line, line)


print("along one axis, for a factor of 2:", 1 - np.abs(np.arange(4) - 1.5) / 2)
small = rng.standard_normal((6, 6))
for stride in (2, 4):
    half = slice(stride // 2, -(stride // 2))  # as padding=stride // 2 does
    mine = transposed_by_hand(small, tent(stride), stride)[half, half]
    resized = F.interpolate(md.tensor(small[None, None]), scale_factor=stride, mode="bilinear")
    assert mine.shape == (6 * stride, 6 * stride)
    inner = slice(stride, -stride)
    assert np.allclose(mine[inner, inner], resized.data[0, 0, inner, inner])

# %%
spot = np.zeros((5, 5))
spot[1, 1], spot[3, 2] = 1.0, -1.0
fig, axes = plt.subplots(1, 3, figsize=(9, 3))
random_kernel = rng.standard_normal((8, 8)) / 4
titles = ("5 x 5 scores", "random 8 x 8 kernel, stride 4", "bilinear kernel, stride 4")
shown = (spot, transposed_by_hand(spot, random_kernel, 4), transposed_by_hand(spot, tent(4), 4))
for ax, title, values in zip(axes, titles, shown, strict=True):
    ax.imshow(values, cmap="PuOr", vmin=-1, vmax=1)
    ax.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Skip connections
#
# What was pooled away cannot be interpolated back: a cell of 8 x 8 pixels knows *what* is there,
# and no longer where its edge runs. The early layers know exactly where, and not what. So take
# their maps across:
#
# - **FCN**: a 1 x 1 convolution makes scores of the finer map, and they are *added* to the
#   enlarged coarse ones;
# - **U-Net**: the finer map itself is *concatenated* to the enlarged one, and convolutions mix
#   both.
#
# Here is one small network with a switch: four levels down, to cells of 8 x 8 pixels, then back up
# with or without the maps from the way down. As in FCN, the enlarging of scores stays
# interpolation.


# %%
def block(before, after):
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def enlarge(n):
    """Twice the size by interpolation, each of n maps for itself; not learned."""
    layer = nn.ConvTranspose2d(n, n, 4, stride=2, padding=1, bias=False)
    with md.no_grad():
        layer.weight.copy_(md.tensor(np.eye(n)[:, :, None, None] * tent(2)))
    return layer.requires_grad_(False)


# %%
class SmallNet(nn.Module):
    """Skips: "none", straight up; "fcn", scores are added; "unet", maps are concatenated."""

    def __init__(self, skip, widths=(8, 16, 32, 32)):
        super().__init__()
        n, upwards = len(CLASSES), widths[::-1]
        steps = list(itertools.pairwise(upwards))
        levels = zip((3, *widths[:-1]), widths, strict=True)
        self.skip = skip
        self.down = nn.ModuleList([block(before, after) for before, after in levels])
        if skip == "unet":
            self.up = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in steps])
            self.mix = nn.ModuleList([block(2 * b, b) for _, b in steps])
            self.score = nn.Conv2d(widths[0], n, 1)
        else:
            scored = upwards if skip == "fcn" else upwards[:1]
            self.score = nn.ModuleList([nn.Conv2d(width, n, 1) for width in scored])
            self.up = nn.ModuleList([enlarge(n) for _ in steps])

    def forward(self, x):
        maps = []
        for level, layer in enumerate(self.down):
            x = layer(F.max_pool2d(x, 2) if level else x)
            maps.insert(0, x)  # the coarsest first: 4 x 4, 8 x 8, 16 x 16, 32 x 32
        if self.skip == "unet":
            for up, mix, across in zip(self.up, self.mix, maps[1:], strict=True):
                x = mix(md.cat([up(x), across], 1))
            return self.score(x)
        x = self.score[0](maps[0])
        for k, up in enumerate(self.up, start=1):
            x = up(x)
            if self.skip == "fcn":
                x = x + self.score[k](maps[k])
        return x


# %%
md.manual_seed(0)
for skip in ("none", "fcn", "unet"):
    assert SmallNet(skip)(images[:2]).shape == (2, 3, SIZE, SIZE)

# %% [markdown]
# ## Mean intersection over union
#
# The share of right pixels flatters: a network that says "background" everywhere is right in most
# of them. So one counts, for each class, pixels that are it *and* predicted as it, over pixels
# that are it *or* predicted as it, and takes the mean over classes:
#
# $$\mathrm{IoU}_c = \frac{n_{cc}}{\sum_j n_{cj} + \sum_i n_{ic} - n_{cc}}$$
#
# with $n_{ij}$ the number of pixels of class $i$ predicted as $j$: the confusion matrix.


# %%
def mean_iou(predicted, truth):
    counts = np.zeros((3, 3))
    np.add.at(counts, (truth.ravel(), predicted.ravel()), 1)
    right = np.diag(counts)
    return (right / (counts.sum(1) + counts.sum(0) - right)).mean(), right.sum() / counts.sum()


nothing = np.zeros_like(masks.data)
iou, accuracy = mean_iou(nothing, masks.data)
print(f"all background: pixels right {accuracy:.2f}, mean IoU {iou:.2f}")
assert accuracy > 0.6
assert iou < 0.3

guess = rng.integers(0, 3, masks.shape)
metric = ConfusionMatrix(CLASSES)
metric.update(md.tensor(guess), masks)
assert np.isclose(float(metric.mean_iou()), mean_iou(guess, masks.data)[0])

# %% [markdown]
# ## Training
#
# Cross-entropy of each pixel, the mean over all of them: `F.cross_entropy` takes scores (N, C, H,
# W) and labels (N, H, W). Sixteen scenes of 32 x 32 learned by heart: too little to know new
# pictures, enough to see what skips do. We expect the net without skips to find the objects and to
# miss their outlines, and both others to be clearly better.


# %%
def train(skip, steps=120):
    md.manual_seed(1)
    net = SmallNet(skip)
    learned = [p for p in net.parameters() if p.requires_grad]
    optimizer = optim.Adam(learned, lr=1e-2)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = F.cross_entropy(net(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with md.no_grad():
        return net(images).data.argmax(axis=1)


answers = {skip: train(skip) for skip in ("none", "fcn", "unet")}
ious = {skip: mean_iou(answer, masks.data)[0] for skip, answer in answers.items()}
print({skip: round(float(value), 3) for skip, value in ious.items()})
assert ious["none"] > 0.5
assert ious["fcn"] > ious["none"] + 0.03
assert ious["unet"] > ious["none"] + 0.03

# %% [markdown]
# Where are the errors of the net without skips? At the outlines: we compare its error rate in
# pixels that touch another class with that in all others.

# %%
edge = np.zeros(masks.shape, bool)
for axis in (1, 2):
    other = np.diff(masks.data, axis=axis) != 0
    edge |= np.pad(other, [(0, 0)] + [(0, int(a == axis)) for a in (1, 2)])
    edge |= np.pad(other, [(0, 0)] + [(int(a == axis), 0) for a in (1, 2)])
wrong = answers["none"] != masks.data
print(f"wrong at outlines {wrong[edge].mean():.3f}, elsewhere {wrong[~edge].mean():.3f}")
assert wrong[edge].mean() > 3 * wrong[~edge].mean()

# %%
fig, axes = plt.subplots(3, 5, figsize=(9, 5.8))
colours = np.array([[0.93, 0.93, 0.93], [0.0, 0.45, 0.70], [0.84, 0.37, 0.0]])
for row, i in zip(axes, (0, 1, 2), strict=True):
    row[0].imshow(images.data[i].transpose(1, 2, 0))
    for ax, mask in zip(row[1:], (masks.data, *answers.values()), strict=True):
        ax.imshow(colours[mask[i]])
for ax, title in zip(axes[0], ("picture", "truth", "no skips", "FCN", "U-Net"), strict=True):
    ax.set_title(title)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Recall
#
# 1. A transposed convolution has kernel 4, stride 2, padding 1. What size does it make of 10 x 10?
# <details><summary>Answer</summary>(10 - 1) * 2 + 4 - 2 * 1 = 20 in each direction.</details>
#
# 2. What is the gradient of a transposed convolution to its input?
# <details><summary>Answer</summary>The convolution with the same kernel and stride: the transpose
# of the transpose.</details>
#
# 3. Why does kernel 3 with stride 2 make a checkerboard, and kernel 4 with stride 2 not (in the
#    inside)?
# <details><summary>Answer</summary>4 is a multiple of 2: every output cell gets the same number of
# copies. With 3 some get one along an axis and others two.</details>
#
# 4. FCN adds, U-Net concatenates. Which of them lets later layers decide how to use the finer
#    maps?
# <details><summary>Answer</summary>U-Net: convolutions follow that see both. FCN adds finished
# scores.</details>
#
# 5. Half of all pixels are background, which is predicted everywhere; there are four classes. Mean
#    IoU?
# <details><summary>Answer</summary>Background has 0.5 / 1, the three others 0: the mean is
# 0.125.</details>
#
# ## Change one thing
#
# In `enlarge`, let the interpolation be learned: return `layer` without `.requires_grad_(False)`.
# How far does the net without skips come now, and where in the picture do its errors go? Is that
# the same as having skips?
#
# ## Where this lives
#
# `minidl/models/segmentation/fcn.py` (with `bilinear_`), `unet.py`, `segnet.py`;
# `minidl/metrics/segmentation.py`. Long et al. 2015 (FCN), Ronneberger et al. 2015 (U-Net). Next:
# [lesson 24](24_yolo.html), boxes from one look.
