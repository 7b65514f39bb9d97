"""minidl/data/objects.py: samples of detection data sets, and what happens to bad boxes."""

import numpy as np
import pytest
from PIL import Image

import minidl as md
from minidl import masks
from minidl.data import DataLoader, list_collate
from minidl.data.joint import RandomHorizontalFlip
from minidl.data.objects import Annotated, ObjectImages, Problems, picture_size, stacked

SIZE = (60, 80)  # H, W


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 20, 10, 30), "no area"),
        ((10, 20, 30, 10), "no area"),
        ((10, 20, 10 + 1e-9, 30), "no area"),
        ((80.5, 20, 81, 30), "outside the image"),
        ((-5, 20, 10, 30), "outside the image"),
        ((0, 0, 82, 60), "outside the image"),
        ((0, 0, 80, float("nan")), "not finite"),
        ((0, 0, float("inf"), 60), "not finite"),
    ],
)
def test_a_bad_box_is_an_error_or_counted(box, reason):
    with pytest.raises(ValueError, match=rf"Set: file.xml, object 3: {reason}: .*of 80 x 60.*drop"):
        Problems("Set", "error").box("file.xml, object 3", box, SIZE)
    problems = Problems("Set", "drop")
    assert problems.box("there", box, SIZE) is None
    assert problems.box("there", box, SIZE) is None
    assert problems.dropped == {reason: 2}


def test_a_good_box_stays_as_it_is_and_rounding_is_cut_off():
    problems = Problems("Set", "error")
    for box, expected in (
        ((0, 0, 80, 60), (0, 0, 80, 60)),
        ((3.25, 4.5, 4.25, 5.5), (3.25, 4.5, 4.25, 5.5)),
        ((-0.4, -0.9, 80.9, 60.01), (0, 0, 80, 60)),
        ((79, 59, 80, 60), (79, 59, 80, 60)),
    ):
        got = problems.box("there", box, SIZE)
        assert got.dtype == np.float32
        assert got.tolist() == list(expected)


def test_an_unknown_way_to_treat_bad_boxes_is_told():
    with pytest.raises(ValueError, match="Set: invalid must be 'error' or 'drop', got 'ignore'"):
        Problems("Set", "ignore")


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    samples = []
    for number, size in enumerate([(20, 30), (24, 18)]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8)).save(path)
        boxes = stacked([[2, 3, 8, 9]] * number, (4,), np.float32)
        outlines = [lambda: masks.from_polygons([[2, 3, 8, 3, 8, 9, 2, 9]], (24, 18))] * number
        labels = stacked([1] * number, (), np.int64)
        more = {"difficult": stacked([1] * number, (), np.int64)}
        samples.append(Annotated(path, f"name {number}", size, boxes, labels, more, outlines))
    return ObjectImages(samples, ["cat", "dog"], None, {"no area": 3})


def test_samples_have_the_form_that_detectors_take(dataset):
    assert len(dataset) == 2
    assert dataset.class_to_idx == {"cat": 0, "dog": 1}
    assert repr(dataset) == "ObjectImages: 2 images, 2 classes, dropped: 3 no area"
    for number, size in enumerate([(20, 30), (24, 18)]):
        image, target = dataset[number]
        assert image.shape == (3, *size)
        assert image.dtype == md.float32
        assert target["boxes"].shape == (number, 4)
        assert target["boxes"].dtype == md.float32
        assert target["labels"].shape == target["difficult"].shape == (number,)
        assert target["labels"].dtype == md.int64
        assert target["masks"].shape == (number, *size)
        assert target["masks"].dtype == md.bool
        assert target["image_id"] == f"name {number}"
    assert target["masks"].data[0, 3:9, 2:8].all()
    assert target["masks"].data.sum() == 36


def test_samples_are_transformed_and_the_data_set_stays_as_it_was(dataset):
    dataset.transform = RandomHorizontalFlip(p=1.0)
    for _ in range(2):
        _, target = dataset[1]
        assert target["boxes"].data.tolist() == [[10, 3, 16, 9]]
        assert target["masks"].data[0, 3:9, 10:16].all()
    assert dataset.samples[1].boxes.tolist() == [[2, 3, 8, 9]]


def test_a_loader_makes_lists_of_them(dataset):
    loader = DataLoader(dataset, batch_size=2, collate_fn=list_collate, num_workers=1)
    ((images, targets),) = loader
    assert [image.shape for image in images] == [(3, 20, 30), (3, 24, 18)]
    assert [len(target["labels"]) for target in targets] == [0, 1]


def test_a_picture_of_another_size_is_told(dataset):
    dataset.samples[0].size = (30, 20)
    with pytest.raises(ValueError, match=r"0.png has 30 x 20 pixels, its annotation is of 20 x 30"):
        dataset[0]


def test_the_size_of_a_picture_is_that_of_the_upright_one(tmp_path):
    picture = Image.new("RGB", (30, 20))
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(tmp_path / "plain.jpg")
    picture.save(tmp_path / "turned.jpg", exif=turned)
    assert picture_size(tmp_path / "plain.jpg") == (20, 30)
    assert picture_size(tmp_path / "turned.jpg") == (30, 20)
    (tmp_path / "no.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"no.jpg is not a picture"):
        picture_size(tmp_path / "no.jpg")
    with pytest.raises(FileNotFoundError):
        picture_size(tmp_path / "nowhere.jpg")
