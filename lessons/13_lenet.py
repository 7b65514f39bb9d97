# %% [markdown]
# # 13. LeNet-5, layer by layer
#
# After this lesson you can
#
# - build LeNet-5 from its paper, one layer at a time, and say what every layer is for;
# - count parameters and multiply-adds of convolutions and linear layers by hand;
# - read C3's connection table and compute with it;
# - train the network on handwritten digits and look at what it gets wrong.
#
# Needs: lessons [06](06_linear_classifier.html), [09](09_convolution.html),
# [12](12_pooling_and_unpooling.html).

# %%
import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import nn, optim
from minidl.models import lenet5
from minidl.models.classification.lenet import C3_CONNECTIONS
from minidl.nn import functional as F
from minidl.teach import step_through

rng = np.random.default_rng(0)

# %% [markdown]
# ## The task of 1998
#
# A handwritten digit goes in, ten scores come out. LeCun, Bottou, Bengio and Haffner put the digit
# of 28x28 pixels into the middle of 32x32: then a stroke's end may lie at the centre of the windows
# that the last convolution sees.
#
# The plan of the network is: convolution, subsampling, convolution, subsampling, and then layers
# that see everything. Maps become smaller and more numerous. The digits here are 5,000 of MNIST's;
# they come with minidl.

# %%
train, test = md.data.digits(train=True), md.data.digits(train=False)
assert train.images.shape == (4000, 1, 28, 28)
assert test.images.shape == (1000, 1, 28, 28)


def normalised(images):
    """(N, 1, 28, 28) uint8 -> float32 with mean 0 and deviation 1 over the training set."""
    return ((images / 255.0 - train.mean) / train.std).astype(np.float32)


x_train, y_train = normalised(train.images), train.labels
x_test, y_test = normalised(test.images), test.labels
x = np.pad(x_train[:2], ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=x_train.min())
assert x.shape == (2, 1, 32, 32)

# %% [markdown]
# ## C1: six maps of 5x5 windows
#
# A convolution without padding turns 32 pixels into $32 - 5 + 1 = 28$. Each of the six maps has one
# kernel of 25 weights and one bias, shared by all of its 784 units.
#
# Two numbers describe every layer. **Parameters** are what is learned and stored. **Multiply-adds**
# are what it costs to look at one picture: for a convolution the number of output values times the
# number of inputs that each one reads.

# %%
parameters, multiply_adds = {}, {}
parameters["C1"] = 6 * (5 * 5 * 1 + 1)
multiply_adds["C1"] = (6 * 28 * 28) * (5 * 5 * 1)
assert parameters["C1"] == 156
assert multiply_adds["C1"] == 117_600

c1 = nn.Conv2d(1, 6, 5)
maps1 = c1(md.tensor(x))
assert maps1.shape == (2, 6, 28, 28)
assert sum(p.numel() for p in c1.parameters()) == parameters["C1"]

# One output, computed from its window: map 3 of picture 0, at row 10 and column 7.
window = x[0, 0, 10:15, 7:12]
by_hand = (window * c1.weight.data[3, 0]).sum() + c1.bias.data[3]
assert np.isclose(by_hand, maps1.data[0, 3, 10, 7], atol=1e-5)

# %% [markdown]
# If every one of the 4,704 output units had weights of its own for all 1,024 pixels, the layer
# would have nearly five million of them. Small windows and shared weights are what makes it 156.

# %%
dense = (6 * 28 * 28) * (32 * 32 + 1)
print(f"fully connected: {dense:,} parameters, convolution: {parameters['C1']}")
assert dense // parameters["C1"] == 30_907

# %% [markdown]
# ## The squashing function and S2
#
# Between layers the paper puts $f(a) = 1.7159 \tanh(\tfrac{2}{3} a)$, where $a$ is what the layer
# gives. The constants are chosen so that $f(1) = 1$ and $f(-1) = -1$.
#
# S2 halves the maps. It adds the four numbers of each 2x2 square, multiplies the sum by a learned
# coefficient and adds a learned bias: **two** parameters for each map. Today one takes the maximum
# instead, which has none.

# %%


def squash(a):
    return 1.7159 * F.tanh(a * (2.0 / 3.0))


assert np.allclose(squash(md.tensor([1.0, -1.0])).data, [1.0, -1.0], atol=1e-4)


def subsample(maps, coefficient, bias):
    """Sum over 2x2 squares, (N, C, H, W) -> (N, C, H / 2, W / 2)."""
    n, c, h, w = maps.shape
    sums = maps.reshape(n, c, h // 2, 2, w // 2, 2).sum((3, 5))
    return sums * coefficient.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1)


