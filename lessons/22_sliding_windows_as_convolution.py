# %% [markdown]
# # 22. Sliding windows as convolution
#
# After this lesson you can
#
# - turn a classifier into a detector by sliding it over a picture, with background as one more
#   class;
# - turn a linear layer into a convolution with the same weights;
# - show that one convolutional pass gives *exactly* what all the windows give, and when it does
#   not;
# - count what that saves, and say what decides the step between windows.
#
# Needs: lessons 09, 10, 13, 21.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minidl as md
from minidl import nn, optim
from minidl.boxes import box_iou, nms
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE = "#0072b2", "#d55e00"
md.manual_seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## A classifier for windows
#
# A small LeNet for pictures of 28 x 28: two convolutions with max-pooling, then two linear layers.
# It has eleven classes: the ten digits, and class 10 for *background*: no digit, or only parts of
# one. No convolution pads with zeros; that will matter.

# %%
features = nn.Sequential(
    nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2),  # 28 -> 24 -> 12
    nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2),  # 12 -> 8 -> 4
)  # fmt: skip
hidden, output = nn.Linear(16 * 4 * 4, 64), nn.Linear(64, 11)


def classify(windows):
    """(N, 1, 28, 28) to scores (N, 11)."""
    return output(F.relu(hidden(features(windows).flatten(1))))


assert classify(md.zeros(5, 1, 28, 28)).shape == (5, 11)

# %% [markdown]
# ## Windows, one by one
#
# A picture of 60 x 44 with no meaning, and untrained weights: what follows does not depend on what
# the network has learned. We cut out every window at a distance of 4 pixels and ask the classifier
# about each.

# %%
picture = rng.random((60, 44)).astype(np.float32)
STEP = 4
tops, lefts = range(0, 60 - 28 + 1, STEP), range(0, 44 - 28 + 1, STEP)
windows = np.stack([picture[None, y : y + 28, x : x + 28] for y in tops for x in lefts])
with md.no_grad():
    one_by_one = classify(md.tensor(windows)).data
one_by_one = one_by_one.reshape(len(tops), len(lefts), 11)
print(f"{len(windows)} windows, each 28 x 28: scores {one_by_one.shape}")
assert len(windows) == 9 * 5

# %% [markdown]
# ## A linear layer is a convolution that fits once
#
# The first linear layer takes maps of 16 x 4 x 4, flattened: 256 numbers, times a row of 256
# weights for each of its 64 outputs. A convolution with a 4 x 4 kernel on 16 channels, laid over
# such maps, fits in exactly one place, and there does the same: multiply 16 x 4 x 4 numbers by
# weights and add. So the *same weights*, reshaped from (64, 256) to (64, 16, 4, 4), are a
# convolution. The second layer sees 64 maps of one pixel: a 1 x 1 convolution.

# %%
as_kernel = hidden.weight.reshape(64, 16, 4, 4)
as_pixel = output.weight.reshape(11, 64, 1, 1)
maps = md.tensor(rng.standard_normal((3, 16, 4, 4)).astype(np.float32))
linear = hidden(maps.flatten(1))
convolution = F.conv2d(maps, as_kernel, hidden.bias)
assert convolution.shape == (3, 64, 1, 1)
assert np.allclose(linear.data, convolution.data[:, :, 0, 0], atol=1e-5)

# %% [markdown]
# On a map *larger* than 4 x 4 the linear layer gives an error; the convolution slides. So the
# whole network slides: it takes a picture of any size and gives a map of scores.


# %%
def slide(pictures):
    """(N, 1, H, W) to maps of scores (N, 11, H', W')."""
    x = F.relu(F.conv2d(features(pictures), as_kernel, hidden.bias))
    return F.conv2d(x, as_pixel, output.bias)


with md.no_grad():
    at_once = slide(md.tensor(picture[None, None])).data[0].transpose(1, 2, 0)
