# %% [markdown]
# # 01. Arrays, shapes and broadcasting
#
# After this lesson you can
#
# - read a shape such as `(N, C, H, W)` and say where in memory an entry lies;
# - tell which operations copy an array and which only look at it in another way;
# - reduce over the axes you mean, and keep the others;
# - apply the rule of broadcasting by hand, and find the mistakes it hides;
# - say why minidl computes in float32, and what that costs in digits.
#
# Needs: NumPy, and nothing else.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl.teach import step_through

GREY = "#777777"

# %% [markdown]
# ## A batch of pictures
#
# Pictures come in batches of shape `(N, C, H, W)`: $N$ pictures, $C$ channels (1 for grey, 3 for
# red, green and blue), $H$ rows, $W$ columns. PyTorch uses the same order. Here are the first eight
# of the 4,000 handwritten digits for training that come with minidl.

# %%
digits = md.data.digits()
batch = np.stack([digits[i][0].numpy() for i in range(8)])
print(batch.shape, batch.dtype, f"from {batch.min():.1f} to {batch.max():.1f}")
assert len(digits) == 4000
assert batch.shape == (8, 1, 28, 28)
assert batch.dtype == np.float32

fig, axes = plt.subplots(1, 8, figsize=(9.5, 1.5), layout="constrained")
for ax, picture in zip(axes, batch[:, 0], strict=True):
    ax.imshow(picture, cmap="gray_r")
    ax.set(xticks=[], yticks=[])
fig.suptitle("batch[0, 0] ... batch[7, 0]: each is 28 rows of 28 numbers")
plt.show()

# %% [markdown]
# ## Memory is a line
#
# An array is one block of memory and a rule that leads from indices to a place in it. The
# **strides** are the rule: how many bytes to go on for one step along each axis. For an array laid
# out row by row (C order), the last axis has the stride of one number, 4 bytes for float32, and
# each axis before it steps over everything behind it. So the stride of the rows must be $28 \cdot
# 4 = 112$ bytes and that of the pictures $28 \cdot 28 \cdot 4 = 3136$.


# %%
def place(indices, strides):
    """Bytes from the beginning of the memory to the entry with these indices."""
    return sum(i * stride for i, stride in zip(indices, strides, strict=True))


print("strides", batch.strides)
assert batch.strides == (3136, 3136, 112, 4)

where = (3, 0, 14, 10)
line = batch.tobytes()  # the memory itself
number = np.frombuffer(line, np.float32, count=1, offset=place(where, batch.strides))[0]
assert number == batch[where]

# %% [markdown]
# ## Views
#
# Many operations make a new rule for the same memory: a **view**. Transposing swaps two strides.
# Slicing moves the beginning or lengthens a stride. No number is copied, whatever the size, and a
# change through the view is a change of the array.

# %%
picture = batch[0, 0].copy()
turned = picture.T
every_second = picture[::2, ::2]
assert turned.strides == (4, 112)
assert every_second.strides == (224, 8)
assert np.shares_memory(picture, turned)
assert np.shares_memory(picture, every_second)

turned[5, 20] = 99.0
assert picture[20, 5] == 99.0

# %% [markdown]
# Indexing with a list or with a mask has no such rule, so it copies. `reshape` gives a view where
# a rule exists, and copies where none does: rows of the transposed picture are not contiguous.

# %%
assert not np.shares_memory(picture, picture[[0, 1, 2]])
assert not np.shares_memory(picture, picture[picture > 0.5])
assert np.shares_memory(picture, picture.reshape(14, 56))
assert not np.shares_memory(picture, turned.reshape(14, 56))

# %% [markdown]
# `reshape` and `transpose` are often confused. `reshape` keeps the order along the line of memory
# and cuts it in other places. `transpose` keeps each number with its indices and swaps these. If
# you want `(H, W, C)` from `(C, H, W)`, only the second is right; the first gives the right shape
# and a wrong picture. (A shape is a weak test.)

# %%
tiny = np.arange(12).reshape(2, 2, 3)  # (C, H, W)
right = tiny.transpose(1, 2, 0)  # (H, W, C)
wrong = tiny.reshape(2, 3, 2)
assert right.shape == wrong.shape == (2, 3, 2)
assert (right[1, 2] == tiny[:, 1, 2]).all()
assert not (wrong[1, 2] == tiny[:, 1, 2]).all()

# %% [markdown]
# ## Reductions
#
# `mean(axis)` replaces an axis by one number, and the axis goes. With `keepdims=True` it stays with
# length 1, which is what broadcasting below needs. Over which axes you go decides what you get:

# %%
assert batch.mean(0).shape == (1, 28, 28)  # the mean picture
assert batch.mean((1, 2, 3)).shape == (8,)  # how dark each picture is
assert batch.mean((0, 2, 3)).shape == (1,)  # one mean a channel, as BatchNorm takes it
assert batch.mean((0, 2, 3), keepdims=True).shape == (1, 1, 1, 1)

total = 0.0
for n in range(8):  # the same by hand
    for row in batch[n, 0]:
        total += float(row.sum())
assert np.isclose(batch.mean(), total / batch.size)

