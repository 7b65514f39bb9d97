# %% [markdown]
# # 28. Measuring detectors
#
# After this lesson you can
#
# - decide of each detection whether it is true or false, by the rule of Pascal VOC;
# - draw precision over recall, and compute average precision (AP) by hand in its three common
#   forms;
# - say what COCO's AP adds, and compute it;
# - name what AP does not see, and what one can do to raise it without finding anything more.
#
# Needs: lessons 21, 24.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minidl as md
from minidl.boxes import box_iou
from minidl.metrics import COCOAveragePrecision, VOCAveragePrecision
from minidl.teach import step_through

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"

# %% [markdown]
# ## An example that fits on a page
#
# One class, three pictures with five objects, and a detector that answered with eight boxes, each
# with a score that says how sure it is. Boxes are `(x1, y1, x2, y2)`.

# %%
truths = [
    np.array([[5.0, 5, 25, 25], [35, 30, 55, 55]]),
    np.array([[10.0, 15, 40, 50]]),
    np.array([[5.0, 30, 25, 55], [38, 8, 56, 26]]),
]
detections = [
    (np.array([[6.0, 6, 26, 26], [8, 4, 26, 22], [30, 36, 48, 60]]), np.array([0.95, 0.80, 0.60])),
    (np.array([[12.0, 14, 41, 52], [44, 2, 58, 14]]), np.array([0.90, 0.70])),
    (np.array([[4.0, 29, 26, 54], [39, 9, 55, 27], [22, 22, 40, 40]]), np.array([0.55, 0.75, 0.5])),
]
objects = sum(len(boxes) for boxes in truths)

# %% [markdown]
# ## True or false
#
# The detections of all pictures go into *one* list, the surest first. Then each in turn:
#
# 1. take the object of its picture that it overlaps most (intersection over union, lesson 21);
# 2. if the overlap is below 0.5, the detection is false;
# 3. if a surer one has taken that object already, it is false: one object, one detection;
# 4. otherwise it is true, and the object is taken.


# %%
def judge(truths, detections, threshold=0.5):
    """For all detections, the surest first: scores, whether true, and (picture, number)."""
    rows = []
    for picture, (_, scores) in enumerate(detections):
        rows += [(score, picture, k) for k, score in enumerate(scores)]
    rows.sort(key=lambda row: -row[0])
    taken = [np.zeros(len(boxes), bool) for boxes in truths]
    verdicts = []
    for _, picture, k in rows:
        if len(truths[picture]) == 0:
            verdicts.append(False)
            continue
        overlaps = box_iou(detections[picture][0][k : k + 1], truths[picture])[0]
        best = overlaps.argmax()
        true = overlaps[best] >= threshold and not taken[picture][best]
        taken[picture][best] |= true
        verdicts.append(bool(true))
    return np.array([r[0] for r in rows]), np.array(verdicts), [r[1:] for r in rows]


scores, hits, where = judge(truths, detections)
print("score ", scores)
print("true  ", hits.astype(int))
assert hits.tolist() == [True, True, False, True, False, False, True, False]

# %% [markdown]
# Find them in the picture. The detection of 0.80 overlaps an object well, but the one of 0.95 had
# it before: false. That of 0.60 lies near the object and not on it: false.

# %%
verdict = {place: bool(hit) for place, hit in zip(where, hits, strict=True)}
fig, axes = plt.subplots(1, 3, figsize=(10, 3.5))
for picture, ax in enumerate(axes):
    for x1, y1, x2, y2 in truths[picture]:
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, color="0.85"))
    for k, ((x1, y1, x2, y2), score) in enumerate(zip(*detections[picture], strict=True)):
        true = verdict[picture, k]
        colour, style = (BLUE, "-") if true else (ORANGE, "--")
        box = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, ls=style, lw=2)
        ax.add_patch(box)
        y, va = (y1 + 1, "top") if true else (y2 - 1, "bottom")
        ax.text(x1 + 1, y, f"{score:.2f}", color=colour, fontsize=10, va=va)
    ax.set(xlim=(0, 60), ylim=(62, 0), xticks=[], yticks=[], aspect="equal")
axes[1].set_title("grey: objects; blue: true; orange, dashed: false")
plt.show()

# %% [markdown]
# ## Precision and recall
#
# Suppose you keep the $n$ surest detections, $T$ of which are true, where there are $G$ objects:
#
# $$\text{precision} = \frac{T}{n}, \qquad \text{recall} = \frac{T}{G}$$
#
# Precision: how much of what I say is right. Recall: how much of what is there I say. As $n$
# grows, recall can only rise; precision goes up with each true one and down with each false one.
# Note what is *not* needed: the number of true negatives. There are endlessly many boxes in which
# nothing is.

