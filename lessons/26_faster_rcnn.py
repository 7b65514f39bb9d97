# %% [markdown]
# # 26. Faster R-CNN: proposals that are learned
#
# After this lesson you can
#
# - lay anchors over a picture, and say why there are several at each place;
# - decide which anchors are positive, negative or neither, and draw a fair sample of them;
# - code a box as its difference to an anchor, and back;
# - compute the loss of a region proposal network (RPN) by hand, and follow it to proposals;
# - name the four losses of Faster R-CNN, and train a small one.
#
# Needs: lessons 21, 25.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minidl as md
from minidl import nn, optim
from minidl.boxes import (
    AnchorGenerator,
    BalancedPositiveNegativeSampler,
    BoxCoder,
    Matcher,
    box_iou,
    clip_boxes_to_image,
    nms,
)
from minidl.data import Scenes
from minidl.models.detection import fasterrcnn_small
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
NAMES, SIZE = ("disc", "rectangle", "triangle"), 64
data = Scenes(
    4, SIZE, 0, "instances", NAMES, objects=(2, 3), scale=(0.3, 0.6), overlap=0.0, difficulty=0.2
)
images = [data[i][0] for i in range(4)]
targets = [{k: data[i][1][k] for k in ("boxes", "labels")} for i in range(4)]
print("objects:", [len(target["labels"]) for target in targets])

# %% [markdown]
# ## Anchors
#
# Fast R-CNN waits for selective search. But the feature map is there already, and it knows a lot
# about the picture: let a small network look at each of its cells and say whether an object is
# there, and where. *One* object a cell would be too few, and its size could be anything. So at
# each cell lie a few **anchors**, boxes of fixed sizes and shapes, and the network answers for
# each of them separately: *is this one (about) an object? how should it move?*
#
# An anchor of size $s$ and ratio $r$ = height / width has the area $s^2$: its height is
# $s \sqrt r$ and its width $s / \sqrt r$. Here: a map of 8 x 8 cells (stride 8), sizes 16 and 32,
# ratios 1/2, 1 and 2.


# %%
def anchors_by_hand(cells, stride, sizes, ratios):
    result = []
    for row in range(cells):
        for column in range(cells):
            for r in ratios:
                for s in sizes:
                    half = np.array([s / np.sqrt(r), s * np.sqrt(r)]) / 2
                    corner = np.array([column, row]) * stride
                    result.append([*(corner - np.round(half)), *(corner + np.round(half))])
    return np.array(result, np.float32)


anchors = anchors_by_hand(8, 8, (16, 32), (0.5, 1.0, 2.0))
print(f"{len(anchors)} anchors: 8 x 8 cells, six each")
generator = AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),))
(theirs,) = generator((SIZE, SIZE), [np.zeros((1, 1, 8, 8), np.float32)])
assert np.allclose(anchors, theirs)
assert len(anchors) == 384

# %% [markdown]
# ## Which anchor is what?
#
# For each anchor, find the object that it overlaps most (IoU, lesson 21):
#
# - 0.7 or more: **positive**, it belongs to that object;
# - below 0.3: **negative**, background;
# - between: **neither**. It says nothing in the loss, neither yes nor no.
#
# One rule more: for each object, the anchors that overlap it *most* are positive, however little
# that is. Without it, objects of an odd shape would have no anchor at all, and never be learned.
# How many are there?


# %%
def match_by_hand(overlaps, high=0.7, low=0.3, rescue=True):
    """(objects, anchors) overlaps to: the object of each anchor, -1 negative, -2 neither."""
    best, match = overlaps.max(axis=0), overlaps.argmax(axis=0)
    result = np.where(best >= high, match, np.where(best < low, -1, -2))
    if rescue:
        for row in overlaps:
            if row.max() > 0:
                mine = row == row.max()
                result[mine] = match[mine]
    return result


lost = 0
for target in targets:
    overlaps = box_iou(target["boxes"].data, anchors)
    match = match_by_hand(overlaps)
    assert (match == Matcher(0.7, 0.3, allow_low_quality_matches=True)(overlaps)).all()
    print("positive", (match >= 0).sum(), " negative", (match == -1).sum(), end="  ")
    print("neither", (match == -2).sum())
    alone = match_by_hand(overlaps, rescue=False)
    lost += len(set(range(len(overlaps))) - set(alone.tolist()))
    assert set(range(len(overlaps))) <= set(match.tolist())  # each object has an anchor
print(f"objects without an anchor, were it not for the last rule: {lost}")
assert lost >= 1

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 4))
overlaps = box_iou(targets[1]["boxes"].data, anchors)
match = match_by_hand(overlaps)
for ax in axes:
    ax.imshow(images[1].data.transpose(1, 2, 0), extent=(0, SIZE, SIZE, 0), alpha=0.6)
    ax.set(xlim=(-14, 78), ylim=(78, -14), xticks=[], yticks=[])
