"""Wide residual networks for CIFAR."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.wide_resnet_cifar import WideBlock, WideResNetCIFAR


def test_stages_have_the_sizes_of_table_one():
    with nn.init.skip_init():
        net = models.wide_resnet16_4().eval()
    shapes = []
    for stage in (net.conv1, net.layer1, net.layer2, net.layer3):
        stage.register_forward_hook(lambda module, args, out: shapes.append(out.shape[1:]))
    net(md.tensor(np.zeros((1, 3, 32, 32), np.float32)))
    assert shapes == [(16, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8)]


@pytest.mark.parametrize(
    ("build", "depth", "blocks"),
    [(models.wide_resnet16_4, 16, 2), (models.wide_resnet28_10, 28, 4)],
)
def test_the_first_number_in_the_name_counts_convolutions(build, depth, blocks):
    with nn.init.skip_init():
        net = build()
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == depth
    assert [len(stage) for stage in (net.layer1, net.layer2, net.layer3)] == [blocks] * 3


def test_multiply_adds_are_those_of_the_table_of_layers():
    # 28-10, by hand: stages of 160, 320 and 640 maps at 32x32, 16x16 and 8x8
    expected = 32 * 32 * 3 * 16 * 9 + 640 * 10
    before = 16
    for width, size in ((160, 32), (320, 16), (640, 8)):
        expected += size**2 * (before * width * 9 + before * width + 7 * width * width * 9)
        before = width
    with nn.init.skip_init():
        net = models.wide_resnet28_10()
    assert nn.summary(net, (1, 3, 32, 32)).multiply_adds == expected


def test_dropout_stands_between_the_convolutions_and_acts_in_training_only():
    block = WideBlock(3, 3, 1, drop_rate=0.3)
    rng = np.random.default_rng(0)
    x = md.tensor(rng.normal(size=(4, 3, 16, 16)).astype(np.float32))
    inside = []
    block.conv2.register_forward_hook(lambda module, args, out: inside.append(args[0].data))
    outside = block(x).data
    # half of what follows the ReLU is 0 anyway; 0.3 of the rest is dropped
    share = (inside[0] == 0).mean()
    assert share == pytest.approx(0.5 + 0.5 * 0.3, abs=0.04)
    assert np.abs(block(x).data - outside).max() > 1e-2
    block.eval()
    np.testing.assert_array_equal(block(x).data, block(x).data)


def test_a_block_keeps_its_input_where_it_can_and_projects_its_activation_elsewhere():
    same, wider = WideBlock(4, 4, 1, 0.0).eval(), WideBlock(4, 8, 2, 0.0).eval()
    x = md.tensor(np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32))
    for block in (same, wider):
        block.conv2.weight.data[...] = 0
    np.testing.assert_array_equal(same(x).data, x.data)
    activated = np.maximum(x.data, 0)[:, :, ::2, ::2]
    expected = np.einsum("nchw,oc->nohw", activated, wider.shortcut.weight.data[:, :, 0, 0])
    np.testing.assert_allclose(wider(x).data, expected, rtol=1e-3, atol=1e-4)


def test_it_computes_what_the_same_network_in_torch_computes():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    f = torch.nn.functional
    net = WideResNetCIFAR(16, 2).eval()
    rng = np.random.default_rng(0)
    for b in net.buffers():
        if b.is_floating_point():
            b.data[...] = rng.uniform(0.5, 1.5, b.shape)
    state = {name: torch.tensor(x.data) for name, x in net.state_dict().items()}

    def bn_relu(x, path):
        keys = ("running_mean", "running_var", "weight", "bias")
        return f.relu(f.batch_norm(x, *[state[f"{path}.{key}"] for key in keys]))

    x = rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    y = f.conv2d(torch.tensor(x), state["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        for i in range(2):
            path = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            a = bn_relu(y, f"{path}.bn1")
            z = f.conv2d(a, state[f"{path}.conv1.weight"], stride=stride, padding=1)
            z = f.conv2d(bn_relu(z, f"{path}.bn2"), state[f"{path}.conv2.weight"], padding=1)
            if i == 0:
                y = f.conv2d(a, state[f"{path}.shortcut.weight"], stride=stride)
            y = y + z
    y = bn_relu(y, "bn").mean((2, 3))
    expected = f.linear(y, state["linear.weight"], state["linear.bias"]).numpy()
    actual = net(md.tensor(x)).data
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_depth_that_is_not_six_n_and_four_is_refused():
    for depth in (4, 20):
        with pytest.raises(ValueError, match=rf"6n \+ 4 .*, not {depth}"):
            WideResNetCIFAR(depth, 2)