coefficient, bias = md.full((6,), 0.25), md.zeros(6)
maps2 = squash(subsample(squash(maps1), coefficient, bias))
assert maps2.shape == (2, 6, 14, 14)
# With the coefficient 1/4 and no bias the sum is the mean, which minidl has as an operation.
assert np.allclose(maps2.data, squash(F.avg_pool2d(squash(maps1), 2)).data, atol=1e-6)
parameters["S2"], multiply_adds["S2"] = 6 * 2, 0

# %% [markdown]
# ## C3: a table says which maps are seen
#
# The second convolution makes 16 maps from 6. Most of its maps do not see all six: table I of the
# paper says which. There were two reasons. It costs less, and maps that see different inputs are
# forced to learn different things.

# %%
table = np.zeros((6, 16), bool)
for output, inputs in enumerate(C3_CONNECTIONS):
    table[list(inputs), output] = True

fig, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
ax.imshow(table, cmap="Blues", vmin=0, vmax=1.4)
ax.set_xticks(range(16))
ax.set_yticks(range(6))
ax.set_xticks(np.arange(-0.5, 16), minor=True)
ax.set_yticks(np.arange(-0.5, 6), minor=True)
ax.grid(which="minor", color="0.7")
ax.tick_params(which="minor", length=0)
ax.set_xlabel("map of C3")
ax.set_ylabel("map of S2")
ax.set_title("Which maps of S2 (rows) each map of C3 (columns) sees: 60 of 96 pairs")
plt.show()

# %% [markdown]
# The first six maps see three neighbouring inputs each, the next nine see four, the last one sees
# all. Each pair that is connected has a kernel of 25 weights, and each map has one bias.

# %%
seen = table.sum(0)
assert seen.tolist() == [3] * 6 + [4] * 9 + [6]
pairs = int(table.sum())
parameters["C3"] = pairs * 25 + 16
multiply_adds["C3"] = pairs * 25 * 10 * 10
assert (pairs, parameters["C3"], multiply_adds["C3"]) == (60, 1_516, 150_000)

full = 16 * (6 * 25 + 1)
print(f"C3 as in the table: {parameters['C3']} parameters; with all pairs: {full}")
assert full == 2_416

# %% [markdown]
# To compute it, loop over the maps: each one is a convolution of the maps that it sees. A faster
# way is to use one full convolution whose kernels are 0 where the table has no connection. The
# paper's network in minidl does the latter, so its library call costs as much as the full layer;
# the saving of 1998 is lost on hardware that likes large products. The two ways must agree.

# %%
kernels = (rng.standard_normal((16, 6, 5, 5)) * 0.1).astype(np.float32)
biases = rng.standard_normal(16).astype(np.float32)

slow = []
for output, inputs in enumerate(C3_CONNECTIONS):
    part = maps2[:, list(inputs)]  # (2, 3 or 4 or 6, 14, 14)
    weight = md.tensor(kernels[output : output + 1, list(inputs)])
    slow.append(F.conv2d(part, weight, md.tensor(biases[output : output + 1])))
slow = md.cat(slow, 1)

masked = md.tensor(kernels * table.T[:, :, None, None])
fast = F.conv2d(maps2, masked, md.tensor(biases))
assert slow.shape == fast.shape == (2, 16, 10, 10)
assert np.allclose(slow.data, fast.data, atol=1e-4)

# %% [markdown]
# ## S4, C5, F6 and the output
#
# S4 is as S2, for 16 maps of 10x10. Then 5x5 is left, and C5's window of 5x5 covers all of it: a
# convolution that is a fully connected layer. (It is called a convolution because on a larger
# picture it would give more than one column of outputs: [lesson
# 22](22_sliding_windows_as_convolution.html).) F6 has 84 units, because the targets were figures
# drawn on 7x12 pixels: the score of a class is minus the squared distance to its figure, and
# nothing of that is learned.

# %%
parameters["S4"], multiply_adds["S4"] = 16 * 2, 0
parameters["C5"], multiply_adds["C5"] = 120 * (16 * 25 + 1), 120 * 16 * 25
parameters["F6"], multiply_adds["F6"] = 84 * (120 + 1), 84 * 120
for layer in parameters:
    print(f"{layer}: {parameters[layer]:7,} parameters {multiply_adds[layer]:8,} multiply-adds")
print(f"    {sum(parameters.values()):7,}            {sum(multiply_adds.values()):8,}")
assert sum(parameters.values()) == 60_000  # the figure in the paper