grid = np.arange(8) * 8
axes[0].plot(*[axis.ravel() for axis in np.meshgrid(grid, grid)], ".", color="black", ms=3)
for k, (x1, y1, x2, y2) in enumerate(anchors[27 * 6 : 28 * 6]):
    style = {"ec": (BLUE, ORANGE)[k % 2], "ls": ("-", "--", ":")[k // 2]}
    axes[0].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, lw=2, **style))
axes[0].set_title("the six anchors of one cell")
for x1, y1, x2, y2 in targets[1]["boxes"].data:
    axes[1].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=ORANGE, lw=3, ls="--"))
for x1, y1, x2, y2 in anchors[match >= 0]:
    axes[1].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=BLUE, lw=1.5))
axes[1].set_title("objects dashed, their positive anchors blue")
plt.show()

# %% [markdown]
# ## A fair sample
#
# A handful of positive anchors stands against hundreds of negative ones. Were all of them in the
# loss, "never anything" would be a good answer. So one draws a few at random: at most half of them
# positive, the rest negative.

# %%
md.manual_seed(0)
labels = np.where(match >= 0, 1, np.where(match == -1, 0, -1))  # -1: neither, never drawn
sampler = BalancedPositiveNegativeSampler(16, 0.5)
(positive,), (negative,) = sampler([labels])
print(f"{(labels == 1).sum()} positive, {(labels == 0).sum()} negative; drawn:", end=" ")
print(f"{positive.sum()} and {negative.sum()}")
assert positive.sum() == min(8, (labels == 1).sum())
assert positive.sum() + negative.sum() == 16
assert (labels[positive] == 1).all()
assert (labels[negative] == 0).all()

# %% [markdown]
# ## Coding
#
# A positive anchor must move to its object. With centre and size of both, $a$ the anchor and $g$
# the object:
#
# $$t_x = \frac{x_g - x_a}{w_a}, \quad t_y = \frac{y_g - y_a}{h_a}, \quad
# t_w = \log \frac{w_g}{w_a}, \quad t_h = \log\frac{h_g}{h_a}$$
#
# Why so, and not the difference of corners? These numbers do not change when picture and boxes are
# enlarged or shifted. So a small object beside a small anchor asks for the same answer as a large
# one beside a large anchor, and what is learned from one helps with the other. And after decoding
# a width is positive, whatever the network says.