print(f"one pass: scores {at_once.shape}")
assert at_once.shape == one_by_one.shape
assert np.allclose(at_once, one_by_one, atol=1e-5)

# %% [markdown]
# **The same numbers**, of 45 windows, from one pass. The cell in row $i$, column $j$ of the map is
# what the classifier says of the window whose corner is at $(4i, 4j)$.
#
# **Step through it** at toy size. Below, a 3 x 3 convolution and a "linear layer" of 2 x 2 slide
# over a picture of 6 x 5, whose windows are 4 x 4. Point at a cell of the last result: its 2 x 2
# window in the map between lights up, and each of these cells looks at 3 x 3 pixels, together 4 x
# 4. Neighbouring results share most of the map between.

# %%
small = md.tensor(rng.integers(0, 4, (1, 1, 6, 5)).astype(np.float32))
kernel = md.tensor(
    np.array([[[[1, 0, -1], [2, 0, -2], [1, 0, -1]]]], np.float32), requires_grad=True
)
rows = md.tensor(
    np.array([[1, -1, 0.5, 2]], np.float32), requires_grad=True
)  # (1 output, 4 inputs)
with md.record() as tape:
    between = F.conv2d(small, kernel)
    scores = F.conv2d(between, rows.reshape(1, 1, 2, 2))
    scores.sum().backward()
window = small[:, :, 1:5, 1:5]
assert np.isclose(
    scores.data[0, 0, 1, 1], (F.conv2d(window, kernel).flatten(1) @ rows.T).data[0, 0]
)
step_through(tape, "22_sliding_windows_as_convolution_steps", "A linear layer that slides")

# %% [markdown]
# ## What it saves
#
# Count multiplications. A convolution costs its number of outputs times the size of its kernel.
# For one window:


# %%
def multiplications(height, width):
    """Of one pass over a picture of that size."""
    cost, (h, w) = 0, (height, width)
    for kernel, inputs, outputs, pool in (
        (5, 1, 8, 2),
        (5, 8, 16, 2),
        (4, 16, 64, 1),
        (1, 64, 11, 1),
    ):
        h, w = h - kernel + 1, w - kernel + 1
        cost += h * w * outputs * inputs * kernel**2
        h, w = h // pool, w // pool
    return cost, h * w


one, count = multiplications(28, 28)
assert count == 1
network = nn.Sequential(features, nn.Flatten(), hidden, nn.ReLU(), output)
assert one == nn.summary(network, (1, 1, 28, 28)).multiply_adds
for side in (28, 44, 92, 220):
    cost, count = multiplications(side, side)
    saved = count * one / cost
    print(f"{side:3} x {side:3}: {count:5} windows, one pass is {saved:5.1f} times cheaper")
assert 9 < count * one / cost < 10  # the last, 220 x 220

# %% [markdown]
# The larger the picture, the more of a window is shared with others, up to a limit. A step of 4
# pixels brings $4 \times 4$ new pixels of the first map, where a window by itself computes
# $24 \times 24$: 36 times as many. Of the second map it brings $2 \times 2$ in place of
# $8 \times 8$: 16 times. The former linear layers share nothing.

# %%
parts = 24**2 * 8 * 25, 8**2 * 16 * 8 * 25, 64 * 256 + 11 * 64
assert sum(parts) == one
limit = one / (parts[0] / 36 + parts[1] / 16 + parts[2])
print(f"on a picture without end: {limit:.1f} times cheaper")
assert count * one / cost < limit < 11

# %% [markdown]
# ## The step is the stride
#
# Why 4? The network pools twice by 2: neighbours in its last map lie 4 pixels apart in the
# picture. Shift the *picture* by 4 pixels, and the map of scores shifts by exactly one cell. Shift
# it by 2, and you get scores of *other* windows, between those: nothing in the first map tells
# them. Finer steps cost further passes over shifted pictures (OverFeat does that), or a network
# with less pooling.

