"""minidl/data/segmentation.py: official layouts are read, and what is wrong with a file is said."""

import shutil

import numpy as np
import pytest
from PIL import Image

import minidl as md
from minidl.data import (
    CamVid,
    DataLoader,
    ImageMaskFolder,
    ISBIMembranes,
    VOCSegmentation,
    joint,
    median_frequency_weights,
    read_mask,
)

PICTURE = np.random.default_rng(0).integers(256, size=(6, 8, 3), dtype=np.uint8)


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(path)


def palette(labels):
    """As VOC keeps its class maps: numbers with a palette, here one that says nothing of them."""
    picture = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    picture.putpalette(list(range(255, -1, -1)) * 3)
    return picture


def labels_of(high, seed=0):
    return np.random.default_rng(seed).integers(high, size=(6, 8), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three pictures with class maps."""
    for name in ("10", "9", "frog"):
        save(tmp_path / "images" / f"{name}.png", PICTURE)
        save(tmp_path / "masks" / f"{name}.png", labels_of(3, len(name)))
    (tmp_path / "masks" / "notes.txt").write_text("no picture")
    return tmp_path


# -- class maps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bits", "black and white"])
def test_a_class_map_is_the_numbers_in_its_file(tmp_path, kind):
    labels = labels_of(2 if kind == "black and white" else 200)
    picture = {
        "grey": lambda: Image.fromarray(labels),
        "palette": lambda: palette(labels),
        "16 bits": lambda: Image.fromarray(labels.astype(np.uint16) * 300),
        "black and white": lambda: Image.fromarray(labels * 255).convert("1"),
    }[kind]()
    save(tmp_path / "m.png", picture)
    mask = read_mask(tmp_path / "m.png")
    assert mask.dtype == np.int64
    np.testing.assert_array_equal(mask, labels.astype(int) * (300 if kind == "16 bits" else 1))


def test_what_is_no_class_map_is_named(tmp_path):
    save(tmp_path / "colours.png", PICTURE)
    with pytest.raises(ValueError, match=r"colours.png has colours \(mode RGB\)"):
        read_mask(tmp_path / "colours.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match=r"text.png is not a picture"):
        read_mask(tmp_path / "text.png")
    save(
        tmp_path / "whole.png", np.random.default_rng(0).integers(9, size=(90, 90), dtype=np.uint8)
    )
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"half.png is not a picture that can be read"):
        read_mask(tmp_path / "half.png")
    with pytest.raises(FileNotFoundError, match=r"none.png"):
        read_mask(tmp_path / "none.png")


# -- folders --------------------------------------------------------------------------------------


def test_pictures_and_maps_are_paired_by_name_in_the_order_of_numbers(folder):
    data = ImageMaskFolder(folder, ["a", "b", "c"])
    assert [image.stem for image, _ in data.samples] == ["9", "10", "frog"]
    image, mask = data[2]
    assert (image.shape, image.dtype, mask.dtype) == ((3, 6, 8), np.float32, np.int64)
    np.testing.assert_array_equal(image.data, PICTURE.transpose(2, 0, 1) / np.float32(255))
    np.testing.assert_array_equal(mask.data, labels_of(3, 4))
    ((images, masks),) = DataLoader(data, 3, num_workers=2)
    assert (images.shape, masks.shape) == ((3, 3, 6, 8), (3, 6, 8))


def test_numbers_in_files_may_stand_for_other_classes(folder):
    values = {0: 2, 1: 0, 2: 1}
    data = ImageMaskFolder(folder, ["a", "b", "c"], values=values, grey=True)
    image, mask = data[0]
    assert image.shape == (1, 6, 8)
    np.testing.assert_array_equal(mask.data, np.array([2, 0, 1])[labels_of(3, 1)])


def test_a_picture_without_its_partner_is_named(folder):
    (folder / "masks" / "9.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"images.9.png has no partner .*masks \(1 of 3"):
        ImageMaskFolder(folder, ["a", "b", "c"])
    (folder / "images" / "9.png").unlink()
    (folder / "images" / "10.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"masks.10.png has no partner .*images \(1 of 2"):
        ImageMaskFolder(folder, ["a", "b", "c"])
    save(folder / "images" / "frog.bmp", PICTURE)
    with pytest.raises(ValueError, match=r"frog.bmp and .*frog.png have one name"):
        ImageMaskFolder(folder, ["a", "b", "c"])
    shutil.rmtree(folder / "images")
    with pytest.raises(FileNotFoundError, match=r"no folder .*images"):
        ImageMaskFolder(folder, ["a", "b", "c"])
    (folder / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no pictures in .*images"):
        ImageMaskFolder(folder, ["a", "b", "c"])


def test_a_file_that_does_not_fit_is_named(folder):
    save(folder / "masks" / "9.png", labels_of(3)[:4])
    data = ImageMaskFolder(folder, ["a", "b", "c"])
    with pytest.raises(
        ValueError, match=r"masks.9.png is 4 x 8 pixels .* its image .*images.9.png is 6 x 8"
    ):
        data[0]
    with pytest.raises(ValueError, match=r"10.png has pixels of number 2, which is no class"):
        ImageMaskFolder(folder, ["a", "b"])[1]
    ImageMaskFolder(folder, ["a", "b"], ignore_index=2)[1]
    content = (folder / "images" / "10.png").read_bytes()
    (folder / "images" / "10.png").write_bytes(content[:-40])
    with pytest.raises(ValueError, match=r"10.png is not a picture that can be read"):
        data[1]


def test_joint_transforms_are_applied_and_follow_the_loaders_seed(folder):
    crop = joint.RandomCrop(4)
    data = ImageMaskFolder(folder, ["a", "b", "c"], transform=crop)

    def run(seed, workers):
        loader = DataLoader(data, 3, seed=seed, num_workers=workers)
        return [part.data for batch in loader for part in batch]

    for one, other in zip(run(1, 0), run(1, 2), strict=True):
        np.testing.assert_array_equal(one, other)
    assert run(1, 0)[1].shape == (3, 4, 4)
    assert any(not np.array_equal(a, b) for a, b in zip(run(1, 0), run(2, 0), strict=True))


# -- official layouts -----------------------------------------------------------------------------


def test_voc_is_read_by_its_lists_with_the_numbers_of_its_palettes(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    labels = labels_of(21)
    labels[0, 0], labels[1, 1] = 255, 20
    for name in ("2007_000032", "2007_000039"):
        save(root / "JPEGImages" / f"{name}.jpg", PICTURE)
        save(root / "SegmentationClass" / f"{name}.png", palette(labels))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n")
    (lists / "trainval.txt").write_text("2007_000032\n2007_000039\n")
    assert len(VOCSegmentation(tmp_path)) == 1
    for place in (tmp_path, tmp_path / "VOCdevkit", root):
        data = VOCSegmentation(place, image_set="trainval")
        assert len(data) == 2
    image, mask = data[1]
    assert image.shape == (3, 6, 8)
    np.testing.assert_array_equal(mask.data, labels)
    assert (data.ignore_index, data.classes[20], len(data.classes)) == (255, "tvmonitor", 21)
    with pytest.raises(FileNotFoundError, match=r"there is no .*val.txt"):
        VOCSegmentation(tmp_path, image_set="val")
    with pytest.raises(FileNotFoundError, match="VOC2007"):
        VOCSegmentation(tmp_path, year="2007")
    (root / "SegmentationClass" / "2007_000039.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"trainval.txt names .*000039.png, not there"):
        VOCSegmentation(tmp_path, image_set="trainval")


def test_camvid_is_read_in_its_official_layout(tmp_path):
    for split in ("train", "val"):
        save(tmp_path / "CamVid" / split / "a.png", PICTURE)
        save(tmp_path / "CamVid" / f"{split}annot" / "a.png", labels_of(12))
    for root in (tmp_path, tmp_path / "CamVid"):
        assert len(CamVid(root, "val")) == 1
    np.testing.assert_array_equal(CamVid(tmp_path)[0][1].data, labels_of(12))
    with pytest.raises(FileNotFoundError, match=r"there is no .*test"):
        CamVid(tmp_path, "test")
    with pytest.raises(ValueError, match="split must be"):
        CamVid(tmp_path, "all")


def test_membranes_are_split_by_their_numbers(tmp_path):
    for i in range(8):
        save(tmp_path / "image" / f"{i + 5}.png", PICTURE[..., 0])
        save(tmp_path / "label" / f"{i + 5}.png", labels_of(2, i) * 255)
    train, test = ISBIMembranes(tmp_path), ISBIMembranes(tmp_path, train=False)
    assert [p.stem for p, _ in train.samples] == ["5", "6", "7", "8", "9", "10"]
    assert [p.stem for p, _ in test.samples] == ["11", "12"]
    image, mask = test[1]
    assert image.shape == (1, 6, 8)
    np.testing.assert_array_equal(mask.data, labels_of(2, 7))


@pytest.mark.data
def test_the_real_pictures_are_read(data_folder):
    for split, count in (("train", 36), ("val", 12)):
        data = CamVid(data_folder, split)
        image, mask = data[0]
        assert (len(data), image.shape, mask.shape) == (count, (3, 360, 480), (360, 480))
        assert set(np.unique(mask.data)) <= set(range(12))
    train, test = ISBIMembranes(data_folder), ISBIMembranes(data_folder, train=False)
    assert (len(train), len(test)) == (15, 5)
    images = np.stack([train[i][0].data for i in range(15)])
    assert images.shape == (15, 1, 512, 512)
    assert images.mean(dtype=float) == pytest.approx(train.mean, abs=1e-5)
    assert images.std(dtype=float) == pytest.approx(train.std, abs=1e-5)
    assert 0.7 < np.mean([train.mask(i).mean() for i in range(15)]) < 0.8  # mostly cell


# -- class weights --------------------------------------------------------------------------------


def test_rare_classes_weigh_by_the_median_frequency_over_their_own():
    masks = [
        np.array([[0, 0, 0, 1]]),  # class 0: 3 of 4, class 1: 1 of 4
        np.array([[0, 0, 255, 2]]),  # three labelled pixels
        np.array([[2, 2, 2, 2]]),
    ]
    # class 0: (3 + 2) / (4 + 3); class 1: 1 / 4; class 2: (1 + 4) / (3 + 4); class 3: never
    frequency = np.array([5 / 7, 1 / 4, 5 / 7])
    weights = median_frequency_weights(masks, 4)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.data, [*(5 / 7 / frequency), 0], rtol=1e-6)
    same = median_frequency_weights((md.tensor(m) for m in masks), 4)
    np.testing.assert_array_equal(same.data, weights.data)
    loss = md.nn.CrossEntropyLoss(weight=weights, ignore_index=255)
    assert np.isfinite(loss(md.zeros(1, 4, 1, 4), md.tensor(masks[1][None])).item())


def test_class_weights_of_a_data_set_are_those_of_its_files(folder):
    data = ImageMaskFolder(folder, ["a", "b", "c"], transform=joint.RandomCrop(2))
    files = [labels_of(3, n) for n in (1, 2, 4)]
    np.testing.assert_array_equal(
        median_frequency_weights(data, 3).data, median_frequency_weights(files, 3).data
    )


def test_labels_that_no_weight_can_be_given_to_are_refused():
    with pytest.raises(ValueError, match="class map 1 has labels 0 to 3; classes are 0 to 2"):
        median_frequency_weights([np.zeros((2, 2), int), np.array([[0, 3]])], 3)
    with pytest.raises(ValueError, match="no labelled pixel"):
        median_frequency_weights([np.full((2, 2), 255)], 3)
