"""Pooling and unpooling beyond the table of cases: edges, errors, and how the pieces close."""

import numpy as np
import pytest

import minidl as md
from minidl.autograd import listen
from minidl.ops import pool
from minidl.ops.pool import PoolGather, PoolScatter

rng = np.random.default_rng(0)


def image(*shape, dtype=np.float32, grad=False):
    return md.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=grad)


def windowed():
    """Every pooling with windows of 2 and every one with a given output size, by name."""
    return {
        "max_pool2d": lambda x: pool.max_pool2d(x, 2),
        "avg_pool2d": lambda x: pool.avg_pool2d(x, 2),
        "adaptive_max_pool2d": lambda x: pool.adaptive_max_pool2d(x, 2),
        "adaptive_avg_pool2d": lambda x: pool.adaptive_avg_pool2d(x, 2),
        "global_max_pool2d": pool.global_max_pool2d,
        "global_avg_pool2d": pool.global_avg_pool2d,
        "unpool_nearest": lambda x: pool.unpool_nearest(x, 2),
        "unpool_nails": lambda x: pool.unpool_nails(x, 2),
        "max_unpool2d": lambda x: pool.max_unpool2d(x, md.tensor(np.zeros(x.shape, int)), 2),
        "max_pool1d": lambda x: pool.max_pool1d(x, 2),
        "avg_pool1d": lambda x: pool.avg_pool1d(x, 2),
        "adaptive_max_pool1d": lambda x: pool.adaptive_max_pool1d(x, 2),
        "adaptive_avg_pool1d": lambda x: pool.adaptive_avg_pool1d(x, 2),
        "max_unpool1d": lambda x: pool.max_unpool1d(x, md.tensor(np.zeros(x.shape, int)), 2),
    }


# -- edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", windowed())
def test_an_empty_batch_gives_an_empty_batch_and_an_empty_gradient(name):
    shape = (0, 3, 6) if name.endswith("1d") else (0, 3, 6, 6)
    x = image(*shape, grad=True)
    y = windowed()[name](x)
    assert y.shape[:2] == (0, 3)
    (grad,) = md.grad(y, x, md.tensor(np.zeros(y.shape, np.float32)))
    assert grad.shape == shape


def test_an_adaptive_pooling_to_nothing_gives_nothing():
    x = image(2, 3, 5, 5, grad=True)
    assert pool.adaptive_max_pool2d(x, (0, 2), return_indices=True)[1].shape == (2, 3, 0, 2)
    y = pool.adaptive_avg_pool2d(x, (2, 0))
    assert y.shape == (2, 3, 2, 0)
    (grad,) = md.grad(y, x, md.tensor(np.zeros(y.shape, np.float32)))
    assert not grad.data.any()


def test_an_adaptive_pooling_leaves_an_axis_with_none():
    x = image(2, 3, 5, 6)
    assert pool.adaptive_avg_pool2d(x, (None, 2)).shape == (2, 3, 5, 2)
    assert pool.adaptive_max_pool2d(x, (4, None)).shape == (2, 3, 4, 6)


@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": 3, "padding": 1}])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pooling_of_nan_and_infinities_is_torchs(options, ceil_mode):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    x = rng.standard_normal((2, 2, 7, 7)).astype(np.float32)
    x[0, 0, 1, 1:3] = np.nan
    x[0, 1] = -np.inf
    x[1, 0, 3, 3] = np.inf
    ours = pool.max_pool2d(md.tensor(x), **options, ceil_mode=ceil_mode, return_indices=True)
    theirs = torch.nn.functional.max_pool2d(
        torch.tensor(x), **options, ceil_mode=ceil_mode, return_indices=True
    )
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a.data, b.numpy(), equal_nan=True)


