import numpy as np
import pytest

import minidl as md
from minidl import nn, optim, tensor
from minidl.models.detection.rcnn import new_classifier, train_rcnn
from minidl.models.detection.regions import CachedProposals
from minidl.models.detection.roi_heads import TwoMLPHead
from minidl.models.detection.spp_net import (
    SpatialPyramidPool,
    SPPNet,
    map_windows,
    spp_net_small,
    spp_net_zf5,
)
from minidl.nn.freezing import freeze

from .detection import (
    NUM_CLASSES,
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    average_precision,
    odd_batches,
    scenes,
)
from .segmentation import shake


def narrow(**options):
    options = {"scales": (64,), "levels": (1, 2)} | options
    return spp_net_small(NUM_CLASSES, width=2, hidden=8, **options)


def given(*boxes):
    """A source of proposals that does not look."""
    return CachedProposals(lambda image: np.array(boxes, np.float32).reshape(-1, 4))


def test_zf5_has_as_many_parameters_as_its_layers_say():
    convolutions = ((3, 96, 49), (96, 256, 25), (256, 384, 9), (384, 384, 9), (384, 256, 9))
    expected = sum((i * window + 1) * o for i, o, window in convolutions)
    expected += (256 * 50 + 1) * 4096 + 4097 * 4096 + 4097 * 21
    with nn.init.skip_init():
        net = spp_net_zf5()
    assert sum(p.numel() for p in net.parameters()) == expected == 73_026_709


# -- the layer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(6, 6), (13, 13), (7, 20), (3, 5), (1, 1)])
def test_maps_of_any_size_give_as_many_features(size):
    x = md.randn(2, 5, *size)
    assert SpatialPyramidPool()(x).shape == (2, 5 * 50)
    assert SpatialPyramidPool((1, 2, 3, 4))(x).shape == (2, 5 * 30)


def test_features_are_the_largest_values_of_bins_grid_after_grid():
    x = tensor(np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4))
    found = SpatialPyramidPool((1, 2))(x).data[0]
    first, second = [15], [5, 7, 13, 15]
    np.testing.assert_array_equal(
        found, first + [n + 16 for n in first] + second + [n + 16 for n in second]
    )


@pytest.mark.parametrize("size", [(6, 6), (13, 13), (7, 20), (3, 5)])
def test_a_window_around_the_whole_map_has_the_features_of_the_map(size):
    x = md.randn(2, 3, *size)
    pool = SpatialPyramidPool()
    whole = np.array([[0, 0, size[1] - 1, size[0] - 1]], np.float32)
    np.testing.assert_array_equal(pool(x, [whole, whole]).data, pool(x).data)


def test_a_window_has_the_features_of_the_map_cut_out():
    x = md.randn(1, 3, 12, 15)
    pool = SpatialPyramidPool((1, 2, 3))
    windows = np.array([[2, 3, 9, 7], [0, 0, 5, 11]], np.float32)
    found = pool(x, [windows]).data
    np.testing.assert_array_equal(found[0], pool(x[:, :, 3:8, 2:10]).data[0])
    np.testing.assert_array_equal(found[1], pool(x[:, :, :12, :6]).data[0])


def test_a_pyramid_without_levels_is_an_error():
    with pytest.raises(ValueError, match="levels must not be empty"):
        SpatialPyramidPool(())


def test_a_window_has_the_pixels_whose_centres_lie_in_the_box():
    # Centres at 2, 6, 10, 14 ... (stride 4).
    boxes = np.array(
        [[0, 0, 16, 16], [1.9, 2.1, 14.1, 13.9], [7, 3, 9, 5], [0, 0, 1, 60]], np.float32
    )
    found = map_windows(boxes, 4, 2.0)
    expected = [[0, 0, 3, 3], [0, 1, 3, 2], [2, 1, 2, 1], [0, 0, 0, 14]]
    np.testing.assert_array_equal(found, expected)


# -- the detector ---------------------------------------------------------------------------------


def test_the_map_of_zf5_has_its_centres_at_multiples_of_16():
    net = nn.Sequential(*spp_net_zf5_features()).eval()
    x = md.zeros(1, 3, 224, 320, requires_grad=True)
    net(x)[0, :, 5, 7].sum().backward()
    y, x = [np.flatnonzero(x.grad.data[0].any(axis=(0, axis))) for axis in (2, 1)]
    assert (y[0] + y[-1]) / 2 == 16 * 5
    assert (x[0] + x[-1]) / 2 == 16 * 7


