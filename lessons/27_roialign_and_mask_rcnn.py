# %% [markdown]
# # 27. RoIAlign and Mask R-CNN
#
# After this lesson you can
#
# - measure what RoIPool's rounding costs when an object moves by less than a cell;
# - compute RoIAlign by hand, with its bilinear weights, and its gradient by the same weights;
# - say what the mask head of Mask R-CNN learns, and from which target;
# - explain why each class has a sigmoid of its own, and what a softmax over classes would do.
#
# Needs: lessons 23, 25, 26.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

import minidl as md
from minidl import nn, optim
from minidl.boxes import box_iou
from minidl.data import Scenes
from minidl.models.detection import maskrcnn_small
from minidl.models.detection.mask_rcnn import paste_masks
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
rng = np.random.default_rng(0)

# %% [markdown]
# ## What rounding costs
#
# RoIPool (lesson 25) rounds twice: the box to whole cells, and its bins. On a map of stride 16,
# half a cell is 8 pixels of the picture. For a class that hardly matters. For an outline it does.
#
# Here is a test. Take a feature map that is known *everywhere*, a sum of waves, and a box. Let
# picture and box move together by a part of a cell: the object is the same, it only stands
# elsewhere. So what is pooled **should not change at all**.

# %%
phases, lengths = rng.uniform(0, 6.28, (8, 3)), rng.uniform(5, 14, (8, 3))
angles = rng.uniform(0, 6.28, (8, 3))


def waves(shift, cells=24):
    """Eight maps (1, 8, cells, cells), moved to the right and down by `shift` cells."""
    place = np.arange(cells) + 0.5 - shift  # middles of the cells
    y, x = place[:, None, None, None], place[None, :, None, None]
    along = x * np.cos(angles) + y * np.sin(angles)
    return np.cos(6.28 * along / lengths + phases).sum(-1).transpose(2, 0, 1)[None]


boxes = np.array([[4.3, 5.2, 15.1, 13.9], [3.0, 8.4, 12.6, 19.5], [6.8, 2.1, 18.2, 10.7]])


def pooled(how, shift):
    features, moved = md.tensor(waves(shift)), boxes + shift
    if how == "RoIPool":
        return F.roi_pool(features, [moved], 7).data
    return F.roi_align(features, [moved], 7, sampling_ratio=2, aligned=True).data


def change(how, shift):
    still, moved = pooled(how, 0.0), pooled(how, shift)
    return np.linalg.norm(moved - still) / np.linalg.norm(still)


shifts = np.linspace(0, 1, 21)
changes = {how: [change(how, s) for s in shifts] for how in ("RoIPool", "RoIAlign")}
for how, values in changes.items():
    print(f"{how:8} changes by {np.mean(values):5.1%} on average, by at most {max(values):.1%}")
assert np.mean(changes["RoIPool"]) > 4 * np.mean(changes["RoIAlign"])
assert changes["RoIPool"][-1] < 1e-9  # a whole cell: nothing changes
assert changes["RoIAlign"][-1] < 1e-9

# %%
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot(shifts, changes["RoIPool"], "o-", color=ORANGE, ms=4, label="RoIPool")
ax.plot(shifts, changes["RoIAlign"], "s-", color=BLUE, ms=4, label="RoIAlign")
ax.set(xlabel="shift of picture and box, cells", ylabel="relative change", ylim=(0, None))
ax.set_title("what is pooled from one and the same object")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## RoIAlign by hand
#
# RoIAlign rounds nothing. Cell $i$ of the map stands at $i + 1/2$. The box is divided into bins of
# equal size, a fraction of a cell if need be; in each bin stand 2 x 2 sample points, at its
# quarters; each sample is interpolated between its four neighbour cells; the bin is the mean of
# its samples.
#
# Bilinear interpolation at $(y, x)$: with $y_0, x_0$ the cell to the upper left, and the fractions
# $a = y - y_0$, $b = x - x_0$,
#
# $$f = (1-a)(1-b) f_{00} + (1-a)\, b\, f_{01} + a\,(1-b) f_{10} + a\, b\, f_{11}$$
#
# None of the four weights is negative, and they add up to 1.


