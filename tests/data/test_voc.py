"""minidl/data/voc.py: boxes of VOC's xml files, and what happens to broken ones."""

import numpy as np
import pytest
from PIL import Image

from minidl.data import VOCDetection, VOCSegmentation
from minidl.data.voc import read_xml

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin>
<ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>
</part></object>"""


def thing(*box, name="dog", difficult=0):
    return OBJECT.format(*box, name=name, difficult=difficult)


def annotation(*objects, size="<size><width>40</width><height>30</height></size>"):
    return f"<annotation><filename>x.jpg</filename>{size}{''.join(objects)}</annotation>"


@pytest.fixture
def write(tmp_path):
    """Write a data set of these xml files; returns its folder."""

    def make(*files, pictures=True):
        root = tmp_path / "VOCdevkit" / "VOC2007"
        for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (root / folder).mkdir(parents=True)
        for number, content in enumerate(files):
            if content is not None:
                (root / "Annotations" / f"{number}.xml").write_bytes(
                    content if isinstance(content, bytes) else content.encode()
                )
            if pictures:
                Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{number}.jpg")
        names = "".join(f"{number}\n" for number in range(len(files)))
        (root / "ImageSets/Main/train.txt").write_text(names)
        return tmp_path

    return make


def test_boxes_counted_from_one_become_half_open(write):
    root = write(annotation(thing(1, 1, 40, 30), thing(5, 6, 5, 6, name="cat", difficult=1)))
    dataset = VOCDetection(root, "2007")
    image, target = dataset[0]
    assert image.shape == (3, 30, 40)
    assert target["boxes"].data.tolist() == [[0, 0, 40, 30], [4, 5, 5, 6]]
    assert target["boxes"].dtype == np.float32
    assert [dataset.classes[i] for i in target["labels"].data] == ["dog", "cat"]
    assert target["difficult"].data.tolist() == [0, 1]
    assert target["image_id"] == "0"
    assert dataset.dropped == {}


def test_corners_from_zero_stay_as_they_are(write):
    dataset = VOCDetection(write(annotation(thing(0, 2.5, 40, 30))), "2007", inclusive=False)
    assert dataset[0][1]["boxes"].data.tolist() == [[0, 2.5, 40, 30]]


def test_classes_are_those_of_the_segmentations_without_background(write):
    dataset = VOCDetection(write(annotation()), "2007")
    assert len(dataset.classes) == 20
    assert ["background", *dataset.classes] == list(VOCSegmentation.class_names)
    assert dataset[0][1]["boxes"].shape == (0, 4)


def test_every_folder_of_the_layout_can_be_the_root(write):
    root = write(annotation(thing(1, 1, 9, 9)))
    for place in (root, root / "VOCdevkit", root / "VOCdevkit" / "VOC2007"):
        assert len(VOCDetection(place, "2007")) == 1


def test_difficult_objects_can_be_left_out(write):
    root = write(annotation(thing(1, 1, 9, 9, difficult=1), thing(2, 2, 9, 9)))
    dataset = VOCDetection(root, "2007", keep_difficult=False)
    assert dataset[0][1]["boxes"].data.tolist() == [[1, 1, 9, 9]]
    assert dataset.dropped == {}


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_the_file_lacks_is_that_of_the_picture(write, size):
    root = write(annotation(thing(1, 1, 40, 30), size=size))
    assert VOCDetection(root, "2007").samples[0].size == (30, 40)


@pytest.mark.parametrize(
    ("bad", "reason", "message"),
    [
        (thing(9, 9, 8, 20), "no area", r"1.xml, object 1 \(dog\): no area: box \(8, 8, 8, 20\)"),
        (thing(50, 1, 60, 9), "outside the image", r"object 1 .*outside the image.*of 40 x 30"),
        (thing("nan", 1, 9, 9), "not finite", r"object 1 \(dog\): not finite"),
        (thing("x", 1, 9, 9), "no box", r"object 1 \(dog\): no box: bndbox/xmin is 'x'"),
        ("<object><name>dog</name></object>", "no box", "bndbox/xmin is None, not a number"),
        (thing(1, 1, 9, 9, name="dgo"), "unknown class", r"\(dgo\): unknown class: 'dgo' is none"),
    ],
)
def test_a_bad_object_is_an_error_or_dropped(write, bad, reason, message):
    good = thing(2, 2, 9, 9)
    root = write(annotation(good), annotation(good, bad, good))
    with pytest.raises(ValueError, match=message):
        VOCDetection(root, "2007")
    dataset = VOCDetection(root, "2007", invalid="drop")
    assert dataset.dropped == {reason: 1}
    assert [len(sample.labels) for sample in dataset.samples] == [1, 2]


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>"""


