# %% [markdown]
# # 21. Localisation, and how to compare boxes
#
# After this lesson you can
#
# - give a classifier a second head that says where the object is, and train both by one loss;
# - choose the numbers by which a network writes down a box, and say what each choice costs;
# - compute intersection over union (IoU) by hand, and its gradient;
# - say where IoU is blind, and what generalised IoU (GIoU) adds there.
#
# Needs: lessons 04, 06, 09, 12.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minidl as md
from minidl import nn, optim
from minidl.boxes import box_iou, generalized_box_iou
from minidl.data import Scenes
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE = "#0072b2", "#d55e00"
SIZE = 48  # pixels, height and width of the pictures


# %% [markdown]
# ## One object a picture
#
# Classification asks *what*. Localisation asks *what and where*, for a picture with one object. A
# box is four numbers `(x1, y1, x2, y2)` in pixels: `x` grows to the right, `y` downwards, `x2` and
# `y2` are where the box ends, the first column and row that are no longer in it. So its width is
# `x2 - x1`.
#
# The pictures are generated: one disc, rectangle or triangle each.


# %%
def load(count, seed):
    data = Scenes(
        count, SIZE, seed, "instances", ("disc", "rectangle", "triangle"),
        objects=(1, 1), scale=(0.3, 0.7), difficulty=0.2,
    )  # fmt: skip
    samples = [data[i] for i in range(count)]
    images = np.stack([image.data for image, _ in samples])
    boxes = np.concatenate([target["boxes"].data for _, target in samples])
    labels = np.concatenate([target["labels"].data for _, target in samples])
    return images, boxes, labels


images, boxes, labels = load(8, seed=0)
print(images.shape, boxes.shape, labels.shape)
assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()


# %%
def draw_box(ax, box, colour, style="-"):
    x1, y1, x2, y2 = box
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=2.5, ls=style))


def show_picture(ax, image):
    height, width = image.shape[1:]
    ax.imshow(image.transpose(1, 2, 0), extent=(0, width, height, 0))
    ax.set(xticks=[], yticks=[])


fig, axes = plt.subplots(1, 6, figsize=(11, 2.2))
for ax, image, box, label in zip(axes, images, boxes, labels, strict=False):
    show_picture(ax, image)
    draw_box(ax, box, ORANGE)
    ax.set_title(["disc", "rectangle", "triangle"][label])
plt.show()

# %% [markdown]
# ## Which four numbers?
#
# A network could give the corners in pixels. Numbers of about 30 beside class scores of about 1
# make the two losses hard to balance, and another picture size changes them all. Better are shares
# of the picture: centre $x, y$ and size $w, h$, all from 0 to 1. Better again are the *square
# roots* of the sizes: $\sqrt w, \sqrt h$ (YOLO, lesson 24, does so). The way back must be exact.


# %%
def encode(boxes, size):
    """(R, 4) corners in pixels to x, y, sqrt w, sqrt h in shares of the picture."""
    x1, y1, x2, y2 = (boxes / size).T
    return np.stack([(x1 + x2) / 2, (y1 + y2) / 2, np.sqrt(x2 - x1), np.sqrt(y2 - y1)], axis=1)


def decode(codes, size):
    x, y, root_w, root_h = codes.T
    w, h = root_w**2, root_h**2
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1) * size


codes = encode(boxes, SIZE)
assert np.allclose(decode(codes, SIZE), boxes, atol=1e-4)
assert codes.min() > 0
assert codes.max() < 1

from minidl.models.detection import localization

assert np.allclose(codes, localization.encode(boxes, (SIZE, SIZE)), atol=1e-6)

# %% [markdown]
# Why the roots? Take a box of 8 pixels and one of 32, both predicted 2 pixels too wide. As a
# squared error of $w$ both mistakes cost the same. But of the small box a fifth of what you
# predict is wrong, of the large one a seventeenth. With roots, and $e$ for the error,
# $(\sqrt{w+e}-\sqrt w)^2 \approx e^2 / (4w)$: the cost falls with the width $w$, so we expect
# nearly four times the cost for the small box.

