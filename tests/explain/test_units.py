"""What layers give, which pixels their units see, and what excites them."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.backend import conv_algorithm
from minidl.data import DataLoader, Digits, TensorDataset
from minidl.explain import activations, receptive_windows, top_patches
from minidl.models.classification.alexnet import alexnet
from minidl.models.classification.googlenet import googlenet
from minidl.models.classification.lenet import lenet5
from minidl.models.classification.resnet import resnet18
from minidl.models.classification.shufflenet_v2 import shufflenet_v2_x0_5
from minidl.models.classification.squeezenet import squeezenet1_1

from .small import pictures, pooled, some_digits, traces, trained

# -- activations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_activations_are_what_the_layers_give_in_evaluation_mode(device, batch_size):
    net, x = pooled(), pictures(7)
    net[1].running_mean.data[...] = 0.5
    net[0].eval()
    before = traces(net)
    found = activations(net.to(device), x.data, ["1", ""], batch_size=batch_size)
    assert traces(net.cpu()) == before
    net.eval()
    with md.no_grad():
        np.testing.assert_allclose(found["1"], net[:2](x).data, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[""], net(x).data, rtol=1e-5, atol=1e-6)
    assert found[""].dtype == np.float32
    assert isinstance(found[""], np.ndarray)


def test_a_relu_in_place_does_not_change_what_came_before_it():
    net, x = pooled(), pictures()
    net[2] = nn.ReLU(inplace=True)
    found = activations(net, x, ["1", "2"])
    assert found["1"].min() < 0
    np.testing.assert_array_equal(found["2"], np.maximum(found["1"], 0))


def test_layers_that_give_nothing_are_errors():
    with pytest.raises(AttributeError, match="no module '9'"):
        activations(pooled(), pictures(), ["9"])
    with pytest.raises(ValueError, match="there are no inputs"):
        activations(pooled(), pictures()[:0], ["1"])


# -- receptive fields -----------------------------------------------------------------------------


def seen(net, layer, shape):
    """Which pixels the middle unit of each map depends on, by changing them: (H, W) of bool."""
    net.double().eval()
    for m in net.modules():
        if isinstance(m, nn.Conv2d):  # nothing dies, nothing cancels
            m.weight.data[...] = np.abs(m.weight.data) + 0.01
            if m.bias is not None:
                m.bias.data[...] = 1.0
    x = md.tensor(np.random.default_rng(0).random((1, *shape)) + 0.5, requires_grad=True)
    outputs = []
    handle = net.get_submodule(layer).register_forward_hook(lambda m, a, out: outputs.append(out))
    net(x)
    handle.remove()
    h, w = outputs[0].shape[2:]
    middle = (h // 2, w // 2)
    # (Winograd's convolution would leave rounding errors beside the window.)
    with conv_algorithm("im2col"):
        (g,) = md.grad(outputs[0][:, :, middle[0], middle[1]].sum(), x)
    return (g.data != 0).any((0, 1)), middle


def span(marks):
    found = np.flatnonzero(marks)
    return [int(found[0]), int(found[-1]) + 1]


def pools_that_average(net):
    """Average pooling sees all of a window, a maximum only one pixel."""
    for name, m in list(net.named_modules()):
        if isinstance(m, nn.MaxPool2d):
            parent = net.get_submodule(name.rpartition(".")[0])
            stand_in = nn.AvgPool2d(m.kernel_size, m.stride, m.padding, ceil_mode=m.ceil_mode)
            setattr(parent, name.rpartition(".")[2], stand_in)
    return net


BRANCHES = [
    (lambda: resnet18(num_classes=2), "layer2", (3, 110, 140)),
    (lambda: alexnet(num_classes=2).features, "8", (3, 227, 250)),
    (lambda: googlenet(num_classes=2, aux_logits=False), "inception3b", (3, 160, 170)),
    (lambda: squeezenet1_1(num_classes=2), "features.6", (3, 90, 100)),
    (lambda: shufflenet_v2_x0_5(num_classes=2), "stage2", (3, 120, 130)),
]


@pytest.mark.parametrize(
    ("make", "layer", "shape"), BRANCHES, ids=lambda x: x if isinstance(x, str) else ""
)
def test_a_unit_depends_on_exactly_the_pixels_of_its_window(make, layer, shape):
    md.manual_seed(0)
    net = pools_that_average(make())
    rows, columns = receptive_windows(net, layer, shape)
    marks, (i, j) = seen(net, layer, shape)
    height, width = shape[1:]
    assert span(marks.any(1)) == np.clip(rows[i], 0, height).tolist()
    assert span(marks.any(0)) == np.clip(columns[j], 0, width).tolist()
    assert rows[i, 1] - rows[i, 0] < 200, "no field of everything"


def test_the_windows_of_lenet_by_hand():
    """conv1 5x5, pooling 2, conv2 5x5: 5 + 1 + 4 * 2 = 14 pixels, 2 apart; a margin of 2."""
    rows, columns = receptive_windows(lenet5(), "conv2", (1, 28, 28))
    expected = [[2 * i - 2, 2 * i + 12] for i in range(10)]
    assert rows.tolist() == columns.tolist() == expected
    rows, _ = receptive_windows(lenet5(), "conv2", (1, 32, 32))
    assert rows[0].tolist() == [0, 14]
    assert rows.dtype == np.int64


def test_behind_a_flattening_or_an_average_over_everything_a_unit_sees_everything():
    rows, columns = receptive_windows(pooled(), "6", (2, 8, 9))
    assert (rows.tolist(), columns.tolist()) == ([[-1, 9]], [[-1, 10]])  # and the padding
    rows, columns = receptive_windows(pooled(), "3", (2, 8, 9))
    assert (rows.tolist(), columns.tolist()) == ([[-1, 9]], [[-1, 10]])
    norm = nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4))
    rows, columns = receptive_windows(norm, "1", (2, 8, 9))
    assert rows.tolist() == [[0, 8]] * 8
    assert columns.tolist() == [[0, 9]] * 9


def test_enlarged_maps_see_what_the_small_ones_see():
    net = nn.Sequential(nn.Conv2d(1, 1, 2, stride=2), nn.Upsample(scale_factor=2))
    rows, _ = receptive_windows(net, "1", (1, 6, 6))
    assert rows.tolist() == [[0, 2], [0, 2], [2, 4], [2, 4], [4, 6], [4, 6]]


def test_a_layer_that_does_not_see_the_picture_is_an_error():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(md.ones(1, 2))

    net = Blind()
    before = traces(net)
    with pytest.raises(ValueError, match="'fc' does not depend on the picture"):
        receptive_windows(net, "fc", (1, 6, 6))
    assert traces(net) == before


# -- what excites a unit --------------------------------------------------------------------------


def finder():
    """Map 0 has the pattern [[1, 0], [0, 1]] as its filter."""
    net = nn.Sequential(nn.Conv2d(1, 2, 2, padding=1, bias=False), nn.ReLU())
    net[0].weight.data[...] = 0
    net[0].weight.data[0, 0] = [[1, -1], [-1, 1]]
    net[0].weight.data[1] = 1
    return net


def test_the_pattern_a_unit_looks_for_is_found_where_it_is():
    x = np.zeros((5, 1, 6, 7), np.float32)
    x[3, 0, 2, 4] = x[3, 0, 3, 5] = 0.9
    x[1, 0, 0, 0] = x[1, 0, 1, 1] = 0.7
    x[4, 0, 5, 6] = 0.5  # in the corner: half a pattern and the padding
    loader = DataLoader(TensorDataset(md.tensor(x), md.arange(5)), 2)
    found = top_patches(finder(), loader, "0", 0, count=3)
    assert found.indices.tolist() == [3, 1, 4]
    np.testing.assert_allclose(found.values, [1.8, 1.4, 0.5], rtol=1e-6)
    assert found.boxes.tolist() == [[4, 2, 6, 4], [0, 0, 2, 2], [5, 4, 7, 6]]
    assert found.patches.shape == (3, 1, 2, 2)
    np.testing.assert_allclose(found.patches[0, 0], [[0.9, 0], [0, 0.9]])
    np.testing.assert_allclose(found.patches[1, 0], [[0.7, 0], [0, 0.7]])
    for patch, index, (x1, y1, x2, y2) in zip(*found[:1], found.indices, found.boxes, strict=True):
        np.testing.assert_array_equal(patch, x[index, :, y1:y2, x1:x2])


def test_beyond_the_border_patches_are_black():
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 0, 0] = 1.0
    found = top_patches(finder(), [md.tensor(x)], "0", 0)
    assert found.boxes.tolist() == [[-1, -1, 1, 1]]
    assert found.patches.tolist() == [[[[0, 0], [0, 1]]]]
    assert found.values.tolist() == [1.0]


def test_of_digits_the_patches_give_the_units_best_answers():
    net, test = trained(), Digits(train=False)
    before = traces(net)
    found = top_patches(net, DataLoader(test, 128), "conv2", 5, count=6)
    assert traces(net) == before
    x = (test.images / 255).astype(np.float32)
    best = activations(net, x, ["conv2"])["conv2"][:, 5].max((1, 2))
    np.testing.assert_allclose(found.values, np.sort(best)[::-1][:6], rtol=1e-5)
    np.testing.assert_allclose(best[found.indices], found.values, rtol=1e-5)
    assert found.patches.shape == (6, 1, 14, 14)
    # The patch alone makes the unit answer so: conv1, pooling and conv2 of it are one number.
    with md.no_grad():
        F = nn.functional
        maps = F.max_pool2d(F.relu(net.conv1(md.tensor(found.patches))), 2)
        again = net.conv2(maps).data[:, 5, 0, 0]
    np.testing.assert_allclose(again, found.values, rtol=1e-4)


def test_windows_of_different_sizes_give_patches_of_the_largest():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(3))
    rows, _ = receptive_windows(net, "1", (1, 7, 7))
    assert rows.tolist() == [[0, 3], [2, 5], [4, 7]]
    rows, _ = receptive_windows(net, "1", (1, 8, 8))
    assert rows.tolist() == [[0, 3], [2, 6], [5, 8]]
    assert top_patches(net, [md.rand(6, 1, 8, 8)], "1", 0).patches.shape == (6, 1, 4, 4)


def test_units_of_a_vector_are_excited_by_whole_pictures():
    x, y = some_digits()
    found = top_patches(trained(), [(x, y)], "", 7, count=4)
    assert found.patches.shape == (4, 1, 32, 32), "LeNet's margin is part of what it sees"
    scores = activations(trained(), x, [""])[""][:, 7]
    assert found.indices.tolist() == np.argsort(-scores)[:4].tolist()
    assert (y[found.indices] == 7).sum() >= 3


def test_what_has_no_patches_is_refused():
    net = finder()
    with pytest.raises(ValueError, match="the loader has no batches"):
        top_patches(net, [], "0", 0)
    for unit in (2, -1):
        with pytest.raises(ValueError, match=rf"gives \(1, 2, 5, 5\): no unit {unit}"):
            top_patches(net, [md.ones(1, 1, 4, 4)], "0", unit)
    with pytest.raises(ValueError, match=r"pictures \(N, C, H, W\), got \(1, 4, 4\)"):
        top_patches(net, [md.ones(1, 4, 4)], "0", 0)
