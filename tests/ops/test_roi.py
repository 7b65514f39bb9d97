"""RoIAlign, RoIPool and position-sensitive RoIPool: golden values, edges, errors."""

import numpy as np
import pytest

import minidl as md
from minidl.ops.roi import ps_roi_pool, roi_align, roi_pool

from .. import strict_cupy
from ..torchvision_oracle import torchvision

RAMP = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)


def test_roi_align_of_a_ramp_has_the_golden_values():
    """Values by which other libraries know that their half-pixel shift is right."""
    boxes = md.tensor([[0.0, 1, 1, 3, 3]])
    steps = np.arange(4) * 0.5
    unaligned = np.array([[7.5], [10.0], [12.5], [15.0]]) + steps
    aligned = np.array([[4.5], [7.0], [9.5], [12.0]]) + steps
    x = md.tensor(RAMP)
    assert np.allclose(roi_align(x, boxes, 4, 1.0, 1, False).data[0, 0], unaligned, atol=1e-6)
    assert np.allclose(roi_align(x, boxes, 4, 1.0, 1, True).data[0, 0], aligned, atol=1e-6)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 1, 3])
def test_roi_align_is_torchvisions_plain_form_inside_the_map(ratio, aligned):
    """Its form without compiled code, which has no rule for samples outside."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    torchvision()
    from torchvision.ops.roi_align import _roi_align

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 12, 16))
    corners = rng.uniform(8, 40, (20, 2))
    boxes = np.concatenate(
        [rng.integers(0, 2, (20, 1)), corners, corners + rng.uniform(0, 50, (20, 2))], axis=1
    )
    ours = roi_align(md.tensor(x), md.tensor(boxes), (3, 2), 0.125, ratio, aligned)
    theirs = _roi_align(torch.tensor(x), torch.tensor(boxes), 0.125, 3, 2, ratio, aligned)
    assert np.allclose(ours.data, theirs.numpy(), atol=1e-12)


def test_samples_outside_count_as_zero_or_as_the_edge():
    """The rule of the kernels: beyond -1 or the size 0, between there and the edge the edge."""
    x = md.ones(1, 1, 4, 4)
    rows = {-1.25: 0.0, -0.75: 1.0, 3.75: 1.0, 4.25: 0.0}  # position of the sample: value
    for y, value in rows.items():
        boxes = md.tensor([[0.0, 1, y - 0.5, 2, y + 0.5]])
        assert roi_align(x, boxes, 1, 1.0, 1).item() == value, y


def test_aligned_boxes_commute_with_resizing():
    """A map of half the size with half the scale gives the same: what aligned=True is for."""
    rng = np.random.default_rng(0)
    small = md.tensor(rng.standard_normal((1, 2, 6, 6)).cumsum(2).cumsum(3))
    large = md.nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
    boxes = md.tensor([[0.0, 4, 4, 8, 8]], dtype=np.float64)
    # One sample in the centre of a pixel of the large map, away from the border.
    at_once = roi_align(small, boxes, 4, 0.5, 1, True)
    assert np.allclose(roi_align(large, boxes, 4, 1.0, 1, True).data, at_once.data)


def test_roi_pool_of_a_ramp_by_hand():
    boxes = md.tensor([[0.0, 0, 0, 3, 3], [0, 1, 1, 2, 4]])
    out = roi_pool(md.tensor(RAMP), boxes, 2).data[:, 0]
    assert np.array_equal(out, [[[6, 8], [16, 18]], [[11, 12], [21, 22]]])


def test_halves_are_rounded_away_from_zero():
    """As in C; numpy.round would take 0.5 to 0 and 2.5 to 2."""
    boxes = md.tensor([[0.0, 0.5, 0.5, 2.5, 2.5]])  # pixels 1 to 3
    assert roi_pool(md.tensor(RAMP), boxes, 1).item() == 18.0
    assert np.isclose(ps_roi_pool(md.tensor(RAMP), boxes, 1).item(), 9.0)  # pixels 1 and 2


def test_a_tie_sends_the_gradient_to_the_first_and_nan_wins():
    x = md.zeros(1, 1, 3, 3, requires_grad=True)
    roi_pool(x, md.tensor([[0.0, 0, 0, 2, 2]]), 1).sum().backward()
    assert np.array_equal(x.grad.data[0, 0], [[1, 0, 0], [0, 0, 0], [0, 0, 0]])
    a = np.zeros((1, 1, 3, 3), np.float32)
    a[0, 0, 1, 1] = np.nan
    assert np.isnan(roi_pool(md.tensor(a), md.tensor([[0.0, 0, 0, 2, 2]]), 1).item())
    low = md.full((1, 1, 3, 3), -np.inf)
    assert roi_pool(low, md.tensor([[0.0, 1, 1, 1, 1]]), 1).item() == -np.inf


@pytest.mark.parametrize("function", [roi_align, roi_pool, ps_roi_pool])
def test_no_boxes_and_boxes_outside(function):
    x = md.ones(2, 4, 5, 6, requires_grad=True)
    for none in (md.zeros(0, 5), [md.zeros(0, 4), md.zeros(0, 4)]):
        out = function(x, none, 2)
        assert out.shape == (0, 1 if function is ps_roi_pool else 4, 2, 2)
    out = function(x, md.tensor([[1.0, 50, 50, 60, 60], [0, -30, -30, -20, -20]]), 2)
    assert not out.data.any()
    out.sum().backward()
    assert not x.grad.data.any()


def test_boxes_without_area():
    x = md.ones(1, 1, 5, 5)
    point = md.tensor([[0.0, 2, 2, 2, 2], [0, 3, 3, 1, 1]])
    assert (roi_align(x, point, 2).data == 1).all()  # one pixel long
    assert not roi_align(x, point, 2, aligned=True).data.any()  # no sample
    assert (roi_align(x, point, 2, 1.0, 2, aligned=True).data == 1).all()
    assert (roi_pool(x, point, 1).data[0] == 1).all()
    assert np.isclose(ps_roi_pool(x, point, 1).data[0], 1).all()


def test_a_box_with_a_nan_is_nan_where_it_is_a_mean():
    x, boxes = md.ones(1, 1, 5, 5), md.tensor([[0, 1, np.nan, 3, 3]])
    for ratio in (-1, 2):
        assert np.isnan(roi_align(x, boxes, 1, 1.0, ratio).item())
    assert roi_pool(x, boxes, 1).item() == 0  # no pixel
    assert np.isnan(ps_roi_pool(x, boxes, 1).item())


def test_boxes_receive_no_gradient_and_may_be_plain_arrays():
    x = md.rand(2, 1, 5, 5, requires_grad=True)
    boxes = md.tensor([[1.0, 0, 0, 3, 3]], requires_grad=True)
    out = roi_align(x, boxes, 2)
    out.sum().backward()
    assert boxes.grad is None
    assert np.array_equal(roi_align(x, boxes.data, 2).data, out.data)
    lists = [np.zeros((0, 4)), boxes.data[:, 1:]]
    assert np.array_equal(roi_align(x, lists, 2).data, out.data)


def test_ps_roi_pool_takes_in_the_last_row_and_column():
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 3, 3] = 1.0
    assert np.isclose(ps_roi_pool(md.tensor(x), md.tensor([[0.0, 2, 2, 4, 4]]), 1).item(), 0.25)


def test_coordinates_of_a_half_precision_map_are_not_rounded():
    x = md.tensor(np.tile(np.arange(64, dtype=np.float16), (1, 1, 4, 1)))
    out = roi_align(x, md.tensor([[0.0, 3001, 0, 3005, 64]]), 1, 1 / 64, 1)
    assert out.dtype == np.float16
    assert abs(out.item() - (3001 / 64 + 0.5)) < 0.04


@pytest.mark.parametrize("function", [roi_align, roi_pool, ps_roi_pool])
def test_wrong_arguments_are_errors_that_name_the_operation(function):
    x, boxes, name = md.ones(2, 4, 5, 5), md.zeros(3, 5), function.__name__
    for args, error, message in [
        ((md.ones(4, 5, 5), boxes, 2), ValueError, r"input must be \(N, C, H, W\)"),
        ((md.ones(2, 4, 0, 5), boxes, 2), ValueError, "must not be empty"),
        ((x, md.zeros(3, 4), 2), ValueError, r"boxes must be \(K, 5\).*\(3, 4\)"),
        ((x, md.zeros(5), 2), ValueError, r"boxes must be \(K, 5\)"),
        ((x, [md.zeros(3, 4)], 2), ValueError, "1 arrays of boxes for 2 images"),
        ((x, [md.zeros(3, 4), md.zeros(3, 5)], 2), ValueError, r"boxes of image 1 must be"),
        ((x, 3.0, 2), TypeError, "boxes must be an array"),
        ((x, boxes, 0), ValueError, "output_size"),
        ((x, boxes, (2, 2, 2)), ValueError, "output_size"),
        ((x, boxes, 1.5), ValueError, "output_size"),
        ((x, md.tensor([[2.0, 0, 0, 1, 1]]), 2), IndexError, "image that is not there"),
        ((x, md.tensor([[-1.0, 0, 0, 1, 1]]), 2), IndexError, "image that is not there"),
    ]:
        with pytest.raises(error, match=f"{name}: .*{message}"):
            function(*args)


def test_ps_roi_pool_needs_a_channel_for_each_bin():
    with pytest.raises(ValueError, match="6 channels, which is no multiple of the 2 x 2 bins"):
        ps_roi_pool(md.ones(1, 6, 5, 5), md.zeros(1, 5), 2)


def test_boxes_on_another_device_are_refused():
    x = md.tensor(RAMP, device="strict")
    with pytest.raises(RuntimeError, match="roi_align: tensors are on different devices"):
        roi_align(x, md.zeros(1, 5), 2)


@pytest.mark.parametrize("function", [roi_align, roi_pool, ps_roi_pool])
def test_a_training_step_on_a_device_waits_for_nothing(function):
    x = md.rand(2, 4, 5, 6, device="strict", requires_grad=True)
    boxes = [md.tensor([[0.0, 0, 3, 3]], device="strict"), md.zeros(0, 4, device="strict")]
    with strict_cupy.forbid_sync():
        function(x, boxes, 2).sum().backward()