# %%
cost = {}
for width in (8.0, 32.0):
    w, wrong = width / SIZE, (width + 2) / SIZE
    cost[width] = (wrong - w) ** 2, (np.sqrt(wrong) - np.sqrt(w)) ** 2
    overlap = width / (width + 2)
    print(f"width {width:4.0f}: plain {cost[width][0]:.5f}   roots {cost[width][1]:.5f}", end="   ")
    print(f"overlap {overlap:.2f}")
assert np.isclose(cost[8.0][0], cost[32.0][0])
assert 3.3 < cost[8.0][1] / cost[32.0][1] < 4.0

# %% [markdown]
# ## Two heads, one loss
#
# The trunk turns a picture into 64 features. Two linear layers read the same features: one gives a
# score for each of three classes, the other four numbers. The trunk does not end in a mean over
# positions as classifiers often do: *where* would be lost.


# %%
class Localizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential()
        for before, after in ((3, 12), (12, 24), (24, 32)):  # 48 -> 24 -> 12 -> 6 pixels
            self.trunk.extend([nn.Conv2d(before, after, 3, padding=1, bias=False)])
            self.trunk.extend([nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)])
        self.trunk.extend([nn.Flatten(), nn.Linear(32 * 6 * 6, 64), nn.ReLU()])
        self.what = nn.Linear(64, 3)
        self.where = nn.Linear(64, 4)
        nn.init.normal_(self.where.weight, 0.0, 0.01)
        with md.no_grad():  # the first guess: half as wide and high as the picture, in its middle
            self.where.bias.copy_(md.tensor([0.5, 0.5, 0.5**0.5, 0.5**0.5]))

    def forward(self, x):
        features = self.trunk(x)
        return self.what(features), self.where(features)


md.manual_seed(0)
model = Localizer()
scores, guess = model(md.tensor(images[:5]))
assert scores.shape == (5, 3)
assert guess.shape == (5, 4)

# %% [markdown]
# The loss is a sum, $L = L_{class} + \lambda L_{box}$: cross-entropy, and the squared error of the
# four numbers. $\lambda$ says how much one cares for the second. Gradients of a sum are the sum of
# gradients: in the trunk both tasks pull at the same weights. We check it on the first
# convolution.


# %%
def losses(scores, guess, labels, codes):
    by_class = F.cross_entropy(scores, md.tensor(labels))
    by_box = ((guess - md.tensor(codes)) ** 2).mean()
    return by_class, by_box


LAMBDA = 20.0
weight = model.trunk[0].weight
by_class, by_box = losses(*model(md.tensor(images)), labels, codes)
(of_class,) = md.grad(by_class, weight, retain_graph=True)
(of_box,) = md.grad(by_box, weight, retain_graph=True)
(of_both,) = md.grad(by_class + by_box * LAMBDA, weight)
assert np.allclose(of_both.data, of_class.data + LAMBDA * of_box.data, atol=1e-5)
for name, gradient in (("class", of_class), ("box", of_box)):
    print(f"{name:5}: gradient of length {np.linalg.norm(gradient.data):.3f} in the first layer")

# %% [markdown]
# Now train. The first test of any detector is whether it can learn a few pictures *by heart*: if
# not, something is wrong in the loss or in the targets, and no amount of data will mend it. So: 8
# pictures, all of them in each step. We expect every class right, and every box to overlap the
# true one by more than half. (What "overlap" means exactly is the second part of this lesson.)
# About new pictures this says nothing; that takes hundreds of pictures and minutes.

# %%
optimizer = optim.Adam(model.parameters(), lr=3e-3)
schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)  # slower and slower, to 0
history = []
for _ in range(100):
    parts = losses(*model(md.tensor(images)), labels, codes)
    optimizer.zero_grad()
    (parts[0] + parts[1] * LAMBDA).backward()
    optimizer.step()
    schedule.step()
    history.append([float(parts[0]), LAMBDA * float(parts[1])])