# %%
with md.no_grad():
    by_four = slide(md.tensor(picture[None, None, 4:])).data[0].transpose(1, 2, 0)
    by_two = slide(md.tensor(picture[None, None, 2:-2])).data[0].transpose(1, 2, 0)
assert np.allclose(by_four, at_once[1:], atol=1e-5)
assert by_two.shape == by_four.shape
difference = np.abs(by_two - at_once[1:]).max()
print(f"shifted by two pixels: scores differ by up to {difference:.3f}")
assert difference > 0.01

# %% [markdown]
# ## When it is not the same
#
# With `padding=2` the classifier of a *window* sees zeros around the window; sliding, it sees
# zeros only around the *picture*, and within it the neighbouring pixels. Then both answers differ:
# after one layer at the border of the window, after several further and further in. That is often
# harmless (FCN, lesson 23, lives with it), but it is not equality.

# %%
weight = features[0].weight
with md.no_grad():
    whole = F.conv2d(md.tensor(picture[None, None]), weight, padding=2).data
    part = F.conv2d(md.tensor(picture[None, None, 8:36, 8:36]), weight, padding=2).data
inside = np.abs(whole[:, :, 8:36, 8:36] - part)
assert inside[:, :, 2:-2, 2:-2].max() < 1e-5
assert inside.max() > 0.05  # at the border of the window
print(f"difference at the window's border: {inside.max():.2f}")

# %% [markdown]
# ## A detector of digits
#
# Now train the classifier on windows. Positive ones: handwritten digits, shifted by up to two
# pixels, since the step of 4 will rarely put a window right on one. Background: digits so far off
# the middle that only a part of them is seen, or nothing. Without such examples the detector would
# fire at every window that touches a digit.


# %%
def shifted(digit, dy, dx):
    window = np.zeros((28, 28), np.float32)
    ys, xs = slice(max(dy, 0), 28 + min(dy, 0)), slice(max(dx, 0), 28 + min(dx, 0))
    from_y, from_x = slice(max(-dy, 0), 28 - max(dy, 0)), slice(max(-dx, 0), 28 - max(dx, 0))
    window[ys, xs] = digit[from_y, from_x]
    return window


digits = md.data.digits(train=True)
pixels = digits.images[:, 0].astype(np.float32) / 255


def batch(count):
    pick, label = rng.integers(0, len(pixels), count), np.empty(count, np.int64)
    result = np.zeros((count, 1, 28, 28), np.float32)
    for k, i in enumerate(pick):
        background = k % 3 == 0
        far = rng.integers(8, 20) * rng.choice([-1, 1])
        dy, dx = (far, rng.integers(-20, 21)) if background else rng.integers(-2, 3, 2)
        dy, dx = (dx, dy) if rng.random() < 0.5 else (dy, dx)
        result[k, 0] = shifted(pixels[i], dy, dx)
        label[k] = 10 if background else digits.labels[i]
    return md.tensor(result), md.tensor(label)


