# %% [markdown]
# # 29. The same code on a GPU
#
# After this lesson you can
#
# - move a training loop to a GPU by one word, and say what stays and what changes;
# - explain what a kernel launch is, and why many small operations are slow on a fast GPU;
# - find the lines at which a program waits for the GPU, and remove them from the loop;
# - count what travels between host and device, with a stand-in that needs no GPU;
# - say why results on two devices differ in the last digits, and how much TF32 costs.
#
# Needs: lessons 01, 04, 18.

# %%
import time
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

import minidl as md
from minidl import backend, nn, optim
from minidl.backend.base import Backend
from minidl.nn import functional as F
from minidl.teach import step_through

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"

# %% [markdown]
# This lesson runs with a GPU and without one. Where one answers, the measurements at the end are
# its own; else they are the CPU's, and everything that is counted stays the same.

# %%
usable, what = backend.cuda.probe()
DEVICE = "cuda" if usable else "cpu"
print(f"computing on {DEVICE}: {what if usable else 'no GPU here'}")

# %% [markdown]
# ## One word
#
# The parameters are moved once, each batch is moved when it is needed, and that is all. Each
# operation looks at the array it is given and takes the library of that array: NumPy, or CuPy for a
# GPU. (`md.use("auto")` goes further: new tensors are then made on the GPU from the start.)


# %%
def network(device):
    md.manual_seed(0)  # drawn on the host: the same on every device
    layers = nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10)
    return nn.Sequential(*layers).to(device)


digits = md.data.digits()
images = np.asarray(digits.images, dtype=np.float32) / 255
labels = np.asarray(digits.labels, dtype=np.int64)