model.eval()
with md.no_grad():
    scores, guess = model(md.tensor(images))
found = decode(guess.data, SIZE)
print("classes right:", (scores.data.argmax(1) == labels).mean())
assert (scores.data.argmax(1) == labels).all()

# %%
fig, (ax, *rest) = plt.subplots(1, 6, figsize=(12, 2.4), width_ratios=[2, 1, 1, 1, 1, 1])
ax.semilogy(np.array(history)[:, 0], color=BLUE, label="class")
ax.semilogy(np.array(history)[:, 1], color=ORANGE, ls="--", label="20 x box")
ax.set(xlabel="step", ylabel="loss")
ax.legend(frameon=False)
for i, ax in enumerate(rest):
    show_picture(ax, images[i])
    draw_box(ax, boxes[i], ORANGE)
    draw_box(ax, found[i], BLUE, "--")
rest[2].set_title("truth orange, found blue and dashed")
plt.show()

# %% [markdown]
# ## Intersection over union
#
# How good is a box? The measure that nearly everyone uses: the area that both boxes have in
# common, divided by the area that at least one of them covers:
#
# $$\mathrm{IoU} = \frac{I}{U}, \qquad U = A + B - I$$
#
# with $A, B$ the areas of the boxes and $I$ that of their intersection. The intersection is itself
# a box: from the larger of the left edges to the smaller of the right ones. If that is negative,
# there is none, and it must be cut off at 0. (Without that two boxes that miss each other in
# *both* directions would have a positive product, and an overlap.)


