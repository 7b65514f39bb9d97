# %% [markdown]
# # 20. Transfer learning
#
# After this lesson you can
#
# - read a weight file byte by byte, and load it into a network with another last layer;
# - use a trained network as a fixed extractor of features, and train a classifier on them;
# - fine-tune a network, and say what is frozen, batch norm included;
# - compare frozen features, fine-tuning and training from scratch over seeds and numbers of
#   examples.
#
# Needs: lessons [06](06_linear_classifier.html), [08](08_batch_norm.html),
# [18](18_training.html).

# %%
import json
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import explain, nn, optim, training
from minidl.nn import functional as F
from minidl.nn.utils import blocks, fine_tune
from minidl.teach import step_through

# %% [markdown]
# ## The task
#
# You want a classifier for five classes and have a handful of pictures of each. But somebody has
# trained a network on many pictures of **other** classes. Is what it learned of use to you?
#
# Here the others are the digits 0 to 4, with 2,000 pictures. Yours are 5 to 9, of which you have 2,
# 5 or 20 pictures each. The 500 test pictures of 5 to 9 are only looked at to measure.

# %%
train, test = md.data.digits(train=True), md.data.digits(train=False)


def of_classes(data, first):
    """Normalised pictures of five classes from `first` on, and their labels from 0."""
    chosen = (data.labels >= first) & (data.labels < first + 5)
    pictures = (data.images[chosen] / 255.0 - train.mean) / train.std
    return pictures.astype(np.float32), data.labels[chosen] - first


source_x, source_y = of_classes(train, 0)
source_test = of_classes(test, 0)
target_x, target_y = of_classes(train, 5)
target_test = of_classes(test, 5)
assert len(source_x) == len(target_x) == 2000
assert len(target_test[0]) == 500

# %% [markdown]
# The network has three convolutions with batch norm and one linear layer, the **head**. All before
# the head is the **body**: it turns a picture into 128 numbers, its features.

# %%