# %% [markdown]
# ## Broadcasting
#
# Arrays of different shapes can be added. The rule, for two shapes $a$ and $b$:
#
# 1. Write them one below the other, aligned at the **right**; put 1 where one is shorter.
# 2. In each place the lengths must be equal, or one of them 1. The result has the larger one.
# 3. An axis of length 1 is repeated along that of the other.


# %%
def broadcast(a, b):
    """The shape that a and b make together, or an error that says where they do not fit."""
    length = max(len(a), len(b))
    a, b = (1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b
    for axis, (m, n) in enumerate(zip(a, b, strict=True)):
        if m != n and 1 not in (m, n):
            raise ValueError(f"axis {axis}: {m} and {n}")
    return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))


for a, b in (((8, 3, 28, 28), (3, 1, 1)), ((5, 1), (7,)), ((), (2, 2)), ((4, 1, 3), (2, 3))):
    print(f"{a!s:>16} + {b!s:<10} -> {broadcast(a, b)}")
    assert broadcast(a, b) == (np.zeros(a) + np.zeros(b)).shape
    assert broadcast(a, b) == tuple((md.zeros(a) + md.zeros(b)).shape)
try:
    broadcast((8, 3), (8,))
except ValueError as error:
    print("(8, 3) + (8,):", error)

# %% [markdown]
# The last one is a usual mistake: one number for each of 8 rows is `(8, 1)`, not `(8,)`. Draw what
# happens with `(3, 1)` and `(4,)`: the column is repeated to the right, the row downwards.

# %%
column, row = np.array([[0.0], [10.0], [20.0]]), np.array([1.0, 2.0, 3.0, 4.0])
both = column + row
fig, axes = plt.subplots(1, 3, figsize=(9.5, 2.3), layout="constrained")
shown = (
    ("column (3, 1), repeated", np.broadcast_to(column, both.shape), column.shape),
    ("row (4,), repeated", np.broadcast_to(row, both.shape), (1, 4)),
    ("column + row: (3, 4)", both, both.shape),
)
for ax, (title, values, shape) in zip(axes, shown, strict=True):
    ax.imshow(values, cmap="Blues", vmin=-5, vmax=40)
    for (i, j), value in np.ndenumerate(values):
        own = i < shape[0] and j < shape[1]
        ax.text(j, i, f"{value:g}", ha="center", va="center", color="black" if own else GREY)
    ax.set(title=title, xticks=[], yticks=[])
plt.show()
assert np.broadcast_to(row, both.shape).strides[0] == 0

# %% [markdown]
# Nothing is copied for that either: the repeated axis has stride 0, so that each step along it
# stays where it is. You pay for the result only.
#
# ## The mistake that broadcasting hides
#
# Predictions of shape `(N, 1)` and targets of shape `(N,)` are each one number a sample. Their
# difference is not $N$ numbers but $N^2$: every prediction against every target. No error is
# raised, and the "loss" is a plausible number. For predictions that are all right you expect 0:

# %%
targets = np.array([1.0, 2.0, 3.0, 4.0])
predictions = targets[:, None]  # all right
wrong = (predictions - targets) ** 2
right = (predictions[:, 0] - targets) ** 2
print("shape", wrong.shape, "mean", wrong.mean(), "  expected: shape", right.shape, right.mean())
assert wrong.shape == (4, 4)
assert wrong.mean() == 2.5
assert right.mean() == 0.0

# %% [markdown]
# ## Normalise a batch
#
# One broadcast does a lot: subtract each picture's mean and divide by its deviation, so that all
# pictures have mean 0 and deviation 1. minidl's tensors follow the same rules and have PyTorch's
# names: `dim` for `axis`, `keepdim` for `keepdims`.

# %%
mean = batch.mean((1, 2, 3), keepdims=True)
deviation = batch.std((1, 2, 3), keepdims=True)
normal = (batch - mean) / deviation
assert mean.shape == (8, 1, 1, 1)
assert np.allclose(normal.mean((1, 2, 3)), 0.0, atol=1e-5)
assert np.allclose(normal.std((1, 2, 3)), 1.0, atol=1e-5)

x = md.tensor(batch)
dims = (1, 2, 3)
ours = (x - x.mean(dims, keepdim=True)) / x.std(dims, correction=0, keepdim=True)
assert np.allclose(ours.numpy(), normal, atol=1e-5)

# %% [markdown]
# (`correction=0` divides by the count $n$. PyTorch's `std`, and so minidl's, divides by $n - 1$ if
# you do not say otherwise; NumPy's divides by $n$.)
#
# ## Step through it
#
# The page below subtracts the mean of each row from a 2 × 3 array. In step 1 point at the mean of
# the upper row and see from which cells it comes. In step 2 point at any cell of the result: one
# cell of the mean lights up for all three of its row. In step 7, on the way back, three gradients
# of a row are added up for the one mean they all used: the gradient of repeating is summing. Lesson
# 04 comes back to that.

# %%
x = md.tensor([[1.0, 2.0, 6.0], [0.0, 4.0, 5.0]], requires_grad=True)
factors = md.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])  # so that the gradients differ
with md.record() as tape:
    centred = x - x.mean(1, keepdim=True)
    (centred * factors).sum().backward()