md.manual_seed(0)
old = lenet5("1998")
assert sum(p.numel() for p in old.parameters()) == 60_000
assert old.codes.shape == (10, 84)

# %% [markdown]
# C5 as a linear layer: the same numbers, read as a row of 400.

# %%
pixels = md.randn(2, 16, 5, 5)
as_convolution = old.c5(pixels)
as_linear = F.linear(pixels.flatten(1), old.c5.weight.flatten(1), old.c5.bias)
assert as_convolution.shape == (2, 120, 1, 1)
assert np.allclose(as_convolution.data.reshape(2, 120), as_linear.data, atol=1e-5)

# %% [markdown]
# Where are the parameters, and where is the work? Expect the opposite of each other: convolutions
# use every weight hundreds of times, linear layers use each once.

# %%
names = list(parameters)
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharey=True)
for ax, counts, title in (
    (axes[0], parameters, "parameters (thousands)"),
    (axes[1], multiply_adds, "multiply-adds of a picture (thousands)"),
):
    bars = ax.barh(names, [counts[n] / 1000 for n in names], color="#0072b2")
    ax.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
    ax.set_xlabel(title)
    ax.margins(x=0.15)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].invert_yaxis()
fig.suptitle("LeNet-5: C5 holds the weights, C1 and C3 do the work", fontsize=11)
plt.show()

linear = ("C5", "F6")
assert sum(parameters[n] for n in linear) > 0.97 * sum(parameters.values())
assert sum(multiply_adds[n] for n in linear) < 0.18 * sum(multiply_adds.values())

# %% [markdown]
# ## The modern form
#
# What is usually called LeNet today has all pairs in C3, maxima for subsampling, ReLU, and a
# learned last layer: 61,706 parameters. `md.summary` counts as you did.

# %%


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


md.manual_seed(0)
modern = LeNet()
counted = md.summary(modern, (1, 1, 28, 28))
print(counted)
assert counted.parameters == 156 + 2_416 + 48_120 + 10_164 + 850 == 61_706
assert counted.multiply_adds == 117_600 + 240_000 + 48_000 + 10_080 + 840

theirs = lenet5()  # minidl's own, with the same names of parameters
theirs.load_state_dict(modern.state_dict())
batch = md.tensor(x_test[:8])
assert np.allclose(modern(batch).data, theirs(batch).data, atol=1e-5)

# %% [markdown]
# ## Steps through a small LeNet
#
# A picture of 8x8 pixels, two maps of 3x3 windows, a 2x2 maximum, a second convolution in which map
# 0 sees both maps and map 1 only the second, and a linear layer to three classes. On the page, go
# to the second `Conv` and move over map 1: one of its two kernels is 0. Go on to the backward steps
# and look at the gradient of that kernel at `Mul`: multiplying by the mask keeps it 0 for ever.

# %%
picture = md.tensor(x_train[:1, :, 6:22:2, 6:22:2])
w1 = md.tensor(rng.standard_normal((2, 1, 3, 3)).astype(np.float32), requires_grad=True)
w2 = md.tensor(rng.standard_normal((2, 2, 2, 2)).astype(np.float32), requires_grad=True)
w3 = md.tensor(rng.standard_normal((3, 8)).astype(np.float32), requires_grad=True)
mask = md.tensor(np.float32([1, 1, 0, 1]).reshape(2, 2, 1, 1))
with md.record() as tape:
    small = F.max_pool2d(F.relu(F.conv2d(picture, w1)), 2)
    small = F.relu(F.conv2d(small, w2 * mask))
    loss = F.cross_entropy(F.linear(small.flatten(1), w3), md.tensor([1]))
    loss.backward()
assert small.shape == (1, 2, 2, 2)
assert (w2.grad.data[1, 0] == 0).all()
assert (w2.grad.data[0] != 0).any()
step_through(tape, "13_lenet_steps", "A small LeNet with a connection table, forward and backward")

# %% [markdown]
# ## Training
#
# Five rounds through 4,000 digits, with batches of 25 and momentum, for both forms. The paper had
# 60,000 digits and 20 rounds and reached an error of 0.95 %; with a fifteenth of the digits and a
# quarter of the rounds, expect a few percent.

# %%


def accuracy(net, images, labels):
    net.eval()
    with md.no_grad():
        return float((net(md.tensor(images)).data.argmax(1) == labels).mean())


