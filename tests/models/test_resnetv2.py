"""Pre-activation residual networks for ImageNet."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.resnetv2 import PreActBottleneck, ResNetV2


def without_values(build, **options):
    with nn.init.skip_init():
        return build(**options)


def batch(*shape):
    return md.tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "same_as", "published"),
    [("resnetv2_50", "resnet50", 4.09), ("resnetv2_101", "resnet101", 7.80)],
)
def test_multiply_adds_are_those_of_the_network_with_the_activation_behind(
    name, same_as, published
):
    found = nn.summary(without_values(getattr(models, name)), (1, 3, 224, 224))
    twin = nn.summary(without_values(getattr(models, same_as)), (1, 3, 224, 224))
    assert found.multiply_adds == twin.multiply_adds
    assert round(found.multiply_adds / 1e9, 2) == published
    shapes = {row.path: row.shapes[0] for row in found.rows}
    assert shapes["stem"] == (1, 64, 56, 56)
    assert [shapes[f"stages.{i}"][1:] for i in range(4)] == [
        (256, 56, 56),
        (512, 28, 28),
        (1024, 14, 14),
        (2048, 7, 7),
    ]


def test_a_unit_adds_its_residual_to_its_input_and_does_nothing_else():
    # He et al. 2016, equation 4: what comes out of unit L is what went into unit l, and residuals
    net = ResNetV2((3, 1, 1, 1), 2, width=4).eval()
    units = list(net.stages[0].blocks)
    x = net.stem(batch(2, 3, 32, 32))
    start = units[0](x)
    assert (start.data < 0).any()  # no activation after the sum
    end = units[2](units[1](start))
    residuals = []
    out = start
    for unit in units[1:]:
        after = unit(out)
        inner = unit.conv1(unit.relu(unit.norm1(out)))
        inner = unit.conv2(unit.relu(unit.norm2(inner)))
        residuals.append(unit.conv3(unit.relu(unit.norm3(inner))).data)
        out = after
    np.testing.assert_allclose(end.data, start.data + sum(residuals), rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_every_unit_undiminished_where_residuals_are_silent():
    # equation 5: the derivative to any unit contains that to the last one as it is
    net = ResNetV2((4, 1, 1, 1), 2, width=4)
    units = list(net.stages[0].blocks)[1:]
    for unit in units:
        nn.init.zeros_(unit.conv3.weight)
    x = md.tensor(np.random.default_rng(1).normal(size=(2, 16, 4, 4)), requires_grad=True)
    out = x
    for unit in units:
        out = unit.double()(out)
    cotangent = np.random.default_rng(2).normal(size=out.shape)
    out.backward(md.tensor(cotangent))
    np.testing.assert_array_equal(x.grad.data, cotangent)


def test_where_the_shape_changes_the_activated_input_is_projected():
    unit = PreActBottleneck(8, 16, stride=2, project=True).eval()
    nn.init.zeros_(unit.conv3.weight)
    x = batch(1, 8, 4, 4)
    active = np.maximum(unit.norm1(x).data, 0)[:, :, ::2, ::2]
    expected = np.einsum("nchw,oc->nohw", active, unit.downsample[0].weight.data[:, :, 0, 0])
    np.testing.assert_allclose(unit(x).data, expected, rtol=1e-4, atol=1e-5)
    net = without_values(models.resnetv2_50)
    found = [p for p, m in net.named_modules() if p.endswith("downsample")]
    assert found == [f"stages.{i}.blocks.0.downsample" for i in range(4)]


def test_the_stride_can_be_in_the_1x1_as_in_the_authors_code():
    ours, theirs = (
        without_values(models.resnetv2_50, stride_in_1x1=choice) for choice in (False, True)
    )
    assert ours.stages[1].blocks[0].conv2.stride == (2, 2)
    assert ours.stages[1].blocks[0].conv1.stride == (1, 1)
    assert theirs.stages[1].blocks[0].conv2.stride == (1, 1)
    assert theirs.stages[1].blocks[0].conv1.stride == (2, 2)


def test_stochastic_depth_and_dropout_are_switches():
    net = without_values(models.resnetv2_50, stochastic_depth_prob=0.4, dropout=0.25)
    drops = [unit.drop_path.p for stage in net.stages for unit in stage.blocks]
    np.testing.assert_allclose(drops, 0.4 * np.arange(1, 17) / 16)
    assert net.head[1].p == 0.25
    assert isinstance(without_values(models.resnetv2_50).stages[0].blocks[0].drop_path, nn.Identity)


def test_the_classifier_starts_small_and_any_picture_is_taken():
    net = models.resnetv2_50(num_classes=7, in_channels=1).eval()
    assert net.head[2].weight.data.std() == pytest.approx(0.01, rel=0.05)
    assert net(batch(1, 1, 33, 64)).shape == (1, 7)
