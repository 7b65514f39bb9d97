# %% [markdown]
# # 25. From R-CNN to Fast R-CNN
#
# After this lesson you can
#
# - explain how regions are proposed without learning, and measure how many objects they reach;
# - count what it costs to classify each region by itself, and what shared features save;
# - compute RoIPool by hand, forwards and backwards;
# - write the two losses of the Fast R-CNN head.
#
# Needs: lessons 12, 14, 21, 22.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minidl as md
from minidl import nn, optim
from minidl.boxes import box_iou, crop_and_warp, felzenszwalb, selective_search, sliding_windows
from minidl.data import Scenes
from minidl.models.detection import fast_rcnn_small
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE = "#0072b2", "#d55e00"
NAMES, SIZE = ("disc", "rectangle", "triangle"), 64
data = Scenes(
    8, SIZE, 0, "instances", NAMES, objects=(1, 3), scale=(0.3, 0.6), overlap=0.0, difficulty=0.2
)
images = [data[i][0] for i in range(8)]
targets = [{k: data[i][1][k] for k in ("boxes", "labels")} for i in range(8)]

# %% [markdown]
# ## Where could objects be?
#
# Lesson 22 looked everywhere, at a few sizes and shapes. *Selective search* looks at the picture
# instead. It cuts it into small regions of similar colour, then joins, again and again, the two
# neighbours that are most alike (in colour, texture, size). The box around every region that ever
# was is a proposal. Objects tend to be such a region at *some* moment, so there are proposals of
# all sizes and shapes, and few of them.

# %%
md.manual_seed(0)
proposals = [selective_search(image.data, min_box=8.0) for image in images]
windows = sliding_windows((SIZE, SIZE), (16, 23, 32), (0.5, 1.0, 2.0), stride=0.25)


def reached(boxes_of):
    """The share of objects that some box overlaps by one half or more."""
    best = [box_iou(target["boxes"].data, boxes_of(i)).max(1) for i, target in enumerate(targets)]
    return (np.concatenate(best) >= 0.5).mean()


of_search, of_windows = reached(lambda i: proposals[i]), reached(lambda i: windows)
print("proposals of each picture:", [len(boxes) for boxes in proposals])
print(f"objects reached: {of_search:.2f};  by {len(windows)} sliding windows: {of_windows:.2f}")
assert of_search >= 0.9
assert max(len(boxes) for boxes in proposals) < len(windows) / 4

# %%
image = images[1]
fig, axes = plt.subplots(1, 3, figsize=(9.5, 3.3))
labels = felzenszwalb(image.data, scale=50.0, min_size=20)
axes[0].imshow(image.data.transpose(1, 2, 0), extent=(0, SIZE, SIZE, 0))
axes[1].imshow(np.random.default_rng(1).permutation(labels.max() + 1)[labels], cmap="tab20")
axes[2].imshow(image.data.transpose(1, 2, 0), extent=(0, SIZE, SIZE, 0), alpha=0.4)
for x1, y1, x2, y2 in proposals[1]:
    axes[2].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=BLUE, lw=0.8))
for x1, y1, x2, y2 in targets[1]["boxes"].data:
    axes[2].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=ORANGE, lw=3, ls="--"))
titles = "a scene", "first regions", f"{len(proposals[1])} proposals; objects dashed"
for ax, title in zip(axes, titles, strict=True):
    ax.set(xticks=[], yticks=[], title=title)
plt.show()

# %% [markdown]
# ## R-CNN: each region is a picture
#
# A classifier wants pictures of one size. So R-CNN cuts each proposal out, with a little of its
# surroundings, *warps* it to that size whatever its shape, and computes a whole convolutional
# network for it.

# %%
boxes = proposals[1][:6]
crops = crop_and_warp(image.data, boxes, 32, padding=4)
assert crops.shape == (6, 3, 32, 32)
fig, axes = plt.subplots(1, 6, figsize=(9, 1.9))
for ax, crop, (x1, y1, x2, y2) in zip(axes, crops, boxes, strict=True):
    ax.imshow(np.clip(crop, 0, 1).transpose(1, 2, 0))
    ax.set(xticks=[], yticks=[], title=f"{x2 - x1:.0f} x {y2 - y1:.0f} pixels")
