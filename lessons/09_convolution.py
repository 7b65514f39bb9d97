# %% [markdown]
# # 09. Convolution, by hand and as a matrix
#
# After this lesson you can
#
# - compute a convolution with loops, and tell it from correlation;
# - write it as a matrix, and say what weight sharing and locality look like there;
# - transpose that matrix, and recognise transposed convolution;
# - derive both gradients of a convolution, and see that they are convolutions again;
# - say what convolution does when the picture moves.
#
# Needs: lessons 05, 06.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl.nn import functional as F
from minidl.teach import step_through

# %% [markdown]
# ## A small template that slides
#
# The linear classifier of lesson 06 had templates as large as the picture. A convolution has a
# small one, the **kernel** $w$, and lays it on each place of the picture. At each place the
# result is the inner product of the kernel with the **window** of pixels under it:
#
# $$y_{ij} = \sum_{k} \sum_{l} w_{kl} \; x_{i+k,\; j+l}$$
#
# A 3 x 3 kernel fits into a 5 x 5 picture at 3 x 3 places.


# %%
def correlate(x, w):
    kh, kw = w.shape
    y = np.zeros((x.shape[0] - kh + 1, x.shape[1] - kw + 1))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = np.sum(w * x[i : i + kh, j : j + kw])
    return y


rng = np.random.default_rng(0)
x = rng.standard_normal((5, 5))
w = rng.standard_normal((3, 3))
y = correlate(x, w)
by_minidl = F.conv2d(md.tensor(x[None, None]), md.tensor(w[None, None])).numpy()
print(y.shape)
assert y.shape == (3, 3)
assert np.allclose(y, by_minidl[0, 0])

# %% [markdown]
# ## Correlation or convolution?
#
# In mathematics that formula is called cross-correlation. A *convolution* has a minus:
# $y_{i} = \sum_k w_k \, x_{i-k}$, so the kernel is flipped before it is laid on. `np.convolve`
# flips, `np.correlate` does not. Deep learning libraries say convolution and do not flip. For a
# kernel that is learned it makes no difference: the network learns the flipped one. For one you
# took from a textbook it does.

# %%
signal, kernel = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.0, -1.0])
print("correlation:", np.correlate(signal, kernel, "valid"), " convolution:", end=" ")
print(np.convolve(signal, kernel, "valid"))
ours = F.conv1d(md.tensor(signal[None, None]), md.tensor(kernel[None, None])).numpy()[0, 0]
assert np.array_equal(ours, np.correlate(signal, kernel, "valid"))
assert np.array_equal(ours, np.convolve(signal, kernel[::-1], "valid"))

# %% [markdown]
# ## What kernels can see
#
# A kernel whose numbers sum to 1 blurs; one that sums to 0 is blind to even areas and answers to
# changes. This one, by Sobel, subtracts what is left from what is right: it is large at vertical
# edges. Its transpose answers to horizontal ones. [Lesson 19](19_what_networks_see.html) looks at
# those that networks learn by themselves.

# %%
digit = md.data.digits(train=False).images[3, 0].astype(float) / 255
sobel = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
kernels = {"mean": np.full((3, 3), 1 / 9), "vertical edges": sobel, "horizontal edges": sobel.T}
fig, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
axes[0].imshow(digit, cmap="gray")
axes[0].set_title("picture, 28 x 28")
for ax, (name, kernel) in zip(axes[1:], kernels.items(), strict=True):
    answer = correlate(digit, kernel)
    drawn = ax.imshow(answer, cmap="RdBu", vmin=-4, vmax=4)
    ax.set_title(f"{name}, 26 x 26")
    assert answer.shape == (26, 26)
for ax in axes:
    ax.set(xticks=[], yticks=[])
fig.colorbar(drawn, ax=axes, shrink=0.8, label="answer")
plt.show()
assert np.all(correlate(np.full((8, 8), 7.0), sobel) == 0)  # blind to an even area