# %%
true = np.cumsum(hits)
precision = true / np.arange(1, len(hits) + 1)
recall = true / objects
for row in zip(scores, hits, precision, recall, strict=True):
    print("score {:.2f}  true {:d}  precision {:.2f}  recall {:.1f}".format(*row))
assert (np.diff(recall) >= 0).all()
assert np.allclose(precision[[0, 2, 6]], [1, 2 / 3, 4 / 7])
assert recall[-1] == 0.8  # one object of five was never found

# %% [markdown]
# ## Average precision
#
# One number for the whole curve: the area under it. The saw teeth are smoothed first. If at a
# higher recall there is a better precision, nobody would choose the worse point, so each point
# counts as much as the best one to its right:
#
# $$p_{best}(r) = \max_{r' \ge r}\ p(r')$$
#
# From VOC 2010 on, AP is the area under that staircase: at each true detection recall rises by
# $1/G$, so it is the sum of $p_{best}$ over the *true* detections, divided by $G$. VOC 2007, and
# many older papers, read the staircase at eleven recalls, 0, 0.1, ... 1, and take the mean; where
# the curve does not reach, precision is 0.


# %%
def staircase(precision):
    best = precision.copy()
    for n in range(len(best) - 2, -1, -1):
        best[n] = max(best[n], best[n + 1])
    return best


def area_ap(hits, objects):
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return staircase(precision)[hits].sum() / objects


def ap_at(recalls, hits, objects):
    true = np.cumsum(hits)
    best = staircase(true / np.arange(1, len(hits) + 1))
    values = []
    for recall in recalls:
        there = np.flatnonzero(true / objects >= recall)
        values.append(best[there[0]] if len(there) else 0.0)
    return float(np.mean(values))


area, eleven = area_ap(hits, objects), ap_at(np.linspace(0, 1, 11), hits, objects)
print(f"AP by area {area:.4f}, at 11 points {eleven:.4f}")
assert np.isclose(area, (1 + 1 + 3 / 4 + 4 / 7) / 5)
assert np.isclose(eleven, (5 * 1 + 1 * 3 / 4 + 3 * 4 / 7 + 2 * 0) / 11)

# %% [markdown]
# Check the eleven by eye: recalls 0 to 0.4 have 1, then 0.5 has 3/4, and 0.7 and 0.8 have 4/7; 0.9
# and 1 have 0. And 0.6? You would say 3/4. But the seventh of the eleven numbers, computed in
# binary, is 0.6000000000000001, which a recall of 3/5 does not reach: 4/7. The tools that
# published numbers come from round so, too, and minidl follows them. Area and eleven points differ
# by rule alone, not by the detector. **An AP without its rule is not a number.** Now minidl's own:

# %%
assert np.linspace(0, 1, 11)[6] > 3 / 5
names = ("boxes", "labels", "scores")


def tensors(*values):
    return dict(zip(names, [md.tensor(value) for value in values], strict=False))


def voc(truths, detections, **options):
    metric = VOCAveragePrecision(["thing"], **options)
    for true, (boxes, scores) in zip(truths, detections, strict=True):
        there = tensors(true.astype(np.float32), np.zeros(len(true), np.int64))
        found = tensors(boxes.astype(np.float32), np.zeros(len(boxes), np.int64), scores)
        metric.update([found], [there])
    return float(metric.compute()["mAP"])


assert np.isclose(voc(truths, detections), area)
assert np.isclose(voc(truths, detections, points=11), eleven)

# %%
fig, ax = plt.subplots(figsize=(6, 3.6))
ax.plot(recall, precision, "o-", color=GREY, label="n surest detections")
steps = np.append(0, recall), np.append(1, staircase(precision))
ax.step(*steps, where="pre", color=BLUE, lw=2, label="best at this recall or above")
ax.fill_between(*steps, step="pre", color=BLUE, alpha=0.15)
marks = np.linspace(0, 1, 11)
heights = [ap_at([r], hits, objects) for r in marks]
ax.plot(marks, heights, "v", color=ORANGE, label="the eleven points")
ax.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.03), ylim=(-0.03, 1.08))
ax.set_title(f"AP is the blue area, {area:.3f}, or the mean of eleven, {eleven:.3f}")
ax.legend(loc="lower left", frameon=False)
plt.show()

# %% [markdown]
# **Step through it.** The same area as a few operations on the list of hits: a product with a
# triangle of ones counts the true ones so far; a division gives precision; a maximum over "all
# places from here on" makes the staircase. Look at the step `Extreme`, row 2: its own precision is
# 0.667, and the 0.75 that it gets stands one place further on.