# %%
def corners_of(y, x, height, width):
    """The cells around a place on the map, and their weights."""
    y, x = y - 0.5, x - 0.5  # counted from the middle of cell 0
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    a, b = y - top, x - left
    weights = (1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b
    places = (top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)
    return list(zip(places, weights, strict=True))


def samples_of(box, bins, i, j, samples=2):
    """The places of the samples of bin (i, j)."""
    x1, y1, x2, y2 = box
    height, width = (y2 - y1) / bins, (x2 - x1) / bins
    parts = (np.arange(samples) + 0.5) / samples
    return [(y1 + (i + p) * height, x1 + (j + q) * width) for p in parts for q in parts]


def roi_align_by_hand(x, box, bins):
    """x (C, H, W), box in cells of the map: (C, bins, bins)."""
    result = np.zeros((len(x), bins, bins))
    for i, j in np.ndindex(bins, bins):
        points = samples_of(box, bins, i, j)
        for y, z in points:
            for (row, column), weight in corners_of(y, z, *x.shape[1:]):
                result[:, i, j] += weight * x[:, row, column] / len(points)
    return result


# %%
x = rng.standard_normal((4, 12, 14))
few = np.array([[1.3, 2.2, 9.7, 8.1], [4.0, 3.0, 13.5, 11.2]])
mine = np.stack([roi_align_by_hand(x, box, 3) for box in few])
theirs = F.roi_align(md.tensor(x[None]), [few], 3, sampling_ratio=2, aligned=True)
assert np.allclose(mine, theirs.data)
weights = [w for _, w in corners_of(3.37, 5.81, 12, 14)]
print("weights at (3.37, 5.81):", np.round(weights, 3), " sum", round(sum(weights), 6))
assert np.isclose(sum(weights), 1)
assert min(weights) >= 0

# %% [markdown]
# **Backwards**: RoIAlign is linear in the map. What came in with weight $w$ gets $w$ times the
# gradient back. The same loops, with the two sides exchanged. (RoIPool gives one cell everything;
# here several cells get a share.)

# %%
given = rng.standard_normal(mine.shape)
by_hand = np.zeros_like(x)
for box, gradient in zip(few, given, strict=True):
    for i, j in np.ndindex(3, 3):
        points = samples_of(box, 3, i, j)
        for y, z in points:
            for (row, column), weight in corners_of(y, z, *x.shape[1:]):
                by_hand[:, row, column] += weight * gradient[:, i, j] / len(points)
features = md.tensor(x[None], requires_grad=True)
out = F.roi_align(features, [few], 3, sampling_ratio=2, aligned=True)
out.backward(md.tensor(given))
assert np.allclose(features.grad.data[0], by_hand)
print(f"{(by_hand[0] != 0).sum()} of {by_hand[0].size} cells of a map get a gradient")

# %% [markdown]
# **Step through it**: a ramp, in which the cell in column $j$ of row $i$ holds $10 i + j$, and one
# box whose corners lie within cells. Point at an output cell: the box, its bins and the cells
# around the samples light up, with their weights. On a ramp interpolation is exact, so each output
# is the ramp at the middle of its bin. Check the first: the box begins at (1.25, 1.0), a bin is
# 1.5 wide and 1.25 high; its middle is at $x = 2$, $y = 1.625$, so
# $10 \cdot (1.625 - 0.5) + (2 - 0.5) = 12.75$.

# %%
ramp = 10.0 * np.arange(5)[:, None] + np.arange(6)
ramp = md.tensor(ramp[None, None].astype(np.float32), requires_grad=True)
one = np.array([[1.25, 1.0, 4.25, 3.5]], np.float32)
factors = md.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
with md.record() as tape:
    aligned = F.roi_align(ramp, [one], 2, sampling_ratio=2, aligned=True)
    (aligned * factors).sum().backward()
print(aligned.data[0, 0])
assert np.isclose(aligned.data[0, 0, 0, 0], 12.75)
assert np.isclose(ramp.grad.data.sum(), 1 + 2 + 3 + 4)
step_through(tape, "27_roialign_and_mask_rcnn_steps", "RoIAlign of one box on a ramp")

# %% [markdown]
# ## Masks
#
# Mask R-CNN is Faster R-CNN with a third head: for each box, a small picture that says which
# pixels *within the box* are the object's. The truth for it is the object's mask, cut out by the
# box and brought to $m \times m$: RoIAlign, again, of the mask. At the end the way back: the small
# mask is enlarged to its box. How much is lost on that way alone, with no network?

# %%
NAMES, SIZE = ("disc", "rectangle", "triangle"), 64
data = Scenes(
    4, SIZE, 0, "instances", NAMES, objects=(2, 3), scale=(0.35, 0.6), overlap=0.0, difficulty=0.2
)
images = [data[i][0] for i in range(4)]
targets = [{k: data[i][1][k] for k in ("boxes", "labels", "masks")} for i in range(4)]
kept = {}
for m in (3, 7, 14, 28):
    overlaps = []
    for target in targets:
        true, boxes_here = target["masks"].data, target["boxes"].data
        whole = md.tensor(true[:, None].astype(np.float32))
        rois = np.concatenate([np.arange(len(true))[:, None], boxes_here], axis=1)
        small = F.roi_align(whole, rois.astype(np.float32), m, aligned=True).data[:, 0]
        back = paste_masks(small, boxes_here, (SIZE, SIZE))
        overlaps += ((back & true).sum((1, 2)) / (back | true).sum((1, 2))).tolist()
    kept[m] = np.mean(overlaps)
    print(f"{m:2} x {m:2}: IoU of the mask after the way there and back {kept[m]:.3f}")
assert kept[3] < kept[7] < kept[28]
assert kept[28] > 0.9

# %% [markdown]
# ## One sigmoid for each class
#
# The mask head gives, for each box, $C$ masks of logits, one for each class. FCN (lesson 23) would
# take a softmax over classes in each pixel. Mask R-CNN does not: the box head has said already
# *what* it is; the mask only says *which pixels*. Its loss looks at the mask of the true class $k$
# alone, with a sigmoid in each pixel:
#
# $$L_{mask} = \frac{1}{m^2} \sum_{i} \mathrm{BCE}(z^{(k)}_i, y_i)$$
#
# What is the difference? With a softmax the classes compete for the pixel. We take one pixel and
# three classes, the second being true, and look at the gradients of both losses; and at what a
# high logit of another class does to the answer.

# %%
pixel = md.tensor([[2.0, 1.0, -0.5]], requires_grad=True)
F.cross_entropy(pixel, md.tensor([1])).backward()
of_softmax = pixel.grad.data.copy()
pixel.grad = None
F.binary_cross_entropy_with_logits(pixel[:, 1], md.tensor([1.0])).backward()
of_sigmoid = pixel.grad.data
print("softmax: gradient", of_softmax.round(3), "  sigmoid:", of_sigmoid.round(3))
assert (of_softmax != 0).all()
assert (of_sigmoid[0, [0, 2]] == 0).all()

for other in (-4.0, 0.0, 4.0):
    logits = np.array([other, 1.0, -0.5])
    soft = np.exp(logits)[1] / np.exp(logits).sum()
    print(
        f"another class at {other:4.0f}: softmax {soft:.2f}, sigmoid {1 / (1 + np.exp(-1.0)):.2f}"
    )
assert soft < 0.06  # the pixel is lost, though the box is known to be of class 1

# %% [markdown]
# In the paper that choice is worth 5.5 points of mask AP (table 2b). Now the loss of a whole
# network, by hand from its logits.

# %%
md.manual_seed(0)
model = maskrcnn_small(3, min_size=SIZE)
heads = model.roi_heads
batch, moved = model.transform(images, targets)
features = model.backbone(batch.images)
proposals = model.rpn.proposals(model.rpn(features, (SIZE, SIZE)), batch.sizes, training=True)
samples = heads.sample(proposals, moved)
positive = [sample.positive for sample in samples]
cut_out = heads.mask_roi_pool(features, positive, batch.sizes)  # by RoIAlign, 14 x 14
logits = heads.mask_predictor(heads.mask_head(cut_out))  # twice the size, 28 x 28
print(f"{len(logits)} positive boxes: logits {logits.shape}, class 0 being background")

labels = np.concatenate([sample.labels[: len(sample.matches)] for sample in samples])
z = logits.data[np.arange(len(labels)), labels]  # of the true class only
y = []
for sample, target in zip(samples, moved, strict=True):
    masks = md.tensor(target["masks"].data[sample.matches][:, None].astype(np.float32))
    rois = np.concatenate([np.arange(len(masks))[:, None], sample.positive], axis=1)
    y.append(F.roi_align(masks, rois.astype(np.float32), 28).data[:, 0])
y = np.concatenate(y)
by_hand = (np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))).mean()
theirs = heads.losses(features, samples, moved, batch.sizes)["loss_mask"]
print(f"loss_mask by hand {by_hand:.5f}, minidl {float(theirs):.5f}")
assert z.shape == y.shape == (len(labels), 28, 28)
assert np.isclose(by_hand, float(theirs), rtol=1e-4)