def fit(net, lr, epochs=5, batch_size=25):
    """Minimise the cross entropy; returns the accuracy on the test digits after each round."""
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    order, scores = np.random.default_rng(0), []
    for _ in range(epochs):
        net.train()
        for rows in order.permutation(len(x_train)).reshape(-1, batch_size):
            loss = F.cross_entropy(net(md.tensor(x_train[rows])), md.tensor(y_train[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scores.append(accuracy(net, x_test, y_test))
    return scores


scores = {"1998": fit(old, lr=0.003), "modern": fit(modern, lr=0.01)}
for name, row in scores.items():
    print(f"{name:7}", " ".join(f"{score:.1%}" for score in row))
assert scores["1998"][-1] > 0.88
assert scores["modern"][-1] > 0.92

# %% [markdown]
# The rates differ because the gradients do. With respect to the 84 units of F6, the gradient of a
# score is twice the way from the units to the figure, about 18 long where they are 0; in the modern
# form it is a row of the last layer's weights, which starts shorter than 1.

# %%
assert np.linalg.norm(2 * old.codes.data, axis=1).min() > 18
assert np.linalg.norm(LeNet().fc3.weight.data, axis=1).max() < 1

# %% [markdown]
# ## Look at the mistakes
#
# A single percentage hides what goes wrong. Sort the test digits that are misread by how sure the
# network was, the surest first. Some are errors of the network, others of the writer.

# %%
with md.no_grad():
    chances = md.softmax(modern(md.tensor(x_test)), 1).data
answers = chances.argmax(1)
wrong = np.flatnonzero(answers != y_test)
wrong = wrong[np.argsort(-chances[wrong, answers[wrong]])]

fig, axes = plt.subplots(2, 6, figsize=(8, 3.4), layout="constrained")
for ax, i in zip(axes.flat, wrong, strict=False):
    ax.imshow(test.images[i, 0], cmap="gray_r")
    ax.set_title(f"{y_test[i]} read as {answers[i]}\n({chances[i, answers[i]]:.0%})", fontsize=8)
for ax in axes.flat:
    ax.axis("off")
fig.suptitle(f"The surest of {len(wrong)} mistakes among 1,000 digits", fontsize=11)
plt.show()

# %% [markdown]
# The confusion matrix counts for each true digit (row) what was read (column). Its diagonal is what
# was read correctly; the rows add up to 100, since there are 100 test digits of each class.

# %%
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (y_test, answers), 1)
print(confusion)
assert (confusion.sum(1) == 100).all()
assert confusion.trace() == 1000 - len(wrong)

# Is the network less sure where it is wrong? On average, yes: a reason to ask it for its chances.
sure_right = chances.max(1)[answers == y_test].mean()
sure_wrong = chances.max(1)[wrong].mean()
print(
    f"mean chance given to the answer: {sure_right:.0%} where right, {sure_wrong:.0%} where wrong"
)
assert sure_right > sure_wrong + 0.1

# %% [markdown]
# ## Recall
#
# **1.** Why has C1 only 156 parameters although it has 4,704 units?
#
# <details><summary>Answer</summary>
# The units of a map share one 5x5 kernel and one bias: 6 (25 + 1).
# </details>
#
# **2.** Which layer holds most of the parameters, and which does most of the work?
#
# <details><summary>Answer</summary>
# C5 holds 48,120 of 60,000. C3 (150,000) and C1 (117,600) have most of the multiply-adds, because
# their weights are used at every place.
# </details>
#
# **3.** How many parameters has C3, and how does one count them from the table?
#
# <details><summary>Answer</summary>
# 60 connected pairs of maps with 25 weights each, and 16 biases: 1,516.
# </details>
#
# **4.** Why is C5 both a convolution and a fully connected layer?
#
# <details><summary>Answer</summary>
# Its window is as large as its input (5x5), so that there is one place for it, and each output sees
# all of the input.
# </details>
#
# **5.** What does the modern form change?
#
# <details><summary>Answer</summary>
# All pairs in C3, maximum instead of the scaled sum, ReLU instead of the scaled tanh, and a learned
# linear layer instead of distances to fixed figures.
# </details>
#
# ## Change one thing
#
# In the cell "The modern form", replace `F.max_pool2d` by `F.avg_pool2d` at both places and run the
# rest again (minidl's own network then no longer agrees, so leave out the last assertion of that
# cell). Are the maxima what makes the modern form better than that of 1998, or is it something
# else?
#
# ## Where this lives
#
# `minidl/models/classification/lenet.py` has both forms and LeNet-1989. `minidl train lenet5`
# trains the modern one with a full recipe; `examples/lenet5_mnist.py` repeats the paper's figures.
# Papers: LeCun et al. 1989 and 1998. Next: [lesson 14](14_alexnet_to_vgg.html), what happened when
# networks grew.
