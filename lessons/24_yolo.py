# %% [markdown]
# # 24. YOLO: all boxes from one look
#
# After this lesson you can
#
# - write down objects as a grid of numbers that a network can give in one pass;
# - say which cell, and which of its boxes, is responsible for an object;
# - compute each term of YOLO's loss by hand, and say why its weights are what they are;
# - turn the numbers back into boxes, and remove doubles by non-maximum suppression;
# - train a small one.
#
# Needs: lessons 18, 21, 22.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minidl as md
from minidl import nn, optim
from minidl.boxes import box_iou, nms
from minidl.data import Scenes
from minidl.models.detection.yolo_v1 import YOLOv1, cell_truth
from minidl.teach import step_through

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
NAMES = ("disc", "rectangle", "triangle")
SIZE, S, B, C = 64, 8, 2, 3  # pixels of the picture, cells a side, boxes a cell, classes

# %% [markdown]
# ## Objects as a grid
#
# A picture may hold any number of objects; a network gives a fixed number of numbers. YOLO divides
# the picture into $S \times S$ cells. **The cell into which the centre of an object falls has to
# find it.** For each cell the network gives $B$ boxes and one set of class scores:
#
#     x, y, sqrt w, sqrt h, c     (B times)        p_1 ... p_C
#
# $x, y$: the centre, from the cell's upper left corner, in cells. $w, h$: shares of the *picture*,
# given as roots (lesson 21). $c$: the confidence, which should be the IoU of the box with an
# object, and 0 where there is none. $p$: the classes, if there is an object. All in all
# $S \times S \times (5B + C)$ numbers: here 8 x 8 x 13.

# %%
data = Scenes(
    8, SIZE, 0, "instances", NAMES, objects=(1, 3), scale=(0.3, 0.6), overlap=0.0, difficulty=0.2
)
images = [data[i][0] for i in range(8)]
targets = [{k: data[i][1][k] for k in ("boxes", "labels")} for i in range(8)]
print("objects:", [len(target["labels"]) for target in targets])
assert S * S * (5 * B + C) == 832


def assign(boxes, labels):
    """What each cell should find: whether there is an object, (x, y, w, h), and its class."""
    there = np.zeros((S, S), bool)
    wanted, classes = np.zeros((S, S, 4), np.float32), np.zeros((S, S), np.int64)
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        x, y = (x1 + x2) / 2 * S / SIZE, (y1 + y2) / 2 * S / SIZE  # the centre, in cells
        column, row = min(int(x), S - 1), min(int(y), S - 1)
        if there[row, column]:
            continue  # a cell holds one object: the first
        there[row, column], classes[row, column] = True, label
        wanted[row, column] = x - column, y - row, (x2 - x1) / SIZE, (y2 - y1) / SIZE
    return there, wanted, classes


# %%
FIRST = next(i for i, target in enumerate(targets) if len(target["labels"]) == 3)
there, wanted, classes = assign(targets[FIRST]["boxes"].data, targets[FIRST]["labels"].data)
for row, column in zip(*np.nonzero(there), strict=True):
    print(f"cell ({row}, {column}): {NAMES[classes[row, column]]}", wanted[row, column].round(2))
assert there.sum() == 3

theirs = cell_truth(targets[FIRST]["boxes"].data, targets[FIRST]["labels"].data, SIZE, S)
assert (theirs.occupied == there.ravel()).all()
assert np.allclose(theirs.boxes[theirs.occupied], wanted[there], atol=1e-6)

# %%
fig, ax = plt.subplots(figsize=(4, 4))
ax.imshow(images[FIRST].data.transpose(1, 2, 0), extent=(0, SIZE, SIZE, 0))
for x1, y1, x2, y2 in targets[FIRST]["boxes"].data:
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=ORANGE, lw=2.5))
    ax.plot((x1 + x2) / 2, (y1 + y2) / 2, "o", color=ORANGE)
for row, column in zip(*np.nonzero(there), strict=True):
    cell = Rectangle((column * 8, row * 8), 8, 8, color="white", alpha=0.45)
    ax.add_patch(cell)
ax.set(xticks=range(0, 65, 8), yticks=range(0, 65, 8), title="cells that hold a centre")
ax.grid(color="white", lw=0.6)
plt.show()

# %% [markdown]
# ## Which of the boxes?
#
# A cell with an object has $B = 2$ boxes, and only one of them shall learn it: the one that
# overlaps the object most *at the moment*. It is called *responsible*. So the boxes of a cell
# drift apart: one becomes good at flat objects, say, and is chosen for flat objects more often. If
# none overlaps (IoU 0), the nearest one is taken.

