import numpy as np
import pytest

import minidl as md
from minidl.models.detection.detector import Detector, PictureTransform, check_pictures

from ..torchvision_oracle import torchvision


def picture(height, width, channels=3):
    rng = np.random.default_rng(height * width)
    return md.tensor(rng.uniform(0, 1, (channels, height, width)).astype(np.float32))


def target(height, width, count=2):
    rng = np.random.default_rng(height + width)
    start = rng.uniform(0, 0.5, (count, 2)) * (width, height)
    boxes = np.concatenate([start, start + 0.4 * np.array([width, height])], axis=1)
    return {
        "boxes": md.tensor(boxes.astype(np.float32)),
        "labels": md.tensor(rng.integers(0, 4, count)),
        "masks": md.tensor(rng.uniform(0, 1, (count, height, width)) > 0.5),
        "keypoints": md.tensor(rng.uniform(0, 30, (count, 5, 3)).astype(np.float32)),
    }


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"min_size": 60, "max_size": 100}, {"min_size": 60, "max_size": 100}),
        ({"min_size": 90, "max_size": 100}, {"min_size": 90, "max_size": 100}),
        (
            {"fixed_size": (64, 80), "size_divisible": 1},
            {"min_size": 1, "max_size": 2, "fixed_size": (80, 64), "size_divisible": 1},
        ),
        (
            {"min_size": 50, "max_size": 90, "size_divisible": 16},
            {"min_size": 50, "max_size": 90, "size_divisible": 16},
        ),
    ],
)
def test_pictures_and_targets_are_resized_as_in_torchvision(options, theirs):
    import torch

    detection = torchvision().models.detection
    sizes = [(50, 83), (71, 40), (64, 64), (33, 97)]
    images = [picture(*size) for size in sizes]
    targets = [target(*size, count=k) for k, size in enumerate(sizes)]
    ours = PictureTransform(**options)
    mean, std = list(ours.image_mean), list(ours.image_std)
    twin = detection.transform.GeneralizedRCNNTransform(
        image_mean=mean, image_std=std, **theirs
    ).eval()
    batch, moved = ours(images, targets)
    expected, theirs_moved = twin(
        [torch.tensor(image.data) for image in images],
        [{name: torch.tensor(value.data) for name, value in t.items()} for t in targets],
    )
    # In float32 a place between pixels is known to 1e-5 of a pixel, and pixels differ by up to 4.
    np.testing.assert_allclose(batch.images.data, expected.tensors.numpy(), rtol=0, atol=5e-5)
    assert batch.images.dtype == np.float32
    assert batch.sizes == [tuple(size) for size in expected.image_sizes]
    assert batch.original_sizes == sizes
    for mine, their in zip(moved, theirs_moved, strict=True):
        assert mine.keys() == their.keys()
        for name, value in their.items():
            np.testing.assert_array_equal(mine[name].data, value.numpy(), err_msg=name)
        assert mine["masks"].dtype == np.bool_
    found = [{"boxes": t["boxes"], "keypoints": t["keypoints"]} for t in moved]
    back = ours.restore(found, batch.sizes, batch.original_sizes)
    their_back = twin.postprocess(
        [{name: t[name] for name in ("boxes", "keypoints")} for t in theirs_moved],
        expected.image_sizes,
        sizes,
    )
    for mine, their, given in zip(back, their_back, targets, strict=True):
        for name, value in their.items():
            np.testing.assert_array_equal(mine[name].data, value.numpy(), err_msg=name)
            np.testing.assert_allclose(mine[name].data, given[name].data, rtol=1e-5, atol=1e-4)


def test_targets_are_left_as_they_were():
    given = target(40, 50)
    before = {name: value.data.copy() for name, value in given.items()}
    PictureTransform(80, 200)([picture(40, 50)], [given])
    for name, value in before.items():
        np.testing.assert_array_equal(given[name].data, value)


def test_a_picture_of_the_right_size_is_only_normalised():
    transform = PictureTransform(32, 64, (0.5,), (0.25,))
    image = picture(32, 64, 1)
    batch, _ = transform([image])
    np.testing.assert_allclose(batch.images.data[0], (image.data - 0.5) / 0.25, rtol=1e-6)


def test_of_a_thin_picture_something_is_left():
    batch, moved = PictureTransform(100, 200)([picture(1, 1000)], [target(1, 1000)])
    assert batch.sizes == [(1, 200)]
    assert batch.images.shape == (1, 3, 32, 224)
    assert moved[0]["masks"].shape == (2, 1, 200)


