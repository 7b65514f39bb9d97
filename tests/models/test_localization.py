"""Localisation: boxes as four numbers, two losses by weights, any classifier as backbone."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, tensor
from minidl.models.classification.resnet_cifar import ResNetCIFAR
from minidl.models.classification.vgg import VGG
from minidl.models.detection.localization import (
    Localizer,
    decode,
    encode,
    features_of,
    localization_resnet18,
    localization_small,
)

from .detection import (
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    objects,
    odd_batches,
    overfit,
    scenes,
)

PLAIN = {"image_mean": (0.0,) * 3, "image_std": (1.0,) * 3}


def narrow(size=(8, 8)):
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(size[0] * size[1], 6),
    )
    return Localizer(backbone, 6, 3, size, **PLAIN)


# -- boxes as numbers ----------------------------------------------------------------------------


def test_a_box_is_its_centre_and_the_roots_of_its_size_in_shares_of_the_picture():
    # 36 of 100 pixels wide, 32 of 50 high, centre (28, 26).
    codes = encode(np.array([[10.0, 10, 46, 42]]), (50, 100))
    np.testing.assert_allclose(codes, [[0.28, 0.52, 0.6, 0.8]])
    np.testing.assert_allclose(decode(codes, (50, 100)), [[10, 10, 46, 42]])


def test_decoding_undoes_encoding():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 30, (20, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.5, 20, (20, 2))], axis=1)
    np.testing.assert_allclose(decode(encode(boxes, (50, 60)), (50, 60)), boxes, atol=1e-9)


def test_wild_numbers_are_boxes_within_the_picture():
    found = decode(np.array([[0.5, 0.5, -0.4, 0.5], [1.5, -2.0, 0.4, 3.0]]), (20, 40))
    # A root below 0 is a box without width; the other one begins at 1.42 and ends at 2.5.
    np.testing.assert_allclose(found, [[20, 7.5, 20, 12.5], [40, 0, 40, 20]])


def test_a_pixel_too_much_costs_more_on_a_small_box():
    wanted = encode(np.array([[10.0, 10, 14, 14], [10, 10, 90, 90]]), (100, 100))
    found = encode(np.array([[9.5, 10, 14.5, 14], [9.5, 10, 90.5, 90]]), (100, 100))
    small, large = ((found - wanted) ** 2).sum(axis=1)
    assert small > 15 * large


# -- the loss ------------------------------------------------------------------------------------


def fixed(scores, codes, size=(50, 100)):
    """A localizer that says this, whatever it is shown."""
    net = Localizer(nn.Flatten(), 2, len(scores[0]), size, **PLAIN)
    net.outputs = lambda x: (tensor(np.array(scores)), tensor(np.array(codes)))
    return net


def test_the_losses_by_hand():
    net = fixed([[2.0, 0.0, 1.0]], [[0.3, 0.5, 0.6, 0.5]])
    losses = net.losses([md.zeros(3, 50, 100)], [objects([[10, 10, 46, 42]], [2])])
    log_sum = np.log(np.exp(2) + 1 + np.exp(1))
    assert float(losses["loss_class"]) == pytest.approx(0.8 * (log_sum - 1))
    # Off by .2, .2, 0 and 3 tenths.
    assert float(losses["loss_box"]) == pytest.approx(0.2 * (0.04 + 0.04 + 9) / 4)


def test_of_several_objects_the_largest_is_learned():
    net = fixed([[0.0, 9.0, 0.0]], [[0.28, 0.52, 0.6, 0.8]])
    target = objects([[0, 0, 5, 5], [10, 10, 46, 42], [50, 0, 90, 8]], [0, 1, 2])
    losses = net.losses([md.zeros(3, 50, 100)], [target])
    assert float(losses["loss_class"]) < 1e-3
    assert float(losses["loss_box"]) < 1e-9


def test_pictures_without_objects_do_not_count():
    images = [md.zeros(3, 50, 100)] * 3
    target = objects([[10, 10, 46, 42]], [2])
    row, code = [2.0, 0.0, 1.0], [0.3, 0.5, 0.6, 0.5]
    alone = fixed([row], [code]).losses(images[:1], [target])
    some = fixed([[5.0, 1.0, 1.0], row, [0.0] * 3], [[0.1] * 4, code, [0.9] * 4])
    losses = some.losses(images, [objects([]), target, objects([])])
    for name, loss in alone.items():
        assert float(losses[name]) == pytest.approx(float(loss))
    none = some.losses(images, [objects([])] * 3)
    assert [float(loss) for loss in none.values()] == [0, 0]


def test_gradients_of_the_losses_are_right():
    images = [md.rand(3, 8, 8), md.rand(3, 10, 6), md.rand(3, 8, 8)]
    targets = [objects([[0.5, 1, 4.5, 3]], [2]), objects([[2, 3, 5, 9]], [1]), objects([])]
    assert_loss_gradients_are_right(narrow(), images, targets)


# -- predictions ---------------------------------------------------------------------------------


def test_one_object_is_found_in_each_picture_in_its_own_pixels():
    net = fixed([[0.0, np.log(3), 0.0], [1.0, 0.0, 0.0]], [[0.28, 0.52, 0.6, 0.8]] * 2)
    first, second = net.predict([md.zeros(3, 50, 100), md.zeros(3, 100, 50)])
    np.testing.assert_allclose(first["boxes"].data, [[10, 10, 46, 42]], rtol=1e-6)
    np.testing.assert_allclose(second["boxes"].data, [[5, 20, 23, 84]], rtol=1e-6)
    assert first["labels"].data.tolist() == [1]
    assert second["labels"].data.tolist() == [0]
    np.testing.assert_allclose(first["scores"].data, [0.6])  # 3 of 1 + 3 + 1


def test_the_first_guess_is_half_the_picture():
    net = narrow()
    (found,) = net.eval().predict([md.zeros(3, 8, 8)])
    np.testing.assert_allclose(found["boxes"].data, [[2, 2, 6, 6]], atol=0.5)


# -- backbones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classifier", "size", "width"),
    [
        (lambda: ResNetCIFAR(1, 10, width=4), (16, 16), 16),
        (lambda: VGG("A", 10, widths=(2, 2, 3, 3, 4), hidden=6, pooled=1), (32, 32), 6),
        (lambda: models.densenet_40_12(), (16, 16), 448),
        (lambda: models.vit_ti_16(), (224, 224), 192),
        (lambda: models.mobilenet_v2(), (32, 32), 1280),
    ],
    ids=["ResNetCIFAR", "VGG", "DenseNet", "VisionTransformer", "MobileNetV2"],
)
def test_any_classifier_that_ends_in_a_linear_layer_is_a_backbone(classifier, size, width):
    backbone, features = features_of(classifier())
    assert features == width
    net = Localizer(backbone, features, 4, size).eval()
    (found,) = net.predict([md.rand(3, *size)])
    assert found["boxes"].shape == (1, 4)


def test_a_classifier_without_linear_layer_is_refused():
    with pytest.raises(TypeError, match="last layer of SqueezeNet is ReLU, not Linear"):
        features_of(models.squeezenet1_1())


def test_the_networks_have_the_stated_sizes():
    with nn.init.skip_init():
        large = localization_resnet18()
    # ResNet-18 without its 512 x 1000 + 1000, and heads of 20 and 4.
    assert sum(p.numel() for p in large.parameters()) == 11_689_512 - 513_000 + 513 * 24
    assert sum(p.numel() for p in localization_small().parameters()) == 194_081


def test_pictures_of_one_channel_are_taken_as_they_are():
    net = localization_small(3, in_channels=1).eval()
    assert len(net.predict([md.rand(1, 64, 64)])) == 1


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_losses_and_predictions_on_a_gpu_are_those_of_the_cpu(device):
    images, targets = scenes(2, 16)
    assert_same_on(device, narrow(), [*images, md.rand(3, 9, 7)], [*targets, objects([])])


def test_bad_annotations_are_errors_that_name_the_picture():
    images = [md.rand(3, 8, 8)] * 2
    with pytest.raises(ValueError, match="Localizer: image 1"):
        narrow().losses(images, [objects([]), objects([[3, 3, 3, 6]])])
    with pytest.raises(ValueError, match="Localizer: image 0: labels"):
        narrow().losses(images, [objects([[1, 1, 3, 6]], [3]), objects([])])
    with pytest.raises(ValueError, match="Localizer: 2 images but 1 targets"):
        narrow().losses(images, [objects([])])


@pytest.mark.parametrize("name", odd_batches())
def test_odd_batches_are_legal(name):
    assert_robust(narrow(), *odd_batches()[name])


@pytest.mark.slow
def test_eight_objects_are_learned_by_heart():
    images, targets = scenes(8, objects=(1, 1))
    assert all(len(target["boxes"]) == 1 for target in targets)
    learned = overfit(localization_small(3), images, targets, steps=200)
    print(f"AP50 {learned.ap:.3f} after {learned.steps} steps")
    # One prediction a picture: each has the right class and an overlap of at least 0.5.
    assert learned.ap == 1
