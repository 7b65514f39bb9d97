"""minidl/data/cifar.py: the official binary files are read right, and no others."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from minidl.data import CIFAR10, DataLoader
from minidl.data.cifar import ARCHIVE, FOLDER, RECORD, RECORDS


def batch_file(seed):
    """Content of an official file: random labels, and images that are cheap to make and to pack."""
    records = np.zeros((RECORDS, RECORD), np.uint8)
    records[:, 0] = np.random.default_rng(seed).integers(10, size=RECORDS)
    records[:, 1:5] = np.random.default_rng(seed).integers(256, size=(RECORDS, 4))
    records[:, -1] = seed
    return records


def archive_of(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("place", [".", FOLDER, "cifar10"])
def test_files_are_found_in_three_places_and_their_records_taken_apart(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    second, fifth = batch_file(2), batch_file(5)
    second.tofile(tmp_path / place / "data_batch_2.bin")
    fifth.tofile(tmp_path / place / "data_batch_5.bin")
    data = CIFAR10(tmp_path, batches=(5, 2))
    assert len(data) == 20_000
    assert data.images.shape == (20_000, 3, 32, 32)
    np.testing.assert_array_equal(data.labels[:RECORDS], fifth[:, 0])
    np.testing.assert_array_equal(data.labels[RECORDS:], second[:, 0])
    # Red first, row by row; blue last.
    np.testing.assert_array_equal(data.images[7, 0, 0, :4], fifth[7, 1:5])
    assert (data.images[7, 2, 31, 31], data.images[-1, 2, 31, 31]) == (5, 2)
    image, label = data[RECORDS]
    assert (image.shape, image.dtype, label) == ((3, 32, 32), np.float32, second[0, 0])
    assert data.classes[3] == "cat"
    assert repr(data) == f"CIFAR10('{tmp_path}', train=True, batches=(5, 2))"


def test_a_missing_file_is_an_error_that_says_which_and_where_to(tmp_path):
    batch_file(1).tofile(tmp_path / "data_batch_1.bin")
    with pytest.raises(FileNotFoundError) as caught:
        CIFAR10(tmp_path)
    message = str(caught.value)
    for part in ("no data_batch_2.bin", "download=True", ARCHIVE, str(tmp_path), "batches=(1,)"):
        assert part in message
    with pytest.raises(FileNotFoundError, match=r"no test_batch\.bin"):
        CIFAR10(tmp_path, train=False)


@pytest.mark.parametrize("batches", [(), (0,), (1, 6)])
def test_batches_are_some_of_the_five(tmp_path, batches):
    with pytest.raises(ValueError, match="batches are some of 1 to 5"):
        CIFAR10(tmp_path, batches=batches)


def test_a_file_of_another_size_or_with_other_labels_is_refused(tmp_path):
    path = tmp_path / "test_batch.bin"
    path.write_bytes(b"\0" * (RECORD * RECORDS - RECORD))
    with pytest.raises(
        ValueError, match=rf"{path} has 30726927 bytes, an official file has 30730000"
    ):
        CIFAR10(tmp_path, train=False)
    records = batch_file(0)
    records[9999, 0] = 200
    records.tofile(path)
    with pytest.raises(ValueError, match=rf"{path} has a label 200"):
        CIFAR10(tmp_path, train=False)


def test_the_archive_is_downloaded_checked_and_unpacked(tmp_path, server, monkeypatch):
    records = batch_file(9)
    packed = archive_of(
        {"test_batch.bin": records.tobytes(), "data_batch_1.bin": records.tobytes()}
    )
    server.files[ARCHIVE] = packed
    monkeypatch.setattr(CIFAR10, "mirrors", (server.url,))
    monkeypatch.setattr(CIFAR10, "md5", hashlib.md5(packed).hexdigest())
    root = tmp_path / "root"
    data = CIFAR10(root, train=False, download=True)
    np.testing.assert_array_equal(data.labels, records[:, 0])
    assert {p.name for p in root.rglob("*")} == {ARCHIVE, FOLDER, "test_batch.bin"}
    assert len(CIFAR10(root, batches=(1,))) == RECORDS, "from the archive that is there"
    assert len(server.asked) == 1
    with pytest.raises(ValueError, match=r"damaged or another archive .*data_batch_3\.bin"):
        CIFAR10(root, batches=(3,), download=True)


def test_a_damaged_archive_is_an_error_that_names_it(tmp_path):
    packed = archive_of({"test_batch.bin": batch_file(1).tobytes()})
    for content in (packed[: len(packed) // 2], b"not an archive", b"", packed[:-9] + b"?" * 9):
        (tmp_path / ARCHIVE).write_bytes(content)
        with pytest.raises(ValueError, match=f"{ARCHIVE} is damaged or another archive"):
            CIFAR10(tmp_path, train=False)
        assert {p.name for p in tmp_path.rglob("*")} == {ARCHIVE, FOLDER}


def test_without_a_network_the_error_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(CIFAR10, "mirrors", ("http://127.0.0.1:1/",))
    with pytest.raises(ConnectionError, match="another way and put it at") as caught:
        CIFAR10(tmp_path, download=True)
    assert str(tmp_path / ARCHIVE) in str(caught.value)


@pytest.mark.data
def test_real_cifar_is_read(data_folder):
    train = CIFAR10(data_folder / "cifar10", batches=(1,))
    test = CIFAR10(data_folder, train=False)
    assert (len(train), len(test)) == (10_000, 10_000)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert [train.classes[i] for i in train.labels[:5]] == [
        "frog",
        "truck",
        "truck",
        "deer",
        "automobile",
    ]
    assert [test.classes[i] for i in test.labels[:5]] == ["cat", "ship", "ship", "airplane", "frog"]
    # One file of five: near the mean and deviation of the whole training set.
    pixels = train.images / np.float64(255)
    np.testing.assert_allclose(pixels.mean(axis=(0, 2, 3)), CIFAR10.mean, atol=0.003)
    np.testing.assert_allclose(pixels.std(axis=(0, 2, 3)), CIFAR10.std, atol=0.003)
    images, labels = next(iter(DataLoader(test, 100, num_workers=1)))
    np.testing.assert_array_equal(np.rint(images.data * 255), test.images[:100])
    np.testing.assert_array_equal(labels.data, test.labels[:100])