# %%
# (window, channels, stride) of each convolution, "M" a maximum of 2 x 2: 64 pixels become 8 cells
LAYERS = (3, 16, 1), "M", (3, 32, 1), "M", (3, 64, 1), "M", (3, 128, 1), (1, 64, 1)


def small_yolo():
    return YOLOv1(C, S, B, LAYERS, hidden=256, image_size=SIZE, batch_norm=True, dropout=0.0)


md.manual_seed(0)
model = small_yolo()
x = md.tensor(np.stack([image.data for image in images]))
with md.no_grad():
    boxes, confidences, scores = [t.data for t in model.outputs(x)]
print("boxes", boxes.shape, " confidences", confidences.shape, " scores", scores.shape)
assert boxes.shape == (8, S * S, B, 4)


# %%
def corners(code, row, column):
    """(x, y, w, h) of a cell as x1, y1, x2, y2 in pixels."""
    x, y, w, h = code
    x, y = (column + x) * SIZE / S, (row + y) * SIZE / S
    return np.array([x - w * SIZE / 2, y - h * SIZE / 2, x + w * SIZE / 2, y + h * SIZE / 2])


def overlaps(given, true, row, column):
    """IoU of each of the B boxes of a cell, as roots, with its object."""
    mine = [corners([a, b, u * u, v * v], row, column) for a, b, u, v in given]
    return box_iou(np.array(mine), corners(true, row, column)[None])[:, 0]


# as if one of the boxes were flat and the other high, of the first object
row, column = np.argwhere(there)[0]
true = wanted[row, column]
flat = [true[0], true[1], np.sqrt(true[2] * 1.5), np.sqrt(true[3] * 0.6)]
near = [true[0], true[1], np.sqrt(true[2] * 0.9), np.sqrt(true[3] * 1.1)]
iou = overlaps(np.array([flat, near]), true, row, column)
print("IoU of the two boxes:", iou.round(2), "  responsible: number", iou.argmax())
assert iou.argmax() == 1
assert np.allclose(iou, [0.6 / (0.9 + 1 - 0.6), 0.9 / (0.99 + 1 - 0.9)], atol=1e-4)

# %% [markdown]
# ## The loss, term by term
#
# Squared errors throughout. Hats mark the truth; $R_{ij}$ is 1 for the responsible box $j$ of a
# cell $i$ with an object, else 0; $O_i$ is 1 for a cell with an object, else 0; $\hat p_k$ is 1
# for the true class and 0 for the others.
#
# $$\begin{aligned}
# L = {} & 5 \sum R_{ij} [(x - \hat x)^2 + (y - \hat y)^2] \\
# & + 5 \sum R_{ij} [(\sqrt w - \sqrt{\hat w})^2 + (\sqrt h - \sqrt{\hat h})^2] \\
# & + \sum R_{ij} (c - \mathrm{IoU})^2 + 0.5 \sum (1 - R_{ij})\, c^2 \\
# & + \sum O_i \sum_k (p_k - \hat p_k)^2
# \end{aligned}$$
#
# Of 64 cells with two boxes each, one to three boxes are responsible. The fourth term, about boxes
# that should say "nothing", therefore has 125 and more parts. Its weight 0.5 holds it down (below
# it is still many times the third), and the 5 lifts the boxes. We compute all terms in loops and
# compare with minidl's.


# %%
def loss_by_hand(boxes, confidences, scores, truth):
    """Of one picture: outputs (S S, B, 4), (S S, B), (S S, C), and what `assign` gives."""
    there, wanted, classes = truth
    terms = {"loss_box": 0.0, "loss_object": 0.0, "loss_no_object": 0.0, "loss_class": 0.0}
    for row, column in np.ndindex(S, S):
        i = row * S + column
        chosen = -1
        if there[row, column]:
            true = wanted[row, column]
            iou = overlaps(boxes[i], true, row, column)
            shapes = np.concatenate([boxes[i][:, :2] / S, boxes[i][:, 2:] ** 2], axis=1)
            far = ((shapes - np.concatenate([true[:2] / S, true[2:]])) ** 2).sum(axis=1)
            chosen = iou.argmax() if iou.max() > 0 else far.argmin()
            roots = np.concatenate([true[:2], np.sqrt(true[2:])])
            terms["loss_box"] += 5 * ((boxes[i, chosen] - roots) ** 2).sum()
            terms["loss_object"] += (confidences[i, chosen] - iou[chosen]) ** 2
            terms["loss_class"] += ((scores[i] - np.eye(C)[classes[row, column]]) ** 2).sum()
        for j in range(B):
            if j != chosen:
                terms["loss_no_object"] += 0.5 * confidences[i, j] ** 2
    return terms