plt.show()

# %% [markdown]
# How often is each pixel computed? Proposals overlap a lot: add up their areas and divide by that
# of the picture. Then the real figures: VGG-16, 2000 proposals of a photograph of 600 x 1000. A 3
# x 3 convolution from $c$ to $d$ channels costs $9 c d$ multiplications a pixel; the picture is
# halved after each block.

# %%
times = np.mean([((b[:, 2:] - b[:, :2]).prod(1)).sum() / SIZE**2 for b in proposals])
print(f"each pixel of our small scenes is looked at {times:.0f} times")
assert times > 3

VGG16 = ((3, 64), (64, 64)), ((64, 128), (128, 128)), ((128, 256), (256, 256), (256, 256))
VGG16 += ((256, 512), (512, 512), (512, 512)), ((512, 512), (512, 512), (512, 512))


def convolutions(height, width):
    cost = 0
    for halved, block in enumerate(VGG16):
        pixels = (height >> halved) * (width >> halved)
        cost += sum(9 * c * d * pixels for c, d in block)
    return cost


head = 512 * 49 * 4096 + 4096 * 4096  # fc6 and fc7, of one region
assert convolutions(224, 224) + head + 4096 * 1000 == md.models.MULTIPLY_ADDS["vgg16"]

regions = 2000
rcnn = regions * (convolutions(224, 224) + head)
fast = convolutions(600, 1000) + regions * head
print(f"R-CNN {rcnn / 1e12:.1f} million million multiplications, Fast R-CNN {fast / 1e12:.2f}")
print(f"{rcnn / fast:.0f} times fewer; the head is now {regions * head / fast:.0%} of all")
assert rcnn > 50 * fast
assert 0.5 < regions * head / fast < 0.65

# %% [markdown]
# **Compute the map once, and cut the regions out of the *map*.** That is the idea of SPP-net and
# of Fast R-CNN. What is left is a new operation: a box of any size on a map, to a fixed size that
# linear layers can take, with a gradient, so that the convolutions are trained, too.
#
# ## RoIPool by hand
#
# A *region of interest* (RoI) is given in pixels of the picture. With a map of stride 4:
#
# 1. divide the corners by 4, and **round** them to cells; both corner cells belong to the box;
# 2. divide the box into 2 x 2 bins (7 x 7 in the paper) of equal size, **rounded** outwards to
#    cells, so that neighbouring bins may share some;
# 3. take the largest number of each bin, in each channel.


# %%
def bins_of(low, high, count):
    """The cells [start, stop) of each bin between two corners on the map."""
    low, high = int(np.floor(low + 0.5)), int(np.floor(high + 0.5))
    edges = np.arange(count + 1) * max(high - low + 1, 1) / count
    starts, stops = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    return list(zip(starts + low, stops + low, strict=True))


def roi_pool_by_hand(x, box, bins, scale):
    """x (C, H, W), box in pixels of the picture: values (C, bins, bins), and where they stood."""
    x1, y1, x2, y2 = np.array(box) * scale
    values, places = np.zeros((len(x), bins, bins)), {}
    for i, (top, bottom) in enumerate(bins_of(y1, y2, bins)):
        for j, (left, right) in enumerate(bins_of(x1, x2, bins)):
            for c in range(len(x)):
                part = x[c, max(top, 0) : bottom, max(left, 0) : right]
                if part.size:
                    y, z = np.unravel_index(part.argmax(), part.shape)
                    values[c, i, j] = part[y, z]
                    places[c, i, j] = (c, max(top, 0) + y, max(left, 0) + z)
    return values, places


rng = np.random.default_rng(0)
x = rng.standard_normal((5, 16, 16))
for box in proposals[0][:20]:
    mine, _ = roi_pool_by_hand(x, box, 5, 1 / 4)
    theirs = F.roi_pool(md.tensor(x[None]), [box[None].astype(np.float64)], 5, 1 / 4)
    assert np.allclose(mine, theirs.data[0])
print("20 proposals on a map of 16 x 16: as by hand")

# %% [markdown]
# **Backwards** it is max-pooling: the gradient of each output goes to the one cell it came from.
# New is that boxes overlap: a cell that is the largest for several bins, of one box or of several,
# gets the *sum*. We compare with a random gradient from above (with all ones, gradients exchanged
# between two bins would not show; lesson 05).

