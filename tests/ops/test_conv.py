"""Convolution: errors, empty batches, saved memory, special values."""

import warnings

import numpy as np
import pytest

import minidl as md
from minidl.backend import get_num_threads, set_num_threads
from minidl.ops.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d


def zeros(*shape, dtype=np.float32, grad=False):
    return md.Tensor(np.zeros(shape, dtype), requires_grad=grad)


@pytest.mark.parametrize(
    ("op", "input", "weight", "parameters", "message"),
    [
        (conv2d, (4, 4), (2, 1, 3, 3), {}, r"input is \(N, C, H, W\) or \(C, H, W\)"),
        (conv2d, (1, 1, 1, 4, 4), (2, 1, 3, 3), {}, "weight has 4 dimensions"),
        (conv2d, (1, 3, 4, 4), (2, 3, 3), {}, "weight has 4 dimensions"),
        (conv1d, (1, 3, 4, 4), (2, 3, 3), {}, r"input is \(N, C, L\) or \(C, L\)"),
        (conv2d, (8, 4, 32, 32), (16, 3, 3, 3), {}, "conv2d: input has 4 channels but weight "
         r"expects 3 per group x 1 group \(input \(8, 4, 32, 32\), weight \(16, 3, 3, 3\)\)"),
        (conv2d, (1, 5, 4, 4), (4, 2, 3, 3), {"groups": 2}, "2 per group x 2 groups"),
        (conv2d, (1, 4, 4, 4), (3, 2, 3, 3), {"groups": 2}, "3 filters cannot be divided into 2"),
        (conv2d, (1, 4, 4, 4), (3, 4, 3, 3), {"groups": 0}, "0 groups"),
        (conv2d, (1, 1, 4, 4), (1, 1, 5, 3), {}, "kernel covers 5 x 3 pixels .* only 4 x 4"),
        (conv2d, (1, 1, 4, 4), (1, 1, 3, 3), {"dilation": 2}, "kernel covers 5 x 5 pixels"),
        (conv1d, (1, 1, 4), (1, 1, 5), {}, "kernel covers 5 pixels .* only 4;"),
        (conv2d, (1, 1, 0, 4), (1, 1, 1, 1), {}, "only the batch may be empty"),
        (conv2d, (1, 1, 4, 4), (0, 1, 3, 3), {}, "only the batch may be empty"),
        (conv2d, (1, 1, 4, 4), (1, 1, 3, 3), {"stride": 0}, "at least 1, got stride 0"),
        (conv2d, (1, 1, 4, 4), (1, 1, 3, 3), {"dilation": (1, 0)}, "at least 1"),
        (conv2d, (1, 1, 4, 4), (1, 1, 3, 3), {"padding": -1}, "must not be negative"),
        (conv2d, (1, 1, 4, 4), (1, 1, 3, 3), {"padding": ((1, 1), (1,))}, "asymmetric padding is"),
        (conv2d, (1, 1, 4, 4), (1, 1, 3, 3), {"padding": "full"}, "'same' or 'valid', not 'full'"),
        (conv2d, (1, 1, 4, 4), (1, 1, 3, 3), {"padding": "same", "stride": 2}, "needs stride 1"),
        (conv2d, (1, 1, 4, 4), (1, 1, 3, 3), {"stride": (1, 2, 3)}, "stride is one number or"),
        (conv1d, (1, 1, 4), (1, 1, 3), {"stride": (1, 2)}, "stride is one number, not"),
        (conv_transpose2d, (1, 3, 2, 2), (4, 3, 3, 3), {}, "3 channels but weight expects 4"),
        (conv_transpose2d, (1, 3, 2, 2), (3, 4, 3, 3), {"groups": 2}, "cannot be divided into 2"),
        (conv_transpose2d, (1, 3, 2, 2), (3, 4, 3, 3), {"output_padding": 1}, "smaller than"),
        (conv_transpose2d, (1, 3, 2, 2), (3, 4, 3, 3), {"stride": 2, "output_padding": -1},
         "smaller than"),
        (conv_transpose2d, (1, 3, 1, 1), (3, 4, 3, 3), {"padding": 2}, "whole output: -1 x -1"),
        (conv_transpose2d, (1, 3, 2, 2), (3, 4, 3, 3), {"padding": "same"}, "number of pixels"),
        (conv_transpose1d, (1, 3, 2, 2), (3, 4, 3), {}, r"input is \(N, C, L\)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_go_together_are_named(op, input, weight, parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        op(zeros(*input), zeros(*weight), **parameters)
    assert str(caught.value).startswith(op.__name__ + ": ")


def test_a_bias_must_have_one_number_for_each_filter():
    with pytest.raises(ValueError, match=r"conv2d: bias must be of shape \(2,\), not \(3,\)"):
        conv2d(zeros(1, 1, 4, 4), zeros(2, 1, 3, 3), zeros(3))
    with pytest.raises(ValueError, match=r"conv_transpose2d: bias must be of shape \(4,\)"):
        conv_transpose2d(zeros(1, 2, 4, 4), zeros(2, 2, 3, 3), zeros(2), groups=2)


def test_dtypes_must_be_floating_point_and_the_same():
    with pytest.raises(TypeError, match="one floating-point dtype, not input int64, weight int64"):
        conv2d(zeros(1, 1, 4, 4, dtype=np.int64), zeros(1, 1, 3, 3, dtype=np.int64))
    with pytest.raises(TypeError, match="input int64, weight float32"):
        conv2d(zeros(1, 1, 4, 4, dtype=np.int64), zeros(1, 1, 3, 3))
    with pytest.raises(TypeError, match="input float32, weight float32, bias float64"):
        conv2d(zeros(1, 1, 4, 4), zeros(1, 1, 3, 3), zeros(1, dtype=np.float64))


@pytest.mark.parametrize("size", [(2, 2), (9, 9)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
@pytest.mark.parametrize("op", [conv2d, conv_transpose2d])
def test_an_empty_batch_gives_an_empty_batch_and_zero_gradients(op, kernel, size):
    x, w, b = zeros(0, 4, *size, grad=True), zeros(4, 4, *kernel, grad=True), zeros(4, grad=True)
    y = op(x, w, b, padding=(kernel[0] // 2, kernel[1] // 2))
    assert y.shape == (0, 4, *size)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert w.grad.shape == w.shape
    assert not w.grad.numpy().any()
    assert not b.grad.numpy().any()


def test_only_what_a_gradient_needs_is_saved():
    def saved(x_needs, w_needs):
        x, w = zeros(1, 2, 8, 8, grad=x_needs), zeros(3, 2, 3, 3, grad=w_needs)
        return conv2d(x, w, zeros(3, grad=True)).grad_fn.saved_bytes

    image, kernel = 4 * 2 * 64, 4 * 3 * 2 * 9
    assert saved(True, True) == image + kernel
    assert saved(False, True) == image
    assert saved(True, False) == kernel
    assert saved(False, False) == 0


def test_the_first_layer_computes_no_gradient_to_the_image():
    seen = []
    with md.autograd.listen(lambda event: seen.append((event.phase, event.op))):
        w = zeros(3, 2, 3, 3, grad=True)
        conv2d(zeros(1, 2, 8, 8), w).sum().backward()
    assert ("forward", "ConvWeightGrad") in seen
    assert ("forward", "ConvInputGrad") not in seen


def test_nan_stays_within_the_windows_that_see_it():
    x = np.zeros((1, 1, 9, 9), np.float32)
    x[0, 0, 4, 4] = np.nan
    y = conv2d(md.Tensor(x), md.Tensor(np.ones((1, 1, 3, 3), np.float32)), padding=1).numpy()
    expected = np.zeros((9, 9), bool)
    expected[3:6, 3:6] = True
    assert np.array_equal(np.isnan(y[0, 0]), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_infinities_give_nan_without_a_warning(threads):
    x = np.full((8, 4, 16, 16), np.inf, np.float32)
    x[:, 1] = -np.inf
    before = get_num_threads()
    set_num_threads(threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            w = md.Tensor(np.ones((4, 4, 3, 3), np.float32), requires_grad=True)
            y = conv2d(md.Tensor(x), w, padding=1)
            y.sum().backward()
    finally:
        set_num_threads(before)
    assert np.isnan(y.detach().numpy()).all()
    assert not np.isnan(w.grad.numpy()).any()


def test_transposed_convolution_is_the_adjoint_of_convolution():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 8, 7)), rng.standard_normal((2, 6, 4, 3))
    w = md.Tensor(rng.standard_normal((6, 2, 3, 3)))
    parameters = {"stride": 2, "padding": 1, "groups": 2}
    there = conv2d(md.Tensor(x), w, **parameters).numpy()
    y = rng.standard_normal(there.shape)
    back = conv_transpose2d(md.Tensor(y), w, output_padding=(1, 0), **parameters).numpy()
    assert back.shape == x.shape
    assert np.isclose((there * y).sum(), (x * back).sum(), rtol=1e-12)


def test_a_kernel_is_not_flipped():
    x = md.tensor([[[0.0, 1.0, 0.0]]])
    y = conv1d(x, md.tensor([[[1.0, 2.0, 3.0]]]), padding=1)
    assert y.tolist() == [[[3.0, 2.0, 1.0]]]
