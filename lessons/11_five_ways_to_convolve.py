# %% [markdown]
# # 11. Five ways to compute a convolution
#
# After this lesson you can
#
# - compute a convolution by loops, by columns and one matrix product, by shifted pictures, by
#   Fourier transforms and by Winograd's tiles;
# - count the multiplications of each, and the memory;
# - say when each one is the fastest, and why counting alone does not decide it;
# - force one of minidl's algorithms, time it, and measure its rounding errors.
#
# Needs: lessons 09, 10.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777"

# %% [markdown]
# A picture $x$ of $(C, H, W)$, a weight $w$ of $(O, C, k, k)$, no padding, stride 1: all five
# ways must give the same $(O, H - k + 1, W - k + 1)$ numbers. We check each against minidl.

# %%
rng = np.random.default_rng(0)
C, O, H, W, K = 8, 16, 34, 34, 3
x = rng.standard_normal((C, H, W))
w = rng.standard_normal((O, C, K, K))
HO, WO = H - K + 1, W - K + 1
expected = F.conv2d(md.tensor(x[None]), md.tensor(w)).numpy()[0]
assert expected.shape == (O, HO, WO)
ways = {}

# %% [markdown]
# ## 1. Loops
#
# The definition. For each output number one inner product of $C k^2$ terms:
# $O \cdot H_o W_o \cdot C k^2$ multiplications. Nobody doubts it, and everybody waits for it:
# Python spends its time between the small products. It is what the others are held against.


# %%
def by_loops(x, w):
    y = np.empty((O, HO, WO))
    for o in range(O):
        for i in range(HO):
            for j in range(WO):
                y[o, i, j] = np.sum(w[o] * x[:, i : i + K, j : j + K])
    return y


ways["loops"] = by_loops
assert np.allclose(by_loops(x, w), expected)

# %% [markdown]
# ## 2. Columns
#
# Write the pixels under each window as a column of a matrix, $(C k^2, H_o W_o)$, and the kernels
# as rows, $(O, C k^2)$. Then the whole convolution is *one* matrix product, and matrix products
# are what computers are best at. The price is memory: each pixel is written $k^2$ times.
# ("im2col", in Caffe and most libraries since.)


# %%
def columns_of(x):
    windows = np.lib.stride_tricks.sliding_window_view(x, (K, K), axis=(1, 2))  # (C, HO, WO, K, K)
    return windows.transpose(0, 3, 4, 1, 2).reshape(C * K * K, HO * WO)


def by_columns(x, w):
    return (w.reshape(O, -1) @ columns_of(x)).reshape(O, HO, WO)


ways["columns"] = by_columns
assert np.allclose(by_columns(x, w), expected)
print(f"picture {x.size:,} numbers, columns {columns_of(x).size:,}")
assert columns_of(x).size == K * K * C * HO * WO

# %% [markdown]
# ## 3. Shifted pictures
#
# Turn the loops inside out: for each of the $k^2$ taps, the whole picture moved by that tap's
# offset goes through an $(O, C)$ matrix, and the $k^2$ results are added up. The moved picture is
# a view: nothing is copied. The price is that the output is read and written $k^2$ times.


# %%
def by_shifts(x, w):
    y = np.zeros((O, HO * WO))
    for k in range(K):
        for m in range(K):
            moved = x[:, k : k + HO, m : m + WO].reshape(C, -1)
            y += w[:, :, k, m] @ moved
    return y.reshape(O, HO, WO)


ways["shifts"] = by_shifts
assert np.allclose(by_shifts(x, w), expected)

# %% [markdown]
# (`reshape` of a part that is not contiguous does copy in NumPy, in one piece; minidl's `shift`
# lays the picture out so that even that is not needed.)
#
# ## 4. Fourier
#
# Fourier transforms turn convolution into a product: the spectrum of a convolution is the product
# of the spectra, frequency by frequency. We want a correlation, so the kernel's spectrum is
# conjugated. The sum over channels can be taken among spectra, and only $O$ transforms go back.
# What wraps around at the border is cut off.


