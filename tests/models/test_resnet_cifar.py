"""Residual and plain networks for CIFAR."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.resnet_cifar import (
    BasicBlock,
    PadShortcut,
    ResNetCIFAR,
    happens,
)

from .overfit import overfit


@pytest.mark.parametrize(
    ("name", "shortcut", "expected"),
    [
        ("resnet20", "A", 269_722),
        ("resnet20", "B", 272_474),
        ("resnet32", "A", 464_154),
        ("resnet44", "A", 658_586),
        ("resnet56", "A", 853_018),
        ("resnet110", "A", 1_727_962),
    ],
)
def test_networks_have_the_parameters_of_the_paper(name, shortcut, expected):
    # He et al. 2015, table 6: 0.27, 0.46, 0.66, 0.85 and 1.7 million
    net = getattr(models, name)(shortcut=shortcut)
    assert sum(p.numel() for p in net.parameters()) == expected


def test_projections_everywhere_cost_what_their_shapes_say():
    net = models.resnet20(shortcut="C")
    # seven blocks that B leaves as they are: three of 16 channels, two of 32, two of 64
    more = sum(n * (c * c + 2 * c) for n, c in ((3, 16), (2, 32), (2, 64)))
    assert sum(p.numel() for p in net.parameters()) == 272_474 + more


def test_parameters_are_called_as_in_the_usual_port():
    names = [name for name, _ in models.resnet20().named_parameters()]
    assert names[:5] == [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "layer1.0.conv1.weight",
        "layer1.0.bn1.weight",
    ]
    assert names[-2:] == ["linear.weight", "linear.bias"]
    assert "layer3.2.bn2.bias" in names
    assert not any("shortcut" in name for name in names)
    projected = [name for name, _ in models.resnet20(shortcut="B").named_parameters()]
    assert "layer2.0.shortcut.0.weight" in projected
    assert "layer2.0.shortcut.1.bias" in projected


def test_a_shortcut_without_parameters_skips_pixels_and_adds_empty_channels():
    x = np.random.default_rng(0).normal(size=(2, 16, 6, 4)).astype(np.float32)
    y = PadShortcut(16, 32, 2)(md.tensor(x)).data
    assert y.shape == (2, 32, 3, 2)
    np.testing.assert_array_equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_convolutions_start_with_the_variance_of_their_outgoing_weights():
    net = models.resnet20()
    weight = net.layer3[1].conv1.weight.data
    assert weight.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.03)
    assert net.conv1.weight.data.std() == pytest.approx(np.sqrt(2 / (16 * 9)), rel=0.1)


def test_the_output_does_not_depend_on_the_size_of_the_picture():
    net = models.resnet20(num_classes=7, in_channels=1).eval()
    for size in (32, 40, 28):
        assert net(md.tensor(np.zeros((1, 1, size, size), np.float32))).shape == (1, 7)
    with pytest.raises(ValueError, match="'A', 'B', 'C' or 'none', not 'D'"):
        models.resnet20(shortcut="D")


# -- plain networks --------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_a_plain_network_is_the_residual_one_without_its_additions(depth):
    plain, residual = getattr(models, f"plain{depth}")(), getattr(models, f"resnet{depth}")()
    ours = {name: x.shape for name, x in plain.state_dict().items()}
    assert ours == {name: x.shape for name, x in residual.state_dict().items()}
    operations = []
    for net in (plain, residual):
        seen = []
        with md.no_grad(), md.autograd.listen(lambda event, seen=seen: seen.append(event.op)):
            net.eval()(md.tensor(np.zeros((1, 3, 8, 8), np.float32)))
        operations.append(seen)
    blocks = (depth - 2) // 2
    assert operations[1].count("Add") - operations[0].count("Add") == blocks
    assert operations[1].count("Relu") == operations[0].count("Relu") == 2 * blocks + 1


def test_a_plain_block_loses_what_its_convolutions_lose():
    plain, residual = ResNetCIFAR(1, shortcut="none"), ResNetCIFAR(1)
    for net in (plain, residual):
        net.layer1[0].bn2.weight.data[...] = 0  # the block computes 0
    x = md.tensor(np.random.default_rng(0).uniform(0, 1, (2, 16, 4, 4)).astype(np.float32))
    assert not plain.layer1(x).data.any()
    np.testing.assert_array_equal(residual.layer1(x).data, x.data)


# -- stochastic depth ------------------------------------------------------------------------------


def test_blocks_survive_with_linearly_decaying_probability():
    # Huang et al. 2016, equation 4 with L = 54 and p_L = 0.5
    with nn.init.skip_init():
        net = models.resnet110(stochastic_depth_prob=0.5)
    survival = [m.survival for m in net.modules() if isinstance(m, BasicBlock)]
    np.testing.assert_allclose(survival, [1 - i / 54 * 0.5 for i in range(1, 55)])
    # section 3: about 40 of the 54 blocks are expected in a step
    assert sum(survival) == pytest.approx(40, abs=0.5)


def test_a_block_is_computed_as_often_as_its_probability_says():
    md.manual_seed(0)
    block = BasicBlock(2, 2, survival=0.7)
    x = md.tensor(np.random.default_rng(0).uniform(0, 1, (1, 2, 3, 3)).astype(np.float32))
    computed = []
    block.conv1.register_forward_hook(lambda *args: computed.append(1))
    left_out = 0
    for _ in range(400):
        before = len(computed)
        y = block(x)
        if len(computed) == before:
            left_out += 1
            np.testing.assert_array_equal(y.data, x.data)
    # 120 +- 3.5 standard deviations of sqrt(400 * 0.3 * 0.7)
    assert abs(left_out - 120) < 3.5 * 9.2
    assert left_out + len(computed) == 400


def test_in_evaluation_a_block_counts_as_often_as_it_survived():
    block = BasicBlock(2, 2, survival=0.7).eval()
    x = md.tensor(np.random.default_rng(0).uniform(0, 1, (1, 2, 3, 3)).astype(np.float32))
    expected = np.maximum(0.7 * block.transform(x).data + x.data, 0)
    np.testing.assert_allclose(block(x).data, expected, rtol=1e-6)


def test_events_repeat_with_the_seed_and_extremes_are_certain():
    md.manual_seed(3)
    first = [happens(0.5) for _ in range(64)]
    md.manual_seed(3)
    assert [happens(0.5) for _ in range(64)] == first
    assert 16 < sum(first) < 48
    assert all(happens(1.0) for _ in range(64))
    assert not any(happens(0.0) for _ in range(64))


@pytest.mark.parametrize(("probability", "shortcut"), [(1.0, "A"), (-0.1, "A"), (0.5, "none")])
def test_stochastic_depth_that_cannot_be_is_refused(probability, shortcut):
    with pytest.raises(ValueError, match="stochastic_depth_prob"):
        ResNetCIFAR(1, shortcut=shortcut, stochastic_depth_prob=probability)


# -- what it learns --------------------------------------------------------------------------------


def test_it_learns_with_stochastic_depth():
    net = models.resnet20(stochastic_depth_prob=0.2)
    assert overfit(net, (16, 3, 16, 16), steps=60, lr=0.05) > 0.9


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_it_learns_a_handful_of_pictures_by_heart(shortcut):
    net = models.resnet20(shortcut=shortcut)
    assert overfit(net, (16, 3, 16, 16), steps=25, lr=0.05) == 1.0


def test_it_computes_what_the_same_network_in_torch_computes():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    f = torch.nn.functional
    net = models.resnet20().eval()
    rng = np.random.default_rng(0)
    for b in net.buffers():
        if b.is_floating_point():
            b.data[...] = rng.uniform(0.5, 1.5, b.shape)
    state = {name: torch.tensor(x.data) for name, x in net.state_dict().items()}

    def conv_bn(x, conv, bn, stride=1):
        x = f.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=1)
        parts = [
            state[f"{bn}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        ]
        return f.batch_norm(x, *parts)

    pictures = rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    x = f.relu(conv_bn(torch.tensor(pictures), "conv1", "bn1"))
    for stage in (1, 2, 3):
        for i in range(3):
            path = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            y = f.relu(conv_bn(x, f"{path}.conv1", f"{path}.bn1", stride))
            y = conv_bn(y, f"{path}.conv2", f"{path}.bn2")
            if stride == 2:
                extra = x.shape[1] // 2
                x = f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
            x = f.relu(x + y)
    expected = f.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"]).numpy()
    actual = net(md.tensor(pictures)).data
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "expected"),
    # 91.73 % and 93.39 %, as their author reports
    [("resnet20", "resnet20-12fca82f.th", 9173), ("resnet56", "resnet56-4bfd9763.th", 9339)],
)
def test_published_weights_reach_their_published_accuracy(name, file, expected, data_folder):
    saved = md.load(data_folder / "weights" / file)["state_dict"]
    net = getattr(models, name)().eval()
    net.load_state_dict({name.removeprefix("module."): x for name, x in saved.items()})
    raw = np.fromfile(data_folder / "cifar10" / "test_batch.bin", np.uint8).reshape(-1, 3073)
    images = raw[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    # ImageNet's mean and standard deviation, with which the weights were trained
    images -= np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
    images /= np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    right = 0
    with md.no_grad():
        for i in range(0, len(images), 500):
            scores = net(md.tensor(images[i : i + 500])).data
            right += int((scores.argmax(1) == raw[i : i + 500, 0]).sum())
    assert right == expected