# %%
md.manual_seed(0)
model.eval()
nn.init.normal_(model.classifier[-1].weight, 0.0, 0.1)  # so that it says something already
with md.no_grad():
    outputs = [t.data for t in model.outputs(x)]
    losses = model.losses(images, targets)
total = dict.fromkeys(losses, 0.0)
for i, target in enumerate(targets):
    truth = assign(target["boxes"].data, target["labels"].data)
    mine = loss_by_hand(*[output[i] for output in outputs], truth)
    total = {name: total[name] + mine[name] / len(images) for name in total}
for name, value in total.items():
    print(f"{name:15} by hand {value:8.4f}   minidl {float(losses[name]):8.4f}")
    assert np.isclose(value, float(losses[name]), rtol=1e-4)
assert total["loss_no_object"] > 5 * total["loss_object"]

# %% [markdown]
# **Step through it**: the loss of *one* cell with one object, whose second box is responsible.
# Follow `c`, the two confidences: the first is pulled to 0 with weight 0.5, the second to its IoU,
# 0.7. In the gradient of `box` the factor $2 \cdot 5$ stands before each error. Note that 0.7 is a
# constant: no gradient flows through the IoU to the box. (If it did, the box could lower the loss
# of its confidence by fitting worse.)

# %%
box = md.tensor([[0.4, 0.6, 0.7, 0.5]], requires_grad=True)  # x, y, sqrt w, sqrt h
c = md.tensor([0.3, 0.2], requires_grad=True)
p = md.tensor([0.2, 0.5, 0.1], requires_grad=True)
true_box, true_c = md.tensor([[0.5, 0.5, 0.6, 0.6]]), md.tensor([0.0, 0.7])
true_p, weights = md.tensor([0.0, 1.0, 0.0]), md.tensor([0.5, 1.0])
with md.record() as tape:
    of_box = ((box - true_box) ** 2).sum() * 5.0
    of_confidence = ((c - true_c) ** 2 * weights).sum()
    of_class = ((p - true_p) ** 2).sum()
    loss = of_box + of_confidence + of_class
    loss.backward()
assert np.allclose(box.grad.data, 10 * (box.data - true_box.data))
assert np.allclose(c.grad.data, [2 * 0.5 * 0.3, 2 * (0.2 - 0.7)])
step_through(tape, "24_yolo_steps", "The loss of one cell of YOLO")

# %% [markdown]
# ## From numbers to boxes
#
# Decoding is the way back: put each box in its place; its score for class $k$ is $c \cdot p_k$,
# the confidence that there is something times the probability of the class. Several cells near a
# large object may claim it, and both boxes of a cell: of boxes of one class that overlap, only the
# surest is left. **Non-maximum suppression**:
#
# 1. take the box of highest score and keep it;
# 2. remove all that overlap it by more than a threshold;
# 3. go on with what is left.


# %%
def nms_by_hand(boxes, scores, threshold):
    kept, waiting = [], list(np.argsort(-scores, kind="stable"))
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        iou = box_iou(boxes[best : best + 1], boxes[waiting])[0]
        waiting = [k for k, overlap in zip(waiting, iou, strict=True) if overlap <= threshold]
    return kept


three = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [6, 0, 16, 10.0]])
print("overlaps with the first:", box_iou(three[:1], three)[0].round(2))
assert nms_by_hand(three, np.array([0.9, 0.8, 0.7]), 0.5) == [0, 2]
rng = np.random.default_rng(0)
many = rng.uniform(0, 40, (100, 2))
many = np.concatenate([many, many + rng.uniform(5, 20, (100, 2))], axis=1)
chance = rng.random(100)
assert nms_by_hand(many, chance, 0.3) == nms(many, chance, 0.3).tolist()

# %% [markdown]
# ## Training
#
# Eight scenes by heart: 60 steps with all of them. That is no detector of new pictures, which
# takes a few hundred scenes and minutes (`minidl train yolo_v1_small`); but a mistake in any line
# above would show here. We expect each object to be found: a box of its class that overlaps it by
# more than half.

# %%
md.manual_seed(0)
model = small_yolo()
optimizer = optim.Adam(model.parameters(), lr=1e-3)
history = []
for _ in range(60):
    losses = model.losses(images, targets)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    history.append([float(loss) for loss in losses.values()])