# %% [markdown]
# ## As a matrix
#
# Each $y_i$ is a sum of pixels times numbers, so the whole is a matrix times a vector, $y = A x$.
# For a signal of 6 numbers and a kernel of 3 it is
#
# $$A = \begin{pmatrix} w_0 & w_1 & w_2 & 0 & 0 & 0 \\ 0 & w_0 & w_1 & w_2 & 0 & 0 \\
# 0 & 0 & w_0 & w_1 & w_2 & 0 \\ 0 & 0 & 0 & w_0 & w_1 & w_2 \end{pmatrix}$$
#
# Compare it with a fully connected layer of the same size. Most entries are 0: *locality*. All
# rows hold the same three numbers: *weight sharing*. Instead of 24 free numbers there are 3.


# %%
def as_matrix(w, length, stride=1):
    count = (length - len(w)) // stride + 1
    A = np.zeros((count, length))
    for i in range(count):
        A[i, i * stride : i * stride + len(w)] = w
    return A


w1 = np.array([1.0, 2.0, 3.0])
x1 = rng.standard_normal(6)
A = as_matrix(w1, 6)
print(A.astype(int))
assert np.allclose(A @ x1, np.correlate(x1, w1, "valid"))
assert len(np.unique(A[A != 0])) == 3

# %% [markdown]
# For a picture, write its rows one after the other into a vector. Then $A$ has a block for each
# pair of picture row and output row, and each block is a 1-D matrix as above. You need not think
# about indices: column $k$ of a matrix is what it makes of the $k$-th unit vector, so convolve a
# picture with a single 1 in it, for each pixel.


# %%
def as_matrix_2d(w, height, width):
    columns = []
    for k in range(height * width):
        unit = np.zeros(height * width)
        unit[k] = 1
        columns.append(correlate(unit.reshape(height, width), w).ravel())
    return np.stack(columns, 1)


A2 = as_matrix_2d(w, 5, 5)
assert A2.shape == (9, 25)
assert np.allclose(A2 @ x.ravel(), y.ravel())

