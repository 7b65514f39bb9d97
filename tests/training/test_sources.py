"""The data sets that a recipe can name."""

import pytest

from minidl.training.sources import SOURCES, find_source


def test_the_digits_need_no_files(monkeypatch):
    monkeypatch.setenv("MINIDL_DATA", "/nowhere")
    source = find_source("digits")
    assert len(source.read()) == 4000
    assert len(source.read(train=False)) == 1000


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown data set 'nope'; known are digits, mnist"):
        find_source("nope")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("train", [True, False])
def test_missing_files_are_named_with_the_way_to_get_them(tmp_path, monkeypatch, name, train):
    for root in (str(tmp_path), None):
        monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
        with pytest.raises(FileNotFoundError, match="--download") as caught:
            SOURCES[name].read(root, train)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.data
@pytest.mark.parametrize("name", list(SOURCES))
def test_what_is_said_without_the_files_is_what_the_files_say(name):
    source = SOURCES[name]
    images = source.read(train=False)
    assert images.images.shape[1:] == source.shape
    assert tuple(images.classes) == tuple(source.classes)
    assert (images.mean, images.std) == (source.mean, source.std)
    if name != "cifar10":  # of which there may be a part
        assert len(source.read()) == source.training_images


@pytest.mark.data
def test_cifar10_is_read_from_the_training_files_that_are_there(tmp_path, data_folder):
    (tmp_path / "cifar10").mkdir()
    for number in (2, 4):
        target = tmp_path / "cifar10" / f"data_batch_{number}.bin"
        target.symlink_to(data_folder / "cifar10" / "data_batch_1.bin")
    images = SOURCES["cifar10"].read(str(tmp_path))
    assert len(images) == 20_000
    assert images.batches == (2, 4)