@pytest.mark.parametrize(
    ("content", "reason", "message"),
    [
        (annotation(thing(1, 1, 9, 9))[:-20], "broken annotation", "1.xml: .*not xml, or cut off"),
        ("", "broken annotation", "not xml, or cut off"),
        (BOMB, "broken annotation", "1.xml: .*has a document type"),
        (BOMB.encode("utf-16"), "broken annotation", "has a document type"),
        (None, "missing annotation", "1.xml: .*no such file"),
    ],
)
def test_a_bad_file_is_an_error_or_dropped(write, content, reason, message):
    root = write(annotation(thing(1, 1, 9, 9)), content)
    with pytest.raises(ValueError, match=message):
        VOCDetection(root, "2007")
    dataset = VOCDetection(root, "2007", invalid="drop")
    assert len(dataset) == 1
    assert dataset.dropped == {reason: 1}


def test_a_missing_picture_is_an_error_or_dropped(write):
    root = write(annotation(), pictures=False)
    with pytest.raises(ValueError, match=r"missing image: there is no .*JPEGImages/0.jpg"):
        VOCDetection(root, "2007")
    assert VOCDetection(root, "2007", invalid="drop").dropped == {"missing image": 1}


def test_a_missing_folder_or_list_is_told(write):
    root = write(annotation())
    with pytest.raises(FileNotFoundError, match=r"no folder JPEGImages in .*VOC2012"):
        VOCDetection(root, "2012")
    with pytest.raises(FileNotFoundError, match=r"there is no .*test.txt"):
        VOCDetection(root, "2007", "test")


def test_xml_with_entities_of_its_own_is_read(tmp_path):
    (tmp_path / "a.xml").write_text("<a><b>x &amp; y</b></a>")
    assert read_xml(tmp_path / "a.xml").findtext("b") == "x & y"


# -- real files ------------------------------------------------------------------------------------

CELLS = ["RBC", "WBC", "Platelets"]


@pytest.mark.data
def test_blood_cells_are_read_with_their_two_boxes_without_area(data_folder):
    root = data_folder / "bccd"
    with pytest.raises(ValueError, match=r"BloodImage_00338.xml, object 12 \(RBC\): no area"):
        VOCDetection(root, image_set="trainval", classes=CELLS, inclusive=False)
    dataset = VOCDetection(
        root, image_set="trainval", classes=CELLS, inclusive=False, invalid="drop"
    )
    assert dataset.dropped == {"no area": 2}
    assert len(dataset) == 292
    counts = np.bincount(np.concatenate([sample.labels for sample in dataset.samples]))
    assert dict(zip(CELLS, counts.tolist(), strict=True)) == {
        "RBC": 3348,
        "WBC": 301,
        "Platelets": 292,
    }
    image, target = dataset[0]
    assert image.shape == (3, 480, 640)
    assert target["boxes"].data[0].tolist() == [260, 177, 491, 376]
    parts = [
        VOCDetection(root, image_set=s, classes=CELLS, invalid="drop") for s in ("train", "val")
    ]
    assert [len(part) for part in parts] == [205, 87]
