"""minidl/data/folder.py: pictures of any kind come out upright, RGB, in [0, 1]."""

import numpy as np
import pytest
from PIL import Image

from minidl.data import DataLoader, ImageFolder, read_image
from minidl.data.transforms import RandomRotation


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    """Two classes, with what else lies about in such folders."""
    for name, count in (("dog", 3), ("cat", 2)):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for i in range(count):
            below = "deeper" if i == 1 else "."
            Image.fromarray(picture(6 + i, 8, i)).save(tmp_path / name / below / f"{i}.PNG")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "labels.csv").write_text("no folder")
    return tmp_path


def test_classes_are_the_sub_folders_in_alphabetical_order(root):
    data = ImageFolder(root)
    assert data.classes == ["cat", "dog"]
    assert data.class_to_idx == {"cat": 0, "dog": 1}
    found = [(path.relative_to(root).as_posix(), label) for path, label in data.samples]
    assert found == [
        ("cat/0.PNG", 0),
        ("cat/deeper/1.PNG", 0),
        ("dog/0.PNG", 1),
        ("dog/2.PNG", 1),
        ("dog/deeper/1.PNG", 1),
    ]
    image, label = data[3]
    assert (len(data), label, image.dtype) == (5, 1, np.float32)
    np.testing.assert_array_equal(image.data, picture(8, 8, 2).transpose(2, 0, 1) / np.float32(255))


def test_pictures_of_one_size_make_batches(root):
    loader = DataLoader(ImageFolder(root, size=(10, 12)), 5, shuffle=True, num_workers=2)
    ((images, labels),) = loader
    assert images.shape == (5, 3, 10, 12)
    assert sorted(labels.tolist()) == [0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="cannot be stacked"):
        list(DataLoader(ImageFolder(root), 5))


def test_random_transforms_of_pictures_follow_the_loaders_seed(root):
    data = ImageFolder(root, RandomRotation(40), size=(9, 9))

    def run(seed, workers):
        loader = DataLoader(data, 2, shuffle=True, seed=seed, num_workers=workers)
        return [images.data.tobytes() for _ in range(2) for images, _ in loader]

    assert run(1, 0) == run(1, 3) != run(2, 0)


def test_a_size_is_a_resize_or_a_middle_square(tmp_path):
    grey = np.zeros((40, 100, 3), np.uint8)
    grey[:, 30:70] = 200  # the middle 40 of 100 columns
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (3, 40, 100)
    assert read_image(tmp_path / "a.png", (7, 9)).shape == (3, 7, 9)
    for size in (20, 40, 61):
        square = read_image(tmp_path / "a.png", size)
        assert square.shape == (3, size, size)
        np.testing.assert_allclose(square[:, :, 2:-2], 200 / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK"])
def test_other_kinds_of_pictures_become_rgb(tmp_path, mode):
    path = tmp_path / f"picture.{'tiff' if mode == 'CMYK' else 'png'}"
    Image.fromarray(picture(5, 7)).convert(mode).save(path)
    image = read_image(path)
    assert (image.shape, image.dtype) == ((3, 5, 7), np.float32)
    assert image.flags.c_contiguous
    assert 0 <= image.min() < image.max() <= 1


def test_what_is_transparent_becomes_white(tmp_path):
    """Whatever colour the file has there: drawing programs leave black."""
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image[:, 0], np.zeros((3, 3)))
    assert np.array_equal(image[:, 1], np.ones((3, 3)))
    palette = Image.fromarray(pixels[:, :, 3]).convert("P")
    palette.save(tmp_path / "b.gif", transparency=palette.getpixel((0, 0)))
    assert read_image(tmp_path / "b.gif").max() == 1.0


def test_a_picture_that_a_camera_turned_is_turned_back(tmp_path):
    original = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = original.getexif()
    exif[0x0112] = 6  # orientation: the camera was turned by a quarter
    original.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (3, 6, 4)


def test_what_cannot_be_read_is_named(tmp_path):
    broken, text, deep = (tmp_path / name for name in ("broken.png", "text.png", "deep.png"))
    Image.fromarray(picture(50, 50)).save(broken)
    broken.write_bytes(broken.read_bytes()[:1000])
    text.write_text("no picture")
    Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4)).save(deep)
    for path in (broken, text):
        with pytest.raises(ValueError, match=f"{path} is not a picture that can be read"):
            read_image(path)
    with pytest.raises(ValueError, match=f"{deep} has more than 8 bits a channel"):
        read_image(deep)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "absent.png")


def test_a_folder_that_is_not_sorted_into_classes_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        ImageFolder(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="has no sub-folders"):
        ImageFolder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no pictures in .*empty"):
        ImageFolder(tmp_path)


@pytest.mark.data
def test_real_photographs_are_read(data_folder):
    data = ImageFolder(data_folder / "camvid", size=(90, 120))
    assert data.classes == ["train", "trainannot", "val", "valannot"]
    assert np.bincount([label for _, label in data.samples]).tolist() == [36, 36, 12, 12]
    images, _ = next(iter(DataLoader(data, 8, num_workers=2)))
    assert images.shape == (8, 3, 90, 120)
    assert 0.2 < images.data.mean() < 0.6