def test_gradients_go_back_to_the_pictures():
    image = picture(20, 30)
    image.requires_grad_()
    batch, _ = PictureTransform(40, 100)([image])
    batch.images.sum().backward()
    # Each pixel of the enlarged picture counts once.
    np.testing.assert_allclose(
        image.grad.data.sum(axis=(1, 2)), 2400 / np.array([0.229, 0.224, 0.225]), rtol=1e-4
    )


def test_pictures_with_other_channels_need_other_means():
    with pytest.raises(ValueError, match="images have 1 channels, image_mean 3; give image_mean"):
        PictureTransform()([picture(9, 9, 1)])


def test_the_arguments_decide_what_is_computed_and_not_the_mode():
    class Fixed(Detector):
        def losses(self, images, targets):
            return {"loss": md.tensor(float(len(targets)))}

        def predict(self, images):
            return [{} for _ in images]

    detector = Fixed()
    for mode in (True, False):
        detector.train(mode)
        assert detector([picture(8, 8)]) == [{}]
        assert float(detector([picture(8, 8)], [{}])["loss"]) == 1.0


def test_images_in_one_tensor_are_a_list_of_images():
    images = check_pictures("fit", md.zeros(2, 3, 8, 9))
    assert [image.shape for image in images] == [(3, 8, 9)] * 2


def wrong(**changes):
    return [{**target(20, 30), **changes}]


@pytest.mark.parametrize(
    ("error", "images", "targets", "message"),
    [
        (ValueError, [], None, "no images"),
        (ValueError, md.zeros(3, 8, 8), None, r"must be \(N, C, H, W\) or a list, got \(3, 8, 8\)"),
        (ValueError, [md.zeros(8, 8)], None, r"image 0 must be \(C, H, W\).*got \(8, 8\)"),
        (ValueError, [md.zeros(3, 8, 8), md.zeros(1, 8, 8)], None, "image 1 must be"),
        (ValueError, [md.zeros(3, 0, 8)], None, "with pixels"),
        (TypeError, [np.zeros((3, 8, 8))], None, "image 0 must be a Tensor of floats.*ndarray"),
        (TypeError, [md.zeros(3, 8, 8, dtype=np.uint8)], None, "of floats in .0, 1., got uint8"),
        (ValueError, [picture(20, 30)], [], "1 images but 0 targets"),
        (TypeError, [picture(20, 30)], [None], "image 0: its target must be a dictionary"),
        (TypeError, [picture(20, 30)], wrong(labels=[1, 2]), "dictionary with 'labels'"),
        (ValueError, [picture(20, 30)], wrong(boxes=md.zeros(2, 5)), r"must be \(R, 4\), got"),
        (TypeError, [picture(20, 30)], wrong(boxes=md.tensor([[0, 0, 2, 2]])), "must be floats"),
        (TypeError, [picture(20, 30)], wrong(labels=md.zeros(2)), "labels integers, got"),
        (ValueError, [picture(20, 30)], wrong(labels=md.tensor([1])), "2 boxes need labels"),
        (
            ValueError,
            [picture(20, 30)],
            wrong(boxes=md.tensor([[0.0, 0, 2, 2], [5, 5, 5, 9]])),
            r"image 0: boxes \(2, 4\): box 1, \(5.0, 5.0, 5.0, 9.0\), has no area",
        ),
        (
            ValueError,
            [picture(20, 30)],
            wrong(boxes=md.tensor([[0.0, 0, float("nan"), 2], [5, 5, 6, 9]])),
            "box 0, .* has a NaN",
        ),
        (
            ValueError,
            [picture(20, 30)],
            wrong(labels=md.tensor([0, 4])),
            "image 0: labels.*0 and 3",
        ),
        (ValueError, [picture(20, 30)], wrong(labels=md.tensor([-1, 0])), "image 0: labels"),
        (ValueError, [picture(20, 30)], wrong(masks=md.zeros(2, 30, 20)), r"must be \(2, 20, 30\)"),
        (ValueError, [picture(20, 30)], wrong(keypoints=md.zeros(1, 5, 3)), r"\(2, K, 3\), got"),
        (TypeError, [picture(20, 30)], wrong(keypoints=None), "dictionary with 'keypoints'"),
    ],
)
def test_what_is_wrong_with_an_annotation_is_said(error, images, targets, message):
    with pytest.raises(error, match=f"fit: .*{message}"):
        check_pictures("fit", images, targets, 4, ("masks", "keypoints"))


def test_pictures_without_objects_are_legal():
    check_pictures("fit", [picture(20, 30)], [target(20, 30, 0)], 4, ("masks", "keypoints"))


def test_without_a_number_of_classes_any_label_from_0_is_legal():
    check_pictures("fit", [picture(20, 30)], wrong(labels=md.tensor([0, 1000])))
