"""minidl/data/yolo.py: boxes of YOLO's text files, and what happens to broken ones."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl.data import YOLODetection, write_yolo


@pytest.fixture
def root(tmp_path):
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (40, 20)).save(tmp_path / f"images/train/{name}.png")
    (tmp_path / "labels/train/a.txt").write_text("1 0.5 0.5 0.5 0.5\n\n0 0.1 0.2 0.2 0.4\n")
    (tmp_path / "labels/train/b.txt").write_text("")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    return tmp_path


def test_shares_become_pixels(root):
    dataset = YOLODetection(root)
    assert dataset.classes == ["cat", "dog"]
    image, target = dataset[0]
    assert image.shape == (3, 20, 40)
    np.testing.assert_allclose(target["boxes"].data, [[10, 5, 30, 15], [0, 0, 8, 8]], atol=1e-5)
    assert target["labels"].data.tolist() == [1, 0]
    assert target["image_id"] == "a"
    assert dataset[0][1]["boxes"].data.tolist() == target["boxes"].data.tolist()


def test_pictures_without_a_file_or_lines_have_no_objects(root):
    dataset = YOLODetection(root)
    assert len(dataset) == 3
    assert [dataset[i][1]["boxes"].shape for i in (1, 2)] == [(0, 4), (0, 4)]
    assert dataset.dropped == {}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 0.5 0.5 0.5 0.5", "unknown class"),
        ("-1 0.5 0.5 0.5 0.5", "unknown class"),
        ("0.5 0.5 0.5 0.5 0.5", "unknown class"),
        ("1 0.5 0.5 0.5", "no box"),
        ("1 0.5 0.5 0.5 0.5 0.9", "no box"),
        ("dog 0.5 0.5 0.5 0.5", "no box"),
        ("1 0.5 0.5 0 0.5", "no area"),
        ("1 0.5 0.5 0.5 -0.5", "no area"),
        ("1 0.9 0.5 0.5 0.5", "outside the image"),
        ("1 20 5 8 8", "outside the image"),
        ("1 nan 0.5 0.5 0.5", "not finite"),
    ],
)
def test_a_bad_line_is_an_error_or_dropped(root, line, reason):
    with (root / "labels/train/a.txt").open("a") as file:
        file.write(line)
    with pytest.raises(ValueError, match=rf"a.txt, line 4: {reason}"):
        YOLODetection(root)
    dataset = YOLODetection(root, invalid="drop")
    assert dataset.dropped == {reason: 1}
    assert len(dataset[0][1]["labels"]) == 2


def test_rounding_beyond_the_border_is_cut_off(root):
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 1.001 1.0")
    boxes = YOLODetection(root)[0][1]["boxes"].data
    assert boxes.tolist() == [[0, 0, 40, 20]]


def test_a_missing_picture_is_an_error_or_dropped(root):
    (root / "labels/train/d.txt").write_text("0 0.5 0.5 0.5 0.5")
    with pytest.raises(ValueError, match=r"d.txt: missing image: no picture d in"):
        YOLODetection(root)
    assert YOLODetection(root, invalid="drop").dropped == {"missing image": 1}


def test_missing_folders_and_names_are_told(root):
    with pytest.raises(FileNotFoundError, match=r"no folder .*val"):
        YOLODetection(root, "val")
    (root / "classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*classes.txt; or give `classes`"):
        YOLODetection(root)
    assert YOLODetection(root, classes=["a", "b"]).classes == ["a", "b"]
    for picture in (root / "images/train").iterdir():
        picture.unlink()
    with pytest.raises(FileNotFoundError, match="no pictures in"):
        YOLODetection(root, classes=["a"])


corner = st.integers(0, 30)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(corner, corner, st.integers(1, 10), st.integers(1, 10)), max_size=4))
def test_what_is_written_is_read_again(root, rows):
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in rows], float).reshape(-1, 4)
    labels = np.arange(len(rows)) % 2
    Image.new("RGB", (40, 41)).save(root / "images/train/a.png")
    write_yolo(root / "labels/train/a.txt", boxes, labels, (41, 40))
    target = YOLODetection(root)[0][1]
    np.testing.assert_allclose(target["boxes"].data, boxes, rtol=0, atol=1e-4)
    assert target["labels"].data.tolist() == labels.tolist()


def test_boxes_and_labels_that_do_not_fit_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"write_yolo: needs boxes \(R, 4\).*\(2, 4\), \(1,\)"):
        write_yolo(tmp_path / "a.txt", np.ones((2, 4)), np.ones(1), (5, 5))
