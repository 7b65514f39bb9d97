"""minidl/data/mnist.py: the official files are read right, and nothing else is taken for them."""

import gzip
import hashlib
import io
import re
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minidl.data import KMNIST, MNIST, DataLoader, Digits, FashionMNIST, digits
from minidl.data.mnist import IDX_TYPES, read_idx

FAMILY = [MNIST, FashionMNIST, KMNIST]
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def idx(array, code=0x08):
    sizes = struct.pack(f">{array.ndim}i", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(IDX_TYPES[code]).tobytes()


def pictures(count=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(count, 28, 28), dtype=np.uint8), np.arange(count) % 10


def official(folder, count=6, part="train", pack=gzip.compress, seed=0):
    """Two files of the official layout."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = pictures(count, seed)
    ending = ".gz" if pack is gzip.compress else ""
    (folder / f"{part}-images-idx3-ubyte{ending}").write_bytes(pack(idx(images)))
    (folder / f"{part}-labels-idx1-ubyte{ending}").write_bytes(pack(idx(labels)))
    return images, labels


# -- the IDX format -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(IDX_TYPES))
def test_every_type_of_idx_file_is_read_in_this_machines_byte_order(tmp_path, code):
    values = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "file").write_bytes(idx(values, code))
    found = read_idx(tmp_path / "file")
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(IDX_TYPES[code]).newbyteorder("=")
    assert found.dtype.isnative


def damages():
    whole = idx(pictures()[0])
    packed = gzip.compress(whole)
    return {
        "packed and cut off": (packed[: len(packed) // 2], "damaged"),
        "packed with a flipped bit": (
            packed[:200] + bytes([packed[200] ^ 1]) + packed[201:],
            "damaged",
        ),
        "cut off": (
            whole[:-1],
            r"has 4719 bytes unpacked, but states a shape \(6, 28, 28\), .* 4720",
        ),
        "too long": (whole + b"\0", "has 4721 bytes unpacked"),
        "wrong magic": (b"\1\2\3\4" + whole[4:], "not an IDX file: it begins with 01 02 03 04"),
        "an unknown type": (b"\0\0\7\3" + whole[4:], "not an IDX file"),
        "a web page": (b"<html>404", "not an IDX file"),
        "empty": (b"", "not an IDX file"),
        "only the beginning": (whole[:9], "has 9 bytes unpacked"),
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, damage):
    content, message = damages()[damage]
    path = tmp_path / "bad.idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


# -- the readers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("place", [".", "{lower}", "{name}/raw"])
def test_a_reader_finds_packed_and_unpacked_files_in_three_places(tmp_path, kind, place):
    folder = tmp_path / place.format(lower=kind.__name__.lower(), name=kind.__name__)
    images, labels = official(folder, 6)
    official(folder, 4, "t10k", pack=bytes)
    data = kind(tmp_path)
    assert (len(data), len(kind(str(tmp_path), train=False))) == (6, 4)
    np.testing.assert_array_equal(data.images, images[:, None])
    np.testing.assert_array_equal(data.labels, labels)
    image, label = data[3]
    assert (image.shape, image.dtype, label) == ((1, 28, 28), np.float32, 3)
    np.testing.assert_array_equal(image.data[0], images[3] / np.float32(255))
    assert len(data.classes) == 10
    assert repr(data) == f"{kind.__name__}('{tmp_path}', train=True)"


def test_data_sets_of_one_root_are_not_mixed_up(tmp_path):
    official(tmp_path, 2)
    official(tmp_path / "FashionMNIST" / "raw", 3)
    official(tmp_path / "KMNIST" / "raw", 4)
    assert [len(kind(tmp_path)) for kind in FAMILY] == [2, 3, 4]


def test_a_transform_sees_whole_batches(tmp_path):
    official(tmp_path)
    shapes = []

    def transform(batch, rng):
        shapes.append(batch.shape)
        return batch

    assert len(list(DataLoader(MNIST(tmp_path, transform=transform), 4))) == 2
    assert shapes == [(4, 1, 28, 28), (2, 1, 28, 28)]


def test_a_missing_file_is_an_error_that_says_which_and_where_to(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        KMNIST(tmp_path, train=False)
    message = str(caught.value)
    for part in ("no t10k-images-idx3-ubyte.gz", "KMNIST/raw", "download=True", KMNIST.mirrors[0]):
        assert part in message


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    images, labels = official(tmp_path)
    for name, content, message in [
        (LABELS, labels[:5], r"labels of shape \(5,\) for 6 images"),
        (LABELS, labels + 5, "has a label 10, classes are 0 to 9"),
        (IMAGES, labels, r"does not hold images, but uint8 \(6,\)"),
    ]:
        official(tmp_path)
        (tmp_path / name).write_bytes(gzip.compress(idx(content)))
        with pytest.raises(ValueError, match=message) as caught:
            MNIST(tmp_path)
        assert name in str(caught.value)
    assert len(images) == 6


@pytest.mark.parametrize("kind", FAMILY)
def test_missing_files_are_downloaded_and_checked(tmp_path, server, monkeypatch, kind):
    official(tmp_path / "source")
    served = {p.name: p.read_bytes() for p in (tmp_path / "source").iterdir()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in served.items()}
    server.files = served
    monkeypatch.setattr(kind, "mirrors", (server.url + "gone/", server.url))
    monkeypatch.setattr(kind, "md5", sums)
    root = tmp_path / "root"
    assert len(kind(root, download=True)) == 6
    assert sorted(p.name for p in (root / kind.__name__ / "raw").iterdir()) == sorted(served)
    asked = len(server.asked)
    assert len(kind(root, download=True)) == 6
    assert len(server.asked) == asked, "what is there is not fetched again"

    (root / kind.__name__ / "raw" / LABELS).unlink()
    monkeypatch.setattr(kind, "md5", {**sums, LABELS: "0" * 32})
    with pytest.raises(ConnectionError, match=f"could not download {LABELS}(?s:.*)with checksum"):
        kind(root, download=True)


def test_the_official_checksums_are_of_all_four_files():
    names = {IMAGES, LABELS, IMAGES.replace("train", "t10k"), LABELS.replace("train", "t10k")}
    for kind in FAMILY:
        assert set(kind.md5) == names
        assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in kind.md5.values())
    assert len({md5 for kind in FAMILY for md5 in kind.md5.values()}) == 12


@pytest.mark.data
def test_the_whole_of_mnist_is_read(data_folder):
    train, test = MNIST(data_folder / "mnist"), MNIST(data_folder / "mnist", train=False)
    assert (len(train), len(test)) == (60_000, 10_000)
    # LeCun's page and any other reader: labels begin 5 0 4 1 9 and 7 2 1 0 4.
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    pixels = train.images / np.float64(255)
    # The figures in general use, 0.1307 and 0.3081, with more digits.
    assert abs(pixels.mean() - 0.1306604762738) < 1e-9
    assert abs(pixels.std(ddof=1) - 0.3081078071788) < 1e-9
    assert (round(pixels.mean(), 5), round(pixels.std(), 5)) == (MNIST.mean, MNIST.std)
    images, labels = next(iter(DataLoader(test, 10_000, num_workers=1)))
    np.testing.assert_array_equal(labels.data, test.labels)
    np.testing.assert_array_equal(np.rint(images.data * 255), test.images)


@pytest.mark.data
def test_the_content_of_mnist_is_the_official_one(data_folder):
    """MD5 of the unpacked files, since the same content can be packed in several ways."""
    sums = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    for name, expected in sums.items():
        content = gzip.decompress((data_folder / "mnist" / f"{name}.gz").read_bytes())
        assert hashlib.md5(content).hexdigest() == expected


# -- the digits that come with minidl -------------------------------------------------------------


def test_the_digits_are_4000_and_1000_with_each_class_alike():
    train, test = digits(), digits(train=False)
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    for data in (train, test):
        assert data.images.shape == (len(data), 1, 28, 28)
        assert data.images.dtype == np.uint8
        assert data.labels.dtype == np.int64
        assert len(np.unique(data.labels[:100])) == 10, "classes come mixed"
        image, label = data[0]
        assert (image.shape, image.dtype, type(label)) == ((1, 28, 28), np.float32, int)
        assert image.data.min() == 0
        assert 0.9 < image.data.max() <= 1
    both = np.concatenate([train.images, test.images])
    assert len({image.tobytes() for image in both}) == 5000, "no digit is in both parts"
    pixels = train.images / np.float64(255)
    assert (round(pixels.mean(), 5), round(pixels.std(), 5)) == (Digits.mean, Digits.std)
    assert repr(test) == "Digits(train=False)"


def test_the_digits_load_in_an_instant_from_a_small_file():
    start = time.perf_counter()
    Digits()
    assert time.perf_counter() - start < 0.3
    folder = Path(digits.__code__.co_filename).with_name("digits")
    assert (folder / "digits.npz").stat().st_size < 900_000
    assert "CC BY-SA 3.0" in (folder / "README.md").read_text()


@pytest.mark.data
def test_the_program_in_the_readme_makes_the_digits_again(data_folder, tmp_path, monkeypatch):
    folder = Path(digits.__code__.co_filename).with_name("digits")
    program = re.search("```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["build", str(data_folder / "mnist_5k.csv.gz")])
    exec(compile(program, "README.md", "exec"), {})
    with np.load(tmp_path / "digits.npz") as made, np.load(folder / "digits.npz") as shipped:
        assert sorted(made) == sorted(shipped)
        for name in made:
            np.testing.assert_array_equal(made[name], shipped[name])
    with zipfile.ZipFile(io.BytesIO((folder / "digits.npz").read_bytes())) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


@pytest.mark.data
def test_the_digits_are_the_first_500_of_each_class_of_mnists_training_set(data_folder):
    mnist = MNIST(data_folder / "mnist")
    first = np.concatenate([np.flatnonzero(mnist.labels == c)[:500] for c in range(10)])
    official_ones = {mnist.images[i].tobytes(): mnist.labels[i] for i in first}
    for data in (Digits(True), Digits(False)):
        assert [official_ones[image.tobytes()] for image in data.images] == data.labels.tolist()
