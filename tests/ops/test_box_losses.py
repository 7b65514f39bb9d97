"""Losses of pairs of boxes: numbers by hand, reductions, edges."""

import numpy as np
import pytest

import minidl as md
from minidl.nn import functional as F
from minidl.ops import box_losses

from .cases.box_losses import KINDS

A = [[0.0, 0, 2, 2], [0, 0, 1, 1]]
B = [[1.0, 0, 3, 2], [3, 0, 4, 1]]


def test_numbers_by_hand():
    a, b = md.tensor(A), md.tensor(B)
    # intersections 2 and 0, unions 6 and 2, hulls 3 x 2 and 4 x 1, distances of centres 1 and 3
    expected = {
        "box_iou_loss": [2 / 3, 1],
        "generalized_box_iou_loss": [2 / 3, 1 + 2 / 4],
        "distance_box_iou_loss": [2 / 3 + 1 / 13, 1 + 9 / 17],
    }
    for kind, values in expected.items():
        f = getattr(F, kind)
        assert np.allclose(f(a, b).data, values)
        assert np.isclose(f(a, b, reduction="sum").item(), sum(values))
        assert np.isclose(f(a, b, reduction="mean").item(), np.mean(values))
        assert np.isclose(f(a[0], b[0]).item(), values[0])
        assert np.allclose(f(b, a).data, values)  # either may be the first


@pytest.mark.parametrize("kind", KINDS)
def test_equal_boxes_lose_nothing_and_no_boxes_lose_nothing(kind):
    f = getattr(box_losses, kind)
    assert np.allclose(f(md.tensor(A), md.tensor(A)).data, 0, atol=1e-6)
    none = md.zeros(0, 4, requires_grad=True)
    assert f(none, none).shape == (0,)
    for reduction in ("mean", "sum"):
        total = f(none, none, reduction)
        assert total.item() == 0
        total.backward()
        assert none.grad.shape == (0, 4)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_boxes_that_do_not_overlap_are_drawn_together(kind):
    """By both of these losses, and not by the overlap itself."""
    b = md.tensor([[5.0, 0, 7, 2]])
    for name, moves in ((kind, True), ("box_iou_loss", False)):
        a = md.tensor([[0.0, 0, 2, 2]], requires_grad=True)
        getattr(F, name)(a, b, reduction="sum").backward()
        assert (a.grad.data[0, 2] < 0) == moves, "a larger x2 lowers the loss"


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_without_area_give_finite_losses_and_gradients(kind):
    a = md.tensor([[1.0, 1, 1, 1], [0, 0, 4, 0], [2, 2, 2, 2]], requires_grad=True)
    b = md.tensor([[1.0, 1, 1, 1], [0, 0, 4, 4], [7, 7, 7, 7]])
    loss = getattr(F, kind)(a, b)
    loss.sum().backward()
    assert np.isfinite(loss.data).all()
    assert np.isfinite(a.grad.data).all()
    assert np.isnan(getattr(F, kind)(md.tensor([[np.nan, 0, 1, 1]]), b[:1]).item())


def test_areas_beyond_half_precision_do_not_overflow():
    a = md.tensor([[0, 0, 400, 400]], dtype=np.float16)
    b = md.tensor([[0, 0, 400, 200]], dtype=np.float16)
    for kind in KINDS[:2]:
        loss = getattr(F, kind)(a, b)
        assert loss.dtype == np.float16
        assert abs(loss.item() - 0.5) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_arguments_name_the_function(kind):
    f = getattr(F, kind)
    with pytest.raises(ValueError, match=rf"^{kind}: boxes must be .* \(2, 4\) and \(3, 4\)"):
        f(md.zeros(2, 4), md.zeros(3, 4))
    with pytest.raises(ValueError, match=rf"^{kind}: boxes must be .* \(2, 5\) and \(2, 5\)"):
        f(md.zeros(2, 5), md.zeros(2, 5))
    with pytest.raises(ValueError, match=rf"^{kind}: reduction must be"):
        f(md.zeros(2, 4), md.zeros(2, 4), "average")
