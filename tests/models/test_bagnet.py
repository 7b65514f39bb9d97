"""BagNets: what they see, and where their scores come from."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.bagnet import BagNet

KERNELS = {9: (3, 3, 1, 1), 17: (3, 3, 3, 1), 33: (3, 3, 3, 3)}


def narrow(patch, dtype=np.float32):
    """A small network, most of whose units are at work."""
    net = BagNet(KERNELS[patch], 3, layers=(2, 1, 1, 2), width=8)
    rng = np.random.default_rng(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.data[...] = rng.normal(0, 0.1, module.num_features)
            module.running_var.data[...] = rng.uniform(0.5, 1.5, module.num_features)
            module.bias.data[...] = rng.uniform(0.5, 1, module.num_features)
    return (net.double() if dtype == np.float64 else net).eval()


def pictures(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("patch", KERNELS)
def test_the_builders_have_the_patch_that_their_name_says(patch):
    with nn.init.skip_init():
        net = getattr(models, f"bagnet{patch}")()
    assert (net.patch, net.stride) == (patch, 8)
    found = nn.summary(net, (1, 3, 224, 224), depth=1)
    side = (224 - patch) // 8 + 1
    assert {row.path: row.shapes[0] for row in found.rows}["layer4"] == (1, 2048, side, side)


@pytest.mark.parametrize("patch", KERNELS)
def test_pixels_outside_the_patch_change_nothing_and_its_corners_do(patch):
    net = narrow(patch, np.float64)
    x = pictures(1, 3, 60, 52, dtype=np.float64)
    before = net.evidence(md.tensor(x)).data
    i, j = 1, 2
    top, left = i * net.stride, j * net.stride
    inside = np.zeros((60, 52), bool)
    inside[top : top + patch, left : left + patch] = True
    outside = np.where(inside, x, pictures(1, 3, 60, 52, dtype=np.float64)[:, ::-1] * 5)
    after = net.evidence(md.tensor(outside)).data
    np.testing.assert_array_equal(after[:, :, i, j], before[:, :, i, j])
    assert (after != before).sum() > before.size / 2  # the others saw it
    ends = (0, patch - 1)
    for row, column in ((r, c) for r in ends for c in ends):
        changed = x.copy()
        changed[0, :, top + row, left + column] += 100
        assert (net.evidence(md.tensor(changed)).data[:, :, i, j] != before[:, :, i, j]).any()


@pytest.mark.parametrize("patch", KERNELS)
def test_the_scores_are_the_mean_of_the_evidence(patch):
    net = narrow(patch)
    x = md.tensor(pictures(2, 3, 49, 57))
    evidence = net.evidence(x)
    assert evidence.shape == (2, 3, (49 - patch) // 8 + 1, (57 - patch) // 8 + 1)
    np.testing.assert_allclose(net(x).data, evidence.data.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_where_a_patch_lies_does_not_matter():
    # Patches of 9 pixels, 8 apart, share their black borders only: the 7 x 7 inside can be moved.
    net = narrow(9, np.float64)
    cells = pictures(12, 3, 7, 7, dtype=np.float64)

    def picture(order):
        x = np.zeros((1, 3, 3 * 8 + 1, 4 * 8 + 1))
        for place, cell in enumerate(order):
            top, left = 8 * (place // 4) + 1, 8 * (place % 4) + 1
            x[0, :, top : top + 7, left : left + 7] = cells[cell]
        return md.tensor(x)

    one, other = picture(range(12)), picture(np.random.default_rng(3).permutation(12))
    assert np.abs(net.evidence(one).data - net.evidence(other).data).max() > 0.1
    np.testing.assert_allclose(net(one).data, net(other).data, rtol=1e-10)


@pytest.mark.parametrize("patch", [9, 17])
def test_the_heat_map_is_what_the_network_says_of_the_patch_around_each_pixel(patch):
    net = narrow(patch)
    x = pictures(2, 3, 13, 11)
    heat = net.heat_map(md.tensor(x), 1)
    assert heat.shape == (2, 13, 11)
    assert heat.dtype == np.float32
    assert not heat.requires_grad
    padded = np.pad(x, ((0, 0), (0, 0), (patch // 2,) * 2, (patch // 2,) * 2))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (patch, patch), (2, 3))
    patches = np.ascontiguousarray(patches.transpose(0, 2, 3, 1, 4, 5)).reshape(-1, 3, patch, patch)
    alone = net(md.tensor(patches)).data[:, 1].reshape(2, 13, 11)
    np.testing.assert_allclose(heat.data, alone, rtol=1e-4, atol=1e-4)


def test_the_heat_map_can_be_made_on_a_device():
    net = narrow(9)
    x = pictures(1, 3, 20, 12)
    here = net.heat_map(md.tensor(x), 2).data
    there = net.to("strict").heat_map(md.tensor(x, device="strict"), 2)
    assert there.device == "strict"
    np.testing.assert_allclose(there.cpu().numpy(), here, rtol=1e-4, atol=1e-5)


def test_misuse_is_explained():
    net = narrow(17)
    with pytest.raises(ValueError, match=r"at least 17 x 17 pixels, its patch; got \(1, 3, 16, 40"):
        net(md.tensor(pictures(1, 3, 16, 40)))
    with pytest.raises(ValueError, match=r"N, C, H, W.*got \(3, 16, 40\)"):
        net.heat_map(md.tensor(pictures(3, 16, 40)), 0)
    with pytest.raises(IndexError, match="class 3 of 3"):
        net.heat_map(md.tensor(pictures(1, 3, 20, 20)), 3)
    with pytest.raises(RuntimeError, match=r"call eval\(\) first"):
        net.train().heat_map(md.tensor(pictures(1, 3, 20, 20)), 0)


def test_it_computes_what_the_same_network_in_torch_computes():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    f = torch.nn.functional
    net = narrow(33)
    state = {name: torch.tensor(x.data) for name, x in net.state_dict().items()}

    def conv(x, path, stride=1):
        return f.conv2d(x, state[f"{path}.weight"], stride=stride)

    def norm(x, path):
        names = ("running_mean", "running_var", "weight", "bias")
        return f.batch_norm(x, *[state[f"{path}.{name}"] for name in names])

    x = pictures(2, 3, 45, 61)
    y = f.relu(norm(conv(conv(torch.tensor(x), "conv1"), "conv2"), "bn1"))
    for stage, (blocks, stride) in enumerate(zip((2, 1, 1, 2), (2, 2, 2, 1), strict=True), 1):
        for i in range(blocks):
            path, step = f"layer{stage}.{i}", stride if i == 0 else 1
            out = f.relu(norm(conv(y, f"{path}.conv1"), f"{path}.bn1"))
            out = f.relu(norm(conv(out, f"{path}.conv2", step), f"{path}.bn2"))
            out = norm(conv(out, f"{path}.conv3"), f"{path}.bn3")
            if i == 0:
                y = norm(conv(y, f"{path}.downsample.0", step), f"{path}.downsample.1")
            lost = (y.shape[2] - out.shape[2], y.shape[3] - out.shape[3])
            assert lost == ((1, 1) if i == 0 and stage < 4 else (2, 2) if i == 0 else (0, 0))
            y = f.relu(out + y[:, :, : out.shape[2], : out.shape[3]])
    expected = f.linear(y.mean((2, 3)), state["fc.weight"], state["fc.bias"]).numpy()
    actual = net(md.tensor(x)).data
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
