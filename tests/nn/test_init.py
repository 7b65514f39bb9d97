"""Initial values: distributions, bounds, reproducibility, dtypes; gains and fans as torch's."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.autograd import Tensor
from minidl.nn import init


def empty(*shape, dtype=np.float32, device=None):
    return Tensor(np.full(shape, np.nan, dtype), device=device)


RANDOM = {
    "uniform": lambda t: init.uniform_(t, -2.0, 3.0),
    "normal": lambda t: init.normal_(t, 1.0, 0.5),
    "truncated": lambda t: init.trunc_normal_(t, 0.0, 1.0, -1.0, 2.0),
    "xavier uniform": init.xavier_uniform_,
    "xavier normal": init.xavier_normal_,
    "kaiming uniform": init.kaiming_uniform_,
    "kaiming normal": init.kaiming_normal_,
    "orthogonal": init.orthogonal_,
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_gives_the_same_values_on_every_device(name):
    values = []
    for device in ("cpu", "cpu", "strict"):
        md.manual_seed(7)
        t = empty(8, 6, device=device)
        assert RANDOM[name](t) is t
        values.append(md.backend.of(t.data).to_host(t.data))
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])
    md.manual_seed(8)
    t = empty(8, 6)
    RANDOM[name](t)
    assert (t.data != values[0]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", RANDOM)
def test_the_dtype_stays(name, dtype):
    t = empty(4, 3, dtype=dtype)
    version = t._version[0]
    RANDOM[name](t)
    assert t.dtype == dtype
    assert np.isfinite(t.data).all()
    assert t._version[0] > version


def assert_moments(values, mean, std):
    n, mean, std = math.sqrt(values.size), float(mean), float(std)
    assert values.mean() == pytest.approx(mean, abs=5 * std / n)
    assert values.std() == pytest.approx(std, rel=10 / n)


def test_uniform_and_normal_have_the_moments_asked_for():
    t = empty(300, 200)
    init.uniform_(t, -2.0, 3.0)
    assert t.data.min() >= -2
    assert t.data.max() <= 3
    assert_moments(t.data, 0.5, 5 / math.sqrt(12))
    init.normal_(t, 1.0, 0.5)
    assert_moments(t.data, 1.0, 0.5)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("xavier_uniform_", {}),
        ("xavier_normal_", {"gain": 2.0}),
        ("kaiming_uniform_", {}),
        ("kaiming_uniform_", {"a": math.sqrt(5), "mode": "fan_out"}),
        ("kaiming_normal_", {"nonlinearity": "relu", "mode": "fan_out"}),
        ("kaiming_normal_", {"a": 0.3}),
        ("orthogonal_", {"gain": 3.0}),
        ("trunc_normal_", {"std": 0.7}),
        ("trunc_normal_", {"mean": 0.5, "std": 0.4, "a": 0.2, "b": 0.6}),
        ("trunc_normal_", {"a": 2.5, "b": 4.0}),
        ("trunc_normal_", {"a": -7.0, "b": -2.0}),
    ],
)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")  # torch's, about its own method
def test_distributions_are_torchs(name, kwargs):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torch.manual_seed(0)
    ours = getattr(init, name)(empty(120, 40, 3, 3), **kwargs).data.ravel()
    theirs = getattr(torch.nn.init, name)(torch.empty(120, 40, 3, 3), **kwargs).numpy().ravel()
    assert_moments(ours, theirs.mean(), theirs.std())
    # Kolmogorov and Smirnov: the largest distance of the distribution functions
    both = np.sort(np.concatenate([ours, theirs]))
    distance = np.abs(
        np.searchsorted(np.sort(ours), both, "right")
        - np.searchsorted(np.sort(theirs), both, "right")
    ).max()
    assert distance / ours.size < 1.95 * math.sqrt(2 / ours.size)  # 0.1 % level
    if "uniform" in name:
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)


def test_truncated_values_stay_within_bounds_in_every_dtype():
    for dtype in (np.float16, np.float32, np.float64):
        t = init.trunc_normal_(empty(1000, dtype=dtype), 0.0, 1.0, 3.0, 3.5)
        assert t.data.min() >= dtype(3.0)
        assert t.data.max() <= dtype(3.5)
    with pytest.raises(ValueError, match="std > 0 and a < b"):
        init.trunc_normal_(empty(2), a=1.0, b=1.0)


def test_constants_and_identities_are_torchs():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    for name, args, shapes in (
        ("constant_", (2.5,), [(3,), ()]),
        ("ones_", (), [(2, 3)]),
        ("zeros_", (), [(2, 3)]),
        ("eye_", (), [(3, 5), (4, 2)]),
        ("dirac_", (), [(4, 3, 5), (2, 4, 3, 3)]),
        ("dirac_", (2,), [(6, 2, 3, 4)]),
    ):
        for shape in shapes:
            ours = getattr(init, name)(empty(*shape), *args)
            theirs = getattr(torch.nn.init, name)(torch.empty(shape), *args)
            np.testing.assert_array_equal(ours.data, theirs.numpy())
            assert ours.dtype == np.float32


def test_orthogonal_rows_or_columns_are_orthogonal():
    for shape in ((5, 3), (3, 5), (4, 2, 2)):
        t = init.orthogonal_(empty(*shape, dtype=np.float64), gain=2.0)
        m = t.data.reshape(shape[0], -1)
        product = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize(
    "args",
    [
        ("linear",),
        ("conv2d",),
        ("sigmoid",),
        ("tanh",),
        ("relu",),
        ("leaky_relu",),
        ("leaky_relu", 0.2),
        ("selu",),
    ],
)
def test_gains_are_torchs(args):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    assert init.calculate_gain(*args) == torch.nn.init.calculate_gain(*args)


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="no gain is known for 'gelu'"):
        init.calculate_gain("gelu")
    with pytest.raises(ValueError, match="2 or more dimensions"):
        init.kaiming_normal_(empty(3))
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out'"):
        init.kaiming_normal_(empty(3, 3), mode="fan")
    with pytest.raises(ValueError, match="2 dimensions"):
        init.eye_(empty(3))
    with pytest.raises(ValueError, match="3 to 5"):
        init.dirac_(empty(3, 3))
    with pytest.raises(ValueError, match="in 2 groups"):
        init.dirac_(empty(3, 3, 1), groups=2)
    with pytest.raises(ValueError, match="at least 2"):
        init.orthogonal_(empty(3))


def test_two_networks_of_one_seed_are_equal():
    states = []
    for _ in range(2):
        md.manual_seed(3)
        states.append(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict())
    for name, x in states[0].items():
        np.testing.assert_array_equal(x.data, states[1][name].data)


def test_random_values_are_not_drawn_where_that_is_skipped():
    with init.skip_init():
        layer = nn.Linear(3, 4)
        kept = init.trunc_normal_(md.ones(5))
        init.orthogonal_(layer.weight)
        init.xavier_normal_(layer.weight)
    np.testing.assert_array_equal(layer.weight.data, 0)
    np.testing.assert_array_equal(kept.data, 1)
    assert nn.Linear(3, 4).weight.data.any()  # and afterwards as ever
