"""NASNet-A."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.autograd import gradcheck
from minidl.models.classification.nasnet import (
    NASNet,
    NormalCell,
    ReductionCell,
    Separable,
    max_pool,
    mean_pool,
)


def shapes(found):
    return {row.path: row.shapes[0][1:] for row in found.rows if row.shapes}


def test_the_mobile_network_is_that_of_table_3():
    with nn.init.skip_init():
        found = md.summary(models.nasnet_a_mobile(), (1, 3, 224, 224), depth=1)
    assert found.multiply_adds / 1e6 == pytest.approx(564, abs=1)
    rows = shapes(found)
    assert rows["conv0"] == (32, 111, 111)
    assert rows["cell_stem_0"] == (44, 56, 56)
    assert rows["cell_stem_1"] == (88, 28, 28)
    for number, (channels, size) in enumerate([(264, 28), (528, 14), (1056, 7)]):
        for i in range(4):
            assert rows[f"cell_{4 * number + i}"] == (channels, size, size)
    assert rows["reduction_cell_0"] == (352, 14, 14)
    assert rows["reduction_cell_1"] == (704, 7, 7)


@pytest.mark.slow
def test_the_large_network_is_that_of_table_2():
    with nn.init.skip_init():
        # pictures of half the height and width, to be quick
        found = md.summary(models.nasnet_a_large(), (1, 3, 165, 165), depth=1)
    assert shapes(found)["cell_17"] == (4032, 6, 6)
    # a convolution costs its pixels: 42, 21 and 11 a side at 331, here 21, 11 and 6
    assert found.multiply_adds / 1e9 == pytest.approx(23.8 / 4, rel=0.1)


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (6, 5)])
def test_padding_is_tensorflows_and_means_leave_it_out(size):
    h, w = size
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 2, h, w)).astype(np.float32)
    out = (-(-h // 2), -(-w // 2))

    def window(i, j, k):
        """Of output (i, j): rows and columns in the picture. "SAME": less padding before."""
        top = max((out[0] - 1) * 2 + k - h, 0) // 2
        left = max((out[1] - 1) * 2 + k - w, 0) // 2
        rows = slice(max(2 * i - top, 0), 2 * i - top + k)
        return rows, slice(max(2 * j - left, 0), 2 * j - left + k)

    largest, mean = max_pool(md.tensor(x)).data, mean_pool(md.tensor(x), 2).data
    unit = Separable(2, 2, 5, 2).eval()
    seen = []
    unit.separable_1.register_forward_hook(lambda m, args, result: seen.append(result.data))
    unit.separable_1.depthwise_conv2d.weight.data[...] = 1.0
    unit.separable_1.pointwise_conv2d.weight.data[:, :, 0, 0] = np.eye(2)
    unit(md.tensor(x))
    assert largest.shape == mean.shape == seen[0].shape == (1, 2, *out)
    for i, j in np.ndindex(*out):
        part = x[(..., *window(i, j, 3))]
        np.testing.assert_array_equal(largest[..., i, j], part.max((2, 3)))
        np.testing.assert_allclose(mean[..., i, j], part.mean((2, 3)), rtol=1e-4, atol=1e-6)
        part = np.maximum(x, 0)[(..., *window(i, j, 5))]
        np.testing.assert_allclose(seen[0][..., i, j], part.sum((2, 3)), rtol=1e-4)


def test_mean_pooling_at_stride_1_leaves_the_padding_out_too():
    np.testing.assert_allclose(mean_pool(md.ones(1, 1, 4, 5)).data, 1.0, rtol=1e-6)


def test_cells_have_the_shapes_of_figure_4():
    x, same, double = md.randn(1, 12, 5, 5), md.randn(1, 10, 5, 5), md.randn(1, 10, 9, 10)
    assert NormalCell(10, 12, 8)(x, same).shape == (1, 48, 5, 5)
    assert NormalCell(10, 12, 8, "halved")(x, double[:, :, :, :9]).shape == (1, 48, 5, 5)
    assert ReductionCell(10, 12, 8)(x, same).shape == (1, 32, 3, 3)
    assert ReductionCell(10, 12, 8, "raw")(x, same).shape == (1, 32, 3, 3)


@pytest.mark.parametrize("cell", [NormalCell, ReductionCell])
@pytest.mark.parametrize("prev", ["same", "halved"])
def test_gradients_of_a_cell_are_right(cell, prev):
    cell = cell(2, 3, 4, prev).double().eval()
    rng = np.random.default_rng(0)
    before = 7 if prev == "halved" else 4
    x, x_prev = rng.normal(size=(2, 3, 4, 4)), rng.normal(size=(2, 2, before, before))
    inputs = [md.tensor(a, requires_grad=True) for a in (x, x_prev)]
    assert gradcheck(cell, inputs)


def test_halving_takes_every_second_pixel_and_those_between():
    cell = NormalCell(1, 4, 4, "halved").eval()
    for path in (cell.path_1, cell.path_2):
        path.conv.weight.data[...] = 1.0
    x = np.arange(1, 26, dtype=np.float32).reshape(1, 1, 5, 5)
    np.testing.assert_array_equal(cell.path_1(md.tensor(x)).data[0, 0], x[0, 0, ::2, ::2])
    between = np.zeros((3, 3), np.float32)
    between[:2, :2] = x[0, 0, 1::2, 1::2]
    np.testing.assert_array_equal(cell.path_2(md.tensor(x)).data[0, 0], between)


@pytest.mark.parametrize("skip", [True, False])
def test_the_cell_after_a_reduction_sees_what_the_authors_show_it(skip):
    net = NASNet(2, 96, 4, 3, skip_reduction_input=skip).eval()
    calls = {}
    for name, module in net.named_children():
        module.register_forward_hook(
            lambda m, args, out, name=name: calls.__setitem__(name, (args, out))
        )
    net(md.randn(1, 3, 32, 32))

    def cells_seen(name):
        made = {id(out.data): other for other, (_, out) in calls.items()}
        return [made[id(x.data)] for x in calls[name][0]]

    assert cells_seen("cell_0") == ["cell_stem_1", "cell_stem_0"]
    assert cells_seen("cell_1") == ["cell_0", "cell_stem_1"]
    assert cells_seen("reduction_cell_0") == ["cell_1", "cell_0"]
    assert cells_seen("cell_2") == ["reduction_cell_0", "cell_0" if skip else "cell_1"]
    assert cells_seen("cell_3") == ["cell_2", "reduction_cell_0"]


def test_dropped_paths_grow_with_the_depth_and_end_with_training():
    net = NASNet(1, 96, 4, 3, dropout=0.0)
    net.set_drop_path(0.7)
    ps = [m.p for m in net.modules() if isinstance(m, nn.StochasticDepth)]
    np.testing.assert_allclose(ps, [0.7 * i / 7 for i in range(1, 8)])
    x = md.randn(2, 3, 32, 32)
    assert (net(x).data != net(x).data).any()
    net.eval()
    np.testing.assert_array_equal(net(x).data, net(x).data)


def test_channels_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match=r"multiple of 96.*got 100"):
        NASNet(1, 100, 4)