def test_a_max_pooling_window_without_any_pixel_passes_no_gradient():
    x = image(1, 1, 2, 2, grad=True)
    y, places = pool.max_pool2d(x, 2, 1, 1, 3, return_indices=True)
    assert y.data.tolist() == [[[[-np.inf]]]]
    assert places.data.tolist() == [[[[-1]]]]
    (grad,) = md.grad(y, x, md.tensor(np.ones(y.shape, np.float32)))
    assert not grad.data.any()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_stay_integers_in_max_pooling_and_become_float32_in_means(dtype):
    x = md.tensor(np.arange(32).reshape(1, 2, 4, 4).astype(dtype))
    assert pool.max_pool2d(x, 2).data.tolist() == [[[[5, 7], [13, 15]], [[21, 23], [29, 31]]]]
    assert pool.max_pool2d(x, 2).dtype == dtype
    assert pool.adaptive_max_pool2d(x, 3).dtype == dtype
    mean = pool.avg_pool2d(x, 2)
    assert mean.dtype == np.float32
    assert mean.data[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert pool.global_avg_pool2d(x).dtype == np.float32


def test_the_mean_of_ones_is_one_to_the_last_bit_or_two():
    x = md.tensor(np.ones((1, 1, 21, 21), np.float32))
    for kernel in range(1, 8):
        assert abs(pool.avg_pool2d(x, kernel, 1).data - 1).max() <= 2**-22
    assert abs(pool.global_avg_pool2d(x).item() - 1) <= 2**-23


def test_the_empty_list_stands_for_no_stride_as_in_torch():
    x = image(1, 1, 6, 6)
    assert np.array_equal(pool.max_pool2d(x, 3, []).data, pool.max_pool2d(x, 3).data)


# -- how the pieces close -------------------------------------------------------------------------


def test_max_pooling_keeps_indices_only_when_a_gradient_may_be_asked_for():
    saved = []
    with listen(lambda event: saved.append(event.saved)):
        pool.max_pool2d(image(1, 1, 8, 8), 2)
        pool.max_pool2d(image(1, 1, 8, 8, grad=True), 2)
    assert saved == [0, 16 * 4]  # int32, nothing of the image


def test_gather_and_scatter_are_each_others_gradient_and_adjoint():
    x = image(2, 3, 4, 5, dtype=np.float64, grad=True)
    y = image(2, 3, 2, 2, dtype=np.float64, grad=True)
    indices = md.tensor(rng.integers(-1, 20, (6, 2, 2)).astype(np.int32))
    gathered = PoolGather.apply(x, indices, (2, 3, 2, 2))
    scattered = PoolScatter.apply(y, indices, (2, 3, 4, 5))
    inner = float((gathered.data * y.data).sum())
    assert inner == pytest.approx(float((x.data * scattered.data).sum()))
    assert np.allclose(md.grad(gathered, x, y)[0].data, scattered.data)
    assert np.allclose(md.grad(scattered, y, x)[0].data, gathered.data)


def test_unpooling_undoes_pooling_at_the_maxima():
    x = image(2, 3, 6, 8)
    y, places = pool.max_pool2d(x, 2, return_indices=True)
    back = pool.max_unpool2d(y, places, 2)
    assert np.array_equal(pool.max_pool2d(back + 0 * x, 2).data, np.maximum(y.data, 0))
    hit = back.data != 0
    assert hit.sum() == y.numel()
    assert np.array_equal(back.data[hit], x.data[hit])


def test_elements_of_overlapping_windows_are_unpooled_once_with_one_gradient():
    x = md.tensor(np.float64([[[[0, 0, 0], [0, 5, 0], [0, 0, 0]]]]), requires_grad=True)
    y, places = pool.max_pool2d(x, 2, 1, return_indices=True)  # the 5 wins in all four windows
    back = pool.max_unpool2d(y, places, 2, 1)
    assert np.array_equal(back.data, x.data)
    (grad,) = md.grad(back, x, md.tensor(np.ones(x.shape)))
    assert grad.data[0, 0, 1, 1] == 1  # d back / d x at the 5: back is x there


def test_unpool_nearest_is_the_adjoint_of_summing_windows():
    x, y = image(1, 2, 2, 3, dtype=np.float64), image(1, 2, 4, 9, dtype=np.float64)
    spread = pool.unpool_nearest(x, (2, 3))
    summed = pool.avg_pool2d(y, (2, 3), divisor_override=1)
    assert (spread.data * y.data).sum() == pytest.approx((x.data * summed.data).sum())


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", windowed())
@pytest.mark.parametrize("extra", [-1, 2], ids=["too few", "too many"])
def test_a_wrong_rank_is_named(name, extra):
    right = 3 if name.endswith("1d") else 4
    shape = (2,) * (right + extra - (extra < 0))
    with pytest.raises(ValueError, match=f"^{name}: input must be .*got {len(shape)} dimensions"):
        windowed()[name](md.tensor(np.ones(shape, np.float32)))


@pytest.mark.parametrize("name", windowed())
def test_empty_channels_and_empty_images_are_refused(name):
    shapes = [(2, 0, 6), (2, 3, 0)] if name.endswith("1d") else [(2, 0, 6, 6), (2, 3, 0, 6)]
    for shape in shapes:
        with pytest.raises(ValueError, match=f"^{name}: only the batch may be empty"):
            windowed()[name](image(*shape))


@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel_size": 9}, ValueError, r"a window of 9 pixels .* does not fit input \(2, 3, 8"),
        ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1"),
        ({"kernel_size": 2.0}, TypeError, "kernel_size must be an integer"),
        ({"kernel_size": (2, 2, 2)}, ValueError, "kernel_size must be an integer or"),
        ({"kernel_size": 2, "stride": 0}, ValueError, "stride must be at least 1"),
        ({"kernel_size": 2, "padding": -1}, ValueError, "padding must be at least 0"),
        (
            {"kernel_size": 3, "padding": 2},
            ValueError,
            "padding 2 is more than half of kernel_size 3",
        ),
    ],
    ids=str,
)
def test_impossible_windows_are_refused_with_the_remedy(op, dims, options, error, message):
    name = f"{op}{dims}d"
    with pytest.raises(error, match=f"^{name}: {message}"):
        getattr(pool, name)(image(2, 3, *(8,) * dims), **options)