def network():
    layers = {}
    for i, (c, out, stride) in enumerate(((1, 8, 2), (8, 16, 2), (16, 32, 1)), 1):
        layers[f"conv{i}"] = nn.Conv2d(c, out, 3, stride, 1, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(out)
        layers[f"relu{i}"] = nn.ReLU()
    layers |= {"pool": nn.AdaptiveAvgPool2d(2), "features": nn.Flatten()}
    return nn.Sequential(layers | {"head": nn.Linear(128, 5)})


def fit(net, x, y, seed, lr=0.05, steps=80, batch_size=25):
    """SGD with a cosine, on those parameters that are not frozen."""
    chosen = [p for p in net.parameters() if p.requires_grad]
    optimizer = optim.SGD(chosen, lr=lr, momentum=0.9)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(seed)
    net.train()
    for _ in range(steps):
        rows = rng.choice(len(x), min(batch_size, len(x)), replace=False)
        loss = F.cross_entropy(net(md.tensor(x[rows])), md.tensor(y[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()


def accuracy(net, x, y):
    net.eval()
    with md.no_grad():
        return float((net(md.tensor(x)).data.argmax(1) == y).mean())


# %%
md.manual_seed(0)
source = network()
fit(source, source_x, source_y, seed=0, lr=0.1, steps=200, batch_size=50)
print(f"on 500 test digits 0 to 4: {accuracy(source, *source_test):.1%}")
assert accuracy(source, *source_test) > 0.96

# %% [markdown]
# ## A weight file, read byte by byte
#
# Trained networks travel as files. `md.save` writes the safetensors format, which is simple enough
# to read by hand: eight bytes with the length of a header, the header, which is JSON and says for
# each name its type, shape and place, and then the numbers.

# %%
folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "digits_0_to_4.safetensors")
md.save(source.state_dict(), path)

with open(path, "rb") as file:
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    numbers = file.read()
for name in ("conv1.weight", "bn1.bias", "head.weight"):
    print(name, header[name])

entry = header["conv2.weight"]
first, last = entry["data_offsets"]
by_hand = np.frombuffer(numbers[first:last], np.float32).reshape(entry["shape"])
assert (by_hand == source.conv2.weight.data).all()

# %% [markdown]
# A file in this format holds numbers and nothing else. PyTorch's own files (`.pth`) are pickles:
# programs that build objects, and that can do anything when they run. `md.load` reads those, too,
# but knows only the few instructions that make tensors, and runs nothing.
#
# Loading into a network checks every name and every shape. A head for another number of classes
# does not fit, and the error says where.

# %%
weights = md.load(path)
assert sorted(weights) == sorted(source.state_dict())

six_classes = network()
six_classes.head = nn.Linear(128, 6)
try:
    six_classes.load_state_dict(weights)
    message = ""
except RuntimeError as error:
    message = str(error)
print(message)
assert "head.weight" in message

body = {name: values for name, values in weights.items() if not name.startswith("head.")}
result = six_classes.load_state_dict(body, strict=False)
print("left as they were:", result.missing_keys)
assert result.missing_keys == ["head.weight", "head.bias"]
assert (six_classes.conv2.weight.data == source.conv2.weight.data).all()

# %% [markdown]
# ## Three ways to use few examples
#
# - **From scratch**: the same network with random weights, trained on your pictures alone.
# - **Frozen features**: the body as it is. Compute the 128 features of your pictures once, and
#   train a linear classifier on them (a "linear probe").
# - **Fine-tuning**: a new head on the old body, and all weights are trained further.
#
# And one that every learned feature has to beat: a linear classifier on the **pixels**.
#
# A frozen layer has to be frozen altogether: batch norm's running mean and variance change in
# training mode even when no parameter does. `fine_tune(net, last=1)` freezes all but the last
# block, with its statistics.

# %%
print("blocks:", blocks(source))
few = np.concatenate([np.flatnonzero(target_y == c)[:5] for c in range(5)])

net = network()
net.load_state_dict(weights)
fine_tune(net, last=1)
before = {name: values.data.copy() for name, values in net.state_dict().items()}
fit(net, target_x[few], target_y[few], seed=0, steps=5)
changed = [n for n, v in net.state_dict().items() if not np.array_equal(v.data, before[n])]
print("changed by training:", changed)
assert changed == ["head.weight", "head.bias"]

# Frozen by requires_grad alone, the statistics move.
for parameter in source.parameters():
    parameter.requires_grad_(False)
statistics = source.bn1.running_mean.data.copy()
source.train()(md.tensor(target_x[few]))
assert not np.array_equal(source.bn1.running_mean.data, statistics)
source.load_state_dict(weights)  # as it was
source = source.eval()

# %% [markdown]
# ## Steps: where the gradient stops
#
# A frozen convolution and a head that is trained, on one small picture. On the page there is a
# forward step `Conv`, but no backward step for it: the last one is that of `Linear`, and it makes
# no gradient of its input. Freezing saves the backward pass of all that is frozen.

# %%
rng = np.random.default_rng(0)
picture = md.tensor(rng.integers(0, 3, (1, 1, 4, 4)).astype(np.float32))
frozen = md.tensor(rng.integers(-1, 2, (1, 1, 3, 3)).astype(np.float32))
head = md.tensor(rng.integers(-1, 2, (3, 4)).astype(np.float32), requires_grad=True)
with md.record() as tape:
    features = F.relu(F.conv2d(picture, frozen)).flatten(1)
    F.cross_entropy(F.linear(features, head), md.tensor([2])).backward()
backward = [event.op for event in tape if event.phase == "backward"]
assert backward == ["CrossEntropy", "Linear"]
assert frozen.grad is None
step_through(tape, "20_transfer_learning_steps", "A frozen convolution under a head that learns")

# %% [markdown]
# ## The comparison
#
# For 2, 5 and 20 pictures of each class, four ways, three seeds. A seed chooses the pictures, the
# initial weights and the order; within a seed all ways get the same pictures. From scratch and
# fine-tuning take the same 80 steps at the same rate. Expect the old features to win where there is
# little to learn from, and the gap to close with more pictures.

# %%


def pixels(x):
    return x.reshape(len(x), -1)


def body_features(x):
    return explain.activations(source, x, ["features"])["features"]


def probe(extract, x, y):
    """A linear classifier on features; its accuracy on the test pictures."""
    classifier = training.linear_probe(extract(x), y, 5, weight_decay=1e-3, steps=200)
    return accuracy(classifier, extract(target_test[0]), target_test[1])


def trained(x, y, seed, start=None, **setting):
    """The whole network trained, from random weights or from given ones; its accuracy, and it."""
    md.manual_seed(seed)
    net = network()
    if start is not None:
        net.load_state_dict(start, strict=False)
    fit(net, x, y, seed, **setting)
    return accuracy(net, *target_test), net


# %%
COUNTS, SEEDS = (2, 5, 20), (0, 1, 2)
table = {name: [] for name in ("pixels", "scratch", "frozen", "fine-tuned")}
for count in COUNTS:
    rows = {name: [] for name in table}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        classes = [np.flatnonzero(target_y == c) for c in range(5)]
        chosen = np.concatenate([rng.choice(c, count, replace=False) for c in classes])
        x, y = target_x[chosen], target_y[chosen]
        rows["pixels"].append(probe(pixels, x, y))
        rows["frozen"].append(probe(body_features, x, y))
        rows["scratch"].append(trained(x, y, seed)[0])
        rows["fine-tuned"].append(trained(x, y, seed, body)[0])
    for name in table:
        table[name].append(rows[name])
table = {name: np.array(values) for name, values in table.items()}  # (counts, seeds)

print("pictures of a class " + "".join(f"{count:>14}" for count in COUNTS))
for name, values in table.items():
    cells = [f"{100 * v.mean():.1f} ± {100 * v.std():.1f} %" for v in values]
    print(f"{name:20}" + "".join(f"{cell:>14}" for cell in cells))

# %%
mean = {name: values.mean(1) for name, values in table.items()}
assert mean["frozen"][0] > mean["scratch"][0] + 0.08
assert mean["frozen"][1] > mean["scratch"][1] + 0.08
assert mean["fine-tuned"][1] > mean["scratch"][1] + 0.08
assert (mean["frozen"] > mean["pixels"]).all()
gaps = mean["frozen"] - mean["scratch"]
assert gaps[2] < gaps[1]

fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
looks = {"pixels": "v:", "scratch": "o--", "frozen": "s-", "fine-tuned": "D-"}
colours = {"pixels": "0.5", "scratch": "#d55e00", "frozen": "#0072b2", "fine-tuned": "#009e73"}
for i, (name, values) in enumerate(table.items()):
    at = np.array(COUNTS) * 1.03 ** (i - 1.5)  # side by side
    style = {"color": colours[name], "label": name, "capsize": 3}
    ax.errorbar(at, 100 * values.mean(1), 100 * values.std(1), fmt=looks[name], **style)
ax.set_xscale("log")
ax.set_xticks(COUNTS, COUNTS)
ax.minorticks_off()
ax.set_xlabel("pictures of each of the five classes")
ax.set_ylabel("test accuracy, %")
ax.set_title("Digits 5 to 9 with what was learned from 0 to 4\n(three seeds: mean and deviation)")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Read the table with care. The bars show the deviation over three seeds; ways whose bars overlap
# are not told apart by it. And the two tasks are close: strokes of 0 to 4 are good for 5 to 9.
# Features of digits would do less for photographs. Yosinski et al. (2014) measured that on
# ImageNet: the first layers transfer to anything, the last ones to similar tasks.
#
# ## What is forgotten
#
# A fine-tuned network has become another one. Train it for 200 steps at twice the rate on 20
# pictures of each of your classes, put the old head back onto its body and ask for the digits 0 to
# 4: the features have moved away from under it, and it makes several times as many mistakes.

# %%
rng = np.random.default_rng(0)
chosen = np.concatenate([rng.choice(np.flatnonzero(target_y == c), 20, False) for c in range(5)])
_, tuned = trained(target_x[chosen], target_y[chosen], 0, body, lr=0.1, steps=200)
tuned.head.load_state_dict({"weight": weights["head.weight"], "bias": weights["head.bias"]})
old, new = accuracy(source, *source_test), accuracy(tuned, *source_test)
print(f"digits 0 to 4 with the old head: {old:.1%} before, {new:.1%} after fine-tuning")
assert 1 - new > 2 * (1 - old)
assert new < old - 0.02
folder.cleanup()

# %% [markdown]
# Frozen features do not forget: one body can serve many heads.
#
# ## Recall
#
# **1.** You have three pictures of each class and a network trained on similar ones. What do you
# try first?
#
# <details><summary>Answer</summary>
# A linear classifier on its frozen features: nothing to tune, computed once, and hard to overfit.
# </details>
#
# **2.** All parameters of the body have requires_grad=False, yet its output for a picture changes
# during training. Why?
#
# <details><summary>Answer</summary>
# In training mode batch norm uses each batch's statistics and moves its running ones. Put these
# layers into evaluation mode, or use `freeze`.
# </details>
#
# **3.** What does freezing save in computation?
#
# <details><summary>Answer</summary>
# The backward pass of the frozen part, and its kept activations; if the pictures do not change,
# even its forward pass, since the features can be computed once.
# </details>
#
# **4.** Why can a `.pth` file be dangerous, and a safetensors file not?
#
# <details><summary>Answer</summary>
# A pickle is a program that the reader runs. A safetensors file is a table of names and shapes with
# numbers behind it.
# </details>
#
# **5.** Why does the comparison also have a classifier on pixels?
#
# <details><summary>Answer</summary>
# To see what the features are worth. What a simpler way reaches, too, is not the network's merit.
# </details>
#
# ## Change one thing
#
# Does it matter what the body was trained on? Give the source digits random labels
# (`source_y = rng.permutation(source_y)`) and run the comparison again, without its assertions. Or
# leave the body untrained: how good are random features?
#
# ## Where this lives
#
# `minidl/training/transfer.py` (features, probes, neighbours), `minidl/nn/freezing.py`,
# `minidl/io/archive.py` and `torch_checkpoint.py` (files). Papers: Donahue et al. 2014, Razavian et
# al. 2014, Yosinski et al. 2014, Kornblith et al. 2019. Next:
# [lesson 21](21_localisation_and_iou.html).
