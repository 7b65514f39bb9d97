"""New tensors: shapes, dtypes, devices, randomness."""

import numpy as np
import pytest

import minidl as md
from minidl.ops import creation

SIZED = ["zeros", "ones", "empty", "rand", "randn"]


@pytest.mark.parametrize("name", SIZED)
def test_sizes_are_integers_or_one_tuple(name):
    make = getattr(creation, name)
    assert make(2, 3).shape == make((2, 3)).shape == make([2, 3]).shape == (2, 3)
    assert make().shape == make(()).shape == ()
    assert make(0, 2).shape == (0, 2)
    with pytest.raises(ValueError, match=f"{name}: sizes must not be negative"):
        make(2, -1)
    with pytest.raises(TypeError):
        make(2.5)


@pytest.mark.parametrize("name", SIZED)
def test_dtype_device_and_requires_grad_are_kept(name):
    make = getattr(creation, name)
    x = make(2, 2)
    assert x.dtype == np.float32
    assert x.device == "cpu"
    assert not x.requires_grad
    for dtype in (np.float16, "float32", np.dtype("float64")):
        x = make(2, 2, dtype=dtype, device="strict", requires_grad=True)
        assert x.dtype == dtype
        assert x.device == "strict"
        assert x.requires_grad
        assert x.is_leaf
    with md.use("strict"):
        assert make(1).device == "strict"
        assert make(1, device="cpu").device == "cpu"


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "rand", "randn"])
def test_the_like_forms_take_shape_dtype_and_device_from_a_tensor(name):
    like = getattr(creation, f"{name}_like")
    x = md.tensor(np.ones((2, 3)), device="strict", requires_grad=True)
    y = like(x)
    assert (y.shape, y.dtype, y.device, y.requires_grad) == ((2, 3), np.float64, "strict", False)
    y = like(x, dtype=np.float32, device="cpu", requires_grad=True)
    assert (y.dtype, y.device, y.requires_grad) == (np.float32, "cpu", True)


def test_filled_tensors_hold_what_they_say():
    assert creation.zeros(2).tolist() == [0.0, 0.0]
    assert creation.ones(2, dtype=np.int64).tolist() == [1, 1]
    assert creation.full((2,), 3).dtype == np.int64
    assert creation.full((2,), True).dtype == np.bool_
    assert creation.full((2,), 0.5).dtype == np.float32
    assert creation.full((), md.tensor(2.5)).item() == 2.5
    assert creation.full_like(creation.zeros(2), 7).tolist() == [7.0, 7.0]
    assert creation.eye(2, 3).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert creation.eye(2).dtype == np.float32
    with pytest.raises(TypeError, match="floating-point"):
        creation.ones(2, dtype=np.int64, requires_grad=True)


@pytest.mark.parametrize(
    "arguments",
    [(5,), (2, 7), (7, 2, -2), (0, 1, 0.25), (1.5,), (0, 1, 0.1), (3, 3), (0.0, 10.0, 3)],
)
def test_arange_is_torchs(arguments):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    x, t = creation.arange(*arguments), torch.arange(*arguments)
    assert x.dtype == t.numpy().dtype
    np.testing.assert_allclose(x.numpy(), t.numpy(), rtol=1e-6)


def test_arange_refuses_steps_that_lead_nowhere():
    for arguments in ((3, 0), (0, 3, -1), (0, 3, 0)):
        with pytest.raises(ValueError, match="arange"):
            creation.arange(*arguments)


@pytest.mark.parametrize("arguments", [(0, 1, 5), (-1.0, 2.0, 1), (3, 3, 4), (0, 10, 0)])
def test_linspace_is_torchs(arguments):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    x, t = creation.linspace(*arguments), torch.linspace(*arguments)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.numpy(), t.numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match="linspace"):
        creation.linspace(0, 1, -1)


def test_random_tensors_are_the_same_for_one_seed_on_every_device():
    def draw(device):
        md.manual_seed(5)
        return [
            creation.rand(3, device=device).tolist(),
            creation.randn(3, dtype=np.float64, device=device).tolist(),
            creation.randint(0, 100, (3,), device=device).tolist(),
            creation.randperm(5, device=device).tolist(),
            creation.bernoulli(creation.full((6,), 0.5, device=device)).tolist(),
        ]

    assert draw("cpu") == draw("cpu") == draw("strict")
    rng = np.random.default_rng(1)
    own = creation.rand(3, generator=rng)
    assert own.tolist() == np.random.default_rng(1).random(3, np.float32).tolist()


def test_random_tensors_have_the_distribution_they_name():
    u, n = creation.rand(20000).numpy(), creation.randn(20000).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.02
    assert abs(n.mean()) < 0.05
    assert abs(n.std() - 1) < 0.05
    k = creation.randint(3, 6, (1000,))
    assert k.dtype == np.int64
    assert set(k.tolist()) == {3, 4, 5}
    assert set(creation.randint(2, (100,)).tolist()) == {0, 1}
    assert sorted(creation.randperm(10).tolist()) == list(range(10))
    p = md.tensor([0.0, 1.0, 0.25]).expand(8000, 3)
    drawn = creation.bernoulli(p).numpy()
    assert drawn.dtype == np.float32
    assert not drawn[:, 0].any()
    assert drawn[:, 1].all()
    assert abs(drawn[:, 2].mean() - 0.25) < 0.03
    assert creation.randint_like(p, 5).shape == (8000, 3)
    assert creation.randint_like(p, 4, 5).dtype == np.float32


def test_impossible_random_tensors_are_refused():
    with pytest.raises(ValueError, match="randint: expected low < high"):
        creation.randint(3, 3, (2,))
    with pytest.raises(ValueError, match="randint"):
        creation.randint(3)
    with pytest.raises(TypeError, match="floating-point"):
        creation.randn(2, dtype=np.int64)
    with pytest.raises(ValueError, match="randperm"):
        creation.randperm(-1)