# %%
parameters = [p for layer in (features, hidden, output) for p in layer.parameters()]
STEPS = 500
optimizer = optim.Adam(parameters, lr=3e-3)
schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for step in range(STEPS):
    windows, labels = batch(60)
    loss = F.cross_entropy(classify(windows), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    if step % 100 == 99:
        print(f"step {step + 1:3}: loss {float(loss):.3f}")

# %% [markdown]
# The picture: nine digits that the network has never seen, each somewhere in its own field of a
# board of 3 x 3. One pass gives eleven scores for every window; softmax makes them probabilities.
# What we look at first is, for each window, the largest probability of a digit.

# %%
unseen = md.data.digits(train=False)
canvas, truth = np.zeros((124, 124), np.float32), []
for k in range(9):
    top, left = np.array(divmod(k, 3)) * 42 + rng.integers(0, 12, 2)
    canvas[top : top + 28, left : left + 28] = unseen.images[k, 0] / 255
    truth.append([left, top, left + 28, top + 28, unseen.labels[k]])
truth = np.array(truth, np.float32)

as_kernel, as_pixel = hidden.weight.reshape(64, 16, 4, 4), output.weight.reshape(11, 64, 1, 1)
with md.no_grad():
    probability = F.softmax(slide(md.tensor(canvas[None, None])), 1).data[0]
sure = probability[:10].max(axis=0)
print(f"{sure.size} windows, of which {int((sure > 0.9).sum())} claim a digit")
assert (sure > 0.9).sum() > 9

# %% [markdown]
# Several windows around each digit claim it. Of windows that overlap, only the surest is kept:
# *non-maximum suppression*, which lesson 24 takes apart. What is left should be about one box for
# each digit. We count a digit as found if a box of its class overlaps its place by half or more.

# %%
y, x = np.nonzero(sure > 0.5)
boxes = np.stack([x, y, x + 7, y + 7], axis=1).astype(np.float32) * 4
keep = nms(boxes, sure[y, x], 0.2)
found, names = boxes[keep], probability[:10].argmax(axis=0)[y, x][keep]
overlap = box_iou(truth[:, :4], found) * (truth[:, 4:] == names)
places = int((box_iou(truth[:, :4], found).max(axis=1) >= 0.5).sum())
hits = int((overlap.max(axis=1) >= 0.5).sum())
print(f"{len(found)} boxes; {places} of 9 places found, {hits} of them with the right class")
assert places >= 7
assert hits >= 5
assert len(found) <= 15

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.4))
shown = left.imshow(sure, vmin=0, vmax=1, cmap="viridis")
left.set(title="not background: one cell a window", xlabel="windows", ylabel="windows")
fig.colorbar(shown, ax=left, fraction=0.046)
right.imshow(canvas, cmap="gray_r", extent=(0, 124, 124, 0))
for (x1, y1, x2, y2), name in zip(found, names, strict=True):
    right.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=ORANGE, lw=2))
    right.text(x1 + 1, y1 + 1, str(name), color=BLUE, va="top", fontsize=12, weight="bold")
right.set(title="after suppression, with the class", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# One window size finds objects of one size. For larger objects one slides over a smaller copy of
# the picture (an *image pyramid*), for other shapes over a stretched one: minidl's
# `sliding_window_detector` looks at twelve. And a box can be no better than its window. Both
# limits are what the next lessons remove.
#
# ## Recall
#
# 1. A linear layer takes 512 maps of 7 x 7, flattened, and has 4096 outputs. Which convolution is
#    it?
# <details><summary>Answer</summary>Kernel 7 x 7, 512 channels in, 4096 out, no padding: weight
# (4096, 512, 7, 7), the same numbers in the same order.</details>
#
# 2. A network for windows of 64 pixels has total stride 16. What map does it give of a picture of
#    256 x 256?
# <details><summary>Answer</summary>(256 - 64) / 16 + 1 = 13 in each direction.</details>
#
# 3. Why is one pass on a picture of just one window's size no cheaper?
# <details><summary>Answer</summary>There is one window and nothing is shared.</details>
#
# 4. Why does equality need convolutions without padding?
# <details><summary>Answer</summary>Padding shows a window zeros where the sliding network sees the
# window's neighbours.</details>
#
# 5. What would happen without background windows in training?
# <details><summary>Answer</summary>Every window would have to be some digit: softmax divides
# probability 1 among ten, and half digits or nothing get confident answers.</details>
#
# ## Change one thing
#
# In `batch`, set `background = False`: digits only, as in a classifier of digits. Look at the left
# picture and at the number of boxes (an assertion will complain). What does a network say that was
# never shown half a digit, or nothing?
#
# ## Where this lives
#
# `minidl/models/detection/sliding_window_detector.py` (all of this, with sizes and shapes),
# `convolutionalize` in `minidl/models/segmentation/fcn.py`. Sermanet et al. 2013 (OverFeat), Long
# et al. 2015 (FCN). Next: [lesson 23](23_semantic_segmentation.html), a class for every pixel.