def spp_net_zf5_features():
    """Its layers, one channel wide, all weights positive: every input counts."""
    for layer in spp_net_zf5_layers():
        if isinstance(layer, nn.Conv2d):
            channels = min(layer.in_channels, 3) if layer.in_channels == 3 else 1
            layer = nn.Conv2d(channels, 1, layer.kernel_size, layer.stride, layer.padding)
            nn.init.constant_(layer.weight, 1.0)
            nn.init.constant_(layer.bias, 1.0)
        elif isinstance(layer, nn.MaxPool2d):
            layer = nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding)
        elif isinstance(layer, nn.LocalResponseNorm):
            continue
        yield layer


def spp_net_zf5_layers():
    with nn.init.skip_init():
        return list(spp_net_zf5().backbone)


def test_each_region_is_taken_from_the_scale_where_its_area_is_nearest_to_224_squared():
    net = narrow(scales=(64, 128))
    image = md.rand(3, 64, 64)
    boxes = np.array([[0, 0, 64, 64], [0, 0, 20, 20]], np.float32)
    # At twice the size both are nearer, as 128 < 224.
    np.testing.assert_array_equal(net._scales_of(image, boxes), [1, 1])
    large = np.array([[0, 0, 300, 300], [0, 0, 100, 120], [0, 0, 200, 200]], np.float32)
    # 224 or 448 wide; 224^2 = 50,176: from 10,000 below to 110,000 above, and so on.
    np.testing.assert_array_equal(net._scales_of(image, large), [0, 1, 0])


def test_regions_of_several_scales_and_pictures_come_back_in_their_order():
    net = shake(narrow(scales=(64, 448))).eval()
    images = [md.rand(3, 80, 64), md.rand(3, 80, 64)]
    boxes = [
        np.array([[0, 0, 8, 8], [0, 0, 64, 64], [5, 5, 20, 30]], np.float32),
        np.array([[0, 10, 60, 80], [3, 3, 12, 12]], np.float32),
    ]
    together = net.pooled(images, boxes).data
    alone = [
        net.pooled([image], [box[None]]).data[0]
        for image, mine in zip(images, boxes, strict=True)
        for box in mine
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_training_may_leave_the_convolutions_as_they_were():
    md.manual_seed(0)
    images, targets = scenes(3)
    net = narrow()
    freeze(net.backbone)
    before = {name: value.data.copy() for name, value in net.backbone.state_dict().items()}
    optimizer = optim.SGD(net.head.parameters(), 0.01)
    train_rcnn(net, images, targets, optimizer, steps=2, batch_size=2)
    for name, value in net.backbone.state_dict().items():
        np.testing.assert_array_equal(value.data, before[name])
    assert bool(net.has_svms)


# -- what all detectors must do -------------------------------------------------------------------


def test_gradients_of_the_losses_are_right():
    md.manual_seed(0)
    images, targets = scenes(2, (32, 40))
    proposals = given([2, 2, 20, 30], [10, 0, 40, 25])
    net = shake(narrow(scales=(32,), proposals=proposals))
    assert_loss_gradients_are_right(net, images, targets)


@pytest.mark.parametrize("name", odd_batches())
def test_odd_pictures_do_no_harm(name):
    images, targets = odd_batches()[name]
    assert_robust(narrow(), images, targets)


def test_pictures_without_a_single_proposal_do_no_harm():
    net = narrow(proposals=given())
    assert net.predict([md.rand(3, 64, 64)])[0]["boxes"].shape == (0, 4)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_gpu_gives_what_the_cpu_gives(device):
    md.manual_seed(0)
    images, targets = scenes(2)
    assert_same_on(device, shake(narrow(scales=(64, 96))), images, targets)


def test_the_large_form_works_on_a_narrow_network():
    net = SPPNet(
        nn.Sequential(*spp_net_zf5_features()),
        TwoMLPHead(50, 8),
        new_classifier(8, NUM_CLASSES),
        NUM_CLASSES,
        scales=(100,),
        proposals=given([2, 2, 40, 30], [10, 0, 64, 45]),
    )
    images, targets = scenes(2)
    assert_robust(net, images, targets)


@pytest.mark.slow
def test_eight_scenes_are_learned_by_heart():
    md.manual_seed(0)
    images, targets = scenes(8)
    net = spp_net_small(NUM_CLASSES, scales=(64,))
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    train_rcnn(net, images, targets, optimizer, steps=60, batch_size=4)
    assert bool(net.has_svms)
    assert average_precision(net, images, targets) >= 0.95