def train(device, steps, batch=16, look=False):
    model = network(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        part = slice(step * batch, (step + 1) * batch)
        x, t = md.tensor(images[part], device=device), md.tensor(labels[part], device=device)
        loss = F.cross_entropy(model(x), t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if look:
            loss.item()
    return loss


here, there = train("cpu", 20), train(DEVICE, 20)
print(f"loss on the CPU {here.item():.6f}, on {there.device} {there.item():.6f}")
assert abs(here.item() - there.item()) < 1e-3

# %% [markdown]
# ## What a launch is
#
# A GPU does not run your Python program. The program, on the **host**, asks the GPU, the
# **device**, to run a **kernel**: a small program that thousands of threads execute, each on its
# own numbers. The request is a *launch*. It costs the host a few microseconds, and then the host
# goes on at once: the device works through the requests in their order, in its own time.
#
# That makes two clocks. Write both down: kernel $i$ begins when it has been requested and the one
# before it has ended.


# %%
def timeline(kernels, launch=5.0, waits=()):
    """(launch times, kernel starts, kernel ends) in microseconds; the host waits after `waits`."""
    host, free, launches, starts, ends = 0.0, 0.0, [], [], []
    for i, length in enumerate(kernels):
        launches.append(host)
        host += launch
        start = max(host, free)
        free = start + length
        starts.append(start)
        ends.append(free)
        if i in waits:
            host = free  # a wait: the host stands still until the device is done
    return np.array(launches), np.array(starts), np.array(ends)


small, large = np.full(6, 2.0), np.full(6, 12.0)
cases = {
    "small kernels: the device idles": (small, ()),
    "large kernels: the host is ahead": (large, ()),
    "large kernels, a wait after each": (large, range(6)),
}
total = {
    name: float(timeline(kernels, waits=waits)[2][-1]) for name, (kernels, waits) in cases.items()
}
print(total)
n, launch = 6, 5.0
assert list(total.values()) == [n * launch + 2.0, launch + n * 12.0, n * (launch + 12.0)]

# %% [markdown]
# The three totals are worth remembering. With small kernels the launches are all you pay; a GPU
# twice as fast changes nothing. With large ones the launches are hidden behind the work. With a
# wait after each you pay both.

# %%
fig, axes = plt.subplots(3, 1, figsize=(9.5, 4), sharex=True, layout="constrained")
for ax, (name, (kernels, waits)) in zip(axes, cases.items(), strict=True):
    launches, starts, _ = timeline(kernels, waits=waits)
    ax.barh(np.ones(6), launch, left=launches, color=ORANGE, edgecolor="white")
    ax.barh(np.zeros(6), kernels, left=starts, color=BLUE, edgecolor="white")
    for i in range(6):
        ax.text(launches[i] + launch / 2, 1, i, ha="center", va="center", color="white", fontsize=8)
    ax.axvline(total[name], color=GREY, linestyle=":")
    ax.set(yticks=[0, 1], yticklabels=["device", "host"], title=f"{name}: {total[name]:g} µs")
axes[-1].set_xlabel("microseconds")
plt.show()

# %% [markdown]
# ## A stand-in that counts
#
# Which of your lines launch, send or wait? A stand-in for a GPU can tell, on any machine: arrays
# that live in the same memory, but count what a real device would have to do. minidl asks a
# `Backend` for everything that depends on the array library, so a new device is a class. Its arrays
# are NumPy's, under another type, and each operation on them counts as a launch.

# %%
counts = Counter()


class FarArray(np.ndarray):
    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        counts["launches"] += 1
        if out is not None:
            options["out"] = tuple(map(near, out))
        result = getattr(ufunc, method)(*map(near, inputs), **options)
        return far(result) if out is None else out[0]

    def __getitem__(self, key):
        return far(super().__getitem__(key))


def near(x):
    return x.view(np.ndarray) if isinstance(x, FarArray) else x


def far(x):
    if isinstance(x, tuple):
        return tuple(map(far, x))
    return np.asarray(x).view(FarArray) if isinstance(x, (np.ndarray, np.generic)) else x


# %% [markdown]
# Data gets there by `asarray` and back by `to_host`. A copy back must wait: the host cannot read a
# number that has not been computed yet.


# %%
class FarNames:
    """NumPy's functions, whose results are far arrays."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *args, **options: far(found(*args, **options))


class FarBackend(Backend):
    name, xp = "far", FarNames()

    def asarray(self, data, dtype=None, index=None):
        counts["uploads"] += not isinstance(data, FarArray)
        return far(np.array(data, dtype))

    def to_host(self, array):
        counts["waits"] += 1
        return np.array(array)


backend.register("far", lambda: (FarBackend(), FarArray))
on_far = train("far", 20)
assert isinstance(on_far.data, FarArray)
assert abs(on_far.item() - here.item()) < 1e-3

# %% [markdown]
# Now count. The four parameters go there once, and two arrays for each step: pictures and labels.
# Nothing comes back, so the host never waits. With `loss.item()` in the loop it waits once a step:


# %%
def count(steps, **options):
    counts.clear()
    train("far", steps, **options)
    return Counter(counts)


quiet, looking = count(10), count(10, look=True)
print("quiet  ", dict(quiet))
print("looking", dict(looking))
assert quiet["uploads"] == looking["uploads"] == 4 + 2 * 10
assert quiet["waits"] == 0
assert looking["waits"] == 10

# %% [markdown]
# A wait is seldom as visible as `.item()`. All of these need a number on the host:

# %%
loss = md.tensor(2.5, device="far")
for text in ("float(loss)", "print(loss)", "bool(loss > 3)", "f'{loss:.2f}'", "loss.tolist()"):
    counts.clear()
    eval(text)
    print(f"{text:<16} waits: {counts['waits']}")
    assert counts["waits"] >= 1
counts.clear()
running = loss.detach() * 0.9 + 1.0  # this stays there
assert counts["waits"] == 0

# %% [markdown]
# So in a loop: add losses up on the device and look at the sum once an epoch. minidl's `fit`
# does that. (Picking with a mask, `x[mask]`, waits on a real GPU as well: the size of the result
# must be known. `md.where` needs no size.)
#
# ## Launches do not grow with the batch
#
# How many launches does a step take, and on what does it depend? Not on the batch: the same kernels
# run on larger arrays. So the share of one picture in the launches falls with the batch size. That
# is why a GPU is fed large batches, and why a network of many small layers leaves it idle.

# %%
first, more = count(1), count(11)
step = (more["launches"] - first["launches"]) / 10
large_batch = count(11, batch=256)["launches"] - count(1, batch=256)["launches"]
print(f"launches a step: {step:g} with 16 pictures, {large_batch / 10:g} with 256")
assert large_batch / 10 == step

# %% [markdown]
# The count of this stand-in is that of plain array operations. minidl's own kernels for a GPU do
# several in one launch (`minidl/backend/cuda/kernels/`): softmax with cross-entropy, BatchNorm with
# ReLU, the optimiser's update of all parameters. Fusing saves launches, and trips through memory.
#
# ## Same bits, or almost
#
# What is drawn at random is the same on every device, because it is made by a counter (Philox), not
# by a state that threads would have to share. What is *added* may differ in the last digits:
# float32 sums depend on their order (lesson 01), and thousands of threads add in another one.

# %%
ones = np.ones((4, 6), np.float32)
drawn = []
for device in ("cpu", "far", DEVICE):
    md.manual_seed(7)
    drawn.append(F.dropout(md.tensor(ones, device=device), 0.5).cpu().numpy())
assert np.array_equal(drawn[0], drawn[1])
assert np.array_equal(drawn[0], drawn[2])

rng = np.random.default_rng(0)
numbers = rng.standard_normal(100_000).astype(np.float32)
sums = {float(np.cumsum(rng.permutation(numbers))[-1]) for _ in range(8)}
exact = float(numbers.astype(np.float64).sum())
off = max(abs(s - exact) for s in sums)
print(f"8 orders, {len(sums)} different sums, at most {off:.4f} from the exact {exact:.4f}")
assert len(sums) > 1
assert off < 0.1

# %% [markdown]
# GPUs have units for products of matrices with fewer digits. **TF32** keeps float32's range and
# rounds the factors to 10 binary digits behind the point (float32: 23). Round them here, and
# compare the products. The relative error of a factor is at most $2^{-11}$; expect products about a
# thousand times less exact.


# %%
def tf32(x):
    """float32 rounded to 10 digits behind the binary point."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


A, B = (rng.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
assert (np.abs(tf32(A) - A) <= 2.0**-11 * np.abs(A)).all()
right = A.astype(np.float64) @ B.astype(np.float64)
error32 = np.linalg.norm(A @ B - right) / np.linalg.norm(right)
error_tf32 = np.linalg.norm(tf32(A) @ tf32(B) - right) / np.linalg.norm(right)
print(f"relative error: float32 {error32:.0e}, TF32 {error_tf32:.0e}")
assert error_tf32 > 100 * error32
assert error_tf32 < 1e-3

# %% [markdown]
# For training that is mostly good enough, for a gradient check it is not. minidl leaves it off
# until you ask for it: `md.set_float32_matmul_precision("high")`.
#
# ## Step through it
#
# The page has one step of a tiny network, recorded where this lesson ran. Each forward and each
# backward operation on it is a launch on a GPU, or several. Go through it and ask at each step:
# must the host know a number here? It never must.

# %%
md.manual_seed(0)
layer = nn.Linear(3, 2).to(DEVICE)
x = md.tensor([[1.0, -1.0, 2.0], [0.0, 3.0, 1.0]], device=DEVICE)
t = md.tensor([0, 1], device=DEVICE)
with md.record() as tape:
    loss = F.cross_entropy(layer(x).relu(), t)
    loss.backward()
assert [event.phase for event in tape.events] == ["forward"] * 3 + ["backward"] * 3
step_through(tape, "29_on_a_gpu_step", "One training step: six launches or more")

# %% [markdown]
# ## Measure
#
# On a GPU a clock around an operation measures its launch. To measure the work, wait before you
# start the clock and before you stop it. The first call compiles kernels and fills caches: leave it
# out.


# %%
def wait():
    backend.by_name(DEVICE).synchronize()


def seconds(function, repeats=5):
    function()
    times = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        function()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)


model = network(DEVICE)
sizes = [1, 4, 16, 64, 256, 1024]
each = []
for size in sizes:
    x = md.tensor(images[:size], device=DEVICE)
    with md.no_grad():
        each.append(seconds(lambda x=x: model(x)) / size * 1e6)
print({size: f"{t:.1f} µs" for size, t in zip(sizes, each, strict=True)})

fig, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
ax.loglog(sizes, each, "o-", color=GREEN)
ax.set(xlabel="batch size", ylabel="µs for one picture", title=f"Forward on {DEVICE}: batches pay")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
plt.show()

# %% [markdown]
# ## Recall
#
# 1. A network of 200 small layers is no faster on a GPU twice as fast. Why?
#
# <details><summary>Answer</summary>
# Its time is that of the launches, which the host pays. Larger batches or fused kernels help.
# </details>
#
# 2. `start = time(); y = model(x); print(time() - start)` shows 0.2 ms on a GPU. What was measured?
#
# <details><summary>Answer</summary>
# The launches. The work goes on behind; wait for the device before stopping the clock.
# </details>
#
# 3. Which of these waits: `loss.backward()`, `if loss > 3:`, `total += loss.detach()`,
#   `print(loss)`?
#
# <details><summary>Answer</summary>
# The second and the fourth: they need a number on the host.
# </details>
#
# 4. The same seed gives a loss that differs in the 6th digit between CPU and GPU. Is that a bug?
#
# <details><summary>Answer</summary>
# No: sums in another order. But the same dropout masks and the same first weights must come out.
# </details>
#
# 5. What has to travel to the device in a training step, and what back?
#
# <details><summary>Answer</summary>
# The batch there. Back: nothing, until you want to look at a number.
# </details>
#
# ## Change one thing
#
# In `train`, move the whole data set to the device before the loop (`md.tensor(images,
# device=device)`), and take the slices from there. Predict how many uploads 10 steps make now, and
# run `count`. When is this not possible?
#
# ## Where this lives
#
# `minidl/backend/base.py` is what a device must be able to do, `minidl/backend/cuda/` the GPU's
# kernels and the copies beside the work (`transfer.py`), `docs/gpu.md` the switches. A stricter
# stand-in tests minidl without a GPU: `tests/strict_cupy.py`. CUDA: Nickolls et al. 2008;
# counter-based random numbers: Salmon et al. 2011.
