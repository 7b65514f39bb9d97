"""What every network that segments must do, on a narrow version of each."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.autograd import gradcheck
from minidl.backend import of
from minidl.models.segmentation.baselines import FullResolution, SlidingWindow
from minidl.models.segmentation.deconvnet import DeconvNet
from minidl.models.segmentation.dilated import ContextModule, DilatedVGG, FrontEnd
from minidl.models.segmentation.fcn import FCN, FCNResNet
from minidl.models.segmentation.hourglass import StackedHourglass
from minidl.models.segmentation.segnet import SegNet, SegNetBasic
from minidl.models.segmentation.unet import UNet

from .segmentation import overfit_scenes, scenes, shake


@dataclass
class Narrow:
    """A narrow version of a network, and what stands for it.

    build: makes it, with 3 outputs a pixel; names: the builders in minidl.models it stands for;
    shape: of a picture; lr, steps: with which it learns 4 pictures by heart, of this kind;
    size: (H, W) of the scores, where it is not the picture's.
    """

    build: Callable
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    lr: float = 0.01
    steps: int = 60
    kind: str = "shapes"
    size: tuple[int, int] | None = None
    marks: tuple = field(default=())

    def output_shape(self, count):
        return (count, 3, *(self.size or self.shape[1:]))


def fcn(stride):
    return FCN(3, stride, dropout=0.0, convs=(1,) * 5, widths=(4, 6, 8, 8, 8), hidden=12)


def front_end(**options):
    return FrontEnd(3, dropout=0.0, convs=(1,) * 5, widths=(6, 8, 8, 8, 8), hidden=12, **options)


def with_context(form):
    """With scores that are positive at first: what is negative the context module cuts off."""
    net = DilatedVGG(front_end(window=1), ContextModule(3, form))
    nn.init.constant_(net.front_end.layers.final.bias, 3.0)
    return net


NARROW = {
    "unet": Narrow(
        lambda: UNet(3, 1, widths=(8, 12, 16), dropout=0.0),
        ("unet",),
        (1, 56, 56),
        0.02,
        size=(16, 16),
    ),
    "unet, same size, batch norm": Narrow(
        lambda: UNet(3, 1, widths=(8, 12, 16), padding="same", batch_norm=True, dropout=0.0),
        ("unet",),
        (1, 17, 22),
        lr=0.02,
        steps=80,
    ),
    "unet, residual": Narrow(
        lambda: UNet(3, 3, widths=(8, 12), residual=True, dropout=0.0),
        ("unet",),
        (3, 32, 32),
        steps=80,
        size=(16, 16),
    ),
    "unet, residual, same size, batch norm": Narrow(
        lambda: UNet(
            3, 3, widths=(4, 8), padding="same", batch_norm=True, residual=True, dropout=0.0
        ),
        ("unet",),
        (3, 16, 16),
        lr=0.03,
    ),
    "fcn32s": Narrow(
        lambda: fcn(32), ("fcn32s",), (3, 32, 40), kind="halves", marks=(pytest.mark.slow,)
    ),
    "fcn16s": Narrow(
        lambda: fcn(16), ("fcn16s",), (3, 32, 40), kind="halves", marks=(pytest.mark.slow,)
    ),
    "fcn8s": Narrow(lambda: fcn(8), ("fcn8s",), (3, 32, 40), steps=30, kind="halves"),
    "fcn_resnet": Narrow(
        lambda: FCNResNet(3, aux_loss=True, layers=(1, 1, 1, 1), width=4, dropout=0.0),
        ("fcn_resnet50",),
        (3, 17, 24),
        steps=30,
        kind="halves",
    ),
    "segnet": Narrow(
        lambda: SegNet(3, convs=(1, 2, 1), widths=(12, 12, 12)), ("segnet",), (3, 17, 22), 0.02, 100
    ),
    "segnet_basic": Narrow(
        lambda: SegNetBasic(3, stages=2, width=8), ("segnet_basic",), (3, 17, 22)
    ),
    "deconvnet": Narrow(
        lambda: DeconvNet(3, convs=(1, 2), widths=(8, 8), hidden=16, window=3),
        ("deconvnet",),
        (3, 17, 22),
        lr=0.02,
        steps=100,
    ),
    "dilated": Narrow(
        lambda: DilatedVGG(front_end(window=3)),
        ("dilated_vgg16",),
        (3, 24, 32),
        lr=0.005,
        kind="halves",
    ),
    "dilated, basic context": Narrow(
        lambda: with_context("basic"),
        ("dilated_vgg16",),
        (3, 13, 16),
        lr=0.003,
        steps=60,
        kind="halves",
    ),
    "dilated, large context": Narrow(
        lambda: with_context("large"),
        ("dilated_vgg16",),
        (3, 16, 16),
        lr=0.001,
        steps=90,
        kind="halves",
        marks=(pytest.mark.slow,),
    ),
    "stacked_hourglass": Narrow(
        lambda: StackedHourglass(3, stacks=2, depth=1, channels=8, stem=4, enlarge=True),
        ("stacked_hourglass",),
        (3, 10, 14),
        kind="halves",
        marks=(pytest.mark.slow,),
    ),
    "sliding_window": Narrow(
        lambda: SlidingWindow(3, kernels=(3, 2), width=12, hidden=16, last=1),
        ("sliding_window",),
        (1, 9, 10),
        lr=0.02,
        steps=100,
    ),
    "full_resolution": Narrow(
        lambda: FullResolution(3, depth=3, width=8), ("full_resolution",), (1, 14, 15)
    ),
}

CASES = [pytest.param(case, id=name, marks=case.marks) for name, case in NARROW.items()]


def scores(output):
    """The main output of a network that has auxiliary ones, too."""
    return output[0] if isinstance(output, tuple) else output


def pictures(case, count, dtype=np.float32):
    return np.random.default_rng(1).normal(size=(count, *case.shape)).astype(dtype)


def test_every_builder_has_a_narrow_version():
    names = {name for case in NARROW.values() for name in case.names}
    assert names == set(models.segmentation.__all__)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_picture_and_parameters_are_right(case):
    net = shake(case.build().double()).eval()
    x = md.tensor(pictures(case, 1, np.float64), requires_grad=True)
    names = [name for name, _ in net.named_parameters()]

    def call(x, *parameters):
        for name, parameter in zip(names, parameters, strict=True):
            path, _, last = name.rpartition(".")
            net.get_submodule(path)._parameters[last] = parameter
        return scores(net(x))

    assert gradcheck(call, (x, *net.parameters()))


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_takes_part_in_training(case):
    net = shake(case.build()).train()
    outputs = net(md.tensor(pictures(case, 2)))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for output in outputs:
        assert output.shape == case.output_shape(2)
    sum((output * md.randn(*output.shape)).sum() for output in outputs).backward()
    trained = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    assert [name for name, p in trained if p.grad is None or not p.grad.data.any()] == []


@pytest.mark.parametrize("case", CASES)
def test_four_pictures_are_learned_by_heart(case):
    images, masks = scenes(4, *case.shape, kind=case.kind)
    net = case.build()
    reached = overfit_scenes(net, images, masks, steps=case.steps, lr=case.lr)
    assert reached >= 0.95


@pytest.mark.parametrize("case", CASES)
def test_evaluation_is_deterministic_and_treats_each_picture_alone(case):
    net = shake(case.build()).eval()
    x = md.tensor(pictures(case, 3))
    with md.no_grad():
        together, again = net(x), net(x)
        alone = net(x[1:2])  # a batch of one
    assert isinstance(together, md.Tensor)
    assert together.dtype == np.float32
    assert together.shape == case.output_shape(3)
    np.testing.assert_array_equal(together.data, again.data)
    np.testing.assert_allclose(alone.data[0], together.data[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("case", CASES)
def test_gradients_on_a_gpu_are_those_of_the_cpu(case, device):
    here = shake(case.build().double()).train()
    there = copy.deepcopy(here).to(device)
    cotangent = np.random.default_rng(3).normal(size=case.output_shape(2))
    for net, place in ((here, "cpu"), (there, device)):
        output = scores(net(md.tensor(pictures(case, 2, np.float64), device=place)))
        (output * md.tensor(cotangent, device=place)).sum().backward()
    expected = {name: p.grad.data for name, p in here.named_parameters() if p.grad is not None}
    # A bias before batch norm has no gradient but rounding errors.
    least = 1e-10 * max(np.abs(gradient).max() for gradient in expected.values())
    found = {name: p.grad.data for name, p in there.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        host = of(gradient).to_host(gradient)
        np.testing.assert_allclose(host, expected[name], rtol=1e-6, atol=least, err_msg=name)
