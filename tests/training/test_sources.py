"""The data sets that a recipe can name."""

import pytest

from minidl.training.sources import SOURCES, every_fifth, find_source, voc_year


def test_the_digits_need_no_files(monkeypatch):
    monkeypatch.setenv("MINIDL_DATA", "/nowhere")
    source = find_source("digits")
    assert len(source.read()) == 4000
    assert len(source.read(train=False)) == 1000


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="unknown data set 'nope'; known for classification are digits, mnist"
    ):
        find_source("nope")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("train", [True, False])
def test_missing_files_are_named_with_the_way_to_get_them(tmp_path, monkeypatch, name, train):
    for root in (str(tmp_path), None):
        monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
        with pytest.raises(FileNotFoundError, match="--download") as caught:
            SOURCES["classification"][name].read(root, train)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.data
@pytest.mark.parametrize("name", list(SOURCES["classification"]))
def test_what_is_said_without_the_files_is_what_the_files_say(name):
    source = SOURCES["classification"][name]
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
    images = SOURCES["classification"]["cifar10"].read(str(tmp_path))
    assert len(images) == 20_000
    assert images.batches == (2, 4)


def test_scenes_are_drawn_of_the_size_asked_for():
    for task in ("segmentation", "detection"):
        source = find_source("scenes", task)
        train, test = (source.read(train=part) for part in (True, False))
        assert (len(train), len(test)) == (source.training_images, 200)
        assert train[0][0].shape == source.shape
        assert source.read(size=32)[0][0].shape == (3, 32, 32)
    assert find_source("scenes", "segmentation").classes == tuple(train_labels())
    assert find_source("scenes", "detection").classes == tuple(train_labels())[1:]


def train_labels():
    return find_source("scenes", "segmentation").read().labels


def test_every_fifth_sample_is_for_testing():
    assert every_fifth(list(range(12)), False) == [4, 9]
    assert every_fifth(list(range(12)), True) == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]
    for count in range(2, 7):
        parts = [every_fifth(list(range(count)), train) for train in (True, False)]
        assert sorted(parts[0] + parts[1]) == list(range(count))
        assert all(parts)
    with pytest.raises(ValueError, match="one picture cannot be split"):
        every_fifth([1], True)


def test_the_year_of_voc_is_that_which_is_there(tmp_path):
    assert voc_year(str(tmp_path)) == "2012"
    (tmp_path / "VOCdevkit" / "VOC2007").mkdir(parents=True)
    assert voc_year(str(tmp_path)) == "2007"
    (tmp_path / "VOC2012").mkdir()
    assert voc_year(str(tmp_path)) == "2012"


@pytest.mark.data
@pytest.mark.parametrize("name", ["isbi", "camvid"])
def test_what_is_said_of_masked_pictures_is_what_the_files_say(name):
    source = SOURCES["segmentation"][name]
    train, test = (source.read(train=part) for part in (True, False))
    assert {sample[0] for sample in train.samples}.isdisjoint(s[0] for s in test.samples)
    image, mask = train[0]
    assert image.shape == source.shape
    assert mask.shape == source.shape[1:]
    assert tuple(train.classes) == source.classes
    assert train.ignore_index == source.ignore_index
    assert name != "isbi" or (train.mean, train.std) == (source.mean, source.std)