# %%
def iou_by_hand(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return both / (area_a + area_b - both)


a, b = (0, 0, 4, 4), (2, 1, 6, 5)
print(f"2 x 3 in common, 16 + 16 - 6 = 26 covered: {iou_by_hand(a, b):.4f}")
assert np.isclose(iou_by_hand(a, b), 6 / 26)
assert iou_by_hand((0, 0, 2, 2), (3, 3, 5, 5)) == 0.0  # -1 x -1 is no overlap

table = np.array([[iou_by_hand(p, q) for q in boxes] for p in boxes])
assert np.allclose(table, box_iou(boxes, boxes), atol=1e-6)

overlap = np.array([iou_by_hand(p, q) for p, q in zip(found, boxes, strict=True)])
print(f"what was learned: mean IoU {overlap.mean():.2f}, the worst {overlap.min():.2f}")
assert overlap.min() > 0.5

# %% [markdown]
# What does it know that a distance of corners does not? First, it has no units: two boxes enlarged
# together keep their IoU, and not their distance. Second, here are three boxes at *the same*
# distance from one and the same truth; their overlaps differ by a factor of nearly two.

# %%
truth = np.array([10.0, 10, 30, 30])
moves = np.array([[6.0, 6, 6, 6], [-6, -6, 6, 6], [0, 0, 12, 0]])  # shifted; larger; wider
for move in moves:
    box = truth + move
    print(f"distance {np.linalg.norm(move):.0f}   IoU {iou_by_hand(box, truth):.3f}")
values = [iou_by_hand(truth + move, truth) for move in moves]
assert np.allclose(np.linalg.norm(moves, axis=1), 12)
assert values[0] < values[1] < values[2]
assert values[2] > 1.9 * values[0]
assert np.isclose(iou_by_hand(3 * (truth + moves[0]), 3 * truth), values[0])

# %% [markdown]
# ## Its gradient
#
# If IoU is the measure, why not train on it? Take the right edge $x_2$ of box $a$. With $w, h$ the
# sides of the intersection:
#
# - $\partial I / \partial x_2 = h$ if $x_2$ is the edge that bounds the intersection
#   ($a_{x2} < b_{x2}$), else 0;
# - $\partial A / \partial x_2 = a_{y2} - a_{y1}$, the height of the box itself;
# - $U = A + B - I$, so $\partial U = \partial A - \partial I$, and by the quotient rule
#
# $$\frac{\partial\, \mathrm{IoU}}{\partial x_2} = \frac{U\,\partial I - I\,\partial U}{U^2}$$
#
# The other three edges go alike; at the left and upper edge all signs turn.


# %%
def iou_gradient(a, b):
    """d IoU(a, b) / d a, four numbers. Boxes that overlap."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    wide, high = a[2] - a[0], a[3] - a[1]
    i = w * h
    u = wide * high + (b[2] - b[0]) * (b[3] - b[1]) - i
    di = np.array([-h * (a[0] > b[0]), -w * (a[1] > b[1]), h * (a[2] < b[2]), w * (a[3] < b[3])])
    darea = np.array([-high, -wide, high, wide])
    return (u * di - i * (darea - di)) / u**2


p, q = np.array([3.0, 2.0, 9.0, 8.0]), np.array([1.0, 4.0, 8.0, 11.0])
nudges = 1e-5 * np.eye(4)
slow = [(iou_by_hand(p + d, q) - iou_by_hand(p - d, q)) / 2e-5 for d in nudges]
assert np.allclose(iou_gradient(p, q), slow, atol=1e-8)

pair = md.tensor(p, requires_grad=True)
loss = nn.functional.box_iou_loss(pair, md.tensor(q), eps=0.0)  # 1 - IoU
loss.backward()
assert np.allclose(-pair.grad.data, iou_gradient(p, q))
print("d IoU / d (x1, y1, x2, y2) =", iou_gradient(p, q).round(4))

# %% [markdown]
# Read the signs: to raise the overlap, move the left edge to the left (negative), the top down,
# the right edge back to the left and the bottom down.
#
# **Step through it.** The page below computes this IoU from eight numbers; the other box has an
# area of 49. On the way back, look at the `Minimum` of `x2` and `right`: only the smaller of both,
# which bounds the intersection, gets a gradient. Here that is `right`, an edge of the other box;
# what `x2` gets comes through its own area alone, and pulls it back. Look at `Clamp`: it passes
# the gradient on, since the overlap is positive.

# %%
x1, y1, x2, y2 = [md.tensor(edge, requires_grad=True) for edge in (3.0, 2.0, 9.0, 8.0)]
left, top, right, bottom = [md.tensor(edge) for edge in (1.0, 4.0, 8.0, 11.0)]
with md.record() as tape:
    width = (md.minimum(x2, right) - md.maximum(x1, left)).clamp(min=0.0)
    height = (md.minimum(y2, bottom) - md.maximum(y1, top)).clamp(min=0.0)
    both = width * height
    area = (x2 - x1) * (y2 - y1)
    iou = both / (area + 49.0 - both)
    iou.backward()
assert np.allclose([float(edge.grad) for edge in (x1, y1, x2, y2)], iou_gradient(p, q), atol=1e-6)
step_through(tape, "21_localisation_and_iou_steps", "Intersection over union, and its gradient")

# %% [markdown]
# ## Where it is blind
#
# Boxes that do not overlap have IoU 0, whether they are one pixel apart or a hundred; the gradient
# is 0, and nothing is learned. Generalised IoU looks at the smallest box around both, of area $C$,
# and subtracts the share of it that neither covers:
#
# $$\mathrm{GIoU} = \mathrm{IoU} - \frac{C - U}{C}$$
#
# It is at most IoU, from $-1$ to 1. For boxes far apart the second term is nearly 1, and it
# shrinks as they come nearer.


# %%
def giou_by_hand(a, b):
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    iou = iou_by_hand(a, b)
    union = areas / (1 + iou)  # as A + B = U + I = U (1 + IoU)
    return iou - (hull - union) / hull


table = np.array([[giou_by_hand(p, q) for q in boxes] for p in boxes])
assert np.allclose(table, generalized_box_iou(boxes, boxes), atol=1e-5)

places = np.linspace(0, 60, 121)
still = (24.0, 0.0, 36.0, 12.0)
curves = [[f((x, 0.0, x + 12.0, 12.0), still) for x in places] for f in (iou_by_hand, giou_by_hand)]
assert (np.array(curves[1]) <= np.array(curves[0]) + 1e-12).all()
assert (np.diff(curves[1])[places[1:] < 24] > 0).all()  # it rises all the way to the truth

# %% [markdown]
# Now let a box walk downhill, once with $1 - \mathrm{IoU}$ as the loss and once with
# $1 - \mathrm{GIoU}$, from where it does not touch its target. The first must not move at all; the
# second should arrive.


# %%
def walk(loss_of, start, target, steps=400):
    box = md.tensor(start, requires_grad=True)
    optimizer = optim.Adam([box], lr=0.3)
    path = [box.data.copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(box, md.tensor(target)).backward()
        optimizer.step()
        path.append(box.data.copy())
    return np.array(path)


start, target = [4.0, 4.0, 14.0, 12.0], [30.0, 22.0, 46.0, 42.0]
by_iou = walk(nn.functional.box_iou_loss, start, target)
by_giou = walk(nn.functional.generalized_box_iou_loss, start, target)
assert (by_iou == by_iou[0]).all()
assert iou_by_hand(by_giou[-1], target) > 0.9

# %%
fig, (ax, way) = plt.subplots(1, 2, figsize=(10, 3.4))
ax.plot(places - 24, curves[0], color=BLUE, label="IoU")
ax.plot(places - 24, curves[1], color=ORANGE, ls="--", label="GIoU")
ax.set(xlabel="shift of a box of 12 x 12, pixels", title="flat where boxes are apart, or not")
ax.legend(frameon=False)
for step, strength in ((0, 0.4), (20, 0.5), (40, 0.7), (55, 0.85), (400, 1.0)):
    draw_box(way, by_giou[step], (0.84, 0.37, 0.0, strength))
    way.text(*by_giou[step][[0, 3]], f"{step} ", va="top", ha="right", fontsize=8)
draw_box(way, target, BLUE, ":")
way.set(xlim=(0, 52), ylim=(52, 0), aspect="equal", title="steps of 1 - GIoU; target dotted")
plt.show()

# %% [markdown]
# ## Recall
#
# 1. Why does the trunk of a localiser not end in a mean over all positions?
# <details><summary>Answer</summary>The mean is the same wherever in the map a feature was found.
# The class does not need the place, the box does.</details>
#
# 2. Two losses are added. What does the weight between them change in the trunk?
# <details><summary>Answer</summary>The trunk's gradient is the weighted sum of both gradients; the
# weight decides whose wishes its features follow where the tasks disagree.</details>
#
# 3. What goes wrong in an IoU whose intersection is not cut off at 0?
# <details><summary>Answer</summary>Boxes that miss each other in both directions have two negative
# sides, and their product counts as an overlap.</details>
#
# 4. A box is enlarged on all sides, around its target that it covers already. Which gradients does
#    IoU have?
# <details><summary>Answer</summary>The intersection does not change any more, only the area of the
# box: each edge is pulled inwards.</details>
#
# 5. Can GIoU be negative? Can it be above IoU?
# <details><summary>Answer</summary>Negative, yes: for boxes far apart it comes near -1. Never
# above IoU, as what is subtracted is an area divided by an area.</details>
#
# ## Change one thing
#
# Remove the three lines that give `where` its first guess, so that it starts with random weights
# as any linear layer. Look at the first values of both curves, and at how far the class loss
# comes. Why does a wild start of one task hurt the other?
#
# ## Where this lives
#
# `minidl/models/detection/localization.py`, `minidl/boxes/geometry.py`,
# `minidl/ops/box_losses.py`. Sermanet et al. 2013 (OverFeat) put a box regressor beside a
# classifier; Yu et al. 2016 (UnitBox) trained on IoU, Rezatofighi et al. 2019 on GIoU. Next:
# [lesson 22](22_sliding_windows_as_convolution.html), several objects.