# %%
def by_fourier(x, w):
    X = np.fft.rfft2(x)  # (C, H, W // 2 + 1)
    V = np.fft.rfft2(w, (H, W))  # the kernel, padded with zeros to the picture's size
    Y = np.einsum("chw,ochw->ohw", X, V.conj())
    return np.fft.irfft2(Y, (H, W))[:, :HO, :WO]


ways["Fourier"] = by_fourier
assert np.allclose(by_fourier(x, w), expected)

# %% [markdown]
# Nothing in it depends on the size of the kernel, except the cut. A 31 x 31 kernel costs what a 3
# x 3 one does.
#
# ## 5. Winograd
#
# Take one dimension, three taps, two neighbouring outputs. By definition that is six
# multiplications: $y_0 = d_0 w_0 + d_1 w_1 + d_2 w_2$ and $y_1 = d_1 w_0 + d_2 w_1 + d_3 w_2$.
# Four are enough:
#
# $$m_1 = (d_0 - d_2) w_0 \qquad m_2 = (d_1 + d_2) \frac{w_0 + w_1 + w_2}{2}$$
# $$m_4 = (d_1 - d_3) w_2 \qquad m_3 = (d_2 - d_1) \frac{w_0 - w_1 + w_2}{2}$$
# $$y_0 = m_1 + m_2 + m_3 \qquad y_1 = m_2 - m_3 - m_4$$
#
# Multiply it out once, and you see that it is right. With matrices:
# $y = A^T \left[ (G w) \odot (B^T d) \right]$, where $\odot$ is the product number by number. The
# sums with $w$ are needed once for a kernel, those with $d$ once for a channel; what is done for
# each *pair* of channels is only $\odot$.

# %%
G = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])
B_T = np.array(
    [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]]
)
A_T = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]])

d, taps = rng.standard_normal(4), rng.standard_normal(3)
assert np.allclose(A_T @ ((G @ taps) * (B_T @ d)), np.correlate(d, taps, "valid"))

# %% [markdown]
# The page does it with numbers, and beside it the columns of way 2. In the step `Mul` you see the
# four products. Then the same two outputs appear as one product of the kernel with two columns,
# and the assert says that both agree.

# %%
signal = md.tensor([[1.0], [2.0], [0.0], [4.0]])
filter3 = md.tensor([[1.0], [-2.0], [3.0]])
g_matrix, b_matrix, a_matrix = (md.tensor(m, dtype=md.float32) for m in (G, B_T, A_T))
with md.record() as tape:
    of_kernel = g_matrix @ filter3
    of_signal = b_matrix @ signal
    four_products = of_kernel * of_signal
    winograd = a_matrix @ four_products
    columns = md.cat([signal[0:3], signal[1:4]], 1)
    product = filter3.T @ columns
assert np.allclose(winograd.numpy().ravel(), product.numpy().ravel())
assert np.allclose(product.numpy().ravel(), [1 - 4 + 0, 2 - 0 + 12])
step_through(tape, "11_five_ways_to_convolve_steps", "Winograd's four products, and columns")

# %% [markdown]
# In two dimensions do it to rows and to columns: tiles of 4 x 4 pixels, two apart, give 2 x 2
# outputs with 16 multiplications for each pair of channels in place of 36. For each of the 16
# places it is a product of matrices, $(O, C)$ with $(C, \text{tiles})$.


