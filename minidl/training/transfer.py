"""Transfer of a trained network: its features, and simple classifiers of them.

What a network computes before its last layers can be looked at as a description of the picture,
"features", that serves other tasks than its own (Donahue et al., "DeCAF", 2014; Razavian et al.,
"CNN features off-the-shelf", 2014). How good it is shows in what the simplest classifiers make of
it. To train the network itself further, see `nn.utils.fine_tune`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, no_grad
from ..backend import of
from ..nn import Linear, Module
from ..nn import functional as F
from ..nn.init import skip_init
from ..optim import SGD
from .batches import Batch
from .modes import eval_mode

__all__ = ["features", "linear_probe", "nearest_neighbours"]


def features(
    model: Module, loader: Any, layer: str = "", *, device: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """What a layer of a network gives for every picture of a data set, in evaluation mode.

    Args:
        model: the network.
        loader: batches of (input, target), as for `fit`.
        layer: the path of the module whose output is wanted, such as "layer3.2" or "avgpool"; "":
            the network's own output.
        device: where the batches go; default: where the model is.

    Returns:
        features (N, D), of maps (N, D, H, W) the mean over H and W; and targets (N, ...).

    Raises:
        AttributeError: the model has no such module.
        ValueError: the layer does not run once for each batch, or the loader is empty.
        TypeError: its output is not a tensor.
    """
    device = device or next(iter(model.parameters())).device
    rows: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    outputs: list[Any] = []
    hook = model.get_submodule(layer).register_forward_hook(
        lambda module, args, output: outputs.append(output)
    )
    try:
        with eval_mode(model), no_grad():
            for given in loader:
                batch = Batch.of(given, device)
                outputs.clear()
                batch.through(model)
                if len(outputs) != 1:
                    raise ValueError(
                        f"features: {layer!r} ran {len(outputs)} times for a batch, not once"
                    )
                rows.append(_flat(outputs[0], layer))
                targets.append(of(batch.target.data).to_host(batch.target.data))
    finally:
        hook.remove()
    if not rows:
        raise ValueError("features: the loader has no batches")
    return np.concatenate(rows), np.concatenate(targets)


def _flat(output: Any, layer: str) -> np.ndarray:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"features: the output of {layer!r} is a {type(output).__name__}, not a tensor; choose "
            "a layer within it"
        )
    output = output.mean((2, 3)) if output.ndim == 4 else output.flatten(1)
    return of(output.data).to_host(output.data)


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int | None = None,
    *,
    weight_decay: float = 1e-4,
    steps: int = 500,
) -> Linear:
    """A linear classifier of features: softmax regression on all of them at once.

    Gradient descent with Nesterov's momentum on features brought to mean 0 and variance 1, at
    the rate 1 / L, where L bounds the curvature of the loss: no number has to be tuned, and nothing
    is drawn at random. Mean and variance become part of the layer, which takes the features as they
    are, and can be put in place of the network's last one.

    Args:
        features: (N, D), as from `features`.
        labels: (N,), from 0.
        num_classes: C; default: the largest label and one.
        weight_decay: of the squared weights, halved.
        steps: of gradient descent.

    Returns:
        a layer from (N, D) to scores (N, C).

    Raises:
        ValueError: features or labels are not of these shapes, or labels not from 0 to C - 1.
    """
    x, y = _samples("linear_probe", features, labels)
    classes = int(y.max()) + 1 if num_classes is None else num_classes
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"linear_probe: labels are from 0 to {classes - 1}, got {y.min()} to {y.max()}"
        )
    mean, std = x.mean(0), x.std(0)
    std = np.where(std > 1e-6 * np.abs(mean), std, 1.0).astype(x.dtype)  # constant features
    x = (x - mean) / std
    # The Hessian of softmax cross-entropy is at most half of that of least squares (Böhning 1992);
    # the bias is a feature that is always 1.
    largest = float(np.linalg.eigvalsh(x.T @ x / len(x))[-1])
    rate = 1.0 / (0.5 * max(largest, 1.0) + weight_decay)

    with skip_init():  # all 0
        layer = Linear(x.shape[1], classes, device="cpu", dtype=x.dtype)
    groups = [
        {"params": [layer.weight], "weight_decay": weight_decay},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    optimizer = SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    inputs, targets = Tensor(x, device="cpu"), Tensor(y, device="cpu")
    for _ in range(steps):
        loss = F.cross_entropy(layer(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    layer.zero_grad()
    weight = layer.weight.data / std
    layer.load_state_dict({"weight": weight, "bias": layer.bias.data - weight @ mean})
    return layer


def nearest_neighbours(
    features: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    k: int = 5,
    *,
    metric: str = "euclidean",
) -> np.ndarray:
    """The class that most of the k nearest known features have. Cover and Hart 1967.

    Where several classes have as many, that of the nearest among their features.

    Args:
        features: (N, D), known ones.
        labels: (N,), their classes, from 0.
        queries: (M, D), others.
        k: how many neighbours vote.
        metric: "euclidean", or "cosine" for the angle between features.

    Returns:
        (M,), a class for each query.

    Raises:
        ValueError: shapes that do not fit, k not from 1 to N, or another metric.
    """
    x, y = _samples("nearest_neighbours", features, labels)
    queries = np.asarray(queries)
    if queries.ndim != 2 or queries.shape[1] != x.shape[1]:
        raise ValueError(
            f"nearest_neighbours: queries {queries.shape} do not fit features {x.shape}"
        )
    if not 1 <= k <= len(x):
        raise ValueError(f"nearest_neighbours: k is from 1 to {len(x)}, got {k}")
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f'nearest_neighbours: metric is "euclidean" or "cosine", not {metric!r}')
    if metric == "cosine":
        x, queries = _unit(x), _unit(queries)
    else:  # fewer digits are lost in the squares below when features are around 0
        center = x.mean(0)
        x, queries = x - center, queries - center
    found = np.empty(len(queries), y.dtype)
    squares = (x * x).sum(1)
    for start in range(0, len(queries), 1024):  # a table of 1024 x N distances at a time
        part = queries[start : start + 1024]
        distance = squares - 2 * (part @ x.T)  # less |query|^2, the same for all
        among = np.argpartition(distance, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(distance, among, axis=1).argsort(axis=1)
        nearest = np.take_along_axis(among, order, axis=1)
        votes = y[nearest]  # (queries, k), the nearest first
        counts = (votes[:, :, None] == votes[:, None, :]).sum(2)
        found[start : start + 1024] = votes[np.arange(len(votes)), counts.argmax(1)]
    return found


def _unit(x: np.ndarray) -> np.ndarray:
    length = np.sqrt((x * x).sum(1, keepdims=True))
    return x / np.where(length > 0, length, 1.0).astype(x.dtype)


def _samples(name: str, features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(features), np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
        raise ValueError(
            f"{name}: features are (N, D) and labels (N,), with N > 0; got {x.shape} and {y.shape}"
        )
    if x.dtype.kind != "f" or y.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: features are floats and labels integers, got {x.dtype} and {y.dtype}"
        )
    return x.astype(np.float32) if x.dtype == np.float16 else x, y.astype(np.int64)
