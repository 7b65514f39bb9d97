"""Averages of weights: the recursion, the exchange with the model, the state."""

import copy

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor
from minidl.optim import EMA


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(Tensor(np.array([1.0, 2.0], np.float32)))
        self.register_buffer("mean", Tensor(np.zeros(2, np.float32)))
        self.register_buffer("count", Tensor(np.zeros((), np.int64)))


def move(net, amount):
    net.weight.data += np.float32(amount)
    net.mean.data += np.float32(2 * amount)
    net.count.data += 1


def test_the_average_follows_its_recursion_and_integers_are_copied():
    net = Net()
    ema = EMA(net, decay=0.9)
    expected = net.weight.data.astype(np.float64)
    for _ in range(5):
        move(net, 1.0)
        ema.update()
        expected = 0.9 * expected + 0.1 * net.weight.data
    np.testing.assert_allclose(ema.average["weight"].data, expected, rtol=1e-6)
    assert ema.average["weight"].dtype == np.float32
    assert ema.average["mean"].data[0] == pytest.approx(2 * (expected[0] - 1.0))
    assert ema.average["count"].item() == 5


def test_the_average_is_torchs():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    net = Net()
    twin = torch.nn.Module()
    twin.weight = torch.nn.Parameter(torch.tensor(net.weight.data.copy()))
    averaged = AveragedModel(twin, multi_avg_fn=get_ema_multi_avg_fn(0.7))
    averaged.update_parameters(twin)  # torch's first call copies
    ema = EMA(net, decay=0.7)
    for _ in range(4):
        move(net, 0.5)
        twin.weight.data += 0.5
        ema.update()
        averaged.update_parameters(twin)
    expected = averaged.module.weight.detach().numpy()
    np.testing.assert_allclose(ema.average["weight"].data, expected, rtol=1e-6)


def test_warm_up_forgets_the_start_sooner():
    net = Net()
    ema = EMA(net, decay=0.99, warmup=True)
    expected = net.weight.data.astype(np.float64)
    for t in range(20):
        move(net, 1.0)
        ema.update()
        decay = min(0.99, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * net.weight.data
    np.testing.assert_allclose(ema.average["weight"].data, expected, rtol=1e-5)


def test_swapping_twice_leaves_everything_as_it_was():
    net = Net()
    ema = EMA(net, decay=0.5)
    move(net, 4.0)
    ema.update()
    before = {name: x.data.copy() for name, x in net.state_dict().items()}
    version = net.weight._version[0]
    with ema.averages() as model:
        assert model is net
        np.testing.assert_array_equal(net.weight.data, [3.0, 4.0])
        with pytest.raises(RuntimeError, match="swap"):
            ema.update()
        with pytest.raises(RuntimeError, match="swap"):
            ema.state_dict()
    for name, x in net.state_dict().items():
        np.testing.assert_array_equal(x.data, before[name])
    np.testing.assert_array_equal(ema.average["weight"].data, [3.0, 4.0])
    assert net.weight._version[0] > version


def test_the_model_gets_its_weights_back_after_an_error():
    net = Net()
    ema = EMA(net)
    move(net, 1.0)
    before = net.weight.data.copy()
    with pytest.raises(ZeroDivisionError), ema.averages():
        raise ZeroDivisionError
    np.testing.assert_array_equal(net.weight.data, before)
    assert not ema.swapped


def test_it_continues_from_its_state():
    net = Net()
    ema = EMA(net, decay=0.9, warmup=True)
    for _ in range(3):
        move(net, 1.0)
        ema.update()
    state = copy.deepcopy(ema.state_dict())
    other_net = copy.deepcopy(net)
    other = EMA(other_net, decay=0.9, warmup=True)
    other.load_state_dict(state)
    for pair in ((net, ema), (other_net, other)):
        move(pair[0], 2.0)
        pair[1].update()
    for name in ema.average:
        np.testing.assert_array_equal(ema.average[name].data, other.average[name].data)


def test_a_state_that_does_not_fit_is_refused():
    ema = EMA(Net())
    state = ema.state_dict()
    extra = {**state, "average": {**state["average"], "bias": Tensor(np.zeros(1))}}
    with pytest.raises(ValueError, match="bias"):
        ema.load_state_dict(extra)
    wrong = {**state, "average": {**state["average"], "weight": Tensor(np.zeros(3))}}
    with pytest.raises(ValueError, match=r"weight has shape \(3,\) in the state, \(2,\)"):
        ema.load_state_dict(wrong)
    with pytest.raises(ValueError, match="decay"):
        EMA(Net(), decay=1.5)


def test_averages_follow_the_model_to_another_dtype_and_device():
    net = Net()
    ema = EMA(net, decay=0.5)
    net.to("strict")
    ema.update()
    assert ema.average["weight"].device == "strict"
    net.to("cpu").double()
    ema.update()
    assert ema.average["weight"].dtype == np.float64
