"""Dropout layers: text as torch's, nothing in evaluation, the right share and scale in training."""

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d"])
def test_the_text_is_torchs(name):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    for args in ((), (0.2,), (0.2, True)):
        assert repr(getattr(nn, name)(*args)) == repr(getattr(torch.nn, name)(*args))
    assert repr(nn.StochasticDepth(0.2, "row")) == "StochasticDepth(p=0.2, mode=row)"


@pytest.mark.parametrize(
    ("layer", "shape", "unit"),
    [
        (nn.Dropout(0.25), (40, 50, 10), (40, 50, 10)),
        (nn.Dropout1d(0.25), (200, 100, 3), (200, 100, 1)),
        (nn.Dropout2d(0.25), (200, 100, 2, 2), (200, 100, 1, 1)),
        (nn.StochasticDepth(0.25, "row"), (20000, 2), (20000, 1)),
    ],
)
def test_a_share_is_dropped_in_whole_units_and_the_rest_made_up_for(layer, shape, unit):
    x = Tensor(np.ones(shape, np.float32))
    y = layer(x)
    assert y.dtype == np.float32
    values = np.unique(y.data)
    np.testing.assert_allclose(values, [0, 4 / 3], rtol=1e-6)
    dropped = y.data == 0
    axes = tuple(i for i, n in enumerate(unit) if n == 1)
    assert (dropped.all(axis=axes) == dropped.any(axis=axes)).all()
    assert dropped.mean() == pytest.approx(0.25, abs=0.01)
    layer.eval()
    np.testing.assert_array_equal(layer(x).data, x.data)


def test_a_whole_batch_is_dropped_or_kept_together():
    layer = nn.StochasticDepth(0.5, "batch")
    x = Tensor(np.ones((8, 2), np.float32))
    seen = {tuple(np.unique(layer(x).data)) for _ in range(50)}
    assert seen == {(0.0,), (2.0,)}


def test_impossible_probabilities_are_refused():
    for make in (nn.Dropout, nn.Dropout2d, lambda p: nn.StochasticDepth(p, "row")):
        with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 1.5"):
            make(1.5)
    with pytest.raises(ValueError, match="mode is"):
        nn.StochasticDepth(0.5, "pixel")