fig, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", width_ratios=(1, 1, 2))
matrices = {
    "1-D, stride 1": as_matrix(w1, 9),
    "1-D, stride 2": as_matrix(w1, 9, stride=2),
    "2-D, 3 x 3 on 5 x 5: bands of bands": A2,
}
for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
    shown = np.ma.masked_equal(matrix, 0)
    ax.imshow(shown, cmap="viridis")
    ax.set(title=name, xlabel="input", ylabel="output", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## The transpose
#
# $A$ maps 6 numbers to 4. $A^T$ maps 4 to 6: it goes from the output's size back to the input's.
# Column by column, $A^T g$ is the sum of copies of the kernel, each moved to its place and
# multiplied by one $g_i$. This is **transposed convolution**, in torch's words and ours
# `conv_transpose1d`. With stride 2 the copies lie two apart, and the result is about twice as
# long as $g$: networks use it to enlarge maps (lesson 23).

# %%
for stride in (1, 2):
    A = as_matrix(w1, 7, stride)
    g = rng.standard_normal(len(A))
    by_copies = np.zeros(7)
    for i, value in enumerate(g):
        by_copies[i * stride : i * stride + 3] += value * w1
    by_minidl = F.conv_transpose1d(
        md.tensor(g[None, None]), md.tensor(w1[None, None]), stride=stride
    ).numpy()[0, 0]
    assert np.allclose(A.T @ g, by_copies)
    assert np.allclose(A.T @ g, by_minidl)
    print(f"stride {stride}: {len(g)} numbers become {len(by_minidl)}")

# %% [markdown]
# It is the transpose, not the inverse: $A^T A x$ has the shape of $x$, and other numbers. (The
# name "deconvolution", which some papers use for it, promises too much.) What does hold is
# $\langle g, A x \rangle = \langle A^T g, x \rangle$, where $\langle a, b \rangle$ is the sum of
# the products of corresponding entries.

# %%
A = as_matrix(w1, 7)
x1, g = rng.standard_normal(7), rng.standard_normal(5)
assert not np.allclose(A.T @ (A @ x1), x1)
assert np.isclose(g @ (A @ x1), (A.T @ g) @ x1)

# %% [markdown]
# ## The gradient to the input
#
# If $y = A x$ and $g = \partial L / \partial y$, then $\partial L / \partial x = A^T g$: the
# gradient of a convolution to its input *is* the transposed convolution of $g$ with the same
# kernel.
#
# Look from the pixel's side: $x_{pq}$ took part in all windows that it lies in. In the window at
# $(i, j)$ it met the tap $w_{p-i,\,q-j}$. So
# $\partial L / \partial x_{pq} = \sum_{ij} g_{ij} \, w_{p-i,\,q-j}$. There is the minus: this is
# a convolution in the sense of mathematics. As a correlation it has the flipped kernel, and goes
# over $g$ with a margin of two zeros ("full").


# %%
def input_gradient(g, w):
    margin = [(n - 1, n - 1) for n in w.shape]
    return correlate(np.pad(g, margin), w[::-1, ::-1])


g = rng.standard_normal((3, 3))
dx = input_gradient(g, w)
assert dx.shape == x.shape
assert np.allclose(dx.ravel(), A2.T @ g.ravel())

# %% [markdown]
# ## The gradient to the kernel
#
# Tap $w_{kl}$ is used at each place $(i, j)$, and meets $x_{i+k,\,j+l}$ there. Add up what it
# met, each times the gradient of that place:
#
# $$\frac{\partial L}{\partial w_{kl}} = \sum_{ij} g_{ij} \; x_{i+k,\; j+l}$$
#
# It is the formula of the beginning again, with $g$ as the kernel: the correlation of the picture
# with $g$.

# %%
dw = correlate(x, g)
assert dw.shape == w.shape

image = md.tensor(x[None, None], requires_grad=True)
weight = md.tensor(w[None, None], requires_grad=True)
F.conv2d(image, weight).backward(md.tensor(g[None, None]))
assert np.allclose(dx, image.grad.numpy()[0, 0])
assert np.allclose(dw, weight.grad.numpy()[0, 0])
print("both gradients are convolutions, and agree with minidl's")

# %% [markdown]
# Three operations, and each one's gradients are the other two. Behind that is one number that is
# linear in $x$, $w$ and $g$; it can be read in three ways (with $*$ for the operation of this
# lesson):
#
# $$\langle g,\; x * w \rangle = \langle x,\; \text{input gradient}(g, w) \rangle
# = \langle w,\; \text{kernel gradient}(x, g) \rangle$$
#
# minidl writes the backward of each with the other two, so second derivatives need no further
# code.

# %%
faces = np.sum(g * y), np.sum(x * dx), np.sum(w * dw)
print(faces)
assert np.allclose(faces, faces[0])
assert md.gradgradcheck(F.conv2d, (image, weight))

# %% [markdown]
# Now window by window. On the page, step 1 is the convolution of a 5 x 5 picture with a 3 x 3
# kernel: move over the cells of $y$ and see the window, the kernel and the nine products. In the
# last step, backward, point at cells of $\partial x$: a corner of the picture lies in one window,
# the centre in all nine. Point at $\partial w$: each tap sums nine products.

# %%
picture = md.tensor(np.arange(25.0).reshape(1, 1, 5, 5) % 7, requires_grad=True)
edge = md.tensor(sobel[None, None], requires_grad=True)
sent = md.tensor(np.array([[[[1.0, 0.0, -1.0], [2.0, 0.0, 0.0], [0.0, 1.0, 3.0]]]]))
with md.record() as tape:
    answer = F.conv2d(picture, edge)
    answer.backward(sent)
assert np.allclose(answer.detach().numpy()[0, 0], correlate(picture.detach().numpy()[0, 0], sobel))
assert picture.grad.numpy()[0, 0, 0, 0] == sobel[0, 0] * 1.0  # a corner: one window
step_through(tape, "09_convolution_steps", "A 3x3 convolution and its gradients, window by window")

# %% [markdown]
# And the transpose, as a picture of one row: three numbers become seven, as copies of the kernel
# two apart. Where copies overlap, point at the cell: its formula has two terms.

# %%
few = md.tensor([[[[1.0, 10.0, 100.0]]]])
row = md.tensor([[[[1.0, 2.0, 3.0]]]])
with md.record() as tape:
    copies = F.conv_transpose2d(few, row, stride=(1, 2))
print(copies.numpy()[0, 0])
assert np.array_equal(copies.numpy()[0, 0, 0], [1, 2, 3 + 10, 20, 30 + 100, 200, 300])
step_through(tape, "09_convolution_transposed", "A transposed convolution: copies that overlap")

# %% [markdown]
# ## Channels
#
# A colour picture has three channels, a hidden layer has many. Then a kernel has a slice for each
# input channel, the window is a box, and the products are summed over channels too. One kernel
# gives one output channel; $O$ kernels give $O$. The weight is $(O, C, k_h, k_w)$, and there is a
# bias for each output channel:
#
# $$y_{noij} = b_o + \sum_{c} \sum_{k} \sum_{l} w_{ockl} \; x_{n,\,c,\,i+k,\,j+l}$$

# %%
X = rng.standard_normal((2, 3, 6, 6))
V = rng.standard_normal((4, 3, 3, 3))
bias = rng.standard_normal(4)
Y = np.zeros((2, 4, 4, 4))
for n in range(2):
    for o in range(4):
        Y[n, o] = bias[o] + sum(correlate(X[n, c], V[o, c]) for c in range(3))
assert np.allclose(Y, F.conv2d(md.tensor(X), md.tensor(V), md.tensor(bias)).numpy())
print(
    "numbers in the weight:",
    V.size,
    " a fully connected layer of these sizes:",
    X[0].size * Y[0].size,
)
assert V.size == 108
assert X[0].size * Y[0].size == 6912

# %% [markdown]
# ## When the picture moves
#
# The linear classifier lost half of its answers when digits moved by three pixels. A convolution
# gives the same answers, moved by as much: it is *equivariant* to translation. It need not learn
# a stroke again for each place where it may be.

# %%
moved = np.roll(digit, 3, axis=1)  # the margin is empty
before, after = correlate(digit, sobel), correlate(moved, sobel)
assert np.allclose(after[:, 3:], before[:, :-3])
assert not np.allclose(after, before)

# %% [markdown]
# ## Recall
#
# 1. A 7 x 7 picture, a 3 x 3 kernel. How large is the result, and how many products does it take?
# <details><summary>Answer</summary>
# 5 x 5; each of the 25 takes 9 products: 225.
# </details>
#
# 2. How do you get a convolution in the sense of mathematics from `F.conv2d`?
# <details><summary>Answer</summary>
# Flip the kernel in both directions first.
# </details>
#
# 3. What are the two properties of the matrix of a convolution that a fully connected layer's
#    does not have?
# <details><summary>Answer</summary>
# Most entries are zero (locality), and the others repeat from row to row (weight sharing).
# </details>
#
# 4. Which operation gives the gradient to the input, and which kernel does it use?
# <details><summary>Answer</summary>
# The transposed convolution with the same kernel; or a convolution of the padded gradient with
# the flipped one.
# </details>
#
# 5. Is the transposed convolution the inverse of the convolution?
# <details><summary>Answer</summary>
# No. It has the inverse's shapes, but its matrix is the transpose, which undoes nothing.
# </details>
#
# ## Change one thing
#
# In the cell of the page, replace `sobel` by a kernel that is 1 in the centre and 0 elsewhere.
# Before you look: what is `answer`, and what is the gradient to the picture? And with the 1 in
# the upper left corner?
#
# ## Where this lives
#
# `minidl/ops/conv.py`: the three Functions, each written with the other two.
# `docs/convolution.md` follows one call down to the processor. Dumoulin and Visin 2016 draw all
# cases. Next: [lesson 10](10_stride_padding_dilation_groups.html), stride, padding, dilation and
# groups.