# %%
column = md.tensor(hits[:, None].astype(np.float32))
triangle = md.tensor(np.tril(np.ones((8, 8), np.float32)))
from_here = md.tensor(np.triu(np.ones((8, 8), np.float32)))
rank = md.tensor(np.arange(1, 9, dtype=np.float32)[:, None])
with md.record() as tape:
    so_far = triangle @ column
    share = so_far / rank
    ahead = from_here * share.reshape(1, 8)
    best = ahead.amax(dim=1, keepdim=True)
    found_area = (best * column).sum() / 5.0
assert np.isclose(float(found_area), area)
step_through(tape, "28_measuring_detectors_steps", "Average precision from a list of hits")

# %% [markdown]
# ## Many classes, many pictures
#
# Each class has an AP of its own; **mAP** is their mean, over the classes. To trust our forty
# lines, let them meet a pile of random pictures and random detections: some near an object, some
# anywhere. Detections of class $c$ are judged against objects of class $c$ only.

# %%
rng = np.random.default_rng(0)


def random_boxes(count):
    corner = rng.uniform(0, 70, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(10, 30, (count, 2))], axis=1)


CLASSES, PICTURES = 3, 30
pile_truths, pile_found = [], []
for _ in range(PICTURES):
    boxes = random_boxes(rng.integers(0, 7))
    near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 2.0, (2 * len(boxes), 4))
    found = np.concatenate([near, random_boxes(4)])
    labels = rng.integers(0, CLASSES, len(boxes))
    guess = np.concatenate([np.repeat(labels, 2), rng.integers(0, CLASSES, 4)])
    pile_truths.append((boxes, labels))
    pile_found.append((found, guess, rng.uniform(0, 1, len(found)) ** 0.5))


def of_class(c):
    true = [boxes[labels == c] for boxes, labels in pile_truths]
    found = [(boxes[guess == c], scores[guess == c]) for boxes, guess, scores in pile_found]
    return true, found, sum(map(len, true))


# %%
by_hand = []
for c in range(CLASSES):
    true, found, count = of_class(c)
    by_hand.append(area_ap(judge(true, found)[1], count))
metrics = VOCAveragePrecision(CLASSES), COCOAveragePrecision(CLASSES)
for (boxes, labels), (found, guess, scores) in zip(pile_truths, pile_found, strict=True):
    for metric in metrics:
        metric.update([tensors(found, guess, scores)], [tensors(boxes, labels)])
print("AP of each class", np.round(by_hand, 4), "  mAP", np.mean(by_hand).round(4))
assert np.isclose(float(metrics[0].compute()["mAP"]), np.mean(by_hand))

# %% [markdown]
# ## COCO's AP
#
# An overlap of 0.5 is a loose fit. COCO asks ten times, with thresholds 0.50, 0.55, ... 0.95, and
# takes the mean: who draws tighter boxes gets more. It reads the staircase at 101 recalls. And its
# rule of taking is a little kinder: a detection is compared with the objects that are *still
# free*. (At most 100 detections of a picture count, and objects marked as crowds do not count at
# all; neither occurs here.) Papers write AP for this mean, AP50 and AP75 for single thresholds.


# %%
def coco_judge(truths, detections, threshold):
    _, _, rows = judge(truths, detections)
    free = [np.ones(len(boxes), bool) for boxes in truths]
    verdicts = []
    for picture, k in rows:
        overlaps = box_iou(detections[picture][0][k : k + 1], truths[picture])[0]
        overlaps = np.where(free[picture], overlaps, 0.0)
        true = len(overlaps) > 0 and overlaps.max() >= threshold
        if true:
            free[picture][overlaps.argmax()] = False
        verdicts.append(true)
    return np.array(verdicts)


thresholds = np.linspace(0.5, 0.95, 10)
grid = np.zeros((CLASSES, 10))
for c in range(CLASSES):
    true, found, count = of_class(c)
    for t, threshold in enumerate(thresholds):
        hits_here = coco_judge(true, found, threshold)
        grid[c, t] = ap_at(np.linspace(0, 1, 101), hits_here, count)
coco = metrics[1].compute()
print(f"AP {grid.mean():.4f}   AP50 {grid[:, 0].mean():.4f}   AP75 {grid[:, 5].mean():.4f}")
for name, value in (("AP", grid), ("AP50", grid[:, 0]), ("AP75", grid[:, 5])):
    assert np.isclose(float(coco[name]), value.mean(), atol=1e-9)

# %% [markdown]
# ## What AP does not see
#
# **The scores themselves.** Only their order counts. A detector that says 0.99 of everything and
# one that is honest about its doubts have the same AP, if they rank alike.

