"""ShuffleNet, the first."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.shufflenet_v1 import TABLE_1, ShuffleUnit


def summary_of(**arguments):
    with nn.init.skip_init():
        return md.summary(models.shufflenet_v1(**arguments), (1, 3, 224, 224))


@pytest.mark.parametrize("groups", list(TABLE_1))
def test_stages_have_the_sizes_of_table_1(groups):
    rows = {row.path: row for row in summary_of(groups=groups).rows}
    width = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}[groups]
    assert rows["conv1"].shapes == [(1, 24, 112, 112)]
    assert rows["maxpool"].shapes == [(1, 24, 56, 56)]
    assert rows["stage2"].shapes == [(1, width, 28, 28)]
    assert rows["stage3"].shapes == [(1, 2 * width, 14, 14)]
    assert rows["stage4"].shapes == [(1, 4 * width, 7, 7)]
    units = [path for path in rows if path.startswith("stage") and path.count(".") == 1]
    assert len(units) == 4 + 8 + 4


@pytest.mark.parametrize(
    ("groups", "published"), [(1, 143), (2, 140), (3, 137), (4, 133), (8, 137)]
)
def test_multiply_adds_are_those_of_table_1_without_the_linear_layer(groups, published):
    found = summary_of(groups=groups)
    linear = found.rows[-1].multiply_adds
    assert linear == 4 * TABLE_1[groups] * 1000
    assert (found.multiply_adds - linear) / 1e6 == pytest.approx(published, abs=0.6)


@pytest.mark.parametrize(
    ("groups", "width", "published"),
    # 0.25x and 0.5x: table 2; 1.5x and 2x: table 5
    [(3, 0.25, 13), (4, 0.25, 13), (1, 0.5, 38), (3, 0.5, 38), (3, 1.5, 292), (3, 2, 524)],
)
def test_multiply_adds_at_other_widths_are_those_printed(groups, width, published):
    found = summary_of(groups=groups, width_mult=width).multiply_adds
    assert found / 1e6 == pytest.approx(published, abs=1)


@pytest.mark.parametrize("groups", list(TABLE_1))
@pytest.mark.parametrize("width", [0.25, 0.5, 1.5, 2.0])
def test_every_width_can_be_divided_into_its_groups(groups, width):
    with nn.init.skip_init():
        net = models.shufflenet_v1(groups=groups, width_mult=width, num_classes=5).eval()
    assert net(md.zeros(1, 3, 32, 32)).shape == (1, 5)


def test_the_very_first_convolution_of_the_stages_has_no_groups():
    with nn.init.skip_init():
        net = models.shufflenet_v1(groups=8)
    assert net.stage2[0].compress[0].groups == 1
    assert net.stage2[0].expand[0].groups == 8
    assert net.stage2[1].compress[0].groups == net.stage3[0].compress[0].groups == 8


@pytest.mark.parametrize("stride", [1, 2])
def test_a_unit_computes_what_figure_2_shows(stride):
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    f = torch.nn.functional
    groups, channels, out = 3, 24, 24 if stride == 1 else 48
    unit = ShuffleUnit(channels, out, stride, groups)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, channels, 7, 7)).astype(np.float32)
    state = {name: torch.tensor(a.data) for name, a in unit.state_dict().items()}

    def conv(x, name, **arguments):
        x = f.conv2d(x, state[f"{name}.0.weight"], **arguments)
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        return (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()

    t = torch.tensor(x)
    y = f.relu(conv(t, "compress", groups=groups))
    width = out // 4
    y = y.reshape(2, groups, width // groups, 7, 7).transpose(1, 2).reshape(2, width, 7, 7)
    y = conv(y, "depthwise", groups=width, stride=stride, padding=1)
    y = conv(y, "expand", groups=groups)
    y = t + y if stride == 1 else torch.cat([f.avg_pool2d(t, 3, 2, 1), y], 1)
    np.testing.assert_allclose(unit(md.tensor(x)).data, f.relu(y).numpy(), rtol=1e-3, atol=1e-4)


def test_impossible_units_and_groups_are_refused():
    with pytest.raises(ValueError, match="24 and 48 channels cannot be added"):
        ShuffleUnit(24, 48, 1, 3)
    with pytest.raises(ValueError, match=r"groups is one of \[1, 2, 3, 4, 8\], not 5"):
        models.shufflenet_v1(groups=5)
