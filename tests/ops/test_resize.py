"""Resizing beyond the table of cases: properties, edges and errors."""

import numpy as np
import pytest

import minidl as md
from minidl.ops.resize import interpolate, upsample

rng = np.random.default_rng(0)
MODES = ["nearest", "nearest-exact", "area", "bilinear", "bicubic"]


def image(*shape, dtype=np.float32, grad=False):
    return md.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=grad)


@pytest.mark.parametrize("mode", MODES)
def test_the_same_size_gives_the_same_image_in_memory_of_its_own(mode):
    x = image(2, 3, 5, 4)
    y = interpolate(x, size=(5, 4), mode=mode)
    assert np.array_equal(x.data, y.data)
    assert not np.shares_memory(x.data, y.data)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(9, 3), (2, 11), (50, 60)])
def test_a_constant_image_stays_constant(mode, size):
    y = interpolate(md.tensor(np.full((1, 1, 5, 7), 3.0)), size=size, mode=mode)
    assert np.allclose(y.data, 3.0)


@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_resizing_of_a_ramp_is_a_ramp(align_corners):
    ramp = md.tensor(np.arange(8.0).reshape(1, 1, 1, 8))
    y = interpolate(ramp, size=(1, 15), mode="bilinear", align_corners=align_corners).data[0, 0, 0]
    expected = np.arange(15) * 7 / 14 if align_corners else (np.arange(15) + 0.5) * 8 / 15 - 0.5
    assert np.allclose(y, np.clip(expected, 0, 7))


@pytest.mark.parametrize("mode", MODES)
def test_resizing_and_its_gradient_are_adjoint(mode):
    x, g = image(1, 2, 5, 6, dtype=np.float64, grad=True), image(1, 2, 8, 4, dtype=np.float64)
    y = interpolate(x, size=(8, 4), mode=mode)
    (back,) = md.grad(y, x, g)
    assert (y.data * g.data).sum() == pytest.approx((x.data * back.data).sum())


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_stays_empty(mode):
    x = image(0, 3, 5, 4, grad=True)
    y = interpolate(x, size=(7, 7), mode=mode)
    assert y.shape == (0, 3, 7, 7)
    assert md.grad(y, x, md.tensor(np.zeros(y.shape, np.float32)))[0].shape == x.shape


def test_integers_are_copied_by_nearest_and_mixed_as_float32():
    x = md.tensor(np.arange(4, dtype=np.int64).reshape(1, 1, 2, 2))
    assert interpolate(x, size=3).dtype == np.int64
    assert interpolate(x, size=3, mode="bilinear").dtype == np.float32


def test_a_factor_for_each_axis_and_a_rounded_down_size():
    assert interpolate(image(1, 1, 5, 5), scale_factor=(1.5, 0.5)).shape == (1, 1, 7, 2)
    assert upsample(image(1, 1, 5, 5), scale_factor=2).shape == (1, 1, 10, 10)


@pytest.mark.parametrize(
    ("shape", "factor", "options"),
    [
        ((1, 2, 8, 8), 2.06, {"mode": "nearest"}),  # doubled exactly
        ((1, 2, 8, 8), 1.06, {"mode": "nearest"}),  # left alone
        ((1, 2, 8), 2.06, {"mode": "nearest"}),  # not so for sequences: by the factor
        ((1, 2, 8), 1.06, {"mode": "nearest"}),
        ((1, 2, 8, 9), 1.06, {"mode": "nearest-exact"}),
        ((1, 2, 8, 9), 1.06, {"mode": "bilinear"}),
        ((1, 2, 8, 9), (1.06, 1.5), {"mode": "bicubic"}),
        ((1, 2, 8, 9), (1.06, 1.5), {"mode": "bilinear", "antialias": True}),
    ],
    ids=str,
)
def test_a_factor_that_does_not_change_or_just_doubles_the_size_means_what_it_does_in_torch(
    shape, factor, options
):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    x = rng.standard_normal(shape)
    ours = interpolate(md.tensor(x), scale_factor=factor, **options).data
    theirs = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=factor, **options)
    assert np.allclose(ours, theirs.numpy(), atol=1e-12)


def test_nan_reaches_the_pixels_it_reaches_in_torch():
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    x = rng.standard_normal((2, 2, 40, 40)).astype(np.float32)
    x[0, 0, 5, 5], x[1, 1, 7, 8] = np.inf, np.nan
    for mode in MODES:
        for size in [(60, 60), (17, 90)]:
            ours = interpolate(md.tensor(x), size=size, mode=mode).data
            theirs = torch.nn.functional.interpolate(torch.tensor(x), size=size, mode=mode).numpy()
            assert np.array_equal(np.isnan(ours), np.isnan(theirs))
            assert np.array_equal(np.isinf(ours), np.isinf(theirs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either size or scale_factor"),
        ({"size": 4, "scale_factor": 2}, "give either size or scale_factor"),
        ({"size": 4, "recompute_scale_factor": True}, "recompute_scale_factor means nothing"),
        ({"size": 4, "mode": "cubist"}, "mode 'cubist' is not known for 4 dimensions"),
        ({"size": 4, "mode": "linear"}, "mode 'linear' is not known for 4 dimensions"),
        ({"size": 4, "align_corners": False}, "mode 'nearest' has no align_corners"),
        ({"size": 4, "mode": "area", "align_corners": True}, "mode 'area' has no align_corners"),
        ({"size": 4, "antialias": True}, "mode 'nearest' has no antialias"),
        ({"size": (4, 5, 6)}, "is for 3 axes"),
        ({"scale_factor": (2.0,)}, "is for 1 axes"),
        ({"size": 0}, r"output would be \(0, 0\)"),
        ({"scale_factor": 0.1}, r"output would be \(0, 0\)"),
        ({"scale_factor": -1.0}, r"output would be \(-5, -4\)"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^interpolate: .*{message}|^interpolate: {message}"):
        interpolate(image(1, 2, 5, 4), **options)


def test_wrong_ranks_and_empty_images_are_refused():
    for shape in [(4, 4), (1, 1, 2, 2, 2)]:
        with pytest.raises(ValueError, match=f"interpolate: input must be .*got {len(shape)} dim"):
            interpolate(md.tensor(np.ones(shape, np.float32)), size=3)
    with pytest.raises(ValueError, match="mode 'bilinear' is not known for 3 dimensions"):
        interpolate(image(1, 2, 5), size=3, mode="bilinear")
    for shape in [(1, 0, 3, 3), (1, 2, 0, 3)]:
        with pytest.raises(ValueError, match="only the batch may be empty"):
            interpolate(image(*shape), size=3)


def test_a_size_that_is_not_whole_is_refused():
    with pytest.raises(TypeError, match="integer"):
        interpolate(image(1, 1, 3, 3), size=4.5)