# %%
squeezed = [(boxes, 0.98 + scores / 100) for boxes, scores in detections]
assert np.isclose(voc(truths, squeezed), area)

# %% [markdown]
# **Rubbish at the end of the list.** False detections *below* all true ones cost nothing, and
# where one of them hits by luck, it pays. So detectors are measured with a threshold near 0 and up
# to 100 boxes a picture, and look dreadful when all of these are drawn. We add 600 random boxes
# with scores below all others: AP must not fall.

# %%
flooded = [
    (np.concatenate([boxes, random_boxes(200)]), np.append(scores, rng.uniform(0, 0.1, 200)))
    for boxes, scores in detections
]
kept = sum(len(boxes) for boxes, _ in flooded)
print(f"{kept} detections in place of 8: AP {voc(truths, flooded):.4f}, before {area:.4f}")
assert kept == 608
assert voc(truths, flooded) >= area

# %% [markdown]
# **Doubles, on the other hand, cost much**: each detection said twice, the second time hardly less
# sure. Every object's second box is false and stands right behind the first. This is why
# non-maximum suppression (lesson 24) comes before measuring.

# %%
doubled = [(np.concatenate([b, b]), np.append(s, s - 0.001)) for b, s in detections]
print(f"all said twice: AP {voc(truths, doubled):.4f}")
assert voc(truths, doubled) < 0.75 * area

# %% [markdown]
# **How well boxes fit, at one threshold.** Two detectors find all objects of four new pictures,
# and nothing else. One draws boxes exactly, the other makes each of them a fifth too wide and too
# high: overlap $1/1.44 = 0.69$. AP50 says 1 of both. Only a stricter threshold, or COCO's mean,
# tells them apart: of its ten thresholds the sloppy one passes four.


# %%
def enlarged(boxes, factor):
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([middle - factor * half, middle + factor * half], axis=1)


# apart from each other, so that no box overlaps the neighbour's object
apart = [np.array([[10.0, 10, 30, 40], [60, 50, 90, 80]]) for _ in range(4)]
curves = {}
for name, factor in (("exact", 1.0), ("a fifth too large", 1.2)):
    found = [(enlarged(boxes, factor), np.array([0.9, 0.8])) for boxes in apart]
    recalls = np.linspace(0, 1, 101)
    curves[name] = [ap_at(recalls, coco_judge(apart, found, t), 8) for t in thresholds]
assert curves["exact"] == [1.0] * 10
assert curves["a fifth too large"] == [1.0] * 4 + [0.0] * 6
assert np.isclose(np.mean(curves["a fifth too large"]), 0.4)

# %%
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot(thresholds, grid.mean(axis=0), "s-", color=GREY, label="the pile of random detections")
ax.plot(thresholds, curves["exact"], "o-", color=BLUE, label="exact boxes")
ax.plot(thresholds, curves["a fifth too large"], "v--", color=ORANGE, label="a fifth too large")
ax.set(xlabel="overlap that counts as found", ylabel="AP", ylim=(-0.04, 1.08))
ax.set_title("COCO's AP is the mean over these ten points")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %% [markdown]
# ## Recall
#
# 1. Why are the detections of all pictures sorted into one list, and not picture by picture?
# <details><summary>Answer</summary>A threshold on the score is the same for all pictures; each
# prefix of the common list is what one such threshold keeps.</details>
#
# 2. Two detections overlap the same object by 0.6 and 0.9; the first has the higher score. Which
#    is true?
# <details><summary>Answer</summary>The first: the surer one takes the object. The better box is
# false, as a double.</details>
#
# 3. A detector finds 4 of 5 objects. What is the most that its AP (area) can be?
# <details><summary>Answer</summary>0.8: the staircase is at most 1 up to recall 0.8, and 0
# beyond.</details>
#
# 4. Why can precision rise with $n$, when recall cannot fall?
# <details><summary>Answer</summary>Recall divides by a constant, the number of objects, precision
# by the number of detections: a true one raises both parts of the fraction by 1, which raises a
# fraction below 1.</details>
#
# 5. A rare class with 3 objects has AP 0, another with 3,000 has AP 1. What is mAP?
# <details><summary>Answer</summary>0.5. Classes count alike, however many objects they
# have.</details>
#
# ## Change one thing
#
# Lower the threshold of `judge` to 0.3 in the first example. Which detection changes its verdict,
# and what happens to precision *before* it in the list?
#
# ## Where this lives
#
# `minidl/metrics/detection.py` and `matching.py`; curves of every class:
# `minidl.plot.precision_recall`. Everingham et al. 2010 (Pascal VOC), Lin et al. 2014 (COCO).
# Next: [lesson 29](29_on_a_gpu.html), the same code on a GPU.
