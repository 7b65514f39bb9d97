"""autocast: which operation runs in which precision, and what becomes of gradients."""

import inspect

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.autograd import listen
from minidl.nn import functional as F
from minidl.ops import autocast as file
from minidl.ops import losses, matmul, norm, reduction, softmax

from .. import strict_cupy

half, single = np.dtype("float16"), np.dtype("float32")
DEVICES = ["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)]


def bfloat16():
    reason = "bfloat16 needs the package ml_dtypes"
    return np.dtype(pytest.importorskip("ml_dtypes", reason=reason).bfloat16)


def weights(*shapes, device="cpu"):
    return [md.randn(*s).to(device).requires_grad_() for s in shapes]


@pytest.mark.parametrize("device", DEVICES)
def test_products_are_stored_in_half_precision_and_losses_in_single(device):
    w, m = weights((4, 3, 3, 3), (5, 64), device=device)
    x = md.randn(2, 3, 4, 4).to(device)
    target = md.tensor([1, 2], device=device)
    with md.autocast(device):
        y = F.conv2d(x, w, padding=1)
        scores = F.linear(F.relu(y).reshape(2, 64), m)
        loss = F.cross_entropy(scores, target)
    assert (y.dtype, scores.dtype, loss.dtype) == (half, half, single)
    loss.backward()
    assert w.grad.dtype == m.grad.dtype == single
    with md.autocast(device, enabled=False):
        exact = F.relu(F.conv2d(x, w, padding=1)).reshape(2, 64) @ m.T
    want = md.grad(F.cross_entropy(exact, target), [w, m])
    for got, wanted in zip((w.grad, m.grad), want, strict=True):
        error = (got - wanted).abs().max().cpu().item()
        assert 0 < error < 1e-2 * wanted.abs().max().cpu().item()


def test_every_name_of_the_table_is_an_operation_that_casts():
    found = {}
    for module in vars(md.ops).values():
        if inspect.ismodule(module):
            for name in getattr(module, "__all__", ()):
                function = getattr(module, name)
                if hasattr(function, "__wrapped__") and name in file.HALF | file.FLOAT32:
                    found[name] = function
    assert set(found) == file.HALF | file.FLOAT32
    assert not file.HALF & file.FLOAT32
    with pytest.raises(ValueError, match="missing in the table"):
        file.autocasts(lambda x: x)


A, B, V = md.ones(2, 2), md.ones(2, 2), md.ones(2)
PRODUCTS = {
    "matmul": lambda a: matmul.matmul(a, B),
    "@": lambda a: a @ B,
    "mm": lambda a: matmul.mm(a, B),
    "bmm": lambda a: matmul.bmm(a.reshape(1, 2, 2), B.reshape(1, 2, 2)),
    "dot": lambda a: matmul.dot(a.reshape(4), B.reshape(4)),
    "outer": lambda a: matmul.outer(a.reshape(4), V),
    "einsum": lambda a: matmul.einsum("ij,jk->ik", a, B),
    "einsum of a list": lambda a: matmul.einsum("ij,jk->ik", [a, B]),
    "linear": lambda a: matmul.linear(a, B, V),
    "conv1d": lambda a: F.conv1d(a.reshape(1, 2, 2), md.ones(1, 2, 1)),
    "conv_transpose1d": lambda a: F.conv_transpose1d(a.reshape(1, 2, 2), md.ones(2, 1, 1)),
    "conv_transpose2d": lambda a: F.conv_transpose2d(a.reshape(1, 1, 2, 2), md.ones(1, 1, 1, 1)),
}
SINGLE = {
    "softmax": lambda a: softmax.softmax(a, 1),
    "log_softmax": lambda a: a.log_softmax(1),
    "sum": lambda a: a.sum(),
    "mean": lambda a: a.mean(0),
    "var": lambda a: reduction.var(a),
    "norm": lambda a: reduction.norm(a),
    "layer_norm": lambda a: norm.layer_norm(a, 2, V),
    "group_norm": lambda a: norm.group_norm(a, 1),
    "normalize": lambda a: norm.normalize(a),
    "mse_loss": lambda a: losses.mse_loss(a, B),
    "binary_cross_entropy": lambda a: losses.binary_cross_entropy(a.sigmoid(), B),
    "exp": lambda a: a.exp(),
    "pow": lambda a: a**2,
}
KEPT = {
    "relu": F.relu,
    "add": lambda a: a + a,
    "max_pool2d": lambda a: F.max_pool2d(a.reshape(1, 1, 2, 2), 2),
    "batch_norm": lambda a: F.batch_norm(a, V * 0, V * 1, V, V, training=True),
    "dropout": lambda a: F.dropout(a),
    "cat": lambda a: md.cat([a, a]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_takes_single_and_gives_half_precision(name):
    assert PRODUCTS[name](A).dtype == single
    with md.autocast("cpu"):
        assert PRODUCTS[name](A).dtype == half
        assert PRODUCTS[name](A.half()).dtype == half


@pytest.mark.parametrize("name", SINGLE)
def test_what_is_delicate_is_computed_in_single_precision(name):
    with md.autocast("cpu"):
        assert SINGLE[name](A.half()).dtype == single
    kept = name not in ("layer_norm", "mse_loss", "binary_cross_entropy")  # (two dtypes)
    assert not kept or SINGLE[name](A.half()).dtype == half


@pytest.mark.parametrize("name", KEPT)
def test_anything_else_keeps_the_dtype_it_is_given(name):
    with md.autocast("cpu"):
        assert KEPT[name](A).dtype == single
        assert KEPT[name](A.half()).dtype == half


def test_double_precision_is_left_alone():
    with md.autocast("cpu"):
        assert (A.double() @ B.double()).dtype == np.float64
        assert A.double().sum().dtype == np.float64


def test_only_the_named_type_of_device_is_concerned():
    x = md.ones(2, 2, device="strict")
    with md.autocast("cpu"):
        assert (x @ x).dtype == single
        with md.autocast("strict"):
            assert (x @ x).dtype == (A @ B).dtype == half
            assert md.is_autocast_enabled("cpu")
            assert md.is_autocast_enabled("strict")
    assert not md.is_autocast_enabled("cpu")


def test_regions_nest_and_end():
    with md.autocast("cpu"):
        with md.autocast("cpu", enabled=False):
            assert (A @ B).dtype == single
            assert not md.is_autocast_enabled("cpu")
        assert (A @ B).dtype == half
        with pytest.raises(ZeroDivisionError), md.autocast("cpu", enabled=False):
            raise ZeroDivisionError
        assert (A @ B).dtype == half
    assert (A @ B).dtype == single

    @md.autocast("cpu")
    def product(depth=1):
        """What it does."""
        return product(depth - 1) if depth else A @ B

    assert product().dtype == half
    assert product.__doc__ == "What it does."
    assert (A @ B).dtype == single


def test_sums_of_a_product_are_in_single_precision():
    """4096 + 1 is 4096 in float16: added up there, the ones would be lost."""
    row = md.ones(1, 2049)
    row[0, 0] = 4096.0
    with md.autocast("cpu"):
        assert (row @ md.ones(2049, 1)).item() == 4096 + 2048
        image = row.reshape(1, 2049, 1, 1)
        assert F.conv2d(image, md.ones(1, 2049, 1, 1)).item() == 4096 + 2048


def casts_in(function):
    seen = []
    with listen(lambda e: seen.append(e.op) if e.phase == "forward" else None):
        function()
    return seen.count("Cast")


def test_a_weight_is_cast_once_in_a_region_and_serves_several_graphs():
    (w,) = weights((2, 2))
    x = A.half()

    def both(cache_enabled):
        with md.autocast("cpu", cache_enabled=cache_enabled):
            return (x @ w), (x @ w)

    assert casts_in(lambda: both(True)) == 1
    assert casts_in(lambda: both(False)) == 2
    first, second = both(True)
    first.backward(md.ones_like(first))
    second.backward(md.ones_like(second))
    assert np.array_equal(w.grad.numpy(), np.full((2, 2), 4.0))


def test_a_cached_cast_follows_changes_and_recording():
    (w,) = weights((2, 2))
    with md.autocast("cpu"):
        with md.no_grad():
            before = A.half() @ w
            w *= 2.0
        after = A.half() @ w
        assert after.requires_grad, "the cast made without recording has no way to the weight"
        assert np.array_equal(after.detach().numpy(), 2 * before.numpy())
        w.data = w.data * 2
        assert np.array_equal((A.half() @ w).detach().numpy(), 4 * before.numpy())
        after.backward(md.ones_like(after))
    assert w.grad.dtype == single


def test_backward_within_the_region_runs_in_the_dtypes_of_forward():
    (w,) = weights((3, 2))
    with md.autocast("cpu"):
        loss = F.cross_entropy(F.linear(A, w), md.tensor([0, 1]))
        loss.backward()
        assert md.is_autocast_enabled("cpu")
    inside = w.grad.numpy().copy()
    w.grad = None
    with md.autocast("cpu"):
        loss = F.cross_entropy(F.linear(A, w), md.tensor([0, 1]))
    loss.backward()
    assert np.array_equal(inside, w.grad.numpy())


def test_second_derivatives_go_through_the_casts():
    (w,) = weights((3, 2))
    x = md.randn(4, 2)

    def penalty(enabled):
        with md.autocast("cpu", enabled=enabled):
            y = F.softplus(F.linear(x, w)).sum()
        (g,) = md.grad(y, w, create_graph=True)
        return md.grad((g * g).sum(), w)[0].numpy()

    exact, found = penalty(False), penalty(True)
    assert found.dtype == single
    assert 0 < np.abs(found - exact).max() < 1e-2 * np.abs(exact).max()


def test_bfloat16_where_ml_dtypes_is_installed():
    dtype = bfloat16()
    w, m = weights((4, 3, 3, 3), (5, 64))
    big = md.full((2, 3, 4, 4), 1e9)  # beyond float16
    with md.autocast("cpu", dtype):
        assert md.get_autocast_dtype("cpu") == dtype
        y = F.relu(F.conv2d(big, w, padding=1))
        y = F.max_pool2d(nn.BatchNorm2d(4)(y), 1)
        scores = F.linear(y.reshape(2, 64), m)
        assert y.dtype == scores.dtype == dtype
        loss = F.cross_entropy(scores, md.tensor([1, 2]))
    loss.backward()
    assert loss.dtype == w.grad.dtype == single
    assert np.isfinite(m.grad.numpy()).all()


def test_a_network_learns_in_mixed_precision():
    md.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = md.optim.Adam(model.parameters(), lr=0.02)
    x = md.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    y = md.tensor([0, 1, 1, 0])
    for _ in range(150):
        with md.autocast("cpu"):
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert all(p.dtype == single for p in model.parameters())


def test_a_training_step_has_no_hidden_wait():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(16, 3))
    model.to("strict")
    optimizer = md.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = md.randn(2, 1, 4, 4).to("strict"), md.tensor([0, 2], device="strict")
    with strict_cupy.forbid_sync():
        for _ in range(2):
            with md.autocast("strict"):
                loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_a_dtype_that_is_not_half_is_refused(dtype):
    with pytest.raises(ValueError, match="autocast: dtype must be float16 or bfloat16"):
        md.autocast("cpu", dtype)


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        md.autocast("gpu")


def test_the_dtypes_are_those_of_torchs_autocast():
    """torch.autocast on the CPU knows bfloat16 and float16: the same dtypes for what both list."""
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    x, w = torch.ones(2, 2), torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.float16), md.autocast("cpu", md.float16):
        assert str((x @ w).dtype) == f"torch.{(A @ B).dtype}"
        theirs = torch.nn.functional.linear(x, w)
        assert str(theirs.dtype) == f"torch.{F.linear(A, B).dtype}"
        theirs = torch.nn.functional.mse_loss(x.half(), w.half())
        assert str(theirs.dtype) == f"torch.{F.mse_loss(A.half(), B.half()).dtype}"
