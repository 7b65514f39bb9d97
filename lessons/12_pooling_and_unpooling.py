# %% [markdown]
# # 12. Pooling and unpooling
#
# After this lesson you can
#
# - compute max-pooling and average pooling, and keep the places of the maxima;
# - write their gradients, and say what happens at ties and where windows overlap;
# - undo a pooling in four ways, and say what each one invents;
# - explain pooling and unpooling as transposes of each other;
# - measure what pooling does when the picture moves, and what it fails to do.
#
# Needs: lessons 05, 09, 10.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777"

# %% [markdown]
# ## Max-pooling
#
# A window slides over each channel, and of each window the largest number is kept. The usual
# window is 2 x 2 with stride 2: a quarter of the numbers remains, nothing is learned, and
# channels do not mix. Beside the numbers we keep *where* they were, as an index into the flat
# picture: row times width plus column.


# %%
def max_pool(x, k, stride):
    """Values and flat indices of the largest number of each window of a picture (H, W)."""
    rows, columns = [(n - k) // stride + 1 for n in x.shape]
    values, places = np.empty((rows, columns)), np.empty((rows, columns), int)
    for i in range(rows):
        for j in range(columns):
            window = x[i * stride : i * stride + k, j * stride : j * stride + k]
            a, b = np.unravel_index(window.argmax(), window.shape)  # of equal ones the first
            values[i, j] = window[a, b]
            places[i, j] = (i * stride + a) * x.shape[1] + (j * stride + b)
    return values, places


rng = np.random.default_rng(0)
x = rng.standard_normal((7, 7))
for k, stride in ((2, 2), (3, 2), (3, 1)):
    values, places = max_pool(x, k, stride)
    theirs, their_places = F.max_pool2d(md.tensor(x[None]), k, stride, return_indices=True)
    assert np.array_equal(values, theirs.numpy()[0])
    assert np.array_equal(places, their_places.numpy()[0])
    assert np.array_equal(x.ravel()[places], values)
    print(f"{k} x {k}, stride {stride}: {x.shape} -> {values.shape}")

assert F.max_pool2d(md.tensor(x[None]), 2, ceil_mode=True).shape == (1, 4, 4)
assert F.max_pool2d(md.full((1, 2, 2), -5.0), 2, padding=1).numpy().max() == -5  # not a padded 0

# %% [markdown]
# Sizes are those of lesson 10, $\lfloor (n - k) / s \rfloor + 1$ without padding. With 7 pixels
# and 2 x 2 windows the last row and column are in no window; `ceil_mode=True` would take a window
# that reaches over the border. Padding, where there is any, never is the largest: it counts as
# $-\infty$.
#
# ## Its gradient
#
# If $y = x_m$, with $m$ the place of the maximum, then $\partial y / \partial x_m = 1$ and all
# others are 0: a small change of a smaller number changes nothing. So backward *scatters*: it
# begins with zeros and adds each window's gradient at its place. With overlapping windows one
# pixel may be the largest of several; then it receives the sum.


# %%
def scatter(g, places, shape):
    dx = np.zeros(shape)
    np.add.at(dx.reshape(-1), places, g)  # adds up where a place occurs twice
    return dx


x[2, 2] = 9.0  # it lies in four windows, and is the largest of each
values, places = max_pool(x, 3, 2)
g = rng.standard_normal(values.shape)
picture = md.tensor(x[None], requires_grad=True)
F.max_pool2d(picture, 3, 2).backward(md.tensor(g[None]))
assert np.allclose(scatter(g, places, x.shape), picture.grad.numpy()[0])
print("windows:", places.size, " pixels that receive a gradient:", len(np.unique(places)))
assert len(np.unique(places)) <= places.size - 3

# %% [markdown]
# ## Ties
#
# Two equal numbers are a kink (lesson 05): there is no derivative, only a choice. minidl, as
# PyTorch, gives all of the gradient to the first in reading order. `md.amax`, the maximum over an
# axis, shares it among equals. Both sum to the same.
#
# Ties are not rare: in a dark background, or behind a ReLU, whole windows are 0. There the
# gradient goes to the upper left pixel.

# %%
flat = md.tensor(np.array([[[1.0, 3.0], [3.0, 3.0]]]), requires_grad=True)
F.max_pool2d(flat, 2).backward(md.ones(1, 1, 1, dtype=md.float64))
first = flat.grad.numpy()[0].copy()
flat.grad = None
md.amax(flat, (1, 2)).backward(md.ones(1, dtype=md.float64))
shared = flat.grad.numpy()[0]
print("max_pool2d:", first.tolist(), "  amax:", shared.round(2).tolist())
assert np.array_equal(first, [[0, 1], [0, 0]])
assert np.allclose(shared, [[0, 1 / 3], [1 / 3, 1 / 3]])
assert not md.gradcheck(lambda x: F.max_pool2d(x, 2), flat, raise_exception=False)

digits = md.data.digits(train=False)
pictures = digits.images[:200].astype(np.float64) / 255
windows = pictures.reshape(200, 14, 2, 14, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4)
ties = np.mean((windows == windows.max(1, keepdims=True)).sum(1) > 1)
print(f"windows with a tie in 200 digits: {ties:.0%}")
assert ties > 0.5

# %% [markdown]
# ## Average pooling
#
# The mean of each window. It is a convolution with a fixed kernel of $1/k^2$, each channel by
# itself, and so linear: the gradient of each window is spread evenly over its pixels.

# %%
channels = md.tensor(rng.standard_normal((1, 3, 6, 6)), requires_grad=True)
kernel = md.full((3, 1, 2, 2), 1 / 4, dtype=md.float64)
mean = F.avg_pool2d(channels, 2)
assert np.allclose(
    mean.detach().numpy(), F.conv2d(channels, kernel, stride=2, groups=3).detach().numpy()
)

g = rng.standard_normal(mean.shape)
mean.backward(md.tensor(g))
assert np.allclose(channels.grad.numpy(), g.repeat(2, 2).repeat(2, 3) / 4)
print("the gradient of a mean is spread evenly")

# %% [markdown]
# At the end of most networks stands *global* average pooling: one mean for each channel, whatever
# the size of the map. It is why they take pictures of any size (Lin et al. 2013).

# %%
for size in (4, 7, 13):
    assert F.adaptive_avg_pool2d(md.randn(2, 5, size, size), 1).shape == (2, 5, 1, 1)

# %% [markdown]
# ## Unpooling
#
# A network that colours each pixel must get back to the full size. What pooling dropped is gone;
# ways to enlarge differ in what they put there:
#
# - **max-unpooling**: each number goes back to the place it came from, zeros elsewhere (needs the
#   indices);
# - **bed of nails**: to the first pixel of its window, zeros elsewhere;
# - **nearest**: repeated over its window;
# - **bilinear**: interpolated between neighbours.

# %%
digit = md.tensor(digits.images[3:4].astype(np.float32) / 255)
pooled, indices = F.max_pool2d(digit, 2, return_indices=True)
enlarged = {
    "max-unpooling": F.max_unpool2d(pooled, indices, 2),
    "bed of nails": F.unpool_nails(pooled, 2),
    "nearest": F.unpool_nearest(pooled, 2),
    "bilinear": F.interpolate(pooled, scale_factor=2, mode="bilinear"),
}
fig, axes = plt.subplots(1, 6, figsize=(12, 2.6), layout="constrained")
shown = {"picture, 28 x 28": digit, "max-pooled, 14 x 14": pooled, **enlarged}
for ax, (name, image) in zip(axes, shown.items(), strict=True):
    ax.imshow(image.numpy()[0, 0], cmap="gray", vmin=0, vmax=1)
    ax.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# Max-unpooling keeps edges where they were, to the pixel: each number it writes *is* a number of
# the picture, at its place. The price is holes. A decoder fills them with convolutions (SegNet,
# lesson 23). Pooling what was unpooled gives the same numbers again for three of the four (as
# none is negative):

# %%
unpooled = enlarged["max-unpooling"].numpy()
written = unpooled != 0
assert np.array_equal(unpooled[written], digit.numpy()[written])
for name, image in enlarged.items():
    again = np.array_equal(F.max_pool2d(image, 2).numpy(), pooled.numpy())
    print(f"{name:<14} pooled again: {'the same' if again else 'something else'}")
    assert again == (name != "bilinear")

# %% [markdown]
# ## Each is the other's transpose
#
# Look at the gradient of max-pooling again: zeros, with each number at its place. That *is*
# max-unpooling. And the gradient of max-unpooling reads the numbers at these places, as pooling
# did. With the places fixed, both are linear and transposes of each other, as convolution and
# transposed convolution in lesson 09. Average pooling and nearest unpooling are such a pair too,
# up to the factor $1/k^2$.

# %%
leaf = md.tensor(digits.images[3:4].astype(np.float64) / 255, requires_grad=True)
pooled, indices = F.max_pool2d(leaf, 2, return_indices=True)
g = md.tensor(rng.standard_normal(pooled.shape))
pooled.backward(g)
assert np.array_equal(leaf.grad.numpy(), F.max_unpool2d(g, indices, 2).numpy())

u = md.tensor(rng.standard_normal(leaf.shape))
left = (F.avg_pool2d(u, 2) * g).sum().item()
right = (u * F.unpool_nearest(g, 2)).sum().item() / 4
print(f"<g, mean of u> = {left:.6f}, <nearest of g, u> / 4 = {right:.6f}")
assert np.isclose(left, right)

# %% [markdown]
# On the page a picture of 4 x 4 is pooled and unpooled, and then averaged. In the `MaxPool` step
# point at the output cells; the lower right window has a tie, 5 and 5. Follow the gradients: at
# `MaxPool`, backward, only the first 5 receives something; at the backward of the average each
# pixel gets a quarter.

# %%
little = md.tensor(
    [[[[1.0, 2.0, 0.0, 3.0], [4.0, 0.0, 1.0, 1.0], [0.0, 1.0, 5.0, 2.0], [2.0, 1.0, 0.0, 5.0]]]],
    requires_grad=True,
)
sent = md.tensor(np.arange(1.0, 17.0, dtype=np.float32).reshape(1, 1, 4, 4))
sent_to_means = sent[:, :, :2, :2]
with md.record() as tape:
    largest, where = F.max_pool2d(little, 2, return_indices=True)
    restored = F.max_unpool2d(largest, where, 2)
    restored.backward(sent)
    means = F.avg_pool2d(little, 2)
    means.backward(sent_to_means)
assert restored.detach().numpy()[0, 0].tolist() == [
    [0, 0, 0, 3],
    [4, 0, 0, 0],
    [0, 0, 5, 0],
    [2, 0, 0, 0],
]
assert little.grad.numpy()[0, 0, 3, 3] == 6 / 4  # the second 5: only its share of the mean
step_through(tape, "12_pooling_and_unpooling_steps", "Max-pooling, unpooling, average")

# %% [markdown]
# ## When the picture moves
#
# One hears that pooling makes networks indifferent to small shifts. Measure it: move 200 digits
# by some pixels, and see how much the result changes, relative to its size:
# $\lVert f(\text{moved}) - f(x) \rVert / \lVert f(x) \rVert$. Keeping every fourth pixel has the
# size of 4 x 4 pooling, but looks at one pixel of each window only; we expect that it does not
# help at all.

# %%
batch = md.tensor(pictures)
functions = {
    "no pooling": (lambda x: x, GREY, "-"),
    "every fourth pixel": (lambda x: x[:, :, ::4, ::4], PINK, ":"),
    "max 2 x 2": (lambda x: F.max_pool2d(x, 2), GREEN, "-."),
    "max 4 x 4": (lambda x: F.max_pool2d(x, 4), BLUE, "-"),
    "average 4 x 4": (lambda x: F.avg_pool2d(x, 4), ORANGE, "--"),
}
shifts = range(5)
changes = {}
for name, (function, _, _) in functions.items():
    before = function(batch).numpy()
    changes[name] = [
        np.linalg.norm(function(md.roll(batch, s, 3)).numpy() - before) / np.linalg.norm(before)
        for s in shifts
    ]
    print(f"{name:<20}" + "".join(f"{change:8.2f}" for change in changes[name]))
one = {name: values[1] for name, values in changes.items()}
assert one["average 4 x 4"] < one["max 4 x 4"] < one["max 2 x 2"] < one["no pooling"]
assert abs(one["every fourth pixel"] / one["no pooling"] - 1) < 0.15

# %% [markdown]
# So windows do make the result less sensitive, large ones more. But "less" is not "not at all",
# and there is a trap, which Zhang (2019) showed with eight numbers: 0 0 1 1 0 0 1 1. With windows
# of 2 the maxima are 0 1 0 1. Move it by one: 0 1 1 0 0 1 1 0 gives 1 1 1 1. The result did not
# move, it became *another signal*: the stride looks at every second place, and whether the
# pattern fits these places is chance.
#
# His remedy takes max-pooling apart. Take the maximum at each place (stride 1), which moves with
# the signal; then blur, with weights 1/4, 1/2, 1/4; only then keep every second one.

# %%
eight = np.array([0.0, 0, 1, 1, 0, 0, 1, 1])


def plain(v):
    return np.maximum(v, np.roll(v, -1))[::2]


def blurred(v):  # the signal is taken as periodic
    dense = np.maximum(v, np.roll(v, -1))
    return ((np.roll(dense, 1) + 2 * dense + np.roll(dense, -1)) / 4)[::2]


gaps = {}
for name, function in (("plain", plain), ("blurred", blurred)):
    here, moved = function(eight), function(np.roll(eight, -1))
    gaps[name] = np.abs(here - moved).max()
    print(f"{name:<8} {here} moved: {moved}")
assert np.array_equal(plain(eight), [0, 1, 0, 1])
assert np.array_equal(plain(np.roll(eight, -1)), [1, 1, 1, 1])
assert gaps == {"plain": 1.0, "blurred": 0.25}

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained", width_ratios=(1.5, 1, 1))
for name, (_, colour, line) in functions.items():
    axes[0].plot(shifts, changes[name], line, color=colour, label=name)
axes[0].set(xlabel="pixels moved", ylabel="relative change", title="200 digits, moved sideways")
axes[0].set_xticks(list(shifts))
axes[0].grid(color="0.9")
axes[0].legend(fontsize=8)
for ax, (name, function) in zip(axes[1:], (("plain", plain), ("blurred", blurred)), strict=True):
    places = np.arange(4)
    ax.bar(places - 0.2, function(eight), 0.4, color=BLUE, label="00110011")
    ax.bar(places + 0.2, function(np.roll(eight, -1)), 0.4, color=ORANGE, label="01100110")
    ax.set(title=f"max-pooling, {name}", xlabel="output", ylim=(0, 1.3), xticks=places)
    ax.legend(fontsize=8, loc="upper center", ncols=2)
plt.show()

# %% [markdown]
# What always holds: moving by the stride moves the result by one. Strides are where exactness
# under shifts is lost, for pooling and for convolutions alike.

# %%
moved_by_stride = F.max_pool2d(md.roll(batch, 2, 3), 2).numpy()
assert np.array_equal(moved_by_stride, np.roll(F.max_pool2d(batch, 2).numpy(), 1, 3))

# %% [markdown]
# ## Recall
#
# 1. What must max-pooling remember for its backward?
# <details><summary>Answer</summary>
# For each window the place of its largest number. The numbers themselves are not needed.
# </details>
#
# 2. Windows of 3 x 3 with stride 2: how much gradient can one pixel receive?
# <details><summary>Answer</summary>
# The sum over up to four windows, if it is the largest of each of them.
# </details>
#
# 3. A window of zeros behind a ReLU: where does its gradient go, and does it matter?
# <details><summary>Answer</summary>
# To its first pixel; and there ReLU's backward stops it, as its output was not positive.
# </details>
#
# 4. Which operation is the gradient of max-unpooling?
# <details><summary>Answer</summary>
# Reading the gradient at the places where numbers were written: a gather.
# </details>
#
# 5. Is a network with max-pooling indifferent to a shift by one pixel?
# <details><summary>Answer</summary>
# No. It changes less than without, but a shift that is no multiple of the stride can make another
# signal of it.
# </details>
#
# ## Change one thing
#
# In the table `functions` add max-pooling with overlap,
# `"max 3 x 3, stride 2": (lambda x: F.max_pool2d(x, 3, 2, 1), "black", "-.")`. AlexNet preferred
# it to 2 x 2. Does it change less or more than `max 2 x 2`, and by how much?
#
# ## Where this lives
#
# `minidl/ops/pool.py`: three Functions, pool, scatter and gather, each the other's gradient.
# Zeiler and Fergus 2014 and Badrinarayanan et al. 2017 unpool with indices; Zhang 2019 blurs.
# Next: [lesson 13](13_lenet.html), a whole network of these parts.
