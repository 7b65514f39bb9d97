"""What a GPU is for, whole: training steps without a wait, in mixed precision, and checkpoints that
move between devices. (Operations one by one: tests/ops/test_all_ops.py.)

Most run on the stand-in for CuPy, too, with the plain kernels. `MINIDL_PRETEND_GPU=1 pytest -m
gpu` runs all tests marked `gpu` on the stand-in with the GPU's kernels, compiled for the CPU, to
see that they would run: it proves nothing about a GPU.
"""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import backend, nn, optim
from minidl.data import DataLoader
from minidl.models import resnet20
from minidl.nn import functional as F
from minidl.training import fit

from . import strict_cupy
from .conftest import PRETENDING

DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]


@contextlib.contextmanager
def no_waiting(device):
    """An error if the host waits for the device within the block."""
    if device == "cpu":
        yield
    elif device == "strict" or PRETENDING:
        with strict_cupy.forbid_sync():
            yield
    else:
        import cupyx

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "cupyx.allow_synchronize will be removed")
            with cupyx.allow_synchronize(False):
                yield


def host(x):
    return backend.of(x.data).to_host(x.data)


def network():
    """Every kind of layer, small."""
    md.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 1),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(2),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def data(device, count=8, size=8):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((count, 3, size, size)).astype(np.float32)
    return md.tensor(images, device=device), md.tensor(rng.integers(0, 10, count), device=device)


def train(device, half=False, scaler=None, steps=3, rule=optim.SGD):
    model = network().to(device)
    optimizer = rule(
        model.parameters(), lr=0.05, **({"momentum": 0.9} if rule is optim.SGD else {})
    )
    x, y = data(device)
    losses = []
    for step in range(steps):
        waiting = contextlib.nullcontext() if step == 0 or scaler else no_waiting(device)
        with waiting:  # (the first step compiles kernels, uploads tables)
            with md.autocast(device, enabled=half):
                loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            if scaler is None:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        losses.append(loss.detach())
    return [float(host(loss)) for loss in losses], model


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_training_steps_do_not_wait_and_are_those_of_the_cpu(device, half):
    there, model = train(device, half)
    here, twin = train("cpu", half)
    np.testing.assert_allclose(there, here, rtol=2e-2 if half else 1e-4)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert p.dtype == np.float32
        scale = np.abs(host(q)).max()
        assert np.abs(host(p) - host(q)).max() <= (5e-2 if half else 1e-3) * max(scale, 0.1)


@pytest.mark.parametrize("device", DEVICES)
def test_a_scaled_step_in_mixed_precision_is_that_of_the_cpu(device):
    scalers = [md.amp.GradScaler(place, 2.0**10) for place in (device, "cpu")]
    there, _ = train(device, True, scalers[0], rule=optim.Adam)
    here, _ = train("cpu", True, scalers[1], rule=optim.Adam)
    np.testing.assert_allclose(there, here, rtol=5e-2)
    assert scalers[0].get_scale() == scalers[1].get_scale()


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_step_gives_the_same_bits_where_that_is_asked_for(device):
    def weights():
        with md.cuda.deterministic():
            _, model = train(device, steps=2)
        return [host(p) for p in model.parameters()]

    for a, b in zip(weights(), weights(), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("device", DEVICES)
def test_a_checkpoint_moves_between_devices(device, tmp_path):
    """Trained there, continued here, and the other way round: as if it had never moved."""

    class Pictures:
        def __len__(self):
            return 8

        def __getitem__(self, i):
            x, y = data("cpu")
            return x.data[i], int(y.data[i])

    def run(places, name):
        for epochs, place in enumerate(places, start=1):
            model = network()
            model[9] = nn.Identity()  # (dropout's bits are the same everywhere: tested elsewhere)
            model.to(place)
            optimizer = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
            loader = DataLoader(Pictures(), 4, shuffle=True, seed=5)
            history = fit(
                model, optimizer, nn.CrossEntropyLoss(), loader, epochs=epochs,
                run=tmp_path / name, resume=True, progress=False,
            )  # fmt: skip
            assert all(p.device.type == place for p in model.parameters())
        return history, model

    history, model = run([device, "cpu", device], "moving")
    expected, twin = run(["cpu", "cpu", "cpu"], "staying")
    for mine, theirs in zip(history, expected, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(host(p), host(q), rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_a_resnet_step_does_not_wait():
    model = resnet20().to("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = data("cuda", 4, 32)
    for step in range(2):
        with no_waiting("cuda") if step else contextlib.nullcontext():
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert np.isfinite(host(loss))


@pytest.mark.gpu
def test_the_detector_of_waits_detects_one():
    x = md.ones(3, device="cuda")
    with pytest.raises(RuntimeError), no_waiting("cuda"):
        x.sum().item()


@pytest.mark.gpu
def test_tf32_is_off_until_it_is_asked_for():
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b

    def error():
        product = md.tensor(a, device="cuda") @ md.tensor(b, device="cuda")
        return np.abs(host(product) - exact).max() / np.abs(exact).max()

    assert error() < 1e-6
    backend.matmul.allow_tf32 = True
    try:
        assert error() < 1e-3
    finally:
        backend.matmul.allow_tf32 = False


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_products_of_batches_are_those_of_the_cpu(dtype):
    rng = np.random.default_rng(0)
    tolerance = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2}[dtype]
    for left, right in [((5, 7, 9), (5, 9, 3)), ((2, 1, 7, 9), (3, 9, 3)), ((7, 9), (9, 3))]:
        a, b = (rng.standard_normal(shape).astype(dtype) for shape in (left, right))
        expected = a.astype(np.float64) @ b
        for x in (md.tensor(a, device="cuda"), md.tensor(a.mT.copy(), device="cuda").mT):
            found = host(x @ md.tensor(b, device="cuda"))
            assert found.dtype == a.dtype
            assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
