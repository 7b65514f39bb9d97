"""Weights that others trained on ImageNet, on pictures of ImageNet."""

import numpy as np
import pytest
from PIL import Image

import minidl as md
from minidl import models, nn

from ..torchvision_oracle import torchvision

# As torchvision's weights were trained.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


def middle(path, size=224):
    """(size, size, 3), bytes: the shorter side brought to 256, the middle cut out."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    short = min(width, height)
    width, height = int(256 * width / short), int(256 * height / short)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def picture(path):
    """(3, 224, 224), as torchvision's weights take it."""
    return (middle(path).transpose(2, 0, 1).astype(np.float32) / 255 - MEAN) / STD


def caffe_picture(path):
    """(3, 227, 227), as Caffe's SqueezeNet takes it: blue, green, red, less a mean."""
    bgr = middle(path, 227)[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
    return bgr - np.array([104, 117, 123], np.float32)[:, None, None]


def pictures(folder, prepare=picture):
    """The 50 pictures (50, 3, H, W): one of each twentieth class, sorted by class."""
    paths = sorted(folder.glob("*.JPEG"))
    assert len(paths) == 50
    return np.stack([prepare(path) for path in paths])


def hits(scores):
    """How many pictures have the right class first, and how many among the first five."""
    ranks = np.argsort(-scores, axis=1)[:, :5] == 20 * np.arange(50)[:, None]
    return int(ranks[:, 0].sum()), int(ranks.any(1).sum())


def mobilenet(data_folder):
    net = models.mobilenet_v2().eval()
    net.load_state_dict(md.load(data_folder / "weights" / "mobilenet_v2-b0353104.pth"))
    return net


def scores_of(net, images):
    with md.no_grad():
        return np.concatenate([net(md.tensor(part)).data for part in np.split(images, 5)])


@pytest.mark.data
@pytest.mark.slow
def test_mobilenet_v2_classifies_a_sample_of_imagenet(data_folder):
    images = pictures(data_folder / "imagenet-sample50")
    # As torchvision (see below). Of the 1000 pictures of which these are every twentieth it has
    # 83.8 % and 96.4 % right: 41.9 +- 2.6 and 48.2 +- 1.3 are expected of 50.
    assert hits(scores_of(mobilenet(data_folder), images)) == (42, 49)


@pytest.mark.data
@pytest.mark.slow
def test_mobilenet_v2_with_folded_batchnorm_gives_equal_scores(data_folder):
    net = mobilenet(data_folder)
    images = pictures(data_folder / "imagenet-sample50")[:10]
    expected = scores_of(net, images)
    folded = nn.utils.fold_batchnorm(net, md.zeros(1, 3, 64, 64))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    np.testing.assert_allclose(
        scores_of(folded, images), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.data
@pytest.mark.slow
def test_mobilenet_v2_gives_torchvisions_scores_on_a_sample_of_imagenet(data_folder):
    tv = torchvision()
    torch = pytest.importorskip("torch")
    images = pictures(data_folder / "imagenet-sample50")
    # torchvision's own preparation gives the same pictures
    prepare = tv.transforms.Compose(
        [
            tv.transforms.Resize(256),
            tv.transforms.CenterCrop(224),
            tv.transforms.ToTensor(),
            tv.transforms.Normalize(MEAN.ravel().tolist(), STD.ravel().tolist()),
        ]
    )
    paths = sorted((data_folder / "imagenet-sample50").glob("*.JPEG"))
    theirs = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    np.testing.assert_allclose(images, theirs.numpy(), atol=1e-6)
    net = tv.models.mobilenet_v2().eval()
    file = data_folder / "weights" / "mobilenet_v2-b0353104.pth"
    net.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        expected = torch.cat([net(part) for part in theirs.split(10)]).numpy()
    scores = scores_of(mobilenet(data_folder), images)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert hits(scores) == hits(expected)


@pytest.mark.data
@pytest.mark.slow
def test_squeezenet_deep_compressed_classifies_a_sample_of_imagenet(data_folder):
    with nn.init.skip_init():
        net = models.squeezenet1_0().eval()
    shapes = {n: m.weight.shape for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    path = data_folder / "weights" / "squeezenet-dc" / "compressed_SqueezeNet.net"
    net.load_state_dict(md.io.load_deep_compressed(path, shapes))
    net.classifier[1].padding = (1, 1)  # as its authors trained it
    right = hits(scores_of(net, pictures(data_folder / "imagenet-sample50", caffe_picture)))
    # 65.5 % and 85.9 % of the 1000 pictures: 32.8 +- 3.4 and 43.0 +- 2.5 are expected of 50
    assert right == (31, 40)
    weights = [x.data for name, x in net.state_dict().items() if "3x3.weight" in name]
    assert np.mean([(w == 0).mean() for w in weights]) > 0.6  # a third of them is left