# %%
several = np.array([[4, 4, 40, 40], [10, 12, 50, 36], [0, 0, 63, 63]], np.float64)
given = rng.standard_normal((3, 5, 3, 3))
by_hand = np.zeros_like(x)
for box, gradient in zip(several, given, strict=True):
    _, places = roi_pool_by_hand(x, box, 3, 1 / 4)
    for output, place in places.items():
        by_hand[place] += gradient[output]
features = md.tensor(x[None], requires_grad=True)
F.roi_pool(features, [several], 3, 1 / 4).backward(md.tensor(given))
assert np.allclose(features.grad.data[0], by_hand)
touched = (by_hand != 0).sum()
print(f"{given.size} gradients went to {touched} cells")
assert touched < given.size

# %% [markdown]
# **Step through it**: a map of 6 x 7, two boxes that overlap, 2 x 2 bins. Point at an output cell:
# its bin lights up, and the largest cell in it. In the backward step look at the 9: both boxes
# found it, and it gets both gradients.

# %%
toy = rng.permutation(42).reshape(6, 7) % 10 * 0.5
toy[2, 3] = 9.0
toy = md.tensor(toy[None, None].astype(np.float32), requires_grad=True)
two = np.array([[0, 0, 4, 4], [2, 1, 6, 5]], np.float32)
factors = md.tensor(np.arange(1, 9, dtype=np.float32).reshape(2, 1, 2, 2))
with md.record() as tape:
    pooled = F.roi_pool(toy, [two], 2)
    (pooled * factors).sum().backward()
assert (pooled.data == 9).sum() >= 2
step_through(tape, "25_rcnn_to_fast_rcnn_steps", "RoIPool of two boxes that overlap")

# %% [markdown]
# ## The head, and its two losses
#
# Each pooled region goes through two linear layers and then to *siblings*: $C + 1$ scores, class 0
# being background; and for each class four numbers $t$ that say how to move the proposal $P$ to
# the object $G$, both by centre and size:
#
# $$t_x = \frac{G_x - P_x}{P_w}, \quad t_y = \frac{G_y - P_y}{P_h}, \quad
# t_w = \log\frac{G_w}{P_w}, \quad t_h = \log\frac{G_h}{P_h}$$
#
# These do not change when the picture is enlarged or shifted. They are divided by 0.1, 0.1, 0.2,
# 0.2, so that they are about as large as 1. The loss: cross-entropy of all regions drawn; and for
# those that show an object (overlap of 0.5 or more) a smooth $L_1$ of the four numbers *of the
# true class*: $d^2/2$ for $|d| < 1$, else $|d| - 1/2$, so that single large errors do not rule.
#
# Of each picture up to 64 regions are drawn, at most 16 of them with an object. Background are
# regions that overlap an object by 0.1 to 0.5: those that miss by a little teach more than empty
# corners.

# %%
md.manual_seed(0)
model = fast_rcnn_small(3, min_size=SIZE)
batch, moved = model.transform(images, targets)
samples = model.roi_heads.sample(model.propose(images, batch), moved)
features = model.backbone(batch.images)
logits, codes = model.roi_heads(features, [sample.boxes for sample in samples], batch.sizes)
drawn = np.concatenate([sample.labels for sample in samples])
print(f"{len(drawn)} regions drawn, {(drawn > 0).sum()} show an object")
assert logits.shape == (len(drawn), 4)
assert codes.shape == (len(drawn), 4, 4)
assert max(len(sample.matches) for sample in samples) <= 16


# %%
def centre_and_size(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def encode(true, proposal):
    (g, g_size), (p, p_size) = centre_and_size(true), centre_and_size(proposal)
    return np.concatenate([(g - p) / p_size / 0.1, np.log(g_size / p_size) / 0.2], axis=1)


rows = np.arange(len(drawn))
shifted = logits.data - logits.data.max(axis=1, keepdims=True)
by_class = (np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, drawn]).sum()
by_box = 0.0
start = 0
for sample, target in zip(samples, moved, strict=True):
    mine = codes.data[start : start + len(sample.matches)]  # those with an object come first
    wanted = encode(target["boxes"].data[sample.matches], sample.positive)
    d = np.abs(mine[np.arange(len(mine)), sample.labels[: len(mine)]] - wanted)
    by_box += np.where(d < 1, d**2 / 2, d - 0.5).sum()
    start += len(sample.boxes)