# %%
def centre_and_size(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def encode(objects, anchors):
    (g, g_size), (a, a_size) = centre_and_size(objects), centre_and_size(anchors)
    return np.concatenate([(g - a) / a_size, np.log(g_size / a_size)], axis=1)


def decode(codes, anchors):
    a, a_size = centre_and_size(anchors)
    middle, half = a + codes[:, :2] * a_size, np.exp(codes[:, 2:]) * a_size / 2
    return np.concatenate([middle - half, middle + half], axis=1)


mine = match >= 0
objects = targets[1]["boxes"].data[match[mine]]
codes = encode(objects, anchors[mine])
print("codes of the positive anchors:")
print(codes[:3].round(2))
assert np.allclose(decode(codes, anchors[mine]), objects, atol=1e-4)
assert np.allclose(encode(3 * objects + 5, 3 * anchors[mine] + 5), codes, atol=1e-5)
assert np.allclose(codes, BoxCoder().encode(objects, anchors[mine]), atol=1e-5)

# %% [markdown]
# ## The loss of the proposal network
#
# The network: a 3 x 3 convolution on the map, then two 1 x 1 convolutions, with one *logit* for
# each anchor (is it an object?) and four numbers for each. Its loss is the sum of two, over the
# $n$ anchors drawn:
#
# $$L = \frac 1n \sum_{\text{drawn}} \mathrm{BCE}(z_i, y_i) +
# \frac 1n \sum_{\text{positive}} \mathrm{smooth}_{L1}(t_i - \hat t_i)$$
#
# BCE is binary cross-entropy, $\log(1 + e^{z}) - y z$; the smooth $L_1$ is that of lesson 25, but
# turns into a line at $|d| = 1/9$. We take a small Faster R-CNN whose pyramid has four maps, with
# anchors of 16, 32, 64 and 128 pixels, and compute the loss from what its head says.

# %%
md.manual_seed(0)
model = fasterrcnn_small(3, min_size=SIZE)
batch, moved = model.transform(images, targets)
features = model.backbone(batch.images)
levels = model.rpn(features, (SIZE, SIZE))
for name, level in zip(features, levels, strict=True):
    print("map", name, features[name].shape[2:], "gives", len(level.anchors), "anchors")

every = np.concatenate([level.anchors for level in levels])
logits = np.concatenate([level.objectness.data for level in levels], axis=1)
deltas = np.concatenate([level.deltas.data for level in levels], axis=1)
matches = [match_by_hand(box_iou(target["boxes"].data, every)) for target in moved]
md.manual_seed(1)
marks = [np.where(m >= 0, 1, np.where(m == -1, 0, -1)) for m in matches]
positive, negative = model.rpn.sampler(marks)

# %%
objectness, movement, n = 0.0, 0.0, 0
for i, (yes, no) in enumerate(zip(positive, negative, strict=True)):
    z = logits[i]
    objectness += np.log1p(np.exp(-z[yes])).sum() + np.log1p(np.exp(z[no])).sum()
    wanted = encode(moved[i]["boxes"].data[matches[i][yes]], every[yes])
    d = np.abs(deltas[i][yes] - wanted)
    beta = 1 / 9  # where the square turns into a line
    movement += np.where(d < beta, d**2 / (2 * beta), d - beta / 2).sum()
    n += yes.sum() + no.sum()
md.manual_seed(1)  # the same draw
theirs = model.rpn.losses(levels, moved, batch.sizes)
for name, value in (("loss_objectness", objectness), ("loss_rpn_box_reg", movement)):
    print(f"{name:17} by hand {value / n:.4f}   minidl {float(theirs[name]):.4f}")
    assert np.isclose(value / n, float(theirs[name]), rtol=1e-4)

# %% [markdown]
# At the start the first is 0.69, the logarithm of 2: the head knows nothing, and says one half of
# everything.
#
# **Step through it**: three anchors, the first positive, two negative. Look at the gradient of
# `z`: the probability $\sigma(z)$ minus the answer, divided by 3. Look at `t`, the codes of the
# positive anchor: the second is off by 1.2 and the third by 0.2, and both get the same gradient,
# since both lie on the line beyond 1/9.

# %%
assert abs(float(theirs["loss_objectness"]) - np.log(2)) < 0.02
z = md.tensor([0.5, -1.0, 0.2], requires_grad=True)  # logits
t = md.tensor([[0.05, 1.2, 0.3, 0.0]], requires_grad=True)  # of the positive anchor
y = md.tensor([1.0, 0.0, 0.0])
t_true = md.tensor([[0.0, 0.0, 0.1, 0.0]])
with md.record() as tape:
    says = F.binary_cross_entropy_with_logits(z, y, reduction="sum") / 3.0
    moves = F.smooth_l1_loss(t, t_true, reduction="sum", beta=1 / 9) / 3.0
    loss = says + moves
    loss.backward()
assert np.allclose(z.grad.data, (1 / (1 + np.exp(-z.data)) - y.data) / 3, atol=1e-6)
assert np.isclose(t.grad.data[0, 1], t.grad.data[0, 2])
step_through(tape, "26_faster_rcnn_steps", "The loss of three anchors")

# %% [markdown]
# ## From anchors to proposals
#
# All anchors are moved by their codes; the best by logit go on, are cut off at the picture's edge,
# and those that overlap a better one of the same map by more than 0.7 are dropped. What is left
# are the proposals: about a hundred, where lesson 25 had selective search. They are *constants*
# for the second stage: no gradient flows back through their corners.


# %%
def proposals_by_hand(levels, i, before, after):
    boxes, scores = [], []
    for level in levels:
        z = level.objectness.data[i]
        order = np.argsort(-z, kind="stable")[:before]
        moved = decode(level.deltas.data[i][order], level.anchors[order])
        moved = clip_boxes_to_image(moved.astype(np.float32), (SIZE, SIZE))
        kept = nms(moved, z[order], 0.7)
        boxes.append(moved[kept])
        scores.append(z[order][kept])
    best = np.argsort(-np.concatenate(scores), kind="stable")[:after]
    return np.concatenate(boxes)[best]


theirs = model.rpn.proposals(levels, batch.sizes, training=False)
mine = proposals_by_hand(levels, 0, model.rpn.pre_nms_top_n[1], model.rpn.post_nms_top_n[1])
print(f"{len(mine)} proposals of picture 0")
assert mine.shape == theirs[0].shape
assert np.allclose(mine, theirs[0], atol=1e-3)

# %% [markdown]
# ## Four losses, one network
#
# The second stage is that of Fast R-CNN: cut out (here by RoIAlign, lesson 27), two linear layers,
# classes and boxes. So there are four losses, added: two ask the first stage *is there something*
# and *where*, two ask the second *what is it* and *where exactly*. All train the same backbone.
# Four scenes by heart, 60 steps.


# %%
def reached(propose):
    best = [box_iou(t["boxes"].data, b).max(1) for t, b in zip(targets, propose, strict=True)]
    return np.concatenate(best)


def propose():
    with md.no_grad():
        levels = model.rpn(model.backbone(batch.images), (SIZE, SIZE))
        boxes = model.rpn.proposals(levels, batch.sizes, training=False)
    return [b[:10] for b in boxes]  # the ten best of each picture


# %%
before = reached(propose())
optimizer = optim.Adam(model.parameters(), lr=1e-3)
schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 60, eta_min=1e-4)
history = []
for _ in range(60):
    losses = model.losses(images, targets)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    schedule.step()
    history.append([float(loss) for loss in losses.values()])