model.eval()


# %%
def decode(boxes, confidences, scores):
    """Of one picture: all S S B boxes in pixels (R, 4), and their scores for each class (R, C)."""
    found, sure = [], []
    for row, column in np.ndindex(S, S):
        for j in range(B):
            x, y, root_w, root_h = boxes[row * S + column, j]
            found.append(corners([x, y, root_w**2, root_h**2], row, column))
            probability = np.clip(scores[row * S + column], 0, 1)
            sure.append(np.clip(confidences[row * S + column, j], 0, 1) * probability)
    return np.clip(found, 0, SIZE), np.array(sure)


def detect(boxes, sure, least=0.2):
    """The boxes, classes and scores left after suppression within each class."""
    result = []
    for k in range(C):
        mine = np.flatnonzero(sure[:, k] > least)
        kept = mine[nms_by_hand(boxes[mine], sure[mine, k], 0.5)]
        result += [(boxes[r], k, sure[r, k]) for r in kept]
    return sorted(result, key=lambda found: -found[2])


# %%
with md.no_grad():
    outputs = [t.data for t in model.outputs(x)]
answers = [detect(*decode(*[output[i] for output in outputs])) for i in range(8)]
theirs = model.predict(images)
hits = count = 0
for answer, prediction, target in zip(answers, theirs, targets, strict=True):
    sure = prediction["scores"].data[prediction["scores"].data > 0.2]
    assert np.allclose([score for _, _, score in answer], sure, atol=1e-5)  # minidl's own
    for box, label in zip(target["boxes"].data, target["labels"].data, strict=True):
        mine = [b for b, k, _ in answer if k == label]
        hits += bool(len(mine) and box_iou(np.array(mine), box[None]).max() > 0.5)
        count += 1
print(f"{hits} of {count} objects found")
assert hits >= 0.8 * count


# %%
def draw_found(ax, box, text):
    x1, y1, x2, y2 = box
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec="white", lw=2))
    x, ha = (x1 + 1, "left") if x1 < SIZE / 2 else (x2 - 1, "right")
    ax.text(x, y1 + 1, text, ha=ha, va="top", fontsize=8, color="white")


fig, axes = plt.subplots(1, 5, figsize=(13, 2.6), width_ratios=[1.5, 1, 1, 1, 1])
styles = zip(losses, ("-", "--", ":", "-."), (BLUE, ORANGE, GREEN, "black"), strict=True)
for (name, style, colour), values in zip(styles, np.array(history).T, strict=True):
    axes[0].semilogy(values, style, color=colour, label=name.removeprefix("loss_"))
axes[0].set(xlabel="step", title="the terms of the loss")
axes[0].legend(frameon=False, fontsize=8)
for i, ax in enumerate(axes[1:]):
    ax.imshow(images[i].data.transpose(1, 2, 0), extent=(0, SIZE, SIZE, 0))
    for box, k, score in answers[i]:
        draw_found(ax, box, f"{NAMES[k]} {score:.2f}")
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Recall
#
# 1. Two objects have their centres in the same cell. What happens?
# <details><summary>Answer</summary>One of them is not learned: a cell holds one object. That is
# why YOLO misses flocks of small things.</details>
#
# 2. Why is the target of the confidence the IoU and not 1?
# <details><summary>Answer</summary>Then the score says also how well the box fits, and suppression
# keeps the better box.</details>
#
# 3. Why is the weight of boxes without an object below 1?
# <details><summary>Answer</summary>They are 125 and more against one to three. Early in training
# their gradients would outweigh all others and push every confidence to 0, before anything is
# found.</details>
#
# 4. Is a box that is not responsible pulled to the object?
# <details><summary>Answer</summary>No: of it only the confidence is learned, toward 0.</details>
#
# 5. Non-maximum suppression with threshold 0.5: can two true objects of one class become one box?
# <details><summary>Answer</summary>Yes, if their boxes overlap by more than 0.5.</details>
#
# ## Change one thing
#
# Make the grid coarse: `S = 2`, and two more `"M"` at the end of `LAYERS`, so that 64 pixels
# become two cells. First print for each picture how many cells `assign` fills, and compare with
# the number of objects (an assertion will complain; why?). How many objects can the network learn
# at most?
#
# ## Where this lives
#
# `minidl/models/detection/yolo_v1.py`, its successor with anchors `yolo_v2.py`, suppression in
# `minidl/boxes/nms.py`. Redmon and others, 2016. Next: [lesson 25](25_rcnn_to_fast_rcnn.html),
# detectors that look twice.