# %% [markdown]
# ## Training
#
# Five losses now, one network. Four scenes by heart, 60 steps; then we ask of each object whether
# it is found with its class, and how well the mask fits. Two objects of one class are two masks:
# this is *instance* segmentation.

# %%
optimizer = optim.Adam(model.parameters(), lr=1e-3)
schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 60, eta_min=1e-4)
for step in range(60):
    losses = model.losses(images, targets)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    schedule.step()
    if step % 20 == 19:
        print(f"step {step + 1}:", {k[5:]: round(float(v), 3) for k, v in losses.items()})
model.eval()
answers = model.predict(images)
fits = []
for answer, target in zip(answers, targets, strict=True):
    overlap = box_iou(target["boxes"].data, answer["boxes"].data)
    overlap *= target["labels"].data[:, None] == answer["labels"].data
    for row, true in zip(overlap, target["masks"].data, strict=True):
        if row.size and row.max() > 0.5:
            mask = answer["masks"].data[row.argmax()]
            fits.append((mask & true).sum() / (mask | true).sum())
count = sum(len(target["labels"]) for target in targets)
print(f"{len(fits)} of {count} objects found; IoU of their masks {np.mean(fits):.2f}")
assert len(fits) >= 0.7 * count
assert np.mean(fits) > 0.6

