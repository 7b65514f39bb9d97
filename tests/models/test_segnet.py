"""SegNet and SegNet-Basic: mirrored stages, maxima undone, torch."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.autograd import gradgradcheck
from minidl.models.segmentation.segnet import SegNet, SegNetBasic

from .segmentation import assert_as_in_torch, shake


def channels(stage):
    """(in, out) of each convolution of a stage."""
    return [(m.in_channels, m.out_channels) for m in stage if isinstance(m, nn.Conv2d)]


def test_the_decoder_is_the_encoder_reversed():
    with nn.init.skip_init():
        net = models.segnet()
    encoder = [pair for stage in net.encoder for pair in channels(stage)]
    decoder = [pair for stage in net.decoder for pair in channels(stage)]
    assert len(encoder) == len(decoder) == 13
    assert encoder[0] == (3, 64)
    assert decoder[-1] == (64, 12)
    assert decoder[:-1] == [(o, i) for i, o in encoder[:0:-1]]
    assert channels(net.decoder[1]) == [(512, 512), (512, 512), (512, 256)]  # stage 4
    # Batch norm and ReLU follow each convolution but the last.
    kinds = [type(m) for stage in (*net.encoder, *net.decoder) for m in stage]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 25 + [nn.Conv2d]


def test_the_basic_network_has_eight_convolutions_without_bias_and_relu_on_the_way_down_only():
    with nn.init.skip_init():
        net = models.segnet_basic()
    down = [type(m) for stage in net.encoder for m in stage]
    up = [type(m) for stage in net.decoder for m in stage]
    assert down == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 4
    assert up == [nn.Conv2d, nn.BatchNorm2d] * 4
    for stage in (*net.encoder, *net.decoder):
        assert (stage[0].kernel_size, stage[0].bias) == ((7, 7), None)


@pytest.mark.parametrize("net", [SegNet(3, widths=(2,) * 5), SegNetBasic(3, width=2)])
@pytest.mark.parametrize("size", [(32, 32), (45, 63), (39, 50)])
def test_any_size_comes_back(net, size):
    with md.no_grad():
        assert net.eval()(md.zeros(1, 3, *size)).shape == (1, 3, *size)


def test_values_go_back_to_where_the_maximum_was():
    net = SegNet(3, 1, convs=(1,), widths=(2,)).eval()
    seen = []
    net.encoder[0].register_forward_hook(lambda m, args, out: seen.append(out.data))
    net.decoder[0].register_forward_pre_hook(lambda m, args: seen.append(args[0].data))
    with md.no_grad():
        net(md.randn(1, 1, 6, 8))
    before, after = seen
    windows = before.reshape(2, 3, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(2, 3, 4, 4)
    kept = after.reshape(2, 3, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(2, 3, 4, 4)
    largest = windows.max(-1)
    assert (largest > 0).any()
    np.testing.assert_array_equal(kept.sum(-1), largest)  # one value a window, the largest
    np.testing.assert_array_equal(kept, np.where(kept != 0, windows, 0))  # where it was


def test_second_derivatives_through_unpooling_are_right():
    net = shake(SegNet(2, 2, convs=(1, 1), widths=(2, 2)).double()).eval()
    names = [name for name, _ in net.named_parameters()]
    x = md.tensor(np.random.default_rng(0).normal(size=(1, 2, 5, 6)), requires_grad=True)

    def call(x, *parameters):
        for name, parameter in zip(names, parameters, strict=True):
            path, _, last = name.rpartition(".")
            net.get_submodule(path)._parameters[last] = parameter
        return net(x).tanh()  # piecewise linear without

    assert gradgradcheck(call, (x, *net.parameters()))


def segnet_in_torch(t, x):
    def stage(name, x, count, last=False):
        for i in range(count):
            x = t.conv(f"{name}.{3 * i}", x, padding=1)
            if not (last and i == count - 1):
                x = t.norm(f"{name}.{3 * i + 1}", x).relu()
        return x

    places = []
    for i, count in enumerate((2, 1, 3)):
        x = stage(f"encoder.{i}", x, count)
        size = x.shape[2:]
        x, indices = t.F.max_pool2d(x, 2, return_indices=True)
        places.append((indices, size))
    for i, count in enumerate((3, 1, 2)):
        indices, size = places.pop()
        x = t.F.max_unpool2d(x, indices, 2, output_size=size)
        x = stage(f"decoder.{i}", x, count, last=i == 2)
    return x


def basic_in_torch(t, x):
    x = t.F.local_response_norm(x, 5, alpha=1e-4, beta=0.75)
    places = []
    for i in range(2):
        x = t.norm(f"encoder.{i}.1", t.conv(f"encoder.{i}.0", x, padding=3)).relu()
        size = x.shape[2:]
        x, indices = t.F.max_pool2d(x, 2, return_indices=True)
        places.append((indices, size))
    for i in range(2):
        indices, size = places.pop()
        x = t.F.max_unpool2d(x, indices, 2, output_size=size)
        x = t.norm(f"decoder.{i}.1", t.conv(f"decoder.{i}.0", x, padding=3))
    return t.conv("classifier", x)


@pytest.mark.parametrize(
    ("net", "forward"),
    [
        (lambda: SegNet(3, convs=(2, 1, 3), widths=(4, 6, 8)), segnet_in_torch),
        (lambda: SegNetBasic(3, stages=2, width=6), basic_in_torch),
    ],
    ids=["segnet", "segnet_basic"],
)
def test_outputs_are_those_of_torch(net, forward):
    net = shake(net())
    images = np.random.default_rng(0).normal(size=(2, 3, 21, 26)).astype(np.float32)
    for training in (False, True):
        assert_as_in_torch(net.train(training), 10 * images, forward)