model.eval()
after = reached(propose())
print(
    f"best of ten proposals, mean IoU with an object: {before.mean():.2f}, now {after.mean():.2f}"
)
assert after.mean() > before.mean() + 0.15
assert after.mean() > 0.65

# %%
answers = model.predict(images)
found = []
for answer, target in zip(answers, targets, strict=True):
    same = target["labels"].data[:, None] == answer["labels"].data
    same &= answer["scores"].data > 0.5
    overlap = box_iou(target["boxes"].data, answer["boxes"].data) * same
    found += (overlap.max(axis=1, initial=0.0) > 0.5).tolist()
print(f"{sum(found)} of {len(found)} objects found")
assert sum(found) >= 0.7 * len(found)


# %%
def draw_found(ax, box, text):
    x1, y1, x2, y2 = box
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec="white", lw=2))
    x, ha = (x1 + 1, "left") if x1 < SIZE / 2 else (x2 - 1, "right")
    ax.text(x, y1 + 1, text, ha=ha, va="top", fontsize=8, color="white")


fig, axes = plt.subplots(1, 5, figsize=(13, 2.6), width_ratios=[1.5, 1, 1, 1, 1])
styles = zip(losses, ("-", "--", ":", "-."), (BLUE, ORANGE, GREEN, "black"), strict=True)
for (name, style, colour), values in zip(styles, np.array(history).T, strict=True):
    axes[0].plot(values, style, color=colour, label=name.removeprefix("loss_"))
axes[0].set(xlabel="step", title="four losses")
axes[0].legend(frameon=False, fontsize=8)
for ax, picture, answer, proposals in zip(axes[1:], images, answers, propose(), strict=True):
    ax.imshow(picture.data.transpose(1, 2, 0), extent=(0, SIZE, SIZE, 0))
    for x1, y1, x2, y2 in proposals:
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec="black", lw=0.6))
    trio = zip(*[answer[k].data for k in ("boxes", "labels", "scores")], strict=True)
    for box, label, score in trio:
        if score > 0.5:
            draw_found(ax, box, NAMES[label])
    ax.set(xticks=[], yticks=[])
axes[2].set_title("ten proposals (black), detections (white)", fontsize=10)
plt.show()

# %% [markdown]
# ## Recall
#
# 1. Why do anchors between 0.3 and 0.7 not count in the loss?
# <details><summary>Answer</summary>Neither answer is right for them: they show half an object.
# Asking for yes or no there would teach the network a line through the middle of doubt.</details>
#
# 2. The same object can have many positive anchors. Is that not a double?
# <details><summary>Answer</summary>It is, and it is wanted here: the proposals are many, doubles
# go by suppression later.</details>
#
# 3. An anchor of 16 x 16 pixels, an object 32 wide with the same centre: which code?
# <details><summary>Answer</summary>t_x = 0 and t_w = log 2 = 0.693.</details>
#
# 4. What does the first stage know about classes?
# <details><summary>Answer</summary>Nothing but object or not. So it can propose objects of classes
# it was never told.</details>
#
# 5. Through which path does the box loss of the second stage train the backbone?
# <details><summary>Answer</summary>Through the pooled features, not through the corners of the
# proposals: these are constants.</details>
#
# ## Change one thing
#
# In the training cell, before the loop, set `model.rpn.matcher = Matcher(0.7, 0.3)`: no rescue of
# objects without a good anchor. Which objects lose their proposals? Compare `after` and the
# pictures.
#
# ## Where this lives
#
# `minidl/boxes/anchors.py`, `matcher.py`, `coder.py`; `minidl/models/detection/rpn.py`,
# `roi_heads.py`, `faster_rcnn.py`. Ren et al. 2015; with a feature pyramid Lin et al. 2017. Next:
# [lesson 27](27_roialign_and_mask_rcnn.html), the outline of each object.