def test_dilation_and_divisor_are_checked():
    x = image(1, 1, 8, 8)
    with pytest.raises(ValueError, match="max_pool2d: dilation must be at least 1"):
        pool.max_pool2d(x, 2, dilation=0)
    with pytest.raises(ValueError, match=r"a window of 9 pixels .*dilation 4"):
        pool.max_pool2d(x, 3, dilation=4)
    with pytest.raises(ValueError, match="avg_pool2d: divisor_override must not be 0"):
        pool.avg_pool2d(x, 2, divisor_override=0)


@pytest.mark.parametrize("name", ["max_pool2d", "adaptive_max_pool2d", "global_max_pool2d"])
def test_booleans_have_no_maximum_to_pool(name):
    with pytest.raises(TypeError, match=f"^{name}: input must be floating point or integers"):
        windowed()[name](md.tensor(np.ones((1, 1, 4, 4), bool)))


@pytest.mark.parametrize("name", ["adaptive_max_pool2d", "adaptive_avg_pool2d"])
def test_output_sizes_of_adaptive_pooling_are_checked(name):
    function, x = getattr(pool, name), image(1, 1, 4, 4)
    with pytest.raises(ValueError, match=f"^{name}: output_size must be at least 0"):
        function(x, -1)
    with pytest.raises(ValueError, match=f"^{name}: output_size must have 2 numbers"):
        function(x, (2,))
    with pytest.raises(TypeError, match=f"^{name}: output_size must be an integer"):
        function(x, 2.5)


def unpool_arguments():
    return image(1, 2, 2, 2), md.tensor(np.zeros((1, 2, 2, 2), np.int64))


@pytest.mark.parametrize("index", [-1, 16])
def test_an_index_outside_of_the_output_plane_is_refused(index):
    x, places = unpool_arguments()
    places.data[0, 1, 1, 0] = index
    with pytest.raises(IndexError, match=r"max_unpool2d: indices point outside .*\(4, 4\) of 16"):
        pool.max_unpool2d(x, places, 2)


def test_indices_of_another_shape_or_dtype_are_refused():
    x, places = unpool_arguments()
    with pytest.raises(ValueError, match=r"indices \(2, 2, 2\) must have the shape of input"):
        pool.max_unpool2d(x, places[0], 2)
    with pytest.raises(TypeError, match="indices must be int64, got int32"):
        pool.max_unpool2d(x, md.tensor(places.data.astype(np.int32)), 2)


def test_an_output_size_must_pool_to_the_input():
    x, places = unpool_arguments()
    for size in [(3, 5), (5, 5), (1, 2, 5, 4)]:
        assert pool.max_unpool2d(x, places, 2, output_size=size).shape == (1, 2, *size[-2:])
    for size in [(6, 4), (4, 2), (4,), (2, 4, 4)]:
        with pytest.raises(ValueError, match=r"max_unpool2d: output_size .* does not fit"):
            pool.max_unpool2d(x, places, 2, output_size=size)
    with pytest.raises(ValueError, match=r"output would be \(0, 0\)"):
        pool.max_unpool2d(image(1, 2, 1, 1), places[:, :, :1, :1], 2, 2, 1)