# %%
def by_winograd(x, w):
    U = np.einsum("ak,bl,ockl->aboc", G, G, w)  # (4, 4, O, C)
    tiles = np.lib.stride_tricks.sliding_window_view(x, (4, 4), axis=(1, 2))[:, ::2, ::2]
    V = np.einsum("ak,bl,cijkl->abcij", B_T, B_T, tiles, optimize=True)
    M = U @ V.reshape(4, 4, C, -1)  # the only place where channels meet
    Y = np.einsum("ma,nb,abot->otmn", A_T, A_T, M, optimize=True)
    return Y.reshape(O, HO // 2, WO // 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(O, HO, WO)


ways["Winograd"] = by_winograd
assert np.allclose(by_winograd(x, w), expected)

# %% [markdown]
# ## Counted and timed
#
# Multiplications for each output number and pair of channels: 9 for the first three, 4 for
# Winograd. For Fourier we count the products of spectra: a complex number for each two pixels,
# four real multiplications each, so about 2 for each pixel; the transforms come on top, about
# $\log_2 (H W)$ for each pixel and channel, not for each *pair*.

# %%
pairs = O * C * HO * WO
counts = dict.fromkeys(("loops", "columns", "shifts"), pairs * K * K)
counts["Winograd"] = 16 * O * C * (HO // 2) * (WO // 2)
counts["Fourier"] = 4 * O * C * H * (W // 2 + 1)
for name, count in counts.items():
    print(f"{name:<9} {count:>10,} multiplications, {count / pairs:.1f} for each output and pair")
assert counts["Winograd"] == pairs * 4
assert counts["Fourier"] < 3 * pairs


def seconds(function, repeat=3):
    """Processor time, the shortest of several runs: cold caches and interruptions add to it."""
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


times = {name: seconds(lambda f=function: f(x, w)) for name, function in ways.items()}

# %%
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
names = list(times)
ax.barh(names, [1000 * times[name] for name in names], color=[GREY, BLUE, GREEN, PINK, ORANGE])
for row, name in enumerate(names):
    ax.text(1100 * times[name], row, f"{1000 * times[name]:.3g} ms", va="center", fontsize=9)
ax.set(
    xscale="log",
    xlabel="milliseconds of processor time (logarithmic)",
    xlim=(0.01, 6000 * max(times.values())),
)
ax.invert_yaxis()
ax.set_title("The same numbers, five ways, in NumPy")
plt.show()

# %% [markdown]
# On each machine the loops come last, by far. What the order of the other four is depends on it.
# Winograd and Fourier multiply least, and are rarely first at this size: they touch more memory,
# in small transforms, for each number they save. With many channels the transforms are shared by
# more pairs, and pay.
#
# ## minidl's own
#
# minidl has these five and six more, written for the cache and for threads, and picks one by the
# shape of the layer. A context manager forces one. (An algorithm that cannot do a convolution is
# passed over without a word: `winograd` is for 3 x 3 and stride 1 only.)

# %%
layer_x = rng.standard_normal((4, 32, 28, 28)).astype(np.float32)
layer_w = rng.standard_normal((32, 32, 3, 3)).astype(np.float32)
exact = F.conv2d(
    md.tensor(layer_x, dtype=md.float64), md.tensor(layer_w, dtype=md.float64), padding=1
).numpy()
xs, ws = md.tensor(layer_x), md.tensor(layer_w)
algorithms = ("direct", "im2col", "rows", "shift", "deep", "fft", "winograd2x2", "winograd")
spent, errors = {}, {}
for name in algorithms:
    with md.backend.conv_algorithm(name):
        y = F.conv2d(xs, ws, padding=1).numpy()
        spent[name] = seconds(lambda: F.conv2d(xs, ws, padding=1), 1 if name == "direct" else 5)
    errors[name] = np.abs(y - exact).max() / np.abs(exact).max()
    print(f"{name:<12} {1000 * spent[name]:8.2f} ms   largest error {errors[name]:.1e}")
    assert errors[name] < 1e-4

# %% [markdown]
# All agree, but not to the last digit. Winograd's transforms add and subtract numbers of
# different size. For tiles with 2 x 2 outputs they hold only 0, 1 and 1/2, and nothing is lost.
# The matrices for 4 x 4 outputs hold numbers from 1/24 to 8, and `winograd` loses about a digit
# against all others. For a network that is nothing; for a gradient check in float32 it would be
# much.

# %%
others = [error for name, error in errors.items() if name != "winograd"]
assert max(others) < 2e-6
assert errors["winograd"] > 2 * max(others)

# %% [markdown]
# ## Large kernels
#
# Now let the kernel grow. A sum over the window has $k^2$ terms; the Fourier way has no $k$ in
# it. Somewhere they must cross.

# %%
sizes = [3, 7, 11, 15, 21, 31]
pictures = md.tensor(rng.standard_normal((2, 8, 64, 64)).astype(np.float32))
curves = {"im2col": [], "rows": [], "fft": []}
for k in sizes:
    kernel = md.tensor(rng.standard_normal((8, 8, k, k)).astype(np.float32) / k)
    results = []
    for name, curve in curves.items():
        with md.backend.conv_algorithm(name):
            results.append(F.conv2d(pictures, kernel, padding=k // 2).numpy())
            curve.append(seconds(lambda w=kernel, k=k: F.conv2d(pictures, w, padding=k // 2)))
    assert all(np.allclose(results[0], other, atol=1e-3) for other in results)

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
styles = {"im2col": (BLUE, "o-"), "rows": (GREEN, "s-"), "fft": (ORANGE, "^-")}
for name, curve in curves.items():
    colour, style = styles[name]
    ax.loglog(sizes, 1000 * np.array(curve), style, color=colour, label=name)
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.set(xlabel="kernel size k (k x k taps)", ylabel="milliseconds of processor time")
ax.set_title("Sums grow with the kernel, Fourier hardly")
ax.grid(color="0.9")
ax.legend()
plt.show()
for name, curve in curves.items():
    print(f"{name:<7} 31 x 31 takes {curve[-1] / curve[0]:.1f} times as long as 3 x 3")

# %% [markdown]
# From 3 x 3 to 31 x 31 the number of taps grows 107-fold, and the time of the sums grows in that
# order. Since most kernels in vision are 3 x 3 or 1 x 1, the Fourier way is seldom used; for
# large ones nothing else comes near.
#
# ## Recall
#
# 1. How many numbers has the matrix of columns, compared with the picture?
# <details><summary>Answer</summary>
# About k * k times as many: each pixel is in up to k * k windows.
# </details>
#
# 2. A 1 x 1 convolution by columns: what is the matrix?
# <details><summary>Answer</summary>
# The picture itself, as (C, H W). No copy is needed, the convolution is a matrix product already.
# </details>
#
# 3. Why is the kernel's spectrum conjugated?
# <details><summary>Answer</summary>
# The product of spectra is a convolution, with the kernel flipped; conjugation flips it back.
# </details>
#
# 4. Winograd's way needs 4 multiplications where the definition needs 9. Why is it not 2.25 times
#    as fast?
# <details><summary>Answer</summary>
# The transforms take additions and memory traffic of their own; they pay only when many pairs of
# channels share them.
# </details>
#
# 5. Why does the lesson take the shortest of several times and not their mean?
# <details><summary>Answer</summary>
# The work is the same each time. What else happens (cold caches, interruptions) only adds to it.
# </details>
#
# ## Change one thing
#
# In the cell of minidl's algorithms use 256 channels on maps of 7 x 7, `(4, 256, 7, 7)` and
# `(256, 256, 3, 3)`, and take `direct` out of the list. Which ones gain, which lose? What does
# `deep` do differently (`minidl/backend/cpu/conv/deep.py`)?
#
# ## Where this lives
#
# `minidl/backend/cpu/conv/`: one file an algorithm, `chooser.py` with the table, and
# `docs/convolution.md`. Winograd 1980; Lavin and Gray 2016; Mathieu, Henaff and LeCun 2014
# (Fourier); Chellapilla et al. 2006 (columns). Next: [lesson 12](12_pooling_and_unpooling.html),
# pooling.