assert centred.tolist() == [[-2.0, -1.0, 3.0], [-3.0, 1.0, 2.0]]
assert (tape.events[6].phase, tape.events[6].op) == ("backward", "Sub")
step_through(tape, "01_arrays_broadcasting", "Subtracting the mean of each row")

# %% [markdown]
# ## Products
#
# `@` multiplies matrices: $(A B)_{ik} = \sum_j A_{ij} B_{jk}$. Axes before the last two are a
# batch, and are broadcast. `einsum` says the sum in letters: those after the arrow stay, the others
# are summed over.

# %%
rng = np.random.default_rng(0)
A, B = rng.standard_normal((8, 4, 3)), rng.standard_normal((3, 5))
product = A @ B
assert product.shape == (8, 4, 5)
by_loops = np.zeros((8, 4, 5))
for n, i, k in np.ndindex(8, 4, 5):
    for j in range(3):
        by_loops[n, i, k] += A[n, i, j] * B[j, k]
assert np.allclose(product, by_loops)
assert np.allclose(product, np.einsum("nij,jk->nik", A, B))
assert np.allclose(product, md.einsum("nij,jk->nik", md.tensor(A), md.tensor(B)).numpy())

# %% [markdown]
# ## float32
#
# Networks compute in float32: 4 bytes a number, half the memory of float64, and twice as many
# numbers in each instruction of a processor. The price is precision: 24 binary digits, about 7
# decimal ones. If one number is about $2^{24}$ times as large as another, or more, the smaller one
# is lost when they are added:

# %%
big = np.float32(2**24)
assert big + np.float32(1) == big
assert np.float64(2**24) + 1 != np.float64(2**24)
assert np.finfo(np.float32).eps == 2.0**-23

# %% [markdown]
# The order of additions therefore matters. Add 0.1 a million times, one after the other, in
# float32: each addition to a sum near 100,000 is rounded to a multiple of $1/128$. Adding in pairs,
# pairs of pairs and so on (as NumPy's `sum` does in part) keeps the summands of similar size.

# %%
tenths = np.full(1_000_000, 0.1, np.float32)
one_by_one = float(np.cumsum(tenths, dtype=np.float32)[-1])
in_pairs = float(tenths.sum())
print(f"one after the other {one_by_one:,.1f}   in pairs {in_pairs:,.1f}   right 100,000.0")
assert abs(one_by_one - 100_000) > 500
assert abs(in_pairs - 100_000) < 1

# %% [markdown]
# One float64 can make a whole program float64: NumPy 2 promotes `float32 array * np.float64(2)`.
# Plain Python numbers do not. minidl keeps to that: float32 in, float32 out.

# %%
assert (tenths * np.float64(2)).dtype == np.float64
assert (tenths * 2.0).dtype == np.float32
assert (md.tensor(tenths) * 2.0).dtype == md.float32
assert md.tensor([1.0, 2.0]).dtype == md.float32

# %% [markdown]
# ## Recall
#
# 1. An array of shape `(10, 3, 32, 32)` in float32 lies in C order. What are its strides?
#
# <details><summary>Answer</summary>
# `(12288, 4096, 128, 4)` bytes: 4 for a number, 32 · 4 for a row, 32 rows for a channel, 3 channels
# for a picture.
# </details>
#
# 2. `y = x.T` and then `y[0, 0] = 7`. Is `x` changed? And after `y = x[[0, 1]]`?
#
# <details><summary>Answer</summary>
# Yes: `x.T` is a view. No: indexing with a list copies.
# </details>
#
# 3. What is the shape of `(5, 1, 4) + (3, 1)`? Of `(5, 4) + (5,)`?
#
# <details><summary>Answer</summary>
# `(5, 3, 4)`. The second is an error: at the right stand 4 and 5. With `(5, 1)` it would be `(5,
# 4)`.
# </details>
#
# 4. The array of your squared errors is $N$ times as large as you thought, and its mean does not
#   fall to 0. What do you print first?
#
# <details><summary>Answer</summary>
# The shapes of prediction, target and their difference.
# </details>
#
# 5. You want the mean of each channel over a batch `x`, in a form that can be subtracted from `x`.
#   What do you write?
#
# <details><summary>Answer</summary>
# `x.mean((0, 2, 3), keepdims=True)`, of shape `(1, C, 1, 1)`.
# </details>
#
# ## Change one thing
#
# In the cell "Normalise a batch", normalise each *pixel* over the batch in place of each picture:
# take mean and deviation over axis 0. The assertions about the results must change, and NumPy
# warns. Which pixels are to blame, and what would you add to the divisor? (Lesson 08 has the usual
# answer.)
#
# ## Where this lives
#
# `minidl/autograd/tensor.py` is an array that knows its gradient; `minidl/ops/shape.py` has the
# views, `minidl/ops/reduction.py` the reductions. Arrays with strides: Harris et al. 2020 (NumPy).
# Next: [lesson 02](02_gradient_descent.html), how numbers are improved.