# %%
fig, axes = plt.subplots(1, 4, figsize=(10, 2.7))
for ax, picture, answer in zip(axes, images, answers, strict=True):
    shown = picture.data.transpose(1, 2, 0) * 0.55
    for number, k in enumerate(np.flatnonzero(answer["scores"].data > 0.5)):
        tint = np.array(to_rgb((ORANGE, BLUE, GREEN)[number % 3]))
        mask = answer["masks"].data[k]
        shown[mask] = 0.4 * shown[mask] + 0.6 * tint
        x1, y1, x2, y2 = answer["boxes"].data[k]
        name = NAMES[answer["labels"].data[k]]
        ax.text(
            (x1 + x2) / 2, (y1 + y2) / 2, name, ha="center", va="center", fontsize=8, color="white"
        )
    ax.imshow(shown, extent=(0, SIZE, SIZE, 0))
    ax.set(xticks=[], yticks=[])
axes[1].set_title("each object with a mask of its own")
plt.show()

# %% [markdown]
# ## Recall
#
# 1. A box ends at 7.4 on the map. What does RoIPool make of it, and what RoIAlign?
# <details><summary>Answer</summary>RoIPool rounds it to cell 7. RoIAlign keeps 7.4 and places its
# samples by it.</details>
#
# 2. Why does a shift by a whole cell change nothing, even with RoIPool?
# <details><summary>Answer</summary>Rounding 5.2 + 1 gives the rounding of 5.2, plus 1: map and
# bins move together.</details>
#
# 3. The map is constant, 3 everywhere. What does RoIAlign give, and why?
# <details><summary>Answer</summary>3 in each bin inside of the map: the weights of a sample add up
# to 1.</details>
#
# 4. Which cells get a gradient from one bin of RoIAlign, and how much together?
# <details><summary>Answer</summary>Those around its samples, together as much as the bin's own
# gradient.</details>
#
# 5. In prediction, which of the $C$ masks is used, and of which box?
# <details><summary>Answer</summary>That of the class the box head has found, of the detection
# after its box was moved.</details>
#
# ## Change one thing
#
# In the cell that measures the changes use `sampling_ratio=1`, one sample in the middle of each
# bin. Does RoIAlign still change less than RoIPool under shifts? So what was it that helped: the
# many samples, or not rounding?
#
# ## Where this lives
#
# `minidl/ops/roi.py`, `minidl/backend/roi_grid.py` (the weights),
# `minidl/models/detection/mask_rcnn.py`; the measurement in full: `examples/roi_shift.py`. He et
# al. 2017. Next: [lesson 28](28_measuring_detectors.html), how good is a detector?