theirs = model.roi_heads.losses(features, samples, moved, batch.sizes)
for name, value in (("loss_classifier", by_class), ("loss_box_reg", by_box)):
    print(f"{name:16} by hand {value / len(drawn):.4f}   minidl {float(theirs[name]):.4f}")
    assert np.isclose(value / len(drawn), float(theirs[name]), rtol=1e-4)

# %% [markdown]
# ## Training, in one piece
#
# R-CNN trained three things after one another: the network, support vector machines, box
# regressors. Fast R-CNN has one loss and one step for all, convolutions included. Eight scenes by
# heart, 40 steps: a box of the right class should be found for nearly all objects.

# %%
optimizer = optim.Adam(model.parameters(), lr=3e-3)
schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
for step in range(40):
    losses = model.losses(images, targets)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    schedule.step()
    if step % 10 == 9:
        print(f"step {step + 1}:", {k: round(float(v), 3) for k, v in losses.items()})
model.eval()
answers = model.predict(images)
found = []
for answer, target in zip(answers, targets, strict=True):
    same = target["labels"].data[:, None] == answer["labels"].data
    sure = answer["scores"].data > 0.5
    overlap = box_iou(target["boxes"].data, answer["boxes"].data) * (same & sure)
    found += (overlap.max(axis=1, initial=0.0) > 0.5).tolist()
print(f"{sum(found)} of {len(found)} objects found")
assert sum(found) >= 0.8 * len(found)


# %%
def draw_found(ax, box, text):
    x1, y1, x2, y2 = box
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec="white", lw=2))
    x, ha = (x1 + 1, "left") if x1 < SIZE / 2 else (x2 - 1, "right")
    ax.text(x, y1 + 1, text, ha=ha, va="top", fontsize=8, color="white")


fig, axes = plt.subplots(1, 5, figsize=(10, 2.2))
for ax, picture, answer in zip(axes, images, answers, strict=False):
    ax.imshow(picture.data.transpose(1, 2, 0), extent=(0, SIZE, SIZE, 0))
    trio = zip(*[answer[k].data for k in ("boxes", "labels", "scores")], strict=True)
    for box, label, score in trio:
        if score > 0.5:
            draw_found(ax, box, NAMES[label])
    ax.set(xticks=[], yticks=[])
axes[2].set_title("learned by heart: detections surer than 0.5")
plt.show()

# %% [markdown]
# ## Recall
#
# 1. Why must RoIPool give the same size for all boxes?
# <details><summary>Answer</summary>Linear layers follow, with a fixed number of inputs.</details>
#
# 2. A box is smaller than one cell of the map. What does RoIPool give?
# <details><summary>Answer</summary>It takes at least one cell, and all bins get (nearly) the same
# number.</details>
#
# 3. Where does the gradient of a cell come from that lies in no proposal?
# <details><summary>Answer</summary>From nowhere: it is 0 in this step, but for what its
# neighbours' convolutions pass on further down.</details>
#
# 4. Why does the regressor have four numbers for *each* class?
# <details><summary>Answer</summary>How a proposal must move depends on what it shows: the box
# around a standing person and around a car extend differently from what is seen.</details>
#
# 5. What limits the speed of Fast R-CNN, once features are shared?
# <details><summary>Answer</summary>The proposals: selective search takes seconds for a photograph.
# Then the linear layers, which run for each region.</details>
#
# ## Change one thing
#
# Give `selective_search` in the first cells only the first ten proposals:
# `selective_search(...)[:10]`. Which share of objects is still reached? What is the most that a
# detector could then find, however good its head is?
#
# ## Where this lives
#
# `minidl/boxes/selective_search.py`, `minidl/ops/roi.py`, `minidl/models/detection/rcnn.py`,
# `spp_net.py`, `fast_rcnn.py`. Uijlings et al. 2013; Girshick et al. 2014 (R-CNN), He et al. 2014
# (SPP-net), Girshick 2015. Next: [lesson 26](26_faster_rcnn.html), proposals that are learned.
